/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Compounds that are sent again when nobody has their answer any more: after a restart of the server, or because it
 * could not be kept. File systems tell which of the changes were made; these are answered from what they tell, and
 * everything else is done (again). So what must not be done twice is done once, and what a crash has undone is done
 * once more.
 */
#include <errno.h>
#include <stdlib.h>

#include "core/base/bytes.h"
#include "core/base/err.h"
#include "server/rpc/compound.h"

#define RECALL_BYTES 4096u

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
	case WFSP_OP_ALLOCATE:
		return op->flags == WFSP_ALLOCATE_COLLAPSE;
	default:
		return false;
	}
}

/* Ask the file system of the current object. 1: it was done, 0: it was not. */
static int recall_tag(struct compound *c, const struct vfs_tag *tag, struct vfs_result *ret)
{
	int err = vfs_recall(c->current->h, tag, ret);

	if (!err && c->slot_unkept)
		free(ret->answer);
	if (c->slot_unkept || (err == -EOPNOTSUPP && c->slot_state == RPC_SLOT_FORGOTTEN))
		return err_set(-ENOMEM, "the answer of this slot could not be kept");
	if (err == -ENOENT || err == -EOPNOTSUPP)
		return 0;
	return err ? err : 1;
}

/* Of the operation at @index. */
static int recall(struct compound *c, uint32_t index, struct vfs_result *ret)
{
	struct vfs_tag tag;
	int done;

	rpc_slot_tag(c->conn->session, c->conn->client_conn, &c->op->args.compound, index, &tag);
	done = recall_tag(c, &tag, ret);
	if (done != 1)
		return done;
	/* Of a PUT_FILE that was a transaction. */
	if (ret->answer_len == sizeof(ret->number))
		ret->number = get_le64(ret->answer);
	free(ret->answer);
	ret->answer = NULL;
	return 1;
}

int compound_enter_created(struct compound *c, uint64_t number, unsigned access)
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

/*
 * Data that was written, and answered for, may have been lost before it was durable; of that a crash leaves zeros, or
 * nothing. What else is there somebody has written since, and it stays. 1: some is missing, and all there is otherwise
 * is this data; 0: not so.
 */
static int is_missing(struct vfs_handle *file, const struct wfsp_op *op, uint64_t offset)
{
	uint8_t there[RECALL_BYTES];
	const uint8_t *data = op->data.p;
	struct vfs_handle *h;
	int ret = 0, err = vfs_open_handle(file, NULL, VFS_ACCESS_READ, &h);

	if (err)
		return err;
	for (size_t at = 0, n = 1; n && !err && at < op->data.len_bytes && ret >= 0; at += n) {
		size_t left = op->data.len_bytes - at;
		struct iovec iov = { there, left < sizeof(there) ? left : sizeof(there) };

		err = vfs_read_some(h, &iov, 1, offset + at, 0, &n);
		for (size_t i = 0; !err && i < n && ret >= 0; i++)
			if (there[i] != data[at + i])
				ret = there[i] ? -1 : 1;
		if (!err && n < iov.iov_len && ret == 0)
			ret = 1;
	}
	vfs_close(h);
	return err ? err : ret > 0;
}

/* What is missing of the data of an append goes to the same place once more. */
static int append_again(struct compound *c, const struct wfsp_op *op, uint64_t offset)
{
	unsigned flags = op->flags & WFSP_WRITE_FUA ? VFS_FUA : 0;
	struct iovec iov = { (void *)(uintptr_t)op->data.p, op->data.len_bytes };
	struct vfs_handle *h;
	struct vfs_stat st;
	int missing, err = compound_io(c, c->current, VFS_ACCESS_WRITE, &h);

	if (!err)
		err = vfs_stat(h, &st);
	/* Somebody has made the file shorter since, or it takes data at its end only. */
	if (err || st.size_bytes < offset || !iov.iov_len || st.flags)
		return err;
	missing = is_missing(c->current->h, op, offset);
	if (missing <= 0)
		return missing || !flags ? missing : vfs_flush(h, 0);
	return vfs_write(h, &iov, 1, offset, flags);
}

static int put_file_again(struct compound *c, const struct wfsp_op *op, uint64_t number, struct wfsp_op_res *res)
{
	struct iovec iov = { (void *)(uintptr_t)op->data.p, op->data.len_bytes };
	struct vfs_stat st;
	int err = compound_enter_created(c, number, VFS_ACCESS_WRITE);

	if (err)
		return err;
	if (!c->current)
		return err_set(-ESTALE, "the file is gone by now");
	err = is_missing(c->current->h, op, 0);
	if (err > 0)
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
		return compound_enter_created(c, r->number, op->access);
	case WFSP_OP_CREATE_NAMELESS: {
		struct node *dir = c->current;

		err = compound_enter_created(c, r->number, VFS_ACCESS_READ | VFS_ACCESS_WRITE);
		if (err || c->current)
			return err;
		/* Without a name it has gone with the server. */
		c->current = dir;
		return 1;
	}
	case WFSP_OP_PUT_FILE:
		/* Of a file that was there, only the size was changed, unless all was one transaction. */
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

/* ---- transactions ---- */

/* How the file system knows the transaction that the operation at @index enters, as the @nth one. */
static void tx_tag(const struct compound *c, uint32_t index, uint32_t nth, struct vfs_tag *ret)
{
	const struct wfsp_compound_args *a = &c->op->args.compound;

	if (nth == 0)
		rpc_slot_tx_tag(c->conn->session, c->conn->client_conn, a, ret);
	else
		rpc_slot_tag(c->conn->session, c->conn->client_conn, a, index, ret);
}

bool compound_guard_passed(struct compound *c)
{
	uint32_t next = c->index + 1;
	struct rd at = c->args;
	struct vfs_result r;
	struct wfsp_op one;
	struct vfs_tag tag;
	int done;

	if (!c->op->args.compound.slot || c->slot_state == RPC_SLOT_NEW || c->tx ||
	    next >= c->op->args.compound.op_count)
		return false;
	wfsp_get_op(&at, &one);
	if (one.code == WFSP_OP_TX_BEGIN || one.code == WFSP_OP_TX_USE)
		tx_tag(c, next, c->tx_count, &tag);
	else
		rpc_slot_tag(c->conn->session, c->conn->client_conn, &c->op->args.compound, next, &tag);
	done = recall_tag(c, &tag, &r);
	if (done == 1)
		free(r.answer);
	return done == 1;
}

/* How many operations there were, too: so a request that has another one's number is told from it. */
static uint32_t tx_kind(uint32_t op_count)
{
	return WFSP_OP_TX_COMMIT | op_count << 16;
}

const struct vfs_answer *compound_tx_answer(struct compound *c, struct vfs_tag *tag, struct vfs_answer *ret)
{
	const struct rpc_conn *conn = c->conn;
	size_t len = c->w.pos - c->tx_pos;

	if (!c->op->args.compound.slot || !c->slot_durable)
		return NULL;
	tx_tag(c, c->tx_index, c->tx_count - 1, tag);
	tag->kind = tx_kind(c->index - c->tx_index);
	/* Others have one place each. */
	if (c->tx_count > 1 || len > VFS_ANSWER_MAX ||
	    !rpc_slot_take_answer(conn->session, conn->client_conn, c->op->args.compound.slot, len))
		len = 0;
	*ret = (struct vfs_answer){ .tag = tag, .p = c->w.base + c->tx_pos, .len = len };
	return ret;
}

/* From the running operation, which is one of them, to the next TX_COMMIT; *ret_args stands before that. 0: there is
 * none. */
static uint32_t count_to_commit(const struct compound *c, struct rd *ret_args)
{
	struct rd at = c->args;
	struct wfsp_op one;

	for (uint32_t n = 1; c->index + n < c->op->args.compound.op_count; n++) {
		*ret_args = at;
		wfsp_get_op(&at, &one);
		if (one.code == WFSP_OP_TX_COMMIT)
			return n;
	}
	return 0;
}

static int answer_tx(struct compound *c, const struct vfs_result *r)
{
	struct rd at;
	uint32_t n = count_to_commit(c, &at);

	if (!n || r->kind != tx_kind(n))
		return err_set(-EPROTO, "another request had that number");
	if (!r->answer)
		return err_set(-EALREADY, "the transaction was committed, and its results are not kept any more");
	if (c->w.pos + r->answer_len > c->limit)
		return err_set(-EMSGSIZE, "no room for results");
	wr_copy(&c->w, r->answer, r->answer_len);
	c->args = at;
	c->index += n - 1;
	c->done += n - 1;
	c->tx_count++;
	c->tx_again = true;
	return 0;
}

int compound_begin_tx(struct compound *c, const struct wfsp_op *op)
{
	bool atomic = op->code == WFSP_OP_TX_BEGIN && op->flags & WFSP_TX_ATOMIC;
	struct vfs_result r;
	struct vfs_tag tag;
	int done, err;

	if (!c->op->args.compound.slot || c->slot_state == RPC_SLOT_NEW || c->tx || !c->current->tree)
		return 1;
	tx_tag(c, c->index, c->tx_count, &tag);
	done = recall_tag(c, &tag, &r);
	if (done < 0)
		return done;
	if (!done && c->slot_state == RPC_SLOT_FORGOTTEN && !atomic)
		/* What was done inside, without a commit, cannot be recalled. */
		return err_set(-ENOMEM, "the answer of this slot could not be kept");
	if (!done)
		return 1;
	err = answer_tx(c, &r);
	free(r.answer);
	return err;
}
