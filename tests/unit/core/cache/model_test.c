/* SPDX-License-Identifier: BSD-3-Clause */
/* Random operations on the cache compared with a plain array; failing and small on purpose. */
#include "tests/unit/core/cache/store.h"

#include <stdio.h>

#include "tests/unit/slow.h"

#define FILE_PAGES 700u
#define FILE_BYTES ((size_t)FILE_PAGES * PAGE)
#define OP_BYTES_MAX (300 * KIB)

struct model {
	struct rig rig;
	uint8_t *bytes; /* what the file must read as */
	uint8_t *buf;
	uint64_t seed;
};

static uint64_t next_random(struct model *m)
{
	m->seed ^= m->seed << 13;
	m->seed ^= m->seed >> 7;
	m->seed ^= m->seed << 17;
	return m->seed;
}

static void pick_range(struct model *m, uint64_t *offset, size_t *len)
{
	size_t max = next_random(m) % 4 ? 9000 : OP_BYTES_MAX;

	*offset = next_random(m) % FILE_BYTES;
	*len = 1 + next_random(m) % max;
	if (next_random(m) % 3 == 0) {
		*offset -= *offset % PAGE;
		*len += PAGE - *len % PAGE;
	}
	if (*len > FILE_BYTES - *offset)
		*len = FILE_BYTES - *offset;
}

static void split(struct model *m, uint8_t *buf, size_t len, struct iovec iov[3])
{
	size_t a = next_random(m) % (len + 1);
	size_t b = a + next_random(m) % (len - a + 1);

	iov[0] = (struct iovec){ buf, a };
	iov[1] = (struct iovec){ buf + a, b - a };
	iov[2] = (struct iovec){ buf + b, len - b };
}

static void do_write(struct model *m, unsigned flags)
{
	struct iovec iov[3];
	uint64_t offset;
	size_t len;
	int rc;

	pick_range(m, &offset, &len);
	for (size_t i = 0; i < len; i += 8) {
		uint64_t v = next_random(m);

		memcpy(m->buf + i, &v, 8);
	}
	split(m, m->buf, len, iov);
	rc = cache_write(m->rig.file, offset, iov, 3, flags);
	if (rc == -EAGAIN && flags)
		return;
	assert_int_equal(rc, 0);
	memcpy(m->bytes + offset, m->buf, len);
}

static void do_read(struct model *m, unsigned flags)
{
	struct iovec iov[3];
	uint64_t offset;
	size_t len;
	int rc;

	pick_range(m, &offset, &len);
	split(m, m->buf, len, iov);
	rc = cache_read(m->rig.file, offset, iov, 3, flags);
	if (rc == -EAGAIN && flags)
		return;
	assert_int_equal(rc, 0);
	assert_memory_equal(m->buf, m->bytes + offset, len);
}

static void do_ref(struct model *m)
{
	static struct cache_ref ref;
	uint64_t offset;
	uint64_t at;
	size_t len;

	pick_range(m, &offset, &len);
	at = offset;
	assert_int_equal(cache_read_ref(m->rig.file, offset, len, 0, &ref), 0);
	do_write(m, CACHE_NOWAIT);
	for (int i = 0; i < ref.iov_count; i++)
		at += ref.iov[i].iov_len;
	assert_int_equal(at - offset, len);
	cache_ref_release(&ref);
}

static void do_flush(struct model *m)
{
	uint64_t offset;
	size_t len;

	if (next_random(m) % 2) {
		assert_int_equal(cache_flush(m->rig.file, 0, UINT64_MAX), 0);
		assert_false(cache_is_dirty(m->rig.file, 0, UINT64_MAX));
		assert_memory_equal(m->rig.store.data, m->bytes, FILE_BYTES);
		return;
	}
	pick_range(m, &offset, &len);
	assert_int_equal(cache_flush(m->rig.file, offset, len), 0);
	assert_memory_equal(m->rig.store.data + offset, m->bytes + offset, len);
}

static void do_punch(struct model *m)
{
	uint64_t offset = next_random(m) % FILE_PAGES * PAGE;
	uint64_t len = (1 + next_random(m) % 40) * PAGE;

	if (len > FILE_BYTES - offset)
		len = FILE_BYTES - offset;
	assert_int_equal(cache_punch_begin(m->rig.file, offset, len, 0), 0);
	sync_mutex_lock(&m->rig.store.lock);
	memset(m->rig.store.data + offset, 0, len);
	memset(m->rig.store.mapped + offset / PAGE, 0, len / PAGE);
	sync_mutex_unlock(&m->rig.store.lock);
	cache_punch_end(m->rig.file, offset, len, false);
	memset(m->bytes + offset, 0, len);
}

static void run(size_t budget_bytes, unsigned ops, uint64_t seed)
{
	struct cache_config config = rig_config(budget_bytes);
	struct model m = { .seed = seed };

	config.readahead_max_bytes = 256 * KIB;
	config.writeback_age_ms = 20;
	rig_init(&m.rig, budget_bytes, FILE_PAGES, &config);
	m.bytes = calloc(1, FILE_BYTES);
	m.buf = malloc(FILE_BYTES + 8);
	assert_non_null(m.bytes);
	assert_non_null(m.buf);
	print_message("seed %llu\n", (unsigned long long)seed);
	for (unsigned i = 0; i < ops / test_slow(); i++) {
		uint64_t what = next_random(&m) % 100;

		if (what < 35)
			do_write(&m, what < 10 ? CACHE_NOWAIT : 0);
		else if (what < 80)
			do_read(&m, what < 45 ? CACHE_NOWAIT : 0);
		else if (what < 88)
			do_ref(&m);
		else if (what < 94)
			do_punch(&m);
		else
			do_flush(&m);
		assert_true(budget_used(m.rig.budget) <= budget_bytes);
	}
	assert_int_equal(cache_flush(m.rig.file, 0, UINT64_MAX), 0);
	assert_memory_equal(m.rig.store.data, m.bytes, FILE_BYTES);
	rig_done(&m.rig);
	free(m.bytes);
	free(m.buf);
}

static void test_random_operations_when_all_fits_match_an_array(void **state)
{
	(void)state;
	run(16 * MIB, 6000, 1);
}

static void test_random_operations_below_the_working_set_match_an_array(void **state)
{
	(void)state;
	run(2 * MIB, 6000, 2);
	run(1 * MIB, 4000, 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random_operations_when_all_fits_match_an_array),
		cmocka_unit_test(test_random_operations_below_the_working_set_match_an_array),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
