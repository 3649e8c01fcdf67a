/* SPDX-License-Identifier: BSD-3-Clause */
/* Leases: who is told before whom, who waits, and for how long. */
#include "core/vfs/lease.h"

#include "core/vfs/vfs_watch.h"
#include "tests/unit/core/vfs/tree_fixture.h"

#define HOLDER 1u
#define OTHER 2u

struct holder {
	struct vfs_lease *lease;
	unsigned recalled, broken; /* atomic */
};

static void told(void *ctx, enum vfs_lease_event event)
{
	struct holder *h = ctx;

	__atomic_add_fetch(event == VFS_LEASE_RECALLED ? &h->recalled : &h->broken, 1, __ATOMIC_SEQ_CST);
}

static int setup(void **state)
{
	assert_int_equal(tree_setup(state), 0);
	make(*state, "/t/f", VFS_TYPE_FILE, 0644);
	vfs_set_origin(OTHER, 0);
	return 0;
}

static int teardown(void **state)
{
	vfs_set_origin(0, 0);
	return tree_teardown(state);
}

static int take(struct tree_env *e, uint64_t who, enum vfs_lease_type type, struct holder *ret)
{
	struct vfs_handle *h = must_walk(e, "/t/f");
	int err;

	*ret = (struct holder){ 0 };
	err = vfs_lease_take(h, who, type, told, ret, &ret->lease);
	vfs_close(h);
	return err;
}

static int use_at(struct tree_env *e, const char *path, bool writing)
{
	struct vfs_handle *h = must_walk(e, path), *data;
	struct iovec iov = { (char[1]){ 'x' }, 1 };
	size_t len;
	int err;

	err = vfs_open_handle(h, ROOT, writing ? VFS_ACCESS_WRITE : VFS_ACCESS_READ, &data);
	vfs_close(h);
	if (err)
		return err;
	err = writing ? vfs_write(data, &iov, 1, 0, 0) : vfs_read_some(data, &iov, 1, 0, 0, &len);
	vfs_close(data);
	return err;
}

static int use(struct tree_env *e, bool writing)
{
	return use_at(e, "/t/f", writing);
}

static void test_a_read_lease_is_recalled_by_a_writer_and_not_by_readers(void **state)
{
	struct tree_env *e = *state;
	struct holder h;

	e->vfs->leases->break_ns = 0;
	assert_int_equal(take(e, HOLDER, VFS_LEASE_READ, &h), 0);
	assert_int_equal(use(e, false), 0);
	assert_int_equal(h.recalled, 0);
	assert_int_equal(use(e, true), 0);
	assert_int_equal(h.recalled, 1);
	assert_int_equal(h.broken, 1);
	/* It is gone: nobody is told again. */
	assert_int_equal(use(e, true), 0);
	assert_int_equal(h.broken, 1);
	vfs_lease_return(h.lease);
}

static void test_a_write_lease_is_recalled_by_readers_and_by_a_new_size(void **state)
{
	struct tree_env *e = *state;
	struct holder h;

	e->vfs->leases->break_ns = 0;
	assert_int_equal(take(e, HOLDER, VFS_LEASE_WRITE, &h), 0);
	assert_int_equal(use(e, false), 0);
	assert_int_equal(h.broken, 1);
	vfs_lease_return(h.lease);
	assert_int_equal(take(e, HOLDER, VFS_LEASE_WRITE, &h), 0);
	set_attr_at(e, "/t/f", &(struct vfs_set_attr){ .valid = VFS_SET_MODE, .mode = 0600 });
	assert_int_equal(h.recalled, 0);
	set_attr_at(e, "/t/f", &(struct vfs_set_attr){ .valid = VFS_SET_SIZE, .size_bytes = 7 });
	assert_int_equal(h.broken, 1);
	vfs_lease_return(h.lease);
}

static void test_what_the_holder_does_recalls_nothing(void **state)
{
	struct tree_env *e = *state;
	struct holder h;

	assert_int_equal(take(e, HOLDER, VFS_LEASE_WRITE, &h), 0);
	vfs_set_origin(HOLDER, 0);
	assert_int_equal(use(e, true), 0);
	assert_int_equal(use(e, false), 0);
	assert_int_equal(h.recalled, 0);
	vfs_lease_return(h.lease);
}

static void test_leases_that_do_not_go_together_are_refused_and_recalled(void **state)
{
	struct tree_env *e = *state;
	struct holder a, b, c;

	assert_int_equal(take(e, HOLDER, VFS_LEASE_READ, &a), 0);
	assert_int_equal(take(e, OTHER, VFS_LEASE_READ, &b), 0);
	assert_int_equal(take(e, 3, VFS_LEASE_WRITE, &c), -EAGAIN);
	assert_int_equal(a.recalled + b.recalled, 1);
	vfs_lease_return(a.lease);
	vfs_lease_return(b.lease);
	assert_int_equal(take(e, 3, VFS_LEASE_WRITE, &c), 0);
	assert_int_equal(take(e, HOLDER, VFS_LEASE_READ, &a), -EAGAIN);
	assert_int_equal(c.recalled, 1);
	vfs_lease_return(c.lease);
	assert_int_equal(take(e, 0, VFS_LEASE_READ, &a), -EINVAL);
}

static void test_who_must_not_wait_is_told_so_and_the_holder_is_told(void **state)
{
	struct tree_env *e = *state;
	struct vfs_handle *h, *data;
	struct iovec iov = { (char[1]){ 'x' }, 1 };
	struct holder holder;

	h = must_walk(e, "/t/f");
	assert_int_equal(vfs_open_handle(h, ROOT, VFS_ACCESS_WRITE, &data), 0);
	assert_int_equal(take(e, HOLDER, VFS_LEASE_READ, &holder), 0);
	assert_int_equal(vfs_write(data, &iov, 1, 0, VFS_NOWAIT), -EAGAIN);
	assert_int_equal(vfs_write(data, &iov, 1, 0, VFS_NOWAIT), -EAGAIN);
	assert_int_equal(holder.recalled, 1);
	assert_int_equal(holder.broken, 0);
	vfs_lease_return(holder.lease);
	assert_int_equal(vfs_write(data, &iov, 1, 0, VFS_NOWAIT), 0);
	vfs_close(data);
	vfs_close(h);
}

/* ---- waiting ---- */

struct writer {
	struct tree_env *e;
	struct sync_thread thread;
	uint64_t origin; /* 0: OTHER */
	uint64_t peer;
	const char *path; /* NULL: /t/f */
	int err;
};

static void write_one(void *arg)
{
	struct writer *w = arg;

	vfs_set_origin(w->origin ? w->origin : OTHER, w->peer);
	w->err = use_at(w->e, w->path ? w->path : "/t/f", true);
}

static void wait_until(const unsigned *what, unsigned value)
{
	while (__atomic_load_n(what, __ATOMIC_SEQ_CST) < value)
		sync_sleep_ns(SYNC_NS_PER_MS / 10);
}

static void test_a_writer_waits_until_the_lease_is_returned(void **state)
{
	struct tree_env *e = *state;
	struct writer w = { .e = e };
	struct holder h;

	e->vfs->leases->break_ns = 3600 * SYNC_NS_PER_S;
	assert_int_equal(take(e, HOLDER, VFS_LEASE_READ, &h), 0);
	assert_int_equal(sync_thread_start(&w.thread, "writer", write_one, &w), 0);
	wait_until(&h.recalled, 1);
	assert_int_equal(stat_at(e, "/t/f").size_bytes, 0);
	vfs_lease_return(h.lease);
	sync_thread_join(&w.thread);
	assert_int_equal(w.err, 0);
	assert_int_equal(h.broken, 0);
	assert_int_equal(stat_at(e, "/t/f").size_bytes, 1);
}

static void test_when_too_many_would_wait_the_lease_is_broken(void **state)
{
	struct tree_env *e = *state;
	struct writer w[LEASE_WAITERS_DEFAULT + 1];
	struct holder h;

	e->vfs->leases->break_ns = 3600 * SYNC_NS_PER_S;
	assert_int_equal(take(e, HOLDER, VFS_LEASE_READ, &h), 0);
	for (unsigned i = 0; i <= LEASE_WAITERS_DEFAULT; i++) {
		w[i] = (struct writer){ .e = e, .origin = OTHER + i };
		assert_int_equal(sync_thread_start(&w[i].thread, "writer", write_one, &w[i]), 0);
	}
	for (unsigned i = 0; i <= LEASE_WAITERS_DEFAULT; i++) {
		sync_thread_join(&w[i].thread);
		assert_int_equal(w[i].err, 0);
	}
	assert_int_equal(h.broken, 1);
	vfs_lease_return(h.lease);
}

static unsigned waiting(struct tree_env *e)
{
	struct lease_table *t = e->vfs->leases;
	unsigned n;

	sync_mutex_lock(&t->lock);
	n = t->waiter_count;
	sync_mutex_unlock(&t->lock);
	return n;
}

static void wait_for_waiters(struct tree_env *e, unsigned count)
{
	while (waiting(e) < count)
		sync_sleep_ns(SYNC_NS_PER_MS / 10);
}

static void test_who_waits_for_a_file_is_not_passed_by_another_lease(void **state)
{
	struct tree_env *e = *state;
	struct writer w = { .e = e };
	struct holder a, b, c;

	e->vfs->leases->break_ns = 3600 * SYNC_NS_PER_S;
	assert_int_equal(take(e, HOLDER, VFS_LEASE_READ, &a), 0);
	assert_int_equal(take(e, 3, VFS_LEASE_READ, &b), 0);
	assert_int_equal(sync_thread_start(&w.thread, "writer", write_one, &w), 0);
	wait_for_waiters(e, 1);
	/* It would go with the two that are there, but not with the writer. */
	assert_int_equal(take(e, 4, VFS_LEASE_READ, &c), -EAGAIN);
	vfs_lease_return(a.lease);
	wait_until(&b.recalled, 1);
	assert_int_equal(take(e, HOLDER, VFS_LEASE_READ, &a), -EAGAIN);
	vfs_lease_return(b.lease);
	sync_thread_join(&w.thread);
	assert_int_equal(w.err, 0);
	assert_int_equal(take(e, 4, VFS_LEASE_READ, &c), 0);
	vfs_lease_return(c.lease);
}

static void test_all_clients_of_a_peer_take_half_of_the_places_to_wait(void **state)
{
	struct tree_env *e = *state;
	struct writer w[LEASE_WAITERS_DEFAULT / 2], other = { .e = e, .origin = 7, .peer = 2 };
	struct vfs_handle *h;
	struct holder holder, g = { 0 };

	make(e, "/t/g", VFS_TYPE_FILE, 0644);
	e->vfs->leases->break_ns = 3600 * SYNC_NS_PER_S;
	assert_int_equal(take(e, HOLDER, VFS_LEASE_READ, &holder), 0);
	h = must_walk(e, "/t/g");
	assert_int_equal(vfs_lease_take(h, HOLDER, VFS_LEASE_READ, told, &g, &g.lease), 0);
	vfs_close(h);
	for (unsigned i = 0; i < LEASE_WAITERS_DEFAULT / 2; i++) {
		w[i] = (struct writer){ .e = e, .origin = OTHER + i, .peer = 1 };
		assert_int_equal(sync_thread_start(&w[i].thread, "writer", write_one, &w[i]), 0);
	}
	wait_for_waiters(e, LEASE_WAITERS_DEFAULT / 2);
	/* Another one has its place all the same. */
	assert_int_equal(sync_thread_start(&other.thread, "other", write_one, &other), 0);
	wait_for_waiters(e, LEASE_WAITERS_DEFAULT / 2 + 1);
	assert_int_equal(holder.broken, 0);
	/* This client has none waiting, and would have a place, were it not one too many of its peer. */
	vfs_set_origin(9, 1);
	assert_int_equal(use_at(e, "/t/g", true), 0);
	assert_int_equal(g.broken, 1);
	vfs_lease_return(g.lease);
	vfs_lease_return(holder.lease);
	for (unsigned i = 0; i < LEASE_WAITERS_DEFAULT / 2; i++)
		sync_thread_join(&w[i].thread);
	sync_thread_join(&other.thread);
	assert_int_equal(holder.broken, 0);
}

static void test_an_unmount_breaks_leases_and_does_not_wait_for_them(void **state)
{
	struct tree_env *e = *state;
	struct holder h;

	assert_int_equal(take(e, HOLDER, VFS_LEASE_WRITE, &h), 0);
	vfs_close(e->top);
	assert_int_equal(vfs_unmount(e->vfs, "t", false), 0);
	assert_int_equal(h.broken, 1);
	vfs_lease_return(h.lease);
	assert_int_equal(vfs_mount(e->vfs, "t", &e->fs.root->node, false), 0);
	assert_int_equal(vfs_walk(e->vfs, ROOT, NULL, NULL, "/t", 0, &e->top), 0);
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_a_read_lease_is_recalled_by_a_writer_and_not_by_readers),
		T(test_a_write_lease_is_recalled_by_readers_and_by_a_new_size),
		T(test_what_the_holder_does_recalls_nothing),
		T(test_leases_that_do_not_go_together_are_refused_and_recalled),
		T(test_who_must_not_wait_is_told_so_and_the_holder_is_told),
		T(test_a_writer_waits_until_the_lease_is_returned),
		T(test_when_too_many_would_wait_the_lease_is_broken),
		T(test_who_waits_for_a_file_is_not_passed_by_another_lease),
		T(test_all_clients_of_a_peer_take_half_of_the_places_to_wait),
		T(test_an_unmount_breaks_leases_and_does_not_wait_for_them),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
