/* SPDX-License-Identifier: BSD-3-Clause */
/* Readers, writers in the open txg and a committing thread on one tree, with a node cache that is far too small. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/core/fs/wfs3/tree_fixture.h"
#include "tests/unit/slow.h"

#define WRITERS 2u
#define READERS 2u
#ifdef WFSD_DEBUG
#define COMMITS 40u
#else
#define COMMITS 150u
#endif

struct stress {
	struct fixture *f;
	struct sync_rwlock gate; /* guards f->txg, as a pool's commit gate does */
	bool stop; /* atomic */
	struct sync_mutex lock;
	struct sync_cond progress;
	uint64_t changes SYNC_GUARDED_BY(lock);
	struct model *models[WRITERS + READERS]; /* a writer's own keys: those with its number modulo WRITERS */
};

struct worker {
	struct stress *s;
	unsigned number;
	uint64_t seed;
	uint64_t done;
	unsigned wrong;
	struct sync_thread thread;
};

static bool stopped(struct stress *s)
{
	return __atomic_load_n(&s->stop, __ATOMIC_ACQUIRE);
}

static struct model_item random_item(uint64_t r)
{
	/* The length follows from the seed, so that any reader can tell a right value. */
	uint32_t seed = (uint32_t)r | 1;

	return (struct model_item){ .len = (uint16_t)(4 + seed % 700), .present = true, .seed = seed };
}

static void item_value(const struct model_item *item, uint8_t *value)
{
	model_value(item, value);
	memcpy(value, &item->seed, sizeof(item->seed));
}

static bool value_is_whole(const void *value, size_t len)
{
	struct model_item item = { .present = true };
	uint8_t want[TREE_ITEM_BYTES_MAX];

	if (len < sizeof(item.seed))
		return false;
	memcpy(&item.seed, value, sizeof(item.seed));
	item.len = (uint16_t)(4 + item.seed % 700);
	item_value(&item, want);
	return len == item.len && memcmp(value, want, len) == 0;
}

static int update_fn(void *ctx, const void *old_value, size_t old_len, void *new_value)
{
	const struct model_item *item = ctx;

	if (old_value && !value_is_whole(old_value, old_len))
		return -EKEYREJECTED;
	item_value(item, new_value);
	return item->len;
}

static int try_change(struct worker *w, const struct wfs3_key *key, struct model_item *old, uint64_t r)
{
	struct fixture *f = w->s->f;
	struct model_item item = random_item(r);
	uint8_t value[TREE_ITEM_BYTES_MAX];
	int rc, want = 0;

	sync_rwlock_rdlock(&w->s->gate);
	if (r >> 40 & 1) {
		rc = tree_update(f->tree, f->txg, key, update_fn, &item);
	} else if (r >> 41 & 1) {
		item_value(&item, value);
		rc = tree_put(f->tree, f->txg, key, value, item.len);
	} else {
		want = old->present ? 0 : -ENOENT;
		item.present = false;
		rc = tree_delete(f->tree, f->txg, key);
	}
	sync_rwlock_rdunlock(&w->s->gate);
	if (rc == -EAGAIN)
		return rc;
	w->wrong += rc != want;
	*old = item;
	return 0;
}

static void writer(void *arg)
{
	struct worker *w = arg;
	struct model *m = w->s->models[w->number];

	while (!stopped(w->s)) {
		uint64_t r = rnd(&w->seed);
		/* Runs of neighbours now and then, so that nodes empty and fill. */
		unsigned base = (unsigned)(r >> 32) % MODEL_KEYS, run = r % 16 ? 1 : 40;

		for (unsigned i = 0; i < run && base + i * WRITERS < MODEL_KEYS; i++) {
			unsigned at = (base + i * WRITERS) / WRITERS * WRITERS + w->number;
			struct wfs3_key key = model_key(at);

			while (try_change(w, &key, &m->items[at], r + i) == -EAGAIN)
				w->wrong += tree_fetch(w->s->f->tree, &key) != 0;
			w->done++;
		}
		sync_mutex_lock(&w->s->lock);
		w->s->changes += run;
		sync_cond_signal(&w->s->progress);
		sync_mutex_unlock(&w->s->lock);
	}
}

static bool check_item(void *ctx, const struct wfs3_key *key, const void *value, size_t len)
{
	struct worker *w = ctx;

	(void)key;
	w->wrong += !value_is_whole(value, len);
	return true;
}

static void reader(void *arg)
{
	struct worker *w = arg;
	struct tree *t = w->s->f->tree;
	uint8_t buf[TREE_ITEM_BYTES_MAX];
	size_t len;

	while (!stopped(w->s)) {
		uint64_t r = rnd(&w->seed);
		struct wfs3_key key = model_key((unsigned)(r >> 32) % MODEL_KEYS), to = key, found, other;
		int rc;

		to.object++;
		switch (r % 8) {
		case 0:
			rc = tree_scan(t, &key, &to, check_item, w, &other);
			w->wrong += rc != 0 && rc != 1 && rc != -EAGAIN;
			break;
		case 1:
			rc = tree_next(t, &key, &to, &found, buf, sizeof(buf), &len, &other);
			w->wrong += rc == 0 && !value_is_whole(buf, len);
			break;
		default:
			other = key;
			rc = fixture_get(w->s->f, &key, buf, &len);
			w->wrong += rc == 0 ? !value_is_whole(buf, len) : rc != -ENOENT;
			break;
		}
		if (rc == -EAGAIN)
			w->wrong += tree_fetch(t, &other) != 0;
		w->done++;
	}
}

static void commit_once(struct stress *s)
{
	struct fixture *f = s->f;
	struct tree_frozen *frozen;
	uint64_t nodes, txg;

	sync_rwlock_wrlock(&s->gate);
	txg = f->txg++;
	assert_int_equal(tree_freeze(f->tree, txg, &frozen), 0);
	sync_rwlock_wrunlock(&s->gate);
	if (frozen)
		assert_int_equal(tree_commit(f->tree, frozen, txg, &f->root, &nodes), 0);
	store_release(f->store, f->cache, txg - 1);
}

static void test_readers_writers_and_commits_at_the_same_time(void **state)
{
	struct stress s = { .f = fixture_new(300) };
	struct worker workers[WRITERS + READERS] = { 0 };
	struct walk_check walk = { .store = s.f->store };
	struct tree_visitor v = { .ctx = &walk, .node = walk_node };
	unsigned wrong = 0;

	(void)state;
	sync_rwlock_init(&s.gate, SYNC_RANK_GATE, "test gate");
	sync_mutex_init(&s.lock, SYNC_RANK_LEAF, "test progress");
	sync_cond_init(&s.progress);
	for (unsigned i = 0; i < WRITERS + READERS; i++) {
		s.models[i] = calloc(1, sizeof(*s.models[i]));
		workers[i] = (struct worker){ .s = &s, .number = i, .seed = UINT64_C(0x5eed0010) + i };
		assert_int_equal(
		        sync_thread_start(&workers[i].thread, "stress", i < WRITERS ? writer : reader, &workers[i]), 0);
	}
	for (unsigned i = 0; i < COMMITS / test_slow(); i++) {
		sync_mutex_lock(&s.lock);
		for (uint64_t until = s.changes + 300; s.changes < until;)
			sync_cond_wait(&s.progress, &s.lock);
		sync_mutex_unlock(&s.lock);
		commit_once(&s);
	}
	__atomic_store_n(&s.stop, true, __ATOMIC_RELEASE);
	for (unsigned i = 0; i < WRITERS + READERS; i++) {
		sync_thread_join(&workers[i].thread);
		wrong += workers[i].wrong;
		assert_true(workers[i].done > 0);
	}
	assert_int_equal(wrong, 0);
	commit_once(&s);
	for (unsigned i = 0; i < MODEL_KEYS; i++) {
		struct wfs3_key key = model_key(i);
		uint8_t value[TREE_ITEM_BYTES_MAX], want[TREE_ITEM_BYTES_MAX];
		size_t len;

		const struct model_item *item = &s.models[i % WRITERS]->items[i];

		if (!item->present) {
			assert_int_equal(fixture_get(s.f, &key, value, &len), -ENOENT);
			continue;
		}
		assert_int_equal(fixture_get(s.f, &key, value, &len), 0);
		item_value(item, want);
		assert_int_equal(len, item->len);
		assert_memory_equal(value, want, len);
	}
	for (unsigned i = 0; i < STORE_NODES; i++)
		s.f->store->places[i].visited = false;
	assert_int_equal(tree_walk(&s.f->env, FIXTURE_DATASET, &s.f->root, &v), 0);
	assert_int_equal(store_accounting_errors(s.f->store), 0);
	assert_int_equal(s.f->store->reserved, 0);
	for (unsigned i = 0; i < WRITERS + READERS; i++)
		free(s.models[i]);
	fixture_free(s.f);
	sync_rwlock_done(&s.gate);
	sync_cond_done(&s.progress);
	sync_mutex_done(&s.lock);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_readers_writers_and_commits_at_the_same_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
