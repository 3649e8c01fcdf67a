/* SPDX-License-Identifier: BSD-3-Clause */
/* Reads Prometheus text and does sums on it. */
#include "server/ctl/prom.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LABEL_MAX 64

/* Split one line in place. False when it is no sample. */
static bool parse_line(char *line, struct prom_sample *ret)
{
	char *value, *end, *open;

	if (*line == '#' || !*line)
		return false;
	open = strchr(line, '{');
	if (open) {
		/* The last brace: label values may hold some. */
		char *close = strrchr(line, '}');

		if (!close || close < open)
			return false;
		*open = *close = '\0';
		ret->labels = open + 1;
		value = close + 1;
	} else {
		value = strchr(line, ' ');
		if (!value)
			return false;
		*value++ = '\0';
		ret->labels = "";
	}
	ret->name = line;
	ret->value = strtod(value, &end);
	return end != value;
}

int prom_parse(const char *text, struct prom *ret)
{
	struct prom p = { .text = strdup(text) };
	size_t line_count = 1;
	char *line, *rest;

	if (!p.text)
		return -ENOMEM;
	for (const char *c = text; *c; c++)
		line_count += *c == '\n';
	p.samples = calloc(line_count, sizeof(*p.samples));
	if (!p.samples) {
		free(p.text);
		return -ENOMEM;
	}
	rest = p.text;
	while ((line = strsep(&rest, "\n"))) {
		if (parse_line(line, &p.samples[p.count]))
			p.count++;
	}
	*ret = p;
	return 0;
}

void prom_done(struct prom *p)
{
	free(p->samples);
	free(p->text);
	*p = (struct prom){ 0 };
}

/* Next 'key="value"' of @labels; false at the end. @ret_value is what stands between the quotes, still escaped. */
static bool next_label(const char **labels, char key[LABEL_MAX], const char **ret_value, size_t *ret_len)
{
	const char *p = *labels + strspn(*labels, ", "), *equals = strchr(p, '='), *end;

	if (!equals || equals[1] != '"' || (size_t)(equals - p) >= LABEL_MAX)
		return false;
	memcpy(key, p, (size_t)(equals - p));
	key[equals - p] = '\0';
	for (end = equals + 2; *end && *end != '"'; end++) {
		if (*end == '\\' && end[1])
			end++;
	}
	if (!*end)
		return false;
	*ret_value = equals + 2;
	*ret_len = (size_t)(end - *ret_value);
	*labels = end + 1;
	return true;
}

bool prom_label(const char *labels, const char *key, char *buf, size_t len)
{
	char name[LABEL_MAX];
	const char *value;
	size_t value_len;

	while (next_label(&labels, name, &value, &value_len)) {
		if (strcmp(name, key) == 0) {
			snprintf(buf, len, "%.*s", (int)value_len, value);
			return true;
		}
	}
	*buf = '\0';
	return false;
}

/* Does @labels hold @key with exactly this (escaped) value? */
static bool has_label(const char *labels, const char *key, const char *value, size_t value_len)
{
	char name[LABEL_MAX];
	const char *found;
	size_t found_len;

	while (next_label(&labels, name, &found, &found_len)) {
		if (strcmp(name, key) == 0)
			return found_len == value_len && memcmp(found, value, value_len) == 0;
	}
	return false;
}

static bool matches(const struct prom_sample *s, const char *name, const char *filter)
{
	char key[LABEL_MAX];
	const char *value;
	size_t value_len;

	if (strcmp(s->name, name) != 0)
		return false;
	while (next_label(&filter, key, &value, &value_len)) {
		if (!has_label(s->labels, key, value, value_len))
			return false;
	}
	return true;
}

bool prom_has(const struct prom *p, const char *name)
{
	for (size_t i = 0; i < p->count; i++) {
		if (strcmp(p->samples[i].name, name) == 0)
			return true;
	}
	return false;
}

double prom_sum(const struct prom *p, const char *name, const char *filter)
{
	double sum = 0;

	for (size_t i = 0; i < p->count; i++) {
		if (matches(&p->samples[i], name, filter))
			sum += p->samples[i].value;
	}
	return sum;
}

/* Cumulative count of the buckets with exactly this bound, summed over what @filter leaves open. */
static double bucket_sum(const struct prom *p, const char *name, const char *filter, const char *bound)
{
	double sum = 0;

	for (size_t i = 0; i < p->count; i++) {
		if (matches(&p->samples[i], name, filter) &&
		    has_label(p->samples[i].labels, "le", bound, strlen(bound)))
			sum += p->samples[i].value;
	}
	return sum;
}

double prom_quantile(const struct prom *now, const struct prom *before, const char *name, const char *filter, double q)
{
	double wanted, total, largest = 0, best = INFINITY;
	char bucket[256], bound[LABEL_MAX];

	snprintf(bucket, sizeof(bucket), "%s_bucket", name);
	total = bucket_sum(now, bucket, filter, "+Inf") - (before ? bucket_sum(before, bucket, filter, "+Inf") : 0);
	if (total <= 0)
		return -1;
	wanted = q * total;
	for (size_t i = 0; i < now->count; i++) {
		const struct prom_sample *s = &now->samples[i];
		double seconds, count;

		if (!matches(s, bucket, filter) || !prom_label(s->labels, "le", bound, sizeof(bound)))
			continue;
		seconds = strtod(bound, NULL);
		if (isinf(seconds) || seconds >= best)
			continue;
		if (seconds > largest)
			largest = seconds;
		count = bucket_sum(now, bucket, filter, bound) -
		        (before ? bucket_sum(before, bucket, filter, bound) : 0);
		if (count >= wanted)
			best = seconds;
	}
	return isinf(best) ? largest : best;
}
