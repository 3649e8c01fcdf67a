/* SPDX-License-Identifier: BSD-3-Clause */
/* Files on a server, as the command line names them: [wfs[s]://HOST:PORT/]EXPORT[/PATH]. One thread. */
#ifndef WFSD_SERVER_CTL_REMOTE_H
#define WFSD_SERVER_CTL_REMOTE_H

#include "protocol/client/wfs_tree.h"
#include "server/ctl/command.h"

#define REMOTE_SOCKET_DEFAULT "unix:/run/wfsd/rpc.sock"

/* A connected export and a path in it. */
struct remote {
	struct wfs *w;
	struct wfs_fh root;
	char *text; /* as given */
	char *path; /* "" is the export's top; within text */
};

/* CTL_USAGE, CTL_UNREACHABLE, CTL_FAILED; one line on standard error has said why. */
enum ctl_status remote_open(const struct ctl *c, const char *text, struct remote *ret);
/* The same without using the export, which may be a file: only its name is wanted; within ret->text. */
enum ctl_status remote_connect(const struct ctl *c, const char *text, struct remote *ret, const char **ret_export);
void remote_close(struct remote *r);
/* One line: what could not be done with @path, and why. CTL_FAILED. */
enum ctl_status remote_fail(const char *doing, const char *path);

/* The object at the path. */
int remote_find(const struct remote *r, bool follow, struct wfs_fh *ret, struct wfs_attr *ret_attr);
/* The directory that holds the last name of the path, and that name (within r->path). -EINVAL: the export's top. */
int remote_parent(const struct remote *r, struct wfs_fh *ret, const char **ret_name);

/* Entries of a directory, sorted by name; malloc'ed. */
struct remote_entry {
	char name[WFS_NAME_BYTES_MAX + 1];
	struct wfs_fh fh;
	struct wfs_attr attr;
};
/* A server may name what lies elsewhere: false, and who uses the name as one is led there. */
bool remote_is_name(const char *name);
int remote_list(struct wfs *w, const struct wfs_fh *dir, struct remote_entry **ret, size_t *ret_count);

/*
 * Everything below @dir, whose own path is @path, a directory before what is in it. An error of @fn ends it. 0, or that
 * error, or why something could not be listed.
 */
typedef int remote_walk_fn(void *ctx, const char *path, const struct wfs_fh *dir, const struct remote_entry *e);
int remote_walk(struct wfs *w, const struct wfs_fh *dir, const char *path, remote_walk_fn *fn, void *ctx);

#endif
