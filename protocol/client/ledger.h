/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * libwfs: which changes of an object the server has acknowledged without their being durable, and how often it lost
 * some. The open files of one object may share a ledger; then each of them is told of a loss once, as by Linux's
 * errseq_t (Documentation/core-api/errseq.rst): a loss counts on only when somebody was told of the one before, and who
 * opens the object after a loss is told of it, too, unless somebody else was told before.
 */
#ifndef WFSD_PROTOCOL_CLIENT_LEDGER_H
#define WFSD_PROTOCOL_CLIENT_LEDGER_H

#include <stdbool.h>

#include "core/base/sync.h"
#include "protocol/client/wfs_tree.h"

struct wfs_ledger {
	struct sync_mutex lock;
	/*
	 * @boot is the server's life that the object lives in; 0: none is known yet. Acknowledged, unflushed changes of
	 * an earlier life that did not end with everything durable are a loss.
	 */
	uint64_t boot SYNC_GUARDED_BY(lock);
	uint64_t durable_boot SYNC_GUARDED_BY(lock); /* the life before, when it did end so */
	uint64_t writes SYNC_GUARDED_BY(lock); /* acknowledged without FUA, ever */
	uint64_t flushed SYNC_GUARDED_BY(lock); /* of these, covered by a flush */
	uint64_t losses SYNC_GUARDED_BY(lock);
	uint64_t told SYNC_GUARDED_BY(lock); /* the last loss that somebody was told of */
	unsigned refs SYNC_GUARDED_BY(lock); /* of one that wfs_ledger_new() made */
};

/* One that is not shared, in the caller's memory. */
void wfs_ledger_init(struct wfs_ledger *l);
void wfs_ledger_done(struct wfs_ledger *l);
struct wfs_ledger *wfs_ledger_ref(struct wfs_ledger *l);

uint64_t wfs_ledger_boot(struct wfs_ledger *l);
/*
 * The object, which lived in the life @from, lives in @boot. @durable: that one ended with everything durable. @doubt:
 * even when it did not, and nothing is known to be lost, others may have lost something that a flush here has to answer
 * for. False: another file has moved it to a third life meanwhile, and nothing was done.
 */
bool wfs_ledger_move(struct wfs_ledger *l, uint64_t from, uint64_t boot, bool durable, bool doubt);
/* A change was acknowledged by that life of the server. */
void wfs_ledger_wrote(struct wfs_ledger *l, uint64_t boot);
/* One that began in the life @begin (0: in none) was acknowledged, and the object lives in the present again. */
void wfs_ledger_changed(struct wfs_ledger *l, uint64_t begin);
/* What a flush that is sent now covers. */
uint64_t wfs_ledger_writes(struct wfs_ledger *l);
/* It succeeded. *seen is the last loss that the file was told of. True: it is to be told of one now. */
bool wfs_ledger_flushed(struct wfs_ledger *l, uint64_t writes, uint64_t *seen);

#endif
