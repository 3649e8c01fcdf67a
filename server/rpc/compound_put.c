/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * PUT_FILE: a whole file in one operation of a COMPOUND. It is made, or emptied, and written; without space for the
 * data nothing of that must have happened.
 *
 * So room is taken for the data first, and nobody has to undo a name whose result is in the log already. Where that is
 * not certain at once (a pool that is nearly full, a file tree with quotas of bytes), all of it is one transaction: it
 * finds out exactly, and costs a few times as much.
 */
#include <errno.h>
#include <stdlib.h>

#include "core/base/bytes.h"
#include "core/base/err.h"
#include "core/base/nowait.h"
#include "server/rpc/compound.h"

#define PUT_TRIES 64u /* while others change the same file, or name */

/* Created, or emptied, and written, in the directory that is current. @flags: of the write. */
static int put_in_steps(struct compound *c, const struct wfsp_op *op, struct wfsp_op_res *res, unsigned flags)
{
	struct wfsp_op create = { .code = WFSP_OP_CREATE,
		                  .name = op->name,
		                  .type = WFSP_TYPE_FILE,
		                  .mode = op->mode,
		                  .access = WFSP_ACCESS_WRITE,
		                  .flags = op->flags };
	struct iovec iov = { (void *)(uintptr_t)op->data.p, op->data.len_bytes };
	struct vfs_set_attr cut = { .valid = VFS_SET_SIZE };
	const struct vfs_cred *cred;
	struct vfs_stat st;
	int err = 0;

	/* On the loop it may have come so far already. */
	if (c->nodes[c->index].h)
		res->created = c->created;
	else
		err = op_create(c, &create, res);
	c->created = res->created;
	if (!err)
		err = compound_cred(c, &cred);
	if (!err && !res->created)
		err = vfs_set_attr(c->current->h, cred, &cut, NULL);
	if (!err && iov.iov_len)
		err = vfs_write(c->current->h, &iov, 1, 0, flags | (nowait_here() ? VFS_NOWAIT : 0));
	if (!err)
		err = vfs_stat(c->current->h, &st);
	if (!err)
		compound_attr(c->current->tree, &st, &res->attr);
	return err;
}

/* In the directory @inner, in a transaction. Nothing is left open, and what was current is so again. */
static int put_inside(struct compound *c, const struct wfsp_op *op, struct vfs_handle *inner, struct wfsp_op_res *res)
{
	struct node *outer = c->current, dir = { .tree = outer->tree, .h = inner }, *made = &c->nodes[c->index];
	bool tagged = c->tagged;
	int err;

	/* The result is kept with the transaction. */
	c->tagged = false;
	c->current = &dir;
	err = put_in_steps(c, op, res, 0);
	c->tagged = tagged;
	c->current = outer;
	vfs_close(made->h);
	*made = (struct node){ 0 };
	return err;
}

/* With the file's number as the answer, by which a repeated request finds it. */
static int commit(struct compound *c, struct vfs_tx *tx, uint64_t number)
{
	uint8_t text[sizeof(number)];
	struct vfs_answer answer = { .tag = compound_tag(c), .p = text, .len = sizeof(text) };

	put_le64(text, number);
	return vfs_tx_commit(tx, false, answer.tag ? &answer : NULL);
}

static int try_as_one(struct compound *c, const struct wfsp_op *op, struct wfsp_op_res *res)
{
	struct vfs_tx_args args = { .isolation = VFS_TX_SNAPSHOT };
	struct vfs_handle *inner;
	struct vfs_tx *tx;
	int err = vfs_tx_begin(c->current->h, &args, &tx);

	if (err)
		return err;
	err = vfs_tx_handle(tx, c->current->h, &inner);
	if (!err) {
		err = put_inside(c, op, inner, res);
		vfs_close(inner);
	}
	if (!err)
		err = commit(c, tx, res->attr.fileid);
	vfs_tx_free(tx);
	return err;
}

/* All of it, or nothing. What somebody else has changed meanwhile is looked at anew. */
static int put_as_one(struct compound *c, const struct wfsp_op *op, struct wfsp_op_res *res)
{
	struct vfs_stat st;
	int err = -EBUSY;

	for (unsigned i = 0; i < PUT_TRIES && err == -EBUSY; i++)
		err = try_as_one(c, op, res);
	/* More than the log takes as one; or there is no such thing. */
	if (err == -E2BIG || err == -EOPNOTSUPP)
		return put_in_steps(c, op, res, 0);
	if (!err)
		err = compound_enter_created(c, res->attr.fileid, VFS_ACCESS_WRITE);
	/* It may be gone again: then these are the attributes that it had, and nothing is current. */
	if (err || !c->current)
		return err;
	err = vfs_stat(c->current->h, &st);
	if (!err)
		compound_attr(c->current->tree, &st, &res->attr);
	return err;
}

int op_put_file(struct compound *c, const struct wfsp_op *op, struct wfsp_op_res *res)
{
	int err = 0;

	if (op->data.len_bytes && !c->room.give_back && !c->nodes[c->index].h)
		err = vfs_take_room(c->current->h, op->data.len_bytes, &c->room);
	if (err == -EAGAIN && nowait_here())
		return err;
	if (err == -EAGAIN)
		err = put_as_one(c, op, res);
	else if (!err || err == -EOPNOTSUPP)
		err = put_in_steps(c, op, res, c->room.give_back ? VFS_ROOM : 0);
	/* A worker that goes on needs what was taken. */
	if (err == -EAGAIN && nowait_here())
		return err;
	vfs_give_room_back(&c->room);
	if (!err)
		c->op->written_bytes += op->data.len_bytes;
	return err;
}
