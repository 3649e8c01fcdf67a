/* SPDX-License-Identifier: BSD-3-Clause */
/* Operations of clients, done on the pool and noted in the model. */
#ifndef WFSD_TESTS_SIM_OPS_H
#define WFSD_TESTS_SIM_OPS_H

#include "tests/sim/model.h"

enum op_kind {
	OP_WRITE,
	OP_READ,
	OP_FLUSH,
	OP_DISCARD,
	OP_ZERO,
	OP_FLUSH_RANGE,
	/* Administration: one at a time in each volume. */
	OP_RESIZE,
	OP_CREATE,
	OP_DELETE,
	OP_RENAME,
	OP_SYNC, /* of the pool */
	OP_WAIT, /* let time pass */
	OP_KINDS
};

struct op {
	enum op_kind kind;
	unsigned volume;
	uint64_t offset, len_bytes; /* WRITE, READ, DISCARD, ZERO, FLUSH_RANGE; RESIZE and CREATE: new size; WAIT: ns */
	bool fua;
	uint64_t fill; /* WRITE: contents follow from it; 0: zeros */
};

/*
 * Do it. What makes no sense for the volume as it is now (it is not there, the range is beyond its end) is passed over.
 * The range of a WRITE, DISCARD or ZERO is changed by nobody else meanwhile. Returns the operation's result.
 */
int op_run(struct model *mo, const struct op *op);

/* "write v1 4096+512 fua" */
char *op_text(const struct op *op, char *buf, size_t len);

/* A random operation on pages that client @client of @client_count may change. */
struct op_mix {
	unsigned weights[OP_KINDS];
	unsigned group_pages; /* pages belong to clients in groups of so many */
	unsigned client_count;
	unsigned fua_one_in, zeros_one_in, part_one_in; /* 0: never */
};
struct op op_random(struct rng *r, const struct op_mix *mix, unsigned client);
/* Weights and sizes that differ by seed. */
struct op_mix op_mix_random(struct rng *r, unsigned client_count);

#endif
