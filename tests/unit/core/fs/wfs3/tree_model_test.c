/* SPDX-License-Identifier: BSD-3-Clause */
/* A tree against a model of sorted keys: a million random operations, commits, eviction, and an account of all space.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/core/fs/wfs3/tree_fixture.h"
#include "tests/unit/slow.h"

#ifdef WFSD_DEBUG
#define OPERATIONS 150000u
#else
#define OPERATIONS 1000000u
#endif
#define COMMIT_EVERY 5000u

struct run {
	struct fixture *f;
	struct model *m;
	uint64_t seed;
	unsigned range; /* keys in use now: moves, so that the tree grows and shrinks */
};

static unsigned random_len(uint64_t r)
{
	switch (r % 8) {
	case 0:
		return (unsigned)(r >> 8) % (TREE_ITEM_BYTES_MAX + 1);
	case 1:
		return (unsigned)(r >> 8) % 4;
	default:
		return (unsigned)(r >> 8) % 330;
	}
}

/* The model's answer to tree_next(). */
static unsigned model_next(const struct model *m, unsigned from)
{
	while (from < MODEL_KEYS && !m->items[from].present)
		from++;
	return from;
}

static void check_next(struct run *r, unsigned from, unsigned to)
{
	struct wfs3_key low = model_key(from), high = model_key(to), key, missing;
	uint8_t buf[TREE_ITEM_BYTES_MAX];
	unsigned want = model_next(r->m, from);
	size_t len;
	int rc;

	while ((rc = tree_next(r->f->tree, &low, &high, &key, buf, sizeof(buf), &len, &missing)) == -EAGAIN)
		assert_int_equal(tree_fetch(r->f->tree, &missing), 0);
	if (want > to) {
		assert_int_equal(rc, -ENOENT);
		return;
	}
	assert_int_equal(rc, 0);
	assert_int_equal(model_index(&key), want);
	assert_true(model_same(&r->m->items[want], buf, len));
}

struct scan_check {
	const struct model *m;
	unsigned next, to;
	unsigned stop_after;
	unsigned wrong;
};

static bool scan_item(void *ctx, const struct wfs3_key *key, const void *value, size_t len)
{
	struct scan_check *s = ctx;
	unsigned i = model_index(key);

	s->wrong += model_next(s->m, s->next) != i || !model_same(&s->m->items[i], value, len);
	s->next = i + 1;
	return --s->stop_after != 0;
}

static void check_scan(struct run *r, unsigned from, unsigned to, unsigned stop_after)
{
	struct wfs3_key at = model_key(from), high = model_key(to), resume;
	struct scan_check s = { .m = r->m, .next = from, .to = to };
	int rc;

	do {
		s.stop_after = stop_after;
		rc = tree_scan(r->f->tree, &at, &high, scan_item, &s, &resume);
		if (rc == -EAGAIN)
			assert_int_equal(tree_fetch(r->f->tree, &resume), 0);
		at = resume;
	} while (rc == 1 || rc == -EAGAIN);
	assert_int_equal(rc, 0);
	assert_int_equal(s.wrong, 0);
	assert_true(model_next(r->m, s.next) > to);
}

static void check_get(struct run *r, unsigned i)
{
	struct wfs3_key key = model_key(i);
	uint8_t buf[TREE_ITEM_BYTES_MAX];
	size_t len;
	int rc = fixture_get(r->f, &key, buf, &len);

	if (r->m->items[i].present) {
		assert_int_equal(rc, 0);
		assert_true(model_same(&r->m->items[i], buf, len));
	} else {
		assert_int_equal(rc, -ENOENT);
	}
}

struct update {
	const struct model_item *old;
	struct model_item new;
	bool refuse;
	unsigned calls, wrong;
};

static int update_fn(void *ctx, const void *old_value, size_t old_len, void *new_value)
{
	struct update *u = ctx;

	u->calls++;
	if (u->old->present)
		u->wrong += !old_value || !model_same(u->old, old_value, old_len);
	else
		u->wrong += old_value != NULL;
	if (u->refuse)
		return -EDOM;
	if (!u->new.present)
		return 0;
	model_value(&u->new, new_value);
	return u->new.len;
}

static void check_update(struct run *r, unsigned i, uint64_t random)
{
	struct wfs3_key key = model_key(i);
	struct update u = { .old = &r->m->items[i], .refuse = random % 16 == 0 };
	int rc;

	u.new = (struct model_item){ .len = (uint16_t)random_len(random >> 8), .seed = (uint32_t)random };
	u.new.present = u.new.len > 0;
	while ((rc = tree_update(r->f->tree, r->f->txg, &key, update_fn, &u)) == -EAGAIN)
		assert_int_equal(tree_fetch(r->f->tree, &key), 0);
	assert_int_equal(rc, u.refuse ? -EDOM : 0);
	assert_int_equal(u.calls, 1);
	assert_int_equal(u.wrong, 0);
	if (!u.refuse)
		r->m->items[i] = u.new;
}

static void one_operation(struct run *r)
{
	uint64_t a = rnd(&r->seed);
	unsigned i = (unsigned)(a >> 32) % r->range;
	bool grow = r->f->txg / 8 % 2 == 0, present;

	switch (a % 10) {
	case 0:
	case 1:
	case 2:
		assert_int_equal(model_put(r->f, r->m, i, random_len(rnd(&r->seed)), (uint32_t)a), 0);
		break;
	case 3:
	case 4:
		if (grow && a & 64)
			break;
		present = r->m->items[i].present;
		assert_int_equal(model_delete(r->f, r->m, i), present ? 0 : -ENOENT);
		break;
	case 5:
		check_update(r, i, rnd(&r->seed));
		break;
	case 6:
		check_next(r, i, i + (unsigned)rnd(&r->seed) % (MODEL_KEYS - i));
		break;
	case 7:
		if (a & 0xf0)
			break;
		check_scan(r, i, i + (unsigned)rnd(&r->seed) % 300 % (MODEL_KEYS - i), 1 + (unsigned)(a >> 8) % 100);
		break;
	default:
		check_get(r, i);
		break;
	}
}

static void run_model(uint64_t seed, size_t budget_nodes)
{
	struct run r = { .f = fixture_new(budget_nodes), .m = calloc(1, sizeof(*r.m)), .seed = seed };

	print_message("seed %#llx\n", (unsigned long long)seed);
	assert_non_null(r.m);
	for (unsigned i = 0; i < OPERATIONS / test_slow(); i++) {
		r.range = (i / 200000 % 2 ? 1500 : MODEL_KEYS) - 1;
		one_operation(&r);
		assert_int_equal(r.f->store->reserved, 0);
		if (i % COMMIT_EVERY == COMMIT_EVERY - 1) {
			assert_int_equal(fixture_commit(r.f), 0);
			if (i / COMMIT_EVERY % 7 == 0)
				check_durable(r.f, r.m);
			if (i / COMMIT_EVERY % 31 == 0)
				fixture_reopen(r.f);
		}
	}
	for (unsigned i = 0; i < MODEL_KEYS; i++)
		check_get(&r, i);
	assert_int_equal(fixture_commit(r.f), 0);
	check_durable(r.f, r.m);
	/* To nothing, in random order. */
	for (unsigned n = 0; n < MODEL_KEYS; n++) {
		unsigned i = n * 7919 % MODEL_KEYS;

		if (r.m->items[i].present)
			assert_int_equal(model_delete(r.f, r.m, i), 0);
	}
	assert_int_equal(fixture_commit(r.f), 0);
	assert_int_equal(r.f->root.addr, 0);
	check_durable(r.f, r.m);
	free(r.m);
	fixture_free(r.f);
}

static void test_random_operations_agree_with_the_model(void **state)
{
	(void)state;
	run_model(UINT64_C(0x5eed0001), 100000);
}

static void test_random_operations_agree_with_the_model_when_nodes_are_evicted(void **state)
{
	(void)state;
	run_model(UINT64_C(0x5eed0002), 80);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random_operations_agree_with_the_model),
		cmocka_unit_test(test_random_operations_agree_with_the_model_when_nodes_are_evicted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
