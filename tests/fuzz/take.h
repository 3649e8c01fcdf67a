/* SPDX-License-Identifier: BSD-3-Clause */
/* For fuzz targets whose input says what to do: numbers out of it. */
#ifndef WFSD_TESTS_FUZZ_TAKE_H
#define WFSD_TESTS_FUZZ_TAKE_H

#include <stdint.h>

#include "core/base/bytes.h"

/* The next @bytes of the input as a number; zeros behind its end. */
static inline uint64_t take(struct rd *r, unsigned bytes)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < bytes; i++)
		v = v << 8 | (rd_left(r) ? rd_u8(r) : 0);
	return v;
}

#endif
