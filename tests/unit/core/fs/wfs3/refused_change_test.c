/* SPDX-License-Identifier: BSD-3-Clause */
/* No room, in the pool or in a quota, in the middle of renames and transactions: all of it is refused, or made. */
#include "tests/unit/core/fs/wfs3/filetx_fixture.h"

#define BLOCK 4096u
#define UID 7u /* as the fixture's files */

static void limit_user(struct tree_fixture *t, uint64_t blocks, uint64_t objects)
{
	struct quota_item limits = {
		.class = QUOTA_USER, .id = UID, .limit_bytes = blocks * BLOCK, .limit_objects = objects
	};

	assert_ok(quota_set(filetree_object(t->top)->ds, &limits));
}

static struct quota_item usage(struct tree_fixture *t)
{
	struct quota_item *all, found = { 0 };
	size_t count;

	assert_ok(quota_list(filetree_object(t->top)->ds, &all, &count));
	for (size_t i = 0; i < count; i++)
		if (all[i].class == QUOTA_USER && all[i].id == UID)
			found = all[i];
	free(all);
	return found;
}

/* Until not even a name fits. */
static void fill(struct tree_fixture *t)
{
	static uint8_t data[65536];
	struct vfs_node *filler = make_file(t->top, "filler"), *n;
	char name[256];
	uint64_t at = 0;

	memset(data, 5, sizeof(data));
	for (size_t len = sizeof(data); len >= BLOCK; len /= 16)
		while (!node_write(filler, at, data, len, 0))
			at += len;
	vfs_node_unref(filler);
	for (unsigned i = 0;; i++) {
		int rc;

		snprintf(name, sizeof(name), "%0200u", i);
		rc = make_type(t->top, name, VFS_TYPE_FILE, &n);
		if (rc) {
			assert_int_equal(rc, -ENOSPC);
			return;
		}
		vfs_node_unref(n);
	}
}

static void test_a_rename_in_a_full_pool_is_made_or_refused_as_a_whole(void **state)
{
	char long_name[256];
	struct tree_fixture t;
	struct vfs_node *dir;
	unsigned refused = 0;

	(void)state;
	memset(long_name, 'l', 255);
	long_name[255] = 0;
	tree_init(&t, 64 * MIB);
	dir = make_dir(t.top, "d");
	put_text(t.top, "a", "from");
	put_text(dir, "b", "onto");
	put_text(dir, "c", "other");
	fill(&t);
	for (unsigned i = 0; i < 30; i++) {
		const char *name = i % 3 ? "b" : long_name;
		unsigned flags = i % 3 == 2 ? VFS_RENAME_EXCHANGE : 0;
		bool has_from = strcmp(text_of(t.top, "a"), "-") != 0;
		int rc = rename_to(t.top, "a", dir, name, flags);

		assert_true(has_from);
		if (rc) {
			assert_int_equal(rc, -ENOSPC);
			refused++;
			assert_string_equal(text_of(t.top, "a"), "from");
			assert_string_equal(text_of(dir, "b"), "onto");
			assert_int_equal(lookup_error(dir, long_name), -ENOENT);
			continue;
		}
		/* It fitted after all: back again. */
		assert_string_equal(text_of(dir, name), "from");
		while ((rc = rename_to(dir, name, t.top, "a", flags)) == -ENOSPC)
			assert_ok(txg_force(t.pool, 2));
		assert_ok(rc);
		if (!flags && i % 3)
			break;
	}
	assert_true(refused > 0);
	assert_string_equal(text_of(dir, "c"), "other");
	vfs_node_unref(dir);
	tree_restart(&t);
	assert_string_equal(text_of(t.top, "a"), "from");
	tree_done(&t);
}

static void test_a_rename_at_the_limit_takes_nothing_and_is_made(void **state)
{
	struct tree_fixture t;

	(void)state;
	tree_init(&t, 64 * MIB);
	put_text(t.top, "a", "from");
	put_text(t.top, "b", "onto");
	limit_user(&t, 2, 2);
	assert_ok(rename_to(t.top, "a", t.top, "c", 0));
	assert_ok(rename_to(t.top, "c", t.top, "b", VFS_RENAME_EXCHANGE));
	assert_ok(rename_to(t.top, "b", t.top, "c", 0));
	assert_string_equal(text_of(t.top, "c"), "from");
	assert_int_equal(lookup_error(t.top, "b"), -ENOENT);
	/* What has no name any more counts until it is given back, which comes soon. */
	for (unsigned i = 0; i < 10000 && usage(&t).used_objects != 1; i++)
		sync_sleep_ns(SYNC_NS_PER_MS);
	assert_int_equal(usage(&t).used_objects, 1);
	tree_restart(&t);
	assert_string_equal(text_of(t.top, "c"), "from");
	tree_done(&t);
}

static void test_a_transaction_beyond_a_quota_changes_nothing(void **state)
{
	static uint8_t data[20 * BLOCK];

	(void)state;
	memset(data, 9, sizeof(data));
	for (unsigned by_objects = 0; by_objects < 2; by_objects++) {
		struct tree_fixture t;
		struct vfs_node *top, *n;
		struct quota_item before;
		struct vfs_tx *tx;

		tree_init(&t, 64 * MIB);
		put_text(t.top, "old", "before");
		put_text(t.top, "gone", "still");
		assert_ok(t.top->ops->flush(t.top, 0));
		limit_user(&t, by_objects ? 0 : 10, by_objects ? 4 : 0);
		before = usage(&t);
		tx = tx_begin(&t, VFS_TX_SNAPSHOT);
		top = tx_top(&t, tx);
		put_text(top, "old", "after");
		assert_ok(rename_to(top, "gone", top, "moved", 0));
		for (char name[] = "a"; name[0] < 'e'; name[0]++) {
			n = make_file(top, name);
			if (!by_objects)
				assert_ok(node_write(n, 0, data, sizeof(data), 0));
			vfs_node_unref(n);
		}
		vfs_node_unref(top);
		assert_int_equal(tx->ops->commit(tx, true, NULL, NULL, NULL), -EDQUOT);
		assert_int_equal(tx_info(tx).reason, -EDQUOT);
		tx->ops->free(tx);
		assert_string_equal(text_of(t.top, "old"), "before");
		assert_string_equal(text_of(t.top, "gone"), "still");
		assert_int_equal(lookup_error(t.top, "moved"), -ENOENT);
		assert_int_equal(lookup_error(t.top, "a"), -ENOENT);
		assert_int_equal(usage(&t).used_objects, before.used_objects);
		/* What fits is taken still. */
		tx = tx_begin(&t, VFS_TX_SNAPSHOT);
		top = tx_top(&t, tx);
		put_text(top, "a", "small");
		vfs_node_unref(top);
		assert_ok(tx_end(tx));
		tree_restart(&t);
		assert_string_equal(text_of(t.top, "old"), "before");
		assert_string_equal(text_of(t.top, "a"), "small");
		assert_int_equal(usage(&t).used_objects, before.used_objects + 1);
		tree_done(&t);
	}
}

static void test_names_that_differ_by_case_only_are_different(void **state)
{
	static const char *const names[] = { "name", "Name", "NAME", "nam\xe9", "nam\xc9", "\xc3\xa4", "\xc3\x84" };
	struct tree_fixture t;

	(void)state;
	tree_init(&t, 64 * MIB);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		put_text(t.top, names[i], names[i]);
	assert_ok(rename_to(t.top, "Name", t.top, "nAME", 0));
	assert_int_equal(lookup_error(t.top, "Name"), -ENOENT);
	tree_restart(&t);
	assert_int_equal(node_stat(t.top).size_bytes, sizeof(names) / sizeof(names[0]));
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		assert_string_equal(text_of(t.top, i == 1 ? "nAME" : names[i]), names[i]);
	assert_ok(remove_name(t.top, "NAME", false));
	assert_string_equal(text_of(t.top, "name"), "name");
	tree_done(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_rename_in_a_full_pool_is_made_or_refused_as_a_whole),
		cmocka_unit_test(test_a_rename_at_the_limit_takes_nothing_and_is_made),
		cmocka_unit_test(test_a_transaction_beyond_a_quota_changes_nothing),
		cmocka_unit_test(test_names_that_differ_by_case_only_are_different),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
