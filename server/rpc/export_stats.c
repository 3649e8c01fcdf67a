/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What is counted by export: operations, errors, bytes and latencies since the daemon's start, under the names that
 * exports had.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/rpc/internal.h"

#define STATS_MAX 8192u /* names; those beyond are counted as one, without a name */

#define LOAD(field) __atomic_load_n(&(field), __ATOMIC_RELAXED)
#define ADD(field, n) __atomic_add_fetch(&(field), n, __ATOMIC_RELAXED)

struct rpc_export_stats *rpc_export_stats(struct rpc_server *s, const char *name)
{
	struct rpc_export_stats *e;

	sync_mutex_lock(&s->export_stats_lock);
	for (e = s->export_stats; e && strcmp(e->name, name) != 0; e = e->next)
		;
	if (!e && s->export_stats_count < STATS_MAX) {
		e = calloc(1, sizeof(*e));
		if (e) {
			snprintf(e->name, sizeof(e->name), "%s", name);
			e->next = s->export_stats;
			s->export_stats = e;
			s->export_stats_count++;
		}
	}
	sync_mutex_unlock(&s->export_stats_lock);
	return e ? e : &s->other_exports;
}

void rpc_export_count(struct rpc_export_stats *e, const struct rpc_export_done *done)
{
	if (!e)
		return;
	ADD(e->operations, 1);
	if (done->failed)
		ADD(e->errors, 1);
	if (done->read_bytes)
		ADD(e->read_bytes, done->read_bytes);
	if (done->written_bytes)
		ADD(e->written_bytes, done->written_bytes);
	histogram_small_add(done->change ? &e->change_latency : &e->read_latency, done->took_ns);
}

static void put_latency(const struct histogram_small *h, const char *const names[4], struct wr *w)
{
	struct histogram_view v;

	histogram_small_read(h, &v);
	rpc_put_counter(w, names[0], v.count);
	rpc_put_counter(w, names[1], v.sum_ns / 1000);
	rpc_put_counter(w, names[2], histogram_percentile_us(&v, 50));
	rpc_put_counter(w, names[3], histogram_percentile_us(&v, 99));
}

uint32_t rpc_export_put_figures(const struct rpc_export_stats *e, struct wr *w)
{
	static const char *const reads[] = { "reads", "reads_us", "reads_p50_us", "reads_p99_us" };
	static const char *const changes[] = { "changes", "changes_us", "changes_p50_us", "changes_p99_us" };

	rpc_put_counter(w, "operations", LOAD(e->operations));
	rpc_put_counter(w, "errors", LOAD(e->errors));
	rpc_put_counter(w, "read_bytes", LOAD(e->read_bytes));
	rpc_put_counter(w, "written_bytes", LOAD(e->written_bytes));
	put_latency(&e->read_latency, reads, w);
	put_latency(&e->change_latency, changes, w);
	return 12;
}

/* Room for its labels: a name that is all of what is escaped, and which operation. */
#define LABELS_BYTES (2 * EXPORT_NAME_MAX + 48)

static char *put_labels(const struct rpc_export_stats *e, const char *more, char labels[LABELS_BYTES])
{
	char name[2 * EXPORT_NAME_MAX + 1];

	snprintf(labels, LABELS_BYTES, "export=\"%s\"%s", metrics_escape(e->name, name, sizeof(name)), more);
	return labels;
}

static void emit(struct rpc_server *s, struct metrics_sink *sink, size_t offset)
{
	char labels[LABELS_BYTES];

	sync_mutex_lock(&s->export_stats_lock);
	for (struct rpc_export_stats *e = s->export_stats; e; e = e->next) {
		const uint64_t *value = (const uint64_t *)(const void *)((const char *)e + offset);

		metrics_emit(sink, put_labels(e, "", labels), (double)LOAD(*value));
	}
	sync_mutex_unlock(&s->export_stats_lock);
}

static void emit_operations(void *ctx, struct metrics_sink *sink)
{
	emit(ctx, sink, offsetof(struct rpc_export_stats, operations));
}

static void emit_errors(void *ctx, struct metrics_sink *sink)
{
	emit(ctx, sink, offsetof(struct rpc_export_stats, errors));
}

static void emit_read(void *ctx, struct metrics_sink *sink)
{
	emit(ctx, sink, offsetof(struct rpc_export_stats, read_bytes));
}

static void emit_written(void *ctx, struct metrics_sink *sink)
{
	emit(ctx, sink, offsetof(struct rpc_export_stats, written_bytes));
}

static void emit_latency(void *ctx, struct metrics_sink *sink)
{
	struct rpc_server *s = ctx;
	char labels[LABELS_BYTES];
	struct histogram_view v;

	sync_mutex_lock(&s->export_stats_lock);
	for (struct rpc_export_stats *e = s->export_stats; e; e = e->next) {
		/* There are many lines of each: none where nothing was done. */
		histogram_small_read(&e->read_latency, &v);
		if (v.count)
			metrics_emit_histogram(sink, put_labels(e, ",operation=\"read\"", labels), &v);
		histogram_small_read(&e->change_latency, &v);
		if (v.count)
			metrics_emit_histogram(sink, put_labels(e, ",operation=\"change\"", labels), &v);
	}
	sync_mutex_unlock(&s->export_stats_lock);
}

int rpc_export_stats_register(struct rpc_server *s)
{
	const struct {
		const char *name, *help;
		metrics_collect_fn *fn;
	} rows[] = {
		{ "wfsd_export_operations_total", "Operations on what an export has.", emit_operations },
		{ "wfsd_export_errors_total", "Those that failed.", emit_errors },
		{ "wfsd_export_read_bytes_total", "Bytes read from an export.", emit_read },
		{ "wfsd_export_written_bytes_total", "Bytes written to an export.", emit_written },
	};
	int err = 0;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]) && !err; i++)
		err = metrics_add_collector(s->metrics, s, rows[i].name, "counter", rows[i].help, rows[i].fn, s);
	if (!err)
		err = metrics_add_collector(s->metrics, s, "wfsd_export_latency_seconds", "histogram",
		                            "Time that operations on an export took: requests from their arrival to "
		                            "their answer, those of a compound each by itself.",
		                            emit_latency, s);
	return err;
}

void rpc_export_stats_done(struct rpc_server *s)
{
	while (s->export_stats) {
		struct rpc_export_stats *e = s->export_stats;

		s->export_stats = e->next;
		free(e);
	}
	sync_mutex_done(&s->export_stats_lock);
}
