/* SPDX-License-Identifier: BSD-3-Clause */
/* What a tree promises, one behaviour at a time. Random operations are in tree_model_test.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/base/err.h"
#include "tests/unit/core/fs/wfs3/tree_fixture.h"

#ifdef WFSD_DEBUG
#define DAMAGE_STEP 13
#else
#define DAMAGE_STEP 1
#endif

static const struct wfs3_key key_min = { 0 };
static const struct wfs3_key key_max = { UINT64_MAX, UINT8_MAX, UINT64_MAX };

static struct model *model_new(void)
{
	struct model *m = calloc(1, sizeof(*m));

	assert_non_null(m);
	return m;
}

static void put_range(struct fixture *f, struct model *m, unsigned first, unsigned last, unsigned step, unsigned len)
{
	for (unsigned i = first; i < last; i += step)
		assert_int_equal(model_put(f, m, i, len, i + (uint32_t)f->txg), 0);
}

static void delete_range(struct fixture *f, struct model *m, unsigned first, unsigned last)
{
	for (unsigned i = first; i < last; i++) {
		if (m->items[i].present)
			assert_int_equal(model_delete(f, m, i), 0);
	}
}

static bool never(void *ctx, const struct wfs3_key *key, const void *value, size_t len)
{
	(void)key;
	(void)value;
	(void)len;
	++*(unsigned *)ctx;
	return false;
}

static void test_empty_tree_has_nothing_and_needs_no_commit(void **state)
{
	struct fixture *f = fixture_new(1000);
	struct wfs3_key key = model_key(5), other;
	struct tree_frozen *frozen;
	unsigned calls = 0;
	uint8_t buf[10];
	size_t len;

	(void)state;
	assert_int_equal(tree_get(f->tree, &key, buf, sizeof(buf), &len), -ENOENT);
	assert_int_equal(tree_next(f->tree, &key_min, &key_max, &other, buf, sizeof(buf), &len, &other), -ENOENT);
	assert_int_equal(tree_scan(f->tree, &key_min, &key_max, never, &calls, &other), 0);
	assert_int_equal(calls, 0);
	assert_int_equal(tree_delete(f->tree, 1, &key), -ENOENT);
	assert_int_equal(tree_fetch(f->tree, &key), 0);
	assert_false(tree_is_dirty(f->tree));
	assert_int_equal(tree_freeze(f->tree, 1, &frozen), 0);
	assert_null(frozen);
	fixture_free(f);
}

static void test_get_into_a_small_buffer_tells_the_length(void **state)
{
	struct fixture *f = fixture_new(1000);
	struct wfs3_key key = model_key(5);
	uint8_t buf[TREE_ITEM_BYTES_MAX] = { 0 };
	size_t len;

	(void)state;
	assert_int_equal(tree_put(f->tree, 1, &key, buf, 100), 0);
	assert_int_equal(tree_get(f->tree, &key, buf, 99, &len), -ERANGE);
	assert_int_equal(len, 100);
	assert_int_equal(tree_get(f->tree, &key, buf, 100, &len), 0);
	fixture_free(f);
}

static void test_commit_writes_only_what_changed(void **state)
{
	struct fixture *f = fixture_new(10000);
	struct model *m = model_new();
	uint64_t before;

	(void)state;
	put_range(f, m, 0, MODEL_KEYS, 1, 100);
	assert_true(tree_is_dirty(f->tree));
	assert_int_equal(fixture_commit(f), 0);
	assert_false(tree_is_dirty(f->tree));
	before = f->store->writes;
	assert_true(before > 100);
	assert_int_equal(model_put(f, m, 777, 100, 1), 0);
	assert_int_equal(model_put(f, m, 777, 90, 2), 0);
	assert_int_equal(fixture_commit(f), 0);
	assert_int_equal(f->store->writes - before, 2);
	assert_int_equal(fixture_commit(f), 0);
	assert_int_equal(f->store->writes - before, 2);
	check_durable(f, m);
	free(m);
	fixture_free(f);
}

static void test_committed_tree_is_found_again_by_its_root(void **state)
{
	struct fixture *f = fixture_new(10000);
	struct model *m = model_new();
	struct wfs3_key key = model_key(300);
	uint8_t buf[TREE_ITEM_BYTES_MAX];
	size_t len;

	(void)state;
	put_range(f, m, 0, MODEL_KEYS, 3, 50);
	assert_int_equal(fixture_commit(f), 0);
	fixture_reopen(f);
	assert_int_equal(tree_get(f->tree, &key, buf, sizeof(buf), &len), -EAGAIN);
	assert_int_equal(tree_put(f->tree, f->txg, &key, buf, 1), -EAGAIN);
	assert_int_equal(tree_delete(f->tree, f->txg, &key), -EAGAIN);
	assert_int_equal(tree_fetch(f->tree, &key), 0);
	assert_int_equal(tree_get(f->tree, &key, buf, sizeof(buf), &len), 0);
	assert_true(model_same(&m->items[300], buf, len));
	assert_false(tree_is_dirty(f->tree));
	check_durable(f, m);
	free(m);
	fixture_free(f);
}

static void test_a_value_is_returned_by_next_across_a_leaf_that_is_not_in_memory(void **state)
{
	struct fixture *f = fixture_new(10000);
	struct model *m = model_new();
	struct wfs3_key from = key_min, key, missing;
	uint8_t buf[TREE_ITEM_BYTES_MAX];
	unsigned seen = 0, again = 0;
	size_t len;
	int rc;

	(void)state;
	put_range(f, m, 0, 2000, 1, 100);
	assert_int_equal(fixture_commit(f), 0);
	fixture_reopen(f);
	while ((rc = tree_next(f->tree, &from, &key_max, &key, buf, sizeof(buf), &len, &missing)) != -ENOENT) {
		if (rc == -EAGAIN) {
			again++;
			assert_int_equal(tree_fetch(f->tree, &missing), 0);
			continue;
		}
		assert_int_equal(rc, 0);
		assert_true(model_same(&m->items[seen++], buf, len));
		from = key;
		from.offset++;
	}
	assert_int_equal(seen, 2000);
	assert_true(again > 10);
	free(m);
	fixture_free(f);
}

static void test_scan_goes_on_after_the_item_that_stopped_it(void **state)
{
	struct fixture *f = fixture_new(1000);
	struct model *m = model_new();
	struct wfs3_key at = key_min, to = model_key(9), resume;
	unsigned calls = 0;

	(void)state;
	put_range(f, m, 0, 20, 1, 10);
	for (unsigned i = 0; i < 9; i++) {
		struct wfs3_key want = model_key(i);

		want.offset++;
		assert_int_equal(tree_scan(f->tree, &at, &to, never, &calls, &resume), 1);
		assert_int_equal(wfs3_key_cmp(&resume, &want), 0);
		at = resume;
	}
	assert_int_equal(tree_scan(f->tree, &at, &to, never, &calls, &resume), 0);
	assert_int_equal(calls, 10);
	free(m);
	fixture_free(f);
}

struct fill {
	uint64_t leaves, bytes;
};

static int fill_node(void *ctx, const struct wfs3_ptr *ptr, unsigned level)
{
	struct fill *fill = ctx;

	(void)ptr;
	fill->leaves += level == 0;
	return 0;
}

static int fill_item(void *ctx, const struct wfs3_key *key, const void *value, size_t len)
{
	(void)key;
	(void)value;
	((struct fill *)ctx)->bytes += NODE_ITEM_BYTES(len);
	return 0;
}

static unsigned leaf_fill_percent(struct fixture *f)
{
	struct fill fill = { 0 };
	struct tree_visitor v = { .ctx = &fill, .node = fill_node, .item = fill_item };

	assert_int_equal(tree_walk(&f->env, FIXTURE_DATASET, &f->root, &v), 0);
	return (unsigned)(fill.bytes * 100 / (fill.leaves * NODE_CAPACITY));
}

static void test_ascending_insertion_fills_nodes(void **state)
{
	struct fixture *f = fixture_new(10000);
	struct model *m = model_new();

	(void)state;
	put_range(f, m, 0, MODEL_KEYS, 1, 100);
	assert_int_equal(fixture_commit(f), 0);
	assert_true(leaf_fill_percent(f) >= 95);
	free(m);
	fixture_free(f);
}

static void test_ascending_insertion_before_other_items_fills_nodes(void **state)
{
	struct fixture *f = fixture_new(10000);
	struct model *m = model_new();

	(void)state;
	put_range(f, m, 0, 2, 1, 100);
	put_range(f, m, 29000, 29003, 1, 100);
	put_range(f, m, 2, 25000, 1, 100);
	assert_int_equal(fixture_commit(f), 0);
	assert_true(leaf_fill_percent(f) >= 90);
	free(m);
	fixture_free(f);
}

static void test_deleting_gives_nodes_back_and_lowers_the_tree(void **state)
{
	struct fixture *f = fixture_new(10000);
	struct model *m = model_new();
	uint8_t *page = malloc(WFS3_NODE_BYTES);

	(void)state;
	put_range(f, m, 0, MODEL_KEYS, 1, 300);
	assert_int_equal(fixture_commit(f), 0);
	assert_int_equal(store_read(f->store, f->root.addr, page), 0);
	assert_int_equal(node_level(page), 2);
	for (unsigned i = 0; i < MODEL_KEYS; i++) {
		if (i % 500)
			assert_int_equal(model_delete(f, m, i), 0);
	}
	assert_int_equal(fixture_commit(f), 0);
	check_durable(f, m);
	assert_int_equal(store_read(f->store, f->root.addr, page), 0);
	assert_int_equal(node_level(page), 1);
	assert_true(leaf_fill_percent(f) >= 30);
	delete_range(f, m, 0, MODEL_KEYS);
	assert_int_equal(fixture_commit(f), 0);
	assert_int_equal(f->root.addr, 0);
	check_durable(f, m);
	free(page);
	free(m);
	fixture_free(f);
}

static void test_an_old_root_shows_the_old_state(void **state)
{
	struct fixture *f = fixture_new(200);
	struct model *m = model_new(), *old = model_new();
	struct wfs3_ptr old_root;

	(void)state;
	put_range(f, m, 0, MODEL_KEYS, 2, 100);
	assert_int_equal(fixture_commit(f), 0);
	memcpy(old, m, sizeof(*m));
	old_root = f->root;
	put_range(f, m, 1, 9000, 2, 100);
	put_range(f, m, 0, 9000, 4, 7);
	delete_range(f, m, 20000, MODEL_KEYS);
	assert_int_equal(fixture_commit(f), 0);
	assert_int_equal(model_compare(f, &old_root, old), 0);
	check_durable(f, m);
	free(m);
	free(old);
	fixture_free(f);
}

static void test_changes_between_freeze_and_commit_belong_to_the_next_commit(void **state)
{
	struct fixture *f = fixture_new(300);
	struct model *m = model_new(), *frozen_model = model_new();
	struct tree_frozen *frozen;
	struct wfs3_ptr root;
	uint64_t nodes;

	(void)state;
	for (unsigned round = 0; round < 20; round++) {
		unsigned at = round * 1000;

		put_range(f, m, at, at + 5000, 1 + round % 3, 40 + 10 * round);
		delete_range(f, m, at + 200, at + 600);
		memcpy(frozen_model, m, sizeof(*m));
		assert_int_equal(tree_freeze(f->tree, f->txg++, &frozen), 0);
		assert_non_null(frozen);
		/* Drops whole nodes that have no address yet, alters others, leaves some alone. */
		delete_range(f, m, at + 600, at + 2600);
		put_range(f, m, at + 3000, at + 3400, 1, 200);
		assert_int_equal(tree_commit(f->tree, frozen, f->txg - 1, &root, &nodes), 0);
		assert_int_equal(model_compare(f, &root, frozen_model), 0);
		assert_int_equal(f->store->reserved, 0);
		put_range(f, m, at + 3500, at + 3600, 1, 200);
		assert_int_equal(fixture_commit(f), 0);
		check_durable(f, m);
	}
	free(m);
	free(frozen_model);
	fixture_free(f);
}

static void test_no_node_is_dirty_after_a_commit(void **state)
{
	struct fixture *f = fixture_new(10000);
	struct model *m = model_new();
	struct node_cache_stats stats;

	(void)state;
	put_range(f, m, 0, 5000, 1, 100);
	node_cache_get_stats(f->cache, &stats);
	assert_true(stats.dirty_bytes > 20 * WFS3_NODE_BYTES);
	assert_int_equal(fixture_commit(f), 0);
	node_cache_get_stats(f->cache, &stats);
	assert_int_equal(stats.dirty_bytes, 0);
	assert_true(stats.resident_bytes > 20 * WFS3_NODE_BYTES);
	free(m);
	fixture_free(f);
}

static void test_clean_nodes_stay_within_the_budget(void **state)
{
	struct fixture *f = fixture_new(150);
	struct model *m = model_new();
	struct node_cache_stats stats;
	uint8_t buf[TREE_ITEM_BYTES_MAX];
	size_t len;

	(void)state;
	put_range(f, m, 0, MODEL_KEYS, 1, 200);
	assert_int_equal(fixture_commit(f), 0);
	for (unsigned i = 0; i < MODEL_KEYS; i += 10) {
		struct wfs3_key key = model_key(i);

		assert_int_equal(fixture_get(f, &key, buf, &len), 0);
		assert_true(model_same(&m->items[i], buf, len));
		assert_true(budget_used(f->budget) <= budget_limit(f->budget));
	}
	node_cache_get_stats(f->cache, &stats);
	assert_true(stats.evictions > 100);
	assert_true(stats.misses > 100);
	free(m);
	fixture_free(f);
}

/* The tree of one commit, reopened, read item by item: the first error. */
static int read_all(struct fixture *f, const struct model *m)
{
	uint8_t buf[TREE_ITEM_BYTES_MAX];
	size_t len;

	fixture_forget(f);
	for (unsigned i = 0; i < MODEL_KEYS; i++) {
		struct wfs3_key key = model_key(i);
		int rc;

		if (!m->items[i].present)
			continue;
		rc = fixture_get(f, &key, buf, &len);
		if (rc)
			return rc;
		if (!model_same(&m->items[i], buf, len))
			return -EKEYREJECTED;
	}
	return 0;
}

static void test_any_damaged_byte_is_noticed(void **state)
{
	struct fixture *f = fixture_new(1000);
	struct model *m = model_new();

	(void)state;
	put_range(f, m, 0, 300, 1, 100);
	assert_int_equal(fixture_commit(f), 0);
	for (unsigned place = 1; place <= f->store->writes; place++) {
		uint8_t *page = f->store->places[place].page;

		assert_non_null(page);
		for (unsigned i = 0; i < WFS3_NODE_BYTES; i += DAMAGE_STEP) {
			page[i] ^= (uint8_t)(1u << i % 8);
			assert_int_equal(read_all(f, m), -EUCLEAN);
			page[i] ^= (uint8_t)(1u << i % 8);
		}
	}
	assert_int_equal(read_all(f, m), 0);
	free(m);
	fixture_free(f);
}

static void test_lost_and_misdirected_writes_are_noticed(void **state)
{
	struct fixture *f = fixture_new(1000);
	struct model *m = model_new();
	uint8_t *old_page, *page = NULL;
	unsigned place;

	(void)state;
	put_range(f, m, 0, 1000, 1, 100);
	assert_int_equal(fixture_commit(f), 0);
	old_page = f->store->places[1].page;
	f->store->places[1].page = f->store->places[2].page;
	f->store->places[2].page = old_page;
	assert_int_equal(read_all(f, m), -EUCLEAN);
	f->store->places[2].page = f->store->places[1].page;
	f->store->places[1].page = old_page;
	assert_int_equal(read_all(f, m), 0);

	assert_int_equal(model_put(f, m, 0, 100, 12345), 0);
	assert_int_equal(fixture_commit(f), 0);
	for (place = 1; place < STORE_NODES && !page; place++) {
		if (f->store->places[place].birth == 2)
			page = f->store->places[place].page;
	}
	assert_non_null(page);
	memcpy(page, f->store->places[1].page, WFS3_NODE_BYTES);
	assert_int_equal(read_all(f, m), -EUCLEAN);
	free(m);
	fixture_free(f);
}

static void test_error_of_a_damaged_node_tells_where_it_is(void **state)
{
	struct fixture *f = fixture_new(1000);
	struct model *m = model_new();
	char text[1024];

	(void)state;
	put_range(f, m, 0, 1000, 1, 100);
	assert_int_equal(fixture_commit(f), 0);
	f->store->places[1].page[9000]++;
	assert_int_equal(read_all(f, m), -EUCLEAN);
	err_text(err_get(), -EUCLEAN, 0, text, sizeof(text));
	assert_non_null(strstr(text, "dataset 7"));
	assert_non_null(strstr(text, "level 0"));
	assert_non_null(strstr(text, "address 4"));
	assert_non_null(strstr(text, "hash"));
	free(m);
	fixture_free(f);
}

/* Put a page where the store finds it, with a right hash. */
static struct wfs3_ptr forge(struct fixture *f, unsigned place, const uint8_t *page)
{
	uint64_t addr = UINT64_C(4) * place;
	const void *buf = page;

	f->store->places[place].state = PLACE_LIVE;
	assert_int_equal(store_write(f->store, &addr, &buf, 1), 0);
	return (struct wfs3_ptr){
		.addr = addr,
		.birth = node_birth(page),
		.hash = hash128(page, WFS3_NODE_BYTES),
	};
}

static struct wfs3_ptr forge_leaf(struct fixture *f, unsigned place, uint64_t dataset_id, unsigned first,
                                  unsigned count)
{
	uint8_t *page = malloc(WFS3_NODE_BYTES);
	struct wfs3_ptr ptr;

	node_init(page, 0, dataset_id, 1);
	for (unsigned i = 0; i < count; i++) {
		struct wfs3_key key = model_key(first + i);

		node_insert(page, i, &key, "abc", 3);
	}
	ptr = forge(f, place, page);
	free(page);
	return ptr;
}

static struct wfs3_ptr forge_parent(struct fixture *f, unsigned place, unsigned level, struct wfs3_ptr left,
                                    struct wfs3_ptr right, unsigned left_key, unsigned right_key)
{
	uint8_t *page = malloc(WFS3_NODE_BYTES);
	struct wfs3_key keys[2] = { model_key(left_key), model_key(right_key) };
	struct wfs3_ptr ptr;

	node_init(page, level, FIXTURE_DATASET, 2);
	node_insert(page, 0, &keys[0], "                                ", WFS3_PTR_BYTES);
	node_set_ptr(page, 0, &left);
	node_insert(page, 1, &keys[1], "                                ", WFS3_PTR_BYTES);
	node_set_ptr(page, 1, &right);
	ptr = forge(f, place, page);
	free(page);
	return ptr;
}

static int fetch_both(struct fixture *f, struct wfs3_ptr root)
{
	struct wfs3_key left = model_key(100), right = model_key(200);
	struct tree_visitor nothing = { 0 };
	int rc, walk_rc;

	f->root = root;
	walk_rc = tree_walk(&f->env, FIXTURE_DATASET, &root, &nothing);
	fixture_reopen(f);
	rc = tree_fetch(f->tree, &left);
	if (!rc)
		rc = tree_fetch(f->tree, &right);
	assert_int_equal(rc, walk_rc);
	return rc;
}

static void test_forged_nodes_with_right_hashes_are_refused(void **state)
{
	struct fixture *f = fixture_new(1000);
	struct wfs3_ptr left = forge_leaf(f, 1, FIXTURE_DATASET, 100, 10);
	struct wfs3_ptr right = forge_leaf(f, 2, FIXTURE_DATASET, 200, 10);
	struct wfs3_ptr foreign = forge_leaf(f, 3, FIXTURE_DATASET + 1, 200, 10);
	struct wfs3_ptr wide = forge_leaf(f, 4, FIXTURE_DATASET, 195, 10);
	struct wfs3_ptr long_left = forge_leaf(f, 5, FIXTURE_DATASET, 100, 101);
	struct wfs3_ptr good = forge_parent(f, 6, 1, left, right, 100, 200), wrong_birth = right;

	(void)state;
	wrong_birth.birth = 2;
	assert_int_equal(fetch_both(f, good), 0);
	assert_int_equal(fetch_both(f, forge_parent(f, 7, 1, left, foreign, 100, 200)), -EUCLEAN);
	assert_int_equal(fetch_both(f, forge_parent(f, 8, 1, left, wide, 100, 200)), -EUCLEAN);
	assert_int_equal(fetch_both(f, forge_parent(f, 9, 1, long_left, right, 100, 200)), -EUCLEAN);
	assert_int_equal(fetch_both(f, forge_parent(f, 10, 1, left, wrong_birth, 100, 200)), -EUCLEAN);
	/* Leaves and inner nodes where the level does not fit. */
	assert_int_equal(fetch_both(f, forge_parent(f, 11, 2, left, right, 100, 200)), -EUCLEAN);
	assert_int_equal(fetch_both(f, forge_parent(f, 12, 2, good, right, 100, 200)), -EUCLEAN);
	/* One node from two levels: the second use finds it in the cache. */
	assert_int_equal(
	        fetch_both(f, forge_parent(f, 13, 2, forge_parent(f, 14, 1, left, right, 100, 150), right, 100, 200)),
	        -EUCLEAN);
	fixture_free(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_empty_tree_has_nothing_and_needs_no_commit),
		cmocka_unit_test(test_get_into_a_small_buffer_tells_the_length),
		cmocka_unit_test(test_commit_writes_only_what_changed),
		cmocka_unit_test(test_committed_tree_is_found_again_by_its_root),
		cmocka_unit_test(test_a_value_is_returned_by_next_across_a_leaf_that_is_not_in_memory),
		cmocka_unit_test(test_scan_goes_on_after_the_item_that_stopped_it),
		cmocka_unit_test(test_ascending_insertion_fills_nodes),
		cmocka_unit_test(test_ascending_insertion_before_other_items_fills_nodes),
		cmocka_unit_test(test_deleting_gives_nodes_back_and_lowers_the_tree),
		cmocka_unit_test(test_an_old_root_shows_the_old_state),
		cmocka_unit_test(test_changes_between_freeze_and_commit_belong_to_the_next_commit),
		cmocka_unit_test(test_no_node_is_dirty_after_a_commit),
		cmocka_unit_test(test_clean_nodes_stay_within_the_budget),
		cmocka_unit_test(test_any_damaged_byte_is_noticed),
		cmocka_unit_test(test_lost_and_misdirected_writes_are_noticed),
		cmocka_unit_test(test_error_of_a_damaged_node_tells_where_it_is),
		cmocka_unit_test(test_forged_nodes_with_right_hashes_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
