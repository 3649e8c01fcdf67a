/* SPDX-License-Identifier: BSD-3-Clause */
/* New objects of all types. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <nfsc/libnfs-raw-nfs.h>

#include "core/base/err.h"
#include "core/fs/nfs/nfs_priv.h"

/* What fits into libnfs's buffer beside a handle and a name. */
#define TARGET_BYTES_MAX 3000u

struct new_object {
	enum nfs_proc proc;
	char name[VFS_NAME_MAX + 1];
	char target[TARGET_BYTES_MAX + 1];
	union {
		CREATE3args create;
		MKDIR3args mkdir;
		SYMLINK3args symlink;
		MKNOD3args mknod;
	} args;
	struct nfs_told told;
};

/* The results of all four have one shape. */
_Static_assert(sizeof(CREATE3resok) == sizeof(MKDIR3resok) && sizeof(CREATE3resok) == sizeof(SYMLINK3resok) &&
                       sizeof(CREATE3resok) == sizeof(MKNOD3resok),
               "results of creating calls");

static int take_new(void *ctx, const void *res)
{
	const CREATE3resok *r = &((const CREATE3res *)res)->CREATE3res_u.resok;
	struct nfs_told *t = ctx;
	int rc = 0;

	if (r->obj.handle_follows) {
		rc = nfs_handle_decode(&r->obj.post_op_fh3_u.handle, &t->fh);
		t->has_handle = rc == 0;
	}
	return rc ? rc : nfs_told_attr(t, &r->obj_attributes);
}

static sattr3 first_attr(const struct nfs_import *im, const struct vfs_new *attr)
{
	sattr3 s = { .mode = { .set_it = 1, .set_mode3_u.mode = attr->mode } };

	if (!__atomic_load_n(&im->no_owners, __ATOMIC_RELAXED)) {
		s.uid = (set_uid3){ .set_it = 1, .set_uid3_u.uid = attr->uid };
		s.gid = (set_gid3){ .set_it = 1, .set_gid3_u.gid = attr->gid };
	}
	return s;
}

static int fill_mknod(const struct vfs_new *attr, const sattr3 *first, mknoddata3 *ret)
{
	devicedata3 device = { .dev_attributes = *first,
		               .spec = { .specdata1 = (u_int)(attr->rdev >> 32), .specdata2 = (u_int)attr->rdev } };

	switch (attr->type) {
	case VFS_TYPE_CHAR:
		*ret = (mknoddata3){ .type = NF3CHR, .mknoddata3_u.chr_device = device };
		return 0;
	case VFS_TYPE_BLOCK:
		*ret = (mknoddata3){ .type = NF3BLK, .mknoddata3_u.blk_device = device };
		return 0;
	case VFS_TYPE_FIFO:
		*ret = (mknoddata3){ .type = NF3FIFO, .mknoddata3_u.pipe_attributes = *first };
		return 0;
	case VFS_TYPE_SOCKET:
		*ret = (mknoddata3){ .type = NF3SOCK, .mknoddata3_u.sock_attributes = *first };
		return 0;
	default:
		return err_set(-EINVAL, "no such type of object");
	}
}

static int fill_args(struct nfs_node *d, const struct vfs_new *attr, struct new_object *o)
{
	diropargs3 where = { .dir = nfs_handle_arg(&d->fh), .name = o->name };
	sattr3 first = first_attr(d->im, attr);

	switch (attr->type) {
	case VFS_TYPE_FILE:
		o->proc = NFS_CREATE;
		o->args.create = (CREATE3args){ .where = where,
			                        .how = { .mode = GUARDED, .createhow3_u.g_obj_attributes = first } };
		return 0;
	case VFS_TYPE_DIR:
		o->proc = NFS_MKDIR;
		o->args.mkdir = (MKDIR3args){ .where = where, .attributes = first };
		return 0;
	case VFS_TYPE_SYMLINK:
		if (attr->target_len > TARGET_BYTES_MAX)
			return err_set(-ENAMETOOLONG, "a symbolic link of more than %u bytes", TARGET_BYTES_MAX);
		memcpy(o->target, attr->target, attr->target_len);
		o->target[attr->target_len] = 0;
		o->proc = NFS_SYMLINK;
		o->args.symlink =
		        (SYMLINK3args){ .where = where,
			                .symlink = { .symlink_attributes = first, .symlink_data = o->target } };
		return 0;
	default:
		o->proc = NFS_MKNOD;
		o->args.mknod = (MKNOD3args){ .where = where };
		return fill_mknod(attr, &first, &o->args.mknod.what);
	}
}

static int create_call(struct nfs_node *d, const struct vfs_new *attr, struct new_object *o)
{
	struct nfs_call c = { .args = &o->args, .take = take_new, .ctx = &o->told, .once = true };
	int rc = fill_args(d, attr, o);

	c.proc = o->proc;
	return rc ? rc : nfs_call_run(d->im->net, &c);
}

int nfs_dir_create(struct vfs_node *dir, const char *what, size_t len, const struct vfs_new *attr,
                   struct vfs_node **ret)
{
	struct nfs_node *d = nfs_node_of(dir), *n;
	struct nfs_import *im = d->im;
	uint64_t asked_ns = sync_now_ns();
	struct new_object *o;
	int rc = nfs_check_alive(im);

	if (rc)
		return rc;
	if (len > VFS_NAME_MAX || memchr(what, 0, len))
		return err_set(-EINVAL, "a name that cannot be sent");
	o = calloc(1, sizeof(*o));
	if (!o)
		return err_set(-ENOMEM, "a new file: no memory");
	memcpy(o->name, what, len);
	rc = create_call(d, attr, o);
	/* A server that maps root to nobody lets nobody give files away: then they are whose it makes them. */
	if (rc == -EPERM && !__atomic_exchange_n(&im->no_owners, true, __ATOMIC_RELAXED))
		rc = create_call(d, attr, o);
	if (rc == 0 && !o->told.has_handle)
		rc = nfs_lookup_call(d, what, len, &o->told);
	if (rc == 0)
		rc = nfs_node_get_told(im, &o->told, asked_ns, &n);
	if (rc == 0)
		*ret = &n->node;
	free(o);
	return rc;
}
