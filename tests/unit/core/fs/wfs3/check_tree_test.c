/* SPDX-License-Identifier: BSD-3-Clause */
/* Checks of pools with forged trees: every checksum is right, what stands under them is not. */
#include "core/fs/wfs3/cell.h"
#include "tests/unit/core/fs/wfs3/check_fixture.h"

/* Forged nodes: the hashes above them are right. */

static struct pool_check_report forged(struct fixture *f, void (*edit)(struct forge *g, uint8_t *page))
{
	struct forge g;
	struct pool_check_report r;

	make_pool(f);
	forge_open(&g, f->devs[0]);
	forge_nodes(&g, edit);
	assert_true(g.done);
	forge_close(&g);
	r = check(f, 1, true);
	return r;
}

static void expect_forged(void (*edit)(struct forge *g, uint8_t *page), enum pool_finding_kind kind)
{
	struct fixture f;
	struct pool_check_report r = forged(&f, edit);

	if (r.damage_count + r.note_count != 1 || r.findings[0].kind != kind)
		print_findings(&r);
	assert_int_equal(r.note_count, 0);
	assert_int_equal(r.damage_count, 1);
	assert_int_equal(r.findings[0].kind, kind);
	pool_check_report_done(&r);
	fixture_done(&f);
}

/* Decode, change and encode the @index-th cell of the volume. */
static void edit_cell(struct forge *g, uint8_t *page, unsigned index, void (*edit)(struct cell *c))
{
	if (node_dataset(page) != 1 || node_level(page) || g->done)
		return;
	for (unsigned i = 0; i < node_count(page); i++) {
		struct wfs3_key key = node_key(page, i);
		struct cell cell;
		uint8_t buf[CELL_BYTES_MAX];
		size_t len;
		const uint8_t *value = node_value(page, i, &len);

		if (key.kind != WFS3_KIND_CELL || index--)
			continue;
		assert_ok(cell_decode(value, len, &cell));
		edit(&cell);
		node_replace(page, i, buf, cell_encode(&cell, buf));
		g->done = true;
		return;
	}
}

static uint64_t other_addr; /* a block that the first cell maps */

static void remember_addr(struct cell *c)
{
	other_addr = c->blocks[3].addr;
}

static void map_elsewhere(struct cell *c)
{
	c->blocks[0].addr = other_addr;
}

static void edit_share(struct forge *g, uint8_t *page)
{
	if (node_dataset(page) != 1 || node_level(page) || g->done)
		return;
	edit_cell(g, page, 0, remember_addr);
	g->done = false;
	edit_cell(g, page, 4, map_elsewhere);
}

static void test_block_that_is_used_twice_is_found(void **state)
{
	struct fixture f;
	struct pool_check_report r = forged(&f, edit_share);

	(void)state;
	/* Also: the block that was mapped before is a leak now, and the data is not the right one. */
	assert_int_equal(r.damage_count, 3);
	assert_int_equal(r.kind_counts[POOL_FINDING_SHARED], 1);
	assert_int_equal(r.kind_counts[POOL_FINDING_LEAK], 1);
	assert_int_equal(r.kind_counts[POOL_FINDING_DATA_CRC], 1);
	pool_check_report_done(&r);
	fixture_done(&f);
}

static void map_far_away(struct cell *c)
{
	c->blocks[0].addr = WFS3_VBA_MAX - 100;
}

static void edit_far(struct forge *g, uint8_t *page)
{
	edit_cell(g, page, 5, map_far_away);
}

static void test_address_outside_of_the_pool_is_found(void **state)
{
	(void)state;
	expect_forged(edit_far, POOL_FINDING_ADDRESS);
}

static void bear_later(struct cell *c)
{
	c->blocks[0].birth = 1000000;
}

static void edit_birth(struct forge *g, uint8_t *page)
{
	edit_cell(g, page, 5, bear_later);
}

static void test_data_younger_than_its_node_is_found(void **state)
{
	(void)state;
	expect_forged(edit_birth, POOL_FINDING_BIRTH);
}

static void other_crc(struct cell *c)
{
	c->blocks[0].crc++;
}

static void edit_crc(struct forge *g, uint8_t *page)
{
	edit_cell(g, page, 6, other_crc);
}

static void test_wrong_checksum_of_data_is_found_with_its_place(void **state)
{
	struct fixture f;
	struct pool_check_report r = forged(&f, edit_crc);

	(void)state;
	assert_int_equal(r.damage_count, 1);
	assert_int_equal(r.findings[0].kind, POOL_FINDING_DATA_CRC);
	assert_int_equal(r.findings[0].dataset, 1);
	assert_string_equal(r.findings[0].name, "vm1");
	assert_int_equal(r.findings[0].object, 1);
	assert_int_equal(r.findings[0].offset, 5 * MIB);
	assert_true(r.findings[0].has_place);
	pool_check_report_done(&r);
	/* Without reading data it cannot be known. */
	r = check(&f, 1, false);
	assert_int_equal(r.damage_count, 0);
	pool_check_report_done(&r);
	fixture_done(&f);
}

static void edit_cell_header(struct forge *g, uint8_t *page)
{
	struct wfs3_key key = { .object = 1, .kind = WFS3_KIND_CELL, .offset = 0 };
	static const uint8_t bad[24] = { 17, 1 };
	unsigned slot;

	if (node_dataset(page) != 1 || node_level(page) || !node_search(page, &key, &slot))
		return;
	node_replace(page, slot, bad, sizeof(bad));
	g->done = true;
}

static void test_cell_that_does_not_decode_is_found(void **state)
{
	(void)state;
	expect_forged(edit_cell_header, POOL_FINDING_CELL);
}

static void edit_item_kind(struct forge *g, uint8_t *page)
{
	struct wfs3_key key = { .object = 7, .kind = WFS3_KIND_XATTR, .offset = 1 };

	if (node_dataset(page) != 1 || node_level(page) || g->done)
		return;
	node_insert(page, node_count(page), &key, "x", 1);
	g->done = true;
}

static void test_item_of_unknown_kind_is_found(void **state)
{
	(void)state;
	expect_forged(edit_item_kind, POOL_FINDING_ITEM);
}

/* Change the inode. */
static void edit_inode(struct forge *g, uint8_t *page, void (*edit)(uint8_t *value))
{
	struct wfs3_key key = { .object = 1, .kind = WFS3_KIND_INODE };
	uint8_t buf[INODE_BYTES];
	unsigned slot;
	size_t len;

	if (node_dataset(page) != 1 || node_level(page) || !node_search(page, &key, &slot))
		return;
	memcpy(buf, node_value(page, slot, &len), INODE_BYTES);
	edit(buf);
	node_replace(page, slot, buf, INODE_BYTES);
	g->done = true;
}

static void shorten(uint8_t *value)
{
	put_le64(value + 24, 21 * MIB);
}

static void edit_size(struct forge *g, uint8_t *page)
{
	edit_inode(g, page, shorten);
}

static void test_data_beyond_the_end_is_found(void **state)
{
	(void)state;
	expect_forged(edit_size, POOL_FINDING_SIZE);
}

static void make_socket(uint8_t *value)
{
	put_le32(value, 0140600);
}

static void edit_mode(struct forge *g, uint8_t *page)
{
	edit_inode(g, page, make_socket);
}

static void test_impossible_inode_is_found(void **state)
{
	(void)state;
	expect_forged(edit_mode, POOL_FINDING_INODE);
}

static void edit_no_inode(struct forge *g, uint8_t *page)
{
	struct wfs3_key key = { .object = 1, .kind = WFS3_KIND_INODE };
	unsigned slot;

	if (node_dataset(page) != 1 || node_level(page) || !node_search(page, &key, &slot))
		return;
	node_remove(page, slot);
	g->done = true;
}

static void test_missing_inode_is_found(void **state)
{
	(void)state;
	expect_forged(edit_no_inode, POOL_FINDING_INODE);
}

static void edit_identity(struct forge *g, uint8_t *page)
{
	if (node_dataset(page) != 1 || node_level(page) || g->done)
		return;
	put_le64(page + NODE_OFF_DATASET, 2);
	g->done = true;
}

static void test_node_of_another_dataset_is_found(void **state)
{
	(void)state;
	expect_forged(edit_identity, POOL_FINDING_NODE_IDENTITY);
}

static void edit_format(struct forge *g, uint8_t *page)
{
	if (node_dataset(page) != 1 || node_level(page) || g->done)
		return;
	put_le32(page + NODE_OFF_ZERO, 1);
	g->done = true;
}

static void test_node_that_breaks_its_format_is_found(void **state)
{
	(void)state;
	expect_forged(edit_format, POOL_FINDING_NODE_FORMAT);
}

/* The dataset's record. */
static void edit_record(struct forge *g, uint8_t *page, void (*edit)(struct dataset_item *item))
{
	struct wfs3_key key = { .object = 1, .kind = WFS3_KIND_DATASET };
	uint8_t buf[DATASET_ITEM_BYTES_MAX];
	struct dataset_item item;
	const uint8_t *value;
	unsigned slot;
	size_t len;

	if (node_dataset(page) || node_level(page) || !node_search(page, &key, &slot))
		return;
	value = node_value(page, slot, &len);
	assert_ok(dataset_item_decode(1, value, len, &item));
	edit(&item);
	node_replace(page, slot, buf, dataset_item_encode(&item, buf));
	g->done = true;
}

static void count_more(struct dataset_item *item)
{
	item->used_blocks++;
}

static void edit_used(struct forge *g, uint8_t *page)
{
	edit_record(g, page, count_more);
}

static void reuse_object(struct dataset_item *item)
{
	item->next_object = 1;
}

static void edit_next_object(struct forge *g, uint8_t *page)
{
	edit_record(g, page, reuse_object);
}

static void test_wrong_counters_of_a_dataset_are_found(void **state)
{
	(void)state;
	expect_forged(edit_used, POOL_FINDING_COUNTER);
	expect_forged(edit_next_object, POOL_FINDING_COUNTER);
}

static void edit_bad_record(struct forge *g, uint8_t *page)
{
	struct wfs3_key key = { .object = 1, .kind = WFS3_KIND_DATASET };
	unsigned slot;

	if (node_dataset(page) || node_level(page) || !node_search(page, &key, &slot))
		return;
	node_replace(page, slot, "nonsense", 8);
	g->done = true;
}

static void test_record_that_does_not_decode_is_found(void **state)
{
	(void)state;
	expect_forged(edit_bad_record, POOL_FINDING_DATASET);
}

static void test_dataset_beyond_the_next_number_is_found(void **state)
{
	struct fixture f;
	struct forge g;

	(void)state;
	make_pool(&f);
	forge_open(&g, f.devs[0]);
	g.root.next_dataset_id = 1;
	forge_root(&g);
	expect_damage(&f, POOL_FINDING_COUNTER);
	forge_close(&g);
	fixture_done(&f);
}

static void edit_name(struct forge *g, uint8_t *page)
{
	struct wfs3_key key = { .object = 2, .kind = WFS3_KIND_DATASET };
	struct dataset_item item = {
		.id = 2, .type = DATASET_TYPE_VOLUME, .state = DATASET_STATE_DELETING, .next_object = 2
	};
	uint8_t buf[DATASET_ITEM_BYTES_MAX];

	if (node_dataset(page) || node_level(page) || g->done)
		return;
	/* One of the two is live and without an inode, so two findings. */
	item.state = DATASET_STATE_LIVE;
	snprintf(item.name, sizeof(item.name), "vm1");
	node_insert(page, node_count(page), &key, buf, dataset_item_encode(&item, buf));
	g->root.next_dataset_id = 3;
	g->done = true;
}

static void test_name_that_is_given_twice_is_found(void **state)
{
	struct fixture f;
	struct pool_check_report r = forged(&f, edit_name);

	(void)state;
	assert_int_equal(r.damage_count, 2);
	assert_int_equal(r.kind_counts[POOL_FINDING_NAME], 1);
	assert_int_equal(r.kind_counts[POOL_FINDING_INODE], 1);
	pool_check_report_done(&r);
	fixture_done(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_block_that_is_used_twice_is_found),
		cmocka_unit_test(test_address_outside_of_the_pool_is_found),
		cmocka_unit_test(test_data_younger_than_its_node_is_found),
		cmocka_unit_test(test_wrong_checksum_of_data_is_found_with_its_place),
		cmocka_unit_test(test_cell_that_does_not_decode_is_found),
		cmocka_unit_test(test_item_of_unknown_kind_is_found),
		cmocka_unit_test(test_data_beyond_the_end_is_found),
		cmocka_unit_test(test_impossible_inode_is_found),
		cmocka_unit_test(test_missing_inode_is_found),
		cmocka_unit_test(test_node_of_another_dataset_is_found),
		cmocka_unit_test(test_node_that_breaks_its_format_is_found),
		cmocka_unit_test(test_wrong_counters_of_a_dataset_are_found),
		cmocka_unit_test(test_record_that_does_not_decode_is_found),
		cmocka_unit_test(test_dataset_beyond_the_next_number_is_found),
		cmocka_unit_test(test_name_that_is_given_twice_is_found),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
