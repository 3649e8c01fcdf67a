/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a check or a scrub of a pool found: filled by the file system, shown by the admin front end and by the command
 * line. Plain data.
 */
#ifndef WFSD_CORE_VFS_VFS_CHECK_H
#define WFSD_CORE_VFS_VFS_CHECK_H

#include <stdbool.h>
#include <stdint.h>

#include "core/vfs/vfs.h"

#define POOL_FINDINGS_KEPT 1000u /* of a check, unless told otherwise; the rest is counted */
#define POOL_FINDING_TEXT_MAX 200
#define POOL_CHECK_DEVICES_MAX 64

/* Their names, for programs, are pool_finding_name()'s. */
enum pool_finding_kind {
	POOL_FINDING_LABEL, /* a label is damaged, stale, or contradicts another one */
	POOL_FINDING_ROOT, /* a root slot is damaged, missing, or differs from its other copies */
	POOL_FINDING_SLOT, /* a bitmap slot is damaged */
	POOL_FINDING_REGION, /* a virtual region has no bitmap, or two */
	POOL_FINDING_RING, /* a record of allocation changes is damaged */
	POOL_FINDING_ALLOCATION, /* slots and ring contradict each other */
	POOL_FINDING_LOG, /* the log is damaged where it was durable */
	POOL_FINDING_NODE_READ, /* the device could not read a tree node */
	POOL_FINDING_NODE_HASH, /* a tree node is not what its parent says */
	POOL_FINDING_NODE_FORMAT, /* a tree node breaks the rules of its format */
	POOL_FINDING_NODE_IDENTITY, /* a tree node belongs elsewhere: dataset, birth, level or keys */
	POOL_FINDING_ADDRESS, /* a pointer leads outside of the pool */
	POOL_FINDING_BIRTH, /* something is younger than what points to it */
	POOL_FINDING_ITEM, /* an item of unknown kind, or in the wrong tree or place */
	POOL_FINDING_DATASET, /* a dataset's record is damaged or impossible */
	POOL_FINDING_NAME, /* two datasets have one name */
	POOL_FINDING_INODE, /* an inode is missing, damaged or impossible */
	POOL_FINDING_ENTRY, /* a directory entry is damaged, or leads nowhere */
	POOL_FINDING_LINKS, /* a link count is wrong, or nothing leads to an object */
	POOL_FINDING_CELL, /* a cell is damaged */
	POOL_FINDING_SIZE, /* data is mapped beyond the end */
	POOL_FINDING_COUNTER, /* a counter is wrong */
	POOL_FINDING_NOT_ALLOCATED, /* blocks are in use, but free in the allocation state */
	POOL_FINDING_SHARED, /* blocks are used twice */
	POOL_FINDING_LEAK, /* blocks are allocated, but not in use */
	POOL_FINDING_DATA_READ, /* the device could not read data */
	POOL_FINDING_DATA_CRC, /* data is not what was written */
	POOL_FINDING_KINDS
};

struct pool_finding {
	enum pool_finding_kind kind;
	bool is_note; /* worth telling, but nothing is lost and nothing needs to be done */
	bool has_place; /* @device, @device_offset */
	bool has_dataset; /* @dataset, @name */
	bool has_offset; /* @object, @offset */
	bool repaired;
	uint64_t dataset; /* id; 0: the pool tree */
	char name[VFS_NAME_MAX + 1]; /* of the dataset; "" when it has none */
	uint64_t object, offset; /* bytes */
	uint64_t address; /* virtual block address; 0: none */
	uint64_t block_count; /* how many blocks it is about; 0: none */
	unsigned device; /* index in the report's devices */
	uint64_t device_offset; /* bytes */
	char text[POOL_FINDING_TEXT_MAX]; /* a sentence for people */
};

enum pool_check_state {
	POOL_CHECK_NEVER,
	POOL_CHECK_RUNNING,
	POOL_CHECK_DONE,
	POOL_CHECK_STOPPED, /* by somebody, before its end */
	POOL_CHECK_FAILED, /* could not be finished; @error says why */
};

struct pool_check_report {
	enum pool_check_state state;
	bool online, with_data;
	bool partial; /* damage kept parts from being looked at */
	char pool[64];
	char error[512];
	uint64_t txg; /* of the root that was checked */
	uint64_t started_ns, ended_ns; /* since 1970 */
	uint64_t done_blocks, total_blocks; /* found in trees, of those that the root says are in use */
	uint64_t dataset_count, node_count, data_block_count; /* looked at; data blocks: mapped */
	uint64_t read_block_count; /* data blocks whose contents were verified */
	uint64_t damage_count, note_count;
	uint64_t kind_counts[POOL_FINDING_KINDS]; /* damage and notes */
	unsigned finding_count; /* that are kept */
	struct pool_finding *findings; /* the report's */
	unsigned device_count;
	char *devices[POOL_CHECK_DEVICES_MAX]; /* paths; the report's */
};

/* "node-hash", ... */
const char *pool_finding_name(enum pool_finding_kind kind);
/* "running", ... */
const char *pool_check_state_name(enum pool_check_state state);
/* Independent of @from. 0 or -ENOMEM. */
int pool_check_report_copy(const struct pool_check_report *from, struct pool_check_report *ret);
/* Free what it holds; it is empty afterwards. */
void pool_check_report_done(struct pool_check_report *r);

#endif
