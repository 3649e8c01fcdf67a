/* SPDX-License-Identifier: BSD-3-Clause */
/* The table of mounts, and the directory at the top of the namespace that shows it. */
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

void mount_ref(struct vfs_mount_point *m)
{
	__atomic_add_fetch(&m->refs, 1, __ATOMIC_RELAXED);
}

void mount_unref(struct vfs_mount_point *m)
{
	if (!m || __atomic_sub_fetch(&m->refs, 1, __ATOMIC_ACQ_REL))
		return;
	vfs_node_unref(m->root);
	free(m);
}

void place_drop(struct place *at)
{
	vfs_node_unref(at->node);
	mount_unref(at->mount);
	*at = (struct place){ 0 };
}

static struct vfs_mount_point *find_locked(struct vfs *v, const char *name, size_t len) SYNC_REQUIRES(v->lock)
{
	struct vfs_mount_point *m;

	cds_list_for_each_entry (m, &v->mounts, link)
		if (m->name_len == len && !memcmp(m->name, name, len))
			return m;
	return NULL;
}

int mount_find(struct vfs *v, const char *name, size_t len, struct place *ret)
{
	struct vfs_mount_point *m;

	sync_mutex_lock(&v->lock);
	m = find_locked(v, name, len);
	if (m)
		mount_ref(m);
	sync_mutex_unlock(&v->lock);
	if (!m)
		return err_set(-ENOENT, "nothing is mounted at /%.*s", (int)len, name);
	vfs_node_ref(m->root);
	*ret = (struct place){ .mount = m, .node = m->root };
	return 0;
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
	if (find_locked(v, name, len)) {
		ret = err_set(-EEXIST, "/%s is in use", name);
	} else {
		vfs_node_ref(root);
		m->id = ++v->next_mount_id;
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
	unsigned handle_count;
	int ret = 0;

	sync_mutex_lock(&v->lock);
	m = find_locked(v, name, strlen(name));
	if (m) {
		/* Whoever makes a handle counts it first and looks at this mark then. */
		__atomic_store_n(&m->gone, true, __ATOMIC_SEQ_CST);
		handle_count = __atomic_load_n(&m->handle_count, __ATOMIC_SEQ_CST);
		if (handle_count && !force) {
			__atomic_store_n(&m->gone, false, __ATOMIC_SEQ_CST);
			ret = err_set(-EBUSY, "/%s has %u open files", name, handle_count);
		} else {
			cds_list_del(&m->link);
		}
	} else {
		ret = err_set(-ENOENT, "nothing is mounted at /%s", name);
	}
	sync_mutex_unlock(&v->lock);
	if (!ret)
		mount_unref(m);
	return ret;
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

/* The first mount with an id above @id, referenced, or NULL. */
static struct vfs_mount_point *next_mount(struct vfs *v, uint64_t id)
{
	struct vfs_mount_point *m, *found = NULL;

	sync_mutex_lock(&v->lock);
	cds_list_for_each_entry (m, &v->mounts, link) {
		if (m->id > id) {
			mount_ref(m);
			found = m;
			break;
		}
	}
	sync_mutex_unlock(&v->lock);
	return found;
}

static int top_readdir(struct vfs_node *n, uint64_t cookie, vfs_dir_fn *fn, void *ctx)
{
	struct vfs_mount_point *m;
	bool go_on = true;

	while (go_on && (m = next_mount(to_vfs(n), cookie))) {
		struct vfs_stat st;

		if (!m->root->ops->stat(m->root, &st)) {
			struct vfs_dirent e = { .name = m->name,
				                .name_len = m->name_len,
				                .type = st.type,
				                .object = st.object,
				                .cookie = m->id };

			go_on = fn(ctx, &e);
		}
		cookie = m->id;
		mount_unref(m);
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
	struct vfs *v = calloc(1, sizeof(*v));

	if (!v)
		return NULL;
	v->locks = locks_new();
	if (!v->locks) {
		free(v);
		return NULL;
	}
	sync_mutex_init(&v->lock, SYNC_RANK_NAMESPACE, "vfs mounts");
	CDS_INIT_LIST_HEAD(&v->mounts);
	vfs_node_init(&v->top_node, &top_ops, VFS_TYPE_DIR);
	v->top = (struct vfs_mount_point){ .root = &v->top_node, .read_only = true, .refs = 1 };
	return v;
}

void vfs_free(struct vfs *v)
{
	if (!v)
		return;
	always(cds_list_empty(&v->mounts));
	locks_free(v->locks);
	sync_mutex_done(&v->lock);
	free(v);
}
