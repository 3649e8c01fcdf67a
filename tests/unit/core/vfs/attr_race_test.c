/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A change of attributes that was allowed to somebody is not applied to what is not his any more: another one that
 * comes between the check and the change, and two threads that go on against each other.
 */
#include "core/base/bytes.h"
#include "core/base/nowait.h"
#include "tests/unit/core/vfs/tree_fixture.h"

#define ROUNDS 500u
#define ACL_BYTES 28u

static const struct vfs_cred owner = { .uid = 100, .gid = 200 };
static struct vfs_node_ops quick_ops; /* those of the tree, which never waits */

struct race {
	struct tree_env *e;
	struct vfs_handle *file;
	struct vfs_set_attr by_root; /* what root does in the middle of the owner's change */
	int err; /* of that */
	bool tried;
	unsigned stop; /* atomic */
	struct sync_mutex lock; /* what follows */
	struct sync_cond changed;
	enum turn { OVER, ARMED, IN_THE_MIDDLE, TRIED } turn;
};

static void start(struct race *r, struct tree_env *e, uint32_t mode)
{
	*r = (struct race){ .e = e };
	quick_ops = treefs_ops;
	quick_ops.nowait = true;
	make(e, "/t/f", VFS_TYPE_FILE, 0755);
	own(e, "/t/f", owner.uid, owner.gid, mode);
	r->file = must_walk(e, "/t/f");
}

/* It is the same thread, so it must not wait; when it would have to, the change is made afterwards. */
static void root_comes_between(void *ctx, const struct vfs_set_attr *attr)
{
	struct race *r = ctx;

	(void)attr;
	if (r->tried)
		return;
	r->tried = true;
	nowait_begin();
	r->err = vfs_set_attr(r->file, ROOT, &r->by_root, NULL);
	nowait_end();
}

static struct treefs_node *node_at(struct tree_env *e, const char *path)
{
	uint64_t object = object_at(e, path);
	struct treefs_node *t = e->fs.all;

	while (t->st.object != object)
		t = t->next;
	return t;
}

static void interrupt_with(struct race *r, const struct vfs_set_attr *by_root)
{
	r->by_root = *by_root;
	r->e->fs.before_set_ctx = r;
	r->e->fs.before_set = root_comes_between;
	node_at(r->e, "/t/f")->node.ops = &quick_ops;
}

static struct vfs_stat after(struct race *r)
{
	struct vfs_stat st;

	assert_true(r->tried);
	if (r->err == -EAGAIN)
		r->err = vfs_set_attr(r->file, ROOT, &r->by_root, NULL);
	assert_int_equal(r->err, 0);
	assert_int_equal(vfs_stat(r->file, &st), 0);
	vfs_close(r->file);
	return st;
}

static const struct vfs_set_attr take_it = { .valid = VFS_SET_UID };
static const struct vfs_set_attr freeze = { .valid = VFS_SET_FLAGS, .flags = VFS_FLAG_IMMUTABLE };

static void test_a_mode_that_the_owner_sets_does_not_make_roots_file_setuid(void **state)
{
	const struct vfs_set_attr lend = { .valid = VFS_SET_MODE, .mode = 04755 };
	struct vfs_stat st;
	struct race r;

	start(&r, *state, 0755);
	interrupt_with(&r, &take_it);
	assert_int_equal(vfs_set_attr(r.file, &owner, &lend, NULL), 0);
	st = after(&r);
	assert_int_equal(st.uid, 0);
	assert_int_equal(st.mode, 0755);
}

static void plain_acl(uint8_t acl[ACL_BYTES])
{
	static const uint16_t entries[][2] = { { 1, 7 }, { 4, 5 }, { 32, 5 } };

	put_le32(acl, 2);
	for (unsigned i = 0; i < 3; i++) {
		put_le16(acl + 4 + 8 * i, entries[i][0]);
		put_le16(acl + 6 + 8 * i, entries[i][1]);
		put_le32(acl + 8 + 8 * i, UINT32_MAX);
	}
}

static void test_an_acl_that_the_owner_sets_does_not_make_roots_file_setuid(void **state)
{
	uint8_t acl[ACL_BYTES];
	struct vfs_stat st;
	struct race r;

	plain_acl(acl);
	start(&r, *state, 04755);
	interrupt_with(&r, &take_it);
	assert_int_equal(vfs_set_xattr(r.file, &owner, VFS_ACL_ACCESS, acl, sizeof(acl), 0), 0);
	st = after(&r);
	assert_int_equal(st.uid, 0);
	assert_int_equal(st.mode, 0755);
}

static void test_flags_that_the_owner_leaves_as_they_are_do_not_thaw_a_file(void **state)
{
	const struct vfs_set_attr same = { .valid = VFS_SET_FLAGS };
	struct vfs_stat st;
	struct race r;

	start(&r, *state, 0644);
	interrupt_with(&r, &freeze);
	assert_int_equal(vfs_set_attr(r.file, &owner, &same, NULL), 0);
	st = after(&r);
	assert_int_equal(st.flags, VFS_FLAG_IMMUTABLE);
	set_flags(*state, "/t/f", 0);
}

static _Thread_local bool is_owner, interrupted;

/* What was allowed to the owner stays on its way until root has tried something. */
static void let_root_try(void *ctx, const struct vfs_set_attr *attr)
{
	struct race *r = ctx;

	(void)attr;
	if (!is_owner)
		return;
	sync_mutex_lock(&r->lock);
	if (r->turn == ARMED) {
		r->turn = IN_THE_MIDDLE;
		sync_cond_broadcast(&r->changed);
		while (r->turn == IN_THE_MIDDLE)
			sync_cond_wait(&r->changed, &r->lock);
		interrupted = true;
	}
	sync_mutex_unlock(&r->lock);
}

static void set_turn(struct race *r, enum turn turn)
{
	sync_mutex_lock(&r->lock);
	r->turn = turn;
	sync_cond_broadcast(&r->changed);
	sync_mutex_unlock(&r->lock);
}

static void owner_goes_on(void *arg)
{
	const struct vfs_set_attr lend = { .valid = VFS_SET_MODE, .mode = 04755 }, same = { .valid = VFS_SET_FLAGS };
	struct race *r = arg;
	uint8_t acl[ACL_BYTES];

	is_owner = true;
	plain_acl(acl);
	for (unsigned i = 0; !__atomic_load_n(&r->stop, __ATOMIC_RELAXED); i++) {
		if (i % 3 == 0)
			(void)vfs_set_attr(r->file, &owner, &lend, NULL);
		else if (i % 3 == 1)
			(void)vfs_set_xattr(r->file, &owner, VFS_ACL_ACCESS, acl, sizeof(acl), 0);
		else
			(void)vfs_set_attr(r->file, &owner, &same, NULL);
		if (interrupted)
			set_turn(r, OVER);
		interrupted = false;
	}
}

static void await_turn(struct race *r, enum turn turn)
{
	sync_mutex_lock(&r->lock);
	while (r->turn != turn)
		sync_cond_wait(&r->changed, &r->lock);
	sync_mutex_unlock(&r->lock);
}

/* While the owner is in the middle of a change: what must wait for that is done when it is over. */
static struct vfs_stat root_interrupts(struct race *r, const struct vfs_set_attr *attr)
{
	struct vfs_stat st;
	int err;

	set_turn(r, ARMED);
	await_turn(r, IN_THE_MIDDLE);
	nowait_begin();
	err = vfs_set_attr(r->file, ROOT, attr, NULL);
	nowait_end();
	set_turn(r, TRIED);
	await_turn(r, OVER);
	if (err == -EAGAIN)
		err = vfs_set_attr(r->file, ROOT, attr, NULL);
	assert_int_equal(err, 0);
	assert_int_equal(vfs_stat(r->file, &st), 0);
	return st;
}

static void test_an_owner_who_goes_on_never_wins_against_root(void **state)
{
	const struct vfs_set_attr give_it = { .valid = VFS_SET_UID, .uid = owner.uid };
	const struct vfs_set_attr thaw = { .valid = VFS_SET_FLAGS };
	struct sync_thread thread;
	struct vfs_stat st;
	struct race r;

	start(&r, *state, 0755);
	node_at(r.e, "/t/f")->node.ops = &quick_ops;
	sync_mutex_init(&r.lock, SYNC_RANK_LEAF, "race");
	sync_cond_init(&r.changed);
	r.e->fs.before_set_ctx = &r;
	r.e->fs.before_set = let_root_try;
	assert_int_equal(sync_thread_start(&thread, "owner", owner_goes_on, &r), 0);
	for (unsigned i = 0; i < ROUNDS; i++) {
		st = root_interrupts(&r, &take_it);
		assert_int_equal(st.uid, 0);
		assert_int_equal(st.mode & 04000, 0);
		assert_int_equal(vfs_set_attr(r.file, ROOT, &give_it, NULL), 0);
		assert_int_equal(root_interrupts(&r, &freeze).flags, VFS_FLAG_IMMUTABLE);
		assert_int_equal(vfs_set_attr(r.file, ROOT, &thaw, NULL), 0);
	}
	__atomic_store_n(&r.stop, 1, __ATOMIC_RELAXED);
	sync_thread_join(&thread);
	sync_cond_done(&r.changed);
	sync_mutex_done(&r.lock);
	vfs_close(r.file);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_a_mode_that_the_owner_sets_does_not_make_roots_file_setuid,
		                                tree_setup, tree_teardown),
		cmocka_unit_test_setup_teardown(test_an_acl_that_the_owner_sets_does_not_make_roots_file_setuid,
		                                tree_setup, tree_teardown),
		cmocka_unit_test_setup_teardown(test_flags_that_the_owner_leaves_as_they_are_do_not_thaw_a_file,
		                                tree_setup, tree_teardown),
		cmocka_unit_test_setup_teardown(test_an_owner_who_goes_on_never_wins_against_root, tree_setup,
		                                tree_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
