/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Who a call is made for: every kind of client with every policy against a table of what must come out; which networks
 * an export admits; file handles that prove themselves.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "server/conf/value.h"
#include "server/rpc/compound.h"

#define ANON 65534u
#define OTHER_ANON 99u

enum peer { UNIX_ROOT, UNIX_DAEMON, UNIX_USER, UNIX_UNKNOWN, TCP, PEERS };
enum claim { NONE, SELF, ROOT, SOMEBODY, CLAIMS };

static uint32_t peer_groups[] = { 7, 0 };

static struct rpc_peer make_peer(enum peer kind)
{
	struct rpc_peer p = { .is_unix = kind != TCP, .uid = 1000, .gid = 1001 };

	p.groups = peer_groups;
	p.group_count = 2;
	if (kind == UNIX_ROOT)
		p.uid = p.gid = 0;
	if (kind == UNIX_UNKNOWN)
		p.uid = p.gid = UINT32_MAX;
	p.trusted = kind == UNIX_ROOT || kind == UNIX_DAEMON;
	return p;
}

static struct rpc_auth_sys make_claim(enum claim kind, const struct rpc_peer *peer)
{
	struct rpc_auth_sys sys = { .uid = 500, .gid = 501, .gid_count = 2, .gids = { 0, 502 } };

	if (kind == SELF) {
		sys.uid = peer->is_unix ? peer->uid : 1000;
		sys.gid = 1001;
	}
	if (kind == ROOT)
		sys.uid = sys.gid = 0;
	return sys;
}

/* What the rules say, by cases: an independent reading of docs/PROTOCOL.md. */
static int expected(enum peer peer, enum claim claim, bool auth_sys, enum export_squash squash, uint32_t *ret_uid)
{
	static const uint32_t own[] = { 0, 1000, 1000, ANON, ANON }, claimed[] = { 0, 1000, 0, 500 };
	bool trusted = peer == UNIX_ROOT || peer == UNIX_DAEMON;

	if (claim == SELF && peer == UNIX_UNKNOWN)
		return -EACCES; /* it would claim to be 2^32 - 1 */
	if (peer == UNIX_USER && (claim == ROOT || claim == SOMEBODY))
		return -EACCES;
	if (peer == UNIX_UNKNOWN && claim != NONE)
		return -EACCES;
	*ret_uid = own[peer];
	if (trusted && claim != NONE)
		*ret_uid = claim == SELF ? own[peer] : claimed[claim];
	if (peer == TCP && auth_sys && claim != NONE) {
		*ret_uid = claimed[claim];
		if (*ret_uid == 0 && squash == EXPORT_SQUASH_ROOT)
			*ret_uid = ANON;
	}
	if (squash == EXPORT_SQUASH_ALL)
		*ret_uid = ANON;
	return 0;
}

static void test_every_client_with_every_policy_is_who_the_rules_say(void **state)
{
	unsigned cases = 0;

	(void)state;
	for (unsigned i = 0; i < PEERS * CLAIMS * 2 * 3; i++) {
		enum peer peer = i % PEERS;
		enum claim claim = i / PEERS % CLAIMS;
		bool auth_sys = i / (PEERS * CLAIMS) % 2;
		enum export_squash squash = (enum export_squash)(i / (PEERS * CLAIMS * 2));
		struct export_policy policy = { .auth_sys = auth_sys, .squash = squash };
		struct rpc_peer p = make_peer(peer);
		struct rpc_auth_sys sys = make_claim(claim, &p);
		uint32_t groups[RPC_GIDS_MAX], uid = 0;
		int want = expected(peer, claim, auth_sys, squash, &uid);
		struct vfs_cred cred;

		assert_int_equal(rpc_identity(&p, claim == NONE ? NULL : &sys, &policy, groups, &cred), want);
		if (want)
			continue;
		assert_int_equal(cred.uid, uid);
		if (uid == ANON)
			assert_true(cred.gid == ANON || cred.gid == 501 || cred.gid == 1001);
		cases++;
	}
	assert_true(cases > 60);
}

static void test_root_s_group_is_squashed_wherever_it_stands(void **state)
{
	struct export_policy policy = { .auth_sys = true, .anon_uid = OTHER_ANON, .anon_gid = OTHER_ANON + 1 };
	struct rpc_auth_sys sys = { .uid = 500, .gid = 0, .gid_count = 3, .gids = { 1, 0, 2 } };
	struct rpc_peer p = make_peer(TCP);
	uint32_t groups[RPC_GIDS_MAX];
	struct vfs_cred cred;

	(void)state;
	assert_int_equal(rpc_identity(&p, &sys, &policy, groups, &cred), 0);
	assert_int_equal(cred.uid, 500);
	assert_int_equal(cred.gid, OTHER_ANON + 1);
	assert_int_equal(cred.group_count, 3);
	assert_int_equal(cred.groups[0], 1);
	assert_int_equal(cred.groups[1], OTHER_ANON + 1);
	assert_int_equal(cred.groups[2], 2);
	sys.uid = 0;
	assert_int_equal(rpc_identity(&p, &sys, &policy, groups, &cred), 0);
	assert_int_equal(cred.uid, OTHER_ANON);
	policy.auth_sys = false;
	assert_int_equal(rpc_identity(&p, &sys, &policy, groups, &cred), 0);
	assert_int_equal(cred.uid, OTHER_ANON);
	assert_int_equal(cred.group_count, 0);
}

static void test_nobody_is_everybody(void **state)
{
	struct export_policy policy = { .auth_sys = true, .squash = EXPORT_SQUASH_NONE };
	struct rpc_auth_sys sys = { .uid = UINT32_MAX };
	struct rpc_peer p = make_peer(TCP);
	uint32_t groups[RPC_GIDS_MAX];
	struct vfs_cred cred;

	(void)state;
	assert_int_equal(rpc_identity(&p, &sys, &policy, groups, &cred), -EACCES);
	sys = (struct rpc_auth_sys){ .gid = UINT32_MAX };
	assert_int_equal(rpc_identity(&p, &sys, &policy, groups, &cred), -EACCES);
}

static void test_the_peer_of_a_unix_socket_is_known(void **state)
{
	struct rpc_peer p;
	int fds[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	rpc_peer_init(&p, fds[0], true);
	assert_int_equal(p.uid, geteuid());
	assert_int_equal(p.gid, getegid());
	assert_int_equal(p.pid, getpid());
	assert_int_equal(p.group_count, getgroups(0, NULL));
	assert_true(p.trusted);
	rpc_peer_done(&p);
	close(fds[0]);
	close(fds[1]);
}

static bool admits(const char *network, const char *client)
{
	struct export_policy policy = { .client_count = 1 };
	struct export_network one;
	struct rpc_peer p = { .is_unix = false };

	assert_int_equal(value_parse_network(network, &policy.clients[0]), 0);
	assert_int_equal(value_parse_network(client, &one), 0);
	assert_int_equal(one.prefix_bits, 128);
	memcpy(p.address, one.address, sizeof(p.address));
	return rpc_policy_admits(&policy, &p);
}

static void test_networks_admit_their_own_addresses(void **state)
{
	struct export_policy nobody = { 0 };
	struct rpc_peer local = { .is_unix = true };

	(void)state;
	assert_true(admits("192.0.2.0/24", "192.0.2.255"));
	assert_false(admits("192.0.2.0/24", "192.0.3.0"));
	assert_true(admits("192.0.2.128/25", "192.0.2.129"));
	assert_false(admits("192.0.2.128/25", "192.0.2.127"));
	assert_true(admits("0.0.0.0/0", "203.0.113.9"));
	assert_false(admits("0.0.0.0/0", "2001:db8::1"));
	assert_true(admits("2001:db8::/33", "2001:db8:7fff::1"));
	assert_false(admits("2001:db8::/33", "2001:db8:8000::1"));
	assert_true(admits("::/0", "192.0.2.1"));
	assert_true(admits("192.0.2.7", "192.0.2.7"));
	assert_false(admits("192.0.2.7", "192.0.2.6"));
	assert_true(rpc_policy_admits(&nobody, &(struct rpc_peer){ 0 }));
	nobody.client_count = 1;
	assert_false(rpc_policy_admits(
	        &(struct export_policy){ .client_count = 1, .clients = { { .address = { 1 }, .prefix_bits = 8 } } },
	        &(struct rpc_peer){ 0 }));
	assert_true(rpc_policy_admits(&nobody, &local));
}

static void test_what_is_not_a_network_is_refused(void **state)
{
	static const char *const bad[] = {
		"",        "192.0.2.0/33",   "192.0.2.1/24", "192.0.2",      "a.b.c.d/8",
		"::1/129", "2001:db8::1/32", "192.0.2.0/",   "192.0.2.0/-1", "192.0.2.0/24x"
	};
	struct export_network n;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(value_parse_network(bad[i], &n), -EINVAL);
}

static void test_handles_are_known_again_and_forged_ones_are_not(void **state)
{
	static const uint8_t secret[RPC_SECRET_BYTES] = { 1, 2, 3 }, other[RPC_SECRET_BYTES] = { 1, 2, 4 };
	struct vfs_fid fid = { 77, 1ull << 60 }, back;
	uint8_t fh[RPC_FH_BYTES + 1];
	struct wfsp_bytes bytes = { fh, RPC_FH_BYTES };
	uint64_t key;

	(void)state;
	rpc_fh_make(secret, 0x1122334455667788, &fid, fh);
	assert_int_equal(rpc_fh_open(secret, &bytes, &key, &back), 0);
	assert_true(key == 0x1122334455667788);
	assert_memory_equal(&fid, &back, sizeof(fid));
	assert_int_equal(rpc_fh_open(other, &bytes, &key, &back), -EBADF);
	for (unsigned bit = 0; bit < RPC_FH_BYTES * 8; bit++) {
		fh[bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_int_equal(rpc_fh_open(secret, &bytes, &key, &back), -EBADF);
		fh[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	for (bytes.len_bytes = 0; bytes.len_bytes <= RPC_FH_BYTES + 1; bytes.len_bytes++)
		assert_int_equal(rpc_fh_open(secret, &bytes, &key, &back),
		                 bytes.len_bytes == RPC_FH_BYTES ? 0 : -EBADF);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_client_with_every_policy_is_who_the_rules_say),
		cmocka_unit_test(test_root_s_group_is_squashed_wherever_it_stands),
		cmocka_unit_test(test_nobody_is_everybody),
		cmocka_unit_test(test_the_peer_of_a_unix_socket_is_known),
		cmocka_unit_test(test_networks_admit_their_own_addresses),
		cmocka_unit_test(test_what_is_not_a_network_is_refused),
		cmocka_unit_test(test_handles_are_known_again_and_forged_ones_are_not),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
