/* SPDX-License-Identifier: BSD-3-Clause */
/* Where the clusters of a file are: runs in memory, read from the FAT once. */
#include <errno.h>
#include <stdlib.h>

#include "core/base/assert.h"
#include "core/base/err.h"
#include "core/fs/fat/fat_priv.h"

void fat_map_done(struct fat_map *m)
{
	free(m->extents);
	*m = (struct fat_map){ 0 };
}

int fat_map_append(struct fat_map *m, uint32_t cluster, uint32_t count)
{
	struct fat_extent *last = m->extent_count ? &m->extents[m->extent_count - 1] : NULL;

	if (last && last->cluster + last->count == cluster) {
		last->count += count;
		m->cluster_count += count;
		return 0;
	}
	if (m->extent_count == m->extent_max) {
		uint32_t max = m->extent_max ? m->extent_max * 2 : 4;
		struct fat_extent *bigger = realloc(m->extents, max * sizeof(*bigger));

		if (!bigger)
			return err_set(-ENOMEM, "map of a file: no memory");
		m->extents = bigger;
		m->extent_max = max;
	}
	m->extents[m->extent_count++] =
	        (struct fat_extent){ .index = m->cluster_count, .cluster = cluster, .count = count };
	m->cluster_count += count;
	return 0;
}

void fat_map_cut(struct fat_map *m, uint32_t cluster_count)
{
	while (m->extent_count && m->extents[m->extent_count - 1].index >= cluster_count)
		m->extent_count--;
	if (m->extent_count) {
		struct fat_extent *last = &m->extents[m->extent_count - 1];

		if (last->count > cluster_count - last->index)
			last->count = cluster_count - last->index;
	}
	if (m->cluster_count > cluster_count)
		m->cluster_count = cluster_count;
}

uint32_t fat_map_find(const struct fat_map *m, uint32_t index, uint32_t *ret_count)
{
	uint32_t low = 0, high = m->extent_count;

	always(index < m->cluster_count);
	while (high - low > 1) {
		uint32_t middle = low + (high - low) / 2;

		if (m->extents[middle].index <= index)
			low = middle;
		else
			high = middle;
	}
	*ret_count = m->extents[low].count - (index - m->extents[low].index);
	return m->extents[low].cluster + (index - m->extents[low].index);
}

/*
 * A chain that loops is found by Brent's method: every cluster is compared with one that is remembered, and which moves
 * on at each power of two.
 */
int fat_map_load(struct fat_fs *fs, uint32_t first, uint32_t max_count, struct fat_map *m)
{
	uint32_t cluster = first, remembered = 0, next, moves_at = 1;
	int rc = 0;

	while (rc == 0 && cluster < FAT_END_MIN) {
		if (!fat_is_cluster(&fs->g, cluster))
			rc = err_set(-EUCLEAN, "the chain from cluster %u leads to cluster %u", first, cluster);
		else if (cluster == remembered)
			rc = err_set(-EUCLEAN, "the chain from cluster %u is a loop", first);
		else if (m->cluster_count == max_count)
			rc = err_set(-EUCLEAN, "the chain from cluster %u is longer than %u clusters", first,
			             max_count);
		if (rc == 0)
			rc = fat_map_append(m, cluster, 1);
		if (rc == 0)
			rc = fat_table_get(&fs->table, cluster, &next);
		if (rc)
			break;
		if (m->cluster_count == moves_at) {
			remembered = cluster;
			moves_at *= 2;
		}
		cluster = next;
	}
	if (rc)
		fat_map_done(m);
	return rc;
}

int fat_runs_add(struct fat_runs *r, uint32_t first, uint32_t count)
{
	struct fat_run *last = r->count ? &r->runs[r->count - 1] : NULL;

	if (last && last->first + last->count == first) {
		last->count += count;
		r->cluster_count += count;
		return 0;
	}
	if (r->count == r->max) {
		uint32_t max = r->max ? r->max * 2 : 16;
		struct fat_run *bigger = realloc(r->runs, max * sizeof(*bigger));

		if (!bigger)
			return err_set(-ENOMEM, "freed clusters: no memory");
		r->runs = bigger;
		r->max = max;
	}
	r->runs[r->count++] = (struct fat_run){ first, count };
	r->cluster_count += count;
	return 0;
}
