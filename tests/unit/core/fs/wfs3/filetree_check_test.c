/* SPDX-License-Identifier: BSD-3-Clause */
/* What a check finds in file trees whose items were tampered with. */
#include "tests/unit/core/fs/wfs3/filetree_fixture.h"

#include "core/fs/wfs3/dirent.h"
#include "core/fs/wfs3/edit.h"

/* A tree with /d/e (directories), /d/f and its other name /g (a file), /s (a symbolic link). */
struct sample {
	struct tree_fixture t;
	struct dataset *ds;
	uint64_t d, e, f;
};

static void make_sample(struct sample *s)
{
	struct vfs_new link = { .type = VFS_TYPE_SYMLINK, .mode = 0777, .target = "d/f", .target_len = 3 };
	struct vfs_node *d, *e, *f, *n;

	tree_init(&s->t, 64 * MIB);
	d = make_dir(s->t.top, "d");
	e = make_dir(d, "e");
	f = make_file(d, "f");
	assert_ok(node_write(f, 0, "hello", 5, 0));
	assert_ok(f->ops->set_xattr(f, "user.x", "1", 1, 0, NULL));
	assert_ok(link_to(s->t.top, "g", f));
	assert_ok(s->t.top->ops->create(s->t.top, "s", 1, &link, &n));
	s->d = node_stat(d).object;
	s->e = node_stat(e).object;
	s->f = node_stat(f).object;
	s->ds = filetree_object(s->t.top)->ds;
	vfs_node_unref(n);
	vfs_node_unref(d);
	vfs_node_unref(e);
	vfs_node_unref(f);
	assert_ok(s->t.f.admin.driver->pool_sync(s->t.f.admin.ctx, "tank"));
}

static void put_item(struct sample *s, struct wfs3_key key, const void *value, size_t len)
{
	uint64_t txg = txg_enter(s->t.pool);

	assert_ok(tree_put(s->ds->tree, txg, &key, value, len));
	txg_changed(s->t.pool, s->ds, txg);
	txg_exit(s->t.pool);
}

static void delete_item(struct sample *s, struct wfs3_key key)
{
	uint64_t txg = txg_enter(s->t.pool);

	assert_ok(tree_delete(s->ds->tree, txg, &key));
	txg_changed(s->t.pool, s->ds, txg);
	txg_exit(s->t.pool);
}

static struct wfs3_key inode_key(uint64_t object)
{
	return (struct wfs3_key){ .object = object, .kind = WFS3_KIND_INODE };
}

static struct inode get_inode(struct sample *s, uint64_t object)
{
	struct wfs3_key key = inode_key(object);
	uint8_t buf[INODE_BYTES];
	struct inode i;
	size_t len;

	assert_ok(edit_read(s->ds, &key, buf, sizeof(buf), &len));
	assert_ok(inode_decode(buf, len, &i));
	return i;
}

static void put_inode(struct sample *s, uint64_t object, const struct inode *i)
{
	uint8_t buf[INODE_BYTES];

	put_item(s, inode_key(object), buf, inode_encode(i, buf));
}

static struct wfs3_key entry_key(struct sample *s, uint64_t dir, const char *name)
{
	return dirent_key(dir, dirent_hash(s->ds->hash_key, name, strlen(name)));
}

static void put_entry(struct sample *s, struct wfs3_key key, const char *name, uint64_t object, uint8_t type)
{
	struct dirent d = { .object = object, .type = type, .name_len = (uint8_t)strlen(name), .name = name };
	uint8_t buf[DIRENT_VALUE_MAX];

	put_item(s, key, buf, (size_t)dirent_edit(NULL, 0, name, strlen(name), &d, buf));
}

/* The check finds damage of this kind. */
static void finish(struct sample *s, enum pool_finding_kind kind)
{
	struct pool_check_report r;

	tree_close(&s->t);
	assert_ok(pool_export(&s->t.f, "tank", false));
	r = check(&s->t.f, 1, true);
	if (!r.kind_counts[kind])
		print_findings(&r);
	assert_true(r.damage_count > 0 && r.kind_counts[kind] > 0);
	pool_check_report_done(&r);
	fixture_done(&s->t.f);
}

static void test_untouched_tree_is_clean(void **state)
{
	struct sample s;

	(void)state;
	make_sample(&s);
	tree_restart(&s.t);
	tree_done(&s.t);
}

static void test_wrong_link_counts_are_found(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		struct sample s;
		struct inode inode;
		uint64_t object;

		make_sample(&s);
		object = i == 0 ? s.f : i == 1 ? s.d : WFS3_ROOT_OBJECT;
		inode = get_inode(&s, object);
		inode.link_count++;
		put_inode(&s, object, &inode);
		finish(&s, POOL_FINDING_LINKS);
	}
}

static void test_entry_that_leads_nowhere_is_found(void **state)
{
	struct sample s;

	(void)state;
	make_sample(&s);
	put_entry(&s, entry_key(&s, s.d, "f"), "f", 12345, VFS_TYPE_FILE);
	finish(&s, POOL_FINDING_ENTRY);
}

static void test_entry_of_a_wrong_type_or_in_a_wrong_place_is_found(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		struct sample s;
		struct wfs3_key key;

		make_sample(&s);
		key = entry_key(&s, s.d, "f");
		if (i)
			delete_item(&s, key);
		key.offset += i;
		put_entry(&s, key, "f", s.f, i ? VFS_TYPE_FILE : VFS_TYPE_FIFO);
		finish(&s, POOL_FINDING_ENTRY);
	}
}

static void test_object_without_an_entry_is_found(void **state)
{
	struct sample s;
	struct inode top;

	(void)state;
	make_sample(&s);
	top = get_inode(&s, WFS3_ROOT_OBJECT);
	delete_item(&s, entry_key(&s, WFS3_ROOT_OBJECT, "s"));
	top.size_bytes--;
	put_inode(&s, WFS3_ROOT_OBJECT, &top);
	finish(&s, POOL_FINDING_LINKS);
}

static void test_nameless_object_that_nobody_gives_back_is_found(void **state)
{
	struct sample s;
	struct inode i = { .mode = 0100600, .change = 1 };

	(void)state;
	make_sample(&s);
	put_inode(&s, s.ds->next_object++, &i);
	s.ds->object_count++;
	finish(&s, POOL_FINDING_LINKS);
}

static void test_directories_in_a_circle_are_found(void **state)
{
	struct inode top, d, e;
	struct sample s;

	(void)state;
	make_sample(&s);
	/* d moves from the top into e, which is in d. */
	top = get_inode(&s, WFS3_ROOT_OBJECT);
	d = get_inode(&s, s.d);
	e = get_inode(&s, s.e);
	delete_item(&s, entry_key(&s, WFS3_ROOT_OBJECT, "d"));
	top.size_bytes--;
	top.link_count--;
	put_inode(&s, WFS3_ROOT_OBJECT, &top);
	put_entry(&s, entry_key(&s, s.e, "d"), "d", s.d, VFS_TYPE_DIR);
	e.size_bytes++;
	e.link_count++;
	put_inode(&s, s.e, &e);
	d.parent = s.e;
	put_inode(&s, s.d, &d);
	finish(&s, POOL_FINDING_LINKS);
}

static void test_wrong_counts_are_found(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		struct sample s;
		struct inode inode;

		make_sample(&s);
		if (i == 0) {
			inode = get_inode(&s, s.d);
			inode.size_bytes++;
			put_inode(&s, s.d, &inode);
		} else if (i == 1) {
			inode = get_inode(&s, s.f);
			inode.blocks++;
			put_inode(&s, s.f, &inode);
		} else if (i == 2) {
			s.ds->object_count++;
		} else {
			s.ds->next_object = 2;
		}
		put_inode(&s, s.e, &(struct inode){ .mode = 040755, .link_count = 2, .parent = s.d });
		finish(&s, POOL_FINDING_COUNTER);
	}
}

static void test_data_behind_the_end_is_found_unless_it_is_being_dropped(void **state)
{
	struct inode inode;
	struct sample s;

	(void)state;
	make_sample(&s);
	inode = get_inode(&s, s.f);
	inode.size_bytes = 0;
	put_inode(&s, s.f, &inode);
	finish(&s, POOL_FINDING_SIZE);

	make_sample(&s);
	put_inode(&s, s.f, &inode);
	put_item(&s, filetree_orphan_key(s.f), NULL, 0);
	tree_restart(&s.t);
	tree_restart(&s.t);
	tree_done(&s.t);
}

static void test_items_that_make_no_sense_are_found(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		struct sample s;
		struct wfs3_key key;

		make_sample(&s);
		key = xattr_key(s.f, xattr_hash(s.ds->hash_key, "user.x", 6), 0);
		if (i == 0)
			key.offset += 1;
		else if (i == 1)
			key = filetree_orphan_key(999999);
		else if (i == 2)
			key = filetree_target_key(WFS3_ROOT_OBJECT, 0);
		else
			key.object = 999;
		put_item(&s, key, "x", i == 1 ? 0 : 1);
		finish(&s, POOL_FINDING_ITEM);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_untouched_tree_is_clean),
		cmocka_unit_test(test_wrong_link_counts_are_found),
		cmocka_unit_test(test_entry_that_leads_nowhere_is_found),
		cmocka_unit_test(test_entry_of_a_wrong_type_or_in_a_wrong_place_is_found),
		cmocka_unit_test(test_object_without_an_entry_is_found),
		cmocka_unit_test(test_nameless_object_that_nobody_gives_back_is_found),
		cmocka_unit_test(test_directories_in_a_circle_are_found),
		cmocka_unit_test(test_wrong_counts_are_found),
		cmocka_unit_test(test_data_behind_the_end_is_found_unless_it_is_being_dropped),
		cmocka_unit_test(test_items_that_make_no_sense_are_found),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
