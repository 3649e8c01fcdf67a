/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Listening sockets: opening them (TCP, unix, handed over by systemd), and accepting on an event loop. What is spoken
 * on the connections is the caller's business.
 */
#ifndef WFSD_SERVER_NET_LISTEN_H
#define WFSD_SERVER_NET_LISTEN_H

#include <stdbool.h>
#include <sys/types.h>

struct loop;
struct listener;

/*
 * Listen on the TCP address "HOST:PORT" ("" as host: all addresses, IPv6 and IPv4). *ret_fd is non-blocking and
 * close-on-exec. -EINVAL (not an address), -EADDRINUSE, -EADDRNOTAVAIL, -EACCES, ... May block on resolving a name.
 */
int net_listen_tcp(const char *address, int *ret_fd);

/*
 * Listen on the unix socket @path with file mode @mode and, when @group is not NULL, that group. A socket file that
 * nobody answers on any more is replaced; one that is answered is -EADDRINUSE. -EINVAL (path too long, unknown group).
 */
int net_listen_unix(const char *path, unsigned mode, const char *group, int *ret_fd);

/*
 * Listen on a unix socket without a name, made in folder @dir: whoever has *ret_path_fd (O_PATH, close-on-exec)
 * connects to "/proc/self/fd/N", whatever the user; nobody else can. Errors of the file system.
 */
int net_listen_private(const char *dir, int *ret_fd, int *ret_path_fd);

/*
 * Sockets that systemd passed under @name (FileDescriptorName=), at most @max. Returns how many; 0 without systemd.
 * They stay valid for the whole process; call it before threads are started.
 */
int net_systemd_fds(const char *name, int *ret_fds, int max);

/* A new connection; the callee owns @fd (close-on-exec). @peer: text for logs. On the loop's thread. */
typedef void listener_accept_fn(void *ctx, int fd, const char *peer);

struct listener_config {
	struct loop *loop;
	int fd; /* taken over, also when listener_new() fails */
	const char *name; /* for logs; copied */
	const char *unlink_path; /* removed at the end, or NULL; copied */
	bool blocking; /* accepted sockets are blocking ones */
	listener_accept_fn *accept;
	void *ctx;
};

/*
 * Accepting starts before it returns or shortly after. When descriptors or memory run out, it pauses for 100 ms at a
 * time. 0 or -ENOMEM. Not from a loop thread.
 */
int listener_new(const struct listener_config *config, struct listener **ret);
/* Nothing is accepted any more on return. Not from a loop thread. NULL is fine. */
void listener_free(struct listener *l);

/* TCP_NODELAY and keep-alive on a TCP connection; nothing on others. */
void net_tune(int fd);

#endif
