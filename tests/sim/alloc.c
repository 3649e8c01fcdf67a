/* SPDX-License-Identifier: BSD-3-Clause */
/* Wrapped allocation and randomness: see alloc.h. */
#include "tests/sim/alloc.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

#include "tests/sim/rng.h"

void *__real_malloc(size_t bytes);
void *__real_calloc(size_t count, size_t bytes);
void *__real_realloc(void *p, size_t bytes);
void *__real_aligned_alloc(size_t align, size_t bytes);
char *__real_strdup(const char *s);
void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);
void *__wrap_realloc(void *p, size_t bytes);
void *__wrap_aligned_alloc(size_t align, size_t bytes);
char *__wrap_strdup(const char *s);
ssize_t __wrap_getrandom(void *buf, size_t len, unsigned flags);

static bool armed;
static uint64_t count, failed, fail_from, fail_to;
static struct rng random_numbers;

void alloc_arm(uint64_t nth, uint64_t more)
{
	count = failed = 0;
	fail_from = nth;
	fail_to = nth ? nth + more : 0;
	armed = true;
}

uint64_t alloc_disarm(void)
{
	armed = false;
	return count;
}

uint64_t alloc_failures(void)
{
	return failed;
}

static bool refuse(void)
{
	if (!armed)
		return false;
	count++;
	if (count < fail_from || count > fail_to)
		return false;
	failed++;
	errno = ENOMEM;
	return true;
}

void *__wrap_malloc(size_t bytes)
{
	return refuse() ? NULL : __real_malloc(bytes);
}

void *__wrap_calloc(size_t n, size_t bytes)
{
	return refuse() ? NULL : __real_calloc(n, bytes);
}

void *__wrap_realloc(void *p, size_t bytes)
{
	return refuse() ? NULL : __real_realloc(p, bytes);
}

void *__wrap_aligned_alloc(size_t align, size_t bytes)
{
	return refuse() ? NULL : __real_aligned_alloc(align, bytes);
}

char *__wrap_strdup(const char *s)
{
	return refuse() ? NULL : __real_strdup(s);
}

void *exempt_alloc(size_t bytes)
{
	void *p = __real_calloc(1, bytes ? bytes : 1);

	if (!p)
		abort();
	return p;
}

void *exempt_realloc(void *p, size_t bytes)
{
	p = __real_realloc(p, bytes);
	if (!p)
		abort();
	return p;
}

void random_seed(uint64_t seed)
{
	random_numbers = rng_new(seed, 5);
}

ssize_t __wrap_getrandom(void *buf, size_t len, unsigned flags)
{
	uint8_t *at = buf;

	(void)flags;
	for (size_t i = 0; i < len; i++)
		at[i] = (uint8_t)rng_next(&random_numbers);
	return (ssize_t)len;
}
