/* SPDX-License-Identifier: BSD-3-Clause */
/* One request: decode its arguments, run it on the VFS (here or on a worker), encode its answer. */
#include <errno.h>

#include "core/base/assert.h"
#include "core/base/checked.h"
#include "core/base/err.h"
#include "core/base/nowait.h"
#include "protocol/xdr/xdr.h"
#include "server/rpc/notice.h"

/* Flags of a range request, as the VFS knows them. Unknown ones are refused when it is run. */
static uint32_t range_flags(uint32_t wire)
{
	uint32_t known = WFSP_RANGE_FUA | WFSP_RANGE_NO_HOLE | WFSP_RANGE_FAST | WFSP_RANGE_ONE;

	if (wire & ~known)
		return UINT32_MAX;
	return (wire & WFSP_RANGE_FUA ? VFS_FUA : 0) | (wire & WFSP_RANGE_NO_HOLE ? VFS_NO_HOLE : 0) |
	       (wire & WFSP_RANGE_FAST ? VFS_FAST : 0) | (wire & WFSP_RANGE_ONE ? VFS_ONE : 0);
}

/* Find the handle that the arguments name. One that does not exist is an error of the operation, not of the call. */
static void use_handle(struct rpc_op *op, uint64_t id)
{
	op->handle = rpc_handles_get(&op->conn->handles, id);
}

static void decode_read(struct rpc_op *op, struct rd *r)
{
	struct wfsp_read_args a;

	wfsp_get_read_args(r, &a);
	op->offset = a.offset;
	op->len_bytes = a.len_bytes;
	use_handle(op, a.handle);
}

static void decode_write(struct rpc_op *op, struct rd *r)
{
	struct wfsp_write_args a;

	wfsp_get_write_args(r, &a);
	op->offset = a.offset;
	op->len_bytes = a.len_bytes;
	op->flags = a.stable == WFSP_FUA ? VFS_FUA : a.stable == WFSP_UNSTABLE ? 0 : UINT32_MAX;
	use_handle(op, a.handle);
}

static void decode_read_shm(struct rpc_op *op, struct rd *r)
{
	struct wfsp_read_shm_args a;

	wfsp_get_read_shm_args(r, &a);
	op->procedure = WFSP_READ;
	op->shm = true;
	op->shm_slot = a.slot;
	op->offset = a.offset;
	op->len_bytes = a.len_bytes;
	use_handle(op, a.handle);
}

static void decode_write_shm(struct rpc_op *op, struct rd *r)
{
	struct wfsp_write_shm_args a;

	wfsp_get_write_shm_args(r, &a);
	op->procedure = WFSP_WRITE;
	op->shm = true;
	op->shm_slot = a.slot;
	op->offset = a.offset;
	op->len_bytes = a.len_bytes;
	op->flags = a.stable == WFSP_FUA ? VFS_FUA : a.stable == WFSP_UNSTABLE ? 0 : UINT32_MAX;
	use_handle(op, a.handle);
}

static void decode_range(struct rpc_op *op, struct rd *r)
{
	struct wfsp_range_args a;

	wfsp_get_range_args(r, &a);
	op->offset = a.offset;
	op->len_bytes = a.len_bytes;
	op->flags = range_flags(a.flags);
	use_handle(op, a.handle);
}

bool rpc_op_decode(struct rpc_op *op, struct rd *r)
{
	switch (op->procedure) {
	case WFSP_NULL:
	case WFSP_STATISTICS:
		break;
	case WFSP_HELLO:
		wfsp_get_hello_args(r, &op->args.hello);
		break;
	case WFSP_LIST_EXPORTS:
		xdr_get_string(r, op->args.after, sizeof(op->args.after));
		break;
	case WFSP_OPEN:
		wfsp_get_open_args(r, &op->args.open);
		break;
	case WFSP_COMPOUND:
		/* The operations stand behind this, and are looked at when all of them are there. */
		wfsp_get_compound_args(r, &op->args.compound);
		return !r->bad;
	case WFSP_NOTICES:
		wfsp_get_notices_args(r, &op->args.notices);
		break;
	case WFSP_CANCEL:
		op->args.cancel_xid = rd_be32(r);
		break;
	case WFSP_READ:
		decode_read(op, r);
		break;
	case WFSP_WRITE:
		decode_write(op, r);
		return !r->bad;
	case WFSP_READ_SHM:
		decode_read_shm(op, r);
		break;
	case WFSP_WRITE_SHM:
		decode_write_shm(op, r);
		break;
	case WFSP_STAT:
	case WFSP_FLUSH:
	case WFSP_CLOSE:
		/* CLOSE uses the number itself. */
		op->offset = rd_be64(r);
		use_handle(op, op->offset);
		break;
	case WFSP_DISCARD:
	case WFSP_ZERO:
	case WFSP_EXTENTS:
	case WFSP_CACHE:
		decode_range(op, r);
		break;
	default:
		return false;
	}
	return !r->bad && rd_left(r) == 0;
}

/* A file that grows may have less than is asked for: what there is, is asked for. */
static int clip_read(struct rpc_op *op)
{
	struct vfs_stat st;
	int err = vfs_stat(op->handle->vfs, &st);

	if (err || !st.grows)
		return err;
	if (op->offset >= st.size_bytes)
		op->len_bytes = 0;
	else if (op->len_bytes > st.size_bytes - op->offset)
		op->len_bytes = st.size_bytes - op->offset;
	return 0;
}

static int read_copy(struct rpc_op *op, void *to, unsigned flags)
{
	struct iovec iov = { to, op->len_bytes };
	size_t len;
	int err;

	if (!op->handle->in_tree)
		return vfs_read(op->handle->vfs, &iov, 1, op->offset, flags);
	/* It may have been cut since. */
	err = op->len_bytes ? vfs_read_some(op->handle->vfs, &iov, 1, op->offset, flags, &len) : 0;
	if (!err && op->len_bytes)
		op->len_bytes = len;
	return err;
}

static int exec_read(struct rpc_op *op, unsigned flags)
{
	int err = -EOPNOTSUPP;

	if (op->len_bytes > WFSP_PAYLOAD_MAX)
		return err_set(-EINVAL, "read of %llu bytes, the limit is %u", (unsigned long long)op->len_bytes,
		               WFSP_PAYLOAD_MAX);
	if (op->handle->in_tree) {
		err = clip_read(op);
		if (err)
			return err;
	}
	if (op->shm)
		return read_copy(op, (void *)(uintptr_t)op->payload, flags);
	err = -EOPNOTSUPP;
	if (op->len_bytes && op->len_bytes <= VFS_REF_BYTES_MAX) {
		err = vfs_read_ref(op->handle->vfs, op->offset, op->len_bytes, flags, &op->ref);
		op->has_ref = err == 0;
	}
	if (err == -EOPNOTSUPP || (err == -EINVAL && op->handle->in_tree)) {
		err = op->buf.p || !op->len_bytes ? 0 : rpc_buf_get(op->conn->server, op->len_bytes, &op->buf);
		if (!err)
			err = read_copy(op, op->buf.p, flags);
	}
	if (!err)
		op->payload_len = op->len_bytes;
	return err;
}

static int exec_extents(struct rpc_op *op, unsigned flags)
{
	struct vfs_extent *found;
	unsigned count = 0;
	struct wr w;
	int err = op->buf.p ? 0 : rpc_buf_get(op->conn->server, WFSP_EXTENTS_MAX * (sizeof(*found) + 16), &op->buf);

	if (err)
		return err;
	/* The extents at the start, their encoding (which is shorter than they are) behind, then moved to the front. */
	found = op->buf.p;
	err = vfs_extents(op->handle->vfs, op->offset, op->len_bytes, flags | op->flags, found, WFSP_EXTENTS_MAX,
	                  &count);
	if (err)
		return err;
	w = wr_init(found + WFSP_EXTENTS_MAX, op->buf.size_bytes - WFSP_EXTENTS_MAX * sizeof(*found));
	wr_be32(&w, count);
	for (unsigned i = 0; i < count; i++) {
		struct wfsp_extent e = { .len_bytes = found[i].len_bytes,
			                 .flags = (found[i].hole ? WFSP_EXTENT_HOLE : 0) |
			                          (found[i].zero ? WFSP_EXTENT_ZERO : 0) };

		wfsp_put_extent(&w, &e);
	}
	always(!w.bad);
	memmove(op->buf.p, w.base, w.pos);
	op->payload_len = w.pos;
	return 0;
}

static int exec_prefetch(struct rpc_op *op)
{
	uint64_t len = min_u64(op->len_bytes, RPC_PREFETCH_BYTES_MAX);
	struct vfs_stat st;
	int err = vfs_stat(op->handle->vfs, &st);

	/* All of the range must be there, though not all of it is brought. */
	if (!err && !range_within(op->offset, op->len_bytes, st.size_bytes))
		err = err_set(-EINVAL, "the range to be cached is outside the file");
	return err ? err : vfs_prefetch(op->handle->vfs, op->offset, len);
}

static int exec_statistics(struct rpc_op *op)
{
	struct rpc_server *s = op->conn->server;
	int err = rpc_buf_get(s, WFSP_RESULT_BYTES_MAX, &op->buf);
	struct wr w;

	if (err)
		return err;
	w = wr_init(op->buf.p, op->buf.size_bytes);
	rpc_put_statistics(s, &w);
	always(!w.bad);
	op->payload_len = w.pos;
	return 0;
}

/* The procedures that work on a handle. */
static int exec_file(struct rpc_op *op, unsigned flags)
{
	struct iovec iov = { (void *)(uintptr_t)op->payload, op->len_bytes };
	struct vfs_handle *h;

	if (!op->handle)
		return err_set(-EBADF, "no such handle on this connection");
	if (op->flags == UINT32_MAX)
		return err_set(-EINVAL, "unknown flags of a %s request", wfsp_procedure_name(op->procedure));
	h = op->handle->vfs;
	if (op->handle->in_tree && op->procedure == WFSP_WRITE && !(op->handle->access & VFS_ACCESS_WRITE))
		return err_set(-EBADF, "the file is not open for writing");
	if (op->handle->in_tree && op->procedure == WFSP_READ && !(op->handle->access & VFS_ACCESS_READ))
		return err_set(-EBADF, "the file is not open for reading");
	switch (op->procedure) {
	case WFSP_STAT:
		return vfs_stat(h, &op->args.st);
	case WFSP_READ:
		return exec_read(op, flags);
	case WFSP_WRITE:
		return vfs_write(h, &iov, 1, op->offset, flags | op->flags);
	case WFSP_FLUSH:
		return vfs_flush(h, flags);
	case WFSP_DISCARD:
		return vfs_discard(h, op->offset, op->len_bytes, flags | op->flags);
	case WFSP_ZERO:
		return vfs_zero(h, op->offset, op->len_bytes, flags | op->flags);
	case WFSP_EXTENTS:
		return exec_extents(op, flags);
	default:
		always(op->procedure == WFSP_CACHE);
		return exec_prefetch(op);
	}
}

/* On the loop: held, when there is nothing to tell. */
static int exec_notices(struct rpc_op *op)
{
	struct rpc_notices *n = rpc_session_notices(op->conn->server, op->conn->session, true);

	if (!n)
		return op->conn->session ? err_set(-ENOMEM, "no memory for notices")
		                         : err_set(-EINVAL, "NOTICES before HELLO");
	if (!op->held) {
		op->held = true;
		if (rpc_notices_hold(n, op))
			return -EINPROGRESS;
	}
	return rpc_notices_take(n, op);
}

static int exec(struct rpc_op *op, unsigned flags)
{
	vfs_set_origin(op->conn->origin, op->conn->peer_number);
	switch (op->procedure) {
	case WFSP_NULL:
		return 0;
	case WFSP_HELLO:
		rpc_shm_grant(op->conn, op->args.hello.features);
		return 0;
	case WFSP_LIST_EXPORTS:
		return rpc_exec_list(op);
	case WFSP_OPEN:
		return rpc_exec_open(op);
	case WFSP_COMPOUND:
		return rpc_compound_exec(op, flags & VFS_NOWAIT);
	case WFSP_CLOSE:
		if (rpc_handles_remove(&op->conn->handles, op->conn->server->exports, op->offset))
			return 0;
		return err_set(-EBADF, "no such handle on this connection");
	case WFSP_STATISTICS:
		return exec_statistics(op);
	case WFSP_NOTICES:
		return exec_notices(op);
	case WFSP_CANCEL:
		return rpc_exec_cancel(op);
	default:
		return exec_file(op, flags);
	}
}

/* Give back what a READ gathered: an error is answered without a payload. */
static void drop_payload(struct rpc_op *op)
{
	if (op->has_ref)
		vfs_ref_release(&op->ref);
	op->has_ref = false;
	op->payload_len = 0;
}

static void encode_results(struct rpc_op *op, struct wr *w)
{
	struct wfsp_hello_ok hello;
	struct wfsp_attr attr;

	switch (op->procedure) {
	case WFSP_HELLO:
		hello = op->conn->server->hello;
		hello.features |= op->args.hello.features & WFSP_FEATURE_TREES;
		hello.lease_s = rpc_lease_s(&op->conn->server->sessions, op->args.hello.lease_s);
		if (op->conn->shm) {
			hello.features |= WFSP_FEATURE_SHM;
			hello.shm_slots = RPC_SHM_SLOTS;
			hello.shm_slot_bytes = RPC_SHM_SLOT_BYTES;
		}
		wfsp_put_hello_ok(w, &hello);
		break;
	case WFSP_OPEN:
		wfsp_put_open_ok(w, &op->args.opened);
		break;
	case WFSP_STAT:
		rpc_fill_attr(&attr, op->handle->fsid, &op->args.st, op->handle->read_only);
		wfsp_put_attr(w, &attr);
		break;
	case WFSP_READ:
		wr_be32(w, (uint32_t)op->len_bytes);
		break;
	default:
		break;
	}
}

static void put_mark(struct rpc_op *op, const struct wr *w)
{
	always(!w->bad);
	op->head_len = w->pos;
	put_be32(op->head, record_mark(w->pos - RECORD_MARK_BYTES + op->payload_len + xdr_pad_bytes(op->payload_len)));
}

/* Encode the answer for op->err, on the thread whose error context tells about it. */
static void encode(struct rpc_op *op)
{
	struct wr w = wr_init(op->head, sizeof(op->head));
	const struct err *e = err_get();
	char text[WFSP_TEXT_MAX + 1];

	wr_zero(&w, RECORD_MARK_BYTES);
	rpc_put_reply(&w, op->xid, RPC_SUCCESS);
	if (op->err) {
		drop_payload(op);
		err_text(e->code == op->err ? e : NULL, op->err, 0, text, sizeof(text));
		wfsp_put_status(&w, wfsp_status_from_errno(op->err), text);
	} else if (op->procedure != WFSP_NULL) {
		wfsp_put_status(&w, WFSP_OK, "");
		encode_results(op, &w);
	}
	put_mark(op, &w);
}

void rpc_op_encode_refusal(struct rpc_op *op, enum rpc_accept_stat stat)
{
	struct wr w = wr_init(op->head, sizeof(op->head));

	wr_zero(&w, RECORD_MARK_BYTES);
	if (stat == RPC_PROG_MISMATCH)
		rpc_put_program_mismatch(&w, op->xid, WFSP_VERSION, WFSP_VERSION);
	else
		rpc_put_reply(&w, op->xid, stat);
	put_mark(op, &w);
}

/* The opened export gets its handle, which only the connection's own thread can give. */
static void finish_open(struct rpc_op *op)
{
	struct rpc_conn *c = op->conn;

	if (c->closing) {
		/* The table is gone, with all its reservations. */
		if (!op->err)
			export_close(c->server->exports, op->args.opened.name, op->opened);
		op->opened = NULL;
		return;
	}
	if (op->err) {
		rpc_handles_unreserve(&c->handles);
		return;
	}
	op->err = rpc_handles_add(&c->handles, op->opened, rpc_export_stats(c->server, op->args.opened.name),
	                          &op->args.opened);
	if (op->err)
		export_close(c->server->exports, op->args.opened.name, op->opened);
	op->opened = NULL;
	encode(op);
}

void rpc_op_finish(struct rpc_op *op)
{
	struct rpc_conn *c = op->conn;
	uint64_t now = sync_now_ns();

	c->last_ns = now;
	if (op->procedure == WFSP_OPEN)
		finish_open(op);
	if (op->procedure == WFSP_NOTICES && op->err == -EINPROGRESS) {
		op->err = exec_notices(op);
		encode(op);
	}
	rpc_count(op, now);
	/* A call that was held until there was something to tell is not slow. */
	if (op->procedure != WFSP_NOTICES && slow_wants(&c->server->slow, now, now - op->start_ns))
		rpc_slow_note(op, now);
	if (c->server->audit)
		rpc_audit_request(op);
	rpc_conn_queue(c, op);
}

static void run_on_worker(struct work *work)
{
	struct rpc_op *op = (struct rpc_op *)((uint8_t *)work - offsetof(struct rpc_op, work));

	op->begun_ns = sync_now_ns();
	op->waits = waits_of_thread;
	/* A compound ends at its next operation, with the results of those before. */
	op->err = op->procedure == WFSP_COMPOUND ? 0 : rpc_op_over(op);
	if (!op->err)
		op->err = exec(op, 0);
	op->waits.device_ns = waits_of_thread.device_ns - op->waits.device_ns;
	op->waits.others_ns = waits_of_thread.others_ns - op->waits.others_ns;
	if (op->procedure != WFSP_OPEN || op->err)
		encode(op);
	op->ended_ns = sync_now_ns();
	rpc_conn_done_push(op);
}

static enum worker_lane lane_of(const struct rpc_op *op)
{
	if (nowait_take_remote() || (op->handle && vfs_is_remote(op->handle->vfs)))
		return WORKER_LANE_REMOTE;
	switch (op->procedure) {
	case WFSP_COMPOUND:
		return op->changes ? WORKER_LANE_WRITE : WORKER_LANE_READ;
	case WFSP_WRITE:
	case WFSP_FLUSH:
	case WFSP_DISCARD:
	case WFSP_ZERO:
		return WORKER_LANE_WRITE;
	default:
		return WORKER_LANE_READ;
	}
}

/* Is it of no use to try on the loop? */
static bool must_wait(const struct rpc_op *op)
{
	switch (op->procedure) {
	case WFSP_OPEN:
	case WFSP_LIST_EXPORTS:
	case WFSP_CACHE:
		return true;
	case WFSP_READ:
	case WFSP_WRITE:
		return op->len_bytes > RPC_INLINE_BYTES_MAX && op->len_bytes <= WFSP_PAYLOAD_MAX;
	default:
		return false;
	}
}

/* A payload that lies in the window moves to a buffer of its own, as the window goes on; shared memory stays. */
static int keep_payload(struct rpc_op *op)
{
	int err;

	if (op->procedure != WFSP_WRITE || op->shm || op->buf.p || !op->len_bytes)
		return 0;
	err = rpc_buf_get(op->conn->server, op->len_bytes, &op->buf);
	if (err)
		return err;
	memcpy(op->buf.p, op->payload, op->len_bytes);
	op->payload = op->buf.p;
	return 0;
}

void rpc_op_answer_hello(struct rpc_op *op)
{
	op->err = exec(op, 0);
	encode(op);
	rpc_op_finish(op);
}

void rpc_op_without_shm(struct rpc_op *op)
{
	rpc_shm_drop(op->conn);
	encode(op);
}

void rpc_op_start(struct rpc_op *op)
{
	struct rpc_conn *c = op->conn;
	struct rpc_server *s = c->server;

	if (op->procedure == WFSP_COMPOUND && !rpc_compound_check(op, &op->changes)) {
		counter_add(&s->stats.refused_calls, 1);
		rpc_op_encode_refusal(op, RPC_GARBAGE_ARGS);
		rpc_conn_queue(c, op);
		return;
	}
	op->err = op->shm ? rpc_shm_take(op) : 0;
	if (op->err) {
		encode(op);
		rpc_op_finish(op);
		return;
	}
	op->err = -EAGAIN;
	if (op->procedure == WFSP_OPEN && !rpc_handles_reserve(&c->handles)) {
		op->err = err_set(-EMFILE, "%u files open on this connection", RPC_EXPORTS_OPEN_MAX);
		encode(op);
		counter_add(&s->stats.errors[op->procedure], 1);
		rpc_conn_queue(c, op);
		return;
	}
	if (op->procedure == WFSP_HELLO && c->has_identity) {
		op->err = err_set(-EINVAL, "HELLO was said before on this connection");
		encode(op);
		rpc_op_finish(op);
		return;
	}
	if (op->procedure == WFSP_HELLO) {
		c->hello_op = op;
		if (!rpc_server_identify(s, c, &op->args.hello))
			return; /* the predecessor's end will answer it */
		c->hello_op = NULL;
	}
	(void)nowait_take_remote();
	if (!must_wait(op))
		op->err = exec(op, VFS_NOWAIT);
	if (op->err == -EINPROGRESS)
		return; /* it comes back when there is something to tell */
	if (op->err == -EAGAIN) {
		op->err = keep_payload(op);
		if (!op->err) {
			counter_add(&s->stats.deferred, 1);
			op->work.run = run_on_worker;
			rpc_deferred_add(op);
			workers_queue(s->workers, lane_of(op), &op->work);
			return;
		}
	}
	encode(op);
	rpc_op_finish(op);
}
