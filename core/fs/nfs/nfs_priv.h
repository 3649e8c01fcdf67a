/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Inside of the import.
 *
 * An object has one node, found by its file handle, and kept for a while when nobody uses it (node.c). Attributes come
 * with nearly every answer and go through node_take_attr(). Data goes through the page cache (data.c, file.c); names
 * are asked for every time (names.c, readdir.c).
 *
 * Lock order: a node's io_lock · the import's table_lock · a node's lock. No call is made under the last two.
 */
#ifndef WFSD_CORE_FS_NFS_NFS_PRIV_H
#define WFSD_CORE_FS_NFS_NFS_PRIV_H

#include <urcu/list.h>

#include "core/base/sync.h"
#include "core/fs/nfs/call.h"
#include "core/fs/nfs/nfs_import.h"

struct cache_file;
struct fattr3;
struct nfs_fh3;
struct post_op_attr;

struct nfs_handle {
	uint32_t len;
	uint8_t bytes[NFS_HANDLE_BYTES_MAX];
};

struct nfs_attr {
	enum vfs_type type;
	uint32_t mode, link_count, uid, gid;
	uint64_t size_bytes, used_bytes, rdev;
	uint64_t fsid, fileid;
	uint64_t atime_ns, mtime_ns, ctime_ns;
};

struct nfs_node {
	struct vfs_node node; /* first */
	struct nfs_import *im;
	struct nfs_handle fh;
	uint64_t object;

	/* table_lock */
	struct nfs_node *next_by_handle, *next_by_object;
	struct cds_list_head idle_link, job_link;
	bool idle, job; /* on the list of idle ones, of those with work left */
	unsigned pins; /* the janitor works on it */
	unsigned late_releases; /* releases under way that found it in use again */
	char *remove_name; /* of a deleted file that was open: what it is called meanwhile, to be removed at the end */
	struct nfs_handle remove_dir;

	struct sync_mutex lock;
	struct nfs_attr attr; /* lock: as the server told them */
	uint64_t written_ns; /* lock: when data was written that the server's times say nothing of yet; or 0 */
	uint64_t change; /* lock */
	uint64_t own_ns; /* lock: when an answer to a change of ours came */
	unsigned writing; /* lock: writers between looking at the size and setting it */
	uint64_t writing_end; /* lock: where the last of them ends */
	unsigned opens; /* lock */
	uint8_t cookie_verifier[8]; /* lock: of a directory */

	bool gone; /* atomic: the server does not have it any more, and data was lost */
	struct sync_rwlock io_lock; /* shared: reading, writing; alone: truncation, appending */
	uint64_t size_bytes; /* atomic; changed under lock */
	struct cache_file *data; /* atomic; set once, under lock. Of files. */
};

#define TABLE_BUCKETS 16384u

struct nfs_import {
	struct nfs_import_options options;
	struct nfs_net *net;
	struct nfs_handle root_fh;
	uint64_t fsid, root_fsid;
	uint32_t read_bytes_max, write_bytes_max; /* of one call */
	uint64_t refs; /* atomic: nodes in use */
	int dead; /* atomic */
	bool no_owners; /* atomic: the server does not let us give files away */
	uint64_t temporary; /* atomic: the next temporary name */
	uint64_t rewritten_bytes; /* atomic */
	uint8_t key[16];

	struct sync_mutex table_lock;
	struct nfs_node *by_handle[TABLE_BUCKETS], *by_object[TABLE_BUCKETS];
	struct cds_list_head idle; /* least recently used first */
	unsigned idle_count;

	/* The janitor: writes what was closed, removes what was deleted while open. */
	struct sync_thread janitor;
	struct sync_cond janitor_cond; /* table_lock */
	struct cds_list_head jobs;
	bool janitor_stop, janitor_started; /* table_lock */
	bool is_down; /* table_lock: the server does not answer */
};

extern const struct vfs_node_ops nfs_node_ops;

/* Attributes and handles as they come (attr.c). -EBADMSG: nonsense. */
int nfs_attr_decode(const struct fattr3 *a, struct nfs_attr *ret);
int nfs_handle_decode(const struct nfs_fh3 *fh, struct nfs_handle *ret);
/* For libnfs's argument structures; they point into @fh. */
struct nfs_fh3 nfs_handle_arg(const struct nfs_handle *fh);

/* What a call told about an object, if it did. */
struct nfs_told {
	bool has_attr, has_handle;
	struct nfs_attr attr;
	struct nfs_handle fh;
};
int nfs_told_attr(struct nfs_told *t, const struct post_op_attr *a);

static inline struct nfs_node *nfs_node_of(struct vfs_node *n)
{
	return (struct nfs_node *)n;
}

int nfs_check_alive(const struct nfs_import *im);

/* The node of @fh, referenced; made with @attr when it is not there. @asked_ns: when the call was made that told
 * @attr. */
int nfs_node_get(struct nfs_import *im, const struct nfs_handle *fh, const struct nfs_attr *attr, uint64_t asked_ns,
                 struct nfs_node **ret);
/* The same, asking the server for what @told has not. */
int nfs_node_get_told(struct nfs_import *im, const struct nfs_told *told, uint64_t asked_ns, struct nfs_node **ret);
int nfs_node_by_object(struct nfs_import *im, uint64_t object, struct nfs_node **ret);
/* Attributes that are not the result of a change of ours. When they show another version of the file than the cached
 * pages are of, these are dropped; what is dirty stays. May wait for calls. */
int nfs_node_take_attr(struct nfs_node *n, const struct nfs_attr *attr, uint64_t asked_ns);
/* Those that came with a change of ours. */
void nfs_node_take_own_attr(struct nfs_node *n, const struct nfs_attr *attr);
/* Ask the server. */
int nfs_node_refresh(struct nfs_node *n);
/* The server does not have it any more: what is not written never will be. */
void nfs_node_lose(struct nfs_node *n);
/* ops->release */
void nfs_node_release(struct vfs_node *node);
uint64_t nfs_object_of(const struct nfs_import *im, const struct nfs_attr *attr, const struct nfs_handle *fh);
/* What of any node is not written yet. 0, or the first error. */
int nfs_nodes_flush(struct nfs_import *im);
/* At the end. */
void nfs_nodes_remove_temporary(struct nfs_import *im);
void nfs_nodes_free(struct nfs_import *im);

/* janitor.c */
int nfs_janitor_start(struct nfs_import *im);
void nfs_janitor_stop(struct nfs_import *im);
/* There is something to do for @n. The table_lock is held. */
void nfs_janitor_add(struct nfs_node *n);
/* The server does not answer any more. */
void nfs_janitor_down(void *im);
/* Remove a deleted file that has a temporary name. */
void nfs_remove_temporary(struct nfs_node *n);

/* When the last node is gone (nfs_import.c). */
void nfs_import_close(struct nfs_import *im);

/* data.c, file.c. Files only. */
extern const struct cache_file_ops nfs_data_ops;
int nfs_file_data(struct nfs_node *n, struct cache_file **ret);
int nfs_file_open(struct vfs_node *node, bool writable);
void nfs_file_close(struct vfs_node *node, bool writable);
int nfs_file_read(struct vfs_node *node, const struct iovec *iov, int iov_count, uint64_t offset, unsigned flags);
int nfs_file_read_ref(struct vfs_node *node, uint64_t offset, size_t len, unsigned flags, struct vfs_ref *ret);
int nfs_file_write(struct vfs_node *node, const struct iovec *iov, int iov_count, uint64_t offset, unsigned flags);
int nfs_file_flush(struct vfs_node *node, unsigned flags);
int nfs_file_prefetch(struct vfs_node *node, uint64_t offset, uint64_t len);
int nfs_file_truncate(struct nfs_node *n, uint64_t size_bytes);

/* setattr.c */
int nfs_node_set_attr(struct vfs_node *node, const struct vfs_set_attr *a);
struct sattr3;
/* SETATTR, and its result into @n. */
int nfs_setattr_call(struct nfs_node *n, const struct sattr3 *set);

/* names.c, create.c, readdir.c */
int nfs_lookup_call(struct nfs_node *dir, const char *what, size_t len, struct nfs_told *ret);
int nfs_dir_lookup(struct vfs_node *dir, const char *what, size_t len, struct vfs_node **ret);
int nfs_dir_parent(struct vfs_node *dir, struct vfs_node **ret);
int nfs_dir_create(struct vfs_node *dir, const char *what, size_t len, const struct vfs_new *attr,
                   struct vfs_node **ret);
int nfs_dir_link(struct vfs_node *dir, const char *what, size_t len, struct vfs_node *target,
                 const struct vfs_tag *tag);
int nfs_dir_unlink(struct vfs_node *dir, const char *what, size_t len, bool want_dir, const struct vfs_taker *taker,
                   const struct vfs_tag *tag);
int nfs_dir_rename(struct vfs_node *dir, const char *what, size_t len, struct vfs_node *new_dir, const char *new_name,
                   size_t new_len, unsigned flags, const struct vfs_taker *takers, const struct vfs_tag *tag);
int nfs_dir_readdir(struct vfs_node *dir, uint64_t cookie, vfs_dir_fn *fn, void *ctx);
int nfs_node_read_link(struct vfs_node *node, char *buf, size_t *ret_len);

#endif
