/* SPDX-License-Identifier: BSD-3-Clause */
/* SipHash-2-4. */
#include "core/base/siphash.h"

#include <stdbool.h>

#include "core/base/bytes.h"

struct state {
	uint64_t v[4];
};

static uint64_t rotate(uint64_t x, unsigned bits)
{
	return x << bits | x >> (64 - bits);
}

static void rounds(struct state *s, unsigned count)
{
	uint64_t *v = s->v;

	while (count--) {
		v[0] += v[1];
		v[1] = rotate(v[1], 13) ^ v[0];
		v[0] = rotate(v[0], 32);
		v[2] += v[3];
		v[3] = rotate(v[3], 16) ^ v[2];
		v[0] += v[3];
		v[3] = rotate(v[3], 21) ^ v[0];
		v[2] += v[1];
		v[1] = rotate(v[1], 17) ^ v[2];
		v[2] = rotate(v[2], 32);
	}
}

static void absorb(struct state *s, uint64_t word)
{
	s->v[3] ^= word;
	rounds(s, 2);
	s->v[0] ^= word;
}

static uint64_t squeeze(struct state *s)
{
	rounds(s, 4);
	return s->v[0] ^ s->v[1] ^ s->v[2] ^ s->v[3];
}

static struct state begin(const uint8_t *key, const uint8_t *p, size_t len, bool wide)
{
	uint64_t k0 = get_le64(key), k1 = get_le64(key + 8), last = (uint64_t)len << 56;
	struct state s = { { k0 ^ 0x736f6d6570736575, k1 ^ 0x646f72616e646f6d, k0 ^ 0x6c7967656e657261,
		             k1 ^ 0x7465646279746573 } };

	if (wide)
		s.v[1] ^= 0xee;
	for (; len >= 8; p += 8, len -= 8)
		absorb(&s, get_le64(p));
	for (size_t i = 0; i < len; i++)
		last |= (uint64_t)p[i] << (8 * i);
	absorb(&s, last);
	s.v[2] ^= wide ? 0xee : 0xff;
	return s;
}

uint64_t siphash(const uint8_t key[SIPHASH_KEY_BYTES], const void *buf, size_t len)
{
	struct state s = begin(key, buf, len, false);

	return squeeze(&s);
}

void siphash128(const uint8_t key[SIPHASH_KEY_BYTES], const void *buf, size_t len, uint8_t ret[16])
{
	struct state s = begin(key, buf, len, true);

	put_le64(ret, squeeze(&s));
	s.v[1] ^= 0xdd;
	put_le64(ret + 8, squeeze(&s));
}
