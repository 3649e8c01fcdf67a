/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Free clusters: a bitmap with a count of free ones for each group, searched by next fit; and a second one of clusters
 * that something is known to lead to, which shows what is in two files. In memory only; they are built from the FAT.
 * The caller serialises.
 */
#ifndef WFSD_CORE_FS_FAT_ALLOC_H
#define WFSD_CORE_FS_FAT_ALLOC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct fat_alloc {
	uint64_t *used; /* bit 0 is cluster 2 */
	uint64_t *led_to; /* likewise */
	uint16_t *group_free;
	uint32_t count, free_count;
	uint32_t next; /* where the last allocation ended */
};

/* Everything is used at first. 0 or -ENOMEM. */
int fat_alloc_init(struct fat_alloc *a, uint32_t cluster_count);
void fat_alloc_done(struct fat_alloc *a);
size_t fat_alloc_bytes(uint32_t cluster_count);

/* A used run becomes free. -EUCLEAN: a part of it was, or is no cluster; nothing changed then. */
int fat_alloc_give(struct fat_alloc *a, uint32_t first, uint32_t count);
/* The same for what belonged to a file: nothing leads there any more. */
int fat_alloc_free(struct fat_alloc *a, uint32_t first, uint32_t count);
bool fat_alloc_is_free(const struct fat_alloc *a, uint32_t cluster);

/* An entry of the FAT, or a name, leads to this cluster, which is one. False: something else does, too. */
bool fat_alloc_lead(struct fat_alloc *a, uint32_t cluster);
/* It does not any more, or is forgotten. Any number is fine. */
void fat_alloc_unlead(struct fat_alloc *a, uint32_t cluster);
/* Free clusters that something leads to become used. Returns how many there were. */
uint32_t fat_alloc_hold_led_to(struct fat_alloc *a);

/*
 * Take a run of 1..@want clusters, from @goal on when that one is free (0: no goal). Long runs are preferred. False:
 * nothing is free.
 */
bool fat_alloc_take(struct fat_alloc *a, uint32_t goal, uint32_t want, uint32_t *ret_first, uint32_t *ret_count);

#endif
