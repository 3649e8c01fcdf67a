/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Private to server/mount: the table and its entries.
 *
 * One change at a time (change_lock, held while devices are waited for); the list and what becomes of its entries is
 * under a lock of its own, so that listing and the end of a mount, which may come in any thread, wait for nobody.
 */
#ifndef WFSD_SERVER_MOUNT_TABLE_H
#define WFSD_SERVER_MOUNT_TABLE_H

#include <urcu/list.h>

#include "core/base/sync.h"
#include "server/mount/kind.h"
#include "server/mount/mount.h"
#include "server/mount/source.h"

struct mount {
	struct cds_list_head link; /* table->mounts, or alone */
	struct mount_table *table;
	const struct mount_kind *kind;
	struct mount_spec spec;
	struct mount_request request;
	struct source_id id;
	struct mount_fs fs;
	uint64_t number; /* ascending */
	unsigned depth; /* of images in images; 1: on a device */
	/* Under the lock of the table. */
	bool mounted;
	bool left; /* nobody uses it any more: it is not mounted, and the last handle is closed */
	bool closing; /* by the thread of the table, which gives up the root */
	bool gone;
	int gone_rc;
	unsigned refs; /* until it is gone, and of who waits for that */
};

struct mount_table {
	struct mount_config config;
	struct sync_mutex change_lock; /* before lock */
	uint64_t last_number SYNC_GUARDED_BY(change_lock);
	struct sync_mutex lock;
	struct sync_cond gone_cond;
	struct sync_cond close_cond; /* there is something to close, or the end */
	struct cds_list_head mounts SYNC_GUARDED_BY(lock); /* oldest first */
	bool ending SYNC_GUARDED_BY(lock);
	struct sync_thread closer;
};

/* mount.c */
/* The newest that stands on @path; NULL: none. */
struct mount *table_find_user(struct mount_table *t, const char *path) SYNC_REQUIRES(t->lock);

/* remove.c */
/* The thread that closes file systems. @arg is the table. */
void table_closer_run(void *arg);
/* Nobody uses the mount any more; @ctx is the struct mount. Never waits. */
void table_left(void *ctx);
/* Its file system is closed, and @rc is how that went: the device is, too, and the entry goes. */
void table_gone(void *ctx, int rc);

#endif
