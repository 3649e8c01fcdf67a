/* SPDX-License-Identifier: BSD-3-Clause */
/* libwfs: the locks that a client has. */
#ifndef WFSD_PROTOCOL_CLIENT_LOCKS_H
#define WFSD_PROTOCOL_CLIENT_LOCKS_H

#include "protocol/client/batch.h"

void wfs_locks_init(struct wfs_locks *l);
void wfs_locks_done(struct wfs_locks *l);
/* The server, in that life (0: not known), has done it. With the gate held. */
void wfs_locks_note(struct wfs *w, const struct wfs_cred *cred, const struct wfs_fh *fh, const struct wfs_lock *lock,
                    uint64_t boot);
/* The server is about to be asked for that one. With the gate held. */
void wfs_locks_ask(struct wfs *w, const struct wfs_lock *lock);
/* batch_ops.c: LOCK_RECLAIM, RECLAIMED. */
int wfs_batch_reclaim(struct wfs_batch *b, const struct wfs_lock *lock);
int wfs_batch_reclaimed(struct wfs_batch *b);

#endif
