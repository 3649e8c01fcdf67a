/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * SipHash-2-4 with a 128-bit key (J.-P. Aumasson, D. J. Bernstein: "SipHash: a fast short-input PRF", 2012), in its
 * variants with 64 and 128 bits of output: to authenticate short messages with a secret.
 */
#ifndef WFSD_CORE_BASE_SIPHASH_H
#define WFSD_CORE_BASE_SIPHASH_H

#include <stddef.h>
#include <stdint.h>

#define SIPHASH_KEY_BYTES 16u

uint64_t siphash(const uint8_t key[SIPHASH_KEY_BYTES], const void *buf, size_t len);
void siphash128(const uint8_t key[SIPHASH_KEY_BYTES], const void *buf, size_t len, uint8_t ret[16]);

#endif
