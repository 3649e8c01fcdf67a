/* SPDX-License-Identifier: BSD-3-Clause */
/* The table of exports, sorted by name, and the list of what clients have open. */
#include "server/export/export.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/assert.h"
#include "core/base/checksum.h"
#include "core/base/err.h"
#include "core/base/sync.h"

/* Referenced by the table and by each open handle, so that counts stay right when an export is replaced. */
struct export_entry {
	struct export_entry *next;
	unsigned refs;
	struct export_info info;
};

struct export_opened {
	struct export_opened *next;
	struct vfs_handle *handle;
	struct export_entry *entry;
};

struct export_table {
	struct vfs *vfs;
	struct sync_rwlock lock;
	struct export_entry *entries SYNC_GUARDED_BY(lock); /* ascending by name */
	struct export_opened *opened SYNC_GUARDED_BY(lock);
	uint64_t generation; /* atomic; changed under the lock */
};

struct export_table *export_table_new(struct vfs *v)
{
	struct export_table *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	t->vfs = v;
	sync_rwlock_init(&t->lock, SYNC_RANK_SERVER, "exports");
	return t;
}

static void entry_unref(struct export_entry *e)
{
	always(e->refs > 0);
	if (--e->refs == 0)
		free(e);
}

static void entries_unref(struct export_entry *e)
{
	while (e) {
		struct export_entry *next = e->next;

		entry_unref(e);
		e = next;
	}
}

void export_table_free(struct export_table *t)
{
	if (!t)
		return;
	always(!t->opened);
	entries_unref(t->entries);
	sync_rwlock_done(&t->lock);
	free(t);
}

static bool has_control(const char *s)
{
	for (; *s; s++) {
		if ((unsigned char)*s < 0x20 || *s == 0x7f)
			return true;
	}
	return false;
}

int export_check(const struct export_info *info)
{
	if (!memchr(info->name, '\0', sizeof(info->name)) ||
	    !memchr(info->description, '\0', sizeof(info->description)) ||
	    !memchr(info->path, '\0', sizeof(info->path)))
		return err_set(-EINVAL, "an export's name, description or path is too long");
	if (info->name[0] == '\0')
		return err_set(-EINVAL, "an export's name is empty");
	if (has_control(info->name))
		return err_set(-EINVAL, "an export's name has control characters");
	if (has_control(info->description))
		return err_set(-EINVAL, "export '%s': the description has control characters", info->name);
	if (info->path[0] != '/' || info->path[1] == '\0' || has_control(info->path))
		return err_set(-EINVAL, "export '%s': the path must be absolute, like /POOL/VOLUME", info->name);
	return 0;
}

static struct export_entry *entry_new(const struct export_info *info, bool is_static)
{
	struct export_entry *e = calloc(1, sizeof(*e));

	if (!e)
		return NULL;
	e->refs = 1;
	e->info = *info;
	e->info.is_static = is_static;
	e->info.open_count = 0;
	return e;
}

/* Insert in order. -EEXIST when the name or the role of default is taken. */
static int list_insert(struct export_entry **list, struct export_entry *e)
{
	struct export_entry **place = NULL;

	for (struct export_entry **p = list;; p = &(*p)->next) {
		int order = *p ? strcmp((*p)->info.name, e->info.name) : 1;

		if (order == 0)
			return err_set(-EEXIST, "export '%s' exists already", e->info.name);
		if (order > 0 && !place)
			place = p;
		if (!*p)
			break;
		if ((*p)->info.is_default && e->info.is_default)
			return err_set(-EEXIST, "export '%s' is the default already", (*p)->info.name);
	}
	e->next = *place;
	*place = e;
	return 0;
}

/* Tell those who remember what the table said. */
static void table_changed(struct export_table *t) SYNC_REQUIRES(t->lock)
{
	__atomic_add_fetch(&t->generation, 1, __ATOMIC_RELEASE);
}

uint64_t export_generation(const struct export_table *t)
{
	return __atomic_load_n(&t->generation, __ATOMIC_ACQUIRE);
}

static int table_add(struct export_table *t, const struct export_info *info)
{
	struct export_entry *e = entry_new(info, false);
	int rc;

	if (!e)
		return err_set(-ENOMEM, "add export '%s'", info->name);
	sync_rwlock_wrlock(&t->lock);
	rc = list_insert(&t->entries, e);
	table_changed(t);
	sync_rwlock_wrunlock(&t->lock);
	if (rc < 0)
		entry_unref(e);
	return rc;
}

int export_add(struct export_table *t, const struct export_info *info)
{
	struct vfs_stat st;
	int rc = export_check(info);

	if (rc < 0)
		return rc;
	rc = vfs_stat_path(t->vfs, info->path, &st);
	if (rc < 0)
		return err_add(rc, "export '%s'", info->name);
	if (st.type != VFS_TYPE_FILE && st.type != VFS_TYPE_DIR)
		return err_set(-EINVAL, "export '%s': %s is neither a volume nor a directory", info->name, info->path);
	return table_add(t, info);
}

int export_restore(struct export_table *t, const struct export_info *info)
{
	int rc = export_check(info);

	return rc < 0 ? rc : table_add(t, info);
}

/*
 * Static entries that stay as they were keep their entry (and its count of open handles); dynamic ones all stay. Builds
 * the new list from new entries first, so that an error leaves the old one alone.
 */
static int list_build(struct export_table *t, const struct export_info *infos, size_t count, struct export_entry **ret)
        SYNC_REQUIRES(t->lock)
{
	struct export_entry *list = NULL;
	int rc = 0;

	for (size_t i = 0; i < count && rc == 0; i++) {
		struct export_entry *e = entry_new(&infos[i], true);

		if (!e)
			rc = err_set(-ENOMEM, "set up %zu exports", count);
		else if ((rc = list_insert(&list, e)) < 0)
			entry_unref(e);
	}
	for (struct export_entry *old = t->entries; old && rc == 0; old = old->next) {
		struct export_entry *e;

		if (old->info.is_static)
			continue;
		e = entry_new(&old->info, false);
		if (!e)
			rc = err_set(-ENOMEM, "set up %zu exports", count);
		else if ((rc = list_insert(&list, e)) < 0)
			entry_unref(e);
	}
	if (rc < 0) {
		entries_unref(list);
		return rc;
	}
	*ret = list;
	return 0;
}

static struct export_entry *list_find(struct export_entry *list, const char *name)
{
	struct export_entry *e = list;

	while (e && strcmp(e->info.name, name) != 0)
		e = e->next;
	return e;
}

/* Move open handles of exports that are the same file as before to their new entries. */
static void list_adopt(struct export_table *t, struct export_entry *list) SYNC_REQUIRES(t->lock)
{
	for (struct export_opened *o = t->opened; o; o = o->next) {
		struct export_entry *e = list_find(list, o->entry->info.name);

		/* An entry that has left the table earlier is not followed: its name may mean another file now. */
		if (!e || list_find(t->entries, o->entry->info.name) != o->entry ||
		    strcmp(e->info.path, o->entry->info.path) != 0)
			continue;
		e->refs++;
		e->info.open_count++;
		entry_unref(o->entry);
		o->entry = e;
	}
}

int export_set_static(struct export_table *t, const struct export_info *infos, size_t count)
{
	struct export_entry *list = NULL, *old = NULL;
	int rc = 0;

	for (size_t i = 0; i < count && rc == 0; i++)
		rc = export_check(&infos[i]);
	if (rc < 0)
		return rc;
	sync_rwlock_wrlock(&t->lock);
	rc = list_build(t, infos, count, &list);
	if (rc == 0) {
		list_adopt(t, list);
		old = t->entries;
		t->entries = list;
		entries_unref(old);
		table_changed(t);
	}
	sync_rwlock_wrunlock(&t->lock);
	return rc;
}

int export_remove(struct export_table *t, const char *name)
{
	struct export_entry **p, *e;
	int rc = 0;

	sync_rwlock_wrlock(&t->lock);
	for (p = &t->entries; *p && strcmp((*p)->info.name, name) != 0; p = &(*p)->next)
		;
	e = *p;
	if (!e) {
		rc = err_set(-ENOENT, "no export '%s'", name);
	} else if (e->info.is_static) {
		rc = err_set(-EPERM, "export '%s' is in the configuration file: remove it there", name);
	} else {
		*p = e->next;
		e->next = NULL;
		entry_unref(e);
		table_changed(t);
	}
	sync_rwlock_wrunlock(&t->lock);
	return rc;
}

static struct export_entry *table_find(const struct export_table *t, const char *name) SYNC_REQUIRES_SHARED(t->lock)
{
	struct export_entry *e = t->entries;

	if (*name)
		return list_find(e, name);
	while (e && !e->info.is_default)
		e = e->next;
	if (!e && t->entries && !t->entries->next)
		e = t->entries;
	return e;
}

int export_get(struct export_table *t, const char *name, struct export_info *ret)
{
	const struct export_entry *e;

	sync_rwlock_rdlock(&t->lock);
	e = table_find(t, name);
	if (e)
		*ret = e->info;
	sync_rwlock_rdunlock(&t->lock);
	if (e)
		return 0;
	return *name ? err_set(-ENOENT, "no export '%s'", name) : err_set(-ENOENT, "there is no default export");
}

void export_each(struct export_table *t, void (*fn)(void *ctx, const struct export_info *info), void *ctx)
{
	sync_rwlock_rdlock(&t->lock);
	for (const struct export_entry *e = t->entries; e; e = e->next)
		fn(ctx, &e->info);
	sync_rwlock_rdunlock(&t->lock);
}

bool export_find_user(struct export_table *t, const char *path, char ret_name[EXPORT_NAME_MAX + 1])
{
	size_t len = strlen(path);
	const struct export_entry *e;

	sync_rwlock_rdlock(&t->lock);
	for (e = t->entries; e; e = e->next) {
		if (strncmp(e->info.path, path, len) == 0 && (e->info.path[len] == '\0' || e->info.path[len] == '/'))
			break;
	}
	if (e)
		memcpy(ret_name, e->info.name, sizeof(e->info.name));
	sync_rwlock_rdunlock(&t->lock);
	return e != NULL;
}

/* The entry that @name means, referenced. NULL when there is none. */
static struct export_entry *table_ref(struct export_table *t, const char *name, struct export_info *ret)
{
	struct export_entry *e;

	sync_rwlock_wrlock(&t->lock);
	e = table_find(t, name);
	if (e) {
		e->refs++;
		*ret = e->info;
	}
	sync_rwlock_wrunlock(&t->lock);
	return e;
}

static void table_unref(struct export_table *t, struct export_entry *e)
{
	sync_rwlock_wrlock(&t->lock);
	entry_unref(e);
	sync_rwlock_wrunlock(&t->lock);
}

static int open_path(struct vfs *v, const struct export_info *info, bool tree, bool want_write, struct vfs_handle **ret)
{
	struct vfs_stat st;
	int rc;

	if (!tree)
		return vfs_open(v, info->path, want_write, ret);
	rc = vfs_walk(v, &vfs_cred_root, NULL, NULL, info->path, VFS_WALK_FOLLOW, ret);
	if (rc < 0)
		return rc;
	rc = vfs_stat(*ret, &st);
	if (rc == 0 && st.type != VFS_TYPE_DIR)
		rc = err_set(-ENOTDIR, "%s is a file", info->path);
	if (rc < 0)
		vfs_close(*ret);
	return rc;
}

static int table_open(struct export_table *t, const char *name, bool tree, bool want_write, struct vfs_handle **ret,
                      struct export_info *ret_info)
{
	struct export_opened *o = NULL;
	struct export_info info;
	struct export_entry *e = table_ref(t, name, &info);
	int rc;

	if (!e)
		return *name ? err_set(-ENOENT, "no export '%s'", name)
		             : err_set(-ENOENT, "there is no default export");
	if (want_write && info.read_only) {
		rc = err_set(-EROFS, "export '%s' is read-only", info.name);
		goto out;
	}
	o = calloc(1, sizeof(*o));
	if (!o) {
		rc = err_set(-ENOMEM, "open export '%s'", info.name);
		goto out;
	}
	rc = open_path(t->vfs, &info, tree, want_write, &o->handle);
	if (rc < 0) {
		err_add(rc, "export '%s'", info.name);
		goto out;
	}
	o->entry = e;
	*ret = o->handle;
	sync_rwlock_wrlock(&t->lock);
	info.open_count = ++e->info.open_count;
	o->next = t->opened;
	t->opened = o;
	sync_rwlock_wrunlock(&t->lock);
	*ret_info = info;
	return 0;
out:
	free(o);
	table_unref(t, e);
	return rc;
}

int export_open(struct export_table *t, const char *name, bool want_write, struct vfs_handle **ret,
                struct export_info *ret_info)
{
	return table_open(t, name, false, want_write, ret, ret_info);
}

int export_open_tree(struct export_table *t, const char *name, struct vfs_handle **ret, struct export_info *ret_info)
{
	return table_open(t, name, true, false, ret, ret_info);
}

uint64_t export_key(const struct export_info *info)
{
	char text[EXPORT_NAME_MAX + 1 + VFS_PATH_MAX];
	size_t name_len = strlen(info->name), path_len = strlen(info->path);

	memcpy(text, info->name, name_len + 1);
	memcpy(text + name_len + 1, info->path, path_len);
	return hash128(text, name_len + 1 + path_len).lo;
}

int export_find_key(struct export_table *t, uint64_t key, char ret_name[EXPORT_NAME_MAX + 1])
{
	const struct export_entry *e;

	sync_rwlock_rdlock(&t->lock);
	e = t->entries;
	while (e && export_key(&e->info) != key)
		e = e->next;
	if (e)
		memcpy(ret_name, e->info.name, sizeof(e->info.name));
	sync_rwlock_rdunlock(&t->lock);
	return e ? 0 : err_set(-ESTALE, "the export of a handle is gone");
}

void export_close(struct export_table *t, const char *name, struct vfs_handle *h)
{
	struct export_opened **p, *o;

	(void)name;
	if (!h)
		return;
	sync_rwlock_wrlock(&t->lock);
	for (p = &t->opened; *p && (*p)->handle != h; p = &(*p)->next)
		;
	o = *p;
	always(o);
	*p = o->next;
	always(o->entry->info.open_count > 0);
	o->entry->info.open_count--;
	entry_unref(o->entry);
	sync_rwlock_wrunlock(&t->lock);
	free(o);
	vfs_close(h);
}
