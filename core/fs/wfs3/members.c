/* SPDX-License-Identifier: BSD-3-Clause */
/* The table of a pool's devices: writing it to the labels, and what it tells administrators. */
#include "core/fs/wfs3/members.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/bytes.h"
#include "core/base/err.h"
#include "core/base/log.h"
#include "core/fs/wfs3/pool.h"

#define RETRY_NS (30 * SYNC_NS_PER_S) /* after a device could not be filled */

struct members *members_new(struct pool *p)
{
	struct members *m = calloc(1, sizeof(*m));

	if (!m)
		return NULL;
	m->pool = p;
	sync_mutex_init(&m->lock, SYNC_RANK_DEVICES, "wfs3 devices");
	sync_mutex_init(&m->wake_lock, SYNC_RANK_LEAF, "wfs3 devices wake");
	sync_cond_init(&m->wake);
	return m;
}

void members_free(struct members *m)
{
	if (!m)
		return;
	sync_mutex_done(&m->lock);
	sync_mutex_done(&m->wake_lock);
	sync_cond_done(&m->wake);
	free(m);
}

struct mirror_copy members_copy(const struct members *m, unsigned index)
{
	struct mirror_copy c;

	mirror_get(m->pool->devices[m->label.devices[index].group].dev, m->copy[index], &c);
	return c;
}

void members_uuid_text(const uint8_t u[16], char ret[MEMBER_UUID_BYTES])
{
	snprintf(ret, MEMBER_UUID_BYTES, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", u[0],
	         u[1], u[2], u[3], u[4], u[5], u[6], u[7], u[8], u[9], u[10], u[11], u[12], u[13], u[14], u[15]);
}

void members_name(const struct members *m, unsigned index, char ret[MEMBER_TEXT_BYTES])
{
	struct mirror_copy c = members_copy(m, index);

	if (c.dev)
		snprintf(ret, MEMBER_TEXT_BYTES, "device %u (%.60s)", index, blk_name(c.dev));
	else
		snprintf(ret, MEMBER_TEXT_BYTES, "device %u (not there)", index);
}

uint64_t members_mark(void *ctx)
{
	struct pool *p = ctx;
	uint64_t txg;

	sync_mutex_lock(&p->txg_lock);
	txg = p->durable_txg;
	sync_mutex_unlock(&p->txg_lock);
	return txg;
}

void members_kick(struct members *m)
{
	sync_mutex_lock(&m->wake_lock);
	m->work = true;
	sync_cond_signal(&m->wake);
	sync_mutex_unlock(&m->wake_lock);
}

void members_changed(void *ctx)
{
	members_kick(((struct pool *)ctx)->members);
}

/* The label of one device: the table, and what differs. */
static struct label label_of(const struct members *m, unsigned index) SYNC_REQUIRES(m->lock)
{
	struct label l = m->label;

	l.device_index = index;
	l.layout = m->pool->devices[l.devices[index].group].label.layout;
	return l;
}

/* For a label of m->label.generation. */
static void take_state(struct members *m, unsigned index) SYNC_REQUIRES(m->lock)
{
	struct label_device *d = &m->label.devices[index];
	struct mirror_copy c = members_copy(m, index);
	enum label_state before = d->state;

	d->state = c.state == MIRROR_ONLINE ? LABEL_ONLINE : c.state == MIRROR_FILLING ? LABEL_FILLING : LABEL_AWAY;
	d->since_txg = d->state == LABEL_ONLINE ? 0 : c.since;
	if (d->state == LABEL_ONLINE && before != LABEL_ONLINE)
		d->generation = m->label.generation;
	/* The label before this one may have been written to it, and no later one. */
	if (d->state == LABEL_AWAY && before != LABEL_AWAY)
		d->generation = m->label.generation - 1;
}

/* One round: 1 when a device went away during it. */
static int write_round(struct members *m) SYNC_REQUIRES(m->lock)
{
	bool again = false;

	if (m->label.generation == UINT64_MAX)
		return err_set(-EOVERFLOW, "pool %s: its labels cannot be written any more", m->pool->name);
	m->label.generation++;
	for (unsigned i = 0; i < m->label.device_count; i++)
		take_state(m, i);
	for (unsigned i = 0; i < m->label.device_count; i++) {
		struct mirror_copy c = members_copy(m, i);
		struct label l = label_of(m, i);
		int rc;

		if (!member_is_used(&c))
			continue;
		rc = label_write(c.dev, &l);
		if (!rc)
			continue;
		if (!mirror_give_up(m->pool->devices[l.devices[i].group].dev, m->copy[i], "label write", rc))
			return rc;
		again = true;
	}
	return again;
}

int members_write_labels(struct members *m)
{
	uint64_t changes[WFS3_DEVICES_MAX];
	struct pool *p = m->pool;
	int rc;

	if (m->labels_stay)
		return 0;
	do {
		for (unsigned g = 0; g < p->device_count; g++)
			changes[g] = mirror_change(p->devices[g].dev);
		rc = write_round(m);
	} while (rc > 0);
	for (unsigned g = 0; g < p->device_count && !rc; g++)
		mirror_set_recorded(p->devices[g].dev, changes[g]);
	return rc ? err_add(rc, "pool %s: record the states of its devices", p->name) : 0;
}

void members_repair_labels(struct pool *p)
{
	struct members *m = p->members;
	char text[256];
	int rc;

	sync_mutex_lock(&m->lock);
	rc = m->labels_differ ? members_write_labels(m) : 0;
	sync_mutex_unlock(&m->lock);
	if (rc)
		log_warning("wfs3", "pool=%s: %s", p->name, err_text(err_get(), rc, 0, text, sizeof(text)));
}

static bool all_recorded(const struct pool *p)
{
	for (unsigned g = 0; g < p->device_count; g++)
		if (!mirror_is_recorded(p->devices[g].dev))
			return false;
	return true;
}

int members_add_feature(struct pool *p, uint64_t feature)
{
	struct members *m = p->members;
	uint64_t before;
	int rc = 0;

	sync_mutex_lock(&m->lock);
	before = m->label.features_incompat;
	if (~before & feature) {
		m->label.features_incompat |= feature;
		rc = members_write_labels(m);
		if (rc)
			m->label.features_incompat = before;
	}
	sync_mutex_unlock(&m->lock);
	return rc;
}

int members_record(void *ctx)
{
	struct pool *p = ctx;
	struct members *m = p->members;
	int rc = 0;

	sync_mutex_lock(&m->lock);
	/* Another thread may have done it meanwhile. */
	if (!all_recorded(p))
		rc = members_write_labels(m);
	sync_mutex_unlock(&m->lock);
	return rc;
}

void members_close(struct pool *p)
{
	for (unsigned g = 0; g < p->device_count; g++) {
		for (unsigned i = 0; i < MIRROR_COPIES_MAX; i++) {
			struct mirror_copy c;

			mirror_get(p->devices[g].dev, i, &c);
			if (c.dev)
				p->w->config.close(p->w->config.open_ctx, c.dev);
		}
		blk_close(p->devices[g].dev);
	}
	p->device_count = 0;
}

SYNC_NO_ANALYSIS void members_disown(struct pool *p)
{
	for (unsigned g = 0; g < p->device_count; g++)
		blk_close(p->devices[g].dev);
	p->device_count = 0;
}

int members_erase(struct pool *p)
{
	struct members *m = p->members;
	int rc = 0;

	sync_mutex_lock(&m->lock);
	for (unsigned i = 0; i < m->label.device_count; i++) {
		struct mirror_copy c = members_copy(m, i);
		struct label l = label_of(m, i);
		int one = c.dev ? label_erase(c.dev, &l) : 0;

		/* What is away may fail. */
		if (one && c.state != MIRROR_AWAY && !rc)
			rc = one;
	}
	sync_mutex_unlock(&m->lock);
	return rc;
}

bool members_degraded(struct pool *p, char *text, size_t len)
{
	struct members *m = p->members;
	uint64_t filled = __atomic_load_n(&m->filled_blocks, __ATOMIC_RELAXED);
	uint64_t fill = __atomic_load_n(&m->fill_blocks, __ATOMIC_RELAXED);
	bool degraded = false;
	size_t used = 0;

	text[0] = '\0';
	sync_mutex_lock(&m->lock);
	for (unsigned i = 0; i < m->label.device_count && used < len; i++) {
		struct mirror_copy c = members_copy(m, i);
		char name[MEMBER_TEXT_BYTES];
		int n;

		if (c.state == MIRROR_ONLINE)
			continue;
		members_name(m, i, name);
		if (c.state == MIRROR_FILLING)
			n = snprintf(text + used, len - used,
			             "%s%s is being filled with what changed since txg %" PRIu64 ": %" PRIu64
			             " of at most %" PRIu64 " MiB",
			             used ? "; " : "", name, c.since, filled >> 8, fill >> 8);
		else
			n = snprintf(text + used, len - used, "%s%s is away since txg %" PRIu64, used ? "; " : "", name,
			             c.since);
		used += n > 0 ? (size_t)n : 0;
		degraded = true;
	}
	sync_mutex_unlock(&m->lock);
	return degraded;
}

static void caps_info(const struct blk_dev *dev, struct pool_device_info *ret)
{
	const struct blk_caps *caps = blk_caps(dev);

	snprintf(ret->path, sizeof(ret->path), "%s", blk_name(dev));
	snprintf(ret->transport, sizeof(ret->transport), "%s", blk_transport_name(caps->transport));
	snprintf(ret->model, sizeof(ret->model), "%s", caps->model);
	ret->size_bytes = caps->size_bytes;
	ret->queue_depth = caps->queue_depth;
	ret->logical_block_bytes = caps->logical_block_bytes;
	ret->volatile_cache = caps->volatile_cache;
	ret->fua = caps->fua;
	ret->discard = caps->discard;
	ret->read_errors = blk_error_count(dev, BLK_READ);
	ret->write_errors = blk_error_count(dev, BLK_WRITE) + blk_error_count(dev, BLK_FLUSH);
}

unsigned members_info(struct pool *p, struct pool_device_info *ret, unsigned max)
{
	static const enum pool_device_state states[] = { [MIRROR_EMPTY] = POOL_DEVICE_AWAY,
		                                         [MIRROR_ONLINE] = POOL_DEVICE_ONLINE,
		                                         [MIRROR_FILLING] = POOL_DEVICE_FILLING,
		                                         [MIRROR_AWAY] = POOL_DEVICE_AWAY };
	struct members *m = p->members;
	unsigned count;

	sync_mutex_lock(&m->lock);
	count = m->label.device_count < max ? m->label.device_count : max;
	for (unsigned i = 0; i < count; i++) {
		struct mirror_copy c = members_copy(m, i);

		members_uuid_text(m->label.devices[i].uuid, ret[i].uuid);
		ret[i].group = m->label.devices[i].group;
		ret[i].state = states[c.state];
		ret[i].away_txg = c.state == MIRROR_ONLINE ? 0 : c.since;
		ret[i].checksum_errors = c.checksum_errors;
		ret[i].repairs = c.repairs;
		ret[i].size_bytes = m->label.devices[i].device_bytes;
		if (c.dev)
			caps_info(c.dev, &ret[i]);
	}
	sync_mutex_unlock(&m->lock);
	return count;
}

uint64_t members_checksum_errors(struct pool *p)
{
	struct members *m = p->members;
	uint64_t sum = 0;

	sync_mutex_lock(&m->lock);
	for (unsigned i = 0; i < m->label.device_count; i++)
		sum += members_copy(m, i).checksum_errors;
	sync_mutex_unlock(&m->lock);
	return sum;
}

/* A copy that waits to be filled. */
static bool find_filling(struct members *m, unsigned *ret_group, unsigned *ret_copy)
{
	bool found = false;

	sync_mutex_lock(&m->lock);
	for (unsigned i = 0; i < m->label.device_count && !found; i++)
		if (members_copy(m, i).state == MIRROR_FILLING) {
			*ret_group = m->label.devices[i].group;
			*ret_copy = m->copy[i];
			found = true;
		}
	sync_mutex_unlock(&m->lock);
	return found;
}

static void log_failure(const struct pool *p, const char *doing, int code)
{
	char text[256];

	if (code && code != -ECANCELED)
		log_warning("wfs3", "pool=%s: could not %s: %s", p->name, doing,
		            err_text(err_get(), code, 0, text, sizeof(text)));
}

static void do_work(struct members *m)
{
	unsigned group, copy;
	int rc = members_record(m->pool);

	log_failure(m->pool, "record which devices are away", rc);
	/* The restart may have come between the end of the filling and this. */
	if (!rc)
		log_failure(m->pool, "detach a device that was replaced", members_detach_replaced(m->pool));
	while (!rc && find_filling(m, &group, &copy)) {
		rc = resilver(m->pool, group, copy);
		log_failure(m->pool, "bring a device back", rc);
		if (!rc)
			rc = members_detach_replaced(m->pool);
	}
}

static void members_main(void *arg)
{
	struct members *m = arg;

	sync_mutex_lock(&m->wake_lock);
	while (!m->stop) {
		unsigned group, copy;
		bool waits;

		if (!m->work) {
			/* What could not be filled is tried again. */
			sync_mutex_unlock(&m->wake_lock);
			waits = find_filling(m, &group, &copy);
			sync_mutex_lock(&m->wake_lock);
			if (!m->work && !m->stop && waits)
				m->work = !sync_cond_wait_until(&m->wake, &m->wake_lock, sync_now_ns() + RETRY_NS);
			else if (!m->work && !m->stop)
				sync_cond_wait(&m->wake, &m->wake_lock);
			continue;
		}
		m->work = false;
		sync_mutex_unlock(&m->wake_lock);
		do_work(m);
		sync_mutex_lock(&m->wake_lock);
	}
	sync_mutex_unlock(&m->wake_lock);
	blk_thread_done();
}

int members_start(struct pool *p)
{
	struct members *m = p->members;
	int rc = 0;

	sync_mutex_lock(&m->lock);
	if (!m->running && m->label.device_count > p->device_count) {
		m->work = true;
		rc = sync_thread_start(&m->thread, "wfs3-mirror", members_main, m);
		m->running = !rc;
	}
	sync_mutex_unlock(&m->lock);
	return rc;
}

void members_stop(struct pool *p)
{
	struct members *m = p->members;
	bool running;

	sync_mutex_lock(&m->wake_lock);
	m->stop = true;
	sync_cond_broadcast(&m->wake);
	sync_mutex_unlock(&m->wake_lock);
	sync_mutex_lock(&m->lock);
	running = m->running;
	m->running = false;
	sync_mutex_unlock(&m->lock);
	if (running)
		sync_thread_join(&m->thread);
}
