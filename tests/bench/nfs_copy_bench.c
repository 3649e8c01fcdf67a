/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Reads a file of an NFS share through core/fs/nfs and the page cache, one MiB after the other, and tells how long it
 * took: "nfs_copy_bench URL NAME [TO]". With TO it is written to that file, as nfs-cp does. Without arguments there is
 * nothing to measure. nfs_bench.py starts a server and compares.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/base/budget.h"
#include "core/base/err.h"
#include "core/base/sync.h"
#include "core/cache/cache.h"
#include "core/fs/nfs/nfs_import.h"

#define MEMORY_BYTES (256u << 20)
#define STEP_BYTES (1u << 20)

static int fail(const char *what, int rc)
{
	char text[512];

	(void)fprintf(stderr, "%s: %s\n", what, err_text(err_get(), rc, 0, text, sizeof(text)));
	return 1;
}

static int copy(struct vfs_node *file, int to, uint64_t *ret_bytes)
{
	struct vfs_stat st;
	uint64_t at = 0;
	int rc = file->ops->stat(file, &st);

	while (rc == 0 && at < st.size_bytes) {
		uint64_t left = st.size_bytes - at;
		size_t len = left < STEP_BYTES ? (size_t)left : STEP_BYTES;
		struct vfs_ref ref;

		rc = file->ops->read_ref(file, at, len, 0, &ref);
		if (rc)
			break;
		if (to >= 0 && writev(to, ref.iov, ref.iov_count) != (ssize_t)len)
			rc = -1;
		ref.release(&ref);
		at += len;
	}
	*ret_bytes = at;
	return rc;
}

static int run(struct cache *cache, char **argv)
{
	struct nfs_import_options o = { .cache = cache };
	struct vfs_node *root, *file = NULL;
	struct nfs_import_stats s;
	struct nfs_import *im;
	uint64_t start, bytes = 0;
	double seconds;
	int to = -1, rc;

	rc = nfs_import_open(argv[1], &o, &im, &root);
	if (rc)
		return fail(argv[1], rc);
	rc = root->ops->lookup(root, argv[2], strlen(argv[2]), &file);
	if (rc == 0)
		rc = file->ops->open(file, false);
	if (rc)
		return fail(argv[2], rc);
	if (argv[3])
		to = open(argv[3], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	start = sync_now_ns();
	rc = argv[3] && to < 0 ? -1 : copy(file, to, &bytes);
	seconds = (double)(sync_now_ns() - start) / 1e9;
	if (rc == 0) {
		nfs_import_get_stats(im, &s);
		printf("%" PRIu64 " bytes in %.3f s: %.0f MB/s, %" PRIu64 " calls\n", bytes, seconds,
		       (double)bytes / seconds / 1e6, s.calls);
	}
	if (to >= 0)
		close(to);
	file->ops->close(file, false);
	vfs_node_unref(file);
	vfs_node_unref(root);
	return rc ? fail("copy", rc) : 0;
}

int main(int argc, char **argv)
{
	struct budget *budget = budget_new(MEMORY_BYTES);
	struct cache_config config = { .budget = budget,
		                       .min_bytes = MEMORY_BYTES / 2,
		                       .dirty_max_bytes = MEMORY_BYTES / 4,
		                       .dirty_background_bytes = MEMORY_BYTES / 8,
		                       .writeback_age_ms = 5000,
		                       .writeback_threads = 2,
		                       .readahead_max_bytes = 2u << 20 };
	struct cache *cache;
	int rc;

	if (argc < 3 || argc > 4)
		return 0;
	if (!budget || cache_new(&config, &cache))
		return 1;
	rc = run(cache, argv);
	cache_free(cache);
	budget_free(budget);
	return rc;
}
