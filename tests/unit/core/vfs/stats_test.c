/* SPDX-License-Identifier: BSD-3-Clause */
/* Operations are counted by class, with their errors, bytes and time. */
#include "core/base/metrics.h"
#include "tests/unit/core/vfs/tree_fixture.h"

/* The value of a sample, e.g. wfsd_vfs_errors_total{op="list"}; -1: it is not there. */
static double value(struct metrics *m, const char *sample)
{
	size_t len;
	char *text = metrics_render(m, &len), *at = text;
	double ret = -1;

	assert_non_null(text);
	while ((at = strstr(at, sample))) {
		if (at[strlen(sample)] == ' ') {
			ret = strtod(at + strlen(sample), NULL);
			break;
		}
		at++;
	}
	free(text);
	return ret;
}

/* The metrics outlive the VFS that they show; the fixture takes another one down. */
static void renew(struct tree_env *e)
{
	vfs_close(e->top);
	assert_int_equal(vfs_unmount(e->vfs, "t", false), 0);
	vfs_free(e->vfs);
	e->vfs = vfs_new();
	assert_int_equal(vfs_mount(e->vfs, "t", &e->fs.root->node, false), 0);
	assert_int_equal(vfs_walk(e->vfs, ROOT, NULL, NULL, "/t", 0, &e->top), 0);
}

static void test_operations_are_counted_with_their_errors_and_bytes(void **state)
{
	struct tree_env *e = *state;
	struct metrics *m = metrics_new();
	struct vfs_handle *f, *data;
	char buf[10] = "0123456789";
	struct iovec iov = { buf, sizeof(buf) };

	make(e, "/t/f", VFS_TYPE_FILE, 0644);
	f = must_walk(e, "/t/f");
	assert_int_equal(vfs_open_handle(f, ROOT, VFS_ACCESS_READ | VFS_ACCESS_WRITE, &data), 0);
	assert_int_equal(vfs_register_metrics(e->vfs, m), 0);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(vfs_write(data, &iov, 1, 10 * i, 0), 0);
	assert_int_equal(vfs_read(data, &iov, 1, 5, 0), 0);
	assert_int_equal(vfs_read(data, &iov, 1, 25, 0), -EINVAL);
	assert_int_equal(walk_as(e, ROOT, "/t/none", 0), -ENOENT);
	assert_int_equal(vfs_unlink(e->top, ROOT, "f", 1, false), 0);
	assert_true(value(m, "wfsd_vfs_operations_total{op=\"write\"}") == 3);
	assert_true(value(m, "wfsd_vfs_bytes_total{op=\"write\"}") == 30);
	assert_true(value(m, "wfsd_vfs_errors_total{op=\"write\"}") == 0);
	assert_true(value(m, "wfsd_vfs_operations_total{op=\"read\"}") == 2);
	assert_true(value(m, "wfsd_vfs_bytes_total{op=\"read\"}") == 10);
	assert_true(value(m, "wfsd_vfs_errors_total{op=\"read\"}") == 1);
	assert_true(value(m, "wfsd_vfs_operations_total{op=\"remove\"}") == 1);
	assert_true(value(m, "wfsd_vfs_operation_seconds_count{op=\"remove\"}") == 1);
	assert_true(value(m, "wfsd_vfs_errors_total{op=\"lookup\"}") == 1);
	vfs_close(data);
	vfs_close(f);
	renew(e);
	assert_true(value(m, "wfsd_vfs_operations_total{op=\"write\"}") == -1);
	metrics_free(m);
}

static void test_one_of_many_reads_is_timed(void **state)
{
	struct tree_env *e = *state;
	struct metrics *m = metrics_new();
	struct vfs_handle *f, *data;
	char byte;
	struct iovec iov = { &byte, 1 };
	double timed;

	assert_int_equal(vfs_register_metrics(e->vfs, m), 0);
	make(e, "/t/f", VFS_TYPE_FILE, 0644);
	set_attr_at(e, "/t/f", &(struct vfs_set_attr){ .valid = VFS_SET_SIZE, .size_bytes = 1 });
	f = must_walk(e, "/t/f");
	assert_int_equal(vfs_open_handle(f, ROOT, VFS_ACCESS_READ, &data), 0);
	for (unsigned i = 0; i < 640; i++)
		assert_int_equal(vfs_read(data, &iov, 1, 0, 0), 0);
	timed = value(m, "wfsd_vfs_operation_seconds_count{op=\"read\"}");
	assert_true(timed == 10);
	vfs_close(data);
	vfs_close(f);
	renew(e);
	metrics_free(m);
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, tree_setup, tree_teardown)
	const struct CMUnitTest tests[] = {
		T(test_operations_are_counted_with_their_errors_and_bytes),
		T(test_one_of_many_reads_is_timed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
