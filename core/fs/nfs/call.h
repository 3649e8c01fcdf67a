/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Calls to the server: queued to one of the connections' threads, and waited for. The thread that owns a connection
 * ends each of its calls: with a result, an error, or at its deadline; so whoever waits needs no clock.
 */
#ifndef WFSD_CORE_FS_NFS_CALL_H
#define WFSD_CORE_FS_NFS_CALL_H

#include <urcu/list.h>

#include "core/base/sync.h"
#include "core/fs/nfs/reply.h"

struct nfs_net;

/* Calls that are waited for together. */
struct nfs_batch {
	struct sync_mutex lock;
	struct sync_cond cond;
	unsigned pending;
};
void nfs_batch_init(struct nfs_batch *b);
void nfs_batch_wait(struct nfs_batch *b);
void nfs_batch_done(struct nfs_batch *b);

struct nfs_call {
	enum nfs_proc proc;
	void *args; /* libnfs's structure for @proc; stays until the call has ended */
	/* Copies what is wanted out of a result whose status is OK. In the connection's thread; 0 or a negative errno,
	 * which ends the call. NULL: nothing is wanted. */
	int (*take)(void *ctx, const void *res);
	void *ctx;
	bool once; /* it must not be repeated */
	bool probe; /* it is made also while the server does not answer, to see whether it does again */
	/* READ and WRITE: memory in pages of 4096 bytes, NULL for those that nobody wants; the calls' bytes begin with
	 * the first one. @done_bytes: how much of it is done; the rest is asked for again. */
	void *const *pages;
	uint64_t offset;
	uint32_t len_bytes, done_bytes;
	bool eof;

	int rc; /* the result */

	/* Private. */
	struct nfs_batch *batch;
	struct nfs_conn *conn;
	uint64_t deadline_ns, not_before_ns;
	struct cds_list_head link;
};

/* Begin a call. It ends with @c->rc, and is then the caller's again. */
void nfs_call_start(struct nfs_net *net, struct nfs_batch *b, struct nfs_call *c);
/* One call, to its end. Its error, with context. Blocks. */
int nfs_call_run(struct nfs_net *net, struct nfs_call *c);

/* nfsstat3 (RFC 1813, 2.6) as a negative errno; 0 for NFS3_OK. */
int nfs_status_errno(uint32_t status);

/* The connections to one server. */
struct nfs_net_config {
	char address[64]; /* numeric */
	uint16_t port;
	uint32_t uid, gid;
	unsigned connections, timeout_ms;
	/* The server does not answer any more; all calls fail at once from now on, until one with @probe is answered.
	 * In a connection's thread, without locks. */
	void (*on_down)(void *ctx);
	void *ctx;
};
struct nfs_net_stats {
	uint64_t calls, read_bytes, written_bytes, repeated, timed_out, connects, bad_replies;
	bool down;
};
int nfs_net_new(const struct nfs_net_config *config, struct nfs_net **ret);
/* No call is under way. NULL is fine. */
void nfs_net_free(struct nfs_net *net);
/* All calls end with -ESTALE from now on. */
void nfs_net_kill(struct nfs_net *net);
void nfs_net_get_stats(const struct nfs_net *net, struct nfs_net_stats *ret);

#endif
