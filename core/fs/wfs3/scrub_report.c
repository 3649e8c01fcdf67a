/* SPDX-License-Identifier: BSD-3-Clause */
/* The findings of the parts of a scrub, put together. */
#include "core/fs/wfs3/scrub_report.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/log.h"

#define TOLD_MAX 10u

void scrub_report_count(const struct pool_check_report *part, uint64_t *ret_damage, uint64_t *ret_repaired)
{
	uint64_t repaired = 0;

	for (unsigned i = 0; i < part->finding_count; i++)
		repaired += part->findings[i].repaired;
	*ret_repaired = repaired;
	*ret_damage = part->damage_count - repaired;
}

/* The index of a device's name, -1 when it does not fit. Devices may have come and gone between two parts. */
static int device_index(struct pool_check_report *all, const char *name)
{
	for (unsigned i = 0; i < all->device_count; i++)
		if (!strcmp(all->devices[i], name))
			return (int)i;
	if (all->device_count == POOL_CHECK_DEVICES_MAX)
		return -1;
	all->devices[all->device_count] = strdup(name);
	return all->devices[all->device_count] ? (int)all->device_count++ : -1;
}

static void add_finding(struct pool_check_report *all, const struct pool_check_report *part,
                        const struct pool_finding *f)
{
	struct pool_finding *kept;
	int device = f->has_place ? device_index(all, part->devices[f->device]) : 0;

	if (all->finding_count == POOL_FINDINGS_KEPT)
		return;
	kept = realloc(all->findings, (all->finding_count + 1) * sizeof(*kept));
	if (!kept)
		return;
	all->findings = kept;
	kept[all->finding_count] = *f;
	kept[all->finding_count].has_place = f->has_place && device >= 0;
	kept[all->finding_count].device = device < 0 ? 0 : (unsigned)device;
	all->finding_count++;
}

void scrub_report_merge(struct pool_check_report *all, const struct pool_check_report *part)
{
	all->txg = part->txg;
	all->partial |= part->partial;
	all->done_blocks += part->done_blocks;
	all->node_count += part->node_count;
	all->data_block_count += part->data_block_count;
	all->read_block_count += part->read_block_count;
	all->damage_count += part->damage_count;
	all->note_count += part->note_count;
	for (unsigned i = 0; i < POOL_FINDING_KINDS; i++)
		all->kind_counts[i] += part->kind_counts[i];
	for (unsigned i = 0; i < part->finding_count; i++)
		add_finding(all, part, &part->findings[i]);
}

void scrub_report_tell(const char *pool, const struct pool_check_report *part)
{
	for (unsigned i = 0; i < part->finding_count && i < TOLD_MAX; i++) {
		const struct pool_finding *f = &part->findings[i];

		log_error("wfs3",
		          "pool=%s scrub: %s: %s%s dataset=%" PRIu64 " offset=%" PRIu64 " device=%s at=%" PRIu64, pool,
		          pool_finding_name(f->kind), f->text, f->repaired ? " (repaired)" : "", f->dataset, f->offset,
		          f->has_place ? part->devices[f->device] : "", f->device_offset);
	}
}
