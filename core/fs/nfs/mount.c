/* SPDX-License-Identifier: BSD-3-Clause */
/* Finding a server and asking it for an export. */
#include "core/fs/nfs/mount.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>

#include <nfsc/libnfs-raw-mount.h>

#include "core/base/err.h"
#include "core/base/sync.h"
#include "core/fs/nfs/link.h"

#define PORT_MAPPER_PORT 111
#define NFS_PORT 2049
#define NFS_PROGRAM_NUMBER 100003

/* One call over a connection of its own. */
struct question {
	bool done;
	int rc;
	uint32_t port;
	struct nfs_handle root;
};

static void on_port(void *ctx, int rc, void *res)
{
	struct question *q = ctx;

	q->rc = rc;
	if (rc == 0)
		memcpy(&q->port, res, sizeof(q->port));
	q->done = true;
}

static int mount_status_errno(mountstat3 status)
{
	if (status == MNT3_OK)
		return 0;
	if (status == MNT3ERR_NAMETOOLONG)
		return -ENAMETOOLONG;
	if (status == MNT3ERR_NOTSUPP)
		return -EOPNOTSUPP;
	/* The others are numbered as errors of system calls once were, which the protocol's statuses are, too. */
	return nfs_status_errno(status);
}

static void on_mount(void *ctx, int rc, void *res)
{
	const mountres3 *r = res;
	struct question *q = ctx;

	if (rc == 0)
		rc = mount_status_errno(r->fhs_status);
	if (rc == 0) {
		const fhandle3 *fh = &r->mountres3_u.mountinfo.fhandle;

		q->root.len = fh->fhandle3_len;
		if (!q->root.len || q->root.len > NFS_HANDLE_BYTES_MAX)
			rc = -EBADMSG;
		else
			memcpy(q->root.bytes, fh->fhandle3_val, q->root.len);
	}
	q->rc = rc;
	q->done = true;
}

static int ask(const struct nfs_net_config *k, uint16_t port, struct link_call *call, struct question *q)
{
	uint64_t deadline_ns = sync_now_ns() + k->timeout_ms * SYNC_NS_PER_MS;
	struct link *l;
	int rc = link_new(k->uid, k->gid, &l);

	if (rc)
		return rc;
	*q = (struct question){ .rc = -EIO };
	call->ctx = q;
	rc = link_connect(l, k->address, port);
	if (rc == 0)
		rc = link_run(l, NULL, deadline_ns);
	if (rc == 0)
		rc = link_send(l, call);
	if (rc == 0)
		rc = link_run(l, &q->done, deadline_ns);
	if (rc == 0 && q->rc)
		rc = err_set(q->rc, "%s", strerror(-q->rc));
	link_free(l);
	return rc;
}

static int find_port(const struct nfs_net_config *k, int program, uint16_t *ret)
{
	struct link_call call = { .proc = NFS_GETPORT, .args = &program, .done = on_port };
	struct question q;
	int rc = ask(k, PORT_MAPPER_PORT, &call, &q);

	if (rc == 0 && (!q.port || q.port > UINT16_MAX))
		rc = err_set(-ECONNREFUSED, "it is not running");
	if (rc)
		return err_add(rc, "nfs server %s: where program %d is", k->address, program);
	*ret = (uint16_t)q.port;
	return 0;
}

static int find_address(const char *host, struct nfs_net_config *k)
{
	struct addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM }, *found = NULL;
	int rc = getaddrinfo(host, NULL, &hints, &found);

	if (rc == 0)
		rc = getnameinfo(found->ai_addr, found->ai_addrlen, k->address, sizeof(k->address), NULL, 0,
		                 NI_NUMERICHOST);
	if (found)
		freeaddrinfo(found);
	return rc ? err_set(-EHOSTUNREACH, "host %s: %s", host, gai_strerror(rc)) : 0;
}

int nfs_mount_export(const struct nfs_url *url, struct nfs_net_config *config, struct nfs_handle *ret_root)
{
	struct link_call call = { .proc = NFS_MNT, .done = on_mount };
	uint16_t mount_port = url->mount_port;
	char path[NFS_EXPORT_BYTES_MAX + 1];
	struct question q;
	int rc = find_address(url->host, config);

	if (rc)
		return rc;
	config->port = url->nfs_port;
	if (!config->port && find_port(config, NFS_PROGRAM_NUMBER, &config->port))
		config->port = NFS_PORT;
	if (!mount_port)
		rc = find_port(config, MOUNT_PROGRAM, &mount_port);
	if (rc)
		return rc;
	memcpy(path, url->export_path, sizeof(path));
	call.args = path;
	rc = ask(config, mount_port, &call, &q);
	if (rc)
		return err_add(rc, "nfs server %s: export %s", config->address, url->export_path);
	*ret_root = q.root;
	return 0;
}
