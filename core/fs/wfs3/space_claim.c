/* SPDX-License-Identifier: BSD-3-Clause */
/* Claiming the blocks that records of the log point to, before anything else is allocated. */
#include <errno.h>
#include <inttypes.h>

#include "core/base/err.h"
#include "core/fs/wfs3/space_priv.h"

int space_claim(struct space *s, struct space_run run)
{
	struct space_place p;
	uint64_t *busy;
	int ret = 0;

	if (!space_place_find(s, run.addr, run.block_count, &p))
		return err_set(-EUCLEAN, "blocks %#" PRIx64 "+%u are outside of every region", run.addr,
		               run.block_count);
	sync_mutex_lock(&s->mutex);
	busy = space_bitmap(s, s->busy, p.region);
	if (bits_all_clear(busy, p.block, run.block_count)) {
		bits_set(busy, p.block, run.block_count);
		s->free_count[p.region] -= run.block_count;
		s->free_blocks -= run.block_count;
		if (s->run_bound[p.region] > s->free_count[p.region])
			s->run_bound[p.region] = s->free_count[p.region];
	} else {
		ret = err_set(-EUCLEAN, "blocks %#" PRIx64 "+%u are not free", run.addr, run.block_count);
	}
	sync_mutex_unlock(&s->mutex);
	return ret;
}
