/* SPDX-License-Identifier: BSD-3-Clause */
/* The state file: what is put there is there at the next start; damage is refused. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "server/conf/state.h"

struct fixture {
	char dir[64];
	struct state *state;
};

static void open_state(struct fixture *f)
{
	assert_int_equal(state_open(f->dir, &f->state), 0);
}

static void reopen(struct fixture *f)
{
	state_close(f->state);
	open_state(f);
}

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	strcpy(f->dir, "/tmp/wfsd-state-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	open_state(f);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;
	char command[128];

	state_close(f->state);
	snprintf(command, sizeof(command), "rm -rf %s", f->dir);
	assert_int_equal(system(command), 0);
	free(f);
	return 0;
}

static void write_file(const struct fixture *f, const char *text)
{
	char path[128];
	FILE *out;

	snprintf(path, sizeof(path), "%s/state.json", f->dir);
	out = fopen(path, "w");
	assert_non_null(out);
	fputs(text, out);
	fclose(out);
}

struct found {
	unsigned count;
	char name[EXPORT_NAME_MAX + 1];
	unsigned device_count;
	bool read_only;
};

static void find_pool(void *ctx, const struct state_pool *pool)
{
	struct found *f = ctx;

	f->count++;
	snprintf(f->name, sizeof(f->name), "%s", pool->name);
	f->device_count = pool->device_count;
	f->read_only = pool->read_only;
}

static void find_export(void *ctx, const struct export_info *info)
{
	struct found *f = ctx;

	f->count++;
	snprintf(f->name, sizeof(f->name), "%s", info->name);
	f->read_only = info->read_only;
}

static void find_mount(void *ctx, const struct mount_spec *spec)
{
	struct found *f = ctx;

	f->count++;
	snprintf(f->name, sizeof(f->name), "%.200s", spec->path);
	f->read_only = spec->read_only;
	assert_string_equal(spec->kind, "fat");
	assert_string_equal(spec->source, "wfs:/tank/stick");
	assert_int_equal(spec->uid, UINT32_MAX);
	assert_int_equal(spec->gid, 5);
	assert_int_equal(spec->umask, 022);
}

static void test_mounts_are_known_by_their_paths(void **state)
{
	struct fixture *f = *state;
	struct mount_spec spec = {
		.kind = "fat", .source = "wfs:/tank/stick", .path = "/a", .uid = UINT32_MAX, .gid = 5, .umask = 022
	};
	struct found found = { 0 };

	assert_int_equal(state_put_mount(f->state, &spec), 0);
	strcpy(spec.path, "/b");
	assert_int_equal(state_put_mount(f->state, &spec), 0);
	spec.read_only = true;
	assert_int_equal(state_put_mount(f->state, &spec), 0);
	assert_int_equal(state_drop_mount(f->state, "/a"), 0);
	reopen(f);
	state_each_mount(f->state, find_mount, &found);
	assert_int_equal(found.count, 1);
	assert_string_equal(found.name, "/b");
	assert_true(found.read_only);
}

static void find_drive(void *ctx, char letter, const char *path)
{
	struct found *found = ctx;

	found->count++;
	snprintf(found->name, sizeof(found->name), "%c:%s", letter, path);
}

static void test_drives_are_known_by_their_letters(void **state)
{
	struct fixture *f = *state;
	struct found found = { 0 };

	assert_int_equal(state_put_drive(f->state, 'C', "/tank"), 0);
	assert_int_equal(state_put_drive(f->state, 'D', "/stick"), 0);
	assert_int_equal(state_put_drive(f->state, 'D', "/other"), 0);
	assert_int_equal(state_drop_drive(f->state, 'C'), 0);
	assert_int_equal(state_drop_drive(f->state, 'E'), 0);
	reopen(f);
	state_each_drive(f->state, find_drive, &found);
	assert_int_equal(found.count, 1);
	assert_string_equal(found.name, "D:/other");
}

static void test_file_from_before_there_were_mounts_is_read(void **state)
{
	struct fixture *f = *state;
	struct mount_spec spec = {
		.kind = "fat", .source = "wfs:/tank/stick", .path = "/a", .uid = UINT32_MAX, .gid = 5, .umask = 022
	};
	struct found found = { 0 };

	state_close(f->state);
	write_file(f, "{\"version\": 1, \"pools\": [], \"exports\": [], \"clean_boots\": []}");
	open_state(f);
	assert_int_equal(state_put_mount(f->state, &spec), 0);
	reopen(f);
	state_each_mount(f->state, find_mount, &found);
	assert_int_equal(found.count, 1);
}

static void test_pool_is_there_after_reopen(void **state)
{
	struct fixture *f = *state;
	const char *devices[] = { "/dev/a", "/dev/b" };
	struct state_pool pool = { .name = "tank", .devices = devices, .device_count = 2, .read_only = true };
	struct found found = { 0 };

	assert_int_equal(state_put_pool(f->state, &pool), 0);
	reopen(f);
	state_each_pool(f->state, find_pool, &found);
	assert_int_equal(found.count, 1);
	assert_string_equal(found.name, "tank");
	assert_int_equal(found.device_count, 2);
	assert_true(found.read_only);
}

static void test_put_replaces_and_drop_removes(void **state)
{
	struct fixture *f = *state;
	struct export_info info = { .name = "e", .path = "/p/v" };
	struct found found = { 0 };

	assert_int_equal(state_put_export(f->state, &info), 0);
	info.read_only = true;
	assert_int_equal(state_put_export(f->state, &info), 0);
	reopen(f);
	state_each_export(f->state, find_export, &found);
	assert_int_equal(found.count, 1);
	assert_true(found.read_only);
	assert_int_equal(state_drop_export(f->state, "e"), 0);
	assert_int_equal(state_drop_export(f->state, "e"), 0);
	reopen(f);
	found.count = 0;
	state_each_export(f->state, find_export, &found);
	assert_int_equal(found.count, 0);
}

static void test_name_that_is_not_utf8_is_refused_and_changes_nothing(void **state)
{
	struct fixture *f = *state;
	struct export_info info = { .name = "\xff", .path = "/p/v" };
	struct found found = { 0 };

	assert_int_equal(state_put_export(f->state, &info), -EINVAL);
	state_each_export(f->state, find_export, &found);
	assert_int_equal(found.count, 0);
}

static void test_second_opener_is_ebusy(void **state)
{
	struct fixture *f = *state;
	struct state *second;

	assert_int_equal(state_open(f->dir, &second), -EBUSY);
}

static void test_damaged_file_is_ebadmsg(void **state)
{
	static const char *const damaged[] = {
		"{",
		"[]",
		"{\"version\": 2, \"pools\": [], \"exports\": [], \"clean_boots\": []}",
		"{\"version\": 1, \"pools\": {}, \"exports\": [], \"clean_boots\": []}",
		"{\"version\": 1, \"pools\": [{\"name\": 3}], \"exports\": [], \"clean_boots\": []}",
		"{\"version\": 1, \"pools\": [], \"exports\": [{\"name\": \"e\"}], \"clean_boots\": []}",
		"{\"version\": 1, \"pools\": [], \"exports\": [], \"clean_boots\": [\"xyz\"]}",
		"{\"version\": 1, \"pools\": [], \"mounts\": {}, \"exports\": [], \"clean_boots\": []}",
		"{\"version\": 1, \"pools\": [], \"mounts\": [{\"kind\": \"fat\", \"source\": \"/a\", \"path\": "
		"\"/a\", "
		"\"read_only\": true, \"uid\": -1, \"gid\": 0, \"umask\": 0}], \"exports\": [], \"clean_boots\": []}",
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < sizeof(damaged) / sizeof(damaged[0]); i++) {
		state_close(f->state);
		f->state = NULL;
		write_file(f, damaged[i]);
		assert_int_equal(state_open(f->dir, &f->state), -EBADMSG);
	}
}

static void test_failed_write_leaves_the_old_state(void **state)
{
	struct fixture *f = *state;
	struct export_info info = { .name = "e", .path = "/p/v" };
	struct found found = { 0 };
	char path[128];

	/* A folder where the new file would be written. */
	snprintf(path, sizeof(path), "mkdir %s/state.json.new", f->dir);
	assert_int_equal(system(path), 0);
	assert_int_equal(state_put_export(f->state, &info), -EISDIR);
	state_each_export(f->state, find_export, &found);
	assert_int_equal(found.count, 0);
}

static void test_clean_boots_are_newest_first_and_bounded(void **state)
{
	struct fixture *f = *state;
	uint64_t boots[STATE_BOOTS_MAX + 1];

	for (uint64_t i = 0; i < STATE_BOOTS_MAX + 3; i++)
		assert_int_equal(state_put_clean_boot(f->state, UINT64_MAX - i), 0);
	reopen(f);
	assert_int_equal(state_get_clean_boots(f->state, boots, STATE_BOOTS_MAX + 1), STATE_BOOTS_MAX);
	assert_true(boots[0] == UINT64_MAX - (STATE_BOOTS_MAX + 2));
	assert_true(boots[1] == UINT64_MAX - (STATE_BOOTS_MAX + 1));
	assert_int_equal(state_get_clean_boots(f->state, boots, 2), 2);
}

static void test_the_secret_is_the_same_again_and_only_the_owner_s(void **state)
{
	uint8_t first[STATE_SECRET_BYTES] = { 0 }, second[STATE_SECRET_BYTES] = { 0 };
	static const uint8_t zeros[STATE_SECRET_BYTES];
	struct fixture *f = *state;
	char path[128];
	struct stat st;

	assert_int_equal(state_get_secret(f->state, first), 0);
	assert_memory_not_equal(first, zeros, sizeof(first));
	reopen(f);
	assert_int_equal(state_get_secret(f->state, second), 0);
	assert_memory_equal(first, second, sizeof(first));
	snprintf(path, sizeof(path), "%s/secret", f->dir);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(truncate(path, STATE_SECRET_BYTES - 1), 0);
	assert_int_equal(state_get_secret(f->state, second), -EBADMSG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_pool_is_there_after_reopen, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_mounts_are_known_by_their_paths, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_drives_are_known_by_their_letters, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_file_from_before_there_were_mounts_is_read, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_put_replaces_and_drop_removes, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_name_that_is_not_utf8_is_refused_and_changes_nothing, set_up,
		                                tear_down),
		cmocka_unit_test_setup_teardown(test_second_opener_is_ebusy, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_damaged_file_is_ebadmsg, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_failed_write_leaves_the_old_state, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_clean_boots_are_newest_first_and_bounded, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_the_secret_is_the_same_again_and_only_the_owner_s, set_up,
		                                tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
