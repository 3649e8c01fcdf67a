/* SPDX-License-Identifier: BSD-3-Clause */
/* One filled value of every message of the wfs protocol. */
#ifndef WFSD_TESTS_UNIT_PROTOCOL_SAMPLES_H
#define WFSD_TESTS_UNIT_PROTOCOL_SAMPLES_H

#include "protocol/wfs_proto.h"

static const struct wfsp_hello_args sample_hello_args = {
	.client_id = { 1, 2, 3, [15] = 16 }, .connection = 77, .features = 0x1122334455667788, .client_name = "somebody"
};
static const struct wfsp_hello_ok sample_hello_ok = { .boot_id = 0xfedcba9876543210,
	                                              .clean_boot_count = 2,
	                                              .clean_boots = { 11, 12 },
	                                              .features = 1,
	                                              .payload_max_bytes = 32u << 20,
	                                              .requests_max = 128,
	                                              .shm_slots = 32,
	                                              .shm_slot_bytes = 1u << 20,
	                                              .server_name = "wfsd" };
static const struct wfsp_export sample_export = {
	.name = "vm1", .description = "a volume", .size_bytes = 1ull << 40, .read_only = true, .is_default = false
};
#define SAMPLE_ATTR                                                                                                    \
	{                                                                                                              \
		.fsid = 1, .fileid = 2, .size_bytes = 3, .allocated_bytes = 4, .change = 5, .mtime_ns = 6,             \
		.read_only = true                                                                                      \
	}
static const struct wfsp_attr sample_attr = SAMPLE_ATTR;
static const struct wfsp_open_args sample_open_args = { .name = "abc", .want_write = true };
static const struct wfsp_open_ok sample_open_ok = { .handle = 9,
	                                            .attr = SAMPLE_ATTR,
	                                            .block_min_bytes = 1,
	                                            .block_preferred_bytes = 4096,
	                                            .block_max_bytes = 1u << 25,
	                                            .name = "abcde",
	                                            .description = "text" };
static const struct wfsp_read_args sample_read_args = { 1, 0xffffffffffull, 4096 };
static const struct wfsp_write_args sample_write_args = { 1, 2, WFSP_FUA, 5 };
static const struct wfsp_range_args sample_range_args = { 1, 2, 3ull << 33, 4 };
static const struct wfsp_extent sample_extent = { 1ull << 35, WFSP_EXTENT_HOLE | WFSP_EXTENT_ZERO };
static const struct wfsp_counter sample_counter = { "reads", 123456789012345ull };
static const struct wfsp_read_shm_args sample_read_shm_args = { 1, 2, 3, 4 };
static const struct wfsp_write_shm_args sample_write_shm_args = { 1, 2, WFSP_FUA, 4, 5 };

#endif
