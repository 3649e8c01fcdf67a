/* SPDX-License-Identifier: BSD-3-Clause */
/* Calls: how they find a connection, and how they end. */
#include "core/fs/nfs/call.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/err.h"
#include "core/fs/nfs/conn.h"

void nfs_batch_init(struct nfs_batch *b)
{
	sync_mutex_init(&b->lock, SYNC_RANK_LEAF, "nfs batch");
	sync_cond_init(&b->cond);
	b->pending = 0;
}

void nfs_batch_wait(struct nfs_batch *b)
{
	sync_assert_may_block();
	sync_mutex_lock(&b->lock);
	while (b->pending)
		sync_cond_wait(&b->cond, &b->lock);
	sync_mutex_unlock(&b->lock);
}

void nfs_batch_done(struct nfs_batch *b)
{
	sync_cond_done(&b->cond);
	sync_mutex_done(&b->lock);
}

void nfs_call_end(struct nfs_call *c, int rc)
{
	struct nfs_batch *b = c->batch;

	c->rc = rc;
	sync_mutex_lock(&b->lock);
	if (--b->pending == 0)
		sync_cond_broadcast(&b->cond);
	sync_mutex_unlock(&b->lock);
}

static struct nfs_conn *choose(struct nfs_net *net)
{
	unsigned first = __atomic_fetch_add(&net->turn, 1, __ATOMIC_RELAXED);
	struct nfs_conn *best = &net->conns[first % net->config.connections];
	unsigned best_load = UINT32_MAX;

	for (unsigned i = 0; i < net->config.connections; i++) {
		struct nfs_conn *c = &net->conns[(first + i) % net->config.connections];
		unsigned load = __atomic_load_n(&c->load, __ATOMIC_RELAXED);

		if (!__atomic_load_n(&c->connected, __ATOMIC_RELAXED))
			load += CONN_IN_FLIGHT_MAX;
		if (load < best_load) {
			best = c;
			best_load = load;
		}
	}
	return best;
}

void nfs_net_queue(struct nfs_net *net, struct nfs_call *c)
{
	struct nfs_conn *conn = choose(net);

	c->conn = conn;
	(void)__atomic_add_fetch(&conn->load, 1, __ATOMIC_RELAXED);
	sync_mutex_lock(&conn->lock);
	cds_list_add_tail(&c->link, &conn->queue);
	sync_mutex_unlock(&conn->lock);
	nfs_conn_wake(conn);
}

void nfs_call_start(struct nfs_net *net, struct nfs_batch *b, struct nfs_call *c)
{
	c->batch = b;
	c->not_before_ns = 0;
	c->deadline_ns = sync_now_ns() + net->config.timeout_ms * SYNC_NS_PER_MS;
	sync_mutex_lock(&b->lock);
	b->pending++;
	sync_mutex_unlock(&b->lock);
	if (__atomic_load_n(&net->dead, __ATOMIC_ACQUIRE)) {
		nfs_call_end(c, -ESTALE);
		return;
	}
	if (!c->probe && __atomic_load_n(&net->down, __ATOMIC_ACQUIRE)) {
		nfs_call_end(c, -ETIMEDOUT);
		return;
	}
	nfs_net_queue(net, c);
}

static const char *why(int rc)
{
	switch (rc) {
	case -ETIMEDOUT:
		return "the server does not answer";
	case -ECONNRESET:
		return "the connection was lost, and what became of the request is not known";
	case -ESTALE:
		return "the object is gone from the server, or the share was unmounted";
	case -EBADMSG:
		return "the server's answer makes no sense";
	default:
		return strerror(-rc);
	}
}

int nfs_call_run(struct nfs_net *net, struct nfs_call *c)
{
	struct nfs_batch b;

	nfs_batch_init(&b);
	nfs_call_start(net, &b, c);
	nfs_batch_wait(&b);
	nfs_batch_done(&b);
	if (c->rc == 0)
		return 0;
	return err_set(c->rc == -ECONNRESET ? -EIO : c->rc, "nfs server %s: %s", net->config.address, why(c->rc));
}

int nfs_net_new(const struct nfs_net_config *config, struct nfs_net **ret)
{
	struct nfs_net *net = calloc(1, sizeof(*net));
	int rc = 0;

	if (!net)
		return err_set(-ENOMEM, "no memory for connections");
	net->config = *config;
	net->conns = calloc(config->connections, sizeof(*net->conns));
	if (!net->conns)
		rc = err_set(-ENOMEM, "no memory for connections");
	while (rc == 0 && net->started < config->connections) {
		rc = nfs_conn_start(&net->conns[net->started], net);
		if (rc == 0)
			net->started++;
	}
	if (rc)
		nfs_net_free(net);
	else
		*ret = net;
	return rc;
}

void nfs_net_free(struct nfs_net *net)
{
	if (!net)
		return;
	for (unsigned i = 0; i < net->started; i++)
		nfs_conn_stop(&net->conns[i]);
	free(net->conns);
	free(net);
}

void nfs_net_kill(struct nfs_net *net)
{
	__atomic_store_n(&net->dead, 1, __ATOMIC_RELEASE);
	for (unsigned i = 0; i < net->started; i++)
		nfs_conn_wake(&net->conns[i]);
}

void nfs_net_get_stats(const struct nfs_net *net, struct nfs_net_stats *ret)
{
	const struct nfs_net_stats *s = &net->stats;

	*ret = (struct nfs_net_stats){
		.calls = __atomic_load_n(&s->calls, __ATOMIC_RELAXED),
		.read_bytes = __atomic_load_n(&s->read_bytes, __ATOMIC_RELAXED),
		.written_bytes = __atomic_load_n(&s->written_bytes, __ATOMIC_RELAXED),
		.repeated = __atomic_load_n(&s->repeated, __ATOMIC_RELAXED),
		.timed_out = __atomic_load_n(&s->timed_out, __ATOMIC_RELAXED),
		.connects = __atomic_load_n(&s->connects, __ATOMIC_RELAXED),
		.bad_replies = __atomic_load_n(&s->bad_replies, __ATOMIC_RELAXED),
		.down = __atomic_load_n(&net->down, __ATOMIC_RELAXED),
	};
}
