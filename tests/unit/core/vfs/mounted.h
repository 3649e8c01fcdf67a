/* SPDX-License-Identifier: BSD-3-Clause */
/* For tests of file systems in the VFS's namespace: files with a text in them, and that an object has one node. */
#ifndef WFSD_TESTS_UNIT_CORE_VFS_MOUNTED_H
#define WFSD_TESTS_UNIT_CORE_VFS_MOUNTED_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/sync.h"
#include "core/vfs/vfs_tree.h"

static inline void put(struct vfs_handle *h, const char *text, uint64_t offset, unsigned flags)
{
	struct iovec iov = { .iov_len = strlen(text) };

	memcpy(&iov.iov_base, &text, sizeof(text));
	assert_int_equal(vfs_write(h, &iov, 1, offset, flags), 0);
}

static inline void assert_content(struct vfs_handle *h, const char *text)
{
	char got[256] = "";
	struct iovec iov = { .iov_base = got, .iov_len = sizeof(got) - 1 };
	size_t len;

	assert_int_equal(vfs_read_some(h, &iov, 1, 0, 0, &len), 0);
	assert_int_equal(len, strlen(text));
	assert_string_equal(got, text);
}

#define FINDERS 3u
#define FINDS 2000u

struct finder {
	struct sync_thread thread;
	struct vfs *vfs;
	const char *path;
	unsigned failed;
};

static inline void find_often(void *arg)
{
	struct finder *f = arg;

	for (unsigned i = 0; i < FINDS; i++) {
		struct vfs_handle *h;

		if (vfs_open(f->vfs, f->path, false, &h))
			f->failed++;
		else
			vfs_close(h);
	}
}

/* Locks tell objects apart by their nodes. @h, of the file at @path, is closed. */
static inline void check_one_node(struct vfs *vfs, struct vfs_handle *h, const char *path)
{
	const struct vfs_lock mine = { .owner = 1, .type = VFS_LOCK_EXCLUSIVE, .len_bytes = UINT64_MAX };
	const struct vfs_lock other = { .owner = 2, .type = VFS_LOCK_SHARED, .len_bytes = 1 };
	struct finder finders[FINDERS];
	struct vfs_handle *again;

	assert_int_equal(vfs_open(vfs, path, false, &again), 0);
	assert_int_equal(vfs_lock(h, &mine, NULL, NULL, NULL), 0);
	assert_int_equal(vfs_lock(again, &other, NULL, NULL, NULL), -EAGAIN);
	vfs_close(h);
	assert_int_equal(vfs_lock(again, &other, NULL, NULL, NULL), -EAGAIN);
	vfs_unlock_owner(vfs, 1);
	assert_int_equal(vfs_lock(again, &other, NULL, NULL, NULL), 0);
	vfs_unlock_owner(vfs, 2);
	vfs_close(again);
	/* The node comes and goes under many. */
	for (unsigned i = 0; i < FINDERS; i++) {
		finders[i] = (struct finder){ .vfs = vfs, .path = path };
		assert_int_equal(sync_thread_start(&finders[i].thread, "finder", find_often, &finders[i]), 0);
	}
	for (unsigned i = 0; i < FINDERS; i++) {
		sync_thread_join(&finders[i].thread);
		assert_int_equal(finders[i].failed, 0);
	}
}

#endif
