/* SPDX-License-Identifier: BSD-3-Clause */
/* Any block as a root slot, with its checksum put right so that the fields are reached: refused, or encodes to itself.
 */
#include <string.h>

#include "core/base/assert.h"
#include "core/base/bytes.h"
#include "core/fs/wfs3/label.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t uuid[16] = "pool";
	uint8_t block[WFS3_BLOCK_BYTES] = { 0 }, again[WFS3_BLOCK_BYTES];
	struct hash128 h;
	struct root r;

	memcpy(block, data, size < sizeof(block) ? size : sizeof(block));
	(void)root_decode(block, uuid, &r);
	memcpy(block, "WFS3ROOT", 8);
	memcpy(block + 24, uuid, 16);
	h = hash128(block + 24, sizeof(block) - 24);
	put_le64(block + 8, h.lo);
	put_le64(block + 16, h.hi);
	if (root_decode(block, uuid, &r))
		return 0;
	root_encode(&r, again);
	always(memcmp(block, again, sizeof(block)) == 0);
	return 0;
}
