/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The notices of the wfs protocol (wfs.x): what the server has to tell a client that it did not ask for in the moment.
 * One encode/decode pair for client and server. Names are not copied: they point into the message.
 */
#ifndef WFSD_PROTOCOL_WFS_NOTICE_H
#define WFSD_PROTOCOL_WFS_NOTICE_H

#include "protocol/wfs_compound.h"

#define WFSP_NOTICES_MAX 256u /* in one answer */

enum wfsp_notice_kind {
	WFSP_NOTICE_CHANGE = 1,
	WFSP_NOTICE_LOST = 2,
	WFSP_NOTICE_ENDED = 3,
	WFSP_NOTICE_LOCK = 4,
	WFSP_NOTICE_RECALL = 5,
	WFSP_NOTICE_BROKEN = 6,
};

#define WFSP_CHANGE_CREATED 1u
#define WFSP_CHANGE_REMOVED 2u
#define WFSP_CHANGE_MOVED_FROM 4u
#define WFSP_CHANGE_MOVED_TO 8u
#define WFSP_CHANGE_DATA 16u
#define WFSP_CHANGE_ATTR 32u

#define WFSP_LEASE_READ 1u
#define WFSP_LEASE_WRITE 2u

#define WFSP_WATCH_SUBTREE 1u
#define WFSP_WATCH_OTHERS 2u

struct wfsp_notices_args {
	uint64_t channel;
	uint64_t after;
	uint32_t wait_ms;
};

/* Of the answer: what stands before the notices. */
struct wfsp_notices_ok {
	uint64_t channel;
	uint32_t count;
};

struct wfsp_notice {
	uint64_t number;
	uint32_t kind; /* enum wfsp_notice_kind */
	uint64_t id;
	uint32_t what; /* WFSP_CHANGE_*; LOCK: a status */
	uint64_t fsid, dir, fileid;
	struct wfsp_bytes name;
};
#define WFSP_NOTICE_BYTES_MIN 52u
#define WFSP_NOTICE_BYTES_MAX (WFSP_NOTICE_BYTES_MIN + 256u)
#define WFSP_NOTICES_BYTES_MAX (16u + WFSP_NOTICES_MAX * WFSP_NOTICE_BYTES_MAX)

void wfsp_get_notices_args(struct rd *r, struct wfsp_notices_args *ret);
void wfsp_put_notices_args(struct wr *w, const struct wfsp_notices_args *v);
/* A count above WFSP_NOTICES_MAX is bad. */
void wfsp_get_notices_ok(struct rd *r, struct wfsp_notices_ok *ret);
void wfsp_put_notices_ok(struct wr *w, const struct wfsp_notices_ok *v);
void wfsp_get_notice(struct rd *r, struct wfsp_notice *ret);
void wfsp_put_notice(struct wr *w, const struct wfsp_notice *v);

#endif
