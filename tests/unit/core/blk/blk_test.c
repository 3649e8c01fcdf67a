/* SPDX-License-Identifier: BSD-3-Clause */
/* Batches, argument checks and metrics, on devices in memory. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/err.h"
#include "core/base/metrics.h"
#include "core/base/sync.h"
#include "core/blk/sim.h"

#define SIZE (UINT64_C(1) << 20)
#define REQUESTS 200

static _Alignas(4096) uint8_t buf[REQUESTS * 4096];

static struct blk_dev *new_mem(const char *name)
{
	struct blk_dev *dev = NULL;

	assert_int_equal(blk_mem_new(name, SIZE, &dev), 0);
	return dev;
}

static void test_new_device_reads_zeros(void **state)
{
	struct blk_dev *dev = new_mem("m");

	(void)state;
	memset(buf, 1, 8192);
	assert_int_equal(blk_read(dev, SIZE - 8192, buf, 8192), 0);
	for (int i = 0; i < 8192; i++)
		assert_int_equal(buf[i], 0);
	assert_string_equal(blk_name(dev), "m");
	assert_string_equal(blk_transport_name(blk_caps(dev)->transport), "mem");
	blk_close(dev);
	blk_close(NULL);
}

static void test_batch_spans_devices(void **state)
{
	struct blk_dev *devs[2] = { new_mem("a"), new_mem("b") };
	struct blk_io ios[REQUESTS];
	struct iovec iovs[REQUESTS];
	struct blk_batch b;
	_Alignas(512) uint8_t back[4096];

	(void)state;
	blk_batch_init(&b);
	assert_int_equal(blk_batch_wait(&b), 0);
	for (int i = 0; i < REQUESTS; i++) {
		memset(buf + i * 4096, i + 1, 4096);
		iovs[i] = (struct iovec){ .iov_base = buf + i * 4096, .iov_len = 4096 };
		ios[i] = (struct blk_io){
			.op = BLK_WRITE, .offset = i * 4096, .len_bytes = 4096, .iov = &iovs[i], .iov_count = 1
		};
		blk_batch_add(&b, devs[i % 2], &ios[i]);
		if (i % 50 == 0)
			blk_batch_submit(&b);
	}
	assert_int_equal(blk_batch_wait(&b), 0);
	for (int i = 0; i < REQUESTS; i++) {
		assert_int_equal(ios[i].result, 0);
		assert_int_equal(blk_read(devs[i % 2], i * 4096, back, 4096), 0);
		assert_memory_equal(back, buf + i * 4096, 4096);
	}
	blk_close(devs[0]);
	blk_close(devs[1]);
}

static void test_misaligned_and_out_of_bounds_are_refused(void **state)
{
	static const struct {
		uint64_t offset, len;
	} bad[] = {
		{ 1, 4096 },
		{ 0, 100 },
		{ SIZE, 512 },
		{ SIZE - 512, 1024 },
		{ UINT64_MAX - 511, 512 },
		{ 512, UINT64_MAX - 511 },
	};
	struct blk_dev *dev = new_mem("m");
	char text[256];

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(blk_read(dev, bad[i].offset, buf, bad[i].len), -EINVAL);
		assert_int_equal(blk_write(dev, bad[i].offset, buf, bad[i].len, 0), -EINVAL);
	}
	assert_int_equal(blk_read(dev, 0, buf + 1, 512), -EINVAL);
	assert_int_equal(blk_read(dev, SIZE, buf, 512), -EINVAL);
	err_text(err_get(), 0, 0, text, sizeof(text));
	assert_string_equal(text, "device m: read at offset 1048576 length 512: Invalid argument");
	assert_int_equal(blk_read(dev, SIZE, buf, 0), 0);
	blk_close(dev);
}

static void test_iovecs_must_add_up(void **state)
{
	struct blk_dev *dev = new_mem("m");
	struct iovec iov[3] = { { buf, 512 }, { buf + 512, 0 }, { buf + 1024, 512 } };
	struct blk_io io = { .op = BLK_WRITE, .len_bytes = 1536, .iov = iov, .iov_count = 3 };
	struct blk_batch b;

	(void)state;
	blk_batch_init(&b);
	blk_batch_add(&b, dev, &io);
	assert_int_equal(blk_batch_wait(&b), -EINVAL);
	io.len_bytes = 1024;
	blk_batch_add(&b, dev, &io);
	assert_int_equal(blk_batch_wait(&b), 0);
	io.iov_count = 0;
	blk_batch_add(&b, dev, &io);
	assert_int_equal(blk_batch_wait(&b), -EINVAL);
	blk_close(dev);
}

static void test_one_failure_leaves_the_others_done(void **state)
{
	struct blk_dev *dev = NULL;
	struct blk_sim_faults faults = { .fail_nth = { -1, 2, -1, -1, -1 }, .error = -ENOSPC };
	struct blk_io ios[4];
	struct iovec iov = { buf, 4096 };
	struct blk_batch b;

	(void)state;
	assert_int_equal(blk_sim_new("s", SIZE, &dev), 0);
	blk_sim_set_faults(dev, &faults);
	blk_batch_init(&b);
	for (int i = 0; i < 4; i++) {
		ios[i] = (struct blk_io){
			.op = BLK_WRITE, .offset = i * 4096, .len_bytes = 4096, .iov = &iov, .iov_count = 1
		};
		blk_batch_add(&b, dev, &ios[i]);
	}
	assert_int_equal(blk_batch_wait(&b), -ENOSPC);
	assert_non_null(strstr(err_get()->frames[0].text, "device s: write at offset 8192"));
	for (int i = 0; i < 4; i++)
		assert_int_equal(ios[i].result, i == 2 ? -ENOSPC : 0);
	assert_int_equal(blk_batch_wait(&b), 0);
	blk_close(dev);
}

static void test_metrics_count_by_operation(void **state)
{
	struct metrics *m = metrics_new();
	struct blk_dev *dev = new_mem("a\"b");
	char *text;
	size_t len;

	(void)state;
	assert_int_equal(blk_register_metrics(dev, m), 0);
	assert_int_equal(blk_write(dev, 0, buf, 8192, 0), 0);
	assert_int_equal(blk_write(dev, SIZE, buf, 8192, 0), -EINVAL);
	assert_int_equal(blk_flush(dev), 0);
	text = metrics_render(m, &len);
	assert_non_null(strstr(text, "wfsd_device_operations_total{device=\"a\\\"b\",op=\"write\"} 2\n"));
	assert_non_null(strstr(text, "wfsd_device_errors_total{device=\"a\\\"b\",op=\"write\"} 1\n"));
	assert_non_null(strstr(text, "wfsd_device_bytes_total{device=\"a\\\"b\",op=\"write\"} 8192\n"));
	assert_non_null(strstr(text, "wfsd_device_latency_seconds_count{device=\"a\\\"b\",op=\"flush\"} 1\n"));
	free(text);
	blk_close(dev);
	text = metrics_render(m, &len);
	assert_int_equal(len, 0);
	free(text);
	metrics_free(m);
}

static void hammer(void *arg)
{
	uint8_t *mine = aligned_alloc(4096, 4096);

	for (int i = 0; i < 500; i++) {
		memset(mine, i, 4096);
		assert_int_equal(blk_write(arg, (i % 8) * 4096, mine, 4096, 0), 0);
		assert_int_equal(blk_read(arg, (i % 8) * 4096, mine, 4096), 0);
		assert_int_equal(mine[0], mine[4095]);
	}
	free(mine);
}

static void test_requests_of_several_threads_are_atomic_in_memory(void **state)
{
	struct blk_dev *dev = new_mem("m");
	struct sync_thread t[3];

	(void)state;
	for (int i = 0; i < 3; i++)
		assert_int_equal(sync_thread_start(&t[i], "io", hammer, dev), 0);
	for (int i = 0; i < 3; i++)
		sync_thread_join(&t[i]);
	blk_close(dev);
}

static void test_size_must_be_a_multiple_of_a_block(void **state)
{
	struct blk_dev *dev = NULL;

	(void)state;
	assert_int_equal(blk_mem_new("m", 0, &dev), -EINVAL);
	assert_int_equal(blk_mem_new("m", 4097, &dev), -EINVAL);
	assert_int_equal(blk_sim_new("m", 512, &dev), -EINVAL);
	assert_null(dev);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_new_device_reads_zeros),
		cmocka_unit_test(test_batch_spans_devices),
		cmocka_unit_test(test_misaligned_and_out_of_bounds_are_refused),
		cmocka_unit_test(test_iovecs_must_add_up),
		cmocka_unit_test(test_one_failure_leaves_the_others_done),
		cmocka_unit_test(test_metrics_count_by_operation),
		cmocka_unit_test(test_requests_of_several_threads_are_atomic_in_memory),
		cmocka_unit_test(test_size_must_be_a_multiple_of_a_block),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
