/* SPDX-License-Identifier: BSD-3-Clause */
/* The supervisor: starts, watches, ends and reaps one nbdkit process per connection. */
#include "server/nbd/nbd.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/base/assert.h"
#include "core/base/err.h"
#include "core/base/log.h"
#include "core/base/metrics.h"
#include "core/base/sync.h"
#include "server/loop/loop.h"
#include "server/nbd/child.h"
#include "server/nbd/identity.h"
#include "server/nbd/messages.h"

#define NBD_HANGUP_GRACE_S 15 /* for a nbdkit whose client is gone: it may still be writing */
#define NBD_KILL_AFTER_S 2
#define NBD_PEER_MAX 128

struct nbd_connection {
	struct nbd *nbd;
	struct nbd_connection *next;
	uint64_t id;
	char peer[NBD_PEER_MAX];
	pid_t pid;
	int pidfd;
	int client_fd; /* ours beside the child's, to hang up with */
	uint64_t started_ns;
	bool terminated; /* SIGTERM was sent */
	struct event *ended;
	struct event *hangup;
	struct event *timer;
	struct event *handshake; /* the time to open an export in */
	struct nbd_messages *messages;
};

struct nbd {
	struct loop *loop;
	struct listener *rpc_listener;
	struct nbd_child_args child; /* what is the same for all */
	char *nbdkit;
	bool (*has_open_file)(void *ctx, pid_t pid);
	void *rpc_ctx;
	struct metrics *metrics;
	unsigned max_connections;
	unsigned handshake_timeout_ms;

	struct counter accepted, refused, ended_ok, ended_error, ended_signal, handshake_timeouts;
	unsigned connection_count; /* written on the loop's thread, read anywhere (atomic) */

	/* On the loop's thread. */
	struct nbd_connection *connections;
	uint64_t next_id;
	bool stopping;

	struct sync_mutex lock;
	struct sync_cond stopped_cond;
	bool stopped SYNC_GUARDED_BY(lock);
};

static void nbd_count(struct nbd *n, int change)
{
	__atomic_store_n(&n->connection_count, n->connection_count + (unsigned)change, __ATOMIC_RELAXED);
	if (n->connection_count == 0 && n->stopping) {
		sync_mutex_lock(&n->lock);
		n->stopped = true;
		sync_cond_signal(&n->stopped_cond);
		sync_mutex_unlock(&n->lock);
	}
}

static void connection_free(struct nbd_connection *c)
{
	if (c->ended)
		event_free(c->ended);
	if (c->hangup)
		event_free(c->hangup);
	if (c->timer)
		event_free(c->timer);
	if (c->handshake)
		event_free(c->handshake);
	nbd_messages_free(c->messages);
	if (c->pidfd >= 0)
		close(c->pidfd);
	if (c->client_fd >= 0)
		close(c->client_fd);
	free(c);
}

static void connection_remove(struct nbd_connection *c)
{
	struct nbd *n = c->nbd;
	struct nbd_connection **p = &n->connections;

	while (*p != c)
		p = &(*p)->next;
	*p = c->next;
	connection_free(c);
	nbd_count(n, -1);
}

static void log_end(const struct nbd_connection *c, const siginfo_t *info)
{
	double seconds = (double)(sync_now_ns() - c->started_ns) / (double)SYNC_NS_PER_S;

	if (info->si_code == CLD_EXITED && info->si_status == 0)
		log_info("nbd", "connection ended connection=%llu peer=%s pid=%d seconds=%.1f",
		         (unsigned long long)c->id, c->peer, (int)c->pid, seconds);
	else if (info->si_code == CLD_EXITED)
		log_warning("nbd", "nbdkit failed connection=%llu peer=%s pid=%d seconds=%.1f exit=%d",
		            (unsigned long long)c->id, c->peer, (int)c->pid, seconds, info->si_status);
	else
		log_warning("nbd", "nbdkit was killed connection=%llu peer=%s pid=%d seconds=%.1f signal=%d",
		            (unsigned long long)c->id, c->peer, (int)c->pid, seconds, info->si_status);
}

static void connection_on_end(evutil_socket_t fd, short what, void *arg)
{
	struct nbd_connection *c = arg;
	siginfo_t info = { 0 };

	(void)what;
	if (waitid(P_PIDFD, (id_t)fd, &info, WEXITED | WNOHANG) < 0 || info.si_pid == 0)
		return;
	if (info.si_code != CLD_EXITED)
		counter_add(&c->nbd->ended_signal, 1);
	else
		counter_add(info.si_status == 0 ? &c->nbd->ended_ok : &c->nbd->ended_error, 1);
	shutdown(c->client_fd, SHUT_RDWR);
	nbd_messages_drain(c->messages);
	log_end(c, &info);
	connection_remove(c);
}

/* Ask it to end; nbdkit 1.32 hears that only once its client is gone. The timer asks again, louder. */
static void connection_terminate(struct nbd_connection *c)
{
	struct timeval wait = { .tv_sec = NBD_KILL_AFTER_S };

	shutdown(c->client_fd, SHUT_RDWR);
	kill(c->pid, SIGTERM);
	c->terminated = true;
	event_add(c->timer, &wait);
}

static void connection_on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct nbd_connection *c = arg;

	(void)fd;
	(void)what;
	if (!c->terminated) {
		log_warning("nbd", "nbdkit goes on after its client is gone connection=%llu peer=%s pid=%d",
		            (unsigned long long)c->id, c->peer, (int)c->pid);
		connection_terminate(c);
		return;
	}
	kill(c->pid, SIGKILL);
}

/* Only a client that is still choosing is cut: from the open on, it may be idle for as long as it likes. */
static void connection_on_handshake(evutil_socket_t fd, short what, void *arg)
{
	struct nbd_connection *c = arg;

	(void)fd;
	(void)what;
	if (c->terminated || c->nbd->has_open_file(c->nbd->rpc_ctx, c->pid))
		return;
	counter_add(&c->nbd->handshake_timeouts, 1);
	log_warning("nbd", "no export opened in time connection=%llu peer=%s pid=%d", (unsigned long long)c->id,
	            c->peer, (int)c->pid);
	connection_terminate(c);
}

static void connection_on_hangup(evutil_socket_t fd, short what, void *arg)
{
	struct nbd_connection *c = arg;
	struct timeval grace = { .tv_sec = NBD_HANGUP_GRACE_S };

	(void)fd;
	(void)what;
	if (!c->terminated)
		event_add(c->timer, &grace);
}

static int connection_watch(struct nbd_connection *c, int messages_fd)
{
	struct event_base *base = loop_base(c->nbd->loop);
	unsigned ms = c->nbd->handshake_timeout_ms;
	struct timeval handshake = { .tv_sec = ms / 1000, .tv_usec = (suseconds_t)(ms % 1000) * 1000 };

	c->messages = nbd_messages_new(base, messages_fd, c->id);
	c->ended = event_new(base, c->pidfd, EV_READ | EV_PERSIST, connection_on_end, c);
	c->hangup = event_new(base, c->client_fd, EV_CLOSED, connection_on_hangup, c);
	c->timer = evtimer_new(base, connection_on_timer, c);
	c->handshake = evtimer_new(base, connection_on_handshake, c);
	if (!c->messages || !c->ended || !c->hangup || !c->timer || !c->handshake)
		return err_set(-ENOMEM, "watch a connection");
	if (event_add(c->ended, NULL) < 0 || event_add(c->hangup, NULL) < 0 || event_add(c->handshake, &handshake) < 0)
		return err_set(-ENOMEM, "watch a connection");
	return 0;
}

static int connection_spawn(struct nbd_connection *c)
{
	struct nbd_child_args args = c->nbd->child;
	int messages[2];
	int rc;

	if (pipe2(messages, O_CLOEXEC) < 0)
		return err_set(-errno, "create a pipe for nbdkit");
	fcntl(messages[0], F_SETFL, O_NONBLOCK);
	args.client_fd = c->client_fd;
	args.stderr_fd = messages[1];
	rc = nbd_child_spawn(&args, &c->pid, &c->pidfd);
	close(messages[1]);
	if (rc < 0) {
		close(messages[0]);
		return rc;
	}
	rc = connection_watch(c, messages[0]);
	if (rc < 0) {
		kill(c->pid, SIGKILL);
		waitid(P_PIDFD, (id_t)c->pidfd, NULL, WEXITED);
	}
	return rc;
}

static void nbd_refuse(struct nbd *n, int fd, const char *peer, const char *why)
{
	counter_add(&n->refused, 1);
	log_limited(LOG_LEVEL_WARNING, "nbd", "connection refused peer=%s reason=\"%s\"", peer, why);
	close(fd);
}

void nbd_accept(void *ctx, int fd, const char *peer)
{
	struct nbd *n = ctx;
	struct nbd_connection *c;
	char text[ERR_TEXT_MAX];
	int rc;

	if (n->stopping || n->connection_count >= n->max_connections) {
		nbd_refuse(n, fd, peer, n->stopping ? "the daemon is stopping" : "too many connections");
		return;
	}
	c = calloc(1, sizeof(*c));
	if (!c) {
		nbd_refuse(n, fd, peer, "out of memory");
		return;
	}
	c->nbd = n;
	c->id = ++n->next_id;
	c->client_fd = fd;
	c->pidfd = -1;
	c->started_ns = sync_now_ns();
	snprintf(c->peer, sizeof(c->peer), "%s", peer);
	rc = connection_spawn(c);
	if (rc < 0) {
		c->client_fd = -1;
		nbd_refuse(n, fd, peer, err_text(err_get(), rc, 0, text, sizeof(text)));
		connection_free(c);
		return;
	}
	c->next = n->connections;
	n->connections = c;
	nbd_count(n, 1);
	counter_add(&n->accepted, 1);
	log_info("nbd", "connection accepted connection=%llu peer=%s pid=%d", (unsigned long long)c->id, c->peer,
	         (int)c->pid);
}

static void nbd_stop_on_loop(void *arg)
{
	struct nbd *n = arg;

	n->stopping = true;
	for (struct nbd_connection *c = n->connections; c; c = c->next)
		connection_terminate(c);
	nbd_count(n, 0);
}

void nbd_stop(struct nbd *n)
{
	loop_call(n->loop, nbd_stop_on_loop, n);
	sync_mutex_lock(&n->lock);
	while (!n->stopped)
		sync_cond_wait(&n->stopped_cond, &n->lock);
	sync_mutex_unlock(&n->lock);
	listener_free(n->rpc_listener);
	n->rpc_listener = NULL;
}

void nbd_get_stats(const struct nbd *n, struct nbd_stats *ret)
{
	*ret = (struct nbd_stats){
		.connections = __atomic_load_n(&n->connection_count, __ATOMIC_RELAXED),
		.max_connections = n->max_connections,
		.accepted = counter_read(&n->accepted),
		.refused = counter_read(&n->refused),
		.ended_ok = counter_read(&n->ended_ok),
		.ended_error = counter_read(&n->ended_error),
		.ended_signal = counter_read(&n->ended_signal),
		.handshake_timeouts = counter_read(&n->handshake_timeouts),
	};
}

void nbd_each(struct nbd *n, void (*fn)(void *ctx, const struct nbd_connection_info *info), void *ctx)
{
	uint64_t now_ns = sync_now_ns();

	for (const struct nbd_connection *c = n->connections; c; c = c->next) {
		struct nbd_connection_info info = {
			.id = c->id,
			.peer = c->peer,
			.pid = c->pid,
			.age_ns = now_ns - c->started_ns,
		};

		fn(ctx, &info);
	}
}

static double nbd_connections_gauge(void *ctx)
{
	const struct nbd *n = ctx;

	return __atomic_load_n(&n->connection_count, __ATOMIC_RELAXED);
}

static int nbd_register_metrics(struct nbd *n)
{
	static const char ended[] = "wfsd_nbd_processes_ended_total";
	static const char ended_help[] = "nbdkit processes, by how they ended.";
	struct metrics *m = n->metrics;
	int rc;

	rc = metrics_add_gauge(m, n, "wfsd_nbd_connections", "NBD connections, each with its nbdkit process.", NULL,
	                       nbd_connections_gauge, n);
	if (rc == 0)
		rc = metrics_add_counter(m, n, "wfsd_nbd_accepted_total", "NBD connections accepted.", NULL,
		                         &n->accepted);
	if (rc == 0)
		rc = metrics_add_counter(m, n, "wfsd_nbd_refused_total",
		                         "NBD connections closed at once: too many, or no process could be started.",
		                         NULL, &n->refused);
	if (rc == 0)
		rc = metrics_add_counter(m, n, "wfsd_nbd_handshake_timeouts_total",
		                         "NBD clients cut off because they opened no export in time.", NULL,
		                         &n->handshake_timeouts);
	if (rc == 0)
		rc = metrics_add_counter(m, n, ended, ended_help, "how=\"ok\"", &n->ended_ok);
	if (rc == 0)
		rc = metrics_add_counter(m, n, ended, ended_help, "how=\"error\"", &n->ended_error);
	if (rc == 0)
		rc = metrics_add_counter(m, n, ended, ended_help, "how=\"signal\"", &n->ended_signal);
	return rc;
}

/* A socket that is reached by its descriptor only. */
static int nbd_listen_rpc(struct nbd *n, const struct nbd_config *config)
{
	struct listener_config listener = {
		.loop = config->loop,
		.name = "nbdkit",
		.accept = config->accept_rpc,
		.ctx = config->rpc_ctx,
	};
	int rc = net_listen_private(config->run_dir, &listener.fd, &n->child.rpc_fd);

	return rc < 0 ? rc : listener_new(&listener, &n->rpc_listener);
}

int nbd_new(const struct nbd_config *config, struct nbd **ret)
{
	struct nbd *n = aligned_alloc(_Alignof(struct nbd), sizeof(*n));
	int rc;

	if (!n)
		return err_set(-ENOMEM, "set up the NBD front end");
	*n = (struct nbd){
		.loop = config->loop,
		.max_connections = config->max_connections,
		.handshake_timeout_ms = config->handshake_timeout_ms,
		.has_open_file = config->has_open_file,
		.rpc_ctx = config->rpc_ctx,
		.metrics = config->metrics,
		.nbdkit = strdup(config->nbdkit),
		.child = { .plugin_fd = -1, .rpc_fd = -1, .memory_max_bytes = config->memory_max_bytes },
	};
	sync_mutex_init(&n->lock, SYNC_RANK_LEAF, "nbd");
	sync_cond_init(&n->stopped_cond);
	n->child.nbdkit = n->nbdkit;
	rc = n->nbdkit ? nbd_find_plugin(config->plugin, &n->child.plugin_fd)
	               : err_set(-ENOMEM, "set up the NBD front end");
	if (rc == 0)
		n->child.drop = nbd_find_identity(config->user, config->group, &n->child.uid, &n->child.gid);
	if (rc == 0)
		rc = nbd_listen_rpc(n, config);
	if (rc == 0)
		rc = nbd_register_metrics(n);
	if (rc < 0) {
		listener_free(n->rpc_listener);
		nbd_free(n);
		return rc;
	}
	*ret = n;
	return 0;
}

void nbd_free(struct nbd *n)
{
	if (!n)
		return;
	always(!n->connections);
	metrics_unregister(n->metrics, n);
	if (n->child.plugin_fd >= 0)
		close(n->child.plugin_fd);
	if (n->child.rpc_fd >= 0)
		close(n->child.rpc_fd);
	sync_cond_done(&n->stopped_cond);
	sync_mutex_done(&n->lock);
	free(n->nbdkit);
	free(n);
}
