/* SPDX-License-Identifier: BSD-3-Clause */
/* Capability probing against a made-up sysfs. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "core/blk/caps.h"
#include "tests/unit/core/blk/scratch.h"

/* Make the folders on the way to @path, which is relative to the scratch folder. */
static void make_parents(const char *path)
{
	char dir[512];

	snprintf(dir, sizeof(dir), "%s", scratch_path(path));
	for (char *p = strchr(dir + strlen(scratch_dir) + 1, '/'); p; p = strchr(p + 1, '/')) {
		*p = '\0';
		if (mkdir(dir, 0700) && errno != EEXIST)
			fail_msg("mkdir %s", dir);
		*p = '/';
	}
}

static void put(const char *dir, const char *name, const char *text)
{
	char path[512];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	make_parents(path);
	f = fopen(scratch_path(path), "w");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static void put_link(const char *path, const char *target)
{
	make_parents(path);
	assert_int_equal(symlink(target, scratch_path(path)), 0);
}

static struct blk_caps probe(unsigned major, unsigned minor)
{
	struct blk_caps caps;

	caps_defaults(&caps);
	assert_true(caps_from_sysfs(scratch_dir, major, minor, &caps));
	return caps;
}

static void test_nvme_depth_is_that_of_its_submission_queue(void **state)
{
	const char *dir = "devices/pci0000:00/0000:00:04.0/nvme/nvme0/nvme0n1";
	struct blk_caps caps;

	(void)state;
	put(dir, "size", "2097152\n");
	put(dir, "queue/nr_requests", "1023\n");
	put(dir, "queue/write_cache", "write back\n");
	put(dir, "queue/fua", "1\n");
	put(dir, "queue/discard_max_bytes", "2199023255040\n");
	put(dir, "queue/write_zeroes_max_bytes", "0\n");
	put(dir, "queue/rotational", "0\n");
	put(dir, "queue/max_sectors_kb", "508\n");
	put(dir, "queue/logical_block_size", "4096\n");
	put("devices/pci0000:00/0000:00:04.0/nvme/nvme0", "sqsize", "127\n");
	put("devices/pci0000:00/0000:00:04.0/nvme/nvme0", "model", "QEMU NVMe Ctrl                          \n");
	put_link("devices/pci0000:00/0000:00:04.0/nvme/nvme0/nvme0n1/device", "../../nvme0");
	put_link("dev/block/259:0", "../../devices/pci0000:00/0000:00:04.0/nvme/nvme0/nvme0n1");
	caps = probe(259, 0);
	assert_int_equal(caps.transport, BLK_TRANSPORT_NVME);
	assert_int_equal(caps.queue_depth, 127);
	assert_string_equal(caps.model, "QEMU NVMe Ctrl");
	assert_int_equal(caps.size_bytes, UINT64_C(1) << 30);
	assert_true(caps.volatile_cache && caps.fua && caps.discard);
	assert_false(caps.write_zeroes || caps.rotational || caps.read_only);
	assert_int_equal(caps.max_transfer_bytes, 508 << 10);
	assert_int_equal(caps.logical_block_bytes, 4096);
}

static void test_sata_depth_is_that_of_ncq(void **state)
{
	const char *dir = "devices/pci0000:00/0000:00:1f.2/ata3/host2/target2:0:0/2:0:0:0/block/sda";

	(void)state;
	put(dir, "size", "1024\n");
	put(dir, "ro", "1\n");
	put(dir, "queue/nr_requests", "64\n");
	put(dir, "queue/write_cache", "write through\n");
	put(dir, "queue/fua", "0\n");
	put(dir, "queue/discard_max_bytes", "0\n");
	put(dir, "queue/rotational", "1\n");
	put(dir, "queue/max_sectors_kb", "1280\n");
	put("devices/pci0000:00/0000:00:1f.2/ata3/host2/target2:0:0/2:0:0:0", "queue_depth", "32\n");
	put_link("devices/pci0000:00/0000:00:1f.2/ata3/host2/target2:0:0/2:0:0:0/block/sda/device", "../../../2:0:0:0");
	put_link("dev/block/8:0", "../../devices/pci0000:00/0000:00:1f.2/ata3/host2/target2:0:0/2:0:0:0/block/sda");
	struct blk_caps caps = probe(8, 0);
	assert_int_equal(caps.transport, BLK_TRANSPORT_SATA);
	assert_int_equal(caps.queue_depth, 32);
	assert_true(caps.rotational && caps.read_only);
	assert_false(caps.volatile_cache || caps.fua || caps.discard);
	assert_string_equal(caps.model, "");
}

static void test_partition_has_its_own_size_and_its_disks_queue(void **state)
{
	const char *disk = "devices/pci0000:00/0000:00:05.0/virtio3/block/vdb";
	struct blk_caps caps;
	char part[256];

	(void)state;
	put(disk, "size", "4096\n");
	put(disk, "queue/nr_requests", "256\n");
	put(disk, "queue/fua", "1\n");
	snprintf(part, sizeof(part), "%s/vdb2", disk);
	put(part, "partition", "2\n");
	put(part, "size", "512\n");
	put(part, "ro", "0\n");
	put_link("dev/block/254:18", "../../devices/pci0000:00/0000:00:05.0/virtio3/block/vdb/vdb2");
	caps = probe(254, 18);
	assert_int_equal(caps.transport, BLK_TRANSPORT_VIRTIO);
	assert_int_equal(caps.size_bytes, 512 * 512);
	assert_int_equal(caps.queue_depth, 256);
	assert_true(caps.fua);
}

static void test_loop_and_scsi_are_told_apart(void **state)
{
	(void)state;
	put("devices/virtual/block/loop7", "queue/nr_requests", "128\n");
	put_link("dev/block/7:7", "../../devices/virtual/block/loop7");
	assert_int_equal(probe(7, 7).transport, BLK_TRANSPORT_LOOP);
	assert_int_equal(probe(7, 7).queue_depth, 128);
	put("devices/pci0000:00/0000:00:06.0/virtio4/host5/target5:0:0/5:0:0:1/block/sdc", "size", "8\n");
	put_link("dev/block/8:32", "../../devices/pci0000:00/0000:00:06.0/virtio4/host5/target5:0:0/5:0:0:1/block/sdc");
	assert_int_equal(probe(8, 32).transport, BLK_TRANSPORT_SCSI);
}

static void test_nonsense_and_silence_leave_the_careful_defaults(void **state)
{
	struct blk_caps caps, defaults;

	(void)state;
	put("devices/virtual/block/odd0", "queue/nr_requests", "many\n");
	put("devices/virtual/block/odd0", "queue/max_sectors_kb", "99999999999999999999999\n");
	put("devices/virtual/block/odd0", "queue/rotational", "-1\n");
	put_link("dev/block/1:1", "../../devices/virtual/block/odd0");
	caps_defaults(&defaults);
	caps = probe(1, 1);
	assert_int_equal(caps.transport, BLK_TRANSPORT_UNKNOWN);
	assert_int_equal(caps.queue_depth, defaults.queue_depth);
	assert_int_equal(caps.max_transfer_bytes, defaults.max_transfer_bytes);
	assert_true(caps.volatile_cache);
	assert_false(caps.fua || caps.discard);
	put("devices/virtual/block/odd0", "queue/max_sectors_kb", "4\n");
	assert_int_equal(probe(1, 1).max_transfer_bytes, 64 << 10);
	put("devices/virtual/block/odd0", "queue/max_sectors_kb", "2147483647\n");
	assert_int_equal(probe(1, 1).max_transfer_bytes, 4 << 20);
}

static void test_unknown_device_is_not_there(void **state)
{
	struct blk_caps caps;

	(void)state;
	caps_defaults(&caps);
	assert_false(caps_from_sysfs(scratch_dir, 4095, 1, &caps));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nvme_depth_is_that_of_its_submission_queue),
		cmocka_unit_test(test_sata_depth_is_that_of_ncq),
		cmocka_unit_test(test_partition_has_its_own_size_and_its_disks_queue),
		cmocka_unit_test(test_loop_and_scsi_are_told_apart),
		cmocka_unit_test(test_nonsense_and_silence_leave_the_careful_defaults),
		cmocka_unit_test(test_unknown_device_is_not_there),
	};

	return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
