/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Compounds on a file tree in memory, by a real server: operations of all kinds with any values, on handles that are
 * right, altered or missing, in slots or without; some messages with bytes altered. What comes back must be sound.
 */
#include "tests/fuzz/take.h"
#include "tests/unit/server/rpc/tree_fixture.h"

#include "core/base/assert.h"
#include "core/base/log.h"
#include "protocol/wfs_compound.h"

#define COMPOUNDS_MAX 16u
#define OPS_MAX 24u
#define MESSAGE_BYTES_MAX 65536u
#define NODES_KEPT 1500u /* before the tree is begun anew */
#define FILE_MAX_BYTES ((size_t)1 << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

static struct tree_fixture *server;

static void begin_server(void)
{
	void *state = NULL;

	always(tree_setup(&state) == 0);
	server = state;
	server->tree->file_max_bytes = FILE_MAX_BYTES;
}

static void end_server(void)
{
	void *state = server;

	always(tree_teardown(&state) == 0);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	log_set_level((enum log_level)0);
	begin_server();
	always(atexit(end_server) == 0);
	return 0;
}

static uint64_t take_number(struct rd *r)
{
	switch (take(r, 1) % 5) {
	case 0:
		return take(r, 8);
	case 1:
		return UINT64_MAX - take(r, 1);
	case 2:
		return take(r, 2) * 16;
	case 3:
		return 0;
	default:
		return take(r, 1);
	}
}

static struct wfsp_bytes take_text(struct rd *r, const char *const *texts, unsigned count)
{
	const char *text = texts[take(r, 1) % count];

	return (struct wfsp_bytes){ (const uint8_t *)text, (uint32_t)strlen(text) };
}

static struct wfsp_bytes take_name(struct rd *r)
{
	static const char *const names[] = { "a", "b", "c", "sub", "..", ".", "d/e", "user.x", "tree", "below", "mem" };

	return take_text(r, names, sizeof(names) / sizeof(names[0]));
}

static struct wfsp_bytes take_handle(struct rd *r)
{
	static uint8_t altered[WFS_FH_BYTES_MAX];
	struct wfs_fh *fh = &server->root;

	if (take(r, 1) % 4)
		return (struct wfsp_bytes){ fh->bytes, fh->len_bytes };
	memcpy(altered, fh->bytes, fh->len_bytes);
	altered[take(r, 1) % fh->len_bytes] ^= (uint8_t)take(r, 1);
	return (struct wfsp_bytes){ altered, (uint32_t)(take(r, 1) % (WFSP_FH_MAX + 1)) };
}

static struct wfsp_op take_op(struct rd *r)
{
	static const char *const paths[] = { "", "a", "sub/../a", "../..", "/", "/sub/b", "a/b/c/../../x" };
	static const uint8_t payload[4096];
	struct wfsp_op op = { .code = 1 + (uint32_t)(take(r, 1) % (WFSP_OP_CODES - 1)) };

	op.flags = (uint32_t)take(r, 1) & 7;
	op.mode = (uint32_t)take(r, 2) & 01777;
	op.type = (uint32_t)take(r, 1) % 9;
	op.access = (uint32_t)take(r, 1) & 7;
	op.index = (uint32_t)take(r, 1) % (OPS_MAX + 1);
	op.max_bytes = (uint32_t)take_number(r);
	op.offset = take_number(r);
	op.new_offset = take_number(r);
	op.len_bytes = take_number(r);
	op.descriptor = take(r, 1) % 2 ? (take(r, 1) + 1) << 16 | take(r, 1) : take_number(r);
	op.change = take(r, 1);
	op.name = take_name(r);
	op.new_name = take_name(r);
	op.path = take_text(r, paths, sizeof(paths) / sizeof(paths[0]));
	op.handle = take_handle(r);
	op.data = (struct wfsp_bytes){ payload, (uint32_t)(take(r, 2) % (sizeof(payload) + 1)) };
	op.set = (struct wfsp_setattr){ .valid = (uint32_t)take(r, 2) & 0x3ff,
		                        .mode = 0755,
		                        .size_bytes = take_number(r) };
	op.lock = (struct wfsp_lock){
		.owner = take(r, 1), .type = (uint32_t)take(r, 1) % 4, .offset = op.offset, .len_bytes = op.len_bytes
	};
	return op;
}

/* False: nothing more can be sent. */
static bool send_compound(struct rd *r, int fd, uint8_t *buf, uint32_t xid)
{
	unsigned how = (unsigned)take(r, 1);
	struct wfsp_compound_args a = { .reply_max_bytes = how & 1 ? 65536 : (uint32_t)take_number(r) % 70000,
		                        .op_count = 1 + (uint32_t)(take(r, 1) % OPS_MAX) };
	struct wr w = raw_call(buf, MESSAGE_BYTES_MAX, xid, WFSP_COMPOUND);
	struct wfsp_op first = { .code = WFSP_OP_PUT, .handle = { server->root.bytes, server->root.len_bytes } };
	size_t at;

	if (how & 2) {
		a.slot = (uint32_t)take(r, 1) % (WFSP_SLOTS + 2);
		a.sequence = (uint32_t)take(r, 1) % 4;
	}
	wfsp_put_compound_args(&w, &a);
	if (how & 4)
		wfsp_put_op(&w, &first);
	for (uint32_t i = how & 4 ? 1 : 0; i < a.op_count && !w.bad; i++) {
		struct wfsp_op op = take_op(r);

		wfsp_put_op(&w, &op);
	}
	if (w.bad)
		return false;
	at = RECORD_MARK_BYTES + RPC_CALL_PLAIN_BYTES;
	if ((how & 56) == 56)
		w.base[at + take(r, 2) % (w.pos - at)] ^= (uint8_t)take(r, 1);
	raw_call_end(fd, &w);
	return true;
}

/* An answer, and every result in it, must be sound. */
static void check_answer(int fd)
{
	static uint8_t buf[WFSP_COMPOUND_MAX + 4096];
	size_t len = raw_record(fd, buf, sizeof(buf));
	struct rd r = rd_init(buf, len);
	char text[WFSP_TEXT_MAX + 1];
	struct wfsp_op_res res;
	uint32_t xid, count;

	always(len > 0);
	if (rpc_get_reply(&r, &xid) || wfsp_get_status(&r, text) != WFSP_OK)
		return;
	count = rd_be32(&r);
	always(count >= 1 && count <= WFSP_OPS_MAX);
	for (uint32_t i = 0; i < count; i++) {
		wfsp_get_op_res(&r, &res);
		always(!r.bad && (res.status == WFSP_OK || i + 1 == count));
	}
	always(rd_left(&r) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t buf[MESSAGE_BYTES_MAX];
	struct rd r = rd_init(data, size);
	int fd = raw_connect(server->f);

	raw_hello_call(fd, 1, (uint8_t)take(&r, 1));
	always(raw_record(fd, buf, sizeof(buf)) > 0);
	for (unsigned i = 0; i < COMPOUNDS_MAX && rd_left(&r); i++) {
		if (!send_compound(&r, fd, buf, i))
			break;
		check_answer(fd);
	}
	close(fd);
	/* Leaks are looked for between inputs; the fixture's own client stays. */
	while (rpc_server_connections(server->f->server) > 1)
		sync_sleep_ns(SYNC_NS_PER_MS / 20);
	if (server->tree->fs.next_object > NODES_KEPT) {
		end_server();
		begin_server();
	}
	return 0;
}
