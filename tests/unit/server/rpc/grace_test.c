/* SPDX-License-Identifier: BSD-3-Clause */
/* Locks over a restart of the server: who had some has them again, and nobody gets them before. */
#include "protocol/client/locks.h"
#include "server/rpc/grace.h"
#include "tests/unit/server/rpc/raw_compound.h"

static void restart(struct tree_fixture *t)
{
	uint64_t boot = rpc_server_boot_id(t->f->server);

	fixture_unserve(t->f);
	fixture_serve(t->f, boot + 1, NULL, 0);
}

/* The status of a lock, or another operation on it, on the file "f". */
static uint32_t lock(int fd, uint32_t code, uint64_t offset)
{
	const struct wfsp_op ops[] = {
		root,
		{ .code = WFSP_OP_CREATE, .type = WFSP_TYPE_FILE, .name = BYTES("f"), .mode = 0666 },
		{ .code = code,
		  .lock = { .owner = 7, .type = WFSP_LOCK_EXCLUSIVE, .offset = offset, .len_bytes = 10 } },
	};
	struct wfsp_op_res last;
	uint32_t count;

	assert_int_equal(run(fd, plain, ops, 3, &count, &last), WFSP_OK);
	assert_int_equal(count, 3);
	return last.status;
}

static uint32_t say_reclaimed(int fd)
{
	const struct wfsp_op op = { .code = WFSP_OP_RECLAIMED };
	struct wfsp_op_res last;
	uint32_t count;

	assert_int_equal(run(fd, plain, &op, 1, &count, &last), WFSP_OK);
	return last.status;
}

static void test_who_had_locks_has_them_again_and_others_wait(void **state)
{
	struct tree_fixture *t = *state;
	int had = connect_as(t, 1), other;

	assert_int_equal(lock(had, WFSP_OP_LOCK, 0), WFSP_OK);
	assert_int_equal(lock(had, WFSP_OP_LOCK, 20), WFSP_OK);
	assert_int_equal(t->f->lock_puts, 1);
	restart(t);
	close(had);
	other = connect_as(t, 2);
	had = connect_as(t, 1);
	assert_int_equal(lock(other, WFSP_OP_LOCK, 100), WFSP_ERR_GRACE);
	assert_int_equal(lock(other, WFSP_OP_LOCK_RECLAIM, 100), WFSP_ERR_STALE);
	assert_int_equal(lock(had, WFSP_OP_LOCK, 100), WFSP_ERR_GRACE);
	assert_int_equal(lock(had, WFSP_OP_LOCK_RECLAIM, 0), WFSP_OK);
	assert_int_equal(lock(other, WFSP_OP_LOCK, 0), WFSP_ERR_GRACE);
	/* What others say does not count. */
	assert_int_equal(say_reclaimed(other), WFSP_OK);
	assert_int_equal(lock(other, WFSP_OP_LOCK, 0), WFSP_ERR_GRACE);
	assert_int_equal(say_reclaimed(had), WFSP_OK);
	assert_int_equal(lock(other, WFSP_OP_LOCK, 0), WFSP_ERR_AGAIN);
	assert_int_equal(lock(other, WFSP_OP_LOCK, 20), WFSP_OK);
	assert_int_equal(lock(had, WFSP_OP_LOCK_RECLAIM, 40), WFSP_ERR_STALE);
	assert_int_equal(lock(had, WFSP_OP_LOCK, 40), WFSP_OK);
	close(had);
	close(other);
}

static void test_without_locks_nobody_waits(void **state)
{
	struct tree_fixture *t = *state;
	int fd;

	restart(t);
	fd = connect_as(t, 1);
	assert_int_equal(lock(fd, WFSP_OP_LOCK, 0), WFSP_OK);
	assert_int_equal(lock(fd, WFSP_OP_LOCK_RECLAIM, 20), WFSP_ERR_STALE);
	close(fd);
}

static void test_who_comes_too_late_has_lost_its_locks(void **state)
{
	struct tree_fixture *t = *state;
	int had = connect_as(t, 1), other;

	assert_int_equal(lock(had, WFSP_OP_LOCK, 0), WFSP_OK);
	close(had);
	t->f->grace_s = 0;
	restart(t);
	other = connect_as(t, 2);
	had = connect_as(t, 1);
	assert_int_equal(lock(had, WFSP_OP_LOCK_RECLAIM, 0), WFSP_ERR_STALE);
	assert_int_equal(lock(other, WFSP_OP_LOCK, 0), WFSP_OK);
	assert_int_equal(t->f->lock_key_count, 1);
	close(had);
	close(other);
}

static void test_a_lock_that_cannot_be_recorded_is_not_granted(void **state)
{
	struct tree_fixture *t = *state;
	int fd = connect_as(t, 1);

	t->f->lock_put_error = -ENOSPC;
	assert_int_equal(lock(fd, WFSP_OP_LOCK, 0), WFSP_ERR_NOSPC);
	t->f->lock_put_error = 0;
	assert_int_equal(lock(fd, WFSP_OP_LOCK, 0), WFSP_OK);
	assert_int_equal(t->f->lock_key_count, 1);
	close(fd);
}

struct kept {
	unsigned count;
};

static void keep_none(void *ctx, void (*fn)(void *fn_ctx, const uint8_t *key), void *fn_ctx)
{
	(void)ctx;
	(void)fn;
	(void)fn_ctx;
}

static int keep(void *ctx, const uint8_t *keys, unsigned count)
{
	(void)keys;
	((struct kept *)ctx)->count = count;
	return 0;
}

/* A session's end may take until its client is back with another one. */
static void test_the_end_of_an_old_session_does_not_forget_a_new_one(void **state)
{
	struct kept kept = { 0 };
	struct rpc_lock_store store = { .ctx = &kept, .each = keep_none, .put = keep };
	const uint8_t key[RPC_SESSION_KEY_BYTES] = { 1 };
	struct rpc_grace *g;

	(void)state;
	assert_int_equal(rpc_grace_new(&(struct rpc_server_config){ .lock_store = &store }, &g), 0);
	assert_int_equal(rpc_grace_admit(g, key, 1, false), 0);
	assert_int_equal(kept.count, 1);
	assert_int_equal(rpc_grace_admit(g, key, 2, false), 0);
	rpc_grace_forget(g, key, 1);
	assert_int_equal(kept.count, 1);
	rpc_grace_forget(g, key, 2);
	assert_int_equal(kept.count, 0);
	rpc_grace_free(g);
}

static struct wfs_fh make_file(struct tree_fixture *t)
{
	struct wfs_attr attr;
	struct wfs_fh fh;

	assert_int_equal(
	        wfs_make(t->w, NULL, &t->root, "f", &(struct wfs_new){ WFS_TYPE_FILE, 0666, 0, NULL }, &fh, &attr), 0);
	return fh;
}

static void test_the_library_has_its_locks_again(void **state)
{
	struct tree_fixture *t = *state;
	struct wfs_lock a = { .owner = 1, .type = WFS_LOCK_EXCLUSIVE, .offset = 0, .len_bytes = 100 },
	                hole = { .owner = 1, .type = WFS_LOCK_NONE, .offset = 40, .len_bytes = 20 },
	                b = { .owner = 2, .type = WFS_LOCK_SHARED, .offset = 200, .len_bytes = UINT64_MAX }, probe = a,
	                found;
	struct wfs_cred cred = { .uid = geteuid(), .gid = getegid() };
	struct wfs *other;
	unsigned lost;
	struct wfs_fh f;

	f = make_file(t);
	assert_int_equal(wfs_locks_keep(t->w, &lost), 0);
	assert_int_equal(wfs_lock(t->w, NULL, &f, &a), 0);
	assert_int_equal(wfs_lock(t->w, NULL, &f, &hole), 0);
	assert_int_equal(wfs_lock(t->w, &cred, &f, &b), 0);
	restart(t);
	assert_int_equal(wfs_connect(t->f->address, NULL, &other), 0);
	assert_int_equal(wfs_lock(other, NULL, &f, &hole), 0);
	probe.len_bytes = 1;
	assert_int_equal(wfs_lock(other, NULL, &f, &probe), -ERESTART);
	assert_int_equal(wfs_locks_keep(t->w, &lost), 0);
	assert_int_equal(lost, 0);
	/* Each end of each part is taken, and nothing else. */
	for (unsigned at = 0; at < 260; at++) {
		bool taken = at < 40 || (at >= 60 && at < 100) || at >= 200;

		probe.offset = at;
		assert_int_equal(wfs_lock_test(other, NULL, &f, &probe, &found), 0);
		assert_int_equal(found.type != WFS_LOCK_NONE, taken);
	}
	probe.offset = 40;
	assert_int_equal(wfs_lock(other, NULL, &f, &probe), 0);
	/* Somebody who has had one, and has none, is waited for, too, and says so. */
	hole.owner = probe.owner;
	assert_int_equal(wfs_lock(other, NULL, &f, &hole), 0);
	restart(t);
	assert_int_equal(wfs_locks_keep(t->w, &lost), 0);
	assert_int_equal(wfs_lock(t->w, NULL, &f, &b), -ERESTART);
	assert_int_equal(wfs_locks_keep(other, &lost), 0);
	assert_int_equal(wfs_lock(t->w, &cred, &f, &b), 0);
	/* Again, and somebody else was faster. */
	t->f->grace_s = 0;
	restart(t);
	probe.offset = 70;
	assert_int_equal(wfs_lock(other, NULL, &f, &probe), 0);
	assert_int_equal(wfs_locks_keep(t->w, &lost), 0);
	assert_int_equal(lost, 3);
	probe.offset = 0;
	assert_int_equal(wfs_lock(other, NULL, &f, &probe), -EAGAIN);
	wfs_disconnect(other);
}

/* The server records who asks before it looks whether that one can have it, and does not know who was not answered. */
static void test_the_library_says_that_it_has_none_when_it_never_got_one(void **state)
{
	struct tree_fixture *t = *state;
	struct wfs_lock a = { .owner = 1, .type = WFS_LOCK_EXCLUSIVE, .offset = 0, .len_bytes = 100 };
	struct wfs *other;
	unsigned lost;
	struct wfs_fh f;

	f = make_file(t);
	assert_int_equal(wfs_lock(t->w, NULL, &f, &a), 0);
	assert_int_equal(wfs_connect(t->f->address, NULL, &other), 0);
	assert_int_equal(wfs_lock(other, NULL, &f, &a), -EAGAIN);
	assert_int_equal(t->f->lock_key_count, 2);
	restart(t);
	assert_int_equal(wfs_locks_keep(t->w, &lost), 0);
	assert_int_equal(lost, 0);
	assert_int_equal(wfs_lock(other, NULL, &f, &a), -ERESTART);
	assert_int_equal(wfs_locks_keep(other, &lost), 0);
	assert_int_equal(lost, 0);
	assert_int_equal(wfs_lock(other, NULL, &f, &a), -EAGAIN);
	wfs_disconnect(other);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, tree_setup, tree_teardown)
	const struct CMUnitTest tests[] = {
		T(test_who_had_locks_has_them_again_and_others_wait),
		T(test_without_locks_nobody_waits),
		T(test_who_comes_too_late_has_lost_its_locks),
		T(test_a_lock_that_cannot_be_recorded_is_not_granted),
		T(test_the_end_of_an_old_session_does_not_forget_a_new_one),
		T(test_the_library_has_its_locks_again),
		T(test_the_library_says_that_it_has_none_when_it_never_got_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
