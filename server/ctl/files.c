/* SPDX-License-Identifier: BSD-3-Clause */
/* wfs ls, stat, find, mkdir, mv, xattr: names and attributes of files on a server. */
#include <errno.h>
#include <fnmatch.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "core/base/err.h"
#include "server/ctl/remote.h"

static const char *type_name(enum wfs_type type)
{
	static const char *const names[] = {
		"?", "file", "directory", "symlink", "fifo", "device", "device", "socket"
	};

	return (unsigned)type < sizeof(names) / sizeof(names[0]) ? names[type] : "?";
}

/* "drwxr-xr-x" */
static void mode_text(const struct wfs_attr *a, char ret[11])
{
	static const char types[] = "?-dlpcbs", bits[] = "rwxrwxrwx";

	ret[0] = (unsigned)a->type < sizeof(types) - 1 ? types[a->type] : '?';
	for (int i = 0; i < 9; i++)
		ret[1 + i] = a->mode >> (8 - i) & 1 ? bits[i] : '-';
	if (a->mode & 04000)
		ret[3] = a->mode & 0100 ? 's' : 'S';
	if (a->mode & 02000)
		ret[6] = a->mode & 010 ? 's' : 'S';
	if (a->mode & 01000)
		ret[9] = a->mode & 01 ? 't' : 'T';
	ret[10] = '\0';
}

static void time_text(uint64_t ns, char *ret, size_t size)
{
	struct timespec time;
	struct tm tm;

	wfs_time_from_ns(ns, &time);
	if (!localtime_r(&time.tv_sec, &tm) || !strftime(ret, size, "%Y-%m-%d %H:%M:%S", &tm))
		ret[0] = '\0';
}

/* Names are bytes: what is not UTF-8 cannot be JSON. */
static json_t *attr_json(const char *name, const struct wfs_attr *a)
{
	json_t *text = json_string(name);

	return json_pack("{s:o, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "name",
	                 text ? text : json_null(), "type", type_name(a->type), "mode", (json_int_t)a->mode, "uid",
	                 (json_int_t)a->uid, "gid", (json_int_t)a->gid, "project", (json_int_t)a->project, "links",
	                 (json_int_t)a->link_count, "size", (json_int_t)a->size_bytes, "allocated",
	                 (json_int_t)a->allocated_bytes, "file_id", (json_int_t)a->file_id, "change",
	                 (json_int_t)a->change, "mtime_ns", (json_int_t)a->mtime_ns, "ctime_ns",
	                 (json_int_t)a->ctime_ns, "btime_ns", (json_int_t)a->btime_ns);
}

static void print_long(const struct wfs_attr *a)
{
	char mode[11], when[32];

	mode_text(a, mode);
	time_text(a->mtime_ns, when, sizeof(when));
	printf("%s %4u %6u %6u %14" PRIu64 " %s ", mode, a->link_count, a->uid, a->gid, a->size_bytes, when);
}

static void print_entry(const struct ctl *c, json_t *list, const char *name, const struct wfs_attr *a)
{
	if (list) {
		json_array_append_new(list, attr_json(name, a));
		return;
	}
	if (c->args.given & ARGS_LONG)
		print_long(a);
	command_print_text(stdout, name);
	putchar('\n');
}

enum ctl_status cmd_ls(struct ctl *c)
{
	struct remote_entry *entries = NULL;
	json_t *list = c->args.json ? json_array() : NULL;
	struct wfs_attr attr;
	struct wfs_fh fh;
	struct remote r;
	size_t count = 0;
	enum ctl_status status = remote_open(c, c->operands[0], &r);

	if (status != CTL_OK) {
		json_decref(list);
		return status;
	}
	if (remote_find(&r, true, &fh, &attr) || (attr.type == WFS_TYPE_DIR && remote_list(r.w, &fh, &entries, &count)))
		status = remote_fail("cannot list", c->operands[0]);
	else if (attr.type != WFS_TYPE_DIR)
		print_entry(c, list, r.path, &attr);
	for (size_t i = 0; i < count; i++)
		print_entry(c, list, entries[i].name, &entries[i].attr);
	if (list && status == CTL_OK)
		command_print_json(list);
	json_decref(list);
	free(entries);
	remote_close(&r);
	return status;
}

enum ctl_status cmd_stat(struct ctl *c)
{
	char mode[11], when[32];
	struct wfs_attr a;
	struct wfs_fh fh;
	struct remote r;
	enum ctl_status status = remote_open(c, c->operands[0], &r);

	if (status != CTL_OK)
		return status;
	if (remote_find(&r, false, &fh, &a)) {
		status = remote_fail("cannot look at", c->operands[0]);
	} else if (c->args.json) {
		json_t *object = attr_json(r.path, &a);

		command_print_json(object);
		json_decref(object);
	} else {
		mode_text(&a, mode);
		command_print_pair("type:", "%s", type_name(a.type));
		command_print_size("size:", a.size_bytes);
		command_print_size("allocated:", a.allocated_bytes);
		command_print_pair("mode:", "%04o %s", a.mode, mode);
		command_print_pair("owner:", "%u:%u", a.uid, a.gid);
		if (a.project)
			command_print_pair("project:", "%u", a.project);
		command_print_pair("links:", "%u", a.link_count);
		command_print_pair("file:", "%" PRIu64 " of %" PRIx64, a.file_id, a.fsid);
		command_print_pair("change:", "%" PRIu64, a.change);
		time_text(a.mtime_ns, when, sizeof(when));
		command_print_pair("modified:", "%s", when);
		time_text(a.ctime_ns, when, sizeof(when));
		command_print_pair("changed:", "%s", when);
		time_text(a.btime_ns, when, sizeof(when));
		command_print_pair("born:", "%s", when);
	}
	remote_close(&r);
	return status;
}

struct find {
	const struct ctl *c;
	json_t *list;
};

static int found(void *ctx, const char *path, const struct wfs_fh *dir, const struct remote_entry *e)
{
	struct find *f = ctx;

	(void)dir;
	if (!f->c->args.name || fnmatch(f->c->args.name, e->name, 0) == 0)
		print_entry(f->c, f->list, path, &e->attr);
	return 0;
}

enum ctl_status cmd_find(struct ctl *c)
{
	struct find f = { .c = c, .list = c->args.json ? json_array() : NULL };
	struct wfs_fh fh;
	struct remote r;
	enum ctl_status status = remote_open(c, c->operands[0], &r);

	if (status == CTL_OK) {
		if (remote_find(&r, true, &fh, NULL) || remote_walk(r.w, &fh, r.path, found, &f))
			status = remote_fail("cannot search", c->operands[0]);
		else if (f.list)
			command_print_json(f.list);
		remote_close(&r);
	}
	json_decref(f.list);
	return status;
}

enum ctl_status cmd_mkdir(struct ctl *c)
{
	struct wfs_new what = { .type = WFS_TYPE_DIR, .mode = 0755 };
	struct wfs_fh dir;
	const char *name;
	struct remote r;
	enum ctl_status status = remote_open(c, c->operands[0], &r);

	if (status != CTL_OK)
		return status;
	if (remote_parent(&r, &dir, &name) || wfs_make(r.w, NULL, &dir, name, &what, NULL, NULL))
		status = remote_fail("cannot make", c->operands[0]);
	remote_close(&r);
	return status;
}

enum ctl_status cmd_mv(struct ctl *c)
{
	struct remote from = { 0 }, to = { 0 };
	struct wfs_fh dir, new_dir, there;
	const char *name, *new_name;
	struct wfs_attr attr;
	enum ctl_status status = remote_open(c, c->operands[0], &from);
	int err;

	if (status == CTL_OK)
		status = remote_open(c, c->operands[1], &to);
	if (status != CTL_OK)
		goto out;
	err = remote_parent(&from, &dir, &name);
	/* Into a directory that is there, under its own name. */
	if (!err && remote_find(&to, true, &there, &attr) == 0 && attr.type == WFS_TYPE_DIR) {
		new_dir = there;
		new_name = name;
	} else if (!err) {
		err = remote_parent(&to, &new_dir, &new_name);
	}
	if (err || wfs_rename(to.w, NULL, &dir, name, &new_dir, new_name, 0))
		status = remote_fail("cannot move", c->operands[0]);
out:
	remote_close(&from);
	remote_close(&to);
	return status;
}

struct names {
	struct remote *r;
	struct wfs_fh fh;
	char (*names)[WFS_NAME_BYTES_MAX + 1];
	size_t count;
	int err; /* one could not be kept */
};

static void keep_name(void *ctx, const char *name, size_t len)
{
	struct names *n = ctx;
	char(*grown)[WFS_NAME_BYTES_MAX + 1] = realloc(n->names, (n->count + 1) * sizeof(*grown));

	if (!grown) {
		n->err = err_set(-ENOMEM, "no memory for names");
		return;
	}
	n->names = grown;
	memcpy(grown[n->count], name, len);
	grown[n->count++][len] = '\0';
}

static int list_names(struct names *n)
{
	int err = wfs_list_xattr(n->r->w, NULL, &n->fh, keep_name, n);

	return err ? err : n->err;
}

static int print_xattr(struct names *n, const char *name, bool alone)
{
	static char value[65536 + 1];
	size_t len;
	int err = wfs_get_xattr(n->r->w, NULL, &n->fh, name, value, sizeof(value) - 1, &len);

	if (err)
		return err;
	if (!alone) {
		command_print_text(stdout, name);
		putchar('=');
	}
	/* Into a file or a pipe it goes as it is. */
	if (isatty(STDOUT_FILENO)) {
		value[len] = '\0';
		command_print_text(stdout, value);
	} else {
		fwrite(value, 1, len, stdout);
	}
	putchar('\n');
	return 0;
}

/* Without a name: all of them; with one: its value; with NAME=VALUE: set it; with NAME=: remove it. */
enum ctl_status cmd_xattr(struct ctl *c)
{
	char *what = c->operand_count > 1 ? c->operands[1] : NULL, *value = what ? strchr(what, '=') : NULL;
	struct names n = { 0 };
	struct remote r;
	enum ctl_status status = remote_open(c, c->operands[0], &r);
	int err;

	if (status != CTL_OK)
		return status;
	n.r = &r;
	if (value)
		*value++ = '\0';
	err = remote_find(&r, true, &n.fh, NULL);
	if (!err && !what)
		err = list_names(&n);
	else if (!err && value && *value)
		err = wfs_set_xattr(r.w, NULL, &n.fh, what, value, strlen(value), 0);
	else if (!err && value)
		err = wfs_remove_xattr(r.w, NULL, &n.fh, what);
	else if (!err)
		err = print_xattr(&n, what, true);
	for (size_t i = 0; i < n.count && !err; i++)
		err = print_xattr(&n, n.names[i], false);
	if (err)
		status = remote_fail("extended attributes of", c->operands[0]);
	free(n.names);
	remote_close(&r);
	return status;
}
