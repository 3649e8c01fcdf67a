/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Checksums: CRC32C (Castagnoli, RFC 3720 appendix B.4; ISA-L) for 4 KiB data blocks, XXH3-128 (libxxhash) for
 * metadata, CRC32 (IEEE 802.3, RFC 1952) for formats of others. All detect accidents; none authenticates.
 */
#ifndef WFSD_CORE_BASE_CHECKSUM_H
#define WFSD_CORE_BASE_CHECKSUM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct hash128 {
	uint64_t lo;
	uint64_t hi;
};

/* The standard CRC32C (initial value and final xor all ones). crc32c("123456789", 9) == 0xe3069283. */
uint32_t crc32c(const void *buf, size_t len);
/* CRC32C of 4096 zero bytes. */
#define CRC32C_ZERO_4K 0x98f94189u

/* CRC32 as zlib computes it. crc32_zlib("123456789", 9) == 0xcbf43926. @len at most 1 GiB. */
uint32_t crc32_zlib(const void *buf, size_t len);

struct hash128 hash128(const void *buf, size_t len);

static inline bool hash128_equal(struct hash128 a, struct hash128 b)
{
	return a.lo == b.lo && a.hi == b.hi;
}

/* True when all @len bytes are zero. Stops at the first that is not. */
bool bytes_are_zero(const void *buf, size_t len);

#endif
