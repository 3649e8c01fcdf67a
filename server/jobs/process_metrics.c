/* SPDX-License-Identifier: BSD-3-Clause */
/* Metrics of the process. */
#include "server/jobs/process_metrics.h"

#include <dirent.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#include "core/base/budget.h"
#include "core/base/metrics.h"
#include "core/base/sync.h"

static double resident_bytes(void *ctx)
{
	unsigned long long size, resident = 0;
	FILE *f = fopen("/proc/self/statm", "re");

	(void)ctx;
	if (!f)
		return 0;
	if (fscanf(f, "%llu %llu", &size, &resident) != 2)
		resident = 0;
	fclose(f);
	return (double)resident * (double)sysconf(_SC_PAGESIZE);
}

static double open_fds(void *ctx)
{
	DIR *dir = opendir("/proc/self/fd");
	double count = -3; /* ".", ".." and the descriptor that reads the folder */

	(void)ctx;
	if (!dir)
		return 0;
	while (readdir(dir))
		count++;
	closedir(dir);
	return count;
}

static double cpu_seconds(void *ctx)
{
	struct rusage usage;

	(void)ctx;
	if (getrusage(RUSAGE_SELF, &usage) < 0)
		return 0;
	return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
	       (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static double budget_limit_bytes(void *ctx)
{
	return (double)budget_limit(ctx);
}

static double start_seconds(void *ctx)
{
	static double start;

	(void)ctx;
	if (start == 0)
		start = (double)sync_wall_ns() / (double)SYNC_NS_PER_S;
	return start;
}

static void collect_cpu(void *ctx, struct metrics_sink *sink)
{
	metrics_emit(sink, NULL, cpu_seconds(ctx));
}

static void emit_consumer(void *ctx, const char *name, size_t used_bytes)
{
	char labels[96];

	snprintf(labels, sizeof(labels), "consumer=\"%s\"", name);
	metrics_emit(ctx, labels, (double)used_bytes);
}

static void collect_budget(void *ctx, struct metrics_sink *sink)
{
	budget_each(ctx, emit_consumer, sink);
}

int process_metrics_register(struct metrics *m, struct budget *b)
{
	int rc;

	start_seconds(NULL);
	rc = metrics_add_gauge(m, b, "process_resident_memory_bytes", "Resident memory.", NULL, resident_bytes, NULL);
	if (rc == 0)
		rc = metrics_add_gauge(m, b, "process_open_fds", "Open descriptors.", NULL, open_fds, NULL);
	if (rc == 0)
		rc = metrics_add_gauge(m, b, "process_start_time_seconds", "When the daemon started, since 1970.", NULL,
		                       start_seconds, NULL);
	if (rc == 0)
		rc = metrics_add_collector(m, b, "process_cpu_seconds_total", "counter",
		                           "Processor time in user and system mode.", collect_cpu, NULL);
	if (rc == 0)
		rc = metrics_add_gauge(m, b, "wfsd_memory_limit_bytes", "The memory budget.", NULL, budget_limit_bytes,
		                       b);
	if (rc == 0)
		rc = metrics_add_collector(m, b, "wfsd_memory_used_bytes", "gauge",
		                           "Memory charged to the budget, by consumer.", collect_budget, b);
	return rc;
}

void process_metrics_unregister(struct metrics *m, struct budget *b)
{
	metrics_unregister(m, b);
}
