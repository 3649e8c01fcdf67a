/* SPDX-License-Identifier: BSD-3-Clause */
/* The headers of ONC RPC calls and replies. */
#include "protocol/rpc/rpc_msg.h"

#include <errno.h>

#include "core/base/err.h"
#include "protocol/xdr/xdr.h"

enum { MSG_ACCEPTED = 0, MSG_DENIED = 1 };
enum { RPC_MISMATCH = 0, AUTH_ERROR = 1 };

/* The body of AUTH_SYS credentials. */
static bool get_auth_sys(struct rd *r, struct rpc_auth_sys *ret)
{
	ret->stamp = rd_be32(r);
	xdr_get_string(r, ret->machine, sizeof(ret->machine));
	ret->uid = rd_be32(r);
	ret->gid = rd_be32(r);
	ret->gid_count = xdr_get_count(r, RPC_GIDS_MAX, XDR_UNIT);
	for (uint32_t i = 0; i < ret->gid_count; i++)
		ret->gids[i] = rd_be32(r);
	return !r->bad && rd_left(r) == 0;
}

int rpc_get_call(struct rd *r, struct rpc_call *ret)
{
	const uint8_t *cred;
	uint32_t type, version, len;
	struct rd body;

	ret->xid = rd_be32(r);
	type = rd_be32(r);
	if (r->bad || type != RPC_CALL)
		return err_set(-EBADMSG, "not an RPC call");
	version = rd_be32(r);
	if (!r->bad && version != RPC_VERSION)
		return err_set(-EPROTONOSUPPORT, "RPC version %u", version);
	ret->program = rd_be32(r);
	ret->version = rd_be32(r);
	ret->procedure = rd_be32(r);
	ret->flavor = rd_be32(r);
	cred = xdr_get_opaque(r, RPC_AUTH_BYTES_MAX, &len);
	rd_be32(r); /* the verifier says nothing with these flavours */
	if (r->bad)
		return err_set(-EBADMSG, "RPC call header cut short or with oversized credentials");
	body = rd_init(cred, len);
	xdr_get_opaque(r, RPC_AUTH_BYTES_MAX, &len);
	if (r->bad)
		return err_set(-EBADMSG, "RPC call header cut short or with an oversized verifier");
	if (ret->flavor == RPC_AUTH_NONE)
		return 0;
	if (ret->flavor != RPC_AUTH_SYS)
		return err_set(-EACCES, "RPC credentials of unknown flavour %u", ret->flavor);
	if (!get_auth_sys(&body, &ret->sys))
		return err_set(-EACCES, "malformed AUTH_SYS credentials");
	return 0;
}

static void put_auth_sys(struct wr *w, const struct rpc_auth_sys *sys)
{
	uint8_t buf[RPC_AUTH_BYTES_MAX];
	struct wr body = wr_init(buf, sizeof(buf));

	wr_be32(&body, sys->stamp);
	xdr_put_string(&body, sys->machine);
	wr_be32(&body, sys->uid);
	wr_be32(&body, sys->gid);
	wr_be32(&body, sys->gid_count);
	for (uint32_t i = 0; i < sys->gid_count && i < RPC_GIDS_MAX; i++)
		wr_be32(&body, sys->gids[i]);
	if (body.bad) {
		w->bad = true;
		return;
	}
	wr_be32(w, RPC_AUTH_SYS);
	xdr_put_opaque(w, buf, body.pos);
}

static void put_auth_none(struct wr *w)
{
	wr_be32(w, RPC_AUTH_NONE);
	wr_be32(w, 0);
}

void rpc_put_call(struct wr *w, uint32_t xid, uint32_t program, uint32_t version, uint32_t procedure,
                  const struct rpc_auth_sys *sys)
{
	wr_be32(w, xid);
	wr_be32(w, RPC_CALL);
	wr_be32(w, RPC_VERSION);
	wr_be32(w, program);
	wr_be32(w, version);
	wr_be32(w, procedure);
	if (sys)
		put_auth_sys(w, sys);
	else
		put_auth_none(w);
	put_auth_none(w);
}

void rpc_put_reply(struct wr *w, uint32_t xid, enum rpc_accept_stat stat)
{
	wr_be32(w, xid);
	wr_be32(w, RPC_REPLY);
	wr_be32(w, MSG_ACCEPTED);
	put_auth_none(w);
	wr_be32(w, stat);
}

void rpc_put_program_mismatch(struct wr *w, uint32_t xid, uint32_t low, uint32_t high)
{
	rpc_put_reply(w, xid, RPC_PROG_MISMATCH);
	wr_be32(w, low);
	wr_be32(w, high);
}

void rpc_put_version_mismatch(struct wr *w, uint32_t xid)
{
	wr_be32(w, xid);
	wr_be32(w, RPC_REPLY);
	wr_be32(w, MSG_DENIED);
	wr_be32(w, RPC_MISMATCH);
	wr_be32(w, RPC_VERSION);
	wr_be32(w, RPC_VERSION);
}

void rpc_put_auth_error(struct wr *w, uint32_t xid, enum rpc_auth_stat stat)
{
	wr_be32(w, xid);
	wr_be32(w, RPC_REPLY);
	wr_be32(w, MSG_DENIED);
	wr_be32(w, AUTH_ERROR);
	wr_be32(w, stat);
}

static int denied(struct rd *r)
{
	uint32_t why = rd_be32(r);

	if (r->bad)
		return err_set(-EBADMSG, "RPC reply cut short");
	if (why == RPC_MISMATCH)
		return err_set(-EPROTONOSUPPORT, "the server does not speak RPC version 2");
	return err_set(-EACCES, "the server refused the credentials");
}

int rpc_get_reply(struct rd *r, uint32_t *ret_xid)
{
	uint32_t type, stat, len;

	*ret_xid = rd_be32(r);
	type = rd_be32(r);
	stat = rd_be32(r);
	if (r->bad || type != RPC_REPLY || stat > MSG_DENIED)
		return err_set(-EBADMSG, "not an RPC reply");
	if (stat == MSG_DENIED)
		return denied(r);
	rd_be32(r);
	xdr_get_opaque(r, RPC_AUTH_BYTES_MAX, &len);
	stat = rd_be32(r);
	if (r->bad)
		return err_set(-EBADMSG, "RPC reply cut short");
	switch (stat) {
	case RPC_SUCCESS:
		return 0;
	case RPC_PROG_UNAVAIL:
	case RPC_PROG_MISMATCH:
		return err_set(-EPROTONOSUPPORT, "the server does not serve this program or version");
	case RPC_PROC_UNAVAIL:
		return err_set(-EOPNOTSUPP, "the server does not know this procedure");
	case RPC_GARBAGE_ARGS:
		return err_set(-EINVAL, "the server could not decode the arguments");
	default:
		return err_set(-EREMOTEIO, "the server failed to execute the call (accept_stat %u)", stat);
	}
}
