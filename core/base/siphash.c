/* SPDX-License-Identifier: BSD-3-Clause */
/* SipHash-2-4, after the description in the paper. */
#include "core/base/siphash.h"

#include "core/base/bytes.h"

struct state {
	uint64_t v0, v1, v2, v3;
};

static inline uint64_t rotate(uint64_t x, unsigned bits)
{
	return x << bits | x >> (64 - bits);
}

static inline void mix(struct state *s)
{
	s->v0 += s->v1;
	s->v2 += s->v3;
	s->v1 = rotate(s->v1, 13) ^ s->v0;
	s->v3 = rotate(s->v3, 16) ^ s->v2;
	s->v0 = rotate(s->v0, 32);
	s->v2 += s->v1;
	s->v0 += s->v3;
	s->v1 = rotate(s->v1, 17) ^ s->v2;
	s->v3 = rotate(s->v3, 21) ^ s->v0;
	s->v2 = rotate(s->v2, 32);
}

static inline void absorb(struct state *s, uint64_t word)
{
	s->v3 ^= word;
	mix(s);
	mix(s);
	s->v0 ^= word;
}

uint64_t siphash(const uint8_t key[SIPHASH_KEY_BYTES], const void *data, size_t len)
{
	uint64_t k0 = get_le64(key), k1 = get_le64(key + 8);
	struct state s = { k0 ^ UINT64_C(0x736f6d6570736575), k1 ^ UINT64_C(0x646f72616e646f6d),
		           k0 ^ UINT64_C(0x6c7967656e657261), k1 ^ UINT64_C(0x7465646279746573) };
	const uint8_t *p = data;
	uint64_t last = (uint64_t)len << 56;

	for (; len >= 8; len -= 8, p += 8)
		absorb(&s, get_le64(p));
	for (size_t i = 0; i < len; i++)
		last |= (uint64_t)p[i] << 8 * i;
	absorb(&s, last);
	s.v2 ^= 0xff;
	for (unsigned i = 0; i < 4; i++)
		mix(&s);
	return s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}
