/* SPDX-License-Identifier: BSD-3-Clause */
/* A scratch folder for one test program, on a real file system where there is one. */
#ifndef WFSD_TESTS_UNIT_CORE_BLK_SCRATCH_H
#define WFSD_TESTS_UNIT_CORE_BLK_SCRATCH_H

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static char scratch_dir[256];

static inline int scratch_setup(void **state)
{
	const char *base = getenv("TMPDIR");

	(void)state;
	snprintf(scratch_dir, sizeof(scratch_dir), "%s/wfsd-unit-XXXXXX",
	         base ? base : (access("build", W_OK) == 0 ? "build" : "."));
	return mkdtemp(scratch_dir) ? 0 : -1;
}

static inline int scratch_remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static inline int scratch_teardown(void **state)
{
	(void)state;
	return nftw(scratch_dir, scratch_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* The path of @name in the folder; valid until the next call but three. */
static inline const char *scratch_path(const char *name)
{
	static char paths[4][1024];
	static unsigned next;
	char *p = paths[next++ % 4];

	snprintf(p, sizeof(paths[0]), "%s/%s", scratch_dir, name);
	return p;
}

#endif
