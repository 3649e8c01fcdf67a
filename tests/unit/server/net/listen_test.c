/* SPDX-License-Identifier: BSD-3-Clause */
/* Listening sockets: stale files, modes, nameless sockets, accepting. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <cmocka.h>

#include "server/loop/loop.h"
#include "server/net/listen.h"

struct fixture {
	char dir[64];
	char path[80];
};

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	strcpy(f->dir, "/tmp/wfsd-net-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	snprintf(f->path, sizeof(f->path), "%s/s", f->dir);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	unlink(f->path);
	assert_int_equal(rmdir(f->dir), 0);
	free(f);
	return 0;
}

static int connect_unix(const char *path)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	strcpy(sa.sun_path, path);
	if (connect(fd, (const struct sockaddr *)&sa, sizeof(sa)) == 0)
		return fd;
	close(fd);
	return -1;
}

static void test_unix_socket_has_its_mode(void **state)
{
	struct fixture *f = *state;
	struct stat st;
	int fd;

	assert_int_equal(net_listen_unix(f->path, 0640, NULL, &fd), 0);
	assert_int_equal(stat(f->path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0640);
	close(fd);
}

static void test_answered_socket_is_in_use_and_a_stale_one_replaced(void **state)
{
	struct fixture *f = *state;
	int first, second;

	assert_int_equal(net_listen_unix(f->path, 0600, NULL, &first), 0);
	assert_int_equal(net_listen_unix(f->path, 0600, NULL, &second), -EADDRINUSE);
	close(first);
	assert_int_equal(net_listen_unix(f->path, 0600, NULL, &second), 0);
	close(second);
}

static void test_file_that_is_no_socket_is_left_alone(void **state)
{
	struct fixture *f = *state;
	int fd = open(f->path, O_CREAT | O_WRONLY, 0600);

	close(fd);
	assert_int_equal(net_listen_unix(f->path, 0600, NULL, &fd), -EEXIST);
	assert_int_equal(access(f->path, F_OK), 0);
}

static void test_bad_addresses_are_refused(void **state)
{
	char path[200];
	int fd;

	(void)state;
	memset(path, 'a', sizeof(path) - 1);
	path[sizeof(path) - 1] = '\0';
	assert_int_equal(net_listen_unix(path, 0600, NULL, &fd), -EINVAL);
	assert_int_equal(net_listen_unix("/tmp/x", 0600, "no-such-group-here", &fd), -EINVAL);
	assert_int_equal(net_listen_tcp("127.0.0.1", &fd), -EINVAL);
	assert_int_equal(net_listen_tcp("127.0.0.1:0", &fd), -EINVAL);
	assert_int_equal(net_listen_tcp("127.0.0.1:99999", &fd), -EINVAL);
}

static void test_private_socket_has_no_name_but_a_way(void **state)
{
	struct fixture *f = *state;
	int fd, path_fd, client;
	char path[64];

	assert_int_equal(net_listen_private(f->dir, &fd, &path_fd), 0);
	assert_int_equal(rmdir(f->dir), 0); /* nothing is left in it */
	assert_int_equal(mkdir(f->dir, 0700), 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", path_fd);
	client = connect_unix(path);
	assert_true(client >= 0);
	close(client);
	close(path_fd);
	close(fd);
}

static void answer(void *ctx, int fd, const char *peer)
{
	unsigned *count = ctx;

	(*count)++;
	if (strncmp(peer, "unix:pid=", 9) == 0)
		send(fd, "x", 1, MSG_NOSIGNAL);
	close(fd);
}

static void test_listener_accepts_until_freed_and_removes_its_file(void **state)
{
	struct fixture *f = *state;
	struct loop_set *set;
	struct listener *l;
	unsigned count = 0;
	struct listener_config config = { .name = "test", .unlink_path = f->path, .accept = answer, .ctx = &count };
	char byte;

	assert_int_equal(loop_set_new(1, &set), 0);
	assert_int_equal(net_listen_unix(f->path, 0600, NULL, &config.fd), 0);
	config.loop = loop_set_get(set, 0);
	assert_int_equal(listener_new(&config, &l), 0);
	for (unsigned i = 0; i < 100; i++) {
		int fd = connect_unix(f->path);

		assert_true(fd >= 0);
		assert_int_equal(read(fd, &byte, 1), 1);
		close(fd);
	}
	listener_free(l);
	assert_int_equal(count, 100);
	assert_int_equal(connect_unix(f->path), -1);
	assert_int_equal(access(f->path, F_OK), -1);
	loop_set_free(set);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_unix_socket_has_its_mode),
		TEST(test_answered_socket_is_in_use_and_a_stale_one_replaced),
		TEST(test_file_that_is_no_socket_is_left_alone),
		TEST(test_bad_addresses_are_refused),
		TEST(test_private_socket_has_no_name_but_a_way),
		TEST(test_listener_accepts_until_freed_and_removes_its_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
