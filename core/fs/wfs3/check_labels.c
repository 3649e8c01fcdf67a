/* SPDX-License-Identifier: BSD-3-Clause */
/* Checking labels: that the devices are those of one pool, and that both labels of each are whole and equal. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/err.h"
#include "core/fs/wfs3/check_priv.h"
#include "core/fs/wfs3/label_priv.h"

/* They contradict each other: whatever comes next would be guesswork. */
static bool contradict(const struct label *a, const struct label *b)
{
	return a->device_count != b->device_count || a->region_bytes != b->region_bytes ||
	       a->generation != b->generation || memcmp(a->devices, b->devices, sizeof(a->devices)) != 0;
}

static int place_device(struct check *c, struct blk_dev *dev, const struct label *l, const struct label *first)
{
	struct check_device *at = &c->devices[l->device_index];

	if (memcmp(l->pool_uuid, first->pool_uuid, 16) != 0)
		return err_set(-EINVAL, "device %s belongs to pool '%s', not to '%s'", blk_name(dev), l->pool_name,
		               first->pool_name);
	if (at->dev)
		return err_set(-EINVAL, "device %u of pool '%s' was given twice: %s and %s", l->device_index,
		               l->pool_name, blk_name(at->dev), blk_name(dev));
	at->dev = dev;
	at->label = *l;
	return 0;
}

int check_labels(struct check *c, struct blk_dev *const devs[], unsigned count)
{
	struct label *labels = calloc(count, sizeof(*labels));
	char note[LABEL_NOTE_BYTES], why[CHECK_WHY_BYTES];
	bool whole = true;
	int rc = labels ? 0 : err_set(-ENOMEM, "no memory for labels");

	for (unsigned i = 0; i < count && !rc; i++) {
		rc = label_read(devs[i], &labels[i], note);
		if (rc == -EUCLEAN) {
			check_damage(c, POOL_FINDING_LABEL, "%s", check_why(rc, why));
			whole = false;
			rc = 0;
		} else if (!rc && whole && i && contradict(&labels[i], &labels[0]) &&
		           !memcmp(labels[i].pool_uuid, labels[0].pool_uuid, 16)) {
			check_damage(c, POOL_FINDING_LABEL, "labels of %s and %s contradict each other",
			             blk_name(devs[0]), blk_name(devs[i]));
			whole = false;
		}
	}
	for (unsigned i = 0; i < count && !rc && whole; i++)
		rc = place_device(c, devs[i], &labels[i], &labels[0]);
	if (!rc && !whole) {
		c->report->partial = true;
		goto out;
	}
	for (unsigned i = 0; !rc && i < labels[0].device_count; i++)
		if (!c->devices[i].dev)
			rc = err_set(-ENODEV, "device %u of the %u devices of pool '%s' is missing", i,
			             labels[0].device_count, labels[0].pool_name);
	if (!rc)
		c->device_count = labels[0].device_count;
out:
	free(labels);
	return rc;
}

/* 0: as it should be; else why not, with context. */
static int look_at(const struct check_device *d, uint64_t offset, uint8_t *block, const uint8_t *want)
{
	struct label l;
	int rc = blk_read(d->dev, offset, block, WFS3_BLOCK_BYTES);

	if (!rc)
		rc = label_decode(block, &l);
	if (!rc && memcmp(l.pool_uuid, d->label.pool_uuid, 16) != 0)
		rc = err_set(-EUCLEAN, "it is of another pool");
	if (!rc && memcmp(block, want, WFS3_BLOCK_BYTES) != 0)
		rc = err_set(-EUCLEAN, "it is stale: generation %llu, the other one has %llu",
		             (unsigned long long)l.generation, (unsigned long long)d->label.generation);
	return rc;
}

int check_label_copies(struct check *c)
{
	uint8_t *blocks = aligned_alloc(4096, 2 * WFS3_BLOCK_BYTES);

	if (!blocks)
		return err_set(-ENOMEM, "no memory for labels");
	for (unsigned i = 0; i < c->device_count; i++) {
		const struct check_device *d = &c->devices[i];
		const uint64_t offsets[2] = { 0, label_back_offset(d->label.layout.device_bytes) };

		label_encode(&d->label, blocks + WFS3_BLOCK_BYTES);
		for (unsigned j = 0; j < 2; j++) {
			uint64_t offset = offsets[j] + LABEL_HEADER_OFFSET;
			unsigned tries = 0;
			char why[CHECK_WHY_BYTES];
			int rc;

			do {
				rc = look_at(d, offset, blocks, blocks + WFS3_BLOCK_BYTES);
			} while (rc && check_again(c, &tries));
			if (rc)
				check_at_device(check_damage(c, POOL_FINDING_LABEL, "%s label: %s",
				                             j ? "back" : "front", check_why(rc, why)),
				                i, offset);
		}
	}
	free(blocks);
	return check_step(c, 2 * (uint64_t)c->device_count * WFS3_BLOCK_BYTES);
}
