/* SPDX-License-Identifier: BSD-3-Clause */
/* For tests of libwfs that play the server themselves: where it listens, and receiving. */
#ifndef WFSD_TESTS_UNIT_PROTOCOL_CLIENT_PLAYED_SERVER_H
#define WFSD_TESTS_UNIT_PROTOCOL_CLIENT_PLAYED_SERVER_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "protocol/client/wfs.h"

struct played_server {
	char dir[64];
	char address[128]; /* for wfs_connect() */
	int listen_fd;
};

/* A socket in a folder of its own. */
static inline void played_listen(struct played_server *p)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };

	strcpy(p->dir, "/tmp/wfs-client-test-XXXXXX");
	assert_non_null(mkdtemp(p->dir));
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/sock", p->dir);
	snprintf(p->address, sizeof(p->address), "unix:%s", addr.sun_path);
	p->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(p->listen_fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(listen(p->listen_fd, 16), 0);
}

/* Who is in accept() comes out of it, with an error. */
static inline void played_shutdown(const struct played_server *p)
{
	shutdown(p->listen_fd, SHUT_RDWR);
}

static inline void played_done(const struct played_server *p)
{
	char path[128];

	close(p->listen_fd);
	snprintf(path, sizeof(path), "%s/sock", p->dir);
	unlink(path);
	rmdir(p->dir);
}

static inline struct wfs *played_connect(const struct played_server *p, unsigned timeout_ms)
{
	struct wfs_options o = { .timeout_ms = timeout_ms };
	struct wfs *w = NULL;

	assert_int_equal(wfs_connect(p->address, &o, &w), 0);
	return w;
}

/* False: the client is gone. */
static inline bool played_receive(int fd, void *buf, size_t len)
{
	uint8_t *p = buf;

	while (len) {
		ssize_t n = recv(fd, p, len, 0);

		if (n <= 0)
			return false;
		p += n;
		len -= (size_t)n;
	}
	return true;
}

#endif
