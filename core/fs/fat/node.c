/* SPDX-License-Identifier: BSD-3-Clause */
/* Nodes: one for each file or directory that is in use, or was lately, or has changes that no sync has written. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/assert.h"
#include "core/base/checked.h"
#include "core/base/err.h"
#include "core/cache/cache.h"
#include "core/fs/fat/fat_priv.h"

#define IDLE_MAX 1024u
#define ROOT_OBJECT 1u /* in every mount, so that what clients know of it stays good; others are never that small */

uint64_t fat_fs_now(void)
{
	return sync_wall_ns();
}

static struct fat_node *node_alloc(struct fat_fs *fs)
{
	struct fat_node *n = calloc(1, sizeof(*n));

	if (!n) {
		(void)err_set(-ENOMEM, "a file: no memory");
		return NULL;
	}
	n->fs = fs;
	n->refs = 1;
	sync_rwlock_init(&n->io_lock, SYNC_RANK_HANDLE, "fat file");
	sync_mutex_init(&n->map_lock, SYNC_RANK_TXG, "fat map");
	CDS_INIT_LIST_HEAD(&n->changed_link);
	CDS_INIT_LIST_HEAD(&n->idle_link);
	CDS_INIT_LIST_HEAD(&n->reserved_link);
	if (fs->budget)
		budget_charge(fs->budget, sizeof(*n));
	return n;
}

/* Nobody knows it any more. */
static void node_free(struct fat_node *n)
{
	always(!n->listed && !n->idle && !n->reserved.count);
	cache_file_free(n->data);
	fat_dir_unload(n);
	fat_map_done(&n->map);
	sync_mutex_done(&n->map_lock);
	sync_rwlock_done(&n->io_lock);
	if (n->fs->budget)
		budget_uncharge(n->fs->budget, sizeof(*n));
	free(n);
}

/* Where its clusters are, and whether that agrees with its size. */
static int load_chain(struct fat_node *n)
{
	struct fat_fs *fs = n->fs;
	uint64_t need = div_round_up_u64(n->size_bytes, fs->g.cluster_bytes);
	/* Longer ones are damaged, and would take memory without end. */
	uint64_t most_bytes = fat_node_is_dir(n) ? DIR_BYTES_MAX : (uint64_t)FAT_FILE_BYTES_MAX + 1;
	uint32_t most = (uint32_t)max_u64(most_bytes / fs->g.cluster_bytes, 1);
	int rc = 0;

	if (n->d.cluster)
		rc = fat_map_load(fs, n->d.cluster, most, &n->map);
	if (rc == 0 && need > n->map.cluster_count)
		rc = err_set(-EUCLEAN, "a file of %llu bytes has only %u clusters", (unsigned long long)n->size_bytes,
		             n->map.cluster_count);
	if (rc == 0 && fat_node_is_dir(n) && !n->map.cluster_count)
		rc = err_set(-EUCLEAN, "a directory has no clusters");
	n->synced_count = n->map.cluster_count;
	return rc == -EUCLEAN ? fat_fs_found_damage(fs, rc) : rc;
}

int fat_node_new_root(struct fat_fs *fs)
{
	struct fat_node *n = node_alloc(fs);
	int rc = 0;

	if (!n)
		return -ENOMEM;
	fs->root = n;
	n->is_dir = true;
	n->d.attr = FAT_ATTR_DIR;
	n->object = ROOT_OBJECT;
	if (fs->g.type == FAT_TYPE_32) {
		n->d.cluster = fs->g.root_cluster;
		if (!fat_alloc_lead(&fs->alloc, n->d.cluster))
			(void)fat_fs_found_damage(fs, err_set(-EUCLEAN, "a chain leads into the root directory"));
		rc = load_chain(n);
	}
	if (rc == 0)
		rc = fat_dir_load(n);
	fat_node_publish(n);
	if (rc) {
		fs->root = NULL;
		node_free(n);
	}
	return rc;
}

static int node_new(struct fat_node *dir, struct fat_dir_entry *e, struct fat_node **ret)
{
	struct fat_dirent d;
	struct fat_node *n;
	int rc;

	fat_dir_entry_decode(dir, e, &d);
	if (e->shared && (d.attr & FAT_ATTR_DIR))
		return err_set(-EUCLEAN, "a directory that may be in itself, or in two places");
	n = node_alloc(dir->fs);
	if (!n)
		return -ENOMEM;
	n->d = d;
	n->object = e->object;
	n->is_dir = n->d.attr & FAT_ATTR_DIR;
	if (!fat_node_is_dir(n))
		n->size_bytes = n->d.size_bytes;
	rc = load_chain(n);
	if (rc == 0 && !fat_node_is_dir(n))
		rc = fat_data_open(n);
	if (rc) {
		node_free(n);
		return rc;
	}
	n->entry = e;
	e->node = n;
	n->parent = dir;
	fat_node_publish(n);
	fat_node_ref(dir);
	*ret = n;
	return 0;
}

int fat_node_for_entry(struct fat_node *dir, struct fat_dir_entry *e, struct fat_node **ret)
{
	if (e->node) {
		fat_node_ref(e->node);
		*ret = e->node;
		return 0;
	}
	fat_node_trim(dir->fs, false);
	return node_new(dir, e, ret);
}

void fat_node_ref(struct fat_node *n)
{
	if (n->idle) {
		cds_list_del(&n->idle_link);
		n->idle = false;
		n->fs->idle_count--;
	}
	n->refs++;
}

/* The last reference to a deleted file is gone: so are its clusters. */
static void destroy(struct fat_node *n)
{
	struct fat_fs *fs = n->fs;

	cache_file_free(n->data);
	n->data = NULL;
	n->refs = 1; /* what it is put on the list of changes for must not free it again */
	if (!fs->failed && !fs->read_only)
		(void)fat_space_cut(n, 0);
	fat_space_release(n);
	if (n->listed) {
		cds_list_del(&n->changed_link);
		n->listed = false;
		fs->changed_count--;
	}
	node_free(n);
}

void fat_node_unref(struct fat_node *n)
{
	struct fat_node *parent = NULL;

	while (n) {
		struct fat_fs *fs = n->fs;

		always(n->refs > 0);
		if (--n->refs)
			return;
		fat_space_release(n);
		if (n->deleted) {
			parent = n->parent;
			destroy(n);
			n = parent;
			continue;
		}
		n->idle = true;
		cds_list_add_tail(&n->idle_link, &fs->idle);
		fs->idle_count++;
		return;
	}
}

void fat_node_publish(struct fat_node *n)
{
	uint64_t allocated = (uint64_t)n->map.cluster_count * n->fs->g.cluster_bytes;

	if (fat_node_is_fixed_root(n))
		allocated = n->fs->g.root_bytes;
	sync_mutex_lock(&n->map_lock);
	n->published = (struct fat_stat){
		.is_dir = n->is_dir,
		.attr = n->d.attr,
		.object = n->object,
		.size_bytes = n->is_dir ? allocated : n->size_bytes,
		.allocated_bytes = allocated,
		.change = n->change,
		.ctime_ns = n->d.ctime_ns,
		.mtime_ns = n->d.mtime_ns,
		.atime_ns = n->d.atime_ns,
	};
	sync_mutex_unlock(&n->map_lock);
}

void fat_node_changed(struct fat_node *n)
{
	n->change++;
	fat_node_publish(n);
	if (n->listed)
		return;
	n->listed = true;
	fat_node_ref(n);
	cds_list_add_tail(&n->changed_link, &n->fs->changed);
	n->fs->changed_count++;
}

void fat_node_detach(struct fat_node *n)
{
	struct fat_node *parent = n->parent;

	n->deleted = true;
	n->entry = NULL;
	n->parent = NULL;
	/* What it was listed for is of no interest any more. */
	if (n->listed) {
		cds_list_del(&n->changed_link);
		n->listed = false;
		n->fs->changed_count--;
		fat_node_unref(n);
	}
	fat_node_unref(parent);
}

void fat_node_trim(struct fat_fs *fs, bool all)
{
	unsigned keep = all || __atomic_exchange_n(&fs->pressure, 0, __ATOMIC_RELAXED) ? 0 : IDLE_MAX;

	while (fs->idle_count > keep) {
		struct fat_node *n = cds_list_entry(fs->idle.next, struct fat_node, idle_link), *parent = n->parent;

		cds_list_del(&n->idle_link);
		n->idle = false;
		fs->idle_count--;
		if (n->entry)
			n->entry->node = NULL;
		node_free(n);
		if (parent)
			fat_node_unref(parent);
	}
}
