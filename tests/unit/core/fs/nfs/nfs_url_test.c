/* SPDX-License-Identifier: BSD-3-Clause */
/* Addresses of shares: what is taken apart, and what is refused. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/fs/nfs/url.h"

static void test_plain_address_leaves_the_ports_to_the_port_mapper(void **state)
{
	struct nfs_url u;

	(void)state;
	assert_int_equal(nfs_url_parse("nfs://server/export/sub/", &u), 0);
	assert_string_equal(u.host, "server");
	assert_string_equal(u.export_path, "/export/sub");
	assert_int_equal(u.nfs_port, 0);
	assert_int_equal(u.mount_port, 0);
	assert_false(u.has_uid);
}

static void test_options_and_escapes_are_understood(void **state)
{
	struct nfs_url u;

	(void)state;
	assert_int_equal(nfs_url_parse("nfs://[::1]:1234/a%20b%2Fc?mountport=5&uid=7&gid=8&version=3", &u), 0);
	assert_string_equal(u.host, "::1");
	assert_string_equal(u.export_path, "/a b/c");
	assert_int_equal(u.nfs_port, 1234);
	assert_int_equal(u.mount_port, 5);
	assert_true(u.has_uid && u.has_gid);
	assert_int_equal(u.uid, 7);
	assert_int_equal(u.gid, 8);
	assert_int_equal(nfs_url_parse("nfs://h/?nfsport=2050", &u), 0);
	assert_string_equal(u.export_path, "/");
	assert_int_equal(u.nfs_port, 2050);
}

static void test_malformed_addresses_are_refused(void **state)
{
	static const char *const bad[] = {
		"",
		"nfs",
		"nfs://",
		"nfs:///x",
		"nfs://h",
		"nfs://h?x=1",
		"nfs://[::1/x",
		"nfs://h:/x",
		"nfs://h:70000/x",
		"nfs://h:12a/x",
		"nfs://h/x%",
		"nfs://h/x%0",
		"nfs://h/x%00",
		"nfs://h/x%zz",
		"nfs://h/x?",
		"nfs://h/x?uid",
		"nfs://h/x?uid=",
		"nfs://h/x?uid=-1",
		"nfs://h/x?uid=99999999999",
		"nfs://h/x?uid=1&",
		"nfs://h/x?version=4",
		"nfs://h/x?nfsports=1",
		"http://h/x",
	};
	struct nfs_url u;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(nfs_url_parse(bad[i], &u), -EINVAL);
}

static void test_overlong_parts_are_refused(void **state)
{
	char url[4096];
	struct nfs_url u;

	(void)state;
	(void)snprintf(url, sizeof(url), "nfs://%0*d/x", (int)NFS_HOST_BYTES_MAX, 1);
	assert_int_equal(nfs_url_parse(url, &u), 0);
	(void)snprintf(url, sizeof(url), "nfs://%0*d/x", (int)NFS_HOST_BYTES_MAX + 1, 1);
	assert_int_equal(nfs_url_parse(url, &u), -EINVAL);
	(void)snprintf(url, sizeof(url), "nfs://h/%0*d", (int)NFS_EXPORT_BYTES_MAX - 1, 1);
	assert_int_equal(nfs_url_parse(url, &u), 0);
	(void)snprintf(url, sizeof(url), "nfs://h/%0*d", (int)NFS_EXPORT_BYTES_MAX, 1);
	assert_int_equal(nfs_url_parse(url, &u), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_plain_address_leaves_the_ports_to_the_port_mapper),
		cmocka_unit_test(test_options_and_escapes_are_understood),
		cmocka_unit_test(test_malformed_addresses_are_refused),
		cmocka_unit_test(test_overlong_parts_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
