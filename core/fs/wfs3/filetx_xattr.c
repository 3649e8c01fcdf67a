/* SPDX-License-Identifier: BSD-3-Clause */
/* Extended attributes in a transaction: those that it set or removed, over those outside. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/err.h"
#include "core/fs/wfs3/filetx.h"

#define ACL_NAME "system.posix_acl_access"
#define ACL_PREFIX "system.posix_acl_"

static struct filetx_xattr *find(const struct filetx_object *x, const char *name)
{
	struct filetx_xattr *a = x->xattrs;

	while (a && strcmp(a->name, name))
		a = a->next;
	return a;
}

/* Attributes outside are going to be read. Those that only tell who may use a directory do not count. */
static int see(struct filetx_object *x, const char *name)
{
	if (name && !strncmp(name, ACL_PREFIX, strlen(ACL_PREFIX)))
		return 0;
	return filetx_see_whole(x);
}

/* Outside, and still as it was seen. */
static int get_outside(struct filetx_object *x, const char *name, void *buf, size_t cap, size_t *ret_len)
{
	int rc = x->o ? see(x, name) : err_set(-ENODATA, "object %" PRIu64 " has no attribute '%s'", x->number, name);

	if (rc)
		return rc;
	rc = filetree_get_xattr(&x->o->node, name, buf, cap, ret_len);
	if (x->strict || x->node.type != VFS_TYPE_DIR) {
		int seen = filetx_check_seen(x);

		rc = seen ? seen : rc;
	}
	return rc;
}

static int get(struct filetx_object *x, const char *name, void *buf, size_t cap, size_t *ret_len)
{
	const struct filetx_xattr *a = find(x, name);

	if (!a)
		return get_outside(x, name, buf, cap, ret_len);
	if (!a->value)
		return err_set(-ENODATA, "object %" PRIu64 " has no attribute '%s'", x->number, name);
	*ret_len = a->len;
	if (!cap)
		return 0;
	if (a->len > cap)
		return err_set(-ERANGE, "attribute '%s' has %zu bytes", name, a->len);
	memcpy(buf, a->value, a->len);
	return 0;
}

int filetx_get_xattr(struct vfs_node *n, const char *name, void *buf, size_t cap, size_t *ret_len)
{
	struct filetx_object *x = filetx_object(n);
	int rc = filetx_enter(x->tx);

	if (rc)
		return rc;
	rc = get(x, name, buf, cap, ret_len);
	filetx_leave(x->tx);
	return rc;
}

/* Another name that has the same place in the tree cannot be there at the same time. */
static bool clashes(const struct filetx_object *x, const char *name)
{
	const uint8_t *key = x->tx->ds->hash_key;
	uint64_t hash = xattr_hash(key, name, strlen(name));

	for (const struct filetx_xattr *a = x->xattrs; a; a = a->next)
		if (strcmp(a->name, name) && a->value && xattr_hash(key, a->name, strlen(a->name)) == hash)
			return true;
	return false;
}

/* @value NULL: removed. Takes over @value. */
static int put(struct filetx_object *x, const char *name, uint8_t *value, size_t len)
{
	struct filetx_xattr *a = find(x, name);
	int rc = filetx_charge(x->tx, sizeof(*a) + strlen(name) + 1 + len);

	if (!rc && !a) {
		a = calloc(1, sizeof(*a));
		if (a)
			a->name = strdup(name);
		if (!a || !a->name) {
			free(a);
			rc = err_set(-ENOMEM, "no memory for an attribute in a transaction");
		} else {
			a->next = x->xattrs;
			x->xattrs = a;
		}
	}
	if (rc) {
		free(value);
		return rc;
	}
	free(a->value);
	a->value = value;
	a->len = len;
	if (!strcmp(name, ACL_NAME)) {
		x->cur.flags = (x->cur.flags & ~FILETREE_FLAG_ACL) | (value ? FILETREE_FLAG_ACL : 0);
		x->set |= EDIT_FLAGS;
	}
	x->cur.ctime_ns = (int64_t)sync_wall_ns();
	x->changed = true;
	return 0;
}

static int set(struct filetx_object *x, const char *name, const void *value, size_t len, unsigned flags)
{
	size_t old_len;
	uint8_t *copy;
	int rc = get(x, name, NULL, 0, &old_len);

	if (rc && rc != -ENODATA)
		return rc;
	if (!rc && flags & VFS_XATTR_CREATE)
		return err_set(-EEXIST, "object %" PRIu64 " has attribute '%s'", x->number, name);
	if (rc && flags & VFS_XATTR_REPLACE)
		return rc;
	if (clashes(x, name) || (x->o && rc && filetree_xattr_clashes(x->o, name)))
		return err_set(-ENOSPC, "attribute '%s' has the place of another one", name);
	copy = malloc(len + 1);
	if (!copy)
		return err_set(-ENOMEM, "no memory for an attribute in a transaction");
	if (len)
		memcpy(copy, value, len);
	return put(x, name, copy, len);
}

int filetx_put_acl(struct filetx_object *x, const char *name, const void *acl, size_t len)
{
	size_t old_len;
	int rc;

	if (acl)
		return set(x, name, acl, len, 0);
	rc = get(x, name, NULL, 0, &old_len);
	if (!rc)
		rc = put(x, name, NULL, 0);
	return rc == -ENODATA ? 0 : rc;
}

int filetx_set_xattr(struct vfs_node *n, const char *name, const void *value, size_t len, unsigned flags,
                     const struct vfs_tag *tag)
{
	struct filetx_object *x = filetx_object(n);
	size_t name_len = strlen(name);
	int rc = 0;

	(void)tag;
	if (!name_len || name_len > XATTR_NAME_MAX_BYTES)
		rc = err_set(-ERANGE, "a name of %zu bytes for an extended attribute", name_len);
	else if (len > XATTR_VALUE_MAX)
		rc = err_set(-E2BIG, "an extended attribute of %zu bytes", len);
	else
		rc = filetx_enter(x->tx);
	if (rc)
		return rc;
	rc = set(x, name, value, len, flags);
	filetx_leave(x->tx);
	return rc;
}

int filetx_remove_xattr(struct vfs_node *n, const char *name, const struct vfs_tag *tag)
{
	struct filetx_object *x = filetx_object(n);
	size_t len;
	int rc = filetx_enter(x->tx);

	(void)tag;
	if (rc)
		return rc;
	rc = get(x, name, NULL, 0, &len);
	if (!rc)
		rc = put(x, name, NULL, 0);
	filetx_leave(x->tx);
	return rc;
}

/* ---- listing ---- */

struct names {
	struct filetx_object *x;
	char *buf; /* each terminated */
	size_t used, capacity;
	bool failed;
};

static bool add(void *ctx, const char *name, size_t name_len)
{
	struct names *l = ctx;

	if (l->used + name_len + 1 > l->capacity) {
		size_t capacity = 2 * l->capacity + name_len + 1;
		char *buf = realloc(l->buf, capacity);

		if (!buf) {
			l->failed = true;
			return false;
		}
		l->buf = buf;
		l->capacity = capacity;
	}
	memcpy(l->buf + l->used, name, name_len);
	l->buf[l->used + name_len] = 0;
	/* What is in the overlay is listed from there. */
	if (!find(l->x, l->buf + l->used))
		l->used += name_len + 1;
	return true;
}

static int collect(struct names *l)
{
	struct filetx_object *x = l->x;
	int rc = 0;

	if (x->o) {
		rc = see(x, NULL);
		if (!rc)
			rc = filetree_list_xattr(&x->o->node, add, l);
		if (!rc)
			rc = filetx_check_seen(x);
	}
	return rc ? rc : l->failed ? err_set(-ENOMEM, "no memory to list attributes") : 0;
}

static void hand_out(struct names *l, char *own, size_t own_len, vfs_xattr_fn *fn, void *ctx)
{
	for (size_t at = 0; at < l->used; at += strlen(l->buf + at) + 1)
		if (!fn(ctx, l->buf + at, strlen(l->buf + at)))
			return;
	for (size_t at = 0; at < own_len; at += strlen(own + at) + 1)
		if (!fn(ctx, own + at, strlen(own + at)))
			return;
}

/* Names of the overlay, each terminated; the caller frees them. */
static int own_names(const struct filetx_object *x, char **ret, size_t *ret_len)
{
	size_t len = 0;

	for (const struct filetx_xattr *a = x->xattrs; a; a = a->next)
		len += a->value ? strlen(a->name) + 1 : 0;
	*ret = malloc(len + 1);
	if (!*ret)
		return err_set(-ENOMEM, "no memory to list attributes");
	*ret_len = 0;
	for (const struct filetx_xattr *a = x->xattrs; a; a = a->next)
		if (a->value) {
			memcpy(*ret + *ret_len, a->name, strlen(a->name) + 1);
			*ret_len += strlen(a->name) + 1;
		}
	return 0;
}

int filetx_list_xattr(struct vfs_node *n, vfs_xattr_fn *fn, void *ctx)
{
	struct names l = { .x = filetx_object(n) };
	char *own = NULL;
	size_t own_len = 0;
	int rc = filetx_enter(l.x->tx);

	if (rc)
		return rc;
	rc = collect(&l);
	if (!rc)
		rc = own_names(l.x, &own, &own_len);
	filetx_leave(l.x->tx);
	if (!rc)
		hand_out(&l, own, own_len, fn, ctx);
	free(own);
	free(l.buf);
	return rc;
}
