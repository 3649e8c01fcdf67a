/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The admin front end: metrics, status, health and control verbs over HTTP, as API.md describes. Requests are read and
 * answered on loop 0; what may wait runs on workers.
 */
#ifndef WFSD_SERVER_ADMIN_ADMIN_H
#define WFSD_SERVER_ADMIN_ADMIN_H

#include <stdint.h>

#include "core/vfs/vfs_pool.h"

struct admin;
struct audit;
struct budget;
struct daemon_status;
struct export_table;
struct loop;
struct metrics;
struct mount_table;
struct rpc_connection_info;
struct rpc_slow;
struct state;
struct workers;

/* What the other front ends tell about themselves. */
struct admin_nbd_stats {
	unsigned connections, max_connections;
	uint64_t accepted, refused;
	uint64_t ended_ok, ended_error, ended_signal; /* processes */
	uint64_t handshake_timeouts;
};

struct admin_connection {
	uint64_t id;
	const char *peer;
	int pid;
	uint64_t age_ns;
};

typedef void admin_connection_fn(void *fn_ctx, const struct admin_connection *info);

struct admin_peers {
	void (*nbd_stats)(void *ctx, struct admin_nbd_stats *ret); /* any thread */
	void (*nbd_each)(void *ctx, admin_connection_fn *fn, void *fn_ctx); /* on the loop's thread */
	unsigned (*rpc_connections)(void *ctx); /* any thread */
	/* rpc_server_each_connection() */
	void (*rpc_each)(void *ctx, void (*fn)(void *fn_ctx, const struct rpc_connection_info *info), void *fn_ctx);
	unsigned (*rpc_slow)(void *ctx, struct rpc_slow *ret); /* rpc_server_slow(); any thread */
	void *ctx;
};

struct admin_config {
	struct loop *loop;
	struct workers *workers;
	struct pool_admin pools;
	struct export_table *exports;
	struct mount_table *mounts;
	struct state *state;
	struct daemon_status *status;
	struct budget *budget;
	struct metrics *metrics;
	struct audit *audit; /* NULL: none */
	struct admin_peers peers;
	const char *version; /* literal */
	/* Read the configuration again; on a worker. 0 or a negative errno with context. */
	int (*reload)(void *ctx);
	void *reload_ctx;
};

/* Everything in @config outlives it. 0 or -ENOMEM. */
int admin_new(const struct admin_config *config, struct admin **ret);

/* listener_accept_fns; @ctx is the struct admin. The second serves metrics and health only. On the loop's thread. */
void admin_accept(void *ctx, int fd, const char *peer);
void admin_accept_metrics(void *ctx, int fd, const char *peer);

/*
 * Refuse new requests, give those under way @timeout_ns to be answered, then close all connections. What still runs on
 * a worker goes on, unanswered. Not from a loop thread.
 */
void admin_stop(struct admin *a, uint64_t timeout_ns);
/* Stopped, the workers are gone, and the loop is, too. NULL is fine. */
void admin_free(struct admin *a);

#endif
