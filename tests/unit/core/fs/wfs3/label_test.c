/* SPDX-License-Identifier: BSD-3-Clause */
/* Labels: the codec, the choice between two copies, and what a device held before. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/bytes.h"
#include "core/base/err.h"
#include "core/blk/sim.h"
#include "core/fs/wfs3/label.h"

#define MIB (UINT64_C(1) << 20)
#define DEVICE_BYTES (64 * MIB)
#define HEADER 4096
#define BACK (DEVICE_BYTES - MIB)

static struct label sample(void)
{
	struct label l = {
		.version = WFS3_VERSION,
		.generation = 5,
		.pool_uuid = "0123456789abcde",
		.pool_name = "tank",
		.created_ns = UINT64_C(1700000000000000000),
		.device_index = 1,
		.device_count = 2,
	};

	l.region_bytes = space_region_bytes(DEVICE_BYTES);
	assert_int_equal(space_layout_make(DEVICE_BYTES, l.region_bytes, &l.layout), 0);
	for (unsigned i = 0; i < 2; i++) {
		memset(l.devices[i].uuid, 0x40 + (int)i, 16);
		l.devices[i].device_bytes = DEVICE_BYTES;
		l.devices[i].group = i;
	}
	return l;
}

static void assert_same(const struct label *a, const struct label *b)
{
	uint8_t x[WFS3_BLOCK_BYTES], y[WFS3_BLOCK_BYTES];

	label_encode(a, x);
	label_encode(b, y);
	assert_memory_equal(x, y, sizeof(x));
	assert_string_equal(a->pool_name, b->pool_name);
	assert_int_equal(a->layout.region_count, b->layout.region_count);
}

static struct blk_dev *labelled_device(const struct label *l)
{
	struct blk_dev *dev;

	assert_int_equal(blk_sim_new("sim", DEVICE_BYTES, &dev), 0);
	assert_int_equal(label_write(dev, l), 0);
	return dev;
}

static void flip(struct blk_dev *dev, uint64_t offset)
{
	uint8_t b;

	blk_sim_peek(dev, offset, &b, 1);
	b ^= 0x10;
	blk_sim_poke(dev, offset, &b, 1);
}

/* Recompute the checksum of a block that was changed on purpose. */
static void seal(uint8_t *block)
{
	struct hash128 h = hash128(block, 4080);

	put_le64(block + 4080, h.lo);
	put_le64(block + 4088, h.hi);
}

static void test_label_survives_encoding(void **state)
{
	struct label l = sample(), got;
	uint8_t block[WFS3_BLOCK_BYTES];

	(void)state;
	memset(l.pool_name, 'x', LABEL_POOL_NAME_MAX);
	l.device_count = WFS3_DEVICES_MAX;
	l.device_index = WFS3_DEVICES_MAX - 1;
	for (unsigned i = 0; i < WFS3_DEVICES_MAX; i++) {
		l.devices[i] = (struct label_device){ .device_bytes = DEVICE_BYTES, .group = i / 4 };
		l.devices[i].uuid[3] = (uint8_t)i;
		if (i % 4 == 1)
			l.devices[i].state = LABEL_FILLING;
		if (i % 4 == 2)
			l.devices[i].state = LABEL_AWAY;
		if (i % 4 == 1 || i % 4 == 2)
			l.devices[i].since_txg = WFS3_TXG_MAX - i;
		l.devices[i].generation = i % 6;
	}
	assert_int_equal(label_group_count(&l), WFS3_DEVICES_MAX / 4);
	label_encode(&l, block);
	assert_int_equal(label_decode(block, &got), 0);
	assert_same(&l, &got);
}

static void test_every_flipped_byte_is_detected(void **state)
{
	struct label l = sample(), got;
	uint8_t block[WFS3_BLOCK_BYTES];

	(void)state;
	label_encode(&l, block);
	for (unsigned i = 0; i < sizeof(block); i++) {
		block[i] ^= 0x55;
		assert_int_equal(label_decode(block, &got), i < 8 ? -EMEDIUMTYPE : -EUCLEAN);
		block[i] ^= 0x55;
	}
	assert_int_equal(label_decode(block, &got), 0);
}

static void test_one_damaged_copy_is_survived_and_noted(void **state)
{
	struct label l = sample(), got;
	struct blk_dev *dev = labelled_device(&l);
	char note[LABEL_NOTE_BYTES];

	(void)state;
	assert_int_equal(label_read(dev, &got, note), 0);
	assert_string_equal(note, "");
	assert_same(&l, &got);
	for (unsigned i = 0; i < WFS3_BLOCK_BYTES; i += 7) {
		flip(dev, HEADER + i);
		assert_int_equal(label_read(dev, &got, note), 0);
		assert_non_null(strstr(note, "front label is unusable"));
		assert_same(&l, &got);
		flip(dev, BACK + HEADER + i);
		assert_true(label_read(dev, &got, note) < 0);
		flip(dev, HEADER + i);
		assert_int_equal(label_read(dev, &got, note), 0);
		assert_non_null(strstr(note, "back label is unusable"));
		assert_same(&l, &got);
		flip(dev, BACK + HEADER + i);
	}
	blk_close(dev);
}

static void test_two_damaged_copies_are_an_error_and_none_is_not_a_pool(void **state)
{
	struct label l = sample(), got;
	struct blk_dev *dev = labelled_device(&l);
	char note[LABEL_NOTE_BYTES];

	(void)state;
	flip(dev, HEADER + 100);
	flip(dev, BACK + HEADER + 200);
	assert_int_equal(label_read(dev, &got, note), -EUCLEAN);
	assert_int_equal(label_erase(dev, &l), 0);
	assert_int_equal(label_read(dev, &got, note), -EMEDIUMTYPE);
	blk_close(dev);
	assert_int_equal(blk_sim_new("tiny", MIB, &dev), 0);
	assert_int_equal(label_read(dev, &got, note), -EMEDIUMTYPE);
	blk_close(dev);
}

static void test_unreadable_front_label_is_replaced_by_the_back_one(void **state)
{
	struct blk_sim_faults faults = { .fail_nth = { 0, -1, -1, -1, -1 }, .error = -EIO };
	struct label l = sample(), got;
	struct blk_dev *dev = labelled_device(&l);
	char note[LABEL_NOTE_BYTES];

	(void)state;
	blk_sim_set_faults(dev, &faults);
	assert_int_equal(label_read(dev, &got, note), 0);
	assert_non_null(strstr(note, "front label is unusable"));
	assert_same(&l, &got);
	blk_close(dev);
}

static void test_newer_version_and_unknown_feature_are_refused(void **state)
{
	struct label l = sample(), got;
	struct blk_dev *dev;
	char note[LABEL_NOTE_BYTES];
	uint8_t block[WFS3_BLOCK_BYTES];

	(void)state;
	l.version = WFS3_VERSION + 1;
	label_encode(&l, block);
	put_le32(block + 12, 77); /* a newer format may use what is reserved here */
	seal(block);
	assert_int_equal(label_decode(block, &got), -ENOTSUP);
	dev = labelled_device(&l);
	flip(dev, BACK + HEADER);
	assert_int_equal(label_read(dev, &got, note), -ENOTSUP);
	blk_close(dev);
	l = sample();
	l.features_incompat = UINT64_C(1) << 63;
	label_encode(&l, block);
	assert_int_equal(label_decode(block, &got), -ENOTSUP);
	l.features_incompat = 0;
	l.features_compat = l.features_ro_compat = 8;
	label_encode(&l, block);
	assert_int_equal(label_decode(block, &got), 0);
	assert_int_equal(got.features_ro_compat, 8);
}

struct bad {
	unsigned offset;
	unsigned bytes;
	uint64_t value;
};

static void test_impossible_fields_are_refused(void **state)
{
	static const struct bad cases[] = {
		{ 8, 4, 0 }, /* version */
		{ 12, 4, 1 }, /* reserved */
		{ 40, 8, 0 }, /* generation */
		{ 64, 1, 0 }, /* name: empty, slash, control, unterminated rest */
		{ 65, 1, '/' },
		{ 65, 1, 0x1f },
		{ 65, 1, 0x7f },
		{ 70, 1, 'x' },
		{ 136, 8, 3 * MIB }, /* region size */
		{ 136, 8, 512 * MIB },
		{ 136, 8, 4096 },
		{ 144, 4, 2 }, /* device index */
		{ 148, 4, 0 }, /* device count */
		{ 148, 4, 65 },
		{ 148, 4, UINT32_MAX },
		{ 152, 8, DEVICE_BYTES + 1 }, /* layout */
		{ 152, 8, UINT64_MAX },
		{ 152, 8, 0 },
		{ 160, 8, 0 },
		{ 160, 8, UINT64_MAX - 4095 },
		{ 168, 8, 0 },
		{ 168, 8, UINT64_MAX - 4095 },
		{ 176, 8, MIB },
		{ 184, 8, 4096 },
		{ 184, 8, 20480 },
		{ 192, 8, 0 },
		{ 200, 8, 4096 },
		{ 208, 8, 4096 },
		{ 208, 8, 32 * MIB },
		{ 216, 4, 0 },
		{ 216, 4, UINT32_MAX },
		{ 220, 4, 1 }, /* reserved */
		{ 256, 1, 1 },
		{ 511, 1, 1 },
		{ 512 + 40, 8, 6 }, /* of a label that is not written yet */
		{ 512 + 96, 1, 1 }, /* behind the last device */
		{ 512 + 24, 4, 2 }, /* group: too high; a gap; the other device's, in which nothing is whole then */
		{ 512 + 24, 4, UINT32_MAX },
		{ 512 + 24, 4, 1 },
		{ 512 + 28, 4, 3 }, /* state */
		{ 512 + 28, 4, LABEL_AWAY },
		{ 512 + 28, 4, UINT32_MAX },
		{ 512 + 32, 8, 1 }, /* since, although online */
		{ 4079, 1, 1 },
		{ 512 + 48 + 16, 8, DEVICE_BYTES + MIB }, /* two sizes for itself */
	};
	struct label l = sample(), got;
	uint8_t block[WFS3_BLOCK_BYTES];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint8_t value[8];

		label_encode(&l, block);
		put_le64(value, cases[i].value);
		memcpy(block + cases[i].offset, value, cases[i].bytes);
		seal(block);
		if (label_decode(block, &got) != -EUCLEAN)
			fail_msg("offset %u value 0x%llx was accepted", cases[i].offset,
			         (unsigned long long)cases[i].value);
	}
}

static void test_contradicting_devices_are_refused(void **state)
{
	struct label l = sample(), got;
	uint8_t block[WFS3_BLOCK_BYTES];

	(void)state;
	memcpy(l.devices[0].uuid, l.devices[1].uuid, 16);
	label_encode(&l, block);
	assert_int_equal(label_decode(block, &got), -EUCLEAN);
	l = sample();
	l.devices[1].group = 0;
	l.devices[0].device_bytes += MIB;
	label_encode(&l, block);
	assert_int_equal(label_decode(block, &got), -EUCLEAN);
	l.devices[0].device_bytes -= MIB;
	label_encode(&l, block);
	assert_int_equal(label_decode(block, &got), 0);
	assert_int_equal(label_group_count(&got), 1);
	assert_int_equal(label_find_device(&got, l.devices[1].uuid), 1);
	assert_int_equal(label_find_device(&got, l.pool_uuid), -1);
	for (unsigned i = 2; i < 5; i++) {
		l.devices[i] = l.devices[0];
		l.devices[i].uuid[0] = (uint8_t)i;
	}
	l.device_count = 5;
	label_encode(&l, block);
	assert_int_equal(label_decode(block, &got), -EUCLEAN);
}

static void test_higher_generation_wins(void **state)
{
	struct label l = sample(), newer = sample(), got;
	struct blk_dev *dev = labelled_device(&l);
	char note[LABEL_NOTE_BYTES];
	uint8_t block[WFS3_BLOCK_BYTES];

	(void)state;
	newer.generation = 6;
	strcpy(newer.pool_name, "renamed");
	label_encode(&newer, block);
	blk_sim_poke(dev, BACK + HEADER, block, sizeof(block));
	assert_int_equal(label_read(dev, &got, note), 0);
	assert_string_equal(got.pool_name, "renamed");
	assert_non_null(strstr(note, "front label is stale"));
	assert_int_equal(label_write(dev, &l), 0);
	blk_sim_poke(dev, HEADER, block, sizeof(block));
	assert_int_equal(label_read(dev, &got, note), 0);
	assert_string_equal(got.pool_name, "renamed");
	assert_non_null(strstr(note, "back label is stale"));
	newer.pool_uuid[0] ^= 1;
	label_encode(&newer, block);
	assert_int_equal(label_write(dev, &l), 0);
	blk_sim_poke(dev, BACK + HEADER, block, sizeof(block));
	assert_int_equal(label_read(dev, &got, note), 0);
	assert_string_equal(got.pool_name, "tank");
	assert_non_null(strstr(note, "another pool"));
	blk_close(dev);
}

static void test_shrunk_device_is_told_with_both_sizes(void **state)
{
	struct label l = sample(), got;
	struct blk_dev *dev = labelled_device(&l);
	char note[LABEL_NOTE_BYTES], text[512];
	int rc;

	(void)state;
	assert_int_equal(blk_sim_resize(dev, 60 * MIB), 0);
	rc = label_read(dev, &got, note);
	assert_int_equal(rc, -EUCLEAN);
	err_text(err_get(), rc, 0, text, sizeof(text));
	assert_non_null(strstr(text, "62914560"));
	assert_non_null(strstr(text, "67108864"));
	blk_close(dev);
}

static void test_grown_device_is_read_by_its_front_label(void **state)
{
	struct label l = sample(), got;
	struct blk_dev *dev = labelled_device(&l);
	char note[LABEL_NOTE_BYTES];

	(void)state;
	assert_int_equal(blk_sim_resize(dev, 80 * MIB), 0);
	assert_int_equal(label_read(dev, &got, note), 0);
	assert_string_equal(note, "");
	assert_same(&l, &got);
	blk_close(dev);
}

/* Whichever write of a relabelling is cut: the old or the new label is read. */
static void test_power_cut_while_writing_leaves_one_label(void **state)
{
	(void)state;
	for (uint64_t seed = 0; seed < 64; seed++) {
		struct blk_sim_faults faults = { .fail_nth = { -1, (int64_t)seed % 2, -1, -1, -1 },
			                         .fail_from_nth = true };
		struct label l = sample(), newer = sample(), got;
		struct blk_dev *dev = labelled_device(&l);
		char note[LABEL_NOTE_BYTES];

		newer.generation++;
		strcpy(newer.pool_name, "renamed");
		if (seed % 3 == 0) {
			faults.fail_nth[BLK_WRITE] = -1;
			faults.fail_nth[BLK_FLUSH] = (int64_t)seed % 2;
		}
		blk_sim_set_faults(dev, &faults);
		assert_true(label_write(dev, &newer) < 0);
		blk_sim_set_faults(dev, NULL);
		blk_sim_power_cut(dev, seed);
		assert_int_equal(label_read(dev, &got, note), 0);
		assert_same(got.generation == 6 ? &newer : &l, &got);
		blk_close(dev);
	}
}

static void test_format_clears_the_labels(void **state)
{
	struct label l = sample();
	struct blk_dev *dev;
	uint8_t *got = malloc(MIB), *junk = malloc(MIB);

	(void)state;
	memset(junk, 0xa5, MIB);
	assert_int_equal(blk_sim_new("sim", DEVICE_BYTES, &dev), 0);
	blk_sim_poke(dev, 0, junk, MIB);
	blk_sim_poke(dev, BACK, junk, MIB);
	assert_int_equal(label_format(dev, &l), 0);
	blk_sim_power_cut(dev, 0);
	blk_sim_peek(dev, 0, got, MIB);
	assert_true(bytes_are_zero(got, MIB));
	blk_sim_peek(dev, BACK, got, MIB);
	assert_true(bytes_are_zero(got, MIB));
	free(got);
	free(junk);
	blk_close(dev);
}

static void test_probe_names_what_is_there(void **state)
{
	static const struct {
		uint64_t offset;
		const char *bytes;
		size_t len;
		const char *what;
	} cases[] = {
		{ 1080, "\x53\xef", 2, "ext4" },
		{ 0, "XFSB", 4, "XFS" },
		{ 65600, "_BHRfS_M", 8, "btrfs" },
		{ 510, "\x55\xaa", 2, "MBR" },
		{ 512, "EFI PART", 8, "GPT" },
		{ 4086, "SWAPSPACE2", 10, "swap" },
		{ 0, "LUKS\xba\xbe", 6, "encrypted" },
		{ 512, "LABELONE", 8, "LVM" },
		{ 82, "FAT32", 5, "FAT" },
	};
	struct label l = sample();
	struct blk_dev *dev;
	char what[64];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(blk_sim_new("sim", DEVICE_BYTES, &dev), 0);
		assert_int_equal(label_probe_other(dev, what), 0);
		blk_sim_poke(dev, cases[i].offset, cases[i].bytes, cases[i].len);
		assert_int_equal(label_probe_other(dev, what), 1);
		assert_non_null(strstr(what, cases[i].what));
		blk_close(dev);
	}
	dev = labelled_device(&l);
	assert_int_equal(label_probe_other(dev, what), 1);
	assert_string_equal(what, "pool tank");
	flip(dev, HEADER);
	assert_int_equal(label_probe_other(dev, what), 1);
	assert_string_equal(what, "pool tank");
	blk_close(dev);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_label_survives_encoding),
		cmocka_unit_test(test_every_flipped_byte_is_detected),
		cmocka_unit_test(test_one_damaged_copy_is_survived_and_noted),
		cmocka_unit_test(test_two_damaged_copies_are_an_error_and_none_is_not_a_pool),
		cmocka_unit_test(test_unreadable_front_label_is_replaced_by_the_back_one),
		cmocka_unit_test(test_newer_version_and_unknown_feature_are_refused),
		cmocka_unit_test(test_impossible_fields_are_refused),
		cmocka_unit_test(test_contradicting_devices_are_refused),
		cmocka_unit_test(test_higher_generation_wins),
		cmocka_unit_test(test_shrunk_device_is_told_with_both_sizes),
		cmocka_unit_test(test_grown_device_is_read_by_its_front_label),
		cmocka_unit_test(test_power_cut_while_writing_leaves_one_label),
		cmocka_unit_test(test_format_clears_the_labels),
		cmocka_unit_test(test_probe_names_what_is_there),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
