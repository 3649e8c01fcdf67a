/* SPDX-License-Identifier: BSD-3-Clause */
/* The command line of wfs: options may stand anywhere, what is left are the words of the command. */
#include "server/ctl/args.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#include "server/ctl/jobs.h"

enum {
	OPT_JSON = 0x70000000, /* beyond every enum args_option */
	OPT_SOCKET,
	OPT_HELP,
	OPT_VERSION,
	OPT_USER,
	OPT_GROUP,
	OPT_PROJECT,
	OPT_BYTES,
	OPT_OBJECTS,
	OPT_COLOR,
	OPT_ICON,
	OPT_AUTH_SYS,
	OPT_SQUASH,
	OPT_ANON,
	OPT_CLIENTS,
	OPT_TLS,
	OPT_CERTIFICATE_NAMES,
	OPT_ISOLATION,
	OPT_TTL,
	OPT_STATUS,
	OPT_CLUSTER,
	OPT_SECTOR,
};

static const struct option options[] = {
	{ "size", required_argument, NULL, ARGS_SIZE },
	{ "force", no_argument, NULL, ARGS_FORCE },
	{ "yes", no_argument, NULL, ARGS_YES },
	{ "as", required_argument, NULL, ARGS_AS },
	{ "read-only", no_argument, NULL, ARGS_READ_ONLY },
	{ "default", no_argument, NULL, ARGS_DEFAULT },
	{ "description", required_argument, NULL, ARGS_DESCRIPTION },
	{ "shrink", no_argument, NULL, ARGS_SHRINK },
	{ "watch", no_argument, NULL, ARGS_WATCH },
	{ "interval", required_argument, NULL, ARGS_INTERVAL },
	{ "count", required_argument, NULL, ARGS_COUNT },
	{ "data", no_argument, NULL, ARGS_DATA },
	{ "type", required_argument, NULL, ARGS_TYPE },
	{ "label", required_argument, NULL, ARGS_LABEL },
	{ "cluster", required_argument, NULL, OPT_CLUSTER },
	{ "sector", required_argument, NULL, OPT_SECTOR },
	{ "repair", no_argument, NULL, ARGS_REPAIR },
	{ "options", required_argument, NULL, ARGS_OPTIONS },
	{ "foreground", no_argument, NULL, ARGS_FOREGROUND },
	{ "long", no_argument, NULL, ARGS_LONG },
	{ "recursive", no_argument, NULL, ARGS_RECURSIVE },
	{ "jobs", required_argument, NULL, ARGS_JOBS },
	{ "server", required_argument, NULL, ARGS_SERVER },
	{ "name", required_argument, NULL, ARGS_NAME },
	{ "uid", required_argument, NULL, ARGS_UID },
	{ "gid", required_argument, NULL, ARGS_GID },
	{ "umask", required_argument, NULL, ARGS_UMASK },
	{ "user", required_argument, NULL, OPT_USER },
	{ "group", required_argument, NULL, OPT_GROUP },
	{ "project", required_argument, NULL, OPT_PROJECT },
	{ "bytes", required_argument, NULL, OPT_BYTES },
	{ "objects", required_argument, NULL, OPT_OBJECTS },
	{ "color", required_argument, NULL, OPT_COLOR },
	{ "icon", required_argument, NULL, OPT_ICON },
	{ "auth-sys", no_argument, NULL, OPT_AUTH_SYS },
	{ "squash", required_argument, NULL, OPT_SQUASH },
	{ "anon", required_argument, NULL, OPT_ANON },
	{ "clients", required_argument, NULL, OPT_CLIENTS },
	{ "tls", no_argument, NULL, OPT_TLS },
	{ "certificate-names", required_argument, NULL, OPT_CERTIFICATE_NAMES },
	{ "isolation", required_argument, NULL, OPT_ISOLATION },
	{ "ttl", required_argument, NULL, OPT_TTL },
	{ "status", required_argument, NULL, OPT_STATUS },
	{ "json", no_argument, NULL, OPT_JSON },
	{ "socket", required_argument, NULL, OPT_SOCKET },
	{ "help", no_argument, NULL, OPT_HELP },
	{ "version", no_argument, NULL, OPT_VERSION },
	{ 0 },
};

/* The bit that says it was given: options that go together share one. */
static int bit_of(int option)
{
	switch (option) {
	case OPT_USER:
	case OPT_GROUP:
	case OPT_PROJECT:
		return ARGS_OWNER;
	case OPT_BYTES:
	case OPT_OBJECTS:
		return ARGS_LIMITS;
	case OPT_COLOR:
	case OPT_ICON:
		return ARGS_MARKS;
	case OPT_AUTH_SYS:
	case OPT_SQUASH:
	case OPT_ANON:
	case OPT_CLIENTS:
	case OPT_TLS:
	case OPT_CERTIFICATE_NAMES:
		return ARGS_POLICY;
	case OPT_ISOLATION:
	case OPT_TTL:
	case OPT_STATUS:
		return ARGS_TX;
	case OPT_CLUSTER:
	case OPT_SECTOR:
		return ARGS_BLOCKS;
	default:
		return option;
	}
}

const char *args_option_name(enum args_option option)
{
	for (const struct option *o = options; o->name; o++) {
		if (bit_of(o->val) == (int)option)
			return o->name;
	}
	return "?";
}

/* uids, gids: 0 and more; a mask in octal. */
static int parse_id(const char *option, const char *text, int base, unsigned max, unsigned *ret)
{
	char *end;
	unsigned long value;

	errno = 0;
	value = strtoul(text, &end, base);
	if (*text < '0' || *text > '9' || *end || errno || value > max) {
		fprintf(stderr,
		        base == 8 ? "wfs: --%s takes an octal number, at most %o\n"
		                  : "wfs: --%s takes a number from 0 to %u\n",
		        option, max);
		return -EINVAL;
	}
	*ret = (unsigned)value;
	return 0;
}

static int parse_number(const char *option, const char *text, unsigned max, unsigned *ret)
{
	char *end;
	unsigned long value;

	errno = 0;
	value = strtoul(text, &end, 10);
	if (*text < '0' || *text > '9' || *end || errno || value < 1 || value > max) {
		fprintf(stderr, "wfs: --%s takes a number from 1 to %u\n", option, max);
		return -EINVAL;
	}
	*ret = (unsigned)value;
	return 0;
}

/* Where an option that is taken as it is goes; NULL: it is none. */
static const char **text_of(struct args *a, int option)
{
	switch (option) {
	case ARGS_OPTIONS:
		return &a->options;
	case ARGS_SERVER:
		return &a->server;
	case ARGS_NAME:
		return &a->name;
	case ARGS_SIZE:
		return &a->size;
	case ARGS_AS:
		return &a->as;
	case ARGS_DESCRIPTION:
		return &a->description;
	case ARGS_LABEL:
		return &a->label;
	case OPT_CLUSTER:
		return &a->cluster;
	case OPT_SECTOR:
		return &a->sector;
	case OPT_USER:
		return &a->user;
	case OPT_GROUP:
		return &a->group;
	case OPT_PROJECT:
		return &a->project;
	case OPT_BYTES:
		return &a->bytes;
	case OPT_OBJECTS:
		return &a->objects;
	case OPT_COLOR:
		return &a->color;
	case OPT_ICON:
		return &a->icon;
	case OPT_SQUASH:
		return &a->squash;
	case OPT_ANON:
		return &a->anon;
	case OPT_CLIENTS:
		return &a->clients;
	case OPT_CERTIFICATE_NAMES:
		return &a->certificate_names;
	case OPT_ISOLATION:
		return &a->isolation;
	case OPT_STATUS:
		return &a->status;
	default:
		return NULL;
	}
}

/* One letter stands for a word. */
static int long_of(int option)
{
	switch (option) {
	case 'y':
		return ARGS_YES;
	case 'o':
		return ARGS_OPTIONS;
	case 'l':
		return ARGS_LONG;
	case 'r':
		return ARGS_RECURSIVE;
	case 'j':
		return ARGS_JOBS;
	default:
		return option;
	}
}

static int take(struct args *a, int option)
{
	const char **text;
	int rc = 0;

	switch (option) {
	case OPT_JSON:
		a->json = true;
		return 0;
	case OPT_SOCKET:
		a->socket = optarg;
		return 0;
	case OPT_HELP:
	case 'h':
		a->help = true;
		return 0;
	case OPT_VERSION:
	case 'V':
		a->version = true;
		return 0;
	case OPT_AUTH_SYS:
		a->auth_sys = true;
		break;
	case OPT_TLS:
		a->tls = true;
		break;
	case ARGS_TYPE:
		rc = parse_number("type", optarg, 32, &a->type);
		break;
	case ARGS_UID:
		rc = parse_id("uid", optarg, 10, UINT_MAX - 1, &a->uid);
		break;
	case ARGS_GID:
		rc = parse_id("gid", optarg, 10, UINT_MAX - 1, &a->gid);
		break;
	case ARGS_UMASK:
		rc = parse_id("umask", optarg, 8, 0777, &a->umask);
		break;
	case ARGS_INTERVAL:
		rc = parse_number("interval", optarg, 86400, &a->interval_s);
		break;
	case ARGS_COUNT:
		rc = parse_number("count", optarg, 1000000, &a->count);
		break;
	case ARGS_JOBS:
		rc = parse_number("jobs", optarg, JOBS_WORKERS_MAX, &a->jobs);
		break;
	case OPT_TTL:
		rc = parse_number("ttl", optarg, 86400, &a->ttl_s);
		break;
	case '?':
		return -EINVAL; /* getopt has told */
	default:
		break;
	}
	text = text_of(a, option);
	if (text)
		*text = optarg;
	a->given |= (unsigned)bit_of(option);
	return rc;
}

int args_parse(int argc, char **argv, struct args *ret)
{
	const char *socket_env = getenv("WFSD_ADMIN");
	struct args a = { .interval_s = 1, .jobs = ARGS_JOBS_DEFAULT };
	int option, rc;

	a.socket = socket_env && *socket_env ? socket_env : ARGS_SOCKET_DEFAULT;
	optind = 0; /* glibc: start afresh */
	while ((option = getopt_long(argc, argv, "hVylro:j:", options, NULL)) != -1) {
		rc = take(&a, long_of(option));
		if (rc)
			return rc;
	}
	a.words = argv + optind;
	a.word_count = argc - optind;
	*ret = a;
	return 0;
}
