/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ONC RPC version 2 (RFC 5531): the headers of calls and replies. Record marks are in record.h; what follows the header
 * belongs to the program (wfs_proto.h).
 */
#ifndef WFSD_PROTOCOL_RPC_RPC_MSG_H
#define WFSD_PROTOCOL_RPC_RPC_MSG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/bytes.h"

#define RPC_VERSION 2u
#define RPC_AUTH_BYTES_MAX 400u
#define RPC_MACHINE_NAME_MAX 255u
#define RPC_GIDS_MAX 16u
/* Room that a call's header can need, and what a call without credentials and an accepted reply do need. */
#define RPC_CALL_HEADER_MAX (24u + 2 * (8 + RPC_AUTH_BYTES_MAX))
#define RPC_CALL_PLAIN_BYTES 40u
#define RPC_REPLY_OK_BYTES 24u

enum rpc_msg_type {
	RPC_CALL = 0,
	RPC_REPLY = 1,
};

enum rpc_auth_flavor {
	RPC_AUTH_NONE = 0,
	RPC_AUTH_SYS = 1,
};

enum rpc_accept_stat {
	RPC_SUCCESS = 0,
	RPC_PROG_UNAVAIL = 1,
	RPC_PROG_MISMATCH = 2,
	RPC_PROC_UNAVAIL = 3,
	RPC_GARBAGE_ARGS = 4,
	RPC_SYSTEM_ERR = 5,
};

enum rpc_auth_stat {
	RPC_AUTH_BADCRED = 1,
	RPC_AUTH_REJECTEDCRED = 2,
};

struct rpc_auth_sys {
	uint32_t stamp;
	uint32_t uid;
	uint32_t gid;
	uint32_t gid_count;
	uint32_t gids[RPC_GIDS_MAX];
	char machine[RPC_MACHINE_NAME_MAX + 1];
};

struct rpc_call {
	uint32_t xid;
	uint32_t program;
	uint32_t version;
	uint32_t procedure;
	uint32_t flavor; /* RPC_AUTH_NONE or RPC_AUTH_SYS */
	struct rpc_auth_sys sys; /* when RPC_AUTH_SYS */
};

/*
 * Decode a call's header; @r then stands at the arguments. ret->xid is set whenever it could be read.
 * 0; -EBADMSG: no call, or cut short, or oversized credentials (end the connection); -EPROTONOSUPPORT: another RPC
 * version (answer with rpc_put_version_mismatch()); -EACCES: credentials of an unknown kind or malformed (answer with
 * rpc_put_auth_error()).
 */
int rpc_get_call(struct rd *r, struct rpc_call *ret);

/* A call with AUTH_NONE, or with AUTH_SYS when @sys is given. */
void rpc_put_call(struct wr *w, uint32_t xid, uint32_t program, uint32_t version, uint32_t procedure,
                  const struct rpc_auth_sys *sys);

/* A reply's header. Results follow only after RPC_SUCCESS. */
void rpc_put_reply(struct wr *w, uint32_t xid, enum rpc_accept_stat stat);
/* RPC_PROG_MISMATCH with the versions that are served. */
void rpc_put_program_mismatch(struct wr *w, uint32_t xid, uint32_t low, uint32_t high);
void rpc_put_version_mismatch(struct wr *w, uint32_t xid);
void rpc_put_auth_error(struct wr *w, uint32_t xid, enum rpc_auth_stat stat);

/*
 * Decode a reply's header; @r then stands at the results. *ret_xid is set whenever it could be read. 0 when the call
 * was executed; -EBADMSG: no reply or cut short; else the server's refusal: -EPROTONOSUPPORT (program or version),
 * -EOPNOTSUPP (procedure), -EINVAL (arguments), -EREMOTEIO (system error), -EACCES (credentials).
 */
int rpc_get_reply(struct rd *r, uint32_t *ret_xid);

#endif
