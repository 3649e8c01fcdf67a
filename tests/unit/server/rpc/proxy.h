/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Between a client and the server of fixture.h: passes everything on, but loses answers when told to. A lost answer is
 * taken from the server, and then the client's connection ends.
 */
#ifndef WFSD_TESTS_UNIT_SERVER_RPC_PROXY_H
#define WFSD_TESTS_UNIT_SERVER_RPC_PROXY_H

#include <sys/un.h>

#include "core/base/sync.h"
#include "tests/unit/server/rpc/fixture.h"

struct proxy {
	struct fixture *f;
	char path[112];
	char address[128];
	int listen_fd;
	struct sync_thread thread;
	unsigned lose; /* atomic: so many answers, from now on */
	unsigned lost; /* atomic */
};

/* Whole records only, or bytes as they come when none is to be lost. False: an end was reached. */
static inline bool proxy_pass(struct proxy *p, int client, int server, bool from_server)
{
	static uint8_t buf[1 << 20];
	int from = from_server ? server : client, to = from_server ? client : server;
	ssize_t n = recv(from, buf, sizeof(buf), 0);

	if (n <= 0)
		return n < 0 && errno == EAGAIN;
	if (from_server && __atomic_load_n(&p->lose, __ATOMIC_ACQUIRE)) {
		__atomic_sub_fetch(&p->lose, 1, __ATOMIC_ACQ_REL);
		__atomic_add_fetch(&p->lost, 1, __ATOMIC_ACQ_REL);
		return false;
	}
	raw_send(to, buf, (size_t)n);
	return true;
}

static inline void proxy_serve(struct proxy *p, int client)
{
	int server = raw_connect(p->f);

	for (;;) {
		struct pollfd fds[2] = { { client, POLLIN, 0 }, { server, POLLIN, 0 } };

		if (poll(fds, 2, -1) < 0)
			continue;
		if (fds[0].revents && !proxy_pass(p, client, server, false))
			break;
		if (fds[1].revents && !proxy_pass(p, client, server, true))
			break;
	}
	close(server);
}

/* One connection at a time, until the socket is shut down. */
static inline void proxy_run(void *arg)
{
	struct proxy *p = arg;
	int client;

	while ((client = accept(p->listen_fd, NULL, NULL)) >= 0) {
		proxy_serve(p, client);
		close(client);
	}
}

static inline void proxy_start(struct proxy *p, struct fixture *f)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };

	*p = (struct proxy){ .f = f };
	snprintf(p->path, sizeof(p->path), "%s/proxy", f->dir);
	snprintf(p->address, sizeof(p->address), "unix:%s", p->path);
	strcpy(sa.sun_path, p->path);
	p->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(p->listen_fd >= 0);
	assert_int_equal(bind(p->listen_fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	assert_int_equal(listen(p->listen_fd, 8), 0);
	assert_int_equal(sync_thread_start(&p->thread, "proxy", proxy_run, p), 0);
}

/* The client is gone. */
static inline void proxy_stop(struct proxy *p)
{
	shutdown(p->listen_fd, SHUT_RDWR);
	sync_thread_join(&p->thread);
	close(p->listen_fd);
	unlink(p->path);
}

#endif
