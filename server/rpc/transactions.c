/* SPDX-License-Identifier: BSD-3-Clause */
/* Transactions that sessions have begun and not ended. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "core/base/err.h"
#include "server/rpc/session.h"

static void tx_free(struct rpc_tx *t)
{
	vfs_close(t->root);
	vfs_tx_free(t->tx);
	free(t);
}

/* Was it there? */
static bool unlist(struct rpc_sessions *all, struct rpc_session *s, struct rpc_tx *t) SYNC_REQUIRES(all->lock)
{
	struct rpc_tx **at = &s->transactions;

	while (*at && *at != t)
		at = &(*at)->next;
	if (!*at)
		return false;
	*at = t->next;
	s->transaction_count--;
	s->account->transaction_count--;
	t->refs--; /* the caller has one, too */
	(void)all;
	return true;
}

static int list_it(struct rpc_session *s, struct rpc_tx *t)
{
	int err = 0;

	if (!s)
		return err_set(-EINVAL, "a transaction that is more than a compound needs a HELLO");
	sync_mutex_lock(&s->sessions->lock);
	if (s->transaction_count == RPC_TRANSACTIONS_MAX) {
		err = err_set(-EAGAIN, "%u transactions of a client are running", RPC_TRANSACTIONS_MAX);
	} else if (s->account->transaction_count == RPC_TRANSACTIONS_PEER_MAX) {
		err = err_set(-EAGAIN, "%u transactions of a peer are running", RPC_TRANSACTIONS_PEER_MAX);
	} else {
		t->next = s->transactions;
		s->transactions = t;
		s->transaction_count++;
		s->account->transaction_count++;
		t->refs++;
	}
	sync_mutex_unlock(&s->sessions->lock);
	return err;
}

/* Of all sessions of the peer, each with a reference. */
static unsigned collect(struct rpc_session *s, struct rpc_tx *ret[RPC_TRANSACTIONS_PEER_MAX])
{
	struct rpc_sessions *all = s->sessions;
	unsigned count = 0;

	sync_mutex_lock(&all->lock);
	for (struct rpc_session *o = all->first; o; o = o->next) {
		for (struct rpc_tx *t = o->account == s->account ? o->transactions : NULL;
		     t && count < RPC_TRANSACTIONS_PEER_MAX; t = t->next) {
			t->refs++;
			ret[count++] = t;
		}
	}
	sync_mutex_unlock(&all->lock);
	return count;
}

/* Out of whatever session's list it is in. */
static void forget_anywhere(struct rpc_session *s, struct rpc_tx *t)
{
	struct rpc_sessions *all = s->sessions;

	sync_mutex_lock(&all->lock);
	for (struct rpc_session *o = all->first; o; o = o->next)
		if (o->account == s->account && unlist(all, o, t))
			break;
	sync_mutex_unlock(&all->lock);
}

/* Those whose time is over, and that nobody has given up, take no place. */
static void forget_dead(struct rpc_session *s)
{
	struct rpc_tx *all[RPC_TRANSACTIONS_PEER_MAX];
	unsigned count = collect(s, all);
	struct vfs_tx_info info;

	for (unsigned i = 0; i < count; i++) {
		vfs_tx_get_info(all[i]->tx, &info);
		if (info.state != VFS_TX_RUNNING)
			forget_anywhere(s, all[i]);
		rpc_tx_put(s, all[i]);
	}
}

int rpc_tx_begin(struct rpc_session *s, struct rpc_tree *tree, const struct vfs_tx_args *args, bool listed,
                 struct rpc_tx **ret)
{
	struct rpc_tx *t = calloc(1, sizeof(*t));
	struct vfs_tx_info info;
	int err;

	if (!t)
		return err_set(-ENOMEM, "no memory for a transaction");
	t->refs = 1;
	t->export_key = tree->key;
	err = vfs_tx_begin(tree->root, args, &t->tx);
	if (!err)
		err = vfs_tx_handle(t->tx, tree->root, &t->root);
	if (!err) {
		vfs_tx_get_info(t->tx, &info);
		t->id = info.id;
		err = listed ? list_it(s, t) : 0;
	}
	if (err == -EAGAIN && t->id) {
		forget_dead(s);
		err = list_it(s, t);
	}
	if (err) {
		struct err why;

		err_take(&why); /* as its end is no error of its own */
		tx_free(t);
		err_restore(&why);
		return err;
	}
	*ret = t;
	return 0;
}

int rpc_tx_get(struct rpc_session *s, const struct rpc_tree *tree, uint64_t id, struct rpc_tx **ret)
{
	struct rpc_tx *t = NULL;

	if (s) {
		sync_mutex_lock(&s->sessions->lock);
		t = s->transactions;
		while (t && (t->id != id || t->export_key != tree->key))
			t = t->next;
		if (t)
			t->refs++;
		sync_mutex_unlock(&s->sessions->lock);
	}
	if (!t)
		return err_set(-ENOENT, "the session has no transaction %" PRIu64 " of that export", id);
	*ret = t;
	return 0;
}

static bool drop_ref(struct rpc_session *s, struct rpc_tx *t)
{
	bool last;

	if (!s)
		return --t->refs == 0;
	sync_mutex_lock(&s->sessions->lock);
	last = --t->refs == 0;
	sync_mutex_unlock(&s->sessions->lock);
	return last;
}

void rpc_tx_forget(struct rpc_session *s, struct rpc_tx *t)
{
	struct rpc_sessions *all = s ? s->sessions : NULL;

	if (!all)
		return;
	sync_mutex_lock(&all->lock);
	(void)unlist(all, s, t);
	sync_mutex_unlock(&all->lock);
}

void rpc_tx_put(struct rpc_session *s, struct rpc_tx *t)
{
	if (t && drop_ref(s, t))
		tx_free(t);
}

void rpc_txs_end(struct rpc_session *s)
{
	struct rpc_sessions *all = s->sessions;
	struct rpc_tx *t;

	do {
		sync_mutex_lock(&all->lock);
		t = s->transactions;
		if (t)
			s->transactions = t->next;
		sync_mutex_unlock(&all->lock);
		if (t) {
			(void)vfs_tx_abort(t->tx, -ECANCELED);
			/* Another session of the peer may be looking at it: forget_dead(). */
			rpc_tx_put(s, t);
		}
	} while (t);
}
