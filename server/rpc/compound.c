/* SPDX-License-Identifier: BSD-3-Clause */
/* COMPOUND: checks the list of operations, runs them one after the other, and puts their results together. */
#include <errno.h>
#include <stdlib.h>

#include "core/base/assert.h"
#include "core/base/err.h"
#include "core/base/nowait.h"
#include "protocol/xdr/xdr.h"
#include "server/rpc/compound.h"

/* A status and a text of full length. */
#define ERROR_BYTES (WFSP_TEXT_MAX + 8u)
#define COUNT_BYTES 4u
/* So long a compound may keep its loop; between so many operations the clock is looked at. */
#define LOOP_NS_MAX (SYNC_NS_PER_MS / 2)
#define LOOP_LOOKS 8u

enum needs {
	NEEDS_NOTHING = 0,
	NEEDS_CURRENT = 1,
	NEEDS_SAVED = 2,
	CHANGES = 4, /* the current object, on an export that must not be read-only */
	DIRECT = 8, /* writes its result itself */
	AT_ONCE = 16, /* honours nowait_here(): is tried on the loop */
};

static int op_save(struct compound *c, const struct wfsp_op *op, struct wfsp_op_res *res)
{
	(void)op;
	(void)res;
	c->saved = c->current;
	return 0;
}

static int op_restore(struct compound *c, const struct wfsp_op *op, struct wfsp_op_res *res)
{
	(void)op;
	(void)res;
	c->current = c->saved;
	return 0;
}

static int op_result(struct compound *c, const struct wfsp_op *op, struct wfsp_op_res *res)
{
	(void)res;
	if (op->index >= c->index || !c->after[op->index])
		return err_set(-EINVAL, "operation %u has left no handle", op->index);
	c->current = c->after[op->index];
	return 0;
}

static const struct {
	compound_op_fn *run;
	unsigned needs; /* enum needs */
} ops[WFSP_OP_CODES] = {
	[WFSP_OP_ROOT] = { op_root, NEEDS_NOTHING },
	[WFSP_OP_PUT] = { op_put, AT_ONCE },
	[WFSP_OP_SAVE] = { op_save, NEEDS_CURRENT | AT_ONCE },
	[WFSP_OP_RESTORE] = { op_restore, NEEDS_SAVED | AT_ONCE },
	[WFSP_OP_RESULT] = { op_result, AT_ONCE },
	[WFSP_OP_USE] = { op_use, AT_ONCE },
	[WFSP_OP_GET_HANDLE] = { op_get_handle, NEEDS_CURRENT | AT_ONCE },
	[WFSP_OP_LOOKUP] = { op_lookup, NEEDS_CURRENT | AT_ONCE },
	[WFSP_OP_LOOKUP_PATH] = { op_lookup_path, NEEDS_CURRENT | AT_ONCE },
	[WFSP_OP_GETATTR] = { op_getattr, NEEDS_CURRENT | AT_ONCE },
	[WFSP_OP_SETATTR] = { op_setattr, NEEDS_CURRENT | CHANGES | AT_ONCE },
	[WFSP_OP_GUARD] = { op_guard, NEEDS_CURRENT | AT_ONCE },
	[WFSP_OP_CREATE] = { op_create, NEEDS_CURRENT | CHANGES | AT_ONCE },
	[WFSP_OP_CREATE_NAMELESS] = { op_create_nameless, NEEDS_CURRENT | CHANGES | AT_ONCE },
	[WFSP_OP_LINK] = { op_link, NEEDS_CURRENT | NEEDS_SAVED | CHANGES | AT_ONCE },
	[WFSP_OP_UNLINK] = { op_unlink, NEEDS_CURRENT | CHANGES | AT_ONCE },
	[WFSP_OP_RENAME] = { op_rename, NEEDS_CURRENT | NEEDS_SAVED | CHANGES | AT_ONCE },
	[WFSP_OP_READ_LINK] = { op_read_link, NEEDS_CURRENT | AT_ONCE },
	[WFSP_OP_READDIR] = { op_readdir, NEEDS_CURRENT | DIRECT | AT_ONCE },
	[WFSP_OP_READ] = { op_read, NEEDS_CURRENT | DIRECT | AT_ONCE },
	[WFSP_OP_WRITE] = { op_write, NEEDS_CURRENT | CHANGES | AT_ONCE },
	[WFSP_OP_COMMIT] = { op_commit, NEEDS_CURRENT },
	[WFSP_OP_GET_XATTR] = { op_get_xattr, NEEDS_CURRENT | DIRECT | AT_ONCE },
	[WFSP_OP_SET_XATTR] = { op_set_xattr, NEEDS_CURRENT | CHANGES | AT_ONCE },
	[WFSP_OP_LIST_XATTR] = { op_list_xattr, NEEDS_CURRENT | DIRECT | AT_ONCE },
	[WFSP_OP_REMOVE_XATTR] = { op_remove_xattr, NEEDS_CURRENT | CHANGES | AT_ONCE },
	[WFSP_OP_STATFS] = { op_statfs, NEEDS_CURRENT },
	[WFSP_OP_ACCESS] = { op_access, NEEDS_CURRENT | AT_ONCE },
	[WFSP_OP_LOCK] = { op_lock, NEEDS_CURRENT },
	[WFSP_OP_LOCK_TEST] = { op_lock_test, NEEDS_CURRENT },
	[WFSP_OP_UNLOCK] = { op_unlock, NEEDS_CURRENT },
	[WFSP_OP_ALLOCATE] = { op_allocate, NEEDS_CURRENT | CHANGES },
	[WFSP_OP_SEEK] = { op_seek, NEEDS_CURRENT },
	[WFSP_OP_COPY] = { op_copy, NEEDS_CURRENT | NEEDS_SAVED | CHANGES },
	[WFSP_OP_PUT_FILE] = { op_put_file, NEEDS_CURRENT | CHANGES | AT_ONCE },
	[WFSP_OP_GET_FILE] = { op_get_file, NEEDS_CURRENT | DIRECT | AT_ONCE },
	[WFSP_OP_OPEN] = { op_open, NEEDS_CURRENT | AT_ONCE },
	[WFSP_OP_CLOSE] = { op_close, AT_ONCE },
	[WFSP_OP_WATCH] = { op_watch, NEEDS_CURRENT },
	[WFSP_OP_UNWATCH] = { op_unwatch, NEEDS_NOTHING },
	[WFSP_OP_LOCK_WAIT] = { op_lock_wait, NEEDS_CURRENT },
	[WFSP_OP_LOCK_CANCEL] = { op_lock_cancel, NEEDS_NOTHING },
	[WFSP_OP_LEASE] = { op_lease, NEEDS_CURRENT },
	[WFSP_OP_LEASE_RETURN] = { op_lease_return, NEEDS_NOTHING },
	[WFSP_OP_LOCK_RECLAIM] = { op_lock_reclaim, NEEDS_CURRENT },
	[WFSP_OP_RECLAIMED] = { op_reclaimed, NEEDS_NOTHING },
	[WFSP_OP_TX_BEGIN] = { op_tx_begin, NEEDS_CURRENT },
	[WFSP_OP_TX_USE] = { op_tx_use, NEEDS_CURRENT },
	[WFSP_OP_TX_COMMIT] = { op_tx_commit, NEEDS_NOTHING },
	[WFSP_OP_TX_ABORT] = { op_tx_abort, NEEDS_NOTHING },
	[WFSP_OP_TX_STATUS] = { op_tx_status, NEEDS_CURRENT },
	[WFSP_OP_STATISTICS] = { op_statistics, NEEDS_NOTHING },
	[WFSP_OP_COMMIT_RANGE] = { op_commit_range, NEEDS_CURRENT },
};

/* Or makes them durable. */
static bool makes_changes(uint32_t code)
{
	return code == WFSP_OP_COMMIT || code == WFSP_OP_COMMIT_RANGE || code == WFSP_OP_TX_COMMIT ||
	       (ops[code].needs & CHANGES);
}

bool rpc_compound_check(struct rpc_op *op, bool *ret_changes)
{
	struct rd r = rd_init(op->payload, op->len_bytes);
	struct wfsp_op one;

	*ret_changes = false;
	for (uint32_t i = 0; i < op->args.compound.op_count && !r.bad; i++) {
		wfsp_get_op(&r, &one);
		*ret_changes = *ret_changes || makes_changes(one.code);
	}
	return !r.bad && rd_left(&r) == 0;
}

int compound_cred(struct compound *c, const struct vfs_cred **ret)
{
	const struct rpc_tree *tree = c->current->tree;
	int err;

	/* A file that was opened for somebody has no tree: what it may do was checked then. */
	if (!tree)
		return err_set(-EINVAL, "an open file's descriptor stands for its data only");
	*ret = &c->cred;
	c->cred.tag = compound_tag(c);
	if (c->cred_tree == tree)
		return 0;
	/* The credentials of another tree are overwritten, also by an error. */
	c->cred_tree = NULL;
	rpc_tree_policy(c->conn, tree, &c->policy);
	err = rpc_identity(&c->conn->peer, c->op->has_sys ? &c->op->sys : NULL, &c->policy, c->groups, &c->cred);
	c->cred.tag = compound_tag(c);
	if (!err)
		c->cred_tree = tree;
	return err;
}

void compound_enter(struct compound *c, struct rpc_tree *tree, struct vfs_handle *h, unsigned access)
{
	struct node *n = &c->nodes[c->index];

	*n = (struct node){ .tree = tree, .h = h, .access = access };
	c->current = n;
}

int compound_io(struct compound *c, struct node *n, unsigned access, struct vfs_handle **ret)
{
	const struct vfs_cred *cred;
	struct vfs_handle *h;
	int err;

	if ((n->access & access) == access) {
		*ret = n->h;
		return 0;
	}
	if (n->io && (n->io_access & access) == access) {
		*ret = n->io;
		return 0;
	}
	if (n->descriptor)
		return err_set(-EBADF, "the file is not open for that");
	err = compound_cred(c, &cred);
	if (!err)
		err = vfs_open_handle(n->h, cred, access | n->io_access, &h);
	if (err)
		return err;
	vfs_close(n->io);
	n->io = h;
	n->io_access |= access;
	*ret = h;
	return 0;
}

uint8_t *compound_room(struct compound *c, size_t head, size_t want, size_t *ret_len)
{
	size_t used = c->w.pos + head + XDR_UNIT;

	if (used > c->limit) {
		err_set(-EMSGSIZE, "no room for results");
		return NULL;
	}
	*ret_len = c->limit - used < want ? c->limit - used : want;
	return c->w.base + c->w.pos + head;
}

void compound_attr(const struct rpc_tree *tree, const struct vfs_stat *st, struct wfsp_node_attr *ret)
{
	bool read_only = st->read_only || (tree && rpc_tree_read_only(tree));

	*ret = (struct wfsp_node_attr){ .type = st->type,
		                        .mode = st->mode,
		                        .uid = st->uid,
		                        .gid = st->gid,
		                        .link_count = st->link_count,
		                        .file_flags = st->flags,
		                        .node_flags = (read_only ? WFSP_NODE_READ_ONLY : 0) |
		                                      (st->grows ? WFSP_NODE_GROWS : 0) |
		                                      (st->has_acl ? WFSP_NODE_ACL : 0) |
		                                      (st->exact_names ? WFSP_NODE_EXACT_NAMES : 0),
		                        .block_preferred_bytes = st->block_bytes,
		                        .project = st->project,
		                        .fsid = st->fsid,
		                        .fileid = st->object,
		                        .size_bytes = st->size_bytes,
		                        .allocated_bytes = st->allocated_bytes,
		                        .change = st->change,
		                        .rdev = st->rdev,
		                        .atime_ns = st->atime_ns,
		                        .mtime_ns = st->mtime_ns,
		                        .ctime_ns = st->ctime_ns,
		                        .btime_ns = st->btime_ns };
}

/* The gate before every operation. */
static int allowed(struct compound *c, const struct wfsp_op *op)
{
	unsigned needs = ops[op->code].needs;

	if ((needs & NEEDS_CURRENT) && !c->current)
		return err_set(-EINVAL, "%s: there is no current handle", wfsp_op_name(op->code));
	if ((needs & NEEDS_SAVED) && !c->saved)
		return err_set(-EINVAL, "%s: there is no saved handle", wfsp_op_name(op->code));
	if ((needs & CHANGES) && c->current->tree && rpc_tree_read_only(c->current->tree))
		return err_set(-EROFS, "export '%s' is read-only", c->current->tree->name);
	/* What is done must be told. */
	if (!(needs & DIRECT) && c->w.pos + wfsp_op_res_bytes_min(op->code) > c->limit)
		return err_set(-EMSGSIZE, "no room for results");
	return 0;
}

/* Of an operation on a worker. */
static void note_time(struct compound *c, const struct wfsp_op *op, uint64_t took_ns)
{
	if (took_ns <= c->slowest_ns)
		return;
	c->slowest_ns = took_ns;
	c->op->slowest = wfsp_op_name(op->code);
}

/* An earlier life of the server may have done it: nothing is told to be left undone until that is known. */
static bool may_be_done(const struct compound *c)
{
	return c->slot_state != RPC_SLOT_NEW && c->op->changes && !c->tx;
}

static int run_op(struct compound *c, const struct wfsp_op *op)
{
	struct wfsp_op_res res = { .status = WFSP_OK, .code = op->code };
	uint64_t read_bytes = c->op->read_bytes, written_bytes = c->op->written_bytes;
	size_t start = c->w.pos;
	const struct node *subject = c->current;
	uint64_t start_ns = c->begun_ns;
	bool enters_tx = op->code == WFSP_OP_TX_BEGIN || op->code == WFSP_OP_TX_USE;
	int err = allowed(c, op), todo = 1;

	c->tagged = false;
	/* In a transaction nothing is kept by itself: whether it was committed tells all. */
	if (!err && !c->tx && (ops[op->code].needs & CHANGES)) {
		todo = compound_begin_change(c, op, &res);
		err = todo < 0 ? todo : 0;
	} else if (!err && enters_tx) {
		todo = compound_begin_tx(c, op);
		err = todo < 0 ? todo : 0;
	}
	if (!err && todo && may_be_done(c) && (enters_tx || (ops[op->code].needs & CHANGES)))
		err = rpc_op_over(c->op);
	if (!err && todo)
		err = ops[op->code].run(c, op, &res);
	if (!err && !(ops[op->code].needs & DIRECT) && (todo || !enters_tx))
		wfsp_put_op_res(&c->w, &res);
	if (!err && (c->w.bad || c->w.pos > c->limit))
		err = err_set(-EMSGSIZE, "no room for results");
	if (err) {
		c->w.bad = false;
		c->w.pos = start;
	}
	if (err == -EAGAIN && nowait_here())
		return err;
	c->made_file = !err && op->code == WFSP_OP_CREATE && op->type == WFSP_TYPE_FILE && res.created;
	c->begun_ns = sync_now_ns(); /* the next one */
	if (!nowait_here())
		note_time(c, op, c->begun_ns - start_ns);
	if (!subject)
		subject = c->current;
	if (subject && subject->tree)
		rpc_export_count(subject->tree->stats,
		                 &(struct rpc_export_done){ .failed = err != 0,
		                                            .change = makes_changes(op->code),
		                                            .read_bytes = c->op->read_bytes - read_bytes,
		                                            .written_bytes = c->op->written_bytes - written_bytes,
		                                            .took_ns = c->begun_ns - start_ns });
	if (c->conn->server->audit)
		rpc_audit_operation(c, op, subject, err, start_ns);
	return err;
}

static void put_error(struct compound *c, int err)
{
	char text[WFSP_TEXT_MAX + 1];
	struct err e;

	err_take(&e);
	if (e.code != err)
		e = (struct err){ 0 };
	/* What is busy in a transaction is what somebody else has changed. */
	if (c->tx && err == -EBUSY)
		e.code = err = wfsp_status_to_errno(WFSP_ERR_CONFLICT);
	err_text(&e, err, 0, text, sizeof(text));
	wfsp_put_status(&c->w, wfsp_status_from_errno(err), text);
	always(!c->w.bad);
}

/* Is the next operation one for a worker? */
static bool must_wait(const struct compound *c, const struct wfsp_op *op)
{
	return !(ops[op->code].needs & AT_ONCE) || c->slot_state != RPC_SLOT_NEW ||
	       (c->index % LOOP_LOOKS == LOOP_LOOKS - 1 && sync_now_ns() > c->loop_until_ns);
}

/* -EAGAIN: a worker goes on with the operation that is next. */
static int run_all(struct compound *c)
{
	int err = 0;

	for (; c->index < c->op->args.compound.op_count && !err; c->index++) {
		size_t start = c->args.pos;
		struct wfsp_op one;

		wfsp_get_op(&c->args, &one);
		always(!c->args.bad); /* it was checked */
		err = may_be_done(c) ? 0 : rpc_op_over(c->op);
		if (!err)
			err = nowait_here() && must_wait(c, &one) ? -EAGAIN : run_op(c, &one);
		if (err == -EAGAIN && nowait_here()) {
			c->args.pos = start;
			return err;
		}
		counter_add(&c->conn->server->stats.operations[one.code], 1);
		if (err) {
			counter_add(&c->conn->server->stats.operation_errors[one.code], 1);
			c->op->failed_operations = 1;
			put_error(c, err);
		}
		c->after[c->index] = c->current;
		c->done++;
	}
	put_be32(c->w.base, c->done);
	c->op->operations = c->done;
	return 0;
}

static void close_nodes(struct compound *c)
{
	compound_end_tx(c);
	/* Where the time was over before a worker went on. */
	vfs_give_room_back(&c->room);
	for (uint32_t i = 0; i < c->op->args.compound.op_count; i++) {
		struct node *n = &c->nodes[i];

		vfs_close(n->io);
		if (n->descriptor)
			rpc_handle_unref(c->conn->server->exports, n->descriptor);
		else
			vfs_close(n->h);
	}
}

/* The results so far take the place of the arguments. */
static void take_reply(struct rpc_op *op, struct rpc_buf *reply, size_t len)
{
	rpc_buf_put(op->conn->server, &op->buf);
	op->buf = *reply;
	op->payload_len = len;
}

static int compound_new(struct rpc_op *op, const struct rpc_slot_use *slot)
{
	uint32_t reply_max = op->args.compound.reply_max_bytes;
	struct rpc_server *s = op->conn->server;
	struct rpc_buf reply;
	struct compound *c;
	int err = rpc_buf_get(s, reply_max + COUNT_BYTES, &reply);

	if (err)
		return err;
	c = calloc(1, sizeof(*c));
	if (!c) {
		rpc_buf_put(s, &reply);
		return err_set(-ENOMEM, "no memory for a compound");
	}
	c->op = op;
	c->conn = op->conn;
	c->args = rd_init(op->payload, op->len_bytes);
	c->reply = reply;
	c->slot_state = slot->state;
	c->slot_durable = slot->durable;
	c->slot_unkept = slot->unkept;
	c->w = wr_init(reply.p, reply_max + COUNT_BYTES);
	c->limit = reply_max + COUNT_BYTES - ERROR_BYTES;
	wr_zero(&c->w, COUNT_BYTES);
	op->compound = c;
	return 0;
}

/* Run what is left of it. -EAGAIN: that would have to wait, here. */
static int run(struct rpc_op *op, bool nowait)
{
	struct compound *c = op->compound;
	int err;

	c->begun_ns = sync_now_ns();
	if (nowait) {
		c->loop_until_ns = c->begun_ns + LOOP_NS_MAX;
		nowait_begin();
	}
	err = run_all(c);
	if (nowait)
		nowait_end();
	if (err)
		return err;
	close_nodes(c);
	take_reply(op, &c->reply, c->w.pos);
	free(c);
	op->compound = NULL;
	return 0;
}

static int answer_again(struct rpc_op *op, void *kept, size_t len)
{
	struct rpc_buf reply;
	int err = rpc_buf_get(op->conn->server, len, &reply);

	if (!err) {
		memcpy(reply.p, kept, len);
		take_reply(op, &reply, len);
	}
	free(kept);
	return err;
}

/* Its slot is taken, and everything is ready to run; or it is answered as it was before: *ret_done. */
static int begin(struct rpc_op *op, bool *ret_done)
{
	const struct wfsp_compound_args *a = &op->args.compound;
	struct rpc_session *session = op->conn->session;
	struct rpc_slot_use slot = { .state = RPC_SLOT_NEW };
	int err;

	*ret_done = false;
	if (a->within_ms)
		op->until_ns = op->start_ns + a->within_ms * SYNC_NS_PER_MS;
	if (a->reply_max_bytes < WFSP_REPLY_MIN ||
	    a->reply_max_bytes > (a->slot ? WFSP_SLOT_REPLY_MAX : WFSP_COMPOUND_MAX))
		return err_set(-EINVAL, "reply_max of %u bytes", a->reply_max_bytes);
	if (!a->slot)
		return compound_new(op, &slot);
	err = rpc_slot_begin(session, op->conn->client_conn, a, &slot);
	if (err)
		return err;
	if (slot.state == RPC_SLOT_AGAIN) {
		*ret_done = true;
		return answer_again(op, slot.reply, slot.reply_len);
	}
	err = compound_new(op, &slot);
	if (err)
		rpc_slot_undo(session, op->conn->client_conn, a->slot, &slot);
	return err;
}

int rpc_compound_exec(struct rpc_op *op, bool nowait)
{
	const struct wfsp_compound_args *a = &op->args.compound;
	bool done = false;
	int err = op->compound ? 0 : begin(op, &done);

	if (err || done)
		return err;
	err = run(op, nowait);
	if (!err && a->slot)
		rpc_slot_keep(op->conn->session, op->conn->client_conn, a->slot, op->buf.p, op->payload_len);
	return err;
}
