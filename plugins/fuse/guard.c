/* SPDX-License-Identifier: BSD-3-Clause */
/* The guard: waits for the end of the mount's process, and then gives up its requests. */
#include "plugins/fuse/guard.h"

#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "plugins/fuse/thread.h"

#define GUARD_NAME "wfs-fuse-guard" /* another one than that of the process that somebody may want to kill */
#define CONNECTIONS "/sys/fs/fuse/connections"
#define PARENT_DIED SIGRTMIN /* it is queued: one from somebody else does not hide it */

/* Before a process ends with a core dump, the kernel has all its threads stop. Of the process, since signals are. */
static struct {
	volatile pid_t guard;
	struct sigaction before[THREAD_FAULTS];
} crash;

/* fusectl of a kernel on which nobody has mounted it. */
static int connections_unmounted(void)
{
	int context = fsopen("fusectl", FSOPEN_CLOEXEC), folder = -1;

	if (context < 0)
		return -1;
	if (fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) == 0)
		folder = fsmount(context, FSMOUNT_CLOEXEC, 0);
	(void)close(context);
	return folder;
}

static int open_abort(int connections, unsigned number)
{
	char name[32];

	snprintf(name, sizeof(name), "%u/abort", number);
	return openat(connections, name, O_WRONLY | O_CLOEXEC);
}

int guard_open(const char *dir)
{
	int connections, fd = -1;
	struct statx st;

	/* The kernel names a connection by the minor number of the mount's device; the major one is 0. */
	if (statx(AT_FDCWD, dir, AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT, STATX_TYPE, &st) || st.stx_dev_major)
		return -1;
	connections = open(CONNECTIONS, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (connections >= 0) {
		fd = open_abort(connections, st.stx_dev_minor);
		(void)close(connections);
	}
	if (fd < 0) {
		connections = connections_unmounted();
		if (connections >= 0) {
			fd = open_abort(connections, st.stx_dev_minor);
			(void)close(connections);
		}
	}
	return fd;
}

/* What the client shares with the server is the server's to free when the mount has let go of it. */
static void unmap_shared(void)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	char line[PATH_MAX + 128], rights[5];
	uintptr_t begin, end;

	if (!maps)
		return;
	while (fgets(line, sizeof(line), maps)) {
		if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %4s", &begin, &end, rights) == 3 && rights[3] == 's')
			(void)munmap((void *)begin, end - begin);
	}
	(void)fclose(maps);
}

/* In the new process, which has a copy of everything, but of threads: there is one, as in the mount so far. */
static _Noreturn void guard(pid_t mount, int fd)
{
	siginfo_t from = { 0 };
	sigset_t died;

	(void)prctl(PR_SET_NAME, GUARD_NAME);
	/* Neither the descriptors of the mount nor anybody's terminal or pipe is kept open by this. */
	if (dup2(fd, STDIN_FILENO) < 0 || close_range(STDIN_FILENO + 1, ~0u, 0) || chdir("/"))
		_exit(1);
	unmap_shared();
	(void)setsid();
	sigemptyset(&died);
	sigaddset(&died, PARENT_DIED);
	/*
	 * The signal comes when the thread ends that has made this process, also if another one of the mount's does not
	 * end; its sender is the mount then, as it is of that of a crash. Before, and in a mount that was killed at
	 * once, there is another parent. When the user's signals fill their queue (RLIMIT_SIGPENDING) it comes without
	 * a sender. Then it counts: that there is the same parent says nothing as long as one of its threads is left.
	 */
	if (prctl(PR_SET_PDEATHSIG, PARENT_DIED) == 0 && getppid() == mount) {
		while (sigwaitinfo(&died, &from) != PARENT_DIED || (from.si_pid && from.si_pid != mount))
			;
	}
	_exit(write(STDIN_FILENO, "1", 1) == 1 ? 0 : 1);
}

/* The guard is told, and then it goes on as without this: the instruction, or abort(), gets its signal again. */
static void on_crash(int number)
{
	for (size_t i = 0; i < THREAD_FAULTS; i++)
		(void)sigaction(thread_faults[i], &crash.before[i], NULL);
	(void)kill(crash.guard, PARENT_DIED);
	(void)raise(number);
}

static void watch_crashes(pid_t guard_pid)
{
	crash.guard = guard_pid;
	for (size_t i = 0; i < THREAD_FAULTS; i++) {
		(void)sigaction(thread_faults[i], NULL, &crash.before[i]);
		/* As a shell has it for SIGQUIT of what it starts in the background. */
		if (crash.before[i].sa_handler != SIG_IGN)
			(void)sigaction(thread_faults[i], &(struct sigaction){ .sa_handler = on_crash }, NULL);
	}
}

pid_t guard_start(int fd)
{
	pid_t mount = getpid(), child;
	sigset_t all, before;

	if (fd < 0)
		return 0;
	/* Only SIGKILL ends it. */
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &before);
	child = fork();
	if (child == 0)
		guard(mount, fd);
	sigprocmask(SIG_SETMASK, &before, NULL);
	(void)close(fd);
	if (child < 0)
		return 0;
	watch_crashes(child);
	return child;
}

void guard_stop(pid_t guard_pid)
{
	if (!guard_pid)
		return;
	for (size_t i = 0; i < THREAD_FAULTS; i++)
		(void)sigaction(thread_faults[i], &crash.before[i], NULL);
	(void)kill(guard_pid, SIGKILL);
	(void)waitpid(guard_pid, NULL, 0);
}
