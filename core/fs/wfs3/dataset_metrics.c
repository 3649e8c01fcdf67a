/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What is counted by dataset, whichever front end it comes through: operations, errors and bytes since the import. It
 * stands beside what counts the operations under way, in the same lines of memory, and goes with the dataset.
 */
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "core/base/metrics.h"
#include "core/fs/wfs3/pool.h"

#define LABELS_BYTES (POOL_LABEL_BYTES + 2 * sizeof(((struct dataset *)NULL)->name) + 64)

void dataset_note(struct dataset *ds, enum dataset_op op, int rc, uint64_t bytes)
{
	struct dataset_slot *s = &ds->in_flight[sync_thread_slot() % DATASET_SLOTS];

	if (rc == -EAGAIN)
		return;
	__atomic_add_fetch(&s->operations[op], 1, __ATOMIC_RELAXED);
	if (rc)
		__atomic_add_fetch(&s->errors[op], 1, __ATOMIC_RELAXED);
	else if (bytes)
		__atomic_add_fetch(&s->bytes[op], bytes, __ATOMIC_RELAXED);
}

/* Of all slots, one number of each; @offset: of that in a slot. */
static uint64_t sum_of(const struct dataset *ds, size_t offset)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < DATASET_SLOTS; i++)
		sum += __atomic_load_n((const uint64_t *)(const void *)((const char *)&ds->in_flight[i] + offset),
		                       __ATOMIC_RELAXED);
	return sum;
}

#define SUM_OF(ds, member) sum_of(ds, offsetof(struct dataset_slot, member))

void dataset_get_figures(const struct dataset *ds, struct vfs_figures *ret)
{
	*ret = (struct vfs_figures){
		.reads = SUM_OF(ds, operations[DATASET_READ]),
		.read_errors = SUM_OF(ds, errors[DATASET_READ]),
		.read_bytes = SUM_OF(ds, bytes[DATASET_READ]),
		.writes = SUM_OF(ds, operations[DATASET_WRITE]),
		.write_errors = SUM_OF(ds, errors[DATASET_WRITE]),
		.written_bytes = SUM_OF(ds, bytes[DATASET_WRITE]),
		.changes = SUM_OF(ds, operations[DATASET_CHANGE]),
		.change_errors = SUM_OF(ds, errors[DATASET_CHANGE]),
	};
}

struct emission {
	struct metrics_sink *sink;
	size_t offset; /* of the array in a slot */
	unsigned op_count;
};

static int emit_dataset(void *ctx, struct dataset *ds)
{
	static const char *const ops[] = { "read", "write", "change" };
	char labels[LABELS_BYTES], pool[POOL_LABEL_BYTES], name[2 * sizeof(ds->name)];
	const struct emission *e = ctx;

	sync_mutex_lock(&ds->pool->table_lock);
	metrics_escape(ds->name, name, sizeof(name));
	sync_mutex_unlock(&ds->pool->table_lock);
	/* It was deleted, and is being given back. */
	if (!name[0])
		return 0;
	pool_label(ds->pool, pool);
	for (unsigned op = 0; op < e->op_count; op++) {
		snprintf(labels, sizeof(labels), "%s,dataset=\"%s\",operation=\"%s\"", pool, name, ops[op]);
		metrics_emit(e->sink, labels, (double)sum_of(ds, e->offset + op * sizeof(uint64_t)));
	}
	return 0;
}

static void collect_operations(void *ctx, struct metrics_sink *sink)
{
	struct emission e = { sink, offsetof(struct dataset_slot, operations), DATASET_OPS };

	(void)dataset_each(ctx, emit_dataset, &e);
}

static void collect_errors(void *ctx, struct metrics_sink *sink)
{
	struct emission e = { sink, offsetof(struct dataset_slot, errors), DATASET_OPS };

	(void)dataset_each(ctx, emit_dataset, &e);
}

static void collect_bytes(void *ctx, struct metrics_sink *sink)
{
	struct emission e = { sink, offsetof(struct dataset_slot, bytes), DATASET_CHANGE };

	(void)dataset_each(ctx, emit_dataset, &e);
}

int dataset_register_metrics(struct pool *p, struct metrics *m)
{
	int rc = metrics_add_collector(m, p, "wfsd_dataset_operations_total", "counter",
	                               "Reads, writes, and changes of names and attributes, by dataset.",
	                               collect_operations, p);

	if (!rc)
		rc = metrics_add_collector(m, p, "wfsd_dataset_errors_total", "counter", "Those that failed.",
		                           collect_errors, p);
	if (!rc)
		rc = metrics_add_collector(m, p, "wfsd_dataset_bytes_total", "counter",
		                           "Bytes read and written, by dataset.", collect_bytes, p);
	return rc;
}
