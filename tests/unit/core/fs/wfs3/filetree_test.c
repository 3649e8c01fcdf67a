/* SPDX-License-Identifier: BSD-3-Clause */
/* File trees: names, attributes, links, what is removed, data; also after a restart. */
#include "tests/unit/core/fs/wfs3/filetree_fixture.h"

static void test_new_tree_is_an_empty_directory(void **state)
{
	struct tree_fixture t;
	struct vfs_node *up;
	struct vfs_stat st;

	(void)state;
	tree_init(&t, 64 * MIB);
	st = node_stat(t.top);
	assert_int_equal(st.type, VFS_TYPE_DIR);
	assert_int_equal(st.object, 1);
	assert_int_equal(st.link_count, 2);
	assert_int_equal(lookup_error(t.top, "a"), -ENOENT);
	assert_ok(t.top->ops->parent(t.top, &up));
	assert_ptr_equal(up, &t.pool->dir);
	vfs_node_unref(up);
	tree_done(&t);
}

static void test_created_objects_are_found_with_their_attributes_also_after_a_restart(void **state)
{
	static const enum vfs_type types[] = { VFS_TYPE_FILE, VFS_TYPE_DIR,   VFS_TYPE_FIFO,
		                               VFS_TYPE_CHAR, VFS_TYPE_BLOCK, VFS_TYPE_SOCKET };
	struct tree_fixture t;

	(void)state;
	tree_init(&t, 64 * MIB);
	for (unsigned i = 0; i < 6; i++) {
		struct vfs_new attr = {
			.type = types[i], .mode = 04711, .uid = 1000 + i, .gid = 5, .rdev = 0x800000001
		};
		struct vfs_node *n;
		char name[2] = { (char)('a' + i), 0 };

		assert_ok(t.top->ops->create(t.top, name, 1, &attr, &n));
		vfs_node_unref(n);
		assert_int_equal(t.top->ops->create(t.top, name, 1, &attr, &n), -EEXIST);
	}
	for (unsigned round = 0; round < 2; round++) {
		for (unsigned i = 0; i < 6; i++) {
			char name[2] = { (char)('a' + i), 0 };
			struct vfs_node *n = node_at(t.top, name);
			struct vfs_stat st = node_stat(n);
			bool device = types[i] == VFS_TYPE_CHAR || types[i] == VFS_TYPE_BLOCK;

			assert_int_equal(st.type, types[i]);
			assert_int_equal(n->type, types[i]);
			assert_int_equal(st.mode, 04711);
			assert_int_equal(st.uid, 1000 + i);
			assert_int_equal(st.link_count, types[i] == VFS_TYPE_DIR ? 2 : 1);
			assert_int_equal(st.rdev, device ? 0x800000001 : 0);
			vfs_node_unref(n);
		}
		assert_int_equal(node_stat(t.top).link_count, 3);
		assert_int_equal(node_stat(t.top).size_bytes, 6);
		tree_restart(&t);
	}
	tree_done(&t);
}

static void test_symbolic_links_of_any_length_are_read_back(void **state)
{
	static const size_t lens[] = { 1, 3999, 4000, 4001, 4095 };
	static char target[VFS_PATH_MAX], got[VFS_PATH_MAX];
	struct tree_fixture t;

	(void)state;
	tree_init(&t, 64 * MIB);
	memset(target, 'x', sizeof(target));
	for (unsigned i = 0; i < 5; i++) {
		struct vfs_new attr = {
			.type = VFS_TYPE_SYMLINK, .mode = 0777, .target = target, .target_len = lens[i]
		};
		struct vfs_node *n;
		size_t len;
		char name[2] = { (char)('a' + i), 0 };

		assert_ok(t.top->ops->create(t.top, name, 1, &attr, &n));
		assert_ok(n->ops->read_link(n, got, &len));
		assert_int_equal(len, lens[i]);
		assert_memory_equal(got, target, len);
		vfs_node_unref(n);
		if (i % 2)
			assert_ok(remove_name(t.top, name, false));
	}
	tree_restart(&t);
	assert_int_equal(node_stat(t.top).size_bytes, 3);
	tree_done(&t);
}

struct names {
	unsigned count, stop_at;
	uint64_t cookie;
	bool seen[5000];
};

static bool see_name(void *ctx, const struct vfs_dirent *e)
{
	struct names *s = ctx;
	unsigned i = (unsigned)strtoul(e->name, NULL, 10);

	assert_true(i < 5000 && !s->seen[i]);
	assert_true(e->cookie > s->cookie);
	assert_int_equal(e->type, VFS_TYPE_FILE);
	s->seen[i] = true;
	s->count++;
	s->cookie = e->cookie;
	return s->count % s->stop_at != 0;
}

static void test_listing_gives_each_name_once_and_goes_on_at_a_cookie(void **state)
{
	static struct names s;
	struct tree_fixture t;

	(void)state;
	tree_init(&t, 256 * MIB);
	for (unsigned i = 0; i < 5000; i++) {
		char name[16];

		snprintf(name, sizeof(name), "%u-%s", i, "name");
		vfs_node_unref(make_file(t.top, name));
	}
	for (unsigned stop_at = 1; stop_at < 10000; stop_at = stop_at * 7 + 6) {
		unsigned before;

		s = (struct names){ .stop_at = stop_at };
		do {
			before = s.count;
			assert_ok(t.top->ops->readdir(t.top, s.cookie, see_name, &s));
		} while (s.count > before);
		assert_int_equal(s.count, 5000);
	}
	tree_done(&t);
}

static void test_unlinked_file_is_usable_until_its_last_reference_is_gone(void **state)
{
	struct tree_fixture t;
	struct vfs_node *n;
	uint8_t buf[8192], got[8192];
	uint64_t object;

	(void)state;
	tree_init(&t, 64 * MIB);
	n = make_file(t.top, "a");
	object = node_stat(n).object;
	pattern(buf, sizeof(buf), 1);
	assert_ok(node_write(n, 0, buf, sizeof(buf), 0));
	assert_ok(remove_name(t.top, "a", false));
	assert_int_equal(lookup_error(t.top, "a"), -ENOENT);
	assert_int_equal(node_stat(n).link_count, 0);
	assert_ok(node_write(n, 100, "hello", 5, 0));
	assert_ok(node_read(n, 0, got, sizeof(got)));
	memcpy(buf + 100, "hello", 5);
	assert_memory_equal(got, buf, sizeof(buf));
	vfs_node_unref(n);
	assert_int_equal(t.top->ops->by_object(t.top, node_stat(t.top).fsid, object, &n), -ESTALE);
	tree_restart(&t);
	assert_int_equal(t.top->ops->by_object(t.top, node_stat(t.top).fsid, object, &n), -ESTALE);
	tree_done(&t);
}

static void test_directories_are_removed_when_empty_only(void **state)
{
	struct tree_fixture t;
	struct vfs_node *d, *n;

	(void)state;
	tree_init(&t, 64 * MIB);
	d = make_dir(t.top, "d");
	vfs_node_unref(make_file(d, "f"));
	assert_int_equal(remove_name(t.top, "d", true), -ENOTEMPTY);
	assert_int_equal(remove_name(t.top, "d", false), -EISDIR);
	assert_int_equal(remove_name(d, "f", true), -ENOTDIR);
	assert_ok(remove_name(d, "f", false));
	assert_ok(remove_name(t.top, "d", true));
	assert_int_equal(remove_name(t.top, "d", true), -ENOENT);
	/* Somebody is still in it. */
	assert_int_equal(make_type(d, "g", VFS_TYPE_FILE, &n), -ENOENT);
	vfs_node_unref(d);
	assert_int_equal(node_stat(t.top).link_count, 2);
	tree_restart(&t);
	tree_done(&t);
}

static void test_hard_links_share_an_object(void **state)
{
	struct tree_fixture t;
	struct vfs_node *n, *d, *other;

	(void)state;
	tree_init(&t, 64 * MIB);
	n = make_file(t.top, "a");
	d = make_dir(t.top, "d");
	assert_ok(link_to(d, "b", n));
	assert_int_equal(link_to(d, "b", n), -EEXIST);
	assert_int_equal(link_to(t.top, "e", d), -EPERM);
	assert_int_equal(node_stat(n).link_count, 2);
	other = node_at(d, "b");
	assert_ptr_equal(other, n);
	vfs_node_unref(other);
	assert_ok(remove_name(t.top, "a", false));
	assert_int_equal(node_stat(n).link_count, 1);
	assert_ok(node_write(n, 0, "x", 1, 0));
	vfs_node_unref(n);
	vfs_node_unref(d);
	tree_restart(&t);
	d = node_at(t.top, "d");
	n = node_at(d, "b");
	assert_int_equal(node_stat(n).link_count, 1);
	assert_int_equal(node_stat(n).size_bytes, 1);
	vfs_node_unref(n);
	vfs_node_unref(d);
	tree_done(&t);
}

static void test_nameless_file_gets_a_name_or_goes(void **state)
{
	struct vfs_new attr = { .type = VFS_TYPE_FILE, .mode = 0600 };
	struct tree_fixture t;
	struct vfs_node *a, *b;

	(void)state;
	tree_init(&t, 64 * MIB);
	assert_ok(t.top->ops->create_nameless(t.top, &attr, &a));
	assert_ok(t.top->ops->create_nameless(t.top, &attr, &b));
	assert_ok(node_write(a, 0, "abc", 3, 0));
	assert_ok(node_write(b, 0, "def", 3, 0));
	assert_ok(link_to(t.top, "a", a));
	assert_int_equal(node_stat(a).link_count, 1);
	vfs_node_unref(a);
	vfs_node_unref(b);
	tree_restart(&t);
	assert_int_equal(node_stat(t.top).size_bytes, 1);
	a = node_at(t.top, "a");
	assert_int_equal(node_stat(a).size_bytes, 3);
	vfs_node_unref(a);
	tree_done(&t);
}

static void test_rename_moves_replaces_and_exchanges(void **state)
{
	struct tree_fixture t;
	struct vfs_node *d, *e, *n, *up;
	uint64_t a, b;

	(void)state;
	tree_init(&t, 64 * MIB);
	d = make_dir(t.top, "d");
	n = make_file(t.top, "a");
	a = node_stat(n).object;
	vfs_node_unref(n);
	n = make_file(d, "b");
	b = node_stat(n).object;
	vfs_node_unref(n);
	assert_int_equal(rename_to(t.top, "none", d, "x", 0), -ENOENT);
	assert_int_equal(rename_to(t.top, "a", d, "b", VFS_RENAME_NOREPLACE), -EEXIST);
	assert_int_equal(rename_to(t.top, "a", d, "none", VFS_RENAME_EXCHANGE), -ENOENT);
	assert_ok(rename_to(t.top, "a", d, "b", VFS_RENAME_EXCHANGE));
	n = node_at(d, "b");
	assert_int_equal(node_stat(n).object, a);
	vfs_node_unref(n);
	assert_ok(rename_to(t.top, "a", d, "b", 0));
	assert_int_equal(lookup_error(t.top, "a"), -ENOENT);
	n = node_at(d, "b");
	assert_int_equal(node_stat(n).object, b);
	vfs_node_unref(n);
	assert_int_equal(t.top->ops->by_object(t.top, node_stat(t.top).fsid, a, &n), -ESTALE);
	/* Types. */
	assert_int_equal(rename_to(d, "b", t.top, "d", 0), -EISDIR);
	assert_int_equal(rename_to(t.top, "d", d, "b", 0), -EINVAL);
	e = make_dir(d, "e");
	assert_int_equal(rename_to(t.top, "d", e, "x", 0), -EINVAL);
	assert_int_equal(rename_to(d, "e", d, "b", 0), -ENOTDIR);
	/* A directory moves: links and parents follow. */
	assert_ok(rename_to(d, "e", t.top, "e", 0));
	assert_int_equal(node_stat(d).link_count, 2);
	assert_int_equal(node_stat(t.top).link_count, 4);
	assert_ok(e->ops->parent(e, &up));
	assert_ptr_equal(up, t.top);
	vfs_node_unref(up);
	assert_int_equal(rename_to(t.top, "e", t.top, "d", 0), -ENOTEMPTY);
	assert_ok(rename_to(t.top, "d", t.top, "e", 0));
	assert_int_equal(node_stat(t.top).link_count, 3);
	assert_int_equal(node_stat(t.top).size_bytes, 1);
	vfs_node_unref(e);
	vfs_node_unref(d);
	tree_restart(&t);
	d = node_at(t.top, "e");
	vfs_node_unref(node_at(d, "b"));
	vfs_node_unref(d);
	tree_done(&t);
}

static void test_rename_onto_another_name_of_the_same_object_does_nothing(void **state)
{
	struct tree_fixture t;
	struct vfs_node *n;

	(void)state;
	tree_init(&t, 64 * MIB);
	n = make_file(t.top, "a");
	assert_ok(link_to(t.top, "b", n));
	assert_ok(rename_to(t.top, "a", t.top, "b", 0));
	assert_ok(rename_to(t.top, "a", t.top, "a", 0));
	assert_int_equal(node_stat(n).link_count, 2);
	assert_int_equal(lookup_error(t.top, "a"), 0);
	vfs_node_unref(n);
	tree_done(&t);
}

static void test_data_of_a_file_that_grows_shrinks_and_grows_reads_as_zeros(void **state)
{
	static uint8_t buf[300000], got[300000], zeros[300000];
	static const uint64_t sizes[] = { 200000, 4096, 4095, 100, 65536, 1, 0 };
	struct tree_fixture t;
	struct vfs_node *n;

	(void)state;
	tree_init(&t, 64 * MIB);
	pattern(buf, sizeof(buf), 3);
	for (unsigned i = 0; i < 7; i++)
		for (unsigned flush = 0; flush < 3; flush++) {
			uint64_t size = sizes[i];

			n = make_file(t.top, "f");
			assert_ok(node_write(n, 0, buf, sizeof(buf), 0));
			if (flush)
				assert_ok(n->ops->flush(n, 0));
			assert_ok(node_truncate(n, size));
			assert_int_equal(node_stat(n).size_bytes, size);
			if (flush == 2) {
				vfs_node_unref(n);
				tree_restart(&t);
				n = node_at(t.top, "f");
				assert_int_equal(node_stat(n).size_bytes, size);
			}
			assert_ok(node_truncate(n, sizeof(buf)));
			assert_ok(node_read(n, 0, got, sizeof(got)));
			assert_memory_equal(got, buf, size);
			assert_memory_equal(got + size, zeros, sizeof(buf) - size);
			vfs_node_unref(n);
			assert_ok(remove_name(t.top, "f", false));
		}
	tree_restart(&t);
	tree_done(&t);
}

static void test_appending_writes_at_the_end(void **state)
{
	struct tree_fixture t;
	struct vfs_node *n;
	char got[12];

	(void)state;
	tree_init(&t, 64 * MIB);
	n = make_file(t.top, "f");
	assert_ok(node_write(n, 0, "hello ", 6, VFS_APPEND));
	assert_ok(node_write(n, 0, "world", 6, VFS_APPEND));
	assert_int_equal(node_stat(n).size_bytes, 12);
	assert_ok(node_read(n, 0, got, 12));
	assert_string_equal(got, "hello world");
	assert_int_equal(node_write(n, VFS_FILE_BYTES_MAX - 1, "xx", 2, 0), -EFBIG);
	assert_ok(node_write(n, VFS_FILE_BYTES_MAX - 1, "x", 1, 0));
	assert_int_equal(node_stat(n).size_bytes, VFS_FILE_BYTES_MAX);
	assert_ok(n->ops->flush(n, 0));
	assert_ok(node_truncate(n, 5));
	vfs_node_unref(n);
	tree_restart(&t);
	n = node_at(t.top, "f");
	assert_int_equal(node_stat(n).size_bytes, 5);
	assert_true(node_stat(n).allocated_bytes <= 4096);
	vfs_node_unref(n);
	tree_done(&t);
}

static void test_attributes_are_set_one_by_one(void **state)
{
	struct vfs_set_attr attr = { .valid =
		                             VFS_SET_MODE | VFS_SET_UID | VFS_SET_ATIME | VFS_SET_MTIME | VFS_SET_FLAGS,
		                     .mode = 06755,
		                     .uid = 99,
		                     .gid = 1234,
		                     .atime_ns = 5,
		                     .mtime_ns = 6,
		                     .flags = VFS_FLAG_APPEND };
	struct vfs_set_attr kill = { .valid = VFS_SET_KILL_SUID };
	struct tree_fixture t;
	struct vfs_node *n;
	struct vfs_stat st;
	uint64_t change;

	(void)state;
	tree_init(&t, 64 * MIB);
	n = make_file(t.top, "f");
	change = node_stat(n).change;
	assert_ok(n->ops->set_attr(n, &attr));
	vfs_node_unref(n);
	tree_restart(&t);
	n = node_at(t.top, "f");
	st = node_stat(n);
	assert_int_equal(st.mode, 06755);
	assert_int_equal(st.uid, 99);
	assert_int_equal(st.gid, 8);
	assert_int_equal(st.atime_ns, 5);
	assert_int_equal(st.mtime_ns, 6);
	assert_int_equal(st.flags, VFS_FLAG_APPEND);
	assert_true(st.change > change && st.ctime_ns > 6);
	assert_ok(n->ops->set_attr(n, &kill));
	assert_int_equal(node_stat(n).mode, 0755);
	vfs_node_unref(n);
	tree_done(&t);
}

static bool count_name(void *ctx, const char *name, size_t name_len)
{
	(void)name;
	(void)name_len;
	++*(unsigned *)ctx;
	return true;
}

static void test_extended_attributes_of_all_sizes(void **state)
{
	static uint8_t value[VFS_XATTR_BYTES_MAX + 1], got[VFS_XATTR_BYTES_MAX];
	static const size_t lens[] = { 0, 1, 3900, 3990, 4000, 20000, 65536, 10 };
	struct tree_fixture t;
	struct vfs_node *n;
	unsigned count = 0;
	size_t len;

	(void)state;
	tree_init(&t, 64 * MIB);
	n = make_file(t.top, "f");
	for (unsigned i = 0; i < 8; i++) {
		pattern(value, sizeof(value), i);
		assert_ok(n->ops->set_xattr(n, "user.a", value, lens[i], 0, NULL));
		assert_ok(n->ops->get_xattr(n, "user.a", NULL, 0, &len));
		assert_int_equal(len, lens[i]);
		assert_ok(n->ops->get_xattr(n, "user.a", got, sizeof(got), &len));
		assert_memory_equal(got, value, len);
	}
	assert_int_equal(n->ops->get_xattr(n, "user.a", got, 9, &len), -ERANGE);
	assert_int_equal(len, 10);
	assert_int_equal(n->ops->set_xattr(n, "user.a", value, 1, VFS_XATTR_CREATE, NULL), -EEXIST);
	assert_int_equal(n->ops->set_xattr(n, "user.b", value, 1, VFS_XATTR_REPLACE, NULL), -ENODATA);
	assert_int_equal(n->ops->set_xattr(n, "user.b", value, sizeof(value), 0, NULL), -E2BIG);
	assert_ok(n->ops->set_xattr(n, "user.b", value, 65536, 0, NULL));
	assert_ok(n->ops->list_xattr(n, count_name, &count));
	assert_int_equal(count, 2);
	assert_false(node_stat(n).has_acl);
	assert_ok(n->ops->set_xattr(n, "system.posix_acl_access", value, 28, 0, NULL));
	assert_true(node_stat(n).has_acl);
	vfs_node_unref(n);
	tree_restart(&t);
	n = node_at(t.top, "f");
	assert_true(node_stat(n).has_acl);
	assert_ok(n->ops->remove_xattr(n, "system.posix_acl_access", NULL));
	assert_false(node_stat(n).has_acl);
	assert_ok(n->ops->get_xattr(n, "user.b", got, sizeof(got), &len));
	assert_memory_equal(got, value, 65536);
	assert_ok(n->ops->remove_xattr(n, "user.a", NULL));
	assert_int_equal(n->ops->remove_xattr(n, "user.a", NULL), -ENODATA);
	vfs_node_unref(n);
	assert_ok(remove_name(t.top, "f", false));
	tree_restart(&t);
	tree_done(&t);
}

static void test_acls_come_with_their_object_and_go_with_its_mode(void **state)
{
	static uint8_t acl[8196], got[8196];
	struct vfs_new attr = { .type = VFS_TYPE_DIR,
		                .mode = 02750,
		                .access_acl = acl,
		                .access_acl_len = 44,
		                .default_acl = acl,
		                .default_acl_len = sizeof(acl) };
	struct vfs_set_attr set = {
		.valid = VFS_SET_MODE | VFS_SET_ACL, .mode = 0700, .access_acl = acl + 1, .access_acl_len = 5000
	};
	struct tree_fixture t;
	struct vfs_node *n, *plain;
	struct vfs_stat st;
	size_t len;

	(void)state;
	pattern(acl, sizeof(acl), 1);
	tree_init(&t, 64 * MIB);
	assert_ok(t.top->ops->create(t.top, "acl", 3, &attr, &n));
	plain = make_file(t.top, "plain");
	st = node_stat(n);
	assert_true(st.has_acl);
	/* All of it was one change, as that of an object without ACLs is. */
	assert_int_equal(st.change, node_stat(plain).change);
	assert_ok(n->ops->get_xattr(n, VFS_ACL_DEFAULT, got, sizeof(got), &len));
	assert_int_equal(len, sizeof(acl));
	assert_memory_equal(got, acl, len);
	assert_ok(n->ops->set_attr(n, &set));
	assert_int_equal(node_stat(n).change, st.change + 1);
	vfs_node_unref(n);
	vfs_node_unref(plain);
	tree_restart(&t);
	n = node_at(t.top, "acl");
	assert_true(node_stat(n).has_acl);
	assert_int_equal(node_stat(n).mode, 0700);
	assert_ok(n->ops->get_xattr(n, VFS_ACL_ACCESS, got, sizeof(got), &len));
	assert_int_equal(len, 5000);
	assert_memory_equal(got, acl + 1, len);
	set.access_acl = NULL;
	assert_ok(n->ops->set_attr(n, &set));
	assert_false(node_stat(n).has_acl);
	assert_int_equal(n->ops->get_xattr(n, VFS_ACL_ACCESS, got, sizeof(got), &len), -ENODATA);
	/* There is none that could go. */
	assert_ok(n->ops->set_attr(n, &set));
	vfs_node_unref(n);
	assert_ok(t.top->ops->create_nameless(
	        t.top, &(struct vfs_new){ .type = VFS_TYPE_FILE, .access_acl = acl, .access_acl_len = 28 }, &n));
	assert_true(node_stat(n).has_acl);
	assert_ok(n->ops->get_xattr(n, VFS_ACL_ACCESS, got, sizeof(got), &len));
	assert_int_equal(len, 28);
	vfs_node_unref(n);
	tree_restart(&t);
	tree_done(&t);
}

static void test_deleted_tree_gives_everything_back(void **state)
{
	static uint8_t buf[MIB];
	struct tree_fixture t;
	struct pool *p;
	uint64_t before;

	(void)state;
	tree_init(&t, 256 * MIB);
	assert_ok(pool_get(t.f.w, "tank", &p));
	before = pool_info(&t.f, "tank").used_bytes;
	for (unsigned i = 0; i < 200; i++) {
		char name[16];
		struct vfs_node *n;

		snprintf(name, sizeof(name), "%u", i);
		n = make_file(t.top, name);
		assert_ok(node_write(n, 0, buf, 1 + i * 4000, 0));
		pattern(buf, sizeof(buf), i);
		if (i % 3)
			assert_ok(n->ops->flush(n, 0));
		vfs_node_unref(n);
	}
	assert_int_equal(dataset_delete(p, DATASET_TYPE_VOLUME, "fs"), -EINVAL);
	assert_int_equal(dataset_delete(p, DATASET_TYPE_TREE, "fs"), -EBUSY);
	tree_close(&t);
	assert_ok(dataset_delete(p, DATASET_TYPE_TREE, "fs"));
	for (unsigned i = 0; i < 20000 && pool_info(&t.f, "tank").used_bytes >= before; i++)
		sync_sleep_ns(SYNC_NS_PER_MS);
	assert_true(pool_info(&t.f, "tank").used_bytes < before);
	pool_put(p);
	fixture_done(&t.f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_new_tree_is_an_empty_directory),
		cmocka_unit_test(test_created_objects_are_found_with_their_attributes_also_after_a_restart),
		cmocka_unit_test(test_symbolic_links_of_any_length_are_read_back),
		cmocka_unit_test(test_listing_gives_each_name_once_and_goes_on_at_a_cookie),
		cmocka_unit_test(test_unlinked_file_is_usable_until_its_last_reference_is_gone),
		cmocka_unit_test(test_directories_are_removed_when_empty_only),
		cmocka_unit_test(test_hard_links_share_an_object),
		cmocka_unit_test(test_nameless_file_gets_a_name_or_goes),
		cmocka_unit_test(test_rename_moves_replaces_and_exchanges),
		cmocka_unit_test(test_rename_onto_another_name_of_the_same_object_does_nothing),
		cmocka_unit_test(test_data_of_a_file_that_grows_shrinks_and_grows_reads_as_zeros),
		cmocka_unit_test(test_appending_writes_at_the_end),
		cmocka_unit_test(test_attributes_are_set_one_by_one),
		cmocka_unit_test(test_extended_attributes_of_all_sizes),
		cmocka_unit_test(test_acls_come_with_their_object_and_go_with_its_mode),
		cmocka_unit_test(test_deleted_tree_gives_everything_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
