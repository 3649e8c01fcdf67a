/* SPDX-License-Identifier: BSD-3-Clause */
/* Batches that nobody waits for: many at once, beside threads that wait, over lost connections, and at the limits. */
#include "tests/unit/server/rpc/proxy.h"
#include "tests/unit/server/rpc/tree_fixture.h"

#define FILES 2000u
#define LONG_FILES 300u
#define LONG_BYTES 100000u

/* Batches that start each other until all files are made, or read. */
struct run {
	struct wfs *w;
	const struct wfs_fh *root;
	bool read;
	unsigned files;
	uint32_t bytes; /* in each */
	struct sync_mutex lock;
	struct sync_cond ended;
	unsigned next, under_way, failed, bad;
};

struct one {
	struct run *run;
	struct wfs_batch *b;
	unsigned number;
	char name[16];
	uint32_t *data, *back; /* the file's number, all over */
	size_t len;
};

static void step(void *ctx, struct wfs_batch *b, int err, unsigned done);

/* False: no more. */
static bool go(struct one *o)
{
	struct run *r = o->run;
	int err;

	sync_mutex_lock(&r->lock);
	o->number = r->next;
	if (r->next == r->files) {
		sync_mutex_unlock(&r->lock);
		return false;
	}
	r->next++;
	sync_mutex_unlock(&r->lock);
	snprintf(o->name, sizeof(o->name), "%u", o->number);
	for (size_t i = 0; i < r->bytes / sizeof(*o->data); i++)
		o->data[i] = o->number * 2654435761u;
	wfs_batch_clear(o->b);
	wfs_batch_put(o->b, r->root);
	if (r->read) {
		wfs_batch_lookup(o->b, o->name);
		wfs_batch_get_file(o->b, o->back, r->bytes, &o->len, NULL, NULL);
	} else {
		wfs_batch_put_file(o->b, o->name, 0644, WFS_CREATE_EXCLUSIVE, o->data, r->bytes, NULL);
	}
	err = wfs_batch_start(o->b, NULL, step, o);
	assert_int_equal(err, 0);
	return true;
}

static void go_on(struct one *o)
{
	struct run *r = o->run;

	if (go(o))
		return;
	sync_mutex_lock(&r->lock);
	r->under_way--;
	sync_cond_signal(&r->ended);
	sync_mutex_unlock(&r->lock);
}

static void step(void *ctx, struct wfs_batch *b, int err, unsigned done)
{
	struct one *o = ctx;
	struct run *r = o->run;

	(void)b;
	(void)done;
	if (err)
		__atomic_add_fetch(&r->failed, 1, __ATOMIC_RELAXED);
	else if (r->read && (o->len != r->bytes || memcmp(o->back, o->data, r->bytes) != 0))
		__atomic_add_fetch(&r->bad, 1, __ATOMIC_RELAXED);
	go_on(o);
}

/* @width at a time. */
static void run_files(struct run r, unsigned width)
{
	struct one *ones = calloc(width, sizeof(*ones));

	assert_non_null(ones);
	sync_mutex_init(&r.lock, SYNC_RANK_LEAF, "run");
	sync_cond_init(&r.ended);
	r.under_way = width;
	for (unsigned i = 0; i < width; i++) {
		ones[i].run = &r;
		ones[i].data = malloc(r.bytes);
		ones[i].back = malloc(r.bytes);
		assert_true(ones[i].data && ones[i].back);
		assert_int_equal(wfs_batch_new(r.w, &ones[i].b), 0);
		go_on(&ones[i]); /* the first ones may have done all of it by now */
	}
	sync_mutex_lock(&r.lock);
	while (r.under_way)
		sync_cond_wait(&r.ended, &r.lock);
	sync_mutex_unlock(&r.lock);
	assert_int_equal(r.failed, 0);
	assert_int_equal(r.bad, 0);
	for (unsigned i = 0; i < width; i++) {
		wfs_batch_free(ones[i].b);
		free(ones[i].data);
		free(ones[i].back);
	}
	free(ones);
	sync_cond_done(&r.ended);
	sync_mutex_done(&r.lock);
}

static void run_all(struct wfs *w, const struct wfs_fh *root, bool read, unsigned width)
{
	run_files((struct run){ .w = w, .root = root, .read = read, .files = FILES, .bytes = sizeof(uint32_t) }, width);
}

/* Answers that are longer than what the client receives at a time. */
static void run_long(struct wfs *w, const struct wfs_fh *root, bool read, unsigned width)
{
	run_files((struct run){ .w = w, .root = root, .read = read, .files = LONG_FILES, .bytes = LONG_BYTES }, width);
}

static void test_many_at_once_are_all_done(void **state)
{
	struct tree_fixture *t = *state;

	run_all(t->w, &t->root, false, 60);
	assert_int_equal(t->tree->creates, FILES);
	run_all(t->w, &t->root, true, 500);
}

static void test_long_answers_of_many_at_once_are_whole(void **state)
{
	struct tree_fixture *t = *state;

	run_long(t->w, &t->root, false, 20);
	run_long(t->w, &t->root, true, 100);
}

/* Callbacks are on threads of the library: what they start may be the first that another connection has to do. */
static void test_changes_are_started_on_connections_that_were_not_used_before(void **state)
{
	struct wfs_options options = { .connections = 4 };
	struct tree_fixture *t = *state;
	struct wfs *w;

	assert_int_equal(wfs_connect(t->f->address, &options, &w), 0);
	run_all(w, &t->root, false, 40);
	assert_int_equal(t->tree->creates, FILES);
	wfs_disconnect(w);
}

static void getattr_all_the_time(void *arg)
{
	struct tree_fixture *t = arg;
	struct wfs_attr attr;

	for (unsigned i = 0; i < 1000; i++)
		assert_int_equal(wfs_getattr(t->w, NULL, &t->root, &attr), 0);
}

static void test_threads_that_wait_are_served_beside_them(void **state)
{
	struct tree_fixture *t = *state;
	struct sync_thread threads[3];

	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(sync_thread_start(&threads[i], "waiter", getattr_all_the_time, t), 0);
	run_all(t->w, &t->root, false, 30);
	run_all(t->w, &t->root, true, 100);
	for (unsigned i = 0; i < 3; i++)
		sync_thread_join(&threads[i]);
}

static void lose_connections(void *arg)
{
	struct proxy *p = arg;

	for (unsigned i = 0; i < 20; i++) {
		__atomic_store_n(&p->lose, 1, __ATOMIC_RELEASE);
		sync_sleep_ns(5 * SYNC_NS_PER_MS);
	}
}

static void run_losing(struct tree_fixture *t, bool is_long)
{
	struct wfs_options options = { .no_shared_memory = 1 };
	struct sync_thread thread;
	struct proxy proxy = { 0 };
	struct wfs *w;

	proxy_start(&proxy, t->f);
	assert_int_equal(wfs_connect(proxy.address, &options, &w), 0);
	assert_int_equal(sync_thread_start(&thread, "loser", lose_connections, &proxy), 0);
	if (is_long) {
		run_long(w, &t->root, false, 20);
		run_long(w, &t->root, true, 50);
		assert_int_equal(t->tree->creates, LONG_FILES);
	} else {
		run_all(w, &t->root, false, 50);
		assert_int_equal(t->tree->creates, FILES);
		run_all(w, &t->root, true, 200);
	}
	sync_thread_join(&thread);
	assert_true(__atomic_load_n(&proxy.lost, __ATOMIC_ACQUIRE) > 0);
	wfs_disconnect(w);
	proxy_stop(&proxy);
}

static void test_lost_answers_are_asked_for_again_and_nothing_is_done_twice(void **state)
{
	run_losing(*state, false);
}

static void test_long_answers_of_which_the_rest_is_lost_are_asked_for_again(void **state)
{
	run_losing(*state, true);
}

struct counter_of {
	struct sync_mutex lock;
	struct sync_cond changed;
	unsigned ended;
	int err;
};

static void count(void *ctx, struct wfs_batch *b, int err, unsigned done)
{
	struct counter_of *c = ctx;

	(void)done;
	wfs_batch_free(b);
	sync_mutex_lock(&c->lock);
	c->ended++;
	c->err = err ? err : c->err;
	sync_cond_signal(&c->changed);
	sync_mutex_unlock(&c->lock);
}

/* How many batches can be started while none ends? */
static unsigned start_until_full(struct tree_fixture *t, struct counter_of *c, bool change)
{
	unsigned started = 0;
	int err = 0;

	while (!err) {
		struct wfs_batch *b;
		char name[16];

		assert_int_equal(wfs_batch_new(t->w, &b), 0);
		snprintf(name, sizeof(name), "x%u", started);
		wfs_batch_put(b, &t->root);
		if (change)
			wfs_batch_put_file(b, name, 0644, 0, "x", 1, NULL);
		else
			wfs_batch_lookup(b, "sub");
		err = wfs_batch_start(b, NULL, count, c);
		if (err)
			wfs_batch_free(b);
		else
			started++;
	}
	assert_int_equal(err, -EAGAIN);
	return started;
}

static void test_there_are_limits_and_a_time_out_without_a_server(void **state)
{
	struct wfs_options options = { .timeout_ms = 300 };
	struct tree_fixture *t = *state;
	struct counter_of c = { 0 };
	unsigned started;

	sync_mutex_init(&c.lock, SYNC_RANK_LEAF, "counter");
	sync_cond_init(&c.changed);
	wfs_disconnect(t->w);
	assert_int_equal(wfs_connect(t->f->address, &options, &t->w), 0);
	fixture_unserve(t->f);
	assert_int_equal(start_until_full(t, &c, true), 64);
	started = 64 + start_until_full(t, &c, false);
	assert_int_equal(started, WFS_ASYNC_MAX);
	sync_mutex_lock(&c.lock);
	while (c.ended < started)
		sync_cond_wait(&c.changed, &c.lock);
	sync_mutex_unlock(&c.lock);
	assert_int_equal(c.err, -ETIMEDOUT);
	sync_cond_done(&c.changed);
	sync_mutex_done(&c.lock);
}

static void test_an_empty_or_failed_batch_is_refused_at_once(void **state)
{
	struct tree_fixture *t = *state;
	struct counter_of c = { 0 };
	struct wfs_batch *b;

	assert_int_equal(wfs_batch_new(t->w, &b), 0);
	assert_int_equal(wfs_batch_start(b, NULL, count, &c), -EINVAL);
	for (unsigned i = 0; i < WFS_BATCH_OPS_MAX; i++)
		assert_int_equal(wfs_batch_put(b, &t->root), (int)i);
	assert_int_equal(wfs_batch_put(b, &t->root), -E2BIG);
	assert_int_equal(wfs_batch_start(b, NULL, count, &c), -E2BIG);
	assert_int_equal(c.ended, 0);
	wfs_batch_free(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, tree_setup, tree_teardown)
		T(test_many_at_once_are_all_done),
		T(test_long_answers_of_many_at_once_are_whole),
		T(test_changes_are_started_on_connections_that_were_not_used_before),
		T(test_threads_that_wait_are_served_beside_them),
		T(test_lost_answers_are_asked_for_again_and_nothing_is_done_twice),
		T(test_long_answers_of_which_the_rest_is_lost_are_asked_for_again),
		T(test_there_are_limits_and_a_time_out_without_a_server),
		T(test_an_empty_or_failed_batch_is_refused_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
