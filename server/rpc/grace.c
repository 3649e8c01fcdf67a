/* SPDX-License-Identifier: BSD-3-Clause */
/* The record of the sessions that have locks, and the time for which a server that has started waits for them. */
#include "server/rpc/grace.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/err.h"
#include "core/base/log.h"

struct holder {
	uint8_t key[RPC_SESSION_KEY_BYTES];
	bool stored;
	uint64_t origin; /* of the session that has the locks now: another one with that key may end later */
	bool awaited; /* of the last life of the server; it has not said that it has all of its locks again */
};

struct rpc_grace {
	struct rpc_lock_store store; /* put NULL: none */
	struct sync_mutex change_lock; /* around what is stored: held while that is written */
	struct sync_mutex lock;
	struct holder *holders SYNC_GUARDED_BY(lock);
	unsigned count SYNC_GUARDED_BY(lock);
	unsigned awaited_count SYNC_GUARDED_BY(lock);
	uint64_t until_ns SYNC_GUARDED_BY(lock);
	bool ending SYNC_GUARDED_BY(lock);
};

static void add_known(void *ctx, const uint8_t *key) SYNC_NO_ANALYSIS;
static void add_known(void *ctx, const uint8_t *key)
{
	struct rpc_grace *g = ctx;

	if (g->count == RPC_HOLDERS_MAX)
		return;
	memcpy(g->holders[g->count].key, key, RPC_SESSION_KEY_BYTES);
	g->holders[g->count].stored = true;
	g->holders[g->count++].awaited = true;
	g->awaited_count++;
}

SYNC_NO_ANALYSIS int rpc_grace_new(const struct rpc_server_config *config, struct rpc_grace **ret)
{
	struct rpc_grace *g = calloc(1, sizeof(*g));

	if (g)
		g->holders = calloc(RPC_HOLDERS_MAX, sizeof(*g->holders));
	if (!g || !g->holders) {
		free(g);
		return err_set(-ENOMEM, "no memory for the holders of locks");
	}
	if (config->lock_store)
		g->store = *config->lock_store;
	sync_mutex_init(&g->change_lock, SYNC_RANK_CONNECTION, "rpc lock holders, storing");
	sync_mutex_init(&g->lock, SYNC_RANK_HANDLE, "rpc lock holders");
	g->until_ns = sync_now_ns() + config->grace_s * SYNC_NS_PER_S;
	if (g->store.put)
		g->store.each(g->store.ctx, add_known, g);
	if (g->count)
		log_notice("rpc", "waiting for locks of the last run: sessions=%u seconds=%u", g->count,
		           config->grace_s);
	*ret = g;
	return 0;
}

void rpc_grace_free(struct rpc_grace *g)
{
	if (!g)
		return;
	sync_mutex_done(&g->change_lock);
	sync_mutex_done(&g->lock);
	free(g->holders);
	free(g);
}

static struct holder *find(struct rpc_grace *g, const uint8_t *key) SYNC_REQUIRES(g->lock)
{
	for (unsigned i = 0; i < g->count; i++)
		if (memcmp(g->holders[i].key, key, RPC_SESSION_KEY_BYTES) == 0)
			return &g->holders[i];
	return NULL;
}

/* The time is over: who has not come back has no locks any more. What is stored tells so with the next change. */
static bool is_open(struct rpc_grace *g) SYNC_REQUIRES(g->lock)
{
	unsigned kept = 0;

	if (!g->awaited_count)
		return false;
	if (sync_now_ns() < g->until_ns)
		return true;
	for (unsigned i = 0; i < g->count; i++)
		if (!g->holders[i].awaited)
			g->holders[kept++] = g->holders[i];
	log_notice("rpc", "sessions that did not come for their locks in time: count=%u", g->awaited_count);
	g->count = kept;
	g->awaited_count = 0;
	return false;
}

/* Record, durably, who has locks. The change is in the table already. */
static int put_all(struct rpc_grace *g) SYNC_REQUIRES(g->change_lock)
{
	uint8_t *keys;
	unsigned n;
	int rc;

	if (!g->store.put)
		return 0;
	sync_mutex_lock(&g->lock);
	n = g->count;
	keys = malloc((n + 1u) * RPC_SESSION_KEY_BYTES);
	for (unsigned i = 0; keys && i < n; i++)
		memcpy(keys + i * RPC_SESSION_KEY_BYTES, g->holders[i].key, RPC_SESSION_KEY_BYTES);
	sync_mutex_unlock(&g->lock);
	rc = keys ? g->store.put(g->store.ctx, keys, n) : err_set(-ENOMEM, "no memory for the holders of locks");
	free(keys);
	return rc;
}

static void drop(struct rpc_grace *g, struct holder *h) SYNC_REQUIRES(g->lock)
{
	g->awaited_count -= h->awaited;
	*h = g->holders[--g->count];
}

/* The first lock of a session: it is recorded before it is granted. */
static int record(struct rpc_grace *g, const uint8_t *key, uint64_t origin)
{
	struct holder *h;
	int rc = 0;

	sync_mutex_lock(&g->change_lock);
	sync_mutex_lock(&g->lock);
	h = find(g, key);
	if (!h && g->count == RPC_HOLDERS_MAX) {
		rc = err_set(-ENOLCK, "%u clients have locks", g->count);
	} else if (!h) {
		h = &g->holders[g->count++];
		h->awaited = h->stored = false;
		memcpy(h->key, key, RPC_SESSION_KEY_BYTES);
	}
	if (!rc)
		h->origin = origin;
	sync_mutex_unlock(&g->lock);
	if (!rc)
		rc = put_all(g);
	sync_mutex_lock(&g->lock);
	h = find(g, key);
	if (h && rc && !h->stored)
		drop(g, h);
	else if (h && !rc)
		h->stored = true;
	sync_mutex_unlock(&g->lock);
	sync_mutex_unlock(&g->change_lock);
	return rc;
}

int rpc_grace_admit(struct rpc_grace *g, const uint8_t key[RPC_SESSION_KEY_BYTES], uint64_t origin, bool reclaim)
{
	struct holder *h;
	bool open, known, awaited;

	if (!g->store.put)
		return reclaim ? err_set(-ESTALE, "nothing is known of locks of an earlier run") : 0;
	sync_mutex_lock(&g->lock);
	open = is_open(g);
	h = find(g, key);
	known = h && h->stored;
	awaited = h && h->awaited;
	if (h && (reclaim || !open))
		h->origin = origin;
	sync_mutex_unlock(&g->lock);
	if (reclaim)
		return open && awaited ? 0
		                       : err_set(-ESTALE, "there is no lock to be had back, or it is too late for it");
	if (open)
		return err_set(-ERESTART, "the server waits for those who had locks before it was restarted");
	return known ? 0 : record(g, key, origin);
}

void rpc_grace_reclaimed(struct rpc_grace *g, const uint8_t key[RPC_SESSION_KEY_BYTES], uint64_t origin)
{
	struct holder *h;

	sync_mutex_lock(&g->lock);
	h = find(g, key);
	if (h && h->awaited) {
		h->awaited = false;
		h->origin = origin;
		g->awaited_count--;
	}
	sync_mutex_unlock(&g->lock);
}

void rpc_grace_forget(struct rpc_grace *g, const uint8_t key[RPC_SESSION_KEY_BYTES], uint64_t origin)
{
	struct holder *h;

	sync_mutex_lock(&g->change_lock);
	sync_mutex_lock(&g->lock);
	h = g->ending ? NULL : find(g, key);
	/* Who is awaited may still come, or has come, as another session with the same key. */
	if (h && (h->awaited || h->origin != origin))
		h = NULL;
	if (h)
		drop(g, h);
	sync_mutex_unlock(&g->lock);
	/* If that fails, somebody is waited for in vain. */
	if (h)
		(void)put_all(g);
	sync_mutex_unlock(&g->change_lock);
}

void rpc_grace_end(struct rpc_grace *g)
{
	sync_mutex_lock(&g->lock);
	g->ending = true;
	sync_mutex_unlock(&g->lock);
}
