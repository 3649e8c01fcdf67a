/* SPDX-License-Identifier: BSD-3-Clause */
/* The slowest requests: a list for each minute. */
#include "server/rpc/slow.h"

#include <stdio.h>
#include <string.h>

#include "server/rpc/internal.h"

#define MINUTE_NS (60 * SYNC_NS_PER_S)

void slow_init(struct slow_list *l)
{
	memset(l, 0, sizeof(*l));
	sync_mutex_init(&l->lock, SYNC_RANK_LEAF, "slow requests");
	l->floor_ns = SLOW_NS_MIN;
}

void slow_done(struct slow_list *l)
{
	sync_mutex_done(&l->lock);
}

bool slow_wants(const struct slow_list *l, uint64_t now_ns, uint64_t total_ns)
{
	if (total_ns < SLOW_NS_MIN)
		return false;
	return total_ns > __atomic_load_n(&l->floor_ns, __ATOMIC_RELAXED) ||
	       now_ns / MINUTE_NS != __atomic_load_n(&l->minute, __ATOMIC_RELAXED);
}

/* Put @item into a list that is sorted, slowest first, and has room for @max. */
static void insert(struct rpc_slow *items, unsigned *count, unsigned max, const struct rpc_slow *item)
{
	unsigned at = *count;

	while (at && items[at - 1].total_ns < item->total_ns)
		at--;
	if (at == max)
		return;
	if (*count < max)
		++*count;
	memmove(&items[at + 1], &items[at], (*count - 1 - at) * sizeof(items[0]));
	items[at] = *item;
}

void slow_add(struct slow_list *l, uint64_t now_ns, const struct rpc_slow *item)
{
	uint64_t minute = now_ns / MINUTE_NS;
	struct slow_minute *m;

	sync_mutex_lock(&l->lock);
	m = &l->minutes[minute % SLOW_MINUTES];
	if (m->minute != minute) {
		m->minute = minute;
		m->count = 0;
	}
	insert(m->items, &m->count, SLOW_PER_MINUTE, item);
	__atomic_store_n(&l->floor_ns, m->count < SLOW_PER_MINUTE ? SLOW_NS_MIN : m->items[m->count - 1].total_ns,
	                 __ATOMIC_RELAXED);
	__atomic_store_n(&l->minute, minute, __ATOMIC_RELAXED);
	sync_mutex_unlock(&l->lock);
}

unsigned slow_get(struct slow_list *l, uint64_t now_ns, struct rpc_slow *ret, unsigned max)
{
	uint64_t minute = now_ns / MINUTE_NS;
	unsigned count = 0;

	sync_mutex_lock(&l->lock);
	for (unsigned i = 0; i < SLOW_MINUTES; i++) {
		const struct slow_minute *m = &l->minutes[i];

		if (m->minute + SLOW_MINUTES <= minute)
			continue;
		for (unsigned j = 0; j < m->count; j++)
			insert(ret, &count, max, &m->items[j]);
	}
	sync_mutex_unlock(&l->lock);
	return count;
}

void rpc_slow_note(const struct rpc_op *op, uint64_t now)
{
	struct rpc_slow s = { .ended_wall_ns = sync_wall_ns(),
		              .total_ns = now - op->start_ns,
		              .procedure = wfsp_procedure_name(op->procedure),
		              .err = op->err };

	if (op->begun_ns) {
		uint64_t had_ns = op->ended_ns - op->begun_ns;
		uint64_t waited_ns = op->waits.device_ns + op->waits.others_ns;

		s.queued_ns = op->begun_ns - op->start_ns;
		s.device_ns = op->waits.device_ns;
		s.others_ns = op->waits.others_ns;
		s.busy_ns = had_ns > waited_ns ? had_ns - waited_ns : 0;
	}
	if (op->procedure == WFSP_COMPOUND) {
		s.operations = op->args.compound.op_count;
		s.slowest = op->slowest;
	} else if (op->handle) {
		s.offset = op->offset;
		s.len_bytes = op->len_bytes;
		snprintf(s.export_name, sizeof(s.export_name), "%.63s", op->handle->export_name);
	}
	rpc_peer_text(&op->conn->peer, true, s.client, sizeof(s.client));
	slow_add(&op->conn->server->slow, now, &s);
}
