/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Private to server/nbd: starting the child. The daemon spawns its own program again, which takes away its privileges,
 * sets its limits and becomes nbdkit; so that none of that runs between fork and exec of a threaded process.
 */
#ifndef WFSD_SERVER_NBD_CHILD_H
#define WFSD_SERVER_NBD_CHILD_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define NBD_CHILD_FD_RPC 3
#define NBD_CHILD_FD_PLUGIN 4

struct nbd_child_args {
	const char *nbdkit;
	int plugin_fd; /* -1: nbdkit finds the plugin by its name */
	bool drop; /* change to uid and gid */
	uid_t uid;
	gid_t gid;
	uint64_t memory_max_bytes;
	int rpc_fd; /* O_PATH, of a listening unix socket */
	int client_fd, stderr_fd; /* stay the caller's, as all */
};

/* The child ends when the calling thread does. *ret_pidfd is close-on-exec. 0 or a negative errno. */
int nbd_child_spawn(const struct nbd_child_args *args, pid_t *ret_pid, int *ret_pidfd);

#endif
