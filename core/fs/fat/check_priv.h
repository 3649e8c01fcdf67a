/* SPDX-License-Identifier: BSD-3-Clause */
/* What the parts of the check share. Directories are written as each is done, then the FAT, then the rest. */
#ifndef WFSD_CORE_FS_FAT_CHECK_PRIV_H
#define WFSD_CORE_FS_FAT_CHECK_PRIV_H

#include "core/fs/fat/check.h"
#include "core/fs/fat/dirent.h"
#include "core/fs/fat/medium.h"
#include "core/fs/fat/table.h"

/* A directory's bytes, and where they are. */
struct fat_check_dir {
	char path[300];
	uint32_t first_cluster; /* 0: the fixed root directory */
	uint32_t parent_cluster; /* as ".." should have it */
	uint32_t *clusters;
	uint32_t cluster_count;
	uint8_t *raw;
	uint32_t slot_count;
	bool changed;
};

struct fat_check_queued {
	struct fat_check_queued *next;
	struct fat_check_dir dir; /* not read yet */
};

struct fat_check {
	struct fat_medium medium;
	struct fat_geometry g;
	const struct fat_check_options *options;
	struct fat_check_report *report;
	struct fat_table table;
	bool table_ready;
	uint64_t *seen; /* clusters that something owns */
	struct fat_check_queued *queue;
	struct fat_check_dir root;
	bool copies_differ, label_seen;
	unsigned renamed; /* for new names */
};

/* Tell of a finding; @repairable: --repair mends it. Returns whether it is to be mended now. */
bool fat_check_found(struct fat_check *c, enum fat_finding_kind kind, bool repairable, const char *fmt, ...)
        __attribute__((format(printf, 4, 5)));

/* check_chain.c */
/*
 * Own the clusters of a chain, at most @max. It is cut where it cannot go on, and what is wrong is told. *@ret_count is
 * how many clusters it has then; with 0 the owner must forget its first cluster. *@ret_clusters: malloc'ed, unless it
 * is NULL.
 */
int fat_check_claim(struct fat_check *c, const char *path, uint32_t first, uint32_t max, uint32_t *ret_count,
                    uint32_t **ret_clusters);
/* The chain is to have only @keep clusters: disown and free the rest. */
int fat_check_cut(struct fat_check *c, uint32_t first, uint32_t keep);
/* Clusters with no owner: into the root directory as files, or free. */
int fat_check_lost(struct fat_check *c);

/* check_dir.c: the root directory and all below. */
int fat_check_tree(struct fat_check *c);
void fat_check_dir_done(struct fat_check_dir *d);
int fat_check_dir_write(struct fat_check *c, struct fat_check_dir *d);

/* check_boot.c */
int fat_check_boot(struct fat_check *c);
int fat_check_copies(struct fat_check *c);
int fat_check_write_copies(struct fat_check *c);
int fat_check_fsinfo(struct fat_check *c, bool write);
int fat_check_dirty(struct fat_check *c);

#endif
