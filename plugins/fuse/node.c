/* SPDX-License-Identifier: BSD-3-Clause */
/* The objects that the kernel knows: a hash table by file system and object number. */
#include "plugins/fuse/node.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

#define BUCKETS_MIN 1024u

uint64_t node_now_ns(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static size_t bucket_of(const struct node_table *t, uint64_t fsid, uint64_t file_id)
{
	uint64_t h = (file_id ^ (fsid << 32 | fsid >> 32)) * UINT64_C(0x9e3779b97f4a7c15);

	return (size_t)(h >> 32) & (t->bucket_count - 1);
}

int node_table_init(struct node_table *t)
{
	*t = (struct node_table){ .bucket_count = BUCKETS_MIN };
	t->buckets = calloc(t->bucket_count, sizeof(struct node *));
	if (!t->buckets)
		return -ENOMEM;
	pthread_mutex_init(&t->lock, NULL);
	return 0;
}

static void node_free(struct node *n)
{
	names_free(n->names);
	wfs_ledger_unref(atomic_load(&n->ledger));
	free(n);
}

void node_table_done(struct node_table *t)
{
	for (size_t i = 0; i < t->bucket_count; i++) {
		while (t->buckets[i]) {
			struct node *n = t->buckets[i];

			t->buckets[i] = n->next;
			node_free(n);
		}
	}
	free(t->buckets);
	pthread_mutex_destroy(&t->lock);
}

/* Twice the buckets; without memory they stay as they are. */
static void grow(struct node_table *t)
{
	struct node_table bigger = { .bucket_count = t->bucket_count * 2 };

	bigger.buckets = calloc(bigger.bucket_count, sizeof(struct node *));
	if (!bigger.buckets)
		return;
	for (size_t i = 0; i < t->bucket_count; i++) {
		while (t->buckets[i]) {
			struct node *n = t->buckets[i];
			struct node **to = &bigger.buckets[bucket_of(&bigger, n->fsid, n->file_id)];

			t->buckets[i] = n->next;
			n->next = *to;
			*to = n;
		}
	}
	free(t->buckets);
	t->buckets = bigger.buckets;
	t->bucket_count = bigger.bucket_count;
}

static struct node *find(struct node_table *t, uint64_t fsid, uint64_t file_id)
{
	struct node *n = t->buckets[bucket_of(t, fsid, file_id)];

	while (n && (n->fsid != fsid || n->file_id != file_id))
		n = n->next;
	return n;
}

struct node *node_get(struct node_table *t, const struct wfs_attr *attr, const struct wfs_fh *fh)
{
	struct node *n, **bucket;

	pthread_mutex_lock(&t->lock);
	n = find(t, attr->fsid, attr->file_id);
	if (!n) {
		n = calloc(1, sizeof(*n));
		if (!n) {
			pthread_mutex_unlock(&t->lock);
			return NULL;
		}
		n->fsid = attr->fsid;
		n->file_id = attr->file_id;
		n->fh = *fh;
		if (t->count >= t->bucket_count)
			grow(t);
		bucket = &t->buckets[bucket_of(t, n->fsid, n->file_id)];
		n->next = *bucket;
		*bucket = n;
		t->count++;
	}
	n->lookups++;
	pthread_mutex_unlock(&t->lock);
	return n;
}

struct node *node_find(struct node_table *t, uint64_t fsid, uint64_t file_id)
{
	struct node *n;

	pthread_mutex_lock(&t->lock);
	n = find(t, fsid, file_id);
	if (n)
		n->lookups++;
	pthread_mutex_unlock(&t->lock);
	return n;
}

int node_all(struct node_table *t, struct node ***ret, size_t *ret_count)
{
	struct node **all;
	size_t count = 0;

	pthread_mutex_lock(&t->lock);
	all = malloc((t->count + 1) * sizeof(struct node *));
	for (size_t i = 0; all && i < t->bucket_count; i++) {
		for (struct node *n = t->buckets[i]; n; n = n->next) {
			n->lookups++;
			all[count++] = n;
		}
	}
	pthread_mutex_unlock(&t->lock);
	*ret = all;
	*ret_count = count;
	return all ? 0 : -ENOMEM;
}

bool node_touched_since(struct node_table *t, uint64_t fsid, uint64_t file_id, uint64_t sequence)
{
	struct node *n;
	bool touched;

	pthread_mutex_lock(&t->lock);
	n = find(t, fsid, file_id);
	touched = n && atomic_load(&n->touched) > sequence;
	pthread_mutex_unlock(&t->lock);
	return touched;
}

void node_forget(struct node_table *t, struct node *n, uint64_t count)
{
	struct node **p;

	pthread_mutex_lock(&t->lock);
	if (n->lookups > count) {
		n->lookups -= count;
		pthread_mutex_unlock(&t->lock);
		return;
	}
	p = &t->buckets[bucket_of(t, n->fsid, n->file_id)];
	while (*p != n)
		p = &(*p)->next;
	*p = n->next;
	t->count--;
	pthread_mutex_unlock(&t->lock);
	if (t->gone)
		t->gone(t->gone_ctx, n);
	node_free(n);
}

struct wfs_ledger *node_ledger(struct node *n)
{
	struct wfs_ledger *l = atomic_load(&n->ledger), *new;

	if (l)
		return l;
	new = wfs_ledger_new();
	if (!new || atomic_compare_exchange_strong(&n->ledger, &l, new))
		return new;
	wfs_ledger_unref(new);
	return l;
}

uint64_t node_losses_seen(struct node *n)
{
	struct wfs_ledger *l = atomic_load(&n->ledger);

	return l ? wfs_ledger_seen(l) : 0;
}
