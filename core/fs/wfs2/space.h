/* SPDX-License-Identifier: BSD-3-Clause */
/* Which blocks are free, in memory, and where the next run is. Not locked; waits for nothing. */
#ifndef WFSD_CORE_FS_WFS2_SPACE_H
#define WFSD_CORE_FS_WFS2_SPACE_H

#include <stdbool.h>
#include <stdint.h>

struct wfs2_space {
	uint64_t *busy; /* a bit for each block: used, or kept for a file that grows */
	uint32_t begin, end; /* the area of contents */
	uint32_t free_count;
	uint32_t cursor; /* the search goes on here */
	uint32_t largest; /* no free run is longer */
};

/* @bitmap: as on the device, a multiple of 8 bytes. -ENOMEM. */
int wfs2_space_init(struct wfs2_space *s, const uint8_t *bitmap, uint32_t bitmap_bytes, uint32_t begin, uint32_t end);
void wfs2_space_done(struct wfs2_space *s);
/*
 * Take a run: what is free from @goal on (0: no wish), else the next run of @want blocks, else the longest there is.
 * Returns its length, at most @want; 0 when nothing is free.
 */
uint32_t wfs2_space_take(struct wfs2_space *s, uint32_t goal, uint32_t want, uint32_t *ret_first);
void wfs2_space_give(struct wfs2_space *s, uint32_t first, uint32_t count);

#endif
