/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * XDR (RFC 4506) on bounded cursors: the compound types that rd_be32() and friends do not cover.
 *
 * Nothing here allocates; lengths are checked against a maximum and against the bytes that are there before they are
 * used. A decoder reads a whole structure and looks at rd.bad once; an encoder at wr.bad. Padding bytes are skipped,
 * not judged.
 */
#ifndef WFSD_PROTOCOL_XDR_XDR_H
#define WFSD_PROTOCOL_XDR_XDR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/bytes.h"

#define XDR_UNIT 4u

/* Padding after @len bytes of opaque data: 0..3. */
static inline uint32_t xdr_pad_bytes(uint64_t len)
{
	return (uint32_t)(-len & (XDR_UNIT - 1));
}

/* 0 or 1; anything else is bad. */
bool xdr_get_bool(struct rd *r);

/*
 * The count of a variable-length array. Bad (and 0) above @max, or when fewer than count * @item_bytes_min bytes are
 * left, so that a loop over it is bounded by what was really received.
 */
uint32_t xdr_get_count(struct rd *r, uint32_t max, size_t item_bytes_min);

/* opaque<max>: a pointer into the reader's bytes (NULL when bad), its length in *ret_len. */
const uint8_t *xdr_get_opaque(struct rd *r, uint32_t max, uint32_t *ret_len);

/* opaque[len]. */
void xdr_get_fixed(struct rd *r, void *dst, size_t len);

/* string<dst_size - 1>, copied and terminated. Bad (and "") when longer or when it contains a NUL. */
void xdr_get_string(struct rd *r, char *dst, size_t dst_size);

void xdr_put_bool(struct wr *w, bool v);
void xdr_put_opaque(struct wr *w, const void *p, size_t len);
void xdr_put_fixed(struct wr *w, const void *p, size_t len);
void xdr_put_string(struct wr *w, const char *s);
/* As xdr_put_string(), cut after @max bytes. */
void xdr_put_string_cut(struct wr *w, const char *s, size_t max);

#endif
