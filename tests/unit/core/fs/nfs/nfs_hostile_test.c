/* SPDX-License-Identifier: BSD-3-Clause */
/* The import of a server that stalls, hangs up and lies. */
#include "tests/unit/core/fs/nfs/nfs_fixture.h"

static void test_a_directory_without_an_end_is_an_error(void **state)
{
	struct world *w = *state;
	uint64_t told = 0;
	char name[16];

	for (unsigned i = 0; i < 40; i++) {
		(void)snprintf(name, sizeof(name), "f%u", i);
		serve_file(w, name, 0, 0);
	}
	lock(w);
	w->server->endless = true;
	unlock(w);
	assert_int_equal(w->root->ops->readdir(w->root, 0, on_any_name, &told), -EIO);
	assert_true(told < 1000);
}

static void test_a_lost_connection_is_made_anew_and_the_call_repeated(void **state)
{
	struct world *w = *state;
	struct nfs_import_stats s;
	struct vfs_node *n;

	serve_file(w, "a", 7, 100000);
	lock(w);
	w->server->drop_after = FAKE_READ;
	unlock(w);
	n = open_file(w, "a", true);
	check_bytes(n, 7, 100000, 0);
	lock(w);
	w->server->drop_before = FAKE_WRITE;
	unlock(w);
	assert_int_equal(write_at(n, 1, 100000, 0), 0);
	assert_int_equal(n->ops->flush(n, 0), 0);
	lock(w);
	w->server->drop_after = FAKE_COMMIT;
	unlock(w);
	assert_int_equal(write_at(n, 2, 100000, 0), 0);
	assert_int_equal(n->ops->flush(n, 0), 0);
	nfs_import_get_stats(w->im, &s);
	assert_true(s.repeated >= 3);
	close_file(n, true);
}

static void test_a_change_of_names_whose_answer_is_lost_is_not_repeated(void **state)
{
	struct world *w = *state;
	struct vfs_new attr = { .type = VFS_TYPE_DIR, .mode = 0755 };
	struct vfs_node *n;

	lock(w);
	w->server->drop_after = FAKE_MKDIR;
	unlock(w);
	assert_int_equal(w->root->ops->create(w->root, "d", 1, &attr, &n), -EIO);
	assert_int_equal(calls(w, FAKE_MKDIR), 1);
	assert_int_equal(lookup(w, "d", &n), 0);
	vfs_node_unref(n);
}

static void test_a_server_that_stalls_costs_one_timeout_and_is_used_when_it_is_back(void **state)
{
	struct world *w = *state;
	uint64_t start = sync_now_ns(), took;
	struct nfs_import_stats s;
	struct vfs_node *n;
	int rc;

	serve_file(w, "a", 7, 100);
	lock(w);
	w->server->stall = true;
	unlock(w);
	assert_int_equal(lookup(w, "a", &n), -ETIMEDOUT);
	took = sync_now_ns() - start;
	assert_true(took >= TIMEOUT_MS * SYNC_NS_PER_MS);
	assert_true(took < 10 * TIMEOUT_MS * SYNC_NS_PER_MS);
	nfs_import_get_stats(w->im, &s);
	assert_true(s.down);
	/* From now on it costs nothing. */
	start = sync_now_ns();
	assert_int_equal(lookup(w, "a", &n), -ETIMEDOUT);
	assert_true(sync_now_ns() - start < TIMEOUT_MS * SYNC_NS_PER_MS / 2);
	lock(w);
	w->server->stall = false;
	unlock(w);
	start = sync_now_ns();
	do {
		rc = lookup(w, "a", &n);
		assert_true(rc == 0 || rc == -ETIMEDOUT);
		assert_true(sync_now_ns() - start < 10 * SYNC_NS_PER_S);
	} while (rc);
	check_bytes(n, 7, 100, 0);
	vfs_node_unref(n);
}

static void test_data_that_a_stalled_server_does_not_take_stays_dirty(void **state)
{
	struct world *w = *state;
	uint64_t deadline = sync_now_ns() + 10 * SYNC_NS_PER_S;
	struct vfs_node *n;

	serve_file(w, "a", 7, 100);
	n = open_file(w, "a", true);
	assert_int_equal(write_at(n, 1, 100, 0), 0);
	lock(w);
	w->server->stall = true;
	unlock(w);
	assert_int_equal(n->ops->flush(n, 0), -ETIMEDOUT);
	check_bytes(n, 1, 100, 0);
	lock(w);
	w->server->stall = false;
	unlock(w);
	while (n->ops->flush(n, 0))
		assert_true(sync_now_ns() < deadline);
	lock(w);
	assert_int_equal(fake_find(w->server, 0, "a")->durable[0], 1);
	unlock(w);
	close_file(n, true);
}

static void test_forced_unmount_ends_what_waits(void **state)
{
	struct world *w = *state;
	struct vfs_node *n;
	uint8_t buf[10];

	serve_file(w, "a", 7, 100);
	n = open_file(w, "a", true);
	assert_int_equal(write_at(n, 1, 100, 0), 0);
	lock(w);
	w->server->stall = true;
	unlock(w);
	nfs_import_kill(w->im);
	assert_int_equal(read_at(n, buf, sizeof(buf), 0), -ESTALE);
	assert_int_equal(n->ops->flush(n, 0), -ESTALE);
	assert_int_equal(nfs_import_sync(w->im), -ETIMEDOUT);
	close_file(n, true);
}

static void test_a_full_server_is_reported_by_the_flush(void **state)
{
	struct world *w = *state;
	struct vfs_node *n;

	serve_file(w, "a", 7, 100);
	n = open_file(w, "a", true);
	assert_int_equal(write_at(n, 1, PAGE, FAKE_DATA_BYTES), 0);
	assert_int_equal(n->ops->flush(n, 0), -ENOSPC);
	assert_int_equal(truncate_to(n, 100), 0);
	assert_int_equal(n->ops->flush(n, 0), 0);
	close_file(n, true);
}

/* Lies. */

struct lie {
	unsigned proc;
	size_t at; /* offset of a word in the record */
	uint32_t value;
	unsigned times;
};

static void tell_lie(void *ctx, unsigned proc, uint8_t *record, size_t *len)
{
	struct lie *l = ctx;

	if (proc != l->proc || !l->times || l->at + 4 > *len)
		return;
	l->times--;
	put_be32(record + l->at, l->value);
}

static void set_lie(struct world *w, struct lie *l)
{
	lock(w);
	w->server->mangle = l ? tell_lie : NULL;
	w->server->mangle_ctx = l;
	unlock(w);
}

/* Of the header (24 bytes) and the status; then of LOOKUP: the handle's length; of READ: attributes and their word. */
#define RESULT 24u
#define LOOKUP_HANDLE 28u
#define READ_COUNT (28u + 4u + 84u)
#define READ_EOF (READ_COUNT + 4u)
#define READ_DATA (READ_COUNT + 8u)

static void test_lengths_that_are_lies_cost_the_call_and_nothing_else(void **state)
{
	static const struct lie lies[] = {
		{ FAKE_LOOKUP, 12, 0xfffffff0, 1 },        { FAKE_LOOKUP, 16, 0xfffffff0, 1 },
		{ FAKE_LOOKUP, 16, 0x80000000, 1 },        { FAKE_LOOKUP, LOOKUP_HANDLE, 0xfffffff0, 1 },
		{ FAKE_LOOKUP, LOOKUP_HANDLE, 65, 1 },     { FAKE_LOOKUP, LOOKUP_HANDLE, 0, 1 },
		{ FAKE_LOOKUP, LOOKUP_HANDLE + 12, 2, 1 }, { FAKE_READ, READ_DATA, 0xfffffffc, 1 },
		{ FAKE_READ, READ_DATA, 99, 1 },           { FAKE_READ, READ_DATA, 1 << 20, 1 },
		{ FAKE_READ, READ_COUNT, 50, 1 },          { FAKE_READ, 28, 0x10000, 1 },
	};
	struct world *w = *state;

	for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
		struct lie l = lies[i];
		struct vfs_node *n;
		uint8_t buf[100];
		char name[16];
		int rc;

		(void)snprintf(name, sizeof(name), "f%zu", i);
		serve_file(w, name, 7, 100);
		set_lie(w, &l);
		rc = lookup(w, name, &n);
		if (rc == 0) {
			rc = read_at(n, buf, sizeof(buf), 0);
			vfs_node_unref(n);
		}
		lock(w);
		assert_int_equal(l.times, 0);
		unlock(w);
		/* The answer to a repeated call is right; what was wrong within a well-formed one is an error. */
		assert_true(rc == 0 || rc == -EBADMSG || rc == -EIO);
		set_lie(w, NULL);
		n = open_file(w, name, false);
		check_bytes(n, 7, 100, 0);
		close_file(n, false);
	}
}

static void test_a_server_that_lies_for_ever_times_out(void **state)
{
	struct world *w = *state;
	struct lie l = { FAKE_LOOKUP, LOOKUP_HANDLE, 0xfffffff0, UINT32_MAX };
	struct nfs_import_stats s;
	struct vfs_node *n;

	serve_file(w, "a", 7, 100);
	set_lie(w, &l);
	assert_int_equal(lookup(w, "a", &n), -ETIMEDOUT);
	nfs_import_get_stats(w->im, &s);
	assert_true(s.bad_replies > 1);
	set_lie(w, NULL);
}

static void test_a_read_that_brings_nothing_for_ever_is_an_error(void **state)
{
	struct world *w = *state;
	struct fake_file *f = serve_file(w, "a", 7, 100);
	struct vfs_node *n = open_file(w, "a", false);
	struct lie l = { FAKE_READ, READ_EOF, 0, UINT32_MAX };
	uint8_t buf[10];

	lock(w);
	f->size = 0;
	unlock(w);
	set_lie(w, &l);
	assert_int_equal(read_at(n, buf, sizeof(buf), 0), -EBADMSG);
	set_lie(w, NULL);
	close_file(n, false);
}

struct noise {
	uint64_t seed;
	unsigned one_in;
};

static uint64_t next(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed;
}

static void make_noise(void *ctx, unsigned proc, uint8_t *record, size_t *len)
{
	struct noise *z = ctx;

	(void)proc;
	if (next(&z->seed) % z->one_in)
		return;
	if (next(&z->seed) % 4 == 0)
		*len = next(&z->seed) % (*len + 1);
	for (unsigned i = 0; *len >= 8 && i < 1 + next(&z->seed) % 3; i++) {
		static const uint32_t values[] = { 0, 1, 2, 0x7fffffff, 0x80000000, 0xffffffff, 0xfffffff0, 64, 4096 };

		put_be32(record + 4 + next(&z->seed) % (*len / 4 - 1) * 4,
		         values[next(&z->seed) % (sizeof(values) / sizeof(values[0]))]);
	}
}

/* Nothing is asserted of the results: with the sanitizers, that nothing is touched that should not be. */
static void test_noise_in_answers_does_no_harm(void **state)
{
	struct world *w = *state;
	struct noise z = { .seed = 88172645463325252u, .one_in = 4 };
	const struct vfs_node_ops *ops = w->root->ops;
	struct vfs_new attr = { .type = VFS_TYPE_FILE, .mode = 0644 };
	struct vfs_node *n;

	for (unsigned i = 0; i < 5; i++)
		serve_file(w, (char[]){ (char)('a' + i), 0 }, 7, 50000);
	lock(w);
	w->server->mangle = make_noise;
	w->server->mangle_ctx = &z;
	unlock(w);
	for (unsigned i = 0; i < 60; i++) {
		char name[2] = { (char)('a' + i % 7), 0 };
		uint64_t told = 0;
		uint8_t buf[1000];

		(void)ops->readdir(w->root, 0, on_any_name, &told);
		if (lookup(w, name, &n) && ops->create(w->root, name, 1, &attr, &n))
			continue;
		if (n->type == VFS_TYPE_FILE && n->ops->open(n, true) == 0) {
			if (size_of(n) >= 1000)
				(void)read_at(n, buf, sizeof(buf), 0);
			(void)write_at(n, 1, 1000, i * 1000);
			(void)n->ops->flush(n, 0);
			n->ops->close(n, true);
		}
		vfs_node_unref(n);
		(void)ops->unlink(w->root, name, 1, false, NULL, NULL);
	}
	lock(w);
	w->server->mangle = NULL;
	unlock(w);
	nfs_import_kill(w->im);
}

/* Mounting. */

static void test_mount_with_a_malformed_answer_is_refused(void **state)
{
	/* Flavours that libnfs would make room for without a look at how many bytes there are. */
	struct lie l = { FAKE_MNT, RESULT + 4 + 12, 0x40000001, 100 };
	struct world *w = *state;

	set_lie(w, &l);
	assert_int_equal(try_mount(w), -EBADMSG);
	assert_null(w->root);
	set_lie(w, NULL);
}

static void test_mount_of_a_server_that_stalls_times_out(void **state)
{
	struct world *w = *state;

	lock(w);
	w->server->stall = true;
	unlock(w);
	assert_int_equal(try_mount(w), -ETIMEDOUT);
}

static void test_mount_of_no_server_is_refused(void **state)
{
	struct world *w = *state;
	struct nfs_import_options o = { .cache = w->cache, .timeout_ms = TIMEOUT_MS };

	assert_int_equal(nfs_import_open("nfs://127.0.0.1:1/x?mountport=1", &o, &w->im, &w->root), -ECONNREFUSED);
	assert_int_equal(nfs_import_open("nfs:/x", &o, &w->im, &w->root), -EINVAL);
	assert_int_equal(nfs_import_open("nfs://h", &o, &w->im, &w->root), -EINVAL);
	assert_int_equal(nfs_import_open("nfs://h/x?what=1", &o, &w->im, &w->root), -EINVAL);
	assert_int_equal(nfs_import_open("nfs://h/x?version=4", &o, &w->im, &w->root), -EINVAL);
	assert_int_equal(nfs_import_open("nfs://h:99999/x", &o, &w->im, &w->root), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH(test_a_directory_without_an_end_is_an_error),
		WITH(test_a_lost_connection_is_made_anew_and_the_call_repeated),
		WITH(test_a_change_of_names_whose_answer_is_lost_is_not_repeated),
		WITH(test_a_server_that_stalls_costs_one_timeout_and_is_used_when_it_is_back),
		WITH(test_data_that_a_stalled_server_does_not_take_stays_dirty),
		WITH(test_forced_unmount_ends_what_waits),
		WITH(test_a_full_server_is_reported_by_the_flush),
		WITH(test_lengths_that_are_lies_cost_the_call_and_nothing_else),
		WITH(test_a_server_that_lies_for_ever_times_out),
		WITH(test_a_read_that_brings_nothing_for_ever_is_an_error),
		WITH(test_noise_in_answers_does_no_harm),
		UNMOUNTED(test_mount_with_a_malformed_answer_is_refused),
		UNMOUNTED(test_mount_of_a_server_that_stalls_times_out),
		UNMOUNTED(test_mount_of_no_server_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
