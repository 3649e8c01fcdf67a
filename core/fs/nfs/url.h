/* SPDX-License-Identifier: BSD-3-Clause */
/* Addresses of shares: nfs://HOST[:PORT]/EXPORT[?OPTION=VALUE&...] (after RFC 2224; the options as libnfs has them). */
#ifndef WFSD_CORE_FS_NFS_URL_H
#define WFSD_CORE_FS_NFS_URL_H

#include <stdbool.h>
#include <stdint.h>

#define NFS_HOST_BYTES_MAX 255u
#define NFS_EXPORT_BYTES_MAX 1023u

struct nfs_url {
	char host[NFS_HOST_BYTES_MAX + 1]; /* without the brackets of an IPv6 address */
	char export_path[NFS_EXPORT_BYTES_MAX + 1]; /* begins with '/' */
	uint16_t nfs_port, mount_port; /* 0: ask the port mapper */
	bool has_uid, has_gid;
	uint32_t uid, gid;
};

/* 0 or -EINVAL with what is wrong. "%xx" in the path stands for a byte other than 0. */
int nfs_url_parse(const char *url, struct nfs_url *ret);

#endif
