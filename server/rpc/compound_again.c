/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Compounds that are sent again when nobody has their answer any more: after a restart of the server, or because it
 * could not be kept. File systems tell which of the changes were made; these are answered from what they tell, and
 * everything else is done (again). So what must not be done twice is done once, and what a crash has undone is done
 * once more.
 */
#include <errno.h>

#include "core/base/err.h"
#include "server/rpc/compound.h"

const struct vfs_tag *compound_tag(const struct compound *c)
{
	return c->tagged ? &c->tag : NULL;
}

static bool has_result(const struct wfsp_op *op)
{
	switch (op->code) {
	case WFSP_OP_CREATE:
	case WFSP_OP_CREATE_NAMELESS:
	case WFSP_OP_LINK:
	case WFSP_OP_UNLINK:
	case WFSP_OP_RENAME:
	case WFSP_OP_SETATTR:
	case WFSP_OP_SET_XATTR:
	case WFSP_OP_REMOVE_XATTR:
	case WFSP_OP_PUT_FILE:
		return true;
	case WFSP_OP_WRITE:
		return op->flags & WFSP_WRITE_APPEND;
	default:
		return false;
	}
}

/* Ask for the operation at @index, in the file system of the current object. 1: it was done, 0: it was not. */
static int recall(struct compound *c, uint32_t index, struct vfs_result *ret)
{
	struct vfs_tag tag;
	int err;

	rpc_slot_tag(c->conn->session, c->conn->client_conn, &c->op->args.compound, index, &tag);
	err = vfs_recall(c->current->h, &tag, ret);
	if (c->slot_unkept || (err == -EOPNOTSUPP && c->slot_state == RPC_SLOT_FORGOTTEN))
		return err_set(-ENOMEM, "the answer of this slot could not be kept");
	if (err == -ENOENT || err == -EOPNOTSUPP)
		return 0;
	return err ? err : 1;
}

/* The object with that number, in the current one's file system, becomes current, open for @access as whoever created
 * it has it. If it is gone, nothing is current. */
static int enter_created(struct compound *c, uint64_t number, unsigned access)
{
	struct rpc_tree *tree = c->current->tree;
	struct vfs_handle *h, *data;
	struct vfs_fid fid;
	int err = vfs_get_fid(c->current->h, &fid);

	fid.object = number;
	if (!err)
		err = vfs_open_fid(c->current->h, &fid, &h);
	if (err == -ESTALE) {
		c->current = NULL;
		return 0;
	}
	if (!err && access) {
		err = vfs_open_handle(h, NULL, access, &data);
		vfs_close(h);
		h = data;
	}
	if (!err)
		compound_enter(c, tree, h, access);
	return err;
}

/* It may have been answered, and lost, before its data was durable: the data goes to the same place once more. */
static int append_again(struct compound *c, const struct wfsp_op *op, uint64_t offset)
{
	unsigned flags = op->flags & WFSP_WRITE_FUA ? VFS_FUA : 0;
	struct iovec iov = { (void *)(uintptr_t)op->data.p, op->data.len_bytes };
	struct vfs_handle *h;
	struct vfs_stat st;
	int err = compound_io(c, c->current, VFS_ACCESS_WRITE, &h);

	if (!err)
		err = vfs_stat(h, &st);
	/* Somebody has made the file shorter since, or it takes data at its end only. */
	if (err || st.size_bytes < offset || !iov.iov_len || st.flags)
		return err;
	return vfs_write(h, &iov, 1, offset, flags);
}

static int put_file_again(struct compound *c, const struct wfsp_op *op, uint64_t number, struct wfsp_op_res *res)
{
	struct iovec iov = { (void *)(uintptr_t)op->data.p, op->data.len_bytes };
	struct vfs_stat st;
	int err = enter_created(c, number, VFS_ACCESS_WRITE);

	if (err)
		return err;
	if (!c->current)
		return err_set(-ESTALE, "the file is gone by now");
	if (iov.iov_len)
		err = vfs_write(c->current->h, &iov, 1, 0, 0);
	if (!err)
		err = vfs_stat(c->current->h, &st);
	if (!err)
		compound_attr(c->current->tree, &st, &res->attr);
	return err;
}

/* What was done is answered. 0, or 1: it is to be done all the same. */
static int answer(struct compound *c, const struct wfsp_op *op, const struct vfs_result *r, struct wfsp_op_res *res)
{
	struct vfs_stat st;
	int err;

	switch (op->code) {
	case WFSP_OP_CREATE:
		res->created = true;
		return enter_created(c, r->number, op->access);
	case WFSP_OP_CREATE_NAMELESS: {
		struct node *dir = c->current;

		err = enter_created(c, r->number, VFS_ACCESS_READ | VFS_ACCESS_WRITE);
		if (err || c->current)
			return err;
		/* Without a name it has gone with the server. */
		c->current = dir;
		return 1;
	}
	case WFSP_OP_PUT_FILE:
		/* Of a file that was there, only the size was changed. */
		return r->number ? put_file_again(c, op, r->number, res) : 1;
	case WFSP_OP_WRITE:
		return append_again(c, op, r->number);
	case WFSP_OP_SETATTR:
		err = vfs_stat(c->current->h, &st);
		if (!err)
			compound_attr(c->current->tree, &st, &res->attr);
		return err;
	default:
		return 0;
	}
}

int compound_begin_change(struct compound *c, const struct wfsp_op *op, struct wfsp_op_res *res)
{
	struct vfs_result r;
	int done;

	c->tagged = false;
	if (!c->op->args.compound.slot || !has_result(op))
		return 1;
	if (c->slot_state != RPC_SLOT_NEW) {
		done = recall(c, c->index, &r);
		if (done < 0)
			return done;
		if (done && r.kind != op->code)
			return err_set(-EPROTO, "another request had that number");
		if (done) {
			done = answer(c, op, &r, res);
			if (done <= 0)
				return done;
		}
	}
	if (c->slot_durable) {
		rpc_slot_tag(c->conn->session, c->conn->client_conn, &c->op->args.compound, c->index, &c->tag);
		c->tag.kind = op->code;
		c->tagged = true;
	}
	return 1;
}

bool compound_guard_passed(struct compound *c)
{
	struct vfs_result r;

	return c->op->args.compound.slot && c->slot_state != RPC_SLOT_NEW && recall(c, c->index + 1, &r) == 1;
}
