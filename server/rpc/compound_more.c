/* SPDX-License-Identifier: BSD-3-Clause */
/* The operations of a COMPOUND on extended attributes, file systems, access and locks. */
#include <errno.h>

#include "core/base/err.h"
#include "protocol/xdr/xdr.h"
#include "server/rpc/compound.h"
#include "server/rpc/grace.h"

_Static_assert(WFSP_XATTR_CREATE == VFS_XATTR_CREATE && WFSP_XATTR_REPLACE == VFS_XATTR_REPLACE &&
                       WFSP_XATTR_MAX == VFS_XATTR_BYTES_MAX && WFSP_NAME_MAX == VFS_XATTR_NAME_MAX,
               "extended attributes travel as they are");
_Static_assert((int)WFSP_LOCK_SHARED == (int)VFS_LOCK_SHARED && (int)WFSP_LOCK_EXCLUSIVE == (int)VFS_LOCK_EXCLUSIVE,
               "types of locks travel as they are");

struct text {
	char s[VFS_XATTR_NAME_MAX + 1];
};

static struct text text_of(const struct wfsp_bytes *name)
{
	struct text t;

	memcpy(t.s, name->p, name->len_bytes);
	t.s[name->len_bytes] = '\0';
	return t;
}

/* status, code, length of the value, length of what follows */
#define XATTR_HEAD_BYTES 16u

int op_get_xattr(struct compound *c, const struct wfsp_op *op, struct wfsp_op_res *res)
{
	struct text name = text_of(&op->name);
	const struct vfs_cred *cred;
	size_t room, len = 0;
	uint8_t *to;
	struct wr w;
	int err = compound_cred(c, &cred);

	(void)res;
	if (err)
		return err;
	to = compound_room(c, XATTR_HEAD_BYTES, op->max_bytes, &room);
	if (!to || (room < op->max_bytes && room < WFSP_XATTR_MAX))
		return err_set(-EMSGSIZE, "no room for %u bytes of a value", op->max_bytes);
	err = vfs_get_xattr(c->current->h, cred, name.s, to, room, &len);
	if (err == -ERANGE && !op->max_bytes)
		err = 0;
	if (err)
		return err;
	w = wr_init(c->w.base + c->w.pos, XATTR_HEAD_BYTES);
	wr_be32(&w, WFSP_OK);
	wr_be32(&w, WFSP_OP_GET_XATTR);
	wr_be32(&w, (uint32_t)len);
	if (!op->max_bytes)
		len = 0;
	wr_be32(&w, (uint32_t)len);
	c->w.pos += XATTR_HEAD_BYTES + len;
	wr_zero(&c->w, xdr_pad_bytes(len));
	return 0;
}

int op_set_xattr(struct compound *c, const struct wfsp_op *op, struct wfsp_op_res *res)
{
	struct text name = text_of(&op->name);
	const struct vfs_cred *cred;
	int err = compound_cred(c, &cred);

	(void)res;
	if (!err && (op->flags & ~(WFSP_XATTR_CREATE | WFSP_XATTR_REPLACE)))
		err = err_set(-EINVAL, "unknown flags %#x of an extended attribute", op->flags);
	if (!err && op->data.len_bytes > WFSP_XATTR_MAX)
		err = err_set(-E2BIG, "a value of %u bytes", op->data.len_bytes);
	if (!err)
		err = vfs_set_xattr(c->current->h, cred, name.s, op->data.p, op->data.len_bytes, op->flags);
	return err;
}

int op_remove_xattr(struct compound *c, const struct wfsp_op *op, struct wfsp_op_res *res)
{
	struct text name = text_of(&op->name);
	const struct vfs_cred *cred;
	int err = compound_cred(c, &cred);

	(void)res;
	return err ? err : vfs_remove_xattr(c->current->h, cred, name.s);
}

struct names {
	struct compound *c;
	size_t end;
	uint32_t count;
	bool full;
};

static bool list_name(void *ctx, const char *name, size_t len)
{
	struct names *n = ctx;

	if (n->c->w.pos + XDR_UNIT + len + xdr_pad_bytes(len) > n->end) {
		n->full = true;
		return false;
	}
	xdr_put_opaque(&n->c->w, name, len);
	n->count++;
	return true;
}

/* status, code, count */
#define NAMES_HEAD_BYTES 12u

int op_list_xattr(struct compound *c, const struct wfsp_op *op, struct wfsp_op_res *res)
{
	struct names n = { .c = c };
	uint8_t *head = c->w.base + c->w.pos;
	const struct vfs_cred *cred;
	struct wr w;
	size_t room;
	int err = compound_cred(c, &cred);

	(void)res;
	if (err)
		return err;
	if (!compound_room(c, NAMES_HEAD_BYTES, op->max_bytes, &room))
		return -EMSGSIZE;
	wr_zero(&c->w, NAMES_HEAD_BYTES);
	n.end = c->w.pos + room;
	err = vfs_list_xattr(c->current->h, cred, list_name, &n);
	if (!err && n.full)
		err = err_set(-ERANGE, "the names take more than %zu bytes", room);
	if (err)
		return err;
	w = wr_init(head, NAMES_HEAD_BYTES);
	wr_be32(&w, WFSP_OK);
	wr_be32(&w, WFSP_OP_LIST_XATTR);
	wr_be32(&w, n.count);
	return 0;
}

int op_statfs(struct compound *c, const struct wfsp_op *op, struct wfsp_op_res *res)
{
	const struct rpc_tree *tree = c->current->tree;
	struct vfs_statfs st;
	int err = vfs_statfs(c->current->h, &st);

	(void)op;
	if (!err)
		res->statfs = (struct wfsp_statfs){ .fsid = st.fsid,
			                            .total_bytes = st.total_bytes,
			                            .free_bytes = st.free_bytes,
			                            .available_bytes = st.available_bytes,
			                            .objects = st.object_count,
			                            .objects_free = st.objects_free,
			                            .block_bytes = st.block_bytes,
			                            .name_max = st.name_max,
			                            .read_only = st.read_only || (tree && rpc_tree_read_only(tree)) };
	return err;
}

int op_access(struct compound *c, const struct wfsp_op *op, struct wfsp_op_res *res)
{
	const struct vfs_cred *cred;
	int err = compound_cred(c, &cred);

	if (err)
		return err;
	if (op->access & ~(WFSP_ACCESS_READ | WFSP_ACCESS_WRITE | WFSP_ACCESS_EXEC))
		return err_set(-EINVAL, "unknown access %#x", op->access);
	for (unsigned bit = WFSP_ACCESS_EXEC; bit <= WFSP_ACCESS_READ; bit <<= 1) {
		if (!(op->access & bit) || (bit == WFSP_ACCESS_WRITE && rpc_tree_read_only(c->current->tree)))
			continue;
		err = vfs_access(c->current->h, cred, bit);
		if (!err)
			res->access |= bit;
		else if (err != -EACCES && err != -EROFS)
			return err;
	}
	return 0;
}

static int vfs_lock_of(struct compound *c, const struct wfsp_lock *l, bool make, struct vfs_lock *ret)
{
	*ret = (struct vfs_lock){ .type = (enum vfs_lock_type)l->type, .offset = l->offset, .len_bytes = l->len_bytes };
	if (c->conn->session)
		ret->share = rpc_session_lock_share(c->conn->session);
	return rpc_session_owner(&c->conn->server->sessions, c->conn->session, l->owner, make, &ret->owner);
}

/* Clients lock that for flock(2). */
#define WHOLE_FILE_OFFSET (UINT64_C(1) << 63)

static int check_lock_range(const struct wfsp_lock *l)
{
	if (!l->len_bytes || (l->len_bytes != UINT64_MAX && l->offset > UINT64_MAX - l->len_bytes))
		return err_set(-EINVAL, "a lock on %llu bytes at %llu", (unsigned long long)l->len_bytes,
		               (unsigned long long)l->offset);
	return 0;
}

static int check_lock(const struct wfsp_lock *l)
{
	if (l->type != WFSP_LOCK_SHARED && l->type != WFSP_LOCK_EXCLUSIVE)
		return err_set(-EINVAL, "a lock of type %u", l->type);
	return check_lock_range(l);
}

int compound_lock(struct compound *c, const struct wfsp_lock *l, bool reclaim, struct vfs_lock *ret,
                  struct vfs_handle **ret_h)
{
	const struct node *n = c->current;
	unsigned access = l->type == WFSP_LOCK_SHARED ? VFS_ACCESS_READ : VFS_ACCESS_WRITE;
	int err = check_lock(l);

	/* Beyond all files: it stands for the whole file, which may be open in any way. */
	if (l->offset >= WHOLE_FILE_OFFSET)
		access = n->descriptor ? n->access : VFS_ACCESS_READ;
	/* Who may not use the data must not keep others from it. */
	if (!err)
		err = compound_io(c, c->current, access, ret_h);
	if (!err)
		err = vfs_lock_of(c, l, true, ret);
	return err ? err
	           : rpc_grace_admit(c->conn->server->grace, rpc_session_key(c->conn->session), c->conn->origin,
	                             reclaim);
}

int op_lock(struct compound *c, const struct wfsp_op *op, struct wfsp_op_res *res)
{
	struct vfs_lock lock;
	struct vfs_handle *h;
	int err = compound_lock(c, &op->lock, op->code == WFSP_OP_LOCK_RECLAIM, &lock, &h);

	(void)res;
	return err ? err : vfs_lock(h, &lock, NULL, NULL, NULL);
}

int op_lock_reclaim(struct compound *c, const struct wfsp_op *op, struct wfsp_op_res *res)
{
	return op_lock(c, op, res);
}

int op_reclaimed(struct compound *c, const struct wfsp_op *op, struct wfsp_op_res *res)
{
	(void)op;
	(void)res;
	if (!c->conn->session)
		return err_set(-EINVAL, "locks need a HELLO");
	rpc_grace_reclaimed(c->conn->server->grace, rpc_session_key(c->conn->session), c->conn->origin);
	return 0;
}

int op_lock_test(struct compound *c, const struct wfsp_op *op, struct wfsp_op_res *res)
{
	struct vfs_lock lock, other;
	int err = check_lock(&op->lock);

	if (!err)
		err = vfs_lock_of(c, &op->lock, false, &lock);
	if (!err)
		err = vfs_lock_test(c->current->h, &lock, &other);
	if (err == -ENOENT) {
		res->lock = (struct wfsp_lock){ .type = WFSP_LOCK_NONE };
		return 0;
	}
	if (!err)
		res->lock = (struct wfsp_lock){ other.owner, other.type, other.offset, other.len_bytes };
	return err;
}

int op_unlock(struct compound *c, const struct wfsp_op *op, struct wfsp_op_res *res)
{
	uint64_t owner;
	int err = check_lock_range(&op->lock);

	(void)res;
	if (!err)
		err = rpc_session_owner(&c->conn->server->sessions, c->conn->session, op->lock.owner, false, &owner);
	return err ? err : vfs_unlock(c->current->h, owner, op->lock.offset, op->lock.len_bytes);
}
