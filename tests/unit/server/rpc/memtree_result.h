/* SPDX-License-Identifier: BSD-3-Clause */
/* The results of requests that memtree.h keeps, which includes this behind its structures. */
#ifndef WFSD_TESTS_UNIT_SERVER_RPC_MEMTREE_RESULT_H
#define WFSD_TESTS_UNIT_SERVER_RPC_MEMTREE_RESULT_H

static inline struct memtree_result *mt_result(struct memtree *t, const struct vfs_tag *tag)
{
	for (unsigned i = 0; i < t->result_count; i++) {
		if (memcmp(t->results[i].tag.client, tag->client, sizeof(tag->client)) == 0 &&
		    t->results[i].tag.place == tag->place)
			return &t->results[i];
	}
	return NULL;
}

/* With the lock held: the change was made. */
static inline void mt_note(struct memtree *t, const struct vfs_tag *tag, uint64_t number)
{
	struct memtree_result *r = tag && !t->forgets ? mt_result(t, tag) : NULL;

	if (!tag || t->forgets)
		return;
	if (!r && t->result_count < MEMTREE_RESULTS_MAX)
		r = &t->results[t->result_count++];
	if (r)
		*r = (struct memtree_result){ *tag, number };
}

/* Something was made. */
static inline void mt_made(struct memtree *t, const struct vfs_tag *tag, uint64_t object)
{
	sync_mutex_lock(&t->fs.lock);
	t->creates++;
	mt_note(t, tag, object);
	sync_mutex_unlock(&t->fs.lock);
}

/* Note a change that succeeded. Returns @err. */
static inline int mt_done(struct memtree *t, const struct vfs_tag *tag, int err, uint64_t number)
{
	if (!err) {
		sync_mutex_lock(&t->fs.lock);
		mt_note(t, tag, number);
		sync_mutex_unlock(&t->fs.lock);
	}
	return err;
}

static inline int mt_recall(struct vfs_node *any, const struct vfs_tag *tag, struct vfs_result *ret)
{
	struct memtree *t = mt(any);
	struct memtree_result *r;
	int err = 0;

	if (t->forgets)
		return -EOPNOTSUPP;
	sync_mutex_lock(&t->fs.lock);
	r = mt_result(t, tag);
	if (!r || (int32_t)(tag->sequence - r->tag.sequence) > 0)
		err = -ENOENT;
	else if (r->tag.sequence != tag->sequence)
		err = err_set(-EPROTO, "a later request");
	else
		*ret = (struct vfs_result){ .kind = r->tag.kind, .number = r->number };
	sync_mutex_unlock(&t->fs.lock);
	return err;
}

#endif
