/* SPDX-License-Identifier: BSD-3-Clause */
/* Extended attributes of the objects of a file tree. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/bytes.h"
#include "core/base/checked.h"
#include "core/base/err.h"
#include "core/base/nowait.h"
#include "core/fs/wfs3/filetree.h"

#define LOAD(field) __atomic_load_n(&(field), __ATOMIC_RELAXED)

_Static_assert(XATTR_PARTS_MAX <= EDIT_ITEMS_MAX, "an attribute is changed as one");
_Static_assert(XATTR_VALUE_MAX == VFS_XATTR_BYTES_MAX && XATTR_NAME_MAX_BYTES == VFS_XATTR_NAME_MAX, "one limit");

static int check_name(const char *name, size_t *ret_len)
{
	*ret_len = strlen(name);
	if (!*ret_len || *ret_len > XATTR_NAME_MAX_BYTES)
		return err_set(-ERANGE, "a name of %zu bytes for an extended attribute", *ret_len);
	return 0;
}

/* The head of an attribute. @buf of XATTR_PART_BYTES; -ENODATA. @clash (may be NULL): another name has its place. */
static int read_head(struct object *o, const char *name, size_t name_len, uint8_t *buf, struct xattr_head *ret,
                     bool *clash)
{
	struct wfs3_key key = xattr_key(o->number, xattr_hash(o->ds->hash_key, name, name_len), 0);
	size_t len;
	int rc = edit_read(o->ds, &key, buf, XATTR_PART_BYTES, &len);

	if (clash)
		*clash = false;
	if (!rc)
		rc = xattr_head_decode(buf, len, ret);
	if (!rc && (ret->name_len != name_len || memcmp(ret->name, name, name_len))) {
		if (clash)
			*clash = true;
		rc = -ENOENT;
	}
	return rc == -ENOENT ? err_set(-ENODATA, "object %" PRIu64 " has no attribute '%s'", o->number, name) : rc;
}

/* All parts of a value, behind its head. */
static int read_value(struct object *o, uint64_t hash, const struct xattr_head *h, uint8_t *buf)
{
	size_t at = h->head_len;
	int rc = 0;

	if (at)
		memcpy(buf, h->value, at);
	for (unsigned part = 1; at < h->value_len && !rc; part++) {
		struct wfs3_key key = xattr_key(o->number, hash, part);
		size_t want = min_u64(XATTR_PART_BYTES, h->value_len - at), len = 0;

		rc = edit_read(o->ds, &key, buf + at, want, &len);
		if (rc == -ENOENT || rc == -ERANGE || (!rc && len != want))
			rc = err_set(-EUCLEAN, "an extended attribute of object %" PRIu64 " is not whole", o->number);
		at += len;
	}
	return rc;
}

bool filetree_xattr_clashes(struct object *o, const char *name)
{
	uint8_t buf[XATTR_PART_BYTES];
	struct xattr_head h;
	bool clash = false;

	if (!dataset_enter(o->ds, 0)) {
		(void)read_head(o, name, strlen(name), buf, &h, &clash);
		dataset_exit(o->ds);
	}
	return clash;
}

int filetree_xattr_items(struct object *o, const char *name, unsigned *ret)
{
	uint8_t buf[XATTR_PART_BYTES];
	struct xattr_head h;
	int rc = read_head(o, name, strlen(name), buf, &h, NULL);

	*ret = rc ? 0 : xattr_parts(strlen(name), h.value_len);
	return rc == -ENODATA ? 0 : rc;
}

static int get_locked(struct object *o, const char *name, size_t name_len, void *buf, size_t cap, size_t *ret_len)
{
	uint8_t head[XATTR_PART_BYTES];
	struct xattr_head h;
	int rc = read_head(o, name, name_len, head, &h, NULL);

	if (rc)
		return rc;
	*ret_len = h.value_len;
	if (!cap)
		return 0;
	if (h.value_len > cap)
		return err_set(-ERANGE, "attribute '%s' has %u bytes", name, h.value_len);
	return read_value(o, xattr_hash(o->ds->hash_key, name, name_len), &h, buf);
}

int filetree_get_xattr(struct vfs_node *n, const char *name, void *buf, size_t cap, size_t *ret_len)
{
	struct object *o = filetree_object(n);
	size_t name_len;
	int rc = check_name(name, &name_len);

	if (!rc)
		rc = dataset_enter(o->ds, 0);
	if (rc)
		return rc;
	rc = filetree_lock_one(o);
	if (!rc) {
		rc = get_locked(o, name, name_len, buf, cap, ret_len);
		filetree_unlock_one(o);
	}
	dataset_exit(o->ds);
	return rc;
}

static void set_acl_flag(struct edit *e, struct object *o, const char *name, bool present)
{
	struct inode *i;

	if (strcmp(name, VFS_ACL_ACCESS))
		return;
	i = edit_inode(e, o, EDIT_FLAGS);
	i->flags = (i->flags & ~FILETREE_FLAG_ACL) | (present ? FILETREE_FLAG_ACL : 0);
}

static void put_parts(struct edit *e, const struct object *o, uint64_t hash, const uint8_t *head, size_t head_item_len,
                      const uint8_t *value, size_t from, size_t len)
{
	struct wfs3_key key = xattr_key(o->number, hash, 0);

	edit_put(e, &key, head, head_item_len);
	for (unsigned part = 1; from < len; part++) {
		size_t n = min_u64(XATTR_PART_BYTES, len - from);

		key = xattr_key(o->number, hash, part);
		edit_put(e, &key, value + from, n);
		from += n;
	}
}

/* Add to an edit: the attribute has the value. @head, of XATTR_PART_BYTES, and the value stay until the edit is made.
 */
static int add_set(struct edit *e, struct object *o, const char *name, size_t name_len, const void *value, size_t len,
                   unsigned flags, uint8_t *head)
{
	uint64_t hash = xattr_hash(o->ds->hash_key, name, name_len);
	unsigned old_parts = 0, parts = xattr_parts(name_len, len);
	struct xattr_head h;
	bool clash;
	int rc = read_head(o, name, name_len, head, &h, &clash);

	if (rc && rc != -ENODATA)
		return rc;
	if (clash)
		return err_set(-ENOSPC, "attribute '%s' has the place of another one", name);
	if (!rc && flags & VFS_XATTR_CREATE)
		return err_set(-EEXIST, "object %" PRIu64 " has attribute '%s'", o->number, name);
	if (rc && flags & VFS_XATTR_REPLACE)
		return rc;
	if (!rc)
		old_parts = xattr_parts(name_len, h.value_len);
	(void)edit_inode(e, o, 0);
	set_acl_flag(e, o, name, true);
	put_parts(e, o, hash, head, xattr_head_encode(name, name_len, value, len, head), value,
	          xattr_head_len(name_len, len), len);
	for (unsigned part = parts; part < old_parts; part++) {
		struct wfs3_key key = xattr_key(o->number, hash, part);

		edit_delete(e, &key);
	}
	return 0;
}

static int set_locked(struct object *o, const char *name, size_t name_len, const void *value, size_t len,
                      unsigned flags, const struct vfs_tag *tag)
{
	uint8_t head[XATTR_PART_BYTES];
	struct edit e;
	int rc;

	edit_init(&e, o->ds);
	edit_tag(&e, tag, 0);
	rc = add_set(&e, o, name, name_len, value, len, flags, head);
	return rc ? rc : edit_run(&e);
}

void filetree_new_acl(struct edit *e, const struct object *o, const char *name, const void *acl, size_t len,
                      uint8_t *head)
{
	uint64_t hash = xattr_hash(o->ds->hash_key, name, strlen(name));

	put_parts(e, o, hash, head, xattr_head_encode(name, strlen(name), acl, len, head), acl,
	          xattr_head_len(strlen(name), len), len);
}

int filetree_set_xattr(struct vfs_node *n, const char *name, const void *value, size_t len, unsigned flags,
                       const struct vfs_tag *tag)
{
	struct object *o = filetree_object(n);
	struct filetree_op op;
	size_t name_len;
	int rc = check_name(name, &name_len);

	if (!rc && len > XATTR_VALUE_MAX)
		rc = err_set(-E2BIG, "an extended attribute of %zu bytes", len);
	if (!rc)
		rc = filetree_begin(o->ds, false, &op);
	if (rc)
		return rc;
	rc = filetree_lock_one(o);
	if (!rc) {
		rc = set_locked(o, name, name_len, value, len, flags, tag);
		filetree_unlock_one(o);
	}
	filetree_end(&op);
	return rc;
}

/* Add to an edit: the attribute goes. -ENODATA. */
static int add_remove(struct edit *e, struct object *o, const char *name, size_t name_len)
{
	uint64_t hash = xattr_hash(o->ds->hash_key, name, name_len);
	uint8_t head[XATTR_PART_BYTES];
	struct xattr_head h;
	int rc = read_head(o, name, name_len, head, &h, NULL);

	if (rc)
		return rc;
	(void)edit_inode(e, o, 0);
	set_acl_flag(e, o, name, false);
	for (unsigned part = 0; part < xattr_parts(name_len, h.value_len); part++) {
		struct wfs3_key key = xattr_key(o->number, hash, part);

		edit_delete(e, &key);
	}
	return 0;
}

static int remove_locked(struct object *o, const char *name, size_t name_len, const struct vfs_tag *tag)
{
	struct edit e;
	int rc;

	edit_init(&e, o->ds);
	edit_tag(&e, tag, 0);
	rc = add_remove(&e, o, name, name_len);
	return rc ? rc : edit_run(&e);
}

int filetree_edit_acl(struct edit *e, struct object *o, const void *acl, size_t len, uint8_t *head)
{
	int rc = acl ? add_set(e, o, VFS_ACL_ACCESS, strlen(VFS_ACL_ACCESS), acl, len, 0, head)
	             : add_remove(e, o, VFS_ACL_ACCESS, strlen(VFS_ACL_ACCESS));

	return rc == -ENODATA ? 0 : rc;
}

int filetree_remove_xattr(struct vfs_node *n, const char *name, const struct vfs_tag *tag)
{
	struct object *o = filetree_object(n);
	struct filetree_op op;
	size_t name_len;
	int rc = check_name(name, &name_len);

	if (!rc)
		rc = filetree_begin(o->ds, true, &op);
	if (rc)
		return rc;
	rc = filetree_lock_one(o);
	if (!rc) {
		rc = remove_locked(o, name, name_len, tag);
		filetree_unlock_one(o);
	}
	filetree_end(&op);
	return rc;
}

/* The next attribute's head from *@at on; *@at moves behind it. -ENOENT: no more. @buf of XATTR_PART_BYTES. */
static int next_head(struct object *o, struct wfs3_key *at, uint8_t *buf, struct xattr_head *ret)
{
	struct wfs3_key to = xattr_key(o->number, UINT64_MAX, 0), key, missing;
	size_t len;
	int rc;

	do {
		rc = tree_next(o->ds->tree, at, &to, &key, buf, XATTR_PART_BYTES, &len, &missing);
		if (rc == -EAGAIN) {
			rc = tree_fetch(o->ds->tree, &missing);
			rc = rc ? rc : -EAGAIN;
		}
	} while (rc == -EAGAIN && !nowait_here());
	if (!rc)
		rc = xattr_head_decode(buf, len, ret);
	if (rc)
		return rc;
	if (key.offset > UINT64_MAX - XATTR_SLOTS)
		*at = to;
	else
		*at = xattr_key(o->number, key.offset / XATTR_SLOTS * XATTR_SLOTS + XATTR_SLOTS, 0);
	return 0;
}

int filetree_list_xattr(struct vfs_node *n, vfs_xattr_fn *fn, void *ctx)
{
	struct object *o = filetree_object(n);
	struct wfs3_key at = xattr_key(o->number, 0, 0);
	uint8_t buf[XATTR_PART_BYTES];
	int rc = 0;

	for (;;) {
		struct xattr_head h;

		rc = dataset_enter(o->ds, 0);
		if (rc)
			return rc;
		rc = next_head(o, &at, buf, &h);
		dataset_exit(o->ds);
		if (rc || !fn(ctx, h.name, h.name_len))
			break;
	}
	return rc == -ENOENT ? 0 : rc;
}

int filetree_has_xattrs(struct object *o)
{
	struct wfs3_key at = xattr_key(o->number, 0, 0);
	uint8_t buf[XATTR_PART_BYTES];
	struct xattr_head h;
	int rc = next_head(o, &at, buf, &h);

	return rc == -ENOENT ? 0 : rc ? rc : 1;
}
