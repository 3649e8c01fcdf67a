/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * libwfs against a server that answers what it likes: each reply has the right number and any contents, or is any
 * bytes. The client's calls end with a result or an error, soon after the server has gone.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/base/assert.h"
#include "core/base/sync.h"
#include "protocol/client/wfs_tree.h"
#include "protocol/rpc/record.h"
#include "protocol/rpc/rpc_msg.h"
#include "protocol/wfs_compound.h"
#include "protocol/xdr/xdr.h"
#include "tests/fuzz/take.h"

#define CALL_BYTES_MAX 131072u
#define REPLY_BYTES_MAX 131072u
#define PATIENCE_US 5000
#define FILE_BYTES (UINT64_C(1) << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct server {
	int listen_fd;
	struct rd input;
	uint8_t *call;
	uint8_t *reply;
};

static bool receive(int fd, uint8_t *to, size_t len)
{
	while (len) {
		ssize_t n = recv(fd, to, len, 0);

		if (n <= 0)
			return false;
		to += n;
		len -= (size_t)n;
	}
	return true;
}

/* A result for each operation of a compound, whose arguments @r stands at. */
static void put_good_compound(struct wr *w, struct rd *r)
{
	static const uint8_t bytes[64];
	struct wfsp_compound_args args;
	struct wfsp_dirent entry = { .cookie = 9, .type = 1, .name = { (const uint8_t *)"abc", 3 }, .has_attr = true };
	struct wfsp_counter counter = { "reads", 3 };

	wfsp_get_compound_args(r, &args);
	wr_be32(w, args.op_count);
	for (uint32_t i = 0; i < args.op_count && !r->bad; i++) {
		uint8_t items[512];
		struct wr to = wr_init(items, sizeof(items));
		struct wfsp_op op;
		struct wfsp_op_res res = { .handle = { bytes, 44 },
			                   .path = { (const uint8_t *)"a/b", 3 },
			                   .eof = true };

		wfsp_get_op(r, &op);
		res.code = op.code;
		res.data = (struct wfsp_bytes){ bytes, op.max_bytes < sizeof(bytes) ? op.max_bytes : sizeof(bytes) };
		res.item_count = 1;
		if (op.code == WFSP_OP_READDIR)
			wfsp_put_dirent(&to, &entry);
		else if (op.code == WFSP_OP_STATISTICS)
			wfsp_put_counter(&to, &counter);
		else
			xdr_put_opaque(&to, "user.x", 6);
		res.items = (struct wfsp_bytes){ items, (uint32_t)to.pos };
		wfsp_put_op_res(w, &res);
	}
}

/* What a good server would say. */
static void put_good(struct wr *w, uint32_t procedure, struct rd *args)
{
	struct wfsp_hello_ok hello = {
		.boot_id = 5, .payload_max_bytes = 65536, .requests_max = 8, .server_name = "s"
	};
	struct wfsp_open_ok open = { .handle = 3,
		                     .attr = { .fsid = 1, .fileid = 2, .size_bytes = FILE_BYTES },
		                     .block_min_bytes = 1,
		                     .block_preferred_bytes = 4096,
		                     .block_max_bytes = 65536,
		                     .name = "mem" };

	switch (procedure) {
	case WFSP_HELLO:
		wfsp_put_hello_ok(w, &hello);
		break;
	case WFSP_OPEN:
		wfsp_put_open_ok(w, &open);
		break;
	case WFSP_STAT:
		wfsp_put_attr(w, &open.attr);
		break;
	case WFSP_READ:
		wr_be32(w, 8192);
		wr_zero(w, 8192);
		break;
	case WFSP_COMPOUND:
		put_good_compound(w, args);
		break;
	default:
		wr_zero(w, 8);
	}
}

/* How much of the reply is right: all of it, up to the results, nothing. */
static size_t make_reply(struct server *s, uint32_t xid, uint32_t procedure, struct rd *args)
{
	struct wr w = wr_init(s->reply, REPLY_BYTES_MAX);
	unsigned how = (unsigned)take(&s->input, 1), changes;
	size_t n;

	wr_zero(&w, RECORD_MARK_BYTES);
	if (how & 7) {
		rpc_put_reply(&w, xid, RPC_SUCCESS);
		wr_be32(&w, how & 64 ? (uint32_t)take(&s->input, 1) : WFSP_OK);
	}
	if (how & 1) {
		put_good(&w, procedure, args);
	} else {
		n = take(&s->input, 1);
		n = n < rd_left(&s->input) ? n : rd_left(&s->input);
		wr_copy(&w, rd_bytes(&s->input, n), n);
	}
	always(!w.bad);
	put_be32(w.base, record_mark(w.pos - RECORD_MARK_BYTES));
	for (changes = how >> 3 & 3; changes; changes--) {
		size_t at = take(&s->input, 2) % w.pos;

		w.base[at] = (uint8_t)take(&s->input, 1);
	}
	return w.pos;
}

/* Until the input ends. */
static void serve_one(struct server *s, int fd)
{
	while (rd_left(&s->input)) {
		struct rd r;
		struct rpc_call call;
		uint32_t len;
		size_t reply_len;

		if (!receive(fd, s->call, RECORD_MARK_BYTES))
			return;
		len = get_be32(s->call) & ~RECORD_LAST_FRAGMENT;
		always(len <= CALL_BYTES_MAX);
		if (!receive(fd, s->call, len))
			return;
		r = rd_init(s->call, len);
		always(rpc_get_call(&r, &call) == 0);
		reply_len = make_reply(s, call.xid, call.procedure, &r);
		if (send(fd, s->reply, reply_len, MSG_NOSIGNAL) < 0)
			return;
	}
}

static void server_main(void *arg)
{
	struct server *s = arg;

	while (rd_left(&s->input)) {
		/* A client that waits for the rest of a reply hears no more of it. */
		struct timeval patience = { .tv_usec = PATIENCE_US };
		int fd = accept(s->listen_fd, NULL, NULL);

		if (fd < 0)
			break;
		always(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) == 0);
		serve_one(s, fd);
		close(fd);
	}
	shutdown(s->listen_fd, SHUT_RDWR);
	close(s->listen_fd);
}

static int ignore_export(void *ctx, const struct wfs_export_info *info)
{
	*(size_t *)ctx += strlen(info->name) + strlen(info->description);
	return 0;
}

static void ignore_counter(void *ctx, const char *name, uint64_t value)
{
	*(size_t *)ctx += strlen(name) + (value != 0);
}

static void use_file(struct wfs *w)
{
	static uint8_t buf[8192];
	struct wfs_extent extents[8];
	struct wfs_file_info info;
	struct wfs_file *f;
	struct wfs_stat st;
	unsigned count;

	if (wfs_open(w, "", WFS_OPEN_WRITE, &f))
		return;
	wfs_get_info(f, &info);
	(void)wfs_stat(f, &st);
	(void)wfs_pread(f, buf, sizeof(buf), 0);
	(void)wfs_pwrite(f, buf, sizeof(buf), 4096, 0);
	if (!wfs_extents(f, 0, FILE_BYTES, 0, extents, 8, &count)) {
		always(count >= 1 && count <= 8);
		for (unsigned i = 0; i < count; i++)
			always(extents[i].len_bytes && extents[i].offset + extents[i].len_bytes <= FILE_BYTES);
	}
	(void)wfs_flush(f);
	(void)wfs_zero(f, 0, 4096, WFS_FUA);
	(void)wfs_discard(f, 0, 4096, 0);
	(void)wfs_prefetch(f, 0, 4096);
	(void)wfs_pread(f, buf, 1, 1);
	wfs_close(f);
}

static int ignore_entry(void *ctx, const struct wfs_dirent *e)
{
	for (size_t i = 0; i < e->name_len; i++)
		*(size_t *)ctx += (uint8_t)e->name[i];
	*(size_t *)ctx += e->attr ? e->attr->mode : 0;
	*(size_t *)ctx += e->fh ? e->fh->bytes[0] : 0;
	return *(size_t *)ctx % 7 != 0;
}

static void ignore_name(void *ctx, const char *name, size_t len)
{
	*(size_t *)ctx += strnlen(name, len);
}

static void use_tree(struct wfs *w)
{
	static char target[WFS_PATH_BYTES_MAX + 1], buf[300];
	struct wfs_attr attr;
	struct wfs_fh fh = { .len_bytes = 3 };
	struct wfs_batch *b;
	struct wfs_file *f;
	size_t sum = 0, len, len2;
	unsigned done = 0;
	int eof;

	(void)wfs_attach(w, NULL, "", &fh, &attr);
	always(fh.len_bytes >= 1 && fh.len_bytes <= WFS_FH_BYTES_MAX);
	(void)wfs_readdir(w, NULL, &fh, 0, WFS_READDIR_ATTR | WFS_READDIR_FH, 0, ignore_entry, &sum, &eof);
	(void)wfs_list_xattr(w, NULL, &fh, ignore_name, &sum);
	if (!wfs_read_link(w, NULL, &fh, target))
		always(strlen(target) <= WFS_PATH_BYTES_MAX);
	always(wfs_batch_new(w, &b) == 0);
	wfs_batch_put(b, &fh);
	wfs_batch_read(b, buf, 100, 0, &len);
	wfs_batch_get_xattr(b, "user.x", buf + 100, 50, &len2);
	wfs_batch_get_file(b, buf + 150, 150, &len, &attr, &eof);
	(void)wfs_batch_run(b, NULL, &done);
	always(done <= 4);
	wfs_batch_free(b);
	if (!wfs_create(w, NULL, &fh, "x", 0644, 0, WFS_ACCESS_READ, &f, NULL, NULL, NULL)) {
		if (!wfs_pread_some(f, buf, sizeof(buf), 0, &len))
			always(len <= sizeof(buf));
		wfs_close(f);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t call[CALL_BYTES_MAX], reply[REPLY_BYTES_MAX];
	struct server s = { .input = rd_init(data, size), .call = call, .reply = reply };
	struct wfs_options options = { .timeout_ms = 1 };
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	struct sync_thread thread;
	socklen_t sun_len;
	char address[sizeof(sun.sun_path) + 8];
	size_t sum = 0;
	struct wfs *w;

	if (!size)
		return 0;
	snprintf(sun.sun_path, sizeof(sun.sun_path), "/tmp/wfsd-client-fuzz-%d", (int)getpid());
	(void)unlink(sun.sun_path);
	sun_len = sizeof(sun);
	s.listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	always(s.listen_fd >= 0 && bind(s.listen_fd, (struct sockaddr *)&sun, sun_len) == 0);
	always(listen(s.listen_fd, 16) == 0);
	always(sync_thread_start(&thread, "server", server_main, &s) == 0);
	snprintf(address, sizeof(address), "unix:%s", sun.sun_path);
	if (!wfs_connect(address, &options, &w)) {
		use_file(w);
		(void)wfs_list_exports(w, ignore_export, &sum);
		(void)wfs_statistics(w, ignore_counter, &sum);
		use_tree(w);
		wfs_disconnect(w);
	}
	/* It may still wait for somebody. */
	shutdown(s.listen_fd, SHUT_RDWR);
	sync_thread_join(&thread);
	(void)unlink(sun.sun_path);
	return 0;
}
