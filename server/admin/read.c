/* SPDX-License-Identifier: BSD-3-Clause */
/* GET: what there is and how it is doing. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/base/budget.h"
#include "core/base/err.h"
#include "core/base/metrics.h"
#include "server/admin/call.h"
#include "server/admin/encode.h"
#include "server/admin/status.h"
#include "server/rpc/rpc_server.h"

int read_metrics(struct call *c)
{
	c->text = metrics_render(c->admin->config.metrics, &c->text_len);
	c->text_type = "text/plain; version=0.0.4; charset=utf-8";
	return c->text ? 0 : err_set(-ENOMEM, "render the metrics");
}

int read_live(struct call *c)
{
	return answer_object(c, 200, json_pack("{s:s}", "status", "live"));
}

int read_ready(struct call *c)
{
	enum daemon_state state = daemon_status_get(c->admin->config.status);
	bool ready = state == DAEMON_RUNNING;

	return answer_object(c, ready ? 200 : 503,
	                     json_pack("{s:s}", "status", ready ? "ready" : daemon_state_name(state)));
}

/* {"KEY":[...]}, the list filled by the encoder's callbacks. */
struct listing {
	json_t *list;
	bool failed;
};

static void listing_add(struct listing *l, json_t *entry)
{
	if (json_array_append_new(l->list, entry) < 0)
		l->failed = true;
}

static int listing_answer(struct call *c, const char *key, struct listing *l)
{
	json_t *object = l->failed ? NULL : json_pack("{s:O}", key, l->list);

	json_decref(l->list);
	return answer_object(c, 200, object);
}

static void add_pool(void *ctx, const struct pool_info *info)
{
	listing_add(ctx, encode_pool(info));
}

static void add_pool_summary(void *ctx, const struct pool_info *info)
{
	listing_add(ctx, encode_pool_summary(info));
}

static void add_pool_name(void *ctx, const struct pool_info *info)
{
	listing_add(ctx, encode_text(info->name));
}

static void add_volume(void *ctx, const struct volume_info *info)
{
	listing_add(ctx, encode_volume(info));
}

static void add_fs(void *ctx, const struct fs_info *info)
{
	listing_add(ctx, encode_fs(info));
}

static void add_export(void *ctx, const struct export_info *info)
{
	listing_add(ctx, encode_export(info));
}

static void count_export(void *ctx, const struct export_info *info)
{
	unsigned *count = ctx;

	(void)info;
	(*count)++;
}

static void add_problem(void *ctx, const char *about, const char *text)
{
	(void)about;
	listing_add(ctx, encode_text(text));
}

static void add_consumer(void *ctx, const char *name, size_t used_bytes)
{
	listing_add(ctx, json_pack("{s:s, s:I}", "name", name, "used_bytes", (json_int_t)used_bytes));
}

static void add_connection(void *ctx, const struct admin_connection *info)
{
	listing_add(ctx, json_pack("{s:I, s:o, s:i, s:f}", "id", (json_int_t)info->id, "peer", encode_text(info->peer),
	                           "pid", info->pid, "age_seconds", (double)info->age_ns / (double)SYNC_NS_PER_S));
}

int read_pools(struct call *c)
{
	const struct pool_admin *p = &c->admin->config.pools;
	struct listing l = { .list = json_array() };
	int rc = p->driver->pool_each(p->ctx, add_pool, &l);

	if (rc < 0) {
		json_decref(l.list);
		return rc;
	}
	return listing_answer(c, "pools", &l);
}

int answer_pool(struct call *c, const char *pool)
{
	const struct pool_admin *p = &c->admin->config.pools;
	struct pool_info *info = calloc(1, sizeof(*info));
	int rc;

	if (!info)
		return err_set(-ENOMEM, "describe pool '%s'", pool);
	rc = p->driver->pool_get(p->ctx, pool, info);
	if (rc == 0)
		rc = answer_object(c, c->status, encode_pool(info));
	free(info);
	return rc;
}

int read_pool(struct call *c)
{
	return answer_pool(c, c->names[0]);
}

int answer_volume(struct call *c, const char *pool, const char *name)
{
	const struct pool_admin *p = &c->admin->config.pools;
	struct volume_info info;
	int rc = p->driver->volume_get(p->ctx, pool, name, &info);

	return rc < 0 ? rc : answer_object(c, c->status, encode_volume(&info));
}

int read_volume(struct call *c)
{
	return answer_volume(c, c->names[0], c->names[1]);
}

int answer_fs(struct call *c, const char *pool, const char *name)
{
	const struct pool_admin *p = &c->admin->config.pools;
	struct fs_info info;
	int rc = p->driver->fs_get(p->ctx, pool, name, &info);

	return rc < 0 ? rc : answer_object(c, c->status, encode_fs(&info));
}

int read_fs(struct call *c)
{
	return answer_fs(c, c->names[0], c->names[1]);
}

static int each_volume(const struct pool_admin *p, const char *pool, struct listing *l)
{
	return p->driver->volume_each(p->ctx, pool, add_volume, l);
}

static int each_fs(const struct pool_admin *p, const char *pool, struct listing *l)
{
	return p->driver->fs_each(p->ctx, pool, add_fs, l);
}

/* Those of all pools, or of the one that is asked for. */
static int read_datasets(struct call *c, const char *key,
                         int (*each)(const struct pool_admin *p, const char *pool, struct listing *l))
{
	const struct pool_admin *p = &c->admin->config.pools;
	struct listing l = { .list = json_array() };
	struct listing pools = { .list = json_array() };
	const json_t *pool;
	size_t i;
	int rc = 0;

	if (c->path.query_value[0])
		listing_add(&pools, encode_text(c->path.query_value));
	else
		rc = p->driver->pool_each(p->ctx, add_pool_name, &pools);
	json_array_foreach (pools.list, i, pool) {
		if (rc < 0)
			break;
		rc = each(p, json_string_value(pool), &l);
		/* A pool that was exported meanwhile has none. */
		if (rc == -ENOENT && !c->path.query_value[0])
			rc = 0;
	}
	l.failed |= pools.failed;
	json_decref(pools.list);
	if (rc < 0) {
		json_decref(l.list);
		return rc;
	}
	return listing_answer(c, key, &l);
}

int read_volumes(struct call *c)
{
	return read_datasets(c, "volumes", each_volume);
}

int read_fss(struct call *c)
{
	return read_datasets(c, "filesystems", each_fs);
}

int read_exports(struct call *c)
{
	struct listing l = { .list = json_array() };

	export_each(c->admin->config.exports, add_export, &l);
	return listing_answer(c, "exports", &l);
}

static void add_rpc_connection(void *ctx, const struct rpc_connection_info *info)
{
	listing_add(ctx, json_pack("{s:o, s:o, s:b, s:f, s:I, s:I, s:I, s:I, s:i, s:i}", "client",
	                           encode_text(info->client), "program", encode_text(info->name), "tls", (int)info->tls,
	                           "age_seconds", (double)info->age_ns / (double)SYNC_NS_PER_S, "requests",
	                           (json_int_t)info->requests, "errors", (json_int_t)info->errors, "read_bytes",
	                           (json_int_t)info->read_bytes, "written_bytes", (json_int_t)info->written_bytes,
	                           "under_way", (int)info->under_way, "open_files", (int)info->open_files));
}

int read_connections(struct call *c)
{
	const struct admin_peers *peers = &c->admin->config.peers;
	struct listing l = { .list = json_array() }, rpc = { .list = json_array() };
	int rc;

	peers->nbd_each(peers->ctx, add_connection, &l);
	peers->rpc_each(peers->ctx, add_rpc_connection, &rpc);
	l.failed |= rpc.failed;
	rc = listing_answer(c, "nbd", &l);
	if (rc < 0) {
		json_decref(rpc.list);
		return rc;
	}
	json_object_set_new(c->object, "rpc", rpc.list);
	json_object_set_new(c->object, "rpc_connections", json_integer(peers->rpc_connections(peers->ctx)));
	return 0;
}

static json_t *encode_slow(const struct rpc_slow *s)
{
	json_t *o = json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:s, s:o, s:o, s:i, s:I, s:I}", "ended_ns",
	                      (json_int_t)s->ended_wall_ns, "total_ns", (json_int_t)s->total_ns, "queued_ns",
	                      (json_int_t)s->queued_ns, "device_ns", (json_int_t)s->device_ns, "others_ns",
	                      (json_int_t)s->others_ns, "busy_ns", (json_int_t)s->busy_ns, "procedure", s->procedure,
	                      "client", encode_text(s->client), "export", encode_text(s->export_name), "errno", -s->err,
	                      "offset", (json_int_t)s->offset, "len_bytes", (json_int_t)s->len_bytes);

	if (o && s->operations)
		json_object_set_new(o, "operations", json_integer(s->operations));
	if (o && s->slowest)
		json_object_set_new(o, "slowest", json_string(s->slowest));
	return o;
}

int read_slow(struct call *c)
{
	const struct admin_peers *peers = &c->admin->config.peers;
	struct rpc_slow *slow = calloc(RPC_SLOW_MAX, sizeof(*slow));
	struct listing l = { .list = json_array() };
	unsigned count;

	if (!slow)
		l.failed = true;
	count = slow ? peers->rpc_slow(peers->ctx, slow) : 0;
	for (unsigned i = 0; i < count; i++)
		listing_add(&l, encode_slow(&slow[i]));
	free(slow);
	return listing_answer(c, "slow", &l);
}

static json_t *status_memory(struct call *c, bool *failed)
{
	struct budget *b = c->admin->config.budget;
	struct listing consumers = { .list = json_array() };

	budget_each(b, add_consumer, &consumers);
	*failed |= consumers.failed;
	return json_pack("{s:I, s:I, s:o}", "limit_bytes", (json_int_t)budget_limit(b), "used_bytes",
	                 (json_int_t)budget_used(b), "consumers", consumers.list);
}

static json_t *status_nbd(struct call *c)
{
	const struct admin_peers *peers = &c->admin->config.peers;
	struct admin_nbd_stats s;

	peers->nbd_stats(peers->ctx, &s);
	return json_pack("{s:i, s:i, s:I, s:I, s:I, s:I, s:I, s:I}", "connections", (int)s.connections,
	                 "max_connections", (int)s.max_connections, "accepted", (json_int_t)s.accepted, "refused",
	                 (json_int_t)s.refused, "ended_ok", (json_int_t)s.ended_ok, "ended_error",
	                 (json_int_t)s.ended_error, "ended_signal", (json_int_t)s.ended_signal, "handshake_timeouts",
	                 (json_int_t)s.handshake_timeouts);
}

int read_status(struct call *c)
{
	const struct admin_config *config = &c->admin->config;
	struct listing pools = { .list = json_array() };
	struct listing problems = { .list = json_array() };
	unsigned export_count = 0;
	bool failed = false;
	json_t *object;
	int rc = config->pools.driver->pool_each(config->pools.ctx, add_pool_summary, &pools);

	daemon_problem_each(config->status, add_problem, &problems);
	export_each(config->exports, count_export, &export_count);
	object = json_pack(
	        "{s:s, s:i, s:f, s:s, s:o, s:o, s:o, s:o, s:i}", "version", config->version, "pid", (int)getpid(),
	        "uptime_seconds", (double)daemon_status_uptime_ns(config->status) / (double)SYNC_NS_PER_S, "state",
	        daemon_state_name(daemon_status_get(config->status)), "pools", pools.list, "problems", problems.list,
	        "memory", status_memory(c, &failed), "nbd", status_nbd(c), "export_count", (int)export_count);
	if (rc < 0 || failed || pools.failed || problems.failed) {
		json_decref(object);
		return rc < 0 ? rc : err_set(-ENOMEM, "describe the daemon");
	}
	return answer_object(c, 200, object);
}
