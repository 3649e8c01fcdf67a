/* SPDX-License-Identifier: BSD-3-Clause */
/* Who asks: from what the system says about a connection's other end, what a call claims, and the export's policy. */
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/base/err.h"
#include "server/rpc/compound.h"

/* The supplementary groups of a unix socket's peer; without them it has none. */
static void take_groups(struct rpc_peer *p, int fd)
{
	socklen_t len = 0;
	gid_t *groups;

	_Static_assert(sizeof(gid_t) == sizeof(uint32_t), "groups are handed on as they come");
	if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, NULL, &len) == 0 || errno != ERANGE || !len)
		return;
	groups = malloc(len);
	if (!groups)
		return;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &len) < 0) {
		free(groups);
		return;
	}
	p->groups = groups;
	p->group_count = len / sizeof(*groups);
}

void rpc_peer_init(struct rpc_peer *p, int fd, bool is_unix)
{
	struct sockaddr_storage sa = { 0 };
	socklen_t len = sizeof(sa);
	struct ucred cred;

	*p = (struct rpc_peer){ .is_unix = is_unix, .uid = UINT32_MAX, .gid = UINT32_MAX };
	if (is_unix) {
		len = sizeof(cred);
		if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
			return;
		p->pid = cred.pid;
		p->uid = cred.uid;
		p->gid = cred.gid;
		p->trusted = cred.uid == 0 || cred.uid == geteuid();
		take_groups(p, fd);
	} else if (getpeername(fd, (struct sockaddr *)&sa, &len) == 0) {
		if (sa.ss_family == AF_INET6) {
			memcpy(p->address, &((struct sockaddr_in6 *)&sa)->sin6_addr, sizeof(p->address));
		} else if (sa.ss_family == AF_INET) {
			p->address[10] = p->address[11] = 0xff;
			memcpy(p->address + 12, &((struct sockaddr_in *)&sa)->sin_addr, 4);
		}
	}
}

void rpc_peer_done(struct rpc_peer *p)
{
	free(p->groups);
	p->groups = NULL;
}

static bool network_has(const struct export_network *n, const uint8_t *address)
{
	unsigned bytes = n->prefix_bits / 8, bits = n->prefix_bits % 8;

	if (memcmp(n->address, address, bytes) != 0)
		return false;
	return !bits || (n->address[bytes] ^ address[bytes]) >> (8 - bits) == 0;
}

static bool certificate_admitted(const struct export_policy *policy, const struct tls *tls)
{
	const char *name;

	if (!policy->tls_name_count)
		return tls || !policy->tls;
	for (unsigned i = 0; tls && (name = tls_peer_name(tls, i)); i++) {
		for (unsigned j = 0; j < policy->tls_name_count; j++) {
			if (strcasecmp(name, policy->tls_names[j]) == 0)
				return true;
		}
	}
	return false;
}

bool rpc_policy_admits(const struct export_policy *policy, const struct rpc_peer *peer)
{
	if (peer->is_unix)
		return true;
	if (!certificate_admitted(policy, peer->tls))
		return false;
	if (!policy->client_count)
		return true;
	for (unsigned i = 0; i < policy->client_count; i++) {
		if (network_has(&policy->clients[i], peer->address))
			return true;
	}
	return false;
}

static uint32_t anon_uid(const struct export_policy *p)
{
	return p->anon_uid ? p->anon_uid : EXPORT_ANON_ID;
}

static uint32_t anon_gid(const struct export_policy *p)
{
	return p->anon_gid ? p->anon_gid : EXPORT_ANON_ID;
}

static void anonymous(const struct export_policy *policy, struct vfs_cred *ret)
{
	*ret = (struct vfs_cred){ .uid = anon_uid(policy), .gid = anon_gid(policy) };
}

static void claimed(const struct rpc_auth_sys *sys, uint32_t *groups, struct vfs_cred *ret)
{
	memcpy(groups, sys->gids, sys->gid_count * sizeof(groups[0]));
	*ret = (struct vfs_cred){ .uid = sys->uid, .gid = sys->gid, .group_count = sys->gid_count, .groups = groups };
}

static void squash_root(const struct export_policy *policy, uint32_t *groups, struct vfs_cred *cred)
{
	if (cred->uid == 0)
		cred->uid = anon_uid(policy);
	if (cred->gid == 0)
		cred->gid = anon_gid(policy);
	for (unsigned i = 0; i < cred->group_count; i++) {
		if (groups[i] == 0)
			groups[i] = anon_gid(policy);
	}
}

int rpc_identity(const struct rpc_peer *peer, const struct rpc_auth_sys *sys, const struct export_policy *policy,
                 uint32_t *groups, struct vfs_cred *ret)
{
	/* uid 2^32 - 1 stands for nobody in particular: no identity at all. */
	if (sys && (sys->uid == UINT32_MAX || sys->gid == UINT32_MAX))
		return err_set(-EACCES, "credentials without an identity");
	if (peer->is_unix && sys && sys->uid != peer->uid && !peer->trusted)
		return err_set(-EACCES, "uid %u may not speak for uid %u", peer->uid, sys->uid);
	if (policy->squash == EXPORT_SQUASH_ALL || (peer->is_unix && peer->uid == UINT32_MAX)) {
		anonymous(policy, ret);
	} else if (peer->is_unix && sys && peer->trusted) {
		claimed(sys, groups, ret);
	} else if (peer->is_unix) {
		*ret = (struct vfs_cred){
			.uid = peer->uid, .gid = peer->gid, .group_count = peer->group_count, .groups = peer->groups
		};
	} else if (sys && policy->auth_sys) {
		claimed(sys, groups, ret);
		if (policy->squash == EXPORT_SQUASH_ROOT)
			squash_root(policy, groups, ret);
	} else {
		anonymous(policy, ret);
	}
	return 0;
}
