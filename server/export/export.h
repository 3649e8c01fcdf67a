/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The table of exports: which files of the namespace remote hosts may use, under which name. Shared by the front ends
 * (RPC, NBD, admin).
 *
 * Exports come from the configuration file (static; replaced as a whole at reload) and from the command line (dynamic;
 * kept in the state file). An export is found by name; "" means the default export: the one marked as default, else the
 * only one there is.
 */
#ifndef WFSD_SERVER_EXPORT_EXPORT_H
#define WFSD_SERVER_EXPORT_EXPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/vfs/vfs_tree.h"

#define EXPORT_NAME_MAX 255
#define EXPORT_DESCRIPTION_MAX 255
#define EXPORT_CLIENTS_MAX 16
#define EXPORT_TLS_NAMES_MAX 8
#define EXPORT_TLS_NAME_MAX 127
#define EXPORT_ANON_ID 65534u /* nobody */

struct export_table;

/* An IPv6 network; IPv4 is mapped into it (::ffff:0:0/96). */
struct export_network {
	uint8_t address[16];
	unsigned prefix_bits; /* 0..128 */
};

/* Who is mapped to the anonymous identity, of those who come over the network. */
enum export_squash {
	EXPORT_SQUASH_ROOT, /* uid and gid 0 */
	EXPORT_SQUASH_NONE,
	EXPORT_SQUASH_ALL, /* everybody, also on unix sockets */
};

/* Who may use the file tree of an export, and as whom. All zero is the default. */
struct export_policy {
	bool auth_sys; /* over TCP: believe AUTH_SYS credentials; otherwise everybody is anonymous */
	enum export_squash squash;
	uint32_t anon_uid, anon_gid; /* 0: EXPORT_ANON_ID */
	unsigned client_count; /* 0: everybody may come */
	struct export_network clients[EXPORT_CLIENTS_MAX]; /* over TCP */
	bool tls; /* over TCP only with TLS */
	unsigned tls_name_count; /* not 0: and only with a certificate that has one of these names */
	char tls_names[EXPORT_TLS_NAMES_MAX][EXPORT_TLS_NAME_MAX + 1];
};

struct export_info {
	char name[EXPORT_NAME_MAX + 1];
	char path[VFS_PATH_MAX]; /* "/tank/vm1" */
	char description[EXPORT_DESCRIPTION_MAX + 1];
	bool read_only;
	bool is_default;
	struct export_policy policy;
	bool is_static; /* from the configuration file */
	unsigned open_count;
};

struct export_table *export_table_new(struct vfs *v); /* NULL when memory is short */
void export_table_free(struct export_table *t);

/* -EEXIST (name taken), -EINVAL (name empty, too long, control characters; path not absolute), -ENOENT (no such file),
 * -ENOMEM. */
int export_add(struct export_table *t, const struct export_info *info);
/* As export_add(), but the file need not be there yet: for what the state file holds at start. */
int export_restore(struct export_table *t, const struct export_info *info);
/* The checks on names, path and description alone: 0 or -EINVAL. */
int export_check(const struct export_info *info);
/* Replace the static ones as a whole; their files need not be there yet. On an error (as for export_add()) nothing has
 * changed. */
int export_set_static(struct export_table *t, const struct export_info *infos, size_t count);
/* Open handles stay usable. -ENOENT; -EPERM for a static one. */
int export_remove(struct export_table *t, const char *name);

/* Copies; 0 or -ENOENT. "" finds the default export. */
int export_get(struct export_table *t, const char *name, struct export_info *ret);
/* Calls @fn with each (no lock is held against other readers; @fn must not call back). */
void export_each(struct export_table *t, void (*fn)(void *ctx, const struct export_info *info), void *ctx);
/* Is any export's path equal to or below @path? The name of one that is. */
bool export_find_user(struct export_table *t, const char *path, char ret_name[EXPORT_NAME_MAX + 1]);

/*
 * Open an export for a client. @want_write with a read-only export: -EROFS. Else as vfs_open(); *ret_read_only tells
 * what was granted (a read-only export opened with !want_write is fine). Close with export_close(). May block.
 */
int export_open(struct export_table *t, const char *name, bool want_write, struct vfs_handle **ret,
                struct export_info *ret_info);
void export_close(struct export_table *t, const char *name, struct vfs_handle *h);

/*
 * Open the directory that an export is, for its file tree: *ret has access to no data. -ENOTDIR: it is a file.
 * Otherwise as export_open(); close with export_close().
 */
int export_open_tree(struct export_table *t, const char *name, struct vfs_handle **ret, struct export_info *ret_info);
/* What stands for an export in file handles: the same after a restart, another one for another path. */
uint64_t export_key(const struct export_info *info);
/* The name of the export with that key. 0 or -ESTALE. */
int export_find_key(struct export_table *t, uint64_t key, char ret_name[EXPORT_NAME_MAX + 1]);
/* Changes whenever the table does; any thread, without a lock. */
uint64_t export_generation(const struct export_table *t);

#endif
