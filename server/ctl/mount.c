/* SPDX-License-Identifier: BSD-3-Clause */
/* wfs mount: hands over to the program that mounts, which speaks to the server and to the kernel. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "server/ctl/command.h"

#define PROGRAM "wfs-fuse"

/* The one beside this program, otherwise the one in PATH. Returns only when there is neither. */
static void exec_program(char *const argv[])
{
	char path[PATH_MAX];
	ssize_t len = readlink("/proc/self/exe", path, sizeof(path));
	char *slash;

	if (len > 0 && (size_t)len < sizeof(path) - sizeof(PROGRAM)) {
		path[len] = '\0';
		slash = strrchr(path, '/');
		if (slash) {
			memcpy(slash + 1, PROGRAM, sizeof(PROGRAM));
			execv(path, argv);
		}
	}
	execvp(PROGRAM, argv);
}

enum ctl_status cmd_mount(struct ctl *c)
{
	char program[] = PROGRAM, foreground[] = "-f", *argv[6] = { program, c->operands[0], c->operands[1] };
	const char *server = c->args.server ? c->args.server : getenv("WFS_SERVER");
	char options[4096] = "-o", *source = NULL, *export_name = c->operands[0];
	enum ctl_status status;
	int count = 3;

	/* Without an address it is the server of the other commands. */
	if (*export_name == '/')
		export_name++;
	if (server && *server && !strchr(export_name, '/')) {
		if (asprintf(&source, "%s/%s", server, export_name) < 0)
			return command_fail(CTL_FAILED, "no memory");
		argv[1] = source;
	}
	if (c->args.given & ARGS_FOREGROUND)
		argv[count++] = foreground;
	if (c->args.given & ARGS_OPTIONS) {
		if (strlen(c->args.options) + 3 > sizeof(options))
			return command_fail(CTL_USAGE, "the options are too long");
		strcpy(options + 2, c->args.options);
		argv[count++] = options;
	}
	exec_program(argv);
	status = command_fail(CTL_FAILED, "cannot run " PROGRAM ": %s", strerror(errno));
	free(source);
	return status;
}
