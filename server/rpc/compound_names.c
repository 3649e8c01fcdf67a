/* SPDX-License-Identifier: BSD-3-Clause */
/* The operations of a COMPOUND on handles, names, attributes and directories. */
#include <errno.h>

#include "core/base/assert.h"
#include "core/base/err.h"
#include "core/base/nowait.h"
#include "protocol/xdr/xdr.h"
#include "server/rpc/compound.h"

_Static_assert((int)WFSP_TYPE_FILE == (int)VFS_TYPE_FILE && (int)WFSP_TYPE_DIR == (int)VFS_TYPE_DIR &&
                       (int)WFSP_TYPE_SYMLINK == (int)VFS_TYPE_SYMLINK && (int)WFSP_TYPE_FIFO == (int)VFS_TYPE_FIFO &&
                       (int)WFSP_TYPE_CHAR == (int)VFS_TYPE_CHAR && (int)WFSP_TYPE_BLOCK == (int)VFS_TYPE_BLOCK &&
                       (int)WFSP_TYPE_SOCKET == (int)VFS_TYPE_SOCKET,
               "types travel as they are");
_Static_assert(WFSP_SET_MODE == VFS_SET_MODE && WFSP_SET_UID == VFS_SET_UID && WFSP_SET_GID == VFS_SET_GID &&
                       WFSP_SET_SIZE == VFS_SET_SIZE && WFSP_SET_ATIME == VFS_SET_ATIME &&
                       WFSP_SET_MTIME == VFS_SET_MTIME && WFSP_SET_ATIME_NOW == VFS_SET_ATIME_NOW &&
                       WFSP_SET_MTIME_NOW == VFS_SET_MTIME_NOW && WFSP_SET_FLAGS == VFS_SET_FLAGS &&
                       WFSP_SET_PROJECT == VFS_SET_PROJECT,
               "what is to be changed travels as it is");
_Static_assert(WFSP_ACCESS_EXEC == VFS_ACCESS_EXEC && WFSP_ACCESS_WRITE == VFS_ACCESS_WRITE &&
                       WFSP_ACCESS_READ == VFS_ACCESS_READ,
               "access travels as it is");
_Static_assert(WFSP_RENAME_NOREPLACE == VFS_RENAME_NOREPLACE && WFSP_RENAME_EXCHANGE == VFS_RENAME_EXCHANGE,
               "flags of a rename travel as they are");
_Static_assert(WFSP_FLAG_IMMUTABLE == VFS_FLAG_IMMUTABLE && WFSP_FLAG_APPEND == VFS_FLAG_APPEND,
               "flags of files travel as they are");
_Static_assert(WFSP_PATH_MAX == VFS_PATH_MAX - 1 && WFSP_NAME_MAX == VFS_NAME_MAX, "paths and names travel whole");

#define CREATE_TRIES 8
#define DATA_ACCESS (WFSP_ACCESS_READ | WFSP_ACCESS_WRITE)

static int unknown_flags(const struct wfsp_op *op)
{
	return err_set(-EINVAL, "unknown flags %#x of %s", op->flags, wfsp_op_name(op->code));
}

static const char *name_of(const struct wfsp_bytes *b)
{
	return (const char *)b->p;
}

/* Another handle on what @h refers to. */
static int again(struct vfs_handle *h, struct vfs_handle **ret)
{
	struct vfs_fid fid;
	int err = vfs_get_fid(h, &fid);

	return err ? err : vfs_open_fid(h, &fid, ret);
}

static int enter_root(struct compound *c, struct rpc_tree *tree)
{
	struct vfs_handle *h;
	int err = again(compound_root(c, tree), &h);

	if (!err)
		compound_enter(c, tree, h, 0);
	return err;
}

/* What is done to another export, or to what is mounted in this one, would be outside, and could not be undone. @fid:
 * of the object, NULL: it is the top. */
static int check_in_tx(const struct compound *c, const struct rpc_tree *tree, const struct vfs_fid *fid)
{
	struct vfs_fid top;
	int err = 0;

	if (!c->tx)
		return 0;
	if (tree->key != c->tx->export_key)
		return err_set(-EXDEV, "export '%s' is not in the transaction", tree->name);
	if (fid)
		err = vfs_get_fid(c->tx->root, &top);
	if (!err && fid && fid->fsid != top.fsid)
		err = err_set(-EXDEV, "what is mounted in export '%s' is not in the transaction", tree->name);
	return err;
}

int op_root(struct compound *c, const struct wfsp_op *op, struct wfsp_op_res *res)
{
	char name[WFSP_NAME_MAX + 1];
	struct rpc_tree *tree = NULL;
	int err;

	(void)res;
	if (op->name.len_bytes)
		memcpy(name, op->name.p, op->name.len_bytes);
	name[op->name.len_bytes] = '\0';
	err = rpc_tree_by_name(c->conn, name, &tree);
	if (!err)
		err = check_in_tx(c, tree, NULL);
	if (!err)
		err = enter_root(c, tree);
	if (err == -ESTALE && tree && !c->tx && rpc_tree_is_stale(c->conn, tree)) {
		err = rpc_tree_by_name(c->conn, name, &tree);
		if (!err)
			err = enter_root(c, tree);
	}
	return err;
}

int op_put(struct compound *c, const struct wfsp_op *op, struct wfsp_op_res *res)
{
	struct rpc_tree *tree = NULL;
	struct vfs_handle *h;
	struct vfs_fid fid;
	uint64_t key;
	int err = rpc_fh_open(c->conn->server->secret, &op->handle, &key, &fid);

	(void)res;
	if (!err)
		err = rpc_tree_by_key(c->conn, key, &tree);
	if (!err)
		err = check_in_tx(c, tree, &fid);
	if (!err)
		err = vfs_open_fid(compound_root(c, tree), &fid, &h);
	if (err == -ESTALE && tree && nowait_here())
		return -EAGAIN; /* whose fault that is takes a look at the file system */
	if (err == -ESTALE && tree && !c->tx && rpc_tree_is_stale(c->conn, tree)) {
		err = rpc_tree_by_key(c->conn, key, &tree);
		if (!err)
			err = vfs_open_fid(tree->root, &fid, &h);
	}
	if (!err)
		compound_enter(c, tree, h, 0);
	return err;
}

int op_use(struct compound *c, const struct wfsp_op *op, struct wfsp_op_res *res)
{
	struct rpc_handle *d = rpc_handles_get(&c->conn->handles, op->descriptor);

	(void)res;
	if (c->tx) {
		if (d)
			rpc_handle_unref(c->conn->server->exports, d);
		return err_set(-EINVAL, "an open file's descriptor is not in the transaction");
	}
	if (!d)
		return err_set(-EBADF, "no such descriptor on this connection");
	if (!d->in_tree) {
		rpc_handle_unref(c->conn->server->exports, d);
		return err_set(-EBADF, "the descriptor is not a file's of a tree");
	}
	compound_enter(c, NULL, d->vfs, d->access);
	c->current->descriptor = d;
	return 0;
}

int op_get_handle(struct compound *c, const struct wfsp_op *op, struct wfsp_op_res *res)
{
	struct vfs_fid fid;
	int err;

	(void)op;
	if (!c->current->tree)
		return err_set(-EINVAL, "an open file's descriptor has no handle");
	err = vfs_get_fid(c->current->h, &fid);
	if (err)
		return err;
	rpc_fh_make(c->conn->server->secret, c->current->tree->key, &fid, c->fh);
	res->handle = (struct wfsp_bytes){ c->fh, RPC_FH_BYTES };
	return 0;
}

int op_lookup(struct compound *c, const struct wfsp_op *op, struct wfsp_op_res *res)
{
	struct rpc_tree *tree = c->current->tree;
	const struct vfs_cred *cred;
	struct vfs_handle *h;
	int err = compound_cred(c, &cred);

	(void)res;
	if (err)
		return err;
	/* Nothing above an export is anybody's business: a walk does not lead there. */
	if (op->name.len_bytes == 2 && memcmp(op->name.p, "..", 2) == 0)
		err = vfs_walk(c->conn->server->vfs, cred, compound_root(c, tree), c->current->h, "..", 0, &h);
	else
		err = vfs_lookup(c->current->h, cred, name_of(&op->name), op->name.len_bytes, &h);
	if (!err)
		compound_enter(c, tree, h, 0);
	return err;
}

int op_lookup_path(struct compound *c, const struct wfsp_op *op, struct wfsp_op_res *res)
{
	struct rpc_tree *tree = c->current->tree;
	struct vfs_handle *root = compound_root(c, tree);
	unsigned flags = op->flags & WFSP_WALK_FOLLOW ? VFS_WALK_FOLLOW : 0;
	struct vfs_handle *base = c->current->h, *h;
	char path[VFS_PATH_MAX], *p = path;
	const struct vfs_cred *cred;
	int err = compound_cred(c, &cred);

	(void)res;
	if (err)
		return err;
	if (op->flags & ~WFSP_WALK_FOLLOW)
		return unknown_flags(op);
	if (op->path.len_bytes)
		memcpy(path, op->path.p, op->path.len_bytes);
	path[op->path.len_bytes] = '\0';
	/* An absolute path starts at the top of the export. */
	if (*p == '/')
		base = root;
	while (*p == '/')
		p++;
	err = *p ? vfs_walk(c->conn->server->vfs, cred, root, base, p, flags, &h) : again(base, &h);
	if (!err)
		compound_enter(c, tree, h, 0);
	return err;
}

static int fill_attr(struct compound *c, struct vfs_handle *h, struct wfsp_node_attr *ret)
{
	struct vfs_stat st;
	int err = vfs_stat(h, &st);

	if (!err)
		compound_attr(c->current->tree, &st, ret);
	return err;
}

int op_getattr(struct compound *c, const struct wfsp_op *op, struct wfsp_op_res *res)
{
	(void)op;
	return fill_attr(c, c->current->h, &res->attr);
}

int op_setattr(struct compound *c, const struct wfsp_op *op, struct wfsp_op_res *res)
{
	struct vfs_set_attr attr = { .valid = op->set.valid,
		                     .mode = op->set.mode,
		                     .uid = op->set.uid,
		                     .gid = op->set.gid,
		                     .flags = op->set.file_flags,
		                     .project = op->set.project,
		                     .size_bytes = op->set.size_bytes,
		                     .atime_ns = op->set.atime_ns,
		                     .mtime_ns = op->set.mtime_ns };
	const struct vfs_cred nobody = { .uid = EXPORT_ANON_ID, .gid = EXPORT_ANON_ID, .tag = compound_tag(c) };
	const struct vfs_cred *cred = &nobody;
	struct vfs_handle *h = c->current->h;
	struct vfs_stat st;
	int err = 0;

	if (op->set.valid & ~WFSP_SET_ALL)
		return err_set(-EINVAL, "unknown attributes %#x", op->set.valid);
	/* Whoever has a file open for writing may set its size, whatever its mode says by now. */
	if (!c->current->tree && (op->set.valid != WFSP_SET_SIZE || !(c->current->access & WFSP_ACCESS_WRITE)))
		return err_set(-EINVAL, "by a descriptor for writing, the size can be set, and nothing else");
	if (c->current->tree)
		err = compound_cred(c, &cred);
	/* open(2) with O_TRUNC cuts nothing off a file that it makes: that stays setuid, if it was made so, and keeps
	 * what others have written since, also when all of it is repeated. */
	if (!err && c->made_file && op->set.valid == WFSP_SET_SIZE && !op->set.size_bytes)
		err = vfs_stat(h, &st);
	else if (!err)
		err = vfs_set_attr(h, cred, &attr, &st);
	if (!err)
		compound_attr(c->current->tree, &st, &res->attr);
	return err;
}

int op_guard(struct compound *c, const struct wfsp_op *op, struct wfsp_op_res *res)
{
	struct vfs_stat st;
	int err = vfs_stat(c->current->h, &st);

	(void)res;
	if (!err && st.change != op->change && !compound_guard_passed(c))
		err = err_set(-EREMCHG, "the change counter is %llu", (unsigned long long)st.change);
	return err;
}

/* What is there already is as good, when it is a regular file; with the access that is asked for. */
static int open_existing(struct compound *c, const struct wfsp_op *op, const struct vfs_cred *cred,
                         struct vfs_handle **ret)
{
	struct vfs_handle *h, *data;
	struct vfs_stat st;
	int err = vfs_lookup(c->current->h, cred, name_of(&op->name), op->name.len_bytes, &h);

	if (!err) {
		err = vfs_stat(h, &st);
		if (!err && st.type != VFS_TYPE_FILE)
			err = st.type == VFS_TYPE_DIR ? err_set(-EISDIR, "there is a directory of that name")
			                              : err_set(-EEXIST, "what is there is not a regular file");
		if (!err && op->access) {
			err = vfs_open_handle(h, cred, op->access, &data);
			if (!err) {
				vfs_close(h);
				h = data;
			}
		}
		if (err)
			vfs_close(h);
		else
			*ret = h;
	}
	return err;
}

int op_create(struct compound *c, const struct wfsp_op *op, struct wfsp_op_res *res)
{
	struct vfs_new attr = { .type = (enum vfs_type)op->type,
		                .mode = op->mode & 07777u,
		                .rdev = op->rdev,
		                .target = (const char *)op->path.p,
		                .target_len = op->path.len_bytes };
	struct rpc_tree *tree = c->current->tree;
	const struct vfs_cred *cred;
	struct vfs_handle *h;
	int err = compound_cred(c, &cred);

	if (err)
		return err;
	if (op->flags & ~WFSP_CREATE_EXCLUSIVE)
		return unknown_flags(op);
	if (op->type < WFSP_TYPE_FILE || op->type > WFSP_TYPE_SOCKET || (op->access & ~DATA_ACCESS) ||
	    (op->access && op->type != WFSP_TYPE_FILE) || (op->type == WFSP_TYPE_SYMLINK) != (attr.target_len > 0))
		return err_set(-EINVAL, "an object of type %u, access %#x, and a target of %zu bytes", op->type,
		               op->access, attr.target_len);
	/* What is there may be gone at a second look, and there again at a third: not for ever. */
	for (int tries = 0; tries < CREATE_TRIES; tries++) {
		res->created = true;
		err = vfs_create(c->current->h, cred, name_of(&op->name), op->name.len_bytes, &attr, op->access, &h,
		                 NULL);
		if (err == -EEXIST && op->type == WFSP_TYPE_FILE && !(op->flags & WFSP_CREATE_EXCLUSIVE)) {
			res->created = false;
			err = open_existing(c, op, cred, &h);
		}
		if (err != -ENOENT || res->created)
			break;
	}
	if (!err)
		compound_enter(c, tree, h, op->access);
	return err;
}

int op_create_nameless(struct compound *c, const struct wfsp_op *op, struct wfsp_op_res *res)
{
	const struct vfs_cred *cred;
	struct vfs_handle *h;
	int err = compound_cred(c, &cred);

	(void)res;
	if (!err)
		err = vfs_create_nameless(c->current->h, cred, op->mode & 07777u, &h);
	if (!err)
		compound_enter(c, c->current->tree, h, DATA_ACCESS);
	return err;
}

/* Two objects of one operation must be on the same export: otherwise it would lead from one into another. */
static int same_export(const struct compound *c)
{
	return c->current->tree && c->current->tree == c->saved->tree ? 0 : err_set(-EXDEV, "on different exports");
}

int op_link(struct compound *c, const struct wfsp_op *op, struct wfsp_op_res *res)
{
	const struct vfs_cred *cred;
	int err = compound_cred(c, &cred);

	(void)res;
	if (!err)
		err = same_export(c);
	if (!err)
		err = vfs_link(c->current->h, cred, name_of(&op->name), op->name.len_bytes, c->saved->h);
	return err;
}

int op_unlink(struct compound *c, const struct wfsp_op *op, struct wfsp_op_res *res)
{
	const struct vfs_cred *cred;
	int err = compound_cred(c, &cred);

	(void)res;
	if (!err && (op->flags & ~WFSP_UNLINK_DIR))
		err = unknown_flags(op);
	if (!err)
		err = vfs_unlink(c->current->h, cred, name_of(&op->name), op->name.len_bytes,
		                 op->flags & WFSP_UNLINK_DIR);
	return err;
}

int op_rename(struct compound *c, const struct wfsp_op *op, struct wfsp_op_res *res)
{
	const struct vfs_cred *cred;
	int err = compound_cred(c, &cred);

	(void)res;
	if (!err)
		err = same_export(c);
	if (!err && (op->flags & ~(WFSP_RENAME_NOREPLACE | WFSP_RENAME_EXCHANGE)))
		err = unknown_flags(op);
	if (!err)
		err = vfs_rename(c->saved->h, cred, name_of(&op->name), op->name.len_bytes, c->current->h,
		                 name_of(&op->new_name), op->new_name.len_bytes, op->flags);
	return err;
}

int op_read_link(struct compound *c, const struct wfsp_op *op, struct wfsp_op_res *res)
{
	size_t len;
	int err = vfs_read_link(c->current->h, c->path, &len);

	(void)op;
	if (!err)
		res->path = (struct wfsp_bytes){ (const uint8_t *)c->path, (uint32_t)len };
	return err;
}

struct listing {
	struct compound *c;
	const struct vfs_cred *cred;
	uint32_t flags;
	size_t end; /* of the answer */
	uint32_t count;
	bool full;
	bool must_wait; /* which this thread must not */
};

/* Attributes and handle of an entry; without them when it is gone, or hidden from the caller, by now. False: that takes
 * waiting, here. */
static bool fill_entry(const struct listing *l, const struct vfs_dirent *e, struct wfsp_dirent *ret, uint8_t *fh)
{
	struct rpc_tree *tree = l->c->current->tree;
	struct vfs_handle *h;
	struct vfs_stat st;
	struct vfs_fid fid;
	int err = vfs_lookup(l->c->current->h, l->cred, e->name, e->name_len, &h);

	if (err)
		return err != -EAGAIN || !nowait_here();
	if ((l->flags & WFSP_READDIR_ATTR) && vfs_stat(h, &st) == 0) {
		compound_attr(tree, &st, &ret->attr);
		ret->has_attr = true;
	}
	if ((l->flags & WFSP_READDIR_HANDLE) && vfs_get_fid(h, &fid) == 0) {
		rpc_fh_make(l->c->conn->server->secret, tree->key, &fid, fh);
		ret->handle = (struct wfsp_bytes){ fh, RPC_FH_BYTES };
	}
	vfs_close(h);
	return true;
}

static bool list_entry(void *ctx, const struct vfs_dirent *e)
{
	struct listing *l = ctx;
	struct wr *w = &l->c->w;
	struct wfsp_dirent entry = { .cookie = e->cookie,
		                     .fileid = e->object,
		                     .type = e->type,
		                     .name = { (const uint8_t *)e->name, (uint32_t)e->name_len } };
	size_t start = w->pos;
	uint8_t fh[RPC_FH_BYTES];

	/* The largest that it can be: not looked up in vain. */
	if (w->pos + WFSP_DIRENT_BYTES(e->name_len) + (l->flags & WFSP_READDIR_ATTR ? WFSP_NODE_ATTR_BYTES : 0) +
	            (l->flags & WFSP_READDIR_HANDLE ? RPC_FH_BYTES : 0) >
	    l->end) {
		l->full = true;
		return false;
	}
	if (l->flags && !fill_entry(l, e, &entry, fh)) {
		l->must_wait = true;
		return false;
	}
	wfsp_put_dirent(w, &entry);
	if (w->bad) {
		w->bad = false;
		w->pos = start;
		l->full = true;
		return false;
	}
	l->count++;
	return true;
}

/* status, code, eof, count, then the entries. */
#define LISTING_HEAD_BYTES 16u
/* More takes too long for a loop. */
#define LOOP_LISTING_BYTES (32u << 10)

int op_readdir(struct compound *c, const struct wfsp_op *op, struct wfsp_op_res *res)
{
	struct listing l = { .c = c, .flags = op->flags };
	uint8_t *head = c->w.base + c->w.pos;
	struct wr w;
	size_t room;
	int err = compound_cred(c, &l.cred);

	(void)res;
	if (err)
		return err;
	if (op->flags & ~(WFSP_READDIR_ATTR | WFSP_READDIR_HANDLE))
		return unknown_flags(op);
	if (op->max_bytes > LOOP_LISTING_BYTES && nowait_here())
		return -EAGAIN;
	if (!compound_room(c, LISTING_HEAD_BYTES, op->max_bytes, &room))
		return -EMSGSIZE;
	wr_zero(&c->w, LISTING_HEAD_BYTES);
	l.end = c->w.pos + room;
	err = vfs_readdir(c->current->h, l.cred, op->offset, list_entry, &l);
	if (!err && l.must_wait)
		err = -EAGAIN;
	if (!err && l.full && !l.count)
		err = err_set(-EMSGSIZE, "not a single entry fits into %zu bytes", room);
	if (err)
		return err;
	w = wr_init(head, LISTING_HEAD_BYTES);
	wr_be32(&w, WFSP_OK);
	wr_be32(&w, WFSP_OP_READDIR);
	xdr_put_bool(&w, !l.full);
	wr_be32(&w, l.count);
	return 0;
}
