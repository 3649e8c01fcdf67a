/* SPDX-License-Identifier: BSD-3-Clause */
/* The operation of a COMPOUND that tells figures: of an export, of the file system that it is in, of the session. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/err.h"
#include "server/rpc/compound.h"

static uint32_t put_session(const struct compound *c, struct wr *w)
{
	struct rpc_done d;
	unsigned connections;

	rpc_server_session_done(c->conn->server, c->conn->session, &d, &connections);
	rpc_put_counter(w, "connections", connections);
	rpc_put_counter(w, "requests", d.requests);
	rpc_put_counter(w, "requests_us", d.latency_ns / 1000);
	rpc_put_counter(w, "operations", d.operations);
	rpc_put_counter(w, "errors", d.failed_operations);
	rpc_put_counter(w, "read_bytes", d.read_bytes);
	rpc_put_counter(w, "written_bytes", d.written_bytes);
	return 7;
}

static int put_export(const struct compound *c, const struct rpc_export_stats *e, struct wr *w, uint32_t *ret_count)
{
	/* There are so many names that it shares its figures with others. */
	if (e == &c->conn->server->other_exports)
		return err_set(-EOPNOTSUPP, "the export is not counted by itself");
	*ret_count = rpc_export_put_figures(e, w);
	return 0;
}

static int put_dataset(struct vfs_handle *h, struct wr *w, uint32_t *ret_count)
{
	struct vfs_figures f;
	int err = vfs_get_figures(h, &f);

	if (err)
		return err;
	rpc_put_counter(w, "reads", f.reads);
	rpc_put_counter(w, "read_errors", f.read_errors);
	rpc_put_counter(w, "read_bytes", f.read_bytes);
	rpc_put_counter(w, "writes", f.writes);
	rpc_put_counter(w, "write_errors", f.write_errors);
	rpc_put_counter(w, "written_bytes", f.written_bytes);
	rpc_put_counter(w, "changes", f.changes);
	rpc_put_counter(w, "change_errors", f.change_errors);
	*ret_count = 8;
	return 0;
}

/* Of the export of that name, which may be a file. */
static int put_named(const struct compound *c, const struct wfsp_op *op, struct wr *w, uint32_t *ret_count)
{
	struct rpc_server *s = c->conn->server;
	struct export_info *info = malloc(sizeof(*info));
	char name[WFSP_NAME_MAX + 1];
	struct vfs_handle *h;
	int err;

	if (!info)
		return err_set(-ENOMEM, "no memory for an export");
	memcpy(name, op->name.p, op->name.len_bytes);
	name[op->name.len_bytes] = '\0';
	err = export_get(s->exports, name, info);
	if (!err && !rpc_policy_admits(&info->policy, &c->conn->peer))
		err = err_set(-EACCES, "export '%s' is not for this client", info->name);
	if (!err && op->scope == WFSP_SCOPE_EXPORT) {
		err = put_export(c, rpc_export_stats(s, info->name), w, ret_count);
	} else if (!err) {
		err = vfs_walk(s->vfs, &vfs_cred_root, NULL, NULL, info->path, VFS_WALK_FOLLOW, &h);
		if (!err) {
			err = put_dataset(h, w, ret_count);
			vfs_close(h);
		}
	}
	free(info);
	return err;
}

/* Of the export that the current handle is of. */
static int put_current(struct compound *c, const struct wfsp_op *op, struct wr *w, uint32_t *ret_count)
{
	const struct node *n = c->current;
	const struct vfs_cred *cred;
	int err;

	if (!n)
		return err_set(-EINVAL, "statistics: there is no current handle");
	/* Who has a descriptor was let in when it was opened. */
	err = n->tree ? compound_cred(c, &cred) : 0;
	if (err)
		return err;
	return op->scope == WFSP_SCOPE_EXPORT
	               ? put_export(c, n->tree ? n->tree->stats : n->descriptor->stats, w, ret_count)
	               : put_dataset(n->h, w, ret_count);
}

int op_statistics(struct compound *c, const struct wfsp_op *op, struct wfsp_op_res *res)
{
	struct wr w = wr_init((uint8_t *)c->path, sizeof(c->path));
	int err = 0;

	switch (op->scope) {
	case WFSP_SCOPE_EXPORT:
	case WFSP_SCOPE_DATASET:
		err = op->name.len_bytes ? put_named(c, op, &w, &res->item_count)
		                         : put_current(c, op, &w, &res->item_count);
		break;
	case WFSP_SCOPE_SESSION:
		if (!c->conn->session)
			return err_set(-EINVAL, "a session needs a HELLO");
		res->item_count = put_session(c, &w);
		break;
	default:
		err = err_set(-EINVAL, "unknown scope %u of statistics", op->scope);
	}
	res->items = (struct wfsp_bytes){ w.base, (uint32_t)w.pos };
	return err;
}
