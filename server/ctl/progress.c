/* SPDX-License-Identifier: BSD-3-Clause */
/* A line on a terminal that shows that something takes long. */
#include "server/ctl/progress.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "core/base/sync.h"
#include "server/ctl/size.h"

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

#define TICK_NS (SYNC_NS_PER_S / 5)

void progress_bytes(struct progress *p, uint64_t files, uint64_t bytes)
{
	uint64_t now_ns = sync_now_ns(), elapsed_ns = now_ns - p->started_ns;
	char done[SIZE_TEXT_MAX], rate[SIZE_TEXT_MAX];

	if (!p->what || elapsed_ns < SYNC_NS_PER_S / 2 || now_ns - p->shown_ns < TICK_NS)
		return;
	p->shown_ns = now_ns;
	fprintf(stderr, "\r\033[K%c %s: %" PRIu64 " files, %s, %s/s", "|/-\\"[p->step++ % 4], p -> what, files,
	        size_format(bytes, done), size_format((uint64_t)((double)bytes * 1e9 / (double)elapsed_ns), rate));
	fflush(stderr);
	p->shown = true;
}

void progress_done(struct progress *p)
{
	if (p->shown)
		fprintf(stderr, "\r\033[K");
	p->shown = false;
}
