/* SPDX-License-Identifier: BSD-3-Clause */
/* What is done with a volume that may be damaged in any way: by a test for each field, and by a fuzzer. */
#ifndef WFSD_TESTS_WFS2_EXERCISE_H
#define WFSD_TESTS_WFS2_EXERCISE_H

#include <stdio.h>
#include <string.h>

#include "core/base/assert.h"
#include "core/base/bytes.h"
#include "core/base/checksum.h"
#include "core/blk/blk.h"
#include "core/blk/sim.h"
#include "core/fs/wfs2/check.h"
#include "core/fs/wfs2/codec.h"
#include "core/fs/wfs2/mkfs.h"
#include "core/fs/wfs2/wfs2.h"

#define EXERCISE_BYTES ((uint64_t)160 * 4096)
#define EXERCISE_FILES 40u

struct exercise_files {
	unsigned count;
	char names[EXERCISE_FILES][WFS2_NAME_MAX + 1];
};

static inline bool exercise_note(void *ctx, const struct wfs2_dir_item *item)
{
	struct exercise_files *files = ctx;

	memcpy(files->names[files->count++], item->name, item->name_len + 1);
	return files->count < EXERCISE_FILES;
}

static inline void exercise_file(struct wfs2_fs *fs, const char *name)
{
	static uint8_t buf[3 * 4096 + 1];
	struct iovec iov = { .iov_base = buf, .iov_len = sizeof(buf) };
	struct wfs2_node *n;
	struct wfs2_stat st;
	size_t got;

	always(wfs2_lookup(fs, name, strlen(name), &n) == 0);
	wfs2_stat(n, &st);
	(void)wfs2_read(n, &iov, 1, 0, 0, &got);
	if (st.size_bytes > 100)
		(void)wfs2_read(n, &iov, 1, st.size_bytes - 100, 0, &got);
	(void)wfs2_write(n, &iov, 1, st.size_bytes / 2, 0);
	(void)wfs2_truncate(n, st.size_bytes / 3);
	(void)wfs2_flush(n);
	wfs2_put(n);
}

static inline void exercise_mounted(struct wfs2_fs *fs)
{
	static struct exercise_files files;
	struct wfs2_node *n;

	files.count = 0;
	always(wfs2_list(fs, 0, exercise_note, &files) == 0);
	for (unsigned i = 0; i < files.count; i++)
		exercise_file(fs, files.names[i]);
	if (wfs2_create(fs, "exercise", 8, &n) == 0)
		wfs2_put(n);
	if (files.count) {
		(void)wfs2_rename(fs, files.names[0], strlen(files.names[0]), "exercise", 8, false);
		(void)wfs2_unlink(fs, files.names[files.count - 1], strlen(files.names[files.count - 1]));
	}
}

/* A volume of a few files, in several pieces. */
static inline void exercise_make(struct blk_dev *dev, struct cache *cache)
{
	struct wfs2_mkfs_options make = { .label = "exercise", .id = { 9 }, .now_ns = 1, .file_count = EXERCISE_FILES };
	struct wfs2_mount_options options = { .cache = cache };
	static uint8_t data[20000];
	struct iovec iov = { .iov_base = data, .iov_len = sizeof(data) };
	struct wfs2_node *n;
	struct wfs2_fs *fs;
	char name[8];

	memset(data, 0x5a, sizeof(data));
	always(wfs2_mkfs(dev, &make) == 0 && wfs2_mount(dev, &options, &fs) == 0);
	for (unsigned i = 0; i < 10; i++) {
		snprintf(name, sizeof(name), "f%u", i);
		always(wfs2_create(fs, name, strlen(name), &n) == 0 && wfs2_write(n, &iov, 1, 0, 0) == 0);
		wfs2_put(n);
	}
	for (unsigned i = 0; i < 10; i += 3) {
		snprintf(name, sizeof(name), "f%u", i);
		always(wfs2_unlink(fs, name, strlen(name)) == 0);
	}
	always(wfs2_create(fs, "pieces", 6, &n) == 0 && wfs2_write(n, &iov, 1, 45000, 0) == 0);
	wfs2_put(n);
	always(wfs2_unmount(fs) == 0);
}

/* Make the checksums of the superblocks, the markers and all used slots right. */
static inline void exercise_seal(struct blk_dev *dev)
{
	struct wfs2_super s = { .block_count = 0 };
	uint8_t block[WFS2_BLOCK_BYTES];

	always(wfs2_layout(EXERCISE_BYTES / WFS2_BLOCK_BYTES, EXERCISE_FILES, &s) == 0);
	for (unsigned i = 0; i < MARK_COUNT + 2; i++) {
		uint64_t at = i < MARK_COUNT ? wfs2_mark_block(&s, i) : i == MARK_COUNT ? 0 : s.block_count - 1;

		blk_sim_peek(dev, at * WFS2_BLOCK_BYTES, block, sizeof(block));
		put_le32(block + MARK_CRC, crc32_zlib(block, MARK_CRC));
		blk_sim_poke(dev, at * WFS2_BLOCK_BYTES, block, sizeof(block));
	}
	for (unsigned slot = 0; slot < EXERCISE_FILES; slot++) {
		uint64_t at = (uint64_t)s.table_first * WFS2_BLOCK_BYTES + slot * WFS2_SLOT_BYTES;

		blk_sim_peek(dev, at, block, WFS2_SLOT_BYTES);
		put_le32(block + SLOT_CRC, crc32_zlib(block, SLOT_CRC));
		if (!bytes_are_zero(block, SLOT_CRC))
			blk_sim_poke(dev, at, block, WFS2_SLOT_BYTES);
	}
}

/* Use it, repair it, use it again: nothing may crash, and what is repaired is clean. */
static inline void exercise(struct blk_dev *dev, struct cache *cache)
{
	struct wfs2_mount_options options = { .cache = cache };
	struct wfs2_check_options look = { .repair = false }, mend = { .repair = true };
	struct wfs2_check_report report, again;
	struct wfs2_info info;
	struct wfs2_fs *fs;
	bool harmless;

	if (wfs2_check(dev, &look, &report)) {
		always(wfs2_mount(dev, &options, &fs) != 0);
		return;
	}
	harmless = report.finding_count == report.by_kind[WFS2_FINDING_LOST] + report.by_kind[WFS2_FINDING_RENAME];
	always(wfs2_mount(dev, &options, &fs) == 0);
	wfs2_get_info(fs, &info);
	always(info.read_only == !harmless);
	exercise_mounted(fs);
	(void)wfs2_unmount(fs);
	always(wfs2_check(dev, &mend, &again) == 0 && again.left_count == 0);
	always(wfs2_check(dev, &look, &again) == 0 && again.finding_count == 0);
	always(wfs2_mount(dev, &options, &fs) == 0);
	wfs2_get_info(fs, &info);
	always(!info.read_only);
	exercise_mounted(fs);
	always(wfs2_unmount(fs) == 0);
	always(wfs2_check(dev, &look, &again) == 0 && again.finding_count == 0);
}

#endif
