/* SPDX-License-Identifier: BSD-3-Clause */
/* An import from its beginning to its end, and what it answers about itself. */
#include "core/fs/nfs/nfs_import.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include <nfsc/libnfs-raw-nfs.h>

#include "core/base/budget.h"
#include "core/base/checked.h"
#include "core/base/checksum.h"
#include "core/base/err.h"
#include "core/cache/cache.h"
#include "core/fs/nfs/conn.h"
#include "core/fs/nfs/mount.h"
#include "core/fs/nfs/nfs_priv.h"

#define CONNECTIONS 2u
#define TIMEOUT_MS 15000u
#define READ_BYTES_MIN 16384u

int nfs_check_alive(const struct nfs_import *im)
{
	if (__atomic_load_n(&im->dead, __ATOMIC_ACQUIRE))
		return err_set(-ESTALE, "the share was unmounted");
	return 0;
}

static int op_stat(struct vfs_node *node, struct vfs_stat *ret)
{
	struct nfs_node *n = nfs_node_of(node);
	int rc = nfs_check_alive(n->im);

	if (rc)
		return rc;
	sync_mutex_lock(&n->lock);
	*ret = (struct vfs_stat){
		.type = node->type,
		.fsid = n->im->fsid,
		.object = n->object,
		.size_bytes = n->size_bytes,
		.allocated_bytes = n->attr.used_bytes,
		.change = n->change,
		.atime_ns = n->attr.atime_ns,
		.mtime_ns = n->written_ns ? n->written_ns : n->attr.mtime_ns,
		.ctime_ns = n->written_ns ? n->written_ns : n->attr.ctime_ns,
		.btime_ns = 0, /* the protocol does not know */
		.mode = n->attr.mode,
		.uid = n->attr.uid,
		.gid = n->attr.gid,
		.link_count = n->attr.link_count,
		.rdev = n->attr.rdev,
		.block_bytes = CACHE_PAGE_BYTES,
		.read_only = n->im->options.read_only,
		.grows = node->type == VFS_TYPE_FILE,
	};
	sync_mutex_unlock(&n->lock);
	return 0;
}

static int take_fsstat(void *ctx, const void *res)
{
	const FSSTAT3resok *r = &((const FSSTAT3res *)res)->FSSTAT3res_u.resok;
	struct vfs_statfs *s = ctx;

	s->total_bytes = r->tbytes;
	s->free_bytes = min_u64(r->fbytes, r->tbytes);
	s->available_bytes = min_u64(r->abytes, r->tbytes);
	s->object_count = r->tfiles - min_u64(r->ffiles, r->tfiles);
	s->objects_free = min_u64(r->afiles, r->tfiles);
	return 0;
}

static int op_statfs(struct vfs_node *node, struct vfs_statfs *ret)
{
	struct nfs_node *n = nfs_node_of(node);
	struct vfs_statfs s = { .fsid = n->im->fsid,
		                .block_bytes = CACHE_PAGE_BYTES,
		                .name_max = VFS_NAME_MAX,
		                .read_only = n->im->options.read_only };
	FSSTAT3args args = { .fsroot = nfs_handle_arg(&n->fh) };
	struct nfs_call c = { .proc = NFS_FSSTAT, .args = &args, .take = take_fsstat, .ctx = &s };
	int rc = nfs_check_alive(n->im);

	if (rc == 0)
		rc = nfs_call_run(n->im->net, &c);
	if (rc == 0)
		*ret = s;
	return rc;
}

static int op_by_object(struct vfs_node *any, uint64_t fsid, uint64_t object, struct vfs_node **ret)
{
	struct nfs_import *im = nfs_node_of(any)->im;
	struct nfs_node *n;
	int rc = nfs_check_alive(im);

	if (rc == 0 && fsid != im->fsid)
		rc = err_set(-ESTALE, "an object of another share");
	if (rc == 0)
		rc = nfs_node_by_object(im, object, &n);
	if (rc == 0)
		*ret = &n->node;
	return rc;
}

const struct vfs_node_ops nfs_node_ops = {
	.remote = true,
	.release = nfs_node_release,
	.stat = op_stat,
	.lookup = nfs_dir_lookup,
	.readdir = nfs_dir_readdir,
	.parent = nfs_dir_parent,
	.create = nfs_dir_create,
	.link = nfs_dir_link,
	.unlink = nfs_dir_unlink,
	.rename = nfs_dir_rename,
	.set_attr = nfs_node_set_attr,
	.read_link = nfs_node_read_link,
	.statfs = op_statfs,
	.by_object = op_by_object,
	.open = nfs_file_open,
	.close = nfs_file_close,
	.read = nfs_file_read,
	.read_ref = nfs_file_read_ref,
	.write = nfs_file_write,
	.flush = nfs_file_flush,
	.zero = vfs_node_zero,
	.prefetch = nfs_file_prefetch,
};

struct limits {
	uint32_t read_bytes, write_bytes;
};

static int take_fsinfo(void *ctx, const void *res)
{
	const FSINFO3resok *r = &((const FSINFO3res *)res)->FSINFO3res_u.resok;

	*(struct limits *)ctx = (struct limits){ .read_bytes = r->rtmax, .write_bytes = r->wtmax };
	return 0;
}

static uint32_t clamp(uint32_t v, uint32_t min, uint32_t max)
{
	v = (uint32_t)round_down_u64(v, CACHE_PAGE_BYTES);
	if (v < min)
		return min;
	return v > max ? max : v;
}

/* What the server takes in one call, and its root. */
static int first_calls(struct nfs_import *im, struct nfs_node **ret_root)
{
	struct nfs_told told = { .fh = im->root_fh, .has_handle = true };
	FSINFO3args args = { .fsroot = nfs_handle_arg(&im->root_fh) };
	struct limits l = { .read_bytes = 0 };
	struct nfs_call c = { .proc = NFS_FSINFO, .args = &args, .take = take_fsinfo, .ctx = &l };
	struct nfs_node *root;
	int rc = nfs_call_run(im->net, &c);

	if (rc == 0)
		rc = nfs_node_get_told(im, &told, 0, &root);
	if (rc)
		return rc;
	/* A server that takes less answers with less, and is asked for the rest. */
	im->read_bytes_max = clamp(l.read_bytes, READ_BYTES_MIN, LINK_DATA_BYTES_MAX);
	im->write_bytes_max = clamp(l.write_bytes, CACHE_PAGE_BYTES, LINK_DATA_BYTES_MAX);
	if (root->node.type != VFS_TYPE_DIR)
		rc = err_set(-ENOTDIR, "the export is not a directory");
	im->root_fsid = root->attr.fsid;
	*ret_root = root;
	return rc;
}

static void import_free(struct nfs_import *im)
{
	nfs_net_free(im->net);
	sync_cond_done(&im->janitor_cond);
	sync_mutex_done(&im->table_lock);
	if (im->options.budget)
		budget_uncharge(im->options.budget, sizeof(*im));
	free(im);
}

void nfs_import_close(struct nfs_import *im)
{
	struct nfs_import_options o = im->options;
	int rc;

	rc = nfs_nodes_flush(im);
	nfs_nodes_remove_temporary(im);
	/* What the janitor may be waiting for matters no more. */
	nfs_net_kill(im->net);
	nfs_janitor_stop(im);
	nfs_nodes_free(im);
	import_free(im);
	if (o.gone)
		o.gone(o.ctx, rc);
}

static struct nfs_import *import_new(const struct nfs_import_options *options, const struct nfs_url *u,
                                     const struct nfs_net_config *k)
{
	struct nfs_import *im = calloc(1, sizeof(*im));
	char place[sizeof(*u) + 64];
	struct hash128 h;
	int len;

	if (!im)
		return NULL;
	im->options = *options;
	sync_mutex_init(&im->table_lock, SYNC_RANK_OBJECT_TABLE, "nfs nodes");
	sync_cond_init(&im->janitor_cond);
	CDS_INIT_LIST_HEAD(&im->idle);
	CDS_INIT_LIST_HEAD(&im->jobs);
	/* The same whenever the share is mounted, and of no other that is likely to be there. */
	len = snprintf(place, sizeof(place), "%u,%u,%s:%u%s", k->uid, k->gid, u->host, u->nfs_port, u->export_path);
	h = hash128(place, (size_t)len);
	im->fsid = h.lo ? h.lo : 1;
	im->temporary = sync_wall_ns();
	if (getrandom(im->key, sizeof(im->key), 0) != sizeof(im->key))
		memcpy(im->key, &h, sizeof(im->key));
	if (options->budget)
		budget_charge(options->budget, sizeof(*im));
	return im;
}

int nfs_import_open(const char *url, const struct nfs_import_options *options, struct nfs_import **ret,
                    struct vfs_node **ret_root)
{
	struct nfs_net_config k = { .connections = options->connections ? options->connections : CONNECTIONS,
		                    .timeout_ms = options->timeout_ms ? options->timeout_ms : TIMEOUT_MS };
	struct nfs_node *root = NULL;
	struct nfs_import *im;
	struct nfs_url u;
	int rc = nfs_url_parse(url, &u);

	if (rc)
		return rc;
	if (k.connections > NFS_CONNECTIONS_MAX)
		return err_set(-EINVAL, "more than %u connections", NFS_CONNECTIONS_MAX);
	k.uid = u.has_uid ? u.uid : options->uid;
	k.gid = u.has_gid ? u.gid : options->gid;
	im = import_new(options, &u, &k);
	if (!im)
		return err_set(-ENOMEM, "a share: no memory");
	k.on_down = nfs_janitor_down;
	k.ctx = im;
	rc = nfs_mount_export(&u, &k, &im->root_fh);
	if (rc == 0)
		rc = nfs_net_new(&k, &im->net);
	if (rc == 0)
		rc = first_calls(im, &root);
	if (rc == 0)
		rc = nfs_janitor_start(im);
	if (rc == 0) {
		*ret = im;
		*ret_root = &root->node;
	} else if (root) {
		im->options.gone = NULL;
		vfs_node_unref(&root->node); /* the last one */
	} else {
		import_free(im);
	}
	return rc;
}

void nfs_import_kill(struct nfs_import *im)
{
	__atomic_store_n(&im->dead, 1, __ATOMIC_RELEASE);
}

int nfs_import_sync(struct nfs_import *im)
{
	int rc = nfs_nodes_flush(im);

	/* After a forced unmount that was the last attempt: what still waits for the server does so in vain. */
	if (__atomic_load_n(&im->dead, __ATOMIC_ACQUIRE))
		nfs_net_kill(im->net);
	return rc;
}

void nfs_import_get_stats(const struct nfs_import *im, struct nfs_import_stats *ret)
{
	struct nfs_net_stats s;

	nfs_net_get_stats(im->net, &s);
	*ret = (struct nfs_import_stats){
		.calls = s.calls,
		.read_bytes = s.read_bytes,
		.written_bytes = s.written_bytes,
		.repeated = s.repeated,
		.timed_out = s.timed_out,
		.connects = s.connects,
		.bad_replies = s.bad_replies,
		.rewritten = __atomic_load_n(&im->rewritten_bytes, __ATOMIC_RELAXED),
		.down = s.down,
	};
}
