/* SPDX-License-Identifier: BSD-3-Clause */
/* The encoder and decoder of a root slot. FORMAT.md, "Roots". The I/O of root rings is in root_io.c. */
#include <errno.h>
#include <string.h>

#include "core/base/assert.h"
#include "core/base/bytes.h"
#include "core/base/err.h"
#include "core/fs/wfs3/label_priv.h"

void root_encode(const struct root *r, void *block)
{
	struct wr w = wr_init(block, WFS3_BLOCK_BYTES);
	struct hash128 h;

	always(r->txg && r->txg <= WFS3_TXG_MAX);
	memset(block, 0, WFS3_BLOCK_BYTES);
	wr_le64(&w, ROOT_MAGIC);
	w.pos = ROOT_OFF_BODY;
	wr_copy(&w, r->pool_uuid, 16);
	wr_le64(&w, r->txg);
	wr_le64(&w, r->time_ns);
	wr_le64(&w, r->pool_tree.addr);
	wr_le64(&w, r->pool_tree.birth);
	wr_le64(&w, r->pool_tree.hash.lo);
	wr_le64(&w, r->pool_tree.hash.hi);
	wr_le64(&w, r->space.ring_head);
	wr_le64(&w, r->space.ring_tail);
	wr_le64(&w, r->space.used_blocks);
	wr_le64(&w, r->next_dataset_id);
	wr_le64(&w, r->log_position);
	wr_le64(&w, r->log_epoch);
	wr_le64(&w, r->clean ? ROOT_FLAG_CLEAN : 0);
	always(!w.bad && w.pos == ROOT_USED_BYTES);
	h = hash128((uint8_t *)block + ROOT_OFF_BODY, WFS3_BLOCK_BYTES - ROOT_OFF_BODY);
	w.pos = ROOT_OFF_CHECKSUM;
	wr_le64(&w, h.lo);
	wr_le64(&w, h.hi);
}

static int check_root(const struct root *r)
{
	const struct wfs3_ptr *p = &r->pool_tree;

	if (!r->txg || r->txg > WFS3_TXG_MAX)
		return err_set(-EUCLEAN, "root: txg %llu", (unsigned long long)r->txg);
	if (p->addr > WFS3_VBA_MAX - (WFS3_NODE_BLOCKS - 1) || p->birth > r->txg || (p->addr && !p->birth) ||
	    (!p->addr && (p->birth || p->hash.lo || p->hash.hi)))
		return err_set(-EUCLEAN, "root %llu: impossible pointer to the pool tree", (unsigned long long)r->txg);
	if (r->space.ring_tail > r->space.ring_head || r->space.ring_head > SPACE_POSITION_MAX ||
	    ((r->space.ring_tail | r->space.ring_head) & (WFS3_BLOCK_BYTES - 1)))
		return err_set(-EUCLEAN, "root %llu: impossible ring positions", (unsigned long long)r->txg);
	if ((r->log_position & (WFS3_BLOCK_BYTES - 1)) || r->log_position > SPACE_POSITION_MAX ||
	    r->log_epoch > WFS3_TXG_MAX)
		return err_set(-EUCLEAN, "root %llu: impossible position of the log", (unsigned long long)r->txg);
	if (!r->next_dataset_id || r->next_dataset_id > WFS3_DATASET_ID_MAX)
		return err_set(-EUCLEAN, "root %llu: next dataset is %llu", (unsigned long long)r->txg,
		               (unsigned long long)r->next_dataset_id);
	return 0;
}

int root_decode(const void *block, const uint8_t pool_uuid[16], struct root *ret)
{
	struct rd rd = rd_init(block, WFS3_BLOCK_BYTES);
	struct root r = { 0 };
	struct hash128 h;
	uint64_t flags;
	int rc;

	if (rd_le64(&rd) != ROOT_MAGIC)
		return err_set(-EMEDIUMTYPE, "no root in this slot");
	h.lo = rd_le64(&rd);
	h.hi = rd_le64(&rd);
	if (!hash128_equal(h, hash128((const uint8_t *)block + ROOT_OFF_BODY, WFS3_BLOCK_BYTES - ROOT_OFF_BODY)))
		return err_set(-EUCLEAN, "root: wrong checksum");
	rd_copy(&rd, r.pool_uuid, 16);
	r.txg = rd_le64(&rd);
	r.time_ns = rd_le64(&rd);
	r.pool_tree.addr = rd_le64(&rd);
	r.pool_tree.birth = rd_le64(&rd);
	r.pool_tree.hash.lo = rd_le64(&rd);
	r.pool_tree.hash.hi = rd_le64(&rd);
	r.space.ring_head = rd_le64(&rd);
	r.space.ring_tail = rd_le64(&rd);
	r.space.used_blocks = rd_le64(&rd);
	r.next_dataset_id = rd_le64(&rd);
	r.log_position = rd_le64(&rd);
	r.log_epoch = rd_le64(&rd);
	flags = rd_le64(&rd);
	r.clean = flags & ROOT_FLAG_CLEAN;
	if (memcmp(r.pool_uuid, pool_uuid, 16) != 0)
		return err_set(-EMEDIUMTYPE, "root of another pool");
	rc = check_root(&r);
	if (rc)
		return rc;
	if ((flags & ~ROOT_FLAG_CLEAN) || !bytes_are_zero((const uint8_t *)block + rd.pos, rd_left(&rd)))
		return err_set(-EUCLEAN, "root %llu: reserved bytes are not zero", (unsigned long long)r.txg);
	*ret = r;
	return 0;
}
