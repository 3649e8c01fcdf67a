/* SPDX-License-Identifier: BSD-3-Clause */
/* Results of requests in a file tree: asked for, and dropped, in steps, when nobody will ask for them any more. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/checked.h"
#include "core/base/err.h"
#include "core/base/log.h"
#include "core/fs/wfs3/filetree.h"

#define DROP_ITEMS 32u /* in one change */

_Static_assert(DROP_ITEMS <= EDIT_ITEMS_MAX, "one change has them");

/* *ret points into @buf, of TREE_ITEM_BYTES_MAX. */
static int read_result(struct dataset *ds, const struct wfs3_key *key, uint8_t *buf, struct result_item *ret)
{
	size_t len;
	int rc = edit_read(ds, key, buf, TREE_ITEM_BYTES_MAX, &len);

	return rc ? rc : result_decode(key, buf, len, ret);
}

static bool same_request(const struct result_item *a, const struct result_item *b)
{
	return memcmp(a->client, b->client, sizeof(a->client)) == 0 && a->sequence == b->sequence &&
	       a->kind == b->kind && a->number == b->number;
}

/* The rest of an answer whose first part is @r. Parts that have expired by now leave none: *ret stays NULL. */
static int read_answer(struct dataset *ds, const struct vfs_tag *tag, const struct result_item *r, uint8_t *buf,
                       uint8_t **ret)
{
	size_t done = r->part_len, len = (size_t)r->number;
	uint8_t *answer = malloc(len);
	struct result_item next = *r;
	int rc = 0;

	if (!answer)
		return err_set(-ENOMEM, "no memory for an answer of %zu bytes", len);
	memcpy(answer, r->part, done);
	for (uint64_t place = tag->place + 1; done < len && !rc; place++) {
		struct wfs3_key key = result_key(tag->client, place);

		rc = read_result(ds, &key, buf, &next);
		if (!rc && (!same_request(&next, r) || next.part_len != min_u64(ANSWER_PART_BYTES, len - done)))
			rc = -ENOENT;
		if (!rc)
			memcpy(answer + done, next.part, next.part_len);
		done += next.part_len;
	}
	if (rc)
		free(answer);
	else
		*ret = answer;
	return rc == -ENOENT ? 0 : rc;
}

static int recall(struct object *o, const struct vfs_tag *tag, struct vfs_result *ret)
{
	struct wfs3_key key = result_key(tag->client, tag->place);
	uint8_t buf[TREE_ITEM_BYTES_MAX], *answer = NULL;
	struct result_item r;
	int rc;

	if (object_append_find(o, &key, buf))
		rc = result_decode(&key, buf, RESULT_BYTES, &r);
	else
		rc = read_result(o->ds, &key, buf, &r);
	if (rc)
		return rc;
	/* Two clients whose keys begin alike share places: that of the later one counts. */
	if (memcmp(r.client, tag->client, sizeof(r.client)) != 0 || (int32_t)(tag->sequence - r.sequence) > 0)
		return -ENOENT;
	if (tag->sequence != r.sequence)
		return err_set(-EPROTO, "request %u comes after %u", tag->sequence, r.sequence);
	if (r.part_len)
		rc = read_answer(o->ds, tag, &r, &buf[0], &answer);
	if (!rc)
		*ret = (struct vfs_result){
			.kind = r.kind, .number = r.number, .answer = answer, .answer_len = answer ? r.number : 0
		};
	return rc;
}

int filetree_recall(struct vfs_node *any, const struct vfs_tag *tag, struct vfs_result *ret)
{
	struct object *o = filetree_object(any);
	int rc = dataset_enter(o->ds, 0);

	if (rc)
		return rc;
	rc = recall(o, tag, ret);
	dataset_exit(o->ds);
	return rc;
}

/* ---- dropping ---- */

struct old {
	const uint8_t *client; /* whose results go; NULL: those that have expired */
	uint64_t now_s;
	bool any;
	unsigned count;
	struct wfs3_key keys[DROP_ITEMS];
};

static bool note_old(void *ctx, const struct wfs3_key *key, const void *value, size_t len)
{
	struct old *old = ctx;
	struct result_item r;

	old->any = true;
	/* What is damaged is the check's to tell of. */
	if (key->kind == WFS3_KIND_RESULT && !result_decode(key, value, len, &r) &&
	    (old->client ? memcmp(r.client, old->client, sizeof(r.client)) == 0 : r.expires_s < old->now_s))
		old->keys[old->count++] = *key;
	return old->count < DROP_ITEMS;
}

static int drop(struct dataset *ds, const struct old *old)
{
	struct edit e;

	edit_init(&e, ds);
	for (unsigned i = 0; i < old->count; i++)
		edit_delete(&e, &old->keys[i]);
	return old->count ? edit_run(&e) : 0;
}

/* One leaf, at most. 1: there is more. */
static int drop_some(struct dataset *ds, struct wfs3_key *from, const struct wfs3_key *to, struct old *old)
{
	struct wfs3_key resume;
	struct filetree_op op;
	int more, rc = filetree_begin(ds, true, &op);

	if (rc)
		return rc;
	old->count = 0;
	more = tree_scan(ds->tree, from, to, note_old, old, &resume);
	*from = resume;
	if (more == -EAGAIN) {
		rc = tree_fetch(ds->tree, &resume);
		more = 1;
	} else if (more >= 0) {
		rc = drop(ds, old);
	}
	filetree_end(&op);
	return rc ? rc : more;
}

int filetree_drop_results(struct dataset *ds, bool (*stopping)(struct pool *p))
{
	const struct wfs3_key to = { UINT64_MAX, UINT8_MAX, UINT64_MAX };
	struct wfs3_key from = { .object = RESULT_OBJECT_MIN };
	struct old old = { .now_s = sync_wall_ns() / SYNC_NS_PER_S };
	int rc = 1;

	if (!__atomic_exchange_n(&ds->has_results, false, __ATOMIC_ACQ_REL))
		return 0;
	while (rc == 1 && !stopping(ds->pool))
		rc = drop_some(ds, &from, &to, &old);
	if (rc || old.any)
		__atomic_store_n(&ds->has_results, true, __ATOMIC_RELEASE);
	return rc < 0 ? rc : 0;
}

int filetree_forget_results(struct dataset *ds, const uint8_t client[VFS_CLIENT_KEY_BYTES])
{
	struct wfs3_key from = result_key(client, 0), to = result_key(client, UINT64_MAX);
	struct old old = { .client = client };
	int rc = 1;

	/* Whether there are any is not known while those that have expired are dropped. */
	while (rc == 1)
		rc = drop_some(ds, &from, &to, &old);
	return rc;
}
