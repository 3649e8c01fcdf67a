/* SPDX-License-Identifier: BSD-3-Clause */
/* Results of requests: kept with what was changed, over restarts and crashes, until a later request takes their place.
 */
#include "tests/unit/core/fs/wfs3/filetree_fixture.h"

static struct vfs_tag tag_of(uint8_t client, uint64_t place, uint32_t sequence, uint32_t kind)
{
	struct vfs_tag tag = { .place = place, .sequence = sequence, .kind = kind, .lifetime_s = 600 };

	memset(tag.client, client, sizeof(tag.client));
	return tag;
}

static int recall(struct tree_fixture *t, const struct vfs_tag *tag, uint64_t *ret_number)
{
	struct vfs_result r = { 0 };
	int rc = t->top->ops->recall(t->top, tag, &r);

	if (ret_number)
		*ret_number = r.number;
	return rc;
}

static uint64_t create_tagged(struct tree_fixture *t, const char *name, const struct vfs_tag *tag)
{
	struct vfs_new attr = { .type = VFS_TYPE_FILE, .mode = 0644, .tag = tag };
	struct vfs_node *n;
	uint64_t number;

	assert_ok(t->top->ops->create(t->top, name, strlen(name), &attr, &n));
	number = filetree_object(n)->number;
	vfs_node_unref(n);
	return number;
}

static void test_a_result_is_there_after_a_restart(void **state)
{
	struct vfs_tag tag = tag_of(1, 7, 3, 13);
	struct tree_fixture t;
	uint64_t number, found;

	(void)state;
	tree_init(&t, 64 << 20);
	assert_int_equal(recall(&t, &tag, NULL), -ENOENT);
	number = create_tagged(&t, "f", &tag);
	assert_ok(recall(&t, &tag, &found));
	assert_int_equal(found, number);
	tree_restart(&t);
	assert_ok(recall(&t, &tag, &found));
	assert_int_equal(found, number);
	tree_done(&t);
}

static void test_a_place_has_the_latest_request_only(void **state)
{
	struct vfs_tag first = tag_of(1, 7, 0xffffffff, 13), later = tag_of(1, 7, 0, 13), next = tag_of(1, 7, 1, 13);
	struct vfs_tag other_place = tag_of(1, 8, 0, 13), other_client = tag_of(2, 7, 0, 13);
	struct tree_fixture t;

	(void)state;
	tree_init(&t, 64 << 20);
	create_tagged(&t, "a", &first);
	create_tagged(&t, "b", &later);
	assert_ok(recall(&t, &later, NULL));
	assert_int_equal(recall(&t, &first, NULL), -EPROTO);
	assert_int_equal(recall(&t, &next, NULL), -ENOENT);
	assert_int_equal(recall(&t, &other_place, NULL), -ENOENT);
	assert_int_equal(recall(&t, &other_client, NULL), -ENOENT);
	tree_done(&t);
}

static void test_clients_whose_keys_begin_alike_are_told_apart(void **state)
{
	struct vfs_tag a = tag_of(1, 7, 1, 13), b = a;
	struct tree_fixture t;

	(void)state;
	b.client[15] ^= 1;
	tree_init(&t, 64 << 20);
	create_tagged(&t, "a", &a);
	assert_int_equal(recall(&t, &b, NULL), -ENOENT);
	tree_done(&t);
}

static void test_every_change_of_names_and_attributes_keeps_its_result(void **state)
{
	struct vfs_set_attr set = { .valid = VFS_SET_MODE, .mode = 0600 };
	struct vfs_tag tags[6];
	struct tree_fixture t;
	struct vfs_node *n;

	(void)state;
	for (unsigned i = 0; i < 6; i++)
		tags[i] = tag_of(1, i, 1, i);
	tree_init(&t, 64 << 20);
	n = make_file(t.top, "f");
	assert_ok(t.top->ops->link(t.top, "g", 1, n, &tags[0]));
	assert_ok(t.top->ops->rename(t.top, "g", 1, t.top, "h", 1, 0, &tags[1]));
	assert_ok(t.top->ops->unlink(t.top, "h", 1, false, &tags[2]));
	set.tag = &tags[3];
	assert_ok(n->ops->set_attr(n, &set));
	assert_ok(n->ops->set_xattr(n, "user.a", "1", 1, 0, &tags[4]));
	assert_ok(n->ops->remove_xattr(n, "user.a", &tags[5]));
	vfs_node_unref(n);
	tree_restart(&t);
	for (unsigned i = 0; i < 6; i++)
		assert_ok(recall(&t, &tags[i], NULL));
	tree_done(&t);
}

static void test_what_fails_keeps_no_result(void **state)
{
	struct vfs_tag tag = tag_of(1, 0, 1, 16);
	struct tree_fixture t;

	(void)state;
	tree_init(&t, 64 << 20);
	assert_int_equal(t.top->ops->unlink(t.top, "none", 4, false, &tag), -ENOENT);
	assert_int_equal(recall(&t, &tag, NULL), -ENOENT);
	tree_done(&t);
}

/* After a crash there are both, the change and its result, or neither. */
static void test_a_crash_keeps_result_and_change_together(void **state)
{
	(void)state;
	for (uint64_t seed = 0; seed < 24; seed++) {
		struct tree_fixture t;
		unsigned there = 0;

		tree_init(&t, 64 << 20);
		for (unsigned i = 0; i < 40; i++) {
			struct vfs_tag tag = tag_of(1, i, 1, 13);
			char name[8];

			snprintf(name, sizeof(name), "f%u", i);
			create_tagged(&t, name, &tag);
			if (i == seed)
				assert_ok(t.top->ops->flush(t.top, 0));
		}
		tree_crash(&t, seed);
		for (unsigned i = 0; i < 40; i++) {
			struct vfs_tag tag = tag_of(1, i, 1, 13);
			char name[8];
			int rc;

			snprintf(name, sizeof(name), "f%u", i);
			rc = lookup_error(t.top, name);
			assert_int_equal(recall(&t, &tag, NULL), rc);
			there += rc == 0;
		}
		assert_true(there > seed);
		tree_restart(&t);
		tree_done(&t);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_result_is_there_after_a_restart),
		cmocka_unit_test(test_a_place_has_the_latest_request_only),
		cmocka_unit_test(test_clients_whose_keys_begin_alike_are_told_apart),
		cmocka_unit_test(test_every_change_of_names_and_attributes_keeps_its_result),
		cmocka_unit_test(test_what_fails_keeps_no_result),
		cmocka_unit_test(test_a_crash_keeps_result_and_change_together),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
