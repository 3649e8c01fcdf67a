/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A share of an NFSv3 server (RFC 1813) as a part of the namespace, through libnfs.
 *
 * Several connections carry the calls. What is read and written goes through the page cache. Other clients see what was
 * written here, and the other way round, from one's closing (or flushing) to the other's opening: an open asks the
 * server for the attributes, and drops cached pages when the file was changed meanwhile.
 *
 * Changes of names and attributes are durable when they return, as the protocol says; data after a flush. Written data
 * stays in the cache until the server has committed it under the verifier that it was written with: when the server
 * restarts in between, it is written again.
 *
 * A server that stalls makes calls fail with -ETIMEDOUT after @timeout_ms, and the next ones at once, until it answers
 * again, which is tried every second. Calls that may be repeated are, over a new connection; one that may not, and
 * whose answer was lost, is -EIO. What a server answers is checked before anything is done with it; a malformed answer
 * costs the connection.
 */
#ifndef WFSD_CORE_FS_NFS_NFS_IMPORT_H
#define WFSD_CORE_FS_NFS_NFS_IMPORT_H

#include <stdbool.h>
#include <stdint.h>

#include "core/vfs/vfs_ops.h"

struct budget_consumer;
struct cache;
struct nfs_import;

#define NFS_CONNECTIONS_MAX 8u

struct nfs_import_options {
	struct cache *cache; /* outlives the import */
	struct budget_consumer *budget; /* charged for nodes and buffers; may be NULL */
	bool read_only;
	unsigned connections; /* 1..NFS_CONNECTIONS_MAX; 0: 2 */
	unsigned timeout_ms; /* of one call; 0: 15000 */
	uint32_t uid, gid; /* in whose name calls are made, unless the address says otherwise */
	/*
	 * The last node is gone, and nothing of the import is left; @rc: what became of data that was not written yet.
	 * In the thread that gave up the node. May be NULL.
	 */
	void (*gone)(void *ctx, int rc);
	void *ctx;
};

/*
 * @url: nfs://HOST[:PORT]/EXPORT[?OPTION=VALUE&...] with the options nfsport, mountport (without them, the server's
 * port mapper is asked), uid, gid, version (3). *ret_root: for vfs_mount(), the caller's reference. -EINVAL (what is
 * wrong with @url), -ENOENT and -EACCES (of the server), -EHOSTUNREACH (no such host), -ECONNREFUSED, -ETIMEDOUT,
 * -EBADMSG, -EIO, -ENOMEM: nothing is left. Blocks.
 */
int nfs_import_open(const char *url, const struct nfs_import_options *options, struct nfs_import **ret,
                    struct vfs_node **ret_root);
/* Everything that was written before is durable when it returns 0. A node is held by the caller. Blocks. */
int nfs_import_sync(struct nfs_import *im);
/* For a forced unmount: all nodes answer -ESTALE from now on. The next nfs_import_sync() is the last: what it cannot
 * write is lost, and whoever still waits for the server is answered -ESTALE then. A node is held by the caller. */
void nfs_import_kill(struct nfs_import *im);

struct nfs_import_stats {
	uint64_t calls, read_bytes, written_bytes;
	uint64_t repeated; /* calls, over a new connection */
	uint64_t timed_out; /* calls */
	uint64_t connects, bad_replies;
	uint64_t rewritten; /* bytes, for a verifier that changed */
	bool down; /* the server does not answer */
};
void nfs_import_get_stats(const struct nfs_import *im, struct nfs_import_stats *ret);

#endif
