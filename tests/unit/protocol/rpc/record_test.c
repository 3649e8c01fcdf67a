/* SPDX-License-Identifier: BSD-3-Clause */
/* Cutting a stream into records, however it arrives. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/bytes.h"
#include "protocol/rpc/record.h"

#define WINDOW_BYTES 4096u
#define STREAM_BYTES (256u << 10)

struct stream {
	uint8_t *bytes;
	size_t len;
	size_t at;
};

static void stream_add(struct stream *s, const uint8_t *data, size_t len, size_t fragment_bytes)
{
	size_t done = 0;

	do {
		size_t n = len - done < fragment_bytes ? len - done : fragment_bytes;

		put_be32(s->bytes + s->len, (uint32_t)n | (done + n == len ? RECORD_LAST_FRAGMENT : 0));
		memcpy(s->bytes + s->len + 4, data + done, n);
		s->len += 4 + n;
		done += n;
	} while (done < len);
}

/* Let at most @step bytes of the stream arrive. */
static void arrive(struct record_rx *rx, struct stream *s, size_t step)
{
	size_t room;
	void *to = record_rx_room(rx, &room);
	size_t n = s->len - s->at;

	if (n > step)
		n = step;
	if (n > room)
		n = room;
	assert_true(n > 0);
	memcpy(to, s->bytes + s->at, n);
	record_rx_added(rx, n);
	s->at += n;
}

/* Take the next record from the stream; the rest of a long one is taken directly, as its receiver would. */
static size_t take(struct record_rx *rx, struct stream *s, size_t step, uint8_t *out)
{
	for (;;) {
		enum record_state state;
		const uint8_t *record;
		size_t avail, len;

		assert_int_equal(record_rx_next(rx, &state, &record, &avail, &len), 0);
		if (state == RECORD_WHOLE) {
			assert_int_equal(avail, len);
			memcpy(out, record, len);
			record_rx_consume(rx);
			return len;
		}
		if (state == RECORD_HEAD && len > WINDOW_BYTES / 2) {
			assert_true(avail >= RECORD_HEAD_BYTES);
			memcpy(out, record, avail);
			/* The last three bytes are padding to the receiver. */
			record_rx_consume_head(rx, 3);
			if (len - avail > 3) {
				memcpy(out + avail, s->bytes + s->at, len - avail - 3);
				s->at += len - avail - 3;
			}
			return len;
		}
		arrive(rx, s, step);
	}
}

static void test_records_come_out_whole_whatever_the_pieces(void **state)
{
	static const size_t lens[] = {
		0, 1, 3, 4, 40, 1023, 1024, 1025, 2040, 2048, 2052, 4088, 4092, 4096, 9000, 70000
	};
	static const size_t steps[] = { 1, 2, 3, 5, 64, 1000, 4096, 100000 };
	uint8_t *data = malloc(100000), *out = malloc(100000), *window = malloc(WINDOW_BYTES);
	struct stream s = { .bytes = malloc(STREAM_BYTES) };

	(void)state;
	for (size_t k = 0; k < sizeof(steps) / sizeof(steps[0]); k++) {
		struct record_rx rx;

		s.len = s.at = 0;
		for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
			memset(data, (int)i + 1, lens[i]);
			stream_add(&s, data, lens[i], i % 3 == 2 ? 700 : SIZE_MAX);
		}
		record_rx_init(&rx, window, WINDOW_BYTES);
		for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
			memset(data, (int)i + 1, lens[i]);
			assert_int_equal(take(&rx, &s, steps[k], out), lens[i]);
			assert_memory_equal(out, data, lens[i] > 3 ? lens[i] - 3 : 0);
		}
		while (s.at < s.len) {
			enum record_state more;
			const uint8_t *record;
			size_t avail, len;

			arrive(&rx, &s, steps[k]);
			assert_int_equal(record_rx_next(&rx, &more, &record, &avail, &len), 0);
			assert_int_equal(more, RECORD_MORE);
		}
		assert_false(record_rx_partial(&rx));
		record_rx_done(&rx);
	}
	free(data);
	free(out);
	free(window);
	free(s.bytes);
}

/* What record_rx_next() answers to these bytes. */
static int judge(const uint8_t *bytes, size_t len)
{
	uint8_t window[WINDOW_BYTES];
	enum record_state state;
	const uint8_t *record;
	struct record_rx rx;
	size_t room, avail, n;
	int err;

	record_rx_init(&rx, window, sizeof(window));
	memcpy(record_rx_room(&rx, &room), bytes, len);
	record_rx_added(&rx, len);
	err = record_rx_next(&rx, &state, &record, &avail, &n);
	record_rx_done(&rx);
	return err;
}

static void test_oversized_and_empty_fragments_are_refused(void **state)
{
	uint8_t buf[16] = { 0 };

	(void)state;
	put_be32(buf, RECORD_LAST_FRAGMENT | (RECORD_BYTES_MAX + 1));
	assert_int_equal(judge(buf, 4), -EBADMSG);
	put_be32(buf, RECORD_LAST_FRAGMENT | RECORD_BYTES_MAX);
	assert_int_equal(judge(buf, 4), 0);
	put_be32(buf, 0);
	assert_int_equal(judge(buf, 4), -EBADMSG);
	put_be32(buf, RECORD_BYTES_MAX + 1);
	assert_int_equal(judge(buf, 4), -EBADMSG);
	put_be32(buf, 4);
	put_be32(buf + 8, RECORD_LAST_FRAGMENT | (RECORD_BYTES_MAX - 3));
	assert_int_equal(judge(buf, 12), -EBADMSG);
	put_be32(buf + 8, RECORD_LAST_FRAGMENT | (RECORD_BYTES_MAX - 4));
	assert_int_equal(judge(buf, 12), 0);
}

static void test_fragments_without_end_are_refused(void **state)
{
	uint8_t window[WINDOW_BYTES], piece[5] = { 0, 0, 0, 1, 'x' };
	enum record_state what;
	const uint8_t *record;
	struct record_rx rx;
	size_t room, avail, len;
	int err = 0;

	(void)state;
	record_rx_init(&rx, window, sizeof(window));
	for (unsigned i = 0; i < 2 * RECORD_FRAGMENTS_MAX && !err; i++) {
		memcpy(record_rx_room(&rx, &room), piece, sizeof(piece));
		record_rx_added(&rx, sizeof(piece));
		err = record_rx_next(&rx, &what, &record, &avail, &len);
	}
	assert_int_equal(err, -EBADMSG);
	assert_true(record_rx_join_bytes(&rx) <= 2 * RECORD_FRAGMENTS_MAX);
	record_rx_done(&rx);
}

static void test_a_claimed_length_costs_no_memory(void **state)
{
	uint8_t window[WINDOW_BYTES], mark[8];
	enum record_state what;
	const uint8_t *record;
	struct record_rx rx;
	size_t room, avail, len;

	(void)state;
	put_be32(mark, 30u << 20);
	put_be32(mark + 4, 0);
	record_rx_init(&rx, window, sizeof(window));
	memcpy(record_rx_room(&rx, &room), mark, sizeof(mark));
	record_rx_added(&rx, sizeof(mark));
	assert_int_equal(record_rx_next(&rx, &what, &record, &avail, &len), 0);
	assert_int_equal(what, RECORD_MORE);
	assert_true(record_rx_join_bytes(&rx) <= 4096);
	assert_true(record_rx_partial(&rx));
	record_rx_done(&rx);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_records_come_out_whole_whatever_the_pieces),
		cmocka_unit_test(test_oversized_and_empty_fragments_are_refused),
		cmocka_unit_test(test_fragments_without_end_are_refused),
		cmocka_unit_test(test_a_claimed_length_costs_no_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
