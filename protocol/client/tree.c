/* SPDX-License-Identifier: BSD-3-Clause */
/* libwfs: the calls on file trees, each a batch of a few operations. What fails while a batch grows, its run reports.
 */
#include <errno.h>

#include "protocol/client/batch.h"

/* Run, and forget. */
static int finish(struct wfs_batch *b, const struct wfs_cred *cred)
{
	int err = wfs_batch_run(b, cred, NULL);

	wfs_batch_done(b);
	return err;
}

static void begin(struct wfs_batch *b, struct wfs *w, const struct wfs_fh *fh)
{
	wfs_batch_init(b, w);
	(void)wfs_batch_put(b, fh);
}

/* The end of those that find or make an object. */
static int finish_found(struct wfs_batch *b, const struct wfs_cred *cred, struct wfs_fh *ret, struct wfs_attr *ret_attr)
{
	if (ret)
		(void)wfs_batch_get_fh(b, ret);
	if (ret_attr)
		(void)wfs_batch_getattr(b, ret_attr);
	return finish(b, cred);
}

int wfs_attach(struct wfs *w, const struct wfs_cred *cred, const char *export_name, struct wfs_fh *ret,
               struct wfs_attr *ret_attr)
{
	struct wfs_batch b;

	wfs_batch_init(&b, w);
	(void)wfs_batch_root(&b, export_name);
	return finish_found(&b, cred, ret, ret_attr);
}

int wfs_lookup(struct wfs *w, const struct wfs_cred *cred, const struct wfs_fh *dir, const char *name,
               struct wfs_fh *ret, struct wfs_attr *ret_attr)
{
	struct wfs_batch b;

	begin(&b, w, dir);
	(void)wfs_batch_lookup(&b, name);
	return finish_found(&b, cred, ret, ret_attr);
}

int wfs_lookup_path(struct wfs *w, const struct wfs_cred *cred, const struct wfs_fh *dir, const char *path, int follow,
                    struct wfs_fh *ret, struct wfs_attr *ret_attr)
{
	struct wfs_batch b;

	begin(&b, w, dir);
	(void)wfs_batch_lookup_path(&b, path, follow);
	return finish_found(&b, cred, ret, ret_attr);
}

int wfs_getattr(struct wfs *w, const struct wfs_cred *cred, const struct wfs_fh *fh, struct wfs_attr *ret)
{
	struct wfs_batch b;

	begin(&b, w, fh);
	(void)wfs_batch_getattr(&b, ret);
	return finish(&b, cred);
}

int wfs_setattr(struct wfs *w, const struct wfs_cred *cred, const struct wfs_fh *fh, const struct wfs_set_attr *set,
                struct wfs_attr *ret)
{
	struct wfs_batch b;

	begin(&b, w, fh);
	(void)wfs_batch_setattr(&b, set, ret);
	return finish(&b, cred);
}

int wfs_make(struct wfs *w, const struct wfs_cred *cred, const struct wfs_fh *dir, const char *name,
             const struct wfs_new *what, struct wfs_fh *ret, struct wfs_attr *ret_attr)
{
	struct wfs_batch b;

	begin(&b, w, dir);
	(void)wfs_batch_make(&b, name, what);
	return finish_found(&b, cred, ret, ret_attr);
}

int wfs_link(struct wfs *w, const struct wfs_cred *cred, const struct wfs_fh *dir, const char *name,
             const struct wfs_fh *target)
{
	struct wfs_batch b;

	begin(&b, w, target);
	(void)wfs_batch_save(&b);
	(void)wfs_batch_put(&b, dir);
	(void)wfs_batch_link(&b, name);
	return finish(&b, cred);
}

int wfs_unlink(struct wfs *w, const struct wfs_cred *cred, const struct wfs_fh *dir, const char *name, int is_dir)
{
	struct wfs_batch b;

	begin(&b, w, dir);
	(void)wfs_batch_unlink(&b, name, is_dir);
	return finish(&b, cred);
}

int wfs_rename(struct wfs *w, const struct wfs_cred *cred, const struct wfs_fh *dir, const char *name,
               const struct wfs_fh *new_dir, const char *new_name, unsigned flags)
{
	struct wfs_batch b;

	begin(&b, w, dir);
	(void)wfs_batch_save(&b);
	(void)wfs_batch_put(&b, new_dir);
	(void)wfs_batch_rename(&b, name, new_name, flags);
	return finish(&b, cred);
}

int wfs_read_link(struct wfs *w, const struct wfs_cred *cred, const struct wfs_fh *fh, char *buf)
{
	struct wfs_batch b;

	begin(&b, w, fh);
	(void)wfs_batch_read_link(&b, buf);
	return finish(&b, cred);
}

int wfs_readdir(struct wfs *w, const struct wfs_cred *cred, const struct wfs_fh *dir, uint64_t cookie, unsigned flags,
                uint32_t max_bytes, wfs_dirent_fn *fn, void *ctx, int *ret_eof)
{
	struct wfs_batch b;

	begin(&b, w, dir);
	(void)wfs_batch_readdir(&b, cookie, flags, max_bytes, fn, ctx, ret_eof);
	return finish(&b, cred);
}

int wfs_get_xattr(struct wfs *w, const struct wfs_cred *cred, const struct wfs_fh *fh, const char *name, void *buf,
                  size_t cap, size_t *ret_len)
{
	struct wfs_batch b;

	begin(&b, w, fh);
	(void)wfs_batch_get_xattr(&b, name, buf, cap, ret_len);
	return finish(&b, cred);
}

int wfs_set_xattr(struct wfs *w, const struct wfs_cred *cred, const struct wfs_fh *fh, const char *name,
                  const void *value, size_t len, unsigned flags)
{
	struct wfs_batch b;

	begin(&b, w, fh);
	(void)wfs_batch_set_xattr(&b, name, value, len, flags);
	return finish(&b, cred);
}

int wfs_remove_xattr(struct wfs *w, const struct wfs_cred *cred, const struct wfs_fh *fh, const char *name)
{
	struct wfs_batch b;

	begin(&b, w, fh);
	(void)wfs_batch_remove_xattr(&b, name);
	return finish(&b, cred);
}

int wfs_list_xattr(struct wfs *w, const struct wfs_cred *cred, const struct wfs_fh *fh, wfs_name_fn *fn, void *ctx)
{
	struct wfs_batch b;

	begin(&b, w, fh);
	(void)wfs_batch_list_xattr(&b, fn, ctx);
	return finish(&b, cred);
}

int wfs_statfs(struct wfs *w, const struct wfs_cred *cred, const struct wfs_fh *fh, struct wfs_statfs *ret)
{
	struct wfs_batch b;

	begin(&b, w, fh);
	(void)wfs_batch_statfs(&b, ret);
	return finish(&b, cred);
}

int wfs_statistics_of(struct wfs *w, enum wfs_scope scope, const char *export_name, wfs_counter_fn *fn, void *ctx)
{
	struct wfs_batch b;

	wfs_batch_init(&b, w);
	(void)wfs_batch_statistics(&b, scope, export_name, fn, ctx);
	return finish(&b, NULL);
}

int wfs_access(struct wfs *w, const struct wfs_cred *cred, const struct wfs_fh *fh, unsigned access, unsigned *ret)
{
	struct wfs_batch b;

	begin(&b, w, fh);
	(void)wfs_batch_access(&b, access, ret);
	return finish(&b, cred);
}

int wfs_sync(struct wfs *w, const struct wfs_cred *cred, const struct wfs_fh *fh)
{
	struct wfs_batch b;

	begin(&b, w, fh);
	(void)wfs_batch_sync(&b);
	return finish(&b, cred);
}

int wfs_sync_range(struct wfs *w, const struct wfs_cred *cred, const struct wfs_fh *fh, uint64_t offset, uint64_t len)
{
	struct wfs_batch b;

	begin(&b, w, fh);
	(void)wfs_batch_sync_range(&b, offset, len);
	return finish(&b, cred);
}

int wfs_lock_test(struct wfs *w, const struct wfs_cred *cred, const struct wfs_fh *fh, const struct wfs_lock *lock,
                  struct wfs_lock *ret)
{
	struct wfs_batch b;

	begin(&b, w, fh);
	(void)wfs_batch_lock_test(&b, lock, ret);
	return finish(&b, cred);
}

int wfs_copy(struct wfs *w, const struct wfs_cred *cred, const struct wfs_fh *from, uint64_t from_offset,
             const struct wfs_fh *to, uint64_t to_offset, uint64_t len, uint64_t *ret_len)
{
	struct wfs_batch b;

	begin(&b, w, from);
	(void)wfs_batch_save(&b);
	(void)wfs_batch_put(&b, to);
	(void)wfs_batch_copy(&b, from_offset, to_offset, len, ret_len);
	return finish(&b, cred);
}

int wfs_seek(struct wfs *w, const struct wfs_cred *cred, const struct wfs_fh *fh, uint64_t offset, unsigned what,
             uint64_t *ret)
{
	struct wfs_batch b;

	begin(&b, w, fh);
	(void)wfs_batch_seek(&b, offset, what, ret);
	return finish(&b, cred);
}

int wfs_allocate(struct wfs *w, const struct wfs_cred *cred, const struct wfs_fh *fh, unsigned mode, uint64_t offset,
                 uint64_t len)
{
	struct wfs_batch b;

	begin(&b, w, fh);
	(void)wfs_batch_allocate(&b, mode, offset, len);
	return finish(&b, cred);
}
