/* SPDX-License-Identifier: BSD-3-Clause */
/* Several threads change the same few directories of a file tree; afterwards the check finds nothing wrong. */
#include "tests/unit/core/fs/wfs3/tree_state.h"

#define THREADS 4u
#define NAMES 12u

#if defined(WFSD_DEBUG) || defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define OPS 3000u
#else
#define OPS 20000u
#endif

struct worker {
	struct tree_fixture *t;
	struct sync_thread thread;
	uint64_t seed;
	unsigned errors;
};

static uint64_t random_number(struct worker *w)
{
	return random_next(&w->seed);
}

static void random_name(struct worker *w, char name[3])
{
	name[0] = (char)('a' + random_number(w) % NAMES);
	name[1] = 0;
}

/* The top, or a directory in it or in that. */
static struct vfs_node *random_dir(struct worker *w)
{
	struct vfs_node *dir = w->t->top;

	vfs_node_ref(dir);
	for (unsigned depth = 0; depth < 2; depth++) {
		char name[3];

		random_name(w, name);
		if (!step_down(&dir, name[0]))
			break;
	}
	return dir;
}

static bool ignore_entry(void *ctx, const struct vfs_dirent *e)
{
	(void)ctx;
	return e->name_len == 1;
}

static int use_file(struct worker *w, struct vfs_node *n)
{
	uint8_t buf[5000];
	uint64_t offset = random_number(w) % 100000;
	struct vfs_stat st;

	memset(buf, (int)offset, sizeof(buf));
	switch (random_number(w) % 6) {
	case 0:
		return node_truncate(n, offset);
	case 1:
		return node_write(n, 0, buf, 100, VFS_APPEND);
	case 2:
		return n->ops->flush(n, 0);
	case 3:
		return n->ops->stat(n, &st) || st.size_bytes < 5000 ? 0 : node_read(n, 0, buf, 5000);
	default:
		return node_write(n, offset, buf, sizeof(buf), 0);
	}
}

static int one_operation(struct worker *w, struct vfs_node *dir, struct vfs_node *other)
{
	static const unsigned flags[] = { 0, 0, VFS_RENAME_NOREPLACE, VFS_RENAME_EXCHANGE };
	char name[3], other_name[3];
	struct vfs_node *n;
	int rc;

	random_name(w, name);
	random_name(w, other_name);
	switch (random_number(w) % 10) {
	case 0:
	case 1:
		rc = make_type(dir, name, random_number(w) % 4 ? VFS_TYPE_FILE : VFS_TYPE_DIR, &n);
		if (!rc)
			vfs_node_unref(n);
		return rc;
	case 2:
		return remove_name(dir, name, random_number(w) % 2);
	case 3:
	case 4:
		return rename_to(dir, name, other, other_name, flags[random_number(w) % 4]);
	case 5:
		return dir->ops->readdir(dir, 0, ignore_entry, NULL);
	default:
		rc = dir->ops->lookup(dir, name, 1, &n);
		if (rc)
			return rc;
		if (random_number(w) % 8 == 0)
			rc = link_to(other, other_name, n);
		else if (n->type == VFS_TYPE_FILE)
			rc = use_file(w, n);
		vfs_node_unref(n);
		return rc;
	}
}

static void worker_main(void *arg)
{
	struct worker *w = arg;

	for (unsigned i = 0; i < OPS; i++) {
		struct vfs_node *dir = random_dir(w), *other = random_dir(w);
		int rc = one_operation(w, dir, other);

		/* What happens to others meanwhile gives these; nothing else may come. */
		switch (rc) {
		case 0:
		case -ENOENT:
		case -EEXIST:
		case -ENOTEMPTY:
		case -EISDIR:
		case -ENOTDIR:
		case -EINVAL:
		case -EPERM:
		case -EMLINK:
			break;
		default:
			w->errors++;
			print_error("error %d\n", rc);
		}
		vfs_node_unref(dir);
		vfs_node_unref(other);
	}
	blk_thread_done();
}

static void test_threads_in_the_same_directories(void **state)
{
	struct worker workers[THREADS];
	struct tree_fixture t;

	(void)state;
	tree_init(&t, 512 * MIB);
	for (unsigned i = 0; i < THREADS; i++) {
		workers[i] = (struct worker){ .t = &t, .seed = i + 1 };
		assert_int_equal(sync_thread_start(&workers[i].thread, "stress", worker_main, &workers[i]), 0);
	}
	for (unsigned i = 0; i < 10; i++)
		assert_ok(t.f.admin.driver->pool_sync(t.f.admin.ctx, "tank"));
	for (unsigned i = 0; i < THREADS; i++) {
		sync_thread_join(&workers[i].thread);
		assert_int_equal(workers[i].errors, 0);
	}
	tree_restart(&t);
	tree_done(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_threads_in_the_same_directories) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
