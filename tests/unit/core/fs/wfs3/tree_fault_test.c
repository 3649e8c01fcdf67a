/* SPDX-License-Identifier: BSD-3-Clause */
/* Failures at the nth call of everything that can fail: the tree is as before, nothing is lost, and it goes on later.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/core/fs/wfs3/tree_fixture.h"

/* 0: never; n: the nth allocation of a node from now fails. */
static unsigned fail_memory;

/* All memory of nodes comes from here. */
void *aligned_alloc(size_t alignment, size_t bytes)
{
	void *p;

	if (fail_memory && --fail_memory == 0)
		return NULL;
	return posix_memalign(&p, alignment, bytes) ? NULL : p;
}

static struct model *model_copy(const struct model *m)
{
	struct model *copy = malloc(sizeof(*copy));

	assert_non_null(copy);
	memcpy(copy, m, sizeof(*copy));
	return copy;
}

struct compare {
	const struct model *m;
	unsigned next, wrong;
};

static bool compare_item(void *ctx, const struct wfs3_key *key, const void *value, size_t len)
{
	struct compare *c = ctx;
	unsigned i = model_index(key);

	for (; c->next < i; c->next++)
		c->wrong += c->m->items[c->next].present;
	c->wrong += !model_same(&c->m->items[i], value, len);
	c->next = i + 1;
	return true;
}

/* The tree as lookups see it. */
static void check_lookups(struct fixture *f, const struct model *m)
{
	struct wfs3_key at = { 0 }, to = { UINT64_MAX, UINT8_MAX, UINT64_MAX }, resume;
	struct compare c = { .m = m };
	int rc;

	do {
		rc = tree_scan(f->tree, &at, &to, compare_item, &c, &resume);
		if (rc == -EAGAIN)
			assert_int_equal(tree_fetch(f->tree, &resume), 0);
		at = resume;
	} while (rc == 1 || rc == -EAGAIN);
	assert_int_equal(rc, 0);
	for (; c.next < MODEL_KEYS; c.next++)
		c.wrong += m->items[c.next].present;
	assert_int_equal(c.wrong, 0);
}

static struct fixture *filled(size_t budget_nodes, struct model **ret_model)
{
	struct fixture *f = fixture_new(budget_nodes);
	struct model *m = calloc(1, sizeof(*m));

	assert_non_null(m);
	/* Three levels; half of the keys remain for later. */
	for (unsigned i = 0; i < MODEL_KEYS; i++) {
		unsigned at = i * 7 % MODEL_KEYS;

		if (at % 4 != 1 && at % 4 != 2)
			assert_int_equal(model_put(f, m, at, 400, i), 0);
	}
	assert_int_equal(fixture_commit(f), 0);
	*ret_model = m;
	return f;
}

enum kind { KIND_PUT_NEW, KIND_PUT_LONGER, KIND_DELETE, KIND_UPDATE, KIND_COUNT };

static int grow_fn(void *ctx, const void *old_value, size_t old_len, void *new_value)
{
	const struct model_item *new = ctx;

	(void)old_value;
	(void)old_len;
	model_value(new, new_value);
	return new->len;
}

static int change(struct fixture *f, struct model *m, enum kind kind, unsigned i)
{
	struct model_item new = { .len = 3900, .present = true, .seed = i };
	struct wfs3_key key;
	int rc;

	switch (kind) {
	case KIND_PUT_NEW:
		return model_put(f, m, i * 4 + 1, 3990, i);
	case KIND_PUT_LONGER:
		return model_put(f, m, i * 4, 3900, i);
	case KIND_DELETE:
		return model_delete(f, m, i * 4);
	default:
		key = model_key(i * 4 + 2);
		while ((rc = tree_update(f->tree, f->txg, &key, grow_fn, &new)) == -EAGAIN) {
			rc = tree_fetch(f->tree, &key);
			if (rc)
				break;
		}
		if (!rc)
			m->items[i * 4 + 2] = new;
		return rc;
	}
}

/* By fields: what is between them is nobody's. */
static void assert_same_model(const struct model *m, const struct model *other)
{
	unsigned different = 0;

	for (unsigned i = 0; i < MODEL_KEYS; i++) {
		const struct model_item *a = &m->items[i], *b = &other->items[i];

		different += a->present != b->present || a->len != b->len || a->seed != b->seed;
	}
	assert_int_equal(different, 0);
}

/* Try the nth failure, for all n, until a change gets through. Returns how many there were. */
static unsigned fail_each(struct fixture *f, struct model *m, unsigned *counter, enum kind kind, unsigned i)
{
	for (unsigned n = 1;; n++) {
		struct model *before = model_copy(m);
		bool failed;
		int rc;

		*counter = n;
		rc = change(f, m, kind, i);
		failed = *counter == 0;
		*counter = 0;
		assert_int_equal(f->store->reserved, 0);
		if (failed) {
			assert_int_equal(rc, -ENOMEM);
			assert_same_model(m, before);
			check_lookups(f, m);
		}
		free(before);
		if (!failed) {
			assert_int_equal(rc, 0);
			return n - 1;
		}
	}
}

static void run_failing_changes(bool memory)
{
	struct model *m;
	struct fixture *f = filled(100000, &m);
	unsigned failures = 0, *counter = memory ? &fail_memory : &f->store->fail_reserve;

	for (unsigned i = 0; i < 60; i++) {
		failures += fail_each(f, m, counter, i % KIND_COUNT, i % 2 ? i : 40 * i);
		if (i % 10 == 9) {
			assert_int_equal(fixture_commit(f), 0);
			check_durable(f, m);
		}
	}
	assert_true(failures > (memory ? 40u : 8u));
	free(m);
	fixture_free(f);
}

static void test_change_without_memory_leaves_the_tree_as_before(void **state)
{
	(void)state;
	run_failing_changes(true);
}

static void test_change_without_room_for_frees_leaves_the_tree_as_before(void **state)
{
	(void)state;
	run_failing_changes(false);
}

static void test_fetch_that_fails_can_be_repeated(void **state)
{
	struct model *m;
	struct fixture *f = filled(100000, &m);
	unsigned failures = 0;
	int rc;

	(void)state;
	for (unsigned n = 1; n <= 4; n++) {
		struct wfs3_key key = model_key(4000);

		fixture_reopen(f);
		f->store->fail_read = n;
		assert_int_equal(tree_fetch(f->tree, &key), n <= 3 ? -EIO : 0);
		f->store->fail_read = 0;
		assert_int_equal(tree_fetch(f->tree, &key), 0);
	}
	do {
		struct wfs3_key key = model_key(4000);

		fixture_reopen(f);
		fail_memory = ++failures;
		rc = tree_fetch(f->tree, &key);
		assert_int_equal(rc, fail_memory ? 0 : -ENOMEM);
		fail_memory = 0;
		assert_int_equal(tree_fetch(f->tree, &key), 0);
	} while (rc);
	assert_true(failures > 3);
	check_lookups(f, m);
	free(m);
	fixture_free(f);
}

static void test_walk_that_fails_tells_so(void **state)
{
	struct model *m;
	struct fixture *f = filled(100000, &m);
	int rc;

	(void)state;
	for (unsigned n = 1; n < 40; n++) {
		f->store->fail_read = n;
		assert_int_equal(model_compare(f, &f->root, m), -EIO);
		f->store->fail_read = 0;
		fail_memory = n;
		assert_int_equal(model_compare(f, &f->root, m), -ENOMEM);
		fail_memory = 0;
	}
	rc = model_compare(f, &f->root, m);
	assert_int_equal(rc, 0);
	free(m);
	fixture_free(f);
}

/* Changes everywhere; a frozen state; changes that drop parts of it. */
static struct tree_frozen *busy_frozen(struct fixture *f, struct model *m, unsigned round)
{
	struct tree_frozen *frozen;

	for (unsigned i = 0; i < 400; i++)
		assert_int_equal(model_put(f, m, (i * 61 + round) % MODEL_KEYS, 100 + round, i), 0);
	assert_int_equal(tree_freeze(f->tree, f->txg++, &frozen), 0);
	assert_non_null(frozen);
	for (unsigned i = 0; i < 1500; i++) {
		unsigned at = (round * 1500 + i) % MODEL_KEYS;

		if (m->items[at].present)
			assert_int_equal(model_delete(f, m, at), 0);
	}
	return frozen;
}

static void run_failing_commits(unsigned *counter, struct fixture *f, struct model *m, unsigned step, int error)
{
	unsigned n = 1, failures = 0;
	bool failed = true;

	for (unsigned round = 0; failed; round++, n += step) {
		struct tree_frozen *frozen = busy_frozen(f, m, round);
		struct wfs3_ptr root;
		uint64_t nodes;
		int rc;

		*counter = n;
		rc = tree_commit(f->tree, frozen, f->txg - 1, &root, &nodes);
		failed = *counter == 0;
		*counter = 0;
		assert_int_equal(rc, failed ? error : 0);
		assert_int_equal(f->store->reserved, 0);
		failures += failed;
		/* All is still there, in spite of eviction, and can be changed. */
		check_lookups(f, m);
		for (unsigned i = 0; i < 50; i++)
			assert_int_equal(model_put(f, m, (i * 601 + round) % MODEL_KEYS, 50, i), 0);
		assert_true(tree_is_dirty(f->tree));
		if (round % 2 && failed) {
			/* Fails again, at once. */
			*counter = 1;
			assert_int_equal(fixture_commit(f), error);
			*counter = 0;
			check_lookups(f, m);
		}
		assert_int_equal(fixture_commit(f), 0);
		check_durable(f, m);
	}
	assert_true(failures > 2);
}

static void test_commit_without_space_loses_nothing(void **state)
{
	struct model *m;
	struct fixture *f = filled(120, &m);

	(void)state;
	run_failing_commits(&f->store->fail_alloc, f, m, 23, -ENOSPC);
	free(m);
	fixture_free(f);
}

static void test_commit_with_failing_writes_loses_nothing(void **state)
{
	struct model *m;
	struct fixture *f = filled(120, &m);

	(void)state;
	/* A few batches at a time need a bigger tree. */
	for (unsigned i = 0; i < MODEL_KEYS; i += 2)
		assert_int_equal(model_put(f, m, i, 500, i), 0);
	for (unsigned n = 1; n <= 3; n++) {
		f->store->fail_write = n;
		assert_int_equal(fixture_commit(f), -EIO);
		f->store->fail_write = 0;
		check_lookups(f, m);
		for (unsigned i = 0; i < MODEL_KEYS; i += 50)
			assert_int_equal(model_put(f, m, i, 400, i + n), 0);
	}
	assert_int_equal(fixture_commit(f), 0);
	check_durable(f, m);
	fixture_reopen(f);
	check_lookups(f, m);
	free(m);
	fixture_free(f);
}

static void test_nodes_that_cannot_be_written_go_elsewhere(void **state)
{
	struct fixture *f = fixture_new(120);
	struct model *m = calloc(1, sizeof(*m));

	(void)state;
	assert_non_null(m);
	f->env.move_node = store_move;
	f->store->bad_one_in = 5;
	fixture_reopen(f);
	for (unsigned round = 0; round < 4; round++) {
		for (unsigned i = round; i < MODEL_KEYS; i += 4)
			assert_int_equal(model_put(f, m, i, 400, i), 0);
		assert_int_equal(fixture_commit(f), 0);
		check_lookups(f, m);
		check_durable(f, m);
	}
	assert_true(f->store->moves > 20);
	fixture_reopen(f);
	check_lookups(f, m);
	/* With nothing but bad places it ends. */
	assert_int_equal(model_put(f, m, 0, 300, 1), 0);
	f->store->bad_one_in = 1;
	assert_int_equal(fixture_commit(f), -EIO);
	f->store->bad_one_in = 0;
	check_lookups(f, m);
	assert_int_equal(fixture_commit(f), 0);
	check_durable(f, m);
	free(m);
	fixture_free(f);
}

static void test_tree_is_closed_after_a_failed_commit(void **state)
{
	struct model *m;
	struct fixture *f = filled(120, &m), *g;
	struct tree_frozen *frozen = busy_frozen(f, m, 1);
	struct wfs3_ptr root;
	uint64_t nodes;

	(void)state;
	f->store->fail_write = 1;
	f->store->fail_on = true;
	assert_int_equal(tree_commit(f->tree, frozen, f->txg - 1, &root, &nodes), -EIO);
	check_lookups(f, m);
	fixture_free(f);
	free(m);
	g = filled(120, &m);
	fixture_free(g);
	free(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_change_without_memory_leaves_the_tree_as_before),
		cmocka_unit_test(test_change_without_room_for_frees_leaves_the_tree_as_before),
		cmocka_unit_test(test_fetch_that_fails_can_be_repeated),
		cmocka_unit_test(test_walk_that_fails_tells_so),
		cmocka_unit_test(test_commit_without_space_loses_nothing),
		cmocka_unit_test(test_commit_with_failing_writes_loses_nothing),
		cmocka_unit_test(test_nodes_that_cannot_be_written_go_elsewhere),
		cmocka_unit_test(test_tree_is_closed_after_a_failed_commit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
