/* SPDX-License-Identifier: BSD-3-Clause */
/* Repair at import: what is damaged on one device, or on one of its two places, and whole on another. */
#include "core/fs/wfs3/import.h"

#include <inttypes.h>

#include "core/base/err.h"
#include "core/base/log.h"
#include "core/fs/wfs3/members.h"
#include "core/fs/wfs3/pool.h"

/* The root that belongs in a slot: the newest one that is not newer than the chosen one. NULL: none is known. */
static const struct root *root_of_slot(const struct import_roots *roots, unsigned slot, uint64_t txg_max)
{
	for (unsigned i = 0; i < roots->count; i++)
		if (roots->roots[i].txg % LABEL_ROOT_SLOTS == slot)
			return roots->roots[i].txg <= txg_max ? &roots->roots[i] : NULL;
	return NULL;
}

static void repair_roots(struct pool *p, unsigned group, unsigned copy, const struct import_roots *roots,
                         uint64_t txg_max)
{
	uint64_t bad = roots->progress[group][copy].bad_slots;
	const struct pool_device *d = &p->devices[group];
	struct mirror_copy c;

	mirror_get(d->dev, copy, &c);
	for (unsigned slot = 0; slot < LABEL_ROOT_SLOTS && c.state == MIRROR_ONLINE; slot++) {
		const struct root *r = bad >> slot & 1 ? root_of_slot(roots, slot, txg_max) : NULL;
		int rc = r ? root_rewrite(c.dev, &d->label, r) : 0;

		if (rc && mirror_give_up(d->dev, copy, "repair of a root", rc))
			return;
		if (r && !rc)
			log_notice("wfs3", "pool=%s device=%s: damaged slot of root %" PRIu64 " was written anew",
			           p->name, blk_name(c.dev), r->txg);
	}
}

void import_repair(struct pool *p, const struct import_roots *roots, const struct root *chosen)
{
	members_repair_labels(p);
	for (unsigned g = 0; g < p->device_count; g++)
		for (unsigned i = 0; i < MIRROR_COPIES_MAX; i++)
			repair_roots(p, g, i, roots, chosen->txg);
	space_repair(p->space);
}
