/* SPDX-License-Identifier: BSD-3-Clause */
/* Does a device already hold something? Signatures of what is common; a courtesy before a pool is created on it. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/bytes.h"
#include "core/base/checked.h"
#include "core/base/err.h"
#include "core/blk/blk.h"
#include "core/fs/wfs3/label_priv.h"

#define WHAT_BYTES 64
#define PROBE_BYTES (256u << 10)

struct signature {
	uint32_t offset;
	uint8_t len;
	const char *bytes;
	const char *name;
};

/* In order of precedence: a partition table's 55aa is also in boot sectors of file systems. */
static const struct signature signatures[] = {
	{ 1080, 2, "\x53\xef", "an ext2, ext3 or ext4 file system" },
	{ 0, 4, "XFSB", "an XFS file system" },
	{ 65600, 8, "_BHRfS_M", "a btrfs file system" },
	{ 1024, 4, "\x10\x20\xf5\xf2", "an F2FS file system" },
	{ 131072, 8, "\x0c\xb1\xba\x00\x00\x00\x00\x00", "a ZFS device" },
	{ 0, 6, "LUKS\xba\xbe", "an encrypted device (LUKS)" },
	{ 512, 8, "LABELONE", "an LVM physical volume" },
	{ 4096, 4, "\xfc\x4e\x2b\xa9", "a RAID member (md)" },
	{ 0, 4, "\xfc\x4e\x2b\xa9", "a RAID member (md)" },
	{ 4086, 10, "SWAPSPACE2", "swap space" },
	{ 0, 4, "hsqs", "a squashfs image" },
	{ 32769, 5, "CD001", "an ISO 9660 file system" },
	{ 0, 4, "QFI\xfb", "a qcow2 image" },
	{ 3, 8, "NTFS    ", "an NTFS file system" },
	{ 3, 8, "EXFAT   ", "an exFAT file system" },
	{ 54, 3, "FAT", "a FAT file system" },
	{ 82, 5, "FAT32", "a FAT file system" },
	{ 512, 8, "EFI PART", "a GPT partition table" },
	{ 4096, 8, "EFI PART", "a GPT partition table" },
	{ 510, 2, "\x55\xaa", "an MBR partition table or a boot sector" },
};

static void probe_foreign(const uint8_t *buf, size_t len, char *what)
{
	for (size_t i = 0; i < sizeof(signatures) / sizeof(signatures[0]); i++) {
		const struct signature *s = &signatures[i];

		if (range_within(s->offset, s->len, len) && memcmp(buf + s->offset, s->bytes, s->len) == 0) {
			snprintf(what, WHAT_BYTES, "%s", s->name);
			return;
		}
	}
}

/* Damaged or newer labels count, too: somebody's data may hang on them. */
static bool probe_label(const uint8_t *block, char *what)
{
	struct label l;
	int rc = label_decode(block, &l);

	if (rc == -EMEDIUMTYPE)
		return false;
	if (!rc)
		snprintf(what, WHAT_BYTES, "pool %.50s", l.pool_name);
	else
		snprintf(what, WHAT_BYTES, "a WFS pool (%s)", rc == -ENOTSUP ? "newer format" : "damaged label");
	return true;
}

int label_probe_other(struct blk_dev *dev, char *what)
{
	uint64_t size = blk_caps(dev)->size_bytes;
	size_t len = (size_t)round_down_u64(min_u64(size, PROBE_BYTES), WFS3_BLOCK_BYTES);
	uint8_t *buf;
	int rc;

	what[0] = '\0';
	if (!len)
		return 0;
	buf = aligned_alloc(4096, len);
	if (!buf)
		return err_set(-ENOMEM, "device %s: probe", blk_name(dev));
	rc = blk_read(dev, 0, buf, len);
	if (rc)
		goto out;
	if (len < LABEL_HEADER_OFFSET + WFS3_BLOCK_BYTES || !probe_label(buf + LABEL_HEADER_OFFSET, what))
		probe_foreign(buf, len, what);
	if (!what[0] && size >= 2 * WFS3_LABEL_BYTES) {
		uint64_t back = label_back_offset(round_down_u64(size, WFS3_LABEL_BYTES));

		rc = blk_read(dev, back + LABEL_HEADER_OFFSET, buf, WFS3_BLOCK_BYTES);
		if (!rc)
			probe_label(buf, what);
	}
out:
	free(buf);
	if (rc)
		return err_add(rc, "device %s: probe", blk_name(dev));
	return what[0] != '\0';
}
