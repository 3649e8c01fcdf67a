/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * From the labels of the devices that are there to the groups of a pool: which devices belong together, which of them
 * are whole, and which are old. FORMAT.md, "Groups". Nothing is written here.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/assert.h"
#include "core/base/checked.h"
#include "core/base/err.h"
#include "core/base/log.h"
#include "core/fs/wfs3/members.h"
#include "core/fs/wfs3/pool.h"

struct found {
	struct blk_dev *dev;
	int result; /* of reading its label */
	struct label label;
	bool differs; /* one of its two labels from the other */
	int index; /* in the newest label; -1: the pool has let go of it */
};

struct assembly {
	struct found *found;
	unsigned count;
	const struct label *labels[WFS3_DEVICES_MAX]; /* that could be read, and whose they are */
	const struct found *of_label[WFS3_DEVICES_MAX];
	unsigned label_count;
	const struct label *newest; /* the one that tells how the pool is */
	struct found *by_index[WFS3_DEVICES_MAX]; /* NULL: missing */
	int label_error; /* of the first device without a label, 0: all have one */
	struct err label_err;
	char *notes;
};

static void note(struct assembly *a, const char *text)
{
	size_t len = strlen(a->notes);

	log_warning("wfs3", "%s", text);
	snprintf(a->notes + len, POOL_REASON_MAX - len, "%s%s", len ? "; " : "", text);
}

/* Not a pool's, damaged, or unreadable: others may make up for it. */
static bool may_do_without(int result)
{
	return result == -EMEDIUMTYPE || result == -EUCLEAN || result == -EIO || result == -ENXIO;
}

static int read_labels(struct assembly *a, struct blk_dev *const devs[])
{
	for (unsigned i = 0; i < a->count; i++) {
		struct found *f = &a->found[i];
		char text[LABEL_NOTE_BYTES];

		f->dev = devs[i];
		f->index = -1;
		f->result = label_read(f->dev, &f->label, text);
		if (f->result && !may_do_without(f->result))
			return f->result;
		if (f->result && !a->label_error) {
			a->label_error = f->result;
			err_take(&a->label_err);
		}
		f->differs = !f->result && text[0];
		if (f->differs)
			note(a, text);
		if (!f->result) {
			a->labels[a->label_count] = &f->label;
			a->of_label[a->label_count++] = f;
		}
	}
	if (a->label_count)
		return 0;
	err_restore(&a->label_err);
	return a->label_error;
}

static int choose_label(struct assembly *a)
{
	unsigned newest, other = 0;
	const char *one, *two;
	enum label_relation r;

	for (unsigned i = 1; i < a->label_count; i++)
		if (memcmp(a->labels[i]->pool_uuid, a->labels[0]->pool_uuid, 16))
			return err_set(-EINVAL, "device %s belongs to pool '%s', device %s to pool '%s'",
			               blk_name(a->of_label[0]->dev), a->labels[0]->pool_name,
			               blk_name(a->of_label[i]->dev), a->labels[i]->pool_name);
	r = label_choose(a->labels, a->label_count, &newest, &other);
	a->newest = a->labels[newest];
	one = blk_name(a->of_label[newest]->dev);
	two = blk_name(a->of_label[other]->dev);
	if (r == LABEL_FITS)
		return 0;
	if (r == LABEL_CONTRADICTS)
		return err_set(-EUCLEAN, "labels of devices %s and %s contradict each other", one, two);
	return err_set(-EUCLEAN,
	               "devices %s and %s of pool '%s' were used apart from each other: import without one of them",
	               one, two, a->newest->pool_name);
}

/* Against the one that tells how the pool is. */
static int check_label(const struct assembly *a, const struct found *f)
{
	const struct label *l = &f->label, *n = a->newest;

	if (l->region_bytes != n->region_bytes)
		return err_set(-EUCLEAN, "the label of device %s contradicts the others: its size of regions",
		               blk_name(f->dev));
	if (f->index >= 0 && l->layout.device_bytes != n->devices[f->index].device_bytes)
		return err_set(-EUCLEAN, "the label of device %s contradicts the others: its size", blk_name(f->dev));
	return 0;
}

static int place_devices(struct assembly *a)
{
	for (unsigned i = 0; i < a->count; i++) {
		struct found *f = &a->found[i];
		char text[256];
		int rc;

		if (f->result)
			continue;
		f->index = label_find_device(a->newest, f->label.devices[f->label.device_index].uuid);
		rc = check_label(a, f);
		if (rc)
			return rc;
		if (f->index < 0) {
			snprintf(text, sizeof(text), "device %s is not part of pool '%s' any more", blk_name(f->dev),
			         a->newest->pool_name);
			note(a, text);
			continue;
		}
		if (a->by_index[f->index])
			return err_set(-EINVAL, "device %d of pool '%s' was given twice: %s and %s", f->index,
			               a->newest->pool_name, blk_name(a->by_index[f->index]->dev), blk_name(f->dev));
		a->by_index[f->index] = f;
	}
	return 0;
}

/* Nothing of a group can be read without a device that holds all of it. */
static int check_group(struct assembly *a, unsigned group)
{
	const struct label *l = a->newest;
	const struct found *first = NULL;
	unsigned missing = 0, members = 0;
	char uuid[MEMBER_UUID_BYTES];
	bool whole = false;

	for (unsigned i = 0; i < l->device_count; i++) {
		const struct found *f = a->by_index[i];

		if (l->devices[i].group != group)
			continue;
		members++;
		if (!f && l->devices[i].state == LABEL_ONLINE)
			missing = i;
		if (!f)
			continue;
		whole |= l->devices[i].state == LABEL_ONLINE;
		if (first && memcmp(&first->label.layout, &f->label.layout, sizeof(f->label.layout)))
			return err_set(-EUCLEAN, "labels of devices %s and %s contradict each other: their layouts",
			               blk_name(first->dev), blk_name(f->dev));
		first = f;
	}
	if (whole)
		return 0;
	if (a->label_error) {
		err_restore(&a->label_err);
		return a->label_error;
	}
	members_uuid_text(l->devices[missing].uuid, uuid);
	if (members == 1 || !first)
		return err_set(-ENODEV, "device %u of the %u devices of pool '%s' is missing (uuid %s)", missing,
		               l->device_count, l->pool_name, uuid);
	return err_set(-ENODEV,
	               "device %u of the %u devices of pool '%s' is missing (uuid %s); %s is from an older time: it "
	               "was away since txg %" PRIu64,
	               missing, l->device_count, l->pool_name, uuid, blk_name(first->dev),
	               l->devices[first->index].since_txg);
}

static const struct label *label_of_group(const struct assembly *a, unsigned group)
{
	for (unsigned i = 0; i < a->newest->device_count; i++)
		if (a->newest->devices[i].group == group && a->by_index[i])
			return &a->by_index[i]->label;
	always(false);
}

static int make_group(const struct assembly *a, struct pool *p, unsigned group, bool read_only)
{
	const struct mirror_events events = { .mark = members_mark,
		                              .changed = read_only ? NULL : members_changed,
		                              .record = read_only ? NULL : members_record,
		                              .ctx = p };
	const struct label *l = a->newest, *own = label_of_group(a, group);
	struct pool_device *d = &p->devices[group];
	bool discard = false;
	unsigned members = 0;
	char name[32];
	const char *only = "";
	int rc;

	for (unsigned i = 0; i < l->device_count; i++) {
		if (l->devices[i].group != group)
			continue;
		members++;
		if (a->by_index[i]) {
			only = blk_name(a->by_index[i]->dev);
			discard |= blk_caps(a->by_index[i]->dev)->discard;
		}
	}
	snprintf(name, sizeof(name), "mirror %u", group);
	rc = mirror_new(members > 1 ? name : only, own->layout.device_bytes, discard, &events, &d->dev);
	if (rc)
		return rc;
	d->label = *own;
	p->device_count = group + 1;
	return 0;
}

/* Unless it is read-only, what was away gets everything that is written from now on. */
SYNC_NO_ANALYSIS static void put_devices(const struct assembly *a, struct pool *p)
{
	unsigned copies[WFS3_DEVICES_MAX] = { 0 };
	struct members *m = p->members;

	m->label = *a->newest;
	for (unsigned i = 0; i < a->label_count; i++) {
		m->label.generation = max_u64(m->label.generation, a->labels[i]->generation);
		m->labels_differ |= a->of_label[i]->differs || a->labels[i]->generation != a->newest->generation;
	}
	for (unsigned i = 0; i < m->label.device_count; i++) {
		const struct label_device *d = &m->label.devices[i];
		struct blk_dev *dev = a->by_index[i] ? a->by_index[i]->dev : NULL;
		enum mirror_state state = MIRROR_AWAY;

		if (dev && d->state == LABEL_ONLINE)
			state = MIRROR_ONLINE;
		m->copy[i] = (uint8_t)copies[d->group]++;
		mirror_put(p->devices[d->group].dev, m->copy[i], dev, state, d->since_txg);
	}
}

static int make_pool(const struct assembly *a, struct wfs3 *w, bool read_only, struct pool **ret)
{
	struct pool *p = pool_new(w, a->newest->pool_name, a->newest->pool_uuid);
	int rc = 0;

	if (p) {
		p->devices = calloc(WFS3_DEVICES_MAX, sizeof(*p->devices));
		p->members = members_new(p);
	}
	if (!p || !p->devices || !p->members) {
		pool_free(p);
		return err_set(-ENOMEM, "no memory for a pool");
	}
	p->read_only = p->members->labels_stay = read_only;
	for (unsigned g = 0; g < label_group_count(a->newest) && !rc; g++)
		rc = make_group(a, p, g, read_only);
	if (rc) {
		members_disown(p);
		pool_free(p);
		return rc;
	}
	put_devices(a, p);
	*ret = p;
	return 0;
}

/* Devices that opened and are of no use. */
static void note_useless(struct assembly *a, struct members *m)
{
	for (unsigned i = 0; i < a->count; i++) {
		struct found *f = &a->found[i];
		char text[256];

		if (f->index >= 0)
			continue;
		if (f->result) {
			snprintf(text, sizeof(text), "device %s has no label that can be used", blk_name(f->dev));
			note(a, text);
		}
		m->useless[m->useless_count++] = f->dev;
	}
}

void members_close_useless(struct pool *p)
{
	struct members *m = p->members;

	while (m->useless_count)
		p->w->config.close(p->w->config.open_ctx, m->useless[--m->useless_count]);
}

int members_assemble(struct wfs3 *w, struct blk_dev *const devs[], unsigned count, bool read_only, struct pool **ret,
                     char *notes)
{
	struct assembly a = { .count = count, .notes = notes };
	int rc;

	notes[0] = '\0';
	a.found = calloc(count, sizeof(*a.found));
	rc = a.found ? read_labels(&a, devs) : err_set(-ENOMEM, "no memory for %u labels", count);
	if (!rc)
		rc = choose_label(&a);
	if (!rc)
		rc = place_devices(&a);
	for (unsigned g = 0; !rc && g < label_group_count(a.newest); g++)
		rc = check_group(&a, g);
	for (unsigned i = 0; i < count && !rc; i++)
		if (a.found[i].index >= 0)
			read_only |= blk_caps(devs[i])->read_only;
	if (!rc)
		rc = make_pool(&a, w, read_only, ret);
	if (!rc)
		note_useless(&a, (*ret)->members);
	free(a.found);
	return rc;
}

SYNC_NO_ANALYSIS void members_passed_over(struct pool *p, uint64_t root_txg)
{
	struct members *m = p->members;

	for (unsigned i = 0; i < m->label.device_count; i++) {
		struct mirror_copy c = members_copy(m, i);
		struct blk_dev *mirror = p->devices[m->label.devices[i].group].dev;

		if (c.state != MIRROR_AWAY)
			continue;
		/* It was there until now: it has the chosen root, or what that one reaches. */
		if (!c.dev && m->label.devices[i].state == LABEL_ONLINE)
			mirror_set_since(mirror, m->copy[i], root_txg - 1);
		if (c.dev && !p->read_only)
			mirror_refill(mirror, m->copy[i]);
	}
}
