/* SPDX-License-Identifier: BSD-3-Clause */
/* Where files on a server are, and who is there. */
#include "server/ctl/remote.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/err.h"

static const struct {
	const char *prefix, *scheme;
} urls[] = { { "wfs://", "tcp" }, { "wfss://", "tls" } };

#define TREE_DEPTH_MAX 500u /* of directories in each other */

enum ctl_status remote_fail(const char *doing, const char *path)
{
	char text[512];

	return command_fail(CTL_FAILED, "%s '%s': %s", doing, path, wfs_error_text(text, sizeof(text)));
}

/* The address of the server; *ret_rest then is EXPORT[/PATH]. malloc'ed. */
static char *address_of(const struct ctl *c, char *text, char **ret_rest)
{
	const char *server = c->args.server ? c->args.server : getenv("WFS_SERVER");
	char *slash, *address;
	unsigned i = 0;

	*ret_rest = text;
	while (i < 2 && strncmp(text, urls[i].prefix, strlen(urls[i].prefix)) != 0)
		i++;
	if (i == 2)
		return strdup(server && *server ? server : REMOTE_SOCKET_DEFAULT);
	text += strlen(urls[i].prefix);
	slash = strchr(text, '/');
	if (!slash || slash == text)
		return NULL;
	*ret_rest = slash + 1;
	if (asprintf(&address, "%s:%.*s", urls[i].scheme, (int)(slash - text), text) < 0)
		return NULL;
	return address;
}

static bool is_unreachable(int err)
{
	return err == -ECONNREFUSED || err == -ENOENT || err == -EACCES || err == -ETIMEDOUT || err == -EHOSTUNREACH;
}

enum ctl_status remote_connect(const struct ctl *c, const char *text, struct remote *ret, const char **ret_export)
{
	struct wfs_options options = { .client_name = "wfs", .timeout_ms = 30000 };
	struct remote r = { .text = strdup(text) };
	enum ctl_status status = CTL_OK;
	char *address = NULL, *export_name = NULL;
	char why[512];
	int err;

	if (r.text)
		address = address_of(c, r.text, &export_name);
	if (!address || !*export_name || *export_name == '/') {
		status = command_fail(CTL_USAGE,
		                      "'%s' is no place on a server: write [wfs[s]://HOST:PORT/]EXPORT[/PATH]", text);
		goto out;
	}
	r.path = strchr(export_name, '/');
	if (r.path)
		*r.path++ = '\0';
	else
		r.path = export_name + strlen(export_name);
	err = wfs_connect(address, &options, &r.w);
	if (err)
		status = command_fail(is_unreachable(err) ? CTL_UNREACHABLE : CTL_FAILED, "%s: %s", address,
		                      wfs_error_text(why, sizeof(why)));
out:
	free(address);
	if (status != CTL_OK) {
		remote_close(&r);
	} else {
		*ret = r;
		*ret_export = export_name;
	}
	return status;
}

enum ctl_status remote_open(const struct ctl *c, const char *text, struct remote *ret)
{
	const char *export_name;
	struct remote r;
	enum ctl_status status = remote_connect(c, text, &r, &export_name);

	if (status != CTL_OK)
		return status;
	if (wfs_attach(r.w, NULL, export_name, &r.root, NULL)) {
		status = remote_fail("cannot use export", export_name);
		remote_close(&r);
	} else {
		*ret = r;
	}
	return status;
}

void remote_close(struct remote *r)
{
	wfs_disconnect(r->w);
	free(r->text);
	*r = (struct remote){ 0 };
}

int remote_find(const struct remote *r, bool follow, struct wfs_fh *ret, struct wfs_attr *ret_attr)
{
	const char *path = r->path + strspn(r->path, "/");

	if (!*path) {
		*ret = r->root;
		return ret_attr ? wfs_getattr(r->w, NULL, &r->root, ret_attr) : 0;
	}
	return wfs_lookup_path(r->w, NULL, &r->root, path, follow, ret, ret_attr);
}

int remote_parent(const struct remote *r, struct wfs_fh *ret, const char **ret_name)
{
	size_t len = strlen(r->path);
	char *slash, *copy;
	int err = 0;

	while (len && r->path[len - 1] == '/')
		r->path[--len] = '\0';
	if (!len)
		return err_set(-EINVAL, "that is the export itself");
	slash = strrchr(r->path, '/');
	*ret_name = slash ? slash + 1 : r->path;
	if (!slash || slash == r->path) {
		*ret = r->root;
		return 0;
	}
	copy = strndup(r->path, (size_t)(slash - r->path));
	if (!copy)
		return err_set(-ENOMEM, "no memory for a path");
	err = wfs_lookup_path(r->w, NULL, &r->root, copy, 1, ret, NULL);
	free(copy);
	return err;
}

struct list {
	struct remote_entry *entries;
	size_t count, cap;
	uint64_t last;
	int err;
};

static int add_entry(void *ctx, const struct wfs_dirent *e)
{
	struct list *l = ctx;
	struct remote_entry *entry;

	l->last = e->cookie;
	if (!e->attr || !e->fh || e->name_len > WFS_NAME_BYTES_MAX)
		return 1; /* it is gone by now */
	if (l->count == l->cap) {
		size_t cap = l->cap ? 2 * l->cap : 64;
		struct remote_entry *grown = realloc(l->entries, cap * sizeof(*grown));

		if (!grown) {
			l->err = err_set(-ENOMEM, "no memory for a directory");
			return 0;
		}
		l->entries = grown;
		l->cap = cap;
	}
	entry = &l->entries[l->count++];
	memcpy(entry->name, e->name, e->name_len);
	entry->name[e->name_len] = '\0';
	entry->fh = *e->fh;
	entry->attr = *e->attr;
	return 1;
}

bool remote_is_name(const char *name)
{
	return *name && !strchr(name, '/') && strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct remote_entry *)a)->name, ((const struct remote_entry *)b)->name);
}

int remote_list(struct wfs *w, const struct wfs_fh *dir, struct remote_entry **ret, size_t *ret_count)
{
	struct list l = { 0 };
	int eof = 0, err = 0;

	while (!err && !eof) {
		err = wfs_readdir(w, NULL, dir, l.last, WFS_READDIR_ATTR | WFS_READDIR_FH, 1u << 18, add_entry, &l,
		                  &eof);
		if (!err)
			err = l.err;
	}
	if (err) {
		free(l.entries);
		return err;
	}
	if (l.count)
		qsort(l.entries, l.count, sizeof(l.entries[0]), by_name);
	*ret = l.entries;
	*ret_count = l.count;
	return 0;
}

static int walk(struct wfs *w, const struct wfs_fh *dir, const char *path, remote_walk_fn *fn, void *ctx,
                unsigned depth)
{
	struct remote_entry *entries = NULL;
	size_t count = 0;
	int err = depth > TREE_DEPTH_MAX ? err_set(-ELOOP, "more than %u directories in each other", TREE_DEPTH_MAX)
	                                 : remote_list(w, dir, &entries, &count);

	for (size_t i = 0; i < count && !err; i++) {
		const struct remote_entry *e = &entries[i];
		char *below;

		if (asprintf(&below, "%s%s%s", path, *path ? "/" : "", e->name) < 0) {
			err = err_set(-ENOMEM, "no memory for a path");
			break;
		}
		err = fn(ctx, below, dir, e);
		if (!err && e->attr.type == WFS_TYPE_DIR)
			err = walk(w, &e->fh, below, fn, ctx, depth + 1);
		free(below);
	}
	free(entries);
	return err;
}

int remote_walk(struct wfs *w, const struct wfs_fh *dir, const char *path, remote_walk_fn *fn, void *ctx)
{
	return walk(w, dir, path, fn, ctx, 0);
}
