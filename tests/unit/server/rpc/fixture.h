/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A running RPC server for tests: loops, workers, a file in memory as the exports "mem" (default) and "ro", a listening
 * unix socket; and raw calls on a socket.
 */
#ifndef WFSD_TESTS_UNIT_SERVER_RPC_FIXTURE_H
#define WFSD_TESTS_UNIT_SERVER_RPC_FIXTURE_H

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/base/budget.h"
#include "core/base/metrics.h"
#include "protocol/client/wfs.h"
#include "protocol/rpc/record.h"
#include "protocol/rpc/rpc_msg.h"
#include "protocol/wfs_proto.h"
#include "protocol/xdr/xdr.h"
#include "server/export/export.h"
#include "server/loop/loop.h"
#include "server/loop/workers.h"
#include "server/net/listen.h"
#include "server/rpc/rpc_server.h"
#include "tests/unit/server/rpc/memfs.h"

#define FILE_BYTES (48u << 20)
#define STALL_MS 200
#define LOCK_KEYS_MAX 64u

struct fixture {
	struct memfs mem;
	struct vfs *vfs;
	struct export_table *exports;
	struct loop_set *loops;
	struct workers *workers;
	struct budget *budget;
	struct metrics *metrics;
	struct audit *audit; /* NULL: none; the test's */
	struct rpc_server *server;
	struct listener *listener;
	/* Who has locks, over restarts; of the test's own server only. */
	uint8_t lock_keys[LOCK_KEYS_MAX][RPC_SESSION_KEY_BYTES];
	unsigned lock_key_count, lock_puts;
	unsigned grace_s;
	int lock_put_error;
	char dir[64];
	char path[96];
	char address[112];
};

static inline void fixture_accept(void *ctx, int fd, const char *peer)
{
	struct fixture *f = ctx;

	(void)peer;
	(void)rpc_server_accept(f->server, fd);
}

static inline void fixture_each_lock_key(void *ctx, void (*fn)(void *fn_ctx, const uint8_t *key), void *fn_ctx)
{
	struct fixture *f = ctx;

	for (unsigned i = 0; i < f->lock_key_count; i++)
		fn(fn_ctx, f->lock_keys[i]);
}

static inline int fixture_put_lock_keys(void *ctx, const uint8_t *keys, unsigned count)
{
	struct fixture *f = ctx;

	if (f->lock_put_error)
		return f->lock_put_error;
	assert_true(count <= LOCK_KEYS_MAX);
	memcpy(f->lock_keys, keys, (size_t)count * RPC_SESSION_KEY_BYTES);
	f->lock_key_count = count;
	f->lock_puts++;
	return 0;
}

static inline void fixture_serve(struct fixture *f, uint64_t boot_id, const uint64_t *clean, size_t clean_count)
{
	/* The same at every start, as the daemon's is. */
	static const uint8_t secret[16] = "not that secret";
	struct rpc_lock_store store = { f, fixture_each_lock_key, fixture_put_lock_keys };
	struct rpc_server_config config = {
		.loops = f->loops,
		.workers = f->workers,
		.vfs = f->vfs,
		.exports = f->exports,
		.budget = f->budget,
		.metrics = f->metrics,
		.audit = f->audit,
		.server_name = "test",
		.boot_id = boot_id,
		.clean_boots = clean,
		.clean_boot_count = clean_count,
		.stall_ms = STALL_MS,
		.secret = secret,
		.lock_store = &store,
		.grace_s = f->grace_s,
	};
	struct listener_config listen = { .loop = loop_set_get(f->loops, 0),
		                          .name = "test",
		                          .unlink_path = f->path,
		                          .accept = fixture_accept,
		                          .ctx = f };

	assert_int_equal(rpc_server_new(&config, &f->server), 0);
	assert_int_equal(net_listen_unix(f->path, 0600, NULL, &listen.fd), 0);
	assert_int_equal(listener_new(&listen, &f->listener), 0);
}

/* Hang up on everybody and end the server, as the end of the daemon would. */
static inline void fixture_unserve(struct fixture *f)
{
	listener_free(f->listener);
	rpc_server_stop(f->server);
	rpc_server_free(f->server);
	f->listener = NULL;
	f->server = NULL;
}

static inline int fixture_setup(void **state)
{
	struct workers_config wc = { .threads = { 4, 2, 1, 1 } };
	struct export_info *info = calloc(1, sizeof(*info));
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	assert_non_null(info);
	assert_int_equal(memfs_init(&f->mem, FILE_BYTES), 0);
	f->vfs = vfs_new();
	f->exports = export_table_new(f->vfs);
	f->budget = budget_new(1u << 30);
	f->metrics = metrics_new();
	assert_int_equal(vfs_mount(f->vfs, "mem", &f->mem.node, false), 0);
	strcpy(info->name, "mem");
	strcpy(info->path, "/mem");
	strcpy(info->description, "a file in memory");
	info->is_default = true;
	assert_int_equal(export_add(f->exports, info), 0);
	strcpy(info->name, "ro");
	info->is_default = false;
	info->read_only = true;
	assert_int_equal(export_add(f->exports, info), 0);
	free(info);
	assert_int_equal(loop_set_new(2, &f->loops), 0);
	assert_int_equal(workers_new(&wc, &f->workers), 0);
	strcpy(f->dir, "/tmp/wfsd-rpc-test-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	snprintf(f->path, sizeof(f->path), "%s/sock", f->dir);
	snprintf(f->address, sizeof(f->address), "unix:%s", f->path);
	f->grace_s = 600;
	fixture_serve(f, 1000, NULL, 0);
	*state = f;
	return 0;
}

static inline int fixture_teardown(void **state)
{
	struct fixture *f = *state;

	memfs_gate(&f->mem, false);
	if (f->server)
		fixture_unserve(f);
	workers_free(f->workers);
	loop_set_free(f->loops);
	export_table_free(f->exports);
	assert_int_equal(vfs_unmount(f->vfs, "mem", true), 0);
	vfs_free(f->vfs);
	metrics_free(f->metrics);
	assert_int_equal(budget_used(f->budget), 0);
	budget_free(f->budget);
	memfs_done(&f->mem);
	unlink(f->path);
	rmdir(f->dir);
	free(f);
	return 0;
}

/* A raw connection: one end of a socket pair, the other given to the server. */
static inline int raw_connect(struct fixture *f)
{
	int fds[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
	assert_int_equal(rpc_server_accept(f->server, fds[1]), 0);
	return fds[0];
}

static inline void raw_send(int fd, const void *buf, size_t len)
{
	const uint8_t *p = buf;

	while (len) {
		ssize_t n = send(fd, p, len, MSG_NOSIGNAL);

		if (n < 0 && errno == EAGAIN) {
			struct pollfd pfd = { .fd = fd, .events = POLLOUT };

			poll(&pfd, 1, -1);
			continue;
		}
		if (n <= 0)
			return; /* the server hung up: the test looks at that */
		p += n;
		len -= (size_t)n;
	}
}

/* Exactly @len bytes; false at the end of the stream. */
static inline bool raw_receive(int fd, void *buf, size_t len)
{
	uint8_t *p = buf;

	while (len) {
		struct pollfd pfd = { .fd = fd, .events = POLLIN };
		int ready = poll(&pfd, 1, 20000);
		ssize_t n;

		if (ready < 0 && errno == EINTR)
			continue;
		assert_true(ready > 0);
		n = recv(fd, p, len, 0);
		if (n <= 0)
			return false;
		p += n;
		len -= (size_t)n;
	}
	return true;
}

static inline bool raw_closed(int fd)
{
	uint8_t byte;

	return !raw_receive(fd, &byte, 1);
}

/* One record into @buf; its length, or 0 at the end of the stream. */
static inline size_t raw_record(int fd, void *buf, size_t size)
{
	uint8_t mark[4];
	size_t len;

	if (!raw_receive(fd, mark, sizeof(mark)))
		return 0;
	len = get_be32(mark) & ~RECORD_LAST_FRAGMENT;
	assert_true(len <= size);
	return raw_receive(fd, buf, len) ? len : 0;
}

/* Begin a call in @buf; arguments are put behind, then raw_call_end(). */
static inline struct wr raw_call(void *buf, size_t size, uint32_t xid, uint32_t procedure)
{
	struct wr w = wr_init(buf, size);

	wr_zero(&w, RECORD_MARK_BYTES);
	rpc_put_call(&w, xid, WFSP_PROGRAM, WFSP_VERSION, procedure, NULL);
	return w;
}

static inline void raw_call_end(int fd, struct wr *w)
{
	assert_false(w->bad);
	put_be32(w->base, record_mark(w->pos - RECORD_MARK_BYTES));
	raw_send(fd, w->base, w->pos);
}

static inline void raw_read_call(int fd, uint32_t xid, uint64_t handle, uint64_t offset, uint32_t len)
{
	struct wfsp_read_args a = { .handle = handle, .offset = offset, .len_bytes = len };
	uint8_t buf[256];
	struct wr w = raw_call(buf, sizeof(buf), xid, WFSP_READ);

	wfsp_put_read_args(&w, &a);
	raw_call_end(fd, &w);
}

static inline void raw_write_call(int fd, uint32_t xid, uint64_t handle, uint64_t offset, const void *data,
                                  uint32_t len)
{
	struct wfsp_write_args a = { .handle = handle, .offset = offset, .len_bytes = len };
	uint8_t *buf = malloc(len + 256u);
	struct wr w = raw_call(buf, len + 256u, xid, WFSP_WRITE);

	wfsp_put_write_args(&w, &a);
	xdr_put_fixed(&w, data, len);
	raw_call_end(fd, &w);
	free(buf);
}

static inline void raw_hello_call(int fd, uint32_t xid, uint8_t id)
{
	struct wfsp_hello_args a = { .client_id = { id }, .connection = 3, .client_name = "raw" };
	uint8_t buf[512];
	struct wr w = raw_call(buf, sizeof(buf), xid, WFSP_HELLO);

	wfsp_put_hello_args(&w, &a);
	raw_call_end(fd, &w);
}

/* Open the default export; its handle. */
static inline uint64_t raw_open(int fd)
{
	struct wfsp_open_args a = { .want_write = true };
	struct wfsp_open_ok ok;
	char text[WFSP_TEXT_MAX + 1];
	uint8_t buf[2048];
	struct wr w = raw_call(buf, sizeof(buf), 1, WFSP_OPEN);
	uint32_t xid;
	struct rd r;

	wfsp_put_open_args(&w, &a);
	raw_call_end(fd, &w);
	r = rd_init(buf, raw_record(fd, buf, sizeof(buf)));
	assert_int_equal(rpc_get_reply(&r, &xid), 0);
	assert_int_equal(wfsp_get_status(&r, text), WFSP_OK);
	wfsp_get_open_ok(&r, &ok);
	assert_false(r.bad);
	return ok.handle;
}

#endif
