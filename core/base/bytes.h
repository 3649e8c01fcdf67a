/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Bounded byte cursors: the only way outside bytes become numbers.
 *
 * A reader or writer that runs past its end sets @bad and from then on yields zeros (reader) or writes nothing
 * (writer), so a decoder can read a whole structure and check once.
 */
#ifndef WFSD_CORE_BASE_BYTES_H
#define WFSD_CORE_BASE_BYTES_H

#include <endian.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct rd {
	const uint8_t *base;
	size_t len;
	size_t pos;
	bool bad;
};

struct wr {
	uint8_t *base;
	size_t len;
	size_t pos;
	bool bad;
};

static inline struct rd rd_init(const void *base, size_t len)
{
	return (struct rd){ .base = base, .len = len };
}

static inline struct wr wr_init(void *base, size_t len)
{
	return (struct wr){ .base = base, .len = len };
}

static inline size_t rd_left(const struct rd *r)
{
	return r->bad ? 0 : r->len - r->pos;
}

static inline size_t wr_left(const struct wr *w)
{
	return w->bad ? 0 : w->len - w->pos;
}

/* A pointer to the next @n bytes, or NULL (and bad) when there are fewer. */
static inline const uint8_t *rd_bytes(struct rd *r, size_t n)
{
	const uint8_t *p;

	if (r->bad || n > r->len - r->pos) {
		r->bad = true;
		return NULL;
	}
	p = r->base + r->pos;
	r->pos += n;
	return p;
}

/* Room for the next @n bytes, or NULL (and bad) when there is less. */
static inline uint8_t *wr_room(struct wr *w, size_t n)
{
	uint8_t *p;

	if (w->bad || n > w->len - w->pos) {
		w->bad = true;
		return NULL;
	}
	p = w->base + w->pos;
	w->pos += n;
	return p;
}

static inline void rd_copy(struct rd *r, void *dst, size_t n)
{
	const uint8_t *p = rd_bytes(r, n);

	if (p)
		memcpy(dst, p, n);
	else
		memset(dst, 0, n);
}

static inline void wr_copy(struct wr *w, const void *src, size_t n)
{
	uint8_t *p = wr_room(w, n);

	if (p && n)
		memcpy(p, src, n);
}

static inline void wr_zero(struct wr *w, size_t n)
{
	uint8_t *p = wr_room(w, n);

	if (p)
		memset(p, 0, n);
}

#define BYTES_DEFINE(name, type, to_host, from_host)                                                                   \
	static inline type rd_##name(struct rd *r)                                                                     \
	{                                                                                                              \
		type v;                                                                                                \
		rd_copy(r, &v, sizeof(v));                                                                             \
		return to_host(v);                                                                                     \
	}                                                                                                              \
	static inline void wr_##name(struct wr *w, type v)                                                             \
	{                                                                                                              \
		v = from_host(v);                                                                                      \
		wr_copy(w, &v, sizeof(v));                                                                             \
	}                                                                                                              \
	static inline type get_##name(const void *p)                                                                   \
	{                                                                                                              \
		type v;                                                                                                \
		memcpy(&v, p, sizeof(v));                                                                              \
		return to_host(v);                                                                                     \
	}                                                                                                              \
	static inline void put_##name(void *p, type v)                                                                 \
	{                                                                                                              \
		v = from_host(v);                                                                                      \
		memcpy(p, &v, sizeof(v));                                                                              \
	}

#define BYTES_SAME(v) (v)
BYTES_DEFINE(u8, uint8_t, BYTES_SAME, BYTES_SAME)
BYTES_DEFINE(le16, uint16_t, le16toh, htole16)
BYTES_DEFINE(le32, uint32_t, le32toh, htole32)
BYTES_DEFINE(le64, uint64_t, le64toh, htole64)
BYTES_DEFINE(be16, uint16_t, be16toh, htobe16)
BYTES_DEFINE(be32, uint32_t, be32toh, htobe32)
BYTES_DEFINE(be64, uint64_t, be64toh, htobe64)
#undef BYTES_SAME
#undef BYTES_DEFINE

#endif
