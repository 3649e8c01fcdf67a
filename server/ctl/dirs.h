/* SPDX-License-Identifier: BSD-3-Clause */
/* A directory that is copied: there before what is in it, and complete after it, whichever thread that ends in. */
#ifndef WFSD_SERVER_CTL_DIRS_H
#define WFSD_SERVER_CTL_DIRS_H

#include "server/ctl/transfer.h"

struct dir {
	struct transfer *t;
	char *path; /* for what is said of it; malloc'ed */
	/* Everything is in it: set its attributes, and close it. NULL: it is the caller's. */
	int (*finish)(struct dir *d);
	unsigned refs; /* atomic */
	/* get: */
	int fd;
	bool failed; /* and what is in it is not known */
	struct wfs_attr attr; /* for when it is finished */
	/* put: */
	struct wfs_fh fh;
	struct wfs_set_attr set; /* for when it is finished */
};

/* With a reference, and nothing to finish. 0; -ENOMEM. */
int dir_new(struct transfer *t, const char *path, struct dir **ret);
void dir_ref(struct dir *d);
/* The last one finishes it, and says why it could not. Any thread. */
void dir_unref(struct dir *d);
/* The path of @name in it; malloc'ed. NULL: no memory, with context. */
char *dir_below(const struct dir *d, const char *name);

#endif
