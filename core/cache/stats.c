/* SPDX-License-Identifier: BSD-3-Clause */
/* Statistics and metrics of the page cache. */
#include "core/cache/cache_priv.h"

static size_t bytes_of(const uint64_t *pages)
{
	return (size_t)__atomic_load_n(pages, __ATOMIC_RELAXED) * CACHE_PAGE_BYTES;
}

void cache_get_stats(const struct cache *c, struct cache_stats *ret)
{
	*ret = (struct cache_stats){
		.hits = counter_read(&c->hits),
		.misses = counter_read(&c->misses),
		.fills = counter_read(&c->fills),
		.writebacks = counter_read(&c->writebacks),
		.evictions = counter_read(&c->evictions),
		.readahead_pages = counter_read(&c->readahead),
		.throttled = counter_read(&c->throttle_waits),
		.resident_bytes = bytes_of(&c->pages.used),
		.dirty_bytes = bytes_of(&c->dirty_pages),
		.writeback_bytes = bytes_of(&c->writeback_pages),
	};
}

size_t cache_file_dirty_bytes(const struct cache_file *f)
{
	return bytes_of(&f->dirty_pages);
}

static double resident(void *ctx)
{
	const struct cache *c = ctx;

	return (double)bytes_of(&c->pages.used);
}

static double dirty(void *ctx)
{
	const struct cache *c = ctx;

	return (double)bytes_of(&c->dirty_pages);
}

static double in_writeback(void *ctx)
{
	const struct cache *c = ctx;

	return (double)bytes_of(&c->writeback_pages);
}

int cache_register_metrics(struct cache *c, struct metrics *m)
{
	const struct {
		const char *name, *help;
		const struct counter *counter;
	} counters[] = {
		{ "wfsd_cache_hits_total", "Pages read that were in the page cache", &c->hits },
		{ "wfsd_cache_misses_total", "Pages read that were not in the page cache", &c->misses },
		{ "wfsd_cache_fills_total", "Pages filled from file systems", &c->fills },
		{ "wfsd_cache_writebacks_total", "Pages written back to file systems", &c->writebacks },
		{ "wfsd_cache_evictions_total", "Pages evicted", &c->evictions },
		{ "wfsd_cache_readahead_pages_total", "Pages filled by read-ahead", &c->readahead },
		{ "wfsd_cache_throttled_total", "Writes that waited at the dirty limit", &c->throttle_waits },
		{ "wfsd_cache_paced_total", "Writes that were slowed down because much was dirty", &c->paced },
	};
	const struct {
		const char *name, *help;
		metrics_gauge_fn *fn;
	} gauges[] = {
		{ "wfsd_cache_resident_bytes", "Memory of cached pages and their headers", resident },
		{ "wfsd_cache_dirty_bytes", "Cached data not yet given to a file system", dirty },
		{ "wfsd_cache_writeback_bytes", "Cached data on its way to a file system", in_writeback },
	};
	int rc = 0;

	c->metrics = m;
	for (size_t i = 0; i < sizeof(counters) / sizeof(counters[0]) && rc == 0; i++)
		rc = metrics_add_counter(m, c, counters[i].name, counters[i].help, NULL, counters[i].counter);
	for (size_t i = 0; i < sizeof(gauges) / sizeof(gauges[0]) && rc == 0; i++)
		rc = metrics_add_gauge(m, c, gauges[i].name, gauges[i].help, NULL, gauges[i].fn, c);
	return rc;
}
