/* SPDX-License-Identifier: BSD-3-Clause */
/* Names in directories of a file tree: looking them up, listing them, new ones. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/base/bytes.h"
#include "core/base/checked.h"
#include "core/base/err.h"
#include "core/base/nowait.h"
#include "core/fs/wfs3/filetree.h"

#define LOAD(field) __atomic_load_n(&(field), __ATOMIC_RELAXED)

/* ---- looking up ---- */

static int lookup_once(struct object *dir, const char *name, size_t name_len, struct object **ret)
{
	uint64_t number;
	uint8_t type;
	int rc = edit_find(dir->ds, dir->number, name, name_len, &number, &type);

	if (rc < 0)
		return rc;
	if (!rc)
		return err_set(-ENOENT, "there is no '%.*s'", (int)name_len, name);
	return object_get(dir->ds, number, ret);
}

int filetree_lookup(struct vfs_node *n, const char *name, size_t name_len, struct vfs_node **ret)
{
	struct object *dir = filetree_object(n), *o;
	int rc;

	if (n->type != VFS_TYPE_DIR)
		return err_set(-ENOTDIR, "object %" PRIu64 " is no directory", dir->number);
	rc = dataset_enter(dir->ds, 0);
	if (rc)
		return rc;
	rc = lookup_once(dir, name, name_len, &o);
	if (rc == -ESTALE) {
		/* The name came, or went, between the two steps: nothing happens under the directory's lock. */
		rc = filetree_lock_one(dir);
		if (!rc) {
			rc = lookup_once(dir, name, name_len, &o);
			filetree_unlock_one(dir);
		}
		if (rc == -ESTALE)
			rc = err_set(-EUCLEAN, "'%.*s' in directory %" PRIu64 " of dataset %" PRIu64 " leads nowhere",
			             (int)name_len, name, dir->number, dir->ds->id);
	}
	dataset_exit(dir->ds);
	if (!rc)
		*ret = &o->node;
	return rc;
}

/* ---- listing ---- */

#define LIST_BYTES WFS3_NODE_BYTES /* the items of a leaf fit */

struct list {
	uint8_t *buf;
	size_t used;
};

static bool list_item(void *ctx, const struct wfs3_key *key, const void *value, size_t len)
{
	struct list *l = ctx;
	struct wr w = wr_init(l->buf, LIST_BYTES);

	w.pos = l->used;
	wr_le64(&w, key->offset);
	wr_le16(&w, (uint16_t)len);
	wr_copy(&w, value, len);
	l->used = w.pos;
	return !w.bad;
}

/* Hand out what was collected. 1: go on; 0: the caller has enough. */
static int list_out(const struct list *l, vfs_dir_fn *fn, void *ctx)
{
	struct rd r = rd_init(l->buf, l->used);

	while (rd_left(&r)) {
		uint64_t hash = rd_le64(&r);
		size_t len = rd_le16(&r), pos = 0;
		const uint8_t *value = rd_bytes(&r, len);
		struct dirent d;
		int rc;

		while ((rc = dirent_next(value, len, &pos, &d)) > 0) {
			/* Between names with the same hash a listing goes on with the first of them. */
			struct vfs_dirent e = { .name = d.name,
				                .name_len = d.name_len,
				                .type = (enum vfs_type)d.type,
				                .object = d.object,
				                .cookie = pos < len ? hash - 1 : hash };

			if (!fn(ctx, &e))
				return 0;
		}
		if (rc)
			return rc;
	}
	return 1;
}

static int list_all(struct object *dir, uint64_t cookie, struct list *l, vfs_dir_fn *fn, void *ctx)
{
	struct wfs3_key at = dirent_key(dir->number, cookie + 1), to = dirent_key(dir->number, UINT64_MAX);
	int more = 1;

	while (more == 1) {
		struct wfs3_key resume;
		int rc = dataset_enter(dir->ds, 0);

		if (rc)
			return rc;
		l->used = 0;
		more = tree_scan(dir->ds->tree, &at, &to, list_item, l, &resume);
		if (more == -EAGAIN) {
			more = tree_fetch(dir->ds->tree, &resume);
			more = !more ? 1 : more == -EAGAIN ? more : -EIO;
		}
		dataset_exit(dir->ds);
		at = resume;
		if (more < 0)
			return err_add(more, "list directory %" PRIu64 " of dataset %" PRIu64, dir->number,
			               dir->ds->id);
		rc = list_out(l, fn, ctx);
		if (rc != 1)
			return rc;
	}
	return 0;
}

int filetree_readdir(struct vfs_node *n, uint64_t cookie, vfs_dir_fn *fn, void *ctx)
{
	struct object *dir = filetree_object(n);
	struct list l = { .buf = malloc(LIST_BYTES) };
	int rc = l.buf ? 0 : err_set(-ENOMEM, "no memory to list a directory");

	if (!rc && n->type != VFS_TYPE_DIR)
		rc = err_set(-ENOTDIR, "object %" PRIu64 " is no directory", dir->number);
	if (!rc && cookie < UINT64_MAX)
		rc = list_all(dir, cookie, &l, fn, ctx);
	if (!rc)
		object_accessed(dir);
	free(l.buf);
	return rc;
}

/* ---- new ones ---- */

struct wfs3_key filetree_target_key(uint64_t object, unsigned part)
{
	return (struct wfs3_key){ .object = object, .kind = WFS3_KIND_INLINE, .offset = part };
}

static void put_target(struct edit *e, uint64_t object, const struct vfs_new *attr)
{
	for (unsigned part = 0; (size_t)part * TREE_ITEM_BYTES_MAX < attr->target_len; part++) {
		size_t at = (size_t)part * TREE_ITEM_BYTES_MAX;
		struct wfs3_key key = filetree_target_key(object, part);

		edit_put(e, &key, attr->target + at, min_u64(TREE_ITEM_BYTES_MAX, attr->target_len - at));
	}
}

int filetree_check_new(const struct vfs_new *attr, bool nameless)
{
	if (attr->type < VFS_TYPE_FILE || attr->type > VFS_TYPE_SOCKET || (nameless && attr->type != VFS_TYPE_FILE))
		return err_set(-EINVAL, "an object of type %d cannot be created", (int)attr->type);
	if (attr->type == VFS_TYPE_SYMLINK && (!attr->target_len || attr->target_len >= VFS_PATH_MAX))
		return err_set(attr->target_len ? -ENAMETOOLONG : -ENOENT, "a symbolic link to %zu bytes",
		               attr->target_len);
	return 0;
}

/* The heads of the ACLs that a new object gets; the same memory until the edit is made. */
struct new_acls {
	uint8_t access[XATTR_PART_BYTES], fallback[XATTR_PART_BYTES];
};

static void put_acls(struct edit *e, const struct object *o, const struct vfs_new *attr, struct new_acls *heads)
{
	if (attr->access_acl)
		filetree_new_acl(e, o, VFS_ACL_ACCESS, attr->access_acl, attr->access_acl_len, heads->access);
	if (attr->default_acl)
		filetree_new_acl(e, o, VFS_ACL_DEFAULT, attr->default_acl, attr->default_acl_len, heads->fallback);
}

/* In the table, NEW, with what the edit will put. */
static int make_object(struct object *dir, const struct vfs_new *attr, bool nameless, int64_t now_ns,
                       struct object **ret)
{
	struct dataset *ds = dir->ds;
	bool is_dir = attr->type == VFS_TYPE_DIR,
	     has_rdev = attr->type == VFS_TYPE_CHAR || attr->type == VFS_TYPE_BLOCK;
	uint64_t number = __atomic_fetch_add(&ds->next_object, 1, __ATOMIC_RELAXED);
	struct inode i = { .mode = filetree_format(attr->type) | (attr->mode & 07777),
		           .uid = attr->uid,
		           .gid = attr->gid,
		           .project = LOAD(dir->inode.project),
		           .flags = attr->access_acl ? FILETREE_FLAG_ACL : 0,
		           .link_count = nameless ? 0
		                         : is_dir ? 2
		                                  : 1,
		           .size_bytes = attr->type == VFS_TYPE_SYMLINK ? attr->target_len : 0,
		           .atime_ns = now_ns,
		           .mtime_ns = now_ns,
		           .ctime_ns = now_ns,
		           .btime_ns = now_ns,
		           .rdev = has_rdev ? attr->rdev : 0,
		           .parent = is_dir ? dir->number : 0 };

	if (number >= WFS3_OBJECT_MAX)
		return err_set(-ENOSPC, "dataset %" PRIu64 " has given out all numbers", ds->id);
	return object_create(ds, number, &i, ret);
}

/* With the directory locked. */
static int create_named(struct object *dir, const char *name, size_t name_len, const struct vfs_new *attr,
                        struct object **ret)
{
	struct new_acls acls;
	uint64_t number;
	struct object *o;
	struct inode *i;
	struct edit e;
	uint8_t type;
	int rc = filetree_check_dir(dir);

	if (!rc)
		rc = edit_find(dir->ds, dir->number, name, name_len, &number, &type);
	if (rc)
		return rc < 0 ? rc : err_set(-EEXIST, "'%.*s' exists already", (int)name_len, name);
	if (attr->type == VFS_TYPE_DIR && LOAD(dir->inode.link_count) >= VFS_LINKS_MAX)
		return err_set(-EMLINK, "directory %" PRIu64 " has too many others in it", dir->number);
	edit_init(&e, dir->ds);
	rc = make_object(dir, attr, false, e.now_ns, &o);
	if (rc)
		return rc;
	i = edit_inode(&e, dir, EDIT_SIZE | EDIT_MTIME | EDIT_LINKS);
	i->size_bytes++;
	i->mtime_ns = e.now_ns;
	i->link_count += attr->type == VFS_TYPE_DIR;
	edit_inode_new(&e, o);
	edit_tag(&e, attr->tag, o->number);
	e.object_delta = 1;
	if (attr->type == VFS_TYPE_SYMLINK)
		put_target(&e, o->number, attr);
	put_acls(&e, o, attr, &acls);
	rc = edit_entry(&e, dir->number, name, name_len, o->number, (uint8_t)attr->type);
	if (!rc)
		rc = edit_run(&e);
	if (rc) {
		object_forget(o);
		return rc;
	}
	object_publish(o, true);
	*ret = o;
	return 0;
}

int filetree_create(struct vfs_node *n, const char *name, size_t name_len, const struct vfs_new *attr,
                    struct vfs_node **ret)
{
	struct object *dir = filetree_object(n), *o = NULL;
	struct filetree_op op;
	int rc = filetree_check_new(attr, false);

	if (!rc)
		rc = filetree_begin(dir->ds, false, &op);
	if (rc)
		return rc;
	rc = filetree_lock_one(dir);
	if (!rc) {
		rc = create_named(dir, name, name_len, attr, &o);
		filetree_unlock_one(dir);
	}
	filetree_end(&op);
	if (!rc)
		*ret = &o->node;
	return rc;
}

int filetree_create_nameless(struct vfs_node *n, const struct vfs_new *attr, struct vfs_node **ret)
{
	struct object *dir = filetree_object(n), *o;
	struct filetree_op op;
	struct wfs3_key orphan;
	struct new_acls acls;
	struct edit e;
	int rc = filetree_check_new(attr, true);

	if (!rc)
		rc = filetree_begin(dir->ds, false, &op);
	if (rc)
		return rc;
	edit_init(&e, dir->ds);
	rc = make_object(dir, attr, true, e.now_ns, &o);
	if (!rc) {
		edit_inode_new(&e, o);
		orphan = filetree_orphan_key(o->number);
		edit_put(&e, &orphan, NULL, 0);
		put_acls(&e, o, attr, &acls);
		edit_tag(&e, attr->tag, o->number);
		e.object_delta = 1;
		rc = edit_run(&e);
		if (rc)
			object_forget(o);
		else
			object_publish(o, false);
	}
	filetree_end(&op);
	if (!rc)
		*ret = &o->node;
	return rc;
}

int filetree_read_link(struct vfs_node *n, char *buf, size_t *ret_len)
{
	struct object *o = filetree_object(n);
	uint64_t size_bytes = LOAD(o->inode.size_bytes);
	size_t at = 0;
	int rc;

	if (n->type != VFS_TYPE_SYMLINK)
		return err_set(-EINVAL, "object %" PRIu64 " is no symbolic link", o->number);
	rc = dataset_enter(o->ds, 0);
	if (rc)
		return rc;
	for (unsigned part = 0; at < size_bytes && part < FILETREE_TARGET_PARTS && !rc; part++) {
		struct wfs3_key key = filetree_target_key(o->number, part);
		size_t len = 0;

		rc = edit_read(o->ds, &key, buf + at, VFS_PATH_MAX - at, &len);
		at += rc ? 0 : len;
	}
	if (!rc)
		object_accessed(o);
	dataset_exit(o->ds);
	if (rc == -ENOENT || rc == -ERANGE || (!rc && at != size_bytes))
		rc = err_set(-EUCLEAN, "target of symbolic link %" PRIu64 " of dataset %" PRIu64 " is not whole",
		             o->number, o->ds->id);
	if (!rc)
		*ret_len = at;
	return rc;
}
