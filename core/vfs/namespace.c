/* SPDX-License-Identifier: BSD-3-Clause */
/* The namespace: names, the table of mounts, walking a path, listing a directory. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/assert.h"
#include "core/base/err.h"
#include "core/vfs/vfs_priv.h"

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

struct vfs *vfs_new(void)
{
	struct vfs *v = calloc(1, sizeof(*v));

	if (!v)
		return NULL;
	sync_mutex_init(&v->lock, SYNC_RANK_NAMESPACE, "vfs mounts");
	CDS_INIT_LIST_HEAD(&v->mounts);
	return v;
}

void vfs_free(struct vfs *v)
{
	if (!v)
		return;
	always(cds_list_empty(&v->mounts));
	sync_mutex_done(&v->lock);
	free(v);
}

void vfs_node_init(struct vfs_node *n, const struct vfs_node_ops *ops, enum vfs_type type)
{
	*n = (struct vfs_node){ .ops = ops, .type = type, .refs = 1 };
}

void vfs_node_ref(struct vfs_node *n)
{
	always(__atomic_fetch_add(&n->refs, 1, __ATOMIC_RELAXED) > 0);
}

void vfs_node_unref(struct vfs_node *n)
{
	if (n && __atomic_sub_fetch(&n->refs, 1, __ATOMIC_ACQ_REL) == 0)
		n->ops->release(n);
}

void mount_unref(struct vfs_mount_point *m)
{
	if (!m || __atomic_sub_fetch(&m->refs, 1, __ATOMIC_ACQ_REL))
		return;
	vfs_node_unref(m->root);
	free(m);
}

static struct vfs_mount_point *find_mount(struct vfs *v, const char *name, size_t len) SYNC_REQUIRES(v->lock)
{
	struct vfs_mount_point *m;

	cds_list_for_each_entry (m, &v->mounts, link)
		if (m->name_len == len && !memcmp(m->name, name, len))
			return m;
	return NULL;
}

int vfs_mount(struct vfs *v, const char *name, struct vfs_node *root, bool read_only)
{
	struct vfs_mount_point *m;
	size_t len = strlen(name);
	int ret = vfs_check_name(name, len);

	if (ret)
		return ret;
	m = calloc(1, sizeof(*m));
	if (!m)
		return err_set(-ENOMEM, "no memory to mount /%s", name);
	m->root = root;
	m->read_only = read_only;
	m->refs = 1;
	m->name_len = len;
	memcpy(m->name, name, len);
	sync_mutex_lock(&v->lock);
	if (find_mount(v, name, len)) {
		ret = err_set(-EEXIST, "/%s is in use", name);
	} else {
		vfs_node_ref(root);
		cds_list_add_tail(&m->link, &v->mounts);
	}
	sync_mutex_unlock(&v->lock);
	if (ret)
		free(m);
	return ret;
}

int vfs_unmount(struct vfs *v, const char *name, bool force)
{
	struct vfs_mount_point *m;
	int ret = 0;

	sync_mutex_lock(&v->lock);
	m = find_mount(v, name, strlen(name));
	if (!m)
		ret = err_set(-ENOENT, "nothing is mounted at /%s", name);
	else if (m->handle_count && !force)
		ret = err_set(-EBUSY, "/%s has %u open files", name, m->handle_count);
	else
		cds_list_del(&m->link);
	sync_mutex_unlock(&v->lock);
	if (!ret)
		mount_unref(m);
	return ret;
}

/* One component further: from @dir (whose reference is given up) to its entry. */
static int walk_step(struct vfs_node **node, const char *name, size_t len)
{
	struct vfs_node *dir = *node, *next = NULL;
	int ret = vfs_check_name(name, len);

	if (!ret && dir->type != VFS_TYPE_DIR)
		ret = err_set(-ENOTDIR, "'%.*s' is looked up in something that is not a directory", (int)len, name);
	if (!ret)
		ret = dir->ops->lookup(dir, name, len, &next);
	vfs_node_unref(dir);
	*node = next;
	return ret;
}

int path_walk(struct vfs *v, const char *path, struct vfs_mount_point **ret_mount, struct vfs_node **ret_node)
{
	struct vfs_mount_point *m;
	struct vfs_node *node;
	const char *name = path + 1;
	size_t len;
	int ret;

	*ret_mount = NULL;
	*ret_node = NULL;
	if (strnlen(path, VFS_PATH_MAX) == VFS_PATH_MAX)
		return err_set(-ENAMETOOLONG, "the path is longer than %d bytes", VFS_PATH_MAX - 1);
	if (path[0] != '/')
		return err_set(-EINVAL, "path '%s' is not absolute", path);
	if (!path[1])
		return 0;
	len = strcspn(name, "/");
	ret = vfs_check_name(name, len);
	if (ret)
		return err_add(ret, "path '%s'", path);
	sync_mutex_lock(&v->lock);
	m = find_mount(v, name, len);
	if (m)
		__atomic_add_fetch(&m->refs, 1, __ATOMIC_RELAXED);
	sync_mutex_unlock(&v->lock);
	if (!m)
		return err_set(-ENOENT, "nothing is mounted at /%.*s", (int)len, name);
	node = m->root;
	vfs_node_ref(node);
	while (!ret && name[len]) {
		name += len + 1;
		len = strcspn(name, "/");
		ret = walk_step(&node, name, len);
	}
	if (ret) {
		mount_unref(m);
		return err_add(ret, "path '%s'", path);
	}
	*ret_mount = m;
	*ret_node = node;
	return 0;
}

static void stat_root(struct vfs_stat *ret)
{
	*ret = (struct vfs_stat){ .type = VFS_TYPE_DIR, .mode = 0755, .link_count = 2, .block_bytes = 4096 };
}

int vfs_stat_path(struct vfs *v, const char *path, struct vfs_stat *ret_stat)
{
	struct vfs_mount_point *m;
	struct vfs_node *node;
	int ret = path_walk(v, path, &m, &node);

	if (ret)
		return ret;
	if (!node) {
		stat_root(ret_stat);
		return 0;
	}
	ret = node->ops->stat(node, ret_stat);
	ret_stat->read_only |= m->read_only;
	vfs_node_unref(node);
	mount_unref(m);
	return ret;
}

/* The mount points, copied so that @fn runs without the lock. */
static int list_mounts(struct vfs *v, vfs_dir_fn *fn, void *ctx)
{
	struct vfs_mount_point *m, **all;
	size_t count = 0, n = 0;
	bool go_on = true;

	sync_mutex_lock(&v->lock);
	cds_list_for_each_entry (m, &v->mounts, link)
		count++;
	all = calloc(count ? count : 1, sizeof(*all));
	if (all) {
		cds_list_for_each_entry (m, &v->mounts, link) {
			__atomic_add_fetch(&m->refs, 1, __ATOMIC_RELAXED);
			all[n++] = m;
		}
	}
	sync_mutex_unlock(&v->lock);
	if (!all)
		return err_set(-ENOMEM, "no memory to list %zu mounts", count);
	for (size_t i = 0; i < n; i++) {
		struct vfs_stat st;

		if (go_on && !all[i]->root->ops->stat(all[i]->root, &st)) {
			struct vfs_dirent e = { .name = all[i]->name,
				                .name_len = all[i]->name_len,
				                .type = st.type,
				                .object = st.object,
				                .cookie = i + 1 };

			go_on = fn(ctx, &e);
		}
		mount_unref(all[i]);
	}
	free(all);
	return 0;
}

int vfs_readdir_path(struct vfs *v, const char *path, vfs_dir_fn *fn, void *ctx)
{
	struct vfs_mount_point *m;
	struct vfs_node *node;
	int ret = path_walk(v, path, &m, &node);

	if (ret)
		return ret;
	if (!node)
		return list_mounts(v, fn, ctx);
	if (node->type != VFS_TYPE_DIR)
		ret = err_set(-ENOTDIR, "'%s' is not a directory", path);
	else
		ret = node->ops->readdir(node, 0, fn, ctx);
	vfs_node_unref(node);
	mount_unref(m);
	return ret;
}
