/* SPDX-License-Identifier: BSD-3-Clause */
/* For benchmarks of file systems in an image: the best and worst of some rounds, a cache, and what a plain copy takes.
 */
#ifndef WFSD_TESTS_BENCH_IMAGE_BENCH_H
#define WFSD_TESTS_BENCH_IMAGE_BENCH_H

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/base/budget.h"
#include "core/base/sync.h"
#include "core/blk/blk.h"
#include "core/cache/cache.h"

#define GIB ((uint64_t)1 << 30)
#define GB 1.073741824
#define IMAGE_BYTES (2 * GIB)
#define IO_BYTES ((size_t)1 << 20)
#define BUDGET_BYTES ((size_t)512 << 20)
#define ROUNDS 5u

/* In one run the other work of the machine comes and goes: the best of all rounds is told, and the worst. */
struct speed {
	double best, worst;
};

struct image_bench {
	struct budget *budget;
	struct cache *cache;
	uint8_t *buf; /* IO_BYTES */
};

_Noreturn static inline void die(const char *what)
{
	(void)fprintf(stderr, "%s\n", what);
	exit(1);
}

static inline double seconds_since(uint64_t start)
{
	return (double)(sync_now_ns() - start) / 1e9;
}

static inline void note(struct speed *s, double value)
{
	s->best = value > s->best ? value : s->best;
	s->worst = s->worst == 0 || value < s->worst ? value : s->worst;
}

static inline void tell(const char *what, const struct speed *s, const char *unit)
{
	printf("%-44s %9.2f %s (worst %.2f)\n", what, s->best, unit, s->worst);
}

static inline void image_bench_init(struct image_bench *b)
{
	struct cache_config config = {
		.dirty_max_bytes = BUDGET_BYTES / 4,
		.dirty_background_bytes = BUDGET_BYTES / 8,
		.writeback_age_ms = 60000,
		.writeback_threads = 2,
		.readahead_max_bytes = 1 << 20,
	};

	b->budget = config.budget = budget_new(BUDGET_BYTES);
	b->buf = aligned_alloc(4096, IO_BYTES);
	if (!b->budget || !b->buf || cache_new(&config, &b->cache))
		die("no memory");
	memset(b->buf, 'x', IO_BYTES);
}

static inline void image_bench_done(struct image_bench *b)
{
	cache_free(b->cache);
	budget_free(b->budget);
	free(b->buf);
}

/*
 * What no program that writes can pass: the copies into a file, from a buffer that stays in the processor's cache.
 * @again: over a file that is there.
 */
static inline void plain(const struct image_bench *b, const char *path, bool again, struct speed *writes)
{
	uint64_t start;
	int fd;

	if (!again)
		unlink(path);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		die("open");
	start = sync_now_ns();
	for (uint64_t at = 0; at < GIB; at += IO_BYTES) {
		if (pwrite(fd, b->buf, IO_BYTES, (off_t)at) != (ssize_t)IO_BYTES)
			die("write");
	}
	note(writes, GB / seconds_since(start));
	close(fd);
}

#endif
