/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Edits of a FAT volume (boot sector, FSInfo, FAT, directories), after which it is mounted, walked, read, written to,
 * checked and repaired. The first byte chooses the type; each edit is four bytes: area, place (2), value. What is
 * mountable must be clean after a repair.
 */
#include <stdlib.h>
#include <string.h>

#include "core/base/assert.h"
#include "core/base/budget.h"
#include "core/base/bytes.h"
#include "core/base/checked.h"
#include "core/base/log.h"
#include "core/blk/blk.h"
#include "core/cache/cache.h"
#include "core/fs/fat/bpb.h"
#include "core/fs/fat/check.h"
#include "core/fs/fat/fat.h"
#include "core/fs/fat/mkfs.h"

#define HEAD_BYTES ((size_t)704 * 1024)
#define BUDGET_BYTES ((size_t)32 << 20)
#define DEPTH_MAX 3u
#define ITEMS_MAX 24u
#define READ_MAX 65536u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define SIZE_BYTES ((uint64_t)3 << 20)

/* FAT32 cannot be made so small, but used: its boot sector is told another number of sectors. */
static const struct {
	uint64_t mkfs_bytes;
	struct fat_mkfs_options mkfs;
} kinds[] = {
	{ 1 << 20, { .type = 12, .sector_bytes = 512, .label = "fuzz" } },
	{ 3 << 20, { .type = 16, .sector_bytes = 512, .cluster_bytes = 512 } },
	{ 36 << 20, { .type = 32, .sector_bytes = 512, .cluster_bytes = 512 } },
};

struct base {
	uint8_t *head;
	struct fat_geometry g;
};

static struct budget *budget;
static struct cache *cache;
static struct base bases[3];

static void silent(void *ctx, enum log_level level, const char *area, const char *text)
{
	(void)ctx;
	(void)level;
	(void)area;
	(void)text;
}

static void put(struct fat_node *dir, const char *name, size_t len)
{
	static uint8_t bytes[20000];
	struct iovec iov = { .iov_base = bytes, .iov_len = len };
	struct fat_node *n;

	if (fat_create(dir, name, strlen(name), &n))
		return;
	(void)fat_write(n, &iov, 1, 0, 0);
	fat_node_put(n);
}

static struct fat_fs *mount(struct blk_dev *dev)
{
	struct fat_mount_options options = { .cache = cache, .budget = budget };
	struct fat_fs *fs;

	return fat_mount(dev, &options, &fs) ? NULL : fs;
}

static void shrink(struct base *b, struct blk_dev *dev)
{
	always(blk_read(dev, 0, b->head, HEAD_BYTES) == 0);
	if (get_le32(b->head + BOOT_TOTAL_SECTORS_32))
		put_le32(b->head + BOOT_TOTAL_SECTORS_32, (uint32_t)(SIZE_BYTES / 512));
}

static void fill_base(struct base *b)
{
	struct fat_node *root, *dir;
	struct blk_dev *dev;
	struct fat_fs *fs;

	always(blk_mem_new("fuzz", SIZE_BYTES, &dev) == 0);
	always(blk_write(dev, 0, b->head, HEAD_BYTES, 0) == 0);
	fs = mount(dev);
	always(fs);
	root = fat_root(fs);
	always(fat_mkdir(root, "a directory", 11, &dir) == 0);
	put(root, "A file with a long name", 5000);
	put(dir, "SHORT.TXT", 20000);
	put(dir, "another one", 700);
	fat_node_put(dir);
	fat_node_put(root);
	always(fat_unmount(fs) == 0);
	always(blk_read(dev, 0, b->head, HEAD_BYTES) == 0);
	always(fat_bpb_decode(b->head, SIZE_BYTES, 1, &b->g) == 0);
	blk_close(dev);
}

static void make_base(unsigned kind)
{
	struct base *b = &bases[kind];
	struct blk_dev *dev;

	b->head = aligned_alloc(4096, HEAD_BYTES);
	always(b->head && blk_mem_new("fuzz", kinds[kind].mkfs_bytes, &dev) == 0);
	always(fat_mkfs(dev, &kinds[kind].mkfs) == 0);
	shrink(b, dev);
	blk_close(dev);
	fill_base(b);
}

static void setup(void)
{
	struct cache_config config = {
		.dirty_max_bytes = BUDGET_BYTES / 2,
		.dirty_background_bytes = BUDGET_BYTES / 4,
		.writeback_age_ms = 60000,
		.writeback_threads = 1,
	};

	log_set_sink(silent, NULL);
	budget = budget_new(BUDGET_BYTES);
	always(budget);
	config.budget = budget;
	always(cache_new(&config, &cache) == 0);
	for (unsigned i = 0; i < 3; i++)
		make_base(i);
}

static void edit(const struct base *b, const uint8_t *e, uint8_t *head)
{
	const struct fat_geometry *g = &b->g;
	uint64_t at = get_le16(e + 1);

	switch (e[0] % 5) {
	case 0:
		at %= 96;
		break;
	case 1:
		at = g->fat_offset + at % 256;
		break;
	case 2:
		at = g->fat_offset + g->fat_bytes + at % 256;
		break;
	case 3:
		at = (g->root_bytes ? g->root_offset : g->data_offset) + at % 512;
		break;
	default:
		at = g->data_offset + at % 2048;
		break;
	}
	if (at < HEAD_BYTES)
		head[at] = e[3];
}

struct items {
	char names[ITEMS_MAX][NAME_UTF8_MAX];
	unsigned count;
};

static bool take_item(void *ctx, const struct fat_dir_item *item)
{
	struct items *all = ctx;

	always(strlen(item->name) == item->name_len && item->name_len > 0);
	memcpy(all->names[all->count++], item->name, item->name_len + 1);
	return all->count < ITEMS_MAX;
}

static void read_file(struct fat_node *n)
{
	static uint8_t buf[READ_MAX];
	struct iovec iov = { .iov_base = buf, .iov_len = sizeof(buf) };
	size_t got;

	(void)fat_read(n, &iov, 1, 0, 0, &got);
}

static void walk(struct fat_node *dir, unsigned depth)
{
	struct items *all = calloc(1, sizeof(*all));

	always(all);
	(void)fat_readdir(dir, 0, take_item, all);
	for (unsigned i = 0; i < all->count; i++) {
		struct fat_node *n;
		struct fat_stat st;

		if (fat_lookup(dir, all->names[i], strlen(all->names[i]), &n))
			continue;
		fat_stat(n, &st);
		if (!st.is_dir)
			read_file(n);
		else if (depth < DEPTH_MAX)
			walk(n, depth + 1);
		fat_node_put(n);
	}
	free(all);
}

static void change(struct fat_node *root)
{
	struct fat_node *n;

	put(root, "brand new file", 3000);
	if (fat_mkdir(root, "New", 3, &n) == 0) {
		(void)fat_rename(root, "brand new file", 14, n, "moved", 5, false);
		fat_node_put(n);
	}
	(void)fat_rename(root, "a directory", 11, root, "elsewhere", 9, false);
	if (fat_lookup(root, "A FILE with a long name", 23, &n) == 0) {
		(void)fat_truncate(n, 700);
		(void)fat_truncate(n, 9000);
		fat_node_put(n);
	}
	(void)fat_unlink(root, "A file with a long name", 23);
}

static void use(struct blk_dev *dev)
{
	struct fat_fs *fs = mount(dev);
	struct fat_node *root;

	if (!fs)
		return;
	root = fat_root(fs);
	walk(root, 0);
	change(root);
	fat_node_put(root);
	(void)fat_unmount(fs);
}

static void check(struct blk_dev *dev)
{
	struct fat_check_options options = { .repair = true };
	struct fat_check_report report;

	if (fat_check(dev, &options, &report))
		return;
	options.repair = false;
	always(fat_check(dev, &options, &report) == 0);
	always(report.finding_count == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct blk_dev *dev;
	const struct base *b;
	uint8_t *head;

	if (!budget)
		setup();
	if (!size)
		return 0;
	b = &bases[data[0] % 3];
	always(blk_mem_new("fuzz", SIZE_BYTES, &dev) == 0);
	head = aligned_alloc(4096, HEAD_BYTES);
	always(head);
	memcpy(head, b->head, HEAD_BYTES);
	for (size_t at = 1; at + 4 <= size; at += 4)
		edit(b, data + at, head);
	always(blk_write(dev, 0, head, HEAD_BYTES, 0) == 0);
	free(head);
	if (data[0] & 0x80)
		check(dev);
	use(dev);
	check(dev);
	blk_close(dev);
	return 0;
}
