/* SPDX-License-Identifier: BSD-3-Clause */
/* The look at replies before libnfs gets them: what is whole passes, and nothing that is cut or has a wrong length. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/bytes.h"
#include "core/fs/nfs/reply.h"

#define XID 0x12345678u
#define DATA_MAX 1000u

static struct wr begin(uint8_t *buf, size_t len)
{
	struct wr w = wr_init(buf, len);

	wr_be32(&w, XID);
	wr_be32(&w, 1);
	wr_zero(&w, 16);
	return w;
}

static void put_words(struct wr *w, uint32_t count, uint32_t value)
{
	for (uint32_t i = 0; i < count; i++)
		wr_be32(w, value);
}

static void put_attr(struct wr *w)
{
	wr_be32(w, 1);
	put_words(w, 21, 1);
}

/* A copy in memory of just that size, so that the sanitizers see what is read behind it. */
static int check(enum nfs_proc proc, const uint8_t *buf, size_t len, struct nfs_reply_info *ret)
{
	uint8_t *exact = malloc(len ? len : 1);
	int rc;

	memcpy(exact, buf, len);
	rc = nfs_reply_check(proc, exact, len, DATA_MAX, ret);
	free(exact);
	return rc;
}

/* Good as a whole, bad at every other length. */
static void check_cuts(enum nfs_proc proc, const uint8_t *buf, size_t len)
{
	struct nfs_reply_info info;

	assert_int_equal(check(proc, buf, len, &info), 0);
	assert_true(info.accepted);
	assert_int_equal(info.xid, XID);
	for (size_t cut = 0; cut < len; cut++)
		assert_int_equal(check(proc, buf, cut, &info), -EBADMSG);
}

static void test_whole_lookup_passes_and_a_cut_one_does_not(void **state)
{
	uint8_t buf[512];
	struct wr w = begin(buf, sizeof(buf));

	(void)state;
	wr_be32(&w, 0);
	wr_be32(&w, 5); /* a handle of five bytes, padded */
	put_words(&w, 2, 7);
	put_attr(&w);
	wr_be32(&w, 0);
	check_cuts(NFS_LOOKUP, buf, w.pos);
	put_be32(buf + 28, 65);
	assert_int_equal(nfs_reply_check(NFS_LOOKUP, buf, sizeof(buf), 0, &(struct nfs_reply_info){ 0 }), -EBADMSG);
}

static void test_failed_call_has_its_own_shape(void **state)
{
	uint8_t buf[512];
	struct wr w = begin(buf, sizeof(buf));

	(void)state;
	wr_be32(&w, 2);
	put_attr(&w);
	check_cuts(NFS_LOOKUP, buf, w.pos);
}

static void test_list_of_names_passes_and_a_cut_one_does_not(void **state)
{
	uint8_t buf[1024];
	struct wr w = begin(buf, sizeof(buf));

	(void)state;
	wr_be32(&w, 0);
	put_attr(&w);
	wr_be64(&w, 1);
	for (unsigned i = 0; i < 3; i++) {
		wr_be32(&w, 1);
		wr_be64(&w, i);
		wr_be32(&w, 4);
		wr_copy(&w, "name", 4);
		wr_be64(&w, i + 1);
		put_attr(&w);
		wr_be32(&w, 1);
		wr_be32(&w, 8);
		wr_be64(&w, i);
	}
	wr_be32(&w, 0);
	wr_be32(&w, 1);
	check_cuts(NFS_READDIRPLUS, buf, w.pos);
}

static void test_data_is_found_and_bounded(void **state)
{
	struct nfs_reply_info info;
	uint8_t buf[2048];
	struct wr w = begin(buf, sizeof(buf));
	size_t at;

	(void)state;
	wr_be32(&w, 0);
	put_attr(&w);
	wr_be32(&w, DATA_MAX);
	wr_be32(&w, 0);
	at = w.pos;
	wr_be32(&w, DATA_MAX);
	wr_zero(&w, DATA_MAX);
	check_cuts(NFS_READ, buf, w.pos);
	assert_int_equal(check(NFS_READ, buf, w.pos, &info), 0);
	assert_int_equal(info.data_offset, at);
	assert_int_equal(info.data_len_bytes, DATA_MAX);
	/* More than was asked for; another number than was counted before; far more than there is. */
	put_be32(buf + at - 8, DATA_MAX + 1);
	put_be32(buf + at, DATA_MAX + 1);
	assert_int_equal(check(NFS_READ, buf, sizeof(buf), &info), -EBADMSG);
	put_be32(buf + at, DATA_MAX);
	assert_int_equal(check(NFS_READ, buf, w.pos, &info), -EBADMSG);
	put_be32(buf + at - 8, 0xfffffff0);
	put_be32(buf + at, 0xfffffff0);
	assert_int_equal(check(NFS_READ, buf, w.pos, &info), -EBADMSG);
}

static void test_calls_that_were_not_carried_out_have_no_result(void **state)
{
	struct nfs_reply_info info;
	uint8_t buf[64];
	struct wr w = wr_init(buf, sizeof(buf));

	(void)state;
	wr_be32(&w, XID);
	wr_be32(&w, 1);
	wr_be32(&w, 1); /* denied: who asks is not known well enough */
	wr_be32(&w, 1);
	wr_be32(&w, 5);
	assert_int_equal(check(NFS_GETATTR, buf, w.pos, &info), 0);
	assert_false(info.accepted);
	w = wr_init(buf, sizeof(buf));
	wr_be32(&w, XID);
	wr_be32(&w, 1);
	wr_zero(&w, 12);
	wr_be32(&w, 1); /* no such program */
	assert_int_equal(check(NFS_GETATTR, buf, w.pos, &info), 0);
	assert_false(info.accepted);
	put_be32(buf + 20, 6);
	assert_int_equal(check(NFS_GETATTR, buf, w.pos, &info), -EBADMSG);
}

static void test_call_is_no_reply(void **state)
{
	uint8_t buf[8] = { 0 };
	uint32_t xid;

	(void)state;
	assert_int_equal(nfs_reply_xid(buf, sizeof(buf), &xid), -EBADMSG);
	buf[7] = 1;
	assert_int_equal(nfs_reply_xid(buf, sizeof(buf), &xid), 0);
	assert_int_equal(nfs_reply_xid(buf, 7, &xid), -EBADMSG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_whole_lookup_passes_and_a_cut_one_does_not),
		cmocka_unit_test(test_failed_call_has_its_own_shape),
		cmocka_unit_test(test_list_of_names_passes_and_a_cut_one_does_not),
		cmocka_unit_test(test_data_is_found_and_bounded),
		cmocka_unit_test(test_calls_that_were_not_carried_out_have_no_result),
		cmocka_unit_test(test_call_is_no_reply),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
