/* SPDX-License-Identifier: BSD-3-Clause */
/* A line on a terminal that shows that something takes long. Nothing at all when standard error is no terminal. */
#ifndef WFSD_SERVER_CTL_PROGRESS_H
#define WFSD_SERVER_CTL_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct progress {
	const char *what; /* "creating pool tank"; NULL: stay silent */
	uint64_t started_ns;
	unsigned step;
	bool shown;
	uint64_t shown_ns;
};

void progress_init(struct progress *p, const char *what);
/* Call it often. Shows up half a second after progress_init(). */
void progress_tick(struct progress *p);
/* The same, with how much is done. */
void progress_bytes(struct progress *p, uint64_t files, uint64_t bytes);
/* Wipes the line. */
void progress_done(struct progress *p);

#endif
