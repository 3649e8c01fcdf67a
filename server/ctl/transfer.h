/* SPDX-License-Identifier: BSD-3-Clause */
/* What put, get, cp and rm share: how far it is, its batches, its jobs, and what it leaves out. */
#ifndef WFSD_SERVER_CTL_TRANSFER_H
#define WFSD_SERVER_CTL_TRANSFER_H

#include "server/ctl/jobs.h"
#include "server/ctl/progress.h"
#include "server/ctl/remote.h"

#define TRANSFER_SMALL_BYTES (64u << 10) /* files up to this go in batches */
#define TRANSFER_BATCH_BYTES (1u << 20) /* of data in one */
#define TRANSFER_BATCH_FILES 40u /* in one */
#define TRANSFER_CHUNK_BYTES (1u << 20) /* of larger files, at once */
#define TRANSFER_DEPTH_MAX 500u /* of directories in each other */

struct transfer {
	struct wfs *w;
	struct jobs jobs;
	struct transfer_worker {
		struct wfs_batch *batch;
		uint8_t *chunk; /* TRANSFER_CHUNK_BYTES */
	} workers[JOBS_WORKERS_MAX];
	struct sync_mutex lock;
	struct progress progress SYNC_GUARDED_BY(lock);
	uint64_t file_count, bytes SYNC_GUARDED_BY(lock); /* done */
	bool failed SYNC_GUARDED_BY(lock); /* something was left out, and said so */
	/* For want of a server: nothing more is tried, which would take as long with each file. */
	bool gone SYNC_GUARDED_BY(lock);
	struct wfs_attr
	        copy; /* cp: of the directory that is made at the top, which may lie in the one that is copied */
};

/* @workers: as jobs_init(), whose caller is that of this and of transfer_done(); all else here is for any thread. */
int transfer_init(struct transfer *t, struct wfs *w, const char *what, unsigned workers);
/* Waits for all jobs. True: nothing was left out. Also after a transfer_init() that failed, and for what is all 0. */
bool transfer_done(struct transfer *t);
/* Another file, or part of one. */
void transfer_add(struct transfer *t, uint64_t files, uint64_t bytes);
/* No server: what is not begun is not to be. */
bool transfer_is_gone(struct transfer *t);
/* Why not then; transfer_skip_err() has said so already. */
int transfer_no_server(void);
/* Is the local file @fd one of a server, by a mount? Asks no server. */
bool transfer_is_mounted(int fd);
/* And that one? Whoever truncates the one to fill it with the other loses both. */
bool transfer_is_itself(int fd, const struct wfs_attr *there);
/*
 * The next range of a file on the server that has data, from *@at on: holes are left out, so that they stay holes.
 * Whatever the server says, it is behind the last one, not empty, and within the size that @e has. When there is none,
 * *@at and *@end are that size.
 */
int transfer_next_data(struct transfer *t, const struct remote_entry *e, uint64_t *at, uint64_t *end);
/* One line about something that is left out; the rest goes on. */
void transfer_skip(struct transfer *t, const char *path, const char *why);
/* The same with the error of libwfs; that there is no server is said once. */
void transfer_skip_err(struct transfer *t, const char *path);

#endif
