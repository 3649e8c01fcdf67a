/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Power cuts under random changes of a file tree: afterwards the names, links and attributes are those of some moment
 * since the last flush, what was flushed of files is there, and the check finds nothing.
 */
#include "tests/unit/core/fs/wfs3/tree_state.h"

#include <sys/stat.h>

#define OPS 120u
#define STATE_BYTES 16384u
#define OBJECTS 20000u
#define DATA_BYTES 40000u
#define HELD 4u

#ifdef WFSD_DEBUG
#define EPISODES 60u
#else
#define EPISODES 1000u
#endif

/* What a flush made durable of a file. */
struct flushed {
	uint64_t object; /* 0: none */
	bool valid;
	uint32_t size;
	uint8_t *data;
};

struct run {
	struct tree_fixture t;
	uint64_t seed;
	char *history[OPS + 1]; /* states: before the first operation, and after each */
	unsigned op, flushed_op;
	struct flushed flushed[OBJECTS];
	struct vfs_node *held[HELD]; /* files that may have no name any more */
};

static uint64_t random_number(struct run *r)
{
	return random_next(&r->seed);
}

static void note_state(struct run *r)
{
	tree_state(r->t.top, false, r->history[r->op], STATE_BYTES);
}

/* ---- operations ---- */

static struct vfs_node *any_dir(struct run *r)
{
	struct vfs_node *dir = r->t.top;

	vfs_node_ref(dir);
	for (unsigned depth = 0; depth < 3 && random_number(r) % 3; depth++) {
		if (!step_down(&dir, (char)('a' + random_number(r) % 3)))
			break;
	}
	return dir;
}

static struct flushed *flushed_of(struct run *r, uint64_t object)
{
	unsigned i = 0;

	while (r->flushed[i].object && r->flushed[i].object != object)
		assert_true(++i < OBJECTS);
	r->flushed[i].object = object;
	return &r->flushed[i];
}

static void forget_flushed(struct run *r, struct vfs_node *n)
{
	flushed_of(r, node_stat(n).object)->valid = false;
}

static void change_data(struct run *r, struct vfs_node *n)
{
	static uint8_t buf[DATA_BYTES];
	uint64_t offset = random_number(r) % (DATA_BYTES / 2), len = 1 + random_number(r) % (DATA_BYTES / 2);
	uint64_t how = random_number(r) % 4;

	forget_flushed(r, n);
	pattern(buf, sizeof(buf), random_number(r));
	if (how == 0)
		assert_ok(node_truncate(n, random_number(r) % 2 ? offset : offset / 4096 * 4096));
	else if (how == 1 && node_stat(n).size_bytes + len <= DATA_BYTES)
		assert_ok(node_write(n, 0, buf, len, VFS_APPEND));
	else
		assert_ok(node_write(n, offset, buf, len, 0));
}

static void flush(struct run *r, struct vfs_node *n)
{
	struct vfs_stat st = node_stat(n);
	struct flushed *f = flushed_of(r, st.object);

	assert_ok(n->ops->flush(n, 0));
	r->flushed_op = r->op;
	if (n->type != VFS_TYPE_FILE)
		return;
	f->valid = true;
	f->size = (uint32_t)st.size_bytes;
	if (!f->data)
		f->data = malloc(DATA_BYTES);
	assert_ok(node_read(n, 0, f->data, f->size));
}

static void hold(struct run *r, struct vfs_node *n)
{
	struct vfs_node **slot = &r->held[random_number(r) % HELD];

	if (*slot)
		vfs_node_unref(*slot);
	vfs_node_ref(n);
	*slot = n;
}

static void change_node(struct run *r, struct vfs_node *n)
{
	struct vfs_set_attr attr = { .valid = VFS_SET_MODE, .mode = (uint32_t)random_number(r) % 01000 };
	char value[8];

	snprintf(value, sizeof(value), "%u", (unsigned)random_number(r) % 1000);
	switch (random_number(r) % 8) {
	case 0:
		assert_ok(n->ops->set_attr(n, &attr));
		break;
	case 1:
		assert_ok(n->ops->set_xattr(n, "user.x", value, strlen(value), 0, NULL));
		break;
	case 2:
		flush(r, n);
		break;
	case 3:
		hold(r, n);
		break;
	default:
		if (n->type == VFS_TYPE_FILE)
			change_data(r, n);
	}
}

static void create_something(struct run *r, struct vfs_node *dir, const char *name)
{
	static const enum vfs_type types[] = { VFS_TYPE_FILE, VFS_TYPE_FILE, VFS_TYPE_DIR, VFS_TYPE_SYMLINK };
	struct vfs_new attr = { .type = types[random_number(r) % 4], .mode = 0600, .target = "a/b", .target_len = 3 };
	struct vfs_node *n;

	if (!dir->ops->create(dir, name, 1, &attr, &n)) {
		if (n->type == VFS_TYPE_FILE && random_number(r) % 2)
			change_data(r, n);
		vfs_node_unref(n);
	}
}

static void one_operation(struct run *r)
{
	static const unsigned flags[] = { 0, 0, VFS_RENAME_NOREPLACE, VFS_RENAME_EXCHANGE };
	struct vfs_node *dir = any_dir(r), *other = any_dir(r), *n;
	char name[2] = { (char)('a' + random_number(r) % 5), 0 }, other_name[2] = { 0 };

	other_name[0] = (char)('a' + random_number(r) % 5);
	switch (random_number(r) % 12) {
	case 0:
	case 1:
	case 2:
		create_something(r, dir, name);
		break;
	case 3:
		(void)remove_name(dir, name, false);
		break;
	case 4:
		(void)remove_name(dir, name, true);
		break;
	case 5:
	case 6:
		(void)rename_to(dir, name, other, other_name, flags[random_number(r) % 4]);
		break;
	case 7:
		if (!dir->ops->lookup(dir, name, 1, &n)) {
			(void)link_to(other, other_name, n);
			vfs_node_unref(n);
		}
		break;
	case 8:
		n = r->held[random_number(r) % HELD];
		if (n && n->type == VFS_TYPE_FILE)
			change_data(r, n);
		break;
	case 9:
		if (random_number(r) % 8 == 0) {
			assert_ok(r->t.f.admin.driver->pool_sync(r->t.f.admin.ctx, "tank"));
			r->flushed_op = r->op;
		}
		break;
	default:
		if (!dir->ops->lookup(dir, name, 1, &n)) {
			change_node(r, n);
			vfs_node_unref(n);
		}
	}
	vfs_node_unref(dir);
	vfs_node_unref(other);
}

/* ---- after the crash ---- */

static void check_flushed(struct run *r, struct vfs_node *dir)
{
	static uint8_t buf[DATA_BYTES];
	struct listing l;

	list_dir(dir, &l);
	for (unsigned i = 0; i < l.count; i++) {
		struct vfs_node *n = node_at(dir, l.names[i]);
		struct vfs_stat st = node_stat(n);
		const struct flushed *f = flushed_of(r, st.object);

		if (n->type == VFS_TYPE_DIR)
			check_flushed(r, n);
		if (n->type == VFS_TYPE_FILE && f->valid) {
			assert_int_equal(st.size_bytes, f->size);
			assert_ok(node_read(n, 0, buf, f->size));
			assert_memory_equal(buf, f->data, f->size);
		}
		vfs_node_unref(n);
	}
}

/* No file has anything behind its end. */
static void check_ends(struct vfs_node *dir)
{
	static uint8_t buf[8192], zeros[8192];
	struct listing l;

	list_dir(dir, &l);
	for (unsigned i = 0; i < l.count; i++) {
		struct vfs_node *n = node_at(dir, l.names[i]);
		uint64_t size = node_stat(n).size_bytes;

		if (n->type == VFS_TYPE_DIR)
			check_ends(n);
		if (n->type == VFS_TYPE_FILE && node_stat(n).link_count == 1) {
			assert_ok(node_truncate(n, size + sizeof(buf)));
			assert_ok(node_read(n, size, buf, sizeof(buf)));
			assert_memory_equal(buf, zeros, sizeof(buf));
			assert_ok(node_truncate(n, size));
		}
		vfs_node_unref(n);
	}
}

static void crash(struct run *r)
{
	static char now[STATE_BYTES];
	bool found = false;

	for (unsigned i = 0; i < HELD; i++) {
		if (r->held[i])
			vfs_node_unref(r->held[i]);
		r->held[i] = NULL;
	}
	tree_crash(&r->t, random_number(r) + 1);
	tree_state(r->t.top, false, now, sizeof(now));
	for (unsigned i = r->flushed_op; i <= r->op && !found; i++)
		found = !strcmp(now, r->history[i]);
	if (!found) {
		print_error("flushed at %u of %u, found:\n%s", r->flushed_op, r->op, now);
		print_error("flushed:\n%slast:\n%s", r->history[r->flushed_op], r->history[r->op]);
	}
	assert_true(found);
	check_flushed(r, r->t.top);
	check_ends(r->t.top);
	for (unsigned i = 0; i < OBJECTS; i++)
		r->flushed[i].valid = false;
	tree_restart(&r->t);
}

static void test_random_changes_and_power_cuts(void **state)
{
	struct run *r = calloc(1, sizeof(*r));

	(void)state;
	tree_init(&r->t, 256 * MIB);
	for (unsigned i = 0; i <= OPS; i++)
		r->history[i] = malloc(STATE_BYTES);
	for (unsigned episode = 0; episode < EPISODES; episode++) {
		unsigned ops;

		/* Before the tree becomes too large to be described. */
		if (episode % 100 == 99) {
			tree_done(&r->t);
			tree_init(&r->t, 256 * MIB);
		}
		r->seed = 1000 + episode;
		ops = 1 + (unsigned)random_number(r) % OPS;
		r->op = r->flushed_op = 0;
		note_state(r);
		while (r->op < ops) {
			r->op++;
			one_operation(r);
			note_state(r);
		}
		crash(r);
	}
	tree_done(&r->t);
	for (unsigned i = 0; i <= OPS; i++)
		free(r->history[i]);
	for (unsigned i = 0; i < OBJECTS; i++)
		free(r->flushed[i].data);
	free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_random_changes_and_power_cuts) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
