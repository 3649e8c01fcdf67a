/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Formatting a pool: allocation state and an empty root first, the labels last, so that a device only ever looks like a
 * pool when it is a whole one.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "core/base/checked.h"
#include "core/base/err.h"
#include "core/blk/mirror.h"
#include "core/fs/wfs3/pool.h"

#define FIRST_TXG UINT64_C(1)

static int random_bytes(void *buf, size_t len)
{
	return getrandom(buf, len, 0) == (ssize_t)len ? 0 : err_set(-EIO, "no random numbers from the kernel");
}

/* RFC 4122 version 4. */
int uuid_make(uint8_t uuid[16])
{
	int ret = random_bytes(uuid, 16);

	uuid[6] = (uint8_t)((uuid[6] & 0x0f) | 0x40);
	uuid[8] = (uint8_t)((uuid[8] & 0x3f) | 0x80);
	return ret;
}

static unsigned group_of(const struct pool_create_args *args, unsigned device)
{
	return args->groups ? args->groups[device] : device;
}

/* Size of the smallest device of the group that @device is in. */
static uint64_t group_bytes(const struct pool_create_args *args, struct blk_dev *const devs[], unsigned device)
{
	uint64_t bytes = UINT64_MAX;

	for (unsigned i = 0; i < args->device_count; i++)
		if (group_of(args, i) == group_of(args, device))
			bytes = min_u64(bytes, blk_caps(devs[i])->size_bytes);
	return bytes;
}

/* Numbered from 0 without gaps, and not larger than a mirror may be. */
static int check_groups(const struct pool_create_args *args, unsigned *ret_count)
{
	unsigned members[WFS3_DEVICES_MAX] = { 0 }, count = 0;

	for (unsigned i = 0; i < args->device_count; i++) {
		unsigned g = group_of(args, i);

		if (g >= args->device_count || ++members[g] > LABEL_GROUP_DEVICES_MAX)
			return err_set(-EINVAL, "a mirror has 1 to %u devices", LABEL_GROUP_DEVICES_MAX);
		count = g >= count ? g + 1 : count;
	}
	for (unsigned g = 0; g < count; g++)
		if (!members[g])
			return err_set(-EINVAL, "mirror %u has no devices", g);
	*ret_count = count;
	return 0;
}

static int make_labels(const struct pool_create_args *args, struct blk_dev *const devs[], struct label labels[])
{
	uint64_t region_bytes = space_region_bytes(group_bytes(args, devs, 0));
	struct label base = { .version = WFS3_VERSION,
		              .generation = 1,
		              .created_ns = sync_wall_ns(),
		              .region_bytes = region_bytes,
		              .device_count = args->device_count };
	int ret = uuid_make(base.pool_uuid);

	memcpy(base.pool_name, args->name, strlen(args->name));
	for (unsigned i = 0; i < args->device_count && !ret; i++) {
		ret = space_layout_make(group_bytes(args, devs, i), region_bytes, &labels[i].layout);
		if (ret)
			return err_add(ret, "device %s", blk_name(devs[i]));
		base.devices[i].device_bytes = labels[i].layout.device_bytes;
		base.devices[i].group = group_of(args, i);
		ret = uuid_make(base.devices[i].uuid);
	}
	for (unsigned i = 0; i < args->device_count && !ret; i++) {
		struct space_layout layout = labels[i].layout;

		labels[i] = base;
		labels[i].layout = layout;
		labels[i].device_index = i;
	}
	return ret;
}

static int refuse_what_is_in_use(const struct pool_create_args *args, struct blk_dev *const devs[])
{
	for (unsigned i = 0; i < args->device_count; i++) {
		char what[64];
		int ret;

		if (blk_caps(devs[i])->read_only)
			return err_set(-EROFS, "device %s is read-only", blk_name(devs[i]));
		ret = args->force ? 0 : label_probe_other(devs[i], what);
		if (ret < 0)
			return ret;
		if (ret)
			return err_set(-EEXIST, "device %s holds %s; --force overwrites it", blk_name(devs[i]), what);
	}
	return 0;
}

/* What is written to a group is written to all of its devices. Its label is that of its first device. */
static int make_groups(const struct pool_create_args *args, struct blk_dev *const devs[], const struct label labels[],
                       unsigned count, struct blk_dev *groups[], const struct label *group_labels[])
{
	int ret = 0;

	for (unsigned g = 0; g < count && !ret; g++) {
		unsigned copy = 0;

		for (unsigned i = 0; i < args->device_count && !ret; i++) {
			if (group_of(args, i) != g)
				continue;
			if (!copy) {
				group_labels[g] = &labels[i];
				ret = mirror_new(blk_name(devs[i]), labels[i].layout.device_bytes, false, NULL,
				                 &groups[g]);
			}
			if (!ret)
				mirror_put(groups[g], copy++, devs[i], MIRROR_ONLINE, 0);
		}
	}
	return ret;
}

/* A new pool has no device that failed on the way. */
static int check_whole(struct blk_dev *const groups[], unsigned count)
{
	for (unsigned g = 0; g < count; g++)
		if (mirror_change(groups[g]))
			return err_set(-EIO, "a device of the mirror with %s could not be written",
			               blk_name(groups[g]));
	return 0;
}

static int write_first_root(const struct label *first, struct blk_dev *const groups[],
                            const struct label *const labels[], unsigned count)
{
	struct space_device space_devs[WFS3_DEVICES_MAX];
	struct space_config config = { .devices = space_devs,
		                       .device_count = count,
		                       .region_bytes = first->region_bytes };
	struct root root = {
		.txg = FIRST_TXG, .time_ns = sync_wall_ns(), .next_dataset_id = DATASET_ID_FIRST, .clean = true
	};
	struct space *space;
	int ret;

	memcpy(config.pool_uuid, first->pool_uuid, 16);
	memcpy(root.pool_uuid, first->pool_uuid, 16);
	for (unsigned g = 0; g < count; g++)
		space_devs[g] = (struct space_device){ .dev = groups[g], .layout = labels[g]->layout };
	ret = space_create(&config, FIRST_TXG, &space, &root.space);
	if (ret)
		return ret;
	for (unsigned g = 0; g < count && !ret; g++)
		ret = blk_flush(groups[g]);
	if (!ret)
		ret = root_write(groups, labels, count, &root);
	if (!ret)
		ret = check_whole(groups, count);
	space_free(space);
	return ret;
}

int pool_format(const struct pool_create_args *args, struct blk_dev *const devs[])
{
	struct blk_dev *groups[WFS3_DEVICES_MAX] = { 0 };
	const struct label *group_labels[WFS3_DEVICES_MAX];
	struct label *labels;
	unsigned count;
	int ret = check_groups(args, &count);

	if (!ret)
		ret = refuse_what_is_in_use(args, devs);
	if (ret)
		return ret;
	labels = calloc(args->device_count, sizeof(*labels));
	if (!labels)
		return err_set(-ENOMEM, "no memory for labels");
	ret = make_labels(args, devs, labels);
	/* Nothing of what the devices held before may be taken for a root. */
	for (unsigned i = 0; i < args->device_count && !ret; i++)
		ret = label_format(devs[i], &labels[i]);
	if (!ret)
		ret = make_groups(args, devs, labels, count, groups, group_labels);
	if (!ret)
		ret = write_first_root(&labels[0], groups, group_labels, count);
	for (unsigned i = 0; i < args->device_count && !ret; i++)
		ret = label_write(devs[i], &labels[i]);
	for (unsigned g = 0; g < count; g++)
		blk_close(groups[g]);
	free(labels);
	return ret ? err_add(ret, "create pool %s", args->name) : 0;
}
