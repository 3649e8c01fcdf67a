/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The guard of a mount: a process of its own that has the kernel give up the mount's requests when the mount's process
 * is killed, or crashes.
 *
 * The kernel does that itself when the last descriptor of /dev/fuse is closed. But a thread that drops pages (events.c)
 * may be waiting for pages that requests have locked; nobody answers these any more, nothing ends its wait, and as long
 * as it lives the descriptors of its process are open. Whoever uses the mount would wait for ever with it.
 */
#ifndef WFSD_PLUGINS_FUSE_GUARD_H
#define WFSD_PLUGINS_FUSE_GUARD_H

#include <sys/types.h>

/*
 * The file by which the connection of what was just mounted at @dir is given up; needs the kernel's fusectl file
 * system, mounted or, for root, not. Asks the mount for nothing. -1: there is none, and no guard then.
 */
int guard_open(const char *dir);
/*
 * Start the guard, with guard_open()'s descriptor, which is closed. By the thread with whose end the process ends; no
 * others were started yet. Returns the process, or 0 without one.
 */
pid_t guard_start(int fd);
/* The session has ended. 0 is fine. */
void guard_stop(pid_t guard);

#endif
