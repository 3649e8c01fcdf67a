/* SPDX-License-Identifier: BSD-3-Clause */
/* What changes make of a file tree, in a model that is small enough to be copied. */
#include "tests/sim/tree_state.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

int tree_child(const struct tree_state *s, int dir, unsigned name)
{
	return s->o[dir].children[name];
}

static bool is_empty(const struct tree_state *s, int dir)
{
	for (unsigned i = 0; i < TREE_NAMES; i++)
		if (s->o[dir].children[i] >= 0)
			return false;
	return true;
}

static void drop_link(struct tree_state *s, int dir, unsigned name)
{
	int o = tree_child(s, dir, name);

	s->o[dir].children[name] = -1;
	if (s->o[o].type == VFS_TYPE_DIR) {
		s->o[dir].links--;
		s->o[o].links = 0;
	} else {
		s->o[o].links--;
	}
}

static void set_link(struct tree_state *s, int dir, unsigned name, int o)
{
	s->o[dir].children[name] = o;
	if (s->o[o].type == VFS_TYPE_DIR) {
		s->o[dir].links++;
		s->o[o].parent = dir;
	}
}

int tree_create(struct tree_state *s, int dir, unsigned name, enum vfs_type type)
{
	int o = (int)s->count;

	if (tree_child(s, dir, name) >= 0)
		return -EEXIST;
	s->o[s->count++] = (struct object_state){
		.type = type, .links = type == VFS_TYPE_DIR ? 2 : 1, .mode = 0644, .children = { -1, -1, -1, -1 }
	};
	set_link(s, dir, name, o);
	return 0;
}

int tree_unlink(struct tree_state *s, int dir, unsigned name, bool want_dir)
{
	int o = tree_child(s, dir, name);

	if (o < 0)
		return -ENOENT;
	if (want_dir != (s->o[o].type == VFS_TYPE_DIR))
		return want_dir ? -ENOTDIR : -EISDIR;
	if (want_dir && !is_empty(s, o))
		return -ENOTEMPTY;
	drop_link(s, dir, name);
	return 0;
}

int tree_link(struct tree_state *s, int dir, unsigned name, int o)
{
	if (s->o[o].type == VFS_TYPE_DIR)
		return -EPERM;
	if (tree_child(s, dir, name) >= 0)
		return -EEXIST;
	s->o[o].links++;
	set_link(s, dir, name, o);
	return 0;
}

static bool is_below(const struct tree_state *s, int dir, int top)
{
	while (dir != top && dir != TREE_TOP)
		dir = s->o[dir].parent;
	return dir == top;
}

int tree_rename(struct tree_state *s, int dir, unsigned name, int new_dir, unsigned new_name, unsigned flags)
{
	int o = tree_child(s, dir, name), other = tree_child(s, new_dir, new_name);

	if (o < 0)
		return -ENOENT;
	if (s->o[o].type == VFS_TYPE_DIR && dir != new_dir && is_below(s, new_dir, o))
		return -EINVAL;
	if (flags & VFS_RENAME_EXCHANGE && other >= 0 && s->o[other].type == VFS_TYPE_DIR && dir != new_dir &&
	    is_below(s, dir, other))
		return -EINVAL;
	if (o == other)
		return flags & VFS_RENAME_NOREPLACE ? -EEXIST : 0;
	if (other < 0 && flags & VFS_RENAME_EXCHANGE)
		return -ENOENT;
	if (other >= 0 && flags & VFS_RENAME_NOREPLACE)
		return -EEXIST;
	if (flags & VFS_RENAME_EXCHANGE) {
		s->o[dir].links -= s->o[o].type == VFS_TYPE_DIR;
		s->o[new_dir].links -= s->o[other].type == VFS_TYPE_DIR;
		set_link(s, new_dir, new_name, o);
		set_link(s, dir, name, other);
		return 0;
	}
	if (other >= 0) {
		int rc = tree_unlink(s, new_dir, new_name, s->o[o].type == VFS_TYPE_DIR);

		if (rc)
			return rc;
	}
	s->o[dir].children[name] = -1;
	s->o[dir].links -= s->o[o].type == VFS_TYPE_DIR;
	set_link(s, new_dir, new_name, o);
	return 0;
}

void tree_add_line(char *out, size_t *used, const char *path, const struct object_state *o)
{
	*used += (size_t)snprintf(out + *used, TREE_TEXT_BYTES - *used, "%s %llu %d %u %o %u %u\n", path,
	                          (unsigned long long)o->number, (int)o->type, o->links, o->mode, o->value, o->uid);
	if (*used >= TREE_TEXT_BYTES)
		abort();
}

void tree_describe(const struct tree_state *s, int o, const char *path, char *out, size_t *used)
{
	tree_add_line(out, used, path, &s->o[o]);
	for (unsigned i = 0; i < TREE_NAMES && s->o[o].type == VFS_TYPE_DIR; i++) {
		char below[256];

		snprintf(below, sizeof(below), "%s/%c", path, (int)('a' + i));
		if (s->o[o].children[i] >= 0)
			tree_describe(s, s->o[o].children[i], below, out, used);
	}
}
