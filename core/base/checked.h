/* SPDX-License-Identifier: BSD-3-Clause */
/* Arithmetic on outside numbers: every result is either exact or refused. */
#ifndef WFSD_CORE_BASE_CHECKED_H
#define WFSD_CORE_BASE_CHECKED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define checked_add(a, b, ret) (!__builtin_add_overflow((a), (b), (ret)))
#define checked_sub(a, b, ret) (!__builtin_sub_overflow((a), (b), (ret)))
#define checked_mul(a, b, ret) (!__builtin_mul_overflow((a), (b), (ret)))

/* Does [offset, offset + len) lie within [0, size)? An empty range at @size does. */
static inline bool range_within(uint64_t offset, uint64_t len, uint64_t size)
{
	return offset <= size && len <= size - offset;
}

/* @unit must be a power of two. round_up_u64() saturates at the largest multiple. */
static inline uint64_t round_down_u64(uint64_t v, uint64_t unit)
{
	return v & ~(unit - 1);
}

static inline uint64_t round_up_u64(uint64_t v, uint64_t unit)
{
	return v > UINT64_MAX - (unit - 1) ? ~(unit - 1) : (v + unit - 1) & ~(unit - 1);
}

static inline uint64_t div_round_up_u64(uint64_t v, uint64_t unit)
{
	return v / unit + (v % unit != 0);
}

static inline bool is_pow2_u64(uint64_t v)
{
	return v && !(v & (v - 1));
}

static inline uint64_t min_u64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static inline uint64_t max_u64(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

#endif
