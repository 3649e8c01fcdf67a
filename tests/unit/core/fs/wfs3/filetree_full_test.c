/* SPDX-License-Identifier: BSD-3-Clause */
/* File trees in pools without room: refused with -ENOSPC and nothing changed, and deleting always works. */
#include "tests/unit/core/fs/wfs3/filetree_fixture.h"
#include "tests/unit/slow.h"

#define ROOM_MIB 50u /* there is more */

/* Where everything is slow, most of the pool is taken by a file of another tree before. */
static void take_room(struct tree_fixture *t)
{
	static uint8_t buf[MIB];
	struct tree_fixture other = *t;
	struct vfs_node *n;

	if (test_slow() == 1)
		return;
	assert_ok(dataset_create(t->pool, DATASET_TYPE_TREE, "other", 0));
	assert_ok(t->pool->dir.ops->lookup(&t->pool->dir, "other", 5, &other.top));
	n = make_file(other.top, "taken");
	for (unsigned i = 0; i < ROOM_MIB - ROOM_MIB / test_slow(); i++) {
		pattern(buf, sizeof(buf), i);
		assert_ok(node_write(n, i * MIB, buf, sizeof(buf), 0));
	}
	assert_ok(n->ops->flush(n, 0));
	vfs_node_unref(n);
	tree_close(&other);
}

static unsigned fill_with_names(struct tree_fixture *t)
{
	struct vfs_node *n;
	unsigned count = 0;
	int rc;

	do {
		char name[300];

		memset(name, 'n', 200);
		snprintf(name + 200, 100, "%u", count);
		rc = make_type(t->top, name, VFS_TYPE_FILE, &n);
		if (!rc) {
			vfs_node_unref(n);
			count++;
		}
	} while (!rc);
	assert_int_equal(rc, -ENOSPC);
	return count;
}

static void test_names_fill_a_pool_and_can_be_removed(void **state)
{
	struct tree_fixture t;
	unsigned count;

	(void)state;
	tree_init(&t, 64 * MIB);
	take_room(&t);
	count = fill_with_names(&t);
	assert_true(count > 10000 / test_slow());
	assert_int_equal(node_stat(t.top).size_bytes, count);
	tree_restart(&t);
	assert_int_equal(node_stat(t.top).size_bytes, count);
	for (unsigned i = 0; i < count; i++) {
		char name[300];

		memset(name, 'n', 200);
		snprintf(name + 200, 100, "%u", i);
		assert_ok(remove_name(t.top, name, false));
	}
	tree_restart(&t);
	assert_int_equal(node_stat(t.top).size_bytes, 0);
	tree_done(&t);
}

static void test_data_fills_a_pool_and_can_be_removed(void **state)
{
	static uint8_t buf[100000];
	struct tree_fixture t;
	struct vfs_node *n;
	unsigned count = 0;
	int rc = 0;

	(void)state;
	tree_init(&t, 64 * MIB);
	take_room(&t);
	pattern(buf, sizeof(buf), 1);
	while (!rc) {
		char name[16];

		snprintf(name, sizeof(name), "%u", count);
		rc = make_type(t.top, name, VFS_TYPE_FILE, &n);
		if (rc)
			break;
		count++;
		rc = node_write(n, 0, buf, sizeof(buf), 0);
		assert_int_equal(node_stat(n).size_bytes, rc ? 0 : sizeof(buf));
		vfs_node_unref(n);
	}
	assert_int_equal(rc, -ENOSPC);
	assert_true(count > 200 / test_slow());
	tree_restart(&t);
	/* One of them makes room for another. */
	n = node_at(t.top, "0");
	assert_ok(node_truncate(n, 0));
	vfs_node_unref(n);
	for (unsigned i = 1; i < count; i++) {
		char name[16];

		snprintf(name, sizeof(name), "%u", i);
		assert_ok(remove_name(t.top, name, false));
	}
	n = node_at(t.top, "0");
	assert_ok(node_write(n, 0, buf, sizeof(buf), 0));
	assert_ok(n->ops->flush(n, 0));
	vfs_node_unref(n);
	tree_restart(&t);
	tree_done(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names_fill_a_pool_and_can_be_removed),
		cmocka_unit_test(test_data_fills_a_pool_and_can_be_removed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
