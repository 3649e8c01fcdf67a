/* SPDX-License-Identifier: BSD-3-Clause */
/* wfs: the command line of wfsd. */
#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/fs/wfs3/check.h"
#include "server/ctl/command.h"

/* The one place here that knows a file system. */
static int check_wfs3(char *const paths[], unsigned count, bool with_data,
                      int (*step)(void *ctx, const struct pool_check_report *so_far, uint64_t read_bytes), void *ctx,
                      struct pool_check_report *ret)
{
	struct check_config config = { .with_data = with_data, .step = step, .ctx = ctx };

	return check_paths((const char *const *)paths, count, &config, ret);
}

static void print_help(void)
{
	puts("usage: wfs COMMAND... [--json] [--socket PATH]\n\n"
	     "Asks the wfsd daemon on this machine, over its admin socket.\n");
	command_help(stdout);
	puts("\nOptions of every command:\n"
	     "  --json          print JSON instead of text\n"
	     "  --socket PATH   the daemon's admin socket; else the variable WFSD_ADMIN, else " ARGS_SOCKET_DEFAULT "\n"
	     "  -h, --help      this text\n"
	     "  -V, --version   the version\n\n"
	     "A SIZE is a number of bytes, or has a suffix: 64K, 512M, 10G, 2T (powers of 1024).\n"
	     "What destroys data asks first; -y, --yes answers.\n\n"
	     "Exit status: 0 done, 1 failed, 2 wrong usage, 3 the daemon cannot be reached.");
}

int main(int argc, char **argv)
{
	struct ctl c = { 0 };
	enum ctl_status status;

	if (args_parse(argc, argv, &c.args))
		return CTL_USAGE;
	if (c.args.help) {
		print_help();
		return CTL_OK;
	}
	if (c.args.version) {
		puts("wfs " WFSD_VERSION);
		return CTL_OK;
	}
	c.check_paths = check_wfs3;
	c.admin = (struct admin){ .socket = c.args.socket, .json = c.args.json };
	if (curl_global_init(CURL_GLOBAL_NOTHING))
		return command_fail(CTL_FAILED, "libcurl does not start");
	status = command_run(&c);
	curl_global_cleanup();
	if (fflush(stdout) || ferror(stdout))
		return command_fail(CTL_FAILED, "cannot write the output");
	return status;
}
