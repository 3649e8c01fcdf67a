/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A file system for tests: one file in memory, mounted as "/mem". Operations can be told to need waiting (-EAGAIN when
 * they may not), to stand at a gate, or to fail.
 */
#ifndef WFSD_TESTS_UNIT_SERVER_RPC_MEMFS_H
#define WFSD_TESTS_UNIT_SERVER_RPC_MEMFS_H

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/err.h"
#include "core/base/sync.h"
#include "core/vfs/vfs_ops.h"

struct memfs {
	struct vfs_node node;
	uint8_t *data;
	uint64_t size_bytes;
	struct iovec one;
	bool must_wait; /* nothing is answered without waiting */
	bool has_ref; /* offer vfs_read_ref() */
	bool read_only;
	int fail; /* every operation answers this */
	uint64_t busy_ns; /* every operation keeps its thread for so long */
	struct sync_mutex lock;
	struct sync_cond changed;
	bool gate_closed; /* operations that may wait stand here */
	bool hold; /* the next operation stands here, even on a loop */
	bool held; /* it does */
	unsigned waiting; /* at the gate */
	unsigned waiting_max;
	unsigned started; /* operations that did not answer -EAGAIN */
	unsigned flushes;
	unsigned started_at_flush; /* before the last flush */
	unsigned fua_writes;
	unsigned refs; /* not released yet */
	unsigned last_flags;
};

static inline struct memfs *memfs_of(struct vfs_node *n)
{
	return (struct memfs *)(void *)n;
}

static inline void memfs_be_busy(const struct memfs *m)
{
	uint64_t since_ns = m->busy_ns ? sync_now_ns() : 0;

	while (m->busy_ns && sync_now_ns() - since_ns < m->busy_ns)
		;
}

/* The start of every operation. Reads at offset 0 pass the gate: they tell that others go on meanwhile. */
static inline int memfs_enter(struct memfs *m, uint64_t offset, unsigned flags)
{
	int err = 0;

	sync_mutex_lock(&m->lock);
	if ((m->must_wait || (m->gate_closed && offset)) && (flags & VFS_NOWAIT)) {
		err = -EAGAIN;
	} else {
		m->started++;
		m->last_flags = flags;
		if (offset && m->gate_closed) {
			m->waiting++;
			if (m->waiting > m->waiting_max)
				m->waiting_max = m->waiting;
			sync_cond_broadcast(&m->changed);
			while (m->gate_closed)
				sync_cond_wait(&m->changed, &m->lock);
			m->waiting--;
		}
		while (m->hold) {
			m->held = true;
			sync_cond_broadcast(&m->changed);
			sync_cond_wait(&m->changed, &m->lock);
		}
		if (m->fail)
			err = err_set(m->fail, "memfs was told to fail");
	}
	sync_mutex_unlock(&m->lock);
	memfs_be_busy(m);
	return err;
}

static inline void memfs_hold(struct memfs *m, bool hold)
{
	sync_mutex_lock(&m->lock);
	m->hold = hold;
	m->held = false;
	sync_cond_broadcast(&m->changed);
	sync_mutex_unlock(&m->lock);
}

static inline void memfs_await_held(struct memfs *m)
{
	sync_mutex_lock(&m->lock);
	while (!m->held)
		sync_cond_wait(&m->changed, &m->lock);
	sync_mutex_unlock(&m->lock);
}

static inline void memfs_gate(struct memfs *m, bool closed)
{
	sync_mutex_lock(&m->lock);
	m->gate_closed = closed;
	sync_cond_broadcast(&m->changed);
	sync_mutex_unlock(&m->lock);
}

static inline void memfs_await_waiting(struct memfs *m, unsigned count)
{
	sync_mutex_lock(&m->lock);
	while (m->waiting < count)
		sync_cond_wait(&m->changed, &m->lock);
	sync_mutex_unlock(&m->lock);
}

static inline void memfs_release(struct vfs_node *n)
{
	(void)n;
}

static inline int memfs_stat(struct vfs_node *n, struct vfs_stat *ret)
{
	struct memfs *m = memfs_of(n);

	*ret = (struct vfs_stat){ .type = VFS_TYPE_FILE,
		                  .object = 7,
		                  .size_bytes = m->size_bytes,
		                  .allocated_bytes = m->size_bytes,
		                  .block_bytes = 4096,
		                  .read_only = m->read_only };
	return 0;
}

static inline int memfs_read(struct vfs_node *n, const struct iovec *iov, int iov_count, uint64_t offset,
                             unsigned flags)
{
	struct memfs *m = memfs_of(n);
	int err = memfs_enter(m, offset, flags);

	for (int i = 0; i < iov_count && !err; i++) {
		memcpy(iov[i].iov_base, m->data + offset, iov[i].iov_len);
		offset += iov[i].iov_len;
	}
	return err;
}

static inline void memfs_ref_release(struct vfs_ref *r)
{
	struct memfs *m = r->priv;

	sync_mutex_lock(&m->lock);
	m->refs--;
	sync_mutex_unlock(&m->lock);
	free((void *)(uintptr_t)r->iov);
}

/* In two pieces, as a cache would give it. */
static inline int memfs_read_ref(struct vfs_node *n, uint64_t offset, size_t len, unsigned flags, struct vfs_ref *ret)
{
	struct memfs *m = memfs_of(n);
	struct iovec *iov;
	int err;

	if (!m->has_ref)
		return -EOPNOTSUPP;
	err = memfs_enter(m, offset, flags);
	if (err)
		return err;
	iov = malloc(2 * sizeof(*iov));
	if (!iov)
		return -ENOMEM;
	iov[0] = (struct iovec){ m->data + offset, len / 2 };
	iov[1] = (struct iovec){ m->data + offset + len / 2, len - len / 2 };
	*ret = (struct vfs_ref){ .iov = iov, .iov_count = 2, .release = memfs_ref_release, .priv = m };
	sync_mutex_lock(&m->lock);
	m->refs++;
	sync_mutex_unlock(&m->lock);
	return 0;
}

static inline int memfs_write(struct vfs_node *n, const struct iovec *iov, int iov_count, uint64_t offset,
                              unsigned flags)
{
	struct memfs *m = memfs_of(n);
	int err = memfs_enter(m, offset, flags);

	if (err)
		return err;
	for (int i = 0; i < iov_count; i++) {
		memcpy(m->data + offset, iov[i].iov_base, iov[i].iov_len);
		offset += iov[i].iov_len;
	}
	sync_mutex_lock(&m->lock);
	m->fua_writes += (flags & VFS_FUA) != 0;
	sync_mutex_unlock(&m->lock);
	return 0;
}

static inline int memfs_flush(struct vfs_node *n, unsigned flags)
{
	struct memfs *m = memfs_of(n);
	int err = memfs_enter(m, 0, flags);

	sync_mutex_lock(&m->lock);
	m->flushes += !err;
	m->started_at_flush = m->started - 1;
	sync_mutex_unlock(&m->lock);
	return err;
}

static inline int memfs_zero(struct vfs_node *n, uint64_t offset, uint64_t len, unsigned flags)
{
	struct memfs *m = memfs_of(n);
	int err = memfs_enter(m, offset, flags);

	if (!err && (flags & VFS_FAST))
		err = -EOPNOTSUPP;
	if (!err)
		memset(m->data + offset, 0, len);
	return err;
}

/* Every block of 4096 bytes is by itself; zero ones are holes. */
static inline int memfs_extents(struct vfs_node *n, uint64_t offset, uint64_t len, unsigned flags,
                                struct vfs_extent *ret, unsigned max, unsigned *ret_count)
{
	struct memfs *m = memfs_of(n);
	uint64_t end = offset + len;
	int err = memfs_enter(m, offset, flags);

	if (err)
		return err;
	if (flags & VFS_ONE)
		max = 1;
	*ret_count = 0;
	while (offset < end && *ret_count < max) {
		uint64_t to = (offset / 4096 + 1) * 4096;
		bool zero;

		if (to > end)
			to = end;
		zero = m->data[offset] == 0;
		ret[(*ret_count)++] =
		        (struct vfs_extent){ .offset = offset, .len_bytes = to - offset, .hole = zero, .zero = zero };
		offset = to;
	}
	return 0;
}

static inline int memfs_prefetch(struct vfs_node *n, uint64_t offset, uint64_t len)
{
	(void)len;
	return memfs_enter(memfs_of(n), offset, 0);
}

static inline int memfs_forget_results(struct vfs_node *n, const uint8_t *client)
{
	(void)client;
	return memfs_enter(memfs_of(n), 1, 0);
}

static inline int memfs_init(struct memfs *m, uint64_t size_bytes)
{
	static const struct vfs_node_ops ops = {
		.release = memfs_release,
		.stat = memfs_stat,
		.read = memfs_read,
		.read_ref = memfs_read_ref,
		.write = memfs_write,
		.flush = memfs_flush,
		.discard = memfs_zero,
		.zero = memfs_zero,
		.extents = memfs_extents,
		.prefetch = memfs_prefetch,
		.forget_results = memfs_forget_results,
	};

	*m = (struct memfs){ .size_bytes = size_bytes, .data = calloc(1, size_bytes) };
	if (!m->data)
		return -ENOMEM;
	sync_mutex_init(&m->lock, SYNC_RANK_OBJECT, "memfs");
	sync_cond_init(&m->changed);
	vfs_node_init(&m->node, &ops, VFS_TYPE_FILE);
	return 0;
}

static inline void memfs_done(struct memfs *m)
{
	sync_cond_done(&m->changed);
	sync_mutex_done(&m->lock);
	free(m->data);
}

#endif
