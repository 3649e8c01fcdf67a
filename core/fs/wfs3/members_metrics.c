/* SPDX-License-Identifier: BSD-3-Clause */
/* What a pool's devices tell the metrics: states, repairs, and how far a device that comes back is filled. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/base/err.h"
#include "core/base/metrics.h"
#include "core/fs/wfs3/members.h"
#include "core/fs/wfs3/pool.h"

#define LABELS_BYTES 512

typedef double device_value_fn(const struct pool_device_info *d);

/* @state: one line for each device and state, 1 for the state that it is in; NULL: one line for each device. */
static void emit_devices(struct pool *p, struct metrics_sink *sink, device_value_fn *value, bool by_state)
{
	static const char *const states[] = {
		[POOL_DEVICE_ONLINE] = "online", [POOL_DEVICE_FILLING] = "filling", [POOL_DEVICE_AWAY] = "away"
	};
	struct pool_device_info *info = calloc(POOL_DEVICES_MAX, sizeof(*info));
	unsigned count = info ? members_info(p, info, POOL_DEVICES_MAX) : 0;
	char name[2 * sizeof(p->name)], labels[LABELS_BYTES];

	metrics_escape(p->name, name, sizeof(name));
	for (unsigned i = 0; i < count; i++) {
		if (!by_state) {
			snprintf(labels, sizeof(labels), "pool=\"%s\",device=\"%s\"", name, info[i].uuid);
			metrics_emit(sink, labels, value(&info[i]));
			continue;
		}
		for (unsigned s = 0; s < sizeof(states) / sizeof(states[0]); s++) {
			snprintf(labels, sizeof(labels), "pool=\"%s\",device=\"%s\",state=\"%s\"", name, info[i].uuid,
			         states[s]);
			metrics_emit(sink, labels, info[i].state == (enum pool_device_state)s);
		}
	}
	free(info);
}

static void collect_states(void *ctx, struct metrics_sink *sink)
{
	emit_devices(ctx, sink, NULL, true);
}

static double repairs_of(const struct pool_device_info *d)
{
	return (double)d->repairs;
}

static void collect_repairs(void *ctx, struct metrics_sink *sink)
{
	emit_devices(ctx, sink, repairs_of, false);
}

static double checksum_errors_of(const struct pool_device_info *d)
{
	return (double)d->checksum_errors;
}

static void collect_checksum_errors(void *ctx, struct metrics_sink *sink)
{
	emit_devices(ctx, sink, checksum_errors_of, false);
}

static void emit_blocks(struct pool *p, struct metrics_sink *sink, uint64_t blocks)
{
	char name[2 * sizeof(p->name)], labels[LABELS_BYTES];

	snprintf(labels, sizeof(labels), "pool=\"%s\"", metrics_escape(p->name, name, sizeof(name)));
	metrics_emit(sink, labels, (double)blocks * WFS3_BLOCK_BYTES);
}

static void collect_filled(void *ctx, struct metrics_sink *sink)
{
	struct pool *p = ctx;

	emit_blocks(p, sink, __atomic_load_n(&p->members->filled_blocks, __ATOMIC_RELAXED));
}

static void collect_fill(void *ctx, struct metrics_sink *sink)
{
	struct pool *p = ctx;

	emit_blocks(p, sink, __atomic_load_n(&p->members->fill_blocks, __ATOMIC_RELAXED));
}

static void collect_bad(void *ctx, struct metrics_sink *sink)
{
	struct pool *p = ctx;

	emit_blocks(p, sink, __atomic_load_n(&p->bad_blocks, __ATOMIC_RELAXED));
}

static void collect_degraded(void *ctx, struct metrics_sink *sink)
{
	char name[2 * sizeof(((struct pool *)ctx)->name)], labels[LABELS_BYTES], text[POOL_REASON_MAX];
	struct pool *p = ctx;

	snprintf(labels, sizeof(labels), "pool=\"%s\"", metrics_escape(p->name, name, sizeof(name)));
	metrics_emit(sink, labels, members_degraded(p, text, sizeof(text)));
}

static int register_devices(struct pool *p)
{
	struct members *m = p->members;
	int rc = 0;

	sync_mutex_lock(&m->lock);
	for (unsigned i = 0; i < m->label.device_count && !rc; i++) {
		struct mirror_copy c = members_copy(m, i);

		if (c.dev)
			rc = blk_register_metrics(c.dev, p->w->config.metrics);
	}
	sync_mutex_unlock(&m->lock);
	return rc;
}

int members_register_metrics(struct pool *p)
{
	static const struct {
		const char *name, *type, *help;
		void (*collect)(void *ctx, struct metrics_sink *sink);
	} rows[] = {
		{ "wfsd_pool_degraded", "gauge", "1 when a device of the pool is away or being filled.",
		  collect_degraded },
		{ "wfsd_pool_bad_bytes", "gauge", "Space that could not be written and is not used any more.",
		  collect_bad },
		{ "wfsd_pool_device_state", "gauge", "1 for the state that a device of the pool is in.",
		  collect_states },
		{ "wfsd_pool_device_repairs_total", "counter", "Places of a device that were written anew.",
		  collect_repairs },
		{ "wfsd_pool_device_checksum_errors_total", "counter", "Wrong contents found on a device.",
		  collect_checksum_errors },
		{ "wfsd_pool_resilver_done_bytes", "gauge", "What was copied by the newest filling of a device.",
		  collect_filled },
		{ "wfsd_pool_resilver_total_bytes", "gauge", "The most that the newest filling may have to copy.",
		  collect_fill },
	};
	int rc = 0;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]) && !rc; i++)
		rc = metrics_add_collector(p->w->config.metrics, p, rows[i].name, rows[i].type, rows[i].help,
		                           rows[i].collect, p);
	return rc ? rc : register_devices(p);
}
