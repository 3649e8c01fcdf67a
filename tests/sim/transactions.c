/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Transactions under all kinds of trouble. Clients change several files in each; one more file, the state, says which
 * version each of them is of, and a file's name and contents follow from its version. So whoever looks, in a
 * transaction or after a crash, must find all of a transaction or nothing: the files are as the state says. What was
 * committed durably is there.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/err.h"
#include "core/blk/blk.h"
#include "core/vfs/vfs_tx.h"
#include "tests/sim/alloc.h"
#include "tests/sim/run.h"

#define FILES 6u
#define CLIENTS 3u
#define DATA_MAX 30000u
#define TOP "/" POOL_NAME "/fs"

struct state {
	uint64_t number; /* of transactions that were committed */
	uint64_t versions[FILES];
};

struct work {
	struct model *mo;
	struct rng rng;
	uint64_t floor; /* committed durably; atomic */
	unsigned ops, durable_one_in;
};

struct client {
	struct work *w;
	struct rng rng;
	struct sync_thread thread;
};

static size_t make_data(unsigned file, uint64_t version, uint8_t *buf)
{
	struct rng r = rng_new(file + 1, version);
	size_t len = (size_t)rng_below(&r, rng_one_in(&r, 3) ? DATA_MAX : 300);

	for (size_t i = 0; i < len; i++)
		buf[i] = (uint8_t)rng_next(&r);
	return len;
}

static void name_of(unsigned file, uint64_t version, char name[8])
{
	snprintf(name, 8, "%c%u", version % 2 ? 'a' : 'b', file);
}

static int open_top(struct machine *m, struct vfs_handle **ret)
{
	return vfs_walk(m->vfs, &vfs_cred_root, NULL, NULL, TOP, 0, ret);
}

static int read_file(struct vfs_handle *top, const char *name, void *buf, size_t cap, size_t *ret_len)
{
	struct iovec iov = { buf, cap };
	struct vfs_handle *h, *data;
	int rc = vfs_lookup(top, &vfs_cred_root, name, strlen(name), &h);

	if (rc)
		return rc;
	rc = vfs_open_handle(h, &vfs_cred_root, VFS_ACCESS_READ, &data);
	if (!rc) {
		rc = vfs_read_some(data, &iov, 1, 0, 0, ret_len);
		vfs_close(data);
	}
	vfs_close(h);
	return rc;
}

static int write_file(struct vfs_handle *top, const char *name, const void *buf, size_t len)
{
	const struct vfs_new attr = { .type = VFS_TYPE_FILE, .mode = 0644 };
	const struct vfs_set_attr empty = { .valid = VFS_SET_SIZE };
	struct iovec iov = { (void *)(uintptr_t)buf, len };
	struct vfs_handle *h, *data = NULL;
	int rc = vfs_lookup(top, &vfs_cred_root, name, strlen(name), &h);

	if (rc == -ENOENT)
		rc = vfs_create(top, &vfs_cred_root, name, strlen(name), &attr, 0, &h, NULL);
	if (rc)
		return rc;
	rc = vfs_set_attr(h, &vfs_cred_root, &empty, NULL);
	if (!rc)
		rc = vfs_open_handle(h, &vfs_cred_root, VFS_ACCESS_WRITE, &data);
	if (!rc && len)
		rc = vfs_write(data, &iov, 1, 0, 0);
	vfs_close(data);
	vfs_close(h);
	return rc;
}

static int read_state(struct vfs_handle *top, struct state *ret)
{
	size_t len = 0;
	int rc = read_file(top, "state", ret, sizeof(*ret), &len);

	if (rc == -ENOENT) {
		*ret = (struct state){ 0 };
		return 0;
	}
	if (!rc && len != sizeof(*ret))
		model_violation("the state has %zu bytes", len);
	return rc;
}

/* Are the files as the state says? */
static int check_files(struct vfs_handle *top, const struct state *s)
{
	uint8_t *want = malloc(DATA_MAX), *got = malloc(DATA_MAX + 1);
	int rc = want && got ? 0 : -ENOMEM;

	for (unsigned i = 0; i < FILES && !rc; i++) {
		size_t len, got_len = 0;
		char name[8], other[8];

		name_of(i, s->versions[i], name);
		name_of(i, s->versions[i] + 1, other);
		rc = read_file(top, other, got, DATA_MAX + 1, &got_len);
		if (!rc)
			model_violation("%s is there, which transaction %llu has renamed", other,
			                (unsigned long long)s->number);
		if (rc != -ENOENT || !s->versions[i]) {
			rc = rc == -ENOENT ? 0 : rc;
			continue;
		}
		rc = read_file(top, name, got, DATA_MAX + 1, &got_len);
		len = make_data(i, s->versions[i], want);
		if (rc == -ENOENT || (!rc && (got_len != len || memcmp(got, want, len) != 0)))
			model_violation("%s is not what transaction %llu has made of it (%zu of %zu bytes)", name,
			                (unsigned long long)s->number, got_len, len);
		tally->pages_compared += len / DISK_BLOCK_BYTES + 1;
	}
	free(want);
	free(got);
	return rc;
}

/* Give some files their next version. */
static int change(struct client *c, struct vfs_handle *top, struct state *s)
{
	unsigned count = 1 + (unsigned)rng_below(&c->rng, 3), first = (unsigned)rng_below(&c->rng, FILES);
	uint8_t *data = malloc(DATA_MAX);
	int rc = data ? 0 : -ENOMEM;

	for (unsigned i = 0; i < count && !rc; i++) {
		unsigned file = (first + i) % FILES;
		char name[8], next[8];
		size_t len;

		name_of(file, s->versions[file], name);
		name_of(file, ++s->versions[file], next);
		len = make_data(file, s->versions[file], data);
		if (s->versions[file] > 1 && rng_one_in(&c->rng, 2))
			rc = vfs_rename(top, &vfs_cred_root, name, 2, top, next, 2, 0);
		else if (s->versions[file] > 1)
			rc = vfs_unlink(top, &vfs_cred_root, name, 2, false);
		if (!rc)
			rc = write_file(top, next, data, len);
	}
	s->number++;
	if (!rc)
		rc = write_file(top, "state", s, sizeof(*s));
	free(data);
	return rc;
}

static int transact(struct client *c, struct vfs_handle *outside)
{
	struct vfs_tx_args args = { .isolation = rng_one_in(&c->rng, 2) ? VFS_TX_SNAPSHOT : VFS_TX_SERIALIZABLE };
	bool durable = rng_one_in(&c->rng, c->w->durable_one_in), look = rng_one_in(&c->rng, 3);
	struct vfs_handle *top = NULL;
	struct vfs_tx *tx;
	struct state s;
	int rc = vfs_tx_begin(outside, &args, &tx);

	if (rc)
		return rc;
	rc = vfs_tx_handle(tx, outside, &top);
	if (!rc)
		rc = read_state(top, &s);
	if (!rc && look)
		rc = check_files(top, &s);
	if (!rc && !look)
		rc = change(c, top, &s);
	if (!rc)
		rc = vfs_tx_commit(tx, durable);
	if (!rc && durable && !look && __atomic_load_n(&c->w->floor, __ATOMIC_RELAXED) < s.number)
		__atomic_store_n(&c->w->floor, s.number, __ATOMIC_RELAXED);
	vfs_close(top);
	vfs_tx_free(tx);
	return rc;
}

static void client_main(void *arg)
{
	struct client *c = arg;
	struct vfs_handle *top = NULL;
	int rc = open_top(c->w->mo->m, &top);

	for (unsigned i = 0; i < c->w->ops && !rc && !c->w->mo->m->power.off; i++) {
		if (rng_one_in(&c->rng, 12))
			sync_sleep_ns(rng_below(&c->rng, 2000) * SYNC_NS_PER_MS);
		rc = transact(c, top);
		c->w->mo->ops++;
		/* Somebody else was faster. */
		if (rc == -EBUSY)
			rc = 0;
	}
	if (rc)
		model_result(c->w->mo, "a transaction", rc);
	vfs_close(top);
	blk_thread_done();
}

static void plan_trouble(struct work *w)
{
	struct disk_power *p = &w->mo->m->power;

	p->writes = p->requests = 0;
	p->cut_at_write = p->fail_at_request = 0;
	switch (rng_below(&w->rng, 5)) {
	case 0:
	case 1:
		p->cut_at_write = 1 + rng_below(&w->rng, rng_one_in(&w->rng, 2) ? 40 : 200);
		break;
	case 2:
		p->fail_at_request = 1 + rng_below(&w->rng, 100);
		p->fail_count = rng_one_in(&w->rng, 2) ? rng_below(&w->rng, 3) : UINT32_MAX;
		p->fail_error = -EIO;
		break;
	case 3:
		alloc_arm(1 + rng_below(&w->rng, 2000), rng_one_in(&w->rng, 2) ? 0 : rng_below(&w->rng, 20));
		break;
	default:
		break;
	}
}

static void compare(struct work *w)
{
	struct vfs_handle *top;
	struct state s;
	int rc = open_top(w->mo->m, &top);

	if (!rc)
		rc = read_state(top, &s);
	if (!rc)
		rc = check_files(top, &s);
	if (rc)
		model_violation("the files cannot be read after a recovery: %d", rc);
	if (s.number < w->floor)
		model_violation("transaction %llu was durable, and %llu is the last one", (unsigned long long)w->floor,
		                (unsigned long long)s.number);
	w->floor = s.number;
	vfs_close(top);
}

static void round_of_work(struct work *w)
{
	struct client clients[CLIENTS];
	unsigned started = 0;

	plan_trouble(w);
	/* Also without anybody who brings the log to the disk. */
	w->durable_one_in = rng_one_in(&w->rng, 2) ? 4 : 1000;
	w->ops = 1 + (unsigned)rng_below(&w->rng, 40);
	for (; started < CLIENTS; started++) {
		clients[started] = (struct client){ .w = w, .rng = rng_new(rng_next(&w->rng), started) };
		if (sync_thread_start(&clients[started].thread, "client", client_main, &clients[started]))
			break;
	}
	for (unsigned i = 0; i < started; i++)
		sync_thread_join(&clients[i].thread);
	alloc_disarm();
	run_end(w->mo, (enum disk_keep)rng_below(&w->rng, DISK_KEEP_MODES), rng_one_in(&w->rng, 2));
	if (!run_import(w->mo))
		model_violation("the pool could not be imported");
	compare(w);
}

/* The first one of a pool's life writes the labels, of which a power cut may leave one torn. */
static void begin_first(struct machine *m)
{
	const struct vfs_tx_args args = { .isolation = VFS_TX_SNAPSHOT };
	struct vfs_handle *top;
	struct vfs_tx *tx;

	if (open_top(m, &top) || vfs_tx_begin(top, &args, &tx))
		model_violation("a transaction could not be begun");
	vfs_tx_free(tx);
	vfs_close(top);
}

static void episode(void *arg)
{
	static const unsigned ages_ms[] = { 50, 1000, 5000 };
	uint64_t seed = *(const uint64_t *)arg;
	struct machine_config config = {
		.seed = seed, .disk_count = 1, .disk_bytes = 64 * MIB, .cache_bytes = 16 * MIB
	};
	struct work w = { .rng = rng_new(seed, 50) };
	struct machine m;

	config.latency_ns_max = rng_one_in(&w.rng, 2) ? 0 : 200000;
	config.txg_age_ms = ages_ms[rng_below(&w.rng, 3)];
	config.writeback_age_ms = ages_ms[rng_below(&w.rng, 3)];
	run_make_base(&m, &w.mo, &config, 0);
	if (!run_import(w.mo) || m.admin.driver->fs_create(m.admin.ctx, POOL_NAME, "fs"))
		model_violation("a file system could not be created");
	begin_first(&m);
	for (unsigned i = 0; i < 4; i++) {
		where->step = i + 1;
		round_of_work(&w);
	}
	run_end(w.mo, DISK_KEEP_NONE, false);
	tally->ops += w.mo->ops;
	model_free(w.mo);
	machine_done(&m);
}

void scenario_transactions(uint64_t seed, uint64_t only)
{
	(void)only;
	run_scheduled(seed, episode, &seed);
}
