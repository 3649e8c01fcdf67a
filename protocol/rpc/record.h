/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Record marking (RFC 5531 section 11): cuts a byte stream into records. No sockets: the caller reads into the room
 * this offers and asks what there is.
 *
 * A record of one fragment (all that anybody sends) is seen in place, in the window. One that does not fit the window
 * is seen by its head: the caller takes the rest of it from the stream by itself, straight into the payload's buffer.
 * Records of several fragments are joined in memory that grows with what has really arrived.
 */
#ifndef WFSD_PROTOCOL_RPC_RECORD_H
#define WFSD_PROTOCOL_RPC_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RECORD_MARK_BYTES 4u
#define RECORD_LAST_FRAGMENT 0x80000000u
/* One record: a full payload and everything around it. */
#define RECORD_BYTES_MAX ((32u << 20) + (64u << 10))
/* Bytes of a record that hold every header and the arguments before a payload. */
#define RECORD_HEAD_BYTES 1024u
/* Fragments of one record. */
#define RECORD_FRAGMENTS_MAX 4096u

enum record_state {
	RECORD_MORE, /* nothing complete: read more */
	RECORD_WHOLE, /* *ret_avail == *ret_len */
	RECORD_HEAD, /* the first *ret_avail (>= RECORD_HEAD_BYTES) of *ret_len bytes */
};

struct record_rx {
	uint8_t *window; /* the caller's */
	size_t window_bytes;
	size_t start; /* unread bytes are [start, end) */
	size_t end;
	size_t skip; /* bytes of the stream to drop before the next mark */
	uint8_t *join; /* record of several fragments */
	size_t join_len;
	size_t join_size;
	size_t join_fragment_left;
	unsigned join_fragments;
	bool joining;
	bool join_last;
	bool join_done;
};

/* @window: RECORD_HEAD_BYTES + RECORD_MARK_BYTES at least; it stays the caller's. */
void record_rx_init(struct record_rx *rx, void *window, size_t window_bytes);
void record_rx_done(struct record_rx *rx);

/* Where the next bytes of the stream go. May move what is in the window. @ret_len > 0 after RECORD_MORE. */
void *record_rx_room(struct record_rx *rx, size_t *ret_len);
void record_rx_added(struct record_rx *rx, size_t len);

/*
 * What stands at the front of the stream. A negative errno ends the connection: -EBADMSG (oversized, too many or empty
 * fragments), -ENOMEM. *ret_record is valid until the next call on @rx except record_rx_next().
 */
int record_rx_next(struct record_rx *rx, enum record_state *ret_state, const uint8_t **ret_record, size_t *ret_avail,
                   size_t *ret_len);

/* Drop the record at the front. After RECORD_HEAD: the caller reads the rest, all but the last @pad bytes, itself. */
void record_rx_consume(struct record_rx *rx);
void record_rx_consume_head(struct record_rx *rx, size_t pad);

/* Is the stream in the middle of a record? */
bool record_rx_partial(const struct record_rx *rx);
/* Bytes held for a record of several fragments. */
size_t record_rx_join_bytes(const struct record_rx *rx);

/* The mark for a record of @len bytes in one fragment. */
static inline uint32_t record_mark(size_t len)
{
	return RECORD_LAST_FRAGMENT | (uint32_t)len;
}

#endif
