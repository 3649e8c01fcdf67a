/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A foreign judge: the code that rpcgen makes from wfs.x, on libtirpc, must read what our codec writes and write the
 * same bytes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <wfs_judge.h>

#include "core/base/bytes.h"
#include "protocol/wfs_notice.h"
#include "protocol/xdr/xdr.h"
#include "tests/unit/protocol/samples.h"

#define BUF_BYTES 8192

/* Of protocol/rpc/rpc_msg.h, whose other names libtirpc uses, too. */
struct rpc_auth_sys;
void rpc_put_call(struct wr *w, uint32_t xid, uint32_t program, uint32_t version, uint32_t procedure,
                  const struct rpc_auth_sys *sys);

/* The judge decodes our @w into its @v and encodes that: the bytes must be the same. */
#define JUDGE(type, w, v)                                                                                              \
	do {                                                                                                           \
		uint8_t back[BUF_BYTES];                                                                               \
		XDR in, out;                                                                                           \
		assert_false((w).bad);                                                                                 \
		xdrmem_create(&in, (char *)(w).base, (unsigned)(w).pos, XDR_DECODE);                                   \
		assert_true(xdr_##type(&in, (v)));                                                                     \
		assert_int_equal(xdr_getpos(&in), (w).pos);                                                            \
		xdrmem_create(&out, (char *)back, sizeof(back), XDR_ENCODE);                                           \
		assert_true(xdr_##type(&out, (v)));                                                                    \
		assert_int_equal(xdr_getpos(&out), (w).pos);                                                           \
		assert_memory_equal(back, (w).base, (w).pos);                                                          \
		xdr_free((xdrproc_t)(void *)xdr_##type, (v));                                                          \
	} while (0)

static void test_constants_are_those_of_the_law(void **state)
{
	(void)state;
	assert_int_equal(WFSP_PROGRAM, WFS_PROGRAM);
	assert_int_equal(WFSP_VERSION, WFS_V1);
	assert_int_equal(WFSP_PAYLOAD_MAX, WFS_PAYLOAD_MAX);
	assert_int_equal(WFSP_NAME_MAX, WFS_NAME_MAX);
	assert_int_equal(WFSP_TEXT_MAX, WFS_TEXT_MAX);
	assert_int_equal(WFSP_LIST_MAX, WFS_LIST_MAX);
	assert_int_equal(WFSP_EXTENTS_MAX, WFS_EXTENTS_MAX);
	assert_int_equal(WFSP_COUNTERS_MAX, WFS_COUNTERS_MAX);
	assert_int_equal(WFSP_COUNTER_NAME_MAX, WFS_COUNTER_NAME_MAX);
	assert_int_equal(WFSP_CLEAN_BOOTS_MAX, WFS_CLEAN_BOOTS_MAX);
	assert_int_equal(WFSP_CLIENT_ID_BYTES, WFS_CLIENT_ID_BYTES);
	assert_int_equal(WFSP_FEATURE_SHM, WFS_FEATURE_SHM);
	assert_int_equal(WFSP_SHM_TAIL_BYTES, WFS_SHM_TAIL_BYTES);
	assert_int_equal(WFSP_RANGE_FUA, WFS_RANGE_FUA);
	assert_int_equal(WFSP_RANGE_NO_HOLE, WFS_RANGE_NO_HOLE);
	assert_int_equal(WFSP_RANGE_FAST, WFS_RANGE_FAST);
	assert_int_equal(WFSP_RANGE_ONE, WFS_RANGE_ONE);
	assert_int_equal(WFSP_EXTENT_HOLE, WFS_EXTENT_HOLE);
	assert_int_equal(WFSP_EXTENT_ZERO, WFS_EXTENT_ZERO);
	assert_int_equal(WFSP_FUA, WFS_FUA);
	assert_int_equal(WFSP_ERR_PERM, WFS_ERR_PERM);
	assert_int_equal(WFSP_ERR_DAMAGED, WFS_ERR_DAMAGED);
	assert_int_equal(WFSP_ERR_CANCELED, WFS_ERR_CANCELED);
	assert_int_equal(WFSP_ERR_NOTEMPTY, WFS_ERR_NOTEMPTY);
	assert_int_equal(WFSP_ERR_CHANGED, WFS_ERR_CHANGED);
	assert_int_equal(WFSP_STATUSES, WFS_ERR_DONE + 1);
}

static void test_constants_of_trees_are_those_of_the_law(void **state)
{
	(void)state;
	assert_int_equal(WFSP_FEATURE_TREES, WFS_FEATURE_TREES);
	assert_int_equal(WFSP_OPS_MAX, WFS_OPS_MAX);
	assert_int_equal(WFSP_COMPOUND_MAX, WFS_COMPOUND_MAX);
	assert_int_equal(WFSP_FH_MAX, WFS_FH_MAX);
	assert_int_equal(WFSP_PATH_MAX, WFS_PATH_MAX);
	assert_int_equal(WFSP_XATTR_MAX, WFS_XATTR_MAX);
	assert_int_equal(WFSP_SLOTS, WFS_SLOTS);
	assert_int_equal(WFSP_SLOT_REPLY_MAX, WFS_SLOT_REPLY_MAX);
	assert_int_equal(WFSP_REPLY_MIN, WFS_REPLY_MIN);
	assert_int_equal(WFSP_TYPE_SOCKET, WFS_TYPE_SOCKET);
	assert_int_equal(WFSP_NODE_READ_ONLY, WFS_NODE_READ_ONLY);
	assert_int_equal(WFSP_NODE_GROWS, WFS_NODE_GROWS);
	assert_int_equal(WFSP_NODE_ACL, WFS_NODE_ACL);
	assert_int_equal(WFSP_NODE_EXACT_NAMES, WFS_NODE_EXACT_NAMES);
	assert_int_equal(WFSP_FLAG_IMMUTABLE, WFS_FLAG_IMMUTABLE);
	assert_int_equal(WFSP_FLAG_APPEND, WFS_FLAG_APPEND);
	assert_int_equal(WFSP_SET_MODE, WFS_SET_MODE);
	assert_int_equal(WFSP_SET_UID, WFS_SET_UID);
	assert_int_equal(WFSP_SET_GID, WFS_SET_GID);
	assert_int_equal(WFSP_SET_SIZE, WFS_SET_SIZE);
	assert_int_equal(WFSP_SET_ATIME, WFS_SET_ATIME);
	assert_int_equal(WFSP_SET_MTIME, WFS_SET_MTIME);
	assert_int_equal(WFSP_SET_ATIME_NOW, WFS_SET_ATIME_NOW);
	assert_int_equal(WFSP_SET_MTIME_NOW, WFS_SET_MTIME_NOW);
	assert_int_equal(WFSP_SET_FLAGS, WFS_SET_FLAGS);
	assert_int_equal(WFSP_SET_PROJECT, WFS_SET_PROJECT);
	assert_int_equal(WFSP_SET_ALL, (2 * WFS_SET_FLAGS - 1) | WFS_SET_PROJECT);
	assert_int_equal(WFSP_ACCESS_EXEC, WFS_ACCESS_EXEC);
	assert_int_equal(WFSP_ACCESS_WRITE, WFS_ACCESS_WRITE);
	assert_int_equal(WFSP_ACCESS_READ, WFS_ACCESS_READ);
	assert_int_equal(WFSP_WALK_FOLLOW, WFS_WALK_FOLLOW);
	assert_int_equal(WFSP_CREATE_EXCLUSIVE, WFS_CREATE_EXCLUSIVE);
	assert_int_equal(WFSP_UNLINK_DIR, WFS_UNLINK_DIR);
	assert_int_equal(WFSP_RENAME_NOREPLACE, WFS_RENAME_NOREPLACE);
	assert_int_equal(WFSP_RENAME_EXCHANGE, WFS_RENAME_EXCHANGE);
	assert_int_equal(WFSP_READDIR_ATTR, WFS_READDIR_ATTR);
	assert_int_equal(WFSP_READDIR_HANDLE, WFS_READDIR_HANDLE);
	assert_int_equal(WFSP_WRITE_FUA, WFS_WRITE_FUA);
	assert_int_equal(WFSP_WRITE_APPEND, WFS_WRITE_APPEND);
	assert_int_equal(WFSP_XATTR_CREATE, WFS_XATTR_CREATE);
	assert_int_equal(WFSP_XATTR_REPLACE, WFS_XATTR_REPLACE);
	assert_int_equal(WFSP_ALLOCATE_ZERO, WFS_ALLOCATE_ZERO);
	assert_int_equal(WFSP_ALLOCATE_PUNCH, WFS_ALLOCATE_PUNCH);
	assert_int_equal(WFSP_ALLOCATE_COLLAPSE, WFS_ALLOCATE_COLLAPSE);
	assert_int_equal(WFSP_SEEK_DATA, WFS_SEEK_DATA);
	assert_int_equal(WFSP_SEEK_HOLE, WFS_SEEK_HOLE);
	assert_int_equal(WFSP_REOPEN_OWNER, WFS_REOPEN_OWNER);
	assert_int_equal(WFSP_WATCH_SUBTREE, WFS_WATCH_SUBTREE);
	assert_int_equal(WFSP_WATCH_OTHERS, WFS_WATCH_OTHERS);
	assert_int_equal(WFSP_LOCK_NONE, WFS_LOCK_NONE);
	assert_int_equal(WFSP_LOCK_SHARED, WFS_LOCK_SHARED);
	assert_int_equal(WFSP_LOCK_EXCLUSIVE, WFS_LOCK_EXCLUSIVE);
	assert_int_equal(WFSP_OP_ROOT, WFS_OP_ROOT);
	assert_int_equal(WFSP_OP_RENAME, WFS_OP_RENAME);
	assert_int_equal(WFSP_OP_STATFS, WFS_OP_STATFS);
	assert_int_equal(WFSP_OP_CODES, WFS_OP_COMMIT_RANGE + 1);
	assert_int_equal(WFSP_SCOPE_EXPORT, WFS_SCOPE_EXPORT);
	assert_int_equal(WFSP_SCOPE_DATASET, WFS_SCOPE_DATASET);
	assert_int_equal(WFSP_SCOPE_SESSION, WFS_SCOPE_SESSION);
	assert_int_equal(WFSP_TX_SERIALIZABLE, WFS_TX_SERIALIZABLE);
	assert_int_equal(WFSP_TX_ATOMIC, WFS_TX_ATOMIC);
	assert_int_equal(WFSP_TX_ABORTED, WFS_TX_ABORTED);
}

static void test_procedures_are_those_of_the_law(void **state)
{
	static const uint32_t law[] = { WFS_NULL,      WFS_HELLO,    WFS_LIST_EXPORTS, WFS_OPEN,       WFS_STAT,
		                        WFS_READ,      WFS_WRITE,    WFS_FLUSH,        WFS_DISCARD,    WFS_ZERO,
		                        WFS_EXTENTS,   WFS_CACHE,    WFS_CLOSE,        WFS_STATISTICS, WFS_READ_SHM,
		                        WFS_WRITE_SHM, WFS_COMPOUND, WFS_NOTICES,      WFS_CANCEL };
	static const uint32_t ours[] = { WFSP_NULL,     WFSP_HELLO,      WFSP_LIST_EXPORTS, WFSP_OPEN,
		                         WFSP_STAT,     WFSP_READ,       WFSP_WRITE,        WFSP_FLUSH,
		                         WFSP_DISCARD,  WFSP_ZERO,       WFSP_EXTENTS,      WFSP_CACHE,
		                         WFSP_CLOSE,    WFSP_STATISTICS, WFSP_READ_SHM,     WFSP_WRITE_SHM,
		                         WFSP_COMPOUND, WFSP_NOTICES,    WFSP_CANCEL };

	(void)state;
	assert_int_equal(sizeof(law), sizeof(ours));
	assert_int_equal(sizeof(law) / sizeof(law[0]), WFSP_PROCEDURES);
	assert_memory_equal(law, ours, sizeof(law));
}

static void test_arguments_agree(void **state)
{
	uint8_t buf[BUF_BYTES];
	wfs_hello_args hello = { 0 };
	wfs_open_args open = { 0 };
	wfs_read_args read = { 0 };
	wfs_write_args write = { 0 };
	wfs_range_args range = { 0 };
	wfs_read_shm_args read_shm = { 0 };
	wfs_write_shm_args write_shm = { 0 };
	struct wr w = wr_init(buf, sizeof(buf));

	(void)state;
	wfsp_put_hello_args(&w, &sample_hello_args);
	JUDGE(wfs_hello_args, w, &hello);
	w = wr_init(buf, sizeof(buf));
	wfsp_put_open_args(&w, &sample_open_args);
	JUDGE(wfs_open_args, w, &open);
	w = wr_init(buf, sizeof(buf));
	wfsp_put_read_args(&w, &sample_read_args);
	JUDGE(wfs_read_args, w, &read);
	w = wr_init(buf, sizeof(buf));
	wfsp_put_write_args(&w, &sample_write_args);
	xdr_put_fixed(&w, "hello", sample_write_args.len_bytes);
	JUDGE(wfs_write_args, w, &write);
	w = wr_init(buf, sizeof(buf));
	wfsp_put_range_args(&w, &sample_range_args);
	JUDGE(wfs_range_args, w, &range);
	w = wr_init(buf, sizeof(buf));
	wfsp_put_read_shm_args(&w, &sample_read_shm_args);
	JUDGE(wfs_read_shm_args, w, &read_shm);
	w = wr_init(buf, sizeof(buf));
	wfsp_put_write_shm_args(&w, &sample_write_shm_args);
	JUDGE(wfs_write_shm_args, w, &write_shm);
}

static void test_results_agree(void **state)
{
	uint8_t buf[BUF_BYTES];
	wfs_hello_res hello = { 0 };
	wfs_open_res open = { 0 };
	wfs_stat_res stat = { 0 };
	wfs_read_res read = { 0 };
	wfs_void_res none = { 0 };
	struct wr w = wr_init(buf, sizeof(buf));

	(void)state;
	wfsp_put_status(&w, WFSP_OK, "");
	wfsp_put_hello_ok(&w, &sample_hello_ok);
	JUDGE(wfs_hello_res, w, &hello);
	w = wr_init(buf, sizeof(buf));
	wfsp_put_status(&w, WFSP_OK, "");
	wfsp_put_open_ok(&w, &sample_open_ok);
	JUDGE(wfs_open_res, w, &open);
	w = wr_init(buf, sizeof(buf));
	wfsp_put_status(&w, WFSP_OK, "");
	wfsp_put_attr(&w, &sample_attr);
	JUDGE(wfs_stat_res, w, &stat);
	w = wr_init(buf, sizeof(buf));
	wfsp_put_status(&w, WFSP_OK, "");
	xdr_put_opaque(&w, "payload", 7);
	JUDGE(wfs_read_res, w, &read);
	w = wr_init(buf, sizeof(buf));
	wfsp_put_status(&w, WFSP_OK, "");
	JUDGE(wfs_void_res, w, &none);
	w = wr_init(buf, sizeof(buf));
	wfsp_put_status(&w, WFSP_ERR_NOSPC, "no space");
	JUDGE(wfs_void_res, w, &none);
}

static void test_lists_agree(void **state)
{
	uint8_t buf[BUF_BYTES];
	wfs_list_res list = { 0 };
	wfs_extents_res extents = { 0 };
	wfs_statistics_res statistics = { 0 };
	struct wr w = wr_init(buf, sizeof(buf));

	(void)state;
	wfsp_put_status(&w, WFSP_OK, "");
	wr_be32(&w, 2);
	wfsp_put_export(&w, &sample_export);
	wfsp_put_export(&w, &sample_export);
	xdr_put_bool(&w, true);
	JUDGE(wfs_list_res, w, &list);
	w = wr_init(buf, sizeof(buf));
	wfsp_put_status(&w, WFSP_OK, "");
	wr_be32(&w, 1);
	wfsp_put_extent(&w, &sample_extent);
	JUDGE(wfs_extents_res, w, &extents);
	w = wr_init(buf, sizeof(buf));
	wfsp_put_status(&w, WFSP_OK, "");
	wr_be32(&w, 1);
	wfsp_put_counter(&w, &sample_counter);
	JUDGE(wfs_statistics_res, w, &statistics);
}

static void test_notices_agree(void **state)
{
	struct wfsp_notices_args args = { .channel = 1ull << 60, .after = 7, .wait_ms = 9 };
	struct wfsp_notices_ok ok = { .channel = 5ull << 40, .count = 2 };
	struct wfsp_notice v = { .number = 3,
		                 .kind = WFSP_NOTICE_CHANGE,
		                 .id = 4,
		                 .what = WFSP_CHANGE_MOVED_TO,
		                 .fsid = 5,
		                 .dir = 6,
		                 .fileid = 7,
		                 .name = SAMPLE_BYTES("name") };
	wfs_notices_args judge_args = { 0 };
	wfs_notices_res judge = { 0 };
	uint8_t buf[BUF_BYTES];
	struct wr w = wr_init(buf, sizeof(buf));
	struct wfsp_notice got;
	struct rd r;

	(void)state;
	assert_int_equal(WFSP_NOTICES_MAX, WFS_NOTICES_MAX);
	assert_int_equal(WFSP_NOTICE_LOCK, WFS_NOTICE_LOCK);
	assert_int_equal(WFSP_NOTICE_LOST, WFS_NOTICE_LOST);
	assert_int_equal(WFSP_NOTICE_BROKEN, WFS_NOTICE_BROKEN);
	assert_int_equal(WFSP_LEASE_WRITE, WFS_LEASE_WRITE);
	assert_int_equal(WFSP_CHANGE_CREATED, WFS_CHANGE_CREATED);
	assert_int_equal(WFSP_CHANGE_ATTR, WFS_CHANGE_ATTR);
	wfsp_put_notices_args(&w, &args);
	JUDGE(wfs_notices_args, w, &judge_args);
	w = wr_init(buf, sizeof(buf));
	wfsp_put_status(&w, WFSP_OK, "");
	wfsp_put_notices_ok(&w, &ok);
	wfsp_put_notice(&w, &v);
	wfsp_put_notice(&w, &v);
	JUDGE(wfs_notices_res, w, &judge);
	/* What is written is read, and nothing that is cut off. */
	w = wr_init(buf, sizeof(buf));
	wfsp_put_notice(&w, &v);
	for (size_t len = 0; len <= w.pos; len++) {
		r = rd_init(buf, len);
		wfsp_get_notice(&r, &got);
		assert_int_equal(r.bad, len < w.pos);
	}
	assert_int_equal(got.number, v.number);
	assert_int_equal(got.what, v.what);
	assert_int_equal(got.fileid, v.fileid);
	assert_int_equal(got.name.len_bytes, 4);
	buf[w.pos - 1] = 0;
	r = rd_init(buf, w.pos);
	wfsp_get_notice(&r, &got);
	assert_true(r.bad);
}

static void test_arguments_of_every_operation_agree(void **state)
{
	struct wfsp_compound_args args = {
		.slot = 3, .sequence = 4, .reply_max_bytes = 5000, .within_ms = 250, .op_count = WFSP_OP_CODES - 1
	};
	wfs_compound_args judge = { 0 };
	uint8_t buf[BUF_BYTES];
	struct wr w = wr_init(buf, sizeof(buf));

	(void)state;
	wfsp_put_compound_args(&w, &args);
	for (uint32_t code = 1; code < WFSP_OP_CODES; code++) {
		struct wfsp_op op = sample_op;

		op.code = code;
		wfsp_put_op(&w, &op);
	}
	JUDGE(wfs_compound_args, w, &judge);
}

static void test_results_of_every_operation_agree(void **state)
{
	struct wfsp_op_res failed = { .status = WFSP_ERR_NOTEMPTY, .text = SAMPLE_BYTES("not empty") };
	uint8_t buf[BUF_BYTES], items[512];
	wfs_compound_res judge = { 0 };
	struct wr w = wr_init(buf, sizeof(buf));

	(void)state;
	wfsp_put_status(&w, WFSP_OK, "");
	wr_be32(&w, WFSP_OP_CODES);
	for (uint32_t code = 1; code < WFSP_OP_CODES; code++) {
		struct wfsp_op_res res = sample_result(code, items, sizeof(items));

		wfsp_put_op_res(&w, &res);
	}
	wfsp_put_op_res(&w, &failed);
	JUDGE(wfs_compound_res, w, &judge);
}

static void test_call_headers_agree(void **state)
{
	uint8_t ours[256], theirs[256];
	struct wr w = wr_init(ours, sizeof(ours));
	struct rpc_msg msg = { .rm_xid = 5, .rm_direction = CALL };
	XDR x;

	(void)state;
	msg.rm_call.cb_rpcvers = 2;
	msg.rm_call.cb_prog = WFS_PROGRAM;
	msg.rm_call.cb_vers = WFS_V1;
	msg.rm_call.cb_proc = WFS_READ;
	rpc_put_call(&w, 5, WFSP_PROGRAM, WFSP_VERSION, WFSP_READ, NULL);
	xdrmem_create(&x, (char *)theirs, sizeof(theirs), XDR_ENCODE);
	assert_true(xdr_callmsg(&x, &msg));
	assert_int_equal(xdr_getpos(&x), w.pos);
	assert_memory_equal(ours, theirs, w.pos);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_constants_are_those_of_the_law),
		cmocka_unit_test(test_constants_of_trees_are_those_of_the_law),
		cmocka_unit_test(test_procedures_are_those_of_the_law),
		cmocka_unit_test(test_arguments_agree),
		cmocka_unit_test(test_results_agree),
		cmocka_unit_test(test_lists_agree),
		cmocka_unit_test(test_notices_agree),
		cmocka_unit_test(test_arguments_of_every_operation_agree),
		cmocka_unit_test(test_results_of_every_operation_agree),
		cmocka_unit_test(test_call_headers_agree),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
