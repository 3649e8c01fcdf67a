/* SPDX-License-Identifier: BSD-3-Clause */
/* The command line of wfs: options may stand anywhere, what is left are the words of the command. One thread. */
#ifndef WFSD_SERVER_CTL_ARGS_H
#define WFSD_SERVER_CTL_ARGS_H

#include <stdbool.h>

#define ARGS_SOCKET_DEFAULT "/run/wfsd/admin.sock"
#define ARGS_JOBS_DEFAULT 4u

/* Options that only some commands take. */
enum args_option {
	ARGS_SIZE = 1 << 0,
	ARGS_FORCE = 1 << 1,
	ARGS_YES = 1 << 2,
	ARGS_AS = 1 << 3,
	ARGS_READ_ONLY = 1 << 4,
	ARGS_DEFAULT = 1 << 5,
	ARGS_DESCRIPTION = 1 << 6,
	ARGS_SHRINK = 1 << 7,
	ARGS_WATCH = 1 << 8,
	ARGS_INTERVAL = 1 << 9,
	ARGS_COUNT = 1 << 10,
	ARGS_DATA = 1 << 11,
	ARGS_TYPE = 1 << 12,
	ARGS_LABEL = 1 << 13,
	ARGS_BLOCKS = 1 << 14, /* --cluster, --sector */
	ARGS_JOBS = 1 << 15,
	ARGS_REPAIR = 1 << 16,
	ARGS_OPTIONS = 1 << 17,
	ARGS_FOREGROUND = 1 << 18,
	ARGS_LONG = 1 << 19,
	ARGS_RECURSIVE = 1 << 20,
	ARGS_SERVER = 1 << 21,
	ARGS_NAME = 1 << 22,
	ARGS_UID = 1 << 23,
	ARGS_GID = 1 << 24,
	ARGS_UMASK = 1 << 25,
	ARGS_OWNER = 1 << 26, /* --user, --group, --project */
	ARGS_LIMITS = 1 << 27, /* --bytes, --objects */
	ARGS_MARKS = 1 << 28, /* --color, --icon */
	ARGS_POLICY = 1 << 29, /* --auth-sys, --squash, --anon, --clients, --tls, --certificate-names */
	ARGS_TX = 1 << 30, /* --isolation, --ttl, --status */
};

struct args {
	unsigned given; /* enum args_option */
	bool json, help, version;
	const char *socket; /* --socket, else WFSD_ADMIN, else the default */
	const char *size, *as, *description; /* NULL when not given */
	const char *label, *cluster, *sector, *options; /* likewise */
	const char *server, *name; /* likewise */
	const char *user, *group, *project, *bytes, *objects, *color, *icon; /* likewise */
	const char *squash, *anon, *clients, *certificate_names; /* likewise */
	const char *isolation, *status; /* likewise */
	bool auth_sys, tls;
	unsigned type; /* 0 when not given */
	unsigned uid, gid, umask; /* likewise */
	unsigned interval_s; /* 1 unless given */
	unsigned count; /* 0: for ever */
	unsigned jobs; /* ARGS_JOBS_DEFAULT unless given; 1..JOBS_WORKERS_MAX */
	unsigned ttl_s; /* 0 when not given */
	char **words; /* command and operands; point into argv */
	int word_count;
};

/*
 * Parse; reorders @argv, whose strings must outlive @ret. 0; -EINVAL after a line on standard error. May be called more
 * than once.
 */
int args_parse(int argc, char **argv, struct args *ret);

/* "--size", ... for one option. */
const char *args_option_name(enum args_option option);

#endif
