/* SPDX-License-Identifier: BSD-3-Clause */
/* A share of the fake server, mounted, and what tests do with it. */
#ifndef WFSD_TESTS_NFS_FIXTURE_H
#define WFSD_TESTS_NFS_FIXTURE_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/budget.h"
#include "core/cache/cache.h"
#include "core/fs/nfs/nfs_import.h"
#include "tests/unit/core/fs/nfs/fake_server.h"

#define TIMEOUT_MS 400u
#define PAGE 4096u

struct world {
	struct budget *budget;
	struct cache *cache;
	struct fake *server;
	struct nfs_import *im;
	struct vfs_node *root;
	int gone; /* atomic: times */
	int gone_rc;
};

static inline void on_gone(void *ctx, int rc)
{
	struct world *w = ctx;

	w->gone_rc = rc;
	__atomic_add_fetch(&w->gone, 1, __ATOMIC_RELEASE);
}

static inline int try_mount(struct world *w)
{
	struct nfs_import_options o = { .cache = w->cache, .timeout_ms = TIMEOUT_MS, .gone = on_gone, .ctx = w };
	char url[128];

	(void)snprintf(url, sizeof(url), "nfs://127.0.0.1:%u/export?mountport=%u", w->server->port, w->server->port);
	return nfs_import_open(url, &o, &w->im, &w->root);
}

static inline void world_init(struct world *w)
{
	struct cache_config config = { .min_bytes = 8u << 20,
		                       .dirty_max_bytes = 8u << 20,
		                       .dirty_background_bytes = 8u << 20,
		                       .writeback_age_ms = 600000,
		                       .writeback_threads = 1,
		                       .readahead_max_bytes = 1u << 20 };

	*w = (struct world){ .budget = budget_new(32u << 20) };
	config.budget = w->budget;
	assert_int_equal(cache_new(&config, &w->cache), 0);
	w->server = fake_start();
	assert_non_null(w->server);
}

static inline int setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	world_init(w);
	assert_int_equal(try_mount(w), 0);
	*state = w;
	return 0;
}

static inline int teardown(void **state)
{
	struct world *w = *state;

	if (w->root) {
		vfs_node_unref(w->root);
		assert_int_equal(__atomic_load_n(&w->gone, __ATOMIC_ACQUIRE), 1);
	}
	fake_stop(w->server);
	cache_free(w->cache);
	budget_free(w->budget);
	free(w);
	return 0;
}

SYNC_NO_ANALYSIS static inline void lock(struct world *w)
{
	sync_mutex_lock(&w->server->lock);
}

SYNC_NO_ANALYSIS static inline void unlock(struct world *w)
{
	sync_mutex_unlock(&w->server->lock);
}

static inline unsigned calls(struct world *w, unsigned proc)
{
	unsigned n;

	lock(w);
	n = w->server->calls[proc];
	unlock(w);
	return n;
}

static inline struct fake_file *serve_file(struct world *w, const char *name, uint8_t byte, uint64_t size)
{
	struct fake_file *f;

	lock(w);
	f = fake_add(w->server, 1, 0, name);
	fake_fill(w->server, f, byte, size);
	unlock(w);
	return f;
}

static inline int lookup(struct world *w, const char *name, struct vfs_node **ret)
{
	return w->root->ops->lookup(w->root, name, strlen(name), ret);
}

static inline struct vfs_node *open_file(struct world *w, const char *name, bool writable)
{
	struct vfs_node *n;

	assert_int_equal(lookup(w, name, &n), 0);
	assert_int_equal(n->ops->open(n, writable), 0);
	return n;
}

static inline void close_file(struct vfs_node *n, bool writable)
{
	n->ops->close(n, writable);
	vfs_node_unref(n);
}

static inline struct vfs_node *create(struct world *w, const char *name, enum vfs_type type)
{
	struct vfs_new attr = { .type = type, .mode = 0644 };
	struct vfs_node *n;

	assert_int_equal(w->root->ops->create(w->root, name, strlen(name), &attr, &n), 0);
	return n;
}

static inline uint64_t size_of(struct vfs_node *n)
{
	struct vfs_stat st;

	assert_int_equal(n->ops->stat(n, &st), 0);
	return st.size_bytes;
}

static inline int read_at(struct vfs_node *n, void *buf, size_t len, uint64_t offset)
{
	struct iovec iov = { buf, len };

	return n->ops->read(n, &iov, 1, offset, 0);
}

static inline int write_at(struct vfs_node *n, uint8_t byte, size_t len, uint64_t offset)
{
	uint8_t *buf = malloc(len);
	struct iovec iov = { buf, len };
	int rc;

	memset(buf, byte, len);
	rc = n->ops->write(n, &iov, 1, offset, 0);
	free(buf);
	return rc;
}

/* Does the range hold nothing but @byte? */
static inline void check_bytes(struct vfs_node *n, uint8_t byte, size_t len, uint64_t offset)
{
	uint8_t *buf = malloc(len);

	assert_int_equal(read_at(n, buf, len, offset), 0);
	for (size_t i = 0; i < len; i++)
		assert_int_equal(buf[i], byte);
	free(buf);
}

static inline int truncate_to(struct vfs_node *n, uint64_t size)
{
	struct vfs_set_attr a = { .valid = VFS_SET_SIZE, .size_bytes = size };

	return n->ops->set_attr(n, &a);
}

static inline bool on_any_name(void *ctx, const struct vfs_dirent *e)
{
	(void)e;
	(*(uint64_t *)ctx)++;
	return true;
}

static inline int setup_unmounted(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	world_init(w);
	*state = w;
	return 0;
}

#define WITH(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
#define UNMOUNTED(f) cmocka_unit_test_setup_teardown(f, setup_unmounted, teardown)

#endif
