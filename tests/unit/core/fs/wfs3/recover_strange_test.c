/* SPDX-License-Identifier: BSD-3-Clause */
/* Records that nobody writes, with good checksums: data of what is no file is damage, and does nothing to it. */
#include "tests/unit/core/fs/wfs3/filetree_fixture.h"

static uint8_t page[WFS3_BLOCK_BYTES];

static void append(struct pool *p, const struct wal_record *r)
{
	struct wal_record record = *r;
	struct wal_ticket ticket;
	uint64_t closed_txg;

	wal_begin(p->wal, wal_record_bytes(r), &ticket);
	record.txg = txg_enter(p);
	assert_true(wal_append(p->wal, &ticket, &record));
	txg_exit(p);
	wal_end(p->wal, &ticket);
	assert_ok(wal_sync(p->wal, &closed_txg));
}

static uint64_t make_symlink(struct tree_fixture *t)
{
	struct vfs_new link = { .type = VFS_TYPE_SYMLINK, .mode = 0777, .target = "target", .target_len = 6 };
	struct vfs_node *n;
	uint64_t number;

	assert_ok(t->top->ops->create(t->top, "link", 4, &link, &n));
	number = filetree_object(n)->number;
	vfs_node_unref(n);
	assert_ok(txg_sync(t->pool));
	return number;
}

/* The record is refused, and without it the pool is as it was. */
static void expect_refusal(struct wal_record *r)
{
	struct tree_fixture t;

	tree_init(&t, 64 * MIB);
	r->object = make_symlink(&t);
	r->dataset = filetree_object(t.top)->ds->id;
	append(t.pool, r);
	tree_close(&t);
	fixture_crash(&t.f, UINT64_MAX);
	assert_int_equal(pool_import(&t.f, 1), -EUCLEAN);
	fixture_done(&t.f);
}

static void test_pages_of_a_symbolic_link_are_damage(void **state)
{
	struct wal_record r = { .type = WAL_DATA, .page_count = 1 };

	(void)state;
	memset(page, 7, sizeof(page));
	r.pages[0] = (struct wal_page){ .crc = crc32c(page, sizeof(page)), .data = page };
	expect_refusal(&r);
}

static void test_blocks_of_a_symbolic_link_are_damage(void **state)
{
	struct wal_record r = { .type = WAL_MAP, .block_count = 1 };

	(void)state;
	expect_refusal(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pages_of_a_symbolic_link_are_damage),
		cmocka_unit_test(test_blocks_of_a_symbolic_link_are_damage),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
