/* SPDX-License-Identifier: BSD-3-Clause */
/* Checking a pool in memory: its groups are the members of the check, read like everything else reads them. */
#include "core/fs/wfs3/check_live.h"

#include "core/fs/wfs3/check_priv.h"
#include "core/fs/wfs3/pool.h"

int check_live(const struct check_live *live, const struct check_config *config, struct pool_check_report *ret)
{
	const struct pool *p = live->pool;
	struct check *c = NULL;
	int rc = check_new(config, ret, &c);

	if (!rc) {
		ret->online = true;
		c->live = c->has_root = true;
		c->root = live->root;
		c->disk = live->disk;
		c->label = p->devices[0].label;
		c->member_count = c->group_count = p->device_count;
		for (unsigned g = 0; g < p->device_count; g++) {
			c->members[g] = (struct check_member){ p->devices[g].dev, p->devices[g].label };
			c->groups[g] = (struct check_group){ .layout = p->devices[g].label.layout, .copy_count = 1 };
			c->groups[g].copies[0] = g;
		}
		rc = check_all(c);
	}
	check_free(c);
	return check_finish(ret, rc);
}
