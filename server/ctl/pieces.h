/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A large file that is copied in pieces, several of them at the same time. The last one, which gives the copy its
 * length, is copied when all others are: a copy that was interrupted, or failed, is shorter than the file.
 */
#ifndef WFSD_SERVER_CTL_PIECES_H
#define WFSD_SERVER_CTL_PIECES_H

#include <stdbool.h>
#include <stdint.h>

#include "server/ctl/dirs.h"

struct pieces {
	struct dir *dir; /* that it is in */
	char *name; /* there; malloc'ed */
	char *path; /* for what is said of it; malloc'ed */
	/* Copy a range of at most TRANSFER_CHUNK_BYTES; the chunk of @worker is free for that. In any thread. */
	int (*copy)(struct pieces *p, unsigned worker, uint64_t at, uint64_t end);
	/* Everything is there, unless @failed: set its attributes then; in any case close and free it, but for what is
	 * above. */
	int (*finish)(struct pieces *p, bool failed);
	uint64_t last_at, last_end;
	unsigned refs; /* atomic */
	bool failed; /* atomic */
};

/*
 * Both functions are set; the rest is set here. @fn gets @p, as a job, finds the ranges, and calls pieces_end(). By the
 * thread that walks. 0; -ENOMEM: it never runs.
 */
int pieces_begin(struct pieces *p, struct dir *dir, const char *name, const char *path, jobs_fn *fn);
/* One more range, of any length, behind the last one. As jobs_add(). */
void pieces_add(struct pieces *p, unsigned worker, uint64_t at, uint64_t end);
/* There are no more. @err: why not. The caller forgets @p. */
void pieces_end(struct pieces *p, unsigned worker, int err);

#endif
