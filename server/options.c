/* SPDX-License-Identifier: BSD-3-Clause */
/* The daemon's command line. */
#include "server/options.h"

#include <getopt.h>
#include <stdio.h>

static const char usage[] =
        "usage: wfsd --config FILE [--check]\n"
        "\n"
        "  -c, --config FILE  the configuration\n"
        "      --check        say whether the configuration is right, and end\n"
        "      --version      print the version\n"
        "  -h, --help         print this\n"
        "\n"
        "exit codes: 0 stopped as asked, 1 failure, 2 wrong command line or configuration\n"
        "signals: TERM and INT stop, HUP reads exports and log level from the configuration again\n";

enum { OPTION_CHECK = 256, OPTION_VERSION };

bool options_parse(int argc, char **argv, struct options *ret, int *ret_exit)
{
	static const struct option longs[] = {
		{ "config", required_argument, NULL, 'c' },
		{ "check", no_argument, NULL, OPTION_CHECK },
		{ "version", no_argument, NULL, OPTION_VERSION },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	int option;

	*ret = (struct options){ 0 };
	*ret_exit = DAEMON_EXIT_USAGE;
	while ((option = getopt_long(argc, argv, "c:h", longs, NULL)) != -1) {
		switch (option) {
		case 'c':
			ret->config = optarg;
			break;
		case OPTION_CHECK:
			ret->check = true;
			break;
		case OPTION_VERSION:
			printf("wfsd %s\n", WFSD_VERSION);
			*ret_exit = DAEMON_EXIT_OK;
			return false;
		case 'h':
			fputs(usage, stdout);
			*ret_exit = DAEMON_EXIT_OK;
			return false;
		default:
			fputs(usage, stderr);
			return false;
		}
	}
	if (optind < argc) {
		fprintf(stderr, "wfsd: unexpected argument '%s'\n%s", argv[optind], usage);
		return false;
	}
	if (!ret->config) {
		fprintf(stderr, "wfsd: --config FILE is missing\n%s", usage);
		return false;
	}
	return true;
}
