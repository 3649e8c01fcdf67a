/* SPDX-License-Identifier: BSD-3-Clause */
/* What a pool tells about itself: the record for administrators and the metrics. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/metrics.h"
#include "core/fs/wfs3/members.h"
#include "core/fs/wfs3/pool.h"
#include "core/fs/wfs3/scrub.h"

static int count_one(void *ctx, struct dataset *ds)
{
	struct pool_info *info = ctx;

	sync_mutex_lock(&ds->pool->table_lock);
	if (ds->type == DATASET_TYPE_TREE)
		info->fs_count += ds->state == DATASET_STATE_LIVE;
	else
		info->volume_count += ds->state == DATASET_STATE_LIVE;
	info->scrub.total_bytes += __atomic_load_n(&ds->used_blocks, __ATOMIC_RELAXED) * WFS3_BLOCK_BYTES;
	sync_mutex_unlock(&ds->pool->table_lock);
	return 0;
}

static int add_dirty(void *ctx, struct object *o)
{
	struct cache_file *file = __atomic_load_n(&o->file, __ATOMIC_ACQUIRE);
	struct pool_info *info = ctx;

	if (file)
		info->dirty_bytes += cache_file_dirty_bytes(file);
	return 0;
}

void pool_get_info(struct pool *p, struct pool_info *ret)
{
	char degraded[POOL_REASON_MAX];
	struct space_stats s;

	memset(ret, 0, sizeof(*ret));
	snprintf(ret->name, sizeof(ret->name), "%s", p->name);
	members_uuid_text(p->uuid, ret->uuid);
	sync_mutex_lock(&p->txg_lock);
	ret->health = p->failed || p->read_only ? POOL_HEALTH_READ_ONLY : POOL_HEALTH_ONLINE;
	snprintf(ret->reason, sizeof(ret->reason), "%s", p->failed ? p->fail_reason : p->note);
	ret->txg = p->durable_txg;
	sync_mutex_unlock(&p->txg_lock);
	space_get_stats(p->space, &s);
	ret->size_bytes = s.total_blocks * WFS3_BLOCK_BYTES;
	ret->used_bytes = s.used_blocks * WFS3_BLOCK_BYTES;
	ret->freeing_bytes = s.pending_blocks * WFS3_BLOCK_BYTES;
	ret->reserved_bytes = s.reserved_blocks * WFS3_BLOCK_BYTES;
	ret->available_bytes = pool_available_blocks(p) * WFS3_BLOCK_BYTES;
	pool_get_log_info(p, &ret->log);
	scrub_get_info(p->scrub, &ret->scrub);
	ret->bad_bytes = __atomic_load_n(&p->bad_blocks, __ATOMIC_RELAXED) * WFS3_BLOCK_BYTES;
	(void)dataset_each(p, count_one, ret);
	(void)object_each_dirty(p, add_dirty, ret);
	ret->device_count = members_info(p, ret->devices, POOL_DEVICES_MAX);
	if (members_degraded(p, degraded, sizeof(degraded)) && ret->health == POOL_HEALTH_ONLINE) {
		ret->health = POOL_HEALTH_DEGRADED;
		memcpy(ret->reason, degraded, sizeof(degraded));
	}
}

void pool_label(const struct pool *p, char ret[POOL_LABEL_BYTES])
{
	char name[2 * sizeof(p->name)];

	snprintf(ret, POOL_LABEL_BYTES, "pool=\"%s\"", metrics_escape(p->name, name, sizeof(name)));
}

static void collect_space(void *ctx, struct metrics_sink *sink)
{
	struct pool *p = ctx;
	struct space_stats s;
	char label[POOL_LABEL_BYTES], labels[POOL_LABEL_BYTES + 32];
	const struct {
		const char *state;
		uint64_t blocks;
	} rows[] = {
		{ "used", 0 }, { "in_flight", 0 }, { "freeing", 0 }, { "free", 0 }, { "reserved", 0 },
	};
	uint64_t values[5];

	pool_label(p, label);
	space_get_stats(p->space, &s);
	values[0] = s.used_blocks;
	values[1] = s.in_flight_blocks;
	values[2] = s.pending_blocks;
	values[3] = s.free_blocks;
	values[4] = s.reserved_blocks;
	for (unsigned i = 0; i < 5; i++) {
		snprintf(labels, sizeof(labels), "%s,state=\"%s\"", label, rows[i].state);
		metrics_emit(sink, labels, (double)values[i] * WFS3_BLOCK_BYTES);
	}
}

static void emit(struct pool *p, struct metrics_sink *sink, double value)
{
	char labels[POOL_LABEL_BYTES];

	pool_label(p, labels);
	metrics_emit(sink, labels, value);
}

static void collect_health(void *ctx, struct metrics_sink *sink)
{
	struct pool *p = ctx;

	emit(p, sink, !__atomic_load_n(&p->failed, __ATOMIC_ACQUIRE) && !p->read_only);
}

static void collect_checksum(void *ctx, struct metrics_sink *sink)
{
	struct pool *p = ctx;
	emit(p, sink, (double)members_checksum_errors(p));
}

static void collect_nodes(void *ctx, struct metrics_sink *sink)
{
	struct pool *p = ctx;
	struct node_cache_stats s;

	node_cache_get_stats(p->node_cache, &s);
	emit(p, sink, (double)s.resident_bytes);
}

struct quota_sink {
	struct metrics_sink *sink;
	const char *label; /* of the pool */
	bool objects;
};

static int emit_quotas(void *ctx, struct dataset *ds)
{
	static const char *const classes[] = { "dataset", "user", "group", "project" };
	struct quota *q = __atomic_load_n(&ds->quota, __ATOMIC_ACQUIRE);
	const struct quota_sink *s = ctx;
	struct quota_item *all;
	char labels[2 * POOL_LABEL_BYTES];
	size_t count;

	if (!q || quota_copy(q, &all, &count))
		return 0;
	for (size_t i = 0; i < count; i++) {
		uint64_t limit = s->objects ? all[i].limit_objects : all[i].limit_bytes;
		uint64_t used = s->objects ? all[i].used_objects : all[i].used_blocks * WFS3_BLOCK_BYTES;

		if (!limit)
			continue;
		for (unsigned is_limit = 0; is_limit < 2; is_limit++) {
			snprintf(labels, sizeof(labels),
			         "%s,dataset=\"%" PRIu64 "\",owner=\"%s\",id=\"%u\",what=\"%s\"", s->label, ds->id,
			         classes[all[i].class], all[i].id, is_limit ? "limit" : "used");
			metrics_emit(s->sink, labels, (double)(is_limit ? limit : used));
		}
	}
	free(all);
	return 0;
}

static void collect_quotas(struct pool *p, struct metrics_sink *sink, bool objects)
{
	char label[POOL_LABEL_BYTES];
	struct quota_sink s = { .sink = sink, .label = label, .objects = objects };

	pool_label(p, label);
	(void)dataset_each(p, emit_quotas, &s);
}

static void collect_quota_bytes(void *ctx, struct metrics_sink *sink)
{
	collect_quotas(ctx, sink, false);
}

static void collect_quota_objects(void *ctx, struct metrics_sink *sink)
{
	collect_quotas(ctx, sink, true);
}

static int register_quotas(struct pool *p, struct metrics *m, const char *labels)
{
	int ret = metrics_add_counter(m, p, "wfsd_quota_refusals_total", "Changes that a quota did not allow.", labels,
	                              &p->stats->quota_refusals);

	if (!ret)
		ret = metrics_add_counter(m, p, "wfsd_quota_looks_total",
		                          "Times that the room in a quota had to be found out.", labels,
		                          &p->stats->quota_looks);
	if (!ret)
		ret = metrics_add_collector(m, p, "wfsd_quota_bytes", "gauge", "Quotas of bytes, and what is mapped.",
		                            collect_quota_bytes, p);
	if (!ret)
		ret = metrics_add_collector(m, p, "wfsd_quota_objects", "gauge", "Quotas of objects, and their use.",
		                            collect_quota_objects, p);
	return ret;
}

int pool_register_metrics(struct pool *p)
{
	struct metrics *m = p->w->config.metrics;
	char labels[POOL_LABEL_BYTES];
	int ret;

	if (!m)
		return 0;
	pool_label(p, labels);
	ret = metrics_add_histogram(m, p, "wfsd_txg_commit_seconds", "Time to commit a transaction group.", labels,
	                            &p->stats->commit_time);
	if (!ret)
		ret = metrics_add_histogram(m, p, "wfsd_txg_freeze_seconds",
		                            "Time for which changes stop while a transaction group is frozen.", labels,
		                            &p->stats->freeze_time);
	if (!ret)
		ret = metrics_add_counter(m, p, "wfsd_tree_nodes_written_total", "Tree nodes written.", labels,
		                          &p->stats->nodes_written);
	if (!ret)
		ret = metrics_add_collector(m, p, "wfsd_pool_bytes", "gauge", "Pool space by state.", collect_space, p);
	if (!ret)
		ret = metrics_add_counter(m, p, "wfsd_txg_commits_total", "Transaction groups committed.", labels,
		                          &p->stats->commits);
	if (!ret)
		ret = metrics_add_collector(m, p, "wfsd_pool_online", "gauge", "1 when the pool takes writes.",
		                            collect_health, p);
	if (!ret)
		ret = metrics_add_collector(m, p, "wfsd_pool_checksum_errors_total", "counter",
		                            "Blocks whose checksum was wrong.", collect_checksum, p);
	if (!ret)
		ret = metrics_add_collector(m, p, "wfsd_node_cache_bytes", "gauge", "Tree nodes in memory.",
		                            collect_nodes, p);
	if (!ret)
		ret = pool_register_log_metrics(p, m, labels);
	if (!ret)
		ret = register_quotas(p, m, labels);
	if (!ret)
		ret = dataset_register_metrics(p, m);
	if (!ret)
		ret = scrub_register_metrics(p->scrub, m);
	if (!ret)
		ret = members_register_metrics(p);
	if (ret)
		metrics_unregister(m, p);
	return ret;
}
