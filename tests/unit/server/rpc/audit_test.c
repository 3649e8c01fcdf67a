/* SPDX-License-Identifier: BSD-3-Clause */
/* Which class of the audit log an operation of a compound is told in. */
#include "server/audit/audit.h"

#include "protocol/wfs_notice.h"
#include "tests/unit/server/rpc/raw_compound.h"

/* Serve again, with an audit log of these classes. */
static void audit_begin(struct fixture *f, unsigned classes, char path[96])
{
	struct audit_config config = { .path = path, .classes = classes };

	snprintf(path, 96, "%s/audit", f->dir);
	assert_int_equal(audit_new(&config, &f->audit), 0);
	fixture_unserve(f);
	fixture_serve(f, 1001, NULL, 0);
}

/* All of the log, after the server's end. */
static void audit_end(struct fixture *f, const char *path, char *text, size_t size)
{
	FILE *file;

	fixture_unserve(f);
	audit_free(f->audit);
	f->audit = NULL;
	file = fopen(path, "r");
	assert_non_null(file);
	text[fread(text, 1, size - 1, file)] = '\0';
	fclose(file);
	unlink(path);
}

static const struct wfsp_op make = { .code = WFSP_OP_CREATE, .type = WFSP_TYPE_FILE, .name = BYTES("f"), .mode = 0666 };

/* Whatever becomes of it. */
static void do_op(int fd, struct wfsp_op op)
{
	const struct wfsp_op ops[] = { root, make, op };
	struct wfsp_op_res last;
	uint32_t count;

	assert_int_equal(run(fd, plain, ops, 3, &count, &last), WFSP_OK);
	assert_int_equal(count, 3);
}

static void do_all(int fd)
{
	const struct wfsp_lock lock = { .owner = 7, .type = WFSP_LOCK_EXCLUSIVE, .len_bytes = 10 };

	do_op(fd, (struct wfsp_op){ .code = WFSP_OP_LOCK_RECLAIM, .lock = lock });
	do_op(fd, (struct wfsp_op){ .code = WFSP_OP_RECLAIMED });
	do_op(fd, (struct wfsp_op){ .code = WFSP_OP_LOCK_WAIT, .lock = lock, .id = 1 });
	do_op(fd, (struct wfsp_op){ .code = WFSP_OP_LOCK_CANCEL, .id = 1 });
	do_op(fd, (struct wfsp_op){ .code = WFSP_OP_LEASE, .type = WFSP_LEASE_READ, .id = 2 });
	do_op(fd, (struct wfsp_op){ .code = WFSP_OP_LEASE_RETURN, .id = 2 });
	do_op(fd, (struct wfsp_op){ .code = WFSP_OP_WATCH, .id = 3, .what = WFSP_CHANGE_DATA });
	do_op(fd, (struct wfsp_op){ .code = WFSP_OP_UNWATCH, .id = 3 });
}

static void log_of(void **state, unsigned classes, char *text, size_t size)
{
	struct tree_fixture *t = *state;
	char path[96];
	int fd;

	audit_begin(t->f, classes, path);
	fd = connect_as(t, 1);
	do_all(fd);
	close(fd);
	audit_end(t->f, path, text, size);
}

static bool tells(const char *text, const char *operation)
{
	char wanted[64];

	snprintf(wanted, sizeof(wanted), "\"operation\":\"%s\"", operation);
	return strstr(text, wanted) != NULL;
}

static void test_locks_reclaimed_and_leases_are_of_the_class_locks(void **state)
{
	char text[16384];

	log_of(state, 1u << AUDIT_LOCKS, text, sizeof(text));
	assert_true(tells(text, "lock_reclaim"));
	assert_true(tells(text, "reclaimed"));
	assert_true(tells(text, "lock_wait"));
	assert_true(tells(text, "lock_cancel"));
	assert_true(tells(text, "lease"));
	assert_true(tells(text, "lease_return"));
	assert_false(tells(text, "watch"));
}

static void test_who_only_reads_or_watches_is_of_the_class_read(void **state)
{
	char text[16384];

	log_of(state, 1u << AUDIT_READ, text, sizeof(text));
	assert_true(tells(text, "watch"));
	assert_false(tells(text, "unwatch"));
	assert_false(tells(text, "lock_reclaim"));
	assert_false(tells(text, "reclaimed"));
	assert_false(tells(text, "lease"));
	assert_false(tells(text, "lease_return"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, tree_setup, tree_teardown)
		T(test_locks_reclaimed_and_leases_are_of_the_class_locks),
		T(test_who_only_reads_or_watches_is_of_the_class_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
