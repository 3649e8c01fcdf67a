/* SPDX-License-Identifier: BSD-3-Clause */
/* Nodes: found by file handle and by number, and what is known of their attributes. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <nfsc/libnfs-raw-nfs.h>

#include "core/base/assert.h"
#include "core/base/budget.h"
#include "core/base/checked.h"
#include "core/base/checksum.h"
#include "core/base/err.h"
#include "core/base/siphash.h"
#include "core/cache/cache.h"
#include "core/fs/nfs/nfs_priv.h"

/* Nodes that nobody uses. Clients that name objects by number find them as long as they are kept. */
#define IDLE_MAX 65536u

static struct nfs_node **handle_bucket(struct nfs_import *im, const struct nfs_handle *fh)
{
	return &im->by_handle[siphash(im->key, fh->bytes, fh->len) % TABLE_BUCKETS];
}

static struct nfs_node **object_bucket(struct nfs_import *im, uint64_t object)
{
	return &im->by_object[siphash(im->key, &object, sizeof(object)) % TABLE_BUCKETS];
}

/* Numbers are unique in a file system; a share may show several. No object has the number 0. */
uint64_t nfs_object_of(const struct nfs_import *im, const struct nfs_attr *attr, const struct nfs_handle *fh)
{
	uint64_t seed[2] = { attr->fsid, attr->fileid };
	uint64_t object = attr->fileid;

	if (!object)
		object = siphash(im->key, fh->bytes, fh->len);
	else if (attr->fsid != im->root_fsid)
		object = hash128(seed, sizeof(seed)).lo;
	return object ? object : 1;
}

static struct nfs_node *find(struct nfs_import *im, const struct nfs_handle *fh)
{
	struct nfs_node *n = *handle_bucket(im, fh);

	while (n && (n->fh.len != fh->len || memcmp(n->fh.bytes, fh->bytes, fh->len) != 0))
		n = n->next_by_handle;
	return n;
}

static void unlink_from(struct nfs_node **at, struct nfs_node *n, bool by_handle)
{
	while (*at != n)
		at = by_handle ? &(*at)->next_by_handle : &(*at)->next_by_object;
	*at = by_handle ? n->next_by_handle : n->next_by_object;
}

static void node_free(struct nfs_node *n)
{
	struct nfs_import *im = n->im;

	cache_file_free(n->data);
	sync_rwlock_done(&n->io_lock);
	sync_mutex_done(&n->lock);
	free(n->remove_name);
	free(n);
	if (im->options.budget)
		budget_uncharge(im->options.budget, sizeof(*n));
}

static struct nfs_node *node_new(struct nfs_import *im, const struct nfs_handle *fh, const struct nfs_attr *attr)
{
	struct nfs_node *n = calloc(1, sizeof(*n));

	if (!n) {
		(void)err_set(-ENOMEM, "a file: no memory");
		return NULL;
	}
	vfs_node_init(&n->node, &nfs_node_ops, attr->type);
	n->im = im;
	n->fh = *fh;
	n->object = nfs_object_of(im, attr, fh);
	n->attr = *attr;
	n->size_bytes = attr->size_bytes;
	n->change = attr->ctime_ns;
	CDS_INIT_LIST_HEAD(&n->idle_link);
	CDS_INIT_LIST_HEAD(&n->job_link);
	sync_mutex_init(&n->lock, SYNC_RANK_TXG, "nfs node");
	sync_rwlock_init(&n->io_lock, SYNC_RANK_OBJECT_IO, "nfs file");
	if (im->options.budget)
		budget_charge(im->options.budget, sizeof(*n));
	return n;
}

/* The table_lock is held. */
static void ref_found(struct nfs_node *n)
{
	if (vfs_node_try_ref(&n->node))
		return;
	/* Nobody has it; when it is not idle yet, who gave it up is still on the way to say so. */
	if (n->idle) {
		cds_list_del(&n->idle_link);
		n->idle = false;
		n->im->idle_count--;
		(void)__atomic_add_fetch(&n->im->refs, 1, __ATOMIC_RELAXED);
	} else {
		n->late_releases++;
	}
	__atomic_store_n(&n->node.refs, 1, __ATOMIC_RELEASE);
}

static void forget(struct nfs_node *n)
{
	struct nfs_import *im = n->im;

	unlink_from(handle_bucket(im, &n->fh), n, true);
	unlink_from(object_bucket(im, n->object), n, false);
}

/* Idle nodes that are too many, out of the tables, as a list by next_by_handle. The table_lock is held. */
static struct nfs_node *trim(struct nfs_import *im)
{
	struct nfs_node *n, *next, *victims = NULL;

	if (im->idle_count <= IDLE_MAX)
		return NULL;
	cds_list_for_each_entry_safe (n, next, &im->idle, idle_link) {
		if (im->idle_count <= IDLE_MAX)
			break;
		if (n->pins || n->job)
			continue;
		cds_list_del(&n->idle_link);
		im->idle_count--;
		forget(n);
		n->next_by_handle = victims;
		victims = n;
	}
	return victims;
}

void nfs_node_release(struct vfs_node *node)
{
	struct nfs_node *n = nfs_node_of(node), *victims = NULL;
	struct nfs_import *im = n->im;
	bool last;

	sync_mutex_lock(&im->table_lock);
	if (n->late_releases) {
		n->late_releases--;
		sync_mutex_unlock(&im->table_lock);
		return;
	}
	n->idle = true;
	cds_list_add_tail(&n->idle_link, &im->idle);
	im->idle_count++;
	if (n->remove_name || (n->data && cache_file_dirty_bytes(n->data)))
		nfs_janitor_add(n);
	victims = trim(im);
	last = __atomic_sub_fetch(&im->refs, 1, __ATOMIC_ACQ_REL) == 0;
	sync_mutex_unlock(&im->table_lock);
	while (victims) {
		struct nfs_node *next = victims->next_by_handle;

		node_free(victims);
		victims = next;
	}
	if (last)
		nfs_import_close(im);
}

int nfs_node_get(struct nfs_import *im, const struct nfs_handle *fh, const struct nfs_attr *attr, uint64_t asked_ns,
                 struct nfs_node **ret)
{
	struct nfs_node *mine = NULL, *n;
	int rc;

	sync_mutex_lock(&im->table_lock);
	n = find(im, fh);
	if (n)
		ref_found(n);
	sync_mutex_unlock(&im->table_lock);
	if (!n) {
		mine = node_new(im, fh, attr);
		if (!mine)
			return -ENOMEM;
		sync_mutex_lock(&im->table_lock);
		n = find(im, fh);
		if (n) {
			ref_found(n);
		} else {
			struct nfs_node **h = handle_bucket(im, fh), **o = object_bucket(im, mine->object);

			n = mine;
			n->next_by_handle = *h;
			*h = n;
			n->next_by_object = *o;
			*o = n;
			(void)__atomic_add_fetch(&im->refs, 1, __ATOMIC_RELAXED);
		}
		sync_mutex_unlock(&im->table_lock);
	}
	if (mine && n != mine)
		node_free(mine);
	rc = n == mine ? 0 : nfs_node_take_attr(n, attr, asked_ns);
	if (rc)
		vfs_node_unref(&n->node);
	else
		*ret = n;
	return rc;
}

static int take_getattr(void *ctx, const void *res)
{
	const GETATTR3res *r = res;

	return nfs_attr_decode(&r->GETATTR3res_u.resok.obj_attributes, ctx);
}

static int getattr(struct nfs_import *im, const struct nfs_handle *fh, struct nfs_attr *ret)
{
	GETATTR3args args = { .object = nfs_handle_arg(fh) };
	struct nfs_call c = { .proc = NFS_GETATTR, .args = &args, .take = take_getattr, .ctx = ret };

	return nfs_call_run(im->net, &c);
}

int nfs_node_get_told(struct nfs_import *im, const struct nfs_told *told, uint64_t asked_ns, struct nfs_node **ret)
{
	struct nfs_attr attr = told->attr;
	int rc = 0;

	if (!told->has_attr) {
		asked_ns = sync_now_ns();
		rc = getattr(im, &told->fh, &attr);
	}
	return rc ? rc : nfs_node_get(im, &told->fh, &attr, asked_ns, ret);
}

int nfs_node_refresh(struct nfs_node *n)
{
	uint64_t asked_ns = sync_now_ns();
	struct nfs_attr attr;
	int rc = getattr(n->im, &n->fh, &attr);

	if (rc == -ESTALE)
		nfs_node_lose(n);
	return rc ? rc : nfs_node_take_attr(n, &attr, asked_ns);
}

void nfs_node_lose(struct nfs_node *n)
{
	struct cache_file *f = __atomic_load_n(&n->data, __ATOMIC_ACQUIRE);
	struct err e;

	if (!f)
		return;
	if (cache_file_dirty_bytes(f))
		__atomic_store_n(&n->gone, true, __ATOMIC_RELEASE);
	err_take(&e);
	if (cache_punch_begin(f, 0, VFS_FILE_BYTES_MAX, 0) == 0)
		cache_punch_end(f, 0, VFS_FILE_BYTES_MAX, false);
	err_restore(&e);
}

int nfs_node_by_object(struct nfs_import *im, uint64_t object, struct nfs_node **ret)
{
	struct nfs_node *n;
	int rc;

	sync_mutex_lock(&im->table_lock);
	n = *object_bucket(im, object);
	while (n && n->object != object)
		n = n->next_by_object;
	if (n)
		ref_found(n);
	sync_mutex_unlock(&im->table_lock);
	if (!n)
		return err_set(-ESTALE, "no object with that number was seen lately");
	rc = nfs_node_refresh(n);
	if (rc)
		vfs_node_unref(&n->node);
	else
		*ret = n;
	return rc;
}

/* The lock is held. */
static bool is_ours(const struct nfs_node *n)
{
	return n->writing || (n->data && cache_file_dirty_bytes(n->data));
}

static bool same_version(const struct nfs_attr *a, const struct nfs_attr *b)
{
	return a->mtime_ns == b->mtime_ns && a->ctime_ns == b->ctime_ns && a->size_bytes == b->size_bytes;
}

/* The lock is held. What is being written here says itself how long the file is, and when it was changed. */
static void adopt(struct nfs_node *n, const struct nfs_attr *attr)
{
	uint64_t mtime_ns = n->attr.mtime_ns, ctime_ns = n->attr.ctime_ns, size = n->attr.size_bytes;
	bool ours = n->node.type == VFS_TYPE_FILE && is_ours(n);

	if (!same_version(&n->attr, attr))
		n->change = max_u64(n->change + 1, attr->ctime_ns);
	n->attr = *attr;
	if (ours) {
		n->attr.mtime_ns = mtime_ns;
		n->attr.ctime_ns = ctime_ns;
		n->attr.size_bytes = size;
	} else {
		n->written_ns = 0;
		__atomic_store_n(&n->size_bytes, attr->size_bytes, __ATOMIC_RELEASE);
	}
}

/* Pages of another version. In between, none is filled. */
static int drop_pages(struct nfs_node *n, const struct nfs_attr *attr)
{
	uint64_t end = max_u64(attr->size_bytes, __atomic_load_n(&n->size_bytes, __ATOMIC_ACQUIRE));
	uint64_t len = round_up_u64(end, CACHE_PAGE_BYTES), size;
	int rc = len ? cache_punch_begin(n->data, 0, len, 0) : 0;

	if (rc)
		return rc;
	sync_mutex_lock(&n->lock);
	adopt(n, attr);
	size = n->size_bytes;
	sync_mutex_unlock(&n->lock);
	cache_file_resize(n->data, size);
	if (len)
		cache_punch_end(n->data, 0, len, true);
	return 0;
}

int nfs_node_take_attr(struct nfs_node *n, const struct nfs_attr *attr, uint64_t asked_ns)
{
	bool drop = false;

	if (attr->type != n->node.type)
		return err_set(-ESTALE, "what was there is something else now");
	sync_mutex_lock(&n->lock);
	/* What was asked before a change of ours was answered may be older than that. */
	if (asked_ns >= n->own_ns) {
		drop = n->data && !same_version(&n->attr, attr) && !is_ours(n);
		if (!drop)
			adopt(n, attr);
	}
	sync_mutex_unlock(&n->lock);
	return drop ? drop_pages(n, attr) : 0;
}

void nfs_node_take_own_attr(struct nfs_node *n, const struct nfs_attr *attr)
{
	if (attr->type != n->node.type)
		return;
	sync_mutex_lock(&n->lock);
	n->own_ns = sync_now_ns();
	n->written_ns = 0;
	/* Of several answers, the newest. */
	if (attr->ctime_ns >= n->attr.ctime_ns) {
		n->change = max_u64(n->change + 1, attr->ctime_ns);
		n->attr = *attr;
	}
	sync_mutex_unlock(&n->lock);
}

/* The table_lock is held, and given up meanwhile; a pinned node stays, and with it its place in the table. */
static int flush_one(struct nfs_import *im, struct nfs_node *n) SYNC_REQUIRES(im->table_lock)
{
	struct cache_file *f = __atomic_load_n(&n->data, __ATOMIC_ACQUIRE);
	int rc;

	if (!f || n->remove_name || !cache_file_dirty_bytes(f))
		return 0;
	n->pins++;
	sync_mutex_unlock(&im->table_lock);
	rc = cache_flush(f, 0, UINT64_MAX);
	sync_mutex_lock(&im->table_lock);
	n->pins--;
	return rc;
}

int nfs_nodes_flush(struct nfs_import *im)
{
	int rc = 0;

	sync_mutex_lock(&im->table_lock);
	for (unsigned i = 0; i < TABLE_BUCKETS; i++) {
		for (struct nfs_node *n = im->by_handle[i]; n; n = n->next_by_handle) {
			int one = flush_one(im, n);

			if (rc == 0)
				rc = one;
		}
	}
	sync_mutex_unlock(&im->table_lock);
	return rc;
}

void nfs_nodes_remove_temporary(struct nfs_import *im)
{
	struct nfs_node *n;

	cds_list_for_each_entry (n, &im->idle, idle_link)
		nfs_remove_temporary(n);
}

void nfs_nodes_free(struct nfs_import *im)
{
	struct nfs_node *n, *next;

	cds_list_for_each_entry_safe (n, next, &im->idle, idle_link)
		node_free(n);
}
