/* SPDX-License-Identifier: BSD-3-Clause */
/* Quotas: what is counted for whom, what is refused and what not, and that all of it is right after power cuts. */
#include "tests/unit/core/fs/wfs3/filetree_fixture.h"

#define BLOCK 4096u
#define UID 7u /* as the fixture's files */
#define GID 8u

static struct dataset *tree_of(struct tree_fixture *t)
{
	return filetree_object(t->top)->ds;
}

static void set(struct tree_fixture *t, enum quota_class class, uint32_t id, uint64_t blocks, uint64_t objects)
{
	struct quota_item limits = {
		.class = class, .id = id, .limit_bytes = blocks * BLOCK, .limit_objects = objects
	};

	assert_ok(quota_set(tree_of(t), &limits));
}

/* What is told of an owner; nothing when it has nothing. */
static struct quota_item told(struct tree_fixture *t, enum quota_class class, uint32_t id)
{
	struct quota_item *all, found = { 0 };
	size_t count;

	assert_ok(quota_list(tree_of(t), &all, &count));
	for (size_t i = 0; i < count; i++)
		if (all[i].class == class && all[i].id == id)
			found = all[i];
	free(all);
	return found;
}

static void expect_usage(struct tree_fixture *t, enum quota_class class, uint32_t id, uint64_t blocks, uint64_t objects)
{
	struct quota_item i = told(t, class, id);

	assert_int_equal(i.used_blocks, blocks);
	assert_int_equal(i.used_objects, objects);
}

static int write_blocks(struct vfs_node *n, uint64_t first, uint64_t count)
{
	int rc = 0;

	for (uint64_t b = first; b < first + count && !rc; b++) {
		uint8_t data[BLOCK];

		memset(data, (int)(b % 255 + 1), sizeof(data));
		rc = node_write(n, b * BLOCK, data, sizeof(data), 0);
	}
	return rc;
}

static int chown_to(struct vfs_node *n, uint32_t uid, uint32_t gid)
{
	struct vfs_set_attr attr = { .valid = VFS_SET_UID | VFS_SET_GID, .uid = uid, .gid = gid };

	return n->ops->set_attr(n, &attr);
}

static int set_project(struct vfs_node *n, uint32_t project)
{
	struct vfs_set_attr attr = { .valid = VFS_SET_PROJECT, .project = project };

	return n->ops->set_attr(n, &attr);
}

static void begin(struct tree_fixture *t)
{
	tree_init(t, 64 * MIB);
}

/* With all of it counted anew. */
static void end(struct tree_fixture *t)
{
	tree_restart(t);
	tree_done(t);
}

static void test_blocks_and_objects_are_counted_for_their_owners(void **state)
{
	struct tree_fixture t;
	struct vfs_node *n;

	(void)state;
	begin(&t);
	set(&t, QUOTA_USER, UID, 1000, 0);
	n = make_file(t.top, "a");
	assert_ok(write_blocks(n, 0, 20));
	assert_ok(write_blocks(n, 10, 20));
	expect_usage(&t, QUOTA_USER, UID, 30, 1);
	expect_usage(&t, QUOTA_GROUP, GID, 30, 1);
	expect_usage(&t, QUOTA_USER, 0, 0, 1);
	expect_usage(&t, QUOTA_DATASET, 0, 30, 2);
	assert_ok(node_truncate(n, 5 * BLOCK));
	expect_usage(&t, QUOTA_USER, UID, 5, 1);
	assert_ok(n->ops->discard(n, 0, 2 * BLOCK, 0));
	expect_usage(&t, QUOTA_USER, UID, 3, 1);
	assert_ok(n->ops->zero(n, 2 * BLOCK, BLOCK, 0));
	expect_usage(&t, QUOTA_USER, UID, 2, 1);
	vfs_node_unref(n);
	tree_restart(&t);
	expect_usage(&t, QUOTA_USER, UID, 2, 1);
	end(&t);
}

static void test_what_was_there_before_the_first_limit_is_counted(void **state)
{
	struct tree_fixture t;
	struct vfs_node *n, *other;

	(void)state;
	begin(&t);
	n = make_file(t.top, "a");
	assert_ok(write_blocks(n, 0, 9));
	other = make_dir(t.top, "d");
	assert_ok(chown_to(other, 1000, 1000));
	set(&t, QUOTA_USER, UID, 10, 0);
	expect_usage(&t, QUOTA_USER, UID, 9, 1);
	expect_usage(&t, QUOTA_USER, 1000, 0, 1);
	assert_ok(write_blocks(n, 9, 1));
	assert_int_equal(write_blocks(n, 10, 1), -EDQUOT);
	vfs_node_unref(n);
	vfs_node_unref(other);
	end(&t);
}

static void expect_reason(const char *want)
{
	char text[256];

	assert_string_equal(err_text(err_get(), -EDQUOT, 0, text, sizeof(text)), want);
}

static void test_a_limit_is_used_to_its_last_block_and_not_further(void **state)
{
	enum quota_class classes[] = { QUOTA_DATASET, QUOTA_USER, QUOTA_GROUP, QUOTA_PROJECT };
	uint32_t ids[] = { 0, UID, GID, 5 };
	const char *reasons[] = { "dataset 1 may have 163840 bytes: Disk quota exceeded",
		                  "user 7 of dataset 1 may have 163840 bytes: Disk quota exceeded",
		                  "group 8 of dataset 1 may have 163840 bytes: Disk quota exceeded",
		                  "project 5 of dataset 1 may have 163840 bytes: Disk quota exceeded" };

	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		struct tree_fixture t;
		struct vfs_node *n;

		begin(&t);
		n = make_file(t.top, "a");
		assert_ok(set_project(n, 5));
		set(&t, classes[i], ids[i], 40, 0);
		assert_ok(write_blocks(n, 0, 40));
		assert_int_equal(write_blocks(n, 40, 1), -EDQUOT);
		expect_reason(reasons[i]);
		/* What is there can be written anew, and room that is given back can be had. */
		assert_ok(write_blocks(n, 0, 40));
		assert_ok(n->ops->discard(n, 3 * BLOCK, 2 * BLOCK, 0));
		assert_ok(write_blocks(n, 100, 2));
		assert_int_equal(write_blocks(n, 3, 1), -EDQUOT);
		assert_int_equal(node_stat(n).size_bytes, 102 * BLOCK);
		vfs_node_unref(n);
		assert_ok(remove_name(t.top, "a", false));
		end(&t);
	}
}

static void test_zeros_and_refused_writes_take_no_room(void **state)
{
	static const uint8_t zeros[64 * BLOCK];
	static uint8_t data[64 * BLOCK];
	struct tree_fixture t;
	struct vfs_node *n;

	(void)state;
	begin(&t);
	set(&t, QUOTA_USER, UID, 20, 0);
	n = make_file(t.top, "a");
	memset(data, 1, sizeof(data));
	assert_ok(node_write(n, 0, zeros, 16 * BLOCK, 0));
	assert_ok(node_write(n, 0, zeros, 16 * BLOCK, 0));
	assert_int_equal(node_write(n, 0, data, sizeof(data), 0), -EDQUOT);
	assert_int_equal(node_stat(n).size_bytes, 16 * BLOCK);
	for (unsigned i = 0; i < 100; i++)
		assert_ok(node_write(n, i * 10, data, 10, 0));
	assert_ok(node_write(n, 0, data, 20 * BLOCK, 0));
	expect_usage(&t, QUOTA_USER, UID, 20, 1);
	vfs_node_unref(n);
	end(&t);
}

static void test_objects_are_limited_exactly(void **state)
{
	struct tree_fixture t;
	struct vfs_node *n;

	(void)state;
	begin(&t);
	set(&t, QUOTA_USER, UID, 0, 2);
	vfs_node_unref(make_file(t.top, "a"));
	vfs_node_unref(make_dir(t.top, "b"));
	assert_int_equal(make_type(t.top, "c", VFS_TYPE_FILE, &n), -EDQUOT);
	assert_int_equal(lookup_error(t.top, "c"), -ENOENT);
	assert_ok(remove_name(t.top, "a", false));
	vfs_node_unref(make_file(t.top, "c"));
	set(&t, QUOTA_USER, UID, 0, 0);
	set(&t, QUOTA_DATASET, 0, 0, 4);
	vfs_node_unref(make_file(t.top, "d"));
	assert_int_equal(make_type(t.top, "e", VFS_TYPE_FIFO, &n), -EDQUOT);
	expect_reason("change file tree 1: dataset 1 may have 4 objects: Disk quota exceeded");
	end(&t);
}

static void test_an_object_with_several_names_counts_once(void **state)
{
	struct tree_fixture t;
	struct vfs_node *n;

	(void)state;
	begin(&t);
	set(&t, QUOTA_USER, UID, 10, 1);
	n = make_file(t.top, "a");
	assert_ok(write_blocks(n, 0, 10));
	assert_ok(link_to(t.top, "b", n));
	expect_usage(&t, QUOTA_USER, UID, 10, 1);
	assert_ok(remove_name(t.top, "a", false));
	expect_usage(&t, QUOTA_USER, UID, 10, 1);
	/* Without a name it counts as long as somebody uses it. */
	assert_ok(remove_name(t.top, "b", false));
	expect_usage(&t, QUOTA_USER, UID, 10, 1);
	assert_int_equal(write_blocks(n, 10, 1), -EDQUOT);
	vfs_node_unref(n);
	while (told(&t, QUOTA_USER, UID).used_objects)
		sync_sleep_ns(SYNC_NS_PER_MS);
	expect_usage(&t, QUOTA_USER, UID, 0, 0);
	end(&t);
}

static void test_a_new_owner_needs_room_for_all_of_it(void **state)
{
	struct tree_fixture t;
	struct vfs_node *n;

	(void)state;
	begin(&t);
	set(&t, QUOTA_USER, 1000, 10, 0);
	set(&t, QUOTA_USER, UID, 30, 0);
	n = make_file(t.top, "a");
	assert_ok(write_blocks(n, 0, 11));
	assert_int_equal(chown_to(n, 1000, GID), -EDQUOT);
	assert_int_equal(node_stat(n).uid, UID);
	assert_ok(node_truncate(n, 10 * BLOCK));
	assert_ok(chown_to(n, 1000, GID));
	expect_usage(&t, QUOTA_USER, 1000, 10, 1);
	expect_usage(&t, QUOTA_USER, UID, 0, 0);
	expect_usage(&t, QUOTA_GROUP, GID, 10, 1);
	assert_int_equal(write_blocks(n, 10, 1), -EDQUOT);
	assert_ok(chown_to(n, UID, GID));
	assert_ok(write_blocks(n, 10, 20));
	assert_int_equal(write_blocks(n, 30, 1), -EDQUOT);
	vfs_node_unref(n);
	end(&t);
}

static void test_a_project_is_inherited_and_is_the_size_of_its_file_system(void **state)
{
	struct vfs_node *d, *e, *n, *outside;
	struct tree_fixture t;
	struct vfs_statfs st;

	(void)state;
	begin(&t);
	d = make_dir(t.top, "d");
	assert_ok(set_project(d, 77));
	set(&t, QUOTA_PROJECT, 77, 25, 4);
	e = make_dir(d, "e");
	n = make_file(e, "f");
	assert_int_equal(node_stat(n).project, 77);
	assert_ok(write_blocks(n, 0, 5));
	expect_usage(&t, QUOTA_PROJECT, 77, 5, 3);
	assert_ok(n->ops->statfs(n, &st));
	assert_int_equal(st.total_bytes, 25 * BLOCK);
	assert_int_equal(st.available_bytes, 20 * BLOCK);
	assert_int_equal(st.objects_free, 1);
	assert_ok(t.top->ops->statfs(t.top, &st));
	assert_true(st.total_bytes > 25 * BLOCK);
	outside = make_file(t.top, "o");
	assert_int_equal(rename_to(t.top, "o", d, "o", 0), -EXDEV);
	assert_int_equal(link_to(d, "o", outside), -EXDEV);
	assert_ok(rename_to(e, "f", t.top, "f", 0));
	expect_usage(&t, QUOTA_PROJECT, 77, 5, 3);
	assert_ok(set_project(n, 0));
	expect_usage(&t, QUOTA_PROJECT, 77, 0, 2);
	vfs_node_unref(outside);
	vfs_node_unref(n);
	vfs_node_unref(e);
	vfs_node_unref(d);
	tree_restart(&t);
	expect_usage(&t, QUOTA_PROJECT, 77, 0, 2);
	end(&t);
}

/* ---- many at once ---- */

#define WRITERS 4u

struct writer {
	struct sync_thread thread;
	struct tree_fixture *t;
	unsigned number, written, refused;
};

static void write_until_full(void *arg)
{
	struct writer *w = arg;
	struct vfs_node *n;
	char name[8];
	int rc = 0;

	snprintf(name, sizeof(name), "w%u", w->number);
	n = node_at(w->t->top, name);
	/* Each block twice: once new, once not. */
	for (uint64_t b = 0; !rc; b++) {
		rc = write_blocks(n, b * 3, 1);
		if (!rc)
			w->written++;
		if (!rc)
			assert_ok(write_blocks(n, b * 3, 1));
	}
	w->refused = rc == -EDQUOT;
	vfs_node_unref(n);
	blk_thread_done();
}

static void test_many_writers_get_exactly_the_limit(void **state)
{
	struct writer w[WRITERS] = { 0 };
	struct tree_fixture t;
	unsigned sum = 0;

	(void)state;
	begin(&t);
	set(&t, QUOTA_USER, UID, 333, 0);
	set(&t, QUOTA_DATASET, 0, 2000, 0);
	for (unsigned i = 0; i < WRITERS; i++) {
		char name[8];

		snprintf(name, sizeof(name), "w%u", i);
		vfs_node_unref(make_file(t.top, name));
		w[i] = (struct writer){ .t = &t, .number = i };
	}
	for (unsigned i = 0; i < WRITERS; i++)
		assert_ok(sync_thread_start(&w[i].thread, "writer", write_until_full, &w[i]));
	for (unsigned i = 0; i < WRITERS; i++) {
		sync_thread_join(&w[i].thread);
		assert_true(w[i].refused);
		sum += w[i].written;
	}
	assert_int_equal(sum, 333);
	expect_usage(&t, QUOTA_USER, UID, 333, WRITERS);
	end(&t);
}

static void create_until_full(void *arg)
{
	struct writer *w = arg;
	int rc = 0;

	for (unsigned i = 0; !rc; i++) {
		struct vfs_node *n;
		char name[16];

		/* Names that are taken already refuse half of them. */
		snprintf(name, sizeof(name), "f%u", i / 2 * WRITERS + w->number);
		rc = make_type(w->t->top, name, VFS_TYPE_FILE, &n);
		if (!rc)
			vfs_node_unref(n);
		w->written += !rc;
		if (rc == -EEXIST)
			rc = 0;
	}
	w->refused = rc == -EDQUOT;
	blk_thread_done();
}

static void test_many_creators_get_exactly_the_limit(void **state)
{
	struct writer w[WRITERS] = { 0 };
	struct tree_fixture t;
	unsigned sum = 0;

	(void)state;
	begin(&t);
	set(&t, QUOTA_GROUP, GID, 0, 501);
	for (unsigned i = 0; i < WRITERS; i++) {
		w[i] = (struct writer){ .t = &t, .number = i };
		assert_ok(sync_thread_start(&w[i].thread, "creator", create_until_full, &w[i]));
	}
	for (unsigned i = 0; i < WRITERS; i++) {
		sync_thread_join(&w[i].thread);
		assert_true(w[i].refused);
		sum += w[i].written;
	}
	assert_int_equal(sum, 501);
	end(&t);
}

/* ---- power cuts ---- */

#define EPISODES 40u
#define CRASH_FILES 5u

static void random_change(struct tree_fixture *t, uint64_t r, struct vfs_node **held)
{
	char name[8];
	struct vfs_node *n;
	int rc;

	snprintf(name, sizeof(name), "f%u", (unsigned)(r % CRASH_FILES));
	rc = t->top->ops->lookup(t->top, name, strlen(name), &n);
	if (rc == -ENOENT) {
		rc = make_type(t->top, name, r >> 8 & 1 ? VFS_TYPE_FILE : VFS_TYPE_DIR, &n);
		assert_true(!rc || rc == -EDQUOT);
		if (!rc)
			vfs_node_unref(n);
		return;
	}
	assert_ok(rc);
	switch (r >> 4 & 7) {
	case 0:
		assert_ok(remove_name(t->top, name, n->type == VFS_TYPE_DIR));
		if (!*held && n->type == VFS_TYPE_FILE) {
			vfs_node_ref(n);
			*held = n;
		}
		break;
	case 1:
		rc = chown_to(n, UID + (uint32_t)(r >> 9 & 1), GID + (uint32_t)(r >> 10 & 1));
		break;
	case 2:
		rc = set_project(n, (uint32_t)(r >> 11 & 3));
		break;
	case 3:
		rc = n->type == VFS_TYPE_FILE ? node_truncate(n, (r >> 9) % 40 * 1000) : 0;
		break;
	case 4:
		rc = n->ops->flush(n, 0);
		break;
	default:
		rc = n->type == VFS_TYPE_FILE ? write_blocks(n, (r >> 9) % 40, (r >> 15) % 20) : 0;
	}
	assert_true(!rc || rc == -EDQUOT);
	vfs_node_unref(n);
}

static void test_usage_is_right_after_power_cuts(void **state)
{
	uint64_t seed = 1;
	struct tree_fixture t;

	(void)state;
	begin(&t);
	set(&t, QUOTA_USER, UID, 100, 4);
	set(&t, QUOTA_PROJECT, 2, 30, 0);
	set(&t, QUOTA_DATASET, 0, 150, 0);
	for (unsigned episode = 0; episode < EPISODES; episode++) {
		struct vfs_node *held = NULL;

		for (unsigned i = 0; i < 30; i++) {
			seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
			random_change(&t, seed >> 20, &held);
			if ((seed >> 50) % 20 == 0)
				assert_ok(txg_force(t.pool, 1));
		}
		vfs_node_unref(held);
		tree_crash(&t, seed);
		assert_true(told(&t, QUOTA_USER, UID).used_blocks <= 100);
		assert_true(told(&t, QUOTA_DATASET, 0).used_blocks <= 150);
		/* Counts, and a check that counts them anew. */
		tree_restart(&t);
	}
	end(&t);
}

static void test_a_check_finds_a_wrong_count(void **state)
{
	struct tree_fixture t;
	struct vfs_node *n;
	struct quota *q;

	(void)state;
	begin(&t);
	set(&t, QUOTA_USER, UID, 100, 0);
	n = make_file(t.top, "a");
	q = tree_of(&t)->quota;
	sync_mutex_lock(&q->lock);
	quota_find(q, QUOTA_USER, UID)->is.used_blocks++;
	sync_mutex_unlock(&q->lock);
	vfs_node_unref(n);
	tree_close(&t);
	assert_ok(pool_export(&t.f, "tank", false));
	expect_damage(&t.f, POOL_FINDING_COUNTER);
	fixture_done(&t.f);
}

/* ---- others ---- */

static void test_a_deleted_dataset_takes_its_quotas_along(void **state)
{
	struct tree_fixture t;

	(void)state;
	begin(&t);
	set(&t, QUOTA_USER, UID, 100, 0);
	vfs_node_unref(make_file(t.top, "a"));
	tree_close(&t);
	assert_ok(dataset_delete(t.pool, DATASET_TYPE_TREE, "fs"));
	assert_ok(dataset_create(t.pool, DATASET_TYPE_TREE, "fs", 0));
	tree_open(&t);
	expect_usage(&t, QUOTA_USER, UID, 0, 0);
	end(&t);
}

static void test_a_volume_has_a_limit_of_its_own(void **state)
{
	struct quota_item limit = { .class = QUOTA_DATASET, .limit_bytes = 12 * BLOCK };
	struct tree_fixture t;
	struct vfs_node *n;

	(void)state;
	begin(&t);
	assert_ok(dataset_create(t.pool, DATASET_TYPE_VOLUME, "v", MIB));
	n = node_at(&t.pool->dir, "v");
	assert_ok(n->ops->open(n, true));
	assert_ok(quota_set((struct dataset *)n, &limit));
	assert_ok(write_blocks(n, 0, 12));
	assert_ok(write_blocks(n, 0, 12));
	assert_int_equal(write_blocks(n, 12, 1), -EDQUOT);
	assert_ok(n->ops->discard(n, 0, BLOCK, 0));
	assert_ok(write_blocks(n, 12, 1));
	limit.class = QUOTA_USER;
	assert_int_equal(quota_set((struct dataset *)n, &limit), -EINVAL);
	n->ops->close(n, true);
	vfs_node_unref(n);
	end(&t);
}

static void test_a_nowait_write_without_room_is_tried_again_elsewhere(void **state)
{
	struct iovec iov = { .iov_base = (void *)(uintptr_t) "x", .iov_len = 1 };
	struct tree_fixture t;
	struct vfs_node *n;

	(void)state;
	begin(&t);
	n = make_file(t.top, "a");
	set(&t, QUOTA_USER, UID, 1, 0);
	assert_int_equal(n->ops->write(n, &iov, 1, 0, VFS_NOWAIT), -EAGAIN);
	assert_ok(n->ops->write(n, &iov, 1, 0, 0));
	vfs_node_unref(n);
	end(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_blocks_and_objects_are_counted_for_their_owners),
		cmocka_unit_test(test_what_was_there_before_the_first_limit_is_counted),
		cmocka_unit_test(test_a_limit_is_used_to_its_last_block_and_not_further),
		cmocka_unit_test(test_zeros_and_refused_writes_take_no_room),
		cmocka_unit_test(test_objects_are_limited_exactly),
		cmocka_unit_test(test_an_object_with_several_names_counts_once),
		cmocka_unit_test(test_a_new_owner_needs_room_for_all_of_it),
		cmocka_unit_test(test_a_project_is_inherited_and_is_the_size_of_its_file_system),
		cmocka_unit_test(test_many_writers_get_exactly_the_limit),
		cmocka_unit_test(test_many_creators_get_exactly_the_limit),
		cmocka_unit_test(test_usage_is_right_after_power_cuts),
		cmocka_unit_test(test_a_check_finds_a_wrong_count),
		cmocka_unit_test(test_a_deleted_dataset_takes_its_quotas_along),
		cmocka_unit_test(test_a_volume_has_a_limit_of_its_own),
		cmocka_unit_test(test_a_nowait_write_without_room_is_tried_again_elsewhere),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
