/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Transactions under all kinds of trouble. Clients change several files in each; one more file, the state, says which
 * version each of them is of, and a file's name and contents follow from its version. So whoever looks, in a
 * transaction or after a crash, must find all of a transaction or nothing: the files are as the state says. What was
 * committed durably is there.
 *
 * Two more files, the sides, hold a number each. A serializable transaction looks at both and gives one of them a
 * number above both: one after the other, whatever the order, none of them ever makes them equal.
 *
 * Where transactions are large, each takes up to a quarter of the log, and many of them follow each other around it.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/err.h"
#include "core/blk/blk.h"
#include "core/vfs/vfs_tx.h"
#include "tests/sim/alloc.h"
#include "tests/sim/transactions.h"

#define CLIENTS 3u
#define SMALL_MAX 300u
#define DATA_MAX 30000u
#define LARGE_MIN (160u << 10)
#define LARGE_MAX (330u << 10) /* three files, and the state, are just below what a transaction may have */
#define TOP "/" POOL_NAME "/fs"

struct state {
	uint64_t number; /* of transactions that were committed */
	uint64_t versions[TX_FILES];
};

/* @buf has room for data_room(). */
static size_t make_data(const struct tx_work *w, unsigned file, uint64_t version, uint8_t *buf)
{
	struct rng r = rng_new(file + 1, version);
	bool small = w->large ? rng_one_in(&r, 8) : !rng_one_in(&r, 3);
	size_t len = small      ? (size_t)rng_below(&r, SMALL_MAX)
	             : w->large ? LARGE_MIN + (size_t)rng_below(&r, LARGE_MAX - LARGE_MIN)
	                        : (size_t)rng_below(&r, DATA_MAX);

	for (size_t i = 0; i < len; i += sizeof(uint64_t)) {
		uint64_t next = rng_next(&r);

		memcpy(buf + i, &next, sizeof(next));
	}
	return len;
}

static size_t data_room(const struct tx_work *w)
{
	return (w->large ? LARGE_MAX : DATA_MAX) + sizeof(uint64_t);
}

void tx_name_of(unsigned file, uint64_t version, char name[8])
{
	snprintf(name, 8, "%c%u", version % 2 ? 'a' : 'b', file);
}

int tx_open_top(struct machine *m, struct vfs_handle **ret)
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

int tx_write_file(struct vfs_handle *top, const char *name, const void *buf, size_t len)
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

static int read_side(struct vfs_handle *top, const char *name, uint64_t *ret)
{
	size_t len = 0;
	int rc = read_file(top, name, ret, sizeof(*ret), &len);

	if (rc == -ENOENT)
		*ret = 0;
	else if (!rc && len != sizeof(*ret))
		model_violation("%s has %zu bytes", name, len);
	return rc == -ENOENT ? 0 : rc;
}

static int read_sides(struct vfs_handle *top, uint64_t ret_sides[2])
{
	int rc = read_side(top, "left", &ret_sides[0]);

	if (!rc)
		rc = read_side(top, "right", &ret_sides[1]);
	if (!rc && ret_sides[0] && ret_sides[0] == ret_sides[1])
		model_violation("two transactions were serializable, and neither saw that the other made it %llu",
		                (unsigned long long)ret_sides[0]);
	return rc;
}

/* One file is as the state says. */
static int check_file(const struct tx_work *w, struct vfs_handle *top, const struct state *s, unsigned i, uint8_t *want,
                      uint8_t *got)
{
	size_t len, got_len = 0;
	char name[8], other[8];
	int rc;

	tx_name_of(i, s->versions[i], name);
	tx_name_of(i, s->versions[i] + 1, other);
	rc = read_file(top, other, got, data_room(w), &got_len);
	if (!rc)
		model_violation("%s is there, which transaction %llu has renamed", other,
		                (unsigned long long)s->number);
	if (rc != -ENOENT || !s->versions[i])
		return rc == -ENOENT ? 0 : rc;
	rc = read_file(top, name, got, data_room(w), &got_len);
	len = make_data(w, i, s->versions[i], want);
	if (rc == -ENOENT || (!rc && (got_len != len || memcmp(got, want, len) != 0)))
		model_violation("%s is not what transaction %llu has made of it (%zu of %zu bytes)", name,
		                (unsigned long long)s->number, got_len, len);
	tally->pages_compared += len / DISK_BLOCK_BYTES + 1;
	return rc;
}

static int check_files(const struct tx_work *w, struct vfs_handle *top, const struct state *s)
{
	uint8_t *want = malloc(data_room(w)), *got = malloc(data_room(w));
	uint64_t sides[2];
	int rc = want && got ? read_sides(top, sides) : -ENOMEM;

	for (unsigned i = 0; i < TX_FILES && !rc; i++)
		rc = check_file(w, top, s, i, want, got);
	free(want);
	free(got);
	return rc;
}

/* The file gets other owners. */
static int give_away(struct tx_client *c, struct vfs_handle *top, const char *name)
{
	struct vfs_set_attr attr = { .valid = VFS_SET_UID | VFS_SET_GID | VFS_SET_PROJECT };
	struct vfs_handle *h;
	int rc = vfs_lookup(top, &vfs_cred_root, name, strlen(name), &h);

	if (rc)
		return rc;
	attr.uid = (uint32_t)rng_below(&c->rng, TX_OWNERS);
	attr.gid = (uint32_t)rng_below(&c->rng, TX_OWNERS);
	attr.project = (uint32_t)rng_below(&c->rng, TX_OWNERS);
	rc = vfs_set_attr(h, &vfs_cred_root, &attr, NULL);
	vfs_close(h);
	return rc;
}

/* Give some files their next version. */
static int change(struct tx_client *c, struct vfs_handle *top, struct state *s)
{
	unsigned count = 1 + (unsigned)rng_below(&c->rng, 3), first = (unsigned)rng_below(&c->rng, TX_FILES);
	uint8_t *data = malloc(data_room(c->w));
	int rc = data ? 0 : -ENOMEM;

	for (unsigned i = 0; i < count && !rc; i++) {
		unsigned file = (first + i) % TX_FILES;
		char name[8], next[8];
		size_t len;

		tx_name_of(file, s->versions[file], name);
		tx_name_of(file, ++s->versions[file], next);
		len = make_data(c->w, file, s->versions[file], data);
		if (s->versions[file] > 1 && rng_one_in(&c->rng, 2))
			rc = vfs_rename(top, &vfs_cred_root, name, 2, top, next, 2, 0);
		else if (s->versions[file] > 1)
			rc = vfs_unlink(top, &vfs_cred_root, name, 2, false);
		if (!rc)
			rc = tx_write_file(top, next, data, len);
		if (!rc && c->w->quotas && rng_one_in(&c->rng, 2))
			rc = give_away(c, top, next);
	}
	s->number++;
	if (!rc)
		rc = tx_write_file(top, "state", s, sizeof(*s));
	free(data);
	return rc;
}

static int raise_a_side(struct tx_client *c, struct vfs_handle *top)
{
	uint64_t sides[2], next;
	int rc = read_sides(top, sides);

	if (rc)
		return rc;
	next = (sides[0] > sides[1] ? sides[0] : sides[1]) + 1;
	return tx_write_file(top, rng_one_in(&c->rng, 2) ? "left" : "right", &next, sizeof(next));
}

/* What is done in a transaction. A client that gives up half-way leaves nothing. */
static int act(struct tx_client *c, struct vfs_handle *top, enum tx_action action, struct state *s)
{
	int rc;

	if (action == TX_RAISE)
		return raise_a_side(c, top);
	rc = read_state(top, s);
	if (!rc && action == TX_LOOK)
		rc = check_files(c->w, top, s);
	if (!rc && action == TX_CHANGE)
		rc = change(c, top, s);
	return rc;
}

int tx_transact(struct tx_client *c, struct vfs_handle *outside, enum tx_action action, bool durable,
                uint64_t *ret_number)
{
	bool serializable = rng_one_in(&c->rng, 2) || action == TX_RAISE, gives_up = rng_one_in(&c->rng, 12);
	struct vfs_tx_args args = { .isolation = serializable ? VFS_TX_SERIALIZABLE : VFS_TX_SNAPSHOT };
	struct vfs_handle *top = NULL;
	struct state s = { 0 };
	struct tx_answer kept;
	struct vfs_tx *tx;
	int rc = vfs_tx_begin(outside, &args, &tx);

	*ret_number = 0;
	if (rc)
		return rc;
	rc = vfs_tx_handle(tx, outside, &top);
	if (!rc)
		rc = act(c, top, action, &s);
	if (!rc && !gives_up) {
		*ret_number = action == TX_CHANGE ? s.number : 0;
		tx_make_answer(s.number, &kept);
		rc = vfs_tx_commit(tx, durable, action == TX_CHANGE ? &kept.answer : NULL);
	}
	vfs_close(top);
	vfs_tx_free(tx);
	return rc;
}

bool tx_is_expected(const struct tx_work *w, int rc)
{
	return rc == -EBUSY || (rc == -EDQUOT && w->quotas) || (rc == -ENOSPC && w->mo->tight);
}

static void client_main(void *arg)
{
	static const enum tx_action actions[] = { TX_LOOK, TX_CHANGE, TX_CHANGE, TX_RAISE };
	struct tx_client *c = arg;
	struct tx_work *w = c->w;
	struct vfs_handle *top = NULL;
	int rc = tx_open_top(w->mo->m, &top);

	for (unsigned i = 0; i < w->ops && !rc && !w->mo->m->power.off; i++) {
		enum tx_action action = actions[rng_below(&c->rng, sizeof(actions) / sizeof(actions[0]))];
		bool durable = rng_one_in(&c->rng, w->durable_one_in);
		uint64_t number;

		if (rng_one_in(&c->rng, 12))
			sync_sleep_ns(rng_below(&c->rng, 2000) * SYNC_NS_PER_MS);
		rc = tx_transact(c, top, action, durable, &number);
		if (!rc && durable && __atomic_load_n(&w->floor, __ATOMIC_RELAXED) < number)
			__atomic_store_n(&w->floor, number, __ATOMIC_RELAXED);
		w->mo->ops++;
		rc = tx_is_expected(w, rc) ? 0 : rc;
	}
	if (rc)
		model_result(w->mo, "a transaction", rc);
	vfs_close(top);
	blk_thread_done();
}

/* ---- rounds ---- */

static void plan_trouble(struct tx_work *w)
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

int tx_check(struct tx_work *w, uint64_t *ret_number)
{
	struct vfs_handle *top;
	struct state s;
	int rc = tx_open_top(w->mo->m, &top);

	if (!rc)
		rc = read_state(top, &s);
	if (!rc)
		rc = check_files(w, top, &s);
	if (!rc)
		rc = tx_check_answer(top, s.number);
	vfs_close(top);
	if (!rc)
		*ret_number = s.number;
	return rc;
}

static void compare(struct tx_work *w)
{
	uint64_t number = 0;
	int rc = tx_check(w, &number);

	if (rc)
		model_violation("the files cannot be read after a recovery: %d", rc);
	if (number < w->floor)
		model_violation("transaction %llu was durable, and %llu is the last one", (unsigned long long)w->floor,
		                (unsigned long long)number);
	w->floor = number;
}

static void round_of_work(struct tx_work *w)
{
	struct tx_client clients[CLIENTS + 1];
	unsigned count = CLIENTS + (unsigned)rng_below(&w->rng, 2), started = 0;

	plan_trouble(w);
	/* Also without anybody who brings the log to the disk. */
	w->durable_one_in = rng_one_in(&w->rng, 2) ? 4 : 1000;
	w->ops = 1 + (unsigned)rng_below(&w->rng, 40);
	for (; started < count; started++) {
		clients[started] = (struct tx_client){ .w = w, .rng = rng_new(rng_next(&w->rng), started) };
		if (sync_thread_start(&clients[started].thread, "client",
		                      started < CLIENTS ? client_main : tx_outsider_main, &clients[started]))
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

static void limit(struct machine *m, const struct quota_info *limits)
{
	if (m->admin.driver->quota_set(m->admin.ctx, POOL_NAME, "fs", limits))
		model_violation("a quota could not be set");
}

void tx_make_tree(struct tx_work *w)
{
	const struct quota_info user = { .owner = POOL_QUOTA_USER, .id = 1, .limit_bytes = 60000 },
	                        group = { .owner = POOL_QUOTA_GROUP, .id = 2, .limit_objects = 2 };
	const struct vfs_tx_args args = { .isolation = VFS_TX_SNAPSHOT };
	struct machine *m = w->mo->m;
	struct vfs_handle *top;
	struct tx_answer kept;
	struct vfs_tx *tx;

	if (m->admin.driver->fs_create(m->admin.ctx, POOL_NAME, "fs"))
		model_violation("a file system could not be created");
	if (w->quotas) {
		limit(m, &user);
		limit(m, &group);
	}
	/* The first one of a pool's life, and the first answer, write the labels, of which a power cut may leave one
	 * torn. */
	if (tx_open_top(m, &top) || vfs_tx_begin(top, &args, &tx))
		model_violation("a transaction could not be begun");
	tx_make_answer(0, &kept);
	if (vfs_tx_commit(tx, false, &kept.answer))
		model_violation("a transaction could not be committed");
	vfs_tx_free(tx);
	vfs_close(top);
}

struct episode {
	uint64_t seed;
	bool large;
};

static void episode(void *arg)
{
	static const unsigned ages_ms[] = { 50, 1000, 5000 };
	const struct episode *e = arg;
	struct machine_config config = {
		.seed = e->seed, .disk_count = 1, .disk_bytes = 64 * MIB, .cache_bytes = 16 * MIB
	};
	struct tx_work w = { .rng = rng_new(e->seed, 50), .large = e->large, .quotas = e->seed % 3 == 0 };
	struct machine m;

	config.latency_ns_max = rng_one_in(&w.rng, 2) ? 0 : 200000;
	config.txg_age_ms = ages_ms[rng_below(&w.rng, 3)];
	config.writeback_age_ms = ages_ms[rng_below(&w.rng, 3)];
	run_make_base(&m, &w.mo, &config, 0);
	if (!run_import(w.mo))
		model_violation("a new pool could not be imported");
	tx_make_tree(&w);
	if (e->seed % 5 == 1)
		run_fill_pool(w.mo, 64 * 1024 + rng_below(&w.rng, 4 * MIB));
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
	struct episode e = { .seed = seed };

	(void)only;
	run_scheduled(seed, episode, &e);
}

void scenario_tx_large(uint64_t seed, uint64_t only)
{
	struct episode e = { .seed = seed, .large = true };

	(void)only;
	run_scheduled(seed, episode, &e);
}
