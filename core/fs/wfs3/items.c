/* SPDX-License-Identifier: BSD-3-Clause */
/* Codecs of inode and dataset items. */
#include "core/fs/wfs3/items.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#include "core/base/bytes.h"
#include "core/base/err.h"
#include "core/vfs/vfs_ops.h"

#define INODE_FLAGS UINT64_C(7) /* immutable, append-only, has an ACL */
#define INODE_FLAG_INLINE UINT64_C(8)

size_t inode_encode(const struct inode *i, void *buf)
{
	struct wr w = wr_init(buf, INODE_BYTES);

	wr_le32(&w, i->mode);
	wr_le32(&w, i->uid);
	wr_le32(&w, i->gid);
	wr_le32(&w, i->link_count);
	wr_le64(&w, i->flags | (i->has_inline ? INODE_FLAG_INLINE : 0) | (uint64_t)i->project << 32);
	wr_le64(&w, i->size_bytes);
	wr_le64(&w, i->change);
	wr_le64(&w, (uint64_t)i->atime_ns);
	wr_le64(&w, (uint64_t)i->mtime_ns);
	wr_le64(&w, (uint64_t)i->ctime_ns);
	wr_le64(&w, (uint64_t)i->btime_ns);
	wr_le64(&w, i->rdev);
	wr_le64(&w, i->parent);
	wr_le64(&w, i->blocks);
	return INODE_BYTES;
}

static bool mode_is_known(uint32_t mode)
{
	if (mode & ~(uint32_t)(S_IFMT | 07777))
		return false;
	return S_ISREG(mode) || S_ISDIR(mode) || S_ISLNK(mode) || S_ISFIFO(mode) || S_ISCHR(mode) || S_ISBLK(mode) ||
	       S_ISSOCK(mode);
}

int inode_decode(const void *value, size_t len, struct inode *ret)
{
	struct rd r = rd_init(value, len);
	struct inode i = { 0 };

	if (len != INODE_BYTES)
		return err_set(-EUCLEAN, "inode item of %zu bytes, expected %u", len, INODE_BYTES);
	i.mode = rd_le32(&r);
	i.uid = rd_le32(&r);
	i.gid = rd_le32(&r);
	i.link_count = rd_le32(&r);
	i.flags = rd_le32(&r);
	i.has_inline = i.flags & INODE_FLAG_INLINE;
	i.flags &= ~INODE_FLAG_INLINE;
	i.project = rd_le32(&r);
	i.size_bytes = rd_le64(&r);
	i.change = rd_le64(&r);
	i.atime_ns = (int64_t)rd_le64(&r);
	i.mtime_ns = (int64_t)rd_le64(&r);
	i.ctime_ns = (int64_t)rd_le64(&r);
	i.btime_ns = (int64_t)rd_le64(&r);
	i.rdev = rd_le64(&r);
	i.parent = rd_le64(&r);
	i.blocks = rd_le64(&r);
	if (!mode_is_known(i.mode))
		return err_set(-EUCLEAN, "inode has mode %#o, which this version does not know", i.mode);
	if (i.size_bytes > UINT64_C(1) << 60)
		return err_set(-EUCLEAN, "inode has impossible size %" PRIu64, i.size_bytes);
	if (i.flags & ~INODE_FLAGS)
		return err_set(-EUCLEAN, "inode has unknown flags %#" PRIx64, i.flags);
	if ((i.rdev && !S_ISCHR(i.mode) && !S_ISBLK(i.mode)) || (i.blocks && !S_ISREG(i.mode)) ||
	    (i.has_inline && !i.blocks) || S_ISDIR(i.mode) != (i.parent != 0) || i.blocks > WFS3_VBA_MAX)
		return err_set(-EUCLEAN, "inode of mode %#o has a field that is not for its type", i.mode);
	*ret = i;
	return 0;
}

static void ptr_encode(struct wr *w, const struct wfs3_ptr *p)
{
	wr_le64(w, p->addr);
	wr_le64(w, p->birth);
	wr_le64(w, p->hash.lo);
	wr_le64(w, p->hash.hi);
}

static struct wfs3_ptr ptr_decode(struct rd *r)
{
	struct wfs3_ptr p;

	p.addr = rd_le64(r);
	p.birth = rd_le64(r);
	p.hash.lo = rd_le64(r);
	p.hash.hi = rd_le64(r);
	return p;
}

size_t dataset_item_encode(const struct dataset_item *d, void *buf)
{
	struct wr w = wr_init(buf, DATASET_ITEM_BYTES_MAX);
	size_t name_len = strlen(d->name);

	wr_u8(&w, (uint8_t)d->type);
	wr_u8(&w, (uint8_t)d->state);
	wr_u8(&w, (uint8_t)name_len);
	wr_zero(&w, 5);
	ptr_encode(&w, &d->root);
	wr_le64(&w, d->used_blocks);
	wr_le64(&w, d->next_object);
	wr_le64(&w, d->created_ns);
	if (d->type == DATASET_TYPE_TREE) {
		wr_copy(&w, d->hash_key, sizeof(d->hash_key));
		wr_le64(&w, d->object_count);
		wr_zero(&w, 8);
	} else {
		wr_zero(&w, 16);
	}
	wr_copy(&w, d->name, name_len);
	return w.pos;
}

/* False also when the bytes are not there. */
static bool skip_zeros(struct rd *r, size_t len)
{
	const uint8_t *p = rd_bytes(r, len);

	return p && bytes_are_zero(p, len);
}

/* An empty tree has no root. */
static bool root_ptr_valid(const struct wfs3_ptr *p)
{
	if (!p->addr)
		return !p->birth && !p->hash.lo && !p->hash.hi;
	return p->addr <= WFS3_VBA_MAX - (WFS3_NODE_BLOCKS - 1) && p->birth && p->birth <= WFS3_TXG_MAX;
}

int dataset_item_decode(uint64_t id, const void *value, size_t len, struct dataset_item *ret)
{
	struct rd r = rd_init(value, len);
	struct dataset_item d = { .id = id };
	bool reserved_are_zero;
	size_t name_len;

	d.type = (enum dataset_type)rd_u8(&r);
	d.state = (enum dataset_state)rd_u8(&r);
	name_len = rd_u8(&r);
	reserved_are_zero = skip_zeros(&r, 5);
	d.root = ptr_decode(&r);
	d.used_blocks = rd_le64(&r);
	d.next_object = rd_le64(&r);
	d.created_ns = rd_le64(&r);
	if (d.type == DATASET_TYPE_TREE) {
		rd_copy(&r, d.hash_key, sizeof(d.hash_key));
		d.object_count = rd_le64(&r);
		reserved_are_zero &= skip_zeros(&r, 8);
	} else {
		reserved_are_zero &= skip_zeros(&r, 16);
	}
	rd_copy(&r, d.name, name_len);
	if (r.bad || rd_left(&r))
		return err_set(-EUCLEAN, "dataset %" PRIu64 ": item of %zu bytes does not fit its name of %zu", id, len,
		               name_len);
	if (d.type != DATASET_TYPE_VOLUME && d.type != DATASET_TYPE_TREE)
		return err_set(-EUCLEAN, "dataset %" PRIu64 ": unknown type %d", id, (int)d.type);
	if (d.state != DATASET_STATE_LIVE && d.state != DATASET_STATE_DELETING)
		return err_set(-EUCLEAN, "dataset %" PRIu64 ": unknown state %d", id, (int)d.state);
	if ((d.state == DATASET_STATE_LIVE) != (name_len > 0) || (name_len && vfs_check_name(d.name, name_len)))
		return err_set(-EUCLEAN, "dataset %" PRIu64 ": impossible name", id);
	if (!id || id > WFS3_DATASET_ID_MAX)
		return err_set(-EUCLEAN, "dataset %" PRIu64 ": impossible number", id);
	if (d.type == DATASET_TYPE_TREE && (d.next_object <= WFS3_ROOT_OBJECT || d.next_object > WFS3_OBJECT_MAX))
		return err_set(-EUCLEAN, "dataset %" PRIu64 ": impossible next object", id);
	if (!root_ptr_valid(&d.root))
		return err_set(-EUCLEAN, "dataset %" PRIu64 ": impossible root pointer", id);
	if (!reserved_are_zero)
		return err_set(-EUCLEAN, "dataset %" PRIu64 ": reserved bytes are not zero", id);
	*ret = d;
	return 0;
}

_Static_assert(VFS_CLIENT_KEY_BYTES == sizeof(((struct result_item *)0)->client),
               "a client is known by all of its key");
_Static_assert(VFS_ANSWER_PLACES *ANSWER_PART_BYTES >= VFS_ANSWER_MAX, "the parts of an answer have their places");

struct wfs3_key result_key(const uint8_t client[16], uint64_t place)
{
	return (struct wfs3_key){ .object = RESULT_OBJECT_MIN | get_be64(client) >> 1,
		                  .kind = WFS3_KIND_RESULT,
		                  .offset = place };
}

void result_encode(const struct result_item *r, void *buf)
{
	struct wr w = wr_init(buf, RESULT_BYTES);

	wr_copy(&w, r->client, sizeof(r->client));
	wr_le32(&w, r->sequence);
	wr_le32(&w, r->kind);
	wr_le64(&w, r->number);
	wr_le64(&w, r->expires_s);
	if (r->part_len)
		memcpy((uint8_t *)buf + RESULT_BYTES, r->part, r->part_len);
}

void result_encode_tag(const struct vfs_tag *tag, uint64_t now_s, uint64_t number, void *buf)
{
	struct result_item r = {
		.sequence = tag->sequence, .kind = tag->kind, .number = number, .expires_s = now_s + tag->lifetime_s
	};

	memcpy(r.client, tag->client, sizeof(r.client));
	result_encode(&r, buf);
}

int result_decode(const struct wfs3_key *key, const void *value, size_t len, struct result_item *ret)
{
	struct rd r = rd_init(value, len);
	struct wfs3_key want;

	if (len < RESULT_BYTES || len - RESULT_BYTES > ANSWER_PART_BYTES)
		return err_set(-EUCLEAN, "the result of a request has %zu bytes", len);
	memcpy(ret->client, rd_bytes(&r, sizeof(ret->client)), sizeof(ret->client));
	ret->sequence = rd_le32(&r);
	ret->kind = rd_le32(&r);
	ret->number = rd_le64(&r);
	ret->expires_s = rd_le64(&r);
	ret->part = (const uint8_t *)value + RESULT_BYTES;
	ret->part_len = len - RESULT_BYTES;
	if (ret->part_len && (ret->number > VFS_ANSWER_MAX || ret->number < ret->part_len ||
	                      (ret->part_len != ANSWER_PART_BYTES && ret->part_len != ret->number % ANSWER_PART_BYTES)))
		return err_set(-EUCLEAN, "%zu of an answer's %" PRIu64 " bytes", ret->part_len, ret->number);
	want = result_key(ret->client, key->offset);
	if (wfs3_key_cmp(&want, key))
		return err_set(-EUCLEAN, "the result of a client's request stands among those of another");
	return 0;
}

void scrub_item_encode(const struct scrub_item *s, void *buf)
{
	struct wr w = wr_init(buf, SCRUB_ITEM_BYTES);

	/* Numbers of objects are given out one by one: they do not come to 2^56. */
	wr_le64(&w, (uint64_t)s->state | s->object << 8);
	wr_le64(&w, s->started_ns);
	wr_le64(&w, s->ended_ns);
	wr_le64(&w, s->dataset);
	wr_le64(&w, s->cell);
	wr_le64(&w, s->done_blocks);
	wr_le64(&w, s->damage_count);
	wr_le64(&w, s->repaired_count);
}

int scrub_item_decode(const void *value, size_t len, struct scrub_item *ret)
{
	struct rd r = rd_init(value, len);
	struct scrub_item s;
	uint64_t head;

	head = rd_le64(&r);
	s.state = (enum scrub_state)(head & 0xff);
	s.object = head >> 8;
	s.started_ns = rd_le64(&r);
	s.ended_ns = rd_le64(&r);
	s.dataset = rd_le64(&r);
	s.cell = rd_le64(&r);
	s.done_blocks = rd_le64(&r);
	s.damage_count = rd_le64(&r);
	s.repaired_count = rd_le64(&r);
	if (r.bad || rd_left(&r))
		return err_set(-EUCLEAN, "state of a scrub: %zu bytes", len);
	if (s.state < SCRUB_STATE_RUNNING || s.state > SCRUB_STATE_STOPPED)
		return err_set(-EUCLEAN, "state of a scrub: unknown state %d", (int)s.state);
	*ret = s;
	return 0;
}

void quota_item_encode(const struct quota_item *q, void *buf)
{
	struct wr w = wr_init(buf, QUOTA_ITEM_BYTES);

	wr_le64(&w, q->limit_bytes);
	wr_le64(&w, q->limit_objects);
	wr_le64(&w, q->used_blocks);
	wr_le64(&w, q->used_objects);
}

int quota_item_decode(const struct wfs3_key *key, const void *value, size_t len, struct quota_item *ret)
{
	struct rd r = rd_init(value, len);
	struct quota_item q = { .class = (enum quota_class)(key->offset >> 32), .id = (uint32_t)key->offset };

	q.limit_bytes = rd_le64(&r);
	q.limit_objects = rd_le64(&r);
	q.used_blocks = rd_le64(&r);
	q.used_objects = rd_le64(&r);
	if (r.bad || rd_left(&r))
		return err_set(-EUCLEAN, "quota of dataset %" PRIu64 ": %zu bytes", key->object, len);
	if (key->offset >> 32 > QUOTA_PROJECT ||
	    (q.class == QUOTA_DATASET && (q.id || q.used_blocks || q.used_objects)) ||
	    (q.class == QUOTA_PROJECT && !q.id))
		return err_set(-EUCLEAN, "dataset %" PRIu64 ": a quota of nobody (%#" PRIx64 ")", key->object,
		               key->offset);
	if (q.used_blocks > WFS3_VBA_MAX || q.used_objects > WFS3_OBJECT_MAX)
		return err_set(-EUCLEAN, "dataset %" PRIu64 ": an impossible usage", key->object);
	*ret = q;
	return 0;
}

void collapse_encode(const struct collapse *c, void *buf)
{
	struct wr w = wr_init(buf, COLLAPSE_BYTES);

	wr_le64(&w, c->first);
	wr_le64(&w, c->count);
	wr_le64(&w, c->next);
}

int collapse_decode(const void *value, size_t len, struct collapse *ret)
{
	struct rd r = rd_init(value, len);
	struct collapse c = { .first = rd_le64(&r), .count = rd_le64(&r), .next = rd_le64(&r) };

	if (r.bad || rd_left(&r))
		return err_set(-EUCLEAN, "range that is taken out of a file: %zu bytes", len);
	if (c.first >= WFS3_CELLS_MAX || !c.count || c.count > WFS3_CELLS_MAX - c.first || c.next > WFS3_CELLS_MAX ||
	    (c.next != c.first && c.next <= c.first + c.count))
		return err_set(-EUCLEAN, "cells %" PRIu64 "+%" PRIu64 " cannot be taken out of a file", c.first,
		               c.count);
	*ret = c;
	return 0;
}

void outcome_item_encode(uint64_t time_ns, void *buf)
{
	struct wr w = wr_init(buf, OUTCOME_ITEM_BYTES);

	wr_le64(&w, time_ns);
	wr_le64(&w, 0);
}

int outcome_item_decode(const void *value, size_t len, uint64_t *ret_time_ns)
{
	struct rd r = rd_init(value, len);
	uint64_t time_ns = rd_le64(&r), reserved = rd_le64(&r);

	if (r.bad || rd_left(&r) || reserved)
		return err_set(-EUCLEAN, "outcome of a transaction: %zu bytes", len);
	*ret_time_ns = time_ns;
	return 0;
}
