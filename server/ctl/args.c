/* SPDX-License-Identifier: BSD-3-Clause */
/* The command line of wfs: options may stand anywhere, what is left are the words of the command. */
#include "server/ctl/args.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

enum {
	OPT_JSON = 0x1000000, /* beyond every enum args_option */
	OPT_SOCKET,
	OPT_HELP,
	OPT_VERSION,
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
	{ "cluster", required_argument, NULL, ARGS_CLUSTER },
	{ "sector", required_argument, NULL, ARGS_SECTOR },
	{ "repair", no_argument, NULL, ARGS_REPAIR },
	{ "options", required_argument, NULL, ARGS_OPTIONS },
	{ "foreground", no_argument, NULL, ARGS_FOREGROUND },
	{ "json", no_argument, NULL, OPT_JSON },
	{ "socket", required_argument, NULL, OPT_SOCKET },
	{ "help", no_argument, NULL, OPT_HELP },
	{ "version", no_argument, NULL, OPT_VERSION },
	{ 0 },
};

const char *args_option_name(enum args_option option)
{
	for (const struct option *o = options; o->name; o++) {
		if (o->val == (int)option)
			return o->name;
	}
	return "?";
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

static int take(struct args *a, int option)
{
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
	case 'y':
		option = ARGS_YES;
		break;
	case 'o':
	case ARGS_OPTIONS:
		option = ARGS_OPTIONS;
		a->options = optarg;
		break;
	case ARGS_SIZE:
		a->size = optarg;
		break;
	case ARGS_AS:
		a->as = optarg;
		break;
	case ARGS_DESCRIPTION:
		a->description = optarg;
		break;
	case ARGS_TYPE:
		rc = parse_number("type", optarg, 32, &a->type);
		break;
	case ARGS_LABEL:
		a->label = optarg;
		break;
	case ARGS_CLUSTER:
		a->cluster = optarg;
		break;
	case ARGS_SECTOR:
		a->sector = optarg;
		break;
	case ARGS_INTERVAL:
		rc = parse_number("interval", optarg, 86400, &a->interval_s);
		break;
	case ARGS_COUNT:
		rc = parse_number("count", optarg, 1000000, &a->count);
		break;
	case '?':
		return -EINVAL; /* getopt has told */
	default:
		break;
	}
	a->given |= (unsigned)option;
	return rc;
}

int args_parse(int argc, char **argv, struct args *ret)
{
	const char *socket_env = getenv("WFSD_ADMIN");
	struct args a = { .interval_s = 1 };
	int option, rc;

	a.socket = socket_env && *socket_env ? socket_env : ARGS_SOCKET_DEFAULT;
	optind = 0; /* glibc: start afresh */
	while ((option = getopt_long(argc, argv, "hVyo:", options, NULL)) != -1) {
		rc = take(&a, option);
		if (rc)
			return rc;
	}
	a.words = argv + optind;
	a.word_count = argc - optind;
	*ret = a;
	return 0;
}
