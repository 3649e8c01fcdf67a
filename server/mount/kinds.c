/* SPDX-License-Identifier: BSD-3-Clause */
/* The table of kinds. */
#include <string.h>

#include "server/mount/kind.h"

static const struct mount_kind *const kinds[] = {
	&mount_kind_fat,
	&mount_kind_nfs,
	&mount_kind_wfs2,
};

const struct mount_kind *mount_kind_find(const char *name)
{
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		if (strcmp(kinds[i]->name, name) == 0)
			return kinds[i];
	}
	return NULL;
}
