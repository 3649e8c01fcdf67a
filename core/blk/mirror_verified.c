/* SPDX-License-Identifier: BSD-3-Clause */
/* Reading a mirror copy by copy, by somebody who can tell good contents from bad ones, and writing bad ones anew. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/err.h"
#include "core/base/log.h"
#include "core/blk/mirror_priv.h"

/* Give what was read from a good copy to those in @bad. */
void mirror_rewrite_copies(struct mirror *m, unsigned bad, uint64_t offset, uint64_t len, const struct iovec *iov,
                           int iov_count)
{
	for (unsigned i = 0; i < MIRROR_COPIES_MAX; i++) {
		struct copy *c = &m->copies[i];
		struct blk_io io = {
			.op = BLK_WRITE, .offset = offset, .len_bytes = len, .iov = iov, .iov_count = iov_count
		};
		struct blk_batch batch;
		int rc;

		if (!(bad & 1u << i) || mirror_state_of(c) != MIRROR_ONLINE)
			continue;
		blk_batch_init(&batch);
		blk_batch_add(&batch, __atomic_load_n(&c->dev, __ATOMIC_SEQ_CST), &io);
		rc = blk_batch_wait(&batch);
		if (rc) {
			mirror_fail_copy(m, i, "repair", offset, rc);
			continue;
		}
		__atomic_add_fetch(&c->repairs, 1, __ATOMIC_RELAXED);
		log_notice("blk",
		           "device=%s mirror=%s: %" PRIu64 " bytes at offset %" PRIu64 " repaired from another copy",
		           blk_name(io.dev), m->dev.name, len, offset);
	}
}

int mirror_read_verified(struct blk_dev *dev, uint64_t offset, void *buf, size_t len, mirror_good_fn *good, void *ctx)
{
	struct mirror *m;
	struct iovec iov = { .iov_base = buf, .iov_len = len };
	unsigned bad = 0, epoch;
	int rc = -ENXIO, worst = -ENXIO;

	if (!blk_is_mirror(dev)) {
		rc = blk_read(dev, offset, buf, len);
		return rc ? rc : good(ctx, buf) ? 0 : -EUCLEAN;
	}
	m = mirror_of(dev);
	epoch = mirror_enter(m);
	for (unsigned i = 0; i < MIRROR_COPIES_MAX; i++) {
		struct copy *c = &m->copies[i];

		if (mirror_state_of(c) != MIRROR_ONLINE)
			continue;
		rc = blk_read(__atomic_load_n(&c->dev, __ATOMIC_SEQ_CST), offset, buf, len);
		if (!rc && good(ctx, buf))
			break;
		if (!rc) {
			__atomic_add_fetch(&c->checksum_errors, 1, __ATOMIC_RELAXED);
			rc = -EUCLEAN;
		}
		bad |= 1u << i;
		if (worst != -EUCLEAN)
			worst = rc;
	}
	/* Copies behind the first good one are not read: whoever reads them finds what is wrong with them. */
	if (!rc)
		mirror_rewrite_copies(m, bad, offset, len, &iov, 1);
	mirror_leave(m, epoch);
	return rc ? worst : 0;
}

int mirror_read_copy(struct blk_dev *dev, unsigned index, uint64_t offset, void *buf, size_t len)
{
	struct mirror *m;
	unsigned epoch;
	int rc = -ENOENT;

	if (!blk_is_mirror(dev))
		return index ? -ENOENT : blk_read(dev, offset, buf, len);
	m = mirror_of(dev);
	epoch = mirror_enter(m);
	if (mirror_state_of(&m->copies[index]) == MIRROR_ONLINE)
		rc = blk_read(__atomic_load_n(&m->copies[index].dev, __ATOMIC_SEQ_CST), offset, buf, len);
	mirror_leave(m, epoch);
	return rc;
}

int mirror_repair(struct blk_dev *dev, uint64_t offset, void *buf, size_t len, mirror_good_fn *good, void *ctx)
{
	struct iovec iov = { .iov_base = buf, .iov_len = len };
	unsigned bad = 0, epoch;
	int rc = -ENXIO, worst = -ENXIO;
	struct mirror *m;
	uint8_t *page;

	if (!blk_is_mirror(dev))
		return mirror_read_verified(dev, offset, buf, len, good, ctx);
	page = aligned_alloc(BLK_ALIGN_MAX, len);
	if (!page)
		return err_set(-ENOMEM, "%s: no memory to repair %zu bytes", blk_name(dev), len);
	m = mirror_of(dev);
	epoch = mirror_enter(m);
	for (unsigned i = 0; i < MIRROR_COPIES_MAX; i++) {
		struct copy *c = &m->copies[i];
		int one;

		if (mirror_state_of(c) != MIRROR_ONLINE)
			continue;
		one = blk_read(__atomic_load_n(&c->dev, __ATOMIC_SEQ_CST), offset, page, len);
		if (!one && good(ctx, page)) {
			memcpy(buf, page, len);
			rc = 0;
			continue;
		}
		bad |= 1u << i;
		if (!one) {
			__atomic_add_fetch(&c->checksum_errors, 1, __ATOMIC_RELAXED);
			one = -EUCLEAN;
		}
		/* Nobody knows what an unreadable copy holds; a device that is gone is not asked any more. */
		if (worst == -ENXIO || (worst == -EUCLEAN && one != -ENXIO))
			worst = one;
	}
	if (!rc)
		mirror_rewrite_copies(m, bad, offset, len, &iov, 1);
	mirror_leave(m, epoch);
	free(page);
	return rc ? worst : 0;
}

void mirror_rewrite(struct blk_dev *dev, unsigned copies, uint64_t offset, const void *buf, size_t len)
{
	struct iovec iov = { .iov_base = (void *)(uintptr_t)buf, .iov_len = len };
	struct mirror *m;
	unsigned epoch;

	if (!blk_is_mirror(dev))
		return;
	m = mirror_of(dev);
	epoch = mirror_enter(m);
	mirror_rewrite_copies(m, copies, offset, len, &iov, 1);
	mirror_leave(m, epoch);
}
