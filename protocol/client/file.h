/* SPDX-License-Identifier: BSD-3-Clause */
/* libwfs: an open file, which outlives the handles that the server gives on each connection. */
#ifndef WFSD_PROTOCOL_CLIENT_FILE_H
#define WFSD_PROTOCOL_CLIENT_FILE_H

#include "protocol/client/batch.h"
#include "protocol/client/ledger.h"

/* The server's handle on one connection. */
struct file_slot {
	uint64_t generation; /* of the connection the handle belongs to; 0: none yet */
	uint64_t handle;
	bool opening; /* one thread is opening it */
};

struct wfs_file {
	struct wfs *client;
	unsigned flags; /* of wfs_open() */
	char *export_name; /* as asked for: the file is reopened by the resolved name below once that is known */
	/* A file of a tree is reopened by its handle, for the one who opened it. */
	bool in_tree;
	struct wfs_fh fh;
	unsigned access; /* WFS_ACCESS_* */
	bool has_cred;
	struct wfs_cred cred;
	uint32_t groups[WFS_GROUPS_MAX];
	struct sync_mutex lock;
	struct sync_cond opened;
	bool known SYNC_GUARDED_BY(lock); /* identity and information below are those of the first open */
	bool stale SYNC_GUARDED_BY(lock); /* for ever */
	struct wfsp_open_ok info SYNC_GUARDED_BY(lock);
	uint32_t attr_flags SYNC_GUARDED_BY(lock); /* WFS_FLAG_*, of the first open */
	/* What a flush must not hide: @own, or what it shares with others, and the last loss that it was told of. */
	struct wfs_ledger *ledger SYNC_GUARDED_BY(lock);
	struct wfs_ledger own;
	uint64_t seen SYNC_GUARDED_BY(lock);
	struct file_slot slots[CLIENT_CONNECTIONS_MAX] SYNC_GUARDED_BY(lock);
};

/* A file without anything known yet; to be freed with wfs_close(). */
int wfs_file_new(struct wfs *w, unsigned flags, struct wfs_file **ret);
/* Open it on any connection, so that it is known. Frees it on errors. */
int wfs_file_open(struct wfs_file *f);
/* It was opened on this connection already: take that over. */
void wfs_file_adopt(struct wfs_file *f, const struct batch_outcome *where, uint64_t descriptor,
                    const struct wfs_attr *attr);
/* file_tree.c: open a file of a tree on a connection, as OPEN does for an export; *ret_flags: its WFS_FLAG_*. */
int wfs_file_open_in_tree(struct wfs_file *f, struct wfs_conn *c, uint64_t generation, bool known,
                          struct wfsp_open_ok *ret, uint32_t *ret_flags);
void wfs_file_info_of(const struct wfs_attr *attr, uint64_t descriptor, struct wfsp_open_ok *ret);

/*
 * Run a call whose first argument is the handle, reconnecting and reopening as needed. 0: answered with success,
 * @ret_results stands at the results and *ret_boot (may be NULL) is the life of the server that answered.
 */
int wfs_file_call(struct wfs_file *f, struct wfs_call *call, struct rd *ret_results, uint64_t *ret_boot);

/*
 * Get a connection, with the file open on it: its generation, the file's handle there, and the server's life. Waits
 * until *deadline_ns (see wfs_conn_up()). -ENOTCONN: it was lost again meanwhile.
 */
int wfs_file_ready(struct wfs_file *f, struct wfs_conn *c, uint64_t *deadline_ns, uint64_t *ret_generation,
                   uint64_t *ret_handle, uint64_t *ret_boot);

/* A write without FUA was acknowledged by that life of the server. */
void wfs_file_wrote(struct wfs_file *f, uint64_t boot);

#endif
