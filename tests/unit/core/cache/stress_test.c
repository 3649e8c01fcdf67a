/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Threads writing, reading, flushing and punching one file in a small cache. Each page says where it belongs and how
 * often it was written; each writer owns every n-th page, so that it knows the least version a read may show.
 */
#include "tests/unit/core/cache/store.h"
#include "tests/unit/slow.h"

#define THREADS 4u
#define FILE_PAGES 2048u
#define ROUNDS 15000u
#define BUDGET (4 * MIB)

struct stamp {
	uint64_t page;
	uint64_t version;
};

struct world {
	struct rig rig;
	uint64_t written[FILE_PAGES]; /* atomic: version of the last finished write */
};

struct worker {
	struct world *world;
	struct sync_thread thread;
	unsigned id;
	uint64_t seed;
	const char *wrong;
};

static uint64_t next_random(struct worker *w)
{
	w->seed ^= w->seed << 13;
	w->seed ^= w->seed >> 7;
	w->seed ^= w->seed << 17;
	return w->seed;
}

/* The first and the last bytes of a page carry the stamp: a torn page shows. */
static void put_stamp(uint8_t *p, uint64_t page, uint64_t version)
{
	struct stamp st = { page, version };

	memcpy(p, &st, sizeof(st));
	memcpy(p + PAGE - sizeof(st), &st, sizeof(st));
}

static const char *check_page(struct world *w, const uint8_t *p, uint64_t page, uint64_t least)
{
	struct stamp a;
	struct stamp b;

	(void)w;
	memcpy(&a, p, sizeof(a));
	memcpy(&b, p + PAGE - sizeof(b), sizeof(b));
	if (a.version != b.version || a.page != b.page)
		return "a torn page";
	if (a.version < least)
		return "an old version";
	if (a.version && a.page != page)
		return "another page's data";
	return NULL;
}

static void write_own(struct worker *w, uint64_t page)
{
	struct world *world = w->world;
	uint8_t buf[PAGE] = { 0 };
	uint64_t version = __atomic_load_n(&world->written[page], __ATOMIC_RELAXED) + 1;
	unsigned flags = next_random(w) % 2 ? CACHE_NOWAIT : 0;
	int rc;

	put_stamp(buf, page, version);
	rc = rig_write(&world->rig, page * PAGE, buf, PAGE, flags);
	if (rc == 0)
		__atomic_store_n(&world->written[page], version, __ATOMIC_RELEASE);
	else if (rc != -EAGAIN || !flags)
		w->wrong = "a write failed";
}

static void read_some(struct worker *w, uint64_t page)
{
	struct world *world = w->world;
	uint64_t count = 1 + next_random(w) % 40;
	uint64_t least[40];
	static _Thread_local uint8_t buf[40 * PAGE];
	unsigned flags = next_random(w) % 2 ? CACHE_NOWAIT : 0;
	int rc;

	if (count > FILE_PAGES - page)
		count = FILE_PAGES - page;
	for (uint64_t i = 0; i < count; i++)
		least[i] = __atomic_load_n(&world->written[page + i], __ATOMIC_ACQUIRE);
	rc = rig_read(&world->rig, page * PAGE, buf, count * PAGE, flags);
	if (rc == -EAGAIN && flags)
		return;
	if (rc)
		w->wrong = "a read failed";
	for (uint64_t i = 0; i < count && !w->wrong; i++)
		w->wrong = check_page(world, buf + i * PAGE, page + i, least[i]);
}

static void hold_some(struct worker *w, uint64_t page)
{
	static _Thread_local struct cache_ref ref;
	struct world *world = w->world;
	uint64_t least = __atomic_load_n(&world->written[page], __ATOMIC_ACQUIRE);
	uint32_t crc;

	if (cache_read_ref(world->rig.file, page * PAGE, PAGE, 0, &ref)) {
		w->wrong = "a reference failed";
		return;
	}
	crc = crc32c(ref.iov[0].iov_base, PAGE);
	w->wrong = check_page(world, ref.iov[0].iov_base, page, least);
	read_some(w, page);
	if (crc32c(ref.iov[0].iov_base, PAGE) != crc)
		w->wrong = "a page changed under a reference";
	cache_ref_release(&ref);
}

/* Only pages of this worker: the version starts again at zero. */
static void punch_own(struct worker *w, uint64_t page)
{
	struct world *world = w->world;
	struct store *s = &world->rig.store;
	unsigned flags = next_random(w) % 2 ? CACHE_NOWAIT : 0;
	uint64_t version = __atomic_load_n(&world->written[page], __ATOMIC_RELAXED) + 1;
	int rc = cache_punch_begin(world->rig.file, page * PAGE, PAGE, flags);

	if (rc) {
		if (rc != -EAGAIN || !flags)
			w->wrong = "a punch failed";
		return;
	}
	/* What the range reads as afterwards is the next version, so that going back in time shows. */
	sync_mutex_lock(&s->lock);
	memset(s->data + page * PAGE, 0, PAGE);
	put_stamp(s->data + page * PAGE, page, version);
	s->mapped[page] = true;
	sync_mutex_unlock(&s->lock);
	cache_punch_end(world->rig.file, page * PAGE, PAGE, false);
	__atomic_store_n(&world->written[page], version, __ATOMIC_RELEASE);
}

static void flush_own(struct worker *w, uint64_t page, bool everything)
{
	struct world *world = w->world;
	struct store *s = &world->rig.store;
	uint64_t least = __atomic_load_n(&world->written[page], __ATOMIC_RELAXED);

	if (cache_flush(world->rig.file, everything ? 0 : page * PAGE, everything ? UINT64_MAX : PAGE)) {
		w->wrong = "a flush failed";
		return;
	}
	sync_mutex_lock(&s->lock);
	if (least && check_page(world, s->data + page * PAGE, page, least))
		w->wrong = "a flush left something";
	sync_mutex_unlock(&s->lock);
}

static void work(void *arg)
{
	struct worker *w = arg;

	for (unsigned i = 0; i < ROUNDS / test_slow() && !w->wrong; i++) {
		uint64_t any = next_random(w) % FILE_PAGES;
		uint64_t own = any - any % THREADS + w->id;
		uint64_t what = next_random(w) % 100;

		if (what < 45)
			write_own(w, own);
		else if (what < 80)
			read_some(w, any);
		else if (what < 88)
			hold_some(w, any);
		else if (what < 95)
			punch_own(w, own);
		else
			flush_own(w, own, what == 99);
	}
}

static void run(void)
{
	static struct world world;
	struct cache_config cfg = rig_config(BUDGET);
	struct worker workers[THREADS];

	memset(&world, 0, sizeof(world));
	cfg.dirty_max_bytes = MIB;
	cfg.dirty_background_bytes = 256 * KIB;
	cfg.writeback_age_ms = 2;
	cfg.readahead_max_bytes = 128 * KIB;
	rig_init(&world.rig, BUDGET, FILE_PAGES, &cfg);
	for (unsigned i = 0; i < THREADS; i++) {
		workers[i] = (struct worker){ .world = &world, .id = i, .seed = 77 + i };
		assert_int_equal(sync_thread_start(&workers[i].thread, "worker", work, &workers[i]), 0);
	}
	for (unsigned i = 0; i < THREADS; i++) {
		sync_thread_join(&workers[i].thread);
		if (workers[i].wrong)
			fail_msg("worker %u: %s", i, workers[i].wrong);
	}
	assert_int_equal(cache_flush(world.rig.file, 0, UINT64_MAX), 0);
	for (uint64_t i = 0; i < FILE_PAGES; i++) {
		if (world.written[i])
			assert_null(check_page(&world, world.rig.store.data + i * PAGE, i, world.written[i]));
	}
	assert_true(budget_used(world.rig.budget) <= BUDGET);
	rig_done(&world.rig);
}

static void test_threads_on_one_file_always_see_what_was_written(void **state)
{
	(void)state;
	run();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_threads_on_one_file_always_see_what_was_written),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
