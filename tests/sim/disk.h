/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A device for the simulator: requests take virtual time and complete in any order; what was written and not flushed is
 * a list of writes, of which a power cut keeps any subset, in any order, torn; and it misbehaves on demand.
 *
 * A disk outlives what is opened on it. Only for runs of the scheduler (core/base/sync_sim.h).
 */
#ifndef WFSD_TESTS_SIM_DISK_H
#define WFSD_TESTS_SIM_DISK_H

#include "core/blk/blk.h"
#include "tests/sim/rng.h"

#define DISK_BLOCK_BYTES 4096u

struct disk;

/* What all disks of a machine share: the power, and the count of requests, which faults are aimed by. */
struct disk_power {
	bool off; /* every request fails with -ENXIO */
	uint64_t writes; /* writes, zeroings and flushes begun since it was reset */
	uint64_t requests; /* requests begun */
	uint64_t cut_at_write; /* the power goes when this one (1..) begins; 0: never */
	uint64_t fail_at_request; /* this one (1..) fails with @fail_error; 0: never */
	uint64_t fail_count; /* and so many after it */
	int fail_error;
	const struct disk *fail_only; /* requests to others do not fail; NULL: of all */
	uint64_t failed; /* requests that were made to fail */
	uint64_t cuts;
	bool lost; /* a flush that failed lost writes that seemed good */
};

enum disk_keep {
	DISK_KEEP_NONE, /* at a power cut, everything that was not flushed is lost */
	DISK_KEEP_ALL,
	DISK_KEEP_WRITES, /* each write as a whole is kept or lost, in any order */
	DISK_KEEP_BLOCKS, /* each block of 4096 bytes of each write */
	DISK_KEEP_SECTORS, /* each sector of 512 bytes of each write */
	DISK_KEEP_MODES
};

struct disk_config {
	const char *name;
	uint64_t size_bytes;
	uint64_t seed;
	uint64_t latency_ns_max; /* requests take up to this */
	unsigned hang_one_in; /* one in so many requests takes half a minute; 0: none */
	struct disk_power *power;
};

int disk_new(const struct disk_config *config, struct disk **ret);
void disk_free(struct disk *d);
/* The same contents, independent of @d; nothing is in flight. */
int disk_copy(const struct disk *d, const struct disk_config *config, struct disk **ret);
struct blk_dev *disk_dev(struct disk *d);

/* The power is off, or comes back after having been: decide what was not flushed. Nothing is in flight. */
void disk_settle(struct disk *d, enum disk_keep keep);
/* One disk alone fails with -ENXIO, or is back. */
void disk_unplug(struct disk *d, bool unplugged);

/* Damage: the next write of at least one block is lost though it seems good, or goes to another place. */
void disk_lose_next_write(struct disk *d);
void disk_misdirect_next_write(struct disk *d);
/* Flip one bit of a byte that is not zero, in a random one of the blocks that hold such. False: there is none. */
bool disk_flip_bit(struct disk *d, struct rng *r);

#endif
