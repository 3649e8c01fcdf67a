/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Deliberate faults, one for each law that must not be broken: MUTATE(x) is false, except in the simulator, where one
 * of them can be switched on to see that it is found. docs/RELIABILITY.md has the table.
 */
#ifndef WFSD_CORE_BASE_MUTATE_H
#define WFSD_CORE_BASE_MUTATE_H

enum mutation {
	MUTATION_NONE,
	MUTATION_NO_BARRIER_BEFORE_ROOT, /* the root is written without a flush before it */
	MUTATION_REUSE_AT_ONCE, /* freed blocks are given out again before the root that frees them is durable */
	MUTATION_FLUSH_LIES, /* a flush is acknowledged before the log is durable */
	MUTATION_COMMIT_LIES, /* an administrator's change is acknowledged before its group is durable */
	MUTATION_NO_LOG_BARRIER, /* the log is written, but the devices are not flushed */
	MUTATION_LOG_RECORD_LOST, /* some records of data are left out of the log */
	MUTATION_NO_DATA_CRC, /* the checksum of data is not verified on reading */
	MUTATION_NO_NODE_HASH, /* the hash of a node is not verified on reading */
	MUTATION_WRITE_ERROR_IGNORED, /* data that could not be written counts as written */
	MUTATION_FLUSH_ERROR_IGNORED, /* a barrier that failed counts as done */
	MUTATION_DIRTY_PAGE_LOST, /* write-back calls a page clean that it did not write */
	MUTATION_DISCARD_BEHIND_CACHE, /* a discard unmaps blocks, but the cache keeps its pages */
	MUTATION_OLDER_ROOT, /* the import takes the root before the newest */
	MUTATION_NO_RECOVERY, /* the import does not apply the log */
	MUTATION_RECOVERY_TRUSTS_DATA, /* recovery does not verify data that may not be durable */
	MUTATION_TX_WRITES_UNSEEN, /* a commit does not look whether somebody else has changed what it changes */
	MUTATION_TX_READS_UNSEEN, /* nor, of a serializable one, what it has read */
	MUTATION_TX_MOMENTS_MIXED, /* a transaction reads something newer, and keeps what it has read before */
	MUTATION_TX_PART_LOST, /* the log has a unit without one of its parts */
	MUTATION_TX_PARTS_ALONE, /* recovery takes the parts of a transaction whether its unit came or not */
	MUTATION_TX_HALF_REPLAYED, /* recovery applies only the first of a unit's items */
	MUTATION_TX_ABORT_STAYS, /* pages of a transaction that was not committed stay */
	MUTATION_TX_GROUP_BETWEEN, /* a group may end in the middle of a transaction */
	MUTATION_TX_NOT_SETTLED, /* a group ends while contents of its transactions are in the log's buffer */
	MUTATION_TX_LOG_SPLIT, /* the log is given up between the parts of a transaction and its unit */
	MUTATION_COUNT
};

#ifdef WFSD_SIM
extern enum mutation mutation_active;
#define MUTATE(x) (mutation_active == MUTATION_##x)
#else
#define MUTATE(x) 0
#endif

#endif
