/* SPDX-License-Identifier: BSD-3-Clause */
/* Fuzz entry of the RPC decoders: records from a stream, call and reply headers, every argument and result. */
#include <stdint.h>
#include <stdlib.h>

#include "core/base/assert.h"
#include "protocol/rpc/record.h"
#include "protocol/rpc/rpc_msg.h"
#include "protocol/wfs_compound.h"
#include "protocol/xdr/xdr.h"

#define WINDOW_BYTES 4096u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define TRY(name)                                                                                                      \
	do {                                                                                                           \
		struct wfsp_##name v;                                                                                  \
		struct rd copy = r;                                                                                    \
		wfsp_get_##name(&copy, &v);                                                                            \
	} while (0)

static void decode_bodies(struct rd r)
{
	char text[WFSP_TEXT_MAX + 1];
	struct rd rest = r;

	TRY(hello_args);
	TRY(hello_ok);
	TRY(export);
	TRY(attr);
	TRY(open_args);
	TRY(open_ok);
	TRY(read_args);
	TRY(write_args);
	TRY(range_args);
	TRY(extent);
	TRY(counter);
	TRY(read_shm_args);
	TRY(write_shm_args);
	TRY(compound_args);
	TRY(op);
	TRY(op_res);
	TRY(dirent);
	TRY(node_attr);
	(void)wfsp_get_status(&rest, text);
}

static void decode_record(const uint8_t *record, size_t len)
{
	struct rd r = rd_init(record, len);
	struct rpc_call call;
	uint32_t xid;

	if (rpc_get_call(&r, &call) == 0)
		decode_bodies(r);
	r = rd_init(record, len);
	if (rpc_get_reply(&r, &xid) == 0)
		decode_bodies(r);
}

/* The first byte says in which steps the rest arrives. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t window[WINDOW_BYTES];
	struct record_rx rx;
	size_t step = size ? data[0] * 7u + 1 : 1;
	size_t at = 1;

	record_rx_init(&rx, window, sizeof(window));
	for (;;) {
		enum record_state state;
		const uint8_t *record;
		size_t avail, len, room, n;
		uint8_t *to;

		if (record_rx_next(&rx, &state, &record, &avail, &len))
			break;
		if (state != RECORD_MORE)
			decode_record(record, avail);
		if (state == RECORD_WHOLE) {
			record_rx_consume(&rx);
			continue;
		}
		if (state == RECORD_HEAD && len > WINDOW_BYTES / 2) {
			size_t rest = len - avail > xdr_pad_bytes(len) ? len - avail - xdr_pad_bytes(len) : 0;

			record_rx_consume_head(&rx, xdr_pad_bytes(len));
			if (rest > size - at)
				break;
			at += rest;
			continue;
		}
		to = record_rx_room(&rx, &room);
		always(room > 0);
		n = step < room ? step : room;
		if (at >= size)
			break;
		if (n > size - at)
			n = size - at;
		memcpy(to, data + at, n);
		record_rx_added(&rx, n);
		at += n;
	}
	record_rx_done(&rx);
	return 0;
}
