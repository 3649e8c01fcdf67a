/* SPDX-License-Identifier: BSD-3-Clause */
/* Results of requests: kept with what was changed, over restarts and crashes, until a later request takes their place.
 */
#include "tests/unit/core/fs/wfs3/filetx_fixture.h"
#include "tests/unit/slow.h"

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
	assert_ok(t.top->ops->rename(t.top, "g", 1, t.top, "h", 1, 0, NULL, &tags[1]));
	assert_ok(t.top->ops->unlink(t.top, "h", 1, false, NULL, &tags[2]));
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
	assert_int_equal(t.top->ops->unlink(t.top, "none", 4, false, NULL, &tag), -ENOENT);
	assert_int_equal(recall(&t, &tag, NULL), -ENOENT);
	tree_done(&t);
}

/* After a crash there are both, the change and its result, or neither. */
static void test_a_crash_keeps_result_and_change_together(void **state)
{
	(void)state;
	for (uint64_t seed = 0; seed < 24; seed += test_slow()) {
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

static int append_tagged(struct vfs_node *n, const void *buf, size_t len, const struct vfs_tag *tag)
{
	struct iovec iov = { (void *)(uintptr_t)buf, len };

	return n->ops->append(n, &iov, 1, 0, tag);
}

/* Whatever way the size takes into the tree, the results of what it reaches go along. */
static void test_a_crash_keeps_appends_and_their_results_together(void **state)
{
	enum { COUNT = 60 };
	static uint8_t text[20000];

	(void)state;
	pattern(text, sizeof(text), 9);
	for (uint64_t seed = 0; seed < 40; seed += test_slow()) {
		uint64_t offsets[COUNT], size_bytes, flushed = 0;
		struct tree_fixture t;
		struct vfs_node *n;

		tree_init(&t, 64 << 20);
		n = make_file(t.top, "f");
		assert_ok(t.top->ops->flush(t.top, 0));
		for (unsigned i = 0; i < COUNT; i++) {
			struct vfs_tag tag = tag_of(1, i, 1, 21);
			size_t len = (i * 7919 + seed * 104729) % sizeof(text) + 1;

			offsets[i] = node_stat(n).size_bytes;
			assert_ok(append_tagged(n, text, len, &tag));
			assert_ok(recall(&t, &tag, NULL) == -ENOENT ? n->ops->recall(n, &tag, &(struct vfs_result){ 0 })
			                                            : 0);
			if (i == seed % COUNT && seed % 3 == 0)
				assert_ok(n->ops->flush(n, 0));
			if (i == seed % COUNT && seed % 3 == 1)
				assert_ok(txg_sync(t.pool));
			if (i == seed % COUNT && seed % 3 == 2)
				assert_ok(object_persist(filetree_object(n), offsets[i], len));
			if (i == seed % COUNT && seed % 3 == 0)
				flushed = node_stat(n).size_bytes;
		}
		vfs_node_unref(n);
		tree_crash(&t, seed);
		n = node_at(t.top, "f");
		size_bytes = node_stat(n).size_bytes;
		assert_true(size_bytes >= flushed);
		for (unsigned i = 0; i < COUNT; i++) {
			struct vfs_tag tag = tag_of(1, i, 1, 21);
			uint64_t at;
			int rc = recall(&t, &tag, &at);

			assert_int_equal(rc, offsets[i] < size_bytes ? 0 : -ENOENT);
			if (!rc)
				assert_int_equal(at, offsets[i]);
		}
		vfs_node_unref(n);
		tree_restart(&t);
		tree_done(&t);
	}
}

static void test_appends_before_a_truncation_keep_their_results(void **state)
{
	struct vfs_set_attr cut = { .valid = VFS_SET_SIZE };
	struct tree_fixture t;
	struct vfs_node *n;

	(void)state;
	tree_init(&t, 64 << 20);
	n = make_file(t.top, "f");
	for (unsigned i = 0; i < OBJECT_APPENDS_MAX; i++) {
		struct vfs_tag tag = tag_of(1, i, 1, 21);

		assert_ok(append_tagged(n, "text", 4, &tag));
	}
	assert_ok(n->ops->set_attr(n, &cut));
	vfs_node_unref(n);
	for (unsigned i = 0; i < OBJECT_APPENDS_MAX; i++) {
		struct vfs_tag tag = tag_of(1, i, 1, 21);

		assert_ok(recall(&t, &tag, NULL));
	}
	tree_done(&t);
}

/* A transaction that makes a file, for a request that is answered so. */
static void commit_answered(struct tree_fixture *t, const char *name, const struct vfs_tag *tag, const void *p,
                            size_t len)
{
	const struct vfs_answer answer = { .tag = tag, .p = p, .len = len };
	struct vfs_tx *tx = tx_begin(t, VFS_TX_SNAPSHOT);
	struct vfs_node *top = tx_top(t, tx);

	put_text(top, name, "text");
	vfs_node_unref(top);
	assert_ok(tx->ops->commit(tx, false, &answer, NULL, NULL));
	tx->ops->free(tx);
}

static void assert_answered(struct tree_fixture *t, const struct vfs_tag *tag, const void *p, size_t len)
{
	struct vfs_result r;

	assert_ok(t->top->ops->recall(t->top, tag, &r));
	assert_int_equal(r.kind, tag->kind);
	assert_int_equal(r.answer_len, len);
	assert_true(len ? memcmp(r.answer, p, len) == 0 : !r.answer);
	free(r.answer);
}

static void test_answers_of_transactions_are_there_after_a_restart_whatever_their_length(void **state)
{
	static const size_t lens[] = {
		0, 1, ANSWER_PART_BYTES - 1, ANSWER_PART_BYTES, ANSWER_PART_BYTES + 1, VFS_ANSWER_MAX, 5
	};
	static uint8_t text[VFS_ANSWER_MAX];
	struct tree_fixture t;

	(void)state;
	pattern(text, sizeof(text), 4);
	tree_init(&t, 64 << 20);
	for (unsigned i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
		struct vfs_tag own = tag_of(2, 256 * i, 1, 70), shared = tag_of(1, 256, i + 1, 70);
		char name[8];

		snprintf(name, sizeof(name), "a%u", i);
		commit_answered(&t, name, &own, text, lens[i]);
		/* The one before in that place was longer, or shorter. */
		name[0] = 'b';
		commit_answered(&t, name, &shared, text + i, min_u64(lens[i], VFS_ANSWER_MAX - i));
		assert_answered(&t, &shared, text + i, min_u64(lens[i], VFS_ANSWER_MAX - i));
	}
	tree_restart(&t);
	for (unsigned i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
		struct vfs_tag own = tag_of(2, 256 * i, 1, 70);

		assert_answered(&t, &own, text, lens[i]);
	}
	tree_done(&t);
}

static void test_a_crash_keeps_transactions_and_their_answers_together(void **state)
{
	static uint8_t text[9000];

	(void)state;
	pattern(text, sizeof(text), 5);
	for (uint64_t seed = 0; seed < 24; seed += test_slow()) {
		struct tree_fixture t;
		unsigned there = 0;

		tree_init(&t, 64 << 20);
		for (unsigned i = 0; i < 30; i++) {
			struct vfs_tag tag = tag_of(1, 256 * i, 1, 70);
			char name[8];

			snprintf(name, sizeof(name), "f%u", i);
			commit_answered(&t, name, &tag, text + i, i * 289);
			if (i == seed)
				assert_ok(t.top->ops->flush(t.top, 0));
		}
		tree_crash(&t, seed);
		for (unsigned i = 0; i < 30; i++) {
			struct vfs_tag tag = tag_of(1, 256 * i, 1, 70);
			char name[8];

			snprintf(name, sizeof(name), "f%u", i);
			if (!lookup_error(t.top, name)) {
				assert_answered(&t, &tag, text + i, i * 289);
				there++;
			} else {
				assert_int_equal(recall(&t, &tag, NULL), -ENOENT);
			}
		}
		assert_true(there > seed);
		tree_restart(&t);
		tree_done(&t);
	}
}

/* Parts go in steps when their time is over. */
static void test_an_answer_that_has_lost_a_part_is_none(void **state)
{
	struct vfs_tag tag = tag_of(1, 256, 1, 70);
	static uint8_t text[9000];
	struct tree_fixture t;
	struct wfs3_key key;
	struct edit e;

	(void)state;
	tree_init(&t, 64 << 20);
	commit_answered(&t, "f", &tag, text, sizeof(text));
	key = result_key(tag.client, tag.place + 1);
	edit_init(&e, filetree_object(t.top)->ds);
	edit_delete(&e, &key);
	assert_ok(edit_run(&e));
	assert_answered(&t, &tag, NULL, 0);
	tree_done(&t);
}

static bool never(struct pool *p)
{
	(void)p;
	return false;
}

static void test_results_that_have_expired_are_dropped(void **state)
{
	struct vfs_tag young = tag_of(3, 0, 1, 13);
	struct tree_fixture t;

	(void)state;
	tree_init(&t, 64 << 20);
	create_tagged(&t, "f", &young);
	for (unsigned i = 0; i < 2000; i++) {
		struct result_item r = { .sequence = 1, .expires_s = 1 };
		struct dataset *ds = filetree_object(t.top)->ds;
		uint8_t value[RESULT_BYTES];
		struct wfs3_key key;
		struct edit e;

		memset(r.client, (int)(i % 5 + 1), sizeof(r.client));
		key = result_key(r.client, i + 1);
		result_encode(&r, value);
		edit_init(&e, ds);
		edit_put(&e, &key, value, sizeof(value));
		assert_ok(edit_run(&e));
	}
	assert_ok(filetree_drop_results(filetree_object(t.top)->ds, never));
	for (unsigned i = 0; i < 2000; i++) {
		struct vfs_tag tag = tag_of((uint8_t)(i % 5 + 1), i + 1, 1, 0);

		assert_int_equal(recall(&t, &tag, NULL), -ENOENT);
	}
	assert_ok(recall(&t, &young, NULL));
	tree_restart(&t);
	assert_ok(recall(&t, &young, NULL));
	tree_done(&t);
}

static void test_results_of_one_client_are_forgotten_and_those_of_others_stay(void **state)
{
	enum { COUNT = 300 };
	struct vfs_tag others[2] = { tag_of(2, 7, 1, 13), tag_of(1, 1000, 1, 13) };
	struct vfs_tag long_one = tag_of(1, 2000, 1, 70);
	static uint8_t text[VFS_ANSWER_MAX];
	struct tree_fixture t;

	(void)state;
	tree_init(&t, 64 << 20);
	/* A key that begins like the one that is forgotten. */
	others[1].client[15] ^= 1;
	create_tagged(&t, "other0", &others[0]);
	create_tagged(&t, "other1", &others[1]);
	commit_answered(&t, "long", &long_one, text, sizeof(text));
	for (unsigned i = 0; i < COUNT; i++) {
		struct vfs_tag tag = tag_of(1, i, 1, 13);
		char name[8];

		snprintf(name, sizeof(name), "f%u", i);
		create_tagged(&t, name, &tag);
	}
	/* As while those that have expired are looked for. */
	__atomic_store_n(&filetree_object(t.top)->ds->has_results, false, __ATOMIC_RELEASE);
	assert_ok(t.pool->dir.ops->forget_results(&t.pool->dir, long_one.client));
	for (unsigned again = 0; again < 2; again++) {
		for (unsigned i = 0; i < COUNT; i++) {
			struct vfs_tag tag = tag_of(1, i, 1, 13);

			assert_int_equal(recall(&t, &tag, NULL), -ENOENT);
		}
		assert_int_equal(recall(&t, &long_one, NULL), -ENOENT);
		assert_ok(recall(&t, &others[0], NULL));
		assert_ok(recall(&t, &others[1], NULL));
		tree_restart(&t);
	}
	tree_done(&t);
}

static void test_results_that_cannot_be_read_do_not_keep_those_of_other_trees(void **state)
{
	enum { COUNT = 2000 }; /* more than one leaf */
	struct vfs_tag tag = tag_of(1, 0, 1, 13);
	struct tree_fixture t, second;

	(void)state;
	tree_init(&t, 64 << 20);
	for (unsigned i = 0; i < COUNT; i++) {
		char name[8];

		snprintf(name, sizeof(name), "f%u", i);
		tag.place = i;
		create_tagged(&t, name, &tag);
	}
	assert_ok(dataset_create(t.pool, DATASET_TYPE_TREE, "second", 0));
	second = t;
	second.top = node_at(&t.pool->dir, "second");
	create_tagged(&second, "f", &tag);
	vfs_node_unref(second.top);
	tree_restart(&t);
	second = t;
	second.top = node_at(&t.pool->dir, "second");
	assert_ok(recall(&second, &tag, NULL));
	break_regions(&t);
	assert_int_equal(t.pool->dir.ops->forget_results(&t.pool->dir, tag.client), -EIO);
	assert_int_equal(recall(&second, &tag, NULL), -ENOENT);
	vfs_node_unref(second.top);
	blk_sim_mend(t.f.devs[0]);
	assert_ok(recall(&t, &tag, NULL));
	assert_ok(t.pool->dir.ops->forget_results(&t.pool->dir, tag.client));
	assert_int_equal(recall(&t, &tag, NULL), -ENOENT);
	tree_done(&t);
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
		cmocka_unit_test(test_a_crash_keeps_appends_and_their_results_together),
		cmocka_unit_test(test_appends_before_a_truncation_keep_their_results),
		cmocka_unit_test(test_answers_of_transactions_are_there_after_a_restart_whatever_their_length),
		cmocka_unit_test(test_a_crash_keeps_transactions_and_their_answers_together),
		cmocka_unit_test(test_an_answer_that_has_lost_a_part_is_none),
		cmocka_unit_test(test_results_that_have_expired_are_dropped),
		cmocka_unit_test(test_results_of_one_client_are_forgotten_and_those_of_others_stay),
		cmocka_unit_test(test_results_that_cannot_be_read_do_not_keep_those_of_other_trees),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
