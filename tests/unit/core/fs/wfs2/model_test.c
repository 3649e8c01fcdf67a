/* SPDX-License-Identifier: BSD-3-Clause */
/* Random operations against a model in memory, with remounts; and several threads on files of their own. */
#include <sched.h>

#include "core/base/sync.h"
#include "tests/unit/core/fs/wfs2/fixture.h"

#define VOLUME_BYTES ((uint64_t)3 << 20)
#define NAMES 12
#define FILE_BYTES_MAX 300000u

struct model_file {
	bool exists;
	size_t size;
	uint8_t data[FILE_BYTES_MAX];
};
static struct model_file model[NAMES];

static const char *name_of(int i)
{
	static const char *const names[NAMES] = { "a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l" };

	return names[i];
}

static void compare(struct fixture *f)
{
	static uint8_t got[FILE_BYTES_MAX + 1];

	for (int i = 0; i < NAMES; i++) {
		struct wfs2_node *n = fixture_find(f, name_of(i));

		assert_true((n != NULL) == model[i].exists);
		if (!n)
			continue;
		assert_int_equal(fixture_read(n, 0, got, sizeof(got)), model[i].size);
		assert_memory_equal(got, model[i].data, model[i].size);
		wfs2_put(n);
	}
}

static void change_contents(struct wfs2_node *n, struct model_file *m, unsigned what, uint64_t *random)
{
	static uint8_t buf[60000];
	size_t at = fixture_random(random) % FILE_BYTES_MAX, len = fixture_random(random) % sizeof(buf), old = m->size;
	int rc;

	if (what < 3) {
		rc = wfs2_truncate(n, at);
		if (rc == 0)
			m->size = at;
		if (rc == 0 && at > old)
			memset(m->data + old, 0, at - old);
	} else if (what < 5) {
		rc = wfs2_flush(n);
	} else {
		if (what < 9)
			at = m->size ? at % m->size : 0;
		if (at + len > FILE_BYTES_MAX)
			len = FILE_BYTES_MAX - at;
		fixture_fill(buf, len, (unsigned)fixture_random(random));
		rc = fixture_write(n, at, buf, len);
		if (rc == 0 && len) {
			if (at > old)
				memset(m->data + old, 0, at - old);
			memcpy(m->data + at, buf, len);
			m->size = at + len > old ? at + len : old;
		}
	}
	assert_true(rc == 0 || rc == -ENOSPC || rc == -EFBIG);
	assert_int_equal(fixture_size(n), m->size);
}

static void step(struct fixture *f, uint64_t *random)
{
	int i = (int)(fixture_random(random) % NAMES), k = (int)(fixture_random(random) % NAMES);
	unsigned what = (unsigned)(fixture_random(random) % 14);
	struct wfs2_node *n;
	int rc;

	if (what == 13) {
		rc = wfs2_rename(f->fs, name_of(i), 1, name_of(k), 1, false);
		assert_int_equal(rc, model[i].exists ? 0 : -ENOENT);
		if (rc == 0 && i != k) {
			model[k] = model[i];
			model[i].exists = false;
		}
		return;
	}
	if (what == 12) {
		assert_int_equal(wfs2_unlink(f->fs, name_of(i), 1), model[i].exists ? 0 : -ENOENT);
		model[i].exists = false;
		return;
	}
	n = fixture_find(f, name_of(i));
	assert_true((n != NULL) == model[i].exists);
	if (!n) {
		n = fixture_create(f, name_of(i));
		model[i].exists = true;
		model[i].size = 0;
	}
	change_contents(n, &model[i], what, random);
	wfs2_put(n);
}

static void test_random_operations_agree_with_a_model(void **state)
{
	struct fixture f;

	(void)state;
	fixture_init(&f, VOLUME_BYTES);
	for (uint64_t seed = 1; seed <= 4; seed++) {
		uint64_t random = seed;

		memset(model, 0, sizeof(model));
		fixture_mkfs(&f, 0);
		fixture_mount(&f);
		for (unsigned i = 0; i < 600; i++) {
			step(&f, &random);
			if (i % 100 == 99) {
				compare(&f);
				fixture_unmount(&f);
				fixture_assert_clean(&f);
				fixture_mount(&f);
				compare(&f);
			}
		}
		fixture_unmount(&f);
	}
	fixture_done(&f);
}

struct worker {
	struct fixture *f;
	struct sync_thread thread;
	int number;
	bool failed;
};

static bool work_once(struct worker *w, unsigned round)
{
	uint8_t data[9000], got[9000];
	struct iovec iov = { .iov_base = got, .iov_len = sizeof(got) };
	struct wfs2_node *n, *shared;
	char name[16], other[16];
	size_t len = 0;
	bool ok;

	snprintf(name, sizeof(name), "w%d-%u", w->number, round);
	snprintf(other, sizeof(other), "w%d", w->number);
	fixture_fill(data, sizeof(data), round);
	if (wfs2_create(w->f->fs, name, strlen(name), &n))
		return false;
	ok = fixture_write(n, 0, data, sizeof(data)) == 0 && wfs2_flush(n) == 0 &&
	     wfs2_rename(w->f->fs, name, strlen(name), other, strlen(other), false) == 0 &&
	     wfs2_read(n, &iov, 1, 0, 0, &len) == 0 && len == sizeof(data) && memcmp(got, data, len) == 0;
	wfs2_put(n);
	if (wfs2_lookup(w->f->fs, "shared", 6, &shared))
		return false;
	ok = ok && fixture_write(shared, (round % 7) * 5000, data, 5000) == 0 && wfs2_truncate(shared, 20000) == 0;
	wfs2_put(shared);
	return ok;
}

static void work(void *arg)
{
	struct worker *w = arg;

	for (unsigned round = 0; round < 60 && !w->failed; round++)
		w->failed = !work_once(w, round);
	blk_thread_done();
}

static void test_threads_do_not_disturb_each_other(void **state)
{
	struct worker workers[4];
	struct fixture f;
	struct wfs2_info info;

	(void)state;
	fixture_init(&f, VOLUME_BYTES);
	fixture_mount(&f);
	wfs2_put(fixture_create(&f, "shared"));
	for (int i = 0; i < 4; i++) {
		workers[i] = (struct worker){ .f = &f, .number = i };
		assert_int_equal(sync_thread_start(&workers[i].thread, "worker", work, &workers[i]), 0);
	}
	for (int i = 0; i < 4; i++) {
		sync_thread_join(&workers[i].thread);
		assert_false(workers[i].failed);
	}
	wfs2_get_info(f.fs, &info);
	assert_int_equal(info.file_count, 5);
	fixture_unmount(&f);
	fixture_assert_clean(&f);
	fixture_done(&f);
}

static void test_written_file_is_made_durable_without_being_asked(void **state)
{
	struct wfs2_mount_options options = { .sync_interval_ms = 10 };
	struct wfs2_node *n;
	struct fixture f;
	uint64_t flushes;
	char got[4];

	(void)state;
	fixture_init(&f, VOLUME_BYTES);
	options.cache = f.cache;
	assert_int_equal(wfs2_mount(f.dev, &options, &f.fs), 0);
	n = fixture_create(&f, "a");
	flushes = blk_sim_count(f.dev, BLK_FLUSH);
	assert_int_equal(fixture_write(n, 0, "data", 4), 0);
	/* Contents, slot, bitmap: the last flush of a sync is the second one. */
	while (blk_sim_count(f.dev, BLK_FLUSH) < flushes + 2)
		sched_yield();
	wfs2_put(n);
	blk_sim_unplug(f.dev);
	(void)wfs2_unmount(f.fs);
	blk_sim_replug(f.dev);
	blk_sim_power_cut(f.dev, 0);
	fixture_mount(&f);
	n = fixture_find(&f, "a");
	assert_int_equal(fixture_read(n, 0, got, sizeof(got)), 4);
	assert_memory_equal(got, "data", 4);
	wfs2_put(n);
	fixture_done(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random_operations_agree_with_a_model),
		cmocka_unit_test(test_threads_do_not_disturb_each_other),
		cmocka_unit_test(test_written_file_is_made_durable_without_being_asked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
