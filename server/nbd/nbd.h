/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The NBD front end that runs in processes of its own: one unprivileged "nbdkit -s" for each accepted connection, with
 * our plugin inside.
 *
 * The process gets the client's socket as descriptors 0 and 1, a pipe for its messages as 2, the way to a private RPC
 * socket as 3, and the plugin's file as 4: it needs no rights in the file system to reach us, and nobody else reaches
 * us there. (3 is an O_PATH descriptor of a unix socket whose name is gone: connecting goes through /proc/self/fd/3.)
 * One that aborts, hangs or is killed takes nothing else along; it is reaped and counted. None outlives the daemon.
 *
 *      accept            nbdkit ends, or is killed
 *   -----------> running -------------------------> reaped
 *                   | client hung up, or opened no export in time, or daemon stops
 *                   v
 *                ending  (SIGTERM after a grace when the client hung up, else at once; SIGKILL 2 s later)
 *
 * nbdkit puts no limit on the handshake. It opens the export, which our RPC server sees, when the client has chosen
 * one; that is the last thing before the transmission phase.
 */
#ifndef WFSD_SERVER_NBD_NBD_H
#define WFSD_SERVER_NBD_NBD_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "server/net/listen.h"

struct loop;
struct metrics;
struct nbd;

struct nbd_config {
	struct loop *loop; /* where it lives */
	/* Takes the RPC connections that nbdkit processes make. */
	listener_accept_fn *accept_rpc;
	/* Does a process have an export open through one of them? On the loop's thread; does not block. */
	bool (*has_open_file)(void *ctx, pid_t pid);
	void *rpc_ctx; /* of both */
	const char *run_dir; /* the private socket is made there, and its name removed at once */
	const char *nbdkit; /* path, or a name in PATH */
	const char *plugin; /* path; NULL: beside our own program, else the one nbdkit finds by name */
	const char *user, *group; /* when we are root; group NULL: the user's */
	unsigned max_connections;
	unsigned handshake_timeout_ms; /* to open an export in, from accepting on */
	uint64_t memory_max_bytes; /* address space of one process */
	struct metrics *metrics;
};

struct nbd_stats {
	unsigned connections, max_connections;
	uint64_t accepted, refused; /* refused: beyond the limit, or no process could be started */
	uint64_t ended_ok, ended_error, ended_signal;
	uint64_t handshake_timeouts;
};

struct nbd_connection_info {
	uint64_t id;
	const char *peer;
	pid_t pid;
	uint64_t age_ns;
};

/* Strings are copied. 0, -ENOMEM, or why the plugin or the socket cannot be opened. A user or group that does not exist
 * is replaced by nobody, with a warning. Not from a loop thread. */
int nbd_new(const struct nbd_config *config, struct nbd **ret);
/* Every connection has ended (nbd_stop()). NULL is fine. */
void nbd_free(struct nbd *n);

/* A listener_accept_fn; @ctx is the struct nbd. On the loop's thread. Takes @fd, a blocking socket. */
void nbd_accept(void *ctx, int fd, const char *peer);
/* End all connections, wait until every process is reaped (about 2 s at most); later ones are refused. Not from a loop
 * thread. */
void nbd_stop(struct nbd *n);

/* Any thread. */
void nbd_get_stats(const struct nbd *n, struct nbd_stats *ret);
/* On the loop's thread; @fn must not call back. */
void nbd_each(struct nbd *n, void (*fn)(void *ctx, const struct nbd_connection_info *info), void *ctx);

/* The program's main() when it was started as a child (argv[1] is NBD_CHILD_ARG): becomes nbdkit, or exits. */
#define NBD_CHILD_ARG "--nbd-child"
int nbd_child_main(int argc, char **argv);

#endif
