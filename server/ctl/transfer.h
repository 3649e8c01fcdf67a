/* SPDX-License-Identifier: BSD-3-Clause */
/* What put, get and cp share: a running copy of files, its progress, its batch of small ones. One thread. */
#ifndef WFSD_SERVER_CTL_TRANSFER_H
#define WFSD_SERVER_CTL_TRANSFER_H

#include "server/ctl/progress.h"
#include "server/ctl/remote.h"

#define TRANSFER_SMALL_BYTES (64u << 10) /* files up to this go in batches */
#define TRANSFER_BATCH_BYTES (1u << 20) /* of data in one */
#define TRANSFER_BATCH_FILES 40u /* in one */
#define TRANSFER_CHUNK_BYTES (1u << 20) /* of larger files, at once */
#define TRANSFER_DEPTH_MAX 500u /* of directories in each other */

struct transfer {
	struct wfs *w;
	struct wfs_batch *batch;
	uint8_t *chunk; /* TRANSFER_CHUNK_BYTES */
	struct progress progress;
	uint64_t file_count, bytes; /* done */
	bool failed; /* something was left out, and said so */
	bool gone; /* for want of a server: nothing more is tried, which would take as long with each file */
	struct wfs_attr
	        copy; /* cp: of the directory that is made at the top, which may lie in the one that is copied */
};

int transfer_init(struct transfer *t, struct wfs *w, const char *what);
void transfer_done(struct transfer *t);
/* Another file, or part of one. */
void transfer_add(struct transfer *t, uint64_t files, uint64_t bytes);
/*
 * The next range of a file on the server that has data, from *@at on: holes are left out, so that they stay holes.
 * *@at == *@end at the end of the file.
 */
int transfer_next_data(struct transfer *t, const struct remote_entry *e, uint64_t *at, uint64_t *end);
/* One line about something that is left out; the rest goes on. */
void transfer_skip(struct transfer *t, const char *path, const char *why);
/* The same with the error of libwfs. */
void transfer_skip_err(struct transfer *t, const char *path);

#endif
