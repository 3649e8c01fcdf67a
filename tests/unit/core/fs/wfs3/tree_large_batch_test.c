/* SPDX-License-Identifier: BSD-3-Clause */
/* Hundreds of changes of a tree as one, against a model, in every mixture of growing, shrinking and deleting. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/core/fs/wfs3/tree_fixture.h"

#ifdef WFSD_DEBUG
#define BATCHES 150u
#else
#define BATCHES 1500u
#endif
#define COUNT_MAX 900u

struct large {
	unsigned count;
	unsigned keys[COUNT_MAX];
	struct model_item items[COUNT_MAX]; /* not present: a removal */
	struct item_change changes[COUNT_MAX];
	uint8_t values[COUNT_MAX][TREE_ITEM_BYTES_MAX];
};

/* Ascending keys with gaps: dense ones meet in few leaves, others spread over the tree. */
static void make_large(struct large *b, uint64_t *seed)
{
	unsigned gap = (unsigned)(rnd(seed) % 5 ? 1 + rnd(seed) % 3 : 1 + rnd(seed) % 60);
	unsigned key = (unsigned)(rnd(seed) % MODEL_KEYS), want = 1 + (unsigned)(rnd(seed) % COUNT_MAX);
	unsigned len_max = rnd(seed) % 3 ? 100 : TREE_ITEM_BYTES_MAX, keep = (unsigned)(rnd(seed) % 4);

	for (b->count = 0; b->count < want; b->count++) {
		unsigned n = b->count;

		key += 1 + (unsigned)(rnd(seed) % gap);
		if (key >= MODEL_KEYS)
			break;
		b->keys[n] = key;
		b->items[n] = (struct model_item){ .present = rnd(seed) % 4 <= keep, .seed = (uint32_t)rnd(seed) };
		b->items[n].len = (uint16_t)(rnd(seed) % (len_max + 1));
		b->changes[n] = model_change(key, &b->items[n], b->values[n]);
	}
}

static void count_call(void *ctx)
{
	++*(unsigned *)ctx;
}

/* The callback comes once, when it is sure that all changes are made. */
static int apply_large(struct fixture *f, const struct large *b)
{
	struct wfs3_key missing;
	unsigned calls = 0;
	int rc;

	while ((rc = tree_apply_many(f->tree, f->txg, b->changes, b->count, count_call, &calls, &missing)) == -EAGAIN) {
		assert_int_equal(calls, 0);
		rc = tree_fetch(f->tree, &missing);
		if (rc)
			return rc;
	}
	assert_int_equal(calls, rc ? 0 : 1);
	return rc;
}

static void test_large_batches_follow_the_model_through_commits(void **state)
{
	struct fixture *f = fixture_new(8000);
	struct model *m = calloc(1, sizeof(*m));
	struct large *b = malloc(sizeof(*b));
	uint64_t seed = 20;

	(void)state;
	for (unsigned n = 0; n < BATCHES; n++) {
		do {
			make_large(b, &seed);
		} while (!b->count);
		assert_int_equal(apply_large(f, b), 0);
		for (unsigned i = 0; i < b->count; i++)
			m->items[b->keys[i]] = b->items[i];
		if (n % 4 == 3)
			assert_int_equal(fixture_commit(f), 0);
		if (n % 50 == 49) {
			assert_int_equal(fixture_commit(f), 0);
			check_durable(f, m);
		}
	}
	free(b);
	free(m);
	fixture_free(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_large_batches_follow_the_model_through_commits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
