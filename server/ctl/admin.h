/* SPDX-License-Identifier: BSD-3-Clause */
/* Requests to the daemon: HTTP over its admin socket, by libcurl. One thread. */
#ifndef WFSD_SERVER_CTL_ADMIN_H
#define WFSD_SERVER_CTL_ADMIN_H

#include <jansson.h>
#include <stdbool.h>

/* Exit statuses of wfs, and what its functions return. */
enum ctl_status {
	CTL_OK = 0,
	CTL_FAILED = 1, /* the daemon refused or failed */
	CTL_USAGE = 2, /* the command line is wrong; nothing was asked */
	CTL_UNREACHABLE = 3, /* no daemon answers on the socket */
};

struct admin {
	const char *socket; /* path */
	bool json; /* print the daemon's error object on standard output, too */
};

/*
 * One request, which may take long: @doing ("creating pool tank") is then shown on a terminal; NULL shows nothing and
 * gives up after 30 s.
 *   body      sent as JSON; NULL sends none. The reference is taken, also on failure.
 *   ret       the answer (caller's reference); NULL when it is not wanted
 * When the result is not CTL_OK, one line on standard error has said why.
 */
enum ctl_status admin_request(const struct admin *a, const char *method, const char *path, json_t *body,
                              const char *doing, json_t **ret);

/* GET of text; *ret_text is malloc'ed, caller frees. As above. */
enum ctl_status admin_get_text(const struct admin *a, const char *path, char **ret_text);

#endif
