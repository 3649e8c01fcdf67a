/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * libwfs: memory for long answers, from their arrival until their results are handed out. So a call under way holds
 * none, however long its answer may be, and the same memory, still in the processor's cache, serves one answer after
 * the other.
 */
#include <errno.h>
#include <stdlib.h>

#include "core/base/err.h"
#include "protocol/client/internal.h"

int wfs_reply_lend(struct wfs_conn *c, struct wfs_call *call, size_t len)
{
	size_t room = len < CLIENT_SPARE_BYTES ? CLIENT_SPARE_BYTES : len;
	uint8_t *p = NULL;

	/* An earlier attempt may have come so far. */
	wfs_reply_return(call);
	if (room == CLIENT_SPARE_BYTES) {
		sync_mutex_lock(&c->lock);
		if (c->spare_count)
			p = c->spares[--c->spare_count];
		sync_mutex_unlock(&c->lock);
	}
	if (!p)
		p = malloc(room);
	if (!p)
		return err_set(-ENOMEM, "no memory for an answer of %zu bytes", len);
	call->reply = p;
	call->reply_room = room;
	call->lender = c;
	return 0;
}

void wfs_reply_return(struct wfs_call *call)
{
	struct wfs_conn *c = call->lender;
	uint8_t *p = call->reply;

	if (!c)
		return;
	if (call->reply_room == CLIENT_SPARE_BYTES) {
		sync_mutex_lock(&c->lock);
		if (c->spare_count < CLIENT_SPARES) {
			c->spares[c->spare_count++] = p;
			p = NULL;
		}
		sync_mutex_unlock(&c->lock);
	}
	free(p);
	call->reply = NULL;
	call->lender = NULL;
}

SYNC_NO_ANALYSIS void wfs_replies_done(struct wfs_conn *c)
{
	while (c->spare_count)
		free(c->spares[--c->spare_count]);
}
