/* SPDX-License-Identifier: BSD-3-Clause */
/* The encoder and decoder of a label's header block. FORMAT.md, "Labels". Its I/O is in label_io.c. */
#include "core/fs/wfs3/label.h"

#include <errno.h>
#include <string.h>

#include "core/base/assert.h"
#include "core/base/bytes.h"
#include "core/base/err.h"
#include "core/fs/wfs3/label_priv.h"

static void put_layout(struct wr *w, const struct space_layout *l)
{
	wr_le64(w, l->device_bytes);
	wr_le64(w, l->log_offset);
	wr_le64(w, l->log_bytes);
	wr_le64(w, l->ring_offset);
	wr_le64(w, l->ring_bytes);
	wr_le64(w, l->slots_offset);
	wr_le64(w, l->slots_bytes);
	wr_le64(w, l->regions_offset);
	wr_le32(w, l->region_count);
	wr_le32(w, 0);
}

void label_encode(const struct label *l, void *block)
{
	struct wr w = wr_init(block, WFS3_BLOCK_BYTES);
	struct hash128 h;

	always(l->device_count >= 1 && l->device_count <= WFS3_DEVICES_MAX && l->device_index < l->device_count);
	memset(block, 0, WFS3_BLOCK_BYTES);
	wr_le64(&w, LABEL_MAGIC);
	wr_le32(&w, l->version);
	wr_le32(&w, 0);
	wr_le64(&w, l->features_incompat);
	wr_le64(&w, l->features_ro_compat);
	wr_le64(&w, l->features_compat);
	wr_le64(&w, l->generation);
	wr_copy(&w, l->pool_uuid, 16);
	always(w.pos == LABEL_OFF_NAME);
	memcpy(wr_room(&w, LABEL_POOL_NAME_MAX + 1), l->pool_name, strnlen(l->pool_name, LABEL_POOL_NAME_MAX));
	wr_le64(&w, l->created_ns);
	wr_le64(&w, l->region_bytes);
	wr_le32(&w, l->device_index);
	wr_le32(&w, l->device_count);
	always(w.pos == LABEL_OFF_LAYOUT);
	put_layout(&w, &l->layout);
	wr_copy(&w, l->replaced_uuid, 16);
	wr_copy(&w, l->replacement_uuid, 16);
	w.pos = LABEL_OFF_DEVICES;
	for (unsigned i = 0; i < l->device_count; i++) {
		wr_copy(&w, l->devices[i].uuid, 16);
		wr_le64(&w, l->devices[i].device_bytes);
		wr_le32(&w, l->devices[i].group);
		wr_le32(&w, (uint32_t)l->devices[i].state);
		wr_le64(&w, l->devices[i].since_txg);
		wr_le64(&w, l->devices[i].generation);
	}
	h = hash128(block, LABEL_OFF_CHECKSUM);
	w.pos = LABEL_OFF_CHECKSUM;
	wr_le64(&w, h.lo);
	wr_le64(&w, h.hi);
	always(!w.bad);
}

static int check_name(const char name[LABEL_POOL_NAME_MAX + 1])
{
	size_t len = strnlen(name, LABEL_POOL_NAME_MAX + 1);

	if (!len || len > LABEL_POOL_NAME_MAX || !bytes_are_zero(name + len, LABEL_POOL_NAME_MAX + 1 - len))
		return err_set(-EUCLEAN, "label: pool name is empty or not terminated");
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)name[i] < 0x20 || name[i] == 0x7f || name[i] == '/')
			return err_set(-EUCLEAN, "label: pool name has a byte 0x%02x", (unsigned char)name[i]);
	return 0;
}

static int check_numbers(const struct label *l)
{
	if (!l->generation)
		return err_set(-EUCLEAN, "label: generation is 0");
	if (!l->device_count || l->device_count > WFS3_DEVICES_MAX || l->device_index >= l->device_count)
		return err_set(-EUCLEAN, "label: device %u of %u", l->device_index, l->device_count);
	return space_layout_check(&l->layout, l->region_bytes);
}

unsigned label_group_count(const struct label *l)
{
	unsigned count = 0;

	for (unsigned i = 0; i < l->device_count; i++)
		if (l->devices[i].group >= count)
			count = l->devices[i].group + 1;
	return count;
}

int label_find_device(const struct label *l, const uint8_t uuid[16])
{
	for (unsigned i = 0; i < l->device_count; i++)
		if (!memcmp(l->devices[i].uuid, uuid, 16))
			return (int)i;
	return -1;
}

/* Every group has a whole copy of its contents; all of its devices are of one size. */
static int check_groups(const struct label *l)
{
	const struct label_device *first[WFS3_DEVICES_MAX] = { 0 };
	unsigned online[WFS3_DEVICES_MAX] = { 0 }, members[WFS3_DEVICES_MAX] = { 0 };

	for (unsigned i = 0; i < l->device_count; i++) {
		const struct label_device *d = &l->devices[i];

		if (d->group >= l->device_count || (unsigned)d->state > LABEL_AWAY || d->since_txg > WFS3_TXG_MAX ||
		    (d->state == LABEL_ONLINE && d->since_txg) || d->generation > l->generation)
			return err_set(-EUCLEAN,
			               "label: device %u has group %u, state %u, since %llu, generation %llu of %llu",
			               i, d->group, (unsigned)d->state, (unsigned long long)d->since_txg,
			               (unsigned long long)d->generation, (unsigned long long)l->generation);
		if (label_find_device(l, d->uuid) != (int)i)
			return err_set(-EUCLEAN, "label: device %u has the uuid of another one", i);
		if (!first[d->group])
			first[d->group] = d;
		if (first[d->group]->device_bytes != d->device_bytes)
			return err_set(-EUCLEAN, "label: the devices of group %u differ in size", d->group);
		online[d->group] += d->state == LABEL_ONLINE;
		members[d->group]++;
	}
	for (unsigned g = 0; g < label_group_count(l); g++)
		if (!online[g] || members[g] > LABEL_GROUP_DEVICES_MAX)
			return err_set(-EUCLEAN, "label: group %u has %u devices, %u of them whole", g, members[g],
			               online[g]);
	return 0;
}

/* What can be told before anything else is believed: magic, checksum, version, features. */
static int check_envelope(const uint8_t *block)
{
	struct hash128 h = { get_le64(block + LABEL_OFF_CHECKSUM), get_le64(block + LABEL_OFF_CHECKSUM + 8) };
	uint32_t version = get_le32(block + 8);
	uint64_t unknown = get_le64(block + 16) & ~WFS3_FEATURES_INCOMPAT;

	if (get_le64(block) != LABEL_MAGIC)
		return err_set(-EMEDIUMTYPE, "not a WFS label");
	if (!hash128_equal(h, hash128(block, LABEL_OFF_CHECKSUM)))
		return err_set(-EUCLEAN, "label: wrong checksum");
	if (version > WFS3_VERSION)
		return err_set(-ENOTSUP, "pool has format version %u, this program knows up to %u", version,
		               WFS3_VERSION);
	if (!version)
		return err_set(-EUCLEAN, "label: version 0");
	if (unknown)
		return err_set(-ENOTSUP, "pool uses unknown incompatible features 0x%llx", (unsigned long long)unknown);
	return 0;
}

static uint64_t get_layout(struct rd *r, struct space_layout *l)
{
	l->device_bytes = rd_le64(r);
	l->log_offset = rd_le64(r);
	l->log_bytes = rd_le64(r);
	l->ring_offset = rd_le64(r);
	l->ring_bytes = rd_le64(r);
	l->slots_offset = rd_le64(r);
	l->slots_bytes = rd_le64(r);
	l->regions_offset = rd_le64(r);
	l->region_count = rd_le32(r);
	return rd_le32(r);
}

/* Returns the reserved fields, or-ed together: they have to be zero. */
static uint64_t get_fields(const uint8_t *block, struct label *l)
{
	struct rd r = rd_init(block, LABEL_OFF_CHECKSUM);
	uint64_t reserved;
	unsigned i;

	r.pos = 8;
	l->version = rd_le32(&r);
	reserved = rd_le32(&r);
	l->features_incompat = rd_le64(&r);
	l->features_ro_compat = rd_le64(&r);
	l->features_compat = rd_le64(&r);
	l->generation = rd_le64(&r);
	rd_copy(&r, l->pool_uuid, 16);
	rd_copy(&r, l->pool_name, sizeof(l->pool_name));
	l->created_ns = rd_le64(&r);
	l->region_bytes = rd_le64(&r);
	l->device_index = rd_le32(&r);
	l->device_count = rd_le32(&r);
	reserved |= get_layout(&r, &l->layout);
	rd_copy(&r, l->replaced_uuid, 16);
	rd_copy(&r, l->replacement_uuid, 16);
	reserved |= !bytes_are_zero(block + r.pos, LABEL_OFF_DEVICES - r.pos);
	r.pos = LABEL_OFF_DEVICES;
	for (i = 0; i < l->device_count && i < WFS3_DEVICES_MAX; i++) {
		rd_copy(&r, l->devices[i].uuid, 16);
		l->devices[i].device_bytes = rd_le64(&r);
		l->devices[i].group = rd_le32(&r);
		l->devices[i].state = (enum label_state)rd_le32(&r);
		l->devices[i].since_txg = rd_le64(&r);
		l->devices[i].generation = rd_le64(&r);
	}
	return reserved | !bytes_are_zero(block + r.pos, LABEL_OFF_CHECKSUM - r.pos);
}

int label_decode(const void *block, struct label *ret)
{
	struct label l = { 0 };
	uint64_t reserved;
	int rc;

	rc = check_envelope(block);
	if (rc)
		return rc;
	reserved = get_fields(block, &l);
	rc = check_numbers(&l);
	if (!rc)
		rc = check_name(l.pool_name);
	if (!rc)
		rc = check_groups(&l);
	if (rc)
		return rc;
	if (reserved)
		return err_set(-EUCLEAN, "label: reserved bytes are not zero");
	if (l.devices[l.device_index].device_bytes != l.layout.device_bytes)
		return err_set(-EUCLEAN, "label: two sizes for its own device");
	*ret = l;
	return 0;
}

bool label_is_torn(const void *block, const struct label *l)
{
	uint8_t want[WFS3_BLOCK_BYTES];
	struct label old = { 0 }, mixed = *l;

	(void)get_fields(block, &old);
	if (!old.device_count || old.device_count > WFS3_DEVICES_MAX || old.device_index >= old.device_count)
		return false;
	/* What a new label changes. */
	mixed.generation = old.generation;
	mixed.device_index = old.device_index;
	mixed.device_count = old.device_count;
	memcpy(mixed.devices, old.devices, sizeof(mixed.devices));
	memcpy(mixed.replaced_uuid, old.replaced_uuid, 16);
	memcpy(mixed.replacement_uuid, old.replacement_uuid, 16);
	label_encode(&mixed, want);
	return !memcmp(block, want, LABEL_OFF_CHECKSUM);
}
