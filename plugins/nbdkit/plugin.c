/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * nbdkit plugin: serves the exports of a wfsd over NBD. A thin layer on libwfs, one client per NBD connection.
 *
 * What each NBD connection writes must be covered by a flush on any other (multi-conn), also when nbdkit runs once per
 * connection: files are opened WFS_OPEN_SHARED for that.
 */
#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "protocol/client/wfs.h"

#define THREAD_MODEL NBDKIT_THREAD_MODEL_PARALLEL

#define TIMEOUT_S_MAX 86400u
#define CONNECT_TIMEOUT_MS_MAX 5000u /* a wrong address should not look like a hang */
#define ZERO_CHUNK_BYTES (1u << 20)
#define ERROR_TEXT_BYTES 512
#define EXIT_ORPHANED 125

/* Set while the command line is read, before threads exist. */
static char *address;
static const char *export_param;
static unsigned timeout_s = 60;
static unsigned connections = 1;
static bool use_shm = true;
static unsigned parent_pid;

struct handle {
	struct wfs *client;
	struct wfs_file *file;
	struct wfs_file_info info; /* as of the open: nbdkit keeps the size, too */
	bool writable;
};

/* nbdkit turns what it does not know into EINVAL, so only errors that NBD has are passed on. */
static int nbd_errno(int err)
{
	switch (-err) {
	case EPERM:
	case EACCES:
		return EPERM;
	case EROFS:
	case ENOSPC:
	case EINVAL:
	case ESHUTDOWN:
	case ENOTSUP:
		return -err;
	case EDQUOT:
	case EFBIG:
		return ENOSPC;
	case ETIMEDOUT:
	case ENOTCONN:
		return ESHUTDOWN;
	default:
		return EIO;
	}
}

/* Tell nbdkit about an error of libwfs. Always -1. */
static int failed(const char *what, int err)
{
	char text[ERROR_TEXT_BYTES];

	nbdkit_error("%s: %s", what, wfs_error_text(text, sizeof(text)));
	nbdkit_set_error(nbd_errno(err));
	return -1;
}

static int set_address(const char *prefix, const char *value)
{
	free(address);
	if (asprintf(&address, "%s%s", prefix, value) < 0) {
		address = NULL;
		nbdkit_error("out of memory");
		return -1;
	}
	return 0;
}

static int wfs_config(const char *key, const char *value)
{
	int r = 0;

	if (strcmp(key, "socket") == 0) {
		char *path = nbdkit_absolute_path(value);

		r = path ? set_address("unix:", path) : -1;
		free(path);
	} else if (strcmp(key, "server") == 0) {
		r = set_address("", value);
	} else if (strcmp(key, "export") == 0) {
		export_param = value; /* nbdkit keeps it for the life of the process */
	} else if (strcmp(key, "timeout") == 0) {
		r = nbdkit_parse_unsigned("timeout", value, &timeout_s);
		if (r == 0 && (timeout_s == 0 || timeout_s > TIMEOUT_S_MAX)) {
			nbdkit_error("timeout must be between 1 and %u seconds", TIMEOUT_S_MAX);
			r = -1;
		}
	} else if (strcmp(key, "connections") == 0) {
		r = nbdkit_parse_unsigned("connections", value, &connections);
		if (r == 0 && (connections == 0 || connections > 16)) {
			nbdkit_error("connections must be between 1 and 16");
			r = -1;
		}
	} else if (strcmp(key, "shm") == 0) {
		r = nbdkit_parse_bool(value);
		use_shm = r != 0;
		r = r < 0 ? -1 : 0;
	} else if (strcmp(key, "parent") == 0) {
		r = nbdkit_parse_unsigned("parent", value, &parent_pid);
	} else {
		nbdkit_error("unknown parameter '%s'", key);
		r = -1;
	}
	return r;
}

static int wfs_config_complete(void)
{
	if (!address) {
		nbdkit_error("where is the server? Use socket=/path or server=tcp:host:port");
		return -1;
	}
	return 0;
}

/*
 * On the main thread, which lives as long as the process. nbdkit's own way to end with its parent (part of -s) is a
 * SIGTERM, which 1.32 does not act on while a silent client is connected.
 */
static int wfs_get_ready(void)
{
	if (!parent_pid)
		return 0;
	if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0) {
		nbdkit_error("prctl: %m");
		return -1;
	}
	if (getppid() != (pid_t)parent_pid)
		_exit(EXIT_ORPHANED);
	return 0;
}

static void wfs_unload(void)
{
	free(address);
}

static int connect_client(struct wfs **ret)
{
	unsigned timeout_ms = timeout_s * 1000;
	struct wfs_options options = {
		.client_name = "nbdkit",
		.connections = connections,
		.no_shared_memory = !use_shm,
		.timeout_ms = timeout_ms,
		.connect_timeout_ms = timeout_ms < CONNECT_TIMEOUT_MS_MAX ? timeout_ms : CONNECT_TIMEOUT_MS_MAX,
	};
	int err = wfs_connect(address, &options, ret);

	return err ? failed(address, err) : 0;
}

static int add_export(void *ctx, const struct wfs_export_info *info)
{
	return nbdkit_add_export(ctx, info->name, info->description[0] ? info->description : NULL);
}

static int wfs_plugin_list_exports(int readonly, int is_tls, struct nbdkit_exports *exports)
{
	struct wfs *client;
	int err;

	(void)readonly;
	(void)is_tls;
	if (export_param)
		return nbdkit_add_export(exports, export_param, NULL);
	if (connect_client(&client))
		return -1;
	err = wfs_list_exports(client, add_export, exports);
	if (err)
		failed("list exports", err);
	wfs_disconnect(client);
	return err ? -1 : 0;
}

/* "" goes to the server, which knows its default export. */
static const char *wfs_plugin_default_export(int readonly, int is_tls)
{
	(void)readonly;
	(void)is_tls;
	return export_param ? export_param : "";
}

static void wfs_plugin_close(void *handle)
{
	struct handle *h = handle;

	wfs_close(h->file);
	wfs_disconnect(h->client);
	free(h);
}

static void *wfs_plugin_open(int readonly)
{
	struct handle *h = calloc(1, sizeof(*h));
	const char *name = export_param ? export_param : nbdkit_export_name();
	int err;

	if (!h || !name) {
		nbdkit_error("no memory, or no export name");
		free(h);
		return NULL;
	}
	if (connect_client(&h->client)) {
		free(h);
		return NULL;
	}
	h->writable = !readonly;
	err = wfs_open(h->client, name, h->writable ? WFS_OPEN_WRITE | WFS_OPEN_SHARED : 0, &h->file);
	if (err == -EROFS) {
		h->writable = false;
		err = wfs_open(h->client, name, 0, &h->file);
	}
	if (err) {
		failed("open", err);
		wfs_plugin_close(h);
		return NULL;
	}
	wfs_get_info(h->file, &h->info);
	return h;
}

static const char *wfs_plugin_export_description(void *handle)
{
	const struct handle *h = handle;

	return h->info.description[0] ? h->info.description : NULL;
}

static int64_t wfs_plugin_get_size(void *handle)
{
	const struct handle *h = handle;

	if (h->info.size_bytes > INT64_MAX) {
		nbdkit_error("export larger than NBD allows");
		return -1;
	}
	return (int64_t)h->info.size_bytes;
}

static int wfs_plugin_block_size(void *handle, uint32_t *minimum, uint32_t *preferred, uint32_t *maximum)
{
	const struct handle *h = handle;

	*minimum = h->info.block_min_bytes;
	*preferred = h->info.block_preferred_bytes;
	*maximum = h->info.block_max_bytes;
	return 0;
}

static int wfs_plugin_can_write(void *handle)
{
	return ((const struct handle *)handle)->writable;
}

static int always_yes(void *handle)
{
	(void)handle;
	return 1;
}

static int always_no(void *handle)
{
	(void)handle;
	return 0;
}

static int wfs_plugin_can_fua(void *handle)
{
	(void)handle;
	return NBDKIT_FUA_NATIVE;
}

static int wfs_plugin_can_cache(void *handle)
{
	(void)handle;
	return NBDKIT_CACHE_NATIVE;
}

static unsigned fua_flag(uint32_t flags)
{
	return flags & NBDKIT_FLAG_FUA ? WFS_FUA : 0;
}

static int wfs_plugin_pread(void *handle, void *buf, uint32_t count, uint64_t offset, uint32_t flags)
{
	const struct handle *h = handle;
	int err = wfs_pread(h->file, buf, count, offset);

	(void)flags;
	return err ? failed("read", err) : 0;
}

static int wfs_plugin_pwrite(void *handle, const void *buf, uint32_t count, uint64_t offset, uint32_t flags)
{
	const struct handle *h = handle;
	int err = wfs_pwrite(h->file, buf, count, offset, fua_flag(flags));

	return err ? failed("write", err) : 0;
}

static int wfs_plugin_flush(void *handle, uint32_t flags)
{
	const struct handle *h = handle;
	int err = wfs_flush(h->file);

	(void)flags;
	return err ? failed("flush", err) : 0;
}

static int wfs_plugin_trim(void *handle, uint32_t count, uint64_t offset, uint32_t flags)
{
	const struct handle *h = handle;
	int err = wfs_discard(h->file, offset, count, fua_flag(flags));

	return err ? failed("trim", err) : 0;
}

/* For files that cannot zero a range by themselves. Not left to nbdkit, whose own fallback stops after 64 MiB. */
static int write_zeros(const struct handle *h, uint32_t count, uint64_t offset, unsigned flags)
{
	void *zeros = calloc(1, ZERO_CHUNK_BYTES);
	int err = 0;

	if (!zeros) {
		nbdkit_error("no memory for zeros");
		nbdkit_set_error(EIO);
		return -1;
	}
	while (count && !err) {
		uint32_t n = count < ZERO_CHUNK_BYTES ? count : ZERO_CHUNK_BYTES;

		err = wfs_pwrite(h->file, zeros, n, offset, flags);
		count -= n;
		offset += n;
	}
	free(zeros);
	return err ? failed("zero", err) : 0;
}

static int wfs_plugin_zero(void *handle, uint32_t count, uint64_t offset, uint32_t flags)
{
	const struct handle *h = handle;
	unsigned f = fua_flag(flags);
	bool fast = flags & NBDKIT_FLAG_FAST_ZERO;
	int err;

	if (!(flags & NBDKIT_FLAG_MAY_TRIM))
		f |= WFS_NO_HOLE;
	if (fast)
		f |= WFS_FAST;
	err = wfs_zero(h->file, offset, count, f);
	if (err == -ENOTSUP && fast) {
		nbdkit_set_error(ENOTSUP); /* an answer, nothing to log */
		return -1;
	}
	if (err == -ENOTSUP)
		return write_zeros(h, count, offset, fua_flag(flags));
	return err ? failed("zero", err) : 0;
}

static int wfs_plugin_extents(void *handle, uint32_t count, uint64_t offset, uint32_t flags,
                              struct nbdkit_extents *extents)
{
	const struct handle *h = handle;
	struct wfs_extent found[WFS_EXTENTS_AT_ONCE];
	unsigned n = 0;
	int err = wfs_extents(h->file, offset, count, flags & NBDKIT_FLAG_REQ_ONE ? WFS_ONE : 0, found,
	                      WFS_EXTENTS_AT_ONCE, &n);

	if (err)
		return failed("extents", err);
	/* libwfs clips them to the request, so none reaches the 4 GiB that nbdkit cannot take. */
	for (unsigned i = 0; i < n; i++) {
		uint32_t type = (found[i].hole ? NBDKIT_EXTENT_HOLE : 0) | (found[i].zero ? NBDKIT_EXTENT_ZERO : 0);

		if (nbdkit_add_extent(extents, found[i].offset, found[i].len_bytes, type) < 0)
			return -1;
	}
	return 0;
}

static int wfs_plugin_cache(void *handle, uint32_t count, uint64_t offset, uint32_t flags)
{
	const struct handle *h = handle;
	int err = wfs_prefetch(h->file, offset, count);

	(void)flags;
	return err ? failed("cache", err) : 0;
}

#define CONFIG_HELP                                                                                                    \
	"socket=<PATH>        The daemon's unix socket.\n"                                                             \
	"server=<ADDRESS>     unix:/path or tcp:host:port instead.\n"                                                  \
	"export=<NAME>        Serve this export whatever the client asks for.\n"                                       \
	"timeout=<SECONDS>    Wait this long for a lost daemon (default 60).\n"                                        \
	"connections=<N>      Connections to the daemon per client (default 1).\n"                                     \
	"shm=<BOOL>           Payloads in memory shared with a daemon on this host (default yes).\n"                   \
	"parent=<PID>         End at once when this process, the parent, does."

static struct nbdkit_plugin plugin = {
	.name = "wfs",
	.longname = "wfsd exports",
	.description = "serve the exports of a wfsd over NBD",
	.unload = wfs_unload,
	.config = wfs_config,
	.config_complete = wfs_config_complete,
	.get_ready = wfs_get_ready,
	.config_help = CONFIG_HELP,
	.magic_config_key = "socket",
	.list_exports = wfs_plugin_list_exports,
	.default_export = wfs_plugin_default_export,
	.open = wfs_plugin_open,
	.close = wfs_plugin_close,
	.export_description = wfs_plugin_export_description,
	.get_size = wfs_plugin_get_size,
	.block_size = wfs_plugin_block_size,
	.can_write = wfs_plugin_can_write,
	.can_flush = always_yes,
	.is_rotational = always_no,
	.can_trim = always_yes,
	.can_zero = always_yes,
	.can_fast_zero = always_yes,
	.can_extents = always_yes,
	.can_fua = wfs_plugin_can_fua,
	.can_multi_conn = always_yes,
	.can_cache = wfs_plugin_can_cache,
	.pread = wfs_plugin_pread,
	.pwrite = wfs_plugin_pwrite,
	.flush = wfs_plugin_flush,
	.trim = wfs_plugin_trim,
	.zero = wfs_plugin_zero,
	.extents = wfs_plugin_extents,
	.cache = wfs_plugin_cache,
	/* errors are told by nbdkit_set_error() */
	.errno_is_preserved = 0,
};

/* What nbdkit looks for; its header does not declare it. */
struct nbdkit_plugin *plugin_init(void);

NBDKIT_REGISTER_PLUGIN(plugin)
