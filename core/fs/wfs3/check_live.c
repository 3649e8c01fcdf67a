/* SPDX-License-Identifier: BSD-3-Clause */
/* Checking a pool in memory: the copies of its mirrors are the members of the check. */
#include "core/fs/wfs3/check_live.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/err.h"
#include "core/fs/wfs3/check_priv.h"
#include "core/fs/wfs3/members.h"
#include "core/fs/wfs3/pool.h"
#include "core/fs/wfs3/space_priv.h"

int check_take_root(void *ctx)
{
	struct check_live *live = ctx;
	struct pool *p = live->pool;
	size_t words = (size_t)p->space->region_count * p->space->region_words;

	live->root = (struct root){ .pool_tree = p->pool_root };
	sync_mutex_lock(&p->txg_lock);
	live->root.txg = p->durable_txg;
	sync_mutex_unlock(&p->txg_lock);
	memcpy(live->root.pool_uuid, p->uuid, sizeof(p->uuid));
	live->root.space = (struct space_root){ .ring_head = p->space->ring.head,
		                                .ring_tail = space_ring_tail(&p->space->ring),
		                                .used_blocks = p->space->disk_used_blocks };
	sync_mutex_lock(&p->table_lock);
	live->root.next_dataset_id = p->next_dataset_id;
	sync_mutex_unlock(&p->table_lock);
	/* A commit that failed has changed the state in memory already. */
	if (p->failed || !live->wants_disk)
		return 0;
	live->disk = malloc(words * sizeof(*live->disk));
	if (!live->disk)
		return -ENOMEM;
	memcpy(live->disk, p->space->disk, words * sizeof(*live->disk));
	return 0;
}

static int add_member(struct check *c, const struct pool_device *d, unsigned group, unsigned slot, const char *name)
{
	unsigned index = c->member_count++;
	struct check_group *g = &c->groups[group];

	c->members[index] = (struct check_member){ .dev = d->dev, .slot = slot, .label = d->label };
	g->copies[g->copy_count++] = index;
	c->report->devices[index] = strdup(name);
	c->report->device_count = index + 1;
	return c->report->devices[index] ? 0 : err_set(-ENOMEM, "no memory for a check");
}

/* Nobody writes it while the members are locked. */
static void check_label(struct check *c, struct blk_dev *dev)
{
	char note[LABEL_NOTE_BYTES], why[CHECK_WHY_BYTES];
	struct label l;
	int rc = label_read(dev, &l, note);

	if (rc)
		check_damage(c, POOL_FINDING_LABEL, "%s", check_why(rc, why));
	else if (note[0])
		check_damage(c, POOL_FINDING_LABEL, "%s", note);
}

/* The copies that are whole now; a mirror says no for those that go away later. */
static int add_group(struct check *c, const struct pool_device *d, unsigned group, bool with_labels)
{
	struct check_group *g = &c->groups[group];
	int rc = 0;

	g->layout = d->label.layout;
	for (unsigned slot = 0; slot < MIRROR_COPIES_MAX && !rc && blk_is_mirror(d->dev); slot++) {
		struct mirror_copy copy;

		mirror_get(d->dev, slot, &copy);
		if (!copy.dev || copy.state != MIRROR_ONLINE || c->member_count == WFS3_DEVICES_MAX)
			continue;
		if (with_labels)
			check_label(c, copy.dev);
		rc = add_member(c, d, group, slot, blk_name(copy.dev));
	}
	return rc || g->copy_count ? rc : add_member(c, d, group, 0, blk_name(d->dev));
}

static int begin(const struct check_live *live, const struct check_config *config, bool with_labels,
                 struct pool_check_report *report, struct check **ret)
{
	const struct pool *p = live->pool;
	struct check *c;
	int rc = check_new(config, report, &c);

	if (rc)
		return rc;
	*ret = c;
	report->online = true;
	c->live = c->has_root = true;
	c->root = live->root;
	c->pool = live->pool;
	c->ring = live->root.space;
	c->ring_txg = live->root.txg;
	c->disk = live->disk;
	c->label = p->devices[0].label;
	c->group_count = p->device_count;
	/* Devices stay while it is held. */
	sync_mutex_lock(&p->members->lock);
	for (unsigned g = 0; g < p->device_count && !rc; g++)
		rc = add_group(c, &p->devices[g], g, with_labels);
	sync_mutex_unlock(&p->members->lock);
	return rc;
}

bool check_retake_ring(struct check *c)
{
	struct check_live now = { .pool = c->pool };

	if (c->pool->read_only || __atomic_load_n(&c->pool->failed, __ATOMIC_ACQUIRE) ||
	    txg_run_between(c->pool, check_take_root, &now))
		return false;
	c->ring = now.root.space;
	c->ring_txg = now.root.txg;
	return true;
}

int check_live(const struct check_live *live, const struct check_config *config, struct pool_check_report *ret)
{
	struct check *c = NULL;
	int rc = begin(live, config, true, ret, &c);

	if (!rc)
		rc = check_all(c);
	check_free(c);
	return check_finish(ret, rc);
}

int check_scrub(const struct check_live *live, const struct check_config *config, struct check_cursor *cursor,
                uint64_t block_count, struct pool_check_report *ret)
{
	struct check *c = NULL;
	int rc = begin(live, config, false, ret, &c);

	if (!rc) {
		c->scrub = true;
		c->at = *cursor;
		c->blocks_left = block_count;
		c->locator = live->pool->space;
		check_count_copies(c);
		rc = check_datasets(c);
	}
	if (rc == CHECK_ENOUGH)
		*cursor = c->at;
	check_free(c);
	return check_finish(ret, rc);
}
