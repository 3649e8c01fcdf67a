/* SPDX-License-Identifier: BSD-3-Clause */
/* libwfs: batches. How a COMPOUND grows, is sent, and how its results are handed out. */
#include "protocol/client/batch.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/assert.h"
#include "core/base/err.h"
#include "protocol/xdr/xdr.h"

/* Of a result: status and code. */
#define RESULT_HEAD_BYTES 8u
/* Of an answer: the reply's header, the status, the count. */
#define ANSWER_HEAD_BYTES 64u
/* An error's text instead of a result. */
#define ERROR_BYTES (WFSP_TEXT_MAX + 12u)

void wfs_batch_init(struct wfs_batch *b, struct wfs *w)
{
	b->client = w;
	b->ops = wr_init(b->small, sizeof(b->small));
	b->reply_bytes = ERROR_BYTES;
	b->count = 0;
	b->within_ms = 0;
	b->once = b->changes = false;
	b->err = 0;
}

void wfs_batch_done(struct wfs_batch *b)
{
	if (b->ops.base != b->small)
		free(b->ops.base);
}

int wfs_batch_new(struct wfs *w, struct wfs_batch **ret)
{
	struct wfs_batch *b = malloc(sizeof(*b));

	if (!b)
		return err_set(-ENOMEM, "no memory for a batch");
	wfs_batch_init(b, w);
	*ret = b;
	return 0;
}

void wfs_batch_free(struct wfs_batch *b)
{
	if (b)
		wfs_batch_done(b);
	free(b);
}

void wfs_batch_clear(struct wfs_batch *b)
{
	b->ops.pos = 0;
	b->ops.bad = false;
	b->reply_bytes = ERROR_BYTES;
	b->count = 0;
	b->within_ms = 0;
	b->once = b->changes = false;
	b->err = 0;
}

void wfs_batch_within(struct wfs_batch *b, unsigned within_ms)
{
	b->within_ms = within_ms;
}

/* Room for @bytes more. */
static int grow(struct wfs_batch *b, size_t bytes)
{
	size_t need = b->ops.pos + bytes, size = b->ops.len;
	uint8_t *p;

	if (need <= size)
		return 0;
	while (size < need)
		size *= 2;
	if (b->ops.base == b->small) {
		p = malloc(size);
		if (p)
			memcpy(p, b->small, b->ops.pos);
	} else {
		p = realloc(b->ops.base, size);
	}
	if (!p)
		return err_set(-ENOMEM, "no memory for a batch of %zu bytes", need);
	b->ops.base = p;
	b->ops.len = size;
	return 0;
}

static size_t op_bytes_max(const struct wfsp_op *op)
{
	return 96 + op->name.len_bytes + op->new_name.len_bytes + op->path.len_bytes + op->handle.len_bytes +
	       (size_t)op->data.len_bytes + 5 * (size_t)XDR_UNIT;
}

static bool must_be_once(uint32_t code, uint32_t flags)
{
	switch (code) {
	case WFSP_OP_CREATE:
	case WFSP_OP_CREATE_NAMELESS:
	case WFSP_OP_LINK:
	case WFSP_OP_UNLINK:
	case WFSP_OP_RENAME:
	case WFSP_OP_GUARD:
	case WFSP_OP_PUT_FILE:
	case WFSP_OP_SET_XATTR:
	case WFSP_OP_REMOVE_XATTR:
	case WFSP_OP_LOCK:
	case WFSP_OP_LOCK_WAIT:
	case WFSP_OP_WATCH:
	case WFSP_OP_UNWATCH:
	case WFSP_OP_TX_BEGIN:
	case WFSP_OP_TX_COMMIT:
	case WFSP_OP_TX_ABORT:
	case WFSP_OP_LEASE:
	case WFSP_OP_LEASE_RETURN:
		return true;
	case WFSP_OP_WRITE:
		return flags & WFSP_WRITE_APPEND;
	case WFSP_OP_ALLOCATE:
		return flags == WFSP_ALLOCATE_COLLAPSE;
	default:
		return false;
	}
}

static bool changes(uint32_t code)
{
	switch (code) {
	case WFSP_OP_SETATTR:
	case WFSP_OP_CREATE:
	case WFSP_OP_LINK:
	case WFSP_OP_UNLINK:
	case WFSP_OP_RENAME:
	case WFSP_OP_WRITE:
	case WFSP_OP_PUT_FILE:
	case WFSP_OP_COPY:
	case WFSP_OP_ALLOCATE:
	case WFSP_OP_SET_XATTR:
	case WFSP_OP_REMOVE_XATTR:
		return true;
	default:
		return false;
	}
}

/* What it changes is durable when it is answered, if the client wants that: one sync behind all of it. */
static void add_sync(struct wfs_batch *b)
{
	if (b->client->durable && b->changes && !b->err)
		(void)wfs_batch_sync(b);
	b->changes = false;
}

int wfs_batch_add(struct wfs_batch *b, const struct wfsp_op *op, const struct batch_item *item, size_t result_bytes)
{
	size_t bytes = op_bytes_max(op), reply = b->reply_bytes + RESULT_HEAD_BYTES + result_bytes;
	bool once = b->once || must_be_once(op->code, op->flags);
	int err = b->err;

	if (!err && b->count == WFS_BATCH_OPS_MAX)
		err = err_set(-E2BIG, "a batch takes %u operations", WFS_BATCH_OPS_MAX);
	if (!err && (b->ops.pos + bytes > WFSP_COMPOUND_MAX - ANSWER_HEAD_BYTES ||
	             reply > (once ? WFSP_SLOT_REPLY_MAX : WFSP_COMPOUND_MAX)))
		err = err_set(-E2BIG, "a batch that has room for no more data");
	if (!err)
		err = grow(b, bytes);
	if (err) {
		b->err = err;
		return err;
	}
	wfsp_put_op(&b->ops, op);
	always(!b->ops.bad);
	b->items[b->count] = *item;
	b->items[b->count].code = op->code;
	b->reply_bytes = reply;
	b->once = once;
	b->changes = b->changes || changes(op->code);
	return (int)b->count++;
}

static struct wfs_attr attr_of(const struct wfsp_node_attr *v)
{
	return (struct wfs_attr){ .type = (enum wfs_type)v->type,
		                  .mode = v->mode,
		                  .uid = v->uid,
		                  .gid = v->gid,
		                  .link_count = v->link_count,
		                  .flags = v->file_flags,
		                  .block_preferred_bytes = v->block_preferred_bytes,
		                  .project = v->project,
		                  .read_only = !!(v->node_flags & WFSP_NODE_READ_ONLY),
		                  .has_acl = !!(v->node_flags & WFSP_NODE_ACL),
		                  .exact_names = !!(v->node_flags & WFSP_NODE_EXACT_NAMES),
		                  .fsid = v->fsid,
		                  .file_id = v->fileid,
		                  .size_bytes = v->size_bytes,
		                  .allocated_bytes = v->allocated_bytes,
		                  .change = v->change,
		                  .rdev = v->rdev,
		                  .atime_ns = v->atime_ns,
		                  .mtime_ns = v->mtime_ns,
		                  .ctime_ns = v->ctime_ns,
		                  .btime_ns = v->btime_ns };
}

static void put_fh(struct wfs_fh *fh, const struct wfsp_bytes *b)
{
	fh->len_bytes = b->len_bytes;
	memcpy(fh->bytes, b->p, b->len_bytes);
}

static void hand_out_entries(const struct batch_item *item, const struct wfsp_op_res *res)
{
	struct rd r = rd_init(res->items.p, res->items.len_bytes);
	bool stop = false;

	for (uint32_t i = 0; i < res->item_count && !stop; i++) {
		struct wfs_attr attr;
		struct wfsp_dirent e;
		struct wfs_fh fh;

		wfsp_get_dirent(&r, &e);
		if (e.has_attr)
			attr = attr_of(&e.attr);
		if (e.handle.len_bytes)
			put_fh(&fh, &e.handle);
		stop = !item->dirent_fn(item->ctx, &(struct wfs_dirent){ .name = (const char *)e.name.p,
		                                                         .name_len = e.name.len_bytes,
		                                                         .type = (enum wfs_type)e.type,
		                                                         .file_id = e.fileid,
		                                                         .cookie = e.cookie,
		                                                         .attr = e.has_attr ? &attr : NULL,
		                                                         .fh = e.handle.len_bytes ? &fh : NULL });
	}
}

static void hand_out_names(const struct batch_item *item, const struct wfsp_op_res *res)
{
	struct rd r = rd_init(res->items.p, res->items.len_bytes);

	for (uint32_t i = 0; i < res->item_count; i++) {
		struct wfsp_bytes name;

		wfsp_get_name(&r, &name);
		item->name_fn(item->ctx, (const char *)name.p, name.len_bytes);
	}
}

static void hand_out_counters(const struct batch_item *item, const struct wfsp_op_res *res)
{
	struct rd r = rd_init(res->items.p, res->items.len_bytes);

	for (uint32_t i = 0; i < res->item_count; i++) {
		struct wfsp_counter v;

		wfsp_get_counter(&r, &v);
		item->counter_fn(item->ctx, v.name, v.value);
	}
}

static void hand_out_statfs(struct wfs_statfs *to, const struct wfsp_statfs *v)
{
	*to = (struct wfs_statfs){ .fsid = v->fsid,
		                   .total_bytes = v->total_bytes,
		                   .free_bytes = v->free_bytes,
		                   .available_bytes = v->available_bytes,
		                   .objects = v->objects,
		                   .objects_free = v->objects_free,
		                   .block_bytes = v->block_bytes,
		                   .name_max = v->name_max,
		                   .read_only = v->read_only };
}

static int hand_out_data(const struct batch_item *item, const struct wfsp_bytes *data)
{
	if (data->len_bytes > item->cap)
		return err_set(-EBADMSG, "more data than was asked for");
	if (data->len_bytes)
		memcpy(item->data, data->p, data->len_bytes);
	if (item->len)
		*item->len = data->len_bytes;
	return 0;
}

static void hand_out_tx(struct wfs_tx_status *to, const struct wfsp_op_res *res)
{
	*to = (struct wfs_tx_status){ .state = (enum wfs_tx_state)res->tx.state,
		                      .reason = wfsp_status_to_errno(res->tx.reason),
		                      .fsid = res->tx.fsid,
		                      .file_id = res->tx.fileid,
		                      .committed_ns = res->tx.committed_ns };
	memcpy(to->name, res->name.p, res->name.len_bytes);
	to->name[res->name.len_bytes] = '\0';
}

/* Put one operation's results where its caller wants them. */
static int hand_out(const struct batch_item *item, const struct wfsp_op_res *res)
{
	if (item->attr)
		*item->attr = attr_of(&res->attr);
	if (item->flag)
		*item->flag = res->code == WFSP_OP_CREATE      ? res->created
		              : res->code == WFSP_OP_LOCK_WAIT ? res->granted
		                                               : res->eof;
	switch (res->code) {
	case WFSP_OP_GET_HANDLE:
		if (!res->handle.len_bytes)
			return err_set(-EBADMSG, "an empty handle");
		put_fh(item->data, &res->handle);
		return 0;
	case WFSP_OP_READ_LINK:
		memcpy(item->data, res->path.p, res->path.len_bytes);
		((char *)item->data)[res->path.len_bytes] = '\0';
		return 0;
	case WFSP_OP_READDIR:
		if (!res->eof && !res->item_count)
			return err_set(-EBADMSG, "a directory that neither ends nor goes on");
		hand_out_entries(item, res);
		return 0;
	case WFSP_OP_LIST_XATTR:
		hand_out_names(item, res);
		return 0;
	case WFSP_OP_STATISTICS:
		hand_out_counters(item, res);
		return 0;
	case WFSP_OP_READ:
	case WFSP_OP_GET_FILE:
		return hand_out_data(item, &res->data);
	case WFSP_OP_GET_XATTR:
		*item->len = res->len32_bytes;
		return hand_out_data(&(struct batch_item){ .data = item->data, .cap = item->cap }, &res->data);
	case WFSP_OP_STATFS:
		hand_out_statfs(item->data, &res->statfs);
		return 0;
	case WFSP_OP_ACCESS:
		*item->access = res->access;
		return 0;
	case WFSP_OP_LOCK_TEST:
		*(struct wfs_lock *)item->data = (struct wfs_lock){ .owner = res->lock.owner,
			                                            .type = (enum wfs_lock_type)res->lock.type,
			                                            .offset = res->lock.offset,
			                                            .len_bytes = res->lock.len_bytes };
		return 0;
	case WFSP_OP_SEEK:
		*item->number = res->offset;
		return 0;
	case WFSP_OP_COPY:
		*item->number = res->len_bytes;
		return 0;
	case WFSP_OP_OPEN:
		*item->number = res->descriptor;
		return 0;
	case WFSP_OP_TX_BEGIN:
		*item->number = res->id;
		return 0;
	case WFSP_OP_TX_STATUS:
		hand_out_tx(item->data, res);
		return 0;
	default:
		return 0;
	}
}

static int bad_answer(void)
{
	return err_set(-EBADMSG, "malformed answer to COMPOUND");
}

int wfs_batch_take_results(struct wfs_batch *b, struct wfs_call *call, unsigned *ret_done)
{
	uint32_t count;
	struct rd r;
	int err = wfs_call_result(call, &r);

	if (err)
		return err;
	count = xdr_get_count(&r, WFSP_OPS_MAX, XDR_UNIT);
	if (r.bad || count > b->count)
		return bad_answer();
	for (uint32_t i = 0; i < count; i++) {
		struct wfsp_op_res res;

		wfsp_get_op_res(&r, &res);
		if (r.bad || (res.status == WFSP_OK && res.code != b->items[i].code))
			return bad_answer();
		if (res.status != WFSP_OK)
			return wfs_call_error(res.status, (const char *)res.text.p, res.text.len_bytes,
			                      wfsp_op_name(b->items[i].code));
		err = hand_out(&b->items[i], &res);
		if (err)
			return err;
		*ret_done = i + 1;
	}
	return count == b->count ? 0 : bad_answer();
}

void wfs_batch_put_head(struct wfs_batch *b, const struct wfs_cred *cred, struct wfs_call *call, uint32_t slot,
                        uint32_t sequence)
{
	struct wfsp_compound_args args = {
		.slot = slot,
		.sequence = sequence,
		.reply_max_bytes = (uint32_t)b->reply_bytes,
		.within_ms = b->within_ms,
		.op_count = b->count,
	};
	const struct rpc_auth_sys *who = b->client->tell_who ? &b->client->self : NULL;
	struct rpc_auth_sys sys;

	if (args.reply_max_bytes < WFSP_REPLY_MIN)
		args.reply_max_bytes = WFSP_REPLY_MIN;
	if (cred) {
		sys = (struct rpc_auth_sys){ .uid = cred->uid, .gid = cred->gid };
		sys.gid_count = cred->group_count < RPC_GIDS_MAX ? cred->group_count : RPC_GIDS_MAX;
		if (sys.gid_count)
			memcpy(sys.gids, cred->groups, sys.gid_count * sizeof(sys.gids[0]));
		who = &sys;
	}
	call->args = wr_init(call->head, sizeof(call->head));
	wr_zero(&call->args, RECORD_MARK_BYTES);
	rpc_put_call(&call->args, 0, WFSP_PROGRAM, WFSP_VERSION, WFSP_COMPOUND, who);
	wfsp_put_compound_args(&call->args, &args);
	call->send_payload = b->ops.base;
	call->send_len = b->ops.pos;
}

int wfs_batch_call_init(struct batch_call *bc, struct wfs_batch *b)
{
	size_t size;

	add_sync(b);
	size = b->reply_bytes + ANSWER_HEAD_BYTES;
	if (b->err)
		return b->err;
	if (!b->count)
		return err_set(-EINVAL, "an empty batch");
	wfs_call_init(&bc->call, WFSP_COMPOUND);
	bc->call.reply = size > sizeof(bc->small) ? NULL : bc->small;
	bc->call.reply_size = size;
	return 0;
}

void wfs_batch_call_done(struct batch_call *bc)
{
	wfs_call_done(&bc->call);
}

int wfs_batch_run_on(struct wfs_batch *b, const struct wfs_cred *cred, struct wfs_conn *c, uint64_t generation,
                     uint32_t slot, uint32_t sequence)
{
	struct batch_call bc;
	unsigned done = 0;
	int err = wfs_batch_call_init(&bc, b);

	if (err)
		return err;
	wfs_batch_put_head(b, cred, &bc.call, slot, sequence);
	err = wfs_call_run(c, generation, &bc.call);
	if (!err)
		err = wfs_batch_take_results(b, &bc.call, &done);
	wfs_batch_call_done(&bc);
	return err;
}

int wfs_batch_run_any(struct wfs_batch *b, const struct wfs_cred *cred, unsigned *ret_done,
                      struct batch_outcome *ret_outcome)
{
	struct wfs_conn *c = wfs_pick_conn(b->client);
	uint32_t slot = 0, sequence = 0;
	struct batch_call bc;
	unsigned attempts, done = 0;
	uint64_t generation;
	int err = wfs_batch_call_init(&bc, b);

	if (ret_done)
		*ret_done = 0;
	if (err)
		return err;
	bc.call.in_slot = b->once;
	if (b->once)
		wfs_slot_take(c, &slot, &sequence);
	wfs_batch_put_head(b, cred, &bc.call, slot, sequence);
	err = wfs_call_retry(c, &bc.call, &generation, &attempts);
	if (slot)
		wfs_slot_give(c, slot);
	if (!err)
		err = wfs_batch_take_results(b, &bc.call, &done);
	wfs_batch_call_done(&bc);
	if (ret_done)
		*ret_done = done;
	if (ret_outcome)
		*ret_outcome = (struct batch_outcome){ c, generation, attempts > 1 };
	return err;
}

int wfs_batch_run(struct wfs_batch *b, const struct wfs_cred *cred, unsigned *ret_done)
{
	return wfs_batch_run_any(b, cred, ret_done, NULL);
}
