/* SPDX-License-Identifier: BSD-3-Clause */
/* Redo of a file tree's items. Nobody else changes the tree meanwhile, and a commit comes only when all is done. */
#include "core/fs/wfs3/recover_items.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#include "core/base/checked.h"
#include "core/base/err.h"
#include "core/fs/wfs3/edit.h"
#include "core/fs/wfs3/wal_codec.h"

/* 0, -ENOENT. */
static int read_inode(struct dataset *ds, uint64_t number, struct inode *ret)
{
	struct wfs3_key key = { .object = number, .kind = WFS3_KIND_INODE };
	uint8_t buf[INODE_BYTES];
	size_t len;
	int rc = edit_read(ds, &key, buf, sizeof(buf), &len);

	if (rc == -ERANGE)
		rc = err_set(-EUCLEAN, "inode %" PRIu64 " of dataset %" PRIu64 " has %zu bytes", number, ds->id, len);
	return rc ? rc : inode_decode(buf, len, ret);
}

static int apply(struct dataset *ds, const struct item_change *c)
{
	struct wfs3_key missing;
	int rc;

	do {
		uint64_t txg = txg_enter(ds->pool);

		rc = tree_apply(ds->tree, txg, c, 1, &missing);
		if (!rc)
			txg_changed(ds->pool, ds, txg);
		txg_exit(ds->pool);
		if (rc == -EAGAIN) {
			rc = tree_fetch(ds->tree, &missing);
			rc = rc ? rc : -EAGAIN;
		}
	} while (rc == -EAGAIN);
	return rc;
}

static int put_inode(struct dataset *ds, const struct item_change *c)
{
	struct item_change put = *c;
	uint8_t buf[INODE_BYTES];
	struct inode old = { 0 }, i;
	int rc = inode_decode(c->value, c->len, &i);
	bool is_new;

	if (rc)
		return rc;
	rc = read_inode(ds, c->key.object, &old);
	if (rc && rc != -ENOENT)
		return rc;
	is_new = rc == -ENOENT;
	/* Those follow from the records of the map. */
	i.blocks = old.blocks;
	i.has_inline = old.has_inline;
	put.value = buf;
	put.len = inode_encode(&i, buf);
	rc = apply(ds, &put);
	if (!rc)
		rc = quota_replay(ds, is_new ? NULL : &old, &i);
	if (rc)
		return rc;
	ds->object_count += is_new;
	ds->next_object = max_u64(ds->next_object, c->key.object + 1);
	return 0;
}

/* What a record of the map has dropped may still stand in a leaf that was not in memory then. */
static int delete_contents(struct dataset *ds, uint64_t number)
{
	const struct item_change c = { .op = ITEM_DELETE, .key = { .object = number, .kind = WFS3_KIND_INLINE } };

	return apply(ds, &c);
}

static int delete_inode(struct dataset *ds, const struct item_change *c)
{
	struct inode old;
	int rc = read_inode(ds, c->key.object, &old);

	if (!rc && S_ISREG(old.mode))
		rc = delete_contents(ds, c->key.object);
	if (!rc)
		rc = apply(ds, c);
	if (!rc)
		rc = quota_replay(ds, &old, NULL);
	if (!rc)
		ds->object_count--;
	return rc == -ENOENT ? 0 : rc;
}

/* Of a file: its contents are there now. Of a symbolic link: its target. */
static int put_inline(struct dataset *ds, const struct item_change *c)
{
	struct object o;
	int rc = apply(ds, c);

	if (!rc)
		rc = recover_object_begin(ds, c->key.object, &o);
	if (rc)
		return rc == -ENOENT ? 0 : rc;
	if (S_ISREG(o.inode.mode)) {
		object_set_inline(&o);
		rc = object_put_inode(&o);
	}
	recover_object_end(&o);
	return rc;
}

int recover_item(struct dataset *ds, const struct item_change *c)
{
	bool is_inode = c->key.kind == WFS3_KIND_INODE, is_orphan = c->key.kind == WFS3_KIND_ORPHAN;
	bool is_result = c->key.kind == WFS3_KIND_RESULT;
	bool is_outcome = c->key.kind == WFS3_KIND_OUTCOME;
	bool known = c->key.kind <= WFS3_KIND_DIRENT || is_orphan || is_outcome;
	struct result_item result;
	struct collapse collapse;

	if (is_result && c->key.object >= RESULT_OBJECT_MIN) {
		int rc = c->op == ITEM_PUT ? result_decode(&c->key, c->value, c->len, &result) : 0;

		return rc ? rc : apply(ds, c);
	}

	if (!known || !c->key.kind || (is_orphan || is_outcome) != (c->key.object == 0) ||
	    c->key.object >= WFS3_OBJECT_MAX || (is_inode && c->key.offset))
		return err_set(-EUCLEAN, "log: an item of kind %u of object %" PRIu64, c->key.kind, c->key.object);
	if (is_orphan && c->len) {
		int rc = collapse_decode(c->value, c->len, &collapse);

		return rc ? rc : apply(ds, c);
	}
	if (c->key.kind == WFS3_KIND_INLINE && c->op == ITEM_PUT && !c->key.offset)
		return put_inline(ds, c);
	if (is_inode)
		return c->op == ITEM_PUT ? put_inode(ds, c) : delete_inode(ds, c);
	return apply(ds, c);
}

int recover_object_begin(struct dataset *ds, uint64_t number, struct object *ret)
{
	int rc;

	memset(ret, 0, sizeof(*ret));
	rc = read_inode(ds, number, &ret->inode);
	if (rc)
		return rc;
	object_init(ret, ds, number, &volume_node_ops, VFS_TYPE_FILE);
	ret->write_end = ret->stored_size = ret->inode.size_bytes;
	return 0;
}

void recover_object_end(struct object *o)
{
	object_done(o);
}

int recover_truncate(struct dataset *ds, uint64_t number, uint64_t first)
{
	struct object o;
	int rc = recover_object_begin(ds, number, &o);

	if (rc)
		return rc == -ENOENT ? 0 : rc;
	if (first <= WAL_BLOCK_INDEX_MAX)
		rc = object_unmap(&o, first, WAL_BLOCK_INDEX_MAX + 1 - first);
	recover_object_end(&o);
	return rc;
}
