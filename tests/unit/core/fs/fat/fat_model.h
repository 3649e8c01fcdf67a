/* SPDX-License-Identifier: BSD-3-Clause */
/* For tests of FAT: random operations on a volume, and a model in memory of what they should come to. */
#ifndef WFSD_TESTS_UNIT_CORE_FS_FAT_FAT_MODEL_H
#define WFSD_TESTS_UNIT_CORE_FS_FAT_FAT_MODEL_H

#include "tests/unit/core/fs/fat/fat_fixture.h"

#define MODEL_FILES 24
#define MODEL_DIRS 4
#define MODEL_FILE_BYTES (96u * 1024)

struct model_file {
	bool exists;
	bool touched; /* since the last sync */
	unsigned dir; /* 0: the root */
	char name[64];
	size_t size;
	uint8_t *data; /* MODEL_FILE_BYTES */
};

struct model {
	struct volume *v;
	uint64_t seed;
	unsigned next_name;
	struct model_file files[MODEL_FILES];
	struct fat_node *dirs[MODEL_DIRS]; /* referenced; [0] is the root */
};

static inline void model_open_dirs(struct model *m, bool make)
{
	m->dirs[0] = fat_root(m->v->fs);
	for (unsigned i = 1; i < MODEL_DIRS; i++) {
		char name[32];

		snprintf(name, sizeof(name), "Folder number %u", i);
		m->dirs[i] = make ? vol_mkdir(m->dirs[i - 1], name) : vol_find(m->dirs[i - 1], name);
		assert_non_null(m->dirs[i]);
	}
}

static inline void model_close_dirs(struct model *m)
{
	for (unsigned i = 0; i < MODEL_DIRS; i++)
		fat_node_put(m->dirs[i]);
}

static inline void model_init(struct model *m, struct volume *v, uint64_t seed)
{
	*m = (struct model){ .v = v, .seed = seed | 1 };
	for (unsigned i = 0; i < MODEL_FILES; i++) {
		m->files[i].data = calloc(1, MODEL_FILE_BYTES);
		assert_non_null(m->files[i].data);
	}
	model_open_dirs(m, true);
}

static inline void model_done(struct model *m)
{
	for (unsigned i = 0; i < MODEL_FILES; i++)
		free(m->files[i].data);
}

static inline unsigned model_pick(struct model *m, unsigned n)
{
	return (unsigned)(vol_random(&m->seed) >> 20) % n;
}

static inline void model_new_name(struct model *m, char *name, size_t len)
{
	static const char *const forms[] = { "f%u.txt", "FILE%u.DAT", "A rather long name, number %u.text",
		                             "\xc3\xbc%u", "%u mixed Case.Ext" };

	snprintf(name, len, forms[model_pick(m, 5)], m->next_name++);
}

static inline struct fat_node *model_node(struct model *m, const struct model_file *f)
{
	struct fat_node *n = vol_find(m->dirs[f->dir], f->name);

	if (!n)
		fail_msg("%s is not there", f->name);
	return n;
}

static inline int model_create(struct model *m, struct model_file *f)
{
	struct fat_node *n;
	int rc;

	f->dir = model_pick(m, MODEL_DIRS);
	model_new_name(m, f->name, sizeof(f->name));
	rc = fat_create(m->dirs[f->dir], f->name, strlen(f->name), &n);
	if (rc)
		return rc;
	fat_node_put(n);
	f->exists = f->touched = true;
	f->size = 0;
	return 0;
}

static inline int model_write(struct model *m, struct model_file *f)
{
	size_t offset = model_pick(m, (unsigned)f->size + 8192), len = model_pick(m, 20000) + 1;
	struct fat_node *n = model_node(m, f);
	uint8_t *data = malloc(len);
	int rc;

	if (offset + len > MODEL_FILE_BYTES) {
		offset %= MODEL_FILE_BYTES / 2;
		len = len % (MODEL_FILE_BYTES / 2) + 1;
	}
	vol_fill(data, len, m->seed);
	f->touched = true;
	rc = vol_write(n, data, len, offset);
	if (rc == 0) {
		if (offset > f->size)
			memset(f->data + f->size, 0, offset - f->size);
		memcpy(f->data + offset, data, len);
		f->size = offset + len > f->size ? offset + len : f->size;
	}
	free(data);
	fat_node_put(n);
	return rc;
}

static inline int model_truncate(struct model *m, struct model_file *f)
{
	size_t size = model_pick(m, MODEL_FILE_BYTES / 2);
	struct fat_node *n = model_node(m, f);
	int rc;

	if (model_pick(m, 3) == 0)
		size = 0;
	f->touched = true;
	rc = fat_truncate(n, size);
	if (rc == 0) {
		if (size > f->size)
			memset(f->data + f->size, 0, size - f->size);
		f->size = size;
	}
	fat_node_put(n);
	return rc;
}

static inline int model_rename(struct model *m, struct model_file *f)
{
	struct model_file *target = &m->files[model_pick(m, MODEL_FILES)];
	unsigned dir = model_pick(m, MODEL_DIRS);
	char name[64];
	int rc;

	model_new_name(m, name, sizeof(name));
	if (target->exists && target != f && model_pick(m, 2)) {
		dir = target->dir;
		snprintf(name, sizeof(name), "%s", target->name);
		target->touched = true;
	} else {
		target = NULL;
	}
	f->touched = true;
	rc = vol_rename(m->dirs[f->dir], f->name, m->dirs[dir], name);
	if (rc)
		return rc;
	if (target)
		target->exists = false;
	f->dir = dir;
	snprintf(f->name, sizeof(f->name), "%s", name);
	return 0;
}

static inline int model_unlink(struct model *m, struct model_file *f)
{
	int rc = fat_unlink(m->dirs[f->dir], f->name, strlen(f->name));

	f->touched = true;
	if (rc == 0)
		f->exists = false;
	return rc;
}

static inline int model_sync(struct model *m)
{
	int rc = fat_sync(m->v->fs);

	for (unsigned i = 0; rc == 0 && i < MODEL_FILES; i++)
		m->files[i].touched = false;
	return rc;
}

/* One random operation. -ENOSPC changes nothing and is fine. */
static inline int model_step(struct model *m)
{
	struct model_file *f = &m->files[model_pick(m, MODEL_FILES)];
	unsigned what = model_pick(m, 100);
	int rc;

	if (!f->exists)
		rc = model_create(m, f);
	else if (what < 50)
		rc = model_write(m, f);
	else if (what < 65)
		rc = model_truncate(m, f);
	else if (what < 78)
		rc = model_rename(m, f);
	else if (what < 90)
		rc = model_unlink(m, f);
	else
		rc = model_sync(m);
	return rc == -ENOSPC ? 0 : rc;
}

/* Is the file as it should be? */
static inline void model_verify_file(struct model *m, const struct model_file *f)
{
	struct fat_node *n = model_node(m, f);
	uint8_t *data = malloc(MODEL_FILE_BYTES);
	size_t got = vol_read(n, data, MODEL_FILE_BYTES, 0);

	assert_int_equal(got, f->size);
	if (memcmp(data, f->data, f->size) != 0) {
		size_t at = 0;

		while (data[at] == f->data[at])
			at++;
		fail_msg("%s of %zu bytes differs at %zu", f->name, f->size, at);
	}
	free(data);
	fat_node_put(n);
}

static inline bool model_count(void *ctx, const struct fat_dir_item *item)
{
	(*(unsigned *)ctx)++;
	assert_true(item->name_len > 0);
	return true;
}

static inline void model_verify(struct model *m)
{
	unsigned expected = MODEL_DIRS - 1, there = 0;

	for (unsigned i = 0; i < MODEL_FILES; i++) {
		if (!m->files[i].exists)
			continue;
		expected++;
		model_verify_file(m, &m->files[i]);
	}
	for (unsigned i = 0; i < MODEL_DIRS; i++)
		must(fat_readdir(m->dirs[i], 0, model_count, &there));
	assert_int_equal(there, expected);
}

#endif
