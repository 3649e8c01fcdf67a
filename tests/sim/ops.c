/* SPDX-License-Identifier: BSD-3-Clause */
/* Doing operations: the model is told what is going to happen, and then what did. */
#include "tests/sim/ops.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/bytes.h"
#include "core/base/err.h"
#include "tests/sim/alloc.h"

#define BLOCK DISK_BLOCK_BYTES

static const char *const kind_names[OP_KINDS] = { "write",  "read",   "flush",  "discard", "zero", "flush range",
	                                          "resize", "create", "delete", "rename",  "sync", "wait" };

char *op_text(const struct op *op, char *buf, size_t len)
{
	snprintf(buf, len, "%s v%u %llu+%llu%s%s", kind_names[op->kind], op->volume, (unsigned long long)op->offset,
	         (unsigned long long)op->len_bytes, op->fua ? " fua" : "",
	         op->kind == OP_WRITE && !op->fill ? " of zeros" : "");
	return buf;
}

static void fill_pattern(uint8_t *buf, size_t len, uint64_t seed)
{
	struct rng r = rng_new(seed, 3);

	memset(buf, 0, len);
	if (seed)
		for (size_t i = 0; i + 8 <= len; i += 8)
			put_le64(buf + i, rng_next(&r));
}

static int open_volume(struct model *mo, const struct model_volume *v, struct vfs_handle **ret)
{
	char path[64];

	snprintf(path, sizeof(path), "/" POOL_NAME "/%s", v->is.name);
	return vfs_open(mo->m->vfs, path, true, ret);
}

/* ---- data ---- */

struct range {
	unsigned first, end; /* pages that are touched */
};

static struct range pages_of(const struct op *op)
{
	return (struct range){ (unsigned)(op->offset / BLOCK),
		               (unsigned)((op->offset + op->len_bytes + BLOCK - 1) / BLOCK) };
}

/* Tell the model what a change is going to make of a page. False: nothing. */
static bool expect_change(struct model_volume *v, const struct op *op, unsigned page, const uint8_t *data)
{
	uint64_t start = (uint64_t)page * BLOCK;
	uint64_t from = op->offset > start ? op->offset : start;
	uint64_t to = op->offset + op->len_bytes < start + BLOCK ? op->offset + op->len_bytes : start + BLOCK;
	uint8_t buf[BLOCK];

	if (op->kind == OP_DISCARD && to - from < BLOCK)
		return false;
	memcpy(buf, v->pages[page].newest, BLOCK);
	if (op->kind == OP_WRITE)
		memcpy(buf + (from - start), data + (from - op->offset), to - from);
	else
		memset(buf + (from - start), 0, to - from);
	model_page_begin(&v->pages[page], buf);
	return true;
}

/* What failed may have happened or not; a part of such a page cannot be changed, as nobody knows the rest. */
static bool is_known(const struct model_volume *v, struct range pages)
{
	for (unsigned p = pages.first; p < pages.end; p++)
		if (v->pages[p].known != v->pages[p].count - 1)
			return false;
	return true;
}

static int change(struct model *mo, struct model_volume *v, struct vfs_handle *h, const struct op *op)
{
	struct range pages = pages_of(op);
	uint8_t *data = exempt_alloc(op->len_bytes);
	struct iovec iov = { data, op->len_bytes };
	unsigned flags = op->fua ? VFS_FUA : 0;
	bool changes[MODEL_PAGES_MAX] = { 0 };
	int ret;

	fill_pattern(data, op->len_bytes, op->fill);
	for (unsigned p = pages.first; p < pages.end; p++)
		changes[p] = expect_change(v, op, p, data);
	if (op->kind == OP_WRITE)
		ret = vfs_write(h, &iov, 1, op->offset, flags);
	else if (op->kind == OP_DISCARD)
		ret = vfs_discard(h, op->offset, op->len_bytes, flags);
	else
		ret = vfs_zero(h, op->offset, op->len_bytes, flags);
	model_room_result(mo, kind_names[op->kind], ret);
	for (unsigned p = pages.first; p < pages.end && !ret; p++)
		if (changes[p])
			model_page_done(&v->pages[p], op->fua);
	free(data);
	return ret;
}

static int read_back(struct model *mo, struct model_volume *v, struct vfs_handle *h, const struct op *op)
{
	struct range pages = { (unsigned)(op->offset / BLOCK), (unsigned)((op->offset + op->len_bytes) / BLOCK) };
	uint64_t len = (uint64_t)(pages.end - pages.first) * BLOCK;
	uint8_t *data = exempt_alloc(len);
	struct iovec iov = { data, len };
	unsigned lo[MODEL_PAGES_MAX];
	int ret;

	for (unsigned p = pages.first; p < pages.end; p++)
		lo[p] = v->pages[p].known;
	ret = vfs_read(h, &iov, 1, (uint64_t)pages.first * BLOCK, 0);
	model_result(mo, "read", ret);
	for (unsigned p = pages.first; p < pages.end && !ret; p++, mo->reads_checked++)
		model_check_read(v, p, data + (size_t)(p - pages.first) * BLOCK, lo[p]);
	free(data);
	return ret;
}

static void note_known(const struct model_volume *v, unsigned *ret)
{
	for (unsigned p = 0; p < MODEL_PAGES_MAX; p++)
		ret[p] = v->pages[p].known;
}

static void raise_floor(struct model_volume *v, const unsigned *known)
{
	for (unsigned p = 0; p < MODEL_PAGES_MAX; p++)
		if (v->pages[p].floor < known[p])
			v->pages[p].floor = known[p];
}

static int flush(struct model *mo, struct model_volume *v, struct vfs_handle *h, const struct op *op)
{
	struct range pages = pages_of(op);
	unsigned known[MODEL_PAGES_MAX];
	int ret;

	note_known(v, known);
	if (op->kind == OP_FLUSH) {
		ret = vfs_flush(h, 0);
	} else {
		ret = vfs_flush_range(h, op->offset, op->len_bytes, 0);
		for (unsigned p = 0; p < MODEL_PAGES_MAX; p++)
			known[p] = p < pages.first || p >= pages.end ? 0 : known[p];
	}
	model_result(mo, kind_names[op->kind], ret);
	if (!ret)
		raise_floor(v, known);
	return ret;
}

static int data_op(struct model *mo, const struct op *op)
{
	bool is_flush = op->kind == OP_FLUSH || op->kind == OP_FLUSH_RANGE;
	struct model_volume *v = &mo->volumes[op->volume];
	struct vfs_handle *h = NULL;
	int ret = 0;

	sync_rwlock_rdlock(&v->lock);
	if (!v->is.exists || v->uncertain)
		goto out;
	if (op->kind != OP_FLUSH && op->offset + op->len_bytes > (uint64_t)v->is.page_count * BLOCK)
		goto out;
	if (!is_flush && op->kind != OP_READ && !is_known(v, pages_of(op)))
		goto out;
	ret = open_volume(mo, v, &h);
	model_result(mo, "open", ret);
	if (ret)
		goto out;
	if (is_flush)
		ret = flush(mo, v, h, op);
	else if (op->kind == OP_READ)
		ret = read_back(mo, v, h, op);
	else
		ret = change(mo, v, h, op);
	vfs_close(h);
out:
	sync_rwlock_rdunlock(&v->lock);
	return ret;
}

/* ---- administration ---- */

static int do_admin(struct model *mo, struct model_volume *v, enum op_kind kind)
{
	const struct pool_driver *d = mo->m->admin.driver;
	void *ctx = mo->m->admin.ctx;
	uint64_t size = (uint64_t)v->may_be.page_count * BLOCK;

	switch (kind) {
	case OP_CREATE:
		return d->volume_create(ctx, POOL_NAME, v->may_be.name, size);
	case OP_DELETE:
		return d->volume_delete(ctx, POOL_NAME, v->is.name);
	case OP_RENAME:
		return d->volume_rename(ctx, POOL_NAME, v->is.name, v->may_be.name);
	default:
		return d->volume_resize(ctx, POOL_NAME, v->is.name, size, true);
	}
}

static void begin_admin(struct model_volume *v, const struct op *op)
{
	static const uint8_t zeros[BLOCK];

	v->may_be = v->is;
	if (op->kind == OP_RENAME)
		snprintf(v->may_be.name, sizeof(v->may_be.name), "v%u.%u", op->volume, ++v->renames);
	if (op->kind == OP_CREATE || op->kind == OP_RESIZE)
		v->may_be.page_count = (unsigned)(op->len_bytes / BLOCK);
	v->may_be.exists = op->kind != OP_DELETE;
	v->uncertain = true;
	for (unsigned p = v->may_be.page_count; p < MODEL_PAGES_MAX && op->kind == OP_RESIZE; p++)
		model_page_begin(&v->pages[p], zeros);
	for (unsigned p = 0; p < MODEL_PAGES_MAX && op->kind == OP_CREATE; p++)
		model_page_zero(&v->pages[p]);
}

static int admin_op(struct model *mo, const struct op *op)
{
	struct model_volume *v = &mo->volumes[op->volume];
	int ret = 0;

	sync_rwlock_wrlock(&v->lock);
	if (v->uncertain || v->is.exists != (op->kind != OP_CREATE))
		goto out;
	begin_admin(v, op);
	ret = do_admin(mo, v, op->kind);
	model_room_result(mo, kind_names[op->kind], ret);
	if (!ret) {
		v->is = v->may_be;
		v->uncertain = false;
		for (unsigned p = v->is.page_count; p < MODEL_PAGES_MAX && op->kind == OP_RESIZE; p++)
			model_page_done(&v->pages[p], true);
	}
out:
	sync_rwlock_wrunlock(&v->lock);
	return ret;
}

static int sync_pool(struct model *mo)
{
	unsigned(*known)[MODEL_PAGES_MAX] = exempt_alloc(MODEL_VOLUMES * sizeof(*known));
	int ret;

	/* All at once, so that a volume that is resized meanwhile is none of it. */
	for (unsigned i = 0; i < MODEL_VOLUMES; i++) {
		sync_rwlock_rdlock(&mo->volumes[i].lock);
		note_known(&mo->volumes[i], known[i]);
	}
	ret = mo->m->admin.driver->pool_sync(mo->m->admin.ctx, POOL_NAME);
	model_result(mo, "sync", ret);
	for (unsigned i = 0; i < MODEL_VOLUMES; i++) {
		if (!ret)
			raise_floor(&mo->volumes[i], known[i]);
		sync_rwlock_rdunlock(&mo->volumes[i].lock);
	}
	free(known);
	return ret;
}

int op_run(struct model *mo, const struct op *op)
{
	switch (op->kind) {
	case OP_RESIZE:
	case OP_CREATE:
	case OP_DELETE:
	case OP_RENAME:
		return admin_op(mo, op);
	case OP_SYNC:
		return sync_pool(mo);
	case OP_WAIT:
		sync_sleep_ns(op->len_bytes);
		return 0;
	default:
		return data_op(mo, op);
	}
}

/* ---- random ---- */

struct op_mix op_mix_random(struct rng *r, unsigned client_count)
{
	static const unsigned groups[] = { 3, 5, 16, 40, 96 };
	struct op_mix mix = { .client_count = client_count };
	unsigned admin = rng_one_in(r, 3) ? 0 : 1 + (unsigned)rng_below(r, 3);

	mix.weights[OP_WRITE] = 20 + (unsigned)rng_below(r, 60);
	mix.weights[OP_READ] = 5 + (unsigned)rng_below(r, 30);
	mix.weights[OP_FLUSH] = 1 + (unsigned)rng_below(r, 25);
	mix.weights[OP_DISCARD] = (unsigned)rng_below(r, 10);
	mix.weights[OP_ZERO] = (unsigned)rng_below(r, 10);
	mix.weights[OP_RESIZE] = admin;
	mix.weights[OP_CREATE] = mix.weights[OP_DELETE] = mix.weights[OP_RENAME] = admin;
	mix.weights[OP_SYNC] = admin;
	mix.weights[OP_WAIT] = (unsigned)rng_below(r, 8);
	mix.group_pages = groups[rng_below(r, sizeof(groups) / sizeof(groups[0]))];
	mix.fua_one_in = (unsigned)rng_below(r, 10);
	mix.zeros_one_in = (unsigned)rng_below(r, 12);
	mix.part_one_in = (unsigned)rng_below(r, 8);
	mix.weights[OP_FLUSH_RANGE] = (unsigned)rng_below(r, 12);
	return mix;
}

static bool chance(struct rng *r, unsigned one_in)
{
	return one_in && rng_one_in(r, one_in);
}

static void random_range(struct rng *r, const struct op_mix *mix, unsigned client, struct op *op)
{
	unsigned groups = MODEL_PAGES_MAX / mix->group_pages;
	unsigned turns = groups / mix->client_count;
	unsigned group = client + mix->client_count * (unsigned)rng_below(r, turns ? turns : 1);
	unsigned first = (unsigned)rng_below(r, mix->group_pages);
	unsigned count = 1 + (unsigned)rng_below(r, rng_one_in(r, 3) ? mix->group_pages - first : 1);

	if (turns == 0 && client >= groups)
		group = groups; /* beyond the end of every volume: this client only reads */
	op->offset = (uint64_t)(group * mix->group_pages + first) * BLOCK;
	op->len_bytes = (uint64_t)count * BLOCK;
	if (chance(r, mix->part_one_in)) {
		op->offset += rng_below(r, BLOCK / 512) * 512 + 8 * rng_below(r, 4);
		op->len_bytes = 512 * (1 + rng_below(r, 6));
		if (op->offset % BLOCK + op->len_bytes > BLOCK && first + 1 >= mix->group_pages)
			op->len_bytes = BLOCK - op->offset % BLOCK;
	}
}

struct op op_random(struct rng *r, const struct op_mix *mix, unsigned client)
{
	struct op op = { .volume = (unsigned)rng_below(r, MODEL_VOLUMES) };
	unsigned total = 0, pick;

	for (unsigned i = 0; i < OP_KINDS; i++)
		total += mix->weights[i];
	pick = (unsigned)rng_below(r, total);
	while (pick >= mix->weights[op.kind])
		pick -= mix->weights[op.kind++];
	random_range(r, mix, client, &op);
	op.fua = chance(r, mix->fua_one_in);
	op.fill = chance(r, mix->zeros_one_in) ? 0 : rng_next(r) | 1;
	if (op.kind == OP_READ) {
		op.offset = rng_below(r, MODEL_PAGES_MAX) * BLOCK;
		op.len_bytes = BLOCK * (1 + rng_below(r, 8));
	} else if (op.kind == OP_RESIZE || op.kind == OP_CREATE) {
		op.len_bytes = BLOCK * (1 + (rng_one_in(r, 3) ? rng_below(r, MODEL_PAGES_MAX) : MODEL_PAGES_MAX - 1));
	} else if (op.kind == OP_WAIT) {
		op.len_bytes = rng_below(r, 3000) * SYNC_NS_PER_MS;
	}
	return op;
}
