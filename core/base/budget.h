/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The one memory budget. Each consumer (page cache, node cache, protocol buffers) charges what it holds; when the sum
 * passes the limit, consumers that can shrink are asked to give way, the largest above its guaranteed minimum first.
 */
#ifndef WFSD_CORE_BASE_BUDGET_H
#define WFSD_CORE_BASE_BUDGET_H

#include <stdbool.h>
#include <stddef.h>

#define BUDGET_CONSUMERS_MAX 64

struct budget;
struct budget_consumer;

/*
 * Free about @bytes; returns how many bytes were uncharged (by calling budget_uncharge() inside). Called without any
 * budget lock from a thread that charges; must not wait for a device.
 */
typedef size_t budget_shrink_fn(void *ctx, size_t bytes);

struct budget *budget_new(size_t limit_bytes); /* NULL when memory is short */
void budget_free(struct budget *b); /* every consumer is gone by now */

/*
 * @name: literal, for metrics. @min_bytes: never asked to shrink below this. @shrink: NULL when it cannot.
 * Returns NULL when memory is short or BUDGET_CONSUMERS_MAX is reached.
 */
struct budget_consumer *budget_join(struct budget *b, const char *name, size_t min_bytes, budget_shrink_fn *shrink,
                                    void *ctx);
/* Everything must be uncharged. On return @shrink is not running. */
void budget_leave(struct budget_consumer *c);

/*
 * Charge always succeeds; when the total is then above the limit, consumers (the charging one may be among them) are
 * shrunk before it returns. budget_try_charge() refuses (false, nothing charged) when even that leaves the total above
 * the limit. Neither waits for a device. Any thread; callers hold no lock that their own shrink function takes.
 */
void budget_charge(struct budget_consumer *c, size_t bytes);
bool budget_try_charge(struct budget_consumer *c, size_t bytes);
void budget_uncharge(struct budget_consumer *c, size_t bytes);

size_t budget_limit(const struct budget *b);
size_t budget_used(const struct budget *b);
size_t budget_consumer_used(const struct budget_consumer *c);

/* For metrics: calls @fn for each consumer, once for all that have the same name. */
void budget_each(struct budget *b, void (*fn)(void *ctx, const char *name, size_t used_bytes), void *ctx);

#endif
