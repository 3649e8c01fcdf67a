/* SPDX-License-Identifier: BSD-3-Clause */
/* Cuts a byte stream into records. */
#include "protocol/rpc/record.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/assert.h"
#include "core/base/bytes.h"
#include "core/base/err.h"

#define JOIN_BYTES_MIN 4096u

void record_rx_init(struct record_rx *rx, void *window, size_t window_bytes)
{
	always(window_bytes >= RECORD_HEAD_BYTES + RECORD_MARK_BYTES);
	*rx = (struct record_rx){ .window = window, .window_bytes = window_bytes };
}

static void join_reset(struct record_rx *rx)
{
	free(rx->join);
	rx->join = NULL;
	rx->join_len = rx->join_size = rx->join_fragment_left = 0;
	rx->join_fragments = 0;
	rx->joining = rx->join_last = rx->join_done = false;
}

void record_rx_done(struct record_rx *rx)
{
	join_reset(rx);
}

void *record_rx_room(struct record_rx *rx, size_t *ret_len)
{
	if (rx->start == rx->end)
		rx->start = rx->end = 0;
	/* Moving is rare: only what is left of an incomplete record, and only when half of the window is used up. */
	if (rx->start && rx->window_bytes - rx->end < rx->window_bytes / 2) {
		memmove(rx->window, rx->window + rx->start, rx->end - rx->start);
		rx->end -= rx->start;
		rx->start = 0;
	}
	*ret_len = rx->window_bytes - rx->end;
	return rx->window + rx->end;
}

void record_rx_added(struct record_rx *rx, size_t len)
{
	always(len <= rx->window_bytes - rx->end);
	rx->end += len;
}

static size_t window_left(const struct record_rx *rx)
{
	return rx->end - rx->start;
}

static int join_append(struct record_rx *rx, size_t n)
{
	if (rx->join_len + n > rx->join_size) {
		size_t size = rx->join_size ? rx->join_size : JOIN_BYTES_MIN;
		uint8_t *grown;

		while (size < rx->join_len + n)
			size *= 2;
		grown = realloc(rx->join, size);
		if (!grown)
			return err_set(-ENOMEM, "no memory for an RPC record of several fragments");
		rx->join = grown;
		rx->join_size = size;
	}
	memcpy(rx->join + rx->join_len, rx->window + rx->start, n);
	rx->join_len += n;
	rx->join_fragment_left -= n;
	rx->start += n;
	return 0;
}

/* Take the next mark of a record of several fragments. */
static int join_mark(struct record_rx *rx)
{
	uint32_t mark = get_be32(rx->window + rx->start);
	size_t len = mark & ~RECORD_LAST_FRAGMENT;

	rx->start += RECORD_MARK_BYTES;
	rx->join_last = mark & RECORD_LAST_FRAGMENT;
	if (len == 0 && !rx->join_last)
		return err_set(-EBADMSG, "empty RPC fragment");
	if (++rx->join_fragments > RECORD_FRAGMENTS_MAX)
		return err_set(-EBADMSG, "RPC record of more than %u fragments", RECORD_FRAGMENTS_MAX);
	if (len > RECORD_BYTES_MAX - rx->join_len)
		return err_set(-EBADMSG, "RPC record longer than %u bytes", RECORD_BYTES_MAX);
	rx->join_fragment_left = len;
	return 0;
}

/* Move what the window holds of the record into the joined copy. */
static int join_more(struct record_rx *rx)
{
	int err = 0;

	while (!rx->join_done && !err) {
		size_t n = window_left(rx);

		if (rx->join_fragment_left) {
			if (!n)
				break;
			err = join_append(rx, n < rx->join_fragment_left ? n : rx->join_fragment_left);
		} else if (rx->join_fragments && rx->join_last) {
			rx->join_done = true;
		} else {
			if (n < RECORD_MARK_BYTES)
				break;
			err = join_mark(rx);
		}
	}
	return err;
}

static int next_joined(struct record_rx *rx, enum record_state *ret_state, const uint8_t **ret_record,
                       size_t *ret_avail, size_t *ret_len)
{
	int err = join_more(rx);

	if (err || !rx->join_done)
		return err;
	*ret_state = RECORD_WHOLE;
	*ret_record = rx->join;
	*ret_avail = *ret_len = rx->join_len;
	return 0;
}

int record_rx_next(struct record_rx *rx, enum record_state *ret_state, const uint8_t **ret_record, size_t *ret_avail,
                   size_t *ret_len)
{
	size_t n = window_left(rx);
	uint32_t mark;
	size_t len;

	*ret_state = RECORD_MORE;
	if (rx->skip) {
		size_t drop = n < rx->skip ? n : rx->skip;

		rx->start += drop;
		rx->skip -= drop;
		n -= drop;
	}
	if (rx->joining)
		return next_joined(rx, ret_state, ret_record, ret_avail, ret_len);
	if (rx->skip || n < RECORD_MARK_BYTES)
		return 0;
	mark = get_be32(rx->window + rx->start);
	len = mark & ~RECORD_LAST_FRAGMENT;
	if (!(mark & RECORD_LAST_FRAGMENT)) {
		rx->joining = true;
		return next_joined(rx, ret_state, ret_record, ret_avail, ret_len);
	}
	if (len > RECORD_BYTES_MAX)
		return err_set(-EBADMSG, "RPC record of %zu bytes, the limit is %u", len, RECORD_BYTES_MAX);
	n -= RECORD_MARK_BYTES;
	*ret_record = rx->window + rx->start + RECORD_MARK_BYTES;
	*ret_len = len;
	*ret_avail = n < len ? n : len;
	if (n >= len)
		*ret_state = RECORD_WHOLE;
	else if (n >= RECORD_HEAD_BYTES)
		*ret_state = RECORD_HEAD;
	return 0;
}

void record_rx_consume(struct record_rx *rx)
{
	size_t len;

	if (rx->joining) {
		always(rx->join_done);
		join_reset(rx);
		return;
	}
	len = get_be32(rx->window + rx->start) & ~RECORD_LAST_FRAGMENT;
	always(window_left(rx) >= RECORD_MARK_BYTES + len);
	rx->start += RECORD_MARK_BYTES + len;
}

void record_rx_consume_head(struct record_rx *rx, size_t pad)
{
	size_t left = window_left(rx) - RECORD_MARK_BYTES;
	size_t rest = (get_be32(rx->window + rx->start) & ~RECORD_LAST_FRAGMENT) - left;

	/* The window may reach into the padding already. */
	rx->skip = pad < rest ? pad : rest;
	rx->start = rx->end = 0;
}

bool record_rx_partial(const struct record_rx *rx)
{
	return rx->start != rx->end || rx->skip || rx->joining;
}

size_t record_rx_join_bytes(const struct record_rx *rx)
{
	return rx->join_size;
}
