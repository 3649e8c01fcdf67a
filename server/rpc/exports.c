/* SPDX-License-Identifier: BSD-3-Clause */
/* The operations on the table of exports: OPEN and LIST_EXPORTS. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/checksum.h"
#include "core/base/err.h"
#include "protocol/xdr/xdr.h"
#include "server/rpc/compound.h"

#define BLOCK_MIN_BYTES 1u /* the page cache takes any alignment */
#define BLOCK_PREFERRED_BYTES 4096u

/* A number for the mounted file system that @path is in: it must differ for others and survive a restart. */
static uint64_t fsid_of(const char *path)
{
	const char *name = path + (path[0] == '/');

	return hash128(name, strcspn(name, "/")).lo;
}

void rpc_fill_attr(struct wfsp_attr *ret, uint64_t fsid, const struct vfs_stat *st, bool read_only)
{
	*ret = (struct wfsp_attr){ .fsid = fsid,
		                   .fileid = st->object,
		                   .size_bytes = st->size_bytes,
		                   .allocated_bytes = st->allocated_bytes,
		                   .change = st->change,
		                   .mtime_ns = st->mtime_ns,
		                   .read_only = read_only || st->read_only };
}

int rpc_exec_open(struct rpc_op *op)
{
	struct rpc_server *s = op->conn->server;
	struct wfsp_open_ok ok = { .block_min_bytes = BLOCK_MIN_BYTES,
		                   .block_preferred_bytes = BLOCK_PREFERRED_BYTES,
		                   .block_max_bytes = WFSP_PAYLOAD_MAX };
	struct export_info *info = calloc(1, sizeof(*info));
	struct vfs_handle *h = NULL;
	struct vfs_stat st;
	int err;

	if (!info)
		return err_set(-ENOMEM, "no memory to open an export");
	err = export_open(s->exports, op->args.open.name, op->args.open.want_write, &h, info);
	if (!err && !rpc_policy_admits(&info->policy, &op->conn->peer))
		err = err_set(-EACCES, "export '%s' is not for this client", info->name);
	if (!err)
		err = vfs_stat(h, &st);
	if (!err) {
		rpc_fill_attr(&ok.attr, fsid_of(info->path), &st, info->read_only);
		if (st.block_bytes > ok.block_preferred_bytes)
			ok.block_preferred_bytes = st.block_bytes;
		memcpy(ok.name, info->name, sizeof(ok.name));
		memcpy(ok.description, info->description, sizeof(ok.description));
		op->args.opened = ok;
		op->opened = h;
	} else if (h) {
		export_close(s->exports, info->name, h);
	}
	free(info);
	return err;
}

struct list {
	struct vfs *vfs;
	const char *after;
	struct wfsp_export *items;
	char (*paths)[VFS_PATH_MAX];
	unsigned count;
	bool more;
};

/* Keep the first WFSP_LIST_MAX names behind @after, in order. */
static void list_add(void *ctx, const struct export_info *info)
{
	struct list *l = ctx;
	unsigned at = l->count;

	if (strcmp(info->name, l->after) <= 0)
		return;
	while (at && strcmp(l->items[at - 1].name, info->name) > 0)
		at--;
	if (l->count == WFSP_LIST_MAX) {
		l->more = true;
		if (at == l->count)
			return;
		l->count--;
	}
	memmove(&l->items[at + 1], &l->items[at], (l->count - at) * sizeof(l->items[0]));
	memmove(&l->paths[at + 1], &l->paths[at], (l->count - at) * sizeof(l->paths[0]));
	memcpy(l->items[at].name, info->name, sizeof(info->name));
	memcpy(l->items[at].description, info->description, sizeof(info->description));
	memcpy(l->paths[at], info->path, sizeof(info->path));
	l->items[at].read_only = info->read_only;
	l->items[at].is_default = info->is_default;
	l->count++;
}

static void list_put(const struct list *l, struct wr *w)
{
	wr_be32(w, l->count);
	for (unsigned i = 0; i < l->count; i++) {
		struct vfs_stat st;

		/* An export whose file is not there is listed all the same, with a size of 0. */
		if (vfs_stat_path(l->vfs, l->paths[i], &st) == 0) {
			l->items[i].size_bytes = st.size_bytes;
			l->items[i].read_only = l->items[i].read_only || st.read_only;
		}
		wfsp_put_export(w, &l->items[i]);
	}
	xdr_put_bool(w, !l->more);
}

int rpc_exec_list(struct rpc_op *op)
{
	struct rpc_server *s = op->conn->server;
	struct list l = { .vfs = s->vfs, .after = op->args.after };
	struct wr w;
	int err;

	err = rpc_buf_get(s, WFSP_RESULT_BYTES_MAX, &op->buf);
	if (err)
		return err;
	l.items = calloc(WFSP_LIST_MAX, sizeof(l.items[0]));
	l.paths = calloc(WFSP_LIST_MAX, sizeof(l.paths[0]));
	if (l.items && l.paths) {
		export_each(s->exports, list_add, &l);
		w = wr_init(op->buf.p, op->buf.size_bytes);
		list_put(&l, &w);
		op->payload_len = w.pos;
	} else {
		err = err_set(-ENOMEM, "no memory for a list of exports");
	}
	free(l.items);
	free(l.paths);
	return err;
}
