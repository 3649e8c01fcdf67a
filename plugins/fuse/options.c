/* SPDX-License-Identifier: BSD-3-Clause */
/* The command line of wfs-fuse, as mount(8) writes it, too. */
#define FUSE_USE_VERSION 312
#include "plugins/fuse/options.h"

#include <errno.h>
#include <fuse_lowlevel.h>
#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "plugins/fuse/wake.h"

#define TIMEOUT_S_MAX 86400u
#define CONNECTIONS_MAX 16u
#define THREADS_MAX 256u

enum {
	KEY_IGNORED,
	KEY_READ_ONLY,
	KEY_TYPE,
};

#define AT(member) offsetof(struct options, member)
#define KEYED(text, key)                                                                                               \
	{                                                                                                              \
		text, UINT_MAX, key                                                                                    \
	}
static const struct fuse_opt specs[] = {
	{ "entry_timeout=%lf", AT(entry_timeout_s), 0 },
	{ "attr_timeout=%lf", AT(attr_timeout_s), 0 },
	{ "negative_timeout=%lf", AT(negative_timeout_s), 0 },
	{ "coherent_timeout=%lf", AT(coherent_timeout_s), 0 },
	{ "timeout=%u", AT(timeout_s), 0 },
	{ "connections=%u", AT(connections), 0 },
	{ "certificates=%s", AT(certificates), 0 },
	{ "threads=%u", AT(threads), 0 },
	{ "wake_latency=%s", AT(wake_latency), 0 },
	{ "max_read=%u", AT(max_read), 0 },
	KEYED("max_read=",
	      FUSE_OPT_KEY_KEEP), /* for mount(2), which is to hear the same as the kernel from on_init() */
	{ "writeback_cache", AT(writeback), 1 },
	{ "durable", AT(durable), 1 },
	{ "no_shared_memory", AT(no_shm), 1 },
	{ "local_locks", AT(local_locks), 1 },
	{ "-f", AT(foreground), 1 },
	{ "-d", AT(debug), 1 },
	{ "debug", AT(debug), 1 },
	KEYED("-d", FUSE_OPT_KEY_KEEP), /* libfuse prints the requests */
	KEYED("debug", FUSE_OPT_KEY_KEEP),
	{ "-h", AT(help), 1 },
	{ "--help", AT(help), 1 },
	{ "-V", AT(version), 1 },
	{ "--version", AT(version), 1 },
	KEYED("ro", KEY_READ_ONLY),
	KEYED("-r", KEY_READ_ONLY),
	/* What mount(8) and fstab(5) say to others. */
	KEYED("-t ", KEY_TYPE),
	KEYED("-w", KEY_IGNORED),
	KEYED("-s", KEY_IGNORED),
	KEYED("-n", KEY_IGNORED),
	KEYED("-v", KEY_IGNORED),
	KEYED("_netdev", KEY_IGNORED),
	KEYED("nofail", KEY_IGNORED),
	KEYED("noauto", KEY_IGNORED),
	KEYED("auto", KEY_IGNORED),
	KEYED("user", KEY_IGNORED),
	KEYED("nouser", KEY_IGNORED),
	KEYED("users", KEY_IGNORED),
	KEYED("group", KEY_IGNORED),
	KEYED("owner", KEY_IGNORED),
	KEYED("comment=", KEY_IGNORED),
	KEYED("relatime", KEY_IGNORED), /* what the kernel does anyway, and libfuse does not know */
	KEYED("defaults", KEY_IGNORED),
	FUSE_OPT_END,
};

static int take(void *data, const char *arg, int key, struct fuse_args *out)
{
	struct options *o = data;

	(void)out;
	switch (key) {
	case KEY_IGNORED:
	case KEY_TYPE:
		return 0;
	case KEY_READ_ONLY:
		o->read_only = 1;
		return 0;
	case FUSE_OPT_KEY_NONOPT:
		if (!o->source)
			o->source = strdup(arg);
		else if (!o->dir)
			o->dir = strdup(arg);
		else
			return fprintf(stderr, "wfs-fuse: '%s': what is that?\n", arg), -1;
		return 0;
	default:
		return strncmp(arg, "x-", 2) != 0;
	}
}

static char *unix_address(const char *path, size_t len)
{
	char *address;

	return asprintf(&address, "unix:%.*s", (int)len, path) < 0 ? NULL : address;
}

int options_split_source(const char *source, char **ret_address, char **ret_export)
{
	const char *slash = strchr(source, '/');
	char *address, *name;

	if (strncmp(source, "unix:", 5) == 0) {
		slash = strrchr(source, '/');
		if (!slash || slash == source + 5)
			return -EINVAL;
		address = unix_address(source + 5, (size_t)(slash - source) - 5);
	} else if (!slash || slash == source) {
		address = unix_address(OPTIONS_SOCKET_DEFAULT, strlen(OPTIONS_SOCKET_DEFAULT));
	} else if (strncmp(source, "tcp:", 4) == 0 || strncmp(source, "tls:", 4) == 0) {
		address = strndup(source, (size_t)(slash - source));
	} else if (asprintf(&address, "tcp:%.*s", (int)(slash - source), source) < 0) {
		address = NULL;
	}
	name = strdup(slash ? slash + 1 : source);
	if (!address || !name) {
		free(address);
		free(name);
		return -ENOMEM;
	}
	*ret_address = address;
	*ret_export = name;
	return 0;
}

static int check(const struct options *o)
{
	if (!o->source || !o->dir) {
		fputs("usage: wfs-fuse [ADDRESS]/EXPORT DIR [-f] [-d] [-o OPTION,...]; see wfs-fuse(1)\n", stderr);
		return -EINVAL;
	}
	if (!o->timeout_s || o->timeout_s > TIMEOUT_S_MAX || !o->connections || o->connections > CONNECTIONS_MAX ||
	    !o->threads || o->threads > THREADS_MAX) {
		fprintf(stderr, "wfs-fuse: timeout is 1 to %u seconds, connections 1 to %u, threads 1 to %u\n",
		        TIMEOUT_S_MAX, CONNECTIONS_MAX, THREADS_MAX);
		return -EINVAL;
	}
	if (!(o->entry_timeout_s >= 0 && o->attr_timeout_s >= 0 && o->negative_timeout_s >= 0 &&
	      o->coherent_timeout_s >= 0 && o->coherent_timeout_s <= TIMEOUT_S_MAX &&
	      o->entry_timeout_s <= TIMEOUT_S_MAX && o->attr_timeout_s <= TIMEOUT_S_MAX &&
	      o->negative_timeout_s <= TIMEOUT_S_MAX)) {
		fprintf(stderr, "wfs-fuse: the time-outs of caches are 0 to %u seconds\n", TIMEOUT_S_MAX);
		return -EINVAL;
	}
	return 0;
}

int options_parse(struct fuse_args *args, struct options *ret)
{
	int err;

	*ret = (struct options){ .entry_timeout_s = 1,
		                 .attr_timeout_s = 1,
		                 .negative_timeout_s = 0.5,
		                 .coherent_timeout_s = 60,
		                 .timeout_s = 600,
		                 .connections = 1,
		                 .threads = 16 };
	if (fuse_opt_parse(args, ret, specs, take) < 0)
		return -EINVAL;
	if (ret->help || ret->version)
		return 0;
	err = check(ret);
	if (err)
		return err;
	err = wake_parse(ret->wake_latency, WAKE_DRIVER, &ret->wake_usec);
	if (err) {
		fprintf(stderr, "wfs-fuse: wake_latency is a number of microseconds, or any; not '%s'\n",
		        ret->wake_latency);
		return err;
	}
	err = options_split_source(ret->source, &ret->address, &ret->export_name);
	if (err)
		fprintf(stderr, "wfs-fuse: '%s' is not [ADDRESS]/EXPORT: %s\n", ret->source, strerror(-err));
	return err;
}

void options_done(struct options *o)
{
	free(o->source);
	free(o->dir);
	free(o->address);
	free(o->export_name);
	free(o->certificates);
	free(o->wake_latency);
}
