/* SPDX-License-Identifier: BSD-3-Clause */
/* The scrubbing of a pool: its thread, its pace, its place in the pool tree. What reads and verifies is check_live.c.
 */
#include "core/fs/wfs3/scrub.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/checked.h"
#include "core/base/err.h"
#include "core/base/log.h"
#include "core/base/metrics.h"
#include "core/fs/wfs3/check_live.h"
#include "core/fs/wfs3/pool.h"
#include "core/fs/wfs3/scrub_report.h"

/* Data of one part: 64 MiB, or what the rate allows in two seconds. */
#define SCRUB_PART_BLOCKS_MAX UINT64_C(16384)
#define SCRUB_PART_BLOCKS_MIN UINT64_C(256)
#define SCRUB_PART_S 2u
#define SCRUB_RATE_DEFAULT (UINT64_C(64) << 20)
#define SCRUB_STORE_NS (10 * SYNC_NS_PER_S) /* how often its place is recorded */
#define SCRUB_LOOK_NS (30 * SYNC_NS_PER_S) /* is it time for the next one? */
#define SCRUB_RETRY_NS (10 * SYNC_NS_PER_S)
#define SCRUB_LAG_MAX_NS SYNC_NS_PER_S /* time that was lost to slow devices is not made up for */

struct scrub {
	struct pool *pool;
	struct sync_mutex lock; /* SYNC_RANK_LEAF */
	struct sync_cond wake;
	struct scrub_item item SYNC_GUARDED_BY(lock); /* state 0: there never was one */
	bool dirty SYNC_GUARDED_BY(lock); /* @item is to be recorded */
	bool stop SYNC_GUARDED_BY(lock);
	bool has_thread;
	struct pool_check_report report SYNC_GUARDED_BY(lock);
	char error[sizeof(((struct pool_scrub_info *)0)->error)] SYNC_GUARDED_BY(lock);
	uint64_t part_blocks SYNC_GUARDED_BY(lock); /* read by the part that runs */
	uint64_t rate_bytes SYNC_GUARDED_BY(lock); /* measured, per second */
	uint64_t total_bytes; /* atomic: read since the import */
	/* The thread's. */
	uint64_t due_ns; /* of the next read */
	uint64_t measure_ns, measure_bytes;
	uint64_t stored_ns;
	struct sync_thread thread;
};

struct scrub *scrub_new(struct pool *p)
{
	struct scrub *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->pool = p;
	sync_mutex_init(&s->lock, SYNC_RANK_LEAF, "wfs3 scrub");
	sync_cond_init(&s->wake);
	return s;
}

void scrub_free(struct scrub *s)
{
	if (!s)
		return;
	pool_check_report_done(&s->report);
	sync_mutex_done(&s->lock);
	sync_cond_done(&s->wake);
	free(s);
}

void scrub_load(struct scrub *s, const struct scrub_item *item)
{
	sync_mutex_lock(&s->lock);
	s->item = item ? *item : (struct scrub_item){ 0 };
	sync_mutex_unlock(&s->lock);
}

static bool goes_on(const struct scrub *s) SYNC_REQUIRES(s->lock)
{
	return !s->stop && s->item.state == SCRUB_STATE_RUNNING;
}

/* ---- the pace ---- */

static uint64_t rate_limit(const struct scrub *s)
{
	uint64_t rate = s->pool->w->config.scrub_rate_bytes;

	return rate ? rate : SCRUB_RATE_DEFAULT;
}

static uint64_t part_size(const struct scrub *s)
{
	uint64_t blocks = rate_limit(s) / WFS3_BLOCK_BYTES * SCRUB_PART_S;

	return min_u64(max_u64(blocks, SCRUB_PART_BLOCKS_MIN), SCRUB_PART_BLOCKS_MAX);
}

static void measure(struct scrub *s, uint64_t now_ns, uint64_t bytes) SYNC_REQUIRES(s->lock)
{
	s->measure_bytes += bytes;
	if (now_ns - s->measure_ns < SYNC_NS_PER_S)
		return;
	s->rate_bytes = (uint64_t)((double)s->measure_bytes * 1e9 / (double)(now_ns - s->measure_ns));
	s->measure_ns = now_ns;
	s->measure_bytes = 0;
}

/* After each batch of reads: wait as long as the rate demands. */
static int step(void *ctx, const struct pool_check_report *so_far, uint64_t read_bytes)
{
	struct scrub *s = ctx;
	uint64_t rate = rate_limit(s), now_ns = sync_now_ns();
	bool on;

	__atomic_add_fetch(&s->total_bytes, read_bytes, __ATOMIC_RELAXED);
	sync_mutex_lock(&s->lock);
	s->part_blocks = so_far->read_block_count;
	measure(s, now_ns, read_bytes);
	if (s->due_ns + SCRUB_LAG_MAX_NS < now_ns)
		s->due_ns = now_ns;
	s->due_ns += (uint64_t)((double)read_bytes * 1e9 / (double)rate);
	while (goes_on(s) && s->due_ns > sync_now_ns())
		sync_cond_wait_until(&s->wake, &s->lock, s->due_ns);
	on = goes_on(s);
	sync_mutex_unlock(&s->lock);
	return on ? 0 : err_set(-ECANCELED, "the scrub was stopped");
}

/* ---- recording ---- */

/* The next commit records where it is, and there will be one. */
static void store(struct scrub *s)
{
	uint64_t txg;

	sync_mutex_lock(&s->lock);
	s->dirty = true;
	sync_mutex_unlock(&s->lock);
	txg = txg_enter(s->pool);
	txg_changed(s->pool, NULL, txg);
	txg_exit(s->pool);
	s->stored_ns = sync_now_ns();
}

int scrub_commit(struct scrub *s, uint64_t txg)
{
	const struct wfs3_key key = { .kind = WFS3_KIND_SCRUB };
	struct pool *p = s->pool;
	uint8_t buf[SCRUB_ITEM_BYTES];
	bool dirty;
	int rc = 0;

	sync_mutex_lock(&s->lock);
	dirty = s->dirty;
	s->dirty = false;
	if (dirty)
		scrub_item_encode(&s->item, buf);
	sync_mutex_unlock(&s->lock);
	while (dirty) {
		rc = tree_put(p->tree, txg, &key, buf, sizeof(buf));
		if (rc != -EAGAIN)
			break;
		rc = tree_fetch(p->tree, &key);
		if (rc)
			break;
	}
	return rc ? err_add(rc, "record the scrub") : 0;
}

/* ---- the work ---- */

/* One part, from the cursor on. As check_scrub(). */
static int run_part(struct scrub *s, struct check_cursor *cursor, struct pool_check_report *report)
{
	struct pool *p = s->pool;
	struct check_config config = { .with_data = true, .step = step, .ctx = s };
	struct check_live live = { .pool = p };
	struct space_pin pin;
	int rc;

	/* The commit before the open group is durable when the root is taken: it reaches nothing freed before the pin.
	 */
	space_pin(p->space, &pin);
	rc = txg_run_between(p, check_take_root, &live);
	if (rc)
		*report = (struct pool_check_report){ .state = POOL_CHECK_FAILED };
	else
		rc = check_scrub(&live, &config, cursor, part_size(s), report);
	space_unpin(p->space, pin);
	return rc;
}

static void end_scrub(struct scrub *s, enum scrub_state state) SYNC_REQUIRES(s->lock)
{
	s->item.state = state;
	s->item.ended_ns = sync_wall_ns();
	s->rate_bytes = 0;
}

/* What a part found, and where it ended. True: it should be recorded soon. */
static bool take_part(struct scrub *s, int rc, const struct check_cursor *cursor, const struct pool_check_report *part)
        SYNC_REQUIRES(s->lock)
{
	uint64_t damage = 0, repaired = 0;

	s->part_blocks = 0;
	if (rc < 0)
		return false;
	scrub_report_count(part, &damage, &repaired);
	scrub_report_merge(&s->report, part);
	s->item.done_blocks += part->read_block_count;
	s->item.damage_count += damage;
	s->item.repaired_count += repaired;
	s->item.dataset = rc ? cursor->dataset : 0;
	s->item.object = rc ? cursor->object : 0;
	s->item.cell = rc ? cursor->cell : 0;
	/* Whatever commit comes next takes it along. */
	s->dirty = true;
	if (!rc && goes_on(s))
		end_scrub(s, SCRUB_STATE_FINISHED);
	return !rc || damage || repaired || sync_now_ns() - s->stored_ns > SCRUB_STORE_NS;
}

static void tell_end(struct scrub *s, const struct scrub_item *i)
{
	if (i->state == SCRUB_STATE_FINISHED)
		log_notice("wfs3",
		           "pool=%s: scrub finished, %" PRIu64 " blocks read, %" PRIu64 " damaged, %" PRIu64
		           " repaired",
		           s->pool->name, i->done_blocks, i->damage_count, i->repaired_count);
}

static void one_part(struct scrub *s) SYNC_REQUIRES(s->lock)
{
	struct check_cursor cursor = { .dataset = s->item.dataset, .object = s->item.object, .cell = s->item.cell };
	struct pool_check_report part;
	struct scrub_item item;
	uint64_t started_ns = s->item.started_ns;
	bool record;
	int rc;

	sync_mutex_unlock(&s->lock);
	rc = run_part(s, &cursor, &part);
	sync_mutex_lock(&s->lock);
	/* It may have been stopped and started anew meanwhile. */
	record = s->item.started_ns == started_ns && take_part(s, rc, &cursor, &part);
	s->error[0] = '\0';
	if (rc < 0 && rc != -ECANCELED)
		snprintf(s->error, sizeof(s->error), "%.*s", (int)sizeof(s->error) - 1,
		         part.error[0] ? part.error : "it cannot be read");
	item = s->item;
	sync_mutex_unlock(&s->lock);
	scrub_report_tell(s->pool->name, &part);
	pool_check_report_done(&part);
	if (record) {
		store(s);
		tell_end(s, &item);
	}
	sync_mutex_lock(&s->lock);
	if (rc < 0 && rc != -ECANCELED && goes_on(s))
		sync_cond_wait_until(&s->wake, &s->lock, sync_now_ns() + SCRUB_RETRY_NS);
}

static void begin_scrub(struct scrub *s) SYNC_REQUIRES(s->lock)
{
	s->item = (struct scrub_item){ .state = SCRUB_STATE_RUNNING, .started_ns = sync_wall_ns() };
	pool_check_report_done(&s->report);
	s->report.started_ns = s->item.started_ns;
	s->report.online = s->report.with_data = true;
	s->error[0] = '\0';
	s->measure_ns = sync_now_ns();
	s->measure_bytes = 0;
}

/* By the configuration's schedule. A clock that goes back only delays it. */
static bool is_due(const struct scrub *s) SYNC_REQUIRES(s->lock)
{
	const struct pool *p = s->pool;
	uint64_t interval_ns = p->w->config.scrub_interval_s * SYNC_NS_PER_S;
	uint64_t last_ns = s->item.state ? s->item.ended_ns : p->devices[0].label.created_ns;
	uint64_t now_ns = sync_wall_ns();

	return interval_ns &&
	       (s->item.state == 0 || s->item.state == SCRUB_STATE_FINISHED || s->item.state == SCRUB_STATE_STOPPED) &&
	       now_ns > last_ns && now_ns - last_ns >= interval_ns;
}

static void scrub_main(void *arg)
{
	struct scrub *s = arg;

	sync_mutex_lock(&s->lock);
	s->measure_ns = s->stored_ns = sync_now_ns();
	while (!s->stop) {
		if (__atomic_load_n(&s->pool->failed, __ATOMIC_ACQUIRE)) {
			sync_cond_wait(&s->wake, &s->lock);
		} else if (s->item.state == SCRUB_STATE_RUNNING) {
			one_part(s);
		} else if (is_due(s)) {
			begin_scrub(s);
			log_notice("wfs3", "pool=%s: a scrub is due and begins", s->pool->name);
		} else {
			sync_cond_wait_until(&s->wake, &s->lock, sync_now_ns() + SCRUB_LOOK_NS);
		}
	}
	sync_mutex_unlock(&s->lock);
	blk_thread_done();
}

int scrub_start(struct scrub *s)
{
	int rc = sync_thread_start(&s->thread, "wfs3-scrub", scrub_main, s);

	s->has_thread = !rc;
	return rc ? err_set(rc, "no thread to scrub pool %s", s->pool->name) : 0;
}

void scrub_stop(struct scrub *s)
{
	if (!s->has_thread)
		return;
	sync_mutex_lock(&s->lock);
	s->stop = true;
	sync_cond_broadcast(&s->wake);
	sync_mutex_unlock(&s->lock);
	sync_thread_join(&s->thread);
	s->has_thread = false;
}

/* ---- administrators ---- */

static int change_locked(struct scrub *s, enum pool_scrub_verb verb) SYNC_REQUIRES(s->lock)
{
	enum scrub_state state = s->item.state;

	if (verb == POOL_SCRUB_START) {
		if (state == SCRUB_STATE_PAUSED)
			s->item.state = SCRUB_STATE_RUNNING;
		else if (state != SCRUB_STATE_RUNNING)
			begin_scrub(s);
		return 0;
	}
	if (state != SCRUB_STATE_RUNNING && (verb == POOL_SCRUB_PAUSE || state != SCRUB_STATE_PAUSED))
		return err_set(-EINVAL, "pool %s is not being scrubbed", s->pool->name);
	if (verb == POOL_SCRUB_STOP)
		end_scrub(s, SCRUB_STATE_STOPPED);
	else
		s->item.state = SCRUB_STATE_PAUSED;
	s->rate_bytes = 0;
	return 0;
}

int scrub_change(struct scrub *s, enum pool_scrub_verb verb)
{
	int rc = pool_check_writable(s->pool);

	if (rc)
		return rc;
	sync_mutex_lock(&s->lock);
	rc = change_locked(s, verb);
	if (!rc)
		s->dirty = true;
	sync_cond_broadcast(&s->wake);
	sync_mutex_unlock(&s->lock);
	return rc ? rc : txg_force(s->pool, 1);
}

void scrub_get_info(struct scrub *s, struct pool_scrub_info *ret)
{
	sync_mutex_lock(&s->lock);
	*ret = (struct pool_scrub_info){
		.state = (enum pool_scrub_state)s->item.state,
		.started_ns = s->item.started_ns,
		.ended_ns = s->item.ended_ns,
		.done_bytes = (s->item.done_blocks + s->part_blocks) * WFS3_BLOCK_BYTES,
		.rate_bytes = s->rate_bytes,
		.damage_count = s->item.damage_count,
		.repaired_count = s->item.repaired_count,
	};
	memcpy(ret->error, s->error, sizeof(ret->error));
	sync_mutex_unlock(&s->lock);
}

int scrub_get_report(struct scrub *s, struct pool_check_report *ret)
{
	static const enum pool_check_state states[] = {
		[0] = POOL_CHECK_NEVER,
		[SCRUB_STATE_RUNNING] = POOL_CHECK_RUNNING,
		[SCRUB_STATE_PAUSED] = POOL_CHECK_STOPPED,
		[SCRUB_STATE_FINISHED] = POOL_CHECK_DONE,
		[SCRUB_STATE_STOPPED] = POOL_CHECK_STOPPED,
	};
	int rc;

	sync_mutex_lock(&s->lock);
	rc = pool_check_report_copy(&s->report, ret);
	if (!rc) {
		ret->state = states[s->item.state];
		ret->started_ns = s->item.started_ns;
		ret->ended_ns = s->item.ended_ns;
		snprintf(ret->pool, sizeof(ret->pool), "%s", s->pool->name);
	}
	sync_mutex_unlock(&s->lock);
	return rc;
}

static void collect(struct scrub *s, struct metrics_sink *sink, double value)
{
	char labels[160], name[2 * sizeof(s->pool->name)];

	snprintf(labels, sizeof(labels), "pool=\"%s\"", metrics_escape(s->pool->name, name, sizeof(name)));
	metrics_emit(sink, labels, value);
}

static void collect_running(void *ctx, struct metrics_sink *sink)
{
	struct pool_scrub_info info;

	scrub_get_info(ctx, &info);
	collect(ctx, sink, info.state == POOL_SCRUB_RUNNING);
}

static void collect_bytes(void *ctx, struct metrics_sink *sink)
{
	struct scrub *s = ctx;

	collect(s, sink, (double)__atomic_load_n(&s->total_bytes, __ATOMIC_RELAXED));
}

static void collect_done(void *ctx, struct metrics_sink *sink)
{
	struct pool_scrub_info info;

	scrub_get_info(ctx, &info);
	collect(ctx, sink, (double)info.done_bytes);
}

static void collect_damage(void *ctx, struct metrics_sink *sink)
{
	struct pool_scrub_info info;

	scrub_get_info(ctx, &info);
	collect(ctx, sink, (double)info.damage_count);
}

static void collect_repaired(void *ctx, struct metrics_sink *sink)
{
	struct pool_scrub_info info;

	scrub_get_info(ctx, &info);
	collect(ctx, sink, (double)info.repaired_count);
}

int scrub_register_metrics(struct scrub *s, struct metrics *m)
{
	const struct {
		const char *name, *type, *help;
		metrics_collect_fn *collect;
	} rows[] = {
		{ "wfsd_scrub_running", "gauge", "1 while the pool is being scrubbed.", collect_running },
		{ "wfsd_scrub_read_bytes_total", "counter", "Bytes that scrubs read.", collect_bytes },
		{ "wfsd_scrub_done_bytes", "gauge", "Data that the current or last scrub verified.", collect_done },
		{ "wfsd_scrub_damaged", "gauge", "What the current or last scrub found damaged.", collect_damage },
		{ "wfsd_scrub_repaired", "gauge", "What the current or last scrub repaired.", collect_repaired },
	};
	int rc = 0;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]) && !rc; i++)
		rc = metrics_add_collector(m, s->pool, rows[i].name, rows[i].type, rows[i].help, rows[i].collect, s);
	return rc;
}
