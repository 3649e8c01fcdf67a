/* SPDX-License-Identifier: BSD-3-Clause */
/* libwfs: open files of a tree. What they are opened by is a handle, not an export's name; the rest is file.c. */
#include <errno.h>
#include <string.h>

#include "core/base/err.h"
#include "protocol/client/file.h"

void wfs_file_info_of(const struct wfs_attr *attr, uint64_t descriptor, struct wfsp_open_ok *ret)
{
	*ret = (struct wfsp_open_ok){ .handle = descriptor,
		                      .block_min_bytes = 1,
		                      .block_preferred_bytes = attr->block_preferred_bytes,
		                      .block_max_bytes = WFSP_PAYLOAD_MAX };
	ret->attr = (struct wfsp_attr){ .fsid = attr->fsid,
		                        .fileid = attr->file_id,
		                        .size_bytes = attr->size_bytes,
		                        .allocated_bytes = attr->allocated_bytes,
		                        .change = attr->change,
		                        .mtime_ns = attr->mtime_ns,
		                        .read_only = attr->read_only };
}

int wfs_file_open_in_tree(struct wfs_file *f, struct wfs_conn *c, uint64_t generation, bool known,
                          struct wfsp_open_ok *ret, uint32_t *ret_flags)
{
	struct wfs_attr attr;
	struct wfs_batch b;
	uint64_t descriptor;
	int err;

	wfs_batch_init(&b, f->client);
	(void)wfs_batch_put(&b, &f->fh);
	(void)wfs_batch_open(&b, f->access, known, &descriptor, &attr);
	err = wfs_batch_run_on(&b, f->has_cred ? &f->cred : NULL, c, generation, 0, 0);
	wfs_batch_done(&b);
	if (err)
		return err;
	wfs_file_info_of(&attr, descriptor, ret);
	*ret_flags = attr.flags;
	return 0;
}

static int file_in_tree(struct wfs *w, const struct wfs_cred *cred, unsigned access, struct wfs_file **ret)
{
	struct wfs_file *f;
	int err;

	if (!access || (access & ~(WFS_ACCESS_READ | WFS_ACCESS_WRITE)))
		return err_set(-EINVAL, "a file is opened for reading, writing or both");
	err = wfs_file_new(w, access & WFS_ACCESS_WRITE ? WFS_OPEN_WRITE : 0, &f);
	if (err)
		return err;
	f->in_tree = true;
	f->access = access;
	f->has_cred = cred != NULL;
	if (cred) {
		f->cred = *cred;
		if (f->cred.group_count > WFS_GROUPS_MAX)
			f->cred.group_count = WFS_GROUPS_MAX;
		if (f->cred.group_count)
			memcpy(f->groups, cred->groups, f->cred.group_count * sizeof(f->groups[0]));
		f->cred.groups = f->groups;
	}
	*ret = f;
	return 0;
}

int wfs_open_fh(struct wfs *w, const struct wfs_cred *cred, const struct wfs_fh *fh, unsigned access,
                struct wfs_file **ret)
{
	return wfs_open_fh_shared(w, cred, fh, access, NULL, 0, ret);
}

int wfs_open_fh_shared(struct wfs *w, const struct wfs_cred *cred, const struct wfs_fh *fh, unsigned access,
                       struct wfs_ledger *ledger, uint64_t seen, struct wfs_file **ret)
{
	struct wfs_file *f;
	int err = file_in_tree(w, cred, access, &f);

	if (err)
		return err;
	f->fh = *fh;
	if (ledger)
		wfs_file_share(f, ledger, seen);
	err = wfs_file_open(f);
	if (!err)
		*ret = f;
	return err;
}

int wfs_create(struct wfs *w, const struct wfs_cred *cred, const struct wfs_fh *dir, const char *name, uint32_t mode,
               unsigned flags, unsigned access, struct wfs_file **ret_file, struct wfs_fh *ret_fh,
               struct wfs_attr *ret_attr, int *ret_created)
{
	return wfs_create_in(w, cred, dir, name, mode, flags, access, ret_file, ret_fh, ret_attr, ret_created, NULL);
}

int wfs_create_in(struct wfs *w, const struct wfs_cred *cred, const struct wfs_fh *dir, const char *name, uint32_t mode,
                  unsigned flags, unsigned access, struct wfs_file **ret_file, struct wfs_fh *ret_fh,
                  struct wfs_attr *ret_attr, int *ret_created, struct wfs_attr *ret_dir)
{
	struct batch_outcome where;
	uint64_t descriptor = 0;
	struct wfs_attr attr;
	struct wfs_batch b;
	struct wfs_file *f;
	int opened, err = file_in_tree(w, cred, access, &f);
	unsigned done;

	if (err)
		return err;
	wfs_batch_init(&b, w);
	(void)wfs_batch_put(&b, dir);
	(void)wfs_batch_create(&b, name, mode, flags, access, ret_created);
	(void)wfs_batch_get_fh(&b, &f->fh);
	opened = wfs_batch_open(&b, access, false, &descriptor, &attr);
	if (ret_dir) {
		ret_dir->link_count = 0;
		(void)wfs_batch_put(&b, dir);
		(void)wfs_batch_getattr(&b, ret_dir);
	}
	err = wfs_batch_run_any(&b, cred, &done, &where);
	wfs_batch_done(&b);
	if (err && (opened < 0 || done <= (unsigned)opened)) {
		wfs_close(f);
		return err;
	}
	wfs_file_adopt(f, &where, descriptor, &attr);
	if (ret_fh)
		*ret_fh = f->fh;
	if (ret_attr)
		*ret_attr = attr;
	*ret_file = f;
	return 0;
}
