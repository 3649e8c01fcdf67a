/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * SipHash-2-4 (Aumasson and Bernstein, "SipHash: a fast short-input PRF", 2012): a keyed hash of short strings for
 * tables whose keys come from outside. Who does not know the key cannot choose strings that collide.
 */
#ifndef WFSD_CORE_BASE_SIPHASH_H
#define WFSD_CORE_BASE_SIPHASH_H

#include <stddef.h>
#include <stdint.h>

#define SIPHASH_KEY_BYTES 16u

uint64_t siphash(const uint8_t key[SIPHASH_KEY_BYTES], const void *data, size_t len);

#endif
