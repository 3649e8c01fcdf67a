/* SPDX-License-Identifier: BSD-3-Clause */
/* How much of many like cases is tried: all, or where a tool makes programs slow (WFSD_TEST_SLOW=N, times slower) one
 * of each N. */
#ifndef WFSD_TESTS_UNIT_SLOW_H
#define WFSD_TESTS_UNIT_SLOW_H

#include <stdbool.h>
#include <stdlib.h>

/* 1 or more. */
static inline unsigned test_slow(void)
{
	const char *text = getenv("WFSD_TEST_SLOW");
	unsigned long n = text ? strtoul(text, NULL, 10) : 1;

	return n >= 1 && n <= 1000 ? (unsigned)n : 1;
}

/* Is the @nth of many like cases (from 0) to be tried? The first one always is. */
static inline bool test_tries(unsigned nth)
{
	return nth % test_slow() == 0;
}

#endif
