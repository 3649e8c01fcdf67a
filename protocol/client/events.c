/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * libwfs: watches, and the events that the server has for this client. They are fetched by a call that the server holds
 * until there are some, on a connection of its own, so that nobody else's answers wait for this thread.
 */
#include "protocol/client/wfs_watch.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/err.h"
#include "protocol/client/batch.h"
#include "protocol/wfs_notice.h"

_Static_assert(WFS_CHANGE_ALL == (WFSP_CHANGE_CREATED | WFSP_CHANGE_REMOVED | WFSP_CHANGE_MOVED_FROM |
                                  WFSP_CHANGE_MOVED_TO | WFSP_CHANGE_DATA | WFSP_CHANGE_ATTR) &&
                       WFS_WATCH_SUBTREE == WFSP_WATCH_SUBTREE && WFS_WATCH_OTHERS == WFSP_WATCH_OTHERS,
               "changes travel as they are");

#define REPLY_BYTES (WFSP_NOTICES_BYTES_MAX + 64u)
/* A server that is gone without a word is noticed by its silence: longer than it may hold the call. */
#define SILENCE_NS (30 * SYNC_NS_PER_S)
#define CONNECT_NS (10 * SYNC_NS_PER_S)

int wfs_watch(struct wfs *w, const struct wfs_cred *cred, const struct wfs_fh *fh, uint64_t id, unsigned what,
              unsigned flags)
{
	struct wfs_batch b;
	int err;

	wfs_batch_init(&b, w);
	(void)wfs_batch_put(&b, fh);
	(void)wfs_batch_add(&b, &(struct wfsp_op){ .code = WFSP_OP_WATCH, .id = id, .what = what, .flags = flags },
	                    &(struct batch_item){ 0 }, 0);
	err = wfs_batch_run(&b, cred, NULL);
	wfs_batch_done(&b);
	return err;
}

static int run_with_id(struct wfs *w, uint32_t code, uint64_t id)
{
	struct wfs_batch b;
	int err;

	wfs_batch_init(&b, w);
	(void)wfs_batch_add(&b, &(struct wfsp_op){ .code = code, .id = id }, &(struct batch_item){ 0 }, 0);
	err = wfs_batch_run(&b, NULL, NULL);
	wfs_batch_done(&b);
	return err;
}

int wfs_unwatch(struct wfs *w, uint64_t id)
{
	return run_with_id(w, WFSP_OP_UNWATCH, id);
}

int wfs_lock_cancel(struct wfs *w, uint64_t id)
{
	return run_with_id(w, WFSP_OP_LOCK_CANCEL, id);
}

int wfs_lease_return(struct wfs *w, uint64_t id)
{
	return run_with_id(w, WFSP_OP_LEASE_RETURN, id);
}

static bool stopped(struct wfs *w)
{
	return __atomic_load_n(&w->events.stop, __ATOMIC_SEQ_CST);
}

void wfs_events_stop(struct wfs *w)
{
	struct wfs_conn *c = &w->conns[w->conn_count];

	__atomic_store_n(&w->events.stop, true, __ATOMIC_SEQ_CST);
	sync_mutex_lock(&c->lock);
	wfs_conn_fail(c);
	sync_cond_broadcast(&c->changed);
	sync_mutex_unlock(&c->lock);
}

static void hand_out(const struct wfsp_notice *v, wfs_event_fn *fn, void *ctx)
{
	char name[WFSP_NAME_MAX + 1];
	struct wfs_event e = { .kind = (enum wfs_event_kind)v->kind,
		               .id = v->id,
		               .fsid = v->fsid,
		               .file_id = v->fileid,
		               .dir_id = v->dir,
		               .name = name };

	if (v->name.len_bytes)
		memcpy(name, v->name.p, v->name.len_bytes);
	name[v->name.len_bytes] = '\0';
	if (v->kind == WFSP_NOTICE_CHANGE)
		e.what = v->what;
	else if (v->kind == WFSP_NOTICE_LOCK)
		e.err = wfsp_status_to_errno(v->what);
	else if (v->kind == WFSP_NOTICE_RECALL)
		e.kind = WFS_EVENT_RECALL;
	else if (v->kind == WFSP_NOTICE_BROKEN)
		e.kind = WFS_EVENT_BROKEN;
	/* A kind that is not known here is for newer programs. */
	if (v->kind >= WFSP_NOTICE_CHANGE && v->kind <= WFSP_NOTICE_BROKEN)
		fn(ctx, &e);
}

static int take(struct wfs *w, struct wfs_call *call, wfs_event_fn *fn, void *ctx)
{
	struct wfs_event reset = { .kind = WFS_EVENT_RESET, .name = "" };
	struct wfsp_notices_ok ok;
	struct rd r;
	int err = wfs_call_result(call, &r);

	if (err)
		return err;
	wfsp_get_notices_ok(&r, &ok);
	if (r.bad)
		return err_set(-EBADMSG, "malformed answer to NOTICES");
	if (ok.channel != w->events.channel) {
		bool known = w->events.channel != 0;

		w->events.channel = ok.channel;
		w->events.after = 0;
		if (known)
			fn(ctx, &reset);
	}
	for (uint32_t i = 0; i < ok.count; i++) {
		struct wfsp_notice v;

		wfsp_get_notice(&r, &v);
		if (r.bad)
			return err_set(-EBADMSG, "malformed notice");
		/* Told before, in an answer that came too late for the server. */
		if (v.number <= w->events.after)
			continue;
		w->events.after = v.number;
		hand_out(&v, fn, ctx);
	}
	return 0;
}

int wfs_events(struct wfs *w, unsigned timeout_ms, wfs_event_fn *fn, void *ctx)
{
	struct wfsp_notices_args args = { .channel = w->events.channel,
		                          .after = w->events.after,
		                          .wait_ms = timeout_ms };
	struct wfs_conn *c = &w->conns[w->conn_count];
	uint64_t deadline_ns = sync_now_ns() + CONNECT_NS, generation;
	uint8_t *reply = malloc(REPLY_BYTES);
	struct wfs_call call;
	int err;

	if (!reply)
		return err_set(-ENOMEM, "no memory for events");
	/* The server may look at the time a little later. */
	c->silence_ns = timeout_ms * SYNC_NS_PER_MS + SILENCE_NS;
	wfs_call_init(&call, WFSP_NOTICES);
	call.reply = reply;
	call.reply_size = REPLY_BYTES;
	wfsp_put_notices_args(&call.args, &args);
	err = stopped(w) ? -ECANCELED : wfs_conn_up(c, &deadline_ns, true, &generation);
	/* A stop that came before the connection was there has ended nothing; a later one ends the call. */
	if (!err && stopped(w))
		err = -ECANCELED;
	if (!err)
		err = wfs_call_run(c, generation, &call);
	if (!err)
		err = take(w, &call, fn, ctx);
	if (err && stopped(w))
		err = err_set(-ECANCELED, "no more events are wanted");
	wfs_call_done(&call);
	free(reply);
	return err == -ENOTCONN ? err_set(-ENOTCONN, "%s ended the connection", w->address) : err;
}
