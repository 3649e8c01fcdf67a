/* SPDX-License-Identifier: BSD-3-Clause */
/* The RPC front end with libwfs as its client: every operation, and what a restart means. */
#include "tests/unit/server/rpc/fixture.h"

static void fill(uint8_t *buf, size_t len, unsigned seed)
{
	for (size_t i = 0; i < len; i++)
		buf[i] = (uint8_t)(seed + i * 31 + (i >> 8));
}

static struct wfs *connect_to(struct fixture *f)
{
	struct wfs_options o = { .timeout_ms = 20000 };
	struct wfs *w = NULL;

	assert_int_equal(wfs_connect(f->address, &o, &w), 0);
	return w;
}

static struct wfs_file *open_default(struct wfs *w, unsigned flags)
{
	struct wfs_file *file = NULL;

	assert_int_equal(wfs_open(w, "", flags, &file), 0);
	return file;
}

static void round_trip(struct fixture *f, size_t len, uint64_t offset)
{
	struct wfs *w = connect_to(f);
	struct wfs_file *file = open_default(w, WFS_OPEN_WRITE);
	uint8_t *out = malloc(len), *in = malloc(len);

	fill(out, len, (unsigned)len);
	assert_int_equal(wfs_pwrite(file, out, len, offset, 0), 0);
	assert_memory_equal(f->mem.data + offset, out, len);
	memset(in, 0xee, len);
	assert_int_equal(wfs_pread(file, in, len, offset), 0);
	assert_memory_equal(in, out, len);
	wfs_close(file);
	wfs_disconnect(w);
	free(out);
	free(in);
}

static void test_data_of_any_length_and_alignment_comes_back(void **state)
{
	struct fixture *f = *state;
	static const size_t lens[] = { 1,
		                       2,
		                       3,
		                       4,
		                       511,
		                       4095,
		                       4096,
		                       8191,
		                       16385,
		                       65400,
		                       65537,
		                       262144,
		                       (1u << 20) + 3,
		                       (5u << 20) + 1,
		                       32u << 20,
		                       (32u << 20) + 5 };

	for (int pass = 0; pass < 4; pass++) {
		f->mem.has_ref = pass & 1;
		f->mem.must_wait = pass & 2;
		for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++)
			round_trip(f, lens[i], i * 1013);
	}
	assert_int_equal(f->mem.refs, 0);
}

static int count_export(void *ctx, const struct wfs_export_info *info)
{
	unsigned *seen = ctx;

	*seen += 1;
	assert_int_equal(info->size_bytes, FILE_BYTES);
	assert_int_equal(info->is_default, strcmp(info->name, "mem") == 0);
	assert_int_equal(info->read_only, strcmp(info->name, "ro") == 0);
	assert_string_equal(info->description, "a file in memory");
	return 0;
}

static void test_exports_are_listed(void **state)
{
	struct wfs *w = connect_to(*state);
	unsigned seen = 0;

	assert_int_equal(wfs_list_exports(w, count_export, &seen), 0);
	assert_int_equal(seen, 2);
	wfs_disconnect(w);
}

static int check_order(void *ctx, const struct wfs_export_info *info)
{
	char *last = ctx;

	assert_true(strcmp(info->name, last) > 0);
	strcpy(last, info->name);
	last[300]++;
	return 0;
}

static void test_a_list_of_many_exports_comes_in_order_and_whole(void **state)
{
	struct fixture *f = *state;
	struct wfs *w = connect_to(f);
	struct export_info *info = calloc(1, sizeof(*info));
	char last[301] = "";

	strcpy(info->path, "/mem");
	for (int i = 0; i < 100; i++) {
		snprintf(info->name, sizeof(info->name), "e%02d", i * 37 % 100);
		assert_int_equal(export_add(f->exports, info), 0);
	}
	assert_int_equal(wfs_list_exports(w, check_order, last), 0);
	assert_int_equal(last[300], 102);
	free(info);
	wfs_disconnect(w);
}

static void test_info_and_stat_describe_the_export(void **state)
{
	struct wfs *w = connect_to(*state);
	struct wfs_file *file = open_default(w, 0);
	struct wfs_file_info info;
	struct wfs_stat st;

	wfs_get_info(file, &info);
	assert_string_equal(info.name, "mem");
	assert_string_equal(info.description, "a file in memory");
	assert_int_equal(info.size_bytes, FILE_BYTES);
	assert_int_equal(info.block_preferred_bytes, 4096);
	assert_int_equal(wfs_stat(file, &st), 0);
	assert_int_equal(st.file_id, 7);
	assert_int_equal(st.size_bytes, FILE_BYTES);
	wfs_close(file);
	wfs_disconnect(w);
}

static void test_errors_arrive_with_number_and_text(void **state)
{
	struct fixture *f = *state;
	struct wfs *w = connect_to(f);
	struct wfs_file *file = open_default(w, WFS_OPEN_WRITE), *other;
	char text[512], byte = 0;

	assert_int_equal(wfs_open(w, "nothing", 0, &other), -ENOENT);
	assert_int_equal(wfs_open(w, "ro", WFS_OPEN_WRITE, &other), -EROFS);
	assert_int_equal(wfs_pread(file, &byte, 1, FILE_BYTES), -EINVAL);
	assert_int_equal(wfs_pwrite(file, &byte, 1, FILE_BYTES, 0), -ENOSPC);
	assert_int_equal(wfs_discard(file, FILE_BYTES - 1, 2, 0), -EINVAL);
	assert_int_equal(wfs_zero(file, FILE_BYTES - 1, 2, 0), -ENOSPC);
	assert_int_equal(wfs_zero(file, 0, 2, WFS_FAST), -EOPNOTSUPP);
	f->mem.fail = -EUCLEAN;
	assert_int_equal(wfs_pread(file, &byte, 1, 5), -EUCLEAN);
	wfs_error_text(text, sizeof(text));
	assert_string_equal(text, "server: memfs was told to fail: Structure needs cleaning");
	f->mem.fail = 0;
	wfs_close(file);
	assert_int_equal(wfs_open(w, "ro", 0, &file), 0);
	assert_int_equal(wfs_pwrite(file, &byte, 1, 0, 0), -EROFS);
	wfs_close(file);
	wfs_disconnect(w);
}

static void test_a_long_write_that_fails_leaves_nothing_under_way(void **state)
{
	const size_t len = 3u << 20;
	struct fixture *f = *state;
	struct wfs *w = connect_to(f);
	struct wfs_file *file = open_default(w, WFS_OPEN_WRITE);
	uint8_t *data = malloc(len);
	char text[512];

	fill(data, len, 1);
	f->mem.fail = -EUCLEAN;
	assert_int_equal(wfs_pwrite(file, data, len, 0, 0), -EUCLEAN);
	wfs_error_text(text, sizeof(text));
	assert_string_equal(text, "server: memfs was told to fail: Structure needs cleaning");
	f->mem.fail = 0;
	assert_int_equal(wfs_pwrite(file, data, len, FILE_BYTES - len + 1, 0), -ENOSPC);
	assert_int_equal(wfs_pwrite(file, data, len, FILE_BYTES - len, 0), 0);
	assert_memory_equal(f->mem.data + FILE_BYTES - len, data, len);
	wfs_close(file);
	wfs_disconnect(w);
	free(data);
}

static void test_flush_fua_zero_discard_and_prefetch_reach_the_file(void **state)
{
	struct fixture *f = *state;
	struct wfs *w = connect_to(f);
	struct wfs_file *file = open_default(w, WFS_OPEN_WRITE);
	uint8_t data[8192];

	fill(data, sizeof(data), 1);
	assert_int_equal(wfs_pwrite(file, data, sizeof(data), 0, WFS_FUA), 0);
	assert_int_equal(f->mem.fua_writes, 1);
	assert_int_equal(wfs_flush(file), 0);
	assert_int_equal(f->mem.flushes, 1);
	assert_int_equal(wfs_zero(file, 100, 50, WFS_NO_HOLE | WFS_FUA), 0);
	assert_int_equal(f->mem.last_flags & (VFS_NO_HOLE | VFS_FUA | VFS_FAST), VFS_NO_HOLE | VFS_FUA);
	assert_int_equal(f->mem.data[120], 0);
	assert_int_equal(wfs_discard(file, 4096, 4096, 0), 0);
	assert_int_equal(f->mem.data[5000], 0);
	assert_int_equal(wfs_prefetch(file, 0, FILE_BYTES), 0);
	assert_int_equal(wfs_prefetch(file, 0, FILE_BYTES + 1), -EINVAL);
	assert_int_equal(wfs_prefetch(file, 1, UINT64_MAX), -EINVAL);
	wfs_close(file);
	wfs_disconnect(w);
}

static void test_extents_are_clipped_and_bounded(void **state)
{
	struct fixture *f = *state;
	struct wfs *w = connect_to(f);
	struct wfs_file *file = open_default(w, 0);
	struct wfs_extent e[WFS_EXTENTS_AT_ONCE];
	unsigned n;

	f->mem.data[4096] = 1;
	assert_int_equal(wfs_extents(file, 10, 10000, 0, e, WFS_EXTENTS_AT_ONCE, &n), 0);
	assert_int_equal(n, 3);
	assert_int_equal(e[0].offset, 10);
	assert_int_equal(e[0].len_bytes, 4086);
	assert_true(e[0].hole && e[0].zero);
	assert_int_equal(e[1].offset, 4096);
	assert_false(e[1].hole || e[1].zero);
	assert_int_equal(e[2].offset + e[2].len_bytes, 10010);
	assert_int_equal(wfs_extents(file, 10, 10000, WFS_ONE, e, WFS_EXTENTS_AT_ONCE, &n), 0);
	assert_int_equal(n, 1);
	assert_int_equal(wfs_extents(file, 0, FILE_BYTES, 0, e, WFS_EXTENTS_AT_ONCE, &n), 0);
	assert_int_equal(n, WFS_EXTENTS_AT_ONCE);
	wfs_close(file);
	wfs_disconnect(w);
}

static void find_counter(void *ctx, const char *name, uint64_t value)
{
	uint64_t *written = ctx;

	if (strcmp(name, "written_bytes") == 0)
		*written = value;
}

static void test_statistics_and_metrics_count(void **state)
{
	struct fixture *f = *state;
	struct wfs *w = connect_to(f);
	struct wfs_file *file = open_default(w, WFS_OPEN_WRITE);
	uint64_t written = 0;
	size_t len;
	char *text;

	assert_int_equal(wfs_pwrite(file, "abc", 3, 0, 0), 0);
	assert_int_equal(wfs_statistics(w, find_counter, &written), 0);
	assert_int_equal(written, 3);
	text = metrics_render(f->metrics, &len);
	assert_non_null(strstr(text, "wfsd_rpc_requests_total{operation=\"write\"} 1\n"));
	assert_non_null(strstr(text, "wfsd_rpc_connections 1\n"));
	free(text);
	wfs_close(file);
	wfs_disconnect(w);
}

struct hammer {
	struct wfs_file *file;
	unsigned index;
	int err;
};

#define HAMMERS 12
#define HAMMER_BYTES (64u << 10)

static void hammer(void *arg)
{
	struct hammer *h = arg;
	uint8_t out[9000], in[9000];

	for (unsigned i = 0; i < 150 && !h->err; i++) {
		size_t len = 1 + (i * 761 + h->index * 97) % sizeof(out);
		uint64_t at = (uint64_t)h->index * HAMMER_BYTES + i % 50;

		fill(out, len, i + h->index);
		h->err = wfs_pwrite(h->file, out, len, at, 0);
		if (!h->err)
			h->err = wfs_pread(h->file, in, len, at);
		if (!h->err && memcmp(in, out, len))
			h->err = -EILSEQ;
		if (!h->err && i % 40 == 0)
			h->err = wfs_flush(h->file);
	}
}

static void run_hammers(struct wfs_file *file)
{
	struct sync_thread threads[HAMMERS];
	struct hammer h[HAMMERS];

	for (unsigned i = 0; i < HAMMERS; i++) {
		h[i] = (struct hammer){ .file = file, .index = i };
		assert_int_equal(sync_thread_start(&threads[i], "hammer", hammer, &h[i]), 0);
	}
	for (unsigned i = 0; i < HAMMERS; i++) {
		sync_thread_join(&threads[i]);
		assert_int_equal(h[i].err, 0);
	}
}

static void test_many_threads_share_one_connection(void **state)
{
	struct fixture *f = *state;
	struct wfs *w = connect_to(f);
	struct wfs_file *file = open_default(w, WFS_OPEN_WRITE);

	f->mem.has_ref = true;
	run_hammers(file);
	f->mem.must_wait = true;
	run_hammers(file);
	wfs_close(file);
	wfs_disconnect(w);
}

static void test_many_threads_share_several_connections(void **state)
{
	struct fixture *f = *state;
	struct wfs_options o = { .timeout_ms = 20000, .connections = 3 };
	struct wfs_file *file;
	struct wfs *w;

	assert_int_equal(wfs_connect(f->address, &o, &w), 0);
	file = open_default(w, WFS_OPEN_WRITE);
	run_hammers(file);
	wfs_close(file);
	wfs_disconnect(w);
}

struct big {
	struct wfs_file *file;
	uint64_t offset;
	int err;
};

#define BIG_BYTES (3u << 20)

static void big_io(void *arg)
{
	struct big *b = arg;
	uint8_t *out = malloc(BIG_BYTES), *in = malloc(BIG_BYTES);

	for (unsigned i = 0; i < 6 && !b->err; i++) {
		fill(out, BIG_BYTES, (unsigned)b->offset + i);
		b->err = wfs_pwrite(b->file, out, BIG_BYTES, b->offset, 0);
		if (!b->err)
			b->err = wfs_pread(b->file, in, BIG_BYTES, b->offset);
		if (!b->err && memcmp(in, out, BIG_BYTES))
			b->err = -EILSEQ;
	}
	free(out);
	free(in);
}

/* Both sides have more to send than sockets hold. */
static void test_large_reads_and_writes_in_both_directions_do_not_deadlock(void **state)
{
	struct fixture *f = *state;
	struct wfs *w = connect_to(f);
	struct wfs_file *file = open_default(w, WFS_OPEN_WRITE);
	struct sync_thread threads[8];
	struct big b[8];

	for (unsigned i = 0; i < 8; i++) {
		b[i] = (struct big){ .file = file, .offset = (uint64_t)i * BIG_BYTES };
		assert_int_equal(sync_thread_start(&threads[i], "big", big_io, &b[i]), 0);
	}
	for (unsigned i = 0; i < 8; i++) {
		sync_thread_join(&threads[i]);
		assert_int_equal(b[i].err, 0);
	}
	wfs_close(file);
	wfs_disconnect(w);
}

static void restart(struct fixture *f, uint64_t boot_id, const uint64_t *clean, size_t clean_count)
{
	fixture_unserve(f);
	fixture_serve(f, boot_id, clean, clean_count);
}

static void test_flush_after_a_crash_tells_once_of_unflushed_writes(void **state)
{
	struct fixture *f = *state;
	struct wfs *w = connect_to(f);
	struct wfs_file *file = open_default(w, WFS_OPEN_WRITE);

	assert_int_equal(wfs_pwrite(file, "x", 1, 0, 0), 0);
	restart(f, 2000, NULL, 0);
	assert_int_equal(wfs_pwrite(file, "y", 1, 1, 0), 0);
	assert_int_equal(wfs_flush(file), -EIO);
	assert_int_equal(wfs_flush(file), 0);
	wfs_close(file);
	wfs_disconnect(w);
}

static void test_flush_after_a_clean_restart_succeeds(void **state)
{
	struct fixture *f = *state;
	struct wfs *w = connect_to(f);
	struct wfs_file *file = open_default(w, WFS_OPEN_WRITE | WFS_OPEN_SHARED);
	uint64_t clean[] = { 2000, 1000 };

	assert_int_equal(wfs_pwrite(file, "x", 1, 0, 0), 0);
	restart(f, 3000, clean, 2);
	assert_int_equal(wfs_flush(file), 0);
	wfs_close(file);
	wfs_disconnect(w);
}

static void test_flush_after_a_crash_succeeds_when_everything_was_flushed(void **state)
{
	struct fixture *f = *state;
	struct wfs *w = connect_to(f);
	struct wfs_file *file = open_default(w, WFS_OPEN_WRITE);

	assert_int_equal(wfs_pwrite(file, "x", 1, 0, 0), 0);
	assert_int_equal(wfs_flush(file), 0);
	assert_int_equal(wfs_pwrite(file, "z", 1, 2, WFS_FUA), 0);
	restart(f, 2000, NULL, 0);
	assert_int_equal(wfs_flush(file), 0);
	wfs_close(file);
	wfs_disconnect(w);
}

static void test_flush_of_a_shared_file_answers_for_others(void **state)
{
	struct fixture *f = *state;
	struct wfs *w = connect_to(f);
	struct wfs_file *file = open_default(w, WFS_OPEN_WRITE | WFS_OPEN_SHARED);

	restart(f, 2000, NULL, 0);
	assert_int_equal(wfs_flush(file), -EIO);
	assert_int_equal(wfs_flush(file), 0);
	wfs_close(file);
	wfs_disconnect(w);
}

static void test_a_file_that_shrank_or_is_gone_is_stale(void **state)
{
	struct fixture *f = *state;
	struct wfs *w = connect_to(f);
	struct wfs_file *file = open_default(w, 0);
	char byte;

	fixture_unserve(f);
	assert_int_equal(export_remove(f->exports, "mem"), 0);
	fixture_serve(f, 1000, NULL, 0);
	assert_int_equal(wfs_pread(file, &byte, 1, 0), -ESTALE);
	wfs_close(file);

	assert_int_equal(wfs_open(w, "ro", 0, &file), 0);
	fixture_unserve(f);
	f->mem.size_bytes -= 4096;
	fixture_serve(f, 1000, NULL, 0);
	assert_int_equal(wfs_pread(file, &byte, 1, 0), -ESTALE);
	f->mem.size_bytes += 4096;
	assert_int_equal(wfs_pread(file, &byte, 1, 0), -ESTALE);
	wfs_close(file);
	wfs_disconnect(w);
}

static void restart_often(void *arg)
{
	struct fixture *f = arg;

	for (uint64_t i = 0; i < 5; i++) {
		uint64_t clean[16];

		/* A clean chain, so that no flush fails. */
		for (uint64_t k = 0; k < 16; k++)
			clean[k] = i >= k ? 1000 + i - k : 1000;
		restart(f, 1001 + i, clean, 16);
	}
}

static void test_operations_survive_restarts_under_load(void **state)
{
	struct fixture *f = *state;
	struct wfs *w = connect_to(f);
	struct wfs_file *file = open_default(w, WFS_OPEN_WRITE);
	struct sync_thread t;

	assert_int_equal(sync_thread_start(&t, "restart", restart_often, f), 0);
	run_hammers(file);
	sync_thread_join(&t);
	assert_int_equal(wfs_flush(file), 0);
	wfs_close(file);
	wfs_disconnect(w);
}

static void test_a_lost_server_times_out(void **state)
{
	struct fixture *f = *state;
	struct wfs_options o = { .timeout_ms = 50 };
	struct wfs_file *file;
	struct wfs *w;
	char byte;

	assert_int_equal(wfs_connect(f->address, &o, &w), 0);
	file = open_default(w, 0);
	fixture_unserve(f);
	assert_int_equal(wfs_pread(file, &byte, 1, 0), -ETIMEDOUT);
	wfs_close(file);
	wfs_disconnect(w);
	assert_int_equal(wfs_connect(f->address, NULL, &w), -ENOENT);
}

#define T(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_data_of_any_length_and_alignment_comes_back),
		T(test_exports_are_listed),
		T(test_a_list_of_many_exports_comes_in_order_and_whole),
		T(test_info_and_stat_describe_the_export),
		T(test_errors_arrive_with_number_and_text),
		T(test_a_long_write_that_fails_leaves_nothing_under_way),
		T(test_flush_fua_zero_discard_and_prefetch_reach_the_file),
		T(test_extents_are_clipped_and_bounded),
		T(test_statistics_and_metrics_count),
		T(test_many_threads_share_one_connection),
		T(test_many_threads_share_several_connections),
		T(test_large_reads_and_writes_in_both_directions_do_not_deadlock),
		T(test_flush_after_a_crash_tells_once_of_unflushed_writes),
		T(test_flush_after_a_clean_restart_succeeds),
		T(test_flush_after_a_crash_succeeds_when_everything_was_flushed),
		T(test_flush_of_a_shared_file_answers_for_others),
		T(test_a_file_that_shrank_or_is_gone_is_stale),
		T(test_operations_survive_restarts_under_load),
		T(test_a_lost_server_times_out),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
