/* SPDX-License-Identifier: BSD-3-Clause */
/* What the audit log is told of requests, and of the operations of compounds. */
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "server/audit/audit.h"
#include "server/rpc/compound.h"

#define NO_CLASS AUDIT_CLASSES

static enum audit_class class_of_operation(uint32_t code)
{
	switch ((enum wfsp_op_code)code) {
	case WFSP_OP_CREATE:
	case WFSP_OP_CREATE_NAMELESS:
	case WFSP_OP_LINK:
	case WFSP_OP_UNLINK:
	case WFSP_OP_RENAME:
	case WFSP_OP_PUT_FILE:
		return AUDIT_NAMES;
	case WFSP_OP_SETATTR:
	case WFSP_OP_SET_XATTR:
	case WFSP_OP_REMOVE_XATTR:
		return AUDIT_ATTRIBUTES;
	case WFSP_OP_WRITE:
	case WFSP_OP_ALLOCATE:
	case WFSP_OP_COPY:
	case WFSP_OP_COMMIT:
	case WFSP_OP_COMMIT_RANGE:
	case WFSP_OP_TX_COMMIT:
	case WFSP_OP_TX_ABORT:
		return AUDIT_WRITE;
	case WFSP_OP_LOCK:
	case WFSP_OP_LOCK_TEST:
	case WFSP_OP_LOCK_WAIT:
	case WFSP_OP_LOCK_CANCEL:
	case WFSP_OP_LOCK_RECLAIM:
	case WFSP_OP_RECLAIMED:
	case WFSP_OP_UNLOCK:
	case WFSP_OP_LEASE:
	case WFSP_OP_LEASE_RETURN:
		return AUDIT_LOCKS;
	case WFSP_OP_ROOT:
		return AUDIT_CONNECTIONS;
	case WFSP_OP_LOOKUP:
	case WFSP_OP_LOOKUP_PATH:
	case WFSP_OP_GETATTR:
	case WFSP_OP_READ_LINK:
	case WFSP_OP_READDIR:
	case WFSP_OP_READ:
	case WFSP_OP_GET_XATTR:
	case WFSP_OP_LIST_XATTR:
	case WFSP_OP_STATFS:
	case WFSP_OP_STATISTICS:
	case WFSP_OP_ACCESS:
	case WFSP_OP_SEEK:
	case WFSP_OP_GET_FILE:
	case WFSP_OP_OPEN:
	case WFSP_OP_WATCH: /* names are told */
		return AUDIT_READ;
	case WFSP_OP_SAVE:
	case WFSP_OP_RESTORE:
	case WFSP_OP_RESULT:
	case WFSP_OP_USE:
	case WFSP_OP_PUT:
	case WFSP_OP_GET_HANDLE:
	case WFSP_OP_GUARD:
	case WFSP_OP_CLOSE:
	case WFSP_OP_UNWATCH:
	case WFSP_OP_TX_BEGIN:
	case WFSP_OP_TX_USE:
	case WFSP_OP_TX_STATUS:
	case WFSP_OP_CODES:
		break;
	}
	return NO_CLASS;
}

static enum audit_class class_of_procedure(uint32_t procedure)
{
	switch (procedure) {
	case WFSP_HELLO:
	case WFSP_OPEN:
		return AUDIT_CONNECTIONS;
	case WFSP_READ:
		return AUDIT_READ;
	case WFSP_WRITE:
	case WFSP_DISCARD:
	case WFSP_ZERO:
	case WFSP_FLUSH:
		return AUDIT_WRITE;
	default:
		return NO_CLASS;
	}
}

static void put_text(char to[AUDIT_TEXT_BYTES], const char *text)
{
	snprintf(to, AUDIT_TEXT_BYTES, "%s", text);
}

void rpc_peer_text(const struct rpc_peer *peer, bool with_certificate, char *buf, size_t len)
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };
	const char *name = with_certificate && peer->tls ? tls_peer_name(peer->tls, 0) : NULL;
	bool v4 = memcmp(peer->address, mapped, sizeof(mapped)) == 0;
	char address[INET6_ADDRSTRLEN] = "?";

	if (peer->is_unix) {
		snprintf(buf, len, "pid %d uid %u", (int)peer->pid, peer->uid);
		return;
	}
	(void)inet_ntop(v4 ? AF_INET : AF_INET6, v4 ? peer->address + 12 : peer->address, address, sizeof(address));
	snprintf(buf, len, "%s%s%s", address, name ? " " : "", name ? name : "");
}

static void put_peer(struct audit_event *e, const struct rpc_peer *peer)
{
	e->is_unix = peer->is_unix;
	e->client_pid = peer->pid;
	e->client_uid = peer->uid;
	if (!peer->is_unix)
		rpc_peer_text(peer, true, e->client, sizeof(e->client));
}

void rpc_audit_operation(struct compound *c, const struct wfsp_op *op, const struct node *subject, int err,
                         uint64_t start_ns)
{
	struct audit *audit = c->conn->server->audit;
	enum audit_class class = class_of_operation(op->code);
	struct audit_event e = { .class = class, .operation = wfsp_op_name(op->code), .err = err };
	struct vfs_fid fid;

	if (class == NO_CLASS || !audit_wants(audit, class, err))
		return;
	if (!(subject && subject->h))
		subject = c->current;
	put_peer(&e, &c->conn->peer);
	if (c->cred_tree) {
		e.has_identity = true;
		e.uid = c->cred.uid;
		e.gid = c->cred.gid;
	}
	if (subject && subject->h && !vfs_get_fid(subject->h, &fid)) {
		e.fsid = fid.fsid;
		e.object = fid.object;
	}
	if (subject && subject->tree)
		put_text(e.export_name, subject->tree->name);
	audit_set_name(&e.name, op->name.p, op->name.len_bytes);
	audit_set_name(&e.new_name, op->new_name.p, op->new_name.len_bytes);
	e.offset = op->offset;
	e.len_bytes = op->len_bytes ? op->len_bytes : op->data.len_bytes;
	e.duration_ns = sync_now_ns() - start_ns;
	audit_put(audit, &e);
}

void rpc_audit_request(const struct rpc_op *op)
{
	struct audit *audit = op->conn->server->audit;
	enum audit_class class = class_of_procedure(op->procedure);
	struct audit_event e = { .class = class, .operation = wfsp_procedure_name(op->procedure), .err = op->err };
	struct vfs_stat st;

	if (class == NO_CLASS || !audit_wants(audit, class, op->err))
		return;
	put_peer(&e, &op->conn->peer);
	if (op->procedure == WFSP_HELLO) {
		audit_set_name(&e.name, op->args.hello.client_name, strlen(op->args.hello.client_name));
	} else if (op->procedure == WFSP_OPEN) {
		put_text(e.export_name, op->err ? op->args.open.name : op->args.opened.name);
	} else if (op->handle) {
		put_text(e.export_name, op->handle->export_name);
		e.fsid = op->handle->fsid;
		if (op->handle->in_tree && !vfs_stat(op->handle->vfs, &st))
			e.object = st.object;
		e.offset = op->offset;
		e.len_bytes = op->len_bytes;
	}
	e.duration_ns = sync_now_ns() - op->start_ns;
	audit_put(audit, &e);
}
