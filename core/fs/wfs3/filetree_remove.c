/* SPDX-License-Identifier: BSD-3-Clause */
/* Names that go or move, in a file tree: unlink, link, rename. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "core/base/err.h"
#include "core/base/nowait.h"
#include "core/fs/wfs3/filetree.h"

#define LOAD(field) __atomic_load_n(&(field), __ATOMIC_RELAXED)
#define DEPTH_MAX 1000000u /* of directories: parents that go around, in a damaged tree, are noticed */

/* ---- what loses its last name ---- */

/* Can it be deleted with its name? Otherwise that takes several steps. */
static int goes_at_once(struct object *o, bool *ret)
{
	struct cache_file *file = __atomic_load_n(&o->file, __ATOMIC_ACQUIRE);
	int rc = 0;

	*ret = !LOAD(o->inode.blocks) && !(file && cache_file_dirty_bytes(file));
	if (*ret) {
		rc = filetree_has_xattrs(o);
		*ret = rc == 0;
	}
	return rc < 0 ? rc : 0;
}

int filetree_victim_edit(struct edit *e, struct filetree_victim *v)
{
	struct object *o = v->o;
	uint32_t links = LOAD(o->inode.link_count);
	bool is_dir = o->node.type == VFS_TYPE_DIR;
	struct inode *i;
	int rc;

	v->loses_last = is_dir || links <= 1;
	/* With the object its pages go, however many they are. */
	if (v->loses_last && nowait_here() && !object_is_small(o))
		return -EAGAIN;
	if (!v->loses_last) {
		i = edit_inode(e, o, EDIT_LINKS);
		i->link_count = links - 1;
		return 0;
	}
	/* What the item says does not matter any more, but whether it is there. */
	rc = filetree_ask(o);
	if (!rc || rc == -EUCLEAN)
		rc = goes_at_once(o, &v->at_once);
	if (rc)
		return rc;
	v->claimed = object_claim(o);
	v->at_once &= v->claimed;
	if (v->at_once) {
		struct wfs3_key orphan = filetree_orphan_key(o->number);

		edit_inode_gone(e, o);
		/* Of a truncation that is not finished. */
		if (o->behind_end || LOAD(o->shifting))
			edit_delete(e, &orphan);
		/* Of a file: contents that do not count any more may be there. */
		if (o->node.type == VFS_TYPE_FILE) {
			struct wfs3_key key = filetree_target_key(o->number, 0);

			edit_delete(e, &key);
		}
		for (unsigned part = 0; o->node.type == VFS_TYPE_SYMLINK && part < FILETREE_TARGET_PARTS; part++) {
			struct wfs3_key key = filetree_target_key(o->number, part);

			edit_delete(e, &key);
		}
		e->object_delta--;
	} else {
		struct wfs3_key key = filetree_orphan_key(o->number);

		i = edit_inode(e, o, EDIT_LINKS);
		i->link_count = 0;
		/* It is there already, and says more, when a range is being taken out. */
		if (!LOAD(o->shifting))
			edit_put(e, &key, NULL, 0);
	}
	return 0;
}

void filetree_victim_done(struct filetree_victim *v, bool made)
{
	struct object *o = v->o;

	if (!o)
		return;
	if (!v->claimed) {
		if (made && v->loses_last)
			object_lost_name(o);
		vfs_node_unref(&o->node);
	} else if (!made) {
		object_publish(o, true);
		vfs_node_unref(&o->node);
	} else if (v->at_once) {
		object_forget(o);
	} else if (!filetree_reap_later(o)) {
		object_forget(o);
	}
}

/* Would its directory lose something that is not empty, or of the wrong type? */
static int check_victim(const struct object *o, bool want_dir)
{
	bool is_dir = o->node.type == VFS_TYPE_DIR;

	if (want_dir && !is_dir)
		return err_set(-ENOTDIR, "object %" PRIu64 " is no directory", o->number);
	if (!want_dir && is_dir)
		return err_set(-EISDIR, "object %" PRIu64 " is a directory", o->number);
	if (is_dir && LOAD(o->inode.size_bytes))
		return err_set(-ENOTEMPTY, "directory %" PRIu64 " is not empty", o->number);
	return 0;
}

/* One entry less or more in a directory, which is a directory itself or not. -EUCLEAN: its inode knows of fewer. */
static int change_dir(struct edit *e, struct object *dir, int entries, int subdirs)
{
	struct inode *i = edit_inode(e, dir, EDIT_SIZE | EDIT_MTIME | EDIT_LINKS);

	if ((entries < 0 && !i->size_bytes) || (subdirs < 0 && i->link_count < 3))
		return err_set(-EUCLEAN, "directory %" PRIu64 " has more entries than its inode says", dir->number);
	i->size_bytes += (uint64_t)(int64_t)entries;
	i->link_count += (uint32_t)subdirs;
	i->mtime_ns = e->now_ns;
	return 0;
}

/* The object behind a name, referenced. -ENOENT. It may be another one when the directory is locked. */
static int find_object(struct object *dir, const char *name, size_t name_len, struct object **ret)
{
	struct vfs_node *n;
	int rc = filetree_lookup(&dir->node, name, name_len, &n);

	if (!rc)
		*ret = filetree_object(n);
	return rc;
}

/* With the directory locked: does the name still mean @o (NULL: nothing)? 1, 0. */
static int still_means(struct object *dir, const char *name, size_t name_len, const struct object *o)
{
	uint64_t number = 0;
	uint8_t type;
	int rc = edit_find(dir->ds, dir->number, name, name_len, &number, &type);

	return rc < 0 ? rc : number == (o ? o->number : 0);
}

/* With the object locked. */
static int check_taker(const struct vfs_taker *taker, const struct object *o)
{
	return vfs_taker_check(taker, LOAD(o->inode.uid), (uint32_t)LOAD(o->inode.flags));
}

/* -EAGAIN: the name means something else by now. */
static int unlink_locked(struct object *dir, const char *name, size_t name_len, bool want_dir,
                         struct filetree_victim *v, const struct vfs_taker *taker, const struct vfs_tag *tag)
{
	struct edit e;
	int rc = filetree_check_dir(dir);

	if (!rc) {
		rc = still_means(dir, name, name_len, v->o);
		rc = rc < 0 ? rc : rc ? 0 : -EAGAIN;
	}
	if (!rc)
		rc = check_taker(taker, v->o);
	if (!rc)
		rc = check_victim(v->o, want_dir);
	if (rc)
		return rc;
	edit_init(&e, dir->ds);
	rc = edit_entry(&e, dir->number, name, name_len, 0, 0);
	if (!rc)
		rc = filetree_victim_edit(&e, v);
	if (rc)
		return rc;
	edit_tag(&e, tag, 0);
	rc = change_dir(&e, dir, -1, want_dir ? -1 : 0);
	return rc ? rc : edit_run(&e);
}

int filetree_unlink(struct vfs_node *n, const char *name, size_t name_len, bool want_dir, const struct vfs_taker *taker,
                    const struct vfs_tag *tag)
{
	struct object *dir = filetree_object(n);
	struct filetree_op op;
	int rc = filetree_begin(dir->ds, true, &op);

	if (rc)
		return rc;
	do {
		struct filetree_victim v = { 0 };
		struct object *both[2] = { dir, NULL };

		rc = find_object(dir, name, name_len, &v.o);
		if (rc)
			break;
		both[1] = v.o;
		rc = filetree_lock(both, 2);
		if (!rc) {
			rc = unlink_locked(dir, name, name_len, want_dir, &v, taker, tag);
			filetree_unlock(both, 2);
		}
		filetree_victim_done(&v, rc == 0);
	} while (rc == -EAGAIN && !nowait_here());
	filetree_end(&op);
	return rc;
}

/* What is in a directory with a project counts for it: whoever moves something there copies it instead. */
static int check_project(const struct object *dir, const struct object *o)
{
	uint32_t project = LOAD(dir->inode.project);

	if (project && LOAD(o->inode.project) != project)
		return err_set(-EXDEV, "directory %" PRIu64 " is of project %u, object %" PRIu64 " is not", dir->number,
		               project, o->number);
	return 0;
}

/* ---- link ---- */

static int link_locked(struct object *dir, const char *name, size_t name_len, struct object *o,
                       const struct vfs_tag *tag)
{
	uint32_t links = LOAD(o->inode.link_count);
	struct wfs3_key orphan = filetree_orphan_key(o->number);
	struct inode *i;
	struct edit e;
	int rc = filetree_check_dir(dir);

	if (!rc)
		rc = still_means(dir, name, name_len, NULL);
	if (rc != 1)
		return rc ? rc : err_set(-EEXIST, "'%.*s' exists already", (int)name_len, name);
	if (o->node.type == VFS_TYPE_DIR)
		return err_set(-EPERM, "a directory has one name");
	if (links >= VFS_LINKS_MAX)
		return err_set(-EMLINK, "object %" PRIu64 " has too many names", o->number);
	rc = check_project(dir, o);
	if (rc)
		return rc;
	edit_init(&e, dir->ds);
	edit_tag(&e, tag, 0);
	i = edit_inode(&e, o, EDIT_LINKS);
	i->link_count = links + 1;
	/* The same item stands for a truncation, or a range that is being taken out, that is not finished. */
	if (!links && !o->behind_end && !LOAD(o->shifting))
		edit_delete(&e, &orphan);
	rc = change_dir(&e, dir, 1, 0);
	if (!rc)
		rc = edit_entry(&e, dir->number, name, name_len, o->number, (uint8_t)o->node.type);
	if (!rc)
		rc = edit_run(&e);
	if (!rc && !links)
		object_got_name(o);
	return rc;
}

static int check_same_tree(const struct vfs_node *a, const struct vfs_node *b)
{
	if (b->ops != &filetree_node_ops || ((const struct object *)a)->ds != ((const struct object *)b)->ds)
		return err_set(-EXDEV, "they are in different file systems");
	return 0;
}

int filetree_link(struct vfs_node *n, const char *name, size_t name_len, struct vfs_node *target,
                  const struct vfs_tag *tag)
{
	struct object *dir = filetree_object(n), *both[2] = { dir, NULL };
	struct filetree_op op;
	int rc = check_same_tree(n, target);

	if (!rc && target->type == VFS_TYPE_DIR)
		rc = err_set(-EPERM, "a directory has one name");
	if (!rc)
		rc = filetree_begin(dir->ds, false, &op);
	if (rc)
		return rc;
	both[1] = filetree_object(target);
	rc = filetree_lock(both, 2);
	if (!rc) {
		rc = link_locked(dir, name, name_len, both[1], tag);
		filetree_unlock(both, 2);
	}
	filetree_end(&op);
	return rc;
}

/* ---- rename ---- */

struct rename {
	struct object *dir, *new_dir;
	const char *name, *new_name;
	size_t name_len, new_name_len;
	unsigned flags;
	const struct vfs_taker *takers; /* two, or NULL */
	const struct vfs_tag *tag;
	struct object *source; /* referenced */
	struct filetree_victim target; /* what is at the new name */
};

/* Would @dir become a part of itself? The rename lock is held, so no directory moves. */
static int check_cycle(struct object *moved, struct object *dir)
{
	uint64_t number = dir->number;

	for (unsigned depth = 0; number != moved->number && number != WFS3_ROOT_OBJECT; depth++) {
		struct object *o;
		int rc = object_get(dir->ds, number, &o);

		if (rc)
			return rc == -ESTALE ? err_set(-ENOENT, "directory %" PRIu64 " was removed", number) : rc;
		if (depth == DEPTH_MAX || o->node.type != VFS_TYPE_DIR)
			rc = err_set(-EUCLEAN, "directory %" PRIu64 " does not lead to the top", dir->number);
		number = LOAD(o->inode.parent);
		vfs_node_unref(&o->node);
		if (rc)
			return rc;
	}
	return number == moved->number ? err_set(-EINVAL, "a directory cannot become a part of itself") : 0;
}

static int check_replaced(const struct rename *r)
{
	const struct object *o = r->target.o;

	if (!o)
		return r->flags & VFS_RENAME_EXCHANGE
		               ? err_set(-ENOENT, "there is no '%.*s'", (int)r->new_name_len, r->new_name)
		               : 0;
	if (r->flags & VFS_RENAME_EXCHANGE)
		return 0;
	if (r->flags & VFS_RENAME_NOREPLACE)
		return err_set(-EEXIST, "'%.*s' exists already", (int)r->new_name_len, r->new_name);
	return check_victim(o, r->source->node.type == VFS_TYPE_DIR);
}

static int check_names(const struct rename *r)
{
	int rc = filetree_check_dir(r->dir);

	if (!rc)
		rc = filetree_check_dir(r->new_dir);
	if (rc)
		return rc;
	rc = still_means(r->dir, r->name, r->name_len, r->source);
	if (rc > 0)
		rc = still_means(r->new_dir, r->new_name, r->new_name_len, r->target.o);
	return rc < 0 ? rc : rc ? 0 : -EAGAIN;
}

/* An object has another directory now. */
static void move_to(struct edit *e, struct object *o, const struct object *dir)
{
	struct inode *i = edit_inode(e, o, o->node.type == VFS_TYPE_DIR ? EDIT_PARENT : 0);

	if (o->node.type == VFS_TYPE_DIR)
		i->parent = dir->number;
}

static int edit_exchange(struct edit *e, struct rename *r)
{
	struct object *a = r->source, *b = r->target.o;
	int a_is_dir = a->node.type == VFS_TYPE_DIR, b_is_dir = b->node.type == VFS_TYPE_DIR;
	int rc = edit_entry(e, r->dir->number, r->name, r->name_len, b->number, (uint8_t)b->node.type);

	if (!rc)
		rc = edit_entry(e, r->new_dir->number, r->new_name, r->new_name_len, a->number, (uint8_t)a->node.type);
	if (rc)
		return rc;
	move_to(e, a, r->new_dir);
	move_to(e, b, r->dir);
	rc = change_dir(e, r->dir, 0, b_is_dir - a_is_dir);
	return rc ? rc : change_dir(e, r->new_dir, 0, a_is_dir - b_is_dir);
}

static int edit_move(struct edit *e, struct rename *r)
{
	struct object *o = r->source;
	bool replaces = r->target.o;
	int is_dir = o->node.type == VFS_TYPE_DIR;
	int rc = edit_entry(e, r->dir->number, r->name, r->name_len, 0, 0);

	if (!rc)
		rc = edit_entry(e, r->new_dir->number, r->new_name, r->new_name_len, o->number, (uint8_t)o->node.type);
	if (!rc && replaces)
		rc = filetree_victim_edit(e, &r->target);
	if (replaces)
		edit_replace(e);
	if (rc)
		return rc;
	move_to(e, o, r->new_dir);
	rc = change_dir(e, r->dir, -1, -is_dir);
	/* A directory is replaced by a directory only. */
	return rc ? rc : change_dir(e, r->new_dir, replaces ? 0 : 1, replaces ? 0 : is_dir);
}

static int check_takers(const struct rename *r)
{
	int rc = r->takers ? check_taker(&r->takers[0], r->source) : 0;

	return !rc && r->takers && r->target.o ? check_taker(&r->takers[1], r->target.o) : rc;
}

/* -EAGAIN: a name means something else by now. */
static int rename_locked(struct rename *r)
{
	struct edit e;
	int rc = check_names(r);

	if (!rc)
		rc = check_takers(r);
	if (rc)
		return rc;
	/* Two names of one object: nothing happens (POSIX, rename()). */
	if (r->source == r->target.o)
		return r->flags & VFS_RENAME_NOREPLACE ? err_set(-EEXIST, "both are one object") : 0;
	rc = check_replaced(r);
	if (!rc && r->dir != r->new_dir)
		rc = check_project(r->new_dir, r->source);
	if (!rc && r->dir != r->new_dir && r->flags & VFS_RENAME_EXCHANGE)
		rc = check_project(r->dir, r->target.o);
	if (rc)
		return rc;
	edit_init(&e, r->dir->ds);
	edit_tag(&e, r->tag, 0);
	rc = r->flags & VFS_RENAME_EXCHANGE ? edit_exchange(&e, r) : edit_move(&e, r);
	return rc ? rc : edit_run(&e);
}

/* Directories that move between others do so one at a time. */
static int rename_prepared(struct rename *r) SYNC_NO_ANALYSIS;
static int rename_prepared(struct rename *r)
{
	struct object *all[4] = { r->dir, r->new_dir, r->source, r->target.o };
	bool exchange = r->flags & VFS_RENAME_EXCHANGE && r->target.o;
	bool moves_dir = r->dir != r->new_dir &&
	                 (r->source->node.type == VFS_TYPE_DIR || (exchange && r->target.o->node.type == VFS_TYPE_DIR));
	struct dataset *ds = r->dir->ds;
	int rc = 0;

	if (moves_dir && nowait_here())
		return -EAGAIN;
	if (moves_dir)
		sync_mutex_lock(&ds->rename_lock);
	if (moves_dir && r->source->node.type == VFS_TYPE_DIR)
		rc = check_cycle(r->source, r->new_dir);
	if (!rc && moves_dir && exchange && r->target.o->node.type == VFS_TYPE_DIR)
		rc = check_cycle(r->target.o, r->dir);
	if (!rc)
		rc = filetree_lock(all, 4);
	if (!rc) {
		rc = rename_locked(r);
		filetree_unlock(all, 4);
	}
	if (moves_dir)
		sync_mutex_unlock(&ds->rename_lock);
	return rc;
}

static int rename_once(struct rename *r)
{
	int rc = find_object(r->dir, r->name, r->name_len, &r->source);
	bool replaces;

	if (rc)
		return rc;
	r->target = (struct filetree_victim){ 0 };
	rc = find_object(r->new_dir, r->new_name, r->new_name_len, &r->target.o);
	if (rc == -ENOENT)
		rc = 0;
	replaces = r->target.o && r->target.o != r->source && !(r->flags & VFS_RENAME_EXCHANGE);
	/* Whoever finds the new name after a crash finds the new contents, too. */
	if (!rc && replaces && r->source->node.type == VFS_TYPE_FILE)
		rc = nowait_here() ? -EAGAIN : object_persist(r->source, 0, UINT64_MAX);
	if (!rc)
		rc = rename_prepared(r);
	filetree_victim_done(&r->target, rc == 0);
	vfs_node_unref(&r->source->node);
	return rc;
}

int filetree_rename(struct vfs_node *n, const char *name, size_t name_len, struct vfs_node *new_n, const char *new_name,
                    size_t new_name_len, unsigned flags, const struct vfs_taker *takers, const struct vfs_tag *tag)
{
	struct rename r = { .dir = filetree_object(n),
		            .new_dir = filetree_object(new_n),
		            .name = name,
		            .new_name = new_name,
		            .name_len = name_len,
		            .new_name_len = new_name_len,
		            .flags = flags,
		            .takers = takers,
		            .tag = tag };
	struct filetree_op op;
	int rc = check_same_tree(n, new_n);

	if (!rc && (flags & ~(VFS_RENAME_NOREPLACE | VFS_RENAME_EXCHANGE) ||
	            flags == (VFS_RENAME_NOREPLACE | VFS_RENAME_EXCHANGE)))
		rc = err_set(-EINVAL, "rename with flags %#x", flags);
	if (!rc)
		rc = filetree_begin(r.dir->ds, false, &op);
	if (rc)
		return rc;
	do {
		rc = rename_once(&r);
	} while (rc == -EAGAIN && !nowait_here());
	filetree_end(&op);
	return rc;
}
