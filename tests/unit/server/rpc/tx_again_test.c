/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Transactions in slots that are sent again when their answer is lost: to a server that has started anew, over a power
 * cut, or that has forgotten it. On a real pool, which keeps their answers with what they have changed.
 */
#include <sys/stat.h>

#include "core/base/log.h"
#include "core/blk/sim.h"
#include "core/cache/cache.h"
#include "core/fs/wfs3/wfs3.h"
#include "core/vfs/vfs_pool.h"
#include "tests/unit/server/rpc/raw_compound.h"

#define MIB ((size_t)1 << 20)
#define RECORD_MAX 70000u
#define SLOT(n, s)                                                                                                     \
	(struct call)                                                                                                  \
	{                                                                                                              \
		.slot = (n), .sequence = (s), .reply_max = 65536                                                       \
	}

struct tank {
	struct tree_fixture t; /* its server; not its tree */
	struct blk_dev *device;
	struct cache *cache;
	struct wfs3 *w;
};

static const char *const device_name = "sim0";

static int open_device(void *ctx, const char *path, unsigned flags, struct blk_dev **ret)
{
	struct tank *k = ctx;

	(void)path;
	(void)flags;
	*ret = k->device;
	return 0;
}

static void close_device(void *ctx, struct blk_dev *dev)
{
	(void)ctx;
	(void)dev;
}

static void open_storage(struct tank *k)
{
	struct cache_config cache = { .budget = k->t.f->budget,
		                      .min_bytes = MIB,
		                      .dirty_max_bytes = 32 * MIB,
		                      .dirty_background_bytes = 16 * MIB,
		                      .writeback_age_ms = 5000,
		                      .writeback_threads = 1 };
	struct wfs3_config config = {
		.vfs = k->t.f->vfs, .budget = k->t.f->budget, .open = open_device, .close = close_device, .open_ctx = k
	};

	assert_int_equal(cache_new(&cache, &k->cache), 0);
	config.cache = k->cache;
	assert_int_equal(wfs3_new(&config, &k->w), 0);
}

static void close_storage(struct tank *k)
{
	wfs3_free(k->w);
	cache_free(k->cache);
}

static int tank_setup(void **state)
{
	struct pool_create_args args = { .name = "tank", .devices = &device_name, .device_count = 1 };
	const struct vfs_set_attr open_to_all = { .valid = VFS_SET_MODE, .mode = 0777 };
	struct tank *k = calloc(1, sizeof(*k));
	struct pool_admin admin;
	struct vfs_handle *top;
	void *inner;

	log_set_level(LOG_LEVEL_ERROR);
	assert_int_equal(fixture_setup(&inner), 0);
	k->t.f = inner;
	assert_int_equal(blk_sim_new(device_name, 192 * MIB, &k->device), 0);
	open_storage(k);
	admin = wfs3_pool_admin(k->w);
	assert_int_equal(admin.driver->pool_create(admin.ctx, &args), 0);
	assert_int_equal(admin.driver->fs_create(admin.ctx, "tank", "fs"), 0);
	assert_int_equal(vfs_walk(k->t.f->vfs, &vfs_cred_root, NULL, NULL, "/tank/fs", 0, &top), 0);
	assert_int_equal(vfs_set_attr(top, &vfs_cred_root, &open_to_all, NULL), 0);
	assert_int_equal(vfs_flush(top, 0), 0);
	vfs_close(top);
	tree_export(k->t.f, "tree", "/tank/fs", false);
	*state = k;
	return 0;
}

static int tank_teardown(void **state)
{
	struct tank *k = *state;
	void *inner = k->t.f;

	if (k->t.f->server)
		fixture_unserve(k->t.f);
	close_storage(k);
	assert_int_equal(fixture_teardown(&inner), 0);
	blk_close(k->device);
	free(k);
	return 0;
}

static void restart(struct tank *k)
{
	fixture_unserve(k->t.f);
	fixture_serve(k->t.f, 2000, NULL, 0);
}

/* The machine dies and comes back, with what of the device's cache @seed says. */
static void crash(struct tank *k, uint64_t seed)
{
	struct pool_admin admin;
	char *name = NULL;

	blk_sim_unplug(k->device);
	fixture_unserve(k->t.f);
	log_set_level((enum log_level)0);
	close_storage(k);
	log_set_level(LOG_LEVEL_ERROR);
	blk_sim_replug(k->device);
	blk_sim_power_cut(k->device, seed);
	open_storage(k);
	admin = wfs3_pool_admin(k->w);
	assert_int_equal(admin.driver->pool_import(admin.ctx, &device_name, 1, false, &name), 0);
	free(name);
	fixture_serve(k->t.f, 2000, NULL, 0);
}

/* ---- requests ---- */

struct reply {
	size_t len;
	uint8_t record[RECORD_MAX];
};

/* Results of a reply: how many, the last one, and (may be NULL) that of TX_BEGIN. */
static uint32_t take(const struct reply *r, struct wfsp_op_res *ret_last, uint64_t *ret_id)
{
	struct rd at = rd_init(r->record, r->len);
	char text[WFSP_TEXT_MAX + 1];
	uint32_t xid, count;

	assert_int_equal(rpc_get_reply(&at, &xid), 0);
	assert_int_equal(wfsp_get_status(&at, text), WFSP_OK);
	count = rd_be32(&at);
	for (uint32_t i = 0; i < count; i++) {
		wfsp_get_op_res(&at, ret_last);
		if (ret_id && ret_last->code == WFSP_OP_TX_BEGIN)
			*ret_id = ret_last->id;
	}
	assert_false(at.bad);
	assert_int_equal(rd_left(&at), 0);
	return count;
}

static void ask(int fd, struct call how, const struct wfsp_op *ops, uint32_t count, struct reply *ret)
{
	send_ops(fd, 9, how, ops, count);
	ret->len = raw_record(fd, ret->record, sizeof(ret->record));
	assert_true(ret->len > 0);
}

/* All of them succeed. */
static void ask_well(int fd, struct call how, const struct wfsp_op *ops, uint32_t count, struct reply *ret)
{
	struct wfsp_op_res last = { .status = WFSP_ERR_IO };

	ask(fd, how, ops, count, ret);
	assert_int_equal(take(ret, &last, NULL), count);
	assert_int_equal(last.status, WFSP_OK);
}

static void assert_same(const struct reply *a, const struct reply *b)
{
	assert_int_equal(a->len, b->len);
	assert_memory_equal(a->record, b->record, a->len);
}

/* The size of a file outside, or -1. */
static int64_t size_of(struct tank *k, const char *name)
{
	struct vfs_handle *h;
	struct vfs_stat st;
	char path[64];

	snprintf(path, sizeof(path), "/tank/fs/%s", name);
	if (vfs_walk(k->t.f->vfs, &vfs_cred_root, NULL, NULL, path, 0, &h))
		return -1;
	assert_int_equal(vfs_stat(h, &st), 0);
	vfs_close(h);
	return (int64_t)st.size_bytes;
}

#define BEGIN                                                                                                          \
	{                                                                                                              \
		.code = WFSP_OP_TX_BEGIN, .isolation = WFSP_TX_SNAPSHOT, .flags = WFSP_TX_ATOMIC                       \
	}
#define COMMIT                                                                                                         \
	{                                                                                                              \
		.code = WFSP_OP_TX_COMMIT                                                                              \
	}
#define CREATE(text)                                                                                                   \
	{                                                                                                              \
		.code = WFSP_OP_CREATE, .type = WFSP_TYPE_FILE, .mode = 0644, .name = BYTES(text),                     \
		.flags = WFSP_CREATE_EXCLUSIVE, .access = WFSP_ACCESS_READ | WFSP_ACCESS_WRITE                         \
	}
#define APPEND(text)                                                                                                   \
	{                                                                                                              \
		.code = WFSP_OP_WRITE, .flags = WFSP_WRITE_APPEND, .data = BYTES(text)                                 \
	}

static void put(struct tank *k, const char *name)
{
	const struct wfsp_op ops[] = {
		root,
		{ .code = WFSP_OP_PUT_FILE, .mode = 0644, .name = { (const uint8_t *)name, (uint32_t)strlen(name) } }
	};
	struct reply r;
	int fd = connect_as(&k->t, 9);

	ask_well(fd, plain, ops, 2, &r);
	close(fd);
}

static const struct wfsp_op many[] = {
	{ .code = WFSP_OP_ROOT, .name = BYTES("tree") },
	BEGIN,
	CREATE("new"),
	{ .code = WFSP_OP_GET_HANDLE },
	APPEND("one"),
	APPEND("two"),
	{ .code = WFSP_OP_GETATTR },
	COMMIT,
	{ .code = WFSP_OP_ROOT, .name = BYTES("tree") },
	CREATE("behind"),
	{ .code = WFSP_OP_GETATTR },
};
#define MANY (sizeof(many) / sizeof(many[0]))

static void test_an_atomic_compound_is_answered_with_the_same_results_after_a_restart(void **state)
{
	static struct reply first, second;
	struct tank *k = *state;
	int fd = connect_as(&k->t, 1);

	ask_well(fd, SLOT(1, 7), many, MANY, &first);
	close(fd);
	restart(k);
	fd = connect_as(&k->t, 1);
	ask_well(fd, SLOT(1, 7), many, MANY, &second);
	close(fd);
	assert_same(&first, &second);
	assert_int_equal(size_of(k, "new"), 6);
}

/* What was done is told, also when the repeat comes to its turn too late. */
static void test_a_time_that_is_over_does_not_undo_what_was_done_before_a_restart(void **state)
{
	static struct reply first, second;
	struct call hasty = SLOT(1, 7);
	struct tank *k = *state;
	int other, fd = connect_as(&k->t, 1);
	uint8_t buf[256];
	struct wr w;

	ask_well(fd, SLOT(1, 7), many, MANY, &first);
	close(fd);
	restart(k);
	other = raw_connect(k->t.f);
	block_writers(k->t.f, other);
	fd = connect_as(&k->t, 1);
	hasty.within_ms = 1;
	send_ops(fd, 9, hasty, many, MANY);
	/* When what came behind is answered, it has been taken. */
	w = raw_call(buf, sizeof(buf), 10, WFSP_NULL);
	raw_call_end(fd, &w);
	assert_true(raw_record(fd, second.record, sizeof(second.record)) > 0);
	let_a_millisecond_pass();
	memfs_gate(&k->t.f->mem, false);
	second.len = raw_record(fd, second.record, sizeof(second.record));
	assert_same(&first, &second);
	close(fd);
	close(other);
}

static void test_a_guard_before_a_transaction_is_passed_again(void **state)
{
	static struct reply first, second;
	struct wfsp_op ops[] = {
		root,  { .code = WFSP_OP_LOOKUP, .name = BYTES("f") }, { .code = WFSP_OP_GUARD }, BEGIN, APPEND("once"),
		COMMIT
	};
	const struct wfsp_op look[] = { ops[0], ops[1], { .code = WFSP_OP_GETATTR } };
	struct tank *k = *state;
	struct wfsp_op_res last;
	int fd = connect_as(&k->t, 1);

	put(k, "f");
	ask_well(fd, plain, look, 3, &first);
	take(&first, &last, NULL);
	ops[2].change = last.attr.change;
	ask_well(fd, SLOT(1, 1), ops, 6, &first);
	close(fd);
	restart(k);
	fd = connect_as(&k->t, 1);
	ask_well(fd, SLOT(1, 1), ops, 6, &second);
	assert_same(&first, &second);
	assert_int_equal(size_of(k, "f"), 4);
	/* Another request is not taken for it. */
	ask(fd, SLOT(1, 2), ops, 6, &second);
	assert_int_equal(take(&second, &last, NULL), 3);
	assert_int_equal(last.status, WFSP_ERR_CHANGED);
	close(fd);
}

static void test_a_commit_is_answered_after_a_restart(void **state)
{
	static struct reply first, second;
	struct wfsp_op begin[] = { root, BEGIN, CREATE("new") },
	               commit[] = { root, { .code = WFSP_OP_TX_USE }, COMMIT };
	struct tank *k = *state;
	struct wfsp_op_res last;
	int fd = connect_as(&k->t, 1);

	begin[1].flags = 0;
	ask_well(fd, SLOT(1, 1), begin, 3, &first);
	take(&first, &last, &commit[1].id);
	ask_well(fd, SLOT(1, 2), commit, 3, &first);
	close(fd);
	restart(k);
	fd = connect_as(&k->t, 1);
	ask_well(fd, SLOT(1, 2), commit, 3, &second);
	assert_same(&first, &second);
	/* What nobody has asked before is not answered so. */
	ask(fd, SLOT(1, 3), commit, 3, &second);
	assert_int_equal(take(&second, &last, NULL), 2);
	assert_int_equal(last.status, WFSP_ERR_NOENT);
	close(fd);
}

/* Either it was there, and is answered, or it was not, and is done: it is never done twice. */
static void test_a_power_cut_leaves_a_transaction_and_its_answer_or_neither(void **state)
{
	static struct reply first, second;
	struct tank *k = *state;

	for (uint32_t i = 0; i < 16; i++) {
		char name[] = "new-a";
		struct wfsp_op ops[] = {
			root, BEGIN, CREATE(""), APPEND("once"), { .code = WFSP_OP_GET_HANDLE }, COMMIT
		};
		bool durable = i % 4 == 3;
		int64_t there;
		int fd = connect_as(&k->t, 1);

		name[4] = (char)('a' + i);
		ops[2].name = (struct wfsp_bytes){ (const uint8_t *)name, 5 };
		ops[5].flags = durable ? WFSP_TX_DURABLE : 0;
		ask_well(fd, SLOT(1, i + 1), ops, 6, &first);
		close(fd);
		if (i % 4 == 2)
			put(k, "other");
		crash(k, i);
		there = size_of(k, name);
		assert_true(there == 4 || (there == -1 && !durable));
		fd = connect_as(&k->t, 1);
		ask_well(fd, SLOT(1, i + 1), ops, 6, &second);
		close(fd);
		if (there == 4)
			assert_same(&first, &second);
		assert_int_equal(size_of(k, name), 4);
	}
}

static void test_a_compound_that_failed_is_not_taken_for_done(void **state)
{
	const struct wfsp_op ops[] = { root, BEGIN, CREATE("new"), CREATE("old"), COMMIT };
	static struct reply r;
	struct tank *k = *state;
	struct wfsp_op_res last;
	int fd = connect_as(&k->t, 1);
	struct wfsp_op two[6];

	put(k, "old");
	memcpy(two, ops, sizeof(ops));
	/* The second name is made in the first one's place, the top. */
	two[3] = root;
	two[4] = ops[3];
	two[5] = ops[4];
	for (unsigned i = 0; i < 2; i++) {
		ask(fd, SLOT(1, 1), two, 6, &r);
		assert_int_equal(take(&r, &last, NULL), 5);
		assert_int_equal(last.status, WFSP_ERR_EXIST);
		assert_int_equal(size_of(k, "new"), -1);
		close(fd);
		restart(k);
		fd = connect_as(&k->t, 1);
	}
	close(fd);
}

static void test_another_request_with_the_number_of_a_transaction_is_refused(void **state)
{
	const struct wfsp_op other[] = { root, BEGIN, CREATE("other"), COMMIT };
	static struct reply r;
	struct tank *k = *state;
	struct wfsp_op_res last;
	int fd = connect_as(&k->t, 1);

	ask_well(fd, SLOT(1, 1), many, MANY, &r);
	close(fd);
	restart(k);
	fd = connect_as(&k->t, 1);
	ask(fd, SLOT(1, 1), other, 4, &r);
	assert_int_equal(take(&r, &last, NULL), 2);
	assert_int_equal(last.status, WFSP_ERR_SEQUENCE);
	assert_int_equal(size_of(k, "other"), -1);
	close(fd);
}

static void test_of_a_second_transaction_nothing_is_kept_but_that_it_was_committed(void **state)
{
	const struct wfsp_op ops[] = { root, BEGIN, CREATE("a"), COMMIT, root, BEGIN, CREATE("b"), COMMIT };
	static struct reply r;
	struct tank *k = *state;
	struct wfsp_op_res last;
	int fd = connect_as(&k->t, 1);

	ask_well(fd, SLOT(1, 1), ops, 8, &r);
	close(fd);
	restart(k);
	fd = connect_as(&k->t, 1);
	ask(fd, SLOT(1, 1), ops, 8, &r);
	assert_int_equal(take(&r, &last, NULL), 6);
	assert_int_equal(last.status, WFSP_ERR_DONE);
	close(fd);
}

/* ---- large answers ---- */

#define BULK 60000u
#define BULKY 150u /* more than a session may keep */

static int connect_number(struct tank *k, uint32_t number)
{
	struct wfsp_hello_args a = { .client_id = { 1 }, .connection = number, .client_name = "raw" };
	uint8_t buf[4096];
	struct wr w = raw_call(buf, sizeof(buf), 1, WFSP_HELLO);
	int fd = raw_connect(k->t.f);

	wfsp_put_hello_args(&w, &a);
	raw_call_end(fd, &w);
	assert_true(raw_record(fd, buf, sizeof(buf)) > 0);
	return fd;
}

/* It reads a large file, and makes another one. */
static void ask_bulky(struct tank *k, uint32_t number, struct reply *ret)
{
	char name[16];
	struct wfsp_op ops[] = { root,
		                 BEGIN,
		                 { .code = WFSP_OP_LOOKUP, .name = BYTES("bulk") },
		                 { .code = WFSP_OP_READ, .max_bytes = BULK },
		                 root,
		                 CREATE(""),
		                 COMMIT };
	int fd = connect_number(k, number / 64);

	snprintf(name, sizeof(name), "n%u", number);
	ops[5].name = (struct wfsp_bytes){ (const uint8_t *)name, (uint32_t)strlen(name) };
	ask(fd, SLOT(number % 64 + 1, 1), ops, 7, ret);
	close(fd);
}

static void test_large_answers_are_kept_up_to_a_bound(void **state)
{
	static struct reply first, again, later;
	static uint8_t data[BULK];
	const struct wfsp_op bulk[] = { root, CREATE("bulk"), { .code = WFSP_OP_WRITE, .data = { data, BULK } } };
	struct tank *k = *state;
	struct wfsp_op_res last;
	uint32_t kept = 0;
	int fd = connect_as(&k->t, 9);

	for (unsigned i = 0; i < BULK; i++)
		data[i] = (uint8_t)(i * 7919 >> 3);
	ask_well(fd, plain, bulk, 3, &first);
	close(fd);
	for (uint32_t i = 0; i < BULKY; i++) {
		ask_bulky(k, i, i ? &later : &first);
		assert_int_equal(take(i ? &later : &first, &last, NULL), 7);
		assert_int_equal(last.status, WFSP_OK);
	}
	assert_true(first.len > BULK);
	/* The memory has room for less: the file system is asked. */
	ask_bulky(k, 0, &again);
	assert_same(&first, &again);
	restart(k);
	ask_bulky(k, 0, &again);
	assert_same(&first, &again);
	for (uint32_t i = 0; i < BULKY; i++) {
		uint32_t count;

		ask_bulky(k, i, &again);
		count = take(&again, &last, NULL);
		assert_int_equal(last.status, count == 7 ? WFSP_OK : WFSP_ERR_DONE);
		kept += count == 7;
	}
	assert_true(kept > BULKY / 2 && kept < BULKY);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, tank_setup, tank_teardown)
	const struct CMUnitTest tests[] = {
		T(test_an_atomic_compound_is_answered_with_the_same_results_after_a_restart),
		T(test_a_commit_is_answered_after_a_restart),
		T(test_a_time_that_is_over_does_not_undo_what_was_done_before_a_restart),
		T(test_a_guard_before_a_transaction_is_passed_again),
		T(test_a_power_cut_leaves_a_transaction_and_its_answer_or_neither),
		T(test_a_compound_that_failed_is_not_taken_for_done),
		T(test_another_request_with_the_number_of_a_transaction_is_refused),
		T(test_of_a_second_transaction_nothing_is_kept_but_that_it_was_committed),
		T(test_large_answers_are_kept_up_to_a_bound),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
