/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Watches over the end of the daemon: when it is not over after 5 s, it says which phase that is in; after 90 s it
 * gives up (exit code 1).
 */
#ifndef WFSD_SERVER_JOBS_STOP_GUARD_H
#define WFSD_SERVER_JOBS_STOP_GUARD_H

struct stop_guard;

struct stop_guard *stop_guard_new(void); /* NULL: no thread; the end is then not watched */
void stop_guard_phase(struct stop_guard *g, const char *phase); /* a literal; @g NULL is fine */
void stop_guard_free(struct stop_guard *g); /* NULL is fine */

#endif
