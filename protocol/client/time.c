/* SPDX-License-Identifier: BSD-3-Clause */
/* libwfs: times of files, as the protocol and as POSIX have them. */
#include <stdbool.h>
#include <time.h>

#include "protocol/client/wfs_tree.h"

#define NS_PER_S INT64_C(1000000000)

uint64_t wfs_time_to_ns(const struct timespec *t)
{
	/* Towards 0, or the first second would be beyond what the product can be. */
	bool before = t->tv_sec < 0;
	int64_t ns, part = t->tv_nsec - (before ? NS_PER_S : 0);

	if (__builtin_mul_overflow(t->tv_sec + before, NS_PER_S, &ns) || __builtin_add_overflow(ns, part, &ns))
		return (uint64_t)(before ? INT64_MIN : INT64_MAX);
	return (uint64_t)ns;
}

void wfs_time_from_ns(uint64_t ns, struct timespec *ret)
{
	int64_t part = (int64_t)ns % NS_PER_S;

	*ret = (struct timespec){ .tv_sec = (int64_t)ns / NS_PER_S - (part < 0),
		                  .tv_nsec = part < 0 ? part + NS_PER_S : part };
}
