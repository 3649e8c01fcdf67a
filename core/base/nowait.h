/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Threads that must not wait: event loops, which run operations themselves as long as everything that these need is in
 * memory.
 *
 * Between nowait_begin() and nowait_end() whatever the calling thread calls must not wait for a device, for another
 * thread's I/O, or for a lock that is held over either. What would have to wait returns -EAGAIN instead, with nothing
 * changed, so that the caller can hand the same operation to a thread that may wait. Debug builds abort when something
 * waits all the same (sync_assert_may_block()).
 *
 * Functions honour this when their contract says so; a file system says it for all its nodes (vfs_ops.h).
 *
 * What would wait for another machine, perhaps for long, says that before it returns -EAGAIN, so that the caller can
 * keep such operations apart from those that wait for a device.
 */
#ifndef WFSD_CORE_BASE_NOWAIT_H
#define WFSD_CORE_BASE_NOWAIT_H

#include <stdbool.h>

extern _Thread_local bool nowait_thread; /* private */

static inline void nowait_begin(void)
{
	nowait_thread = true;
}

static inline void nowait_end(void)
{
	nowait_thread = false;
}

/* Must the calling thread not wait now? */
static inline bool nowait_here(void)
{
	return __builtin_expect(nowait_thread, false);
}

extern _Thread_local bool nowait_remote; /* private */

static inline void nowait_tell_remote(void)
{
	nowait_remote = true;
}

/* Was that said in this thread since the last time? */
static inline bool nowait_take_remote(void)
{
	bool told = nowait_remote;

	nowait_remote = false;
	return told;
}

#endif
