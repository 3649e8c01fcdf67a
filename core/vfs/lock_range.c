/* SPDX-License-Identifier: BSD-3-Clause */
/* The ranges of a file that owners have locked: adding, cutting, joining. */
#include <stdlib.h>

#include "core/base/checked.h"
#include "core/vfs/lock_priv.h"

static void insert(struct lock_file *f, struct range *r)
{
	struct range *at;

	cds_list_for_each_entry (at, &f->held, link) {
		if (at->start > r->start)
			break;
	}
	cds_list_add_tail(&r->link, &at->link);
}

void range_drop(struct vfs_locks *l, struct range *r)
{
	cds_list_del(&r->link);
	free(r);
	l->held_count--;
}

void range_cut(struct vfs_locks *l, struct lock_file *f, uint64_t owner, uint64_t start, uint64_t end,
               struct range **spare)
{
	const struct range piece = { .start = start, .end = end };
	struct range *r, *next;

	cds_list_for_each_entry_safe (r, next, &f->held, link) {
		if (r->owner != owner || !overlap(r, &piece))
			continue;
		if (r->start < start && r->end > end) {
			struct range *tail = *spare;

			*spare = NULL;
			*tail = *r;
			tail->start = end;
			r->end = start;
			insert(f, tail);
			l->held_count++;
			return;
		}
		if (r->start >= start && r->end <= end) {
			range_drop(l, r);
		} else if (r->start < start) {
			r->end = start;
		} else {
			r->start = end;
			/* Its place among the others may be another one now. */
			cds_list_del(&r->link);
			insert(f, r);
		}
	}
}

/* Ranges of one owner and type that touch become one. */
static void join(struct vfs_locks *l, struct lock_file *f, struct range *r)
{
	struct range *o, *next;

	cds_list_for_each_entry_safe (o, next, &f->held, link) {
		if (o == r || o->owner != r->owner || o->type != r->type || o->end < r->start || o->start > r->end)
			continue;
		r->start = min_u64(r->start, o->start);
		r->end = max_u64(r->end, o->end);
		range_drop(l, o);
	}
	cds_list_del(&r->link);
	insert(f, r);
}

void range_take(struct vfs_locks *l, struct lock_file *f, const struct range *want, struct range *spare[2])
{
	struct range *r = spare[0];

	spare[0] = NULL;
	range_cut(l, f, want->owner, want->start, want->end, &spare[1]);
	*r = *want;
	insert(f, r);
	l->held_count++;
	join(l, f, r);
}
