/* SPDX-License-Identifier: BSD-3-Clause */
/* Any bytes as a cell item: refused, or a cell that encodes to an item of the same meaning. */
#include <stdlib.h>
#include <string.h>

#include "core/base/assert.h"
#include "core/fs/wfs3/cell.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t buf[CELL_BYTES_MAX];
	struct cell c, again;
	size_t len;

	if (cell_decode(data, size, &c))
		return 0;
	len = cell_encode(&c, buf);
	always(!cell_decode(buf, len, &again));
	for (unsigned i = 0; i < WFS3_CELL_BLOCKS; i++)
		always(c.blocks[i].addr == again.blocks[i].addr && c.blocks[i].birth == again.blocks[i].birth &&
		       c.blocks[i].crc == again.blocks[i].crc);
	return 0;
}
