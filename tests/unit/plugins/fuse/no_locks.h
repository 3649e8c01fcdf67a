/* SPDX-License-Identifier: BSD-3-Clause */
/* For tests of the mount that play the server and have no locks: these take the place of those of plugins/fuse/lock.c.
 */
#ifndef WFSD_TESTS_UNIT_PLUGINS_FUSE_NO_LOCKS_H
#define WFSD_TESTS_UNIT_PLUGINS_FUSE_NO_LOCKS_H

#include "plugins/fuse/mount.h"

/* How often locks were told of: that they be asked for again, that they are gone. */
static unsigned no_locks_asked_again, no_locks_gone;

void lock_ended(struct mount *m, uint64_t id, int err)
{
	(void)m;
	(void)id;
	(void)err;
}

void lock_ask_again(struct mount *m)
{
	(void)m;
	no_locks_asked_again++;
}

void lock_gone(struct mount *m)
{
	(void)m;
	no_locks_gone++;
}

#endif
