/* SPDX-License-Identifier: BSD-3-Clause */
/* Devices whose requests are answered by functions: what the functions get, and what becomes of what they say. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/err.h"
#include "core/base/sync.h"
#include "core/blk/hosted.h"

#define SIZE 65536u
#define SECTOR 512u

struct host {
	uint8_t bytes[SIZE];
	unsigned flushes, fuas, discards, zeroes, closed;
	int fail; /* all but flushes answer this */
	struct blk_dev *below; /* reads are made there, too */
	struct sync_mutex lock; /* of low rank: taken in every read */
};

static int host_read(void *ctx, const struct iovec *iov, int iov_count, uint64_t offset)
{
	struct host *h = ctx;
	_Alignas(SECTOR) uint8_t sector[SECTOR];

	sync_mutex_lock(&h->lock);
	sync_mutex_unlock(&h->lock);
	if (h->below)
		assert_int_equal(blk_read(h->below, 0, sector, sizeof(sector)), 0);
	for (int i = 0; i < iov_count; i++) {
		memcpy(iov[i].iov_base, h->bytes + offset, iov[i].iov_len);
		offset += iov[i].iov_len;
	}
	return h->fail;
}

static int host_write(void *ctx, const struct iovec *iov, int iov_count, uint64_t offset, unsigned flags)
{
	struct host *h = ctx;

	h->fuas += flags & BLK_FUA ? 1 : 0;
	for (int i = 0; i < iov_count && !h->fail; i++) {
		memcpy(h->bytes + offset, iov[i].iov_base, iov[i].iov_len);
		offset += iov[i].iov_len;
	}
	return h->fail;
}

static int host_flush(void *ctx)
{
	struct host *h = ctx;

	h->flushes++;
	return 0;
}

static int host_discard(void *ctx, uint64_t offset, uint64_t len)
{
	struct host *h = ctx;

	(void)offset;
	(void)len;
	h->discards++;
	return h->fail;
}

static int host_zero(void *ctx, uint64_t offset, uint64_t len, unsigned flags)
{
	struct host *h = ctx;

	(void)flags;
	memset(h->bytes + offset, 0, len);
	h->zeroes++;
	return h->fail;
}

static void host_close(void *ctx)
{
	struct host *h = ctx;

	h->closed++;
}

static const struct blk_hosted_ops ops = {
	.read = host_read,
	.write = host_write,
	.flush = host_flush,
	.discard = host_discard,
	.zero = host_zero,
	.close = host_close,
};

static struct host *host_new(struct blk_dev **ret)
{
	const struct blk_caps caps = { .size_bytes = SIZE,
		                       .logical_block_bytes = SECTOR,
		                       .align_bytes = SECTOR,
		                       .discard = true,
		                       .write_zeroes = true };
	struct host *h = calloc(1, sizeof(*h));

	assert_non_null(h);
	sync_mutex_init(&h->lock, SYNC_RANK_SERVER, "host");
	assert_int_equal(blk_hosted_new("hosted", &caps, &ops, h, ret), 0);
	return h;
}

static void host_free(struct host *h, struct blk_dev *dev)
{
	blk_close(dev);
	assert_int_equal(h->closed, 1);
	sync_mutex_done(&h->lock);
	free(h);
}

static void test_each_kind_of_request_reaches_its_function(void **state)
{
	_Alignas(SECTOR) uint8_t out[2 * SECTOR], in[2 * SECTOR];
	struct blk_io io = { .op = BLK_DISCARD, .offset = SECTOR, .len_bytes = SECTOR };
	struct blk_batch b;
	struct blk_dev *dev;
	struct host *h = host_new(&dev);

	(void)state;
	memset(out, 0xa5, sizeof(out));
	assert_int_equal(blk_write(dev, SECTOR, out, sizeof(out), BLK_FUA), 0);
	assert_int_equal(h->fuas, 1);
	assert_int_equal(blk_read(dev, SECTOR, in, sizeof(in)), 0);
	assert_memory_equal(in, out, sizeof(in));
	assert_int_equal(blk_flush(dev), 0);
	assert_int_equal(h->flushes, 1);
	blk_batch_init(&b);
	blk_batch_add(&b, dev, &io);
	assert_int_equal(blk_batch_wait(&b), 0);
	assert_int_equal(h->discards, 1);
	io.op = BLK_WRITE_ZEROES;
	blk_batch_add(&b, dev, &io);
	assert_int_equal(blk_batch_wait(&b), 0);
	assert_int_equal(h->bytes[SECTOR], 0);
	assert_int_equal(h->bytes[2 * SECTOR], 0xa5);
	host_free(h, dev);
}

static void test_what_is_outside_or_crooked_is_refused_before(void **state)
{
	_Alignas(SECTOR) uint8_t buf[SECTOR];
	struct blk_dev *dev;
	struct host *h = host_new(&dev);

	(void)state;
	h->fail = -EIO; /* it would say so if it was asked */
	assert_int_equal(blk_read(dev, SIZE, buf, sizeof(buf)), -EINVAL);
	assert_int_equal(blk_read(dev, 1, buf, sizeof(buf)), -EINVAL);
	assert_int_equal(blk_write(dev, UINT64_MAX - SECTOR + 1, buf, sizeof(buf), 0), -EINVAL);
	host_free(h, dev);
}

static void test_failure_is_of_its_request_only_and_names_the_device(void **state)
{
	_Alignas(SECTOR) uint8_t bufs[3][SECTOR];
	struct iovec iov[3];
	struct blk_io io[3];
	struct blk_batch b;
	struct blk_dev *bad, *good, *mem;
	struct host *h = host_new(&bad), *other = host_new(&good);

	(void)state;
	assert_int_equal(blk_mem_new("mem", SIZE, &mem), 0);
	h->fail = -EIO;
	blk_batch_init(&b);
	for (unsigned i = 0; i < 3; i++) {
		iov[i] = (struct iovec){ .iov_base = bufs[i], .iov_len = SECTOR };
		io[i] = (struct blk_io){ .op = BLK_READ, .len_bytes = SECTOR, .iov = &iov[i], .iov_count = 1 };
		blk_batch_add(&b, i == 0 ? bad : i == 1 ? good : mem, &io[i]);
	}
	assert_int_equal(blk_batch_wait(&b), -EIO);
	assert_non_null(strstr(err_get()->frames[0].text, "hosted"));
	assert_int_equal(io[0].result, -EIO);
	assert_int_equal(io[1].result, 0);
	assert_int_equal(io[2].result, 0);
	assert_int_equal(blk_error_count(bad, BLK_READ), 1);
	host_free(h, bad);
	host_free(other, good);
	blk_close(mem);
}

/* Debug builds check ranks: those of the layer below have nothing to do with those above. */
static void test_functions_use_devices_and_locks_of_their_own(void **state)
{
	_Alignas(SECTOR) uint8_t buf[SECTOR];
	struct sync_mutex above;
	struct blk_dev *dev, *below;
	struct host *h = host_new(&dev), *under = host_new(&below);

	(void)state;
	h->below = below;
	sync_mutex_init(&above, SYNC_RANK_OBJECT, "above");
	sync_mutex_lock(&above);
	assert_int_equal(blk_read(dev, 0, buf, sizeof(buf)), 0);
	sync_mutex_unlock(&above);
	sync_mutex_done(&above);
	host_free(h, dev);
	host_free(under, below);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_kind_of_request_reaches_its_function),
		cmocka_unit_test(test_what_is_outside_or_crooked_is_refused_before),
		cmocka_unit_test(test_failure_is_of_its_request_only_and_names_the_device),
		cmocka_unit_test(test_functions_use_devices_and_locks_of_their_own),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
