/* SPDX-License-Identifier: BSD-3-Clause */
/* The daemon's command line. */
#ifndef WFSD_SERVER_OPTIONS_H
#define WFSD_SERVER_OPTIONS_H

#include <stdbool.h>

/* Exit codes of wfsd. */
enum daemon_exit {
	DAEMON_EXIT_OK = 0,
	DAEMON_EXIT_FAILED = 1, /* something it needs failed */
	DAEMON_EXIT_USAGE = 2, /* wrong command line or configuration */
};

struct options {
	const char *config; /* path */
	bool check; /* only look whether the configuration is right */
};

/*
 * Returns true with @ret filled, or false with the program's exit code in *ret_exit: help and version were printed, or
 * what is wrong.
 */
bool options_parse(int argc, char **argv, struct options *ret, int *ret_exit);

#endif
