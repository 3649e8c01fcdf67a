/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit tests of the command line of wfs-fuse. */
#define FUSE_USE_VERSION 312
#include "plugins/fuse/options.h"

#include <errno.h>
#include <fuse_lowlevel.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>

#include <cmocka.h>

static void assert_split(const char *source, const char *address, const char *name)
{
	char *got_address, *got_name;

	assert_int_equal(options_split_source(source, &got_address, &got_name), 0);
	assert_string_equal(got_address, address);
	assert_string_equal(got_name, name);
	free(got_address);
	free(got_name);
}

static void test_a_source_is_an_address_and_an_export(void **state)
{
	(void)state;
	assert_split("files", "unix:/run/wfsd/rpc.sock", "files");
	assert_split("/files", "unix:/run/wfsd/rpc.sock", "files");
	assert_split("/", "unix:/run/wfsd/rpc.sock", "");
	assert_split("nas:10810/files", "tcp:nas:10810", "files");
	assert_split("tcp:nas:10810/a/b", "tcp:nas:10810", "a/b");
	assert_split("[::1]:10810/files", "tcp:[::1]:10810", "files");
	assert_split("unix:/tmp/x/rpc.sock/files", "unix:/tmp/x/rpc.sock", "files");
	assert_split("unix:/tmp/x/rpc.sock/", "unix:/tmp/x/rpc.sock", "");
}

static void test_a_unix_source_needs_a_path_and_an_export(void **state)
{
	char *address, *name;

	(void)state;
	assert_int_equal(options_split_source("unix:/files", &address, &name), -EINVAL);
	assert_int_equal(options_split_source("unix:files", &address, &name), -EINVAL);
}

static int parse(char **argv, int argc, struct options *ret, char **ret_rest)
{
	struct fuse_args args = FUSE_ARGS_INIT(argc, argv);
	int err = options_parse(&args, ret);

	*ret_rest = strdup(args.argc > 1 ? args.argv[args.argc - 1] : "");
	fuse_opt_free_args(&args);
	return err;
}

#define PARSE(o, rest, ...)                                                                                            \
	parse((char *[]){ (char[]){ "wfs-fuse" }, __VA_ARGS__, NULL },                                                 \
	      (int)(sizeof((const char *[]){ __VA_ARGS__ }) / sizeof(char *)) + 1, o, rest)
#define ARG(text)                                                                                                      \
	(char[])                                                                                                       \
	{                                                                                                              \
		text                                                                                                   \
	}

static void test_what_mount_says_is_understood(void **state)
{
	struct options o;
	char *rest;

	(void)state;
	assert_int_equal(PARSE(&o, &rest, ARG("nas:1/files"), ARG("/mnt"), ARG("-o"),
	                       ARG("rw,relatime,_netdev,x-systemd.automount,comment=a,group,owner,attr_timeout=2.5,"
	                           "allow_other,ro"),
	                       ARG("-t"), ARG("fuse.wfs")),
	                 0);
	assert_string_equal(o.dir, "/mnt");
	assert_string_equal(o.address, "tcp:nas:1");
	assert_true(o.attr_timeout_s == 2.5);
	assert_true(o.read_only);
	assert_string_equal(rest, "rw,allow_other");
	free(rest);
	options_done(&o);
}

static void test_numbers_out_of_range_are_refused(void **state)
{
	static const char *const wrong[] = { "timeout=0",        "connections=17",    "threads=0",
		                             "attr_timeout=-1",  "entry_timeout=nan", "wake_latency=-1",
		                             "wake_latency=soon" };

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		char *rest, text[64];
		struct options o;

		strcpy(text, wrong[i]);
		assert_int_equal(PARSE(&o, &rest, ARG("files"), ARG("/mnt"), ARG("-o"), text), -EINVAL);
		free(rest);
		options_done(&o);
	}
}

static void test_a_source_and_a_directory_are_needed_and_no_more(void **state)
{
	struct options o;
	char *rest;

	(void)state;
	assert_int_equal(PARSE(&o, &rest, ARG("files")), -EINVAL);
	free(rest);
	options_done(&o);
	assert_int_equal(PARSE(&o, &rest, ARG("files"), ARG("/mnt"), ARG("more")), -EINVAL);
	free(rest);
	options_done(&o);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_source_is_an_address_and_an_export),
		cmocka_unit_test(test_a_unix_source_needs_a_path_and_an_export),
		cmocka_unit_test(test_what_mount_says_is_understood),
		cmocka_unit_test(test_numbers_out_of_range_are_refused),
		cmocka_unit_test(test_a_source_and_a_directory_are_needed_and_no_more),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
