/* SPDX-License-Identifier: BSD-3-Clause */
/* One filled value of every message of the wfs protocol. */
#ifndef WFSD_TESTS_UNIT_PROTOCOL_SAMPLES_H
#define WFSD_TESTS_UNIT_PROTOCOL_SAMPLES_H

#include "protocol/wfs_compound.h"

static const struct wfsp_hello_args sample_hello_args = { .client_id = { 1, 2, 3, [15] = 16 },
	                                                  .connection = 77,
	                                                  .features = 0x1122334455667788,
	                                                  .lease_s = 630,
	                                                  .client_name = "somebody" };
static const struct wfsp_hello_ok sample_hello_ok = { .boot_id = 0xfedcba9876543210,
	                                              .clean_boot_count = 2,
	                                              .clean_boots = { 11, 12 },
	                                              .features = 1,
	                                              .payload_max_bytes = 32u << 20,
	                                              .requests_max = 128,
	                                              .shm_slots = 32,
	                                              .shm_slot_bytes = 1u << 20,
	                                              .lease_s = 600,
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

#define SAMPLE_BYTES(text)                                                                                             \
	{                                                                                                              \
		(const uint8_t *)(text), sizeof(text) - 1                                                              \
	}
#define SAMPLE_NODE_ATTR                                                                                               \
	{                                                                                                              \
		1, 0644, 3, 4, 5, 6, 7, 8, 99, 9, 10, 11ull << 40, 12, 13, 14, 15, 16, 17, 18                          \
	}
/* Every field filled; an operation has some of them. The code is to be set. */
static const struct wfsp_op sample_op = { .flags = 1,
	                                  .mode = 0750,
	                                  .type = WFSP_TYPE_SYMLINK,
	                                  .access = 6,
	                                  .index = 7,
	                                  .max_bytes = 65536,
	                                  .offset = 1ull << 50,
	                                  .new_offset = 9,
	                                  .len_bytes = 10ull << 33,
	                                  .rdev = 8ull << 32 | 1,
	                                  .change = 77,
	                                  .descriptor = 0x1122334455667788,
	                                  .id = 0x99,
	                                  .what = 5,
	                                  .scope = 2,
	                                  .name = SAMPLE_BYTES("name"),
	                                  .new_name = SAMPLE_BYTES("other"),
	                                  .path = SAMPLE_BYTES("some/where"),
	                                  .handle = SAMPLE_BYTES("0123456789abcdefghi"),
	                                  .data = SAMPLE_BYTES("dat\0a"),
	                                  .set = { 1, 2, 3, 4, 5, 9, 6ull << 32, 7, 8 },
	                                  .lock = { 1ull << 60, WFSP_LOCK_SHARED, 4, UINT64_MAX } };
static const struct wfsp_op_res sample_op_res = { .status = WFSP_OK,
	                                          .created = true,
	                                          .granted = true,
	                                          .eof = true,
	                                          .access = 3,
	                                          .len32_bytes = 5,
	                                          .offset = 1ull << 51,
	                                          .len_bytes = 3,
	                                          .descriptor = 0x8877665544332211,
	                                          .handle = SAMPLE_BYTES("handle"),
	                                          .path = SAMPLE_BYTES("target"),
	                                          .data = SAMPLE_BYTES("12345"),
	                                          .attr = SAMPLE_NODE_ATTR,
	                                          .lock = { 5, WFSP_LOCK_EXCLUSIVE, 6, 7 },
	                                          .statfs = { 1, 2, 3, 4, 5, 6, 7, 8, true } };
static const struct wfsp_dirent sample_dirents[2] = {
	{ .cookie = 1ull << 63, .fileid = 2, .type = WFSP_TYPE_DIR, .name = SAMPLE_BYTES("sub") },
	{ .cookie = 3,
	  .fileid = 4,
	  .type = WFSP_TYPE_FILE,
	  .name = SAMPLE_BYTES("file"),
	  .has_attr = true,
	  .attr = SAMPLE_NODE_ATTR,
	  .handle = SAMPLE_BYTES("h") },
};

/* The sample result of @code, with the items of those that have some encoded into @buf. */
static inline struct wfsp_op_res sample_result(uint32_t code, uint8_t *buf, size_t size)
{
	struct wfsp_op_res res = sample_op_res;
	struct wr w = { buf, size, 0, false };

	res.code = code;
	if (code == WFSP_OP_READDIR) {
		wfsp_put_dirent(&w, &sample_dirents[0]);
		wfsp_put_dirent(&w, &sample_dirents[1]);
	} else if (code == WFSP_OP_STATISTICS) {
		wfsp_put_counter(&w, &sample_counter);
		wfsp_put_counter(&w, &sample_counter);
	} else {
		wr_copy(&w, "\0\0\0\1a\0\0\0\0\0\0\4bcde", 16);
	}
	res.item_count = 2;
	res.items = (struct wfsp_bytes){ buf, (uint32_t)w.pos };
	return res;
}

#endif
