/* SPDX-License-Identifier: BSD-3-Clause */
/* A device in memory. Requests complete inside start(). */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "core/base/err.h"
#include "core/base/sync.h"
#include "core/blk/blk_ops.h"

#define MEM_ALIGN 512u
#define MEM_TRANSFER_MAX (1u << 20)

struct mem_dev {
	struct blk_dev dev;
	struct sync_rwlock lock;
	uint8_t *bytes SYNC_GUARDED_BY(lock); /* anonymous mapping: untouched pages take no memory */
};

static void mem_start(struct blk_io *io)
{
	struct mem_dev *m = (struct mem_dev *)io->dev;
	uint8_t *p = m->bytes + io->offset;

	if (io->op == BLK_READ) {
		sync_rwlock_rdlock(&m->lock);
		for (int i = 0; i < io->iov_count; p += io->iov[i++].iov_len)
			memcpy(io->iov[i].iov_base, p, io->iov[i].iov_len);
		sync_rwlock_rdunlock(&m->lock);
	} else if (io->op != BLK_FLUSH) {
		sync_rwlock_wrlock(&m->lock);
		if (io->op != BLK_WRITE)
			memset(p, 0, io->len_bytes);
		for (int i = 0; io->op == BLK_WRITE && i < io->iov_count; p += io->iov[i++].iov_len)
			memcpy(p, io->iov[i].iov_base, io->iov[i].iov_len);
		sync_rwlock_wrunlock(&m->lock);
	}
	blk_io_complete(io, 0);
}

static void mem_close(struct blk_dev *dev)
{
	struct mem_dev *m = (struct mem_dev *)dev;

	munmap(m->bytes, dev->caps.size_bytes);
	sync_rwlock_done(&m->lock);
	blk_dev_free(dev);
}

static const struct blk_ops mem_ops = {
	.start = mem_start,
	.close = mem_close,
};

int blk_mem_new(const char *name, uint64_t size, struct blk_dev **ret)
{
	struct mem_dev *m;
	int rc;

	if (!size || size % BLK_ALIGN_MAX)
		return err_set(-EINVAL, "device %s: size is not a multiple of %u", name, BLK_ALIGN_MAX);
	rc = blk_dev_alloc(sizeof(*m), &mem_ops, name, &m);
	if (rc)
		return rc;
	m->bytes = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (m->bytes == MAP_FAILED) {
		blk_dev_free(&m->dev);
		return err_set(-ENOMEM, "device %s", name);
	}
	sync_rwlock_init(&m->lock, SYNC_RANK_BLK, "mem device");
	m->dev.caps = (struct blk_caps){
		.transport = BLK_TRANSPORT_MEM,
		.size_bytes = size,
		.logical_block_bytes = MEM_ALIGN,
		.physical_block_bytes = BLK_ALIGN_MAX,
		.align_bytes = MEM_ALIGN,
		.max_transfer_bytes = MEM_TRANSFER_MAX,
		.queue_depth = 32,
		.fua = true,
		.discard = true,
		.write_zeroes = true,
	};
	*ret = &m->dev;
	return 0;
}
