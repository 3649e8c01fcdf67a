/* SPDX-License-Identifier: BSD-3-Clause */
/* The audit log: what is wanted, how lines look, a queue that is full, and a file that is renamed. */
#include "server/audit/audit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <setjmp.h>

#include <cmocka.h>
#include <jansson.h>

#include "core/base/metrics.h"
#include "core/base/sync.h"
#include "server/audit/line.h"

struct fixture {
	char dir[64], path[96];
	struct audit *audit;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	strcpy(f->dir, "/tmp/wfsd-audit-test-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	snprintf(f->path, sizeof(f->path), "%s/log", f->dir);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	char old[112];

	audit_free(f->audit);
	snprintf(old, sizeof(old), "%s.1", f->path);
	(void)unlink(old);
	(void)unlink(f->path);
	rmdir(f->dir);
	free(f);
	return 0;
}

static void begin(struct fixture *f, unsigned classes, unsigned queue_max)
{
	struct audit_config config = { .path = f->path, .classes = classes, .queue_max = queue_max };

	assert_int_equal(audit_new(&config, &f->audit), 0);
}

static void put_name(struct fixture *f, const char *name)
{
	struct audit_event e = { .class = AUDIT_NAMES, .operation = "create" };

	audit_set_name(&e.name, name, strlen(name));
	audit_put(f->audit, &e);
}

/* All lines, each of which must be JSON; the caller's array of objects. */
static unsigned read_lines(const char *path, json_t *lines[], unsigned max)
{
	FILE *file = fopen(path, "r");
	char text[4096];
	unsigned count = 0;

	assert_non_null(file);
	while (fgets(text, sizeof(text), file)) {
		assert_true(count < max);
		assert_int_equal(text[strlen(text) - 1], '\n');
		lines[count] = json_loads(text, 0, NULL);
		assert_non_null(lines[count]);
		count++;
	}
	fclose(file);
	return count;
}

static const char *text_at(json_t *o, const char *key)
{
	const char *text = json_string_value(json_object_get(o, key));

	return text ? text : "";
}

static void test_only_what_is_asked_for_is_wanted(void **state)
{
	struct fixture *f = *state;

	assert_false(audit_wants(NULL, AUDIT_NAMES, 0));
	begin(f, 1u << AUDIT_NAMES | 1u << AUDIT_DENIED, 0);
	assert_true(audit_wants(f->audit, AUDIT_NAMES, 0));
	assert_true(audit_wants(f->audit, AUDIT_NAMES, -ENOENT));
	assert_false(audit_wants(f->audit, AUDIT_READ, 0));
	assert_false(audit_wants(f->audit, AUDIT_READ, -EIO));
	assert_true(audit_wants(f->audit, AUDIT_READ, -EACCES));
	for (int i = 0; i < AUDIT_CLASSES; i++)
		assert_int_equal(audit_class_parse(audit_class_name((enum audit_class)i)), i);
	assert_int_equal(audit_class_parse("everything"), -EINVAL);
}

static void test_a_line_has_all_that_an_event_tells(void **state)
{
	struct audit_event e = { .class = AUDIT_NAMES,
		                 .operation = "rename",
		                 .client = "192.0.2.7 backup.example",
		                 .has_identity = true,
		                 .uid = 1000,
		                 .gid = 100,
		                 .export_name = "home",
		                 .fsid = UINT64_MAX,
		                 .object = UINT64_MAX - 1,
		                 .offset = 4096,
		                 .len_bytes = 65536,
		                 .err = -EXDEV,
		                 .duration_ns = 1234567,
		                 .wall_ns = UINT64_C(1700000000123456789) };
	char *text;
	json_t *o;

	(void)state;
	audit_set_name(&e.name, "with \"quotes\"\n", 14);
	audit_set_name(&e.new_name, "not\xff utf-8", 10);
	text = audit_line(&e);
	assert_non_null(text);
	assert_null(strchr(text, '\n'));
	o = json_loads(text, 0, NULL);
	assert_non_null(o);
	assert_string_equal(text_at(o, "time"), "2023-11-14T22:13:20.123456Z");
	assert_string_equal(text_at(o, "class"), "names");
	assert_string_equal(text_at(o, "operation"), "rename");
	assert_string_equal(text_at(o, "client"), "192.0.2.7 backup.example");
	assert_string_equal(text_at(o, "export"), "home");
	assert_string_equal(text_at(o, "object"), "ffffffffffffffff:18446744073709551614");
	assert_string_equal(text_at(o, "name"), "with \"quotes\"\n");
	assert_string_equal(text_at(o, "new_name_hex"), "6e6f74ff207574662d38");
	assert_string_equal(text_at(o, "status"), "EXDEV");
	assert_int_equal(json_integer_value(json_object_get(o, "uid")), 1000);
	assert_int_equal(json_integer_value(json_object_get(o, "bytes")), 65536);
	assert_int_equal(json_integer_value(json_object_get(o, "us")), 1234);
	json_decref(o);
	free(text);
}

static void test_events_are_written_in_order_and_all_at_the_end(void **state)
{
	struct fixture *f = *state;
	json_t *lines[200];
	struct stat st;
	char name[16];

	begin(f, AUDIT_DEFAULT, 256);
	for (unsigned i = 0; i < 200; i++) {
		snprintf(name, sizeof(name), "%u", i);
		put_name(f, name);
	}
	audit_free(f->audit);
	f->audit = NULL;
	assert_int_equal(stat(f->path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(read_lines(f->path, lines, 200), 200);
	for (unsigned i = 0; i < 200; i++) {
		snprintf(name, sizeof(name), "%u", i);
		assert_string_equal(text_at(lines[i], "name"), name);
		json_decref(lines[i]);
	}
}

/* Everything that a pipe's other end writes until it closes it. */
static char *read_all(int fd)
{
	size_t len = 0, room = 4u << 20;
	char *text = malloc(room);
	ssize_t n;

	assert_non_null(text);
	while ((n = read(fd, text + len, room - 1 - len)) > 0)
		len += (size_t)n;
	assert_int_equal(n, 0);
	text[len] = '\0';
	return text;
}

struct reader {
	int fd;
	char *text;
};

static void read_in_thread(void *arg)
{
	struct reader *r = arg;

	r->text = read_all(r->fd);
}

static void test_a_full_queue_drops_counts_and_says_so(void **state)
{
	struct fixture *f = *state;
	unsigned told = 0, written = 0;
	struct sync_thread thread;
	struct reader r;

	/* A pipe that nobody reads holds the writer up. */
	assert_int_equal(mkfifo(f->path, 0600), 0);
	r.fd = open(f->path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	assert_true(r.fd >= 0);
	begin(f, AUDIT_DEFAULT, 16);
	for (unsigned i = 0; i < 3000; i++)
		put_name(f, "a name");
	assert_int_equal(fcntl(r.fd, F_SETFL, 0), 0);
	assert_int_equal(sync_thread_start(&thread, "reader", read_in_thread, &r), 0);
	audit_free(f->audit);
	f->audit = NULL;
	sync_thread_join(&thread);
	for (const char *at = r.text; (at = strstr(at, "\"create\"")); at++)
		written++;
	for (const char *at = r.text; (at = strstr(at, "\"events\":")); at++)
		told += (unsigned)strtoul(at + 9, NULL, 10);
	assert_true(told > 0);
	assert_int_equal(written + told, 3000);
	free(r.text);
	close(r.fd);
}

static void test_after_a_rename_lines_go_to_a_new_file(void **state)
{
	struct fixture *f = *state;
	json_t *lines[2];
	char old[112];

	begin(f, AUDIT_DEFAULT, 16);
	put_name(f, "before");
	audit_free(f->audit);
	begin(f, AUDIT_DEFAULT, 16);
	snprintf(old, sizeof(old), "%s.1", f->path);
	assert_int_equal(rename(f->path, old), 0);
	assert_int_equal(audit_reopen(f->audit), 0);
	put_name(f, "after");
	audit_free(f->audit);
	f->audit = NULL;
	assert_int_equal(read_lines(old, lines, 2), 1);
	assert_string_equal(text_at(lines[0], "name"), "before");
	json_decref(lines[0]);
	assert_int_equal(read_lines(f->path, lines, 2), 1);
	assert_string_equal(text_at(lines[0], "name"), "after");
	json_decref(lines[0]);
}

static void test_a_file_that_cannot_be_made_is_an_error(void **state)
{
	struct audit_config config = { .path = "/nowhere/at/all", .classes = AUDIT_DEFAULT };
	struct audit *a;

	(void)state;
	assert_int_equal(audit_new(&config, &a), -ENOENT);
}

/* As a disk that is full does, in the middle of a line. */
static void limit_file(uint64_t size_bytes)
{
	struct rlimit limit;

	assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
	limit.rlim_cur = (rlim_t)size_bytes;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

/* Until the log has taken notice of what could not be written. */
static void wait_for_failures(struct metrics *m, const char *count)
{
	char wanted[64];
	bool found = false;
	size_t len;

	snprintf(wanted, sizeof(wanted), "\nwfsd_audit_failures_total %s\n", count);
	for (uint64_t until = sync_now_ns() + 20 * SYNC_NS_PER_S; !found && sync_now_ns() < until;) {
		char *text = metrics_render(m, &len);

		assert_non_null(text);
		found = strstr(text, wanted) != NULL;
		free(text);
	}
	assert_true(found);
}

/* One line, three that find no room, and one when there is some again. */
static void fill_and_make_room(struct fixture *f, const char *path)
{
	struct audit_config config = { .path = path, .classes = AUDIT_DEFAULT, .metrics = metrics_new() };
	struct stat st;

	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(audit_new(&config, &f->audit), 0);
	put_name(f, "first");
	do {
		assert_int_equal(stat(path, &st), 0);
	} while (!st.st_size);
	limit_file((uint64_t)st.st_size + 20);
	for (unsigned i = 0; i < 3; i++)
		put_name(f, "lost");
	wait_for_failures(config.metrics, "3");
	limit_file(RLIM_INFINITY);
	put_name(f, "last");
	audit_free(f->audit);
	f->audit = NULL;
	metrics_free(config.metrics);
}

static void test_a_full_disk_leaves_whole_lines_and_is_told(void **state)
{
	struct fixture *f = *state;
	json_t *lines[4];

	fill_and_make_room(f, f->path);
	assert_int_equal(read_lines(f->path, lines, 4), 3);
	assert_string_equal(text_at(lines[0], "name"), "first");
	assert_int_equal(json_integer_value(json_object_get(lines[1], "events")), 3);
	assert_string_equal(text_at(lines[2], "name"), "last");
	for (unsigned i = 0; i < 3; i++)
		json_decref(lines[i]);
}

static void test_in_a_file_that_only_grows_a_part_of_a_line_stands_alone(void **state)
{
	int fd = memfd_create("audit", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	struct fixture *f = *state;
	char path[64], *text, *at;

	assert_true(fd >= 0);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK), 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	fill_and_make_room(f, path);
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	text = read_all(fd);
	at = strstr(text, "\"first\"");
	assert_non_null(at);
	/* The part, then what was lost, and the last. */
	at = strchr(strchr(at, '\n') + 1, '\n');
	assert_non_null(at);
	assert_int_equal(at[1], '{');
	at = strstr(at, "\"events\":3");
	assert_non_null(at);
	assert_non_null(strstr(at, "\"last\""));
	assert_null(strstr(text, "\"lost\""));
	free(text);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
		T(test_only_what_is_asked_for_is_wanted),
		T(test_a_line_has_all_that_an_event_tells),
		T(test_events_are_written_in_order_and_all_at_the_end),
		T(test_a_full_queue_drops_counts_and_says_so),
		T(test_a_full_disk_leaves_whole_lines_and_is_told),
		T(test_in_a_file_that_only_grows_a_part_of_a_line_stands_alone),
		T(test_after_a_rename_lines_go_to_a_new_file),
		T(test_a_file_that_cannot_be_made_is_an_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
