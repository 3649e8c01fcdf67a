/* SPDX-License-Identifier: BSD-3-Clause */
/* Making everything durable, when asked and now and then. */
#include "core/base/err.h"
#include "core/blk/blk.h"
#include "core/fs/wfs2/wfs2_priv.h"

/* A changed file, referenced; NULL: there is none. */
static struct wfs2_node *take_changed(struct wfs2_fs *fs)
{
	struct wfs2_node *n = NULL;

	sync_mutex_lock(&fs->lock);
	if (!cds_list_empty(&fs->changed)) {
		n = cds_list_first_entry(&fs->changed, struct wfs2_node, changed_link);
		n->refs++;
	}
	sync_mutex_unlock(&fs->lock);
	return n;
}

static unsigned count_changed(struct wfs2_fs *fs)
{
	struct wfs2_node *n;
	unsigned count = 0;

	sync_mutex_lock(&fs->lock);
	cds_list_for_each_entry (n, &fs->changed, changed_link)
		count++;
	sync_mutex_unlock(&fs->lock);
	return count;
}

int wfs2_sync(struct wfs2_fs *fs)
{
	int rc = 0, first = 0;

	/* Those that are changed meanwhile, or cannot be written, wait for the next time. */
	for (unsigned left = count_changed(fs); left; left--) {
		struct wfs2_node *n = take_changed(fs);

		if (!n)
			break;
		rc = wfs2_flush(n);
		if (!first)
			first = rc;
		wfs2_put(n);
	}
	if (first || __atomic_load_n(&fs->read_only, __ATOMIC_ACQUIRE))
		return first;
	sync_mutex_lock(&fs->change_lock);
	rc = wfs2_write_bitmap(fs);
	if (rc == 0) {
		rc = blk_flush(fs->dev);
		if (rc)
			(void)wfs2_fail(fs, rc);
	}
	sync_mutex_unlock(&fs->change_lock);
	return rc;
}

static bool wait_for_turn(struct wfs2_fs *fs)
{
	uint64_t until = sync_now_ns() + (uint64_t)fs->sync_interval_ms * SYNC_NS_PER_MS;
	bool go_on;

	sync_mutex_lock(&fs->lock);
	while (!fs->stopping && sync_cond_wait_until(&fs->syncer_cond, &fs->lock, until))
		;
	go_on = !fs->stopping;
	sync_mutex_unlock(&fs->lock);
	return go_on;
}

void wfs2_syncer_run(void *arg)
{
	struct wfs2_fs *fs = arg;

	while (wait_for_turn(fs)) {
		if (count_changed(fs))
			(void)wfs2_sync(fs); /* what fails stays changed, and whoever flushes is told */
	}
	blk_thread_done();
}
