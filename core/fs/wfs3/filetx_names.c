/* SPDX-License-Identifier: BSD-3-Clause */
/* Names in a transaction: looking them up, listing them, changing them. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/base/assert.h"
#include "core/base/err.h"
#include "core/fs/wfs3/filetx.h"

#define DEPTH_MAX 100000u /* of directories */

/* ---- looking up ---- */

static int check_dir(const struct filetx_object *x)
{
	if (x->node.type != VFS_TYPE_DIR)
		return err_set(-ENOTDIR, "object %" PRIu64 " is no directory", x->number);
	return x->cur.link_count ? 0 : err_set(-ENOENT, "directory %" PRIu64 " was removed", x->number);
}

/* The object behind a name. -ENOENT. *@ret_name tells also about a name that is not there. */
static int find(struct filetx_object *dir, const char *name, size_t name_len, struct filetx_name **ret_name,
                struct filetx_object **ret)
{
	struct filetx *tx = dir->tx;
	int rc = check_dir(dir);

	if (!rc)
		rc = filetx_name(dir, name, name_len, ret_name);
	if (rc)
		return rc;
	if (!(*ret_name)->object)
		return err_set(-ENOENT, "there is no '%.*s'", (int)name_len, name);
	rc = filetx_get(tx, (*ret_name)->object, ret);
	/* It was removed outside after its name had been seen. */
	return rc == -ESTALE ? filetx_conflict(tx, dir->number, name, name_len) : rc;
}

int filetx_lookup(struct vfs_node *n, const char *name, size_t name_len, struct vfs_node **ret)
{
	struct filetx_object *dir = filetx_object(n), *x;
	struct filetx_name *fn;
	int rc = filetx_enter(dir->tx);

	if (rc)
		return rc;
	rc = find(dir, name, name_len, &fn, &x);
	if (!rc)
		*ret = filetx_ref(x);
	filetx_leave(dir->tx);
	return rc;
}

/* ---- listing ---- */

#define LIST_ENTRIES 512u /* in one go */

struct entry {
	uint64_t hash, object;
	enum vfs_type type;
	uint8_t name_len;
	char name[DIRENT_NAME_MAX];
};

struct listing {
	struct filetx_object *dir;
	const uint8_t *hash_key;
	struct entry *all;
	unsigned count, capacity;
	uint64_t last_hash; /* of what was collected outside */
	bool more, failed;
};

static void add_entry(struct listing *l, uint64_t hash, const char *name, size_t name_len, enum vfs_type type,
                      uint64_t object)
{
	struct entry *e;

	if (l->count == l->capacity) {
		unsigned capacity = l->capacity ? 2 * l->capacity : 64;
		struct entry *all = realloc(l->all, capacity * sizeof(*all));

		if (!all) {
			l->failed = true;
			return;
		}
		l->all = all;
		l->capacity = capacity;
	}
	e = &l->all[l->count++];
	*e = (struct entry){ .hash = hash, .object = object, .type = type, .name_len = (uint8_t)name_len };
	memcpy(e->name, name, name_len);
}

static const struct filetx_name *changed_name(const struct filetx_object *dir, uint64_t hash, const char *name,
                                              size_t name_len)
{
	const struct filetx_name *n = dir->tx->name_buckets[hash % FILETX_BUCKETS];

	while (n && (n->dir != dir || n->name_len != name_len || memcmp(n->name, name, name_len)))
		n = n->hash_next;
	return n && n->object != n->base_object ? n : NULL;
}

/* An entry outside. Those of one hash stay together. */
static bool take_outside(void *ctx, const struct vfs_dirent *e)
{
	struct listing *l = ctx;
	uint64_t hash = dirent_hash(l->hash_key, e->name, e->name_len);

	if (l->count >= LIST_ENTRIES && hash != l->last_hash) {
		l->more = true;
		return false;
	}
	l->last_hash = hash;
	if (!changed_name(l->dir, hash, e->name, e->name_len))
		add_entry(l, hash, e->name, e->name_len, e->type, e->object);
	return !l->failed;
}

static int by_hash(const void *a, const void *b)
{
	const struct entry *x = a, *y = b;

	if (x->hash != y->hash)
		return x->hash < y->hash ? -1 : 1;
	/* A listing that is called again within a hash begins with the first of its names. */
	return x->name_len != y->name_len ? x->name_len - y->name_len : memcmp(x->name, y->name, x->name_len);
}

/* Some entries behind @cookie, in order. */
static int collect(struct listing *l, uint64_t cookie)
{
	struct filetx_object *dir = l->dir;
	int rc = check_dir(dir);

	l->count = 0;
	l->more = false;
	l->last_hash = 0;
	if (!rc)
		rc = filetx_see_whole(dir);
	if (!rc && dir->o)
		rc = filetree_readdir(&dir->o->node, cookie, take_outside, l);
	if (!rc && dir->o)
		rc = filetx_check_seen(dir);
	if (rc)
		return rc;
	for (const struct filetx_name *n = dir->tx->names; n; n = n->next) {
		uint64_t hash = dirent_hash(l->hash_key, n->name, n->name_len);

		if (n->dir == dir && n->object && n->object != n->base_object && hash > cookie &&
		    (!l->more || hash <= l->last_hash))
			add_entry(l, hash, n->name, n->name_len, (enum vfs_type)n->type, n->object);
	}
	if (l->failed)
		return err_set(-ENOMEM, "no memory to list a directory");
	if (l->count)
		qsort(l->all, l->count, sizeof(l->all[0]), by_hash);
	return 0;
}

/* False: the caller has enough. */
static bool hand_out(const struct listing *l, vfs_dir_fn *fn, void *ctx)
{
	for (unsigned i = 0; i < l->count; i++) {
		const struct entry *e = &l->all[i];
		bool last = i + 1 == l->count || l->all[i + 1].hash != e->hash;
		struct vfs_dirent d = { .name = e->name,
			                .name_len = e->name_len,
			                .type = e->type,
			                .object = e->object,
			                .cookie = last ? e->hash : e->hash - 1 };

		if (!fn(ctx, &d))
			return false;
	}
	return true;
}

int filetx_readdir(struct vfs_node *n, uint64_t cookie, vfs_dir_fn *fn, void *ctx)
{
	struct filetx_object *dir = filetx_object(n);
	struct listing l = { .dir = dir, .hash_key = dir->tx->ds->hash_key };
	int rc;

	do {
		rc = filetx_enter(dir->tx);
		if (rc)
			break;
		rc = collect(&l, cookie);
		filetx_leave(dir->tx);
		cookie = l.last_hash;
	} while (!rc && hand_out(&l, fn, ctx) && l.more);
	free(l.all);
	return rc;
}

/* ---- changes ---- */

static void change_dir(struct filetx_object *dir, int entries, int subdirs)
{
	dir->entries += entries;
	dir->subdirs += subdirs;
	dir->dir_changed = true;
	dir->cur.mtime_ns = dir->cur.ctime_ns = (int64_t)sync_wall_ns();
}

static void set_name(struct filetx_name *n, const struct filetx_object *x)
{
	n->object = x ? x->number : 0;
	n->type = x ? (uint8_t)x->node.type : 0;
}

/* What is in a directory with a project counts for it. */
static int check_project(const struct filetx_object *dir, const struct filetx_object *x)
{
	if (!dir->cur.project || x->cur.project == dir->cur.project)
		return 0;
	return err_set(-EXDEV, "directory %" PRIu64 " is of project %u, object %" PRIu64 " is not", dir->number,
	               dir->cur.project, x->number);
}

static void touch(struct filetx_object *x)
{
	x->changed = true;
	x->cur.ctime_ns = (int64_t)sync_wall_ns();
}

static int put_acls(struct filetx_object *x, const struct vfs_new *attr)
{
	int rc = 0;

	if (attr->access_acl)
		rc = filetx_put_acl(x, VFS_ACL_ACCESS, attr->access_acl, attr->access_acl_len);
	if (!rc && attr->default_acl)
		rc = filetx_put_acl(x, VFS_ACL_DEFAULT, attr->default_acl, attr->default_acl_len);
	return rc;
}

static int make(struct filetx_object *dir, const struct vfs_new *attr, struct filetx_object **ret)
{
	bool is_dir = attr->type == VFS_TYPE_DIR,
	     has_rdev = attr->type == VFS_TYPE_CHAR || attr->type == VFS_TYPE_BLOCK;
	int64_t now_ns = (int64_t)sync_wall_ns();
	struct inode i = { .mode = filetree_format(attr->type) | (attr->mode & 07777),
		           .uid = attr->uid,
		           .gid = attr->gid,
		           .link_count = is_dir ? 2 : 1,
		           .size_bytes = attr->type == VFS_TYPE_SYMLINK ? attr->target_len : 0,
		           .atime_ns = now_ns,
		           .mtime_ns = now_ns,
		           .ctime_ns = now_ns,
		           .btime_ns = now_ns,
		           .project = dir->cur.project,
		           .rdev = has_rdev ? attr->rdev : 0,
		           .parent = is_dir ? dir->number : 0 };
	struct filetx_object *x;
	char *target = NULL;
	uint64_t number;
	int rc = filetx_number(dir->tx->ds, &number);

	if (!rc && attr->type == VFS_TYPE_SYMLINK) {
		rc = filetx_charge(dir->tx, attr->target_len);
		target = rc ? NULL : malloc(attr->target_len);
		if (!rc && !target)
			rc = err_set(-ENOMEM, "no memory for a symbolic link");
	}
	if (!rc)
		rc = filetx_make(dir->tx, number, &i, &x);
	if (rc) {
		free(target);
		return rc;
	}
	if (target)
		memcpy(target, attr->target, attr->target_len);
	x->target = target;
	x->changed = true;
	rc = put_acls(x, attr);
	if (rc)
		x->cur.link_count = 0; /* it goes with the transaction, as what was removed in it */
	else
		*ret = x;
	return rc;
}

static int create(struct filetx_object *dir, const char *name, size_t name_len, const struct vfs_new *attr,
                  struct filetx_object **ret)
{
	struct filetx_name *n;
	int rc = filetree_check_new(attr, false);

	if (!rc)
		rc = check_dir(dir);
	if (!rc)
		rc = filetx_name(dir, name, name_len, &n);
	if (!rc && n->object)
		rc = err_set(-EEXIST, "'%.*s' exists already", (int)name_len, name);
	if (!rc && attr->type == VFS_TYPE_DIR && dir->cur.link_count + (uint64_t)dir->subdirs >= VFS_LINKS_MAX)
		rc = err_set(-EMLINK, "directory %" PRIu64 " has too many others in it", dir->number);
	if (!rc)
		rc = make(dir, attr, ret);
	if (rc)
		return rc;
	set_name(n, *ret);
	change_dir(dir, 1, attr->type == VFS_TYPE_DIR);
	return 0;
}

int filetx_create(struct vfs_node *n, const char *name, size_t name_len, const struct vfs_new *attr,
                  struct vfs_node **ret)
{
	struct filetx_object *dir = filetx_object(n), *x = NULL;
	int rc = filetx_enter(dir->tx);

	if (rc)
		return rc;
	rc = create(dir, name, name_len, attr, &x);
	if (!rc)
		*ret = filetx_ref(x);
	filetx_leave(dir->tx);
	return rc;
}

static int link_name(struct filetx_object *dir, const char *name, size_t name_len, struct filetx_object *x)
{
	struct filetx_name *n;
	int rc = check_dir(dir);

	if (!rc && x->node.type == VFS_TYPE_DIR)
		rc = err_set(-EPERM, "a directory has one name");
	if (!rc)
		rc = check_project(dir, x);
	if (!rc && !x->cur.link_count)
		rc = err_set(-ENOENT, "object %" PRIu64 " was removed", x->number);
	if (!rc)
		rc = filetx_name(dir, name, name_len, &n);
	if (!rc && n->object)
		rc = err_set(-EEXIST, "'%.*s' exists already", (int)name_len, name);
	if (!rc && x->cur.link_count >= VFS_LINKS_MAX)
		rc = err_set(-EMLINK, "object %" PRIu64 " has too many names", x->number);
	if (rc)
		return rc;
	x->cur.link_count++;
	x->set |= EDIT_LINKS;
	touch(x);
	set_name(n, x);
	change_dir(dir, 1, 0);
	return 0;
}

/* Are both in the same transaction? */
static int check_same(const struct vfs_node *a, const struct vfs_node *b)
{
	if (b->ops != &filetx_node_ops ||
	    ((const struct filetx_object *)a)->tx != ((const struct filetx_object *)b)->tx)
		return err_set(-EXDEV, "they are not in the same transaction");
	return 0;
}

int filetx_link(struct vfs_node *n, const char *name, size_t name_len, struct vfs_node *target,
                const struct vfs_tag *tag)
{
	struct filetx_object *dir = filetx_object(n);
	int rc = check_same(n, target);

	(void)tag;
	if (!rc)
		rc = filetx_enter(dir->tx);
	if (rc)
		return rc;
	rc = link_name(dir, name, name_len, filetx_object(target));
	filetx_leave(dir->tx);
	return rc;
}

/* May it lose a name, as a directory or as something else? */
static int check_victim(struct filetx_object *x, bool want_dir)
{
	bool is_dir = x->node.type == VFS_TYPE_DIR;
	/* Nothing may come into it any more. */
	int rc = is_dir && want_dir ? filetx_see_whole(x) : 0;

	if (rc)
		return rc;
	if (want_dir && !is_dir)
		return err_set(-ENOTDIR, "object %" PRIu64 " is no directory", x->number);
	if (!want_dir && is_dir)
		return err_set(-EISDIR, "object %" PRIu64 " is a directory", x->number);
	if (is_dir && x->cur.size_bytes + (uint64_t)x->entries)
		return err_set(-ENOTEMPTY, "directory %" PRIu64 " is not empty", x->number);
	return 0;
}

static void lose_name(struct filetx_object *x)
{
	bool is_dir = x->node.type == VFS_TYPE_DIR;

	x->cur.link_count = is_dir ? 0 : x->cur.link_count - 1;
	x->set |= EDIT_LINKS;
	touch(x);
}

/* What it sees is compared again when it is committed, because the object loses a name. */
static int check_taker(const struct vfs_taker *taker, const struct filetx_object *x)
{
	return vfs_taker_check(taker, x->cur.uid, (uint32_t)x->cur.flags);
}

static int unlink_name(struct filetx_object *dir, const char *name, size_t name_len, bool want_dir,
                       const struct vfs_taker *taker)
{
	struct filetx_name *n;
	struct filetx_object *x;
	int rc = find(dir, name, name_len, &n, &x);

	if (!rc)
		rc = check_taker(taker, x);
	if (!rc)
		rc = check_victim(x, want_dir);
	if (rc)
		return rc;
	lose_name(x);
	set_name(n, NULL);
	change_dir(dir, -1, want_dir ? -1 : 0);
	return 0;
}

int filetx_unlink(struct vfs_node *n, const char *name, size_t name_len, bool want_dir, const struct vfs_taker *taker,
                  const struct vfs_tag *tag)
{
	struct filetx_object *dir = filetx_object(n);
	int rc = filetx_enter(dir->tx);

	(void)tag;
	if (rc)
		return rc;
	rc = unlink_name(dir, name, name_len, want_dir, taker);
	filetx_leave(dir->tx);
	return rc;
}

/* ---- rename ---- */

struct rename {
	struct filetx_object *dir, *new_dir, *x, *target; /* @target: what is at the new name, or NULL */
	struct filetx_name *from, *to;
	unsigned flags;
	const struct vfs_taker *takers; /* two, or NULL */
};

/* Would @moved become a part of itself? */
static int check_cycle(const struct filetx_object *moved, struct filetx_object *dir)
{
	for (unsigned depth = 0; dir->number != WFS3_ROOT_OBJECT; depth++) {
		int rc = 0;

		if (dir == moved)
			return err_set(-EINVAL, "a directory cannot become a part of itself");
		if (depth == DEPTH_MAX)
			rc = err_set(-EUCLEAN, "a directory does not lead to the top");
		if (!rc)
			rc = filetx_get(dir->tx, dir->cur.parent, &dir);
		if (rc)
			return rc;
	}
	return 0;
}

static int check_cycles(const struct rename *r)
{
	bool exchange = r->flags & VFS_RENAME_EXCHANGE;
	int rc = 0;

	if (r->dir == r->new_dir)
		return 0;
	if (r->x->node.type == VFS_TYPE_DIR)
		rc = check_cycle(r->x, r->new_dir);
	if (!rc && exchange && r->target->node.type == VFS_TYPE_DIR)
		rc = check_cycle(r->target, r->dir);
	return rc;
}

static void move_to(struct filetx_object *x, const struct filetx_object *dir)
{
	if (x->node.type == VFS_TYPE_DIR) {
		x->cur.parent = dir->number;
		x->set |= EDIT_PARENT;
	}
	touch(x);
}

static int prepare(struct rename *r, const char *name, size_t name_len, const char *new_name, size_t new_name_len)
{
	int rc = find(r->dir, name, name_len, &r->from, &r->x);

	if (rc)
		return rc;
	rc = find(r->new_dir, new_name, new_name_len, &r->to, &r->target);
	if (rc == -ENOENT && r->new_dir->cur.link_count) {
		r->target = NULL;
		rc = r->flags & VFS_RENAME_EXCHANGE ? rc : 0;
	}
	if (!rc && r->takers)
		rc = check_taker(&r->takers[0], r->x);
	if (!rc && r->takers && r->target)
		rc = check_taker(&r->takers[1], r->target);
	if (rc)
		return rc;
	if (r->target && r->flags & VFS_RENAME_NOREPLACE)
		return err_set(-EEXIST, "'%.*s' exists already", (int)new_name_len, new_name);
	rc = check_project(r->new_dir, r->x);
	if (!rc && r->flags & VFS_RENAME_EXCHANGE)
		rc = check_project(r->dir, r->target);
	if (!rc && r->target && r->target != r->x && !(r->flags & VFS_RENAME_EXCHANGE))
		rc = check_victim(r->target, r->x->node.type == VFS_TYPE_DIR);
	return rc ? rc : check_cycles(r);
}

static void make_rename(struct rename *r)
{
	int is_dir = r->x->node.type == VFS_TYPE_DIR, target_is_dir;

	/* Two names of one object: nothing happens (POSIX, rename()). */
	if (r->x == r->target)
		return;
	target_is_dir = r->target && r->target->node.type == VFS_TYPE_DIR;
	set_name(r->to, r->x);
	move_to(r->x, r->new_dir);
	if (r->flags & VFS_RENAME_EXCHANGE) {
		set_name(r->from, r->target);
		move_to(r->target, r->dir);
		change_dir(r->dir, 0, target_is_dir - is_dir);
		change_dir(r->new_dir, 0, is_dir - target_is_dir);
		return;
	}
	set_name(r->from, NULL);
	if (r->target)
		lose_name(r->target);
	change_dir(r->dir, -1, -is_dir);
	change_dir(r->new_dir, r->target ? 0 : 1, is_dir - target_is_dir);
}

int filetx_rename(struct vfs_node *n, const char *name, size_t name_len, struct vfs_node *new_n, const char *new_name,
                  size_t new_name_len, unsigned flags, const struct vfs_taker *takers, const struct vfs_tag *tag)
{
	struct rename r = {
		.dir = filetx_object(n), .new_dir = filetx_object(new_n), .flags = flags, .takers = takers
	};
	struct filetx *tx = r.dir->tx;
	int rc = check_same(n, new_n);

	(void)tag;
	if (!rc)
		rc = filetx_enter(tx);
	if (rc)
		return rc;
	rc = prepare(&r, name, name_len, new_name, new_name_len);
	if (!rc)
		make_rename(&r);
	filetx_leave(tx);
	return rc;
}
