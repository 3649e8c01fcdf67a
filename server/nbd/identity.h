/* SPDX-License-Identifier: BSD-3-Clause */
/* Private to server/nbd: as whom nbdkit runs, and where its plugin is. */
#ifndef WFSD_SERVER_NBD_IDENTITY_H
#define WFSD_SERVER_NBD_IDENTITY_H

#include <stdbool.h>
#include <sys/types.h>

/*
 * Ids for the children; false when they stay what we are (we are not root). Names that do not exist are replaced by
 * nobody and its group, with a warning; @group NULL: the user's own. Blocks; before threads.
 */
bool nbd_find_identity(const char *user, const char *group, uid_t *ret_uid, gid_t *ret_gid);

/*
 * Open the plugin's file: @path, or when NULL the one beside our own program. *ret_fd -1: there is none there, nbdkit
 * finds the installed one by its name. Opened here, so that the child needs no access to the folders above it.
 */
int nbd_find_plugin(const char *path, int *ret_fd);

#endif
