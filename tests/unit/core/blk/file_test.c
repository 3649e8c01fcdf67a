/* SPDX-License-Identifier: BSD-3-Clause */
/* Regular files as devices: through io_uring, without it, and opening and locking them. */
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/base/checksum.h"
#include "core/base/err.h"
#include "core/base/sync.h"
#include "core/blk/blk.h"
#include "tests/unit/core/blk/scratch.h"

#define SIZE (UINT64_C(16) << 20)
#define BLOCK 4096
#define REQUESTS 1000
#define LARGE (UINT64_C(12) << 20)

static struct blk_dev *open_new(const char *name)
{
	struct blk_dev *dev = NULL;

	assert_int_equal(blk_create_file(scratch_path(name), SIZE, 0), 0);
	assert_int_equal(blk_open(scratch_path(name), 0, &dev), 0);
	return dev;
}

static void *new_buffer(size_t bytes, int byte)
{
	void *p = aligned_alloc(BLOCK, bytes);

	assert_non_null(p);
	memset(p, byte, bytes);
	return p;
}

static void fill_pattern(uint8_t *p, size_t bytes, uint32_t seed)
{
	for (size_t i = 0; i < bytes / 4; i++) {
		uint32_t v = (uint32_t)i * 2654435761u + seed;

		memcpy(p + i * 4, &v, 4);
	}
}

/* More single-block requests than the ring has slots, of every block in a scrambled order, then the same read back. */
static void write_and_read_many(struct blk_dev *dev, uint32_t seed)
{
	uint8_t *out = new_buffer(REQUESTS * BLOCK, 0), *in = new_buffer(REQUESTS * BLOCK, 0);
	struct blk_io *ios = calloc(REQUESTS, sizeof(*ios));
	struct iovec *iovs = calloc(REQUESTS, sizeof(*iovs));
	struct blk_batch b;

	fill_pattern(out, REQUESTS * BLOCK, seed);
	blk_batch_init(&b);
	for (int pass = 0; pass < 2; pass++) {
		for (int i = 0; i < REQUESTS; i++) {
			size_t at = (size_t)(i * 7 % REQUESTS) * BLOCK;

			iovs[i] = (struct iovec){ (pass ? in : out) + at, BLOCK };
			ios[i] = (struct blk_io){ .op = pass ? BLK_READ : BLK_WRITE,
				                  .offset = at,
				                  .len_bytes = BLOCK,
				                  .iov = &iovs[i],
				                  .iov_count = 1 };
			blk_batch_add(&b, dev, &ios[i]);
		}
		if (pass)
			blk_batch_submit(&b);
		assert_int_equal(blk_batch_wait(&b), 0);
		for (int i = 0; i < REQUESTS; i++)
			assert_int_equal(ios[i].result, 0);
	}
	assert_memory_equal(out, in, REQUESTS * BLOCK);
	free(iovs);
	free(ios);
	free(in);
	free(out);
}

/* One request of many iovecs, larger than any transfer limit. */
static void write_and_read_large(struct blk_dev *dev, unsigned flags, uint32_t seed)
{
	uint8_t *out = new_buffer(LARGE, 0), *in = new_buffer(LARGE, 1);
	struct iovec iov[3] = { { out, BLOCK },
		                { out + BLOCK, LARGE / 2 },
		                { out + BLOCK + LARGE / 2, LARGE / 2 - BLOCK } };
	struct blk_io io = {
		.op = BLK_WRITE, .flags = flags, .offset = BLOCK, .len_bytes = LARGE, .iov = iov, .iov_count = 3
	};
	struct blk_io flush = { .op = BLK_FLUSH };
	struct blk_batch b;

	fill_pattern(out, LARGE, seed);
	blk_batch_init(&b);
	blk_batch_add(&b, dev, &io);
	blk_batch_add(&b, dev, &flush);
	assert_int_equal(blk_batch_wait(&b), 0);
	assert_int_equal(blk_read(dev, BLOCK, in, LARGE), 0);
	assert_memory_equal(out, in, LARGE);
	free(in);
	free(out);
}

static void zero_and_discard(struct blk_dev *dev)
{
	uint8_t *p = new_buffer(8 * BLOCK, 0xee);
	struct blk_io ios[2] = {
		{ .op = BLK_WRITE_ZEROES, .flags = BLK_FUA, .offset = BLOCK, .len_bytes = 2 * BLOCK },
		{ .op = BLK_DISCARD, .offset = 5 * BLOCK, .len_bytes = BLOCK },
	};
	struct blk_batch b;

	assert_int_equal(blk_write(dev, 0, p, 8 * BLOCK, BLK_FUA), 0);
	blk_batch_init(&b);
	blk_batch_add(&b, dev, &ios[0]);
	if (blk_caps(dev)->discard)
		blk_batch_add(&b, dev, &ios[1]);
	assert_int_equal(blk_batch_wait(&b), 0);
	assert_int_equal(blk_read(dev, 0, p, 8 * BLOCK), 0);
	assert_true(bytes_are_zero(p + BLOCK, 2 * BLOCK));
	assert_int_equal(p[BLOCK - 1], 0xee);
	assert_int_equal(p[3 * BLOCK], 0xee);
	assert_int_equal(p[8 * BLOCK - 1], 0xee);
	assert_int_equal(blk_flush(dev), 0);
	free(p);
}

static void everything(struct blk_dev *dev)
{
	write_and_read_many(dev, 1);
	write_and_read_large(dev, 0, 2);
	write_and_read_large(dev, BLK_FUA, 3);
	zero_and_discard(dev);
}

static void test_requests_beyond_the_rings_depth_and_transfer_limit(void **state)
{
	struct blk_dev *dev = open_new("deep");

	(void)state;
	assert_int_equal(blk_caps(dev)->transport, BLK_TRANSPORT_FILE);
	assert_int_equal(blk_caps(dev)->size_bytes, SIZE);
	assert_true(blk_caps(dev)->max_transfer_bytes < LARGE);
	everything(dev);
	blk_close(dev);
	blk_thread_done();
	blk_thread_done();
}

static int forbid_io_uring(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { .len = sizeof(code) / sizeof(code[0]), .filter = code };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return -errno;
	return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) ? -errno : 0;
}

static void without_io_uring(void *arg)
{
	assert_int_equal(forbid_io_uring(), 0);
	everything(arg);
	blk_thread_done();
}

static void test_requests_work_where_io_uring_is_forbidden(void **state)
{
	struct blk_dev *dev = open_new("seccomp");
	struct sync_thread t;

	(void)state;
	assert_int_equal(sync_thread_start(&t, "no uring", without_io_uring, dev), 0);
	sync_thread_join(&t);
	blk_close(dev);
}

static void own_region(void *arg)
{
	struct blk_dev *dev = arg;
	uint8_t *p = new_buffer(BLOCK, 0);
	uint64_t at = (1024 + sync_thread_slot()) * BLOCK;

	for (int i = 0; i < 50; i++) {
		memset(p, i, BLOCK);
		assert_int_equal(blk_write(dev, at, p, BLOCK, 0), 0);
		memset(p, 0xff, BLOCK);
		assert_int_equal(blk_read(dev, at, p, BLOCK), 0);
		assert_int_equal(p[BLOCK - 1], i);
	}
	write_and_read_many(dev, 9); /* the same bytes from every thread */
	free(p);
	blk_thread_done();
}

static void test_each_thread_has_its_own_ring(void **state)
{
	struct blk_dev *dev = open_new("threads");
	struct sync_thread t[3];

	(void)state;
	write_and_read_many(dev, 9);
	for (int i = 0; i < 3; i++)
		assert_int_equal(sync_thread_start(&t[i], "io", own_region, dev), 0);
	for (int i = 0; i < 3; i++)
		sync_thread_join(&t[i]);
	blk_close(dev);
	blk_thread_done();
}

static void test_file_cut_short_is_an_io_error(void **state)
{
	struct blk_dev *dev = open_new("short");
	uint8_t *p = new_buffer(4 * BLOCK, 0);
	struct iovec iov = { p, 4 * BLOCK };
	struct blk_io ios[2];
	struct blk_batch b;

	(void)state;
	assert_int_equal(truncate(blk_name(dev), SIZE - 2 * BLOCK), 0);
	assert_int_equal(blk_read(dev, SIZE - 4 * BLOCK, p, 4 * BLOCK), -EIO);
	blk_batch_init(&b);
	for (int i = 0; i < 2; i++) {
		ios[i] = (struct blk_io){ .op = BLK_READ,
			                  .offset = i ? SIZE - 4 * BLOCK : 0,
			                  .len_bytes = 4 * BLOCK,
			                  .iov = &iov,
			                  .iov_count = 1 };
		blk_batch_add(&b, dev, &ios[i]);
	}
	assert_int_equal(blk_batch_wait(&b), -EIO);
	assert_int_equal(ios[0].result, 0);
	assert_int_equal(ios[1].result, -EIO);
	free(p);
	blk_close(dev);
	blk_thread_done();
}

static void test_second_opener_is_refused_and_told_the_holder(void **state)
{
	struct blk_dev *dev = open_new("held"), *second = NULL;
	char text[512], name[32] = "", told[64];

	(void)state;
	assert_int_equal(blk_open(scratch_path("held"), 0, &second), -EBUSY);
	assert_null(second);
	err_text(err_get(), 0, 0, text, sizeof(text));
	/* Not always the name of the test: tools that run it have their own. */
	assert_int_equal(prctl(PR_GET_NAME, name), 0);
	snprintf(told, sizeof(told), "%s (pid %d)", name, (int)getpid());
	if (!strstr(text, told))
		fail_msg("expected %s in: %s", told, text);
	assert_int_equal(blk_open(scratch_path("held"), BLK_OPEN_READ_ONLY, &second), -EBUSY);
	assert_int_equal(blk_open(scratch_path("held"), BLK_OPEN_READ_ONLY | BLK_OPEN_SHARED, &second), 0);
	blk_close(second);
	blk_close(dev);
	assert_int_equal(blk_open(scratch_path("held"), 0, &dev), 0);
	blk_close(dev);
}

/* Here a child has it, otherwise often the kernel, for as long as it tidies up behind the last request. */
static void test_closed_device_can_be_opened_while_others_still_have_its_descriptor(void **state)
{
	struct blk_dev *dev = open_new("inherited");
	int ends[2], status;
	pid_t child;
	char byte;

	(void)state;
	assert_int_equal(pipe(ends), 0);
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		close(ends[1]);
		_exit(read(ends[0], &byte, 1) != 0);
	}
	close(ends[0]);
	blk_close(dev);
	assert_int_equal(blk_open(scratch_path("inherited"), 0, &dev), 0);
	close(ends[1]);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	blk_close(dev);
}

static void test_read_only_refuses_changes(void **state)
{
	struct blk_dev *dev = open_new("ro");
	uint8_t *p = new_buffer(BLOCK, 0);

	(void)state;
	blk_close(dev);
	assert_int_equal(blk_open(scratch_path("ro"), BLK_OPEN_READ_ONLY, &dev), 0);
	assert_true(blk_caps(dev)->read_only);
	assert_int_equal(blk_write(dev, 0, p, BLOCK, 0), -EROFS);
	assert_int_equal(blk_read(dev, 0, p, BLOCK), 0);
	assert_int_equal(blk_flush(dev), 0);
	free(p);
	blk_close(dev);
}

static void test_open_refuses_what_is_no_device(void **state)
{
	struct blk_dev *dev = NULL;
	FILE *f = fopen(scratch_path("empty"), "w");

	(void)state;
	fclose(f);
	assert_int_equal(mkfifo(scratch_path("fifo"), 0600), 0);
	assert_int_equal(blk_open(scratch_path("missing"), 0, &dev), -ENOENT);
	assert_int_equal(blk_open(scratch_dir, 0, &dev), -ENOTBLK);
	assert_int_equal(blk_open(scratch_path("fifo"), 0, &dev), -ENOTBLK);
	assert_int_equal(blk_open("/dev/null", 0, &dev), -ENOTBLK);
	assert_int_equal(blk_open(scratch_path("empty"), 0, &dev), -EINVAL);
	assert_null(dev);
}

static void test_create_file_allocates_its_front_only(void **state)
{
	struct stat st;

	(void)state;
	assert_int_equal(blk_create_file(scratch_path("new"), SIZE, 1 << 20), 0);
	assert_int_equal(stat(scratch_path("new"), &st), 0);
	assert_int_equal(st.st_size, SIZE);
	assert_in_range(st.st_blocks * 512, 1 << 20, 2 << 20);
	assert_int_equal(blk_create_file(scratch_path("new"), SIZE, 0), -EEXIST);
	assert_int_equal(blk_create_file(scratch_path("no/dir"), SIZE, 0), -ENOENT);
	assert_int_equal(blk_create_file(scratch_path("other"), SIZE, 2 * SIZE), -EINVAL);
	assert_int_not_equal(access(scratch_path("other"), F_OK), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_requests_beyond_the_rings_depth_and_transfer_limit),
		cmocka_unit_test(test_requests_work_where_io_uring_is_forbidden),
		cmocka_unit_test(test_each_thread_has_its_own_ring),
		cmocka_unit_test(test_file_cut_short_is_an_io_error),
		cmocka_unit_test(test_second_opener_is_refused_and_told_the_holder),
		cmocka_unit_test(test_closed_device_can_be_opened_while_others_still_have_its_descriptor),
		cmocka_unit_test(test_read_only_refuses_changes),
		cmocka_unit_test(test_open_refuses_what_is_no_device),
		cmocka_unit_test(test_create_file_allocates_its_front_only),
	};

	return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
