/* SPDX-License-Identifier: BSD-3-Clause */
/* wfs project, wfs label: what files on a server belong to, and how programs that show them may mark them. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "server/ctl/remote.h"

#define LABEL_VALUE_MAX 255u

/* ---- projects ---- */

struct project {
	struct wfs *w;
	struct wfs_set_attr set;
	uint64_t count;
};

static int set_project(struct project *p, const struct wfs_fh *fh)
{
	struct wfs_attr attr;
	int err = wfs_setattr(p->w, NULL, fh, &p->set, &attr);

	p->count += !err;
	return err;
}

static int set_project_of(void *ctx, const char *path, const struct wfs_fh *dir, const struct remote_entry *e)
{
	struct project *p = ctx;

	(void)path;
	(void)dir;
	return e->attr.type == WFS_TYPE_SYMLINK ? 0 : set_project(p, &e->fh);
}

static int parse_project(const char *text, uint32_t *ret)
{
	char *end;
	unsigned long value = strtoul(text, &end, 10);

	if (*text < '0' || *text > '9' || *end || value >= UINT32_MAX)
		return -EINVAL;
	*ret = (uint32_t)value;
	return 0;
}

/* The object first: what is made in a directory meanwhile has its project already. */
static enum ctl_status change_project(struct ctl *c, struct remote *r)
{
	struct project p = { .w = r->w, .set = { .valid = WFS_SET_PROJECT } };
	struct wfs_attr attr;
	struct wfs_fh fh;

	if (parse_project(c->operands[1], &p.set.project))
		return command_fail(CTL_USAGE, "'%s' is no project: a number, 0 for none", c->operands[1]);
	if (remote_find(r, true, &fh, &attr) || set_project(&p, &fh))
		return remote_fail("cannot set the project of", c->operands[0]);
	if (c->args.given & ARGS_RECURSIVE && attr.type == WFS_TYPE_DIR &&
	    remote_walk(r->w, &fh, r->path, set_project_of, &p))
		return remote_fail("cannot set the project of everything in", c->operands[0]);
	if (c->args.json) {
		json_t *object =
		        json_pack("{s:I, s:I}", "project", (json_int_t)p.set.project, "count", (json_int_t)p.count);

		command_print_json(object);
		json_decref(object);
	} else {
		printf("%" PRIu64 " object%s of project %u\n", p.count, p.count == 1 ? "" : "s", p.set.project);
	}
	return CTL_OK;
}

static enum ctl_status print_project(const struct ctl *c, struct remote *r)
{
	struct wfs_attr attr;
	struct wfs_fh fh;

	if (remote_find(r, true, &fh, &attr))
		return remote_fail("cannot look at", c->operands[0]);
	if (c->args.json) {
		json_t *object = json_pack("{s:I}", "project", (json_int_t)attr.project);

		command_print_json(object);
		json_decref(object);
	} else {
		printf("%u\n", attr.project);
	}
	return CTL_OK;
}

enum ctl_status cmd_project(struct ctl *c)
{
	struct remote r;
	enum ctl_status status = remote_open(c, c->operands[0], &r);

	if (status != CTL_OK)
		return status;
	status = c->operand_count > 1 ? change_project(c, &r) : print_project(c, &r);
	remote_close(&r);
	return status;
}

/* ---- labels ---- */

static const char *const label_names[] = { "color", "icon" };
static const char *const label_xattrs[] = { "user.wfs.color", "user.wfs.icon" };

/* An empty value takes the mark away. */
static int set_label(struct remote *r, const struct wfs_fh *fh, const char *xattr, const char *value)
{
	int err;

	if (*value)
		return wfs_set_xattr(r->w, NULL, fh, xattr, value, strlen(value), 0);
	err = wfs_remove_xattr(r->w, NULL, fh, xattr);
	return err == -ENODATA ? 0 : err;
}

static int print_labels(const struct ctl *c, struct remote *r, const struct wfs_fh *fh)
{
	json_t *object = json_object();
	int err = 0;

	for (unsigned i = 0; i < 2 && !err; i++) {
		char value[LABEL_VALUE_MAX + 1];
		size_t len;

		err = wfs_get_xattr(r->w, NULL, fh, label_xattrs[i], value, LABEL_VALUE_MAX, &len);
		if (!err) {
			value[len] = 0;
			if (c->args.json) {
				json_object_set_new(object, label_names[i], json_string(value));
			} else {
				printf("%s: ", label_names[i]);
				command_print_text(stdout, value);
				putchar('\n');
			}
		}
		err = err == -ENODATA ? 0 : err;
	}
	if (!err && c->args.json)
		command_print_json(object);
	json_decref(object);
	return err;
}

enum ctl_status cmd_label(struct ctl *c)
{
	const char *const values[] = { c->args.color, c->args.icon };
	struct wfs_fh fh;
	struct remote r;
	enum ctl_status status;
	int err;

	for (unsigned i = 0; i < 2; i++)
		if (values[i] && strlen(values[i]) > LABEL_VALUE_MAX)
			return command_fail(CTL_USAGE, "--%s takes at most %u bytes", label_names[i], LABEL_VALUE_MAX);
	status = remote_open(c, c->operands[0], &r);
	if (status != CTL_OK)
		return status;
	err = remote_find(&r, true, &fh, NULL);
	for (unsigned i = 0; i < 2 && !err; i++)
		if (values[i])
			err = set_label(&r, &fh, label_xattrs[i], values[i]);
	if (!err && !values[0] && !values[1])
		err = print_labels(c, &r, &fh);
	if (err)
		status = remote_fail("labels of", c->operands[0]);
	remote_close(&r);
	return status;
}
