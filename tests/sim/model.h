/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a pool must hold: an in-memory model that keeps the history of every page of every volume.
 *
 * The contract that is checked. Every page has one history: the contents that completed and running operations give it,
 * in their order (a page is changed by one client at a time). A read of the running pool gives the newest completed
 * contents, or those of an operation that runs at the same time or failed. After a crash a page holds contents that are
 * not older than what was acknowledged as durable: by a flush of its volume for all that was complete when the flush
 * began, by FUA for the range of the operation, by the success of an administrator's operation. Nothing is invented,
 * nothing is mixed within a page, and what was read after a recovery stays. Volumes exist under the names and with the
 * sizes that were acknowledged, or as an operation that was running would have made them.
 *
 * Pages are independent of each other between two flushes, as FUA makes its own range durable and nothing else: the
 * order of the pool's history shows at flushes, and there it is checked across all pages and volumes.
 *
 * A violation is printed and ends the process with status MODEL_VIOLATION.
 */
#ifndef WFSD_TESTS_SIM_MODEL_H
#define WFSD_TESTS_SIM_MODEL_H

#include "core/base/sync.h"
#include "tests/sim/machine.h"

#define MODEL_VOLUMES 3u
#define MODEL_PAGES_MAX 192u
#define MODEL_VIOLATION 3
#define MODEL_FILLER "filler" /* a volume that the model knows nothing of */

struct model_page {
	uint64_t *hashes; /* history; at least one */
	unsigned count, room;
	unsigned floor; /* what is durable is not older than this one */
	unsigned known; /* what is read is not older than this one */
	uint8_t newest[DISK_BLOCK_BYTES]; /* contents of the last of the history */
};

struct model_shape {
	bool exists;
	char name[24];
	unsigned page_count;
};

struct model_volume {
	struct sync_rwlock lock; /* shared: data; exclusive: administration. Taken by whoever works on the volume */
	struct model_shape is, may_be; /* may_be: when @uncertain */
	bool uncertain; /* an operation that changes the shape runs or failed */
	unsigned renames;
	struct model_page pages[MODEL_PAGES_MAX];
};

struct model {
	struct machine *m;
	struct model_volume volumes[MODEL_VOLUMES];
	bool damaged; /* the media were damaged: errors are no surprise, wrong data is */
	bool stepped_back; /* and the import said that it took an older root: older data is no surprise */
	bool tight; /* the pool may be full */
	bool stale; /* one half of the mirror missed something: the check may say so */
	uint64_t ops, reads_checked, errors;
};

struct model *model_new(struct machine *m);
void model_free(struct model *mo);
/* The same expectations of another machine, which has the same contents. */
struct model *model_clone(const struct model *from, struct machine *m);

_Noreturn void model_violation(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* May operations fail now? */
bool model_may_fail(const struct model *mo);
/* An operation's result: an error that nothing explains is a violation. */
void model_result(struct model *mo, const char *what, int result);
/* The same of one that needs room. */
void model_room_result(struct model *mo, const char *what, int result);

/* An operation is going to give the page these contents. */
void model_page_begin(struct model_page *p, const uint8_t *data);
/* It did: of the version that model_page_begin() added last. */
void model_page_done(struct model_page *p, bool durable);
void model_page_zero(struct model_page *p); /* of a new volume: one version */
/* Data that was read must be of version @lo or a later one. */
void model_check_read(const struct model_volume *v, unsigned page, const uint8_t *data, unsigned lo);

/*
 * The pool was just imported: compare everything, and take what it holds as what it must hold from now on.
 */
void model_verify(struct model *mo);
/* An orderly export: everything that was completed is durable. */
void model_all_durable(struct model *mo);

#endif
