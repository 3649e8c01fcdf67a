/* SPDX-License-Identifier: BSD-3-Clause */
/* For tests of file trees under random changes: the numbers that decide, and a tree as a text that can be compared. */
#ifndef WFSD_TESTS_UNIT_CORE_FS_WFS3_TREE_STATE_H
#define WFSD_TESTS_UNIT_CORE_FS_WFS3_TREE_STATE_H

#include "tests/unit/core/fs/wfs3/filetree_fixture.h"

static inline uint64_t random_next(uint64_t *seed)
{
	*seed = *seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return *seed >> 33;
}

struct listing {
	unsigned count;
	char names[64][8];
};

static inline bool list_name(void *ctx, const struct vfs_dirent *e)
{
	struct listing *l = ctx;

	assert_true(l->count < 64 && e->name_len < 8);
	memcpy(l->names[l->count], e->name, e->name_len);
	l->names[l->count++][e->name_len] = 0;
	return true;
}

static inline int compare_names(const void *a, const void *b)
{
	return strcmp(a, b);
}

/* What is in a directory, by name. */
static inline void list_dir(struct vfs_node *dir, struct listing *ret)
{
	ret->count = 0;
	assert_ok(dir->ops->readdir(dir, 0, list_name, ret));
	qsort(ret->names, ret->count, sizeof(ret->names[0]), compare_names);
}

/* A text that grows, of at most @cap bytes. */
struct state_text {
	char *at;
	size_t used, cap;
	bool with_contents; /* of files, as a sum; otherwise names, links and attributes only */
};

static inline uint64_t contents_sum(struct vfs_node *n, uint64_t size_bytes)
{
	static uint8_t data[200000];
	uint64_t sum = size_bytes;

	assert_true(size_bytes <= sizeof(data));
	if (size_bytes)
		assert_ok(node_read(n, 0, data, (size_t)size_bytes));
	for (size_t i = 0; i < size_bytes; i++)
		sum = sum * 31 + data[i];
	return sum;
}

static inline void describe_node(struct vfs_node *n, const char *path, struct state_text *to)
{
	bool summed = to->with_contents && n->type == VFS_TYPE_FILE;
	struct vfs_stat st = node_stat(n);
	char value[16] = "-";
	size_t len = 0;

	if (!n->ops->get_xattr(n, "user.x", value, sizeof(value) - 1, &len))
		value[len] = 0;
	to->used += (size_t)snprintf(to->at + to->used, to->cap - to->used, "%s %llu %d %u %o %s %llx\n", path,
	                             (unsigned long long)st.object, (int)st.type, st.link_count, st.mode, value,
	                             summed ? (unsigned long long)contents_sum(n, st.size_bytes) : 0);
	assert_true(to->used < to->cap);
}

static inline void describe_below(struct vfs_node *dir, const char *path, struct state_text *to)
{
	struct listing l;

	describe_node(dir, path, to);
	list_dir(dir, &l);
	assert_int_equal(node_stat(dir).size_bytes, l.count);
	for (unsigned i = 0; i < l.count; i++) {
		struct vfs_node *n = node_at(dir, l.names[i]);
		char below[128];

		snprintf(below, sizeof(below), "%s/%s", path, l.names[i]);
		if (n->type == VFS_TYPE_DIR)
			describe_below(n, below, to);
		else
			describe_node(n, below, to);
		vfs_node_unref(n);
	}
}

/* The tree below @top as a text in @out: the same for the same names, links, attributes and (if so wished) contents. */
static inline void tree_state(struct vfs_node *top, bool with_contents, char *out, size_t cap)
{
	struct state_text text = { .at = out, .cap = cap, .with_contents = with_contents };

	describe_below(top, "", &text);
}

#endif
