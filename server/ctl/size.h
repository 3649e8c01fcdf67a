/* SPDX-License-Identifier: BSD-3-Clause */
/* Sizes and times as people write and read them. Pure; any thread. */
#ifndef WFSD_SERVER_CTL_SIZE_H
#define WFSD_SERVER_CTL_SIZE_H

#include <stddef.h>
#include <stdint.h>

#define SIZE_TEXT_MAX 32

/*
 * Read "4096", "64K", "10G", "10GiB": an integer with an optional binary suffix K, M, G, T, P or E, in either case.
 * *ret_bytes is written on success only. 0; -EINVAL (with context) when it is malformed, -ERANGE when it is 2^63 or
 * more.
 */
int size_parse(const char *text, uint64_t *ret_bytes);

/* "512", "4.0K", "1.5G": exact multiples without a fraction ("10G"). Returns @buf. */
char *size_format(uint64_t bytes, char buf[SIZE_TEXT_MAX]);
/* A rate or a count: "0", "12", "3.4k", "1.2M" (powers of 1000). Returns @buf. */
char *count_format(double value, char buf[SIZE_TEXT_MAX]);
/* "17us", "1.5ms", "2.0s"; "-" for a negative value (nothing was measured). Returns @buf. */
char *latency_format(double seconds, char buf[SIZE_TEXT_MAX]);
/* "5s", "2m03s", "4h10m", "3d04h". Returns @buf. */
char *duration_format(uint64_t seconds, char buf[SIZE_TEXT_MAX]);
/* Local time of @wall_ns (since 1970): "2025-01-31 17:05"; "-" for 0. Returns @buf. */
char *time_format(uint64_t wall_ns, char buf[SIZE_TEXT_MAX]);

#endif
