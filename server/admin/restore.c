/* SPDX-License-Identifier: BSD-3-Clause */
/* Mounting what the state file names, and drive letters: at the start, and again when a pool was imported. */
#include "server/admin/restore.h"

#include <errno.h>
#include <stdlib.h>

#include "core/base/err.h"
#include "server/admin/status.h"
#include "server/conf/state.h"
#include "server/mount/mount.h"

struct restore {
	struct mount_table *mounts;
	struct daemon_status *status;
	bool again;
};

static void restore_mount(void *ctx, const struct mount_spec *spec)
{
	const struct restore *r = ctx;
	struct mount_spec *copy;
	int rc;

	if (r->again && !daemon_problem_clear(r->status, spec->path))
		return;
	err_clear();
	copy = malloc(sizeof(*copy));
	if (copy)
		*copy = *spec;
	rc = copy ? mount_add(r->mounts, copy) : err_set(-ENOMEM, "mount %s", spec->path);
	if (rc < 0)
		daemon_problem_set_error(r->status, "mount", spec->path, rc);
	free(copy);
}

void restore_mounts(struct mount_table *t, struct state *state, struct daemon_status *status, bool again)
{
	struct restore r = { .mounts = t, .status = status, .again = again };

	state_each_mount(state, restore_mount, &r);
}

static void restore_drive(void *ctx, char letter, const char *path)
{
	const char name[] = { letter, ':', '\0' };
	const struct restore *r = ctx;
	int rc;

	err_clear();
	rc = mount_set_drive(r->mounts, path, letter);
	if (rc < 0)
		daemon_problem_set_error(r->status, "drive", name, rc);
	else
		(void)daemon_problem_clear(r->status, name);
}

void restore_drives(struct mount_table *t, struct state *state, struct daemon_status *status)
{
	struct restore r = { .mounts = t, .status = status };

	state_each_drive(state, restore_drive, &r);
}
