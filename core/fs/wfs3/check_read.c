/* SPDX-License-Identifier: BSD-3-Clause */
/* How a check reads: from devices that nobody uses by batches; a pool's mirrors, copy by copy, through themselves. */
#include <errno.h>
#include <stdlib.h>

#include "core/fs/wfs3/check_priv.h"

/* Devices of a mirror may come and go. */
static int read_of_mirror(struct check *c, unsigned copy, const struct check_read *r)
{
	unsigned group;
	uint64_t offset;

	if (space_locate(c->locator, r->addr, r->block_count, &group, &offset))
		return -EUCLEAN;
	return mirror_read_copy(check_copy(c, group, copy), c->members[c->groups[group].copies[copy]].slot, offset,
	                        r->buf, (size_t)r->block_count * WFS3_BLOCK_BYTES);
}

void check_read(struct check *c, unsigned copy, struct check_read reads[], unsigned count)
{
	struct blk_io ios[CHECK_READS_MAX] = { 0 };
	struct iovec iov[CHECK_READS_MAX];
	struct blk_batch batch;

	blk_batch_init(&batch);
	for (unsigned i = 0; i < count; i++) {
		struct check_read *r = &reads[i];
		struct blk_dev *dev;
		uint64_t offset;

		if (r->result)
			continue;
		r->result = check_locate(c, r->addr, r->block_count, copy, &dev, &offset);
		if (!r->result && c->live && c->copies_max > 1)
			r->result = read_of_mirror(c, copy, r);
		else if (!r->result) {
			iov[i] = (struct iovec){ r->buf, (size_t)r->block_count * WFS3_BLOCK_BYTES };
			ios[i] = (struct blk_io){ .op = BLK_READ,
				                  .offset = offset,
				                  .len_bytes = iov[i].iov_len,
				                  .iov = &iov[i],
				                  .iov_count = 1 };
			blk_batch_add(&batch, dev, &ios[i]);
		}
	}
	(void)blk_batch_wait(&batch);
	for (unsigned i = 0; i < count; i++)
		if (!reads[i].result)
			reads[i].result = ios[i].result;
}

bool check_repair(struct check *c, uint64_t addr, uint32_t block_count, mirror_good_fn *good, void *ctx)
{
	size_t len = (size_t)block_count * WFS3_BLOCK_BYTES;
	struct blk_dev *dev;
	uint64_t offset;
	uint8_t *buf;
	int rc;

	if (!c->scrub || check_locate(c, addr, block_count, 0, &dev, &offset))
		return false;
	buf = aligned_alloc(WFS3_BLOCK_BYTES, len);
	if (!buf)
		return false;
	rc = mirror_repair(dev, offset, buf, len, good, ctx);
	free(buf);
	return !rc;
}
