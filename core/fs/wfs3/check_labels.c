/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Checking labels: which devices are those of one pool, which of them are whole, and that both labels of each are whole
 * and equal. FORMAT.md, "Groups": the label with the highest generation says which devices are online; nothing is taken
 * from the others.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/err.h"
#include "core/fs/wfs3/check_priv.h"
#include "core/fs/wfs3/label_priv.h"

struct found {
	struct blk_dev *dev;
	int result;
	struct label label;
	char why[CHECK_WHY_BYTES];
};

/* The label that tells how the pool is. Labels that cannot all be right are damage. NULL: there is none. */
static int choose_label(struct check *c, const struct found *found, unsigned count, const struct label **ret)
{
	const struct label *labels[WFS3_DEVICES_MAX];
	unsigned index[WFS3_DEVICES_MAX], label_count = 0, newest, other = 0;
	enum label_relation r;

	*ret = NULL;
	for (unsigned i = 0; i < count; i++)
		if (!found[i].result) {
			index[label_count] = i;
			labels[label_count++] = &found[i].label;
		}
	if (!label_count)
		return 0;
	for (unsigned i = 1; i < label_count; i++)
		if (memcmp(labels[i]->pool_uuid, labels[0]->pool_uuid, 16) != 0)
			return err_set(-EINVAL, "device %s belongs to pool '%s', not to '%s'",
			               blk_name(found[index[i]].dev), labels[i]->pool_name, labels[0]->pool_name);
	r = label_choose(labels, label_count, &newest, &other);
	*ret = labels[newest];
	if (r == LABEL_FITS)
		return 0;
	check_damage(c, POOL_FINDING_LABEL,
	             r == LABEL_CONTRADICTS ? "the labels of %s and %s contradict each other"
	                                    : "%s and %s were used apart from each other",
	             blk_name(found[index[newest]].dev), blk_name(found[index[other]].dev));
	c->report->partial = true;
	return 0;
}

static int place_device(struct check *c, const struct found *f)
{
	const struct label *l = &f->label;
	int index = label_find_device(&c->label, l->devices[l->device_index].uuid);
	struct check_member *m;

	if (index < 0)
		return err_set(-EINVAL, "device %s is not part of pool '%s' any more", blk_name(f->dev),
		               c->label.pool_name);
	m = &c->members[index];
	if (m->dev)
		return err_set(-EINVAL, "device %d of pool '%s' was given twice: %s and %s", index, c->label.pool_name,
		               blk_name(m->dev), blk_name(f->dev));
	if (l->region_bytes != c->label.region_bytes) {
		check_damage(c, POOL_FINDING_LABEL, "the label of %s contradicts the others", blk_name(f->dev));
		c->report->partial = true;
		return 0;
	}
	m->dev = f->dev;
	m->label = *l;
	return 0;
}

/* A member that is there and whole is a copy of its group; what the others are is told. */
static void join_group(struct check *c, unsigned index)
{
	const struct label_device *d = &c->label.devices[index];
	struct check_member *m = &c->members[index];
	struct check_group *g = &c->groups[d->group];

	if (!m->dev) {
		check_note(c, POOL_FINDING_LABEL, "device %u of the pool is missing", index);
		return;
	}
	if (d->state != LABEL_ONLINE) {
		check_note(c, POOL_FINDING_LABEL,
		           "%s is not whole and was not checked: it lacks what changed since txg %" PRIu64,
		           blk_name(m->dev), d->since_txg);
		return;
	}
	if (g->copy_count && memcmp(&g->layout, &m->label.layout, sizeof(g->layout)) != 0) {
		check_damage(c, POOL_FINDING_LABEL, "the layout in the label of %s is not that of its group",
		             blk_name(m->dev));
		return;
	}
	g->layout = m->label.layout;
	if (g->copy_count < LABEL_GROUP_DEVICES_MAX)
		g->copies[g->copy_count++] = index;
}

static int make_groups(struct check *c)
{
	unsigned count = label_group_count(&c->label);

	for (unsigned i = 0; i < c->member_count; i++)
		join_group(c, i);
	for (unsigned i = 0; i < c->member_count; i++)
		if (!c->groups[c->label.devices[i].group].copy_count)
			return err_set(-ENODEV, "device %u of the %u devices of pool '%s' is missing or not whole", i,
			               c->member_count, c->label.pool_name);
	c->group_count = count;
	return 0;
}

static int read_labels(struct found *found, struct blk_dev *const devs[], unsigned count)
{
	char note[LABEL_NOTE_BYTES];

	for (unsigned i = 0; i < count; i++) {
		struct found *f = &found[i];

		f->dev = devs[i];
		f->result = label_read(f->dev, &f->label, note);
		if (f->result == -ENOTSUP || f->result == -ENOMEM)
			return f->result;
		if (f->result)
			check_why(f->result, f->why);
	}
	return 0;
}

int check_labels(struct check *c, struct blk_dev *const devs[], unsigned count)
{
	struct found *found = calloc(count, sizeof(*found));
	const struct label *newest;
	int rc = found ? read_labels(found, devs, count) : err_set(-ENOMEM, "no memory for labels");

	if (rc)
		goto out;
	rc = choose_label(c, found, count, &newest);
	if (rc)
		goto out;
	for (unsigned i = 0; i < count; i++)
		if (found[i].result == -EUCLEAN || (found[i].result && newest))
			check_damage(c, POOL_FINDING_LABEL, "%s", found[i].why);
	if (!newest) {
		c->report->partial = true;
		if (!c->report->damage_count)
			rc = err_set(found[0].result, "%s", found[0].why);
		goto out;
	}
	if (c->report->partial)
		goto out;
	c->label = *newest;
	c->member_count = newest->device_count;
	for (unsigned i = 0; i < count && !rc; i++)
		if (!found[i].result)
			rc = place_device(c, &found[i]);
	if (!rc && !c->report->partial)
		rc = make_groups(c);
out:
	free(found);
	return rc;
}

/* 0: as it should be; else why not, with context. *ret_crash: a crash may have left it so: labels are written in the
 * back first, then in front; and a device that was @given_up may have lost any that was being written. */
static int look_at(const struct check_member *m, bool back, bool given_up, uint64_t offset, uint8_t *block,
                   const uint8_t *want, bool *ret_crash)
{
	struct label l;
	int rc = blk_read(m->dev, offset, block, WFS3_BLOCK_BYTES);

	*ret_crash = false;
	if (rc)
		return rc;
	rc = label_decode(block, &l);
	if (rc) {
		*ret_crash = rc == -EUCLEAN && label_is_torn(block, &m->label);
		return rc;
	}
	if (!memcmp(block, want, WFS3_BLOCK_BYTES))
		return 0;
	if (memcmp(l.pool_uuid, m->label.pool_uuid, 16) != 0)
		return err_set(-EUCLEAN, "it is of another pool");
	*ret_crash = (!back || given_up) && l.generation < m->label.generation;
	return err_set(-EUCLEAN, "it is stale: generation %" PRIu64 ", the other one has %" PRIu64, l.generation,
	               m->label.generation);
}

static void check_copies_of(struct check *c, unsigned index, uint8_t *blocks)
{
	const struct check_member *m = &c->members[index];
	const uint64_t offsets[2] = { 0, label_back_offset(m->label.layout.device_bytes) };
	bool given_up = c->label.devices[index].state != LABEL_ONLINE;

	label_encode(&m->label, blocks + WFS3_BLOCK_BYTES);
	for (unsigned i = 0; i < 2; i++) {
		uint64_t offset = offsets[i] + LABEL_HEADER_OFFSET;
		const char *where = i ? "back" : "front";
		struct pool_finding *f = NULL;
		char why[CHECK_WHY_BYTES];
		bool crash;
		int rc = look_at(m, i, given_up, offset, blocks, blocks + WFS3_BLOCK_BYTES, &crash);

		if (rc && crash)
			f = check_note(c, POOL_FINDING_LABEL, "%s label: %s (it was being written at a crash)", where,
			               check_why(rc, why));
		else if (rc)
			f = check_damage(c, POOL_FINDING_LABEL, "%s label: %s", where, check_why(rc, why));
		if (rc)
			check_at_device(f, index, offset);
	}
}

int check_label_copies(struct check *c)
{
	uint8_t *blocks;

	/* Of a pool in use: check_live.c. */
	if (c->live)
		return 0;
	blocks = aligned_alloc(4096, 2 * WFS3_BLOCK_BYTES);
	if (!blocks)
		return err_set(-ENOMEM, "no memory for labels");
	for (unsigned i = 0; i < c->member_count; i++)
		if (c->members[i].dev)
			check_copies_of(c, i, blocks);
	free(blocks);
	return check_step(c, 2 * (uint64_t)c->member_count * WFS3_BLOCK_BYTES);
}
