/* SPDX-License-Identifier: BSD-3-Clause */
/* A line on a terminal that shows that something takes long. */
#include "server/ctl/progress.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "core/base/sync.h"

void progress_init(struct progress *p, const char *what)
{
	*p = (struct progress){ .what = isatty(STDERR_FILENO) ? what : NULL, .started_ns = sync_now_ns() };
}

void progress_tick(struct progress *p)
{
	uint64_t elapsed_ns = sync_now_ns() - p->started_ns;

	if (!p->what || elapsed_ns < SYNC_NS_PER_S / 2)
		return;
	fprintf(stderr, "\r%c %s (%" PRIu64 " s)", "|/-\\"[p->step++ % 4], p -> what, elapsed_ns / SYNC_NS_PER_S);
	fflush(stderr);
	p->shown = true;
}

void progress_done(struct progress *p)
{
	if (p->shown)
		fprintf(stderr, "\r\033[K");
	p->shown = false;
}
