/* SPDX-License-Identifier: BSD-3-Clause */
/* One opener per device: flock, and who holds it. */
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "core/base/err.h"
#include "core/base/sync.h"
#include "core/blk/file.h"

/*
 * The process that holds a flock on the inode, by /proc/locks: "1: FLOCK  ADVISORY  WRITE 1234 fd:01:5678 0 EOF". Some
 * file systems show another device number there than stat(2) does, so the inode alone is the second choice. 0 when
 * unknown (or in another pid namespace).
 */
static int find_holder(const struct stat *st)
{
	FILE *f = fopen("/proc/locks", "re");
	char line[256];
	int same_inode = 0, holder = 0;

	if (!f)
		return 0;
	while (!holder && fgets(line, sizeof(line), f)) {
		unsigned dev_major, dev_minor;
		uint64_t inode;
		int pid;

		if (sscanf(line, "%*d: FLOCK %*s %*s %d %x:%x:%" SCNu64, &pid, &dev_major, &dev_minor, &inode) != 4 ||
		    inode != st->st_ino)
			continue;
		if (dev_major == major(st->st_dev) && dev_minor == minor(st->st_dev))
			holder = pid;
		else
			same_inode = pid;
	}
	fclose(f);
	return holder ? holder : same_inode;
}

static void command_of(int pid, char *buf, size_t len)
{
	char path[64];
	FILE *f;

	buf[0] = '\0';
	snprintf(path, sizeof(path), "/proc/%d/comm", pid);
	f = fopen(path, "re");
	if (!f)
		return;
	if (!fgets(buf, (int)len, f))
		buf[0] = '\0';
	buf[strcspn(buf, "\n")] = '\0';
	fclose(f);
}

/*
 * A process that was killed may be gone while the kernel still gives back its ring, and with it the lock: nobody can be
 * named then, and it is a matter of milliseconds. That is worth waiting for, so that a daemon can be restarted at once.
 */
#define DYING_HOLDER_WAIT_NS (5 * SYNC_NS_PER_S)
#define DYING_HOLDER_LOOK_NS (10 * SYNC_NS_PER_MS)

static int busy(const char *path, int pid)
{
	char command[32];

	if (pid <= 0)
		return err_set(-EBUSY, "device %s is in use by another process", path);
	command_of(pid, command, sizeof(command));
	return err_set(-EBUSY, "device %s is in use by %s (pid %d)", path, command[0] ? command : "a process", pid);
}

/* A zombie has given up its files already. */
static bool is_alive(int pid)
{
	char path[64], line[256], *state = NULL;
	FILE *f;

	if (pid <= 0)
		return false;
	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	f = fopen(path, "re");
	if (!f)
		return false;
	if (fgets(line, sizeof(line), f))
		state = strrchr(line, ')');
	fclose(f);
	return !state || strlen(state) < 3 || !strchr("ZX", state[2]);
}

/*
 * Others may still hold the open file for a moment when it is closed here, and with it the lock: the kernel for a
 * request that it has completed, a child between fork and exec.
 */
void lock_release(int fd)
{
	(void)flock(fd, LOCK_UN);
}

int lock_take(int fd, const char *path)
{
	uint64_t deadline_ns = sync_now_ns() + DYING_HOLDER_WAIT_NS;

	while (flock(fd, LOCK_EX | LOCK_NB) != 0) {
		struct stat st;
		int pid;

		if (errno != EWOULDBLOCK)
			return err_set(-errno, "device %s: cannot lock", path);
		pid = fstat(fd, &st) == 0 ? find_holder(&st) : 0;
		if (is_alive(pid) || sync_now_ns() >= deadline_ns)
			return busy(path, pid);
		sync_sleep_ns(DYING_HOLDER_LOOK_NS);
	}
	return 0;
}
