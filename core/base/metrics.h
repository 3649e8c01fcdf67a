/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Counters, gauges and latency histograms, and the registry that renders them as Prometheus text (exposition format
 * 0.0.4).
 *
 * A counter or histogram is spread over per-thread slots, so that adding is one relaxed atomic add on a line that is
 * rarely shared. Reading sums the slots. Owners embed the structs; zeroed memory is a valid start value. They may be
 * used without being registered. Their slots are aligned to 64 bytes: structs that embed them come from
 * aligned_alloc(64, ...), not from calloc().
 */
#ifndef WFSD_CORE_BASE_METRICS_H
#define WFSD_CORE_BASE_METRICS_H

#include <stddef.h>
#include <stdint.h>

#define METRIC_SLOTS 8

struct counter {
	struct {
		_Alignas(64) uint64_t v;
	} slots[METRIC_SLOTS];
};

/* Buckets by power of two of microseconds: bucket i counts values <= 2^i us; the last one the rest (> 2^24 us). */
#define HISTOGRAM_BUCKETS 26
struct histogram {
	struct {
		_Alignas(64) uint64_t sum_ns;
		uint64_t buckets[HISTOGRAM_BUCKETS];
	} slots[METRIC_SLOTS];
};

/* The same in one place for all threads: for those of which there are very many. */
struct histogram_small {
	uint64_t sum_ns;
	uint64_t buckets[HISTOGRAM_BUCKETS];
};

struct histogram_view {
	uint64_t sum_ns;
	uint64_t count;
	uint64_t buckets[HISTOGRAM_BUCKETS]; /* not cumulative */
};

void counter_add(struct counter *c, uint64_t n);
uint64_t counter_read(const struct counter *c);
/* The same for those who add to several counters at once: @slot is sync_thread_slot() % METRIC_SLOTS, asked for once.
 * What is in one slot tells nothing but when to take a sample. */
static inline void counter_add_slot(struct counter *c, unsigned slot, uint64_t n)
{
	__atomic_fetch_add(&c->slots[slot].v, n, __ATOMIC_RELAXED);
}
static inline uint64_t counter_read_slot(const struct counter *c, unsigned slot)
{
	return __atomic_load_n(&c->slots[slot].v, __ATOMIC_RELAXED);
}
void histogram_add(struct histogram *h, uint64_t ns);
void histogram_read(const struct histogram *h, struct histogram_view *ret);
void histogram_small_add(struct histogram_small *h, uint64_t ns);
void histogram_small_read(const struct histogram_small *h, struct histogram_view *ret);
/* So many microseconds @percent (1 to 100) of the values take at most: a bucket's bound; 2^25 when they are in the last
 * one, 0 when there are none. */
uint64_t histogram_percentile_us(const struct histogram_view *v, unsigned percent);

struct metrics;
struct metrics *metrics_new(void); /* NULL when memory is short */
void metrics_free(struct metrics *m);

/* A gauge's value is asked for at rendering time, from any thread, without blocking. */
typedef double metrics_gauge_fn(void *ctx);
/* Emits several samples of one family at rendering time, by calling metrics_emit() from inside. */
struct metrics_sink;
typedef void metrics_collect_fn(void *ctx, struct metrics_sink *sink);

/* Copy @value to @buf with what a label's value must not hold (backslash, quote, newline) escaped; cut to fit. @buf. */
char *metrics_escape(const char *value, char *buf, size_t len);

/*
 * Register. @name: Prometheus name ("wfsd_cache_hits_total"). @help: one line. @labels: "a=\"x\",b=\"y\"" or NULL;
 * all strings are copied. The same name may be registered with several label sets (same type and help). The object must
 * stay alive until metrics_unregister(owner). 0, -ENOMEM, -EEXIST (name and labels taken). Any thread.
 */
int metrics_add_counter(struct metrics *m, const void *owner, const char *name, const char *help, const char *labels,
                        const struct counter *c);
int metrics_add_histogram(struct metrics *m, const void *owner, const char *name, const char *help, const char *labels,
                          const struct histogram *h);
int metrics_add_gauge(struct metrics *m, const void *owner, const char *name, const char *help, const char *labels,
                      metrics_gauge_fn *fn, void *ctx);
/* @type: "counter", "gauge" or "histogram". Collectors of several owners may share a name when they emit different
 * labels. */
int metrics_add_collector(struct metrics *m, const void *owner, const char *name, const char *type, const char *help,
                          metrics_collect_fn *fn, void *ctx);
void metrics_emit(struct metrics_sink *sink, const char *labels, double value);
/* @labels may be "". */
void metrics_emit_histogram(struct metrics_sink *sink, const char *labels, const struct histogram_view *v);
/* Drop everything registered with @owner. On return nothing of it is being rendered. */
void metrics_unregister(struct metrics *m, const void *owner);

/* Prometheus text in a malloc'ed string (caller frees), length in @ret_len; NULL when memory is short. */
char *metrics_render(struct metrics *m, size_t *ret_len);

#endif
