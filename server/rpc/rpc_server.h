/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The RPC front end: serves the wfs protocol (protocol/wfs.x) on accepted stream sockets, TCP and unix alike.
 *
 * A connection belongs to one event loop. Requests that memory can answer are answered there; those that would wait go
 * to the workers, and their answers come back in any order. What one client can hold is bounded: requests in flight,
 * payload bytes, open handles, time with half a record.
 */
#ifndef WFSD_SERVER_RPC_RPC_SERVER_H
#define WFSD_SERVER_RPC_RPC_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct audit;
struct budget;
struct export_table;
struct loop_set;
struct metrics;
struct rpc_server;
struct tls_context;
struct vfs;
struct workers;

/* Where it is kept which sessions have locks, over restarts. Any thread. */
#define RPC_SESSION_KEY_BYTES 16u
struct rpc_lock_store {
	void *ctx;
	void (*each)(void *ctx, void (*fn)(void *fn_ctx, const uint8_t *key), void *fn_ctx);
	/* These and no others: @count keys, one behind the other. Durable when it returns 0. Blocks. */
	int (*put)(void *ctx, const uint8_t *keys, unsigned count);
};

struct rpc_server_config {
	struct loop_set *loops;
	struct workers *workers;
	struct vfs *vfs;
	struct export_table *exports;
	struct budget *budget; /* the server joins it as "rpc" */
	struct metrics *metrics; /* NULL: none */
	struct audit *audit; /* NULL: none */
	const char *server_name; /* shown to clients; copied */
	/*
	 * This start of the daemon, so that clients notice a restart; 0: a random one. @clean_boots are the ids of
	 * earlier starts, newest first, that ended with everything they had acknowledged durable: a client whose
	 * unflushed writes went to one of these is not told that they may be lost. Copied.
	 */
	uint64_t boot_id;
	const uint64_t *clean_boots;
	size_t clean_boot_count; /* those beyond RPC_CLEAN_BOOTS_MAX are left out */
	/* RPC_SECRET_BYTES that prove file handles to be ours, the same at every start. NULL: random. Copied. */
	const uint8_t *secret;
	unsigned connections_max; /* 0: 1024. Of other machines, or of one user here, three quarters, of one address a
	                             half */
	const struct rpc_lock_store *lock_store; /* NULL: none, and locks end with the server */
	unsigned grace_s; /* how long a new server waits for those who had locks */
	unsigned lease_max_s; /* the longest time that a session outlives its client's connections; 0: 900 */
	/* A client silent in the middle of a record for this long is dropped, or one that is slower than 16 KiB a
	 * second for longer than this; 0: 30,000. */
	unsigned stall_ms;
};
#define RPC_CLEAN_BOOTS_MAX 16

/* 0, -ENOMEM, -EIO (no randomness). Everything in @config must outlive the server. */
int rpc_server_new(const struct rpc_server_config *config, struct rpc_server **ret);

/*
 * Serve @fd, a connected, non-blocking stream socket, which the server owns from now on (also on errors: it is closed).
 * 0, -ENOMEM, -EMFILE (connections_max reached), -ESHUTDOWN (stopping). Any thread; does not block.
 */
int rpc_server_accept(struct rpc_server *s, int fd);

/* The same over TLS, with what rpc_server_set_tls() was given last; before that: -EPROTONOSUPPORT. */
int rpc_server_accept_tls(struct rpc_server *s, int fd);
/* For connections from now on; the server takes a reference. Any thread. */
void rpc_server_set_tls(struct rpc_server *s, struct tls_context *tls);

/*
 * End every connection and wait until the operations under way have returned; answers that are not sent yet are
 * dropped (clients repeat their requests at the next server). Not on a loop thread or a worker; loops and workers must
 * be running. rpc_server_accept() refuses from then on.
 */
void rpc_server_stop(struct rpc_server *s);

/* After rpc_server_stop(). NULL is fine. */
void rpc_server_free(struct rpc_server *s);

/*
 * A request that was slow. What of its time is in none of the stages went into answering it: the loop, the socket, and
 * whoever was served before.
 */
struct rpc_slow {
	uint64_t ended_wall_ns;
	uint64_t total_ns; /* from its arrival until its answer was ready to be sent */
	uint64_t queued_ns; /* until a worker took it */
	uint64_t device_ns; /* a worker waited for devices */
	uint64_t others_ns; /* a worker waited for other threads: locks, commits, room */
	uint64_t busy_ns; /* a worker worked */
	const char *procedure; /* literal */
	const char *slowest; /* literal: of a compound, the operation that took longest; NULL otherwise */
	unsigned operations; /* of a compound */
	int err;
	uint64_t offset, len_bytes;
	char client[96];
	char export_name[64]; /* cut; "": none */
};
#define RPC_SLOW_MAX 32u
/* The slowest requests of the last ten minutes, slowest first, at most RPC_SLOW_MAX: how many. Any thread. */
unsigned rpc_server_slow(struct rpc_server *s, struct rpc_slow *ret);

/* One connection, and what it did so far. */
struct rpc_connection_info {
	const char *client; /* who is there, in a few words; valid during the call */
	const char *name; /* what its program calls itself; "": it did not say */
	bool tls;
	uint64_t age_ns;
	uint64_t requests, errors, read_bytes, written_bytes;
	unsigned under_way; /* requests */
	unsigned open_files;
};
/* Call @fn with each, under a lock: it must not call back. Any thread. */
void rpc_server_each_connection(struct rpc_server *s, void (*fn)(void *ctx, const struct rpc_connection_info *info),
                                void *ctx);

/* Does the process at the other end of a unix socket have a file open, or is one being opened for it? Any thread; does
 * not block. */
bool rpc_server_has_open_file(struct rpc_server *s, pid_t pid);
unsigned rpc_server_connections(struct rpc_server *s);
uint64_t rpc_server_boot_id(const struct rpc_server *s);

#endif
