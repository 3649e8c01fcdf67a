/* SPDX-License-Identifier: BSD-3-Clause */
/* The RPC server as a whole: its connections, who they say they are, and its end. */
#include "server/rpc/rpc_server.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/base/budget.h"
#include "core/base/err.h"
#include "server/rpc/compound.h"
#include "server/rpc/grace.h"

#define UNIX_SEND_BYTES (1 << 20)

_Static_assert(RPC_CLEAN_BOOTS_MAX == WFSP_CLEAN_BOOTS_MAX, "clean boots travel whole");

static int fill_hello(struct wfsp_hello_ok *h, const struct rpc_server_config *config)
{
	h->boot_id = config->boot_id;
	while (!h->boot_id) {
		if (getrandom(&h->boot_id, sizeof(h->boot_id), 0) != (ssize_t)sizeof(h->boot_id))
			return err_set(-EIO, "getrandom: %s", strerror(errno));
	}
	for (size_t i = 0; i < config->clean_boot_count && i < RPC_CLEAN_BOOTS_MAX; i++)
		h->clean_boots[h->clean_boot_count++] = config->clean_boots[i];
	h->payload_max_bytes = WFSP_PAYLOAD_MAX;
	h->requests_max = RPC_REQUESTS_MAX;
	snprintf(h->server_name, sizeof(h->server_name), "%s", config->server_name ? config->server_name : "wfsd");
	return 0;
}

static int take_secret(struct rpc_server *s, const uint8_t *secret)
{
	if (secret)
		memcpy(s->secret, secret, sizeof(s->secret));
	else if (getrandom(s->secret, sizeof(s->secret), 0) != (ssize_t)sizeof(s->secret))
		return err_set(-EIO, "getrandom: %s", strerror(errno));
	return 0;
}

/* Also while nobody is connected. */
static void on_session_timer(evutil_socket_t fd, short what, void *arg)
{
	struct rpc_server *s = arg;

	(void)fd;
	(void)what;
	rpc_sessions_expire(&s->sessions);
}

static void start_session_timer(void *arg)
{
	struct rpc_server *s = arg;
	uint64_t period_us = s->stall_ns / 3000;
	struct timeval tv = { .tv_sec = (time_t)(period_us / 1000000), .tv_usec = (suseconds_t)(period_us % 1000000) };

	s->session_timer = event_new(loop_base(loop_set_get(s->loops, 0)), -1, EV_PERSIST, on_session_timer, s);
	if (s->session_timer && event_add(s->session_timer, &tv) < 0) {
		event_free(s->session_timer);
		s->session_timer = NULL;
	}
}

static void stop_session_timer(void *arg)
{
	struct rpc_server *s = arg;

	event_free(s->session_timer);
	s->session_timer = NULL;
}

int rpc_server_new(const struct rpc_server_config *config, struct rpc_server **ret)
{
	struct rpc_server *s = calloc(1, sizeof(*s));
	int err;

	if (!s)
		return err_set(-ENOMEM, "no memory for the RPC server");
	sync_mutex_init(&s->lock, SYNC_RANK_SERVER, "rpc server");
	sync_cond_init(&s->gone);
	slow_init(&s->slow);
	sync_mutex_init(&s->export_stats_lock, SYNC_RANK_LEAF, "export statistics");
	s->loops = config->loops;
	s->workers = config->workers;
	s->vfs = config->vfs;
	s->exports = config->exports;
	s->audit = config->audit;
	s->connections_max = config->connections_max ? config->connections_max : RPC_CONNECTIONS_MAX_DEFAULT;
	s->stall_ns = (config->stall_ms ? config->stall_ms : RPC_STALL_MS_DEFAULT) * SYNC_NS_PER_MS;
	s->start_ns = sync_now_ns();
	err = fill_hello(&s->hello, config);
	if (!err)
		err = take_secret(s, config->secret);
	if (!err) {
		s->charge = budget_join(config->budget, "rpc", 0, NULL, NULL);
		s->shm_charge = budget_join(config->budget, "rpc-shm", 0, NULL, NULL);
		s->shm_bytes_max = budget_limit(config->budget) / RPC_SHM_BUDGET_PART;
		s->shm_possible = rpc_shm_possible();
		if (!s->charge || !s->shm_charge)
			err = err_set(-ENOMEM, "no memory for the RPC server");
		if (!err)
			err = rpc_grace_new(config, &s->grace);
		rpc_sessions_init(&s->sessions, &(struct rpc_sessions_config){ .vfs = s->vfs,
		                                                               .workers = s->workers,
		                                                               .charge = s->charge,
		                                                               .secret = s->secret,
		                                                               .grace = s->grace,
		                                                               .lease_max_s = config->lease_max_s });
	}
	if (!err)
		err = rpc_bufs_init(s);
	if (!err && config->metrics) {
		s->metrics = config->metrics;
		err = rpc_metrics_register(s);
	}
	if (!err) {
		loop_call(loop_set_get(s->loops, 0), start_session_timer, s);
		if (!s->session_timer)
			err = err_set(-ENOMEM, "no memory for a timer");
	}
	if (err) {
		rpc_server_free(s);
		return err;
	}
	*ret = s;
	return 0;
}

void rpc_server_free(struct rpc_server *s)
{
	if (!s)
		return;
	if (s->metrics)
		metrics_unregister(s->metrics, s);
	rpc_bufs_done(s);
	tls_context_unref(s->tls);
	if (s->sessions.config.vfs)
		rpc_sessions_done(&s->sessions);
	rpc_grace_free(s->grace);
	if (s->charge)
		budget_leave(s->charge);
	if (s->shm_charge)
		budget_leave(s->shm_charge);
	rpc_export_stats_done(s);
	slow_done(&s->slow);
	sync_cond_done(&s->gone);
	sync_mutex_done(&s->lock);
	free(s);
}

static void link_conn(struct rpc_server *s, struct rpc_conn *c) SYNC_REQUIRES(s->lock)
{
	c->next = s->conns;
	if (s->conns)
		s->conns->prev = c;
	s->conns = c;
	s->conn_count++;
}

static void unlink_conn(struct rpc_server *s, struct rpc_conn *c) SYNC_REQUIRES(s->lock)
{
	if (c->prev)
		c->prev->next = c->next;
	else
		s->conns = c->next;
	if (c->next)
		c->next->prev = c->prev;
}

/* A unix socket's send buffer is small and does not grow by itself: with a larger one, large answers take fewer turns.
 */
static bool tune_unix(int fd)
{
	int domain = AF_UNSPEC, bytes = UNIX_SEND_BYTES;
	socklen_t len = sizeof(domain);

	if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) < 0 || domain != AF_UNIX)
		return false;
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
	return true;
}

/* Those on other machines leave a quarter to this one, one address (of IPv6: one network) leaves a half to others, and
 * a user of this machine, but for root and the daemon's own, a quarter: whoever opens connections without end, which
 * needs no permission, does not keep everybody out. */
static int admit(const struct rpc_server *s, const struct rpc_peer *peer) SYNC_REQUIRES(s->lock)
{
	unsigned remote = 0, same = 0, max = s->connections_max;
	size_t host_len = rpc_peer_host_bytes(peer);

	if (s->conn_count >= max)
		return err_set(-EMFILE, "%u RPC connections already", s->conn_count);
	for (const struct rpc_conn *c = peer->trusted ? NULL : s->conns; c; c = c->next) {
		remote += !c->peer.is_unix;
		if (c->peer.is_unix != peer->is_unix)
			continue;
		if (peer->is_unix)
			same += c->peer.uid == peer->uid;
		else /* The network of ::1 would be that of all addresses of IPv4, too. */
			same += rpc_peer_host_bytes(&c->peer) == host_len &&
			        memcmp(c->peer.address, peer->address, host_len) == 0;
	}
	if (peer->is_unix && same >= max - max / 4)
		return err_set(-EMFILE, "%u RPC connections of user %u", same, peer->uid);
	if (peer->is_unix || (remote < max - max / 4 && same < max - max / 2))
		return 0;
	return err_set(-EMFILE, "%u RPC connections of other machines, %u of this one", remote, same);
}

static int accept_with(struct rpc_server *s, int fd, struct tls_context *tls)
{
	struct loop *l = loop_set_next(s->loops);
	struct rpc_conn *c;
	int err = rpc_conn_new(s, l, fd, tls, &c);

	if (err) {
		close(fd);
		return err;
	}
	rpc_peer_init(&c->peer, fd, tune_unix(fd));
	c->peer.tls = c->tls;
	if (!tls)
		err = rpc_conn_join_peer(c);
	if (err) {
		rpc_conn_free(c);
		return err;
	}
	sync_mutex_lock(&s->lock);
	if (s->stopping)
		err = err_set(-ESHUTDOWN, "the RPC server is stopping");
	else
		err = admit(s, &c->peer);
	if (!err)
		link_conn(s, c);
	/* Under the lock: a stop that sees the connection posts its end behind this. */
	if (!err)
		loop_post(l, &c->attach_task);
	sync_mutex_unlock(&s->lock);
	if (err == -EMFILE)
		counter_add(&s->stats.refused, 1);
	if (err) {
		rpc_conn_free(c);
		return err;
	}
	counter_add(tls ? &s->stats.tls_accepted : &s->stats.accepted, 1);
	return 0;
}

int rpc_server_accept(struct rpc_server *s, int fd)
{
	return accept_with(s, fd, NULL);
}

int rpc_server_accept_tls(struct rpc_server *s, int fd)
{
	struct tls_context *tls;
	int err;

	sync_mutex_lock(&s->lock);
	tls = s->tls;
	if (tls)
		tls_context_ref(tls);
	sync_mutex_unlock(&s->lock);
	if (!tls) {
		close(fd);
		return err_set(-EPROTONOSUPPORT, "no certificate for TLS");
	}
	err = accept_with(s, fd, tls);
	tls_context_unref(tls);
	return err;
}

void rpc_server_set_tls(struct rpc_server *s, struct tls_context *tls)
{
	struct tls_context *old;

	if (tls)
		tls_context_ref(tls);
	sync_mutex_lock(&s->lock);
	old = s->tls;
	s->tls = tls;
	sync_mutex_unlock(&s->lock);
	tls_context_unref(old);
}

static void kill_locked(struct rpc_server *s, struct rpc_conn *c) SYNC_REQUIRES(s->lock)
{
	(void)s;
	if (c->kill_pending)
		return;
	c->kill_pending = true;
	loop_post(c->loop, &c->kill_task);
}

void rpc_server_stop(struct rpc_server *s)
{
	sync_mutex_lock(&s->lock);
	s->stopping = true;
	for (struct rpc_conn *c = s->conns; c; c = c->next)
		kill_locked(s, c);
	while (s->conn_count)
		sync_cond_wait(&s->gone, &s->lock);
	sync_mutex_unlock(&s->lock);
	if (s->session_timer)
		loop_call(loop_set_get(s->loops, 0), stop_session_timer, s);
	/* While there are workers, and before what their files are on is taken away. */
	rpc_grace_end(s->grace);
	rpc_sessions_end(&s->sessions);
}

#define LOAD(field) __atomic_load_n(&(field), __ATOMIC_RELAXED)

static void add_done(struct rpc_done *to, const struct rpc_done *d)
{
	to->requests += LOAD(d->requests);
	to->errors += LOAD(d->errors);
	to->operations += LOAD(d->operations);
	to->failed_operations += LOAD(d->failed_operations);
	to->read_bytes += LOAD(d->read_bytes);
	to->written_bytes += LOAD(d->written_bytes);
	to->latency_ns += LOAD(d->latency_ns);
}

void rpc_server_session_done(struct rpc_server *s, struct rpc_session *session, struct rpc_done *ret,
                             unsigned *ret_connections)
{
	*ret_connections = 0;
	sync_mutex_lock(&s->lock);
	*ret = *rpc_session_done(session);
	for (const struct rpc_conn *c = s->conns; c; c = c->next) {
		if (c->session != session)
			continue;
		add_done(ret, &c->done_so_far);
		*ret_connections += 1;
	}
	sync_mutex_unlock(&s->lock);
}

void rpc_server_conn_gone(struct rpc_server *s, struct rpc_conn *c)
{
	struct rpc_conn *successor;

	sync_mutex_lock(&s->lock);
	if (c->kill_pending) {
		/* The task still refers to it, and will come here again. */
		sync_mutex_unlock(&s->lock);
		return;
	}
	unlink_conn(s, c);
	if (c->session)
		add_done(rpc_session_done(c->session), &c->done_so_far);
	successor = c->successor;
	/* It waits with an operation under way, so it is still there. */
	if (successor)
		loop_post(successor->loop, &successor->hello_task);
	sync_mutex_unlock(&s->lock);
	rpc_conn_free(c);
	/* Counted until now: when the last one is gone, the server may be freed. */
	sync_mutex_lock(&s->lock);
	s->conn_count--;
	sync_cond_broadcast(&s->gone);
	sync_mutex_unlock(&s->lock);
}

bool rpc_server_identify(struct rpc_server *s, struct rpc_conn *c, const struct wfsp_hello_args *args)
{
	struct rpc_conn *old;

	struct rpc_session *session = rpc_session_get(&s->sessions, args->client_id, &c->peer, args->lease_s);

	sync_mutex_lock(&s->lock);
	c->session = session;
	c->origin = session ? rpc_session_origin(session) : 0;
	if (session)
		rpc_handles_hello(&c->handles);
	for (old = s->conns; old; old = old->next) {
		if (old != c && old->has_identity && !old->successor && old->client_conn == args->connection &&
		    old->session && old->session == session)
			break;
	}
	c->has_identity = true;
	snprintf(c->program, sizeof(c->program), "%.63s", args->client_name);
	c->client_conn = args->connection;
	if (old) {
		old->successor = c;
		kill_locked(s, old);
	}
	sync_mutex_unlock(&s->lock);
	return !old;
}

void rpc_server_each_connection(struct rpc_server *s, void (*fn)(void *ctx, const struct rpc_connection_info *info),
                                void *ctx)
{
	uint64_t now = sync_now_ns();

	sync_mutex_lock(&s->lock);
	for (struct rpc_conn *c = s->conns; c; c = c->next) {
		char client[96];
		struct rpc_connection_info info = {
			.client = client,
			.name = c->program,
			.tls = c->tls != NULL,
			.age_ns = now - c->since_ns,
			.requests = LOAD(c->done_so_far.requests),
			.errors = LOAD(c->done_so_far.errors),
			.read_bytes = LOAD(c->done_so_far.read_bytes),
			.written_bytes = LOAD(c->done_so_far.written_bytes),
			.under_way = LOAD(c->op_count),
			.open_files = LOAD(c->handles.open_count),
		};

		/* Before HELLO a certificate is perhaps still being read. */
		rpc_peer_text(&c->peer, c->has_identity, client, sizeof(client));
		fn(ctx, &info);
	}
	sync_mutex_unlock(&s->lock);
}

bool rpc_server_has_open_file(struct rpc_server *s, pid_t pid)
{
	bool found = false;

	sync_mutex_lock(&s->lock);
	for (const struct rpc_conn *c = s->conns; c && !found; c = c->next)
		found = c->peer.pid == pid && __atomic_load_n(&c->handles.open_count, __ATOMIC_RELAXED) > 0;
	sync_mutex_unlock(&s->lock);
	return found;
}

unsigned rpc_server_connections(struct rpc_server *s)
{
	unsigned n;

	sync_mutex_lock(&s->lock);
	n = s->conn_count;
	sync_mutex_unlock(&s->lock);
	return n;
}

unsigned rpc_server_slow(struct rpc_server *s, struct rpc_slow *ret)
{
	return slow_get(&s->slow, sync_now_ns(), ret, RPC_SLOW_MAX);
}

uint64_t rpc_server_boot_id(const struct rpc_server *s)
{
	return s->hello.boot_id;
}
