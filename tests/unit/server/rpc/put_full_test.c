/* SPDX-License-Identifier: BSD-3-Clause */
/* PUT_FILE on a real pool when a quota, or the pool itself, has no room for the data: everything is as it was before.
 */
#include "tests/unit/server/rpc/tank_fixture.h"

#define PUT_BYTES 10240u
#define PUT_BLOCKS 3u
#define BLOCK 4096u
#define CLIENTS 4u
#define PUTS 20u /* by each of them */
#define FITTING 50u

static uint8_t data[PUT_BYTES * 80];

static struct wfsp_op put_op(const char *name, size_t len, uint32_t flags)
{
	return (struct wfsp_op){ .code = WFSP_OP_PUT_FILE,
		                 .mode = 0644,
		                 .flags = flags,
		                 .name = { (const uint8_t *)name, (uint32_t)strlen(name) },
		                 .data = { data, (uint32_t)len } };
}

static void limit(struct tank *k, uint64_t bytes)
{
	struct quota_info limits = { .owner = POOL_QUOTA_DATASET,
		                     .limit_bytes = bytes,
		                     .limit_objects = POOL_QUOTA_KEEP };
	struct pool_admin admin = wfs3_pool_admin(k->w);

	assert_int_equal(admin.driver->quota_set(admin.ctx, "tank", "fs", &limits), 0);
}

static uint32_t try_put(int fd, struct call how, const char *name, size_t len, uint32_t flags)
{
	struct wfsp_op ops[] = { root, put_op(name, len, flags) };
	struct wfsp_compound_args a = { how.slot, how.sequence, how.reply_max, how.within_ms, 2 };
	static uint8_t buf[sizeof(data) + 4096];
	struct wr w = raw_call(buf, sizeof(buf), 9, WFSP_COMPOUND);
	struct wfsp_op_res last;
	uint32_t count;

	wfsp_put_compound_args(&w, &a);
	wfsp_put_op(&w, &ops[0]);
	wfsp_put_op(&w, &ops[1]);
	raw_call_end(fd, &w);
	assert_int_equal(answer(fd, &count, &last), WFSP_OK);
	assert_int_equal(count, 2);
	return last.status;
}

static struct vfs_stat stat_of(struct tank *k, const char *path)
{
	struct vfs_handle *h;
	struct vfs_stat st;

	assert_int_equal(vfs_walk(k->t.f->vfs, &vfs_cred_root, NULL, NULL, path, 0, &h), 0);
	assert_int_equal(vfs_stat(h, &st), 0);
	vfs_close(h);
	return st;
}

static void assert_unchanged(const struct vfs_stat *a, const struct vfs_stat *b)
{
	assert_int_equal(a->change, b->change);
	assert_int_equal(a->size_bytes, b->size_bytes);
	assert_int_equal(a->mtime_ns, b->mtime_ns);
	assert_int_equal(a->ctime_ns, b->ctime_ns);
}

static void assert_holds(struct tank *k, const char *path, uint8_t byte, size_t len)
{
	static uint8_t buf[sizeof(data) + 1];
	struct iovec iov = { buf, sizeof(buf) };
	struct vfs_handle *h, *file;
	size_t got;

	assert_int_equal(vfs_walk(k->t.f->vfs, &vfs_cred_root, NULL, NULL, path, 0, &h), 0);
	assert_int_equal(vfs_open_handle(h, NULL, VFS_ACCESS_READ, &file), 0);
	assert_int_equal(vfs_read_some(file, &iov, 1, 0, 0, &got), 0);
	assert_int_equal(got, len);
	for (size_t i = 0; i < len; i++)
		assert_int_equal(buf[i], byte);
	vfs_close(file);
	vfs_close(h);
}

/* Nothing comes of a new file, or of one that is there, and a repeated request is told the same. */
static void assert_refused(struct tank *k, int fd, uint32_t status, uint32_t sequence)
{
	struct vfs_stat top = stat_of(k, "/tank/fs"), old = stat_of(k, "/tank/fs/old"), now;

	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(try_put(fd, SLOT(1, sequence), "new", sizeof(data), WFSP_CREATE_EXCLUSIVE), status);
		assert_int_equal(size_of(k, "new"), -1);
		assert_int_equal(try_put(fd, SLOT(2, sequence), "old", sizeof(data), 0), status);
	}
	assert_int_equal(try_put(fd, plain, "new", sizeof(data), 0), status);
	assert_int_equal(size_of(k, "new"), -1);
	now = stat_of(k, "/tank/fs");
	assert_unchanged(&top, &now);
	now = stat_of(k, "/tank/fs/old");
	assert_unchanged(&old, &now);
	assert_holds(k, "/tank/fs/old", 'o', PUT_BYTES);
}

static void put_old(int fd)
{
	memset(data, 'o', sizeof(data));
	assert_int_equal(try_put(fd, plain, "old", PUT_BYTES, 0), WFSP_OK);
	memset(data, 'n', sizeof(data));
}

static void test_a_quota_that_is_used_up_keeps_a_put_from_changing_anything(void **state)
{
	struct tank *k = *state;
	int fd = connect_as(&k->t, 1);

	put_old(fd);
	limit(k, (2 * PUT_BLOCKS + 1) * BLOCK);
	assert_int_equal(try_put(fd, SLOT(1, 1), "more", PUT_BYTES, WFSP_CREATE_EXCLUSIVE), WFSP_OK);
	assert_holds(k, "/tank/fs/more", 'n', PUT_BYTES);
	assert_refused(k, fd, WFSP_ERR_DQUOT, 2);
	/* Nor is it taken for done after a restart, nor after a crash. */
	fd = restart_under(k, fd);
	assert_int_equal(try_put(fd, SLOT(1, 2), "new", sizeof(data), WFSP_CREATE_EXCLUSIVE), WFSP_ERR_DQUOT);
	assert_int_equal(size_of(k, "new"), -1);
	close(fd);
	limit(k, 0);
	fd = connect_as(&k->t, 1);
	assert_int_equal(try_put(fd, SLOT(1, 3), "new", sizeof(data), WFSP_CREATE_EXCLUSIVE), WFSP_OK);
	assert_holds(k, "/tank/fs/new", 'n', sizeof(data));
	close(fd);
}

/* What is there may be replaced as often as one likes. */
static void test_what_is_overwritten_takes_no_room_in_a_quota(void **state)
{
	struct tank *k = *state;
	int fd = connect_as(&k->t, 1);

	memset(data, 'n', sizeof(data));
	limit(k, PUT_BLOCKS * BLOCK);
	for (unsigned i = 0; i < 10; i++)
		assert_int_equal(try_put(fd, plain, "f", PUT_BYTES - i, 0), WFSP_OK);
	assert_holds(k, "/tank/fs/f", 'n', PUT_BYTES - 9);
	assert_int_equal(try_put(fd, plain, "f", PUT_BLOCKS * BLOCK + 1, 0), WFSP_ERR_DQUOT);
	assert_holds(k, "/tank/fs/f", 'n', PUT_BYTES - 9);
	close(fd);
}

/* Fill the pool through the file system, until nothing more goes in but names, and half of @data. */
static void fill(struct tank *k)
{
	struct vfs_set_attr shorter = { .valid = VFS_SET_SIZE };
	static uint8_t much[MIB];
	struct vfs_handle *top, *h;
	struct vfs_new attr = { .type = VFS_TYPE_FILE, .mode = 0600 };
	uint64_t at = 0;

	memset(much, 'f', sizeof(much));
	assert_int_equal(vfs_walk(k->t.f->vfs, &vfs_cred_root, NULL, NULL, "/tank/fs", 0, &top), 0);
	assert_int_equal(vfs_create(top, &vfs_cred_root, "filler", 6, &attr, VFS_ACCESS_WRITE, &h, NULL), 0);
	for (size_t step = sizeof(much); step >= BLOCK;) {
		struct iovec iov = { much, step };
		int err = vfs_write(h, &iov, 1, at, 0);

		assert_true(!err || err == -ENOSPC);
		at += err ? 0 : step;
		step = err ? step / 2 : step;
	}
	assert_int_equal(vfs_flush(h, 0), 0);
	shorter.size_bytes = at - sizeof(data) / 2;
	assert_int_equal(vfs_set_attr(h, &vfs_cred_root, &shorter, NULL), 0);
	vfs_close(h);
	vfs_close(top);
}

static void test_a_full_pool_keeps_a_put_from_changing_anything(void **state)
{
	struct tank *k = *state;
	int fd = connect_as(&k->t, 1);
	struct vfs_handle *top;

	put_old(fd);
	fill(k);
	assert_refused(k, fd, WFSP_ERR_NOSPC, 1);
	assert_int_equal(vfs_walk(k->t.f->vfs, &vfs_cred_root, NULL, NULL, "/tank/fs", 0, &top), 0);
	assert_int_equal(vfs_unlink(top, &vfs_cred_root, "filler", 6, false), 0);
	vfs_close(top);
	assert_int_equal(try_put(fd, SLOT(1, 2), "new", sizeof(data), WFSP_CREATE_EXCLUSIVE), WFSP_OK);
	assert_holds(k, "/tank/fs/new", 'n', sizeof(data));
	close(fd);
}

/* Looking for what is missing counts as reading. */
static void assert_same_file(const struct reply *a, const struct reply *b)
{
	struct wfsp_op_res was, is;

	assert_int_equal(take(a, &was, NULL), take(b, &is, NULL));
	assert_int_equal(is.attr.fileid, was.attr.fileid);
	assert_int_equal(is.attr.size_bytes, was.attr.size_bytes);
	assert_int_equal(is.attr.change, was.attr.change);
	assert_int_equal(is.attr.mtime_ns, was.attr.mtime_ns);
	assert_int_equal(is.attr.ctime_ns, was.attr.ctime_ns);
}

/* Its result is with it: nothing is done twice, and what somebody has written since stays. */
static void test_a_put_under_a_quota_is_done_once_over_restarts(void **state)
{
	static struct reply first, second;
	struct wfsp_op ops[] = { root,
		                 put_op("a", PUT_BYTES, WFSP_CREATE_EXCLUSIVE),
		                 root,
		                 put_op("old", PUT_BYTES, 0),
		                 { .code = WFSP_OP_GETATTR } };
	struct wfsp_op more[] = { root,
		                  put_op("b", PUT_BYTES, WFSP_CREATE_EXCLUSIVE),
		                  { .code = WFSP_OP_COMMIT },
		                  { .code = WFSP_OP_GETATTR } };
	struct tank *k = *state;
	int fd = connect_as(&k->t, 1);

	put_old(fd);
	limit(k, MIB);
	ask_well(fd, SLOT(1, 1), ops, 5, &first);
	fd = restart_under(k, fd);
	ask_well(fd, SLOT(1, 1), ops, 5, &second);
	assert_same_file(&first, &second);
	assert_holds(k, "/tank/fs/a", 'n', PUT_BYTES);
	assert_holds(k, "/tank/fs/old", 'n', PUT_BYTES);
	/* What was durable is found after a crash. */
	ask_well(fd, SLOT(1, 2), more, 4, &first);
	close(fd);
	crash(k, 1);
	fd = connect_as(&k->t, 1);
	ask_well(fd, SLOT(1, 2), more, 4, &second);
	assert_same_file(&first, &second);
	assert_holds(k, "/tank/fs/b", 'n', PUT_BYTES);
	close(fd);
}

/* What was made can be used by what follows, as ever. */
static void test_the_file_of_a_put_under_a_quota_is_current(void **state)
{
	const struct wfsp_op ops[] = { root,
		                       put_op("f", PUT_BYTES, 0),
		                       { .code = WFSP_OP_WRITE, .offset = PUT_BYTES, .data = BYTES("tail") },
		                       { .code = WFSP_OP_GETATTR } };
	struct tank *k = *state;
	struct wfsp_op_res last;
	struct reply r;
	int fd = connect_as(&k->t, 1);

	limit(k, MIB);
	ask_well(fd, plain, ops, 4, &r);
	take(&r, &last, NULL);
	assert_int_equal(last.attr.size_bytes, PUT_BYTES + 4);
	assert_int_equal(last.attr.uid, stat_of(k, "/tank/fs/f").uid);
	assert_int_equal(try_put(fd, plain, "f", 10, WFSP_CREATE_EXCLUSIVE), WFSP_ERR_EXIST);
	assert_int_equal(size_of(k, "f"), PUT_BYTES + 4);
	close(fd);
}

/* Several clients at once, of whom only some find room. */
static void test_of_puts_at_once_each_is_whole_or_not_there(void **state)
{
	uint32_t count, done = 0, sent = 0;
	struct tank *k = *state;
	struct wfsp_op_res last;
	char name[32];
	int fds[CLIENTS];

	memset(data, 'n', sizeof(data));
	limit(k, (uint64_t)FITTING * PUT_BLOCKS * BLOCK);
	for (unsigned c = 0; c < CLIENTS; c++)
		fds[c] = connect_as(&k->t, (uint8_t)(1 + c));
	for (; sent < PUTS; sent++) {
		for (unsigned c = 0; c < CLIENTS; c++) {
			struct wfsp_op ops[] = { root, { 0 } };

			snprintf(name, sizeof(name), "f-%u-%u", c, sent);
			ops[1] = put_op(name, PUT_BYTES, WFSP_CREATE_EXCLUSIVE);
			send_ops(fds[c], 9, SLOT(1, sent + 1), ops, 2);
		}
		for (unsigned c = 0; c < CLIENTS; c++) {
			bool ok;

			assert_int_equal(answer(fds[c], &count, &last), WFSP_OK);
			assert_true(last.status == WFSP_OK || last.status == WFSP_ERR_DQUOT);
			ok = last.status == WFSP_OK;
			done += ok;
			snprintf(name, sizeof(name), "f-%u-%u", c, sent);
			assert_int_equal(size_of(k, name), ok ? (int)PUT_BYTES : -1);
		}
	}
	assert_int_equal(done, FITTING);
	assert_int_equal(stat_of(k, "/tank/fs").size_bytes, FITTING);
	for (unsigned c = 0; c < CLIENTS; c++)
		close(fds[c]);
}

#define T(f) cmocka_unit_test_setup_teardown(f, tank_setup, tank_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_a_quota_that_is_used_up_keeps_a_put_from_changing_anything),
		T(test_what_is_overwritten_takes_no_room_in_a_quota),
		T(test_a_full_pool_keeps_a_put_from_changing_anything),
		T(test_a_put_under_a_quota_is_done_once_over_restarts),
		T(test_the_file_of_a_put_under_a_quota_is_current),
		T(test_of_puts_at_once_each_is_whole_or_not_there),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
