/* SPDX-License-Identifier: BSD-3-Clause */
/* The addresses the daemon listens on. */
#include "server/endpoints.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/base/err.h"
#include "core/base/log.h"
#include "server/conf/conf.h"

#define ENDPOINTS_PER_KIND (CONF_LISTEN_MAX + 1)

struct endpoint {
	int fd; /* -1 once the listener has it */
	char *unlink_path;
	struct listener *listener;
};

struct endpoints {
	struct endpoint items[ENDPOINT_KINDS][ENDPOINTS_PER_KIND];
	unsigned count[ENDPOINT_KINDS];
};

static const char *const kind_names[ENDPOINT_KINDS] = {
	[ENDPOINT_ADMIN] = "admin",     [ENDPOINT_METRICS] = "metrics", [ENDPOINT_RPC] = "rpc",
	[ENDPOINT_RPC_TLS] = "rpc-tls", [ENDPOINT_NBD] = "nbd",
};

static struct endpoint *endpoint_add(struct endpoints *e, enum endpoint_kind kind, int fd)
{
	struct endpoint *item = &e->items[kind][e->count[kind]++];

	item->fd = fd;
	return item;
}

static int open_tcp(struct endpoints *e, enum endpoint_kind kind, const char *address)
{
	int fd;
	int rc = net_listen_tcp(address, &fd);

	if (rc < 0)
		return rc;
	endpoint_add(e, kind, fd);
	log_info("net", "listening kind=%s address=%s", kind_names[kind], address);
	return 0;
}

static int open_unix(struct endpoints *e, enum endpoint_kind kind, const char *path, unsigned mode, const char *group)
{
	struct endpoint *item;
	int fd;
	int rc = net_listen_unix(path, mode, group, &fd);

	if (rc < 0)
		return rc;
	item = endpoint_add(e, kind, fd);
	item->unlink_path = strdup(path);
	if (!item->unlink_path)
		return err_set(-ENOMEM, "listen on %s", path);
	log_info("net", "listening kind=%s address=%s", kind_names[kind], path);
	return 0;
}

/* Sockets from systemd; true when there are some. */
static bool open_passed(struct endpoints *e, enum endpoint_kind kind)
{
	int fds[ENDPOINTS_PER_KIND];
	int count = net_systemd_fds(kind_names[kind], fds, ENDPOINTS_PER_KIND);

	for (int i = 0; i < count; i++)
		endpoint_add(e, kind, fds[i]);
	if (count)
		log_info("net", "listening kind=%s sockets_from_systemd=%d", kind_names[kind], count);
	return count > 0;
}

static int open_kind(struct endpoints *e, const struct conf *c, enum endpoint_kind kind)
{
	const char *const *listen = NULL;
	unsigned listen_count = 0;
	int rc = 0;

	if (open_passed(e, kind))
		return 0;
	switch (kind) {
	case ENDPOINT_ADMIN:
		return open_unix(e, kind, c->admin.socket, c->admin.mode, c->admin.group);
	case ENDPOINT_METRICS:
		return c->metrics.listen ? open_tcp(e, kind, c->metrics.listen) : 0;
	case ENDPOINT_RPC:
		rc = open_unix(e, kind, c->rpc.socket, c->rpc.mode, c->rpc.group);
		listen = c->rpc.listen;
		listen_count = c->rpc.listen_count;
		break;
	case ENDPOINT_RPC_TLS:
		listen = c->rpc.tls_listen;
		listen_count = c->rpc.tls_listen_count;
		break;
	default:
		if (c->nbd.socket)
			rc = open_unix(e, kind, c->nbd.socket, c->nbd.mode, c->nbd.group);
		listen = c->nbd.listen;
		listen_count = c->nbd.listen_count;
		break;
	}
	for (unsigned i = 0; i < listen_count && rc == 0; i++)
		rc = open_tcp(e, kind, listen[i]);
	return rc;
}

int endpoints_open(const struct conf *c, struct endpoints **ret)
{
	struct endpoints *e = calloc(1, sizeof(*e));
	int rc = 0;

	if (!e)
		return err_set(-ENOMEM, "listen");
	for (int kind = 0; kind < ENDPOINT_KINDS && rc == 0; kind++)
		rc = open_kind(e, c, (enum endpoint_kind)kind);
	if (rc < 0)
		endpoints_free(e);
	else
		*ret = e;
	return rc;
}

int endpoints_start(struct endpoints *e, enum endpoint_kind kind, struct loop *loop, listener_accept_fn *accept,
                    void *ctx)
{
	for (unsigned i = 0; i < e->count[kind]; i++) {
		struct endpoint *item = &e->items[kind][i];
		struct listener_config config = {
			.loop = loop,
			.fd = item->fd,
			.name = kind_names[kind],
			.unlink_path = item->unlink_path,
			.blocking = kind == ENDPOINT_NBD,
			.accept = accept,
			.ctx = ctx,
		};
		int rc;

		item->fd = -1;
		rc = listener_new(&config, &item->listener);
		if (rc < 0)
			return rc;
	}
	return 0;
}

void endpoints_stop(struct endpoints *e, enum endpoint_kind kind)
{
	for (unsigned i = 0; i < e->count[kind]; i++) {
		struct endpoint *item = &e->items[kind][i];

		listener_free(item->listener);
		if (item->fd >= 0) {
			close(item->fd);
			if (item->unlink_path)
				unlink(item->unlink_path);
		}
		free(item->unlink_path);
	}
	e->count[kind] = 0;
}

void endpoints_free(struct endpoints *e)
{
	if (!e)
		return;
	for (int kind = 0; kind < ENDPOINT_KINDS; kind++)
		endpoints_stop(e, (enum endpoint_kind)kind);
	free(e);
}
