/* SPDX-License-Identifier: BSD-3-Clause */
/* Notices: watches and waiting locks over the protocol, as libwfs has them and as they are on the wire. */
#include "server/rpc/notice.h"

#include "protocol/client/wfs_watch.h"
#include "tests/unit/server/rpc/tree_fixture.h"

#define SEEN_MAX 8192

struct seen {
	enum wfs_event_kind kind;
	uint64_t id, file_id, dir_id;
	unsigned what;
	int err;
	char name[16];
};

struct watcher {
	struct wfs *w;
	struct wfs_fh root;
	unsigned count;
	struct seen seen[SEEN_MAX];
};

static void note(void *ctx, const struct wfs_event *e)
{
	struct watcher *to = ctx;
	struct seen *s = &to->seen[to->count++];

	assert_true(to->count < SEEN_MAX);
	*s = (struct seen){
		.kind = e->kind, .id = e->id, .file_id = e->file_id, .dir_id = e->dir_id, .what = e->what, .err = e->err
	};
	snprintf(s->name, sizeof(s->name), "%s", e->name);
}

static struct watcher *watcher_new(struct tree_fixture *t)
{
	struct watcher *w = calloc(1, sizeof(*w));

	assert_non_null(w);
	assert_int_equal(wfs_connect(t->f->address, NULL, &w->w), 0);
	assert_int_equal(wfs_attach(w->w, NULL, "tree", &w->root, NULL), 0);
	return w;
}

static void watcher_free(struct watcher *w)
{
	wfs_disconnect(w->w);
	free(w);
}

/* Take events until there are @count. */
static void await_events(struct watcher *w, unsigned count)
{
	while (w->count < count)
		assert_int_equal(wfs_events(w->w, 20000, note, w), 0);
}

static void make_file(struct wfs *w, const struct wfs_fh *dir, const char *name, struct wfs_fh *ret)
{
	struct wfs_new what = { .type = WFS_TYPE_FILE, .mode = 0666 };

	assert_int_equal(wfs_make(w, NULL, dir, name, &what, ret, NULL), 0);
}

static void test_a_change_by_another_client_is_told(void **state)
{
	struct tree_fixture *t = *state;
	struct watcher *w = watcher_new(t);
	struct wfs_attr attr;
	struct wfs_fh fh;

	assert_int_equal(wfs_watch(w->w, NULL, &w->root, 7, WFS_CHANGE_ALL, 0), 0);
	make_file(t->w, &t->root, "new", &fh);
	assert_int_equal(wfs_getattr(t->w, NULL, &fh, &attr), 0);
	await_events(w, 1);
	assert_int_equal(w->seen[0].kind, WFS_EVENT_CHANGE);
	assert_int_equal(w->seen[0].id, 7);
	assert_int_equal(w->seen[0].what, WFS_CHANGE_CREATED);
	assert_int_equal(w->seen[0].file_id, attr.file_id);
	assert_string_equal(w->seen[0].name, "new");
	assert_int_equal(wfs_unlink(t->w, NULL, &t->root, "new", 0), 0);
	await_events(w, 2);
	assert_int_equal(w->seen[1].what, WFS_CHANGE_REMOVED);
	watcher_free(w);
}

static void test_own_changes_are_left_out_when_that_is_wished(void **state)
{
	struct tree_fixture *t = *state;
	struct watcher *w = watcher_new(t);
	struct wfs_fh fh;

	assert_int_equal(wfs_watch(w->w, NULL, &w->root, 1, WFS_CHANGE_ALL, WFS_WATCH_SUBTREE | WFS_WATCH_OTHERS), 0);
	make_file(w->w, &w->root, "mine", &fh);
	make_file(t->w, &t->root, "theirs", &fh);
	await_events(w, 1);
	assert_string_equal(w->seen[0].name, "theirs");
	watcher_free(w);
}

static void test_a_watch_ends_when_it_is_taken_back(void **state)
{
	struct tree_fixture *t = *state;
	struct watcher *w = watcher_new(t);
	struct wfs_fh fh;

	assert_int_equal(wfs_watch(w->w, NULL, &w->root, 1, WFS_CHANGE_ALL, 0), 0);
	assert_int_equal(wfs_watch(w->w, NULL, &w->root, 1, WFS_CHANGE_ALL, 0), -EEXIST);
	assert_int_equal(wfs_watch(w->w, NULL, &w->root, 2, WFS_CHANGE_ALL, 0), 0);
	assert_int_equal(wfs_watch(w->w, NULL, &w->root, 3, WFS_CHANGE_ALL, 64), -EINVAL);
	assert_int_equal(wfs_watch(w->w, NULL, &w->root, 3, 64, 0), -EINVAL);
	assert_int_equal(wfs_unwatch(w->w, 1), 0);
	assert_int_equal(wfs_unwatch(w->w, 1), -ENOENT);
	make_file(t->w, &t->root, "f", &fh);
	await_events(w, 1);
	assert_int_equal(w->count, 1);
	assert_int_equal(w->seen[0].id, 2);
	watcher_free(w);
}

static void test_what_does_not_fit_is_lost_once_and_then_told_again(void **state)
{
	struct tree_fixture *t = *state;
	struct watcher *w = watcher_new(t);
	struct wfs_fh fh;

	assert_int_equal(wfs_watch(w->w, NULL, &w->root, 1, WFS_CHANGE_CREATED | WFS_CHANGE_REMOVED, 0), 0);
	for (unsigned i = 0; i < RPC_WATCH_NOTICES_MAX / 2 + 10; i++) {
		make_file(t->w, &t->root, "f", &fh);
		assert_int_equal(wfs_unlink(t->w, NULL, &t->root, "f", 0), 0);
	}
	await_events(w, RPC_WATCH_NOTICES_MAX + 1);
	assert_int_equal(w->count, RPC_WATCH_NOTICES_MAX + 1);
	assert_int_equal(w->seen[RPC_WATCH_NOTICES_MAX - 1].kind, WFS_EVENT_CHANGE);
	assert_int_equal(w->seen[RPC_WATCH_NOTICES_MAX].kind, WFS_EVENT_LOST);
	make_file(t->w, &t->root, "after", &fh);
	await_events(w, RPC_WATCH_NOTICES_MAX + 2);
	assert_string_equal(w->seen[RPC_WATCH_NOTICES_MAX + 1].name, "after");
	watcher_free(w);
}

static void test_small_writes_become_one_notice(void **state)
{
	struct tree_fixture *t = *state;
	struct watcher *w = watcher_new(t);
	struct wfs_fh fh;
	struct wfs_file *f;

	make_file(t->w, &t->root, "f", &fh);
	assert_int_equal(wfs_watch(w->w, NULL, &w->root, 1, WFS_CHANGE_ALL, 0), 0);
	assert_int_equal(wfs_open_fh(t->w, NULL, &fh, WFS_ACCESS_WRITE, &f), 0);
	for (unsigned i = 0; i < 50; i++)
		assert_int_equal(wfs_pwrite(f, "x", 1, i, 0), 0);
	wfs_close(f);
	make_file(t->w, &t->root, "last", &fh);
	await_events(w, 2);
	assert_int_equal(w->count, 2);
	assert_int_equal(w->seen[0].what, WFS_CHANGE_DATA);
	watcher_free(w);
}

static void test_a_restart_resets_watches(void **state)
{
	struct tree_fixture *t = *state;
	struct watcher *w = watcher_new(t);

	assert_int_equal(wfs_watch(w->w, NULL, &w->root, 1, WFS_CHANGE_ALL, 0), 0);
	assert_int_equal(wfs_events(w->w, 0, note, w), 0);
	fixture_unserve(t->f);
	assert_true(wfs_events(w->w, 20000, note, w) < 0);
	fixture_serve(t->f, 2000, NULL, 0);
	while (!w->count)
		(void)wfs_events(w->w, 20000, note, w);
	assert_int_equal(w->seen[0].kind, WFS_EVENT_RESET);
	assert_int_equal(wfs_watch(w->w, NULL, &w->root, 1, WFS_CHANGE_ALL, 0), 0);
	watcher_free(w);
}

static void stop_events(void *arg)
{
	wfs_events_stop(arg);
}

static void test_waiting_for_events_can_be_stopped(void **state)
{
	struct watcher *w = watcher_new(*state);
	struct sync_thread thread;
	int err;

	assert_int_equal(sync_thread_start(&thread, "stop", stop_events, w->w), 0);
	do {
		err = wfs_events(w->w, 20000, note, w);
	} while (!err);
	assert_int_equal(err, -ECANCELED);
	sync_thread_join(&thread);
	assert_int_equal(wfs_events(w->w, 20000, note, w), -ECANCELED);
	watcher_free(w);
}

/* ---- locks ---- */

struct locker {
	struct watcher *w;
	struct wfs_file *f;
};

static struct locker locker_new(struct tree_fixture *t, const struct wfs_fh *fh)
{
	struct locker l = { .w = watcher_new(t) };

	assert_int_equal(wfs_open_fh(l.w->w, NULL, fh, WFS_ACCESS_READ | WFS_ACCESS_WRITE, &l.f), 0);
	return l;
}

/* Two clients with a new file "f" open. */
static void lockers_new(struct tree_fixture *t, struct locker *ret_a, struct locker *ret_b, struct wfs_fh *ret_fh)
{
	make_file(t->w, &t->root, "f", ret_fh);
	*ret_a = locker_new(t, ret_fh);
	*ret_b = locker_new(t, ret_fh);
}

static void locker_free(struct locker *l)
{
	wfs_close(l->f);
	watcher_free(l->w);
}

static struct wfs_lock lock_of(uint64_t owner, enum wfs_lock_type type, uint64_t offset)
{
	return (struct wfs_lock){ .owner = owner, .type = type, .offset = offset, .len_bytes = 10 };
}

static void test_a_lock_that_waits_is_granted_by_an_unlock(void **state)
{
	struct wfs_lock lock = lock_of(1, WFS_LOCK_EXCLUSIVE, 0);
	struct locker a, b;
	struct wfs_fh fh;

	lockers_new(*state, &a, &b, &fh);
	assert_int_equal(wfs_file_lock_wait(a.f, &lock, 1), 0);
	assert_int_equal(wfs_file_lock(b.f, &lock), -EAGAIN);
	assert_int_equal(wfs_file_lock_wait(b.f, &lock, 9), -EINPROGRESS);
	assert_int_equal(wfs_file_lock_wait(b.f, &lock, 9), -EEXIST);
	lock.type = WFS_LOCK_NONE;
	assert_int_equal(wfs_file_lock(a.f, &lock), 0);
	await_events(b.w, 1);
	assert_int_equal(b.w->seen[0].kind, WFS_EVENT_LOCK);
	assert_int_equal(b.w->seen[0].id, 9);
	assert_int_equal(b.w->seen[0].err, 0);
	lock.type = WFS_LOCK_SHARED;
	assert_int_equal(wfs_file_lock(a.f, &lock), -EAGAIN);
	locker_free(&a);
	locker_free(&b);
}

static void test_a_wait_can_be_cancelled(void **state)
{
	struct wfs_lock lock = lock_of(1, WFS_LOCK_EXCLUSIVE, 0);
	struct locker a, b;
	struct wfs_fh fh;

	lockers_new(*state, &a, &b, &fh);
	assert_int_equal(wfs_file_lock(a.f, &lock), 0);
	assert_int_equal(wfs_file_lock_wait(b.f, &lock, 9), -EINPROGRESS);
	assert_int_equal(wfs_lock_cancel(b.w->w, 8), 0);
	assert_int_equal(wfs_lock_cancel(b.w->w, 9), 0);
	await_events(b.w, 1);
	assert_int_equal(b.w->seen[0].err, -ECANCELED);
	/* The number can be used again. */
	assert_int_equal(wfs_file_lock_wait(b.f, &lock, 9), -EINPROGRESS);
	locker_free(&b);
	locker_free(&a);
}

static void test_waiting_for_each_other_is_refused(void **state)
{
	struct wfs_lock first = lock_of(1, WFS_LOCK_EXCLUSIVE, 0), second = lock_of(1, WFS_LOCK_EXCLUSIVE, 100);
	struct locker a, b;
	struct wfs_fh fh;

	lockers_new(*state, &a, &b, &fh);
	assert_int_equal(wfs_file_lock(a.f, &first), 0);
	assert_int_equal(wfs_file_lock(b.f, &second), 0);
	assert_int_equal(wfs_file_lock_wait(a.f, &second, 1), -EINPROGRESS);
	assert_int_equal(wfs_file_lock_wait(b.f, &first, 1), -EDEADLK);
	locker_free(&b);
	locker_free(&a);
}

static void test_a_lock_by_a_descriptor_needs_its_access_and_not_the_modes(void **state)
{
	struct wfs_set_attr shut = { .valid = WFS_SET_MODE, .mode = 0 };
	struct wfs_lock lock = lock_of(1, WFS_LOCK_EXCLUSIVE, 0);
	struct tree_fixture *t = *state;
	struct wfs_file *reader;
	struct locker a;
	struct wfs_fh fh;

	make_file(t->w, &t->root, "f", &fh);
	a = locker_new(t, &fh);
	assert_int_equal(wfs_open_fh(t->w, NULL, &fh, WFS_ACCESS_READ, &reader), 0);
	assert_int_equal(wfs_setattr(t->w, NULL, &fh, &shut, NULL), 0);
	assert_int_equal(wfs_file_lock(a.f, &lock), 0);
	assert_int_equal(wfs_file_lock(reader, &lock), -EBADF);
	wfs_close(reader);
	locker_free(&a);
}

static void write_by(void *arg)
{
	struct locker *l = arg;

	assert_int_equal(wfs_pwrite(l->f, "x", 1, 0, 0), 0);
}

static void test_a_lease_is_recalled_before_another_client_writes(void **state)
{
	struct sync_thread thread;
	struct locker a, b;
	struct wfs_attr attr;
	struct wfs_fh fh;

	lockers_new(*state, &a, &b, &fh);
	assert_int_equal(wfs_lease(a.f, (enum wfs_lease_type)3, 5), -EINVAL);
	assert_int_equal(wfs_lease(a.f, WFS_LEASE_READ, 5), 0);
	assert_int_equal(wfs_lease(a.f, WFS_LEASE_READ, 5), -EEXIST);
	assert_int_equal(wfs_lease(b.f, WFS_LEASE_READ, 1), 0);
	assert_int_equal(wfs_lease_return(b.w->w, 1), 0);
	assert_int_equal(wfs_lease_return(b.w->w, 1), -ENOENT);
	assert_int_equal(wfs_lease(b.f, WFS_LEASE_WRITE, 1), -EAGAIN);
	await_events(a.w, 1);
	assert_int_equal(a.w->seen[0].kind, WFS_EVENT_RECALL);
	assert_int_equal(a.w->seen[0].id, 5);
	assert_int_equal(sync_thread_start(&thread, "writer", write_by, &b), 0);
	assert_int_equal(wfs_getattr(a.w->w, NULL, &fh, &attr), 0);
	assert_int_equal(attr.size_bytes, 0);
	assert_int_equal(wfs_lease_return(a.w->w, 5), 0);
	sync_thread_join(&thread);
	assert_int_equal(wfs_getattr(a.w->w, NULL, &fh, &attr), 0);
	assert_int_equal(attr.size_bytes, 1);
	assert_int_equal(wfs_lease(b.f, WFS_LEASE_WRITE, 1), 0);
	assert_int_equal(wfs_pwrite(b.f, "y", 1, 0, 0), 0);
	locker_free(&a);
	locker_free(&b);
}

static void test_a_lease_needs_the_access_that_goes_with_it(void **state)
{
	struct tree_fixture *t = *state;
	struct wfs_file *reader;
	struct wfs_fh fh;

	make_file(t->w, &t->root, "f", &fh);
	assert_int_equal(wfs_open_fh(t->w, NULL, &fh, WFS_ACCESS_READ, &reader), 0);
	assert_int_equal(wfs_lease(reader, WFS_LEASE_WRITE, 1), -EBADF);
	assert_int_equal(wfs_lease(reader, WFS_LEASE_READ, 1), 0);
	/* It is left behind, and goes with the session. */
	wfs_close(reader);
}

/* ---- on the wire ---- */

static uint8_t reply[WFSP_NOTICES_BYTES_MAX + 256];

static int hello(struct tree_fixture *t, uint8_t id)
{
	int fd = raw_connect(t->f);

	raw_hello_call(fd, 1, id);
	assert_true(raw_record(fd, reply, sizeof(reply)) > 0);
	return fd;
}

static void ask(int fd, uint32_t xid, uint64_t channel, uint64_t after, uint32_t wait_ms)
{
	struct wfsp_notices_args a = { .channel = channel, .after = after, .wait_ms = wait_ms };
	uint8_t buf[256];
	struct wr w = raw_call(buf, sizeof(buf), xid, WFSP_NOTICES);

	wfsp_put_notices_args(&w, &a);
	raw_call_end(fd, &w);
}

struct answer {
	uint32_t status, xid;
	struct wfsp_notices_ok ok;
	struct wfsp_notice first;
};

static struct answer answered(int fd)
{
	struct rd r = rd_init(reply, raw_record(fd, reply, sizeof(reply)));
	char text[WFSP_TEXT_MAX + 1];
	struct answer a = { 0 };

	assert_int_equal(rpc_get_reply(&r, &a.xid), 0);
	a.status = wfsp_get_status(&r, text);
	if (a.status == WFSP_OK) {
		wfsp_get_notices_ok(&r, &a.ok);
		for (uint32_t i = 0; i < a.ok.count; i++) {
			struct wfsp_notice v;

			wfsp_get_notice(&r, &v);
			if (!i)
				a.first = v;
		}
		assert_int_equal(rd_left(&r), 0);
	}
	assert_false(r.bad);
	return a;
}

/* To a call that is not refused. */
static struct answer granted(int fd)
{
	struct answer a = answered(fd);

	assert_int_equal(a.status, WFSP_OK);
	return a;
}

static void watch_raw(int fd, uint64_t id)
{
	struct wfsp_compound_args a = { .reply_max_bytes = 4096, .op_count = 2 };
	struct wfsp_op ops[2] = { { .code = WFSP_OP_ROOT, .name = { (const uint8_t *)"tree", 4 } },
		                  { .code = WFSP_OP_WATCH, .id = id, .what = WFS_CHANGE_ALL } };
	uint8_t buf[512];
	struct wr w = raw_call(buf, sizeof(buf), 5, WFSP_COMPOUND);

	wfsp_put_compound_args(&w, &a);
	wfsp_put_op(&w, &ops[0]);
	wfsp_put_op(&w, &ops[1]);
	raw_call_end(fd, &w);
	assert_int_equal(raw_record(fd, reply, sizeof(reply)), 48);
}

static void test_a_held_call_keeps_nobody_from_the_connection(void **state)
{
	struct tree_fixture *t = *state;
	int fd = hello(t, 5);
	struct answer a;
	struct wfs_fh fh;

	watch_raw(fd, 3);
	ask(fd, 6, 0, 0, 20000);
	a = granted(fd);
	assert_int_equal(a.ok.count, 0);
	ask(fd, 7, a.ok.channel, 0, 20000);
	watch_raw(fd, 4);
	make_file(t->w, &t->root, "f", &fh);
	a = granted(fd);
	assert_int_equal(a.xid, 7);
	assert_true(a.ok.count >= 1);
	assert_int_equal(a.first.number, 1);
	assert_int_equal(a.first.kind, WFSP_NOTICE_CHANGE);
	close(fd);
}

static void test_notices_are_told_again_until_they_are_known_to_have_come(void **state)
{
	struct tree_fixture *t = *state;
	int fd = hello(t, 5);
	struct answer a;
	struct wfs_fh fh;

	watch_raw(fd, 3);
	make_file(t->w, &t->root, "f", &fh);
	ask(fd, 6, 0, 0, 0);
	a = granted(fd);
	assert_int_equal(a.ok.count, 1);
	close(fd);
	fd = hello(t, 5);
	ask(fd, 7, a.ok.channel, 0, 0);
	a = granted(fd);
	assert_int_equal(a.ok.count, 1);
	assert_int_equal(a.first.number, 1);
	/* Numbers that were never told are not forgotten. */
	make_file(t->w, &t->root, "g", &fh);
	ask(fd, 8, a.ok.channel, UINT64_MAX, 0);
	a = granted(fd);
	assert_int_equal(a.ok.count, 1);
	assert_int_equal(a.first.number, 2);
	close(fd);
}

static void test_a_second_call_takes_the_place_of_the_first(void **state)
{
	struct tree_fixture *t = *state;
	int fd = hello(t, 5);
	struct answer a;

	ask(fd, 6, 0, 0, 0);
	a = granted(fd);
	ask(fd, 7, a.ok.channel, 0, 60000);
	ask(fd, 8, a.ok.channel, 0, 60000);
	a = granted(fd);
	assert_int_equal(a.xid, 7);
	assert_int_equal(a.ok.count, 0);
	/* The one that is held goes with the connection. */
	close(fd);
}

static void test_a_call_is_held_no_longer_than_it_wishes(void **state)
{
	struct tree_fixture *t = *state;
	int fd = hello(t, 5);
	struct answer a;

	ask(fd, 6, 0, 0, 0);
	a = granted(fd);
	ask(fd, 7, a.ok.channel, 0, 1);
	a = granted(fd);
	assert_int_equal(a.ok.count, 0);
	close(fd);
}

static void test_notices_need_a_client_that_has_said_who_it_is(void **state)
{
	struct tree_fixture *t = *state;
	int fd = raw_connect(t->f);

	ask(fd, 6, 0, 0, 0);
	assert_int_equal(answered(fd).status, WFSP_ERR_INVAL);
	close(fd);
}

/* ---- many ---- */

#define ROUNDS 100

static void change_all(void *arg)
{
	struct tree_fixture *t = arg;
	struct wfs_fh fh;

	for (unsigned i = 0; i < ROUNDS; i++) {
		make_file(t->w, &t->root, "f", &fh);
		assert_int_equal(wfs_unlink(t->w, NULL, &t->root, "f", 0), 0);
	}
}

static void test_events_are_complete_and_in_order_while_others_work(void **state)
{
	struct tree_fixture *t = *state;
	struct watcher *w = watcher_new(t);
	struct sync_thread thread;

	assert_int_equal(wfs_watch(w->w, NULL, &w->root, 1, WFS_CHANGE_CREATED | WFS_CHANGE_REMOVED, WFS_WATCH_SUBTREE),
	                 0);
	assert_int_equal(sync_thread_start(&thread, "changes", change_all, t), 0);
	await_events(w, 2 * ROUNDS);
	sync_thread_join(&thread);
	for (unsigned i = 0; i < 2 * ROUNDS; i++)
		assert_int_equal(w->seen[i].what, i % 2 ? WFS_CHANGE_REMOVED : WFS_CHANGE_CREATED);
	watcher_free(w);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, tree_setup, tree_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_a_change_by_another_client_is_told),
		TEST(test_own_changes_are_left_out_when_that_is_wished),
		TEST(test_a_watch_ends_when_it_is_taken_back),
		TEST(test_what_does_not_fit_is_lost_once_and_then_told_again),
		TEST(test_small_writes_become_one_notice),
		TEST(test_a_restart_resets_watches),
		TEST(test_waiting_for_events_can_be_stopped),
		TEST(test_a_lock_that_waits_is_granted_by_an_unlock),
		TEST(test_a_wait_can_be_cancelled),
		TEST(test_waiting_for_each_other_is_refused),
		TEST(test_a_lock_by_a_descriptor_needs_its_access_and_not_the_modes),
		TEST(test_a_lease_is_recalled_before_another_client_writes),
		TEST(test_a_lease_needs_the_access_that_goes_with_it),
		TEST(test_a_held_call_keeps_nobody_from_the_connection),
		TEST(test_notices_are_told_again_until_they_are_known_to_have_come),
		TEST(test_a_second_call_takes_the_place_of_the_first),
		TEST(test_a_call_is_held_no_longer_than_it_wishes),
		TEST(test_notices_need_a_client_that_has_said_who_it_is),
		TEST(test_events_are_complete_and_in_order_while_others_work),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
