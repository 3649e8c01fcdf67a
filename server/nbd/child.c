/* SPDX-License-Identifier: BSD-3-Clause */
/* Starting nbdkit through our own program, and what that program does on the way. */
#include "server/nbd/child.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/base/err.h"
#include "server/conf/value.h"
#include "server/nbd/nbd.h"

#define CHILD_FILES_MAX 64
#define CHILD_OOM_SCORE "500"
#define CHILD_EXIT_FAILURE 125

/* argv of the intermediate program: NAME --nbd-child PARENT UID GID MEMORY PLUGIN NBDKIT; "-" is "none". */
enum { ARG_PARENT = 2, ARG_UID, ARG_GID, ARG_MEMORY, ARG_PLUGIN, ARG_NBDKIT, ARG_COUNT };

static int spawn_files(const struct nbd_child_args *args, posix_spawn_file_actions_t *actions)
{
	int rc = posix_spawn_file_actions_adddup2(actions, args->client_fd, 0);

	if (rc == 0)
		rc = posix_spawn_file_actions_adddup2(actions, args->client_fd, 1);
	if (rc == 0)
		rc = posix_spawn_file_actions_adddup2(actions, args->stderr_fd, 2);
	if (rc == 0)
		rc = posix_spawn_file_actions_adddup2(actions, args->rpc_fd, NBD_CHILD_FD_RPC);
	if (rc == 0 && args->plugin_fd >= 0)
		rc = posix_spawn_file_actions_adddup2(actions, args->plugin_fd, NBD_CHILD_FD_PLUGIN);
	return rc;
}

static int spawn_attributes(posix_spawnattr_t *attr)
{
	sigset_t none, all;

	sigemptyset(&none);
	sigfillset(&all);
	sigdelset(&all, SIGKILL);
	sigdelset(&all, SIGSTOP);
	posix_spawnattr_setsigmask(attr, &none);
	posix_spawnattr_setsigdefault(attr, &all);
	posix_spawnattr_setpgroup(attr, 0);
	return posix_spawnattr_setflags(attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
}

int nbd_child_spawn(const struct nbd_child_args *args, pid_t *ret_pid, int *ret_pidfd)
{
	static char name[] = "wfsd", flag[] = NBD_CHILD_ARG, path[] = "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
	            locale[] = "LC_ALL=C.UTF-8";
	char parent[16], uid[16], gid[16], memory[24], plugin[8], *nbdkit = strdup(args->nbdkit);
	char *argv[] = { name, flag, parent, uid, gid, memory, plugin, nbdkit, NULL };
	char *envp[] = { path, locale, NULL };
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	pid_t pid;
	int rc;

	if (!nbdkit)
		return err_set(-ENOMEM, "start %s", args->nbdkit);
	snprintf(parent, sizeof(parent), "%d", (int)getpid());
	snprintf(uid, sizeof(uid), args->drop ? "%u" : "-", (unsigned)args->uid);
	snprintf(gid, sizeof(gid), args->drop ? "%u" : "-", (unsigned)args->gid);
	snprintf(memory, sizeof(memory), "%llu", (unsigned long long)args->memory_max_bytes);
	snprintf(plugin, sizeof(plugin), "%s", args->plugin_fd >= 0 ? "fd" : "-");
	posix_spawn_file_actions_init(&actions);
	posix_spawnattr_init(&attr);
	rc = spawn_files(args, &actions);
	if (rc == 0)
		rc = spawn_attributes(&attr);
	if (rc == 0)
		rc = posix_spawn(&pid, "/proc/self/exe", &actions, &attr, argv, envp);
	posix_spawn_file_actions_destroy(&actions);
	posix_spawnattr_destroy(&attr);
	free(nbdkit);
	if (rc != 0)
		return err_set(-rc, "start %s", args->nbdkit);
	*ret_pidfd = pidfd_open(pid, 0);
	if (*ret_pidfd < 0) {
		rc = -errno;
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		return err_set(rc, "watch %s", args->nbdkit);
	}
	*ret_pid = pid;
	return 0;
}

static _Noreturn void child_fail(const char *what)
{
	fprintf(stderr, "cannot %s: %s\n", what, strerror(errno));
	_exit(CHILD_EXIT_FAILURE);
}

static uint64_t child_number(const char *text)
{
	uint64_t value;

	if (value_parse_uint(text, &value) < 0) {
		errno = EINVAL;
		child_fail("read an argument");
	}
	return value;
}

static void child_limit(__rlimit_resource_t resource, rlim_t value)
{
	struct rlimit limit;

	/* Never above what we were given ourselves. */
	if (getrlimit(resource, &limit) < 0)
		child_fail("read a resource limit");
	if (limit.rlim_max != RLIM_INFINITY && limit.rlim_max < value)
		value = limit.rlim_max;
	limit = (struct rlimit){ .rlim_cur = value, .rlim_max = value };
	if (setrlimit(resource, &limit) < 0)
		child_fail("set a resource limit");
}

/* When memory runs out, the kernel ends a client's process before the appliance. */
static void child_set_oom_score(void)
{
	int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	if (write(fd, CHILD_OOM_SCORE, sizeof(CHILD_OOM_SCORE) - 1) < 0)
		fprintf(stderr, "cannot raise oom_score_adj: %s\n", strerror(errno));
	close(fd);
}

static void child_drop(uid_t uid, gid_t gid)
{
	if (setgroups(0, NULL) < 0 || setresgid(gid, gid, gid) < 0 || setresuid(uid, uid, uid) < 0)
		child_fail("give up privileges");
}

int nbd_child_main(int argc, char **argv)
{
	char single[] = "-s", newstyle[] = "-n", no_tls[] = "--tls=off", server[32], parent[32], by_name[] = "wfs",
	     by_fd[32];
	bool has_plugin;

	if (argc != ARG_COUNT) {
		errno = EINVAL;
		child_fail("run as a child");
	}
	has_plugin = strcmp(argv[ARG_PLUGIN], "-") != 0;
	child_set_oom_score();
	child_limit(RLIMIT_CORE, 0);
	child_limit(RLIMIT_NOFILE, CHILD_FILES_MAX);
	child_limit(RLIMIT_AS, child_number(argv[ARG_MEMORY]));
	if (close_range(has_plugin ? NBD_CHILD_FD_PLUGIN + 1 : NBD_CHILD_FD_PLUGIN, ~0u, 0) < 0)
		child_fail("close files");
	if (chdir("/") < 0)
		child_fail("leave the folder");
	if (strcmp(argv[ARG_UID], "-") != 0)
		child_drop((uid_t)child_number(argv[ARG_UID]), (gid_t)child_number(argv[ARG_GID]));
	/* After the change of user, which clears the first; and then the parent may be gone already. nbdkit -s sets a
	 * weaker signal, which the plugin changes back. */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		child_fail("tie itself to the daemon");
	if ((uint64_t)getppid() != child_number(argv[ARG_PARENT]))
		_exit(CHILD_EXIT_FAILURE);
	snprintf(server, sizeof(server), "socket=/proc/self/fd/%d", NBD_CHILD_FD_RPC);
	snprintf(parent, sizeof(parent), "parent=%s", argv[ARG_PARENT]);
	snprintf(by_fd, sizeof(by_fd), "/proc/self/fd/%d", NBD_CHILD_FD_PLUGIN);

	char *nbdkit_argv[] = { argv[ARG_NBDKIT], single, newstyle, no_tls, has_plugin ? by_fd : by_name,
		                server,           parent, NULL };

	execvp(argv[ARG_NBDKIT], nbdkit_argv);
	child_fail("start nbdkit");
}
