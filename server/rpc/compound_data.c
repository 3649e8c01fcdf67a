/* SPDX-License-Identifier: BSD-3-Clause */
/* The operations of a COMPOUND on the data of files. */
#include <errno.h>
#include <stdlib.h>

#include "core/base/err.h"
#include "core/base/nowait.h"
#include "protocol/xdr/xdr.h"
#include "server/rpc/compound.h"

#define COPY_PIECE_BYTES (1u << 20)
#define COPY_BYTES_MAX (256u << 20) /* of one compound: a worker is not kept for ever */
#define DATA_ACCESS (WFSP_ACCESS_READ | WFSP_ACCESS_WRITE)

/* The data stands in its place behind @head bytes, which the caller has written: add what pads it. */
static void finish_data(struct compound *c, size_t head, size_t len)
{
	c->w.pos += head + len;
	wr_zero(&c->w, xdr_pad_bytes(len));
}

static unsigned nowait_flag(void)
{
	return nowait_here() ? VFS_NOWAIT : 0;
}

static int read_at(struct vfs_handle *h, void *to, size_t len, uint64_t offset, size_t *ret_len, bool *ret_eof)
{
	struct iovec iov = { to, len };
	struct vfs_stat st;
	int err = 0;

	*ret_len = 0;
	if (len)
		err = vfs_read_some(h, &iov, 1, offset, nowait_flag(), ret_len);
	*ret_eof = *ret_len < len;
	if (!err && !*ret_eof) {
		err = vfs_stat(h, &st);
		*ret_eof = offset + *ret_len >= st.size_bytes;
	}
	return err;
}

/* status, code, eof, length */
#define READ_HEAD_BYTES 16u

int op_read(struct compound *c, const struct wfsp_op *op, struct wfsp_op_res *res)
{
	struct vfs_handle *h;
	size_t room, len;
	uint8_t *to;
	struct wr w;
	bool eof;
	int err = compound_io(c, c->current, VFS_ACCESS_READ, &h);

	(void)res;
	if (err)
		return err;
	to = compound_room(c, READ_HEAD_BYTES, op->max_bytes, &room);
	if (!to || room < op->max_bytes)
		return err_set(-EMSGSIZE, "no room for %u bytes of data", op->max_bytes);
	err = read_at(h, to, op->max_bytes, op->offset, &len, &eof);
	if (err)
		return err;
	w = wr_init(c->w.base + c->w.pos, READ_HEAD_BYTES);
	wr_be32(&w, WFSP_OK);
	wr_be32(&w, WFSP_OP_READ);
	xdr_put_bool(&w, eof);
	wr_be32(&w, (uint32_t)len);
	finish_data(c, READ_HEAD_BYTES, len);
	c->op->read_bytes += len;
	return 0;
}

static int write_data(struct vfs_handle *h, const struct wfsp_bytes *data, uint64_t offset, unsigned flags)
{
	struct iovec iov = { (void *)(uintptr_t)data->p, data->len_bytes };

	return data->len_bytes ? vfs_write(h, &iov, 1, offset, flags | nowait_flag()) : 0;
}

static int append_data(struct compound *c, struct vfs_handle *h, const struct wfsp_bytes *data, unsigned flags)
{
	struct iovec iov = { (void *)(uintptr_t)data->p, data->len_bytes };

	return data->len_bytes ? vfs_append(h, &iov, 1, flags, compound_tag(c)) : 0;
}

int op_write(struct compound *c, const struct wfsp_op *op, struct wfsp_op_res *res)
{
	unsigned flags = (op->flags & WFSP_WRITE_FUA ? VFS_FUA : 0) | (op->flags & WFSP_WRITE_APPEND ? VFS_APPEND : 0);
	struct vfs_handle *h;
	int err;

	(void)res;
	if (op->flags & ~(WFSP_WRITE_FUA | WFSP_WRITE_APPEND))
		return err_set(-EINVAL, "unknown flags %#x of a write", op->flags);
	err = compound_io(c, c->current, VFS_ACCESS_WRITE, &h);
	if (!err && (flags & VFS_APPEND))
		err = append_data(c, h, &op->data, flags);
	else if (!err)
		err = write_data(h, &op->data, op->offset, flags);
	if (!err)
		c->op->written_bytes += op->data.len_bytes;
	return err;
}

int op_commit(struct compound *c, const struct wfsp_op *op, struct wfsp_op_res *res)
{
	(void)op;
	(void)res;
	return vfs_flush(c->current->h, 0);
}

int op_commit_range(struct compound *c, const struct wfsp_op *op, struct wfsp_op_res *res)
{
	(void)res;
	return vfs_flush_range(c->current->h, op->offset, op->len_bytes, 0);
}

int op_allocate(struct compound *c, const struct wfsp_op *op, struct wfsp_op_res *res)
{
	/* It has the file open for writing: that is enough. */
	static const struct vfs_cred nobody = { .uid = EXPORT_ANON_ID, .gid = EXPORT_ANON_ID };
	struct vfs_set_attr grow = { .valid = VFS_SET_SIZE };
	struct vfs_handle *h;
	struct vfs_stat st;
	int err;

	(void)res;
	if (op->flags > WFSP_ALLOCATE_COLLAPSE)
		return err_set(-EOPNOTSUPP, "a mode %u of allocation", op->flags);
	err = compound_io(c, c->current, VFS_ACCESS_WRITE, &h);
	if (!err && op->flags == WFSP_ALLOCATE_COLLAPSE)
		return vfs_collapse(h, op->offset, op->len_bytes, compound_tag(c));
	if (err || !op->len_bytes)
		return err;
	if (op->offset > VFS_FILE_BYTES_MAX || op->len_bytes > VFS_FILE_BYTES_MAX - op->offset)
		return err_set(-EFBIG, "a range beyond all files");
	err = vfs_stat(h, &st);
	if (err)
		return err;
	if (op->flags == WFSP_ALLOCATE_PUNCH) {
		uint64_t end = op->offset + op->len_bytes < st.size_bytes ? op->offset + op->len_bytes : st.size_bytes;

		return op->offset < end ? vfs_zero(h, op->offset, end - op->offset, 0) : 0;
	}
	if (st.grows && op->offset + op->len_bytes > st.size_bytes) {
		grow.size_bytes = op->offset + op->len_bytes;
		err = vfs_set_attr(h, &nobody, &grow, NULL);
	}
	return err ? err : vfs_zero(h, op->offset, op->len_bytes, VFS_NO_HOLE);
}

#define SEEK_EXTENTS 64u

int op_seek(struct compound *c, const struct wfsp_op *op, struct wfsp_op_res *res)
{
	struct vfs_extent found[SEEK_EXTENTS];
	bool want_hole = op->flags == WFSP_SEEK_HOLE;
	uint64_t at = op->offset;
	struct vfs_handle *h;
	struct vfs_stat st;
	unsigned count;
	int err;

	if (op->flags > WFSP_SEEK_HOLE)
		return err_set(-EINVAL, "a search for %u", op->flags);
	err = compound_io(c, c->current, VFS_ACCESS_READ, &h);
	if (!err)
		err = vfs_stat(h, &st);
	if (err)
		return err;
	if (at >= st.size_bytes)
		return err_set(-ENXIO, "beyond the end of the file");
	while (at < st.size_bytes) {
		err = vfs_extents(h, at, st.size_bytes - at, 0, found, SEEK_EXTENTS, &count);
		if (err)
			return err;
		for (unsigned i = 0; i < count; i++) {
			if (found[i].hole == want_hole) {
				res->offset = at;
				return 0;
			}
			at += found[i].len_bytes;
		}
	}
	/* There is a hole behind the end. */
	res->offset = st.size_bytes;
	return want_hole ? 0 : err_set(-ENXIO, "no data from there on");
}

/* What lies between is copied piece by piece; holes of the source stay holes where the target has nothing. */
static int copy_loop(struct vfs_handle *from, uint64_t from_offset, struct vfs_handle *to, uint64_t to_offset,
                     uint64_t len, uint64_t *ret_len)
{
	uint8_t *piece = malloc(COPY_PIECE_BYTES);
	uint64_t done = 0;
	bool eof = false;
	int err = piece ? 0 : err_set(-ENOMEM, "no memory for a copy");

	while (!err && !eof && done < len) {
		size_t n = len - done < COPY_PIECE_BYTES ? (size_t)(len - done) : COPY_PIECE_BYTES;

		err = read_at(from, piece, n, from_offset + done, &n, &eof);
		if (!err)
			err = write_data(to, &(struct wfsp_bytes){ piece, (uint32_t)n }, to_offset + done, 0);
		if (!err)
			done += n;
	}
	free(piece);
	/* What is done is told; the error comes again with the rest. */
	if (err && !done)
		return err;
	*ret_len = done;
	return 0;
}

int op_copy(struct compound *c, const struct wfsp_op *op, struct wfsp_op_res *res)
{
	uint64_t left = COPY_BYTES_MAX - c->copied_bytes, len = op->len_bytes < left ? op->len_bytes : left;
	struct vfs_handle *from, *to;
	struct vfs_stat st, other;
	struct node *current = c->current;
	/* Within one file there is one handle for both: what is opened later would take the place of the first. */
	unsigned access = VFS_ACCESS_WRITE | (c->saved == current ? VFS_ACCESS_READ : 0);
	int err = compound_io(c, current, access, &to);

	if (!err) {
		/* The source is opened for who may use it, on its own export. */
		c->current = c->saved;
		err = compound_io(c, c->saved, VFS_ACCESS_READ, &from);
		c->current = current;
	}
	if (!err)
		err = vfs_stat(from, &st);
	if (!err)
		err = vfs_stat(to, &other);
	if (err)
		return err;
	if (op->offset > UINT64_MAX - len || op->new_offset > UINT64_MAX - len)
		return err_set(-EINVAL, "a range beyond all ends");
	if (st.fsid == other.fsid && st.object == other.object && op->offset < op->new_offset + len &&
	    op->new_offset < op->offset + len)
		return err_set(-EINVAL, "source and target overlap");
	if (!left && op->len_bytes)
		return err_set(-E2BIG, "more than %u bytes to be copied in one request", COPY_BYTES_MAX);
	err = copy_loop(from, op->offset, to, op->new_offset, len, &res->len_bytes);
	if (!err)
		c->copied_bytes += res->len_bytes;
	return err;
}

/* status, code, attributes, eof, length */
#define GET_FILE_HEAD_BYTES (16u + WFSP_NODE_ATTR_BYTES)

int op_get_file(struct compound *c, const struct wfsp_op *op, struct wfsp_op_res *res)
{
	size_t room, want, len;
	struct vfs_handle *h;
	struct vfs_stat st;
	uint8_t *to;
	struct wr w;
	bool eof;
	int err = compound_io(c, c->current, VFS_ACCESS_READ, &h);

	if (!err)
		err = vfs_stat(h, &st);
	if (err)
		return err;
	to = compound_room(c, GET_FILE_HEAD_BYTES, op->max_bytes, &room);
	want = st.size_bytes < op->max_bytes ? (size_t)st.size_bytes : op->max_bytes;
	if (!to || room < want)
		return err_set(-EMSGSIZE, "no room for %zu bytes of data", want);
	err = read_at(h, to, want, 0, &len, &eof);
	if (err)
		return err;
	compound_attr(c->current->tree, &st, &res->attr);
	w = wr_init(c->w.base + c->w.pos, GET_FILE_HEAD_BYTES);
	wr_be32(&w, WFSP_OK);
	wr_be32(&w, WFSP_OP_GET_FILE);
	wfsp_put_node_attr(&w, &res->attr);
	xdr_put_bool(&w, eof);
	wr_be32(&w, (uint32_t)len);
	finish_data(c, GET_FILE_HEAD_BYTES, len);
	c->op->read_bytes += len;
	return 0;
}

/*
 * Who had a file open may have it again after a lost connection, though its mode would bar it by now: its owner could
 * change that anyway.
 */
static int reopen(struct compound *c, const struct vfs_cred *cred, const struct wfsp_op *op, struct vfs_handle **ret)
{
	struct vfs_stat st;
	int err = vfs_open_handle(c->current->h, cred, op->access, ret);

	if (err != -EACCES || !(op->flags & WFSP_REOPEN_OWNER))
		return err;
	if (vfs_stat(c->current->h, &st) || st.uid != cred->uid)
		return err;
	return vfs_open_handle(c->current->h, NULL, op->access, ret);
}

int op_open(struct compound *c, const struct wfsp_op *op, struct wfsp_op_res *res)
{
	struct node *n = c->current;
	const struct vfs_cred *cred;
	struct vfs_handle *h;
	struct vfs_stat st;
	int err = compound_cred(c, &cred);

	if (err)
		return err;
	if (!op->access || (op->access & ~DATA_ACCESS) || (op->flags & ~WFSP_REOPEN_OWNER))
		return err_set(-EINVAL, "access %#x, flags %#x of OPEN", op->access, op->flags);
	if (c->tx)
		return err_set(-EOPNOTSUPP, "a descriptor would outlive the transaction");
	if ((op->access & WFSP_ACCESS_WRITE) && rpc_tree_read_only(n->tree))
		return err_set(-EROFS, "export '%s' is read-only", n->tree->name);
	/* What was created here may be opened by whoever created it. */
	if ((n->access & op->access) == op->access)
		err = vfs_open_handle(n->h, NULL, op->access, &h);
	else
		err = reopen(c, cred, op, &h);
	if (!err) {
		err = vfs_stat(h, &st);
		if (!err)
			err = rpc_handles_add_file(&c->conn->handles, h, n->tree ? n->tree->stats : NULL, st.fsid,
			                           op->access, &res->descriptor);
		if (err)
			vfs_close(h);
	}
	if (!err)
		compound_attr(n->tree, &st, &res->attr);
	return err;
}

int op_close(struct compound *c, const struct wfsp_op *op, struct wfsp_op_res *res)
{
	(void)res;
	if (rpc_handles_remove(&c->conn->handles, c->conn->server->exports, op->descriptor))
		return 0;
	return err_set(-EBADF, "no such descriptor on this connection");
}
