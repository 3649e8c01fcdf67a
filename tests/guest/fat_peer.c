/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Random changes to a FAT volume, and what it holds then, for two drivers to be compared:
 *	fat_peer engine|kernel TARGET SEED COUNT
 * does COUNT random operations, then prints a line for each file and directory:
 *	PATH|d or f|attributes|size|changed|created|accessed|CRC32C of the contents
 * Built by the test that uses it.
 */
#include "tests/guest/fat_peer.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/checksum.h"

#define DATA_BYTES_MAX 40000u
#define FILE_BYTES_MAX 300000u
#define YEAR_1980_S INT64_C(315532800)
#define YEARS_S INT64_C(3786912000) /* 120 of them */

static const char *const dirs[] = { "", "Folder A/", "Folder A/another one in it, with a long name/", "DIRB/",
	                            "dirb.c/" };
static const char *const names[] = {
	"README.TXT",
	"lower.txt",
	"MiXed.TxT",
	"noext",
	"a long name with blanks.text",
	"archive.tar.gz",
	".hidden",
	"\xc3\xbc\x62ung \xd0\xba\xd0\xbb\xd1\x8e\xd1\x87.dat",
	"\xf0\x9f\x98\x80.png",
	"a+b,c;d=[e].f",
	"UPPER.low",
	"exactly 13 ch",
	"just 26 characters long..x",
	"another long name with blanks.text",
	"x",
	"file with a tilde~1",
};
#define DIRS (sizeof(dirs) / sizeof(dirs[0]))
#define NAMES (sizeof(names) / sizeof(names[0]))

static uint64_t seed;

static uint64_t pick(uint64_t below)
{
	/* Marsaglia, "Xorshift RNGs" (2003). */
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (seed >> 16) % below;
}

static void pick_path(char *path)
{
	const char *dir = dirs[pick(DIRS)];

	snprintf(path, PEER_PATH_MAX, "%s%s", dir, names[pick(NAMES)]);
}

/* One of the folders themselves, without the slash at its end. */
static void pick_dir(char *path)
{
	const char *dir = dirs[1 + pick(DIRS - 1)];

	snprintf(path, PEER_PATH_MAX, "%.*s", (int)strlen(dir) - 1, dir);
}

static int write_some(const struct peer *p, const char *path)
{
	static uint8_t data[DATA_BYTES_MAX];
	size_t len = 1 + (size_t)pick(sizeof(data));
	struct peer_stat st;
	int rc = p->stat(p->ctx, path, &st);

	for (size_t i = 0; i < len; i++)
		data[i] = (uint8_t)pick(256);
	if (rc || st.is_dir)
		return rc;
	/* Often at the end, now and then far behind it. */
	if (st.size_bytes < FILE_BYTES_MAX && pick(3) == 0)
		return p->write(p->ctx, path, st.size_bytes, data, len);
	return p->write(p->ctx, path, pick(st.size_bytes + 20000), data, len);
}

static int set_some(const struct peer *p, const char *path)
{
	uint8_t attr = (uint8_t)(pick(256) & PEER_ATTR_CHANGEABLE & ~1u);
	int64_t mtime_s = YEAR_1980_S + 86400 + (int64_t)pick(YEARS_S);

	return p->set(p->ctx, path, attr, mtime_s);
}

static int change(const struct peer *p)
{
	char path[PEER_PATH_MAX], other[PEER_PATH_MAX];
	uint64_t what = pick(100);

	pick_path(path);
	pick_path(other);
	if (what < 22)
		return p->create(p->ctx, path);
	if (what < 55)
		return write_some(p, path);
	if (what < 62)
		return p->truncate(p->ctx, path, pick(60000));
	if (what < 70)
		return p->unlink(p->ctx, path);
	if (what < 82)
		return p->rename(p->ctx, path, other);
	if (what < 90)
		return set_some(p, path);
	pick_dir(path);
	pick_dir(other);
	if (what < 96)
		return p->make_dir(p->ctx, path);
	return what < 98 ? p->remove_dir(p->ctx, path) : p->rename(p->ctx, path, other);
}

/* What random operations may well come to. */
static bool is_fine(int rc)
{
	switch (rc) {
	case 0:
	case -ENOENT:
	case -EEXIST:
	case -ENOTEMPTY:
	case -EISDIR:
	case -ENOTDIR:
	case -ENOSPC:
	case -EINVAL: /* a directory into itself */
		return true;
	default:
		return false;
	}
}

static int print_crc(const struct peer *p, const char *path)
{
	static uint8_t buf[1 << 20];
	uint64_t at = 0;
	size_t got = 0;
	uint32_t crc;
	int rc;

	/* A file is smaller than this. */
	do {
		rc = p->read(p->ctx, path, at, buf + at, sizeof(buf) - at, &got);
		at += rc ? 0 : got;
	} while (rc == 0 && got && at < sizeof(buf));
	crc = crc32c(buf, at);
	printf("|%08" PRIx32, crc);
	return rc;
}

struct walk {
	const struct peer *p;
	const char *dir;
	char (*paths)[PEER_PATH_MAX];
	size_t count;
};

static void take_name(void *ctx, const char *name)
{
	struct walk *w = ctx;
	void *bigger = realloc(w->paths, (w->count + 1) * sizeof(*w->paths));

	if (!bigger)
		abort();
	w->paths = bigger;
	snprintf(w->paths[w->count++], PEER_PATH_MAX, "%s%s%s", w->dir, *w->dir ? "/" : "", name);
}

static void print_path(const char *path)
{
	for (; *path; path++)
		printf(isalnum((unsigned char)*path) || *path == '/' || *path == '.' ? "%c" : "%%%02x",
		       (unsigned char)*path);
}

static int print_tree(const struct peer *p, const char *dir)
{
	struct walk w = { .p = p, .dir = dir };
	int rc = p->list(p->ctx, dir, take_name, &w);

	for (size_t i = 0; rc == 0 && i < w.count; i++) {
		struct peer_stat st;

		rc = p->stat(p->ctx, w.paths[i], &st);
		if (rc)
			break;
		print_path(w.paths[i]);
		printf("|%c|%02x|%" PRIu64 "|%" PRId64 "|%" PRId64 "|%" PRId64, st.is_dir ? 'd' : 'f',
		       st.attr & PEER_ATTR_MASK, st.is_dir ? 0 : st.size_bytes, st.mtime_s, st.created_cs, st.atime_s);
		if (!st.is_dir)
			rc = print_crc(p, w.paths[i]);
		printf("\n");
		if (rc == 0 && st.is_dir)
			rc = print_tree(p, w.paths[i]);
	}
	if (rc)
		fprintf(stderr, "fat_peer: %s: error %d\n", dir, rc);
	free(w.paths);
	return rc;
}

int main(int argc, char **argv)
{
	unsigned long count;
	struct peer p;
	int rc;

	if (argc != 5) {
		fprintf(stderr, "usage: fat_peer engine|kernel TARGET SEED COUNT\n");
		return 2;
	}
	seed = strtoull(argv[3], NULL, 10) * UINT64_C(0x9e3779b97f4a7c15) | 1;
	count = strtoul(argv[4], NULL, 10);
	rc = strcmp(argv[1], "engine") == 0 ? peer_open_engine(argv[2], &p) : peer_open_kernel(argv[2], &p);
	if (rc) {
		fprintf(stderr, "fat_peer: %s: error %d\n", argv[2], rc);
		return 1;
	}
	for (unsigned long i = 0; rc == 0 && i < count; i++) {
		rc = change(&p);
		if (is_fine(rc))
			rc = 0;
		else
			fprintf(stderr, "fat_peer: operation %lu: error %d\n", i, rc);
	}
	rc = rc ? rc : print_tree(&p, "");
	if (p.close(p.ctx))
		rc = rc ? rc : -EIO;
	return rc ? 1 : 0;
}
