/* SPDX-License-Identifier: BSD-3-Clause */
/* libwfs: the client itself, and the calls that belong to no file. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "core/base/err.h"
#include "protocol/client/locks.h"
#include "protocol/xdr/xdr.h"

/* Replies that may be longer than CALL_REPLY_BYTES. */
#define LONG_REPLY_BYTES (WFSP_RESULT_BYTES_MAX + 64u)

static void client_free(struct wfs *w)
{
	for (unsigned i = 0; i <= w->conn_count; i++)
		wfs_conn_done(&w->conns[i]);
	tls_context_unref(w->tls);
	free(w->address);
	wfs_locks_done(&w->locks);
	free(w);
}

/* This process's own identity, with as many groups as travel. */
static void tell_who(struct wfs *w, const char *address)
{
	gid_t groups[RPC_GIDS_MAX];
	int count = getgroups(RPC_GIDS_MAX, groups);

	if (strncmp(address, "unix:", 5) == 0)
		return;
	w->tell_who = true;
	w->self = (struct rpc_auth_sys){ .uid = geteuid(), .gid = getegid() };
	/* With more than fit it has none of them: which ones would count is not to be guessed. */
	for (int i = 0; i < count; i++)
		w->self.gids[w->self.gid_count++] = groups[i];
}

static int client_new(const char *address, const struct wfs_options *o, unsigned conn_count, struct wfs **ret)
{
	struct wfs *w = calloc(1, sizeof(*w) + (conn_count + 1) * sizeof(w->conns[0]));
	int err = 0;

	if (!w)
		return err_set(-ENOMEM, "no memory for a client");
	w->conn_count = conn_count;
	wfs_locks_init(&w->locks);
	w->no_shm = o->no_shared_memory;
	w->durable = o->durable;
	w->timeout_ns = (o->timeout_ms ? o->timeout_ms : CLIENT_TIMEOUT_MS_DEFAULT) * SYNC_NS_PER_MS;
	snprintf(w->name, sizeof(w->name), "%s", o->client_name ? o->client_name : "libwfs");
	tell_who(w, address);
	w->address = strdup(address);
	if (!w->address)
		err = err_set(-ENOMEM, "no memory for a client");
	else if (getrandom(w->id, sizeof(w->id), 0) != (ssize_t)sizeof(w->id))
		err = err_set(-EIO, "getrandom: %s", strerror(errno));
	if (!err && wfs_address_is_tls(address))
		err = tls_client_context(o->certificates ? o->certificates : getenv("WFS_CERTIFICATES"), &w->tls);
	for (unsigned i = 0; i <= conn_count && !err; i++)
		err = wfs_conn_init(&w->conns[i], w, i);
	if (err)
		client_free(w);
	else
		*ret = w;
	return err;
}

int wfs_connect(const char *address, const struct wfs_options *options, struct wfs **ret)
{
	static const struct wfs_options defaults;
	const struct wfs_options *o = options ? options : &defaults;
	unsigned conn_count = o->connections ? o->connections : 1;
	uint64_t deadline_ns = 0, generation;
	struct wfs *w = NULL;
	int err = wfs_address_check(address);

	if (err)
		return err;
	if (conn_count > CLIENT_CONNECTIONS_MAX)
		return err_set(-EINVAL, "%u connections, the limit is %u", conn_count, CLIENT_CONNECTIONS_MAX);
	err = client_new(address, o, conn_count, &w);
	if (err)
		return err;
	if (o->connect_timeout_ms)
		deadline_ns = sync_now_ns() + o->connect_timeout_ms * SYNC_NS_PER_MS;
	err = wfs_conn_up(&w->conns[0], &deadline_ns, o->connect_timeout_ms == 0, &generation);
	if (err) {
		client_free(w);
		return err;
	}
	sync_mutex_lock(&w->conns[0].lock);
	w->payload_max_bytes = w->conns[0].hello.payload_max_bytes;
	sync_mutex_unlock(&w->conns[0].lock);
	if (w->payload_max_bytes > WFSP_PAYLOAD_MAX)
		w->payload_max_bytes = WFSP_PAYLOAD_MAX;
	*ret = w;
	return 0;
}

void wfs_disconnect(struct wfs *w)
{
	if (w)
		client_free(w);
}

/* One page of the list. *ret_more: call again with the @after that this left behind. */
static int list_page(struct wfs *w, struct wfs_call *call, char *after, wfs_export_fn *fn, void *ctx, bool *ret_more)
{
	bool stop = false;
	uint32_t count;
	struct rd r;
	int err = wfs_call_any(w, call, &r);

	if (err)
		return err;
	count = xdr_get_count(&r, WFSP_LIST_MAX, WFSP_EXPORT_BYTES_MIN);
	for (uint32_t i = 0; i < count && !stop; i++) {
		struct wfsp_export e;

		wfsp_get_export(&r, &e);
		/* In order, or the list might never end. */
		if (r.bad || strcmp(e.name, after) <= 0)
			return err_set(-EBADMSG, "malformed list of exports");
		memcpy(after, e.name, sizeof(e.name));
		stop = fn(ctx, &(struct wfs_export_info){ .name = e.name,
		                                          .description = e.description,
		                                          .size_bytes = e.size_bytes,
		                                          .read_only = e.read_only,
		                                          .is_default = e.is_default }) != 0;
	}
	*ret_more = !stop && !xdr_get_bool(&r);
	if (!stop && (r.bad || (*ret_more && !count)))
		return err_set(-EBADMSG, "malformed list of exports");
	return 0;
}

int wfs_list_exports(struct wfs *w, wfs_export_fn *fn, void *ctx)
{
	char after[WFSP_NAME_MAX + 1] = "";
	uint8_t *reply = malloc(LONG_REPLY_BYTES);
	struct wfs_call call;
	bool more = true;
	int err = 0;

	if (!reply)
		return err_set(-ENOMEM, "no memory for a list of exports");
	while (more && !err) {
		wfs_call_init(&call, WFSP_LIST_EXPORTS);
		call.reply = reply;
		call.reply_size = LONG_REPLY_BYTES;
		xdr_put_string(&call.args, after);
		err = list_page(w, &call, after, fn, ctx, &more);
		wfs_call_done(&call);
	}
	free(reply);
	return err;
}

int wfs_statistics(struct wfs *w, wfs_counter_fn *fn, void *ctx)
{
	uint8_t *reply = malloc(LONG_REPLY_BYTES);
	struct wfs_call call;
	struct wfsp_counter v;
	uint32_t count;
	struct rd r;
	int err;

	if (!reply)
		return err_set(-ENOMEM, "no memory for statistics");
	wfs_call_init(&call, WFSP_STATISTICS);
	call.reply = reply;
	call.reply_size = LONG_REPLY_BYTES;
	err = wfs_call_any(w, &call, &r);
	count = err ? 0 : xdr_get_count(&r, WFSP_COUNTERS_MAX, WFSP_COUNTER_BYTES_MIN);
	for (uint32_t i = 0; i < count; i++) {
		wfsp_get_counter(&r, &v);
		if (!r.bad)
			fn(ctx, v.name, v.value);
	}
	if (!err && r.bad)
		err = err_set(-EBADMSG, "malformed statistics");
	wfs_call_done(&call);
	free(reply);
	return err;
}

char *wfs_error_text(char *buf, size_t len)
{
	return err_text(err_get(), err_get()->code, 0, buf, len);
}
