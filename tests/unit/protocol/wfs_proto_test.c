/* SPDX-License-Identifier: BSD-3-Clause */
/* The wfs protocol's codecs: round trips, truncation at every byte, mutation; the status table. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/bytes.h"
#include "protocol/xdr/xdr.h"
#include "tests/unit/protocol/samples.h"

#define MUTATIONS 3000

/* One message, with its types erased. */
struct codec {
	const char *name;
	size_t size;
	const void *sample;
	void (*put)(struct wr *w, const void *v);
	void (*get)(struct rd *r, void *ret);
};

#define CODEC(name)                                                                                                    \
	static void put_##name(struct wr *w, const void *v)                                                            \
	{                                                                                                              \
		wfsp_put_##name(w, v);                                                                                 \
	}                                                                                                              \
	static void get_##name(struct rd *r, void *ret)                                                                \
	{                                                                                                              \
		wfsp_get_##name(r, ret);                                                                               \
	}
CODEC(hello_args)
CODEC(hello_ok)
CODEC(export)
CODEC(attr)
CODEC(open_args)
CODEC(open_ok)
CODEC(read_args)
CODEC(write_args)
CODEC(range_args)
CODEC(extent)
CODEC(counter)
CODEC(read_shm_args)
CODEC(write_shm_args)

#define ENTRY(name)                                                                                                    \
	{                                                                                                              \
#name, sizeof(sample_##name), &sample_##name, put_##name, get_##name                                   \
	}
static const struct codec codecs[] = {
	ENTRY(hello_args), ENTRY(hello_ok),      ENTRY(export),         ENTRY(attr),       ENTRY(open_args),
	ENTRY(open_ok),    ENTRY(read_args),     ENTRY(write_args),     ENTRY(range_args), ENTRY(extent),
	ENTRY(counter),    ENTRY(read_shm_args), ENTRY(write_shm_args),
};
#define CODEC_COUNT (sizeof(codecs) / sizeof(codecs[0]))

static size_t encode(const struct codec *c, const void *v, uint8_t buf[2048])
{
	struct wr w = wr_init(buf, 2048);

	c->put(&w, v);
	assert_false(w.bad);
	assert_int_equal(w.pos % 4, 0);
	return w.pos;
}

static void test_every_message_comes_back(void **state)
{
	(void)state;
	for (size_t i = 0; i < CODEC_COUNT; i++) {
		uint8_t buf[2048], again[2048];
		void *v = calloc(1, codecs[i].size);
		size_t len = encode(&codecs[i], codecs[i].sample, buf);
		struct rd r = rd_init(buf, len);

		codecs[i].get(&r, v);
		assert_false(r.bad);
		assert_int_equal(rd_left(&r), 0);
		assert_int_equal(encode(&codecs[i], v, again), len);
		assert_memory_equal(buf, again, len);
		free(v);
	}
}

static void test_every_message_cut_anywhere_is_bad(void **state)
{
	(void)state;
	for (size_t i = 0; i < CODEC_COUNT; i++) {
		uint8_t buf[2048];
		void *v = calloc(1, codecs[i].size);
		size_t len = encode(&codecs[i], codecs[i].sample, buf);

		for (size_t cut = 0; cut < len; cut++) {
			/* From the heap, so that a sanitizer sees a byte too many. */
			uint8_t *part = malloc(cut ? cut : 1);
			struct rd r = rd_init(part, cut);

			memcpy(part, buf, cut);
			codecs[i].get(&r, v);
			assert_true(r.bad);
			free(part);
		}
		free(v);
	}
}

static void test_mutated_messages_stay_within_their_bounds(void **state)
{
	unsigned seed = 20250101;

	(void)state;
	for (size_t i = 0; i < CODEC_COUNT; i++) {
		uint8_t buf[2048], mutated[2048], again[2048];
		void *v = calloc(1, codecs[i].size);
		size_t len = encode(&codecs[i], codecs[i].sample, buf);

		for (int k = 0; k < MUTATIONS; k++) {
			struct rd r = rd_init(mutated, len);

			memcpy(mutated, buf, len);
			for (int n = rand_r(&seed) % 4; n >= 0; n--)
				mutated[(size_t)rand_r(&seed) % len] = (uint8_t)rand_r(&seed);
			codecs[i].get(&r, v);
			if (!r.bad)
				assert_true(encode(&codecs[i], v, again) <= len);
		}
		free(v);
	}
}

static void test_errno_and_status_map_onto_each_other(void **state)
{
	static const int errnos[] = { 0,          EPERM,   ENOENT,  EIO,       EACCES,    EEXIST,    ENOTDIR,
		                      EISDIR,     EINVAL,  EMFILE,  EFBIG,     ENOSPC,    EROFS,     ENAMETOOLONG,
		                      EOPNOTSUPP, ESTALE,  ENOMEM,  EBUSY,     EUCLEAN,   EBADF,     EBADMSG,
		                      ESHUTDOWN,  ENODEV,  EDQUOT,  EOVERFLOW, ECANCELED, ENOTEMPTY, EXDEV,
		                      ELOOP,      EMLINK,  ENODATA, ERANGE,    E2BIG,     ENOLCK,    EDEADLK,
		                      EAGAIN,     ENXIO,   EREMCHG, EMSGSIZE,  EPROTO,    ERESTART,  ENOTUNIQ,
		                      ETIMEDOUT,  EALREADY };

	(void)state;
	assert_int_equal(sizeof(errnos) / sizeof(errnos[0]), WFSP_STATUSES);
	for (uint32_t s = 0; s < WFSP_STATUSES; s++) {
		assert_int_equal(wfsp_status_to_errno(s), -errnos[s]);
		assert_int_equal(wfsp_status_from_errno(-errnos[s]), s);
	}
}

static void test_unknown_errors_are_io_errors(void **state)
{
	(void)state;
	assert_int_equal(wfsp_status_from_errno(-EXFULL), WFSP_ERR_IO);
	assert_int_equal(wfsp_status_from_errno(12345), WFSP_ERR_IO);
	assert_int_equal(wfsp_status_from_errno(-ENOSYS), WFSP_ERR_IO);
	assert_int_equal(wfsp_status_to_errno(WFSP_STATUSES), -EIO);
	assert_int_equal(wfsp_status_to_errno(UINT32_MAX), -EIO);
}

static void test_status_carries_a_text_of_bounded_length(void **state)
{
	uint8_t buf[1024];
	char text[WFSP_TEXT_MAX + 1], longer[700];
	struct wr w = wr_init(buf, sizeof(buf));
	struct rd r;

	(void)state;
	memset(longer, 'x', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	wfsp_put_status(&w, WFSP_ERR_IO, longer);
	assert_false(w.bad);
	r = rd_init(buf, w.pos);
	assert_int_equal(wfsp_get_status(&r, text), WFSP_ERR_IO);
	assert_int_equal(strlen(text), WFSP_TEXT_MAX);
	w = wr_init(buf, sizeof(buf));
	wfsp_put_status(&w, WFSP_OK, longer);
	assert_int_equal(w.pos, 4);
}

static void test_a_write_s_length_is_bounded(void **state)
{
	uint8_t buf[64];
	struct wfsp_write_args v = { .len_bytes = WFSP_PAYLOAD_MAX + 1 };
	struct wr w = wr_init(buf, sizeof(buf));
	struct rd r;

	(void)state;
	wfsp_put_write_args(&w, &v);
	r = rd_init(buf, w.pos);
	wfsp_get_write_args(&r, &v);
	assert_true(r.bad);
}

static void test_every_procedure_has_a_name(void **state)
{
	(void)state;
	for (uint32_t p = 0; p < WFSP_PROCEDURES; p++)
		assert_non_null(wfsp_procedure_name(p));
	assert_null(wfsp_procedure_name(WFSP_PROCEDURES));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_message_comes_back),
		cmocka_unit_test(test_every_message_cut_anywhere_is_bad),
		cmocka_unit_test(test_mutated_messages_stay_within_their_bounds),
		cmocka_unit_test(test_errno_and_status_map_onto_each_other),
		cmocka_unit_test(test_unknown_errors_are_io_errors),
		cmocka_unit_test(test_status_carries_a_text_of_bounded_length),
		cmocka_unit_test(test_a_write_s_length_is_bounded),
		cmocka_unit_test(test_every_procedure_has_a_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
