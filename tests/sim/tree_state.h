/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A file tree as the simulator models it. Changes return what the file system should: 0 with the state changed, or a
 * negative errno.
 */
#ifndef WFSD_TESTS_SIM_TREE_STATE_H
#define WFSD_TESTS_SIM_TREE_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/vfs/vfs_tree.h"

#define TREE_OBJECTS 400u /* of an episode; numbers are not used again */
#define TREE_NAMES 4u
#define TREE_TEXT_BYTES 8192u
#define TREE_TOP 0

struct object_state {
	enum vfs_type type; /* 0: there is none */
	uint64_t number; /* the file system's; 0: not known, as its creation has not answered */
	unsigned links, mode, value, uid;
	int parent; /* of a directory */
	int children[TREE_NAMES]; /* -1: none */
};

struct tree_state {
	struct object_state o[TREE_OBJECTS];
	unsigned count;
};

/* What is at the name with this number; -1: nothing. */
int tree_child(const struct tree_state *s, int dir, unsigned name);
int tree_create(struct tree_state *s, int dir, unsigned name, enum vfs_type type);
int tree_unlink(struct tree_state *s, int dir, unsigned name, bool want_dir);
int tree_link(struct tree_state *s, int dir, unsigned name, int o);
int tree_rename(struct tree_state *s, int dir, unsigned name, int new_dir, unsigned new_name, unsigned flags);

/* One line for each name; @out has TREE_TEXT_BYTES, of which *@used are. */
void tree_add_line(char *out, size_t *used, const char *path, const struct object_state *o);
void tree_describe(const struct tree_state *s, int o, const char *path, char *out, size_t *used);

#endif
