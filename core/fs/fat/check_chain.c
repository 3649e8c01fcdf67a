/* SPDX-License-Identifier: BSD-3-Clause */
/* Chains: who owns which cluster, where a chain must end, and clusters that nobody owns. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/bytes.h"
#include "core/base/checked.h"
#include "core/base/err.h"
#include "core/fs/fat/check_priv.h"

#define LOST_FILES_MAX 10000u

static bool bit(const uint64_t *bits, uint32_t cluster)
{
	return bits[cluster / 64] >> (cluster % 64) & 1;
}

static void set_bit(uint64_t *bits, uint32_t cluster, bool on)
{
	uint64_t mask = UINT64_C(1) << (cluster % 64);

	bits[cluster / 64] = on ? bits[cluster / 64] | mask : bits[cluster / 64] & ~mask;
}

static bool is_in_chain(struct fat_check *c, uint32_t first, uint32_t count, uint32_t wanted)
{
	uint32_t cluster = first;

	for (uint32_t i = 0; i < count; i++) {
		if (cluster == wanted)
			return true;
		if (fat_table_get(&c->table, cluster, &cluster))
			return false;
	}
	return false;
}

/* Why a chain cannot go on to @cluster. *@ret_ok: it can. */
static int judge(struct fat_check *c, const char *path, uint32_t first, uint32_t count, uint32_t cluster, bool *ret_ok)
{
	uint32_t value;
	int rc;

	*ret_ok = false;
	if (!fat_is_cluster(&c->g, cluster)) {
		(void)fat_check_found(c, FAT_FINDING_CHAIN, true, "%s: the chain leads to cluster %u, which %s", path,
		                      cluster,
		                      cluster == FAT_FREE  ? "means a free one"
		                      : cluster == FAT_BAD ? "means a bad one"
		                                           : "the volume does not have");
		return 0;
	}
	rc = fat_table_get(&c->table, cluster, &value);
	if (rc)
		return rc;
	if (bit(c->seen, cluster)) {
		bool loop = is_in_chain(c, first, count, cluster);

		(void)fat_check_found(c, loop ? FAT_FINDING_LOOP : FAT_FINDING_CROSS_LINK, true,
		                      loop ? "%s: the chain comes back to its cluster %u"
		                           : "%s: cluster %u belongs to something else, too",
		                      path, cluster);
	} else if (value == FAT_FREE || value == FAT_BAD) {
		(void)fat_check_found(c, FAT_FINDING_CHAIN, true, "%s: cluster %u of the chain is %s", path, cluster,
		                      value == FAT_FREE ? "free" : "bad");
	} else {
		*ret_ok = true;
	}
	return 0;
}

static int remember(uint32_t **clusters, uint32_t count, uint32_t cluster)
{
	if (is_pow2_u64(count) || count == 0) {
		uint32_t *bigger = realloc(*clusters, (count ? 2 * (size_t)count : 1) * sizeof(*bigger));

		if (!bigger)
			return err_set(-ENOMEM, "check: no memory");
		*clusters = bigger;
	}
	(*clusters)[count] = cluster;
	return 0;
}

int fat_check_claim(struct fat_check *c, const char *path, uint32_t first, uint32_t max, uint32_t *ret_count,
                    uint32_t **ret_clusters)
{
	uint32_t cluster = first, tail = 0, count = 0;
	uint32_t *clusters = NULL;
	int rc = 0;

	while (rc == 0 && cluster < FAT_END_MIN && count < max) {
		bool ok = false;

		rc = judge(c, path, first, count, cluster, &ok);
		if (rc)
			break;
		if (!ok) {
			if (tail && c->options->repair)
				rc = fat_table_set(&c->table, tail, FAT_END);
			break;
		}
		set_bit(c->seen, cluster, true);
		if (ret_clusters)
			rc = remember(&clusters, count, cluster);
		count++;
		tail = cluster;
		if (rc == 0)
			rc = fat_table_get(&c->table, cluster, &cluster);
	}
	if (rc) {
		free(clusters);
		return rc;
	}
	*ret_count = count;
	if (ret_clusters)
		*ret_clusters = clusters;
	c->report->used_clusters += count;
	return 0;
}

int fat_check_cut(struct fat_check *c, uint32_t first, uint32_t keep)
{
	uint32_t cluster = first, next;
	int rc = 0;

	for (uint32_t i = 0; rc == 0 && fat_is_cluster(&c->g, cluster) && bit(c->seen, cluster); i++) {
		rc = fat_table_get(&c->table, cluster, &next);
		if (rc == 0 && i >= keep) {
			set_bit(c->seen, cluster, false);
			c->report->used_clusters--;
			rc = fat_table_set(&c->table, cluster, FAT_FREE);
		} else if (rc == 0 && i + 1 == keep) {
			rc = fat_table_set(&c->table, cluster, FAT_END);
		}
		cluster = next;
	}
	return rc;
}

/* Another cluster for the root directory of FAT32. */
static int extend_root(struct fat_check *c)
{
	struct fat_check_dir *d = &c->root;
	uint32_t per_cluster = c->g.cluster_bytes / SLOT_BYTES, cluster, value = FAT_END;
	uint8_t *raw;
	int rc = 0;

	if (!d->first_cluster || d->slot_count + per_cluster > DIR_BYTES_MAX / SLOT_BYTES)
		return -ENOSPC;
	for (cluster = FAT_FIRST_CLUSTER; fat_is_cluster(&c->g, cluster); cluster++) {
		rc = fat_table_get(&c->table, cluster, &value);
		if (rc || value == FAT_FREE)
			break;
	}
	if (rc || value != FAT_FREE)
		return rc ? rc : -ENOSPC;
	raw = realloc(d->raw, ((size_t)d->slot_count + per_cluster) * SLOT_BYTES);
	if (!raw)
		return err_set(-ENOMEM, "check: no memory");
	d->raw = raw;
	memset(raw + (size_t)d->slot_count * SLOT_BYTES, 0, (size_t)per_cluster * SLOT_BYTES);
	rc = remember(&d->clusters, d->cluster_count, cluster);
	if (rc == 0)
		rc = fat_table_set(&c->table, d->clusters[d->cluster_count - 1], cluster);
	if (rc == 0)
		rc = fat_table_set(&c->table, cluster, FAT_END);
	if (rc)
		return rc;
	set_bit(c->seen, cluster, true);
	c->report->used_clusters++;
	d->cluster_count++;
	d->slot_count += per_cluster;
	return 0;
}

static int root_slot(struct fat_check *c, uint8_t **ret)
{
	for (;;) {
		for (uint32_t i = 0; i < c->root.slot_count; i++) {
			uint8_t *slot = c->root.raw + (size_t)i * SLOT_BYTES;

			if (slot[0] == SLOT_DELETED || slot[0] == SLOT_END) {
				/* Behind an end that moves on, another must be. */
				if (slot[0] == SLOT_END && i + 1 < c->root.slot_count)
					slot[SLOT_BYTES] = SLOT_END;
				*ret = slot;
				return 0;
			}
		}
		int rc = extend_root(c);

		if (rc)
			return rc;
	}
}

static bool root_has(const struct fat_check *c, const char *name)
{
	for (uint32_t i = 0; i < c->root.slot_count; i++) {
		const uint8_t *slot = c->root.raw + (size_t)i * SLOT_BYTES;

		if (slot[0] == SLOT_END)
			break;
		if (!fat_slot_is_long(slot) && memcmp(slot, name, SHORT_NAME_BYTES) == 0)
			return true;
	}
	return false;
}

/* A file FSCKnnnn.REC with the chain. -ENOSPC: the root directory is full. */
static int save_chain(struct fat_check *c, uint32_t first, uint32_t count)
{
	struct fat_dirent d = { .attr = FAT_ATTR_ARCHIVE, .cluster = first };
	char name[32];
	uint8_t *slot;
	int rc;

	do {
		if (c->renamed >= LOST_FILES_MAX)
			return -ENOSPC;
		snprintf(name, sizeof(name), "FSCK%04uREC", c->renamed++);
	} while (root_has(c, name));
	rc = root_slot(c, &slot);
	if (rc)
		return rc;
	memcpy(d.short_name, name, SHORT_NAME_BYTES);
	d.size_bytes = (uint32_t)min_u64((uint64_t)count * c->g.cluster_bytes, UINT32_MAX);
	memset(slot, 0, SLOT_BYTES);
	fat_dirent_encode(&d, c->g.type, 0, slot);
	c->root.changed = true;
	c->report->file_count++;
	return 0;
}

/* One lost chain, from its head. Its own damage is mended silently: that it is lost has been told. */
static int take_chain(struct fat_check *c, uint32_t first, uint32_t *ret_count)
{
	uint32_t cluster = first, tail = 0, value, count = 0;
	int rc = 0;

	while (rc == 0 && fat_is_cluster(&c->g, cluster) && !bit(c->seen, cluster)) {
		rc = fat_table_get(&c->table, cluster, &value);
		if (rc || value == FAT_FREE || value == FAT_BAD)
			break;
		set_bit(c->seen, cluster, true);
		tail = cluster;
		cluster = value;
		count++;
	}
	if (rc == 0 && tail && cluster < FAT_END_MIN && c->options->repair)
		rc = fat_table_set(&c->table, tail, FAT_END);
	*ret_count = count;
	c->report->used_clusters += count;
	return rc;
}

static int handle_chain(struct fat_check *c, uint32_t first)
{
	uint32_t count;
	int rc = take_chain(c, first, &count);

	if (rc || !fat_check_found(c, FAT_FINDING_LOST, true, "%u clusters from %u on belong to nothing", count, first))
		return rc;
	rc = save_chain(c, first, count);
	return rc == -ENOSPC ? fat_check_cut(c, first, 0) : rc;
}

/* Is it used, and by nobody? */
static int is_lost(struct fat_check *c, uint32_t cluster, bool *ret_lost, uint32_t *ret_value)
{
	int rc = fat_table_get(&c->table, cluster, ret_value);

	*ret_lost = rc == 0 && *ret_value != FAT_FREE && *ret_value != FAT_BAD && !bit(c->seen, cluster);
	return rc;
}

int fat_check_lost(struct fat_check *c)
{
	uint32_t end = c->g.cluster_count + FAT_FIRST_CLUSTER, value;
	uint64_t *led_to = calloc(end / 64 + 1, sizeof(*led_to));
	bool lost;
	int rc = led_to ? 0 : err_set(-ENOMEM, "check: no memory");

	for (uint32_t i = FAT_FIRST_CLUSTER; rc == 0 && i < end; i++) {
		rc = is_lost(c, i, &lost, &value);
		if (lost && fat_is_cluster(&c->g, value) && value != i)
			set_bit(led_to, value, true);
		if (rc == 0 && value == FAT_BAD)
			c->report->bad_clusters++;
	}
	/* First the heads; what is lost then are loops. */
	for (unsigned pass = 0; pass < 2; pass++) {
		for (uint32_t i = FAT_FIRST_CLUSTER; rc == 0 && i < end; i++) {
			rc = is_lost(c, i, &lost, &value);
			if (rc == 0 && lost && (pass || !bit(led_to, i)))
				rc = handle_chain(c, i);
		}
	}
	free(led_to);
	return rc;
}
