/* SPDX-License-Identifier: BSD-3-Clause */
/* Reading nodes: what comes from the device is believed only after its hash, its structure and its identity agree. */
#include <errno.h>
#include <inttypes.h>

#include "core/base/checksum.h"
#include "core/base/err.h"
#include "core/base/nowait.h"
#include "core/base/mutate.h"
#include "core/base/sync.h"
#include "core/fs/wfs3/tree_priv.h"

int tree_check_identity(uint64_t dataset_id, const struct node_wanted *want, const uint8_t *page)
{
	struct wfs3_key first = node_key(page, 0), last = node_key(page, node_count(page) - 1);

	if (node_dataset(page) != dataset_id)
		return err_set(-EUCLEAN, "tree node belongs to dataset %" PRIu64, node_dataset(page));
	if (node_birth(page) != want->ptr.birth)
		return err_set(-EUCLEAN, "tree node was born in %" PRIu64 ", its parent says %" PRIu64,
		               node_birth(page), want->ptr.birth);
	if (want->level >= 0 && node_level(page) != (unsigned)want->level)
		return err_set(-EUCLEAN, "tree node has level %u", node_level(page));
	if ((want->has_low && wfs3_key_cmp(&first, &want->low) < 0) ||
	    (want->has_high && wfs3_key_cmp(&last, &want->high) >= 0))
		return err_set(-EUCLEAN, "tree node has keys outside of its range");
	return 0;
}

static bool hash_is_good(void *ctx, const void *page)
{
	return MUTATE(NO_NODE_HASH) ||
	       hash128_equal(hash128(page, WFS3_NODE_BYTES), ((const struct node_wanted *)ctx)->ptr.hash);
}

static int read_page(const struct tree_env *env, const struct node_wanted *want, uint8_t *page)
{
	struct node_wanted copy = *want;
	int rc = env->read_node(env->ctx, want->ptr.addr, page);

	if (rc || hash_is_good(&copy, page))
		return rc;
	rc = env->reread_node ? env->reread_node(env->ctx, want->ptr.addr, page, hash_is_good, &copy) : -EUCLEAN;
	return rc == -EUCLEAN ? err_set(-EUCLEAN, "tree node has a wrong hash") : rc;
}

int tree_read_node(const struct tree_env *env, uint64_t dataset_id, const struct node_wanted *want, uint8_t *page)
{
	int rc;

	sync_assert_may_block();
	rc = read_page(env, want, page);
	if (!rc)
		rc = node_check(page);
	if (!rc)
		rc = tree_check_identity(dataset_id, want, page);
	if (rc)
		err_add(rc,
		        "dataset %" PRIu64 " tree level %d from key (%" PRIu64 ", %u, %" PRIu64 ") address %" PRIu64
		        " txg %" PRIu64,
		        dataset_id, want->level, want->low.object, want->low.kind, want->low.offset, want->ptr.addr,
		        want->ptr.birth);
	return rc;
}

/* A new node for @want, in the cache; referenced. Another thread's, when that was faster. */
static int load(struct tree *t, const struct node_wanted *want, struct node **ret)
{
	struct node *n = node_new(t->env.cache, false);
	int rc;

	if (!n)
		return -ENOMEM;
	rc = tree_read_node(&t->env, t->dataset_id, want, n->page);
	if (rc) {
		node_unref(n);
		return rc;
	}
	n->level = (uint8_t)node_level(n->page);
	n->birth = want->ptr.birth;
	n->ptr = want->ptr;
	n->placed = true;
	*ret = node_cache_insert(t->env.cache, n);
	node_unref(n);
	return 0;
}

/* What is missing on the way to @key: 1 and *ret_want, or 0 for nothing. */
static int find_missing(struct tree *t, const struct wfs3_key *key, struct node_wanted *ret_want)
{
	struct node_use leaf;
	int rc;

	sync_rwlock_rdlock(&t->lock);
	rc = tree_find_leaf(t, key, &leaf, ret_want);
	if (!rc)
		node_use_end(&leaf);
	sync_rwlock_rdunlock(&t->lock);
	return rc == -EAGAIN;
}

static bool ptr_equal(const struct wfs3_ptr *a, const struct wfs3_ptr *b)
{
	return a->addr == b->addr && a->birth == b->birth && hash128_equal(a->hash, b->hash);
}

/* The tree holds on to its root. */
static void adopt_root(struct tree *t, struct node *n)
{
	sync_rwlock_wrlock(&t->lock);
	if (!t->root && ptr_equal(&t->root_ptr, &n->ptr)) {
		node_ref(n);
		t->root = n;
	}
	sync_rwlock_wrunlock(&t->lock);
}

int tree_fetch(struct tree *t, const struct wfs3_key *key)
{
	/* Until the whole path is there, nothing of it is evicted. A path that changes meanwhile may take more reads
	 * than it has levels: the oldest give way. */
	struct node *held[NODE_LEVEL_MAX + 1] = { 0 };
	struct node_wanted want, again;
	unsigned count = 0;
	int rc = 0;

	if (nowait_here())
		return -EAGAIN;
	while (!rc && find_missing(t, key, &want)) {
		struct node *n;

		rc = load(t, &want, &n);
		/* Not needed any more: then what was read may be something else, and that is no error. */
		if (rc == -EUCLEAN && !(find_missing(t, key, &again) && ptr_equal(&again.ptr, &want.ptr))) {
			rc = 0;
			continue;
		}
		if (rc)
			break;
		if (want.level < 0)
			adopt_root(t, n);
		node_unref(held[count % (NODE_LEVEL_MAX + 1)]);
		held[count++ % (NODE_LEVEL_MAX + 1)] = n;
	}
	for (unsigned i = 0; i <= NODE_LEVEL_MAX; i++)
		node_unref(held[i]);
	return rc;
}
