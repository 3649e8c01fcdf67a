/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Formatting a pool: allocation state and an empty root first, the labels last, so that a device only ever looks like a
 * pool when it is a whole one.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "core/base/err.h"
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

static int make_labels(const struct pool_create_args *args, struct blk_dev *const devs[], struct label labels[])
{
	uint64_t region_bytes = space_region_bytes(blk_caps(devs[0])->size_bytes);
	struct label base = { .version = WFS3_VERSION,
		              .features_incompat = WFS3_FEATURES_INCOMPAT,
		              .features_ro_compat = WFS3_FEATURES_RO_COMPAT,
		              .features_compat = WFS3_FEATURES_COMPAT,
		              .generation = 1,
		              .created_ns = sync_wall_ns(),
		              .region_bytes = region_bytes,
		              .device_count = args->device_count };
	int ret = uuid_make(base.pool_uuid);

	memcpy(base.pool_name, args->name, strlen(args->name));
	for (unsigned i = 0; i < args->device_count && !ret; i++) {
		ret = space_layout_make(blk_caps(devs[i])->size_bytes, region_bytes, &labels[i].layout);
		if (ret)
			return err_add(ret, "device %s", blk_name(devs[i]));
		base.devices[i].device_bytes = labels[i].layout.device_bytes;
		base.devices[i].group = i;
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

static int write_first_root(const struct pool_create_args *args, struct blk_dev *const devs[],
                            const struct label labels[])
{
	struct space_device space_devs[WFS3_DEVICES_MAX];
	const struct label *label_ptrs[WFS3_DEVICES_MAX];
	struct space_config config = { .devices = space_devs,
		                       .device_count = args->device_count,
		                       .region_bytes = labels[0].region_bytes };
	struct root root = {
		.txg = FIRST_TXG, .time_ns = sync_wall_ns(), .next_dataset_id = DATASET_ID_FIRST, .clean = true
	};
	struct space *space;
	int ret;

	memcpy(config.pool_uuid, labels[0].pool_uuid, 16);
	memcpy(root.pool_uuid, labels[0].pool_uuid, 16);
	for (unsigned i = 0; i < args->device_count; i++) {
		space_devs[i] = (struct space_device){ .dev = devs[i], .layout = labels[i].layout };
		label_ptrs[i] = &labels[i];
	}
	ret = space_create(&config, FIRST_TXG, &space, &root.space);
	if (ret)
		return ret;
	for (unsigned i = 0; i < args->device_count && !ret; i++)
		ret = blk_flush(devs[i]);
	if (!ret)
		ret = root_write(devs, label_ptrs, args->device_count, &root);
	space_free(space);
	return ret;
}

int pool_format(const struct pool_create_args *args, struct blk_dev *const devs[])
{
	struct label *labels;
	int ret = refuse_what_is_in_use(args, devs);

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
		ret = write_first_root(args, devs, labels);
	for (unsigned i = 0; i < args->device_count && !ret; i++)
		ret = label_write(devs[i], &labels[i]);
	free(labels);
	return ret ? err_add(ret, "create pool %s", args->name) : 0;
}
