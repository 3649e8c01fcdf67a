/* SPDX-License-Identifier: BSD-3-Clause */
/* What is counted by export: operations, errors and bytes since the daemon's start, under the names that exports had.
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

void rpc_export_count(struct rpc_export_stats *e, bool failed, uint64_t read_bytes, uint64_t written_bytes)
{
	if (!e)
		return;
	ADD(e->operations, 1);
	if (failed)
		ADD(e->errors, 1);
	if (read_bytes)
		ADD(e->read_bytes, read_bytes);
	if (written_bytes)
		ADD(e->written_bytes, written_bytes);
}

static void emit(struct rpc_server *s, struct metrics_sink *sink, size_t offset)
{
	char labels[2 * EXPORT_NAME_MAX + 16], name[2 * EXPORT_NAME_MAX + 1];

	sync_mutex_lock(&s->export_stats_lock);
	for (struct rpc_export_stats *e = s->export_stats; e; e = e->next) {
		const uint64_t *value = (const uint64_t *)(const void *)((const char *)e + offset);

		snprintf(labels, sizeof(labels), "export=\"%s\"", metrics_escape(e->name, name, sizeof(name)));
		metrics_emit(sink, labels, (double)LOAD(*value));
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
