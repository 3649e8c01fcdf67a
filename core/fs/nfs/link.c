/* SPDX-License-Identifier: BSD-3-Clause */
/* A connection and its calls; the bytes are moved by relay.c. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include <nfsc/libnfs.h>
#include <nfsc/libnfs-raw.h>
#include <nfsc/libnfs-raw-mount.h>
#include <nfsc/libnfs-raw-nfs.h>

#include "core/base/err.h"
#include "core/base/sync.h"
#include "core/fs/nfs/link_priv.h"

#define TCP_PROTOCOL 6
#define MOUNT_VERSION 3
#define NFS_PROGRAM_NUMBER 100003

static void on_connect(struct rpc_context *rpc, int status, void *data, void *ctx)
{
	struct link *l = ctx;

	(void)rpc;
	(void)data;
	if (status == RPC_STATUS_SUCCESS)
		l->connected = true;
	else
		l->refused = true;
}

static void on_reply(struct rpc_context *rpc, int status, void *res, void *ctx)
{
	struct link_slot *s = ctx;
	int rc = 0;

	(void)rpc;
	if (status == RPC_STATUS_ERROR)
		rc = -EIO;
	else if (status != RPC_STATUS_SUCCESS)
		rc = -ECONNRESET;
	if (rc == 0 && !res)
		rc = -EIO;
	s->used = false;
	s->link->waiting--;
	s->call.done(s->call.ctx, s->link->closing ? -ECONNRESET : rc, rc ? NULL : res);
}

int link_new(uint32_t uid, uint32_t gid, struct link **ret)
{
	struct link *l = calloc(1, sizeof(*l));
	uint32_t start;

	if (!l)
		return err_set(-ENOMEM, "no memory for a connection");
	l->tcp = l->inner = -1;
	l->rpc = rpc_init_context();
	if (!l->rpc || relay_init(l)) {
		link_free(l);
		return err_set(-ENOMEM, "no memory for a connection");
	}
	/* Servers tell repeated calls by their numbers, so each connection begins anywhere. */
	if (getrandom(&start, sizeof(start), 0) == sizeof(start))
		l->sequence = start;
	rpc_set_uid(l->rpc, (int)uid);
	rpc_set_gid(l->rpc, (int)gid);
	for (unsigned i = 0; i < LINK_CALLS_MAX; i++)
		l->slots[i].link = l;
	*ret = l;
	return 0;
}

void link_free(struct link *l)
{
	if (!l)
		return;
	l->closing = true;
	if (l->rpc)
		rpc_destroy_context(l->rpc);
	/* It calls back for what it has; what it forgot ends all the same. */
	for (unsigned i = 0; i < LINK_CALLS_MAX; i++) {
		if (l->slots[i].used)
			on_reply(NULL, RPC_STATUS_CANCEL, NULL, &l->slots[i]);
	}
	relay_done(l);
	free(l);
}

int link_connect(struct link *l, const char *address, uint16_t port)
{
	if (rpc_connect_async(l->rpc, address, port, on_connect, l) != 0)
		return err_set(-ECONNREFUSED, "cannot connect to %s port %u", address, port);
	return 0;
}

bool link_connected(const struct link *l)
{
	return l->connected && l->inner >= 0;
}

unsigned link_waiting(const struct link *l)
{
	return l->waiting;
}

static int send_name_call(struct rpc_context *rpc, enum nfs_proc proc, void *args, struct link_slot *s)
{
	switch (proc) {
	case NFS_CREATE:
		return rpc_nfs3_create_async(rpc, on_reply, args, s);
	case NFS_MKDIR:
		return rpc_nfs3_mkdir_async(rpc, on_reply, args, s);
	case NFS_SYMLINK:
		return rpc_nfs3_symlink_async(rpc, on_reply, args, s);
	case NFS_MKNOD:
		return rpc_nfs3_mknod_async(rpc, on_reply, args, s);
	case NFS_REMOVE:
		return rpc_nfs3_remove_async(rpc, on_reply, args, s);
	case NFS_RMDIR:
		return rpc_nfs3_rmdir_async(rpc, on_reply, args, s);
	case NFS_RENAME:
		return rpc_nfs3_rename_async(rpc, on_reply, args, s);
	case NFS_LINK:
		return rpc_nfs3_link_async(rpc, on_reply, args, s);
	case NFS_LOOKUP:
		return rpc_nfs3_lookup_async(rpc, on_reply, args, s);
	case NFS_READDIRPLUS:
		return rpc_nfs3_readdirplus_async(rpc, on_reply, args, s);
	default:
		return -1;
	}
}

static int send_call(struct rpc_context *rpc, enum nfs_proc proc, void *args, struct link_slot *s)
{
	switch (proc) {
	case NFS_GETPORT:
		return rpc_pmap2_getport_async(rpc, *(int *)args,
		                               *(int *)args == NFS_PROGRAM_NUMBER ? NFS_V3 : MOUNT_VERSION,
		                               TCP_PROTOCOL, on_reply, s);
	case NFS_MNT:
		return rpc_mount3_mnt_async(rpc, on_reply, args, s);
	case NFS_GETATTR:
		return rpc_nfs3_getattr_async(rpc, on_reply, args, s);
	case NFS_SETATTR:
		return rpc_nfs3_setattr_async(rpc, on_reply, args, s);
	case NFS_ACCESS:
		return rpc_nfs3_access_async(rpc, on_reply, args, s);
	case NFS_READLINK:
		return rpc_nfs3_readlink_async(rpc, on_reply, args, s);
	case NFS_READ:
		return rpc_nfs3_read_async(rpc, on_reply, args, s);
	case NFS_WRITE:
		return rpc_nfs3_write_async(rpc, on_reply, args, s);
	case NFS_FSSTAT:
		return rpc_nfs3_fsstat_async(rpc, on_reply, args, s);
	case NFS_FSINFO:
		return rpc_nfs3_fsinfo_async(rpc, on_reply, args, s);
	case NFS_COMMIT:
		return rpc_nfs3_commit_async(rpc, on_reply, args, s);
	default:
		return send_name_call(rpc, proc, args, s);
	}
}

int link_send(struct link *l, const struct link_call *call)
{
	struct link_slot *s = NULL;

	for (unsigned i = 0; i < LINK_CALLS_MAX && !s; i++) {
		if (!l->slots[i].used)
			s = &l->slots[i];
	}
	if (!s)
		return -EAGAIN;
	s->used = true;
	s->call = *call;
	/* The number says which slot it is; the rest of it makes it differ from the slot's calls before. */
	s->xid = l->sequence++ * LINK_CALLS_MAX + (uint32_t)(s - l->slots);
	rpc_set_next_xid(l->rpc, s->xid);
	if (send_call(l->rpc, call->proc, call->args, s) != 0) {
		s->used = false;
		return err_set(-EINVAL, "a call that cannot be sent");
	}
	l->waiting++;
	return 0;
}

void link_poll(const struct link *l, struct pollfd *ret)
{
	if (link_connected(l))
		*ret = (struct pollfd){ .fd = l->tcp, .events = (short)(POLLIN | (relay_has_output(l) ? POLLOUT : 0)) };
	else
		*ret = (struct pollfd){ .fd = rpc_get_fd(l->rpc), .events = POLLOUT };
}

static int step_connecting(struct link *l, short revents)
{
	if (revents && rpc_service(l->rpc, revents) != 0)
		l->refused = true;
	if (l->refused)
		return err_set(-ECONNREFUSED, "the server does not accept a connection");
	return l->connected ? relay_take_over(l) : 0;
}

int link_step(struct link *l, short revents)
{
	int rc = 0;

	if (!link_connected(l))
		rc = step_connecting(l, revents);
	if (rc == 0 && link_connected(l))
		rc = relay_step(l, revents);
	return rc;
}

int link_run(struct link *l, const bool *flag, uint64_t deadline_ns)
{
	int rc = 0;

	while (rc == 0 && !(flag ? *flag : link_connected(l))) {
		uint64_t now = sync_now_ns();
		struct pollfd p;

		if (now >= deadline_ns)
			return err_set(-ETIMEDOUT, "the server does not answer");
		rc = link_step(l, 0);
		if (rc)
			return rc;
		link_poll(l, &p);
		if (poll(&p, 1, (int)((deadline_ns - now) / SYNC_NS_PER_MS) + 1) < 0)
			p.revents = 0;
		rc = link_step(l, p.revents);
	}
	return rc;
}
