/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * wfs stats: what /metrics says, made readable. Every histogram of seconds becomes a line of operations and every
 * counter of bytes a line of throughput, so that new metrics show up by themselves.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/base/sync.h"
#include "server/ctl/command.h"
#include "server/ctl/prom.h"
#include "server/ctl/size.h"

/* One look at the daemon. */
struct sample {
	struct prom metrics;
	json_t *status;
	uint64_t taken_ns;
};

static void sample_done(struct sample *s)
{
	prom_done(&s->metrics);
	json_decref(s->status);
	*s = (struct sample){ 0 };
}

static enum ctl_status sample_take(struct ctl *c, struct sample *ret)
{
	struct sample s = { 0 };
	char *text = NULL;
	enum ctl_status status = admin_get_text(&c->admin, "/metrics", &text);
	int rc;

	if (status != CTL_OK)
		return status;
	s.taken_ns = sync_now_ns();
	rc = prom_parse(text, &s.metrics);
	free(text);
	if (rc)
		return command_fail(CTL_FAILED, "out of memory");
	status = command_get(c, strdup("/v1/status"), &s.status);
	if (status != CTL_OK) {
		sample_done(&s);
		return status;
	}
	*ret = s;
	return CTL_OK;
}

/* What changed between two looks; @before is NULL for everything since the daemon's start. */
struct change {
	const struct sample *now, *before;
	double seconds; /* between them; 0 without @before */
};

static double delta(const struct change *ch, const char *name, const char *labels)
{
	double value = prom_sum(&ch->now->metrics, name, labels);

	return ch->before ? value - prom_sum(&ch->before->metrics, name, labels) : value;
}

/* A rate when there are two looks, a total otherwise. */
static double per_second(const struct change *ch, double value)
{
	return ch->before && ch->seconds > 0 ? value / ch->seconds : value;
}

static bool ends_with(const char *text, const char *end, size_t *ret_stem_len)
{
	size_t len = strlen(text), end_len = strlen(end);

	if (len < end_len || strcmp(text + len - end_len, end) != 0)
		return false;
	*ret_stem_len = len - end_len;
	return true;
}

/* "wfsd_device_latency", 'device="sda",op="read"' becomes "device sda read". */
static void row_name(const char *family, const char *labels, char *buf, size_t len)
{
	static const char prefix[] = "wfsd_";
	size_t stem, used;

	if (strncmp(family, prefix, sizeof(prefix) - 1) == 0)
		family += sizeof(prefix) - 1;
	if (!ends_with(family, "_latency", &stem))
		stem = strlen(family);
	used = (size_t)snprintf(buf, len, "%.*s", (int)stem, family);
	for (const char *p = labels; used < len && (p = strchr(p, '"')); p++) {
		const char *end = strchr(p + 1, '"');

		if (!end)
			break;
		used += (size_t)snprintf(buf + used, len - used, " %.*s", (int)(end - p - 1), p + 1);
		p = end;
	}
}

/* One line of the operations table; json objects are built from the same. */
struct operation {
	char name[256];
	char family[128];
	const char *labels;
	double count, p50_s, p99_s;
};

/* Fills @ret when sample @i is the count of a histogram of seconds in which something happened. */
static bool operation_at(const struct change *ch, size_t i, struct operation *ret)
{
	const struct prom_sample *s = &ch->now->metrics.samples[i];
	const struct prom *before = ch->before ? &ch->before->metrics : NULL;
	size_t stem;

	if (!ends_with(s->name, "_seconds_count", &stem))
		return false;
	ret->count = delta(ch, s->name, s->labels);
	if (ret->count <= 0)
		return false;
	ret->labels = s->labels;
	snprintf(ret->family, sizeof(ret->family), "%.*s", (int)stem, s->name);
	row_name(ret->family, s->labels, ret->name, sizeof(ret->name));
	snprintf(ret->family, sizeof(ret->family), "%.*s_seconds", (int)stem, s->name);
	ret->p50_s = prom_quantile(&ch->now->metrics, before, ret->family, s->labels, 0.5);
	ret->p99_s = prom_quantile(&ch->now->metrics, before, ret->family, s->labels, 0.99);
	return true;
}

static bool bytes_at(const struct change *ch, size_t i, char name[256], double *ret_bytes)
{
	const struct prom_sample *s = &ch->now->metrics.samples[i];
	char family[128];
	size_t stem;

	if (!ends_with(s->name, "_bytes_total", &stem))
		return false;
	*ret_bytes = delta(ch, s->name, s->labels);
	if (*ret_bytes <= 0)
		return false;
	snprintf(family, sizeof(family), "%.*s", (int)stem, s->name);
	row_name(family, s->labels, name, 256);
	return true;
}

/* Share of look-ups answered from memory; -1 when there were none. */
static double hit_rate(const struct change *ch)
{
	double hits = delta(ch, "wfsd_cache_hits_total", ""), misses = delta(ch, "wfsd_cache_misses_total", "");

	return hits + misses > 0 ? hits / (hits + misses) : -1;
}

static void print_operations(const struct change *ch)
{
	static const char *const totals[] = { "OPERATION", ">COUNT", ">P50", ">P99", NULL };
	static const char *const rates[] = { "OPERATION", ">PER SECOND", ">P50", ">P99", NULL };
	char text[SIZE_TEXT_MAX];
	struct operation op;
	struct table t;

	table_init(&t, ch->before ? rates : totals);
	for (size_t i = 0; i < ch->now->metrics.count; i++) {
		if (!operation_at(ch, i, &op))
			continue;
		table_add(&t, op.name);
		table_add(&t, count_format(per_second(ch, op.count), text));
		table_add(&t, latency_format(op.p50_s, text));
		table_add(&t, latency_format(op.p99_s, text));
	}
	command_finish_table(&t);
}

static void print_bytes(const struct change *ch)
{
	static const char *const totals[] = { "DATA", ">BYTES", NULL };
	static const char *const rates[] = { "DATA", ">BYTES PER SECOND", NULL };
	char name[256], text[SIZE_TEXT_MAX];
	struct table t;
	double bytes;

	table_init(&t, ch->before ? rates : totals);
	for (size_t i = 0; i < ch->now->metrics.count; i++) {
		if (!bytes_at(ch, i, name, &bytes))
			continue;
		table_add(&t, name);
		table_add(&t, size_format((uint64_t)per_second(ch, bytes), text));
	}
	command_finish_table(&t);
}

static void print_text(const struct change *ch)
{
	const json_t *status = ch->now->status, *memory = json_object_get(status, "memory"), *pool;
	char a[SIZE_TEXT_MAX], b[SIZE_TEXT_MAX], c[SIZE_TEXT_MAX];
	double hits = hit_rate(ch);
	size_t i;

	print_operations(ch);
	putchar('\n');
	print_bytes(ch);
	putchar('\n');
	if (hits >= 0)
		command_print_pair("cache", "%.1f%% hits", 100 * hits);
	else
		command_print_pair("cache", "no look-ups");
	command_print_pair("memory", "%s of %s", size_format(command_number(memory, "used_bytes"), a),
	                   size_format(command_number(memory, "limit_bytes"), b));
	json_array_foreach (json_object_get(status, "pools"), i, pool)
		command_print_pair("pool", "%s: %s, %s used of %s, %s available", command_text(pool, "name"),
		                   command_text(pool, "health"), size_format(command_number(pool, "used_bytes"), a),
		                   size_format(command_number(pool, "size_bytes"), b),
		                   size_format(command_number(pool, "available_bytes"), c));
}

static json_t *to_json(const struct change *ch)
{
	json_t *operations = json_array(), *bytes_list = json_array(), *root;
	struct operation op;
	char name[256];
	double bytes, hits = hit_rate(ch);

	for (size_t i = 0; i < ch->now->metrics.count; i++) {
		if (operation_at(ch, i, &op))
			json_array_append_new(operations,
			                      json_pack("{s:s, s:s, s:s, s:f, s:f, s:f}", "name", op.name, "family",
			                                op.family, "labels", op.labels,
			                                ch->before ? "per_second" : "count", per_second(ch, op.count),
			                                "p50_seconds", op.p50_s, "p99_seconds", op.p99_s));
		else if (bytes_at(ch, i, name, &bytes))
			json_array_append_new(bytes_list, json_pack("{s:s, s:f}", "name", name,
			                                            ch->before ? "bytes_per_second" : "bytes",
			                                            per_second(ch, bytes)));
	}
	root = json_pack("{s:f, s:o, s:o, s:O, s:O}", "interval_seconds", ch->seconds, "operations", operations, "data",
	                 bytes_list, "memory", json_object_get(ch->now->status, "memory"), "pools",
	                 json_object_get(ch->now->status, "pools"));
	if (root && hits >= 0)
		json_object_set_new(root, "cache_hit_rate", json_real(hits));
	return root;
}

static enum ctl_status print_change(const struct ctl *c, const struct change *ch)
{
	json_t *root;

	if (!c->args.json) {
		if (ch->before && isatty(STDOUT_FILENO))
			fputs("\033[H\033[J", stdout);
		else if (ch->before)
			putchar('\n');
		print_text(ch);
		return CTL_OK;
	}
	root = to_json(ch);
	if (!root)
		return command_fail(CTL_FAILED, "the daemon's answer lacks a part");
	/* While watching, one object a line. */
	json_dumpf(root, stdout, ch->before ? JSON_COMPACT : JSON_INDENT(2));
	putchar('\n');
	json_decref(root);
	return CTL_OK;
}

enum ctl_status cmd_stats(struct ctl *c)
{
	bool watch = c->args.given & ARGS_WATCH;
	struct sample before = { 0 }, now = { 0 };
	enum ctl_status status = sample_take(c, &before);

	if (!watch && (c->args.given & (ARGS_INTERVAL | ARGS_COUNT)))
		status = command_fail(CTL_USAGE, "--interval and --count belong to --watch");
	if (status == CTL_OK && !watch)
		status = print_change(c, &(struct change){ .now = &before });
	for (unsigned round = 0; status == CTL_OK && watch && (!c->args.count || round < c->args.count); round++) {
		struct change ch = { .now = &now, .before = &before };

		sync_sleep_ns(c->args.interval_s * SYNC_NS_PER_S);
		status = sample_take(c, &now);
		if (status != CTL_OK)
			break;
		ch.seconds = (double)(now.taken_ns - before.taken_ns) / (double)SYNC_NS_PER_S;
		status = print_change(c, &ch);
		fflush(stdout);
		sample_done(&before);
		before = now;
		now = (struct sample){ 0 };
	}
	sample_done(&before);
	return status;
}
