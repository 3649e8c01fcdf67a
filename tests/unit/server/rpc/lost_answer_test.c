/* SPDX-License-Identifier: BSD-3-Clause */
/* Answers that are lost with their connection: libwfs asks again, and nothing is done twice. */
#include "tests/unit/server/rpc/proxy.h"
#include "tests/unit/server/rpc/tree_fixture.h"

struct lossy {
	struct tree_fixture *t;
	struct proxy proxy;
	struct wfs *w;
};

static void begin(struct lossy *l, struct tree_fixture *t)
{
	struct wfs_options options = { .no_shared_memory = 1 };

	l->t = t;
	proxy_start(&l->proxy, t->f);
	assert_int_equal(wfs_connect(l->proxy.address, &options, &l->w), 0);
}

static void lose_next(struct lossy *l)
{
	__atomic_store_n(&l->proxy.lose, 1, __ATOMIC_RELEASE);
}

static void end(struct lossy *l, unsigned lost)
{
	assert_int_equal(__atomic_load_n(&l->proxy.lost, __ATOMIC_ACQUIRE), lost);
	wfs_disconnect(l->w);
	proxy_stop(&l->proxy);
}

static void test_what_must_not_be_done_twice_is_done_once(void **state)
{
	struct tree_fixture *t = *state;
	struct wfs_attr attr;
	struct wfs_batch *b;
	struct lossy l;
	struct wfs_fh dir, f;

	begin(&l, t);
	lose_next(&l);
	assert_int_equal(
	        wfs_make(l.w, NULL, &t->root, "dir", &(struct wfs_new){ WFS_TYPE_DIR, 0755, 0, NULL }, &dir, &attr), 0);
	assert_int_equal(t->tree->creates, 1);
	assert_int_equal(wfs_batch_new(l.w, &b), 0);
	wfs_batch_put(b, &dir);
	wfs_batch_create(b, "f", 0644, WFS_CREATE_EXCLUSIVE, WFS_ACCESS_WRITE, NULL);
	wfs_batch_write(b, "once", 4, 0, WFS_APPEND);
	wfs_batch_get_fh(b, &f);
	lose_next(&l);
	assert_int_equal(wfs_batch_run(b, NULL, NULL), 0);
	wfs_batch_clear(b);
	wfs_batch_put(b, &f);
	wfs_batch_write(b, "more", 4, 0, WFS_APPEND);
	lose_next(&l);
	assert_int_equal(wfs_batch_run(b, NULL, NULL), 0);
	wfs_batch_free(b);
	assert_int_equal(wfs_getattr(l.w, NULL, &f, &attr), 0);
	assert_int_equal(attr.size_bytes, 8);
	lose_next(&l);
	assert_int_equal(wfs_rename(l.w, NULL, &dir, "f", &t->root, "g", 0), 0);
	lose_next(&l);
	assert_int_equal(wfs_unlink(l.w, NULL, &t->root, "g", 0), 0);
	lose_next(&l);
	assert_int_equal(wfs_unlink(l.w, NULL, &t->root, "dir", 1), 0);
	end(&l, 6);
}

static void test_a_lost_refusal_is_refused_again(void **state)
{
	struct tree_fixture *t = *state;
	struct lossy l;

	begin(&l, t);
	lose_next(&l);
	assert_int_equal(wfs_unlink(l.w, NULL, &t->root, "none", 0), -ENOENT);
	lose_next(&l);
	assert_int_equal(
	        wfs_make(l.w, NULL, &t->root, "sub", &(struct wfs_new){ WFS_TYPE_DIR, 0755, 0, NULL }, NULL, NULL),
	        -EEXIST);
	end(&l, 2);
}

static void test_a_file_whose_opening_was_answered_twice_is_usable(void **state)
{
	struct tree_fixture *t = *state;
	struct wfs_file *f;
	struct wfs_fh fh;
	struct lossy l;
	char buf[8];
	size_t len;
	int created;

	begin(&l, t);
	lose_next(&l);
	assert_int_equal(wfs_create(l.w, NULL, &t->root, "f", 0, WFS_CREATE_EXCLUSIVE,
	                            WFS_ACCESS_READ | WFS_ACCESS_WRITE, &f, &fh, NULL, &created),
	                 0);
	assert_true(created);
	assert_int_equal(wfs_pwrite(f, "text", 4, 0, 0), 0);
	lose_next(&l);
	assert_int_equal(wfs_pwrite(f, "more", 4, 4, 0), 0);
	lose_next(&l);
	assert_int_equal(wfs_pread_some(f, buf, sizeof(buf), 0, &len), 0);
	assert_int_equal(len, 8);
	assert_memory_equal(buf, "textmore", 8);
	assert_int_equal(wfs_flush(f), 0);
	wfs_close(f);
	end(&l, 3);
}

static void test_an_append_to_an_open_file_is_done_once(void **state)
{
	struct tree_fixture *t = *state;
	struct wfs_file *f;
	struct wfs_fh fh;
	struct lossy l;
	uint64_t size;
	char buf[16];
	size_t len;

	begin(&l, t);
	assert_int_equal(wfs_create(l.w, NULL, &t->root, "f", 0, WFS_CREATE_EXCLUSIVE,
	                            WFS_ACCESS_READ | WFS_ACCESS_WRITE, &f, &fh, NULL, NULL),
	                 0);
	assert_int_equal(wfs_append(f, "once", 4, &size), 0);
	assert_int_equal(size, 4);
	lose_next(&l);
	assert_int_equal(wfs_append(f, "more", 4, &size), 0);
	assert_int_equal(size, 8);
	assert_int_equal(wfs_pread_some(f, buf, sizeof(buf), 0, &len), 0);
	assert_int_equal(len, 8);
	assert_memory_equal(buf, "oncemore", 8);
	assert_int_equal(wfs_flush(f), 0);
	wfs_close(f);
	end(&l, 1);
}

static void test_a_long_write_whose_answers_are_lost_is_whole(void **state)
{
	const size_t len = (3u << 20) + 123, at = 1000;
	uint8_t *data = malloc(len), *back = malloc(len + 1);
	struct tree_fixture *t = *state;
	struct wfs_file *f;
	struct wfs_fh fh;
	struct lossy l;
	size_t got;

	for (size_t i = 0; i < len; i++)
		data[i] = (uint8_t)(i * 31 + i / 65536);
	begin(&l, t);
	assert_int_equal(wfs_create(l.w, NULL, &t->root, "f", 0, WFS_CREATE_EXCLUSIVE,
	                            WFS_ACCESS_READ | WFS_ACCESS_WRITE, &f, &fh, NULL, NULL),
	                 0);
	for (unsigned round = 0; round < 4; round++) {
		data[round] ^= 0xff;
		lose_next(&l);
		assert_int_equal(wfs_pwrite(f, data, len, at, 0), 0);
		assert_int_equal(wfs_pread_some(f, back, len + 1, at, &got), 0);
		assert_int_equal(got, len);
		assert_memory_equal(back, data, len);
	}
	assert_int_equal(wfs_flush(f), 0);
	wfs_close(f);
	end(&l, 4);
	free(data);
	free(back);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, tree_setup, tree_teardown)
	const struct CMUnitTest tests[] = {
		T(test_what_must_not_be_done_twice_is_done_once),
		T(test_a_lost_refusal_is_refused_again),
		T(test_an_append_to_an_open_file_is_done_once),
		T(test_a_file_whose_opening_was_answered_twice_is_usable),
		T(test_a_long_write_whose_answers_are_lost_is_whole),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
