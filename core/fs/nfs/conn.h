/* SPDX-License-Identifier: BSD-3-Clause */
/* Inside of call.h: connections (conn.c), each with a thread, and what they have in common (call.c). */
#ifndef WFSD_CORE_FS_NFS_CONN_H
#define WFSD_CORE_FS_NFS_CONN_H

#include "core/fs/nfs/call.h"
#include "core/fs/nfs/link.h"

#define CONN_IN_FLIGHT_MAX 16u

struct nfs_conn {
	struct nfs_net *net;
	struct sync_thread thread;
	int event; /* eventfd: there is something to do */
	struct sync_mutex lock;
	struct cds_list_head queue; /* lock */
	bool stop; /* lock */
	unsigned load; /* atomic: calls that are queued or sent */
	bool connected; /* atomic */

	/* The thread's own. */
	struct link *link;
	struct cds_list_head sent;
	uint64_t retry_ns, connect_by_ns, checked_ns;
	unsigned backoff_ms;
	uint8_t *staging; /* what a WRITE carries, in one piece; where what nobody wants of a READ goes */
};

struct nfs_net {
	struct nfs_net_config config;
	struct nfs_conn *conns;
	unsigned started;
	unsigned turn; /* atomic */
	int dead; /* atomic */
	int down; /* atomic: a call has timed out, and nothing was heard since */
	uint64_t heard_ns; /* atomic */
	struct nfs_net_stats stats; /* atomic members */
};

int nfs_conn_start(struct nfs_conn *c, struct nfs_net *net);
void nfs_conn_stop(struct nfs_conn *c);
void nfs_conn_wake(struct nfs_conn *c);
/* To the connection that has least to do. */
void nfs_net_queue(struct nfs_net *net, struct nfs_call *c);
void nfs_call_end(struct nfs_call *c, int rc);

static inline void nfs_count(uint64_t *what, uint64_t n)
{
	(void)__atomic_add_fetch(what, n, __ATOMIC_RELAXED);
}

#endif
