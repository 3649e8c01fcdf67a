/* SPDX-License-Identifier: BSD-3-Clause */
/* Opening listening sockets. */
#include "server/net/listen.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "core/base/err.h"
#include "server/conf/value.h"

#define NET_BACKLOG 511
#define NET_HOST_MAX 256
#define NET_PATH_MAX 256
#define NET_KEEPALIVE_IDLE_S 60
#define NET_KEEPALIVE_INTERVAL_S 15
#define NET_KEEPALIVE_PROBES 4

static int set_flag(int fd, int level, int option, int value)
{
	return setsockopt(fd, level, option, &value, sizeof(value));
}

static int listen_on(const struct addrinfo *ai, int *ret_fd)
{
	int fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int rc = 0;

	if (fd < 0)
		return -errno;
	set_flag(fd, SOL_SOCKET, SO_REUSEADDR, 1);
	if (ai->ai_family == AF_INET6)
		set_flag(fd, IPPROTO_IPV6, IPV6_V6ONLY, 0);
	if (bind(fd, ai->ai_addr, ai->ai_addrlen) < 0 || listen(fd, NET_BACKLOG) < 0)
		rc = -errno;
	if (rc < 0)
		close(fd);
	else
		*ret_fd = fd;
	return rc;
}

int net_listen_tcp(const char *address, int *ret_fd)
{
	struct addrinfo hints = { .ai_flags = AI_PASSIVE | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM };
	struct addrinfo *found = NULL;
	char host[NET_HOST_MAX], service[8];
	uint16_t port;
	int rc;

	if (value_parse_address(address, host, sizeof(host), &port) < 0)
		return err_set(-EINVAL, "'%s' is not an address like 0.0.0.0:10809", address);
	snprintf(service, sizeof(service), "%u", port);
	/* All addresses: the IPv6 wildcard takes IPv4, too, unless the kernel has no IPv6. */
	if (host[0] == '\0') {
		hints.ai_family = AF_INET6;
		if (getaddrinfo(NULL, service, &hints, &found) == 0 && listen_on(found, ret_fd) == 0) {
			freeaddrinfo(found);
			return 0;
		}
		if (found)
			freeaddrinfo(found);
		found = NULL;
		hints.ai_family = AF_INET;
	}
	rc = getaddrinfo(host[0] ? host : NULL, service, &hints, &found);
	if (rc != 0)
		return err_set(-EINVAL, "%s: %s", address, gai_strerror(rc));
	rc = -EADDRNOTAVAIL;
	for (struct addrinfo *ai = found; ai && rc < 0; ai = ai->ai_next)
		rc = listen_on(ai, ret_fd);
	freeaddrinfo(found);
	return rc < 0 ? err_set(rc, "listen on %s", address) : 0;
}

/* Does a process accept connections on that socket file? */
static bool unix_is_answered(const struct sockaddr_un *sa)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	bool answered;

	if (fd < 0)
		return true;
	/* EAGAIN: its backlog is full. */
	answered = connect(fd, (const struct sockaddr *)sa, sizeof(*sa)) == 0 || errno == EAGAIN;
	close(fd);
	return answered;
}

static int unix_replace_stale(const char *path, const struct sockaddr_un *sa)
{
	struct stat st;

	if (lstat(path, &st) < 0)
		return errno == ENOENT ? 0 : err_set(-errno, "%s", path);
	if (!S_ISSOCK(st.st_mode))
		return err_set(-EEXIST, "%s exists and is not a socket", path);
	if (unix_is_answered(sa))
		return err_set(-EADDRINUSE, "%s: another process is listening on it", path);
	if (unlink(path) < 0 && errno != ENOENT)
		return err_set(-errno, "%s: cannot be removed", path);
	return 0;
}

static int find_group(const char *name, gid_t *ret)
{
	const struct group *g;

	errno = 0;
	g = getgrnam(name);
	if (!g)
		return err_set(-EINVAL, "group '%s' does not exist", name);
	*ret = g->gr_gid;
	return 0;
}

int net_listen_unix(const char *path, unsigned mode, const char *group, int *ret_fd)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	gid_t gid = (gid_t)-1;
	mode_t old_mask;
	int fd, rc = 0;

	if (strlen(path) >= sizeof(sa.sun_path))
		return err_set(-EINVAL, "%s: the path of a socket has at most %zu bytes", path,
		               sizeof(sa.sun_path) - 1);
	memcpy(sa.sun_path, path, strlen(path) + 1);
	if (group)
		rc = find_group(group, &gid);
	if (rc == 0)
		rc = unix_replace_stale(path, &sa);
	if (rc < 0)
		return rc;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return err_set(-errno, "create a socket for %s", path);
	/* Closed to all until owner and mode are set. */
	old_mask = umask(0777);
	if (bind(fd, (const struct sockaddr *)&sa, sizeof(sa)) < 0)
		rc = -errno;
	umask(old_mask);
	if (rc < 0) {
		close(fd);
		return err_set(rc, "listen on %s", path);
	}
	if ((group && lchown(path, (uid_t)-1, gid) < 0) || chmod(path, (mode_t)mode) < 0 || listen(fd, NET_BACKLOG) < 0)
		rc = -errno;
	if (rc < 0) {
		close(fd);
		unlink(path);
		return err_set(rc, "listen on %s", path);
	}
	*ret_fd = fd;
	return 0;
}

int net_listen_private(const char *dir, int *ret_fd, int *ret_path_fd)
{
	char folder[NET_PATH_MAX], path[NET_PATH_MAX + 8];
	int fd = -1, path_fd = -1;
	int rc;

	/* Only we can reach the name while it is there. */
	snprintf(folder, sizeof(folder), "%s/XXXXXX", dir);
	if (!mkdtemp(folder))
		return err_set(-errno, "make a folder in %s", dir);
	snprintf(path, sizeof(path), "%s/s", folder);
	rc = net_listen_unix(path, 0666, NULL, &fd);
	if (rc == 0) {
		path_fd = open(path, O_PATH | O_CLOEXEC);
		if (path_fd < 0)
			rc = err_set(-errno, "open %s", path);
		unlink(path);
	}
	rmdir(folder);
	if (rc < 0) {
		if (fd >= 0)
			close(fd);
		return rc;
	}
	*ret_fd = fd;
	*ret_path_fd = path_fd;
	return 0;
}

int net_systemd_fds(const char *name, int *ret_fds, int max)
{
	char **names = NULL;
	int found = 0;
	int count = sd_listen_fds_with_names(0, &names);

	for (int i = 0; i < count; i++) {
		int fd = SD_LISTEN_FDS_START + i;

		if (names && strcmp(names[i], name) == 0 && found < max &&
		    sd_is_socket(fd, AF_UNSPEC, SOCK_STREAM, 1) > 0) {
			fcntl(fd, F_SETFL, O_NONBLOCK);
			ret_fds[found++] = fd;
		}
	}
	for (int i = 0; names && names[i]; i++)
		free(names[i]);
	free(names);
	return found;
}

void net_tune(int fd)
{
	/* These fail on unix sockets, where they mean nothing. */
	if (set_flag(fd, IPPROTO_TCP, TCP_NODELAY, 1) < 0)
		return;
	set_flag(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
	set_flag(fd, IPPROTO_TCP, TCP_KEEPIDLE, NET_KEEPALIVE_IDLE_S);
	set_flag(fd, IPPROTO_TCP, TCP_KEEPINTVL, NET_KEEPALIVE_INTERVAL_S);
	set_flag(fd, IPPROTO_TCP, TCP_KEEPCNT, NET_KEEPALIVE_PROBES);
}
