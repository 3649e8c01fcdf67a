/* SPDX-License-Identifier: BSD-3-Clause */
/* A directory that is copied, and who still needs it. */
#include "server/ctl/dirs.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/err.h"

int dir_new(struct transfer *t, const char *path, struct dir **ret)
{
	struct dir *d = calloc(1, sizeof(*d));

	if (!d || !(d->path = strdup(path))) {
		free(d);
		return err_set(-ENOMEM, "no memory for a directory");
	}
	d->t = t;
	d->refs = 1;
	*ret = d;
	return 0;
}

void dir_ref(struct dir *d)
{
	__atomic_fetch_add(&d->refs, 1, __ATOMIC_RELAXED);
}

void dir_unref(struct dir *d)
{
	if (__atomic_sub_fetch(&d->refs, 1, __ATOMIC_ACQ_REL))
		return;
	if (d->finish && d->finish(d))
		transfer_skip_err(d->t, d->path);
	free(d->path);
	free(d);
}

char *dir_below(const struct dir *d, const char *name)
{
	char *below;

	if (asprintf(&below, "%s/%s", d->path, name) >= 0)
		return below;
	err_set(-ENOMEM, "no memory for a path");
	return NULL;
}
