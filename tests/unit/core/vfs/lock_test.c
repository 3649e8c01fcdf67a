/* SPDX-License-Identifier: BSD-3-Clause */
/* Locks on byte ranges: conflicts, splitting and joining, the queue, deadlocks, cancelling; and against a model. */
#include "core/vfs/lock_priv.h"
#include "tests/unit/core/vfs/tree_fixture.h"
#include "tests/unit/slow.h"

struct waiter {
	int calls, result;
	uint64_t id;
};

static void granted(void *ctx, int result)
{
	struct waiter *w = ctx;

	w->calls++;
	w->result = result;
}

static int setup(void **state)
{
	struct tree_env *e;

	(void)tree_setup(state);
	e = *state;
	make(e, "/t/f", VFS_TYPE_FILE, 0644);
	make(e, "/t/g", VFS_TYPE_FILE, 0644);
	return 0;
}

static int take(struct vfs_handle *h, uint64_t owner, enum vfs_lock_type type, uint64_t offset, uint64_t len)
{
	const struct vfs_lock lock = { .owner = owner, .type = type, .offset = offset, .len_bytes = len };

	return vfs_lock(h, &lock, NULL, NULL, NULL);
}

static int take_or_wait(struct vfs_handle *h, uint64_t owner, enum vfs_lock_type type, uint64_t offset, uint64_t len,
                        struct waiter *w)
{
	const struct vfs_lock lock = { .owner = owner, .type = type, .offset = offset, .len_bytes = len };

	*w = (struct waiter){ 0 };
	return vfs_lock(h, &lock, granted, w, &w->id);
}

#define SH VFS_LOCK_SHARED
#define EX VFS_LOCK_EXCLUSIVE

static void test_shared_locks_go_together_and_exclusive_ones_do_not(void **state)
{
	struct tree_env *e = *state;
	struct vfs_handle *f = must_walk(e, "/t/f"), *g = must_walk(e, "/t/g");

	assert_int_equal(take(f, 1, SH, 0, 100), 0);
	assert_int_equal(take(f, 2, SH, 50, 100), 0);
	assert_int_equal(take(f, 3, EX, 99, 1), -EAGAIN);
	assert_int_equal(take(f, 1, EX, 0, 50), 0);
	assert_int_equal(take(f, 1, EX, 0, 51), -EAGAIN);
	assert_int_equal(take(f, 3, EX, 150, 1), 0);
	assert_int_equal(take(g, 3, EX, 0, UINT64_MAX), 0);
	assert_int_equal(take(g, 4, SH, UINT64_MAX - 1, 1), -EAGAIN);
	vfs_unlock_owner(e->vfs, 1);
	vfs_unlock_owner(e->vfs, 2);
	vfs_unlock_owner(e->vfs, 3);
	assert_int_equal(take(g, 4, EX, 0, UINT64_MAX), 0);
	assert_int_equal(take(f, 4, EX, 0, UINT64_MAX), 0);
	vfs_unlock_owner(e->vfs, 4);
	vfs_close(f);
	vfs_close(g);
}

static void test_bad_ranges_are_refused(void **state)
{
	struct tree_env *e = *state;
	struct vfs_handle *f = must_walk(e, "/t/f");

	assert_int_equal(take(f, 1, EX, 0, 0), -EINVAL);
	assert_int_equal(take(f, 1, (enum vfs_lock_type)3, 0, 1), -EINVAL);
	assert_int_equal(take(f, 1, EX, UINT64_MAX - 1, 2), -EOVERFLOW);
	assert_int_equal(vfs_unlock(f, 1, 5, 0), -EINVAL);
	assert_int_equal(vfs_unlock(f, 1, 0, UINT64_MAX), 0);
	vfs_close(f);
}

static void test_lock_test_names_who_is_in_the_way(void **state)
{
	struct tree_env *e = *state;
	struct vfs_handle *f = must_walk(e, "/t/f");
	struct vfs_lock want = { .owner = 2, .type = EX, .offset = 0, .len_bytes = UINT64_MAX }, other;

	assert_int_equal(vfs_lock_test(f, &want, &other), -ENOENT);
	assert_int_equal(take(f, 1, SH, 10, 10), 0);
	assert_int_equal(take(f, 1, SH, 20, 5), 0);
	assert_int_equal(vfs_lock_test(f, &want, &other), 0);
	assert_int_equal(other.owner, 1);
	assert_int_equal(other.offset, 10);
	assert_int_equal(other.len_bytes, 15);
	assert_int_equal(other.type, SH);
	want.owner = 1;
	assert_int_equal(vfs_lock_test(f, &want, &other), -ENOENT);
	vfs_unlock_owner(e->vfs, 1);
	vfs_close(f);
}

static void test_who_waits_is_served_in_the_order_of_asking(void **state)
{
	struct tree_env *e = *state;
	struct vfs_handle *f = must_walk(e, "/t/f");
	struct waiter w2, w3, w4;

	assert_int_equal(take(f, 1, SH, 0, 10), 0);
	assert_int_equal(take_or_wait(f, 2, EX, 0, 10, &w2), -EINPROGRESS);
	/* A reader that comes later does not pass the writer. */
	assert_int_equal(take_or_wait(f, 3, SH, 0, 10, &w3), -EINPROGRESS);
	assert_int_equal(take(f, 4, SH, 5, 1), -EAGAIN);
	assert_int_equal(take_or_wait(f, 4, SH, 20, 10, &w4), 0);
	assert_int_equal(w4.calls, 0);
	assert_int_equal(vfs_unlock(f, 1, 0, 10), 0);
	assert_int_equal(w2.calls, 1);
	assert_int_equal(w2.result, 0);
	assert_int_equal(w3.calls, 0);
	assert_int_equal(vfs_unlock(f, 2, 0, UINT64_MAX), 0);
	assert_int_equal(w3.calls, 1);
	vfs_unlock_owner(e->vfs, 3);
	vfs_unlock_owner(e->vfs, 4);
	vfs_close(f);
}

static void test_a_part_that_is_unlocked_lets_others_in(void **state)
{
	struct tree_env *e = *state;
	struct vfs_handle *f = must_walk(e, "/t/f");
	struct waiter w;

	assert_int_equal(take(f, 1, EX, 0, 100), 0);
	assert_int_equal(take_or_wait(f, 2, SH, 40, 20, &w), -EINPROGRESS);
	assert_int_equal(vfs_unlock(f, 1, 30, 20), 0);
	assert_int_equal(w.calls, 0);
	assert_int_equal(vfs_unlock(f, 1, 45, 20), 0);
	assert_int_equal(w.calls, 1);
	assert_int_equal(take(f, 3, SH, 29, 1), -EAGAIN);
	assert_int_equal(take(f, 3, SH, 65, 1), -EAGAIN);
	assert_int_equal(take(f, 3, SH, 30, 35), 0);
	for (uint64_t owner = 1; owner <= 3; owner++)
		vfs_unlock_owner(e->vfs, owner);
	vfs_close(f);
}

static void test_a_downgrade_lets_readers_in(void **state)
{
	struct tree_env *e = *state;
	struct vfs_handle *f = must_walk(e, "/t/f");
	struct waiter w;

	assert_int_equal(take(f, 1, EX, 0, 100), 0);
	assert_int_equal(take_or_wait(f, 2, SH, 0, 100, &w), -EINPROGRESS);
	assert_int_equal(take(f, 1, SH, 0, 100), 0);
	assert_int_equal(w.calls, 1);
	vfs_unlock_owner(e->vfs, 1);
	vfs_unlock_owner(e->vfs, 2);
	vfs_close(f);
}

static void test_deadlocks_are_found_over_several_files(void **state)
{
	struct tree_env *e = *state;
	struct vfs_handle *f = must_walk(e, "/t/f"), *g = must_walk(e, "/t/g");
	struct waiter w1, w2, w3;

	assert_int_equal(take(f, 1, EX, 0, 1), 0);
	assert_int_equal(take(g, 2, EX, 0, 1), 0);
	assert_int_equal(take(g, 3, EX, 1, 1), 0);
	assert_int_equal(take_or_wait(g, 1, EX, 0, 1, &w1), -EINPROGRESS);
	assert_int_equal(take_or_wait(g, 2, EX, 1, 1, &w2), -EINPROGRESS);
	assert_int_equal(take_or_wait(f, 3, SH, 0, 1, &w3), -EDEADLK);
	assert_int_equal(w3.calls, 0);
	/* Nobody waits in a circle: 3 goes on, and so do the others then. */
	vfs_unlock_owner(e->vfs, 3);
	assert_int_equal(w2.calls, 1);
	assert_int_equal(w1.calls, 0);
	vfs_unlock_owner(e->vfs, 2);
	assert_int_equal(w1.calls, 1);
	vfs_unlock_owner(e->vfs, 1);
	vfs_close(f);
	vfs_close(g);
}

static void test_two_upgrades_of_shared_locks_deadlock(void **state)
{
	struct tree_env *e = *state;
	struct vfs_handle *f = must_walk(e, "/t/f");
	struct waiter w1, w2;

	assert_int_equal(take(f, 1, SH, 0, 10), 0);
	assert_int_equal(take(f, 2, SH, 0, 10), 0);
	assert_int_equal(take_or_wait(f, 1, EX, 0, 10, &w1), -EINPROGRESS);
	assert_int_equal(take_or_wait(f, 2, EX, 0, 10, &w2), -EDEADLK);
	vfs_unlock_owner(e->vfs, 2);
	assert_int_equal(w1.calls, 1);
	assert_int_equal(w1.result, 0);
	vfs_unlock_owner(e->vfs, 1);
	vfs_close(f);
}

static void test_holders_pass_those_who_wait_for_them(void **state)
{
	struct tree_env *e = *state;
	struct vfs_handle *f = must_walk(e, "/t/f");
	struct waiter w2;

	assert_int_equal(take(f, 1, SH, 0, 10), 0);
	assert_int_equal(take_or_wait(f, 2, EX, 0, 20, &w2), -EINPROGRESS);
	assert_int_equal(take(f, 1, SH, 10, 10), 0);
	vfs_unlock_owner(e->vfs, 1);
	assert_int_equal(w2.calls, 1);
	vfs_unlock_owner(e->vfs, 2);
	vfs_close(f);
}

static void test_a_wait_that_is_cancelled_frees_those_behind_it(void **state)
{
	struct tree_env *e = *state;
	struct vfs_handle *f = must_walk(e, "/t/f");
	struct waiter w2, w3;

	assert_int_equal(take(f, 1, SH, 0, 10), 0);
	assert_int_equal(take_or_wait(f, 2, EX, 0, 10, &w2), -EINPROGRESS);
	assert_int_equal(take_or_wait(f, 3, SH, 0, 10, &w3), -EINPROGRESS);
	vfs_lock_cancel(e->vfs, w2.id);
	assert_int_equal(w2.calls, 1);
	assert_int_equal(w2.result, -ECANCELED);
	assert_int_equal(w3.calls, 1);
	assert_int_equal(w3.result, 0);
	vfs_lock_cancel(e->vfs, w2.id); /* it is not there any more */
	assert_int_equal(w2.calls, 1);
	vfs_unlock_owner(e->vfs, 1);
	vfs_unlock_owner(e->vfs, 3);
	vfs_close(f);
}

static void test_an_owner_that_is_gone_waits_no_more(void **state)
{
	struct tree_env *e = *state;
	struct vfs_handle *f = must_walk(e, "/t/f");
	struct waiter w2;

	assert_int_equal(take(f, 1, EX, 0, 10), 0);
	assert_int_equal(take_or_wait(f, 2, EX, 0, 10, &w2), -EINPROGRESS);
	vfs_unlock_owner(e->vfs, 2);
	assert_int_equal(w2.calls, 1);
	assert_int_equal(w2.result, -ECANCELED);
	vfs_unlock_owner(e->vfs, 1);
	vfs_close(f);
}

static void test_what_an_owner_only_waits_for_is_forgotten_with_it(void **state)
{
	struct tree_env *e = *state;
	struct vfs_handle *f = must_walk(e, "/t/f");
	struct waiter a, b, c;

	/* Two waits of one owner on one file, and somebody behind them. */
	assert_int_equal(take(f, 1, EX, 0, 10), 0);
	assert_int_equal(take_or_wait(f, 2, EX, 0, 10, &a), -EINPROGRESS);
	assert_int_equal(take_or_wait(f, 2, EX, 5, 10, &b), -EINPROGRESS);
	assert_int_equal(take_or_wait(f, 3, EX, 10, 10, &c), -EINPROGRESS);
	vfs_unlock_owner(e->vfs, 2);
	assert_int_equal(a.result, -ECANCELED);
	assert_int_equal(b.result, -ECANCELED);
	assert_int_equal(c.result, 0);
	vfs_unlock_owner(e->vfs, 1);
	vfs_unlock_owner(e->vfs, 3);
	vfs_close(f);
}

static void test_a_piece_can_be_unlocked_when_there_are_as_many_locks_as_can_be(void **state)
{
	struct tree_env *e = *state;
	struct vfs_handle *f = must_walk(e, "/t/f");
	unsigned i;

	e->vfs->locks->held_max = 100;
	for (i = 0; take(f, 1, EX, i * 100, 50) == 0; i++)
		;
	assert_true(i >= 98 && i <= 100);
	assert_int_equal(take(f, 1, EX, i * 100, 50), -ENOLCK);
	for (i = 0; i < 90; i++)
		assert_int_equal(vfs_unlock(f, 1, i * 100 + 20, 5), 0);
	assert_int_equal(take(f, 2, EX, 20, 5), -ENOLCK);
	vfs_unlock_owner(e->vfs, 1);
	assert_int_equal(take(f, 2, EX, 20, 5), 0);
	vfs_unlock_owner(e->vfs, 2);
	vfs_close(f);
}

static int take_of_share(struct vfs_handle *h, uint64_t owner, uint64_t offset, struct vfs_lock_share *share,
                         struct waiter *w)
{
	const struct vfs_lock lock = { .owner = owner, .type = EX, .offset = offset, .len_bytes = 50, .share = share };

	return vfs_lock(h, &lock, w ? granted : NULL, w, w ? &w->id : NULL);
}

static void test_one_client_can_hold_a_quarter_of_all_locks(void **state)
{
	struct vfs_lock_share one = { 0 }, other = { 0 };
	struct tree_env *e = *state;
	struct vfs_handle *f = must_walk(e, "/t/f");
	uint64_t i = 0;

	e->vfs->locks->held_max = 100;
	while (take_of_share(f, 1 + i % 5, i * 100, &one, NULL) == 0)
		i++;
	assert_int_equal(take_of_share(f, 9, i * 100, &one, NULL), -ENOLCK);
	assert_int_equal(one.held, 24);
	assert_int_equal(take_of_share(f, 10, i * 100, &other, NULL), 0);
	/* What is given back counts no more, by whatever way. */
	assert_int_equal(vfs_unlock(f, 1, 0, 50), 0);
	assert_int_equal(one.held, 23);
	for (uint64_t owner = 1; owner <= 5; owner++)
		vfs_unlock_owner(e->vfs, owner);
	assert_int_equal(one.held, 0);
	vfs_unlock_owner(e->vfs, 10);
	assert_int_equal(other.held, 0);
	vfs_close(f);
}

static void test_unlocking_pieces_takes_a_quarter_of_the_reserve_at_most(void **state)
{
	struct vfs_lock_share one = { 0 };
	struct tree_env *e = *state;
	struct vfs_handle *f = must_walk(e, "/t/f");
	const struct vfs_lock all = { .owner = 1, .type = EX, .len_bytes = UINT64_MAX, .share = &one };
	uint64_t i = 0;

	e->vfs->locks->held_max = 100;
	assert_int_equal(vfs_lock(f, &all, NULL, NULL, NULL), 0);
	while (vfs_unlock(f, 1, i * 100, 50) == 0)
		i++;
	assert_int_equal(vfs_unlock(f, 1, i * 100, 50), -ENOLCK);
	assert_true(one.held > 24);
	assert_true(one.held <= 25 + LOCKS_RESERVE / 4);
	/* What makes no more of them is possible. */
	assert_int_equal(vfs_unlock(f, 1, i * 100, UINT64_MAX), 0);
	vfs_unlock_owner(e->vfs, 1);
	assert_int_equal(one.held, 0);
	vfs_close(f);
}

static void test_one_client_can_wait_for_a_quarter_of_what_all_may(void **state)
{
	struct vfs_lock_share one = { 0 }, other = { 0 };
	struct waiter w[6] = { 0 };
	struct tree_env *e = *state;
	struct vfs_handle *f = must_walk(e, "/t/f");

	e->vfs->locks->wait_max = 16;
	assert_int_equal(take(f, 1, EX, 0, UINT64_MAX), 0);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(take_of_share(f, 2 + i, i * 100, &one, &w[i]), -EINPROGRESS);
	assert_int_equal(take_of_share(f, 6, 400, &one, &w[4]), -ENOLCK);
	assert_int_equal(take_of_share(f, 7, 500, &other, &w[5]), -EINPROGRESS);
	vfs_lock_cancel(e->vfs, w[0].id);
	assert_int_equal(take_of_share(f, 6, 400, &one, &w[4]), -EINPROGRESS);
	vfs_unlock_owner(e->vfs, 1);
	for (unsigned i = 1; i < 6; i++)
		assert_int_equal(w[i].calls, 1);
	assert_int_equal(one.waiting, 0);
	assert_int_equal(one.held, 4);
	for (uint64_t owner = 2; owner <= 7; owner++)
		vfs_unlock_owner(e->vfs, owner);
	vfs_close(f);
}

#define MANY 100000u
#define MANY_OWNERS 1000u

static void test_a_hundred_thousand_locks_on_a_file_are_taken_tested_and_given_back(void **state)
{
	struct tree_env *e = *state;
	struct vfs_handle *f = must_walk(e, "/t/f");
	struct vfs_lock want = { .owner = MANY_OWNERS + 1, .type = EX, .len_bytes = 1 }, in_the_way;

	for (uint64_t i = 0; i < MANY; i++)
		assert_int_equal(take(f, 1 + i % MANY_OWNERS, EX, 10 * i, 5), 0);
	for (uint64_t i = 0; i < MANY; i += 7) {
		want.offset = 10 * i + 4;
		assert_int_equal(vfs_lock_test(f, &want, &in_the_way), 0);
		assert_int_equal(in_the_way.owner, 1 + i % MANY_OWNERS);
		assert_int_equal(in_the_way.offset, 10 * i);
		want.offset = 10 * i + 5;
		assert_int_equal(vfs_lock_test(f, &want, &in_the_way), -ENOENT);
		assert_int_equal(take(f, MANY_OWNERS + 1, SH, 10 * i + 3, 1), -EAGAIN);
	}
	for (uint64_t i = 0; i < MANY; i += 3)
		assert_int_equal(vfs_unlock(f, 1 + i % MANY_OWNERS, 10 * i, 5), 0);
	for (uint64_t owner = 1; owner <= MANY_OWNERS; owner++)
		vfs_unlock_owner(e->vfs, owner);
	for (uint64_t owner = 1; owner <= MANY; owner++)
		assert_int_equal(take(f, owner, SH, 0, UINT64_MAX), 0);
	assert_int_equal(take(f, 1, EX, 0, 1), -EAGAIN);
	for (uint64_t owner = 1; owner <= MANY; owner++)
		vfs_unlock_owner(e->vfs, owner);
	assert_int_equal(take(f, 1, EX, 0, UINT64_MAX), 0);
	vfs_unlock_owner(e->vfs, 1);
	vfs_close(f);
}

static void test_locks_go_with_their_mount(void **state)
{
	struct tree_env *e = *state;
	struct vfs_handle *f = must_walk(e, "/t/f");
	struct waiter w2;

	assert_int_equal(take(f, 1, EX, 0, 10), 0);
	assert_int_equal(take_or_wait(f, 2, EX, 0, 10, &w2), -EINPROGRESS);
	assert_int_equal(vfs_unmount(e->vfs, "t", true), 0);
	assert_int_equal(w2.calls, 1);
	assert_int_equal(w2.result, -ESTALE);
	assert_int_equal(take(f, 1, EX, 0, 10), -ESTALE);
	vfs_close(f);
	assert_int_equal(vfs_mount(e->vfs, "t", &e->fs.root->node, false), 0);
	f = must_walk(e, "/t/f");
	assert_int_equal(take(f, 3, EX, 0, 10), 0);
	vfs_unlock_owner(e->vfs, 3);
	vfs_close(f);
}

/* ---- against a model: who holds which byte of a small file, and how ---- */

#define OWNERS 4u
#define BYTES 24u

static enum vfs_lock_type model[OWNERS][BYTES];

static bool model_allows(const struct vfs_lock *l)
{
	for (unsigned o = 0; o < OWNERS; o++)
		for (uint64_t i = l->offset; i < l->offset + l->len_bytes && o != l->owner; i++)
			if (model[o][i] && (model[o][i] == EX || l->type == EX))
				return false;
	return true;
}

static void model_set(const struct vfs_lock *l, int type)
{
	for (uint64_t i = l->offset; i < l->offset + l->len_bytes; i++)
		model[l->owner][i] = (enum vfs_lock_type)type;
}

static uint32_t next_random(uint32_t *state)
{
	*state = *state * 1664525u + 1013904223u;
	return *state >> 8;
}

static void test_random_locks_agree_with_a_model_of_bytes(void **state)
{
	struct tree_env *e = *state;
	struct vfs_handle *f = must_walk(e, "/t/f");
	uint32_t seed = 20261;

	memset(model, 0, sizeof(model));
	for (unsigned i = 0; i < 50000 / test_slow(); i++) {
		struct vfs_lock l = { .owner = next_random(&seed) % OWNERS,
			              .type = next_random(&seed) & 1 ? SH : EX,
			              .offset = next_random(&seed) % BYTES };
		struct vfs_lock other;
		bool free_now;

		l.len_bytes = 1 + next_random(&seed) % (BYTES - l.offset);
		free_now = model_allows(&l);
		assert_int_equal(vfs_lock_test(f, &l, &other), free_now ? -ENOENT : 0);
		if (next_random(&seed) % 3 == 0) {
			assert_int_equal(vfs_unlock(f, l.owner, l.offset, l.len_bytes), 0);
			model_set(&l, 0);
			continue;
		}
		assert_int_equal(vfs_lock(f, &l, NULL, NULL, NULL), free_now ? 0 : -EAGAIN);
		if (free_now)
			model_set(&l, l.type);
	}
	for (uint64_t o = 0; o < OWNERS; o++)
		vfs_unlock_owner(e->vfs, o);
	vfs_close(f);
}

/* ---- whoever knows the program ---- */

#define GUESSED 4000u

struct guess {
	uint32_t priority;
	unsigned place; /* among all, when they are taken */
};

static int by_priority(const void *a, const void *b)
{
	const struct guess *x = a, *y = b;

	return x->priority < y->priority ? -1 : x->priority > y->priority;
}

static unsigned depth_of(const struct range *r)
{
	unsigned left = r ? depth_of(r->in[TREE_ALL].left) : 0, right = r ? depth_of(r->in[TREE_ALL].right) : 0;

	return r ? 1 + (left > right ? left : right) : 0;
}

/* Priorities as they would be after a start with 1: locks in their order would make a list of the tree. */
static void test_nobody_can_choose_locks_that_make_the_tree_deep(void **state)
{
	struct tree_env *e = *state;
	struct vfs_handle *f = must_walk(e, "/t/f");
	struct vfs_locks *l = f->vfs->locks;
	static struct guess all[GUESSED];
	static uint64_t at[GUESSED];
	uint32_t random = 1;

	for (unsigned i = 0; i < GUESSED; i++) {
		random ^= random << 13;
		random ^= random >> 17;
		random ^= random << 5;
		all[i] = (struct guess){ random, i };
	}
	qsort(all, GUESSED, sizeof(all[0]), by_priority);
	for (unsigned i = 0; i < GUESSED; i++)
		at[all[i].place] = i;
	for (unsigned i = 0; i < GUESSED; i++)
		assert_int_equal(take(f, 1, EX, 10 * at[i], 1), 0);
	sync_mutex_lock(&l->lock);
	for (unsigned i = 0; i < BUCKETS; i++) {
		struct lock_file *file;

		cds_list_for_each_entry (file, &l->files[i], link)
			assert_true(depth_of(file->held) < 200);
	}
	sync_mutex_unlock(&l->lock);
	vfs_unlock_owner(f->vfs, 1);
	vfs_close(f);
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, tree_teardown)
	const struct CMUnitTest tests[] = {
		T(test_shared_locks_go_together_and_exclusive_ones_do_not),
		T(test_bad_ranges_are_refused),
		T(test_lock_test_names_who_is_in_the_way),
		T(test_who_waits_is_served_in_the_order_of_asking),
		T(test_a_part_that_is_unlocked_lets_others_in),
		T(test_a_downgrade_lets_readers_in),
		T(test_deadlocks_are_found_over_several_files),
		T(test_two_upgrades_of_shared_locks_deadlock),
		T(test_holders_pass_those_who_wait_for_them),
		T(test_a_wait_that_is_cancelled_frees_those_behind_it),
		T(test_an_owner_that_is_gone_waits_no_more),
		T(test_what_an_owner_only_waits_for_is_forgotten_with_it),
		T(test_a_piece_can_be_unlocked_when_there_are_as_many_locks_as_can_be),
		T(test_one_client_can_wait_for_a_quarter_of_what_all_may),
		T(test_unlocking_pieces_takes_a_quarter_of_the_reserve_at_most),
		T(test_one_client_can_hold_a_quarter_of_all_locks),
		T(test_a_hundred_thousand_locks_on_a_file_are_taken_tested_and_given_back),
		T(test_locks_go_with_their_mount),
		T(test_random_locks_agree_with_a_model_of_bytes),
		T(test_nobody_can_choose_locks_that_make_the_tree_deep),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
