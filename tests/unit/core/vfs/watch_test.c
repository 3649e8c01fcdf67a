/* SPDX-License-Identifier: BSD-3-Clause */
/* Watches: who is told of which change, and who is not. */
#include "core/vfs/watch.h"

#include "core/base/sync.h"
#include "tests/unit/core/vfs/tree_fixture.h"

#define SEEN_MAX 64

struct seen {
	unsigned what;
	uint64_t fsid, object, dir;
	char name[VFS_NAME_MAX + 1];
};

struct watcher {
	struct vfs_watch *watch;
	struct seen seen[SEEN_MAX];
	unsigned count;
};

static const struct vfs_cred alice = { .uid = 100, .gid = 100 };

static void note(void *ctx, const struct vfs_change *c)
{
	struct watcher *w = ctx;
	struct seen *s = &w->seen[w->count++];

	assert_true(w->count < SEEN_MAX);
	*s = (struct seen){ .what = c->what, .fsid = c->fsid, .object = c->object, .dir = c->dir };
	memcpy(s->name, c->name ? c->name : "", c->name_len);
}

static int watch_as(struct tree_env *e, const struct vfs_cred *cred, const char *path, bool subtree, unsigned what,
                    struct watcher *ret)
{
	struct vfs_watch_spec spec = { .what = what, .subtree = subtree };
	struct vfs_handle *h = must_walk(e, path);
	int err;

	ret->count = 0;
	err = vfs_watch_open(h, cred, &spec, note, ret, &ret->watch);
	vfs_close(h);
	return err;
}

static void watch(struct tree_env *e, const char *path, bool subtree, struct watcher *ret)
{
	assert_int_equal(watch_as(e, ROOT, path, subtree, VFS_CHANGE_ALL, ret), 0);
}

static void expect(const struct watcher *w, unsigned i, unsigned what, const char *name, uint64_t object)
{
	assert_true(i < w->count);
	assert_int_equal(w->seen[i].what, what);
	assert_string_equal(w->seen[i].name, name);
	assert_int_equal(w->seen[i].object, object);
}

static void write_at(struct tree_env *e, const char *path)
{
	struct iovec iov = { (void *)(uintptr_t) "x", 1 };
	struct vfs_handle *h;

	assert_int_equal(vfs_open(e->vfs, path, true, &h), 0);
	assert_int_equal(vfs_write(h, &iov, 1, 0, 0), 0);
	vfs_close(h);
}

static void rename_in(struct tree_env *e, const char *dir, const char *name, const char *new_dir, const char *new_name,
                      unsigned flags)
{
	struct vfs_handle *from = must_walk(e, dir), *to = must_walk(e, new_dir);

	assert_int_equal(vfs_rename(from, ROOT, name, strlen(name), to, new_name, strlen(new_name), flags), 0);
	vfs_close(from);
	vfs_close(to);
}

static void test_names_in_a_directory_are_told_and_others_are_not(void **state)
{
	struct tree_env *e = *state;
	struct watcher w;
	uint64_t object;

	make(e, "/t/d", VFS_TYPE_DIR, 0755);
	make(e, "/t/other", VFS_TYPE_DIR, 0755);
	watch(e, "/t/d", false, &w);
	make(e, "/t/d/f", VFS_TYPE_FILE, 0644);
	make(e, "/t/other/g", VFS_TYPE_FILE, 0644);
	make(e, "/t/top", VFS_TYPE_FILE, 0644);
	object = object_at(e, "/t/d/f");
	assert_int_equal(w.count, 1);
	expect(&w, 0, VFS_CHANGE_CREATED, "f", object);
	assert_int_equal(w.seen[0].dir, object_at(e, "/t/d"));
	rename_in(e, "/t/d", "f", "/t/other", "h", 0);
	expect(&w, 1, VFS_CHANGE_MOVED_FROM, "f", object);
	rename_in(e, "/t/other", "g", "/t/d", "i", 0);
	object = object_at(e, "/t/d/i");
	expect(&w, w.count - 2, VFS_CHANGE_MOVED_TO, "i", object);
	expect(&w, w.count - 1, VFS_CHANGE_ATTR, "", object);
	vfs_watch_close(w.watch);
}

static void test_a_removed_name_and_a_link_are_told(void **state)
{
	struct tree_env *e = *state;
	struct vfs_handle *h;
	struct watcher w;

	make(e, "/t/f", VFS_TYPE_FILE, 0644);
	h = must_walk(e, "/t/f");
	watch(e, "/t", false, &w);
	assert_int_equal(vfs_link(e->top, ROOT, "l", 1, h), 0);
	expect(&w, 0, VFS_CHANGE_CREATED, "l", object_of(h));
	expect(&w, 1, VFS_CHANGE_ATTR, "", object_of(h));
	assert_int_equal(vfs_unlink(e->top, ROOT, "f", 1, false), 0);
	expect(&w, 2, VFS_CHANGE_REMOVED, "f", object_of(h));
	/* What fails is not told. */
	assert_int_equal(vfs_unlink(e->top, ROOT, "f", 1, false), -ENOENT);
	assert_int_equal(w.count, 4);
	vfs_close(h);
	vfs_watch_close(w.watch);
}

static void test_data_and_attributes_are_told_of_what_is_in_the_directory(void **state)
{
	struct tree_env *e = *state;
	struct watcher w;

	make(e, "/t/d", VFS_TYPE_DIR, 0755);
	make(e, "/t/d/old", VFS_TYPE_FILE, 0644);
	make(e, "/t/elsewhere", VFS_TYPE_FILE, 0644);
	watch(e, "/t/d", false, &w);
	make(e, "/t/d/new", VFS_TYPE_FILE, 0644);
	w.count = 0;
	write_at(e, "/t/d/old");
	write_at(e, "/t/d/new");
	write_at(e, "/t/elsewhere");
	assert_int_equal(w.count, 2);
	expect(&w, 0, VFS_CHANGE_DATA, "", object_at(e, "/t/d/old"));
	expect(&w, 1, VFS_CHANGE_DATA, "", object_at(e, "/t/d/new"));
	own(e, "/t/d/old", 5, 5, 0600);
	assert_int_equal(w.count, 4);
	expect(&w, 3, VFS_CHANGE_ATTR, "", object_at(e, "/t/d/old"));
	set_attr_at(e, "/t/d/old", &(struct vfs_set_attr){ .valid = VFS_SET_SIZE, .size_bytes = 9 });
	expect(&w, 4, VFS_CHANGE_DATA | VFS_CHANGE_ATTR, "", object_at(e, "/t/d/old"));
	/* What left is not told of any more. */
	rename_in(e, "/t/d", "old", "/t", "gone", 0);
	w.count = 0;
	write_at(e, "/t/gone");
	assert_int_equal(w.count, 0);
	vfs_watch_close(w.watch);
}

static void test_names_that_are_not_remembered_are_told_of_all_the_same(void **state)
{
	struct tree_env *e = *state;
	struct watch_hub *hub = e->vfs->watches;
	struct watcher a, b;

	make(e, "/t/one", VFS_TYPE_DIR, 0755);
	make(e, "/t/two", VFS_TYPE_DIR, 0755);
	make(e, "/t/one/x", VFS_TYPE_FILE, 0644);
	make(e, "/t/one/y", VFS_TYPE_FILE, 0644);
	make(e, "/t/two/z", VFS_TYPE_FILE, 0644);
	hub->child_max = 2;
	watch(e, "/t/one", false, &a);
	watch(e, "/t/two", false, &b);
	assert_int_equal(hub->child_count, 2);
	set_attr_at(e, "/t/one/y", &(struct vfs_set_attr){ .valid = VFS_SET_MODE, .mode = 0600 });
	set_attr_at(e, "/t/two/z", &(struct vfs_set_attr){ .valid = VFS_SET_MODE, .mode = 0600 });
	assert_true(a.count >= 1);
	assert_true(b.count >= 1);
	vfs_watch_close(a.watch);
	vfs_watch_close(b.watch);
	assert_int_equal(hub->child_count, 0);
}

static void test_a_subtree_is_told_of_at_any_depth(void **state)
{
	struct tree_env *e = *state;
	struct watcher whole, part;

	make(e, "/t/a", VFS_TYPE_DIR, 0755);
	make(e, "/t/a/b", VFS_TYPE_DIR, 0755);
	make(e, "/t/c", VFS_TYPE_DIR, 0755);
	watch(e, "/t", true, &whole);
	watch(e, "/t/a", true, &part);
	make(e, "/t/a/b/f", VFS_TYPE_FILE, 0644);
	make(e, "/t/c/g", VFS_TYPE_FILE, 0644);
	assert_int_equal(whole.count, 2);
	assert_int_equal(part.count, 1);
	expect(&part, 0, VFS_CHANGE_CREATED, "f", object_at(e, "/t/a/b/f"));
	expect(&whole, 1, VFS_CHANGE_CREATED, "g", object_at(e, "/t/c/g"));
	/* A file does not know where it is. */
	write_at(e, "/t/c/g");
	expect(&part, 1, VFS_CHANGE_DATA, "", object_at(e, "/t/c/g"));
	vfs_watch_close(part.watch);
	vfs_watch_close(whole.watch);
}

static void test_names_that_may_not_be_read_are_not_told(void **state)
{
	struct tree_env *e = *state;
	struct watcher w;

	make(e, "/t/open", VFS_TYPE_DIR, 0755);
	make(e, "/t/shut", VFS_TYPE_DIR, 0700);
	make(e, "/t/shut/open", VFS_TYPE_DIR, 0755);
	assert_int_equal(watch_as(e, &alice, "/t/shut", false, VFS_CHANGE_ALL, &w), -EACCES);
	assert_int_equal(watch_as(e, &alice, "/t", true, VFS_CHANGE_ALL, &w), 0);
	make(e, "/t/open/a", VFS_TYPE_FILE, 0644);
	make(e, "/t/shut/b", VFS_TYPE_FILE, 0644);
	make(e, "/t/shut/open/c", VFS_TYPE_FILE, 0644);
	expect(&w, 0, VFS_CHANGE_CREATED, "a", object_at(e, "/t/open/a"));
	expect(&w, 1, VFS_CHANGE_CREATED, "", object_at(e, "/t/shut/b"));
	assert_int_equal(w.seen[1].dir, object_at(e, "/t/shut"));
	expect(&w, 2, VFS_CHANGE_CREATED, "", object_at(e, "/t/shut/open/c"));
	vfs_watch_close(w.watch);
}

static void test_own_changes_are_skipped_when_that_is_wished(void **state)
{
	struct vfs_watch_spec spec = { .what = VFS_CHANGE_ALL, .skip_origin = 7 };
	struct tree_env *e = *state;
	struct watcher w = { 0 };

	assert_int_equal(vfs_watch_open(e->top, ROOT, &spec, note, &w, &w.watch), 0);
	vfs_set_origin(7, 0);
	make(e, "/t/mine", VFS_TYPE_FILE, 0644);
	vfs_set_origin(8, 0);
	make(e, "/t/theirs", VFS_TYPE_FILE, 0644);
	vfs_set_origin(0, 0);
	assert_int_equal(w.count, 1);
	assert_string_equal(w.seen[0].name, "theirs");
	vfs_watch_close(w.watch);
}

static void test_what_was_not_asked_for_is_not_told(void **state)
{
	struct tree_env *e = *state;
	struct watcher w;

	assert_int_equal(watch_as(e, ROOT, "/t", true, VFS_CHANGE_REMOVED, &w), 0);
	make(e, "/t/f", VFS_TYPE_FILE, 0644);
	write_at(e, "/t/f");
	assert_int_equal(w.count, 0);
	assert_int_equal(vfs_unlink(e->top, ROOT, "f", 1, false), 0);
	assert_int_equal(w.count, 1);
	vfs_watch_close(w.watch);
	assert_int_equal(watch_as(e, ROOT, "/t", true, 0, &w), -EINVAL);
	assert_int_equal(watch_as(e, ROOT, "/t", true, VFS_CHANGE_LOST, &w), -EINVAL);
	make(e, "/t/f", VFS_TYPE_FILE, 0644);
	assert_int_equal(watch_as(e, ROOT, "/t/f", true, VFS_CHANGE_ALL, &w), -ENOTDIR);
}

static void test_a_file_can_be_watched(void **state)
{
	struct tree_env *e = *state;
	struct watcher w;

	make(e, "/t/f", VFS_TYPE_FILE, 0644);
	make(e, "/t/g", VFS_TYPE_FILE, 0644);
	watch(e, "/t/f", false, &w);
	write_at(e, "/t/g");
	write_at(e, "/t/f");
	assert_int_equal(w.count, 1);
	expect(&w, 0, VFS_CHANGE_DATA, "", object_at(e, "/t/f"));
	vfs_watch_close(w.watch);
}

static void test_an_unmount_ends_watches_and_does_not_wait_for_them(void **state)
{
	struct tree_env *e = *state;
	struct watcher w;

	watch(e, "/t", true, &w);
	vfs_close(e->top);
	assert_int_equal(vfs_unmount(e->vfs, "t", false), 0);
	assert_int_equal(w.count, 1);
	assert_int_equal(w.seen[0].what, VFS_CHANGE_ENDED);
	assert_false(watch_any(e->vfs));
	vfs_watch_close(w.watch);
	assert_int_equal(vfs_mount(e->vfs, "t", &e->fs.root->node, false), 0);
	assert_int_equal(vfs_walk(e->vfs, ROOT, NULL, NULL, "/t", 0, &e->top), 0);
}

static void test_what_a_mount_lies_over_is_told_as_a_changed_name(void **state)
{
	struct tree_env *e = *state;
	struct watcher all, direct, elsewhere, top;
	struct treefs over;
	uint64_t a, b;

	treefs_init(&over);
	make(e, "/t/a", VFS_TYPE_DIR, 0755);
	make(e, "/t/a/b", VFS_TYPE_DIR, 0755);
	make(e, "/t/other", VFS_TYPE_DIR, 0755);
	a = object_at(e, "/t/a");
	b = object_at(e, "/t/a/b");
	watch(e, "/t", true, &all);
	watch(e, "/t/a", false, &direct);
	watch(e, "/t/other", true, &elsewhere);
	watch(e, "/", false, &top);
	assert_int_equal(vfs_mount(e->vfs, "/t/a/b", &over.root->node, false), 0);
	assert_int_not_equal(object_at(e, "/t/a/b"), b);
	assert_int_equal(all.count, 1);
	expect(&all, 0, VFS_CHANGE_MOVED_TO, "b", 0);
	assert_int_equal(all.seen[0].dir, a);
	assert_int_equal(direct.count, 1);
	expect(&direct, 0, VFS_CHANGE_MOVED_TO, "b", 0);
	assert_int_equal(vfs_mount(e->vfs, "/t/a/b", &over.root->node, false), -EEXIST);
	assert_int_equal(vfs_unmount(e->vfs, "/t/a/b", false), 0);
	assert_int_equal(object_at(e, "/t/a/b"), b);
	assert_int_equal(all.count, 2);
	expect(&all, 1, VFS_CHANGE_MOVED_TO, "b", 0);
	assert_int_equal(direct.count, 2);
	assert_int_equal(elsewhere.count, 0);
	/* The top directory has no number: who watches it looks anew. */
	assert_int_equal(top.count, 0);
	assert_int_equal(vfs_mount(e->vfs, "stick", &over.root->node, false), 0);
	assert_int_equal(top.count, 1);
	assert_int_equal(top.seen[0].what, VFS_CHANGE_LOST);
	assert_int_equal(vfs_unmount(e->vfs, "stick", false), 0);
	assert_int_equal(top.count, 2);
	assert_int_equal(all.count, 2);
	vfs_watch_close(all.watch);
	vfs_watch_close(direct.watch);
	vfs_watch_close(elsewhere.watch);
	vfs_watch_close(top.watch);
	treefs_done(&over);
}

static void test_an_append_only_directory_keeps_names_from_renames(void **state)
{
	struct tree_env *e = *state;

	make(e, "/t/d", VFS_TYPE_DIR, 0755);
	make(e, "/t/d/kept", VFS_TYPE_FILE, 0644);
	make(e, "/t/f", VFS_TYPE_FILE, 0644);
	make(e, "/t/g", VFS_TYPE_FILE, 0644);
	set_flags(e, "/t/d", VFS_FLAG_APPEND);
	{
		struct vfs_handle *d = must_walk(e, "/t/d");
		uint64_t kept = object_at(e, "/t/d/kept");

		assert_int_equal(vfs_rename(e->top, ROOT, "f", 1, d, "kept", 4, 0), -EPERM);
		assert_int_equal(vfs_rename(e->top, ROOT, "f", 1, d, "kept", 4, VFS_RENAME_NOREPLACE), -EEXIST);
		assert_int_equal(object_at(e, "/t/d/kept"), kept);
		assert_int_equal(vfs_rename(e->top, ROOT, "f", 1, d, "new", 3, 0), 0);
		vfs_close(d);
	}
	set_flags(e, "/t/d", 0);
}

/* ---- several threads ---- */

#define ROUNDS 300

struct worker {
	struct tree_env *e;
	char name[2];
};

static void count_only(void *ctx, const struct vfs_change *c)
{
	(void)c;
	++*(unsigned *)ctx;
}

static void work(void *arg)
{
	struct worker *w = arg;

	for (int i = 0; i < ROUNDS; i++) {
		assert_int_equal(create_as(w->e->top, ROOT, w->name, VFS_TYPE_FILE, 0644, NULL), 0);
		assert_int_equal(vfs_unlink(w->e->top, ROOT, w->name, 1, false), 0);
	}
}

static void test_watches_come_and_go_while_others_change_things(void **state)
{
	struct vfs_watch_spec spec = { .what = VFS_CHANGE_ALL, .subtree = true };
	struct tree_env *e = *state;
	struct worker workers[2] = { { e, "a" }, { e, "b" } };
	struct sync_thread threads[2];
	unsigned all = 0, some = 0;
	struct vfs_watch *stays, *comes;

	assert_int_equal(vfs_watch_open(e->top, ROOT, &spec, count_only, &all, &stays), 0);
	for (int i = 0; i < 2; i++)
		assert_int_equal(sync_thread_start(&threads[i], "worker", work, &workers[i]), 0);
	for (int i = 0; i < ROUNDS; i++) {
		spec.subtree = i % 2;
		assert_int_equal(vfs_watch_open(e->top, ROOT, &spec, count_only, &some, &comes), 0);
		vfs_watch_close(comes);
	}
	for (int i = 0; i < 2; i++)
		sync_thread_join(&threads[i]);
	/* Created, removed, and the removed object's attributes. */
	assert_int_equal(all, 2 * ROUNDS * 3);
	vfs_watch_close(stays);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_names_in_a_directory_are_told_and_others_are_not, tree_setup,
		                                tree_teardown),
		cmocka_unit_test_setup_teardown(test_a_removed_name_and_a_link_are_told, tree_setup, tree_teardown),
		cmocka_unit_test_setup_teardown(test_data_and_attributes_are_told_of_what_is_in_the_directory,
		                                tree_setup, tree_teardown),
		cmocka_unit_test_setup_teardown(test_names_that_are_not_remembered_are_told_of_all_the_same, tree_setup,
		                                tree_teardown),
		cmocka_unit_test_setup_teardown(test_a_subtree_is_told_of_at_any_depth, tree_setup, tree_teardown),
		cmocka_unit_test_setup_teardown(test_names_that_may_not_be_read_are_not_told, tree_setup,
		                                tree_teardown),
		cmocka_unit_test_setup_teardown(test_own_changes_are_skipped_when_that_is_wished, tree_setup,
		                                tree_teardown),
		cmocka_unit_test_setup_teardown(test_what_was_not_asked_for_is_not_told, tree_setup, tree_teardown),
		cmocka_unit_test_setup_teardown(test_a_file_can_be_watched, tree_setup, tree_teardown),
		cmocka_unit_test_setup_teardown(test_an_unmount_ends_watches_and_does_not_wait_for_them, tree_setup,
		                                tree_teardown),
		cmocka_unit_test_setup_teardown(test_what_a_mount_lies_over_is_told_as_a_changed_name, tree_setup,
		                                tree_teardown),
		cmocka_unit_test_setup_teardown(test_an_append_only_directory_keeps_names_from_renames, tree_setup,
		                                tree_teardown),
		cmocka_unit_test_setup_teardown(test_watches_come_and_go_while_others_change_things, tree_setup,
		                                tree_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
