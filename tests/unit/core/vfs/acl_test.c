/* SPDX-License-Identifier: BSD-3-Clause */
/* POSIX ACLs: which are well-formed, how they go together with permission bits, how new objects inherit them. */
#include "core/base/bytes.h"
#include "tests/unit/core/vfs/tree_fixture.h"

#define ACCESS "system.posix_acl_access"
#define DEFAULT "system.posix_acl_default"

enum tag {
	U = 0x01, /* owner */
	NU = 0x02, /* named user */
	G = 0x04, /* owning group */
	NG = 0x08, /* named group */
	M = 0x10, /* mask */
	O = 0x20, /* others */
};

struct ace {
	unsigned tag, perm;
	uint32_t id;
};

struct blob {
	uint8_t bytes[256];
	size_t len;
};

static struct blob encode(const struct ace *entries, size_t count)
{
	struct blob b = { .len = 4 };

	put_le32(b.bytes, 2);
	for (size_t i = 0; i < count; i++, b.len += 8) {
		put_le16(b.bytes + b.len, (uint16_t)entries[i].tag);
		put_le16(b.bytes + b.len + 2, (uint16_t)entries[i].perm);
		put_le32(b.bytes + b.len + 4, entries[i].id);
	}
	return b;
}

#define ACL(...)                                                                                                       \
	encode((const struct ace[]){ __VA_ARGS__ }, sizeof((const struct ace[]){ __VA_ARGS__ }) / sizeof(struct ace))

static const struct vfs_cred owner = { .uid = 100, .gid = 200 }, named = { .uid = 101, .gid = 5 };

static int setup(void **state)
{
	struct tree_env *e;

	(void)tree_setup(state);
	e = *state;
	make(e, "/t/d", VFS_TYPE_DIR, 0777);
	make(e, "/t/f", VFS_TYPE_FILE, 0640);
	own(e, "/t/f", owner.uid, owner.gid, 0640);
	return 0;
}

static int set_as(struct tree_env *e, const struct vfs_cred *cred, const char *path, const char *name, struct blob b)
{
	struct vfs_handle *h = must_walk(e, path);
	int ret = vfs_set_xattr(h, cred, name, b.bytes, b.len, 0);

	vfs_close(h);
	return ret;
}

static int set(struct tree_env *e, const char *path, const char *name, struct blob b)
{
	return set_as(e, ROOT, path, name, b);
}

static int get(struct tree_env *e, const char *path, const char *name, struct blob *ret)
{
	struct vfs_handle *h = must_walk(e, path);
	int err = vfs_get_xattr(h, ROOT, name, ret->bytes, sizeof(ret->bytes), &ret->len);

	vfs_close(h);
	return err;
}

static void assert_acl(struct tree_env *e, const char *path, const char *name, struct blob want)
{
	struct blob b;

	assert_int_equal(get(e, path, name, &b), 0);
	assert_int_equal(b.len, want.len);
	assert_memory_equal(b.bytes, want.bytes, want.len);
}

static void test_malformed_acls_are_refused_and_change_nothing(void **state)
{
	struct tree_env *e = *state;
	struct blob whole = ACL({ U, 6, 0 }, { NU, 7, 101 }, { G, 4, 0 }, { M, 7, 0 }, { O, 0, 0 }), b;

	for (size_t len = 0; len < whole.len; len++) {
		b = whole;
		b.len = len;
		assert_int_equal(set(e, "/t/f", ACCESS, b), -EINVAL);
	}
	b = whole;
	put_le32(b.bytes, 1);
	assert_int_equal(set(e, "/t/f", ACCESS, b), -EINVAL);
	assert_int_equal(set(e, "/t/f", ACCESS, ACL({ U, 6, 0 }, { G, 4, 0 })), -EINVAL);
	assert_int_equal(set(e, "/t/f", ACCESS, ACL({ U, 6, 0 }, { O, 4, 0 })), -EINVAL);
	assert_int_equal(set(e, "/t/f", ACCESS, ACL({ G, 6, 0 }, { O, 4, 0 })), -EINVAL);
	assert_int_equal(set(e, "/t/f", ACCESS, ACL({ U, 6, 0 }, { NU, 7, 1 }, { G, 4, 0 }, { O, 0, 0 })), -EINVAL);
	assert_int_equal(set(e, "/t/f", ACCESS, ACL({ U, 6, 0 }, { G, 4, 0 }, { NG, 4, 1 }, { O, 0, 0 })), -EINVAL);
	assert_int_equal(set(e, "/t/f", ACCESS, ACL({ G, 6, 0 }, { U, 4, 0 }, { O, 0, 0 })), -EINVAL);
	assert_int_equal(set(e, "/t/f", ACCESS, ACL({ U, 6, 0 }, { U, 6, 0 }, { G, 4, 0 }, { O, 0, 0 })), -EINVAL);
	assert_int_equal(set(e, "/t/f", ACCESS, ACL({ U, 8, 0 }, { G, 4, 0 }, { O, 0, 0 })), -EINVAL);
	assert_int_equal(set(e, "/t/f", ACCESS, ACL({ U, 6, 0 }, { G, 4, 0 }, { O, 0, 0 }, { 0x40, 0, 0 })), -EINVAL);
	assert_int_equal(set(e, "/t/f", ACCESS, ACL({ U, 6, 0 }, { 3, 4, 0 }, { G, 4, 0 }, { O, 0, 0 })), -EINVAL);
	assert_int_equal(get(e, "/t/f", ACCESS, &b), -ENODATA);
	assert_int_equal(stat_at(e, "/t/f").mode, 0640);
}

static void test_removing_an_acl_that_is_not_there_succeeds(void **state)
{
	struct tree_env *e = *state;
	static const char *const paths[] = { "/t/f", "/t/d" };

	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		struct vfs_handle *h = must_walk(e, paths[i]);

		assert_int_equal(vfs_remove_xattr(h, ROOT, ACCESS), 0);
		assert_int_equal(vfs_remove_xattr(h, ROOT, DEFAULT), 0);
		assert_int_equal(vfs_remove_xattr(h, &(struct vfs_cred){ .uid = 4711 }, DEFAULT), -EPERM);
		assert_int_equal(vfs_remove_xattr(h, ROOT, "user.a"), -ENODATA);
		vfs_close(h);
	}
}

static void test_an_acl_becomes_permission_bits_and_back(void **state)
{
	struct tree_env *e = *state;

	assert_int_equal(set(e, "/t/f", ACCESS,
	                     ACL({ U, 7, 0 }, { NU, 6, 101 }, { G, 1, 0 }, { NG, 2, 9 }, { M, 5, 0 }, { O, 4, 0 })),
	                 0);
	assert_int_equal(stat_at(e, "/t/f").mode, 0754);
	assert_true(stat_at(e, "/t/f").has_acl);
	set_attr_at(e, "/t/f", &(struct vfs_set_attr){ .valid = VFS_SET_MODE, .mode = 0631 });
	assert_acl(e, "/t/f", ACCESS,
	           ACL({ U, 6, 0 }, { NU, 6, 101 }, { G, 1, 0 }, { NG, 2, 9 }, { M, 3, 0 }, { O, 1, 0 }));
}

static void test_chmod_limits_what_named_users_may(void **state)
{
	struct tree_env *e = *state;
	struct vfs_handle *h = must_walk(e, "/t/f");

	assert_int_equal(
	        set(e, "/t/f", ACCESS, ACL({ U, 6, 0 }, { NU, 6, 101 }, { G, 0, 0 }, { M, 6, 0 }, { O, 0, 0 })), 0);
	assert_int_equal(vfs_access(h, &named, VFS_ACCESS_WRITE), 0);
	set_attr_at(e, "/t/f", &(struct vfs_set_attr){ .valid = VFS_SET_MODE, .mode = 0640 });
	assert_int_equal(vfs_access(h, &named, VFS_ACCESS_READ), 0);
	assert_int_equal(vfs_access(h, &named, VFS_ACCESS_WRITE), -EACCES);
	vfs_close(h);
}

static void test_an_acl_that_says_no_more_than_bits_is_kept_as_bits(void **state)
{
	struct tree_env *e = *state;
	struct blob b;

	assert_int_equal(
	        set(e, "/t/f", ACCESS, ACL({ U, 6, 0 }, { NU, 6, 101 }, { G, 0, 0 }, { M, 6, 0 }, { O, 0, 0 })), 0);
	assert_int_equal(set(e, "/t/f", ACCESS, ACL({ U, 7, 0 }, { G, 5, 0 }, { O, 1, 0 })), 0);
	assert_int_equal(get(e, "/t/f", ACCESS, &b), -ENODATA);
	assert_int_equal(stat_at(e, "/t/f").mode, 0751);
	assert_false(stat_at(e, "/t/f").has_acl);
}

static void test_only_the_owner_and_root_set_acls(void **state)
{
	struct tree_env *e = *state;
	struct blob b = ACL({ U, 6, 0 }, { NU, 6, 101 }, { G, 0, 0 }, { M, 6, 0 }, { O, 0, 0 });

	assert_int_equal(set_as(e, &named, "/t/f", ACCESS, b), -EPERM);
	assert_int_equal(set_as(e, &owner, "/t/f", ACCESS, b), 0);
	assert_int_equal(set(e, "/t/f", DEFAULT, b), -EACCES);
	make_link(e, "/t/l", "f");
	assert_int_equal(set(e, "/t/l", ACCESS, b), -EOPNOTSUPP);
}

static void test_setting_an_acl_keeps_sticky_and_setuid_bits_that_are_due(void **state)
{
	struct tree_env *e = *state;
	struct blob b = ACL({ U, 7, 0 }, { G, 5, 0 }, { O, 5, 0 });

	own(e, "/t/f", owner.uid, 999, 06755);
	assert_int_equal(set_as(e, &owner, "/t/f", ACCESS, b), 0);
	assert_int_equal(stat_at(e, "/t/f").mode, 04755); /* he is not in that group */
	own(e, "/t/d", owner.uid, 999, 02755);
	assert_int_equal(set_as(e, &owner, "/t/d", ACCESS, b), 0);
	assert_int_equal(stat_at(e, "/t/d").mode, 0755);
}

static void test_new_objects_inherit_the_default_acl(void **state)
{
	struct tree_env *e = *state;
	struct blob b, def = ACL({ U, 7, 0 }, { NU, 7, 101 }, { G, 5, 0 }, { M, 7, 0 }, { O, 5, 0 });

	assert_int_equal(set(e, "/t/d", DEFAULT, def), 0);
	make(e, "/t/d/f", VFS_TYPE_FILE, 0640);
	make(e, "/t/d/d", VFS_TYPE_DIR, 0770);
	make_link(e, "/t/d/l", "f");
	assert_acl(e, "/t/d/f", ACCESS, ACL({ U, 6, 0 }, { NU, 7, 101 }, { G, 5, 0 }, { M, 4, 0 }, { O, 0, 0 }));
	assert_int_equal(stat_at(e, "/t/d/f").mode, 0640);
	assert_int_equal(get(e, "/t/d/f", DEFAULT, &b), -ENODATA);
	assert_acl(e, "/t/d/d", ACCESS, ACL({ U, 7, 0 }, { NU, 7, 101 }, { G, 5, 0 }, { M, 7, 0 }, { O, 0, 0 }));
	assert_acl(e, "/t/d/d", DEFAULT, def);
	assert_int_equal(get(e, "/t/d/l", ACCESS, &b), -ENODATA);
	assert_int_equal(stat_at(e, "/t/d/l").mode, 0777);
}

static void test_a_minimal_default_acl_only_limits_the_mode(void **state)
{
	struct tree_env *e = *state;
	struct blob b;

	assert_int_equal(set(e, "/t/d", DEFAULT, ACL({ U, 7, 0 }, { G, 4, 0 }, { O, 0, 0 })), 0);
	make(e, "/t/d/f", VFS_TYPE_FILE, 0666);
	assert_int_equal(stat_at(e, "/t/d/f").mode, 0640);
	assert_int_equal(get(e, "/t/d/f", ACCESS, &b), -ENODATA);
}

static void test_nameless_files_inherit_too(void **state)
{
	struct tree_env *e = *state;
	struct vfs_handle *d, *h;
	struct vfs_stat st;

	assert_int_equal(
	        set(e, "/t/d", DEFAULT, ACL({ U, 7, 0 }, { NU, 7, 101 }, { G, 5, 0 }, { M, 7, 0 }, { O, 0, 0 })), 0);
	d = must_walk(e, "/t/d");
	assert_int_equal(vfs_create_nameless(d, &owner, 0666, &h), 0);
	assert_int_equal(vfs_stat(h, &st), 0);
	assert_int_equal(st.mode, 0660);
	assert_true(st.has_acl);
	vfs_close(h);
	vfs_close(d);
}

static void test_an_acl_that_is_damaged_on_the_medium_lets_nobody_in(void **state)
{
	struct tree_env *e = *state;
	struct vfs_handle *h = must_walk(e, "/t/f");
	struct vfs_node *n = NULL;

	assert_int_equal(e->fs.root->node.ops->lookup(&e->fs.root->node, "f", 1, &n), 0);
	assert_int_equal(n->ops->set_xattr(n, ACCESS, "\2", 2, 0, NULL), 0);
	vfs_node_unref(n);
	assert_int_equal(vfs_access(h, &named, VFS_ACCESS_READ), -EIO);
	assert_int_equal(vfs_access(h, ROOT, VFS_ACCESS_READ), 0);
	vfs_close(h);
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, tree_teardown)
	const struct CMUnitTest tests[] = {
		T(test_malformed_acls_are_refused_and_change_nothing),
		T(test_removing_an_acl_that_is_not_there_succeeds),
		T(test_an_acl_becomes_permission_bits_and_back),
		T(test_chmod_limits_what_named_users_may),
		T(test_an_acl_that_says_no_more_than_bits_is_kept_as_bits),
		T(test_only_the_owner_and_root_set_acls),
		T(test_setting_an_acl_keeps_sticky_and_setuid_bits_that_are_due),
		T(test_new_objects_inherit_the_default_acl),
		T(test_a_minimal_default_acl_only_limits_the_mode),
		T(test_nameless_files_inherit_too),
		T(test_an_acl_that_is_damaged_on_the_medium_lets_nobody_in),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
