/* SPDX-License-Identifier: BSD-3-Clause */
/* Names to slots of the file table. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/bytes.h"
#include "core/base/err.h"
#include "core/base/siphash.h"
#include "core/base/sync.h"
#include "core/fs/wfs2/volume.h"

int wfs2_index_init(struct wfs2_index *x, const struct wfs2_super *s)
{
	uint32_t count = 8;
	uint64_t salt = sync_now_ns();

	while (count < s->file_count)
		count *= 2;
	memcpy(x->key, s->id, sizeof(x->key));
	/* Whoever made the volume cannot have chosen names that collide. */
	put_le64(x->key, get_le64(x->key) ^ salt);
	x->bucket_mask = count - 1;
	x->buckets = calloc(count, sizeof(*x->buckets));
	x->next = calloc(s->file_count, sizeof(*x->next));
	if (x->buckets && x->next)
		return 0;
	wfs2_index_done(x);
	return err_set(-ENOMEM, "no memory for the names of %u files", s->file_count);
}

void wfs2_index_done(struct wfs2_index *x)
{
	free(x->buckets);
	free(x->next);
	*x = (struct wfs2_index){ 0 };
}

static const uint8_t *name_at(const uint8_t *table, uint32_t slot, size_t *ret_len)
{
	const uint8_t *bytes = table + (uint64_t)slot * WFS2_SLOT_BYTES;

	*ret_len = get_le16(bytes + SLOT_NAME_LEN);
	return bytes + SLOT_NAME;
}

static uint32_t *bucket_of(const struct wfs2_index *x, const void *name, size_t len)
{
	return &x->buckets[siphash(x->key, name, len) & x->bucket_mask];
}

uint32_t wfs2_index_find(const struct wfs2_index *x, const uint8_t *table, const char *name, size_t len)
{
	for (uint32_t at = *bucket_of(x, name, len); at; at = x->next[at - 1]) {
		size_t other_len;
		const uint8_t *other = name_at(table, at - 1, &other_len);

		if (other_len == len && memcmp(other, name, len) == 0)
			return at - 1;
	}
	return WFS2_NO_SLOT;
}

void wfs2_index_add(struct wfs2_index *x, const uint8_t *table, uint32_t slot)
{
	size_t len;
	const uint8_t *name = name_at(table, slot, &len);
	uint32_t *bucket = bucket_of(x, name, len);

	x->next[slot] = *bucket;
	*bucket = slot + 1;
}

void wfs2_index_remove(struct wfs2_index *x, const uint8_t *table, uint32_t slot)
{
	size_t len;
	const uint8_t *name = name_at(table, slot, &len);
	uint32_t *at = bucket_of(x, name, len);

	while (*at && *at != slot + 1)
		at = &x->next[*at - 1];
	if (*at)
		*at = x->next[slot];
	x->next[slot] = 0;
}
