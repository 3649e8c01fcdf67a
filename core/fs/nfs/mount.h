/* SPDX-License-Identifier: BSD-3-Clause */
/* What comes before the first call: the server's address and ports, and the handle of the export (RFC 1813, 5.2). */
#ifndef WFSD_CORE_FS_NFS_MOUNT_H
#define WFSD_CORE_FS_NFS_MOUNT_H

#include "core/fs/nfs/nfs_priv.h"
#include "core/fs/nfs/url.h"

/*
 * Fills @config's address and port, and *@ret_root. -EHOSTUNREACH, -ECONNREFUSED, -ETIMEDOUT, -ECONNRESET, -EBADMSG,
 * -EIO, -ENOENT, -EACCES (of the export), -ENOMEM. Blocks, up to some times @config->timeout_ms.
 */
int nfs_mount_export(const struct nfs_url *url, struct nfs_net_config *config, struct nfs_handle *ret_root);

#endif
