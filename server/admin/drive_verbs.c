/* SPDX-License-Identifier: BSD-3-Clause */
/* Drive letters of what is mounted: give, list and take away; and remember them. */
#include <errno.h>
#include <string.h>

#include "core/base/err.h"
#include "core/base/log.h"
#include "server/admin/body.h"
#include "server/admin/call.h"
#include "server/admin/encode.h"
#include "server/admin/status.h"
#include "server/conf/state.h"
#include "server/mount/mount.h"

#define COUNT_OF(a) (sizeof(a) / sizeof((a)[0]))

/* "C", "c" or "C:". 0: it is none. */
static char read_letter(const char *text)
{
	bool ends = text[0] && (!text[1] || strcmp(text + 1, ":") == 0);

	return ends ? vfs_drive_letter(text[0]) : 0;
}

static json_t *encode_drive(char letter, const char *path)
{
	const char name[] = { letter, '\0' };

	return json_pack("{s:s, s:o}", "letter", name, "path", encode_text(path));
}

/* Is a letter given already, or does the path have another one? */
struct search {
	char letter;
	const char *path;
	char other; /* of the path */
	char taken[VFS_PATH_MAX]; /* whose letter it is; "": nobody's */
};

static void look(void *ctx, char letter, const char *path)
{
	struct search *s = ctx;

	if (letter == s->letter)
		strcpy(s->taken, path);
	else if (strcmp(path, s->path) == 0)
		s->other = letter;
}

static int give(struct call *c, char letter, const char *path)
{
	const struct admin_config *config = &c->admin->config;
	const char name[] = { letter, ':', '\0' };
	struct search s = { .letter = letter, .path = path };
	int rc;

	state_each_drive(config->state, look, &s);
	if (s.taken[0] && strcmp(s.taken, path) != 0)
		return err_set(-EEXIST, "drive %c: is %s: remove it first", letter, s.taken);
	if (s.other)
		return err_set(-EEXIST, "%s is drive %c: already", path, s.other);
	rc = mount_set_drive(config->mounts, path, letter);
	if (rc < 0)
		return rc;
	rc = state_put_drive(config->state, letter, path);
	if (rc < 0 && !s.taken[0])
		(void)mount_set_drive(config->mounts, path, 0);
	if (rc == 0)
		(void)daemon_problem_clear(config->status, name);
	return rc;
}

int drive_verb_set(struct call *c)
{
	const char *text, *path;
	const struct body_field fields[] = {
		{ .key = "letter", .type = BODY_STRING, .required = true, .max = 2, .ret = &text },
		{ .key = "path", .type = BODY_STRING, .required = true, .max = VFS_PATH_MAX - 1, .ret = &path },
	};
	int rc = body_read(c->body, fields, COUNT_OF(fields));
	char letter;

	if (rc < 0)
		return rc;
	letter = read_letter(text);
	if (!letter)
		return err_set(-EINVAL, "'%s' is no drive letter: A to Z", text);
	if (path[0] != '/')
		return err_set(-EINVAL, "drive %c: '%s' is not an absolute path", letter, path);
	sync_mutex_lock(&c->admin->verb_lock);
	rc = give(c, letter, path);
	sync_mutex_unlock(&c->admin->verb_lock);
	if (rc < 0)
		return rc;
	log_notice("admin", "drive letter given drive=%c path=%s", letter, path);
	return answer_object(c, 201, encode_drive(letter, path));
}

int drive_verb_remove(struct call *c)
{
	const struct admin_config *config = &c->admin->config;
	char letter = read_letter(c->names[0]);
	const char name[] = { letter, ':', '\0' };
	struct search s = { .letter = letter, .path = "" };
	int rc = body_read(c->body, NULL, 0);

	if (rc < 0)
		return rc;
	sync_mutex_lock(&c->admin->verb_lock);
	if (letter)
		state_each_drive(config->state, look, &s);
	rc = s.taken[0] ? state_drop_drive(config->state, letter)
	                : err_set(-ENOENT, "there is no drive '%s'", c->names[0]);
	if (rc == 0) {
		/* It may not be mounted now. */
		(void)mount_set_drive(config->mounts, s.taken, 0);
		(void)daemon_problem_clear(config->status, name);
	}
	sync_mutex_unlock(&c->admin->verb_lock);
	if (rc == 0)
		log_notice("admin", "drive letter taken away drive=%c path=%s", letter, s.taken);
	return rc;
}

struct listing {
	struct mount_table *mounts;
	json_t *list;
	bool failed;
};

static void add_drive(void *ctx, char letter, const char *path)
{
	const char name[] = { letter, ':', '\0' };
	json_t *drive = encode_drive(letter, path);
	struct listing *l = ctx;
	char there[VFS_PATH_MAX];

	if (!drive ||
	    json_object_set_new(drive, "mounted", json_boolean(mount_drive_path(l->mounts, name, there) == 0)) ||
	    json_array_append(l->list, drive))
		l->failed = true;
	json_decref(drive);
}

int read_drives(struct call *c)
{
	struct listing l = { .mounts = c->admin->config.mounts, .list = json_array() };
	json_t *object;

	state_each_drive(c->admin->config.state, add_drive, &l);
	object = l.failed ? NULL : json_pack("{s:O}", "drives", l.list);
	json_decref(l.list);
	return answer_object(c, 200, object);
}
