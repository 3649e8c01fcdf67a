/* SPDX-License-Identifier: BSD-3-Clause */
/* The configuration file: what is accepted, and that every complaint names its line. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "core/base/err.h"
#include "core/base/log.h"
#include "server/conf/conf.h"

#define MIB (UINT64_C(1) << 20)

static struct conf *parse(const char *text)
{
	struct conf *c = NULL;

	assert_int_equal(conf_parse("test.yaml", text, strlen(text), &c), 0);
	return c;
}

static void complains(const char *text, const char *message)
{
	struct conf *c = NULL;
	char buf[512];

	assert_int_equal(conf_parse("test.yaml", text, strlen(text), &c), -EINVAL);
	assert_null(c);
	err_text(err_get(), -EINVAL, 0, buf, sizeof(buf));
	if (strncmp(buf, message, strlen(message)) != 0)
		fail_msg("got: %s\nwant: %s", buf, message);
}

static void test_sample_parses_with_its_documented_defaults(void **state)
{
	struct conf *c, *d;

	(void)state;
	assert_int_equal(conf_load("config/wfsd.yaml", &c), 0);
	d = parse("log_level: info\n");
	assert_string_equal(c->state_dir, d->state_dir);
	assert_string_equal(c->run_dir, d->run_dir);
	assert_string_equal(c->admin.socket, d->admin.socket);
	assert_string_equal(c->rpc.socket, d->rpc.socket);
	assert_int_equal(c->log_level, d->log_level);
	assert_memory_equal(&c->memory, &d->memory, sizeof(c->memory));
	assert_memory_equal(&c->threads, &d->threads, sizeof(c->threads));
	assert_int_equal(c->admin.mode, d->admin.mode);
	assert_int_equal(c->rpc.mode, d->rpc.mode);
	assert_int_equal(c->nbd.mode, d->nbd.mode);
	assert_int_equal(c->nbd.max_connections, d->nbd.max_connections);
	assert_int_equal(c->rpc.max_connections, d->rpc.max_connections);
	assert_int_equal(d->rpc.max_connections, 1024);
	assert_int_equal(c->nbd.handshake_timeout_ms, d->nbd.handshake_timeout_ms);
	assert_int_equal(c->nbd.memory_max_bytes, d->nbd.memory_max_bytes);
	assert_string_equal(c->nbd.user, d->nbd.user);
	assert_string_equal(c->nbd.nbdkit, d->nbd.nbdkit);
	assert_int_equal(c->nbd.listen_count, 1);
	assert_int_equal(c->pool_count, 0);
	conf_free(c);
	conf_free(d);
}

static void test_all_values_arrive(void **state)
{
	struct conf *c = parse("state_dir: /s\n"
	                       "run_dir: /r\n"
	                       "log_level: debug\n"
	                       "memory: {cache: 1G, dirty_max: 100MiB, readahead: 0, writeback_age_ms: 10}\n"
	                       "threads: {loops: 3, read: 4, write: 5, admin: 6}\n"
	                       "admin: {socket: /a, mode: 0600, group: wheel}\n"
	                       "metrics: {listen: \"127.0.0.1:9809\"}\n"
	                       "rpc: {socket: /c, listen: [\":1\", \"[::1]:2\"], max_connections: 12}\n"
	                       "nbd:\n"
	                       "  listen: [\"0.0.0.0:10809\"]\n"
	                       "  socket: /n\n"
	                       "  max_connections: 7\n"
	                       "  user: u\n"
	                       "  group: g\n"
	                       "pools:\n"
	                       "  - name: tank\n"
	                       "    devices: [/dev/sda, /dev/sdb]\n"
	                       "exports:\n"
	                       "  - name: e\n"
	                       "    path: /tank/vm1\n"
	                       "    read_only: yes\n"
	                       "    default: true\n"
	                       "    description: 'a text'\n"
	                       "    auth_sys: true\n"
	                       "    squash: all\n"
	                       "    anon_uid: 7\n"
	                       "    anon_gid: 4294967294\n"
	                       "    clients: [192.0.2.0/24, '2001:db8::1']\n");

	(void)state;
	assert_string_equal(c->state_dir, "/s");
	assert_int_equal(c->log_level, LOG_LEVEL_DEBUG);
	assert_int_equal(c->memory.cache_bytes, 1024 * MIB);
	assert_int_equal(c->memory.dirty_max_bytes, 100 * MIB);
	assert_int_equal(c->memory.readahead_bytes, 0);
	assert_int_equal(c->threads.loops, 3);
	assert_int_equal(c->threads.admin, 6);
	assert_int_equal(c->admin.mode, 0600);
	assert_string_equal(c->admin.group, "wheel");
	assert_string_equal(c->metrics.listen, "127.0.0.1:9809");
	assert_int_equal(c->rpc.listen_count, 2);
	assert_string_equal(c->rpc.listen[1], "[::1]:2");
	assert_int_equal(c->rpc.max_connections, 12);
	assert_string_equal(c->nbd.socket, "/n");
	assert_string_equal(c->nbd.user_group, "g");
	assert_int_equal(c->pool_count, 1);
	assert_string_equal(c->pools[0].devices[1], "/dev/sdb");
	assert_int_equal(c->export_count, 1);
	assert_true(c->exports[0].read_only);
	assert_true(c->exports[0].is_default);
	assert_string_equal(c->exports[0].description, "a text");
	assert_true(c->exports[0].policy.auth_sys);
	assert_int_equal(c->exports[0].policy.squash, EXPORT_SQUASH_ALL);
	assert_int_equal(c->exports[0].policy.anon_uid, 7);
	assert_int_equal(c->exports[0].policy.anon_gid, 4294967294u);
	assert_int_equal(c->exports[0].policy.client_count, 2);
	assert_int_equal(c->exports[0].policy.clients[0].prefix_bits, 120);
	assert_int_equal(c->exports[0].policy.clients[1].prefix_bits, 128);
	conf_free(c);
}

static void test_relative_paths_start_at_the_folder_of_the_file(void **state)
{
	struct conf *c;
	char *dir;
	char want[4200];

	(void)state;
	assert_int_equal(conf_load("config/wfsd.yaml", &c), 0);
	conf_free(c);
	c = parse("state_dir: var\nnbd: {nbdkit: nbdkit, plugin: x/p.so}\n");
	dir = realpath(".", NULL);
	assert_non_null(dir);
	snprintf(want, sizeof(want), "%s/var", dir);
	assert_string_equal(c->state_dir, want);
	assert_string_equal(c->nbd.nbdkit, "nbdkit");
	snprintf(want, sizeof(want), "%s/x/p.so", dir);
	assert_string_equal(c->nbd.plugin, want);
	free(dir);
	conf_free(c);
}

static void test_errors_name_file_and_line(void **state)
{
	(void)state;
	complains("", "test.yaml:1: the file is empty");
	complains("a: [\n", "test.yaml:2: ");
	complains("state_dir: /s\nfoo: 1\n", "test.yaml:2: unknown key 'foo'");
	complains("state_dir: /s\nstate_dir: /t\n", "test.yaml:2: key 'state_dir' is there twice");
	complains("memory:\n  cache: 64M\n  bar: 2\n", "test.yaml:3: unknown key 'bar'");
	complains("memory: 3\n", "test.yaml:1: 'memory' must hold keys and values");
	complains("- 1\n", "test.yaml:1: 'the file' must hold keys and values");
	complains("state_dir: [a]\n", "test.yaml:1: 'state_dir' must be a single value");
	complains("state_dir:\n", "test.yaml:1: 'state_dir' is empty");
	complains("state_dir: \"a\\0b\"\n", "test.yaml:1: 'state_dir' holds a zero byte");
	complains("\nlog_level: loud\n", "test.yaml:2: 'log_level' must be error, warning, notice, info or debug");
}

static void test_ranges_are_checked_with_their_line(void **state)
{
	(void)state;
	complains("memory:\n\n  cache: 1M\n", "test.yaml:3: 'cache' must be between 16777216 and");
	complains("memory: {cache: 1X}\n", "test.yaml:1: 'cache': '1X' is not a size like 64M");
	complains("memory: {cache: 99999999999999999999}\n", "test.yaml:1: 'cache': '99999999999999999999' is not");
	complains("memory:\n  cache: 64M\n  dirty_max: 33M\n",
	          "test.yaml:2: 'dirty_max' must be at most half of 'cache'");
	complains("threads:\n  read: 0\n", "test.yaml:2: 'read' must be between 1 and 256");
	complains("threads:\n  read: -1\n", "test.yaml:2: 'read': '-1' is not a number");
	complains("admin:\n  mode: 01777\n", "test.yaml:2: 'mode' must be between 00 and 0777");
	complains("admin:\n  mode: 0689\n", "test.yaml:2: 'mode': '0689' is not a file mode like 0660");
	complains("nbd:\n  listen: ['10809']\n", "test.yaml:2: 'listen': '10809' is not an address");
	complains("nbd:\n  listen: ['::1:10809']\n", "test.yaml:2: 'listen': '::1:10809' is not an address");
	complains("nbd:\n  listen: 'x:1'\n", "test.yaml:2: 'listen' must be a list");
	complains("rpc:\n  max_connections: 16385\n", "test.yaml:2: 'max_connections' must be between 1 and 16384");
	complains("nbd:\n  max_connections: 8\nrpc:\n  max_connections: 10\n",
	          "test.yaml:4: 'max_connections' of rpc must be 11 at least, as nbd's (8) are three quarters of them "
	          "at most");
	{
		struct conf *c = parse("nbd:\n  max_connections: 4096\n");

		assert_int_equal(c->rpc.max_connections, 5462);
		conf_free(c);
	}
	complains("nbd:\n  max_connections: 5000\n", "test.yaml:2: 'max_connections' must be between 1 and 4096");
}

static void test_pools_and_exports_are_checked_with_their_line(void **state)
{
	(void)state;
	complains("pools:\n  - name: a\n", "test.yaml:2: 'pools': key 'devices' is missing");
	complains("pools:\n  - name: a\n    devices: []\n", "test.yaml:3: 'devices' needs at least 1 entries");
	complains("pools:\n  - {name: a/b, devices: [/d]}\n", "test.yaml:2: pool 'a/b': a name has no '/'");
	complains("pools:\n  - {name: a, devices: [/d]}\n  - {name: a, devices: [/e]}\n",
	          "test.yaml:3: pool 'a' is there twice");
	complains("exports:\n  - {name: e, path: vm1}\n", "test.yaml:2: export 'e': the path must be absolute");
	complains("exports:\n  - {path: /p/v}\n", "test.yaml:2: 'exports': key 'name' is missing");
	complains("exports:\n  - {name: e, path: /p/v, read_only: maybe}\n",
	          "test.yaml:2: 'read_only' must be true or false");
	complains("exports:\n  - {name: e, path: /p/v}\n  - {name: e, path: /p/w}\n",
	          "test.yaml:3: export 'e' is there twice");
	complains("exports:\n"
	          "  - {name: e, path: /p/v, default: true}\n"
	          "  - {name: f, path: /p/w, default: true}\n",
	          "test.yaml:3: export 'e' is the default already");
	complains("exports:\n  - {name: e, path: /p/v, squash: some}\n",
	          "test.yaml:2: 'squash' must be none, root or all");
	complains("exports:\n  - {name: e, path: /p/v, anon_uid: 0}\n",
	          "test.yaml:2: 'anon_uid' must be between 1 and 4294967294");
	complains("exports:\n  - {name: e, path: /p/v, clients: [192.0.2.1/24]}\n",
	          "test.yaml:2: 'clients': '192.0.2.1/24' is not a network");
	complains("exports:\n  - {name: e, path: /p/v, clients: []}\n",
	          "test.yaml:2: 'clients' needs at least 1 entries");
}

static void test_empty_sections_and_lists_are_fine(void **state)
{
	struct conf *c = parse("memory:\nexports:\npools: []\n");

	(void)state;
	assert_int_equal(c->export_count, 0);
	assert_int_equal(c->pool_count, 0);
	assert_int_equal(c->memory.dirty_max_bytes, c->memory.cache_bytes / 4);
	conf_free(c);
}

static void test_missing_file_is_enoent(void **state)
{
	struct conf *c;

	(void)state;
	assert_int_equal(conf_load("config/none.yaml", &c), -ENOENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sample_parses_with_its_documented_defaults),
		cmocka_unit_test(test_all_values_arrive),
		cmocka_unit_test(test_relative_paths_start_at_the_folder_of_the_file),
		cmocka_unit_test(test_errors_name_file_and_line),
		cmocka_unit_test(test_ranges_are_checked_with_their_line),
		cmocka_unit_test(test_pools_and_exports_are_checked_with_their_line),
		cmocka_unit_test(test_empty_sections_and_lists_are_fine),
		cmocka_unit_test(test_missing_file_is_enoent),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
