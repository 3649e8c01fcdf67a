/* SPDX-License-Identifier: BSD-3-Clause */
/* A device whose requests are answered by functions. They run when the batch is waited for. */
#include "core/blk/hosted.h"

#include "core/base/sync.h"
#include "core/blk/blk_ops.h"

struct hosted_dev {
	struct blk_dev dev;
	const struct blk_hosted_ops *ops;
	void *host;
};

/* It has no parts, so it can be finished as soon as somebody waits. */
static void hosted_start(struct blk_io *io)
{
	blk_parts_are_done(io);
}

static int answer(const struct hosted_dev *h, const struct blk_io *io)
{
	switch (io->op) {
	case BLK_READ:
		return h->ops->read(h->host, io->iov, io->iov_count, io->offset);
	case BLK_WRITE:
		return h->ops->write(h->host, io->iov, io->iov_count, io->offset, io->flags);
	case BLK_DISCARD:
		return h->ops->discard(h->host, io->offset, io->len_bytes);
	case BLK_WRITE_ZEROES:
		return h->ops->zero(h->host, io->offset, io->len_bytes, io->flags);
	case BLK_FLUSH:
		break;
	}
	return h->ops->flush(h->host);
}

static void hosted_finish(struct blk_io *io)
{
	unsigned outer = sync_held_aside();
	int rc = answer((const struct hosted_dev *)io->dev, io);

	sync_held_back(outer);
	blk_whole_complete(io, rc);
}

static void hosted_close(struct blk_dev *dev)
{
	const struct hosted_dev *h = (const struct hosted_dev *)dev;

	h->ops->close(h->host);
	blk_dev_free(dev);
}

static const struct blk_ops hosted_ops = {
	.start = hosted_start,
	.finish = hosted_finish,
	.close = hosted_close,
};

int blk_hosted_new(const char *name, const struct blk_caps *caps, const struct blk_hosted_ops *ops, void *host,
                   struct blk_dev **ret)
{
	struct hosted_dev *h;
	int rc = blk_dev_alloc(sizeof(*h), &hosted_ops, name, &h);

	if (rc)
		return rc;
	h->dev.caps = *caps;
	h->ops = ops;
	h->host = host;
	*ret = &h->dev;
	return 0;
}
