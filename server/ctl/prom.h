/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Reads Prometheus text (what /metrics answers) and does sums on it. For "wfs stats"; not a general parser: one sample
 * a line, lines that are none are skipped.
 */
#ifndef WFSD_SERVER_CTL_PROM_H
#define WFSD_SERVER_CTL_PROM_H

#include <stdbool.h>
#include <stddef.h>

struct prom_sample {
	const char *name;
	const char *labels; /* between the braces, "" when there are none */
	double value;
};

struct prom {
	char *text; /* names and labels point into it */
	struct prom_sample *samples;
	size_t count;
};

/* Parse a copy of @text (NUL-terminated). prom_done() frees what @ret holds, also when it is all zeroes. 0 or -ENOMEM.
 */
int prom_parse(const char *text, struct prom *ret);
void prom_done(struct prom *p);

/* Copy the value of label @key to @buf ("" when it is not there). Returns whether it is. */
bool prom_label(const char *labels, const char *key, char *buf, size_t len);

/* Does a sample of this name exist? */
bool prom_has(const struct prom *p, const char *name);
/*
 * Sum of the samples called @name whose labels include all of @filter ("a=\"x\",b=\"y\"", "" for all). 0 when there are
 * none.
 */
double prom_sum(const struct prom *p, const char *name, const char *filter);

/*
 * Quantile @q (0..1) of histogram @name (without "_bucket") over what was added between @before and @now: the upper
 * bound, in seconds, of the bucket it falls in; the largest finite bound when it is beyond that; -1 when nothing was
 * added. @before may be NULL: since the daemon's start.
 */
double prom_quantile(const struct prom *now, const struct prom *before, const char *name, const char *filter, double q);

#endif
