/* SPDX-License-Identifier: BSD-3-Clause */
/* The command line of wfs-fuse, as mount(8) writes it, too. */
#ifndef WFSD_PLUGINS_FUSE_OPTIONS_H
#define WFSD_PLUGINS_FUSE_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

struct fuse_args;

struct options {
	char *source; /* as given */
	char *dir;
	char *address; /* for wfs_connect() */
	char *certificates; /* a folder; NULL: none */
	char *export_name;
	double entry_timeout_s, attr_timeout_s, negative_timeout_s;
	double coherent_timeout_s; /* instead of these, while the server tells of all changes; 0: it is not asked to */
	unsigned timeout_s; /* the longest wait for a lost server */
	unsigned connections;
	unsigned threads;
	unsigned max_read; /* bytes; 0: no limit */
	char *wake_latency; /* as given; NULL: not */
	int32_t wake_usec; /* for wake_init() */
	int foreground, debug, help, version;
	int writeback, read_only, no_shm, durable;
	int local_locks; /* kept by the kernel for the programs on this mount, and by nobody else */
};

#define OPTIONS_SOCKET_DEFAULT "/run/wfsd/rpc.sock"

/*
 * Take what is ours out of @args; what stays is for fuse_session_new(). 0; -EINVAL after a line on standard error.
 * options_done() in any case.
 */
int options_parse(struct fuse_args *args, struct options *ret);
void options_done(struct options *o);
/*
 * "[ADDRESS]/EXPORT" or "EXPORT"; see wfs-fuse(1). Malloc'ed parts, which the caller frees. 0, -EINVAL, -ENOMEM.
 */
int options_split_source(const char *source, char **ret_address, char **ret_export);

#endif
