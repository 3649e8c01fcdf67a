/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The locks that a thread holds, against which ranks are checked: with WFSD_DEBUG only. Included by the one
 * implementation of sync.h that is linked.
 */
#ifndef WFSD_CORE_BASE_SYNC_HELD_H
#define WFSD_CORE_BASE_SYNC_HELD_H

#include <stdlib.h>
#include <string.h>

#include "core/base/assert.h"
#include "core/base/log.h"
#include "core/base/nowait.h"
#include "core/base/sync.h"

#ifdef WFSD_DEBUG
#define HELD_MAX 4096 /* transactions lock all that they change */

struct held {
	const void *lock;
	const char *name;
	enum sync_rank rank;
};

static _Thread_local struct held held[HELD_MAX];
static _Thread_local int held_count;
static _Thread_local int held_floor; /* those before are set aside */

static _Noreturn void held_abort(const char *what, const char *name, int rank, const struct held *other)
{
	if (other)
		log_error("sync", "%s: lock=\"%s\" rank=%d while holding lock=\"%s\" rank=%d", what, name, rank,
		          other->name, (int)other->rank);
	else
		log_error("sync", "%s: lock=\"%s\" rank=%d", what, name, rank);
	abort();
}

/* Before waiting for a lock: it must not come before any that is held, and not be held. */
static void held_check(const void *lock, const char *name, enum sync_rank rank)
{
	for (int i = held_count - 1; i >= 0; i--) {
		if (held[i].lock == lock)
			held_abort("lock taken twice", name, (int)rank, &held[i]);
		if (i >= held_floor && held[i].rank > rank)
			held_abort("lock order violated", name, (int)rank, &held[i]);
	}
}

static void held_push(const void *lock, const char *name, enum sync_rank rank)
{
	always(held_count < HELD_MAX);
	held[held_count++] = (struct held){ .lock = lock, .name = name, .rank = rank };
}

static int held_find(const void *lock)
{
	for (int i = held_count - 1; i >= 0; i--) {
		if (held[i].lock == lock)
			return i;
	}
	return -1;
}

static void held_pop(const void *lock, const char *name, enum sync_rank rank)
{
	int at = held_find(lock);

	if (at < 0)
		held_abort("unlock of a lock that is not held", name, (int)rank, NULL);
	memmove(&held[at], &held[at + 1], (size_t)(held_count - at - 1) * sizeof(held[0]));
	held_count--;
}

static void held_require(const void *lock, const char *name, enum sync_rank rank)
{
	if (held_find(lock) < 0)
		held_abort("waiting with a lock that is not held", name, (int)rank, NULL);
}

void sync_assert_may_block(void)
{
	if (nowait_here())
		held_abort("waiting in a thread that must not wait", "(none)", 0, NULL);
	for (int i = held_floor; i < held_count; i++) {
		if (held[i].rank >= SYNC_RANK_TREE)
			held_abort("waiting for a device", "(none)", 0, &held[i]);
	}
}

unsigned sync_held_aside(void)
{
	unsigned outer = (unsigned)held_floor;

	held_floor = held_count;
	return outer;
}

void sync_held_back(unsigned outer)
{
	always(held_count == held_floor);
	held_floor = (int)outer;
}
#else
static inline void held_check(const void *lock, const char *name, enum sync_rank rank)
{
	(void)lock;
	(void)name;
	(void)rank;
}
#define held_push held_check
#define held_pop held_check
#define held_require held_check

void sync_assert_may_block(void)
{
}

unsigned sync_held_aside(void)
{
	return 0;
}

void sync_held_back(unsigned outer)
{
	(void)outer;
}
#endif

#endif
