/* SPDX-License-Identifier: BSD-3-Clause */
/* The order of dirty chunks, against an array of flags. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/cache/cache_priv.h"

#define CHUNKS 3000u

static struct chunk chunks[CHUNKS]; /* dirty_seq: index + 1 */
static bool in_tree[CHUNKS];

static void assert_walk_finds_them_all(const struct dirty_tree *t)
{
	uint64_t seq = 0;

	for (unsigned i = 0; i < CHUNKS; i++)
		if (in_tree[i]) {
			const struct chunk *k = dirty_tree_after(t, seq);

			assert_ptr_equal(k, &chunks[i]);
			seq = k->dirty_seq;
		}
	assert_null(dirty_tree_after(t, seq));
}

static void test_chunks_that_come_and_go_are_found_in_order(void **state)
{
	struct dirty_tree t = { 0 };
	unsigned seed = 1;

	(void)state;
	for (unsigned i = 0; i < CHUNKS; i++)
		chunks[i].dirty_seq = i + 1;
	assert_null(dirty_tree_after(&t, 0));
	for (unsigned step = 0; step < 60000; step++) {
		unsigned i = (unsigned)rand_r(&seed) % CHUNKS;

		if (in_tree[i])
			dirty_tree_remove(&t, &chunks[i]);
		else
			dirty_tree_insert(&t, &chunks[i]);
		in_tree[i] = !in_tree[i];
		if (step % 4000 == 0)
			assert_walk_finds_them_all(&t);
	}
	assert_walk_finds_them_all(&t);
	for (unsigned i = 0; i < CHUNKS; i++)
		if (in_tree[i])
			dirty_tree_remove(&t, &chunks[i]);
	assert_null(t.root);
}

static unsigned depth(const struct chunk *k)
{
	unsigned left, right;

	if (!k)
		return 0;
	left = depth(k->dirty_left);
	right = depth(k->dirty_right);
	return 1 + (left > right ? left : right);
}

static void test_tree_of_ascending_chunks_is_not_a_list(void **state)
{
	struct dirty_tree t = { 0 };

	(void)state;
	for (unsigned i = 0; i < CHUNKS; i++) {
		chunks[i].dirty_seq = 1000 + i;
		dirty_tree_insert(&t, &chunks[i]);
	}
	/* Four times the depth of a complete tree. */
	assert_in_range(depth(t.root), 12, 48);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_chunks_that_come_and_go_are_found_in_order),
		cmocka_unit_test(test_tree_of_ascending_chunks_is_not_a_list),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
