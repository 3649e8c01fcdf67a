/* SPDX-License-Identifier: BSD-3-Clause */
/* The threads that take requests of the kernel and answer them. */
#ifndef WFSD_PLUGINS_FUSE_LOOP_H
#define WFSD_PLUGINS_FUSE_LOOP_H

#include <stdbool.h>
#include <stddef.h>

struct fuse_session;
struct wake;

/*
 * Serve a mounted session until it ends, by up to @threads_max threads (at least 1). @wake is held while one program
 * asks all the time. That it was to end is seen within a second; the process's SIGUSR1 does nothing from then on. 0,
 * -ENOMEM or -EAGAIN when there is no thread, or why the kernel's requests could not be read.
 */
int loop_run(struct fuse_session *session, unsigned threads_max, struct wake *wake);

/* Does who sent the request, as it was read, certainly wait for the answer, or need none? */
bool loop_is_brief(const void *request, size_t len);

#endif
