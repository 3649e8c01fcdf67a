/* SPDX-License-Identifier: BSD-3-Clause */
/* What the server counts by export, in the metrics; and STATISTICS: figures of exports, file systems and sessions. */
#include "server/rpc/internal.h"
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

struct figures {
	unsigned count;
	char names[WFSP_COUNTERS_MAX][WFSP_COUNTER_NAME_MAX + 1];
	uint64_t values[WFSP_COUNTERS_MAX];
};

static void take_figure(void *ctx, const char *name, uint64_t value)
{
	struct figures *f = ctx;

	assert_true(f->count < WFSP_COUNTERS_MAX);
	strcpy(f->names[f->count], name);
	f->values[f->count++] = value;
}

static uint64_t figure(const struct figures *f, const char *name)
{
	for (unsigned i = 0; i < f->count; i++) {
		if (strcmp(f->names[i], name) == 0)
			return f->values[i];
	}
	fail_msg("no figure '%s'", name);
	return 0;
}

static struct figures ask(struct tree_fixture *t, enum wfs_scope scope, const char *export_name)
{
	struct figures f = { 0 };

	assert_int_equal(wfs_statistics_of(t->w, scope, export_name, take_figure, &f), 0);
	return f;
}

static void test_figures_of_an_export_are_those_of_the_metrics(void **state)
{
	struct tree_fixture *t = *state;
	char data[1000] = { 0 }, back[1000];
	struct wfs_attr attr;
	struct wfs_batch *b;
	struct wfs_fh fh;
	struct figures f;
	size_t len;
	int eof;

	assert_int_equal(wfs_batch_new(t->w, &b), 0);
	wfs_batch_put(b, &t->root);
	wfs_batch_put_file(b, "f", 0644, 0, data, sizeof(data), &attr);
	wfs_batch_get_file(b, back, sizeof(back), &len, &attr, &eof);
	assert_int_equal(wfs_batch_run(b, NULL, NULL), 0);
	wfs_batch_free(b);
	assert_int_equal(wfs_lookup(t->w, NULL, &t->root, "none", &fh, &attr), -ENOENT);
	f = ask(t, WFS_SCOPE_EXPORT, "tree");
	assert_true((double)figure(&f, "operations") == sample(t, "wfsd_export_operations_total{export=\"tree\"}"));
	assert_true((double)figure(&f, "reads") == sample(t, COUNT("tree", "read")));
	assert_true((double)figure(&f, "changes") == sample(t, COUNT("tree", "change")));
	assert_int_equal(figure(&f, "changes"), 1);
	assert_int_equal(figure(&f, "reads") + figure(&f, "changes"), figure(&f, "operations"));
	assert_int_equal(figure(&f, "errors"), 1);
	assert_int_equal(figure(&f, "read_bytes"), 1000);
	assert_int_equal(figure(&f, "written_bytes"), 1000);
	assert_true(figure(&f, "reads_p50_us") >= 1);
	assert_true(figure(&f, "reads_p99_us") >= figure(&f, "reads_p50_us"));
	assert_true(figure(&f, "changes_p99_us") == figure(&f, "changes_p50_us"));
	assert_true(figure(&f, "changes_us") <= figure(&f, "changes_p99_us"));
	/* Of another one by the same path. */
	f = ask(t, WFS_SCOPE_EXPORT, "tree-ro");
	assert_int_equal(figure(&f, "operations"), 0);
	assert_int_equal(figure(&f, "reads_p99_us"), 0);
}

static void test_figures_of_a_file_system_are_its_own(void **state)
{
	struct tree_fixture *t = *state;
	struct figures f = ask(t, WFS_SCOPE_DATASET, "tree");

	assert_int_equal(f.count, 8);
	assert_int_equal(figure(&f, "reads"), 1);
	assert_int_equal(figure(&f, "read_errors"), 2);
	assert_int_equal(figure(&f, "read_bytes"), 3);
	assert_int_equal(figure(&f, "writes"), 4);
	assert_int_equal(figure(&f, "write_errors"), 5);
	assert_int_equal(figure(&f, "written_bytes"), 6);
	assert_int_equal(figure(&f, "changes"), t->tree->creates);
	assert_int_equal(figure(&f, "change_errors"), 8);
	/* Whichever of its exports is named. */
	f = ask(t, WFS_SCOPE_DATASET, "below");
	assert_int_equal(figure(&f, "reads"), 1);
	f = (struct figures){ 0 };
	assert_int_equal(wfs_statistics_of(t->w, WFS_SCOPE_DATASET, "mem", take_figure, &f), -EOPNOTSUPP);
	assert_int_equal(f.count, 0);
	/* An export that is a file. */
	f = ask(t, WFS_SCOPE_EXPORT, "mem");
	assert_int_equal(figure(&f, "operations"), 0);
}

static void test_the_current_handle_or_open_file_says_which_export(void **state)
{
	const struct wfsp_op open_ops[] = {
		{ .code = WFSP_OP_ROOT, .name = BYTES("below") },
		{ .code = WFSP_OP_PUT_FILE, .name = BYTES("f"), .mode = 0666, .data = BYTES("data") },
		{ .code = WFSP_OP_OPEN, .access = WFSP_ACCESS_READ },
	};
	struct wfsp_op ops[] = { { .code = WFSP_OP_USE }, { .code = WFSP_OP_STATISTICS, .scope = WFSP_SCOPE_EXPORT } };
	struct tree_fixture *t = *state;
	int fd = connect_as(t, 1);
	struct figures by_name, by_handle = { 0 };
	struct wfsp_op_res last;
	struct wfs_batch *b;
	uint32_t count;

	assert_int_equal(run(fd, plain, open_ops, 3, &count, &last), WFSP_OK);
	assert_int_equal(last.status, WFSP_OK);
	by_name = ask(t, WFS_SCOPE_EXPORT, "below");
	assert_int_equal(figure(&by_name, "changes"), 1);
	assert_int_equal(figure(&by_name, "written_bytes"), 4);
	ops[0].descriptor = last.descriptor;
	assert_int_equal(run(fd, plain, ops, 2, &count, &last), WFSP_OK);
	assert_int_equal(last.status, WFSP_OK);
	assert_int_equal(last.item_count, by_name.count);
	ops[1].scope = WFSP_SCOPE_DATASET;
	assert_int_equal(run(fd, plain, ops, 2, &count, &last), WFSP_OK);
	assert_int_equal(last.item_count, 8);
	assert_int_equal(wfs_batch_new(t->w, &b), 0);
	wfs_batch_root(b, "below");
	wfs_batch_statistics(b, WFS_SCOPE_EXPORT, NULL, take_figure, &by_handle);
	assert_int_equal(wfs_batch_run(b, NULL, NULL), 0);
	wfs_batch_free(b);
	assert_int_equal(figure(&by_handle, "written_bytes"), 4);
	/* ROOT came through it, too. */
	assert_int_equal(figure(&by_handle, "operations"), figure(&by_name, "operations") + 1);
	close(fd);
}

static struct figures session_of(int fd)
{
	const struct wfsp_op op = { .code = WFSP_OP_STATISTICS, .scope = WFSP_SCOPE_SESSION };
	struct figures f = { 0 };
	struct wfsp_op_res last;
	struct wfsp_counter v;
	uint32_t count;
	struct rd r;

	assert_int_equal(run(fd, plain, &op, 1, &count, &last), WFSP_OK);
	assert_int_equal(last.status, WFSP_OK);
	r = rd_init(last.items.p, last.items.len_bytes);
	for (uint32_t i = 0; i < last.item_count; i++) {
		wfsp_get_counter(&r, &v);
		take_figure(&f, v.name, v.value);
	}
	assert_false(r.bad);
	return f;
}

/* The same client as connect_as() is, on another connection. */
static int connect_again(struct tree_fixture *t, uint8_t id)
{
	struct wfsp_hello_args a = RAW_CLIENT(id);

	a.connection++;
	return connect_with(t, a);
}

static void test_figures_of_a_session_are_of_all_of_its_connections(void **state)
{
	const struct wfsp_op ops[] = {
		root,
		{ .code = WFSP_OP_PUT_FILE, .name = BYTES("f"), .mode = 0666, .data = BYTES("data") },
		{ .code = WFSP_OP_LOOKUP, .name = BYTES("none") },
	};
	struct tree_fixture *t = *state;
	int fd = connect_as(t, 1), again = connect_again(t, 1), other = connect_as(t, 2);
	uint64_t until = sync_now_ns() + 20 * SYNC_NS_PER_S;
	struct wfsp_op_res last;
	struct figures f, theirs;
	uint32_t count;

	assert_int_equal(run(again, plain, ops, 3, &count, &last), WFSP_OK);
	assert_int_equal(last.status, WFSP_ERR_NOTDIR);
	f = session_of(fd);
	assert_int_equal(figure(&f, "connections"), 2);
	/* Two HELLOs and the compound. */
	assert_int_equal(figure(&f, "requests"), 3);
	assert_int_equal(figure(&f, "operations"), 5);
	assert_int_equal(figure(&f, "errors"), 1);
	assert_int_equal(figure(&f, "written_bytes"), 4);
	assert_true(figure(&f, "requests_us") > 0);
	theirs = session_of(other);
	assert_int_equal(figure(&theirs, "connections"), 1);
	assert_int_equal(figure(&theirs, "requests"), 1);
	assert_int_equal(figure(&theirs, "written_bytes"), 0);
	close(again);
	do {
		assert_true(sync_now_ns() < until);
		f = session_of(fd);
	} while (figure(&f, "connections") != 1);
	assert_int_equal(figure(&f, "errors"), 1);
	assert_int_equal(figure(&f, "written_bytes"), 4);
	assert_true(figure(&f, "operations") > 5);
	/* What failed is counted once, whatever comes after it. */
	assert_int_equal(run(fd, plain, ops, 3, &count, &last), WFSP_OK);
	for (unsigned i = 0; i < 5; i++)
		f = session_of(fd);
	assert_int_equal(figure(&f, "errors"), 2);
	close(other);
	close(fd);
}

static uint32_t status_of(int fd, const struct wfsp_op *ops, uint32_t op_count)
{
	struct wfsp_op_res last;
	uint32_t count;

	assert_int_equal(run(fd, plain, ops, op_count, &count, &last), WFSP_OK);
	return last.status;
}

static void test_what_cannot_be_told_is_refused(void **state)
{
	const struct wfsp_op current = { .code = WFSP_OP_STATISTICS, .scope = WFSP_SCOPE_EXPORT },
	                     none = { .code = WFSP_OP_STATISTICS, .scope = WFSP_SCOPE_EXPORT, .name = BYTES("none") },
	                     gone = { .code = WFSP_OP_STATISTICS, .scope = WFSP_SCOPE_DATASET, .name = BYTES("none") },
	                     session = { .code = WFSP_OP_STATISTICS, .scope = WFSP_SCOPE_SESSION };
	struct wfsp_op unknown[] = { root, { .code = WFSP_OP_STATISTICS } };
	static const uint32_t scopes[] = { 0, 4, UINT32_MAX };
	struct tree_fixture *t = *state;
	int fd = connect_as(t, 1), stranger = raw_connect(t->f);
	unsigned names = t->f->server->export_stats_count;

	assert_int_equal(status_of(fd, &current, 1), WFSP_ERR_INVAL);
	assert_int_equal(status_of(fd, &none, 1), WFSP_ERR_NOENT);
	assert_int_equal(status_of(fd, &gone, 1), WFSP_ERR_NOENT);
	for (size_t i = 0; i < sizeof(scopes) / sizeof(scopes[0]); i++) {
		unknown[1].scope = scopes[i];
		assert_int_equal(status_of(fd, unknown, 2), WFSP_ERR_INVAL);
	}
	assert_int_equal(status_of(stranger, &session, 1), WFSP_ERR_INVAL);
	/* Names that are no export's are not kept. */
	assert_int_equal(t->f->server->export_stats_count, names);
	close(stranger);
	close(fd);
}

static void test_figures_of_an_export_are_for_its_clients_only(void **state)
{
	const struct wfsp_op far = { .code = WFSP_OP_STATISTICS, .scope = WFSP_SCOPE_EXPORT, .name = BYTES("far") },
	                     dataset = { .code = WFSP_OP_STATISTICS,
		                         .scope = WFSP_SCOPE_DATASET,
		                         .name = BYTES("far") },
	                     near = { .code = WFSP_OP_STATISTICS, .scope = WFSP_SCOPE_EXPORT, .name = BYTES("tree") };
	struct export_info *info = calloc(1, sizeof(*info));
	struct tree_fixture *t = *state;
	int fd = connect_from_address(t, 5), here = connect_as(t, 1);

	strcpy(info->name, "far");
	strcpy(info->path, "/tree");
	/* 192.0.2.0/24 */
	info->policy.client_count = 1;
	info->policy.clients[0] =
	        (struct export_network){ .address = { [10] = 0xff, [11] = 0xff, [12] = 192, [13] = 0, [14] = 2 },
		                         .prefix_bits = 120 };
	assert_int_equal(export_add(t->f->exports, info), 0);
	free(info);
	assert_int_equal(status_of(fd, &far, 1), WFSP_ERR_ACCES);
	assert_int_equal(status_of(fd, &dataset, 1), WFSP_ERR_ACCES);
	assert_int_equal(status_of(fd, &near, 1), WFSP_OK);
	assert_int_equal(status_of(here, &far, 1), WFSP_OK);
	assert_int_equal(status_of(here, &dataset, 1), WFSP_OK);
	close(here);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, tree_setup, tree_teardown)
		T(test_latencies_are_counted_by_export_and_kind),
		T(test_operations_take_no_longer_than_their_compounds),
		T(test_requests_on_an_open_export_are_counted),
		T(test_figures_of_an_export_are_those_of_the_metrics),
		T(test_figures_of_a_file_system_are_its_own),
		T(test_the_current_handle_or_open_file_says_which_export),
		T(test_figures_of_a_session_are_of_all_of_its_connections),
		T(test_what_cannot_be_told_is_refused),
		T(test_figures_of_an_export_are_for_its_clients_only),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
