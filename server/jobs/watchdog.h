/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Does every part still make progress? Small probes go through all event loops and worker lanes. While they come back
 * in time, systemd's watchdog is told so; one that does not is logged, and systemd will end the daemon.
 */
#ifndef WFSD_SERVER_JOBS_WATCHDOG_H
#define WFSD_SERVER_JOBS_WATCHDOG_H

struct loop_set;
struct watchdog;
struct workers;

/* 0 or -ENOMEM. Not from a loop thread. */
int watchdog_new(struct loop_set *loops, struct workers *workers, struct watchdog **ret);
/* No more probes are sent. Not from a loop thread. NULL is fine. */
void watchdog_stop(struct watchdog *w);
/* Stopped, and loops and workers have ended, so that no probe is under way. NULL is fine. */
void watchdog_free(struct watchdog *w);

#endif
