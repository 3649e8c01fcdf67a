/* SPDX-License-Identifier: BSD-3-Clause */
/* Encoding and decoding of notices. */
#include "protocol/wfs_notice.h"

#include "protocol/xdr/xdr.h"

void wfsp_get_notices_args(struct rd *r, struct wfsp_notices_args *ret)
{
	ret->channel = rd_be64(r);
	ret->after = rd_be64(r);
	ret->wait_ms = rd_be32(r);
}

void wfsp_put_notices_args(struct wr *w, const struct wfsp_notices_args *v)
{
	wr_be64(w, v->channel);
	wr_be64(w, v->after);
	wr_be32(w, v->wait_ms);
}

void wfsp_get_notices_ok(struct rd *r, struct wfsp_notices_ok *ret)
{
	ret->channel = rd_be64(r);
	ret->count = xdr_get_count(r, WFSP_NOTICES_MAX, WFSP_NOTICE_BYTES_MIN);
}

void wfsp_put_notices_ok(struct wr *w, const struct wfsp_notices_ok *v)
{
	wr_be64(w, v->channel);
	wr_be32(w, v->count);
}

void wfsp_get_notice(struct rd *r, struct wfsp_notice *ret)
{
	ret->number = rd_be64(r);
	ret->kind = rd_be32(r);
	ret->id = rd_be64(r);
	ret->what = rd_be32(r);
	ret->fsid = rd_be64(r);
	ret->dir = rd_be64(r);
	ret->fileid = rd_be64(r);
	ret->name.p = xdr_get_opaque(r, WFSP_NAME_MAX, &ret->name.len_bytes);
	if (!r->bad && memchr(ret->name.p, '\0', ret->name.len_bytes))
		r->bad = true;
}

void wfsp_put_notice(struct wr *w, const struct wfsp_notice *v)
{
	wr_be64(w, v->number);
	wr_be32(w, v->kind);
	wr_be64(w, v->id);
	wr_be32(w, v->what);
	wr_be64(w, v->fsid);
	wr_be64(w, v->dir);
	wr_be64(w, v->fileid);
	xdr_put_opaque(w, v->name.p, v->name.len_bytes);
}
