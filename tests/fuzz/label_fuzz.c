/* SPDX-License-Identifier: BSD-3-Clause */
/* Any block as a label, with its checksum put right so that the fields are reached: refused, or encodes to itself. */
#include <string.h>

#include "core/base/assert.h"
#include "core/base/bytes.h"
#include "core/fs/wfs3/label.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t block[WFS3_BLOCK_BYTES] = { 0 }, again[WFS3_BLOCK_BYTES];
	struct label l;
	struct hash128 h;

	memcpy(block, data, size < sizeof(block) ? size : sizeof(block));
	(void)label_decode(block, &l);
	memcpy(block, "WFS3LABL", 8);
	h = hash128(block, 4080);
	put_le64(block + 4080, h.lo);
	put_le64(block + 4088, h.hi);
	if (label_decode(block, &l))
		return 0;
	label_encode(&l, again);
	always(memcmp(block, again, sizeof(block)) == 0);
	return 0;
}
