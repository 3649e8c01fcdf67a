/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One connection to a server: a libnfs context that never touches the network itself.
 *
 * libnfs connects; then its socket is replaced by one end of a pair, and everything goes through us: its calls are
 * passed on, and of the server's records it gets only those that reply.h found whole, and that answer one of its
 * calls. What READ brings goes to whoever asked for it at once; libnfs sees a reply without data.
 *
 *   caller --call--> libnfs --pair--> link --TCP--> server
 *   caller <--result-- libnfs <--pair-- link (checked) <--TCP-- server
 *
 * Used by one thread; nothing waits except link_run(). After any error the link is of no use but to be freed.
 */
#ifndef WFSD_CORE_FS_NFS_LINK_H
#define WFSD_CORE_FS_NFS_LINK_H

#include <poll.h>
#include <sys/uio.h>

#include "core/fs/nfs/reply.h"

struct link;

/* Where the data of a READ goes: memory for its bytes from @at on, of which there are @len more; no more than @max
 * pieces, which may end before they do. Returns how many, at least one. It is filled until the call has ended. */
typedef unsigned link_room_fn(void *ctx, uint32_t at, uint32_t len, struct iovec *ret, unsigned max);
/* The end of a call: 0 and libnfs's result structure (the status in it may still be an error), which is valid during
 * the call; or -ECONNRESET (no answer came), -EIO (the server refuses such calls), and @res is NULL. */
typedef void link_done_fn(void *ctx, int rc, void *res);

struct link_call {
	enum nfs_proc proc;
	void *args; /* libnfs's structure for @proc; read during link_send() only. MNT: the path, GETPORT: the program
	             */
	uint32_t data_max_bytes; /* READ */
	link_room_fn *room; /* READ */
	link_done_fn *done;
	void *ctx;
};

#define LINK_CALLS_MAX 32u
/* Of one READ or WRITE. */
#define LINK_DATA_BYTES_MAX (1u << 20)

/* uid and gid: in whose name calls are made. -ENOMEM. */
int link_new(uint32_t uid, uint32_t gid, struct link **ret);
/* Calls without an answer end with -ECONNRESET. NULL is fine. */
void link_free(struct link *l);

/* Begin to connect to a numeric address. link_connected() tells when it is done. */
int link_connect(struct link *l, const char *address, uint16_t port);
bool link_connected(const struct link *l);
/* -EAGAIN: LINK_CALLS_MAX are waiting for answers. -EINVAL: what is asked for cannot be encoded. */
int link_send(struct link *l, const struct link_call *call);
unsigned link_waiting(const struct link *l);
/* What to poll for. */
void link_poll(const struct link *l, struct pollfd *ret);
/* Do what can be done now. 0, -ECONNREFUSED, -ECONNRESET, -EBADMSG. */
int link_step(struct link *l, short revents);
/* Until @*flag (NULL: until it is connected) or an error; -ETIMEDOUT at @deadline_ns. For the caller's thread. */
int link_run(struct link *l, const bool *flag, uint64_t deadline_ns);

#endif
