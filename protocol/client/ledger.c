/* SPDX-License-Identifier: BSD-3-Clause */
/* libwfs: what was acknowledged, what was flushed, and what was lost in between, of one object. */
#include "protocol/client/ledger.h"

#include <stdlib.h>

void wfs_ledger_init(struct wfs_ledger *l)
{
	*l = (struct wfs_ledger){ .refs = 1 };
	sync_mutex_init(&l->lock, SYNC_RANK_LEDGER, "wfs ledger");
}

void wfs_ledger_done(struct wfs_ledger *l)
{
	sync_mutex_done(&l->lock);
}

struct wfs_ledger *wfs_ledger_new(void)
{
	struct wfs_ledger *l = malloc(sizeof(*l));

	if (l)
		wfs_ledger_init(l);
	return l;
}

struct wfs_ledger *wfs_ledger_ref(struct wfs_ledger *l)
{
	sync_mutex_lock(&l->lock);
	l->refs++;
	sync_mutex_unlock(&l->lock);
	return l;
}

void wfs_ledger_unref(struct wfs_ledger *l)
{
	bool last;

	if (!l)
		return;
	sync_mutex_lock(&l->lock);
	last = --l->refs == 0;
	sync_mutex_unlock(&l->lock);
	if (!last)
		return;
	wfs_ledger_done(l);
	free(l);
}

static uint64_t read_field(struct wfs_ledger *l, const uint64_t *field)
{
	uint64_t value;

	sync_mutex_lock(&l->lock);
	value = *field;
	sync_mutex_unlock(&l->lock);
	return value;
}

uint64_t wfs_ledger_seen(struct wfs_ledger *l)
{
	return read_field(l, &l->told);
}

uint64_t wfs_ledger_boot(struct wfs_ledger *l)
{
	return read_field(l, &l->boot);
}

static void lose(struct wfs_ledger *l) SYNC_REQUIRES(l->lock)
{
	if (l->losses == l->told)
		l->losses++;
}

bool wfs_ledger_move(struct wfs_ledger *l, uint64_t from, uint64_t boot, bool durable, bool doubt)
{
	bool there;

	sync_mutex_lock(&l->lock);
	if (l->boot == from && from != boot) {
		if (from && durable)
			l->durable_boot = from;
		else if (from && (doubt || l->writes != l->flushed))
			lose(l);
		l->flushed = l->writes;
		l->boot = boot;
	}
	there = l->boot == boot;
	sync_mutex_unlock(&l->lock);
	return there;
}

void wfs_ledger_wrote(struct wfs_ledger *l, uint64_t boot)
{
	sync_mutex_lock(&l->lock);
	if (boot == l->boot)
		l->writes++;
	else if (boot != l->durable_boot)
		lose(l); /* the answer of a server that is dead by now */
	sync_mutex_unlock(&l->lock);
}

void wfs_ledger_changed(struct wfs_ledger *l, uint64_t begin)
{
	sync_mutex_lock(&l->lock);
	if (begin && begin != l->boot && begin != l->durable_boot)
		lose(l);
	l->writes++;
	sync_mutex_unlock(&l->lock);
}

uint64_t wfs_ledger_writes(struct wfs_ledger *l)
{
	return read_field(l, &l->writes);
}

bool wfs_ledger_flushed(struct wfs_ledger *l, uint64_t writes, uint64_t *seen)
{
	bool lost;

	/* Everything that this life of the server acknowledged is durable; what an earlier one did may not be. */
	sync_mutex_lock(&l->lock);
	lost = *seen != l->losses;
	*seen = l->told = l->losses;
	if (l->flushed < writes)
		l->flushed = writes;
	sync_mutex_unlock(&l->lock);
	return lost;
}
