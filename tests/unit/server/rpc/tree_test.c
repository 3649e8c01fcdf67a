/* SPDX-License-Identifier: BSD-3-Clause */
/* File trees through the whole way: libwfs, the protocol, the server, the VFS, a file system in memory. */
#include "tests/unit/server/rpc/tree_fixture.h"

static void put(struct tree_fixture *t, const struct wfs_fh *dir, const char *name, const char *text)
{
	struct wfs_batch *b;

	assert_int_equal(wfs_batch_new(t->w, &b), 0);
	wfs_batch_put(b, dir);
	wfs_batch_put_file(b, name, 0644, 0, text, (uint32_t)strlen(text), NULL);
	assert_int_equal(wfs_batch_run(b, NULL, NULL), 0);
	wfs_batch_free(b);
}

static void test_a_file_is_created_written_read_and_removed(void **state)
{
	struct tree_fixture *t = *state;
	struct wfs_attr attr;
	struct wfs_file *f;
	struct wfs_fh fh, found;
	char buf[64];
	int created;
	size_t len;

	assert_int_equal(wfs_create(t->w, NULL, &t->root, "file", 0640, WFS_CREATE_EXCLUSIVE,
	                            WFS_ACCESS_READ | WFS_ACCESS_WRITE, &f, &fh, &attr, &created),
	                 0);
	assert_true(created);
	assert_int_equal(attr.type, WFS_TYPE_FILE);
	assert_int_equal(attr.mode, 0640);
	assert_int_equal(attr.uid, geteuid());
	assert_int_equal(attr.size_bytes, 0);
	assert_int_equal(wfs_pwrite(f, "hello world", 11, 5000, 0), 0);
	assert_int_equal(wfs_flush(f), 0);
	assert_true(t->tree->fs.flushes > 0);
	assert_int_equal(wfs_pread_some(f, buf, sizeof(buf), 5006, &len), 0);
	assert_int_equal(len, 5);
	assert_memory_equal(buf, "world", 5);
	assert_int_equal(wfs_pread_some(f, buf, sizeof(buf), 6000, &len), 0);
	assert_int_equal(len, 0);
	assert_int_equal(wfs_pread(f, buf, 12, 5000), -EINVAL);
	wfs_close(f);
	assert_int_equal(wfs_lookup(t->w, NULL, &t->root, "file", &found, &attr), 0);
	assert_int_equal(attr.size_bytes, 5011);
	assert_int_equal(found.len_bytes, fh.len_bytes);
	assert_memory_equal(found.bytes, fh.bytes, fh.len_bytes);
	assert_int_equal(wfs_create(t->w, NULL, &t->root, "file", 0640, WFS_CREATE_EXCLUSIVE, WFS_ACCESS_READ, &f, &fh,
	                            &attr, &created),
	                 -EEXIST);
	assert_int_equal(wfs_create(t->w, NULL, &t->root, "file", 0640, WFS_CREATE_TRUNCATE, WFS_ACCESS_WRITE, &f, &fh,
	                            &attr, &created),
	                 0);
	assert_false(created);
	assert_int_equal(attr.size_bytes, 0);
	assert_int_equal(wfs_pread_some(f, buf, 1, 0, &len), -EBADF);
	wfs_close(f);
	assert_int_equal(wfs_unlink(t->w, NULL, &t->root, "file", 1), -ENOTDIR);
	assert_int_equal(wfs_unlink(t->w, NULL, &t->root, "file", 0), 0);
	assert_int_equal(wfs_lookup(t->w, NULL, &t->root, "file", &found, NULL), -ENOENT);
	assert_int_equal(wfs_getattr(t->w, NULL, &fh, &attr), -ESTALE);
}

static void test_large_data_comes_through_descriptors_in_shared_memory_and_through_the_socket(void **state)
{
	struct tree_fixture *t = *state;
	struct wfs_options plain = { .no_shared_memory = 1 };
	const size_t size = 3u << 20;
	uint8_t *data = malloc(size), *back = malloc(size + 10);
	struct wfs_file *f;
	struct wfs_fh fh;
	struct wfs *w;
	size_t len;

	for (size_t i = 0; i < size; i++)
		data[i] = (uint8_t)(i * 31 + i / 4099);
	assert_int_equal(wfs_connect(t->f->address, &plain, &w), 0);
	assert_int_equal(wfs_create(t->w, NULL, &t->root, "big", 0644, 0, WFS_ACCESS_READ | WFS_ACCESS_WRITE, &f, &fh,
	                            NULL, NULL),
	                 0);
	assert_int_equal(wfs_pwrite(f, data, size / 2, 0, 0), 0);
	for (size_t at = size / 2; at < size; at += 65536)
		assert_int_equal(wfs_pwrite(f, data + at, 65536, at, 0), 0);
	assert_int_equal(wfs_pread_some(f, back, size + 10, 0, &len), 0);
	assert_int_equal(len, size);
	assert_memory_equal(back, data, size);
	for (size_t at = 0; at < size; at += 65536) {
		assert_int_equal(wfs_pread_some(f, back, 65536 + 5, at, &len), 0);
		assert_int_equal(len, at + 65536 == size ? 65536 : 65541);
		assert_memory_equal(back, data + at, len);
	}
	wfs_close(f);
	assert_int_equal(wfs_open_fh(w, NULL, &fh, WFS_ACCESS_READ, &f), 0);
	assert_int_equal(wfs_pread_some(f, back, size + 10, 0, &len), 0);
	assert_int_equal(len, size);
	assert_memory_equal(back, data, size);
	wfs_close(f);
	wfs_disconnect(w);
	free(data);
	free(back);
}

struct names {
	char text[4096];
	unsigned count;
	uint64_t last;
	bool all_attr, all_fh;
};

static int add_name(void *ctx, const struct wfs_dirent *e)
{
	struct names *n = ctx;

	snprintf(n->text + strlen(n->text), sizeof(n->text) - strlen(n->text), "%.*s ", (int)e->name_len, e->name);
	n->count++;
	n->last = e->cookie;
	n->all_attr = n->all_attr && e->attr;
	n->all_fh = n->all_fh && e->fh;
	return 1;
}

static void test_directories_are_listed_in_pieces_with_attributes_and_handles(void **state)
{
	struct tree_fixture *t = *state;
	struct names n = { .all_attr = true, .all_fh = true };
	unsigned rounds = 0;
	struct wfs_fh dir;
	char name[16];
	int eof = 0;

	assert_int_equal(
	        wfs_make(t->w, NULL, &t->root, "dir", &(struct wfs_new){ WFS_TYPE_DIR, 0755, 0, NULL }, &dir, NULL), 0);
	for (int i = 0; i < 40; i++) {
		snprintf(name, sizeof(name), "f%02d", i);
		put(t, &dir, name, name);
	}
	while (!eof) {
		assert_int_equal(wfs_readdir(t->w, NULL, &dir, n.last, WFS_READDIR_ATTR | WFS_READDIR_FH, 1024,
		                             add_name, &n, &eof),
		                 0);
		rounds++;
	}
	assert_int_equal(n.count, 40);
	assert_true(n.all_attr && n.all_fh);
	assert_true(rounds > 5);
	assert_memory_equal(n.text, "f00 f01 f02", 11);
	assert_int_equal(wfs_unlink(t->w, NULL, &t->root, "dir", 1), -ENOTEMPTY);
	assert_int_equal(wfs_readdir(t->w, NULL, &t->root, 0, 0, 0, add_name, &n, &eof), 0);
	assert_true(eof);
}

static void test_links_names_and_attributes(void **state)
{
	struct wfs_set_attr set = { .valid = WFS_SET_MODE | WFS_SET_MTIME, .mode = 0600, .mtime_ns = 12345 };
	struct tree_fixture *t = *state;
	char target[WFS_PATH_BYTES_MAX + 1];
	struct wfs_attr attr;
	struct wfs_fh a, link, sub;

	put(t, &t->root, "a", "text");
	assert_int_equal(wfs_lookup(t->w, NULL, &t->root, "a", &a, NULL), 0);
	assert_int_equal(wfs_lookup(t->w, NULL, &t->root, "sub", &sub, NULL), 0);
	assert_int_equal(wfs_link(t->w, NULL, &sub, "b", &a), 0);
	assert_int_equal(wfs_setattr(t->w, NULL, &a, &set, &attr), 0);
	assert_int_equal(attr.mode, 0600);
	assert_int_equal(attr.mtime_ns, 12345);
	assert_int_equal(attr.link_count, 2);
	assert_int_equal(wfs_make(t->w, NULL, &t->root, "s", &(struct wfs_new){ WFS_TYPE_SYMLINK, 0777, 0, "sub/b" },
	                          &link, &attr),
	                 0);
	assert_int_equal(attr.type, WFS_TYPE_SYMLINK);
	assert_int_equal(wfs_read_link(t->w, NULL, &link, target), 0);
	assert_string_equal(target, "sub/b");
	assert_int_equal(wfs_read_link(t->w, NULL, &a, target), -EINVAL);
	assert_int_equal(wfs_lookup_path(t->w, NULL, &t->root, "sub/../s", 1, &link, &attr), 0);
	assert_memory_equal(&link, &a, sizeof(uint32_t) + a.len_bytes);
	assert_int_equal(wfs_lookup_path(t->w, NULL, &t->root, "/sub/b", 0, &link, &attr), 0);
	assert_int_equal(wfs_rename(t->w, NULL, &t->root, "a", &sub, "c", WFS_RENAME_NOREPLACE), 0);
	assert_int_equal(wfs_rename(t->w, NULL, &sub, "b", &sub, "c", WFS_RENAME_NOREPLACE), -EEXIST);
	assert_int_equal(wfs_rename(t->w, NULL, &sub, "none", &sub, "c", 0), -ENOENT);
	assert_int_equal(wfs_unlink(t->w, NULL, &sub, "b", 0), 0);
	assert_int_equal(wfs_getattr(t->w, NULL, &a, &attr), 0);
	assert_int_equal(attr.link_count, 1);
}

static void count_name(void *ctx, const char *name, size_t len)
{
	(void)name;
	*(size_t *)ctx += len;
}

static void test_extended_attributes_figures_access_and_seeks(void **state)
{
	struct tree_fixture *t = *state;
	struct wfs_statfs st;
	char value[64];
	struct wfs_fh a;
	unsigned access;
	uint64_t at;
	size_t len = 0;

	put(t, &t->root, "a", "text");
	assert_int_equal(wfs_lookup(t->w, NULL, &t->root, "a", &a, NULL), 0);
	assert_int_equal(wfs_set_xattr(t->w, NULL, &a, "user.colour", "green", 5, WFS_XATTR_CREATE), 0);
	assert_int_equal(wfs_set_xattr(t->w, NULL, &a, "user.colour", "red", 3, WFS_XATTR_CREATE), -EEXIST);
	assert_int_equal(wfs_get_xattr(t->w, NULL, &a, "user.colour", NULL, 0, &len), 0);
	assert_int_equal(len, 5);
	assert_int_equal(wfs_get_xattr(t->w, NULL, &a, "user.colour", value, 3, &len), -ERANGE);
	assert_int_equal(wfs_get_xattr(t->w, NULL, &a, "user.colour", value, sizeof(value), &len), 0);
	assert_memory_equal(value, "green", 5);
	len = 0;
	assert_int_equal(wfs_list_xattr(t->w, NULL, &a, count_name, &len), 0);
	assert_int_equal(len, 11);
	assert_int_equal(wfs_remove_xattr(t->w, NULL, &a, "user.colour"), 0);
	assert_int_equal(wfs_get_xattr(t->w, NULL, &a, "user.colour", value, sizeof(value), &len), -ENODATA);
	assert_int_equal(wfs_statfs(t->w, NULL, &a, &st), 0);
	assert_int_equal(st.available_bytes, 1u << 28);
	assert_int_equal(wfs_access(t->w, NULL, &a, WFS_ACCESS_READ | WFS_ACCESS_WRITE, &access), 0);
	assert_int_equal(access, WFS_ACCESS_READ | WFS_ACCESS_WRITE);
	assert_int_equal(wfs_allocate(t->w, NULL, &a, WFS_ALLOCATE_ZERO, 4096, 8192), 0);
	/* What this file system cannot do. */
	assert_int_equal(wfs_allocate(t->w, NULL, &a, WFS_ALLOCATE_COLLAPSE, 0, 4096), -EOPNOTSUPP);
	assert_int_equal(wfs_allocate(t->w, NULL, &a, 3, 0, 4096), -EOPNOTSUPP);
	assert_int_equal(wfs_seek(t->w, NULL, &a, 10, WFS_SEEK_HOLE, &at), 0);
	assert_int_equal(at, 4096);
	assert_int_equal(wfs_seek(t->w, NULL, &a, 10, WFS_SEEK_DATA, &at), 0);
	assert_int_equal(at, 10);
	assert_int_equal(wfs_seek(t->w, NULL, &a, 5000, WFS_SEEK_DATA, &at), -ENXIO);
	assert_int_equal(wfs_sync(t->w, NULL, &t->root), 0);
}

static void test_ranges_of_files_are_made_durable_and_nothing_else_has_any(void **state)
{
	struct tree_fixture *t = *state;
	struct wfs_new fifo = { .type = WFS_TYPE_FIFO, .mode = 0600 };
	struct wfs_batch *batch;
	uint64_t flushes;
	struct wfs_fh a, pipe;

	put(t, &t->root, "a", "text");
	assert_int_equal(wfs_lookup(t->w, NULL, &t->root, "a", &a, NULL), 0);
	assert_int_equal(wfs_make(t->w, NULL, &t->root, "p", &fifo, &pipe, NULL), 0);
	flushes = t->tree->fs.flushes;
	assert_int_equal(wfs_sync_range(t->w, NULL, &a, 1, 2), 0);
	assert_int_equal(wfs_sync_range(t->w, NULL, &a, 0, 0), 0);
	assert_int_equal(wfs_sync_range(t->w, NULL, &a, UINT64_MAX - 5, 5), 0);
	assert_int_equal(t->tree->fs.flushes, flushes + 3);
	assert_int_equal(wfs_sync_range(t->w, NULL, &a, UINT64_MAX - 5, 6), -EINVAL);
	assert_int_equal(wfs_sync_range(t->w, NULL, &t->root, 0, 0), -EISDIR);
	assert_int_equal(wfs_sync_range(t->w, NULL, &pipe, 0, 0), -EINVAL);
	assert_int_equal(wfs_batch_new(t->w, &batch), 0);
	assert_int_equal(wfs_batch_put(batch, &a), 0);
	assert_int_equal(wfs_batch_write(batch, "more", 4, 4, 0), 1);
	assert_int_equal(wfs_batch_sync_range(batch, 4, 4), 2);
	assert_int_equal(wfs_batch_run(batch, NULL, NULL), 0);
	wfs_batch_free(batch);
	assert_int_equal(wfs_unlink(t->w, NULL, &t->root, "a", 0), 0);
	assert_int_equal(wfs_sync_range(t->w, NULL, &a, 0, 0), -ESTALE);
	assert_int_equal(t->tree->fs.flushes, flushes + 4);
}

static void test_copies_are_made_by_the_server(void **state)
{
	struct tree_fixture *t = *state;
	struct wfs_batch *batch;
	struct wfs_fh a, b;
	struct wfs_attr attr;
	uint64_t len;

	put(t, &t->root, "a", "0123456789");
	put(t, &t->root, "b", "");
	assert_int_equal(wfs_lookup(t->w, NULL, &t->root, "a", &a, NULL), 0);
	assert_int_equal(wfs_lookup(t->w, NULL, &t->root, "b", &b, NULL), 0);
	assert_int_equal(wfs_copy(t->w, NULL, &a, 2, &b, 100, 1000, &len), 0);
	assert_int_equal(len, 8);
	assert_int_equal(wfs_getattr(t->w, NULL, &b, &attr), 0);
	assert_int_equal(attr.size_bytes, 108);
	assert_int_equal(wfs_copy(t->w, NULL, &a, 0, &a, 5, 6, &len), -EINVAL);
	assert_int_equal(wfs_batch_new(t->w, &batch), 0);
	wfs_batch_put(batch, &a);
	wfs_batch_save(batch);
	wfs_batch_copy(batch, 0, 20, 10, &len);
	wfs_batch_getattr(batch, &attr);
	assert_int_equal(wfs_batch_run(batch, NULL, NULL), 0);
	assert_int_equal(attr.size_bytes, 30);
	wfs_batch_free(batch);
	assert_int_equal(wfs_copy(t->w, NULL, &a, UINT64_MAX - 1, &b, 0, 100, &len), -EINVAL);
}

static void test_locks_of_two_clients_exclude_each_other_and_go_with_their_owner(void **state)
{
	struct tree_fixture *t = *state;
	struct wfs_lock lock = { .owner = 1, .type = WFS_LOCK_EXCLUSIVE, .offset = 0, .len_bytes = 100 }, other;
	struct wfs *w;
	struct wfs_fh a;

	put(t, &t->root, "a", "0123456789");
	assert_int_equal(wfs_lookup(t->w, NULL, &t->root, "a", &a, NULL), 0);
	assert_int_equal(wfs_connect(t->f->address, NULL, &w), 0);
	assert_int_equal(wfs_lock(t->w, NULL, &a, &lock), 0);
	assert_int_equal(wfs_lock(w, NULL, &a, &lock), -EAGAIN);
	assert_int_equal(wfs_lock_test(w, NULL, &a, &lock, &other), 0);
	assert_int_equal(other.type, WFS_LOCK_EXCLUSIVE);
	assert_int_equal(other.len_bytes, 100);
	/* Ranges that are none are refused alike, and give nothing up. */
	for (unsigned i = 0; i < 3; i++) {
		struct wfs_lock odd = {
			.owner = 1, .offset = UINT64_MAX - 1, .len_bytes = 4, .type = (enum wfs_lock_type)i
		};

		assert_int_equal(wfs_lock(t->w, NULL, &a, &odd), -EINVAL);
		odd = (struct wfs_lock){ .owner = 1, .offset = 0, .len_bytes = 0, .type = (enum wfs_lock_type)i };
		assert_int_equal(wfs_lock(t->w, NULL, &a, &odd), -EINVAL);
	}
	assert_int_equal(wfs_lock(w, NULL, &a, &lock), -EAGAIN);
	lock.type = WFS_LOCK_NONE;
	assert_int_equal(wfs_lock(t->w, NULL, &a, &lock), 0);
	lock.type = WFS_LOCK_SHARED;
	assert_int_equal(wfs_lock(w, NULL, &a, &lock), 0);
	assert_int_equal(wfs_lock(t->w, NULL, &a, &lock), 0);
	assert_int_equal(wfs_lock_test(w, NULL, &a, &lock, &other), 0);
	assert_int_equal(other.type, WFS_LOCK_NONE);
	lock.len_bytes = 0;
	assert_int_equal(wfs_lock(w, NULL, &a, &lock), -EINVAL);
	wfs_disconnect(w);
}

static void test_owners_of_locks_are_bounded_and_made_by_locks_only(void **state)
{
	struct wfs_lock lock = { .type = WFS_LOCK_EXCLUSIVE, .len_bytes = 100 }, other;
	struct tree_fixture *t = *state;
	struct wfs_fh a;
	int err = 0;

	put(t, &t->root, "a", "0123456789");
	assert_int_equal(wfs_lookup(t->w, NULL, &t->root, "a", &a, NULL), 0);
	for (lock.owner = 1; !err && lock.owner < 20000; lock.owner++) {
		lock.type = WFS_LOCK_EXCLUSIVE;
		err = wfs_lock(t->w, NULL, &a, &lock);
		lock.type = WFS_LOCK_NONE;
		if (!err)
			assert_int_equal(wfs_lock(t->w, NULL, &a, &lock), 0);
	}
	assert_int_equal(err, -ENOLCK);
	/* Those who hold nothing may ask all the same, and those who are known may lock. */
	lock.owner = 1000000;
	assert_int_equal(wfs_lock(t->w, NULL, &a, &lock), 0);
	lock.type = WFS_LOCK_EXCLUSIVE;
	assert_int_equal(wfs_lock_test(t->w, NULL, &a, &lock, &other), 0);
	assert_int_equal(other.type, WFS_LOCK_NONE);
	lock.owner = 1;
	assert_int_equal(wfs_lock(t->w, NULL, &a, &lock), 0);
	lock.owner = 1000000;
	assert_int_equal(wfs_lock_test(t->w, NULL, &a, &lock, &other), 0);
	assert_int_equal(other.type, WFS_LOCK_EXCLUSIVE);
}

static void test_a_batch_ends_with_its_first_error_and_tells_what_is_done(void **state)
{
	struct tree_fixture *t = *state;
	struct wfs_attr attr = { 0 };
	struct wfs_batch *b;
	unsigned done;

	assert_int_equal(wfs_batch_new(t->w, &b), 0);
	wfs_batch_put(b, &t->root);
	wfs_batch_put_file(b, "one", 0644, 0, "1", 1, &attr);
	assert_int_equal(wfs_batch_result(b, 0), 2);
	wfs_batch_lookup(b, "none");
	wfs_batch_put_file(b, "two", 0644, 0, "2", 1, NULL);
	assert_int_equal(wfs_batch_run(b, NULL, &done), -ENOENT);
	assert_int_equal(done, 3);
	assert_int_equal(attr.size_bytes, 1);
	assert_int_equal(t->tree->creates, 1);
	wfs_batch_clear(b);
	for (int i = 0; i < 128; i++)
		assert_int_equal(wfs_batch_put(b, &t->root), i);
	assert_int_equal(wfs_batch_put(b, &t->root), -E2BIG);
	assert_int_equal(wfs_batch_run(b, NULL, &done), -E2BIG);
	wfs_batch_free(b);
}

static void test_a_guard_stops_what_was_decided_on_an_older_state(void **state)
{
	struct tree_fixture *t = *state;
	struct wfs_attr attr;
	struct wfs_batch *b;
	struct wfs_fh a;

	put(t, &t->root, "a", "1");
	assert_int_equal(wfs_lookup(t->w, NULL, &t->root, "a", &a, &attr), 0);
	assert_int_equal(wfs_batch_new(t->w, &b), 0);
	for (int i = 0; i < 2; i++) {
		wfs_batch_clear(b);
		wfs_batch_put(b, &a);
		wfs_batch_guard(b, attr.change);
		wfs_batch_write(b, "more", 4, 0, WFS_APPEND);
		assert_int_equal(wfs_batch_run(b, NULL, NULL), i ? -EREMCHG : 0);
	}
	wfs_batch_free(b);
	assert_int_equal(wfs_getattr(t->w, NULL, &a, &attr), 0);
	assert_int_equal(attr.size_bytes, 5);
}

static void test_many_small_files_are_written_and_read_in_two_round_trips(void **state)
{
	struct tree_fixture *t = *state;
	static char text[60][16], back[60][16];
	size_t lens[60];
	int eof[60];
	struct wfs_batch *b;

	assert_int_equal(wfs_batch_new(t->w, &b), 0);
	wfs_batch_put(b, &t->root);
	for (int i = 0; i < 60; i++) {
		snprintf(text[i], sizeof(text[i]), "n%d", i);
		wfs_batch_result(b, 0);
		wfs_batch_put_file(b, text[i], 0644, WFS_CREATE_EXCLUSIVE, text[i], (uint32_t)strlen(text[i]), NULL);
	}
	assert_int_equal(wfs_batch_run(b, NULL, NULL), 0);
	wfs_batch_clear(b);
	wfs_batch_put(b, &t->root);
	for (int i = 0; i < 40; i++) {
		wfs_batch_result(b, 0);
		wfs_batch_lookup(b, text[i]);
		wfs_batch_get_file(b, back[i], sizeof(back[i]), &lens[i], NULL, &eof[i]);
	}
	assert_int_equal(wfs_batch_run(b, NULL, NULL), 0);
	for (int i = 0; i < 40; i++) {
		assert_true(eof[i]);
		assert_int_equal(lens[i], strlen(text[i]));
		assert_memory_equal(back[i], text[i], lens[i]);
	}
	wfs_batch_free(b);
}

static void test_a_read_only_export_changes_nothing(void **state)
{
	struct tree_fixture *t = *state;
	struct wfs_set_attr set = { .valid = WFS_SET_MODE };
	struct wfs_attr attr;
	struct wfs_file *f;
	unsigned access;
	struct wfs_fh root, a;

	put(t, &t->root, "a", "text");
	assert_int_equal(wfs_attach(t->w, NULL, "tree-ro", &root, &attr), 0);
	assert_true(attr.read_only);
	assert_int_equal(wfs_lookup(t->w, NULL, &root, "a", &a, NULL), 0);
	assert_int_equal(wfs_setattr(t->w, NULL, &a, &set, NULL), -EROFS);
	assert_int_equal(wfs_unlink(t->w, NULL, &root, "a", 0), -EROFS);
	assert_int_equal(wfs_set_xattr(t->w, NULL, &a, "user.x", "1", 1, 0), -EROFS);
	assert_int_equal(wfs_open_fh(t->w, NULL, &a, WFS_ACCESS_WRITE, &f), -EROFS);
	assert_int_equal(wfs_access(t->w, NULL, &a, WFS_ACCESS_READ | WFS_ACCESS_WRITE, &access), 0);
	assert_int_equal(access, WFS_ACCESS_READ);
	assert_int_equal(wfs_open_fh(t->w, NULL, &a, WFS_ACCESS_READ, &f), 0);
	wfs_close(f);
	/* Nor is there a way from one export into another. */
	assert_int_equal(wfs_link(t->w, NULL, &t->root, "b", &a), -EXDEV);
	assert_int_equal(wfs_rename(t->w, NULL, &t->root, "a", &root, "b", 0), -EROFS);
}

static void test_nothing_above_an_export_is_reached(void **state)
{
	struct tree_fixture *t = *state;
	struct wfs_attr top, attr;
	struct wfs_fh root, fh;

	put(t, &t->root, "secret", "text");
	assert_int_equal(wfs_attach(t->w, NULL, "below", &root, &top), 0);
	assert_int_equal(wfs_lookup(t->w, NULL, &root, "..", &fh, &attr), 0);
	assert_int_equal(attr.file_id, top.file_id);
	assert_int_equal(wfs_lookup_path(t->w, NULL, &root, "../../secret", 1, &fh, NULL), -ENOENT);
	assert_int_equal(wfs_lookup_path(t->w, NULL, &root, "/..", 1, &fh, &attr), 0);
	assert_int_equal(attr.file_id, top.file_id);
	assert_int_equal(wfs_make(t->w, NULL, &root, "out", &(struct wfs_new){ WFS_TYPE_SYMLINK, 0777, 0, "../secret" },
	                          &fh, NULL),
	                 0);
	assert_int_equal(wfs_lookup_path(t->w, NULL, &root, "out", 1, &fh, NULL), -ENOENT);
}

static void test_what_was_moved_out_of_an_export_leads_nowhere_above(void **state)
{
	struct wfs_new folder = { WFS_TYPE_DIR, 0755, 0, NULL };
	struct tree_fixture *t = *state;
	struct wfs_fh root, sub, moved, inner, fh;
	struct wfs_attr attr, top;

	assert_int_equal(wfs_attach(t->w, NULL, "below", &root, &top), 0);
	assert_int_equal(wfs_make(t->w, NULL, &root, "x", &folder, &moved, NULL), 0);
	assert_int_equal(wfs_make(t->w, NULL, &moved, "y", &folder, &inner, NULL), 0);
	assert_int_equal(wfs_lookup(t->w, NULL, &moved, "..", &fh, &attr), 0);
	assert_int_equal(attr.file_id, top.file_id);
	assert_int_equal(wfs_lookup_path(t->w, NULL, &inner, "../../../..", 0, &fh, &attr), 0);
	assert_int_equal(attr.file_id, top.file_id);
	assert_int_equal(wfs_lookup(t->w, NULL, &t->root, "sub", &sub, NULL), 0);
	assert_int_equal(wfs_rename(t->w, NULL, &sub, "x", &t->root, "x", 0), 0);
	/* By itself it is as good as before, and what is below it, too. */
	assert_int_equal(wfs_getattr(t->w, NULL, &moved, &attr), 0);
	assert_int_equal(wfs_lookup(t->w, NULL, &moved, "y", &fh, NULL), 0);
	assert_int_equal(wfs_lookup(t->w, NULL, &moved, "..", &fh, NULL), -ESTALE);
	assert_int_equal(wfs_lookup(t->w, NULL, &inner, "..", &fh, NULL), -ESTALE);
	assert_int_equal(wfs_lookup_path(t->w, NULL, &moved, "../sub", 0, &fh, NULL), -ESTALE);
	assert_int_equal(wfs_lookup_path(t->w, NULL, &inner, "../..", 0, &fh, NULL), -ESTALE);
	/* Back again, all is as it was. */
	assert_int_equal(wfs_rename(t->w, NULL, &t->root, "x", &sub, "z", 0), 0);
	assert_int_equal(wfs_lookup_path(t->w, NULL, &inner, "../..", 0, &fh, &attr), 0);
	assert_int_equal(attr.file_id, top.file_id);
}

static void test_exports_and_trees_are_told_apart(void **state)
{
	struct tree_fixture *t = *state;
	struct wfs_file *f;
	struct wfs_fh fh;

	assert_int_equal(wfs_attach(t->w, NULL, "mem", &fh, NULL), -ENOTDIR);
	assert_int_equal(wfs_attach(t->w, NULL, "none", &fh, NULL), -ENOENT);
	assert_int_equal(wfs_open(t->w, "tree", 0, &f), -EISDIR);
}

static int count_with_attr(void *ctx, const struct wfs_dirent *e)
{
	*(unsigned *)ctx += e->attr != NULL;
	return 1;
}

/* Wherever the loop has to leave a compound to a worker, nothing is done twice, or not at all. */
static void test_a_compound_goes_on_where_its_loop_had_to_stop(void **state)
{
	struct tree_fixture *t = *state;
	struct wfs_batch *b;

	assert_int_equal(wfs_batch_new(t->w, &b), 0);
	for (unsigned stop = 1; stop < 20; stop++) {
		unsigned done = 0, listed = 0;
		struct wfs_attr put, got;
		char back[16] = "";
		size_t len = 0;
		int eof;

		t->tree->creates = t->tree->rooms_taken = 0;
		__atomic_store_n(&t->tree->nowait_until, stop, __ATOMIC_RELAXED);
		wfs_batch_clear(b);
		(void)wfs_batch_put(b, &t->root);
		(void)wfs_batch_put_file(b, "one", 0644, WFS_CREATE_EXCLUSIVE, "first", 5, &put);
		(void)wfs_batch_put(b, &t->root);
		(void)wfs_batch_lookup(b, "one");
		(void)wfs_batch_get_file(b, back, sizeof(back), &len, &got, &eof);
		(void)wfs_batch_put(b, &t->root);
		(void)wfs_batch_readdir(b, 0, WFS_READDIR_ATTR, 4096, count_with_attr, &listed, &eof);
		(void)wfs_batch_put_file(b, "one", 0644, 0, "second", 6, &put);
		(void)wfs_batch_put(b, &t->root);
		(void)wfs_batch_unlink(b, "one", false);
		(void)wfs_batch_lookup(b, "one");
		assert_int_equal(wfs_batch_run(b, NULL, &done), -ENOENT);
		assert_int_equal(done, 10);
		assert_int_equal(t->tree->creates, 1);
		assert_int_equal(len, 5);
		assert_memory_equal(back, "first", 5);
		assert_int_equal(listed, 2); /* and "sub" */
		assert_int_equal(put.size_bytes, 6);
		/* Room for each file's data is taken once, also when a worker goes on, and given back. */
		assert_int_equal(t->tree->rooms_taken, 2);
		assert_int_equal(t->tree->rooms, 0);
	}
	wfs_batch_free(b);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, tree_setup, tree_teardown)
	const struct CMUnitTest tests[] = {
		T(test_a_file_is_created_written_read_and_removed),
		T(test_large_data_comes_through_descriptors_in_shared_memory_and_through_the_socket),
		T(test_directories_are_listed_in_pieces_with_attributes_and_handles),
		T(test_links_names_and_attributes),
		T(test_extended_attributes_figures_access_and_seeks),
		T(test_ranges_of_files_are_made_durable_and_nothing_else_has_any),
		T(test_copies_are_made_by_the_server),
		T(test_locks_of_two_clients_exclude_each_other_and_go_with_their_owner),
		T(test_owners_of_locks_are_bounded_and_made_by_locks_only),
		T(test_a_batch_ends_with_its_first_error_and_tells_what_is_done),
		T(test_a_guard_stops_what_was_decided_on_an_older_state),
		T(test_many_small_files_are_written_and_read_in_two_round_trips),
		T(test_a_read_only_export_changes_nothing),
		T(test_nothing_above_an_export_is_reached),
		T(test_what_was_moved_out_of_an_export_leads_nowhere_above),
		T(test_exports_and_trees_are_told_apart),
		T(test_a_compound_goes_on_where_its_loop_had_to_stop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
