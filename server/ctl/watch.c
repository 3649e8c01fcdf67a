/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * wfs watch: tells of changes in a directory, or in everything below it, until it is ended.
 *
 * The server tells numbers of objects, and names in directories by the directory's number. Which paths these have is
 * learnt by listing the directory once, and from what is told afterwards.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/client/wfs_watch.h"
#include "server/ctl/remote.h"

#define WATCH_ID 1u
#define WAIT_MS 20000u

struct watch {
	const struct ctl *c;
	struct remote r;
	struct wfs_fh fh;
	struct wfs_attr attr;
	json_t *paths; /* of objects, by their numbers */
	uint64_t left; /* events to be told yet; UINT64_MAX: no end */
	bool anew; /* list the directory again */
	bool ended;
};

static const char *key_of(uint64_t id, char buf[24])
{
	snprintf(buf, 24, "%" PRIu64, id);
	return buf;
}

/* NULL: not one that is watched. */
static const char *path_of(const struct watch *w, uint64_t id)
{
	char key[24];

	return json_string_value(json_object_get(w->paths, key_of(id, key)));
}

static void learn(struct watch *w, uint64_t id, const char *path)
{
	char key[24];

	/* Names are bytes. */
	json_object_set_new(w->paths, key_of(id, key), json_stringn_nocheck(path, strlen(path)));
}

static void forget(struct watch *w, uint64_t id)
{
	char key[24];

	json_object_del(w->paths, key_of(id, key));
}

static int learn_entry(void *ctx, const char *path, const struct wfs_fh *dir, const struct remote_entry *e)
{
	(void)dir;
	learn(ctx, e->attr.file_id, path);
	return 0;
}

static char *joined(const char *dir, const char *name)
{
	char *path;

	return asprintf(&path, "%s%s%s", dir, *dir ? "/" : "", name) < 0 ? NULL : path;
}

static int list(struct watch *w)
{
	struct remote_entry *entries = NULL;
	size_t count = 0;
	int err = 0;

	json_object_clear(w->paths);
	learn(w, w->attr.file_id, w->r.path);
	if (w->attr.type == WFS_TYPE_DIR && w->c->args.given & ARGS_RECURSIVE)
		err = remote_walk(w->r.w, &w->fh, w->r.path, learn_entry, w);
	else if (w->attr.type == WFS_TYPE_DIR)
		err = remote_list(w->r.w, &w->fh, &entries, &count);
	for (size_t i = 0; i < count; i++) {
		char *path = joined(w->r.path, entries[i].name);

		if (path)
			learn(w, entries[i].attr.file_id, path);
		free(path);
	}
	free(entries);
	return err;
}

/* What is below a directory that was moved is somewhere else now. */
static void move_below(struct watch *w, const char *old, const char *new)
{
	size_t len = strlen(old);
	const char *key;
	json_t *value;
	void *next;

	json_object_foreach_safe(w->paths, next, key, value)
	{
		const char *path = json_string_value(value);
		char *moved;

		if (strncmp(path, old, len) != 0 || path[len] != '/')
			continue;
		moved = joined(new, path + len + 1);
		if (moved)
			json_object_set_new(w->paths, key, json_stringn_nocheck(moved, strlen(moved)));
		free(moved);
	}
}

static void tell(struct watch *w, const char *what, const char *path, uint64_t id)
{
	if (!w->left)
		return;
	if (w->c->args.json) {
		json_t *text = json_string(path);
		json_t *line = json_pack("{s:s, s:o, s:I}", "event", what, "path", text ? text : json_null(), "file_id",
		                         (json_int_t)id);

		json_dumpf(line, stdout, JSON_COMPACT);
		putchar('\n');
		json_decref(line);
	} else {
		printf("%-10s ", what);
		command_print_text(stdout, path);
		putchar('\n');
	}
	if (fflush(stdout))
		w->ended = true;
	if (w->left != UINT64_MAX)
		w->left--;
}

static void tell_name(struct watch *w, const struct wfs_event *e)
{
	const char *dir = path_of(w, e->dir_id), *old = path_of(w, e->file_id);
	char *path = dir ? joined(dir, *e->name ? e->name : "?") : NULL;

	if (!path)
		return;
	if (e->what & WFS_CHANGE_CREATED) {
		learn(w, e->file_id, path);
		tell(w, "created", path, e->file_id);
	} else if (e->what & WFS_CHANGE_MOVED_TO) {
		if (old)
			move_below(w, old, path);
		/* Otherwise it is what was mounted there, or lay under it. */
		if (e->file_id)
			learn(w, e->file_id, path);
		tell(w, "moved-to", path, e->file_id);
	} else {
		tell(w, e->what & WFS_CHANGE_REMOVED ? "removed" : "moved-from", path, e->file_id);
		if (e->what & WFS_CHANGE_REMOVED && old && strcmp(old, path) == 0)
			forget(w, e->file_id);
	}
	free(path);
}

static void on_event(void *ctx, const struct wfs_event *e)
{
	struct watch *w = ctx;
	const char *path;

	switch (e->kind) {
	case WFS_EVENT_CHANGE:
		path = path_of(w, e->file_id);
		if (e->dir_id)
			tell_name(w, e);
		else if (path)
			tell(w, e->what & WFS_CHANGE_DATA ? "data" : "attributes", path, e->file_id);
		break;
	case WFS_EVENT_LOST:
	case WFS_EVENT_RESET:
		tell(w, "lost", w->r.path, w->attr.file_id);
		w->anew = true;
		break;
	case WFS_EVENT_ENDED:
		w->ended = true;
		break;
	default:
		break;
	}
}

/* Watched first and listed then, so that nothing is missed. */
static int begin(struct watch *w)
{
	unsigned flags = w->attr.type == WFS_TYPE_DIR && w->c->args.given & ARGS_RECURSIVE ? WFS_WATCH_SUBTREE : 0;
	int err = wfs_watch(w->r.w, NULL, &w->fh, WATCH_ID, WFS_CHANGE_ALL, flags);

	if (err && err != -EEXIST)
		return err;
	w->anew = false;
	return list(w);
}

static int run(struct watch *w)
{
	/* The first call only finds out where the server's notices begin. */
	int err = wfs_events(w->r.w, 0, on_event, w);

	if (!err)
		err = begin(w);
	while (!err && w->left && !w->ended) {
		err = wfs_events(w->r.w, WAIT_MS, on_event, w);
		if (err == -ENOTCONN)
			err = wfs_events(w->r.w, 0, on_event, w);
		if (!err && w->anew && w->left)
			err = begin(w);
	}
	return err;
}

enum ctl_status cmd_watch(struct ctl *c)
{
	struct watch w = { .c = c, .left = c->args.count ? c->args.count : UINT64_MAX };
	enum ctl_status status = remote_open(c, c->operands[0], &w.r);

	if (status != CTL_OK)
		return status;
	w.paths = json_object();
	if (!w.paths || remote_find(&w.r, true, &w.fh, &w.attr) || run(&w))
		status = remote_fail("cannot watch", c->operands[0]);
	else if (w.ended)
		status = command_fail(CTL_FAILED, "%s: its file system is not mounted any more", c->operands[0]);
	json_decref(w.paths);
	remote_close(&w.r);
	return status;
}
