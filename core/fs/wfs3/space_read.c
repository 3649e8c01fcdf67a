/* SPDX-License-Identifier: BSD-3-Clause */
/* Reading slots and the ring past what cannot be read. */
#include <errno.h>
#include <string.h>

#include "core/base/checked.h"
#include "core/blk/mirror.h"
#include "core/fs/wfs3/space_load.h"

/* Of the device as a whole: as if it had one copy more than there can be. */
#define ANY_COPY MIRROR_COPIES_MAX

static int read_one(struct blk_dev *dev, unsigned copy, uint64_t offset, uint8_t *buf, uint64_t len)
{
	return copy == ANY_COPY ? blk_read(dev, offset, buf, len) : mirror_read_copy(dev, copy, offset, buf, len);
}

static int read_units(struct blk_dev *dev, unsigned copy, uint64_t offset, uint8_t *buf, uint64_t len, uint64_t unit)
{
	int rc = read_one(dev, copy, offset, buf, len);

	if (rc != -EIO)
		return rc;
	for (uint64_t at = 0; at < len; at += unit) {
		uint64_t n = min_u64(unit, len - at);

		rc = read_one(dev, copy, offset + at, buf + at, n);
		if (rc == -EIO)
			memset(buf + at, 0, n);
		else if (rc)
			return rc;
	}
	return 0;
}

int space_read_tolerant(struct blk_dev *dev, uint64_t offset, uint8_t *buf, uint64_t len, uint64_t unit)
{
	return read_units(dev, ANY_COPY, offset, buf, len, unit);
}

int space_read_copy(struct blk_dev *dev, unsigned copy, uint64_t offset, uint8_t *buf, uint64_t len, uint64_t unit)
{
	return read_units(dev, copy, offset, buf, len, unit);
}
