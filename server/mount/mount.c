/* SPDX-License-Identifier: BSD-3-Clause */
/* The table of mounts: adding, finding, listing. How they end is in remove.c. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/assert.h"
#include "core/base/err.h"
#include "core/base/log.h"
#include "core/blk/blk.h"
#include "server/mount/table.h"

#define DEPTH_MAX 4u /* images in images: each takes stack */
#define UMASK_MAX 0777u

static void table_done(struct mount_table *t)
{
	sync_cond_done(&t->close_cond);
	sync_cond_done(&t->gone_cond);
	sync_mutex_done(&t->lock);
	sync_mutex_done(&t->change_lock);
	free(t);
}

struct mount_table *mount_table_new(const struct mount_config *config)
{
	struct mount_table *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	t->config = *config;
	sync_mutex_init(&t->change_lock, SYNC_RANK_SERVER, "changes of mounts");
	sync_mutex_init(&t->lock, SYNC_RANK_LEAF, "mounts");
	sync_cond_init(&t->gone_cond);
	sync_cond_init(&t->close_cond);
	CDS_INIT_LIST_HEAD(&t->mounts);
	if (sync_thread_start(&t->closer, "unmount", table_closer_run, t) == 0)
		return t;
	table_done(t);
	return NULL;
}

void mount_table_free(struct mount_table *t)
{
	if (!t)
		return;
	sync_mutex_lock(&t->lock);
	t->ending = true;
	sync_cond_signal(&t->close_cond);
	sync_mutex_unlock(&t->lock);
	sync_thread_join(&t->closer);
	always(cds_list_empty(&t->mounts));
	table_done(t);
}

/* ---- finding ---- */

/* Is @path @top, or below it? */
static bool is_within(const char *path, const char *top)
{
	size_t len = strlen(top);

	return strncmp(path, top, len) == 0 && (path[len] == '\0' || path[len] == '/');
}

static bool stands_on(const struct mount *m, const char *path)
{
	const char *source = source_namespace_path(m->spec.source);

	return (is_within(m->spec.path, path) && strcmp(m->spec.path, path) != 0) ||
	       (source && is_within(source, path));
}

struct mount *table_find_user(struct mount_table *t, const char *path)
{
	struct mount *m;

	cds_list_for_each_entry_reverse (m, &t->mounts, link) {
		if (m->mounted && stands_on(m, path))
			return m;
	}
	return NULL;
}

bool mount_find_user(struct mount_table *t, const char *path, char ret_path[VFS_PATH_MAX])
{
	const struct mount *m;

	sync_mutex_lock(&t->lock);
	m = table_find_user(t, path);
	if (m && ret_path)
		memcpy(ret_path, m->spec.path, VFS_PATH_MAX);
	sync_mutex_unlock(&t->lock);
	return m != NULL;
}

bool mount_find_source(struct mount_table *t, const char *path, char ret_path[VFS_PATH_MAX])
{
	const struct mount *m;
	bool found = false;

	sync_mutex_lock(&t->lock);
	cds_list_for_each_entry (m, &t->mounts, link) {
		const char *source = source_namespace_path(m->spec.source);

		found = source && strcmp(source, path) == 0;
		if (found && ret_path)
			memcpy(ret_path, m->spec.path, VFS_PATH_MAX);
		if (found)
			break;
	}
	sync_mutex_unlock(&t->lock);
	return found;
}

int mount_set_drive(struct mount_table *t, const char *path, char letter)
{
	return vfs_set_drive(t->config.vfs, path, letter);
}

int mount_drive_path(struct mount_table *t, const char *path, char ret[VFS_PATH_MAX])
{
	return vfs_drive_path(t->config.vfs, path, ret);
}

/* ---- adding ---- */

static int check_spec(const struct mount_spec *spec, const struct mount_kind **ret)
{
	const struct mount_kind *kind = mount_kind_find(spec->kind);

	if (!kind)
		return err_set(-EINVAL, "there is no kind of file system '%s' to mount", spec->kind);
	if (kind->scheme && strncmp(spec->source, kind->scheme, strlen(kind->scheme)) != 0)
		return err_set(-EINVAL, "source '%s': one of kind %s begins with %s", spec->source, kind->name,
		               kind->scheme);
	if (spec->path[0] != '/')
		return err_set(-EINVAL, "mount at '%s': the path must be absolute", spec->path);
	if (spec->umask > UMASK_MAX)
		return err_set(-EINVAL, "the umask has bits outside of 0777");
	if (!kind->keeps_no_owners && (spec->uid || spec->gid || spec->umask != MOUNT_UMASK_DEFAULT))
		return err_set(-EINVAL, "kind %s keeps owners and permissions: uid, gid and umask are not for it",
		               kind->name);
	*ret = kind;
	return 0;
}

/* Of kinds with a scheme, an address is all that is known. */
static bool same_source(const struct mount *a, const struct mount *b)
{
	if (a->kind->scheme || b->kind->scheme)
		return a->kind == b->kind && strcmp(a->spec.source, b->spec.source) == 0;
	return a->id.in_namespace == b->id.in_namespace && a->id.where == b->id.where && a->id.what == b->id.what;
}

static int check_free(struct mount_table *t, const struct mount *m)
{
	const struct mount *other;
	int rc = 0;

	sync_mutex_lock(&t->lock);
	cds_list_for_each_entry (other, &t->mounts, link) {
		if (same_source(other, m)) {
			rc = other->mounted
			             ? err_set(-EBUSY, "%s is mounted at %s already", m->spec.source, other->spec.path)
			             : err_set(-EBUSY, "%s was mounted at %s, where files are still open",
			                       m->spec.source, other->spec.path);
			break;
		}
	}
	sync_mutex_unlock(&t->lock);
	return rc;
}

/* How deep is the mount that holds @path? 0: none of ours does. */
static unsigned depth_at(struct mount_table *t, const char *path)
{
	const struct mount *m;
	unsigned depth = 0;
	size_t longest = 0;

	sync_mutex_lock(&t->lock);
	cds_list_for_each_entry (m, &t->mounts, link) {
		size_t len = strlen(m->spec.path);

		if (m->mounted && len > longest && is_within(path, m->spec.path)) {
			longest = len;
			depth = m->depth;
		}
	}
	sync_mutex_unlock(&t->lock);
	return depth;
}

/* Find out what the source is, and whether it may be used here. */
static int identify(struct mount_table *t, struct mount *m)
{
	const char *path;
	int rc = source_identify(t->config.vfs, m->spec.source, &m->id);

	if (rc == 0)
		rc = check_free(t, m);
	if (rc < 0)
		return rc;
	m->depth = 1;
	path = source_namespace_path(m->spec.source);
	if (!path)
		return 0;
	if (is_within(path, m->spec.path) || is_within(m->spec.path, path))
		return err_set(-ELOOP, "an image cannot be mounted over itself: %s at %s", path, m->spec.path);
	m->depth += depth_at(t, path);
	if (m->depth > DEPTH_MAX)
		return err_set(-ELOOP, "%s is an image in images, more than %u deep", path, DEPTH_MAX);
	return 0;
}

static void fill_request(struct mount *m)
{
	const struct mount_config *c = &m->table->config;
	const struct mount_spec *s = &m->spec;

	m->request = (struct mount_request){
		.source = s->source,
		.read_only = s->read_only,
		.uid = s->uid,
		.gid = s->gid,
		.file_mode = 0666u & ~s->umask,
		.dir_mode = 0777u & ~s->umask,
		.cache = c->cache,
		.budget = c->budget,
		.metrics = c->metrics,
		.gone = table_gone,
		.gone_ctx = m,
	};
}

static void log_no_metrics(const struct mount *m)
{
	log_warning("mount", "no metrics of the device source=%s", m->spec.source);
}

/* Open source and file system; after an error nothing is open. */
static int open_all(struct mount_table *t, struct mount *m)
{
	int rc;

	if (!m->kind->scheme) {
		rc = source_open(t->config.vfs, m->spec.source, m->spec.read_only, &m->request.dev);
		if (rc < 0)
			return rc;
		if (t->config.metrics && blk_register_metrics(m->request.dev, t->config.metrics) < 0)
			log_no_metrics(m);
	}
	rc = m->kind->open(&m->request, &m->fs);
	if (rc < 0)
		blk_close(m->request.dev);
	return rc;
}

static void enter(struct mount_table *t, struct mount *m) SYNC_REQUIRES(t->change_lock)
{
	m->number = ++t->last_number;
	sync_mutex_lock(&t->lock);
	m->mounted = true;
	cds_list_add_tail(&m->link, &t->mounts);
	sync_mutex_unlock(&t->lock);
}

/* @m is taken over, also when it fails. */
static int add_locked(struct mount_table *t, struct mount *m) SYNC_REQUIRES(t->change_lock)
{
	struct mount_health health = { 0 };
	int rc = m->kind->scheme ? check_free(t, m) : identify(t, m);

	if (rc == 0) {
		fill_request(m);
		rc = open_all(t, m);
	}
	if (rc < 0) {
		free(m);
		return rc;
	}
	m->fs.health(m->fs.fs, &health);
	rc = vfs_mount_held(t->config.vfs, m->spec.path, m->fs.root, m->spec.read_only || health.read_only, table_left,
	                    m);
	if (rc < 0) {
		vfs_node_unref(m->fs.root);
		return rc;
	}
	enter(t, m);
	log_notice("mount", "mounted kind=%s source=%s path=%s read_only=%d", m->spec.kind, m->spec.source,
	           m->spec.path, m->spec.read_only || health.read_only);
	if (health.reason[0])
		log_warning("mount", "trouble path=%s reason=\"%s\"", m->spec.path, health.reason);
	return 0;
}

int mount_add(struct mount_table *t, struct mount_spec *spec)
{
	const struct mount_kind *kind;
	struct mount *m;
	int rc = check_spec(spec, &kind);

	if (rc < 0)
		return rc;
	m = calloc(1, sizeof(*m));
	if (!m)
		return err_set(-ENOMEM, "mount %s", spec->path);
	CDS_INIT_LIST_HEAD(&m->link);
	m->table = t;
	m->kind = kind;
	m->spec = *spec;
	m->refs = 1;
	sync_mutex_lock(&t->change_lock);
	if (!kind->scheme)
		rc = source_resolve(t->config.vfs, m->spec.source);
	if (rc == 0) {
		memcpy(spec->source, m->spec.source, sizeof(spec->source));
		rc = add_locked(t, m);
	} else {
		free(m);
	}
	sync_mutex_unlock(&t->change_lock);
	return rc < 0 ? err_add(rc, "mount %s at %s", spec->source, spec->path) : 0;
}

/* ---- listing ---- */

/* The first above @number, as far as the table knows it; when it is mounted, with a reference to its root. */
static bool next_mount(struct mount_table *t, uint64_t *number, struct mount_info *ret, struct mount_fs *ret_fs,
                       struct blk_dev **ret_dev)
{
	struct mount *m, *found = NULL;

	sync_mutex_lock(&t->lock);
	cds_list_for_each_entry (m, &t->mounts, link) {
		if (m->number > *number) {
			found = m;
			break;
		}
	}
	if (found) {
		*number = found->number;
		*ret = (struct mount_info){ .spec = found->spec, .leaving = !found->mounted };
		*ret_fs = found->fs;
		*ret_dev = found->request.dev;
		if (found->mounted)
			vfs_node_ref(found->fs.root);
	}
	sync_mutex_unlock(&t->lock);
	return found != NULL;
}

/* What failed may have gone well when it was tried again, but somebody should know. */
static void add_device_errors(const struct blk_dev *dev, char *reason, size_t max)
{
	uint64_t reads = blk_error_count(dev, BLK_READ), writes = blk_error_count(dev, BLK_WRITE),
	         flushes = blk_error_count(dev, BLK_FLUSH);

	if (!reason[0] && reads + writes + flushes)
		snprintf(reason, max, "the device failed %llu reads, %llu writes and %llu flushes",
		         (unsigned long long)reads, (unsigned long long)writes, (unsigned long long)flushes);
}

void mount_each(struct mount_table *t, void (*fn)(void *ctx, const struct mount_info *info), void *ctx)
{
	struct mount_info *info = malloc(sizeof(*info));
	uint64_t number = 0;
	struct mount_fs fs;
	struct blk_dev *dev;

	while (info && next_mount(t, &number, info, &fs, &dev)) {
		struct mount_health health = { 0 };

		if (!info->leaving) {
			/* The root that we hold keeps the file system there. */
			fs.health(fs.fs, &health);
			if (dev)
				add_device_errors(dev, health.reason, sizeof(health.reason));
			vfs_node_unref(fs.root);
			info->read_only = info->spec.read_only || health.read_only;
			memcpy(info->reason, health.reason, sizeof(info->reason));
		}
		fn(ctx, info);
	}
	free(info);
}
