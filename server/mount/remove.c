/* SPDX-License-Identifier: BSD-3-Clause */
/* How mounts end: out of the namespace, then closed by a thread of the table, when nobody uses them any more. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/assert.h"
#include "core/base/err.h"
#include "core/base/log.h"
#include "core/blk/blk.h"
#include "server/mount/table.h"

#define LEAVE_WAIT_NS (5 * SYNC_NS_PER_S)
#define STOP_WAIT_NS (30 * SYNC_NS_PER_S)

/* ---- closing ---- */

static struct mount *find_left(struct mount_table *t) SYNC_REQUIRES(t->lock)
{
	struct mount *m;

	cds_list_for_each_entry (m, &t->mounts, link) {
		if (m->left && !m->mounted && !m->closing)
			return m;
	}
	return NULL;
}

/* File systems are closed here: who closes the last handle may be an event loop, which must not wait for a device. */
void table_closer_run(void *arg)
{
	struct mount_table *t = arg;

	sync_mutex_lock(&t->lock);
	while (!t->ending) {
		struct mount *m = find_left(t);
		struct vfs_node *root;

		if (!m) {
			sync_cond_wait(&t->close_cond, &t->lock);
			continue;
		}
		m->closing = true;
		root = m->fs.root;
		sync_mutex_unlock(&t->lock);
		err_clear();
		vfs_node_unref(root);
		sync_mutex_lock(&t->lock);
	}
	sync_mutex_unlock(&t->lock);
	blk_thread_done();
}

void table_left(void *ctx)
{
	struct mount *m = ctx;
	struct mount_table *t = m->table;

	sync_mutex_lock(&t->lock);
	m->left = true;
	sync_cond_signal(&t->close_cond);
	sync_mutex_unlock(&t->lock);
}

static void mount_unref(struct mount *m)
{
	struct mount_table *t = m->table;
	bool last;

	sync_mutex_lock(&t->lock);
	last = --m->refs == 0;
	sync_mutex_unlock(&t->lock);
	if (last)
		free(m);
}

void table_gone(void *ctx, int rc)
{
	struct mount *m = ctx;
	struct mount_table *t = m->table;
	char text[512];

	if (rc < 0)
		log_error("mount", "not everything was written path=%s source=%s error=\"%s\"", m->spec.path,
		          m->spec.source, err_text(err_get(), rc, 0, text, sizeof(text)));
	blk_close(m->request.dev);
	sync_mutex_lock(&t->lock);
	cds_list_del(&m->link);
	m->gone = true;
	m->gone_rc = rc;
	sync_cond_broadcast(&t->gone_cond);
	sync_mutex_unlock(&t->lock);
	mount_unref(m);
}

/* ---- removing ---- */

/* Whoever has something open is told that it is gone; everything that was acknowledged is made durable. */
static int leave_by_force(struct mount_table *t, struct mount *m)
{
	always(vfs_unmount(t->config.vfs, m->spec.path, true) == 0);
	m->fs.kill(m->fs.fs);
	return m->fs.sync(m->fs.fs);
}

/* Out of the namespace. The rest of it goes soon, or when somebody closes a file. *ret_error: of the last sync. */
static int leave(struct mount_table *t, struct mount *m, bool force, int *ret_error) SYNC_REQUIRES(t->change_lock)
{
	int rc = 0;

	*ret_error = 0;
	if (force)
		*ret_error = leave_by_force(t, m);
	else
		rc = vfs_unmount(t->config.vfs, m->spec.path, false);
	if (rc < 0)
		return rc;
	log_notice("mount", "unmounted path=%s source=%s force=%d", m->spec.path, m->spec.source, force);
	sync_mutex_lock(&t->lock);
	m->mounted = false;
	sync_cond_signal(&t->close_cond);
	sync_mutex_unlock(&t->lock);
	return 0;
}

/* The newest mount that stands on @path, referenced; NULL: none. */
static struct mount *take_user(struct mount_table *t, const char *path)
{
	struct mount *m;

	sync_mutex_lock(&t->lock);
	m = table_find_user(t, path);
	if (m)
		m->refs++;
	sync_mutex_unlock(&t->lock);
	return m;
}

/* Is it gone by then? When clients have to close something first, which may take for ever, nobody waits. */
static bool wait_gone(struct mount *m, bool for_clients, uint64_t timeout_ns, int *ret_rc)
{
	struct mount_table *t = m->table;
	uint64_t deadline = sync_now_ns() + timeout_ns;
	bool gone;

	sync_mutex_lock(&t->lock);
	while (!m->gone && (m->left || for_clients) && sync_cond_wait_until(&t->gone_cond, &t->lock, deadline))
		;
	gone = m->gone;
	*ret_rc = gone ? m->gone_rc : 0;
	sync_mutex_unlock(&t->lock);
	return gone;
}

static void remove_users(struct mount_table *t, const char *path, mount_removed_fn *fn, void *ctx)
        SYNC_REQUIRES(t->change_lock);
static void remove_users(struct mount_table *t, const char *path, mount_removed_fn *fn, void *ctx)
{
	struct mount *m;

	/* Each is out of the list of users before the next is looked for; what stands on it comes first. */
	while ((m = take_user(t, path))) {
		int error, gone_error;

		remove_users(t, m->spec.path, fn, ctx);
		(void)leave(t, m, true, &error);
		/* What it stands on is there for it to be closed in an orderly way. */
		(void)wait_gone(m, false, LEAVE_WAIT_NS, &gone_error);
		if (error)
			log_error("mount", "the last sync failed path=%s error=\"%s\"", m->spec.path, strerror(-error));
		if (fn)
			fn(ctx, m->spec.path);
		mount_unref(m);
	}
}

void mount_remove_users(struct mount_table *t, const char *path, mount_removed_fn *fn, void *ctx)
{
	sync_mutex_lock(&t->change_lock);
	remove_users(t, path, fn, ctx);
	sync_mutex_unlock(&t->change_lock);
}

static int remove_locked(struct mount_table *t, struct mount *m, bool force, mount_removed_fn *fn, void *ctx,
                         int *ret_error) SYNC_REQUIRES(t->change_lock)
{
	char user[VFS_PATH_MAX];

	if (force)
		remove_users(t, m->spec.path, fn, ctx);
	else if (mount_find_user(t, m->spec.path, user))
		return err_set(-EBUSY, "the mount at %s stands on %s: remove it first", user, m->spec.path);
	return leave(t, m, force, ret_error);
}

static struct mount *find_path(struct mount_table *t, const char *path) SYNC_REQUIRES(t->lock)
{
	struct mount *m;

	cds_list_for_each_entry (m, &t->mounts, link) {
		if (m->mounted && strcmp(m->spec.path, path) == 0)
			return m;
	}
	return NULL;
}

int mount_remove(struct mount_table *t, const char *path, bool force, mount_removed_fn *fn, void *ctx,
                 struct mount_removal *ret)
{
	struct mount *m;
	int rc, gone_rc = 0;

	*ret = (struct mount_removal){ 0 };
	sync_mutex_lock(&t->change_lock);
	sync_mutex_lock(&t->lock);
	m = find_path(t, path);
	if (m)
		m->refs++;
	sync_mutex_unlock(&t->lock);
	rc = m ? remove_locked(t, m, force, fn, ctx, &ret->error)
	       : err_set(-ENOENT, "nothing of the table is mounted at %s", path);
	sync_mutex_unlock(&t->change_lock);
	if (!m)
		return rc;
	/* Without force there are no clients, at most somebody who passes by. */
	if (rc == 0)
		ret->leaving = !wait_gone(m, !force, LEAVE_WAIT_NS, &gone_rc);
	if (rc == 0 && !ret->error)
		ret->error = gone_rc;
	mount_unref(m);
	return rc;
}

/* The newest of all, referenced; NULL: none is left. */
static struct mount *take_newest(struct mount_table *t)
{
	struct mount *m = NULL;

	sync_mutex_lock(&t->lock);
	if (!cds_list_empty(&t->mounts)) {
		m = cds_list_entry(t->mounts.prev, struct mount, link);
		m->refs++;
	}
	sync_mutex_unlock(&t->lock);
	return m;
}

int mount_table_stop(struct mount_table *t)
{
	struct mount *m;
	bool gone = true;
	int first = 0;

	while (gone && (m = take_newest(t))) {
		int rc = 0, gone_rc = 0;

		sync_mutex_lock(&t->change_lock);
		if (m->mounted)
			(void)leave(t, m, true, &rc);
		sync_mutex_unlock(&t->change_lock);
		gone = wait_gone(m, true, STOP_WAIT_NS, &gone_rc);
		if (!gone)
			rc = err_set(-EBUSY, "%s is still in use", m->spec.source);
		if (first == 0)
			first = rc < 0 ? rc : gone_rc;
		mount_unref(m);
	}
	return first;
}
