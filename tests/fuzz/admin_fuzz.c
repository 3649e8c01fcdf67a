/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Requests to a real admin front end with a real pool behind it, on devices in memory. The input is a list of
 * connections: each either any bytes, or a request of the interface with any names and body.
 */
#include <poll.h>
#include <sys/socket.h>

#include "core/base/metrics.h"
#include "server/admin/admin.h"
#include "server/admin/status.h"
#include "server/conf/state.h"
#include "server/export/export.h"
#include "server/loop/loop.h"
#include "server/loop/workers.h"
#include "server/mount/mount.h"
#include "tests/unit/core/fs/wfs3/craft_core.h"

#define CONNECTIONS_MAX 8u
#define REQUEST_BYTES_MAX 4096u
#define WAIT_MS 20000

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

static struct craft_core core;
static struct pool_driver driver;
static struct admin *admin;
static struct admin_config config;
static char dir[] = "/tmp/wfsd-admin-fuzz-XXXXXX";

/* Requests must not make files on the machine. */
static int create_without_files(void *ctx, const struct pool_create_args *args)
{
	struct pool_create_args a = *args;

	a.file_size_bytes = 0;
	return core.admin.driver->pool_create(ctx, &a);
}

static void no_nbd_stats(void *ctx, struct admin_nbd_stats *ret)
{
	(void)ctx;
	*ret = (struct admin_nbd_stats){ .max_connections = 1 };
}

static void no_nbd_each(void *ctx, admin_connection_fn *fn, void *fn_ctx)
{
	static const struct admin_connection one = { .id = 1, .peer = "unix:\xff", .pid = 2 };

	(void)ctx;
	fn(fn_ctx, &one);
}

static unsigned no_rpc_connections(void *ctx)
{
	(void)ctx;
	return 0;
}

static void no_rpc_each(void *ctx, void (*fn)(void *fn_ctx, const struct rpc_connection_info *info), void *fn_ctx)
{
	(void)ctx;
	(void)fn;
	(void)fn_ctx;
}

static unsigned no_rpc_slow(void *ctx, struct rpc_slow *ret)
{
	(void)ctx;
	(void)ret;
	return 0;
}

static int no_reload(void *ctx)
{
	(void)ctx;
	return err_set(-EINVAL, "nothing to read");
}

/* At the end of the process. */
static void remove_dir(void)
{
	static const char *const files[] = { "state.json", "state.json.new", "lock" };
	char path[sizeof(dir) + 32];

	for (unsigned i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		snprintf(path, sizeof(path), "%s/%s", dir, files[i]);
		(void)unlink(path);
	}
	(void)rmdir(dir);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	struct workers_config wc = { .threads = { 1, 1, 1, 1 }, .thread_done = blk_thread_done };
	struct loop_set *loops;

	(void)argc;
	(void)argv;
	log_set_level((enum log_level)0);
	craft_core_new(&core, 1);
	driver = *core.admin.driver;
	driver.pool_create = create_without_files;
	always(loop_set_new(1, &loops) == 0 && mkdtemp(dir) && atexit(remove_dir) == 0);
	config = (struct admin_config){
		.loop = loop_set_get(loops, 0),
		.pools = { &driver, core.admin.ctx },
		.exports = export_table_new(core.vfs),
		.status = daemon_status_new(),
		.budget = core.budget,
		.metrics = metrics_new(),
		.peers = { .nbd_stats = no_nbd_stats,
		           .nbd_each = no_nbd_each,
		           .rpc_connections = no_rpc_connections,
		           .rpc_each = no_rpc_each,
		           .rpc_slow = no_rpc_slow },
		.version = "0",
		.reload = no_reload,
	};
	always(workers_new(&wc, &config.workers) == 0 && state_open(dir, &config.state) == 0);
	config.mounts = mount_table_new(&(struct mount_config){
	        .vfs = core.vfs, .cache = core.cache, .budget = core.budget, .metrics = config.metrics });
	always(config.exports && config.status && config.metrics && config.mounts);
	daemon_status_set(config.status, DAEMON_RUNNING);
	always(admin_new(&config, &admin) == 0);
	return 0;
}

static const char *const methods[] = { "GET", "POST", "DELETE", "PUT" };
/* "*" is a name from the input. */
static const char *const paths[] = {
	"/metrics",
	"/health/ready",
	"/v1/status",
	"/v1/pools",
	"/v1/pools/import",
	"/v1/pools/*",
	"/v1/pools/*/export",
	"/v1/pools/*/destroy",
	"/v1/pools/*/sync",
	"/v1/volumes",
	"/v1/volumes/*/*",
	"/v1/volumes/*/*/resize",
	"/v1/volumes/*/*/rename",
	"/v1/exports",
	"/v1/exports/*",
	"/v1/connections",
	"/v1/slow",
	"/v1/mounts",
	"/v1/mounts/remove",
	"/v1/drives",
	"/v1/drives/*",
	"/v1/filesystems/*/*",
	"/v1/quotas/*/*",
	"/v1/reload",
	"/v1/volumes?pool=*",
};
static const char *const names[] = { "tank", "a", "b", "c", "%ff", "..", "" };
static const char *const bodies[] = {
	"",
	"{}",
	"{\"name\":\"tank\",\"devices\":[\"/disk0\"]}",
	"{\"name\":\"tank\",\"devices\":[\"/disk0\"],\"force\":true,\"size_bytes\":67108864}",
	"{\"devices\":[\"/disk0\"]}",
	"{\"devices\":[\"/disk0\"],\"read_only\":true}",
	"{\"force\":true}",
	"{\"pool\":\"tank\",\"name\":\"c\",\"size_bytes\":1048576}",
	"{\"size_bytes\":8192,\"shrink\":true}",
	"{\"new_name\":\"b\"}",
	"{\"name\":\"e\",\"path\":\"/tank/a\"}",
	"{\"name\":\"e\",\"path\":\"/tank/b\",\"read_only\":true,\"default\":true,\"description\":\"\"}",
};

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static uint8_t take(struct rd *r)
{
	return rd_left(r) ? rd_u8(r) : 0;
}

/* Up to @max bytes of the input. */
static size_t take_bytes(struct rd *r, char *to, size_t max)
{
	size_t n = take(r);

	if (n > rd_left(r))
		n = rd_left(r);
	if (n > max)
		n = max;
	if (n)
		memcpy(to, rd_bytes(r, n), n);
	return n;
}

static size_t put_path(struct rd *r, char *to, const char *pattern)
{
	size_t at = 0;

	for (; *pattern; pattern++) {
		uint8_t which;

		if (*pattern != '*') {
			to[at++] = *pattern;
			continue;
		}
		which = take(r) % (COUNT(names) + 1);
		if (which == COUNT(names))
			at += take_bytes(r, to + at, 255);
		else
			at += (size_t)sprintf(to + at, "%s", names[which]);
	}
	return at;
}

/* A body of the table, with some bytes of it changed, or any bytes. */
static size_t put_body(struct rd *r, char *to)
{
	uint8_t which = take(r) % (COUNT(bodies) + 1);
	size_t len;

	if (which == COUNT(bodies))
		return take_bytes(r, to, 255);
	len = strlen(bodies[which]);
	memcpy(to, bodies[which], len);
	for (unsigned n = take(r) % 4; len && n; n--) {
		size_t at = take(r) % len;

		to[at] = (char)take(r);
	}
	return len;
}

static size_t put_request(struct rd *r, char *to)
{
	char body[1024];
	size_t at, len;

	if (take(r) % 8 == 0)
		return take_bytes(r, to, 255);
	at = (size_t)sprintf(to, "%s ", methods[take(r) % COUNT(methods)]);
	at += put_path(r, to + at, paths[take(r) % COUNT(paths)]);
	len = put_body(r, body);
	at += (size_t)sprintf(to + at, " HTTP/1.1\r\nHost: x\r\nContent-Length: %zu\r\n\r\n", len);
	memcpy(to + at, body, len);
	return at + len;
}

static void accept_on_loop(void *arg)
{
	int *fds = arg;

	if (fds[2])
		admin_accept_metrics(admin, fds[1], "unix:");
	else
		admin_accept(admin, fds[1], "unix:");
}

/* Every connection ends by itself once the request was answered or the client has ended its side. */
static void converse(const char *request, size_t len, size_t cut, bool metrics_only)
{
	int fds[3] = { 0, 0, metrics_only };
	char answer[4096];

	always(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
	evutil_make_socket_nonblocking(fds[1]);
	loop_call(config.loop, accept_on_loop, fds);
	if (cut > len)
		cut = len;
	(void)!send(fds[0], request, cut, MSG_NOSIGNAL);
	(void)!send(fds[0], request + cut, len - cut, MSG_NOSIGNAL);
	shutdown(fds[0], SHUT_WR);
	for (;;) {
		struct pollfd p = { .fd = fds[0], .events = POLLIN };

		/* A signal may come between. */
		int ready = poll(&p, 1, WAIT_MS);

		if (ready < 0 && errno == EINTR)
			continue;
		always(ready > 0);
		if (recv(fds[0], answer, sizeof(answer), 0) <= 0)
			break;
	}
	close(fds[0]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static char request[REQUEST_BYTES_MAX];
	struct rd r = rd_init(data, size);
	unsigned flags = take(&r);

	if (flags & 1)
		(void)craft_import(&core, flags & 2);
	for (unsigned i = 0; i < CONNECTIONS_MAX && rd_left(&r); i++) {
		size_t len = put_request(&r, request);

		converse(request, len, flags & 4 ? take(&r) : len, flags & 8);
	}
	converse("GET /v1/pools HTTP/1.1\r\n\r\n", 26, 26, false);
	export_remove(config.exports, "e");
	(void)driver.pool_export(core.admin.ctx, "tank", true);
	craft_core_reset(&core);
	return 0;
}
