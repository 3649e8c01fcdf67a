/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * File contents between the page cache and the server. Pages are zero behind what the server has.
 *
 * Write-back ends when the server has committed what it was sent: it is written unstable, and committed with one call;
 * the verifiers (RFC 1813, 3.3.7 and 3.3.21) tell whether the server restarted in between, and then everything that it
 * may have forgotten is written again. Until then the pages are dirty.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <nfsc/libnfs-raw-nfs.h>

#include "core/base/checked.h"
#include "core/base/checksum.h"
#include "core/base/err.h"
#include "core/cache/cache.h"
#include "core/fs/nfs/conn.h"
#include "core/fs/nfs/nfs_priv.h"

#define READ_CALLS_MAX 64u
#define REWRITES_MAX 5u

static uint64_t size_of(const struct nfs_node *n)
{
	return __atomic_load_n(&n->size_bytes, __ATOMIC_ACQUIRE);
}

/* What a file has of @count pages from @first, in bytes. */
static uint64_t bytes_below(uint64_t size, uint64_t first, unsigned count)
{
	uint64_t start = first * CACHE_PAGE_BYTES;

	return start < size ? min_u64(size - start, (uint64_t)count * CACHE_PAGE_BYTES) : 0;
}

static void zero_from(void *const data[], uint64_t from, uint64_t end)
{
	while (from < end) {
		uint64_t page = from / CACHE_PAGE_BYTES, within = from % CACHE_PAGE_BYTES;

		if (data[page])
			memset((uint8_t *)data[page] + within, 0, CACHE_PAGE_BYTES - within);
		from += CACHE_PAGE_BYTES - within;
	}
}

static int read_range(struct nfs_node *n, uint64_t offset, uint64_t len, void *const data[])
{
	READ3args args = { .file = nfs_handle_arg(&n->fh) };
	uint32_t piece = n->im->read_bytes_max, count = 0;
	struct nfs_call calls[READ_CALLS_MAX];
	struct nfs_batch b;
	int rc = 0;

	nfs_batch_init(&b);
	for (uint64_t at = 0; at < len; at += piece, count++) {
		calls[count] = (struct nfs_call){ .proc = NFS_READ,
			                          .args = &args,
			                          .pages = &data[at / CACHE_PAGE_BYTES],
			                          .offset = offset + at,
			                          .len_bytes = (uint32_t)min_u64(len - at, piece) };
		nfs_call_start(n->im->net, &b, &calls[count]);
	}
	nfs_batch_wait(&b);
	nfs_batch_done(&b);
	for (uint32_t i = 0; i < count; i++) {
		if (rc == 0)
			rc = calls[i].rc;
		/* Behind the end of what the server has. */
		if (calls[i].done_bytes < calls[i].len_bytes)
			zero_from(calls[i].pages, calls[i].done_bytes, calls[i].len_bytes);
	}
	return rc;
}

/* The end of what is to be written: a page that is dirty already may lie behind the size that its writer is about to
 * set. */
static uint64_t end_of_writes(struct nfs_node *n)
{
	uint64_t end;

	sync_mutex_lock(&n->lock);
	end = max_u64(n->size_bytes, n->writing_end);
	sync_mutex_unlock(&n->lock);
	return end;
}

static int data_fill(void *ctx, uint64_t first, unsigned count, void *const data[], uint32_t crc[], bool hole[])
{
	struct nfs_node *n = ctx;
	uint64_t len = bytes_below(size_of(n), first, count);
	int rc = len ? read_range(n, first * CACHE_PAGE_BYTES, len, data) : 0;

	if (rc)
		return err_set(rc == -ECONNRESET ? -EIO : rc, "nfs: a file cannot be read at %llu: %s",
		               (unsigned long long)first * CACHE_PAGE_BYTES, strerror(-rc));
	zero_from(data, len, round_up_u64(len, CACHE_PAGE_BYTES));
	for (unsigned i = 0; i < count; i++) {
		hole[i] = (uint64_t)i * CACHE_PAGE_BYTES >= len;
		if (data[i] && !hole[i])
			crc[i] = crc32c(data[i], CACHE_PAGE_BYTES);
	}
	return 0;
}

/* One WRITE of adjacent pages. */
struct put {
	struct nfs_call call;
	struct nfs_node *n;
	unsigned first, count; /* of the pages handed to us */
	bool has_verifier, committed;
	uint8_t verifier[NFS3_WRITEVERFSIZE];
};

struct put_list {
	struct nfs_node *n;
	struct cache_page *pages;
	void **memory; /* the pages', in the same order */
	struct put *puts;
	unsigned put_count;
	uint64_t size;
};

static void take_after(struct nfs_node *n, const wcc_data *w)
{
	struct nfs_told t;

	if (nfs_told_attr(&t, &w->after) == 0 && t.has_attr)
		nfs_node_take_own_attr(n, &t.attr);
}

static int take_put(void *ctx, const void *res)
{
	const WRITE3resok *r = &((const WRITE3res *)res)->WRITE3res_u.resok;
	struct put *p = ctx;

	/* One put may take several calls; it has one verifier only when all of them do. */
	if (p->has_verifier && memcmp(p->verifier, r->verf, sizeof(p->verifier)) != 0) {
		p->call.done_bytes = 0;
		p->has_verifier = false;
		return 0;
	}
	memcpy(p->verifier, r->verf, sizeof(p->verifier));
	p->committed = (p->committed || !p->has_verifier) && r->committed != UNSTABLE;
	p->has_verifier = true;
	take_after(p->n, &r->file_wcc);
	return 0;
}

struct commit {
	struct nfs_node *n;
	uint8_t verifier[NFS3_WRITEVERFSIZE];
};

static int take_commit(void *ctx, const void *res)
{
	const COMMIT3resok *r = &((const COMMIT3res *)res)->COMMIT3res_u.resok;
	struct commit *c = ctx;

	memcpy(c->verifier, r->verf, sizeof(c->verifier));
	take_after(c->n, &r->file_wcc);
	return 0;
}

/* Which pages go together. Those behind the end need not be written. */
static int plan(struct put_list *l, unsigned count)
{
	l->puts = calloc(count, sizeof(*l->puts));
	l->memory = calloc(count, sizeof(*l->memory));
	if (!l->puts || !l->memory)
		return err_set(-ENOMEM, "no memory for writing %u pages", count);
	for (unsigned i = 0; i < count; i++) {
		uint64_t at = l->pages[i].index * CACHE_PAGE_BYTES, len = bytes_below(l->size, l->pages[i].index, 1);
		struct put *p = l->put_count ? &l->puts[l->put_count - 1] : NULL;

		memcpy(&l->memory[i], &l->pages[i].data, sizeof(void *)); /* it is only read */
		l->pages[i].result = 0;
		if (!len)
			continue;
		if (crc32c(l->pages[i].data, CACHE_PAGE_BYTES) != l->pages[i].crc)
			return err_set(-EIO, "a page changed in memory");
		if (!p || p->call.offset + p->call.len_bytes != at ||
		    p->call.len_bytes + len > l->n->im->write_bytes_max) {
			p = &l->puts[l->put_count++];
			*p = (struct put){ .n = l->n, .first = i };
			p->call = (struct nfs_call){ .proc = NFS_WRITE, .pages = &l->memory[i], .offset = at };
		}
		p->call.len_bytes += (uint32_t)len;
		p->count++;
	}
	return 0;
}

static int write_puts(struct put_list *l, stable_how how)
{
	WRITE3args args = { .file = nfs_handle_arg(&l->n->fh), .stable = how };
	struct nfs_batch b;
	int rc = 0;

	nfs_batch_init(&b);
	for (unsigned i = 0; i < l->put_count; i++) {
		struct put *p = &l->puts[i];

		if (p->committed)
			continue;
		p->has_verifier = false;
		p->call.done_bytes = 0;
		p->call.args = &args;
		p->call.take = take_put;
		p->call.ctx = p;
		nfs_call_start(l->n->im->net, &b, &p->call);
	}
	nfs_batch_wait(&b);
	nfs_batch_done(&b);
	for (unsigned i = 0; i < l->put_count && rc == 0; i++)
		rc = l->puts[i].call.rc;
	return rc;
}

/* 0: everything is durable; -EAGAIN: some of it may be lost, and is to be written again. */
static int commit_puts(struct put_list *l)
{
	COMMIT3args args = { .file = nfs_handle_arg(&l->n->fh) };
	struct commit k = { .n = l->n };
	struct nfs_call c = { .proc = NFS_COMMIT, .args = &args, .take = take_commit, .ctx = &k };
	bool all = true;
	int rc;

	for (unsigned i = 0; i < l->put_count; i++)
		all = all && l->puts[i].committed;
	if (all)
		return 0;
	rc = nfs_call_run(l->n->im->net, &c);
	if (rc)
		return rc;
	for (unsigned i = 0; i < l->put_count; i++) {
		struct put *p = &l->puts[i];

		if (p->committed)
			continue;
		p->committed = memcmp(p->verifier, k.verifier, sizeof(k.verifier)) == 0;
		if (!p->committed) {
			nfs_count(&l->n->im->rewritten_bytes, p->call.len_bytes);
			rc = -EAGAIN;
		}
	}
	return rc;
}

static int put_all(struct put_list *l)
{
	/* A single call is as good as a call and a commit. */
	stable_how how = l->put_count == 1 ? FILE_SYNC : UNSTABLE;
	int rc = -EAGAIN;

	for (unsigned i = 0; i < REWRITES_MAX && rc == -EAGAIN; i++) {
		rc = write_puts(l, how);
		if (rc == 0)
			rc = commit_puts(l);
	}
	return rc == -EAGAIN ? -EIO : rc;
}

static void data_writeback(void *ctx, struct cache_page *pages, unsigned count)
{
	struct nfs_node *n = ctx;
	struct put_list l = { .n = n, .pages = pages, .size = end_of_writes(n) };
	int rc = plan(&l, count);

	if (rc == 0 && l.put_count)
		rc = put_all(&l);
	/* Nobody will ever be able to write a file that is gone: its data goes, too, and flushes say so. */
	if (rc == -ESTALE) {
		__atomic_store_n(&n->gone, true, __ATOMIC_RELEASE);
		rc = 0;
	}
	if (rc)
		(void)err_set(rc == -ECONNRESET ? -EIO : rc, "nfs: a file cannot be written: %s", strerror(-rc));
	for (unsigned i = 0; rc && i < count; i++)
		pages[i].result = rc == -ECONNRESET ? -EIO : rc;
	/* What reached the server stays written, whatever became of the rest. */
	for (unsigned i = 0; rc && i < l.put_count; i++) {
		for (unsigned k = 0; l.puts[i].committed && k < l.puts[i].count; k++)
			pages[l.puts[i].first + k].result = 0;
	}
	free(l.puts);
	free(l.memory);
}

const struct cache_file_ops nfs_data_ops = { .fill = data_fill, .writeback = data_writeback };

int nfs_file_data(struct nfs_node *n, struct cache_file **ret)
{
	struct cache_file *f = __atomic_load_n(&n->data, __ATOMIC_ACQUIRE), *mine;
	int rc;

	if (!f) {
		rc = cache_file_new(n->im->options.cache, &nfs_data_ops, n, size_of(n), &mine);
		if (rc)
			return rc;
		sync_mutex_lock(&n->lock);
		f = n->data;
		if (!f) {
			f = mine;
			__atomic_store_n(&n->data, mine, __ATOMIC_RELEASE);
		}
		sync_mutex_unlock(&n->lock);
		if (f != mine)
			cache_file_free(mine);
		else
			cache_file_resize(f, size_of(n));
	}
	*ret = f;
	return 0;
}
