/* SPDX-License-Identifier: BSD-3-Clause */
/* The export table over a file system of two files in memory. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "core/vfs/vfs.h"
#include "core/vfs/vfs_ops.h"
#include "server/export/export.h"

static void node_release(struct vfs_node *n)
{
	(void)n;
}

static int node_stat(struct vfs_node *n, struct vfs_stat *ret)
{
	*ret = (struct vfs_stat){ .type = n->type, .size_bytes = 4096, .block_bytes = 4096 };
	return 0;
}

static int dir_lookup(struct vfs_node *dir, const char *name, size_t name_len, struct vfs_node **ret);

static const struct vfs_node_ops ops = { .release = node_release, .stat = node_stat, .lookup = dir_lookup };

struct fixture {
	struct vfs_node root; /* first */
	struct vfs_node a, b;
	struct vfs *vfs;
	struct export_table *table;
};

static int dir_lookup(struct vfs_node *dir, const char *name, size_t name_len, struct vfs_node **ret)
{
	struct fixture *f = (struct fixture *)dir;

	if (name_len != 1 || (*name != 'a' && *name != 'b'))
		return -ENOENT;
	*ret = *name == 'a' ? &f->a : &f->b;
	vfs_node_ref(*ret);
	return 0;
}

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	vfs_node_init(&f->root, &ops, VFS_TYPE_DIR);
	vfs_node_init(&f->a, &ops, VFS_TYPE_FILE);
	vfs_node_init(&f->b, &ops, VFS_TYPE_FILE);
	f->vfs = vfs_new();
	f->table = export_table_new(f->vfs);
	assert_int_equal(vfs_mount(f->vfs, "p", &f->root, false), 0);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	export_table_free(f->table);
	assert_int_equal(vfs_unmount(f->vfs, "p", false), 0);
	vfs_free(f->vfs);
	free(f);
	return 0;
}

static struct export_info export_of(const char *name, const char *path)
{
	struct export_info info = { 0 };

	strcpy(info.name, name);
	strcpy(info.path, path);
	return info;
}

static int add(struct fixture *f, const char *name, const char *path)
{
	struct export_info info = export_of(name, path);

	return export_add(f->table, &info);
}

static void test_bad_exports_are_refused(void **state)
{
	struct fixture *f = *state;
	struct export_info text = export_of("x", "/p/a");

	assert_int_equal(add(f, "", "/p/a"), -EINVAL);
	assert_int_equal(add(f, "a\nb", "/p/a"), -EINVAL);
	assert_int_equal(add(f, "x", "p/a"), -EINVAL);
	assert_int_equal(add(f, "x", "/"), -EINVAL);
	assert_int_equal(add(f, "x", "/p/none"), -ENOENT);
	assert_int_equal(add(f, "folder", "/p"), 0);
	strcpy(text.description, "a\tb");
	assert_int_equal(export_add(f->table, &text), -EINVAL);
	memset(text.name, 'n', sizeof(text.name));
	assert_int_equal(export_add(f->table, &text), -EINVAL);
}

static void test_name_is_taken_once(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(add(f, "x", "/p/a"), 0);
	assert_int_equal(add(f, "x", "/p/b"), -EEXIST);
	assert_int_equal(export_remove(f->table, "x"), 0);
	assert_int_equal(export_remove(f->table, "x"), -ENOENT);
	assert_int_equal(add(f, "x", "/p/b"), 0);
}

static void test_default_is_the_marked_one_else_the_only_one(void **state)
{
	struct fixture *f = *state;
	struct export_info info, marked = export_of("z", "/p/b"), second = export_of("y", "/p/b");

	assert_int_equal(export_get(f->table, "", &info), -ENOENT);
	assert_int_equal(add(f, "x", "/p/a"), 0);
	assert_int_equal(export_get(f->table, "", &info), 0);
	assert_string_equal(info.name, "x");
	assert_int_equal(add(f, "w", "/p/a"), 0);
	assert_int_equal(export_get(f->table, "", &info), -ENOENT);
	marked.is_default = second.is_default = true;
	assert_int_equal(export_add(f->table, &marked), 0);
	assert_int_equal(export_get(f->table, "", &info), 0);
	assert_string_equal(info.name, "z");
	assert_int_equal(export_add(f->table, &second), -EEXIST);
}

static void collect(void *ctx, const struct export_info *info)
{
	strcat(ctx, info->name);
}

static void test_each_is_in_order_of_names(void **state)
{
	struct fixture *f = *state;
	char names[16] = "";

	assert_int_equal(add(f, "c", "/p/a"), 0);
	assert_int_equal(add(f, "a", "/p/a"), 0);
	assert_int_equal(add(f, "b", "/p/a"), 0);
	export_each(f->table, collect, names);
	assert_string_equal(names, "abc");
}

static void test_open_counts_and_close_uncounts(void **state)
{
	struct fixture *f = *state;
	struct vfs_handle *h1, *h2;
	struct export_info info;

	assert_int_equal(add(f, "x", "/p/a"), 0);
	assert_int_equal(export_open(f->table, "none", false, &h1, &info), -ENOENT);
	assert_int_equal(export_open(f->table, "x", true, &h1, &info), 0);
	assert_int_equal(export_open(f->table, "", false, &h2, &info), 0);
	assert_string_equal(info.name, "x");
	assert_int_equal(info.open_count, 2);
	export_close(f->table, "x", h1);
	assert_int_equal(export_get(f->table, "x", &info), 0);
	assert_int_equal(info.open_count, 1);
	export_close(f->table, "", h2);
}

static void test_read_only_export_refuses_writers(void **state)
{
	struct fixture *f = *state;
	struct export_info info = export_of("x", "/p/a");
	struct vfs_handle *h;

	info.read_only = true;
	assert_int_equal(export_add(f->table, &info), 0);
	assert_int_equal(export_open(f->table, "x", true, &h, &info), -EROFS);
	assert_int_equal(export_open(f->table, "x", false, &h, &info), 0);
	assert_true(info.read_only);
	export_close(f->table, "x", h);
}

static void test_handles_outlive_their_export(void **state)
{
	struct fixture *f = *state;
	struct export_info info;
	struct vfs_handle *h;
	struct vfs_stat st;

	assert_int_equal(add(f, "x", "/p/a"), 0);
	assert_int_equal(export_open(f->table, "x", false, &h, &info), 0);
	assert_int_equal(export_remove(f->table, "x"), 0);
	assert_int_equal(add(f, "x", "/p/b"), 0);
	assert_int_equal(vfs_stat(h, &st), 0);
	export_close(f->table, "x", h);
	assert_int_equal(export_get(f->table, "x", &info), 0);
	assert_int_equal(info.open_count, 0);
}

static void test_static_exports_are_replaced_as_a_whole(void **state)
{
	struct fixture *f = *state;
	struct export_info first[] = { export_of("s", "/p/a"), export_of("t", "/p/none") };
	struct export_info second[] = { export_of("s", "/p/a"), export_of("u", "/p/b") };
	struct export_info info;
	struct vfs_handle *h;

	assert_int_equal(export_set_static(f->table, first, 2), 0);
	assert_int_equal(add(f, "d", "/p/b"), 0);
	assert_int_equal(export_remove(f->table, "s"), -EPERM);
	assert_int_equal(export_open(f->table, "s", false, &h, &info), 0);
	assert_int_equal(export_set_static(f->table, second, 2), 0);
	assert_int_equal(export_get(f->table, "t", &info), -ENOENT);
	assert_int_equal(export_get(f->table, "u", &info), 0);
	assert_true(info.is_static);
	assert_int_equal(export_get(f->table, "d", &info), 0);
	assert_false(info.is_static);
	assert_int_equal(export_get(f->table, "s", &info), 0);
	assert_int_equal(info.open_count, 1);
	export_close(f->table, "s", h);
	assert_int_equal(export_get(f->table, "s", &info), 0);
	assert_int_equal(info.open_count, 0);
}

static void test_refused_static_exports_change_nothing(void **state)
{
	struct fixture *f = *state;
	struct export_info first[] = { export_of("s", "/p/a") };
	struct export_info clash[] = { export_of("t", "/p/a"), export_of("d", "/p/a") };
	struct export_info bad[] = { export_of("t", "/p/a"), export_of("", "/p/a") };
	struct export_info info;

	assert_int_equal(export_set_static(f->table, first, 1), 0);
	assert_int_equal(add(f, "d", "/p/b"), 0);
	assert_int_equal(export_set_static(f->table, clash, 2), -EEXIST);
	assert_int_equal(export_set_static(f->table, bad, 2), -EINVAL);
	assert_int_equal(export_get(f->table, "s", &info), 0);
	assert_int_equal(export_get(f->table, "t", &info), -ENOENT);
}

static void test_user_of_a_path_is_found_at_whole_components(void **state)
{
	struct fixture *f = *state;
	char name[EXPORT_NAME_MAX + 1];

	assert_int_equal(add(f, "x", "/p/a"), 0);
	assert_true(export_find_user(f->table, "/p", name));
	assert_string_equal(name, "x");
	assert_true(export_find_user(f->table, "/p/a", name));
	assert_string_equal(name, "x");
	assert_false(export_find_user(f->table, "/p/", name));
	assert_false(export_find_user(f->table, "/p/aa", name));
	assert_false(export_find_user(f->table, "/q", name));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_bad_exports_are_refused),
		TEST(test_name_is_taken_once),
		TEST(test_default_is_the_marked_one_else_the_only_one),
		TEST(test_each_is_in_order_of_names),
		TEST(test_open_counts_and_close_uncounts),
		TEST(test_read_only_export_refuses_writers),
		TEST(test_handles_outlive_their_export),
		TEST(test_static_exports_are_replaced_as_a_whole),
		TEST(test_refused_static_exports_change_nothing),
		TEST(test_user_of_a_path_is_found_at_whole_components),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
