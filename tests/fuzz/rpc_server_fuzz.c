/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A real RPC server on a file in memory, and a client that sends what it likes: well-formed calls of all procedures
 * with any arguments, headers with any body, and any bytes. The server answers or hangs up, and serves the next one.
 */
#include "tests/fuzz/take.h"
#include "tests/unit/server/rpc/fixture.h"

#include "core/base/assert.h"
#include "core/base/log.h"

#define MESSAGES_MAX 24u
#define MESSAGE_BYTES_MAX 70000u
#define WAIT_MS 20000

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

static struct fixture *server;

/* At the end of the process. */
static void remove_dir(void)
{
	(void)unlink(server->path);
	(void)rmdir(server->dir);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	void *state = NULL;

	(void)argc;
	(void)argv;
	log_set_level((enum log_level)0);
	always(fixture_setup(&state) == 0);
	server = state;
	always(atexit(remove_dir) == 0);
	return 0;
}

static uint64_t take_number(struct rd *r)
{
	uint64_t v = take(r, 1);

	switch (v % 5) {
	case 0:
		return take(r, 8);
	case 1:
		return take(r, 2) * 512;
	case 2:
		return FILE_BYTES + take(r, 1) - 128;
	case 3:
		return UINT64_MAX - take(r, 1);
	default:
		return take(r, 2);
	}
}

static void put_any(struct rd *r, struct wr *w)
{
	size_t n = take(r, 1);

	if (n > rd_left(r))
		n = rd_left(r);
	wr_copy(w, rd_bytes(r, n), n);
}

static void put_text(struct rd *r, struct wr *w)
{
	static const char *const texts[] = { "", "mem", "ro", "x" };

	xdr_put_string(w, texts[take(r, 1) % 4]);
}

/* The arguments that the procedure wants, with any values. */
static void put_args(struct rd *r, struct wr *w, uint32_t procedure, uint64_t handle)
{
	struct wfsp_read_args ra = { handle, take_number(r), (uint32_t)take_number(r) };
	struct wfsp_write_args wa = { .handle = handle, .offset = ra.offset, .len_bytes = ra.len_bytes };
	struct wfsp_range_args range = { .handle = handle, .offset = ra.offset, .len_bytes = take_number(r) };
	static const uint8_t payload[65536];

	switch (procedure) {
	case WFSP_READ:
		ra.len_bytes %= 1u << 20;
		wfsp_put_read_args(w, &ra);
		break;
	case WFSP_WRITE:
		wa.stable = take(r, 1) & 1;
		wa.len_bytes %= sizeof(payload);
		wfsp_put_write_args(w, &wa);
		xdr_put_fixed(w, payload, take(r, 1) % 8 ? wa.len_bytes : take(r, 2));
		break;
	case WFSP_DISCARD:
	case WFSP_ZERO:
	case WFSP_EXTENTS:
	case WFSP_CACHE:
		range.flags = (uint32_t)take(r, 1);
		wfsp_put_range_args(w, &range);
		break;
	case WFSP_LIST_EXPORTS:
		put_text(r, w);
		break;
	case WFSP_OPEN:
		put_text(r, w);
		wr_be32(w, (uint32_t)take(r, 1) & 1);
		break;
	case WFSP_STAT:
	case WFSP_FLUSH:
	case WFSP_CLOSE:
		wr_be64(w, handle);
		break;
	default:
		put_any(r, w);
	}
}

static void send_message(struct rd *r, int fd, uint8_t *buf, uint64_t handle, uint32_t xid)
{
	unsigned how = (unsigned)take(r, 1);
	uint32_t procedure = (uint32_t)take(r, 1) % (WFSP_PROCEDURES + 2);
	struct wr w = raw_call(buf, MESSAGE_BYTES_MAX, xid, procedure);

	if (how % 8 == 0) {
		w.pos = 0;
		put_any(r, &w);
	} else if (how % 8 == 1) {
		put_any(r, &w);
	} else {
		put_args(r, &w, procedure, how & 8 ? handle : take_number(r));
	}
	if (w.bad)
		return;
	if (how % 8)
		put_be32(w.base, record_mark(w.pos - RECORD_MARK_BYTES));
	/* Some of the header wrong, too. */
	if (how & 16 && w.pos)
		w.base[take(r, 1) % w.pos] ^= (uint8_t)take(r, 1);
	raw_send(fd, w.base, w.pos);
}

/* Whatever comes, until the server hangs up. */
static void drain(int fd)
{
	static uint8_t buf[65536];

	for (;;) {
		struct pollfd p = { .fd = fd, .events = POLLIN };

		/* A signal may come between. */
		int ready = poll(&p, 1, WAIT_MS);

		if (ready < 0 && errno == EINTR)
			continue;
		always(ready > 0);
		if (recv(fd, buf, sizeof(buf), 0) <= 0)
			return;
	}
}

/* Without taking answers a client may stop the server's sending, and so its own. */
static void drain_some(int fd)
{
	static uint8_t buf[65536];

	while (recv(fd, buf, sizeof(buf), MSG_DONTWAIT) > 0)
		;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t buf[MESSAGE_BYTES_MAX];
	struct rd r = rd_init(data, size);
	int fd = raw_connect(server);
	uint64_t handle = raw_open(fd);

	for (unsigned i = 0; i < MESSAGES_MAX && rd_left(&r); i++) {
		send_message(&r, fd, buf, handle, i);
		drain_some(fd);
	}
	shutdown(fd, SHUT_WR);
	drain(fd);
	close(fd);
	/* Leaks are looked for between inputs. */
	while (rpc_server_connections(server->server))
		sync_sleep_ns(SYNC_NS_PER_MS / 20);
	return 0;
}
