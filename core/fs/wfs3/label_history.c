/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which of several labels tells how the pool is? Each device's label says who was there when it was written. A device
 * that was away has an old one; devices that were used without each other have labels that deny each other. FORMAT.md,
 * "Groups", G3.
 */
#include <string.h>

#include "core/fs/wfs3/label.h"

static bool same_table(const struct label *a, const struct label *b)
{
	return a->device_count == b->device_count && !strcmp(a->pool_name, b->pool_name) &&
	       !memcmp(a->devices, b->devices, sizeof(a->devices));
}

/*
 * Does @other say of a device that is online in @l that it is not, so that something may have been promised without it?
 * @or_came_back: not if that device became online in @l afterwards.
 */
static bool denies(const struct label *other, const struct label *l, bool or_came_back)
{
	for (unsigned i = 0; i < l->device_count; i++) {
		const struct label_device *d = &l->devices[i];
		int at = label_find_device(other, d->uuid);

		if (d->state != LABEL_ONLINE || (at >= 0 && other->devices[at].state == LABEL_ONLINE))
			continue;
		if (!or_came_back || d->generation <= other->generation)
			return true;
	}
	return false;
}

enum label_relation label_compare(const struct label *l, const struct label *other)
{
	int at = label_find_device(l, other->devices[other->device_index].uuid);
	const struct label_device *d = at < 0 ? NULL : &l->devices[at];

	if (!d)
		return other->generation > l->generation ? LABEL_NEWER : LABEL_FITS;
	if (d->state != LABEL_ONLINE) {
		/* From before it went away; or it was written later without doing without anybody. */
		if (other->generation <= d->generation || !denies(other, l, d->state == LABEL_FILLING))
			return LABEL_FITS;
		return LABEL_APART;
	}
	if (other->generation > l->generation)
		return LABEL_NEWER;
	if (other->generation == l->generation)
		return same_table(other, l) ? LABEL_FITS : LABEL_CONTRADICTS;
	return denies(other, l, true) ? LABEL_NEWER : LABEL_FITS;
}

/* 0: all fit; else the first that does not. */
static enum label_relation compare_all(const struct label *const labels[], unsigned count, unsigned index,
                                       unsigned *ret_other)
{
	enum label_relation r = LABEL_FITS;

	for (unsigned i = 0; i < count && r == LABEL_FITS; i++) {
		if (i != index)
			r = label_compare(labels[index], labels[i]);
		if (r != LABEL_FITS)
			*ret_other = i;
	}
	return r;
}

enum label_relation label_choose(const struct label *const labels[], unsigned count, unsigned *ret_index,
                                 unsigned *ret_other)
{
	enum label_relation r;
	unsigned unused;

	*ret_index = 0;
	for (unsigned i = 1; i < count; i++)
		if (labels[i]->generation > labels[*ret_index]->generation)
			*ret_index = i;
	r = compare_all(labels, count, *ret_index, ret_other);
	/* A crash can leave a higher generation on a device that the others then went on without. */
	for (unsigned i = 0; i < count && r != LABEL_FITS; i++)
		if (compare_all(labels, count, i, &unused) == LABEL_FITS) {
			*ret_index = i;
			return LABEL_FITS;
		}
	return r;
}
