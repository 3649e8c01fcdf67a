/* SPDX-License-Identifier: BSD-3-Clause */
/* Headers of RPC calls and replies. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "protocol/rpc/rpc_msg.h"
#include "protocol/xdr/xdr.h"

static const struct rpc_auth_sys sys = {
	.stamp = 5, .uid = 1000, .gid = 100, .gid_count = 16, .gids = { 1, 2, 3, [15] = 16 }, .machine = "host"
};

static void test_call_comes_back_and_is_bad_when_cut_anywhere(void **state)
{
	(void)state;
	for (int with_sys = 0; with_sys < 2; with_sys++) {
		uint8_t buf[RPC_CALL_HEADER_MAX];
		struct wr w = wr_init(buf, sizeof(buf));
		struct rpc_call c;
		struct rd r;

		rpc_put_call(&w, 7, 8, 9, 10, with_sys ? &sys : NULL);
		assert_false(w.bad);
		assert_true(with_sys || w.pos == RPC_CALL_PLAIN_BYTES);
		r = rd_init(buf, w.pos);
		assert_int_equal(rpc_get_call(&r, &c), 0);
		assert_int_equal(rd_left(&r), 0);
		assert_int_equal(c.xid, 7);
		assert_int_equal(c.program, 8);
		assert_int_equal(c.version, 9);
		assert_int_equal(c.procedure, 10);
		assert_int_equal(c.flavor, with_sys ? RPC_AUTH_SYS : RPC_AUTH_NONE);
		if (with_sys) {
			assert_string_equal(c.sys.machine, "host");
			assert_int_equal(c.sys.uid, 1000);
			assert_int_equal(c.sys.gid_count, 16);
			assert_int_equal(c.sys.gids[15], 16);
		}
		for (size_t cut = 0; cut < w.pos; cut++) {
			r = rd_init(buf, cut);
			assert_int_equal(rpc_get_call(&r, &c), -EBADMSG);
		}
	}
}

static void test_credentials_are_bounded(void **state)
{
	uint8_t buf[2048] = { 0 };
	struct wr w = wr_init(buf, sizeof(buf));
	struct rpc_call c;
	struct rd r;

	(void)state;
	rpc_put_call(&w, 1, 2, 3, 4, NULL);
	put_be32(buf + 28, RPC_AUTH_BYTES_MAX + 4);
	r = rd_init(buf, sizeof(buf));
	assert_int_equal(rpc_get_call(&r, &c), -EBADMSG);
	/* AUTH_SYS with 17 groups, and with bytes left over. */
	w = wr_init(buf, sizeof(buf));
	rpc_put_call(&w, 1, 2, 3, 4, &sys);
	put_be32(buf + 32 + 20, 17);
	r = rd_init(buf, w.pos);
	assert_int_equal(rpc_get_call(&r, &c), -EACCES);
	put_be32(buf + 32 + 20, 15);
	r = rd_init(buf, w.pos);
	assert_int_equal(rpc_get_call(&r, &c), -EACCES);
	/* Another flavour is told from a malformed call. */
	w = wr_init(buf, sizeof(buf));
	rpc_put_call(&w, 99, 2, 3, 4, NULL);
	put_be32(buf + 24, 6);
	r = rd_init(buf, w.pos);
	assert_int_equal(rpc_get_call(&r, &c), -EACCES);
	assert_int_equal(c.xid, 99);
	put_be32(buf + 8, 3);
	r = rd_init(buf, w.pos);
	assert_int_equal(rpc_get_call(&r, &c), -EPROTONOSUPPORT);
}

static int reply_err(const struct wr *w)
{
	struct rd r = rd_init(w->base, w->pos);
	uint32_t xid;
	int err = rpc_get_reply(&r, &xid);

	assert_int_equal(xid, 3);
	for (size_t cut = 0; cut + 8 < w->pos; cut += 4) {
		r = rd_init(w->base, cut);
		assert_int_equal(rpc_get_reply(&r, &xid), -EBADMSG);
	}
	return err;
}

static void test_every_refusal_has_its_errno(void **state)
{
	static const struct {
		enum rpc_accept_stat stat;
		int err;
	} table[] = {
		{ RPC_SUCCESS, 0 },
		{ RPC_PROG_UNAVAIL, -EPROTONOSUPPORT },
		{ RPC_PROC_UNAVAIL, -EOPNOTSUPP },
		{ RPC_GARBAGE_ARGS, -EINVAL },
		{ RPC_SYSTEM_ERR, -EREMOTEIO },
	};
	uint8_t buf[64];
	struct wr w;

	(void)state;
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		w = wr_init(buf, sizeof(buf));
		rpc_put_reply(&w, 3, table[i].stat);
		assert_int_equal(w.pos, RPC_REPLY_OK_BYTES);
		assert_int_equal(reply_err(&w), table[i].err);
	}
	w = wr_init(buf, sizeof(buf));
	rpc_put_program_mismatch(&w, 3, 1, 1);
	assert_int_equal(reply_err(&w), -EPROTONOSUPPORT);
	w = wr_init(buf, sizeof(buf));
	rpc_put_version_mismatch(&w, 3);
	assert_int_equal(reply_err(&w), -EPROTONOSUPPORT);
	w = wr_init(buf, sizeof(buf));
	rpc_put_auth_error(&w, 3, RPC_AUTH_BADCRED);
	assert_int_equal(reply_err(&w), -EACCES);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_call_comes_back_and_is_bad_when_cut_anywhere),
		cmocka_unit_test(test_credentials_are_bounded),
		cmocka_unit_test(test_every_refusal_has_its_errno),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
