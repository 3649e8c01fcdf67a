/* SPDX-License-Identifier: BSD-3-Clause */
/* What the server counts by export: in the metrics. */
#include "tests/unit/server/rpc/raw_compound.h"

#define RW (WFSP_ACCESS_READ | WFSP_ACCESS_WRITE)

/* The value of a sample, as "name{labels}"; -1: there is none. */
static double sample(struct tree_fixture *t, const char *what)
{
	size_t len;
	char *text = metrics_render(t->f->metrics, &len), *at;
	char line[256];
	double value = -1;

	assert_non_null(text);
	snprintf(line, sizeof(line), "\n%s ", what);
	at = strstr(text, line);
	if (at)
		value = strtod(at + strlen(line), NULL);
	free(text);
	return value;
}

#define COUNT(export, operation) "wfsd_export_latency_seconds_count{export=\"" export "\",operation=\"" operation "\"}"
#define SUM(export, operation) "wfsd_export_latency_seconds_sum{export=\"" export "\",operation=\"" operation "\"}"

static void test_latencies_are_counted_by_export_and_kind(void **state)
{
	const struct wfsp_op ops[] = {
		root,
		{ .code = WFSP_OP_CREATE, .type = WFSP_TYPE_FILE, .name = BYTES("f"), .mode = 0666, .access = RW },
		{ .code = WFSP_OP_WRITE, .data = BYTES("data") },
		{ .code = WFSP_OP_READ, .max_bytes = 4 },
		{ .code = WFSP_OP_GETATTR },
		{ .code = WFSP_OP_COMMIT },
	};
	struct tree_fixture *t = *state;
	int fd = connect_as(t, 1);
	struct wfsp_op_res last;
	double reads = sample(t, COUNT("tree", "read"));
	uint32_t count;

	/* Where nothing was done, nothing is said. */
	assert_true(sample(t, COUNT("tree", "change")) < 0);
	assert_true(sample(t, COUNT("tree-ro", "read")) < 0);
	assert_true(reads > 0);
	assert_int_equal(run(fd, plain, ops, 6, &count, &last), WFSP_OK);
	assert_int_equal(count, 6);
	assert_int_equal(last.status, WFSP_OK);
	assert_true(sample(t, COUNT("tree", "change")) == 3);
	assert_true(sample(t, COUNT("tree", "read")) == reads + 3);
	assert_true(sample(t, SUM("tree", "change")) > 0);
	assert_true(sample(t, COUNT("tree-ro", "read")) < 0);
	close(fd);
}

static void test_operations_take_no_longer_than_their_compounds(void **state)
{
	const struct wfsp_op ops[] = {
		root,
		{ .code = WFSP_OP_CREATE, .type = WFSP_TYPE_FILE, .name = BYTES("f"), .mode = 0666, .access = RW },
		{ .code = WFSP_OP_COMMIT },
	};
	struct tree_fixture *t = *state;
	int fd = connect_as(t, 1);
	struct wfsp_op_res last;
	double before = sample(t, SUM("tree", "read")), seconds;
	uint64_t start_ns = sync_now_ns();
	uint32_t count;

	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(run(fd, plain, ops, 3, &count, &last), WFSP_OK);
	seconds = (double)(sync_now_ns() - start_ns) / 1e9;
	assert_true(sample(t, COUNT("tree", "change")) == 200);
	assert_true(sample(t, SUM("tree", "change")) + sample(t, SUM("tree", "read")) - before <= seconds);
	close(fd);
}

static void test_requests_on_an_open_export_are_counted(void **state)
{
	struct tree_fixture *t = *state;
	struct wfs_file *f;
	char buf[100] = { 0 };

	assert_int_equal(wfs_open(t->w, "mem", WFS_OPEN_WRITE, &f), 0);
	assert_int_equal(wfs_pwrite(f, buf, sizeof(buf), 0, 0), 0);
	assert_int_equal(wfs_pread(f, buf, sizeof(buf), 0), 0);
	assert_int_equal(wfs_pread(f, buf, sizeof(buf), 0), 0);
	assert_int_equal(wfs_flush(f), 0);
	assert_true(sample(t, COUNT("mem", "change")) == 2);
	assert_true(sample(t, COUNT("mem", "read")) == 2);
	assert_true(sample(t, "wfsd_export_read_bytes_total{export=\"mem\"}") == 200);
	wfs_close(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, tree_setup, tree_teardown)
		T(test_latencies_are_counted_by_export_and_kind),
		T(test_operations_take_no_longer_than_their_compounds),
		T(test_requests_on_an_open_export_are_counted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
