/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Block devices behind one vtable: asynchronous batches, capabilities, and three back ends (uring for block devices and
 * regular files, mem, sim for faults on demand).
 *
 * Model: a caller fills blk_io requests, adds them to a batch, and waits for the batch in the same thread. A batch may
 * span devices. Requests complete in any order; there is no ordering between requests unless one was waited for. The
 * back ends keep one submission ring per thread, so that threads never share one.
 */
#ifndef WFSD_CORE_BLK_BLK_H
#define WFSD_CORE_BLK_BLK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct blk_dev;
struct metrics;

enum blk_transport {
	BLK_TRANSPORT_UNKNOWN,
	BLK_TRANSPORT_NVME,
	BLK_TRANSPORT_SATA, /* AHCI and other libata hosts */
	BLK_TRANSPORT_SCSI,
	BLK_TRANSPORT_VIRTIO,
	BLK_TRANSPORT_LOOP,
	BLK_TRANSPORT_FILE,
	BLK_TRANSPORT_MEM,
	BLK_TRANSPORT_SIM,
};

struct blk_caps {
	enum blk_transport transport;
	char model[64]; /* "" when unknown */
	uint64_t size_bytes;
	uint32_t logical_block_bytes; /* power of two, 512.. */
	uint32_t physical_block_bytes;
	uint32_t align_bytes; /* of offsets, lengths and memory; power of two; at most 4096 or the open fails */
	uint32_t max_transfer_bytes; /* larger requests are split inside */
	uint32_t queue_depth; /* requests worth keeping in flight */
	bool read_only;
	bool rotational;
	bool volatile_cache; /* a flush is needed for durability */
	bool fua; /* BLK_FUA is one command; otherwise it is write + flush inside */
	bool discard;
	bool write_zeroes; /* efficient; otherwise zeros are written inside */
};

enum blk_op {
	BLK_READ,
	BLK_WRITE,
	/*
	 * Everything completed before its submission becomes durable. When it fails, nothing written since the last
	 * good flush may be taken as durable, even if a later flush succeeds.
	 */
	BLK_FLUSH,
	BLK_DISCARD, /* contents become undefined; -EOPNOTSUPP without caps.discard */
	BLK_WRITE_ZEROES,
};

#define BLK_FUA 1u /* BLK_WRITE, BLK_WRITE_ZEROES: durable when complete */

struct blk_batch;
struct blk_ops;

/* One request. The caller owns it and its memory until the batch was waited for. */
struct blk_io {
	enum blk_op op;
	unsigned flags;
	uint64_t offset; /* bytes; multiple of caps.align_bytes */
	uint64_t len_bytes; /* likewise; for READ and WRITE the sum of the iovecs */
	const struct iovec *iov; /* READ, WRITE; each base and length aligned; 1..IOV_MAX */
	int iov_count;
	/*
	 * Result: 0 or a negative errno. Short transfers are continued inside, so 0 means all of it. -EIO device error;
	 * -ENXIO the device is gone; -EINVAL outside the device or misaligned; -EROFS; -ENOSPC (a sparse file's host is
	 * full).
	 */
	int result;
	/* Back end's. */
	struct blk_dev *dev;
	struct blk_batch *batch;
	struct blk_io *next;
	uint64_t done_bytes;
	uint64_t start_ns;
	void *owner; /* of a part of another request, or of a request that has parts */
	void (*part_done)(struct blk_io *io); /* set: it is a part */
};

struct blk_batch {
	struct blk_io *queued; /* added, not yet submitted */
	struct blk_io **queued_tail;
	unsigned pending; /* submitted, not complete */
	int first_error; /* of any completed request since the last wait */
	struct blk_io *first_failed; /* that request */
	const struct blk_ops *engine; /* back end's: whose completions @pending waits for */
	struct blk_io *finishing; /* requests whose parts are all complete */
};

void blk_batch_init(struct blk_batch *b);
/* Queue @io for @dev. Nothing starts until submit or wait. */
void blk_batch_add(struct blk_batch *b, struct blk_dev *dev, struct blk_io *io);
/*
 * Start what is queued, without waiting (except for room in the ring; and the kernel offers discards and zeroing only
 * as calls that wait).
 */
void blk_batch_submit(struct blk_batch *b);
/*
 * Start what is queued and wait until everything is complete. Returns 0 or the error of one failed request (its context
 * is in the thread's err chain, naming device and offset); each request's own result is in it. Blocks: never under a
 * lock of rank SYNC_RANK_TREE or above.
 */
int blk_batch_wait(struct blk_batch *b);

/* One request, waited for. @buf aligned as caps demand. */
int blk_read(struct blk_dev *dev, uint64_t offset, void *buf, size_t len);
int blk_write(struct blk_dev *dev, uint64_t offset, const void *buf, size_t len, unsigned flags);
int blk_flush(struct blk_dev *dev);

#define BLK_OPEN_READ_ONLY 1u
#define BLK_OPEN_SHARED 2u /* do not take the exclusive lock (offline inspection of a device in use) */

/*
 * Open a block device or a regular file (O_DIRECT where it works). Without BLK_OPEN_SHARED the device is locked
 * against a second opener: -EBUSY, and the err text names the process that holds it (flock, /proc/locks).
 * Probes capabilities (sysfs, ioctls). Errors: -ENOENT, -EACCES, -EBUSY, -ENOTBLK (neither), -EINVAL (alignment above
 * 4096), -ENOMEM.
 */
int blk_open(const char *path, unsigned flags, struct blk_dev **ret);
/*
 * Create a regular file of @size bytes for use as a device; its first @prealloc bytes are allocated and zero-written,
 * so that later writes there change no host metadata; the rest is sparse. Fails with -EEXIST. Durable (file and
 * directory entry) when it returns.
 */
int blk_create_file(const char *path, uint64_t size, uint64_t prealloc);

/* A device in memory; contents start as zeros. Survives nothing. */
int blk_mem_new(const char *name, uint64_t size, struct blk_dev **ret);

/* No request is in flight. Releases the lock. NULL is fine. */
void blk_close(struct blk_dev *dev);

const struct blk_caps *blk_caps(const struct blk_dev *dev);
const char *blk_name(const struct blk_dev *dev); /* the path it was opened by */
const char *blk_transport_name(enum blk_transport t); /* "nvme", "sata", ... */

/* Requests of this kind that the device failed since it was opened. Any thread. */
uint64_t blk_error_count(const struct blk_dev *dev, enum blk_op op);

/* Export per-device counters (operations, bytes, errors by op) and latency histograms labelled device="name". Undone by
 * blk_close(). */
int blk_register_metrics(struct blk_dev *dev, struct metrics *m);

/* Release the calling thread's rings; threads that did device I/O call it before they end. */
void blk_thread_done(void);

#endif
