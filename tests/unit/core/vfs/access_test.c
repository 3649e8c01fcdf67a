/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The gate for permissions: every operation by every identity on objects of every mode, with and without an ACL,
 * against a reference that is written as a table of what each operation needs.
 */
#include "core/base/bytes.h"
#include "tests/unit/core/vfs/tree_fixture.h"
#include "tests/unit/slow.h"

/* ---- identities ---- */

#define OWNER_UID 100u
#define OWNER_GID 200u
#define NAMED_UID 101u
#define NAMED_GID 201u

static const uint32_t owner_groups[] = { 7, OWNER_GID }, named_groups[] = { 8, 9, NAMED_GID },
                      both_groups[] = { NAMED_GID, OWNER_GID };

struct who {
	const char *name;
	struct vfs_cred cred;
};

static const struct who people[] = {
	{ "root", { .uid = 0, .gid = 0 } },
	{ "owner", { .uid = OWNER_UID, .gid = OWNER_GID } },
	{ "owner elsewhere", { .uid = OWNER_UID, .gid = 9 } },
	{ "group", { .uid = 500, .gid = OWNER_GID } },
	{ "supplementary group", { .uid = 500, .gid = 5, .group_count = 2, .groups = owner_groups } },
	{ "named user", { .uid = NAMED_UID, .gid = 5 } },
	{ "named user in the group", { .uid = NAMED_UID, .gid = OWNER_GID } },
	{ "named group", { .uid = 500, .gid = 5, .group_count = 3, .groups = named_groups } },
	{ "both groups", { .uid = 500, .gid = 5, .group_count = 2, .groups = both_groups } },
	{ "other", { .uid = 500, .gid = 5 } },
};
#define PEOPLE (sizeof(people) / sizeof(people[0]))

/* ---- ACLs ---- */

struct acl {
	bool present;
	unsigned named_user, named_group, group; /* permissions */
};

static const struct acl acls[] = {
	{ .present = false },
	{ .present = true, .named_user = 7, .named_group = 7, .group = 7 },
	{ .present = true, .named_user = 0, .named_group = 4, .group = 2 },
	{ .present = true, .named_user = 6, .named_group = 3, .group = 4 },
};
#define ACLS (sizeof(acls) / sizeof(acls[0]))

static size_t put_entry(uint8_t *at, unsigned tag, unsigned perm, uint32_t id)
{
	put_le16(at, (uint16_t)tag);
	put_le16(at + 2, (uint16_t)perm);
	put_le32(at + 4, id);
	return 8;
}

static size_t encode(const struct acl *a, uint32_t mode, uint8_t *buf)
{
	size_t len = 4;

	put_le32(buf, 2);
	len += put_entry(buf + len, 0x01, mode >> 6 & 7, UINT32_MAX);
	len += put_entry(buf + len, 0x02, a->named_user, NAMED_UID);
	len += put_entry(buf + len, 0x04, a->group, UINT32_MAX);
	len += put_entry(buf + len, 0x08, a->named_group, NAMED_GID);
	len += put_entry(buf + len, 0x10, mode >> 3 & 7, UINT32_MAX);
	len += put_entry(buf + len, 0x20, mode & 7, UINT32_MAX);
	return len;
}

/* ---- the reference ---- */

static bool in(const struct vfs_cred *c, uint32_t gid)
{
	bool found = c->gid == gid;

	for (unsigned i = 0; i < c->group_count; i++)
		found |= c->groups[i] == gid;
	return found;
}

/* All that somebody may do with an object of OWNER_UID and OWNER_GID: each of the sets of bits that could be his. A
 * request is allowed when one of them has all of it. */
static unsigned rights(const struct vfs_cred *c, uint32_t mode, const struct acl *a, unsigned ret[2])
{
	unsigned mask = mode >> 3 & 7, n = 0;

	if (c->uid == OWNER_UID) {
		ret[n++] = mode >> 6 & 7;
	} else if (a->present && c->uid == NAMED_UID) {
		ret[n++] = a->named_user & mask;
	} else {
		if (in(c, OWNER_GID))
			ret[n++] = a->present ? a->group & mask : mask;
		if (a->present && in(c, NAMED_GID))
			ret[n++] = a->named_group & mask;
		if (!n)
			ret[n++] = mode & 7;
	}
	return n;
}

static bool may(const struct vfs_cred *c, uint32_t mode, const struct acl *a, bool is_dir, unsigned want)
{
	unsigned sets[2], n;

	if (c->uid == 0)
		return is_dir || !(want & 1) || mode & 0111;
	n = rights(c, mode, a, sets);
	for (unsigned i = 0; i < n; i++)
		if ((sets[i] & want) == want)
			return true;
	return false;
}

/* ---- operations on a file ---- */

struct matrix {
	struct tree_env *e;
	struct vfs_handle *dir, *file;
	const struct vfs_cred *cred;
};

static int op_read(struct matrix *m)
{
	struct vfs_handle *h;
	int ret = vfs_open_handle(m->file, m->cred, VFS_ACCESS_READ, &h);

	if (!ret)
		vfs_close(h);
	return ret;
}

static int op_write(struct matrix *m)
{
	struct vfs_handle *h;
	int ret = vfs_open_handle(m->file, m->cred, VFS_ACCESS_WRITE, &h);

	if (!ret)
		vfs_close(h);
	return ret;
}

static int op_update(struct matrix *m)
{
	struct vfs_handle *h;
	int ret = vfs_open_handle(m->file, m->cred, VFS_ACCESS_READ | VFS_ACCESS_WRITE, &h);

	if (!ret)
		vfs_close(h);
	return ret;
}

static int op_exec(struct matrix *m)
{
	return vfs_access(m->file, m->cred, VFS_ACCESS_EXEC);
}

static int op_access_all(struct matrix *m)
{
	return vfs_access(m->file, m->cred, VFS_ACCESS_READ | VFS_ACCESS_WRITE | VFS_ACCESS_EXEC);
}

static int op_truncate(struct matrix *m)
{
	return vfs_set_attr(m->file, m->cred, &(struct vfs_set_attr){ .valid = VFS_SET_SIZE, .size_bytes = 3 }, NULL);
}

static int op_touch(struct matrix *m)
{
	return vfs_set_attr(m->file, m->cred, &(struct vfs_set_attr){ .valid = VFS_SET_ATIME_NOW | VFS_SET_MTIME_NOW },
	                    NULL);
}

static int op_set_times(struct matrix *m)
{
	return vfs_set_attr(m->file, m->cred, &(struct vfs_set_attr){ .valid = VFS_SET_MTIME, .mtime_ns = 5 }, NULL);
}

static int op_chown(struct matrix *m)
{
	return vfs_set_attr(m->file, m->cred, &(struct vfs_set_attr){ .valid = VFS_SET_UID, .uid = 4242 }, NULL);
}

static int op_chgrp(struct matrix *m)
{
	return vfs_set_attr(m->file, m->cred, &(struct vfs_set_attr){ .valid = VFS_SET_GID, .gid = 7 }, NULL);
}

static int op_set_flags(struct matrix *m)
{
	int ret = vfs_set_attr(m->file, m->cred,
	                       &(struct vfs_set_attr){ .valid = VFS_SET_FLAGS, .flags = VFS_FLAG_APPEND }, NULL);

	/* As it was, for the next. */
	if (!ret)
		ret = vfs_set_attr(m->file, ROOT, &(struct vfs_set_attr){ .valid = VFS_SET_FLAGS }, NULL);
	return ret;
}

static int op_set_same_flags(struct matrix *m)
{
	return vfs_set_attr(m->file, m->cred, &(struct vfs_set_attr){ .valid = VFS_SET_FLAGS }, NULL);
}

static int op_get_user_xattr(struct matrix *m)
{
	size_t len;
	int ret = vfs_get_xattr(m->file, m->cred, "user.none", NULL, 0, &len);

	return ret == -ENODATA ? 0 : ret;
}

static int op_set_user_xattr(struct matrix *m)
{
	return vfs_set_xattr(m->file, m->cred, "user.x", "1", 1, 0);
}

static int op_set_trusted_xattr(struct matrix *m)
{
	return vfs_set_xattr(m->file, m->cred, "trusted.x", "1", 1, 0);
}

/* Operations on a directory and names in it: made again for each. */
static int op_list(struct matrix *m);

static int op_create(struct matrix *m)
{
	int ret = create_as(m->dir, m->cred, "new", VFS_TYPE_FILE, 0644, NULL);

	if (!ret)
		assert_int_equal(vfs_unlink(m->dir, ROOT, "new", 3, false), 0);
	return ret;
}

static int op_lookup(struct matrix *m)
{
	struct vfs_handle *h;
	int ret = vfs_lookup(m->dir, m->cred, "in", 2, &h);

	if (!ret)
		vfs_close(h);
	return ret;
}

static int op_unlink(struct matrix *m)
{
	int ret = vfs_unlink(m->dir, m->cred, "in", 2, false);

	if (!ret)
		assert_int_equal(create_as(m->dir, ROOT, "in", VFS_TYPE_FILE, 0644, NULL), 0);
	return ret;
}

static int op_rename(struct matrix *m)
{
	int ret = vfs_rename(m->dir, m->cred, "in", 2, m->dir, "out", 3, 0);

	if (!ret)
		assert_int_equal(vfs_rename(m->dir, ROOT, "out", 3, m->dir, "in", 2, 0), 0);
	return ret;
}

static int op_link(struct matrix *m)
{
	int ret = vfs_link(m->dir, m->cred, "new", 3, m->file);

	if (!ret)
		assert_int_equal(vfs_unlink(m->dir, ROOT, "new", 3, false), 0);
	return ret;
}

static int op_nameless(struct matrix *m)
{
	struct vfs_handle *h;
	int ret = vfs_create_nameless(m->dir, m->cred, 0600, &h);

	if (!ret)
		vfs_close(h);
	return ret;
}

static bool stop(void *ctx, const struct vfs_dirent *e)
{
	(void)ctx, (void)e;
	return false;
}

static int op_list(struct matrix *m)
{
	return vfs_readdir(m->dir, m->cred, 0, stop, NULL);
}

enum needs {
	NEEDS_OWNER = 8, /* or root: -EPERM otherwise */
	NEEDS_ROOT = 16,
	OR_OWNER = 32, /* the owner may without the bits */
	OF_DIR = 64, /* the bits of the directory count */
	NEEDS_GROUP_7 = 128, /* is in the group that it is given to */
};

static const struct op {
	const char *name;
	int (*fn)(struct matrix *m);
	unsigned needs; /* R 4, W 2, X 1, and the above */
} ops[] = {
	{ "open for reading", op_read, 4 },
	{ "open for writing", op_write, 2 },
	{ "open for both", op_update, 6 },
	{ "execute", op_exec, 1 },
	{ "everything", op_access_all, 7 },
	{ "truncate", op_truncate, 2 },
	{ "set times to now", op_touch, 2 | OR_OWNER },
	{ "set times", op_set_times, NEEDS_OWNER },
	{ "chown", op_chown, NEEDS_ROOT },
	{ "chgrp", op_chgrp, NEEDS_OWNER | NEEDS_GROUP_7 },
	{ "set flags", op_set_flags, NEEDS_ROOT },
	{ "set the same flags", op_set_same_flags, NEEDS_OWNER },
	{ "get user xattr", op_get_user_xattr, 4 },
	{ "set user xattr", op_set_user_xattr, 2 },
	{ "set trusted xattr", op_set_trusted_xattr, NEEDS_ROOT },
	{ "list", op_list, 4 | OF_DIR },
	{ "look up", op_lookup, 1 | OF_DIR },
	{ "create", op_create, 3 | OF_DIR },
	{ "unlink", op_unlink, 3 | OF_DIR },
	{ "rename", op_rename, 3 | OF_DIR },
	{ "link", op_link, 3 | OF_DIR },
	{ "create without a name", op_nameless, 3 | OF_DIR },
};
#define OPS (sizeof(ops) / sizeof(ops[0]))

static int expected(const struct op *op, const struct vfs_cred *c, uint32_t mode, const struct acl *a)
{
	bool owner = c->uid == OWNER_UID;

	if (c->uid) {
		if (op->needs & NEEDS_ROOT || (op->needs & NEEDS_OWNER && !owner))
			return -EPERM;
		if (op->needs & NEEDS_GROUP_7 && !in(c, 7))
			return -EPERM;
		if (op->needs & OR_OWNER && owner)
			return 0;
	}
	return may(c, mode, a, op->needs & OF_DIR, op->needs & 7) ? 0 : -EACCES;
}

static void prepare(struct vfs_handle *h, uint32_t mode, const struct acl *a)
{
	uint8_t buf[64];
	size_t len = encode(a, mode, buf);
	const struct vfs_set_attr chown = { .valid = VFS_SET_UID | VFS_SET_GID, .uid = OWNER_UID, .gid = OWNER_GID };
	const struct vfs_set_attr chmod = { .valid = VFS_SET_MODE, .mode = mode };

	assert_int_equal(vfs_set_attr(h, ROOT, &chown, NULL), 0);
	assert_int_equal(vfs_set_attr(h, ROOT, &chmod, NULL), 0);
	if (a->present)
		assert_int_equal(vfs_set_xattr(h, ROOT, "system.posix_acl_access", buf, len, 0), 0);
}

static unsigned check_people(struct matrix *m, const struct op *op, uint32_t mode, const struct acl *a)
{
	unsigned wrong = 0;

	for (size_t p = 0; p < PEOPLE; p++) {
		int want = expected(op, &people[p].cred, mode, a), got;

		m->cred = &people[p].cred;
		got = op->fn(m);
		if (got != want && wrong++ < 5)
			print_error("%s by %s, mode %o, ACL %d(%o %o %o): %d, not %d\n", op->name, people[p].name, mode,
			            a->present, a->named_user, a->named_group, a->group, got, want);
		/* As it was, for the next. */
		if (!got && (op->fn == op_chown || op->fn == op_chgrp)) {
			const struct vfs_set_attr back = { .valid = VFS_SET_UID | VFS_SET_GID,
				                           .uid = OWNER_UID,
				                           .gid = OWNER_GID };

			assert_int_equal(vfs_set_attr(m->file, ROOT, &back, NULL), 0);
		}
	}
	return wrong;
}

static void test_every_operation_is_allowed_to_whom_the_reference_allows_it(void **state)
{
	struct tree_env *e = *state;
	unsigned wrong = 0;

	for (size_t a = 0; a < ACLS; a++) {
		struct matrix m = { .e = e };

		make(e, "/t/d", VFS_TYPE_DIR, 0755);
		make(e, "/t/d/in", VFS_TYPE_FILE, 0644);
		make(e, "/t/f", VFS_TYPE_FILE, 0644);
		m.dir = must_walk(e, "/t/d");
		m.file = must_walk(e, "/t/f");
		for (uint32_t mode = 0; mode <= 0777; mode += test_slow()) {
			prepare(m.dir, mode, &acls[a]);
			prepare(m.file, mode, &acls[a]);
			for (size_t o = 0; o < OPS; o++)
				wrong += check_people(&m, &ops[o], mode, &acls[a]);
		}
		assert_int_equal(vfs_unlink(m.dir, ROOT, "in", 2, false), 0);
		vfs_close(m.dir);
		vfs_close(m.file);
		assert_int_equal(vfs_unlink(e->top, ROOT, "f", 1, false), 0);
		assert_int_equal(vfs_unlink(e->top, ROOT, "d", 1, true), 0);
	}
	assert_int_equal(wrong, 0);
}

static void test_a_read_only_mount_refuses_every_change_to_everybody(void **state)
{
	struct tree_env *e = *state;
	struct matrix m = { .e = e };

	make(e, "/t/d", VFS_TYPE_DIR, 0777);
	make(e, "/t/d/in", VFS_TYPE_FILE, 0666);
	make(e, "/t/f", VFS_TYPE_FILE, 0777);
	assert_int_equal(vfs_mount(e->vfs, "ro", &e->fs.root->node, true), 0);
	m.dir = must_walk(e, "/ro/d");
	m.file = must_walk(e, "/ro/f");
	for (size_t p = 0; p < PEOPLE; p++) {
		for (size_t o = 0; o < OPS; o++) {
			bool changes = ops[o].needs & (2 | NEEDS_OWNER | NEEDS_ROOT);

			m.cred = &people[p].cred;
			assert_int_equal(ops[o].fn(&m), changes ? -EROFS : 0);
		}
	}
	vfs_close(m.dir);
	vfs_close(m.file);
	assert_int_equal(vfs_unmount(e->vfs, "ro", false), 0);
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, tree_setup, tree_teardown)
	const struct CMUnitTest tests[] = {
		T(test_every_operation_is_allowed_to_whom_the_reference_allows_it),
		T(test_a_read_only_mount_refuses_every_change_to_everybody),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
