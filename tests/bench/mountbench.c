/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How fast small files are on a mounted file system, one after the other by one thread: made, listed with their
 * attributes, read, made durable, removed. Prints a line of JSON for each row.
 *
 * usage: mountbench FOLDER FILES
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/sync.h"

#define FILE_BYTES 4096u
#define DURABLE_PART 10u /* of the files */

static unsigned char data[FILE_BYTES];

static void must(int ok, const char *what)
{
	if (ok)
		return;
	perror(what);
	exit(1);
}

static void row(const char *name, unsigned count, uint64_t since_ns)
{
	printf("{\"row\": \"%s\", \"value\": %.1f}\n", name, count * 1e9 / (double)(sync_now_ns() - since_ns));
	fflush(stdout);
}

static void make_files(const char *prefix, unsigned count, int durable)
{
	char name[64];

	for (unsigned i = 0; i < count; i++) {
		int fd;

		snprintf(name, sizeof(name), "%s%u", prefix, i);
		fd = open(name, O_CREAT | O_EXCL | O_WRONLY, 0644);
		must(fd >= 0, "open to create");
		must(write(fd, data, sizeof(data)) == (ssize_t)sizeof(data), "write");
		must(!durable || fsync(fd) == 0, "fsync");
		must(close(fd) == 0, "close");
	}
}

static unsigned list_files(void)
{
	DIR *dir = opendir(".");
	unsigned count = 0;
	struct dirent *e;
	struct stat st;

	must(dir != NULL, "opendir");
	while ((e = readdir(dir))) {
		must(lstat(e->d_name, &st) == 0, "lstat");
		count += S_ISREG(st.st_mode);
	}
	closedir(dir);
	return count;
}

static void read_files(unsigned count)
{
	unsigned char back[FILE_BYTES];
	char name[64];

	for (unsigned i = 0; i < count; i++) {
		int fd;

		snprintf(name, sizeof(name), "f%u", i);
		fd = open(name, O_RDONLY);
		must(fd >= 0, "open to read");
		must(read(fd, back, sizeof(back)) == (ssize_t)sizeof(back), "read");
		must(memcmp(back, data, sizeof(back)) == 0, "compare");
		close(fd);
	}
}

static void remove_files(const char *prefix, unsigned count)
{
	char name[64];

	for (unsigned i = 0; i < count; i++) {
		snprintf(name, sizeof(name), "%s%u", prefix, i);
		must(unlink(name) == 0, "unlink");
	}
}

int main(int argc, char **argv)
{
	unsigned count = argc == 3 ? (unsigned)atoi(argv[2]) : 0;
	uint64_t start;

	if (!count || chdir(argv[1])) {
		fputs("usage: mountbench FOLDER FILES\n", stderr);
		return 2;
	}
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (unsigned char)(i * 7 + 1);
	start = sync_now_ns();
	make_files("f", count, 0);
	row("create", count, start);
	start = sync_now_ns();
	must(list_files() == count, "count");
	row("readdir+stat", count, start);
	start = sync_now_ns();
	read_files(count);
	row("read", count, start);
	start = sync_now_ns();
	make_files("s", count / DURABLE_PART, 1);
	row("create+fsync", count / DURABLE_PART, start);
	start = sync_now_ns();
	remove_files("f", count);
	row("unlink", count, start);
	remove_files("s", count / DURABLE_PART);
	return 0;
}
