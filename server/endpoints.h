/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * All addresses the daemon listens on: opened together at the start (so that a second instance fails before it touches
 * a pool, and clients wait in the backlog), accepted on in two steps.
 *
 * Sockets that systemd passes under the names "admin", "metrics", "rpc", "rpc-tls" and "nbd" replace those of the
 * configuration of that kind.
 */
#ifndef WFSD_SERVER_ENDPOINTS_H
#define WFSD_SERVER_ENDPOINTS_H

#include "server/net/listen.h"

struct conf;
struct endpoints;
struct loop;

enum endpoint_kind {
	ENDPOINT_ADMIN,
	ENDPOINT_METRICS,
	ENDPOINT_RPC,
	ENDPOINT_RPC_TLS,
	ENDPOINT_NBD,
	ENDPOINT_KINDS,
};

/* Before threads are started. 0 or a negative errno that names the address. */
int endpoints_open(const struct conf *c, struct endpoints **ret);
/* Accept on all of that kind. 0 or -ENOMEM. Not from a loop thread. */
int endpoints_start(struct endpoints *e, enum endpoint_kind kind, struct loop *loop, listener_accept_fn *accept,
                    void *ctx);
/* Close all of that kind. Not from a loop thread. */
void endpoints_stop(struct endpoints *e, enum endpoint_kind kind);
void endpoints_free(struct endpoints *e); /* stops all; NULL is fine */

#endif
