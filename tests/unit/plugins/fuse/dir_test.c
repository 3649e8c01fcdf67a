/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * For how long the kernel may believe the attributes that come with a listing. The server's and the kernel's side are
 * played here: these functions take the place of libwfs's and libfuse's.
 */
#include <linux/fuse.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/plugins/fuse/no_locks.h"

#define LONG_S 60
#define SHORT_S 1.5
#define PAGE_BYTES 65536u
#define FILES 6u

struct fixture {
	struct options options;
	struct mount m;
	struct fuse_lowlevel_ops ops;
	struct fuse_file_info fi;
	unsigned fetches;
	unsigned told_in; /* the fetch during which the server tells of a change; 0: none */
	unsigned entries, believed; /* in the last page: all with attributes, and those that are believed for long */
};

static struct fixture *fixture;
static struct fuse_ctx ctx;

void *fuse_req_userdata(fuse_req_t req)
{
	(void)req;
	return &fixture->m;
}

const struct fuse_ctx *fuse_req_ctx(fuse_req_t req)
{
	(void)req;
	return &ctx;
}

int fuse_reply_open(fuse_req_t req, const struct fuse_file_info *fi)
{
	(void)req;
	(void)fi;
	return 0;
}

int fuse_reply_err(fuse_req_t req, int err)
{
	(void)req;
	assert_int_equal(err, 0);
	return 0;
}

int fuse_reply_buf(fuse_req_t req, const char *buf, size_t size)
{
	struct fixture *f = fixture;

	(void)req;
	f->entries = f->believed = 0;
	for (size_t at = 0; at < size;) {
		const struct fuse_direntplus *e = (const struct fuse_direntplus *)(const void *)(buf + at);
		const struct fuse_entry_out *o = &e->entry_out;
		double name_s = (double)o->entry_valid + o->entry_valid_nsec / 1e9;
		double attr_s = (double)o->attr_valid + o->attr_valid_nsec / 1e9;

		at += FUSE_DIRENTPLUS_SIZE(e);
		if (!o->nodeid)
			continue;
		f->entries++;
		assert_true((name_s >= LONG_S) == (attr_s >= LONG_S));
		f->believed += name_s >= LONG_S;
		assert_true(name_s > SHORT_S - 0.001 && attr_s > SHORT_S - 0.001);
		assert_true(name_s >= LONG_S || (name_s < SHORT_S + 0.001 && attr_s < SHORT_S + 0.001));
	}
	return 0;
}

int wfs_sync(struct wfs *w, const struct wfs_cred *cred, const struct wfs_fh *fh)
{
	(void)w;
	(void)cred;
	(void)fh;
	return 0;
}

/* Half of the files with each call. */
int wfs_readdir(struct wfs *w, const struct wfs_cred *cred, const struct wfs_fh *fh, uint64_t cookie, unsigned flags,
                uint32_t max_bytes, wfs_dirent_fn *fn, void *to, int *ret_eof)
{
	struct fixture *f = fixture;
	struct wfs_fh handle = { 0 };

	(void)w;
	(void)cred;
	(void)fh;
	(void)flags;
	(void)max_bytes;
	f->fetches++;
	if (f->fetches == f->told_in)
		atomic_fetch_add(&f->m.events.changes, 1);
	for (uint64_t i = cookie + 1; i <= cookie + FILES / 2; i++) {
		char name[] = { 'f', (char)('0' + i), '\0' };
		struct wfs_attr attr = { .type = WFS_TYPE_FILE, .file_id = 10 + i, .link_count = 1 };
		struct wfs_dirent e = { .name = name,
			                .name_len = 2,
			                .cookie = i,
			                .file_id = 10 + i,
			                .type = WFS_TYPE_FILE,
			                .attr = &attr,
			                .fh = &handle };

		assert_int_equal(fn(to, &e), 1);
	}
	*ret_eof = cookie + FILES / 2 >= FILES;
	return 0;
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct wfs_attr attr = { .type = WFS_TYPE_DIR, .file_id = 2 };
	struct wfs_fh fh = { 0 };

	f->options =
	        (struct options){ .attr_timeout_s = SHORT_S, .entry_timeout_s = SHORT_S, .coherent_timeout_s = LONG_S };
	f->m.options = &f->options;
	f->m.events.coherent = true;
	pthread_rwlock_init(&f->m.events.lock, NULL);
	assert_int_equal(node_table_init(&f->m.nodes), 0);
	f->m.root = node_get(&f->m.nodes, &attr, &fh);
	dir_ops(&f->ops);
	*state = fixture = f;
	f->ops.opendir(NULL, FUSE_ROOT_ID, &f->fi);
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	f->ops.releasedir(NULL, FUSE_ROOT_ID, &f->fi);
	node_table_done(&f->m.nodes);
	pthread_rwlock_destroy(&f->m.events.lock);
	free(f);
	return 0;
}

static void test_a_listing_is_believed_for_long_while_nothing_is_told(void **state)
{
	struct fixture *f = *state;

	f->ops.readdirplus(NULL, FUSE_ROOT_ID, PAGE_BYTES, 0, &f->fi);
	assert_int_equal(f->fetches, 2);
	assert_int_equal(f->entries, FILES);
	assert_int_equal(f->believed, FILES);
}

static void test_a_page_that_was_begun_before_a_change_was_told_is_not_believed_for_long(void **state)
{
	struct fixture *f = *state;

	f->told_in = 2;
	f->ops.readdirplus(NULL, FUSE_ROOT_ID, PAGE_BYTES, 0, &f->fi);
	assert_int_equal(f->fetches, 2);
	assert_int_equal(f->entries, FILES);
	assert_int_equal(f->believed, 0);
	/* What is asked for after that is believed again. */
	f->ops.readdirplus(NULL, FUSE_ROOT_ID, PAGE_BYTES, 0, &f->fi);
	assert_int_equal(f->believed, FILES);
}

static void test_without_a_server_that_tells_time_outs_stay_what_they_are(void **state)
{
	struct fixture *f = *state;

	f->m.events.coherent = false;
	f->ops.readdirplus(NULL, FUSE_ROOT_ID, PAGE_BYTES, 0, &f->fi);
	assert_int_equal(f->entries, FILES);
	assert_int_equal(f->believed, 0);
}

int main(void)
{
#define CASE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
	const struct CMUnitTest tests[] = {
		CASE(test_a_listing_is_believed_for_long_while_nothing_is_told),
		CASE(test_a_page_that_was_begun_before_a_change_was_told_is_not_believed_for_long),
		CASE(test_without_a_server_that_tells_time_outs_stay_what_they_are),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
