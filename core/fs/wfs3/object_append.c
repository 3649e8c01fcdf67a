/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Results of appends. What was appended becomes durable when the inode's size in the tree reaches behind its beginning;
 * until then its result waits with the object, and then goes into the tree and the log together with that size. So a
 * crash leaves both, or neither.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/assert.h"
#include "core/base/err.h"
#include "core/fs/wfs3/pool.h"

struct object_append {
	struct object_append *next;
	uint64_t offset;
	struct wfs3_key key;
	uint8_t value[RESULT_BYTES];
};

int object_append_begin(struct object *o, uint64_t offset, const struct vfs_tag *tag)
{
	struct object_append *a = malloc(sizeof(*a));
	int rc = 0;

	if (!a)
		return err_set(-ENOMEM, "no memory for the result of a request");
	a->offset = offset;
	a->key = result_key(tag->client, tag->place);
	result_encode_tag(tag, sync_wall_ns() / SYNC_NS_PER_S, offset, a->value);
	sync_mutex_lock(&o->ds->items_lock);
	if (o->append_count == OBJECT_APPENDS_MAX) {
		rc = -EAGAIN;
	} else {
		a->next = o->appends;
		o->appends = a;
		o->append_count++;
	}
	sync_mutex_unlock(&o->ds->items_lock);
	if (rc)
		free(a);
	return rc;
}

/* Take the first that @takes out of the list. */
static struct object_append *take(struct object *o, bool (*takes)(const struct object_append *a, const void *what),
                                  const void *what)
{
	struct object_append **at = &o->appends, *a;

	while (*at && !takes(*at, what))
		at = &(*at)->next;
	a = *at;
	if (a) {
		*at = a->next;
		o->append_count--;
	}
	return a;
}

static bool has_key(const struct object_append *a, const void *key)
{
	return wfs3_key_cmp(&a->key, key) == 0;
}

static bool is_below(const struct object_append *a, const void *size_bytes)
{
	return a->offset < *(const uint64_t *)size_bytes;
}

void object_append_cancel(struct object *o, const struct vfs_tag *tag)
{
	struct wfs3_key key = result_key(tag->client, tag->place);

	sync_mutex_lock(&o->ds->items_lock);
	free(take(o, has_key, &key));
	sync_mutex_unlock(&o->ds->items_lock);
}

unsigned object_append_items(const struct object *o, uint64_t size_bytes, struct item_change *ret)
{
	unsigned n = 0;

	for (const struct object_append *a = o->appends; a; a = a->next)
		if (is_below(a, &size_bytes))
			ret[n++] = (struct item_change){
				.op = ITEM_PUT, .key = a->key, .value = a->value, .len = sizeof(a->value)
			};
	return n;
}

void object_append_stored(struct object *o, uint64_t size_bytes)
{
	struct object_append *a;

	while ((a = take(o, is_below, &size_bytes)))
		free(a);
}

/* The oldest that waits, and all behind it. */
int object_append_settle(struct object *o)
{
	uint64_t first = UINT64_MAX;

	sync_mutex_lock(&o->ds->items_lock);
	for (const struct object_append *a = o->appends; a; a = a->next)
		if (a->offset < first)
			first = a->offset;
	sync_mutex_unlock(&o->ds->items_lock);
	return first == UINT64_MAX ? 0 : object_persist(o, first, UINT64_MAX - first);
}

bool object_append_find(struct object *o, const struct wfs3_key *key, uint8_t ret[RESULT_BYTES])
{
	bool found = false;

	sync_mutex_lock(&o->ds->items_lock);
	for (const struct object_append *a = o->appends; a && !found; a = a->next) {
		found = has_key(a, key);
		if (found)
			memcpy(ret, a->value, RESULT_BYTES);
	}
	sync_mutex_unlock(&o->ds->items_lock);
	return found;
}
