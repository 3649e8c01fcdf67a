/* SPDX-License-Identifier: BSD-3-Clause */
/* The running server of fixture.h with a real pool, which keeps answers of transactions, as the export "tree";
 * restarts, power cuts, and compounds whose whole answer is looked at. */
#ifndef WFSD_TESTS_UNIT_SERVER_RPC_TANK_FIXTURE_H
#define WFSD_TESTS_UNIT_SERVER_RPC_TANK_FIXTURE_H

#include <sys/stat.h>

#include "core/base/log.h"
#include "core/blk/sim.h"
#include "core/cache/cache.h"
#include "core/fs/wfs3/wfs3.h"
#include "core/vfs/vfs_pool.h"
#include "tests/unit/server/rpc/raw_compound.h"

#define MIB ((size_t)1 << 20)
#define RECORD_MAX 70000u
#define SLOT(n, s)                                                                                                     \
	(struct call)                                                                                                  \
	{                                                                                                              \
		.slot = (n), .sequence = (s), .reply_max = 65536                                                       \
	}

struct tank {
	struct tree_fixture t; /* its server; not its tree */
	struct blk_dev *device;
	struct cache *cache;
	struct wfs3 *w;
};

static const char *const device_name = "sim0";

static inline int open_device(void *ctx, const char *path, unsigned flags, struct blk_dev **ret)
{
	struct tank *k = ctx;

	(void)path;
	(void)flags;
	*ret = k->device;
	return 0;
}

static inline void close_device(void *ctx, struct blk_dev *dev)
{
	(void)ctx;
	(void)dev;
}

static inline void open_storage(struct tank *k)
{
	struct cache_config cache = { .budget = k->t.f->budget,
		                      .min_bytes = MIB,
		                      .dirty_max_bytes = 32 * MIB,
		                      .dirty_background_bytes = 16 * MIB,
		                      .writeback_age_ms = 5000,
		                      .writeback_threads = 1 };
	struct wfs3_config config = {
		.vfs = k->t.f->vfs, .budget = k->t.f->budget, .open = open_device, .close = close_device, .open_ctx = k
	};

	assert_int_equal(cache_new(&cache, &k->cache), 0);
	config.cache = k->cache;
	assert_int_equal(wfs3_new(&config, &k->w), 0);
}

static inline void close_storage(struct tank *k)
{
	wfs3_free(k->w);
	cache_free(k->cache);
}

static inline int tank_setup(void **state)
{
	struct pool_create_args args = { .name = "tank", .devices = &device_name, .device_count = 1 };
	const struct vfs_set_attr open_to_all = { .valid = VFS_SET_MODE, .mode = 0777 };
	struct tank *k = calloc(1, sizeof(*k));
	struct pool_admin admin;
	struct vfs_handle *top;
	void *inner;

	log_set_level(LOG_LEVEL_ERROR);
	assert_int_equal(fixture_setup(&inner), 0);
	k->t.f = inner;
	assert_int_equal(blk_sim_new(device_name, 192 * MIB, &k->device), 0);
	open_storage(k);
	admin = wfs3_pool_admin(k->w);
	assert_int_equal(admin.driver->pool_create(admin.ctx, &args), 0);
	assert_int_equal(admin.driver->fs_create(admin.ctx, "tank", "fs"), 0);
	assert_int_equal(vfs_walk(k->t.f->vfs, &vfs_cred_root, NULL, NULL, "/tank/fs", 0, &top), 0);
	assert_int_equal(vfs_set_attr(top, &vfs_cred_root, &open_to_all, NULL), 0);
	assert_int_equal(vfs_flush(top, 0), 0);
	vfs_close(top);
	tree_export(k->t.f, "tree", "/tank/fs", false);
	*state = k;
	return 0;
}

static inline int tank_teardown(void **state)
{
	struct tank *k = *state;
	void *inner = k->t.f;

	if (k->t.f->server)
		fixture_unserve(k->t.f);
	close_storage(k);
	assert_int_equal(fixture_teardown(&inner), 0);
	blk_close(k->device);
	free(k);
	return 0;
}

static inline void restart(struct tank *k)
{
	fixture_unserve(k->t.f);
	fixture_serve(k->t.f, 2000, NULL, 0);
}

/* The server starts anew while client 1 has @fd; its next connection. */
static inline int restart_under(struct tank *k, int fd)
{
	close(fd);
	restart(k);
	return connect_as(&k->t, 1);
}

/* The machine dies and comes back, with what of the device's cache @seed says. */
static inline void crash(struct tank *k, uint64_t seed)
{
	struct pool_admin admin;
	char *name = NULL;

	blk_sim_unplug(k->device);
	fixture_unserve(k->t.f);
	log_set_level((enum log_level)0);
	close_storage(k);
	log_set_level(LOG_LEVEL_ERROR);
	blk_sim_replug(k->device);
	blk_sim_power_cut(k->device, seed);
	open_storage(k);
	admin = wfs3_pool_admin(k->w);
	assert_int_equal(admin.driver->pool_import(admin.ctx, &device_name, 1, false, &name), 0);
	free(name);
	fixture_serve(k->t.f, 2000, NULL, 0);
}

/* ---- requests ---- */

struct reply {
	size_t len;
	uint8_t record[RECORD_MAX];
};

/* Results of a reply: how many, the last one, and (may be NULL) that of TX_BEGIN. */
static inline uint32_t take(const struct reply *r, struct wfsp_op_res *ret_last, uint64_t *ret_id)
{
	struct rd at = rd_init(r->record, r->len);
	char text[WFSP_TEXT_MAX + 1];
	uint32_t xid, count;

	assert_int_equal(rpc_get_reply(&at, &xid), 0);
	assert_int_equal(wfsp_get_status(&at, text), WFSP_OK);
	count = rd_be32(&at);
	for (uint32_t i = 0; i < count; i++) {
		wfsp_get_op_res(&at, ret_last);
		if (ret_id && ret_last->code == WFSP_OP_TX_BEGIN)
			*ret_id = ret_last->id;
	}
	assert_false(at.bad);
	assert_int_equal(rd_left(&at), 0);
	return count;
}

static inline void ask(int fd, struct call how, const struct wfsp_op *ops, uint32_t count, struct reply *ret)
{
	send_ops(fd, 9, how, ops, count);
	ret->len = raw_record(fd, ret->record, sizeof(ret->record));
	assert_true(ret->len > 0);
}

/* All of them succeed. */
static inline void ask_well(int fd, struct call how, const struct wfsp_op *ops, uint32_t count, struct reply *ret)
{
	struct wfsp_op_res last = { .status = WFSP_ERR_IO };

	ask(fd, how, ops, count, ret);
	assert_int_equal(take(ret, &last, NULL), count);
	assert_int_equal(last.status, WFSP_OK);
}

static inline void assert_same(const struct reply *a, const struct reply *b)
{
	assert_int_equal(a->len, b->len);
	assert_memory_equal(a->record, b->record, a->len);
}

/* The size of a file outside, or -1. */
static inline int64_t size_of(struct tank *k, const char *name)
{
	struct vfs_handle *h;
	struct vfs_stat st;
	char path[64];

	snprintf(path, sizeof(path), "/tank/fs/%s", name);
	if (vfs_walk(k->t.f->vfs, &vfs_cred_root, NULL, NULL, path, 0, &h))
		return -1;
	assert_int_equal(vfs_stat(h, &st), 0);
	vfs_close(h);
	return (int64_t)st.size_bytes;
}

#define BEGIN                                                                                                          \
	{                                                                                                              \
		.code = WFSP_OP_TX_BEGIN, .isolation = WFSP_TX_SNAPSHOT, .flags = WFSP_TX_ATOMIC                       \
	}
#define COMMIT                                                                                                         \
	{                                                                                                              \
		.code = WFSP_OP_TX_COMMIT                                                                              \
	}
#define CREATE(text)                                                                                                   \
	{                                                                                                              \
		.code = WFSP_OP_CREATE, .type = WFSP_TYPE_FILE, .mode = 0644, .name = BYTES(text),                     \
		.flags = WFSP_CREATE_EXCLUSIVE, .access = WFSP_ACCESS_READ | WFSP_ACCESS_WRITE                         \
	}
#define APPEND(text)                                                                                                   \
	{                                                                                                              \
		.code = WFSP_OP_WRITE, .flags = WFSP_WRITE_APPEND, .data = BYTES(text)                                 \
	}

static inline void put(struct tank *k, const char *name)
{
	const struct wfsp_op ops[] = {
		root,
		{ .code = WFSP_OP_PUT_FILE, .mode = 0644, .name = { (const uint8_t *)name, (uint32_t)strlen(name) } }
	};
	struct reply r;
	int fd = connect_as(&k->t, 9);

	ask_well(fd, plain, ops, 2, &r);
	close(fd);
}

/* ---- transactions with long answers ---- */

#define BULK 60000u

/* The file "bulk", which they read. */
static inline void make_bulk(struct tank *k)
{
	static uint8_t data[BULK];
	static struct reply r;
	const struct wfsp_op ops[] = { root, CREATE("bulk"), { .code = WFSP_OP_WRITE, .data = { data, BULK } } };
	int fd = connect_as(&k->t, 9);

	for (unsigned i = 0; i < BULK; i++)
		data[i] = (uint8_t)(i * 7919 >> 3);
	ask_well(fd, plain, ops, 3, &r);
	close(fd);
}

/* It makes another file, too. */
static inline void ask_bulky(int fd, struct call how, uint32_t number, struct reply *ret)
{
	char name[16];
	struct wfsp_op ops[] = { root,
		                 BEGIN,
		                 { .code = WFSP_OP_LOOKUP, .name = BYTES("bulk") },
		                 { .code = WFSP_OP_READ, .max_bytes = BULK },
		                 root,
		                 CREATE(""),
		                 COMMIT };

	snprintf(name, sizeof(name), "n%u", number);
	ops[5].name = (struct wfsp_bytes){ (const uint8_t *)name, (uint32_t)strlen(name) };
	ask(fd, how, ops, 7, ret);
}

#endif
