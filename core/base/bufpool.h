/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Pool of equally sized buffers, aligned to 4 KiB, for device I/O and payloads. Freed buffers are kept for reuse up to
 * a bound, so that a hot path does not call the allocator.
 */
#ifndef WFSD_CORE_BASE_BUFPOOL_H
#define WFSD_CORE_BASE_BUFPOOL_H

#include <stddef.h>

struct budget_consumer;
struct bufpool;

/* @buf_bytes: multiple of 4096. @keep_max: free buffers kept. @charge: charged for every buffer that exists, or NULL.
 * NULL when memory is short. */
struct bufpool *bufpool_new(size_t buf_bytes, size_t keep_max, struct budget_consumer *charge);
void bufpool_free(struct bufpool *p); /* every buffer was put back */

/* Contents are undefined. NULL when memory is short. Any thread. */
void *bufpool_get(struct bufpool *p);
void bufpool_put(struct bufpool *p, void *buf); /* NULL is fine */
/* Give kept buffers back to the system. Returns the bytes freed. */
size_t bufpool_trim(struct bufpool *p);

#endif
