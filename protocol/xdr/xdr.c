/* SPDX-License-Identifier: BSD-3-Clause */
/* XDR's compound types on bounded cursors. */
#include "protocol/xdr/xdr.h"

#include <string.h>

bool xdr_get_bool(struct rd *r)
{
	uint32_t v = rd_be32(r);

	if (v > 1)
		r->bad = true;
	return v == 1 && !r->bad;
}

uint32_t xdr_get_count(struct rd *r, uint32_t max, size_t item_bytes_min)
{
	uint32_t count = rd_be32(r);

	if (r->bad || count > max || (item_bytes_min && count > rd_left(r) / item_bytes_min)) {
		r->bad = true;
		return 0;
	}
	return count;
}

const uint8_t *xdr_get_opaque(struct rd *r, uint32_t max, uint32_t *ret_len)
{
	uint32_t len = rd_be32(r);
	const uint8_t *p;

	*ret_len = 0;
	if (r->bad || len > max) {
		r->bad = true;
		return NULL;
	}
	p = rd_bytes(r, len);
	if (!p || !rd_bytes(r, xdr_pad_bytes(len)))
		return NULL;
	*ret_len = len;
	return p;
}

void xdr_get_fixed(struct rd *r, void *dst, size_t len)
{
	rd_copy(r, dst, len);
	rd_bytes(r, xdr_pad_bytes(len));
}

void xdr_get_string(struct rd *r, char *dst, size_t dst_size)
{
	uint32_t len;
	const uint8_t *p = xdr_get_opaque(r, (uint32_t)(dst_size - 1), &len);

	dst[0] = '\0';
	if (!p)
		return;
	if (memchr(p, 0, len)) {
		r->bad = true;
		return;
	}
	memcpy(dst, p, len);
	dst[len] = '\0';
}

void xdr_put_bool(struct wr *w, bool v)
{
	wr_be32(w, v ? 1 : 0);
}

void xdr_put_fixed(struct wr *w, const void *p, size_t len)
{
	wr_copy(w, p, len);
	wr_zero(w, xdr_pad_bytes(len));
}

void xdr_put_opaque(struct wr *w, const void *p, size_t len)
{
	if (len > UINT32_MAX) {
		w->bad = true;
		return;
	}
	wr_be32(w, (uint32_t)len);
	xdr_put_fixed(w, p, len);
}

void xdr_put_string(struct wr *w, const char *s)
{
	xdr_put_opaque(w, s, strlen(s));
}

void xdr_put_string_cut(struct wr *w, const char *s, size_t max)
{
	xdr_put_opaque(w, s, strnlen(s, max));
}
