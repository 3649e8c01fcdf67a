/* SPDX-License-Identifier: BSD-3-Clause */
/* The import of a server that behaves, or restarts. */
#include "tests/unit/core/fs/nfs/nfs_fixture.h"

static void test_file_of_the_server_is_read_through_the_cache(void **state)
{
	struct world *w = *state;
	struct vfs_node *n;
	unsigned reads;

	serve_file(w, "a", 7, 300000);
	n = open_file(w, "a", false);
	assert_int_equal(size_of(n), 300000);
	check_bytes(n, 7, 300000, 0);
	reads = calls(w, FAKE_READ);
	check_bytes(n, 7, 300000, 0);
	assert_int_equal(calls(w, FAKE_READ), reads);
	close_file(n, false);
}

static void test_nowait_read_of_what_is_not_cached_returns_eagain(void **state)
{
	struct world *w = *state;
	uint8_t buf[16];
	struct iovec iov = { buf, sizeof(buf) };
	struct vfs_node *n;

	serve_file(w, "a", 7, 100);
	n = open_file(w, "a", false);
	assert_int_equal(n->ops->read(n, &iov, 1, 0, VFS_NOWAIT), -EAGAIN);
	check_bytes(n, 7, 100, 0);
	assert_int_equal(n->ops->read(n, &iov, 1, 0, VFS_NOWAIT), 0);
	close_file(n, false);
}

static void test_written_data_is_durable_after_a_flush(void **state)
{
	struct world *w = *state;
	struct vfs_node *n = create(w, "new", VFS_TYPE_FILE);
	struct fake_file *f;

	assert_int_equal(n->ops->open(n, true), 0);
	assert_int_equal(write_at(n, 1, 200000, 0), 0);
	assert_int_equal(write_at(n, 2, 10, 1000), 0);
	assert_int_equal(write_at(n, 3, 5, 300000), 0);
	assert_int_equal(size_of(n), 300005);
	assert_int_equal(n->ops->flush(n, 0), 0);
	lock(w);
	f = fake_find(w->server, 0, "new");
	assert_non_null(f);
	assert_int_equal(f->durable_size, 300005);
	assert_int_equal(f->durable[999], 1);
	assert_int_equal(f->durable[1009], 2);
	assert_int_equal(f->durable[250000], 0);
	assert_int_equal(f->durable[300004], 3);
	unlock(w);
	close_file(n, true);
}

static void test_data_that_a_restarted_server_forgot_is_written_again(void **state)
{
	struct world *w = *state;
	struct vfs_node *n = create(w, "new", VFS_TYPE_FILE);
	struct nfs_import_stats s;
	struct fake_file *f;

	assert_int_equal(n->ops->open(n, true), 0);
	assert_int_equal(write_at(n, 9, 500000, 0), 0);
	lock(w);
	w->server->forget_at_commit = true;
	unlock(w);
	assert_int_equal(n->ops->flush(n, 0), 0);
	lock(w);
	f = fake_find(w->server, 0, "new");
	assert_int_equal(f->durable_size, 500000);
	for (unsigned i = 0; i < 500000; i++)
		assert_int_equal(f->durable[i], 9);
	unlock(w);
	nfs_import_get_stats(w->im, &s);
	assert_int_equal(s.rewritten, 500000);
	close_file(n, true);
}

static void test_change_by_another_client_shows_at_the_next_open(void **state)
{
	struct world *w = *state;
	struct fake_file *f = serve_file(w, "a", 7, 10000);
	struct vfs_node *n = open_file(w, "a", false);

	check_bytes(n, 7, 10000, 0);
	lock(w);
	fake_fill(w->server, f, 8, 20000);
	unlock(w);
	check_bytes(n, 7, 10000, 0);
	close_file(n, false);
	n = open_file(w, "a", false);
	assert_int_equal(size_of(n), 20000);
	check_bytes(n, 8, 20000, 0);
	lock(w);
	fake_fill(w->server, f, 6, 5000);
	unlock(w);
	close_file(n, false);
	n = open_file(w, "a", false);
	assert_int_equal(size_of(n), 5000);
	check_bytes(n, 6, 5000, 0);
	close_file(n, false);
}

static void test_dirty_data_survives_that_another_client_changed_the_file(void **state)
{
	struct world *w = *state;
	struct fake_file *f = serve_file(w, "a", 7, 10000);
	struct vfs_node *n = open_file(w, "a", true);

	assert_int_equal(write_at(n, 1, PAGE, 0), 0);
	lock(w);
	fake_fill(w->server, f, 8, 10000);
	unlock(w);
	assert_int_equal(n->ops->open(n, false), 0);
	check_bytes(n, 1, PAGE, 0);
	assert_int_equal(n->ops->flush(n, 0), 0);
	lock(w);
	assert_int_equal(f->durable[0], 1);
	assert_int_equal(f->durable[PAGE], 8);
	unlock(w);
	n->ops->close(n, false);
	close_file(n, true);
}

static void test_own_writes_do_not_drop_the_cache(void **state)
{
	struct world *w = *state;
	struct vfs_node *n;
	unsigned reads;

	serve_file(w, "a", 7, 10 * PAGE);
	n = open_file(w, "a", true);
	check_bytes(n, 7, 10 * PAGE, 0);
	reads = calls(w, FAKE_READ);
	assert_int_equal(write_at(n, 1, PAGE, PAGE), 0);
	assert_int_equal(n->ops->flush(n, 0), 0);
	assert_int_equal(n->ops->open(n, false), 0);
	check_bytes(n, 7, PAGE, 0);
	check_bytes(n, 1, PAGE, PAGE);
	assert_int_equal(calls(w, FAKE_READ), reads);
	n->ops->close(n, false);
	close_file(n, true);
}

static void test_what_a_truncation_cut_off_reads_as_zeros(void **state)
{
	struct world *w = *state;
	struct vfs_node *n;

	serve_file(w, "a", 7, 10000);
	n = open_file(w, "a", true);
	assert_int_equal(write_at(n, 5, 100, 6000), 0);
	assert_int_equal(truncate_to(n, 6050), 0);
	assert_int_equal(size_of(n), 6050);
	assert_int_equal(truncate_to(n, 9000), 0);
	check_bytes(n, 7, 6000, 0);
	check_bytes(n, 5, 50, 6000);
	check_bytes(n, 0, 2950, 6050);
	close_file(n, true);
}

static void test_a_time_before_1970_becomes_1970(void **state)
{
	struct vfs_set_attr a = { .valid = VFS_SET_ATIME | VFS_SET_MTIME,
		                  .atime_ns = 5 * SYNC_NS_PER_S + 7,
		                  .mtime_ns = (uint64_t)-1 };
	struct world *w = *state;
	struct fake_file *f = serve_file(w, "a", 7, 10);
	struct vfs_node *n = open_file(w, "a", true);

	lock(w);
	f->set_time_s[1] = f->set_time_ns[1] = 77;
	unlock(w);
	assert_int_equal(n->ops->set_attr(n, &a), 0);
	lock(w);
	assert_int_equal(f->set_time_s[0], 5);
	assert_int_equal(f->set_time_ns[0], 7);
	assert_int_equal(f->set_time_s[1], 0);
	assert_int_equal(f->set_time_ns[1], 0);
	unlock(w);
	close_file(n, true);
}

static void test_append_goes_to_the_end(void **state)
{
	struct world *w = *state;
	struct iovec iov = { (char[]){ "xyz" }, 3 };
	struct vfs_node *n;

	serve_file(w, "a", 7, 5000);
	n = open_file(w, "a", true);
	assert_int_equal(n->ops->write(n, &iov, 1, 0, VFS_APPEND | VFS_FUA), 0);
	assert_int_equal(size_of(n), 5003);
	lock(w);
	assert_memory_equal(fake_find(w->server, 0, "a")->durable + 5000, "xyz", 3);
	unlock(w);
	close_file(n, true);
}

static void test_an_object_has_one_node(void **state)
{
	struct world *w = *state;
	struct vfs_node *a, *b, *c;
	struct vfs_stat st;

	serve_file(w, "a", 7, 10);
	assert_int_equal(lookup(w, "a", &a), 0);
	assert_int_equal(lookup(w, "a", &b), 0);
	assert_ptr_equal(a, b);
	vfs_node_unref(b);
	assert_int_equal(a->ops->stat(a, &st), 0);
	vfs_node_unref(a);
	assert_int_equal(w->root->ops->by_object(w->root, st.fsid, st.object, &c), 0);
	assert_ptr_equal(a, c);
	assert_int_equal(w->root->ops->by_object(w->root, st.fsid, 999999, &b), -ESTALE);
	vfs_node_unref(c);
}

static void test_names_are_made_moved_and_removed(void **state)
{
	struct world *w = *state;
	const struct vfs_node_ops *ops = w->root->ops;
	struct vfs_new link = { .type = VFS_TYPE_SYMLINK, .target = "a/b", .target_len = 3 };
	struct vfs_node *d = create(w, "dir", VFS_TYPE_DIR), *f = create(w, "file", VFS_TYPE_FILE), *l, *up;
	char target[VFS_PATH_MAX];
	size_t len;

	assert_int_equal(ops->rename(w->root, "file", 4, d, "moved", 5, 0, NULL, NULL), 0);
	assert_int_equal(ops->lookup(w->root, "file", 4, &l), -ENOENT);
	assert_int_equal(ops->lookup(d, "moved", 5, &l), 0);
	assert_ptr_equal(l, f);
	vfs_node_unref(l);
	assert_int_equal(ops->create(d, "link", 4, &link, &l), 0);
	assert_int_equal(ops->read_link(l, target, &len), 0);
	assert_memory_equal(target, "a/b", 3);
	assert_int_equal(ops->parent(d, &up), 0);
	assert_ptr_equal(up, w->root);
	vfs_node_unref(up);
	assert_int_equal(ops->parent(w->root, &up), -ENOENT);
	assert_int_equal(ops->unlink(w->root, "dir", 3, true, NULL, NULL), -ENOTEMPTY);
	assert_int_equal(ops->unlink(w->root, "dir", 3, false, NULL, NULL), -EISDIR);
	assert_int_equal(ops->rename(d, "link", 4, d, "moved", 5, VFS_RENAME_NOREPLACE, NULL, NULL), -EEXIST);
	assert_int_equal(ops->unlink(d, "link", 4, false, NULL, NULL), 0);
	assert_int_equal(ops->unlink(d, "moved", 5, true, NULL, NULL), -ENOTDIR);
	assert_int_equal(ops->unlink(d, "moved", 5, false, NULL, NULL), 0);
	assert_int_equal(ops->unlink(w->root, "dir", 3, true, NULL, NULL), 0);
	vfs_node_unref(l);
	vfs_node_unref(f);
	vfs_node_unref(d);
}

static unsigned count_files(struct world *w)
{
	unsigned n = 0;

	lock(w);
	for (unsigned i = 1; i < FAKE_FILES; i++)
		n += w->server->files[i].type != 0;
	unlock(w);
	return n;
}

static void wait_until_files(struct world *w, unsigned count)
{
	uint64_t deadline = sync_now_ns() + 10 * SYNC_NS_PER_S;

	while (count_files(w) != count) {
		assert_true(sync_now_ns() < deadline);
		sync_sleep_ns(SYNC_NS_PER_MS);
	}
}

static void test_a_deleted_file_is_usable_until_it_is_closed(void **state)
{
	struct world *w = *state;
	struct vfs_node *n, *other;

	serve_file(w, "a", 7, 10000);
	serve_file(w, "b", 8, 100);
	n = open_file(w, "a", true);
	assert_int_equal(w->root->ops->unlink(w->root, "a", 1, false, NULL, NULL), 0);
	assert_int_equal(lookup(w, "a", &other), -ENOENT);
	check_bytes(n, 7, 10000, 0);
	assert_int_equal(write_at(n, 1, 10, 0), 0);
	assert_int_equal(n->ops->flush(n, 0), 0);
	close_file(n, true);
	wait_until_files(w, 1);
	/* One that is renamed over, too. */
	n = open_file(w, "b", false);
	vfs_node_unref(create(w, "c", VFS_TYPE_FILE));
	assert_int_equal(w->root->ops->rename(w->root, "c", 1, w->root, "b", 1, 0, NULL, NULL), 0);
	check_bytes(n, 8, 100, 0);
	close_file(n, false);
	wait_until_files(w, 1);
}

static void test_data_of_a_file_that_vanished_is_reported_lost(void **state)
{
	struct world *w = *state;
	struct vfs_node *n;
	struct fake_file *f = serve_file(w, "a", 7, 100);

	n = open_file(w, "a", true);
	assert_int_equal(write_at(n, 1, 10, 0), 0);
	lock(w);
	fake_remove(f);
	unlock(w);
	assert_int_equal(n->ops->flush(n, 0), -ESTALE);
	assert_int_equal(n->ops->flush(n, 0), -ESTALE);
	close_file(n, true);
}

struct names {
	unsigned count;
	char text[FAKE_FILES][32];
	uint64_t cookies[FAKE_FILES];
};

static bool on_name(void *ctx, const struct vfs_dirent *e)
{
	struct names *l = ctx;

	if (l->count == FAKE_FILES)
		return false;
	(void)snprintf(l->text[l->count], sizeof(l->text[0]), "%.*s", (int)e->name_len, e->name);
	l->cookies[l->count++] = e->cookie;
	return true;
}

static void test_listing_shows_each_name_once_and_goes_on_behind_a_cookie(void **state)
{
	struct world *w = *state;
	struct names all = { .count = 0 }, rest = { .count = 0 };
	char name[16];

	for (unsigned i = 0; i < 10; i++) {
		(void)snprintf(name, sizeof(name), "f%u", i);
		serve_file(w, name, 0, 0);
	}
	assert_int_equal(w->root->ops->readdir(w->root, 0, on_name, &all), 0);
	assert_int_equal(all.count, 10);
	for (unsigned i = 0; i < 10; i++) {
		(void)snprintf(name, sizeof(name), "f%u", i);
		assert_string_equal(all.text[i], name);
	}
	assert_int_equal(w->root->ops->readdir(w->root, all.cookies[6], on_name, &rest), 0);
	assert_int_equal(rest.count, 3);
	assert_string_equal(rest.text[0], "f7");
}

static void set_limits(struct world *w, uint32_t io_max, bool new_verifiers)
{
	lock(w);
	w->server->io_max = io_max;
	w->server->new_verifiers = new_verifiers;
	unlock(w);
}

static void test_server_that_does_less_than_asked_is_asked_for_the_rest(void **state)
{
	struct world *w = *state;
	struct fake_file *f = serve_file(w, "a", 7, 100001);
	struct vfs_node *n = open_file(w, "a", true);

	set_limits(w, 7777, false);
	check_bytes(n, 7, 100001, 0);
	assert_int_equal(write_at(n, 3, 90000, 5), 0);
	assert_int_equal(n->ops->flush(n, 0), 0);
	lock(w);
	assert_int_equal(f->durable[4], 7);
	for (unsigned i = 5; i < 90005; i++)
		assert_int_equal(f->durable[i], 3);
	assert_int_equal(f->durable[90005], 7);
	unlock(w);
	close_file(n, true);
}

static void test_server_that_restarts_all_the_time_is_an_error_and_the_data_stays(void **state)
{
	struct world *w = *state;
	struct vfs_node *n;

	serve_file(w, "a", 7, 10);
	n = open_file(w, "a", true);
	assert_int_equal(write_at(n, 1, 1000000, 0), 0);
	/* Each part of a write has another verifier than the one before: with each attempt one of them is committed. */
	set_limits(w, 0, true);
	assert_int_equal(n->ops->flush(n, 0), -EIO);
	check_bytes(n, 1, 1000000, 0);
	set_limits(w, 0, false);
	assert_int_equal(n->ops->flush(n, 0), 0);
	close_file(n, true);
}

static void test_server_that_says_later_is_asked_later(void **state)
{
	struct world *w = *state;
	struct vfs_node *n;

	lock(w);
	w->server->later = 1;
	unlock(w);
	n = create(w, "new", VFS_TYPE_FILE);
	assert_int_equal(calls(w, FAKE_CREATE), 2);
	vfs_node_unref(n);
}

static void test_files_are_made_where_nobody_may_give_them_away(void **state)
{
	struct world *w = *state;

	lock(w);
	w->server->no_owners = true;
	unlock(w);
	vfs_node_unref(create(w, "first", VFS_TYPE_FILE));
	assert_int_equal(calls(w, FAKE_CREATE), 2);
	vfs_node_unref(create(w, "second", VFS_TYPE_FILE));
	assert_int_equal(calls(w, FAKE_CREATE), 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH(test_file_of_the_server_is_read_through_the_cache),
		WITH(test_nowait_read_of_what_is_not_cached_returns_eagain),
		WITH(test_written_data_is_durable_after_a_flush),
		WITH(test_data_that_a_restarted_server_forgot_is_written_again),
		WITH(test_change_by_another_client_shows_at_the_next_open),
		WITH(test_dirty_data_survives_that_another_client_changed_the_file),
		WITH(test_own_writes_do_not_drop_the_cache),
		WITH(test_what_a_truncation_cut_off_reads_as_zeros),
		WITH(test_a_time_before_1970_becomes_1970),
		WITH(test_append_goes_to_the_end),
		WITH(test_an_object_has_one_node),
		WITH(test_names_are_made_moved_and_removed),
		WITH(test_a_deleted_file_is_usable_until_it_is_closed),
		WITH(test_data_of_a_file_that_vanished_is_reported_lost),
		WITH(test_listing_shows_each_name_once_and_goes_on_behind_a_cookie),
		WITH(test_server_that_does_less_than_asked_is_asked_for_the_rest),
		WITH(test_server_that_restarts_all_the_time_is_an_error_and_the_data_stays),
		WITH(test_server_that_says_later_is_asked_later),
		WITH(test_files_are_made_where_nobody_may_give_them_away),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
