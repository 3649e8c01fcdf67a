/* SPDX-License-Identifier: BSD-3-Clause */
/* For tests of groups that end while the log is closed, or cannot be released. */
#ifndef WFSD_TESTS_UNIT_CORE_FS_WFS3_LOG_FIXTURE_H
#define WFSD_TESTS_UNIT_CORE_FS_WFS3_LOG_FIXTURE_H

#include "tests/unit/core/fs/wfs3/filetree_fixture.h"

/* As when the ring is full: what comes until the open group ends is missing in the log. */
static inline void close_log(struct pool *p)
{
	struct wal_ticket ticket = { .closed = true };
	struct wal_record r = { .type = WAL_GAP, .txg = txg_enter(p) };

	assert_false(wal_append(p->wal, &ticket, &r));
	txg_exit(p);
}

/* It can be written no more. */
static inline void break_log(struct tree_fixture *t)
{
	const struct space_layout *layout = &t->pool->devices[0].label.layout;

	log_set_level((enum log_level)0);
	blk_sim_break(t->f.devs[0], layout->log_offset, layout->log_bytes, true);
}

/* The power fails, and what was broken is whole again. Nodes that the test still holds must be given back before. */
static inline void crash_and_mend(struct tree_fixture *t)
{
	tree_close(t);
	fixture_crash(&t->f, 0);
	blk_sim_mend(t->f.devs[0]);
	log_set_level(LOG_LEVEL_ERROR);
	assert_ok(pool_import(&t->f, 1));
	tree_open(t);
}

/* The log has a page of the file that was then damaged in memory: it is not written, so the log cannot be released. */
static inline void keep_log(struct vfs_node *n)
{
	struct object *o = filetree_object(n);
	uint8_t page[WFS3_BLOCK_BYTES];
	struct cache_ref ref;

	pattern(page, sizeof(page), 77);
	assert_ok(node_write(n, 0, page, sizeof(page), 0));
	assert_ok(n->ops->flush(n, 0));
	assert_ok(cache_read_ref(o->file, 0, sizeof(page), 0, &ref));
	((uint8_t *)ref.iov[0].iov_base)[17] ^= 1;
	cache_ref_release(&ref);
}

#endif
