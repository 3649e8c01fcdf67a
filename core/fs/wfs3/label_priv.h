/* SPDX-License-Identifier: BSD-3-Clause */
/* Offsets of labels and roots on the device, shared by their codecs and their I/O. FORMAT.md, "Labels", "Roots". */
#ifndef WFSD_CORE_FS_WFS3_LABEL_PRIV_H
#define WFSD_CORE_FS_WFS3_LABEL_PRIV_H

#include "core/fs/wfs3/label.h"

/* As little-endian u64 these read as text in a hex dump. */
#define LABEL_MAGIC UINT64_C(0x4c42414c33534657) /* "WFS3LABL" */
#define ROOT_MAGIC UINT64_C(0x544f4f5233534657) /* "WFS3ROOT" */

/* Inside a label of 1 MiB. */
#define LABEL_HEADER_OFFSET 4096u
#define LABEL_ROOTS_OFFSET (512u << 10)
#define LABEL_ROOTS_BYTES (LABEL_ROOT_SLOTS * WFS3_BLOCK_BYTES)

/* Inside the header block. */
#define LABEL_OFF_NAME 64u
#define LABEL_OFF_LAYOUT 152u
#define LABEL_OFF_DEVICES 512u
#define LABEL_DEVICE_BYTES 48u
#define LABEL_OFF_CHECKSUM 4080u

/* Inside a root slot. */
#define ROOT_OFF_CHECKSUM 8u
#define ROOT_OFF_BODY 24u
#define ROOT_OFF_TXG 40u
#define ROOT_USED_BYTES 144u
#define ROOT_FLAG_CLEAN UINT64_C(1)

_Static_assert(LABEL_ROOTS_OFFSET + LABEL_ROOTS_BYTES <= WFS3_LABEL_BYTES, "the root ring lies within the label");
_Static_assert(LABEL_OFF_DEVICES + WFS3_DEVICES_MAX * LABEL_DEVICE_BYTES <= LABEL_OFF_CHECKSUM, "devices fit");
_Static_assert(LABEL_OFF_NAME + LABEL_POOL_NAME_MAX + 1 == 128, "the name field");

/* Offset on the device of the back label. */
static inline uint64_t label_back_offset(uint64_t device_bytes)
{
	return device_bytes - WFS3_LABEL_BYTES;
}

#endif
