/* SPDX-License-Identifier: BSD-3-Clause */
/* What a pool tells about its log. */
#include "core/base/metrics.h"
#include "core/fs/wfs3/pool.h"

void pool_get_log_info(struct pool *p, struct pool_log_info *ret)
{
	const struct recovery *r = &p->recovery;

	*ret = (struct pool_log_info){
		.size_bytes = p->devices[0].label.layout.log_bytes,
		.used_bytes = p->wal ? wal_used_bytes(p->wal) : 0,
		.clean_start = r->clean,
		.recovered_bytes = r->log_bytes,
		.recovered_records = r->record_count,
		.recovered_changes = r->applied_count,
		.recovered_pages = r->page_count,
		.recovery_ns = r->time_ns,
	};
}

static double used_bytes(void *ctx)
{
	return (double)wal_used_bytes(((struct pool *)ctx)->wal);
}

static double carried_pages(void *ctx)
{
	return __atomic_load_n(&((struct pool *)ctx)->carried_pages, __ATOMIC_RELAXED);
}

int pool_register_log_metrics(struct pool *p, struct metrics *m, const char *labels)
{
	struct wal_stats *s;
	int ret;

	if (!p->wal)
		return 0;
	s = wal_get_stats(p->wal);
	ret = metrics_add_gauge(m, p, "wfsd_log_used_bytes", "Log since the newest root.", labels, used_bytes, p);
	if (!ret)
		ret = metrics_add_gauge(m, p, "wfsd_log_carried_pages",
		                        "Flushed pages that cannot be written back, and stay in the log.", labels,
		                        carried_pages, p);
	if (!ret)
		ret = metrics_add_counter(m, p, "wfsd_log_written_bytes_total", "Bytes written to the log.", labels,
		                          &s->bytes);
	if (!ret)
		ret = metrics_add_counter(m, p, "wfsd_log_records_total", "Records appended to the log.", labels,
		                          &s->records);
	if (!ret)
		ret = metrics_add_counter(m, p, "wfsd_log_batches_total", "Batches written to the log.", labels,
		                          &s->batches);
	if (!ret)
		ret = metrics_add_counter(m, p, "wfsd_log_syncs_total", "Flushes that asked the log.", labels,
		                          &s->syncs);
	if (!ret)
		ret = metrics_add_counter(m, p, "wfsd_log_barriers_total",
		                          "Barriers on the devices; fewer than flushes when those come together.",
		                          labels, &s->barriers);
	if (!ret)
		ret = metrics_add_counter(m, p, "wfsd_log_gaps_total",
		                          "Times that the log was closed until a commit: full, or not writable.",
		                          labels, &s->gaps);
	if (!ret)
		ret = metrics_add_histogram(m, p, "wfsd_log_sync_seconds", "Time of a flush in the log.", labels,
		                            &s->sync_time);
	return ret;
}
