/* SPDX-License-Identifier: BSD-3-Clause */
/* Checksums by ISA-L (CRC32C, CRC32) and libxxhash (XXH3), and the test for zeros. */
#include "core/base/checksum.h"

#include <isa-l/crc.h>
#include <string.h>
#include <xxhash.h>

/* ISA-L takes an int length and hands back the running value without inverting it. */
#define CRC_CHUNK_MAX (UINT32_C(1) << 30)

uint32_t crc32c(const void *buf, size_t len)
{
	/* ISA-L's prototype lacks the const. */
	unsigned char *p = (unsigned char *)(uintptr_t)buf;
	uint32_t crc = UINT32_MAX;

	while (len) {
		size_t n = len < CRC_CHUNK_MAX ? len : CRC_CHUNK_MAX;

		crc = crc32_iscsi(p, (int)n, crc);
		p += n;
		len -= n;
	}
	return ~crc;
}

uint32_t crc32_zlib(const void *buf, size_t len)
{
	return crc32_gzip_refl(0, buf, len);
}

struct hash128 hash128(const void *buf, size_t len)
{
	XXH128_hash_t h = XXH3_128bits(buf, len);

	return (struct hash128){ .lo = h.low64, .hi = h.high64 };
}

bool bytes_are_zero(const void *buf, size_t len)
{
	const uint8_t *p = buf;
	uint64_t first = 0;

	if (len <= sizeof(first)) {
		for (size_t i = 0; i < len; i++)
			first |= p[i];
		return first == 0;
	}
	memcpy(&first, p, sizeof(first));
	/* The first word is zero, and every word equals the one before it: the C library compares with vectors. */
	return first == 0 && memcmp(p, p + sizeof(first), len - sizeof(first)) == 0;
}
