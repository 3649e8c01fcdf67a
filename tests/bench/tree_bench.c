/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Micro-benchmark of the tree: nanoseconds per lookup and per change on a tree of three levels that is in memory.
 * Prints one line per measurement. Nothing is written anywhere.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/assert.h"
#include "core/base/budget.h"
#include "core/base/sync.h"
#include "core/fs/wfs3/tree.h"

#define CELLS 300000u
#define VALUE_BYTES 84u
#define ROUNDS 2000000u

static uint64_t next_addr = 4;
static uint64_t written;

static int bench_read(void *ctx, uint64_t addr, void *buf)
{
	(void)ctx;
	(void)addr;
	(void)buf;
	return -EIO;
}

static void bench_free(void *ctx, uint64_t txg, uint64_t addr, uint64_t birth)
{
	(void)ctx;
	(void)txg;
	(void)addr;
	(void)birth;
}

static int bench_reserve(void *ctx, unsigned count)
{
	(void)ctx;
	(void)count;
	return 0;
}

static void bench_unreserve(void *ctx, unsigned count)
{
	(void)ctx;
	(void)count;
}

static int bench_alloc(void *ctx, uint64_t txg, uint64_t *ret_addr)
{
	(void)ctx;
	(void)txg;
	*ret_addr = next_addr;
	next_addr += 4;
	return 0;
}

static int bench_write(void *ctx, const uint64_t addrs[], const void *const bufs[], unsigned count)
{
	(void)ctx;
	(void)addrs;
	(void)bufs;
	written += count;
	return 0;
}

static uint64_t random_state = 88172645463325252u;

static uint64_t random_cell(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state % CELLS;
}

static struct wfs3_key cell_key(uint64_t cell)
{
	return (struct wfs3_key){ .object = 1, .kind = WFS3_KIND_CELL, .offset = cell };
}

static int touch(void *ctx, const void *old_value, size_t old_len, void *new_value)
{
	(void)ctx;
	memcpy(new_value, old_value, old_len);
	return (int)old_len;
}

/* Between the lengths of a cell with one and with sixteen segments. */
static int resize(void *ctx, const void *old_value, size_t old_len, void *new_value)
{
	(void)old_value;
	(void)old_len;
	memset(new_value, 0x5a, 4 * VALUE_BYTES);
	return (int)VALUE_BYTES + *(int *)ctx;
}

static void report(const char *what, uint64_t start_ns, uint64_t count)
{
	printf("%-44s %7.1f ns\n", what, (double)(sync_now_ns() - start_ns) / (double)count);
}

static void commit(struct tree *t, uint64_t *txg, const char *what)
{
	struct tree_frozen *f;
	struct wfs3_ptr root;
	uint64_t nodes, start = sync_now_ns();

	always(tree_freeze(t, (*txg)++, &f) == 0 && f);
	always(tree_commit(t, f, *txg - 1, &root, &nodes) == 0);
	report(what, start, nodes);
}

static void bench_get(struct tree *t, const char *what)
{
	uint8_t buf[TREE_ITEM_BYTES_MAX];
	uint64_t start = sync_now_ns();
	size_t len;

	for (unsigned i = 0; i < ROUNDS; i++) {
		struct wfs3_key key = cell_key(random_cell());

		always(tree_get(t, &key, buf, sizeof(buf), &len) == 0);
	}
	report(what, start, ROUNDS);
}

static void bench_update(struct tree *t, uint64_t txg, tree_update_fn *fn, unsigned rounds, const char *what)
{
	uint64_t start = sync_now_ns();

	for (unsigned i = 0; i < rounds; i++) {
		struct wfs3_key key = cell_key(random_cell());
		int grow = (int)(random_state >> 32) % 17 * 8;

		if (grow < 0)
			grow = 0;
		always(tree_update(t, txg, &key, fn, &grow) == 0);
	}
	report(what, start, rounds);
}

int main(void)
{
	struct budget *b = budget_new((size_t)4 << 30);
	struct tree_env env = { .read_node = bench_read,
		                .free_node = bench_free,
		                .free_reserve = bench_reserve,
		                .free_unreserve = bench_unreserve,
		                .alloc_node = bench_alloc,
		                .write_nodes = bench_write };
	struct wfs3_ptr root = { 0 };
	uint8_t value[VALUE_BYTES] = { 1, 2, 3 };
	uint64_t txg = 1, start;
	struct tree *t;

	always(b && node_cache_new(b, 0, &env.cache) == 0 && tree_new(&env, 1, &root, &t) == 0);
	start = sync_now_ns();
	for (uint64_t i = 0; i < CELLS; i++) {
		struct wfs3_key key = cell_key(i);

		always(tree_put(t, txg, &key, value, sizeof(value)) == 0);
	}
	report("put, ascending", start, CELLS);
	bench_get(t, "get, random, all dirty");
	commit(t, &txg, "commit, per node");
	printf("%-44s %7.1f cells\n", "cells per node written", CELLS / (double)written);
	bench_get(t, "get, random, all clean");
	bench_update(t, txg, touch, CELLS, "update, same size, copying clean leaves");
	bench_update(t, txg, touch, ROUNDS, "update, same size, leaf of the open txg");
	bench_update(t, txg, resize, ROUNDS, "update, other size, leaf of the open txg");
	commit(t, &txg, "commit, per node");
	tree_free(t);
	node_cache_free(env.cache);
	budget_free(b);
	return 0;
}
