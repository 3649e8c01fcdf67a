/* SPDX-License-Identifier: BSD-3-Clause */
/* libwfs: from an address in words to a connected socket. */
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/base/err.h"
#include "protocol/client/internal.h"

#define SCHEME_BYTES 4u /* of "tcp:" and "tls:" */
#define UNIX_SEND_BYTES (1 << 20)
#define PEER_TIMEOUT_MS 30000 /* a silent TCP peer counts as dead after this */

static int poll_ms(uint64_t deadline_ns)
{
	uint64_t now = sync_now_ns();

	if (now >= deadline_ns)
		return 0;
	return (int)((deadline_ns - now) / SYNC_NS_PER_MS) + 1;
}

/* Connect without waiting longer than the deadline; the socket ends up in blocking mode. Closes @fd on errors. */
static int connect_until(int fd, const struct sockaddr *addr, socklen_t addr_len, uint64_t deadline_ns)
{
	int err = 0;
	socklen_t len = sizeof(err);

	if (connect(fd, addr, addr_len) < 0) {
		struct pollfd p = { .fd = fd, .events = POLLOUT };

		err = errno;
		if (err == EINPROGRESS && poll(&p, 1, poll_ms(deadline_ns)) <= 0)
			err = ETIMEDOUT;
		else if (err == EINPROGRESS && getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len) < 0)
			err = errno;
	}
	if (!err && fcntl(fd, F_SETFL, 0) < 0)
		err = errno;
	if (!err)
		return fd;
	close(fd);
	return -err;
}

static int connect_unix(const char *path, uint64_t deadline_ns)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd, send_bytes = UNIX_SEND_BYTES;

	memcpy(addr.sun_path, path, strlen(path) + 1);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return err_set(-errno, "socket: %s", strerror(errno));
	/* Large payloads should not take a wake-up of the server for every 200 KiB. */
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &send_bytes, sizeof(send_bytes));
	fd = connect_until(fd, (const struct sockaddr *)&addr, sizeof(addr), deadline_ns);
	if (fd < 0)
		return err_set(fd, "cannot connect");
	return fd;
}

/* "host:port" or "[address]:port". */
static int split_host_port(const char *text, char host[WFS_HOST_MAX + 1], const char **ret_port)
{
	const char *colon = strrchr(text, ':');
	size_t len = colon ? (size_t)(colon - text) : 0;

	if (len >= 2 && text[0] == '[' && text[len - 1] == ']') {
		text++;
		len -= 2;
	}
	if (!colon || !colon[1] || !len || len > WFS_HOST_MAX)
		return -EINVAL;
	memcpy(host, text, len);
	host[len] = '\0';
	*ret_port = colon + 1;
	return 0;
}

static void tune_tcp(int fd)
{
	int on = 1, timeout_ms = PEER_TIMEOUT_MS, idle_s = 10;

	/* Best effort: without them the connection works, only slower to notice a dead peer. */
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	(void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof(idle_s));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &idle_s, sizeof(idle_s));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout_ms, sizeof(timeout_ms));
}

static int connect_tcp(const char *address, uint64_t deadline_ns)
{
	struct addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM }, *list = NULL;
	char host[WFS_HOST_MAX + 1];
	const char *port;
	int fd = -EHOSTUNREACH, gai;

	if (split_host_port(address + SCHEME_BYTES, host, &port))
		return err_set(-EINVAL, "address \"%s\" has no host:port", address);
	gai = getaddrinfo(host, port, &hints, &list);
	if (gai)
		return err_set(-EHOSTUNREACH, "address \"%s\": %s", address, gai_strerror(gai));
	for (const struct addrinfo *a = list; a && fd < 0; a = a->ai_next) {
		fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, a->ai_protocol);
		if (fd < 0)
			fd = -errno;
		else
			fd = connect_until(fd, a->ai_addr, a->ai_addrlen, deadline_ns);
	}
	freeaddrinfo(list);
	if (fd < 0)
		return err_set(fd, "cannot connect");
	tune_tcp(fd);
	return fd;
}

int wfs_address_check(const char *address)
{
	char host[WFS_HOST_MAX + 1];
	const char *port;

	if (strncmp(address, "unix:", 5) == 0 && address[5] &&
	    strlen(address + 5) < sizeof(((struct sockaddr_un *)NULL)->sun_path))
		return 0;
	if ((strncmp(address, "tcp:", SCHEME_BYTES) == 0 || wfs_address_is_tls(address)) &&
	    split_host_port(address + SCHEME_BYTES, host, &port) == 0)
		return 0;
	return err_set(-EINVAL, "address \"%s\" is neither unix:/path nor tcp:host:port nor tls:host:port", address);
}

bool wfs_address_is_tls(const char *address)
{
	return strncmp(address, "tls:", SCHEME_BYTES) == 0;
}

void wfs_address_host(const char *address, char *ret)
{
	const char *port;

	if (split_host_port(address + SCHEME_BYTES, ret, &port))
		ret[0] = '\0';
}

int wfs_address_connect(const char *address, uint64_t deadline_ns)
{
	if (strncmp(address, "unix:", 5) == 0)
		return connect_unix(address + 5, deadline_ns);
	return connect_tcp(address, deadline_ns);
}
