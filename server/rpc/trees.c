/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The exports whose file trees a connection uses. Each is opened once and looked up again when the table of exports has
 * changed: handles of an export that was removed, or now means another path, are stale, and a new policy counts at
 * once.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/err.h"
#include "core/base/nowait.h"
#include "server/rpc/compound.h"

void rpc_trees_init(struct rpc_trees *t)
{
	sync_mutex_init(&t->lock, SYNC_RANK_CONNECTION, "rpc trees");
}

void rpc_trees_done(struct rpc_trees *t, struct export_table *exports)
{
	while (t->first) {
		struct rpc_tree *tree = t->first;

		t->first = tree->next;
		export_close(exports, tree->name, tree->root);
		free(tree);
	}
	sync_mutex_done(&t->lock);
}

/* Its export as the table has it now. */
static int refresh(struct rpc_conn *c, struct rpc_tree *tree, struct export_info *info)
{
	uint64_t generation = export_generation(c->server->exports);

	if (tree->generation == generation && !tree->gone)
		return 0;
	if (tree->gone || export_get(c->server->exports, tree->name, info) || export_key(info) != tree->key) {
		tree->gone = true;
		return err_set(-ESTALE, "export '%s' was removed", tree->name);
	}
	tree->policy = info->policy;
	__atomic_store_n(&tree->read_only, info->read_only, __ATOMIC_RELAXED);
	tree->generation = generation;
	return 0;
}

static int tree_open(struct rpc_conn *c, const char *name, struct export_info *info, struct rpc_tree **ret)
{
	struct rpc_tree *tree = calloc(1, sizeof(*tree));
	int err;

	if (!tree)
		return err_set(-ENOMEM, "no memory for an export");
	/* Before the look at the table, so that a change meanwhile is noticed. */
	tree->generation = export_generation(c->server->exports);
	err = export_open_tree(c->server->exports, name, &tree->root, info);
	if (!err)
		err = vfs_get_fid(tree->root, &tree->root_fid);
	if (err) {
		if (tree->root)
			export_close(c->server->exports, name, tree->root);
		free(tree);
		return err;
	}
	tree->key = export_key(info);
	tree->policy = info->policy;
	tree->read_only = info->read_only;
	memcpy(tree->name, info->name, sizeof(tree->name));
	tree->stats = rpc_export_stats(c->server, tree->name);
	*ret = tree;
	return 0;
}

/* Opens it when the connection has it not yet. The lock is not held while that waits. */
static int tree_get(struct rpc_conn *c, const char *name, uint64_t key, struct export_info *info, struct rpc_tree **ret)
{
	struct rpc_trees *t = &c->trees;
	struct rpc_tree *tree, *fresh = NULL;
	bool admitted = false;
	unsigned count;
	int err = 0;

	for (;;) {
		sync_mutex_lock(&t->lock);
		count = 0;
		for (tree = t->first; tree; tree = tree->next, count++) {
			if (!tree->gone && tree->key == key && refresh(c, tree, info) == 0)
				break;
		}
		if (!tree && count >= RPC_TREES_MAX)
			err = err_set(-EMFILE, "%u exports in use on this connection", count);
		if (!tree && !err && fresh) {
			fresh->next = t->first;
			t->first = tree = fresh;
			fresh = NULL;
		}
		admitted = tree && rpc_policy_admits(&tree->policy, &c->peer);
		sync_mutex_unlock(&t->lock);
		if (tree || err)
			break;
		err = tree_open(c, name, info, &fresh);
		if (!err && fresh->key != key)
			err = err_set(-ESTALE, "export '%s' has just been changed", name);
		if (err)
			break;
	}
	if (fresh) {
		export_close(c->server->exports, fresh->name, fresh->root);
		free(fresh);
	}
	if (!err && !admitted)
		err = err_set(-EACCES, "export '%s' is not for this client", tree->name);
	if (!err)
		*ret = tree;
	return err;
}

int rpc_tree_by_name(struct rpc_conn *c, const char *name, struct rpc_tree **ret)
{
	struct export_info *info = malloc(sizeof(*info));
	char found[EXPORT_NAME_MAX + 1];
	int err;

	if (!info)
		return err_set(-ENOMEM, "no memory for an export");
	err = export_get(c->server->exports, name, info);
	if (!err) {
		memcpy(found, info->name, sizeof(found));
		err = tree_get(c, found, export_key(info), info, ret);
	}
	free(info);
	return err;
}

/* The usual case, without memory and without the table: it is in use, nothing has changed, and the client may come. */
static struct rpc_tree *find_known(struct rpc_conn *c, uint64_t key)
{
	uint64_t generation = export_generation(c->server->exports);
	struct rpc_tree *tree;

	sync_mutex_lock(&c->trees.lock);
	tree = c->trees.first;
	while (tree && (tree->key != key || tree->gone || tree->generation != generation))
		tree = tree->next;
	if (tree && !rpc_policy_admits(&tree->policy, &c->peer))
		tree = NULL;
	sync_mutex_unlock(&c->trees.lock);
	return tree;
}

int rpc_tree_by_key(struct rpc_conn *c, uint64_t key, struct rpc_tree **ret)
{
	struct rpc_tree *tree = find_known(c, key);
	char name[EXPORT_NAME_MAX + 1];
	struct export_info *info;
	int err;

	if (tree) {
		*ret = tree;
		return 0;
	}
	if (nowait_here())
		return -EAGAIN;
	err = export_find_key(c->server->exports, key, name);
	if (err)
		return err;
	info = malloc(sizeof(*info));
	err = info ? tree_get(c, name, key, info, ret) : err_set(-ENOMEM, "no memory for an export");
	free(info);
	/* Not the handle's object was looked for, but its file system: that is not there. */
	return err == -ENOENT ? err_add(-ESTALE, "the file system of a handle") : err;
}

void rpc_tree_policy(struct rpc_conn *c, const struct rpc_tree *tree, struct export_policy *ret)
{
	sync_mutex_lock(&c->trees.lock);
	*ret = tree->policy;
	sync_mutex_unlock(&c->trees.lock);
}

bool rpc_tree_is_stale(struct rpc_conn *c, struct rpc_tree *tree)
{
	struct vfs_handle *h;

	if (vfs_open_fid(tree->root, &tree->root_fid, &h) == 0) {
		vfs_close(h);
		return false;
	}
	sync_mutex_lock(&c->trees.lock);
	tree->gone = true;
	sync_mutex_unlock(&c->trees.lock);
	return true;
}
