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
	if (err)
		tx_free(t);
	else
		*ret = t;
	return err;
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
	struct rpc_tx **at;

	if (!s)
		return;
	sync_mutex_lock(&s->sessions->lock);
	at = &s->transactions;
	while (*at && *at != t)
		at = &(*at)->next;
	/* The caller has a reference, too. */
	if (*at) {
		*at = t->next;
		s->transaction_count--;
		s->account->transaction_count--;
		t->refs--;
	}
	sync_mutex_unlock(&s->sessions->lock);
}

void rpc_tx_put(struct rpc_session *s, struct rpc_tx *t)
{
	if (t && drop_ref(s, t))
		tx_free(t);
}

void rpc_txs_end(struct rpc_session *s)
{
	while (s->transactions) {
		struct rpc_tx *t = s->transactions;

		s->transactions = t->next;
		tx_free(t);
	}
}
