/* SPDX-License-Identifier: BSD-3-Clause */
/* What a hit in the page cache costs: nanoseconds for reads and writes, by one thread and by two. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/budget.h"
#include "core/base/checksum.h"
#include "core/base/sync.h"
#include "core/cache/cache.h"

#define BUDGET_BYTES ((size_t)256 << 20)
#define FILE_BYTES ((size_t)64 << 20)
#define OPS 1000000u
#define THREADS_MAX 2u

enum op { OP_READ, OP_REF, OP_WRITE };

struct job {
	struct cache_file *file;
	struct sync_thread thread;
	enum op op;
	size_t len;
	unsigned ops;
	uint64_t seed;
	int rc;
};

static int fill(void *ctx, uint64_t first, unsigned count, void *const data[], uint32_t crc[], bool hole[])
{
	(void)ctx;
	(void)first;
	(void)hole;
	for (unsigned i = 0; i < count; i++) {
		memset(data[i], 1, CACHE_PAGE_BYTES);
		crc[i] = crc32c(data[i], CACHE_PAGE_BYTES);
	}
	return 0;
}

static void writeback(void *ctx, struct cache_page *pages, unsigned count)
{
	(void)ctx;
	for (unsigned i = 0; i < count; i++)
		pages[i].result = 0;
}

static void work(void *arg)
{
	static _Thread_local struct cache_ref ref;
	struct job *j = arg;
	uint8_t *buf = calloc(1, j->len);
	struct iovec iov = { .iov_base = buf, .iov_len = j->len };

	for (unsigned i = 0; i < j->ops && buf && j->rc == 0; i++) {
		uint64_t offset;

		j->seed ^= j->seed << 13;
		j->seed ^= j->seed >> 7;
		j->seed ^= j->seed << 17;
		offset = j->seed % (FILE_BYTES / j->len) * j->len;
		if (j->op == OP_WRITE) {
			j->rc = cache_write(j->file, offset, &iov, 1, 0);
		} else if (j->op == OP_READ) {
			j->rc = cache_read(j->file, offset, &iov, 1, CACHE_NOWAIT);
		} else {
			j->rc = cache_read_ref(j->file, offset, j->len, CACHE_NOWAIT, &ref);
			if (j->rc == 0)
				cache_ref_release(&ref);
		}
	}
	free(buf);
}

/* Nanoseconds of one operation in each thread, or a negative errno. */
static double measure(struct cache_file *f, enum op op, size_t len, unsigned threads)
{
	struct job jobs[THREADS_MAX];
	unsigned ops = (unsigned)(OPS / (len / CACHE_PAGE_BYTES));
	uint64_t start = sync_now_ns();
	int rc = 0;

	for (unsigned i = 0; i < threads; i++) {
		jobs[i] = (struct job){ .file = f, .op = op, .len = len, .ops = ops, .seed = 1234567 + i };
		if (sync_thread_start(&jobs[i].thread, "bench", work, &jobs[i]))
			return -1;
	}
	for (unsigned i = 0; i < threads; i++) {
		sync_thread_join(&jobs[i].thread);
		rc = jobs[i].rc ? jobs[i].rc : rc;
	}
	return rc ? rc : (double)(sync_now_ns() - start) / ops;
}

static void print_all(struct cache_file *f)
{
	static const char *const names[] = { "read", "reference", "write" };
	static const size_t lens[] = { 4096, 256 * 1024 };

	for (unsigned op = OP_READ; op <= OP_WRITE; op++) {
		for (unsigned l = 0; l < 2; l++) {
			for (unsigned threads = 1; threads <= THREADS_MAX; threads++)
				printf("%-10s %4zuK  %u thread%s %8.0f ns/op\n", names[op], lens[l] / 1024, threads,
				       threads > 1 ? "s" : " ", measure(f, (enum op)op, lens[l], threads));
		}
	}
}

int main(void)
{
	static const struct cache_file_ops ops = { .fill = fill, .writeback = writeback };
	struct cache_config config = {
		.budget = budget_new(BUDGET_BYTES),
		.dirty_max_bytes = BUDGET_BYTES / 2,
		.dirty_background_bytes = BUDGET_BYTES / 4,
		.writeback_age_ms = 60000,
		.writeback_threads = 1,
	};
	struct cache *c;
	struct cache_file *f;

	if (!config.budget || cache_new(&config, &c) || cache_file_new(c, &ops, NULL, FILE_BYTES, &f))
		return 1;
	if (cache_prefetch(f, 0, FILE_BYTES / 2) || cache_prefetch(f, FILE_BYTES / 2, FILE_BYTES / 2))
		return 1;
	print_all(f);
	cache_file_free(f);
	cache_free(c);
	budget_free(config.budget);
	return 0;
}
