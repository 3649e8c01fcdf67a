/* SPDX-License-Identifier: BSD-3-Clause */
/* Accepting connections on an event loop. */
#include <errno.h>
#include <netinet/in.h>
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/base/err.h"
#include "core/base/log.h"
#include "server/loop/loop.h"
#include "server/net/listen.h"

#define ACCEPT_BURST 32
#define ACCEPT_PAUSE_MS 100

struct listener {
	struct loop *loop;
	int fd;
	char *name;
	char *unlink_path;
	bool blocking;
	bool paused;
	listener_accept_fn *accept;
	void *ctx;
	struct event *readable;
	struct event *resume;
};

static void peer_text(int fd, const struct sockaddr_storage *sa, char *buf, size_t len)
{
	char host[INET6_ADDRSTRLEN];

	if (sa->ss_family == AF_INET) {
		const struct sockaddr_in *in = (const void *)sa;

		inet_ntop(AF_INET, &in->sin_addr, host, sizeof(host));
		snprintf(buf, len, "%s:%u", host, ntohs(in->sin_port));
	} else if (sa->ss_family == AF_INET6) {
		const struct sockaddr_in6 *in6 = (const void *)sa;

		inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof(host));
		snprintf(buf, len, "[%s]:%u", host, ntohs(in6->sin6_port));
	} else {
		struct ucred cred = { 0 };
		socklen_t cred_len = sizeof(cred);

		getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &cred_len);
		snprintf(buf, len, "unix:pid=%d,uid=%u", (int)cred.pid, (unsigned)cred.uid);
	}
}

static void listener_pause(struct listener *l, int error)
{
	struct timeval pause = { .tv_usec = ACCEPT_PAUSE_MS * 1000 };

	if (!l->paused)
		log_warning("net", "accepting pauses listener=%s error=\"%s\"", l->name, strerror(error));
	l->paused = true;
	event_del(l->readable);
	event_add(l->resume, &pause);
}

static void listener_on_resume(evutil_socket_t fd, short what, void *arg)
{
	struct listener *l = arg;

	(void)fd;
	(void)what;
	event_add(l->readable, NULL);
}

static void listener_on_readable(evutil_socket_t listen_fd, short what, void *arg)
{
	struct listener *l = arg;

	(void)what;
	for (int i = 0; i < ACCEPT_BURST; i++) {
		struct sockaddr_storage sa = { 0 };
		socklen_t sa_len = sizeof(sa);
		char peer[128];
		int fd = accept4(listen_fd, (struct sockaddr *)&sa, &sa_len,
		                 SOCK_CLOEXEC | (l->blocking ? 0 : SOCK_NONBLOCK));

		if (fd < 0) {
			if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
				listener_pause(l, errno);
			/* EAGAIN: all done; others: that connection has died already. */
			if (errno == EINTR || errno == ECONNABORTED)
				continue;
			return;
		}
		l->paused = false;
		net_tune(fd);
		peer_text(fd, &sa, peer, sizeof(peer));
		l->accept(l->ctx, fd, peer);
	}
}

static void listener_start(void *arg)
{
	struct listener *l = arg;
	struct event_base *base = loop_base(l->loop);

	l->readable = event_new(base, l->fd, EV_READ | EV_PERSIST, listener_on_readable, l);
	l->resume = evtimer_new(base, listener_on_resume, l);
	if (l->readable && l->resume)
		event_add(l->readable, NULL);
}

static void listener_stop(void *arg)
{
	struct listener *l = arg;

	if (l->readable)
		event_free(l->readable);
	if (l->resume)
		event_free(l->resume);
}

static void listener_destroy(struct listener *l)
{
	close(l->fd);
	if (l->unlink_path)
		unlink(l->unlink_path);
	free(l->unlink_path);
	free(l->name);
	free(l);
}

int listener_new(const struct listener_config *config, struct listener **ret)
{
	struct listener *l = calloc(1, sizeof(*l));

	if (!l) {
		close(config->fd);
		return err_set(-ENOMEM, "listener %s", config->name);
	}
	*l = (struct listener){
		.loop = config->loop,
		.fd = config->fd,
		.blocking = config->blocking,
		.accept = config->accept,
		.ctx = config->ctx,
		.name = strdup(config->name),
		.unlink_path = config->unlink_path ? strdup(config->unlink_path) : NULL,
	};
	if (l->name && (l->unlink_path || !config->unlink_path))
		loop_call(l->loop, listener_start, l);
	if (!l->readable || !l->resume) {
		loop_call(l->loop, listener_stop, l);
		listener_destroy(l);
		return err_set(-ENOMEM, "listener %s", config->name);
	}
	*ret = l;
	return 0;
}

void listener_free(struct listener *l)
{
	if (!l)
		return;
	loop_call(l->loop, listener_stop, l);
	listener_destroy(l);
}
