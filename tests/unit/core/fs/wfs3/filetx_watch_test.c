/* SPDX-License-Identifier: BSD-3-Clause */
/* Transactions on a file tree, and those who watch it: they hear of what was changed when it is committed. */
#include "core/vfs/vfs_tx.h"
#include "core/vfs/vfs_watch.h"
#include "tests/unit/core/fs/wfs3/filetx_fixture.h"

#define DEVICE_BYTES (256u << 20)
#define SEEN_MAX 32

struct seen {
	unsigned count;
	struct {
		unsigned what;
		uint64_t dir, object;
		char name[16];
	} all[SEEN_MAX];
};

static void note(void *ctx, const struct vfs_change *c)
{
	struct seen *s = ctx;

	assert_true(s->count < SEEN_MAX);
	s->all[s->count].what = c->what;
	s->all[s->count].dir = c->dir;
	s->all[s->count].object = c->object;
	snprintf(s->all[s->count].name, sizeof(s->all[0].name), "%.*s", (int)c->name_len, c->name_len ? c->name : "");
	s->count++;
}

static bool told(const struct seen *s, unsigned what, uint64_t dir, const char *name, uint64_t object)
{
	for (unsigned i = 0; i < s->count; i++)
		if (s->all[i].what & what && s->all[i].dir == dir && s->all[i].object == object &&
		    strcmp(s->all[i].name, name) == 0)
			return true;
	return false;
}

static struct vfs_handle *create(struct vfs_handle *dir, const char *name, enum vfs_type type)
{
	struct vfs_new attr = { .type = type, .mode = 0755 };
	struct vfs_handle *h;

	assert_ok(vfs_create(dir, &vfs_cred_root, name, strlen(name), &attr,
	                     type == VFS_TYPE_FILE ? VFS_ACCESS_WRITE : 0, &h, NULL));
	return h;
}

static uint64_t number(struct vfs_handle *h)
{
	struct vfs_stat st;

	assert_ok(vfs_stat(h, &st));
	return st.object;
}

static void write_to(struct vfs_handle *h)
{
	struct iovec iov = { (void *)(uintptr_t) "text", 4 };

	assert_ok(vfs_write(h, &iov, 1, 0, 0));
}

static void test_watches_hear_of_a_transaction_when_it_is_committed(void **state)
{
	struct vfs_watch_spec spec = { .what = VFS_CHANGE_ALL, .subtree = true };
	struct vfs_tx_args args = { .isolation = VFS_TX_SNAPSHOT };
	struct vfs_handle *top, *in, *file, *dir, *made, *inner, *again;
	struct seen far = { 0 }, near = { 0 };
	uint64_t top_number, dir_number, made_number, file_number, inner_number;
	struct vfs_watch *watches[2];
	struct tree_fixture t;
	struct vfs_tx *tx;

	(void)state;
	tree_init(&t, DEVICE_BYTES);
	assert_ok(vfs_walk(t.f.vfs, &vfs_cred_root, NULL, NULL, "/tank/fs", 0, &top));
	file = create(top, "file", VFS_TYPE_FILE);
	vfs_close(create(top, "gone", VFS_TYPE_FILE));
	assert_ok(vfs_watch_open(top, &vfs_cred_root, &spec, note, &far, &watches[0]));
	spec.subtree = false;
	assert_ok(vfs_watch_open(top, &vfs_cred_root, &spec, note, &near, &watches[1]));
	assert_ok(vfs_tx_begin(top, &args, &tx));
	assert_ok(vfs_tx_handle(tx, top, &in));
	dir = create(in, "dir", VFS_TYPE_DIR);
	inner = create(dir, "inner", VFS_TYPE_FILE);
	made = create(in, "made", VFS_TYPE_FILE);
	write_to(made);
	assert_ok(vfs_unlink(in, &vfs_cred_root, "gone", 4, false));
	assert_ok(vfs_lookup(in, &vfs_cred_root, "file", 4, &again));
	assert_ok(vfs_set_attr(again, &vfs_cred_root, &(struct vfs_set_attr){ .valid = VFS_SET_MODE, .mode = 0600 },
	                       NULL));
	assert_int_equal(far.count, 0);
	assert_int_equal(near.count, 0);
	top_number = number(top);
	file_number = number(file);
	dir_number = number(dir);
	inner_number = number(inner);
	made_number = number(made);
	assert_ok(vfs_tx_commit(tx, false, NULL));
	assert_true(told(&near, VFS_CHANGE_CREATED, top_number, "dir", dir_number));
	assert_true(told(&near, VFS_CHANGE_CREATED, top_number, "made", made_number));
	assert_true(told(&near, VFS_CHANGE_ATTR, 0, "", file_number));
	assert_false(told(&near, VFS_CHANGE_CREATED, dir_number, "inner", inner_number));
	assert_true(told(&far, VFS_CHANGE_CREATED, dir_number, "inner", inner_number));
	assert_true(told(&far, VFS_CHANGE_ATTR, 0, "", file_number));
	for (unsigned i = 0, removed = 0; i <= near.count; i++) {
		if (i == near.count)
			assert_int_equal(removed, 1);
		else if (near.all[i].what == VFS_CHANGE_REMOVED && strcmp(near.all[i].name, "gone") == 0)
			removed++;
	}
	vfs_close(again);
	vfs_close(made);
	vfs_close(inner);
	vfs_close(dir);
	vfs_close(in);
	vfs_tx_free(tx);
	vfs_close(file);
	vfs_watch_close(watches[0]);
	vfs_watch_close(watches[1]);
	vfs_close(top);
	tree_done(&t);
}

static void test_watches_hear_nothing_of_a_transaction_that_is_aborted(void **state)
{
	struct vfs_watch_spec spec = { .what = VFS_CHANGE_ALL, .subtree = true };
	struct vfs_tx_args args = { .isolation = VFS_TX_SNAPSHOT };
	struct vfs_handle *top, *in;
	struct seen seen = { 0 };
	struct vfs_watch *watch;
	struct tree_fixture t;
	struct vfs_tx *tx;

	(void)state;
	tree_init(&t, DEVICE_BYTES);
	assert_ok(vfs_walk(t.f.vfs, &vfs_cred_root, NULL, NULL, "/tank/fs", 0, &top));
	assert_ok(vfs_watch_open(top, &vfs_cred_root, &spec, note, &seen, &watch));
	assert_ok(vfs_tx_begin(top, &args, &tx));
	assert_ok(vfs_tx_handle(tx, top, &in));
	vfs_close(create(in, "dir", VFS_TYPE_DIR));
	vfs_close(in);
	vfs_tx_free(tx);
	assert_int_equal(seen.count, 0);
	vfs_watch_close(watch);
	vfs_close(top);
	tree_done(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_watches_hear_of_a_transaction_when_it_is_committed),
		cmocka_unit_test(test_watches_hear_nothing_of_a_transaction_that_is_aborted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
