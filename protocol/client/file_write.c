/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * libwfs: writing to an open file. A long write is sent in pieces, some of them under way at the same time, so that the
 * server takes one while the next is copied to where it can see it.
 */
#include <errno.h>
#include <stdlib.h>

#include "core/base/err.h"
#include "protocol/client/file.h"

#define PIECE_BYTES (256u << 10) /* what a server takes without handing it to another thread */
#define PIECES_MAX 4u /* under way */

struct piece {
	struct wfs_call call;
	const uint8_t *from;
	uint32_t len_bytes;
	uint64_t offset;
	bool lost; /* with its connection */
};

static void put_args(struct wfs_call *call, const void *buf, uint32_t len, uint64_t offset, bool fua)
{
	struct wfsp_write_args args = { .offset = offset, .stable = fua ? WFSP_FUA : WFSP_UNSTABLE, .len_bytes = len };

	wfs_call_init(call, WFSP_WRITE);
	wfsp_put_write_args(&call->args, &args);
	call->send_payload = buf;
	call->send_len = len;
}

static int write_once(struct wfs_file *f, const void *buf, uint32_t len, uint64_t offset, bool fua)
{
	struct wfs_call call;
	uint64_t boot;
	struct rd r;
	int err;

	put_args(&call, buf, len, offset, fua);
	err = wfs_file_call(f, &call, &r, &boot);
	wfs_call_done(&call);
	if (!err && !fua)
		wfs_file_wrote(f, boot);
	return err;
}

/* A write in pieces. Those under way are a ring. */
struct ahead {
	struct wfs_file *f;
	struct wfs_conn *conn;
	uint64_t generation, handle, boot;
	struct piece pieces[PIECES_MAX];
	unsigned first, count;
	unsigned lost_count; /* then nothing more is sent */
	int err; /* likewise */
};

/* Send the next piece; returns its length. */
static uint32_t send_piece(struct ahead *a, const uint8_t *from, size_t len, uint64_t offset)
{
	struct piece *p = &a->pieces[(a->first + a->count) % PIECES_MAX];

	*p = (struct piece){ .from = from,
		             .len_bytes = len < PIECE_BYTES ? (uint32_t)len : PIECE_BYTES,
		             .offset = offset };
	put_args(&p->call, from, p->len_bytes, offset, false);
	put_be64(p->call.head + CALL_ARGS_AT, a->handle);
	if (wfs_call_send(a->conn, a->generation, &p->call) == 0) {
		a->count++;
		return p->len_bytes;
	}
	wfs_call_done(&p->call);
	p->lost = true;
	a->lost_count++;
	return p->len_bytes;
}

/* Wait for the oldest piece. */
static void take_piece(struct ahead *a)
{
	struct piece *p = &a->pieces[a->first];
	int err = wfs_call_take(a->conn, &p->call);
	struct rd r;

	if (err) {
		p->lost = true;
		a->lost_count++;
	} else {
		err = wfs_call_result(&p->call, &r);
		if (!err)
			wfs_file_wrote(a->f, a->boot);
		else if (!a->err)
			a->err = err;
	}
	wfs_call_done(&p->call);
	a->first = (a->first + 1) % PIECES_MAX;
	a->count--;
}

/* Write one piece or more of @len bytes, *ret_done: how many they are. */
static int write_ahead(struct wfs_file *f, const uint8_t *from, size_t len, uint64_t offset, size_t *ret_done)
{
	struct ahead a = { .f = f, .conn = wfs_pick_conn(f->client) };
	uint64_t deadline_ns = 0;
	size_t sent = 0;
	int err = wfs_file_ready(f, a.conn, &deadline_ns, &a.generation, &a.handle, &a.boot);

	if (err == -ENOTCONN) {
		*ret_done = PIECE_BYTES;
		return write_once(f, from, PIECE_BYTES, offset, false);
	}
	if (err)
		return err;
	do {
		while (sent < len && !a.lost_count && !a.err && a.count < PIECES_MAX)
			sent += send_piece(&a, from + sent, len - sent, offset + sent);
		if (a.count)
			take_piece(&a);
	} while (a.count || (sent < len && !a.lost_count && !a.err));
	for (unsigned i = 0; i < PIECES_MAX && a.lost_count && !a.err; i++) {
		const struct piece *p = &a.pieces[i];

		if (p->lost)
			a.err = write_once(f, p->from, p->len_bytes, p->offset, false);
	}
	*ret_done = sent;
	return a.err;
}

int wfs_pwrite(struct wfs_file *f, const void *buf, size_t len, uint64_t offset, unsigned flags)
{
	uint32_t max = f->client->payload_max_bytes;
	bool fua = (flags & WFS_FUA) || f->client->durable;
	const uint8_t *from = buf;
	int err = 0;

	if (flags & ~WFS_FUA)
		return err_set(-EINVAL, "unknown flags %#x of a write", flags);
	while (len && !err) {
		size_t n = len < max ? len : max;

		if (len > PIECE_BYTES && max >= PIECE_BYTES && !fua)
			err = write_ahead(f, from, len, offset, &n);
		else
			err = write_once(f, from, (uint32_t)n, offset, fua);
		from += n;
		len -= n;
		offset += n;
	}
	return err;
}
