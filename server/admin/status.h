/* SPDX-License-Identifier: BSD-3-Clause */
/* How the daemon as a whole is doing: its state, and problems that a person should look at. Any thread, no waiting. */
#ifndef WFSD_SERVER_ADMIN_STATUS_H
#define WFSD_SERVER_ADMIN_STATUS_H

#include <stdbool.h>
#include <stdint.h>

/* starting -> running -> stopping */
enum daemon_state {
	DAEMON_STARTING,
	DAEMON_RUNNING,
	DAEMON_STOPPING,
};

struct daemon_status;

struct daemon_status *daemon_status_new(void); /* NULL when memory is short */
void daemon_status_free(struct daemon_status *s);

void daemon_status_set(struct daemon_status *s, enum daemon_state state);
enum daemon_state daemon_status_get(const struct daemon_status *s);
const char *daemon_state_name(enum daemon_state state);
uint64_t daemon_status_uptime_ns(const struct daemon_status *s);

/* @about: what has the problem (a pool's name); one problem each, a later one replaces it. Strings are copied; when
 * memory is short, it is only logged. */
void daemon_problem_set(struct daemon_status *s, const char *about, const char *text);
/* The same from the thread's error: "KIND NAME: why", about @name. */
void daemon_problem_set_error(struct daemon_status *s, const char *kind, const char *name, int code);
/* False when there was none. */
bool daemon_problem_clear(struct daemon_status *s, const char *about);
/* @fn must not call back. */
void daemon_problem_each(struct daemon_status *s, void (*fn)(void *ctx, const char *about, const char *text),
                         void *ctx);

#endif
