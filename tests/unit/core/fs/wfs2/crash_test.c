/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Power cuts at every write and at every flush of a run of random operations. Afterwards the check finds at most what
 * mounting mends; names are as before or after the operation in flight; what was flushed is there.
 */
#include "tests/unit/core/fs/wfs2/fixture.h"

#define VOLUME_BYTES ((uint64_t)512 << 10)
#define NAMES 5
#define FILES_MAX 64 /* ever made in one run */
#define FILE_BYTES_MAX 40000u
#define OPERATIONS 40

struct file {
	uint8_t data[FILE_BYTES_MAX];
	bool touched[FILE_BYTES_MAX]; /* since it was durable: may be old or new */
	size_t size, durable_size;
};

struct model {
	struct file files[FILES_MAX];
	int file_count;
	int names[NAMES], names_after[NAMES]; /* -1: none; after: when the operation in flight is done */
	uint64_t random;
};

static const char *const name_of[NAMES] = { "a", "bb", "ccc", "dddd", "eeeee" };

static void durable(struct file *m)
{
	memset(m->touched, 0, sizeof(m->touched));
	m->durable_size = m->size;
}

static int op_create(struct fixture *f, struct model *m, int i)
{
	struct wfs2_node *n;
	int rc;

	m->names_after[i] = m->file_count++;
	m->files[m->names_after[i]] = (struct file){ 0 };
	rc = wfs2_create(f->fs, name_of[i], strlen(name_of[i]), &n);
	if (rc == 0)
		wfs2_put(n);
	return rc;
}

static int op_write(struct model *m, struct wfs2_node *n, struct file *file)
{
	static uint8_t buf[9000];
	size_t at = fixture_random(&m->random) % (file->size + 1), len = 1 + fixture_random(&m->random) % sizeof(buf);

	if (at + len > FILE_BYTES_MAX)
		return 0;
	fixture_fill(buf, len, (unsigned)fixture_random(&m->random));
	memcpy(file->data + at, buf, len);
	memset(file->touched + at, 1, len);
	if (at + len > file->size)
		file->size = at + len;
	return fixture_write(n, at, buf, len);
}

static int op_truncate(struct model *m, struct wfs2_node *n, struct file *file)
{
	size_t size = fixture_random(&m->random) % FILE_BYTES_MAX;
	int rc;

	if (size > file->size) {
		memset(file->data + file->size, 0, size - file->size);
		memset(file->touched + file->size, 1, size - file->size);
	}
	file->size = size;
	rc = wfs2_truncate(n, size);
	if (rc == 0)
		durable(file);
	return rc;
}

/* Renaming makes the source durable before anything else. */
static int op_rename(struct fixture *f, struct model *m, int from, int to)
{
	int rc;

	m->names_after[to] = m->names[from];
	m->names_after[from] = -1;
	rc = wfs2_rename(f->fs, name_of[from], strlen(name_of[from]), name_of[to], strlen(name_of[to]), false);
	if (rc == 0)
		durable(&m->files[m->names[from]]);
	return rc;
}

static int step(struct fixture *f, struct model *m)
{
	int i = (int)(fixture_random(&m->random) % NAMES), k = (int)(fixture_random(&m->random) % NAMES), rc = 0;
	unsigned what = (unsigned)(fixture_random(&m->random) % 10);
	struct wfs2_node *n;
	struct file *file;

	if (m->names[i] < 0)
		return op_create(f, m, i);
	file = &m->files[m->names[i]];
	if (what == 0) {
		m->names_after[i] = -1;
		return wfs2_unlink(f->fs, name_of[i], strlen(name_of[i]));
	}
	if (what == 1 && i != k)
		return op_rename(f, m, i, k);
	n = fixture_find(f, name_of[i]);
	if (!n)
		return -EIO;
	if (what == 2) {
		rc = op_truncate(m, n, file);
	} else if (what < 5) {
		rc = wfs2_flush(n);
		if (rc == 0)
			durable(file);
	} else {
		rc = op_write(m, n, file);
	}
	wfs2_put(n);
	return rc;
}

static bool file_fits(struct wfs2_node *n, const struct file *file)
{
	static uint8_t got[FILE_BYTES_MAX];
	size_t size = fixture_size(n), least = file->size < file->durable_size ? file->size : file->durable_size;
	size_t most = file->size < file->durable_size ? file->durable_size : file->size;

	if (size < least || size > most || fixture_read(n, 0, got, sizeof(got)) != size)
		return false;
	for (size_t i = 0; i < size; i++) {
		if (!file->touched[i] && got[i] != file->data[i])
			return false;
	}
	return true;
}

static bool names_fit(struct fixture *f, const struct model *m, const int *names)
{
	bool fits = true;

	for (int i = 0; fits && i < NAMES; i++) {
		struct wfs2_node *n = fixture_find(f, name_of[i]);

		fits = (n != NULL) == (names[i] >= 0) && (!n || file_fits(n, &m->files[names[i]]));
		wfs2_put(n);
	}
	return fits;
}

static void verify(struct fixture *f, const struct model *m)
{
	struct wfs2_check_report report = fixture_check(f, false);
	struct wfs2_info info;
	struct wfs2_node *n;

	assert_int_equal(report.finding_count, report.by_kind[WFS2_FINDING_LOST] + report.by_kind[WFS2_FINDING_RENAME]);
	fixture_mount(f);
	wfs2_get_info(f->fs, &info);
	assert_false(info.read_only);
	assert_true(names_fit(f, m, m->names) || names_fit(f, m, m->names_after));
	assert_int_equal(wfs2_create(f->fs, "new", 3, &n), 0);
	assert_int_equal(fixture_write(n, 0, "new", 3), 0);
	wfs2_put(n);
	fixture_unmount(f);
	fixture_assert_clean(f);
}

/* Returns false when the operations came to their end without a fault. */
static bool run(struct fixture *f, uint64_t seed, enum blk_op op, int64_t nth, uint64_t cut)
{
	static struct model m;
	struct blk_sim_faults faults = { .fail_nth = { -1, -1, -1, -1, -1 }, .fail_from_nth = true, .error = -ENXIO };
	bool failed = false;

	memset(&m, 0, sizeof(m));
	memset(m.names, -1, sizeof(m.names));
	memset(m.names_after, -1, sizeof(m.names_after));
	m.random = seed;
	fixture_mkfs(f, 0);
	fixture_mount(f);
	faults.fail_nth[op] = nth;
	blk_sim_set_faults(f->dev, &faults);
	for (unsigned i = 0; i < OPERATIONS; i++) {
		memcpy(m.names_after, m.names, sizeof(m.names));
		failed = step(f, &m) != 0;
		if (failed)
			break;
		memcpy(m.names, m.names_after, sizeof(m.names));
	}
	blk_sim_unplug(f->dev);
	(void)wfs2_unmount(f->fs);
	f->fs = NULL;
	blk_sim_replug(f->dev);
	blk_sim_set_faults(f->dev, NULL);
	blk_sim_power_cut(f->dev, cut);
	verify(f, &m);
	return failed;
}

static void cut_at_every(enum blk_op op)
{
	static const uint64_t cuts[] = { 0, UINT64_MAX, 77, 78, 79 };
	struct fixture f;

	fixture_init(&f, VOLUME_BYTES);
	for (uint64_t seed = 1; seed <= 6; seed++) {
		int64_t nth = 0;

		while (run(&f, seed, op, nth, cuts[(seed + (uint64_t)nth) % (sizeof(cuts) / sizeof(cuts[0]))]))
			nth++;
		assert_true(nth > 3);
	}
	fixture_done(&f);
}

static void test_power_cut_at_every_write_loses_the_operation_in_flight_at_most(void **state)
{
	(void)state;
	cut_at_every(BLK_WRITE);
}

static void test_power_cut_at_every_flush_loses_the_operation_in_flight_at_most(void **state)
{
	(void)state;
	cut_at_every(BLK_FLUSH);
}

/* Also in the middle of everything, with nothing failing before. */
static void test_power_cut_between_operations_keeps_what_was_flushed(void **state)
{
	struct fixture f;

	(void)state;
	fixture_init(&f, VOLUME_BYTES);
	for (uint64_t seed = 100; seed < 160; seed++)
		(void)run(&f, seed, BLK_READ, INT32_MAX, seed % 3 ? seed : 0);
	fixture_done(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_power_cut_at_every_write_loses_the_operation_in_flight_at_most),
		cmocka_unit_test(test_power_cut_at_every_flush_loses_the_operation_in_flight_at_most),
		cmocka_unit_test(test_power_cut_between_operations_keeps_what_was_flushed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
