/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The metric registry and its rendering. Counting itself is in counter.c.
 *
 * Entries stand in one list ordered by name. While an entry is being rendered it is marked busy and the lock is not
 * held, so that gauges and collectors may take locks of their own; unregistering waits for it.
 */
#include "core/base/metrics.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/err.h"
#include "core/base/sync.h"

enum entry_kind {
	ENTRY_COUNTER,
	ENTRY_HISTOGRAM,
	ENTRY_GAUGE,
	ENTRY_COLLECTOR,
};

struct entry {
	struct entry *next; /* the registry's lock */
	unsigned busy; /* the registry's lock: renderings that are reading it */
	bool gone; /* the registry's lock: unregistered, waiting for busy to become 0 */
	enum entry_kind kind;
	const void *owner;
	char *name;
	char *help;
	char *labels; /* "" when there are none */
	char type[12];
	union {
		const struct counter *counter;
		const struct histogram *histogram;
		metrics_gauge_fn *gauge;
		metrics_collect_fn *collect;
	} u;
	void *ctx;
};

struct metrics {
	struct sync_mutex lock;
	struct sync_cond idle; /* an entry's @busy became 0 */
	struct entry *entries SYNC_GUARDED_BY(lock); /* by name, then by age */
};

struct metrics_sink {
	FILE *out;
	const char *name;
};

struct metrics *metrics_new(void)
{
	struct metrics *m = calloc(1, sizeof(*m));

	if (!m)
		return NULL;
	sync_mutex_init(&m->lock, SYNC_RANK_LEAF, "metrics");
	sync_cond_init(&m->idle);
	return m;
}

static void entry_free(struct entry *e)
{
	if (!e)
		return;
	free(e->name);
	free(e->help);
	free(e->labels);
	free(e);
}

/* Nobody else uses the registry any more. */
SYNC_NO_ANALYSIS void metrics_free(struct metrics *m)
{
	struct entry *e, *next;

	if (!m)
		return;
	for (e = m->entries; e; e = next) {
		next = e->next;
		entry_free(e);
	}
	sync_cond_done(&m->idle);
	sync_mutex_done(&m->lock);
	free(m);
}

static struct entry *entry_new(enum entry_kind kind, const char *type, const void *owner, const char *name,
                               const char *help, const char *labels)
{
	struct entry *e = calloc(1, sizeof(*e));

	if (!e)
		return NULL;
	e->kind = kind;
	e->owner = owner;
	e->name = strdup(name);
	e->help = strdup(help);
	e->labels = strdup(labels ? labels : "");
	snprintf(e->type, sizeof(e->type), "%s", type);
	if (!e->name || !e->help || !e->labels) {
		entry_free(e);
		return NULL;
	}
	return e;
}

/*
 * Same name: the type must agree. A collector shares a name with other owners' collectors only (each with labels of its
 * own); everything else with what has other labels.
 */
static bool entries_clash(const struct entry *a, const struct entry *b)
{
	if (strcmp(a->type, b->type) != 0 || (a->kind == ENTRY_COLLECTOR) != (b->kind == ENTRY_COLLECTOR))
		return true;
	return a->kind == ENTRY_COLLECTOR ? a->owner == b->owner : strcmp(a->labels, b->labels) == 0;
}

/* Takes over @e, also when it fails. */
static int entry_insert(struct metrics *m, struct entry *e)
{
	struct entry **at;
	int rc = 0;

	if (!e)
		return err_set(-ENOMEM, "register a metric");
	sync_mutex_lock(&m->lock);
	for (at = &m->entries; *at; at = &(*at)->next) {
		int order = strcmp((*at)->name, e->name);

		if (order > 0)
			break;
		if (order == 0 && !(*at)->gone && entries_clash(*at, e)) {
			rc = -EEXIST;
			break;
		}
	}
	if (rc == 0) {
		e->next = *at;
		*at = e;
	}
	sync_mutex_unlock(&m->lock);
	if (rc) {
		rc = err_set(rc, "metric %s{%s}", e->name, e->labels);
		entry_free(e);
	}
	return rc;
}

int metrics_add_counter(struct metrics *m, const void *owner, const char *name, const char *help, const char *labels,
                        const struct counter *c)
{
	struct entry *e = entry_new(ENTRY_COUNTER, "counter", owner, name, help, labels);

	if (e)
		e->u.counter = c;
	return entry_insert(m, e);
}

int metrics_add_histogram(struct metrics *m, const void *owner, const char *name, const char *help, const char *labels,
                          const struct histogram *h)
{
	struct entry *e = entry_new(ENTRY_HISTOGRAM, "histogram", owner, name, help, labels);

	if (e)
		e->u.histogram = h;
	return entry_insert(m, e);
}

int metrics_add_gauge(struct metrics *m, const void *owner, const char *name, const char *help, const char *labels,
                      metrics_gauge_fn *fn, void *ctx)
{
	struct entry *e = entry_new(ENTRY_GAUGE, "gauge", owner, name, help, labels);

	if (e) {
		e->u.gauge = fn;
		e->ctx = ctx;
	}
	return entry_insert(m, e);
}

int metrics_add_collector(struct metrics *m, const void *owner, const char *name, const char *type, const char *help,
                          metrics_collect_fn *fn, void *ctx)
{
	struct entry *e = entry_new(ENTRY_COLLECTOR, type, owner, name, help, NULL);

	if (e) {
		e->u.collect = fn;
		e->ctx = ctx;
	}
	return entry_insert(m, e);
}

static void unlink_entry(struct metrics *m, struct entry *e) SYNC_REQUIRES(m->lock)
{
	struct entry **at = &m->entries;

	while (*at != e)
		at = &(*at)->next;
	*at = e->next;
}

static struct entry *first_of(struct metrics *m, const void *owner) SYNC_REQUIRES(m->lock)
{
	struct entry *e = m->entries;

	while (e && (e->owner != owner || e->gone))
		e = e->next;
	return e;
}

void metrics_unregister(struct metrics *m, const void *owner)
{
	struct entry *e;

	sync_mutex_lock(&m->lock);
	while ((e = first_of(m, owner))) {
		e->gone = true;
		while (e->busy)
			sync_cond_wait(&m->idle, &m->lock);
		unlink_entry(m, e);
		entry_free(e);
	}
	sync_mutex_unlock(&m->lock);
}

char *metrics_escape(const char *value, char *buf, size_t len)
{
	size_t pos = 0;

	for (; *value; value++) {
		bool special = *value == '\\' || *value == '"' || *value == '\n';

		if (pos + (special ? 2 : 1) >= len)
			break;
		if (special)
			buf[pos++] = '\\';
		buf[pos++] = *value == '\n' ? 'n' : *value;
	}
	buf[pos] = '\0';
	return buf;
}

static void put_value(FILE *out, double v)
{
	if (isnan(v))
		fputs("NaN\n", out);
	else if (isinf(v))
		fputs(v > 0 ? "+Inf\n" : "-Inf\n", out);
	else if (v >= 0 && v < 9e15 && v == (double)(uint64_t)v)
		fprintf(out, "%" PRIu64 "\n", (uint64_t)v);
	else
		fprintf(out, "%.17g\n", v);
}

static void put_series(FILE *out, const char *name, const char *labels)
{
	if (labels && *labels)
		fprintf(out, "%s{%s} ", name, labels);
	else
		fprintf(out, "%s ", name);
}

void metrics_emit(struct metrics_sink *sink, const char *labels, double value)
{
	put_series(sink->out, sink->name, labels);
	put_value(sink->out, value);
}

void metrics_emit_histogram(struct metrics_sink *sink, const char *labels, const struct histogram_view *v)
{
	const char *comma = *labels ? "," : "";
	uint64_t sum = 0;

	for (int i = 0; i < HISTOGRAM_BUCKETS; i++) {
		sum += v->buckets[i];
		if (i == HISTOGRAM_BUCKETS - 1)
			fprintf(sink->out, "%s_bucket{%s%sle=\"+Inf\"} %" PRIu64 "\n", sink->name, labels, comma, sum);
		else
			fprintf(sink->out, "%s_bucket{%s%sle=\"%.9g\"} %" PRIu64 "\n", sink->name, labels, comma,
			        (double)(UINT64_C(1) << i) / 1e6, sum);
	}
	fprintf(sink->out, "%s_sum%s%s%s %.9f\n", sink->name, *labels ? "{" : "", labels, *labels ? "}" : "",
	        (double)v->sum_ns / 1e9);
	fprintf(sink->out, "%s_count%s%s%s %" PRIu64 "\n", sink->name, *labels ? "{" : "", labels, *labels ? "}" : "",
	        v->count);
}

static void put_head(FILE *out, const struct entry *e)
{
	fprintf(out, "# HELP %s ", e->name);
	for (const char *p = e->help; *p; p++) {
		if (*p == '\\')
			fputs("\\\\", out);
		else if (*p == '\n')
			fputs("\\n", out);
		else
			fputc(*p, out);
	}
	fprintf(out, "\n# TYPE %s %s\n", e->name, e->type);
}

static void put_entry(FILE *out, const struct entry *e)
{
	struct metrics_sink sink = { .out = out, .name = e->name };
	struct histogram_view v;

	switch (e->kind) {
	case ENTRY_COUNTER:
		put_series(out, e->name, e->labels);
		fprintf(out, "%" PRIu64 "\n", counter_read(e->u.counter));
		break;
	case ENTRY_HISTOGRAM:
		histogram_read(e->u.histogram, &v);
		metrics_emit_histogram(&sink, e->labels, &v);
		break;
	case ENTRY_GAUGE:
		metrics_emit(&sink, e->labels, e->u.gauge(e->ctx));
		break;
	case ENTRY_COLLECTOR:
		e->u.collect(e->ctx, &sink);
		break;
	}
}

/* The next entry at or after @e that is still registered, marked busy; NULL at the end. */
static struct entry *pin_from(struct entry *e)
{
	while (e && e->gone)
		e = e->next;
	if (e)
		e->busy++;
	return e;
}

char *metrics_render(struct metrics *m, size_t *ret_len)
{
	char *text = NULL, *head = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);
	struct entry *e, *next;
	bool failed;

	if (!out)
		return NULL;
	sync_mutex_lock(&m->lock);
	for (e = pin_from(m->entries); e; e = next) {
		bool new_family = !head || strcmp(head, e->name) != 0;

		sync_mutex_unlock(&m->lock);
		if (new_family) {
			put_head(out, e);
			free(head);
			head = strdup(e->name);
		}
		put_entry(out, e);
		sync_mutex_lock(&m->lock);
		next = pin_from(e->next);
		if (--e->busy == 0)
			sync_cond_broadcast(&m->idle);
	}
	sync_mutex_unlock(&m->lock);
	failed = ferror(out) || (!head && len);
	free(head);
	if (fclose(out) || failed) {
		free(text);
		return NULL;
	}
	*ret_len = len;
	return text;
}
