/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Forging pools: changes bytes of a pool that is closed and makes every checksum above them right again, so that a
 * reader has to find out by other means. Of pools on one device.
 */
#ifndef WFSD_TESTS_UNIT_CORE_FS_WFS3_FORGE_H
#define WFSD_TESTS_UNIT_CORE_FS_WFS3_FORGE_H

#include "core/fs/wfs3/items.h"
#include "core/fs/wfs3/label_priv.h"
#include "core/fs/wfs3/space_priv.h"
#include "core/fs/wfs3/tree_priv.h"
#include "tests/unit/core/fs/wfs3/pool_fixture.h"

struct forge {
	struct blk_dev *dev;
	struct label label;
	struct root root; /* the newest one */
	struct space *space;
	/* Called for every node of the pool tree (dataset 0) and of the datasets' trees, children first. */
	void (*edit)(struct forge *f, uint8_t *page);
	void *ctx;
	bool done; /* for edits that happen once */
};

static inline void forge_open(struct forge *f, struct blk_dev *dev)
{
	char note[LABEL_NOTE_BYTES];
	struct root_list *roots = malloc(sizeof(*roots));
	struct space_device sd = { .dev = dev };
	struct space_config config = { .devices = &sd, .device_count = 1 };

	*f = (struct forge){ .dev = dev };
	assert_ok(label_read(dev, &f->label, note));
	assert_ok(root_read_all(dev, &f->label, roots));
	f->root = roots->roots[0];
	free(roots);
	sd.layout = f->label.layout;
	config.region_bytes = f->label.region_bytes;
	memcpy(config.pool_uuid, f->label.pool_uuid, 16);
	assert_ok(space_load(&config, f->root.txg, &f->root.space, &f->space));
}

static inline void forge_close(struct forge *f)
{
	space_free(f->space);
}

static inline uint64_t forge_offset(struct forge *f, uint64_t addr)
{
	unsigned device;
	uint64_t offset = 0;

	assert_ok(space_locate(f->space, addr, 1, &device, &offset));
	return offset;
}

static struct wfs3_ptr forge_tree(struct forge *f, struct wfs3_ptr ptr);

static void forge_datasets(struct forge *f, uint8_t *page)
{
	for (unsigned i = 0; i < node_count(page); i++) {
		struct wfs3_key key = node_key(page, i);
		struct dataset_item item;
		uint8_t buf[DATASET_ITEM_BYTES_MAX];
		size_t len;
		const uint8_t *value = node_value(page, i, &len);

		if (key.kind != WFS3_KIND_DATASET || dataset_item_decode(key.object, value, len, &item))
			continue;
		item.root = forge_tree(f, item.root);
		node_replace(page, i, buf, dataset_item_encode(&item, buf));
	}
}

static struct wfs3_ptr forge_tree(struct forge *f, struct wfs3_ptr ptr)
{
	uint8_t *page;

	if (!ptr.addr)
		return ptr;
	page = malloc(WFS3_NODE_BYTES);
	blk_sim_peek(f->dev, forge_offset(f, ptr.addr), page, WFS3_NODE_BYTES);
	for (unsigned i = 0; node_level(page) && i < node_count(page); i++) {
		struct wfs3_ptr child = forge_tree(f, node_ptr(page, i));

		node_set_ptr(page, i, &child);
	}
	if (!node_level(page) && !node_dataset(page))
		forge_datasets(f, page);
	f->edit(f, page);
	blk_sim_poke(f->dev, forge_offset(f, ptr.addr), page, WFS3_NODE_BYTES);
	ptr.hash = hash128(page, WFS3_NODE_BYTES);
	free(page);
	return ptr;
}

/* The root as it is in @f, to both rings. */
static inline void forge_root(struct forge *f)
{
	uint8_t block[WFS3_BLOCK_BYTES];
	uint64_t slot = LABEL_ROOTS_OFFSET + f->root.txg % LABEL_ROOT_SLOTS * WFS3_BLOCK_BYTES;

	root_encode(&f->root, block);
	blk_sim_poke(f->dev, slot, block, sizeof(block));
	blk_sim_poke(f->dev, label_back_offset(f->label.layout.device_bytes) + slot, block, sizeof(block));
}

/* Run @edit over all nodes and make everything above them right. */
static inline void forge_nodes(struct forge *f, void (*edit)(struct forge *f, uint8_t *page))
{
	f->edit = edit;
	f->done = false;
	f->root.pool_tree = forge_tree(f, f->root.pool_tree);
	forge_root(f);
}

static inline uint64_t forge_slot_offset(const struct forge *g, uint32_t physical, unsigned slot)
{
	return space_slot_offset(g->space, 0, physical, slot);
}

/* Both slots of a physical region, with their checksums right. */
static inline void forge_edit_slots(struct forge *g, uint32_t physical,
                                    void (*edit)(struct space_slot *s, uint64_t *bitmap))
{
	uint64_t bytes = space_slot_bytes(g->label.region_bytes);
	uint8_t *buf = malloc(bytes);
	uint64_t *bitmap = malloc(g->space->region_words * 8);

	for (unsigned i = 0; i < 2; i++) {
		struct space_slot s;

		blk_sim_peek(g->dev, forge_slot_offset(g, physical, i), buf, bytes);
		assert_ok(space_slot_decode(buf, g->label.pool_uuid, g->space->region_blocks, &s, bitmap));
		edit(&s, bitmap);
		s.free_count = g->space->region_blocks - bits_count(bitmap, g->space->region_words);
		space_slot_encode(&s, g->label.pool_uuid, bitmap, buf);
		blk_sim_poke(g->dev, forge_slot_offset(g, physical, i), buf, bytes);
	}
	free(buf);
	free(bitmap);
}

/* The newest state of a virtual region, edited, into both of its slots. */
static inline void forge_write_slots(struct forge *g, uint32_t region,
                                     void (*edit)(struct space_slot *s, uint64_t *bitmap))
{
	uint64_t bytes = space_slot_bytes(g->label.region_bytes);
	uint32_t words = g->space->region_words, physical = g->space->regions[region].physical;
	uint8_t *buf = malloc(bytes);
	uint64_t *bitmap = malloc(words * 8);
	struct space_slot s = { .virtual_region = region + 1,
		                .physical_region = physical,
		                .block_count = g->space->region_blocks };

	memcpy(bitmap, space_bitmap(g->space, g->space->disk, region), words * 8);
	edit(&s, bitmap);
	s.free_count = g->space->region_blocks - bits_count(bitmap, words);
	space_slot_encode(&s, g->label.pool_uuid, bitmap, buf);
	for (unsigned i = 0; i < 2; i++)
		blk_sim_poke(g->dev, forge_slot_offset(g, physical, i), buf, bytes);
	free(buf);
	free(bitmap);
}

#endif
