/* SPDX-License-Identifier: BSD-3-Clause */
/* The table of mounts, and the directory at the top of the namespace that shows it. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/assert.h"
#include "core/base/err.h"
#include "core/vfs/lease.h"
#include "core/vfs/watch.h"

int vfs_check_name(const char *name, size_t len)
{
	if (!len)
		return err_set(-EINVAL, "a name must not be empty");
	if (len > VFS_NAME_MAX)
		return err_set(-ENAMETOOLONG, "a name of %zu bytes is longer than %d", len, VFS_NAME_MAX);
	if ((len == 1 && name[0] == '.') || (len == 2 && name[0] == '.' && name[1] == '.'))
		return err_set(-EINVAL, "'.' and '..' are not names");
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)name[i];

		if (c < 0x20 || c == 0x7f)
			return err_set(-EINVAL, "a name must not hold control characters (byte %zu is %#x)", i, c);
		if (c == '/')
			return err_set(-EINVAL, "a name must not hold '/'");
	}
	return 0;
}

void mount_ref(struct vfs_mount_point *m)
{
	__atomic_add_fetch(&m->refs, 1, __ATOMIC_RELAXED);
}

void mount_unref(struct vfs_mount_point *m)
{
	if (!m || __atomic_sub_fetch(&m->refs, 1, __ATOMIC_ACQ_REL))
		return;
	vfs_node_unref(m->root);
	place_drop(&m->covered);
	if (m->left)
		m->left(m->left_ctx);
	free(m);
}

void place_copy(struct place *to, const struct place *from)
{
	mount_ref(from->mount);
	vfs_node_ref(from->node);
	*to = *from;
}

void place_drop(struct place *at)
{
	vfs_node_unref(at->node);
	mount_unref(at->mount);
	*at = (struct place){ 0 };
}

/* ---- finding ---- */

static bool has_path(const struct vfs_mount_point *m, const char *name, size_t len)
{
	return m->path_len == len + 1 && !memcmp(m->path + 1, name, len);
}

static struct vfs_mount_point *find_path(struct vfs *v, const char *name, size_t len) SYNC_REQUIRES(v->lock)
{
	struct vfs_mount_point *m;

	cds_list_for_each_entry (m, &v->mounts, link)
		if (has_path(m, name, len))
			return m;
	return NULL;
}

static struct vfs_mount_point *find_over(struct vfs *v, const struct vfs_mount_point *covered,
                                         const struct vfs_node *node) SYNC_REQUIRES(v->lock)
{
	struct vfs_mount_point *m;

	cds_list_for_each_entry (m, &v->mounts, link)
		if (m->covered.mount == covered && m->covered.node == node)
			return m;
	return NULL;
}

static struct vfs_mount_point *find_drive(struct vfs *v, char letter) SYNC_REQUIRES(v->lock)
{
	struct vfs_mount_point *m;

	cds_list_for_each_entry (m, &v->mounts, link)
		if (m->drive == letter)
			return m;
	return NULL;
}

static void root_place(struct vfs_mount_point *m, struct place *ret)
{
	place_copy(ret, &(struct place){ .mount = m, .node = m->root });
}

int mount_find(struct vfs *v, const char *name, size_t len, struct place *ret)
{
	struct vfs_mount_point *m;

	sync_mutex_lock(&v->lock);
	m = memchr(name, '/', len) ? NULL : find_path(v, name, len);
	if (m)
		root_place(m, ret);
	sync_mutex_unlock(&v->lock);
	return m ? 0 : err_set(-ENOENT, "nothing is mounted at /%.*s", (int)len, name);
}

char vfs_drive_letter(char c)
{
	if (c >= 'a' && c <= 'z')
		c = (char)(c - 'a' + 'A');
	return c >= 'A' && c <= 'Z' ? c : 0;
}

int mount_find_drive(struct vfs *v, char letter, struct place *ret)
{
	struct vfs_mount_point *m = NULL;

	letter = vfs_drive_letter(letter);
	sync_mutex_lock(&v->lock);
	if (letter)
		m = find_drive(v, letter);
	if (m)
		root_place(m, ret);
	sync_mutex_unlock(&v->lock);
	return m ? 0 : err_set(-ENOENT, "no mount has that drive letter");
}

void mount_cross(struct vfs *v, struct place *at)
{
	struct vfs_mount_point *m;
	struct place root;

	/* Rarely is anything mounted there: then no lock is taken. */
	if (!__atomic_load_n(&at->mount->child_count, __ATOMIC_ACQUIRE))
		return;
	sync_mutex_lock(&v->lock);
	m = find_over(v, at->mount, at->node);
	if (m)
		root_place(m, &root);
	sync_mutex_unlock(&v->lock);
	if (!m)
		return;
	place_drop(at);
	*at = root;
}

static bool lies_over(const struct vfs_mount_point *m, const struct vfs_mount_point *below)
{
	do
		m = m->covered.mount;
	while (m && m != below);
	return m != NULL;
}

/* @below NULL: any. */
static bool next_mount(struct vfs *v, const struct vfs_mount_point *below, uint64_t *id, struct place *ret)
{
	struct vfs_mount_point *m;
	bool found = false;

	sync_mutex_lock(&v->lock);
	cds_list_for_each_entry (m, &v->mounts, link) {
		if (m->id > *id && (!below || lies_over(m, below))) {
			*id = m->id;
			root_place(m, ret);
			found = true;
			break;
		}
	}
	sync_mutex_unlock(&v->lock);
	return found;
}

bool mount_next(struct vfs *v, uint64_t *id, struct place *ret)
{
	return next_mount(v, NULL, id, ret);
}

bool mount_next_over(struct vfs *v, const struct vfs_mount_point *below, uint64_t *id, struct place *ret)
{
	/* Rarely is anything mounted there: then no lock is taken. */
	return __atomic_load_n(&below->child_count, __ATOMIC_ACQUIRE) && next_mount(v, below, id, ret);
}

int mount_check_uncovered(struct vfs *v, struct vfs_mount_point *m, const struct vfs_node *node)
{
	bool covered;

	if (!__atomic_load_n(&m->child_count, __ATOMIC_ACQUIRE))
		return 0;
	/* In a transaction it is the object outside that something lies over. */
	if (node->ops->outside)
		node = node->ops->outside((struct vfs_node *)(uintptr_t)node);
	sync_mutex_lock(&v->lock);
	covered = node && find_over(v, m, node);
	sync_mutex_unlock(&v->lock);
	return covered ? err_set(-EBUSY, "something is mounted over it") : 0;
}

/* ---- mounting ---- */

/* Where a path without its first '/' leads: nothing for an entry of the top directory, otherwise a directory that
 * nothing lies over. */
static int find_covered(struct vfs *v, const char *path, struct place *ret)
{
	int err;

	*ret = (struct place){ 0 };
	if (!strchr(path + 1, '/'))
		return vfs_check_name(path + 1, strlen(path + 1));
	err = walk_plain(v, path, ret);
	if (err)
		return err;
	if (ret->node->type != VFS_TYPE_DIR)
		err = err_set(-ENOTDIR, "%s is not a directory", path);
	else if (ret->node == ret->mount->root)
		err = err_set(-EEXIST, "%s is in use", path);
	if (err)
		place_drop(ret);
	return err;
}

/* Into the table, if its place is still free. */
static int enter(struct vfs *v, struct vfs_mount_point *m) SYNC_REQUIRES(v->lock)
{
	struct vfs_mount_point *below = m->covered.mount;

	if (find_path(v, m->path + 1, m->path_len - 1) || (below && find_over(v, below, m->covered.node)))
		return err_set(-EEXIST, "%s is in use", m->path);
	if (below && below->gone)
		return err_set(-ESTALE, "%s is not mounted any more", below->path);
	if (below)
		__atomic_add_fetch(&below->child_count, 1, __ATOMIC_RELEASE);
	m->id = ++v->next_mount_id;
	cds_list_add_tail(&m->link, &v->mounts);
	return 0;
}

static struct vfs_mount_point *new_mount(const char *path, struct vfs_node *root, bool read_only)
{
	bool absolute = path[0] == '/';
	size_t len = strlen(path) + !absolute;
	struct vfs_mount_point *m = calloc(1, sizeof(*m) + len + 1);

	if (!m)
		return NULL;
	vfs_node_ref(root);
	m->root = root;
	m->read_only = read_only;
	m->refs = 1;
	m->path_len = len;
	m->path[0] = '/';
	memcpy(m->path + !absolute, path, strlen(path));
	return m;
}

/* The name of what the mount lies over stands for something else than before. */
static void tell_name_changed(struct vfs *v, const struct vfs_mount_point *m)
{
	const struct place *at = &m->covered;
	const char *name = strrchr(m->path, '/') + 1;
	struct vfs_node *dir;

	if (!watch_any(v))
		return;
	if (!at->node) {
		watch_lost(v, v->top);
	} else if (!at->node->ops->parent || at->node->ops->parent(at->node, &dir)) {
		watch_lost(v, at->mount);
	} else {
		watch_name(v, at->mount, VFS_CHANGE_MOVED_TO, dir, name, strlen(name), NULL);
		vfs_node_unref(dir);
	}
}

int vfs_mount(struct vfs *v, const char *path, struct vfs_node *root, bool read_only)
{
	return vfs_mount_held(v, path, root, read_only, NULL, NULL);
}

int vfs_mount_held(struct vfs *v, const char *path, struct vfs_node *root, bool read_only, vfs_left_fn *left, void *ctx)
{
	struct vfs_mount_point *m;
	int ret;

	if (strnlen(path, VFS_PATH_MAX - 1) == VFS_PATH_MAX - 1)
		return err_set(-ENAMETOOLONG, "the path of a mount is too long");
	m = new_mount(path, root, read_only);
	if (!m)
		return err_set(-ENOMEM, "no memory to mount %s", path);
	m->left = left;
	m->left_ctx = ctx;
	ret = find_covered(v, m->path, &m->covered);
	if (!ret) {
		sync_mutex_lock(&v->lock);
		ret = enter(v, m);
		if (!ret)
			mount_ref(m);
		sync_mutex_unlock(&v->lock);
	}
	if (ret)
		m->left = NULL;
	else
		tell_name_changed(v, m);
	mount_unref(m);
	return ret;
}

static struct vfs_mount_point *find_given(struct vfs *v, const char *path) SYNC_REQUIRES(v->lock)
{
	const char *name = path + (path[0] == '/');

	return find_path(v, name, strlen(name));
}

/* Whoever makes a handle counts it first and looks at the mark then; here it is the other way round. */
static int leave(struct vfs *v, struct vfs_mount_point *m, bool force) SYNC_REQUIRES(v->lock)
{
	unsigned handles = __atomic_load_n(&m->handle_count, __ATOMIC_SEQ_CST);

	(void)v;
	if (m->child_count && !force)
		return err_set(-EBUSY, "%u mounts are below %s", m->child_count, m->path);
	if (!handles || force) {
		__atomic_store_n(&m->gone, true, __ATOMIC_SEQ_CST);
		handles = __atomic_load_n(&m->handle_count, __ATOMIC_SEQ_CST);
	}
	if (handles && !force) {
		__atomic_store_n(&m->gone, false, __ATOMIC_SEQ_CST);
		return err_set(-EBUSY, "%s has %u open files", m->path, handles);
	}
	cds_list_del(&m->link);
	if (m->covered.mount)
		__atomic_sub_fetch(&m->covered.mount->child_count, 1, __ATOMIC_RELEASE);
	return 0;
}

int vfs_unmount(struct vfs *v, const char *path, bool force)
{
	struct vfs_mount_point *m;
	int ret;

	sync_mutex_lock(&v->lock);
	m = find_given(v, path);
	ret = m ? leave(v, m, force) : err_set(-ENOENT, "nothing is mounted at %s", path);
	sync_mutex_unlock(&v->lock);
	if (ret)
		return ret;
	locks_drop_mount(v->locks, m);
	watch_drop_mount(v->watches, m);
	lease_drop_mount(v->leases, m);
	tell_name_changed(v, m);
	mount_unref(m);
	return 0;
}

int vfs_set_drive(struct vfs *v, const char *path, char letter)
{
	struct vfs_mount_point *m, *other;
	char drive = vfs_drive_letter(letter);
	int ret = 0;

	if (letter && !drive)
		return err_set(-EINVAL, "a drive letter is one of A to Z");
	sync_mutex_lock(&v->lock);
	m = find_given(v, path);
	other = drive ? find_drive(v, drive) : NULL;
	if (!m)
		ret = err_set(-ENOENT, "nothing is mounted at %s", path);
	else if (other && other != m)
		ret = err_set(-EEXIST, "drive %c: is %s", drive, other->path);
	else
		m->drive = drive;
	sync_mutex_unlock(&v->lock);
	return ret;
}

bool drive_is_named(const char *path)
{
	return vfs_drive_letter(path[0]) && path[1] == ':' && (!path[2] || path[2] == '/' || path[2] == '\\');
}

void drive_slashes(char *path)
{
	for (char *p = path; *p; p++)
		if (*p == '\\')
			*p = '/';
}

int vfs_drive_path(struct vfs *v, const char *path, char ret[VFS_PATH_MAX])
{
	const struct vfs_mount_point *m;
	int len = -1;

	if (!drive_is_named(path)) {
		len = snprintf(ret, VFS_PATH_MAX, "%s", path);
		return len < VFS_PATH_MAX ? 0 : err_set(-ENAMETOOLONG, "the path is too long");
	}
	sync_mutex_lock(&v->lock);
	m = find_drive(v, vfs_drive_letter(path[0]));
	if (m && m->path_len + strlen(path + 2) < VFS_PATH_MAX) {
		len = snprintf(ret, VFS_PATH_MAX, "%s%s", m->path, path + 2);
		drive_slashes(ret + m->path_len);
	}
	sync_mutex_unlock(&v->lock);
	if (!m)
		return err_set(-ENOENT, "%s: no mount has that drive letter", path);
	if (len < 0)
		return err_set(-ENAMETOOLONG, "the path is too long");
	while (len > 1 && ret[len - 1] == '/')
		ret[--len] = '\0';
	return 0;
}

/* ---- the top directory ---- */

static struct vfs *to_vfs(struct vfs_node *n)
{
	return (struct vfs *)(void *)((char *)n - offsetof(struct vfs, top_node));
}

static void top_release(struct vfs_node *n)
{
	(void)n; /* it is a part of the namespace */
}

static int top_stat(struct vfs_node *n, struct vfs_stat *ret)
{
	(void)n;
	*ret = (struct vfs_stat){ .type = VFS_TYPE_DIR, .mode = 0755, .link_count = 2, .block_bytes = 4096 };
	return 0;
}

static int top_readdir(struct vfs_node *n, uint64_t cookie, vfs_dir_fn *fn, void *ctx)
{
	struct place at;
	bool go_on = true;

	while (go_on && mount_next(to_vfs(n), &cookie, &at)) {
		const struct vfs_mount_point *m = at.mount;
		struct vfs_stat st;

		if (!m->covered.node && !at.node->ops->stat(at.node, &st)) {
			struct vfs_dirent e = { .name = m->path + 1,
				                .name_len = m->path_len - 1,
				                .type = st.type,
				                .object = st.object,
				                .cookie = m->id };

			go_on = fn(ctx, &e);
		}
		place_drop(&at);
	}
	return 0;
}

static const struct vfs_node_ops top_ops = {
	.release = top_release,
	.stat = top_stat,
	.readdir = top_readdir,
};

struct vfs *vfs_new(void)
{
	struct vfs *v = aligned_alloc(64, sizeof(*v));

	if (!v)
		return NULL;
	memset(v, 0, sizeof(*v));
	v->top = calloc(1, sizeof(*v->top) + 2);
	v->locks = locks_new();
	v->watches = watch_hub_new();
	v->leases = lease_table_new();
	if (!v->top || !v->locks || !v->watches || !v->leases) {
		lease_table_free(v->leases);
		watch_hub_free(v->watches);
		locks_free(v->locks);
		free(v->top);
		free(v);
		return NULL;
	}
	sync_mutex_init(&v->lock, SYNC_RANK_NAMESPACE, "vfs mounts");
	for (unsigned i = 0; i < ATTR_LOCKS; i++) {
		sync_mutex_init(&v->attr_locks[false][i], SYNC_RANK_ATTR, "vfs attributes");
		sync_mutex_init(&v->attr_locks[true][i], SYNC_RANK_ATTR, "vfs remote attributes");
	}
	CDS_INIT_LIST_HEAD(&v->mounts);
	vfs_node_init(&v->top_node, &top_ops, VFS_TYPE_DIR);
	*v->top = (struct vfs_mount_point){ .root = &v->top_node, .read_only = true, .refs = 1, .path_len = 1 };
	v->top->path[0] = '/';
	return v;
}

void vfs_free(struct vfs *v)
{
	if (!v)
		return;
	always(cds_list_empty(&v->mounts));
	if (v->metrics)
		metrics_unregister(v->metrics, v);
	locks_free(v->locks);
	watch_hub_free(v->watches);
	lease_table_free(v->leases);
	for (unsigned i = 0; i < ATTR_LOCKS; i++) {
		sync_mutex_done(&v->attr_locks[false][i]);
		sync_mutex_done(&v->attr_locks[true][i]);
	}
	sync_mutex_done(&v->lock);
	free(v->top);
	free(v);
}
