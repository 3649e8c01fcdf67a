/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Threads that create, rename, remove, look up, list and lock in the same few directories while a mount comes and goes
 * over one of them: nothing races, nothing leaks, and what remains is a tree.
 */
#include "tests/unit/core/vfs/tree_fixture.h"
#include "tests/unit/slow.h"

#define THREADS 4u
#define ROUNDS 20000u
#define DIRS 4u
#define NAMES 6u

struct worker {
	struct tree_env *e;
	uint32_t seed;
	unsigned waits;
	unsigned told; /* atomic: how many of them ended */
};

static uint32_t next_random(struct worker *w)
{
	w->seed = w->seed * 1664525u + 1013904223u;
	return w->seed >> 8;
}

/* A directory under a name that changes its place now and then; NULL: it is elsewhere just now. */
static struct vfs_handle *some_dir(struct worker *w)
{
	struct vfs_handle *h;
	char path[32];

	(void)snprintf(path, sizeof(path), "/t/d%u", next_random(w) % DIRS);
	return vfs_walk(w->e->vfs, ROOT, NULL, NULL, path, VFS_WALK_FOLLOW, &h) ? NULL : h;
}

static void some_name(struct worker *w, char name[8])
{
	(void)snprintf(name, 8, "n%u", next_random(w) % NAMES);
}

static bool expected(int err)
{
	switch (err) {
	case 0:
	case -ENOENT:
	case -EEXIST:
	case -EISDIR:
	case -ENOTDIR:
	case -ENOTEMPTY:
	case -EINVAL:
	case -EBUSY:
	case -EXDEV:
	case -ESTALE:
	case -ELOOP:
	case -EDEADLK:
	case -EAGAIN:
		return true;
	default:
		print_error("an error of %d\n", err);
		return false;
	}
}

static void create(struct worker *w, struct vfs_handle *dir, const char *name)
{
	static const enum vfs_type types[] = { VFS_TYPE_FILE, VFS_TYPE_FILE, VFS_TYPE_DIR, VFS_TYPE_SYMLINK };

	assert_true(expected(create_as(dir, ROOT, name, types[next_random(w) % 4], 0755, "../d1/n1")));
}

static void rename_some(struct worker *w, struct vfs_handle *dir, const char *name)
{
	struct vfs_handle *other = some_dir(w);
	unsigned flags = next_random(w) % 3;
	char new_name[8];

	some_name(w, new_name);
	if (!other)
		return;
	assert_true(expected(vfs_rename(dir, ROOT, name, strlen(name), other, new_name, strlen(new_name), flags)));
	vfs_close(other);
}

static void link_some(struct worker *w, struct vfs_handle *dir, const char *name)
{
	struct vfs_handle *h;
	char new_name[8];
	int err;

	some_name(w, new_name);
	if (vfs_lookup(dir, ROOT, name, strlen(name), &h))
		return;
	err = vfs_link(dir, ROOT, new_name, strlen(new_name), h);
	assert_true(err == -EPERM || expected(err)); /* a directory, too */
	vfs_close(h);
}

static void walk_some(struct worker *w)
{
	char path[64];

	(void)snprintf(path, sizeof(path), "/t/d%u/n%u/../n%u/n%u", next_random(w) % DIRS, next_random(w) % NAMES,
	               next_random(w) % NAMES, next_random(w) % NAMES);
	assert_true(expected(walk_as(w->e, ROOT, path, VFS_WALK_FOLLOW)));
}

static bool count_entry(void *ctx, const struct vfs_dirent *e)
{
	(void)e;
	return ++*(unsigned *)ctx < 100;
}

static void granted(void *ctx, int result)
{
	struct worker *w = ctx;

	(void)result;
	__atomic_add_fetch(&w->told, 1, __ATOMIC_RELAXED);
}

/* An owner of this thread takes or waits for a lock, or gives one up. */
static void lock_some(struct worker *w, struct vfs_handle *dir)
{
	struct vfs_lock lock = { .owner = (uint64_t)(uintptr_t)w,
		                 .type = next_random(w) & 1 ? VFS_LOCK_SHARED : VFS_LOCK_EXCLUSIVE,
		                 .offset = next_random(w) % 16,
		                 .len_bytes = 1 + next_random(w) % 8 };
	uint64_t id;
	int err;

	if (next_random(w) & 1) {
		assert_int_equal(vfs_unlock(dir, lock.owner, lock.offset, lock.len_bytes), 0);
		return;
	}
	err = vfs_lock(dir, &lock, granted, w, &id);
	if (err == -EINPROGRESS) {
		w->waits++;
		vfs_lock_cancel(w->e->vfs, id);
	} else {
		assert_true(expected(err));
	}
}

static void one_round(struct worker *w)
{
	struct vfs_handle *dir = some_dir(w);
	unsigned count = 0;
	char name[8];

	some_name(w, name);
	if (!dir)
		return;
	switch (next_random(w) % 9) {
	case 0:
	case 1:
		create(w, dir, name);
		break;
	case 2:
		assert_true(expected(vfs_unlink(dir, ROOT, name, strlen(name), next_random(w) & 1)));
		break;
	case 3:
		rename_some(w, dir, name);
		break;
	case 4:
		link_some(w, dir, name);
		break;
	case 5:
		walk_some(w);
		break;
	case 6:
		assert_true(expected(vfs_readdir(dir, ROOT, 0, count_entry, &count)));
		break;
	case 7:
		lock_some(w, dir);
		break;
	default:
		/* The directories themselves change places. */
		(void)snprintf(name, sizeof(name), "d%u", next_random(w) % DIRS);
		assert_true(expected(vfs_rename(w->e->top, ROOT, name, 2, w->e->top, "d0", 2, VFS_RENAME_EXCHANGE)));
	}
	vfs_close(dir);
}

static void work(void *arg)
{
	struct worker *w = arg;

	for (unsigned i = 0; i < ROUNDS / test_slow(); i++)
		one_round(w);
}

struct mounter {
	struct tree_env *e;
	struct treefs fs;
};

static void mount_and_unmount(void *arg)
{
	struct mounter *m = arg;

	for (unsigned i = 0; i < ROUNDS / 10 / test_slow(); i++) {
		int err = vfs_mount(m->e->vfs, "/t/d1", &m->fs.root->node, false);

		/* It may be elsewhere just now. */
		assert_true(expected(err));
		if (err)
			continue;
		assert_int_equal(vfs_set_drive(m->e->vfs, "/t/d1", 'D'), 0);
		assert_int_equal(walk_as(m->e, ROOT, "D:\\", 0), 0);
		while (vfs_unmount(m->e->vfs, "/t/d1", false))
			(void)walk_as(m->e, ROOT, "D:\\n1\\n2", VFS_WALK_FOLLOW);
	}
}

/* Teardown looks that nothing is left when all names are gone: every reference was given up. */
static void test_concurrent_changes_leave_a_tree_and_no_references(void **state)
{
	struct tree_env *e = *state;
	struct worker workers[THREADS];
	struct mounter mounter = { .e = e };
	struct sync_thread threads[THREADS + 1];

	treefs_init(&mounter.fs);
	for (unsigned i = 0; i < DIRS; i++) {
		char path[8];

		(void)snprintf(path, sizeof(path), "/t/d%u", i);
		make(e, path, VFS_TYPE_DIR, 0755);
	}
	for (unsigned i = 0; i < THREADS; i++) {
		workers[i] = (struct worker){ .e = e, .seed = i + 1 };
		assert_int_equal(sync_thread_start(&threads[i], "worker", work, &workers[i]), 0);
	}
	assert_int_equal(sync_thread_start(&threads[THREADS], "mounter", mount_and_unmount, &mounter), 0);
	for (unsigned i = 0; i <= THREADS; i++)
		sync_thread_join(&threads[i]);
	for (unsigned i = 0; i < THREADS; i++) {
		vfs_unlock_owner(e->vfs, (uint64_t)(uintptr_t)&workers[i]);
		assert_int_equal(workers[i].told, workers[i].waits);
	}
	treefs_done(&mounter.fs);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_concurrent_changes_leave_a_tree_and_no_references, tree_setup,
		                                tree_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
