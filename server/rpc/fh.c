/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * File handles. They say themselves what they name, so no table can overflow or be lost:
 *
 *   0 version (1) · 4 export · 12 file system · 20 object · 28 MAC of what is before it, 16 bytes
 *
 * The MAC is SipHash-2-4 with the daemon's secret, which outlives restarts.
 */
#include <errno.h>

#include "core/base/err.h"
#include "core/base/siphash.h"
#include "server/rpc/compound.h"

#define FH_VERSION 1u
#define MAC_AT 28u
#define MAC_BYTES 16u

_Static_assert(MAC_AT + MAC_BYTES == RPC_FH_BYTES && RPC_FH_BYTES <= WFSP_FH_MAX, "a handle fits");
_Static_assert(RPC_SECRET_BYTES == SIPHASH_KEY_BYTES, "the secret is the key");

void rpc_fh_make(const uint8_t *secret, uint64_t export_key, const struct vfs_fid *fid, uint8_t ret[RPC_FH_BYTES])
{
	struct wr w = wr_init(ret, RPC_FH_BYTES);

	wr_be32(&w, FH_VERSION);
	wr_be64(&w, export_key);
	wr_be64(&w, fid->fsid);
	wr_be64(&w, fid->object);
	siphash128(secret, ret, MAC_AT, ret + MAC_AT);
}

int rpc_fh_open(const uint8_t *secret, const struct wfsp_bytes *fh, uint64_t *ret_export_key, struct vfs_fid *ret_fid)
{
	struct rd r = rd_init(fh->p, fh->len_bytes);
	uint8_t mac[MAC_BYTES], differs = 0;

	if (fh->len_bytes != RPC_FH_BYTES || rd_be32(&r) != FH_VERSION)
		return err_set(-EBADF, "not a file handle of this server");
	*ret_export_key = rd_be64(&r);
	ret_fid->fsid = rd_be64(&r);
	ret_fid->object = rd_be64(&r);
	siphash128(secret, fh->p, MAC_AT, mac);
	/* How long it takes must not tell how many bytes were right. */
	for (unsigned i = 0; i < MAC_BYTES; i++)
		differs |= mac[i] ^ fh->p[MAC_AT + i];
	return differs ? err_set(-EBADF, "not a file handle of this server") : 0;
}
