/* SPDX-License-Identifier: BSD-3-Clause */
/* Several changes of a tree as one, against a model: whole or not at all, also when memory or room is short. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/core/fs/wfs3/tree_fixture.h"

#ifdef WFSD_DEBUG
#define BATCHES 20000u
#else
#define BATCHES 150000u
#endif
#define COUNT_MAX 8u

struct batch {
	unsigned count;
	unsigned keys[COUNT_MAX];
	struct model_item items[COUNT_MAX]; /* not present: a removal */
	struct item_change changes[COUNT_MAX];
	uint8_t values[COUNT_MAX][TREE_ITEM_BYTES_MAX];
};

static bool has_key(const struct batch *b, unsigned key)
{
	for (unsigned i = 0; i < b->count; i++)
		if (b->keys[i] == key)
			return true;
	return false;
}

static void make_batch(struct batch *b, uint64_t *seed, unsigned range)
{
	unsigned want = 1 + (unsigned)(rnd(seed) % COUNT_MAX);
	unsigned near = (unsigned)(rnd(seed) % range);

	b->count = 0;
	while (b->count < want) {
		uint64_t r = rnd(seed);
		unsigned n = b->count,
		         key = r % 3 ? (near + (unsigned)(r >> 8) % 20) % range : (unsigned)(r >> 8) % range;
		uint64_t how = rnd(seed);

		if (has_key(b, key))
			continue;
		b->keys[n] = key;
		b->items[n] = (struct model_item){ .present = how % 5 > 1, .seed = (uint32_t)(how >> 32) };
		b->items[n].len = (uint16_t)((how >> 8) % (how % 7 ? 300 : TREE_ITEM_BYTES_MAX + 1));
		b->changes[n] = model_change(key, &b->items[n], b->values[n]);
		b->count++;
	}
}

static int apply_batch(struct fixture *f, struct model *m, const struct batch *b)
{
	struct wfs3_key missing;
	int rc;

	while ((rc = tree_apply(f->tree, f->txg, b->changes, b->count, &missing)) == -EAGAIN) {
		rc = tree_fetch(f->tree, &missing);
		if (rc)
			return rc;
	}
	for (unsigned i = 0; i < b->count && !rc; i++)
		m->items[b->keys[i]] = b->items[i];
	return rc;
}

/* What was to be changed is as the model has it. */
static void check_batch(struct fixture *f, const struct model *m, const struct batch *b)
{
	for (unsigned i = 0; i < b->count; i++) {
		uint8_t buf[TREE_ITEM_BYTES_MAX];
		size_t len;
		int rc = fixture_get(f, &b->changes[i].key, buf, &len);

		if (m->items[b->keys[i]].present)
			assert_true(!rc && model_same(&m->items[b->keys[i]], buf, len));
		else
			assert_int_equal(rc, -ENOENT);
	}
}

static void test_batches_follow_the_model_through_commits(void **state)
{
	struct fixture *f = fixture_new(60);
	struct model *m = calloc(1, sizeof(*m));
	struct batch *b = malloc(sizeof(*b));
	uint64_t seed = 4711;

	(void)state;
	for (unsigned n = 0; n < BATCHES; n++) {
		unsigned range = n / (BATCHES / 6) % 2 ? 300 : MODEL_KEYS;

		make_batch(b, &seed, range);
		assert_int_equal(apply_batch(f, m, b), 0);
		check_batch(f, m, b);
		if (n % 300 == 299)
			assert_int_equal(fixture_commit(f), 0);
		if (n % 5000 == 4999) {
			assert_int_equal(fixture_commit(f), 0);
			check_durable(f, m);
		}
	}
	free(b);
	free(m);
	fixture_free(f);
}

static void test_batch_that_fails_changes_nothing(void **state)
{
	struct fixture *f = fixture_new(60);
	struct model *m = calloc(1, sizeof(*m));
	struct batch *b = malloc(sizeof(*b));
	uint64_t seed = 99;
	unsigned failed = 0;

	(void)state;
	for (unsigned n = 0; n < BATCHES / 5; n++) {
		int rc;

		make_batch(b, &seed, MODEL_KEYS);
		if (n % 3 == 0)
			f->store->fail_reserve = 1;
		if (n % 7 == 0)
			f->store->fail_read = 1 + (unsigned)(rnd(&seed) % 3);
		rc = apply_batch(f, m, b);
		f->store->fail_reserve = f->store->fail_read = 0;
		failed += rc != 0;
		assert_true(rc == 0 || rc == -ENOMEM || rc == -EIO);
		check_batch(f, m, b);
		if (n % 20 == 19)
			assert_int_equal(fixture_commit(f), 0);
	}
	assert_true(failed > BATCHES / 50);
	assert_int_equal(fixture_commit(f), 0);
	assert_int_equal(fixture_commit(f), 0);
	check_durable(f, m);
	free(b);
	free(m);
	fixture_free(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_batches_follow_the_model_through_commits),
		cmocka_unit_test(test_batch_that_fails_changes_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
