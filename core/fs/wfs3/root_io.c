/* SPDX-License-Identifier: BSD-3-Clause */
/* Reading all roots of a device, and writing a new one to every ring. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/assert.h"
#include "core/base/bytes.h"
#include "core/base/err.h"
#include "core/blk/blk.h"
#include "core/fs/wfs3/label_priv.h"

static bool same_root(const struct root *a, const struct root *b)
{
	uint8_t x[WFS3_BLOCK_BYTES], y[WFS3_BLOCK_BYTES];

	root_encode(a, x);
	root_encode(b, y);
	return memcmp(x, y, sizeof(x)) == 0;
}

/* Newest first; of two different ones of the same txg the one that was found first. */
static void list_insert(struct root_list *list, const struct root *r)
{
	unsigned at = 0;

	while (at < list->count && list->roots[at].txg >= r->txg) {
		if (list->roots[at].txg == r->txg && same_root(&list->roots[at], r))
			return;
		at++;
	}
	always(list->count < 2 * LABEL_ROOT_SLOTS);
	memmove(&list->roots[at + 1], &list->roots[at], (list->count - at) * sizeof(*r));
	list->roots[at] = *r;
	list->count++;
}

/* What damaged slots say. */
struct bad_slots {
	unsigned count;
	uint64_t txgs[2 * LABEL_ROOT_SLOTS];
};

/* A damaged slot still tells its txg when the field looks right for its place. */
static void note_bad(struct root_list *list, struct bad_slots *bad, const uint8_t *block, unsigned slot)
{
	uint64_t txg = get_le64(block + ROOT_OFF_TXG);

	list->bad_count++;
	list->bad_slots |= UINT64_C(1) << slot;
	if (get_le64(block) == ROOT_MAGIC && txg <= WFS3_TXG_MAX && txg % LABEL_ROOT_SLOTS == slot)
		bad->txgs[bad->count++] = txg;
}

/* A root that is a whole ring newer than the newest valid one would have overwritten that one: such a number is itself
 * a part of the damage. */
static void set_bad_max(struct root_list *list, const struct bad_slots *bad)
{
	uint64_t limit = list->count ? list->roots[0].txg + LABEL_ROOT_SLOTS : WFS3_TXG_MAX;

	for (unsigned i = 0; i < bad->count; i++)
		if (bad->txgs[i] < limit && bad->txgs[i] > list->bad_txg_max)
			list->bad_txg_max = bad->txgs[i];
}

static void read_ring(const uint8_t *ring, const uint8_t pool_uuid[16], struct root_list *list, struct bad_slots *bad)
{
	for (unsigned i = 0; i < LABEL_ROOT_SLOTS; i++) {
		const uint8_t *block = ring + i * WFS3_BLOCK_BYTES;
		struct root r;
		int rc = root_decode(block, pool_uuid, &r);

		if (!rc && r.txg % LABEL_ROOT_SLOTS == i)
			list_insert(list, &r);
		else if (!rc || rc == -EUCLEAN || get_le64(block) != ROOT_MAGIC)
			if (!bytes_are_zero(block, WFS3_BLOCK_BYTES))
				note_bad(list, bad, block, i);
	}
}

/* A block that cannot be read is as good as a damaged one; all of them: that is an error. */
static int read_blocks(struct blk_dev *dev, uint64_t offset, uint8_t *ring)
{
	int rc = blk_read(dev, offset, ring, LABEL_ROOTS_BYTES);
	unsigned unreadable = 0;

	if (rc != -EIO)
		return rc;
	for (unsigned i = 0; i < LABEL_ROOT_SLOTS; i++) {
		uint8_t *block = ring + i * WFS3_BLOCK_BYTES;

		rc = blk_read(dev, offset + i * WFS3_BLOCK_BYTES, block, WFS3_BLOCK_BYTES);
		if (rc && rc != -EIO)
			return rc;
		if (rc)
			memset(block, 0xff, WFS3_BLOCK_BYTES);
		unreadable += rc != 0;
	}
	return unreadable == LABEL_ROOT_SLOTS ? -EIO : 0;
}

int root_read_all(struct blk_dev *dev, const struct label *l, struct root_list *ret)
{
	const uint64_t offsets[2] = { 0, label_back_offset(l->layout.device_bytes) };
	uint8_t *buf = aligned_alloc(4096, LABEL_ROOTS_BYTES);
	struct root_list *list = calloc(1, sizeof(*list));
	struct bad_slots bad = { 0 };
	int rc = 0, failures = 0;

	if (!buf || !list) {
		rc = err_set(-ENOMEM, "device %s: read roots", blk_name(dev));
		goto out;
	}
	for (unsigned i = 0; i < 2; i++) {
		int result = read_blocks(dev, offsets[i] + LABEL_ROOTS_OFFSET, buf);

		if (result) {
			rc = result;
			failures++;
		} else {
			read_ring(buf, l->pool_uuid, list, &bad);
		}
	}
	if (failures == 2) {
		err_add(rc, "device %s: read roots", blk_name(dev));
		goto out;
	}
	rc = 0;
	set_bad_max(list, &bad);
	*ret = *list;
out:
	free(list);
	free(buf);
	return rc;
}

static uint64_t slot_offset(const struct label *l, bool back, uint64_t txg)
{
	uint64_t label = back ? label_back_offset(l->layout.device_bytes) : 0;

	return label + LABEL_ROOTS_OFFSET + txg % LABEL_ROOT_SLOTS * WFS3_BLOCK_BYTES;
}

/* One ring of every device: write, then flush. */
static int write_rings(struct blk_dev *const devs[], const struct label *const labels[], unsigned device_count,
                       uint64_t txg, const struct iovec *iov, bool back)
{
	struct blk_io ios[WFS3_DEVICES_MAX];
	struct blk_batch batch;
	int rc;

	for (unsigned pass = 0; pass < 2; pass++) {
		blk_batch_init(&batch);
		for (unsigned i = 0; i < device_count; i++) {
			ios[i] = (struct blk_io){ .op = BLK_FLUSH };
			if (pass == 0)
				ios[i] = (struct blk_io){
					.op = BLK_WRITE,
					.offset = slot_offset(labels[i], back, txg),
					.len_bytes = WFS3_BLOCK_BYTES,
					.iov = iov,
					.iov_count = 1,
				};
			blk_batch_add(&batch, devs[i], &ios[i]);
		}
		rc = blk_batch_wait(&batch);
		if (rc)
			return err_add(rc, "write root %llu (%s ring)", (unsigned long long)txg,
			               back ? "back" : "front");
	}
	return 0;
}

int root_rewrite(struct blk_dev *dev, const struct label *l, const struct root *r)
{
	uint8_t *block = aligned_alloc(4096, WFS3_BLOCK_BYTES);
	int rc;

	if (!block)
		return err_set(-ENOMEM, "write root %llu", (unsigned long long)r->txg);
	root_encode(r, block);
	rc = blk_write(dev, slot_offset(l, false, r->txg), block, WFS3_BLOCK_BYTES, 0);
	if (!rc)
		rc = blk_write(dev, slot_offset(l, true, r->txg), block, WFS3_BLOCK_BYTES, 0);
	free(block);
	return rc;
}

int root_write(struct blk_dev *const devs[], const struct label *const labels[], unsigned device_count,
               const struct root *r)
{
	uint8_t *block = aligned_alloc(4096, WFS3_BLOCK_BYTES);
	struct iovec iov = { block, WFS3_BLOCK_BYTES };
	int rc;

	always(device_count && device_count <= WFS3_DEVICES_MAX);
	if (!block)
		return err_set(-ENOMEM, "write root %llu", (unsigned long long)r->txg);
	root_encode(r, block);
	rc = write_rings(devs, labels, device_count, r->txg, &iov, false);
	if (!rc)
		rc = write_rings(devs, labels, device_count, r->txg, &iov, true);
	free(block);
	return rc;
}
