/* SPDX-License-Identifier: BSD-3-Clause */
/* Who is at the other end of connections, and what all those of one peer hold together. */
#include <stdlib.h>
#include <string.h>

#include "core/base/siphash.h"
#include "server/rpc/session.h"

/* A peer over TLS is not the same without, nor with another certificate. */
static uint8_t kind_of(const struct rpc_peer *peer)
{
	return (uint8_t)(peer->is_unix | (peer->tls ? 2 : 0));
}

#define NAMES_BYTES_MAX 2048u

/* What is in the certificate, with the ends of the names: its length. Another one with the same names is the same. */
static size_t put_names(uint8_t ret[NAMES_BYTES_MAX], const struct rpc_peer *peer)
{
	const char *name;
	size_t at = 0;

	for (unsigned i = 0; peer->tls && (name = tls_peer_name(peer->tls, i)); i++) {
		size_t len = strlen(name) + 1;

		if (len > NAMES_BYTES_MAX - at)
			break;
		memcpy(ret + at, name, len);
		at += len;
	}
	return at;
}

/* A host of an IPv6 network has as many addresses as it wants: the network counts. */
size_t rpc_peer_host_bytes(const struct rpc_peer *peer)
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };

	return memcmp(peer->address, mapped, sizeof(mapped)) == 0 ? 16 : 8;
}

static void account_of(const struct rpc_sessions *t, const struct rpc_peer *peer, uint8_t ret[RPC_PEER_BYTES])
{
	uint8_t buf[16 + NAMES_BYTES_MAX] = { 0 };
	size_t names;

	memset(ret, 0, RPC_PEER_BYTES);
	ret[0] = kind_of(peer);
	if (peer->is_unix) {
		put_be32(ret + 1, peer->uid);
		return;
	}
	memcpy(buf, peer->address, rpc_peer_host_bytes(peer));
	names = put_names(buf + 16, peer);
	if (names)
		siphash128(t->config.secret, buf, 16 + names, ret + 1);
	else
		memcpy(ret + 1, buf, 16);
}

void rpc_session_key_of(const struct rpc_sessions *t, const struct rpc_peer *peer, const uint8_t *client_id,
                        uint8_t ret[VFS_CLIENT_KEY_BYTES])
{
	uint8_t buf[WFSP_CLIENT_ID_BYTES + RPC_PEER_BYTES + NAMES_BYTES_MAX] = { 0 };
	uint8_t *who = buf + WFSP_CLIENT_ID_BYTES;

	memcpy(buf, client_id, WFSP_CLIENT_ID_BYTES);
	who[0] = kind_of(peer);
	if (peer->is_unix)
		put_be32(who + 1, peer->uid);
	else
		memcpy(who + 1, peer->address, sizeof(peer->address));
	siphash128(t->config.secret, buf, WFSP_CLIENT_ID_BYTES + RPC_PEER_BYTES + put_names(who + RPC_PEER_BYTES, peer),
	           ret);
}

struct rpc_account *rpc_account_find(struct rpc_sessions *t, const struct rpc_peer *peer)
{
	uint8_t who[RPC_PEER_BYTES];
	struct rpc_account *a = t->accounts;

	account_of(t, peer, who);
	while (a && memcmp(a->who, who, sizeof(who)) != 0)
		a = a->next;
	if (a)
		return a;
	a = calloc(1, sizeof(*a));
	if (!a)
		return NULL;
	budget_charge(t->config.charge, sizeof(*a));
	memcpy(a->who, who, sizeof(who));
	a->number = ++t->next_account;
	a->next = t->accounts;
	t->accounts = a;
	return a;
}

void rpc_account_drop(struct rpc_sessions *t, struct rpc_account *a)
{
	struct rpc_account **at = &t->accounts;

	if (a->session_count || a->connection_count || a->left_count)
		return;
	while (*at != a)
		at = &(*at)->next;
	*at = a->next;
	budget_uncharge(t->config.charge, sizeof(*a));
	free(a);
}

struct rpc_account *rpc_account_join(struct rpc_sessions *t, const struct rpc_peer *peer)
{
	struct rpc_account *a;

	sync_mutex_lock(&t->lock);
	a = rpc_account_find(t, peer);
	if (a)
		a->connection_count++;
	sync_mutex_unlock(&t->lock);
	return a;
}

void rpc_account_leave(struct rpc_sessions *t, struct rpc_account *a)
{
	sync_mutex_lock(&t->lock);
	a->connection_count--;
	rpc_account_drop(t, a);
	sync_mutex_unlock(&t->lock);
}

uint64_t rpc_account_number(const struct rpc_account *a)
{
	return a->number;
}

unsigned *rpc_account_handle_count(struct rpc_account *a)
{
	return &a->handle_count;
}
