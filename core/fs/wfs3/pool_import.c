/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Import: read the labels, see that every device is there, choose the newest root whose pool tree and allocation state
 * are whole, and make the pool live.
 *
 * Root R and the one before it are always whole on the devices (a block freed in a group is reused only when that group
 * and one more are durable), so a damaged newest root costs one transaction group. Older roots may have lost blocks to
 * reuse; they are only tried read-only.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/checked.h"
#include "core/base/err.h"
#include "core/base/log.h"
#include "core/base/mutate.h"
#include "core/fs/wfs3/import.h"
#include "core/fs/wfs3/members.h"
#include "core/fs/wfs3/filetree.h"
#include "core/fs/wfs3/scrub.h"

#define NODE_CACHE_MIN_BYTES (size_t)(4u << 20)

static void note_add(struct pool *p, const char *text)
{
	size_t len = strlen(p->note);

	snprintf(p->note + len, sizeof(p->note) - len, "%s%s", len ? "; " : "", text);
}

static int root_newer(const void *a, const void *b)
{
	const struct root *x = a, *y = b;

	return x->txg < y->txg ? 1 : x->txg > y->txg ? -1 : 0;
}

/* Each group's root is on every device before the next one begins. Which of a device's slots tell how far it came? */
static bool may_hold(const struct import_progress *g, uint64_t txg)
{
	return g->newest_txg >= txg || g->bad_slots >> txg % LABEL_ROOT_SLOTS & 1;
}

/*
 * A device that has neither the newest root nor the one before it, nor damage in their places, missed what the others
 * got: it was away, or it is an old copy. When its group has another one, that is used.
 */
static int check_same_time(struct pool *p, const struct import_progress progress[][MIRROR_COPIES_MAX],
                           uint64_t newest_txg)
{
	for (unsigned g = 0; g < p->device_count; g++)
		for (unsigned i = 0; i < MIRROR_COPIES_MAX; i++) {
			const struct import_progress *at = &progress[g][i];
			struct mirror_copy c;
			int ret;

			mirror_get(p->devices[g].dev, i, &c);
			if (c.state != MIRROR_ONLINE || may_hold(at, newest_txg) || may_hold(at, newest_txg - 1))
				continue;
			ret = err_set(-EUCLEAN,
			              "device %s is from an older time of the pool: its newest root is %" PRIu64
			              ", that of the pool is %" PRIu64,
			              blk_name(c.dev), at->newest_txg, newest_txg);
			if (!mirror_give_up(p->devices[g].dev, i, "being up to date", ret))
				return ret;
		}
	return 0;
}

/* The roots of one copy of a group. What cannot be read may be on another one. */
static int read_roots(struct pool *p, unsigned group, unsigned copy, struct root_list *list, struct import_roots *c,
                      struct import_progress *ret)
{
	const struct pool_device *d = &p->devices[group];
	struct mirror_copy at;
	int err;

	mirror_get(d->dev, copy, &at);
	if (at.state != MIRROR_ONLINE)
		return 0;
	err = root_read_all(at.dev, &d->label, list);
	if (err)
		return mirror_give_up(d->dev, copy, "reading roots", err) ? 0 : err;
	memcpy(&c->roots[c->count], list->roots, list->count * sizeof(struct root));
	c->count += list->count;
	c->bad_count += list->bad_count;
	c->txg_max = max_u64(c->txg_max, list->bad_txg_max);
	ret->newest_txg = list->count ? list->roots[0].txg : 0;
	ret->bad_slots = list->bad_slots;
	return 0;
}

static int find_roots(struct pool *p, struct import_roots *ret)
{
	struct root_list *list = malloc(sizeof(*list));
	size_t slots = (size_t)p->device_count * MIRROR_COPIES_MAX * 2 * LABEL_ROOT_SLOTS;
	int err = 0;
	unsigned kept = 0;

	ret->roots = calloc(slots, sizeof(struct root));
	ret->progress = calloc(p->device_count, sizeof(*ret->progress));
	if (!list || !ret->roots || !ret->progress) {
		err = err_set(-ENOMEM, "no memory for roots");
		goto out;
	}
	for (unsigned g = 0; g < p->device_count; g++)
		for (unsigned i = 0; i < MIRROR_COPIES_MAX && !err; i++)
			err = read_roots(p, g, i, list, ret, &ret->progress[g][i]);
	if (err)
		goto out;
	qsort(ret->roots, ret->count, sizeof(struct root), root_newer);
	for (unsigned i = 0; i < ret->count; i++)
		if (!kept || ret->roots[i].txg != ret->roots[kept - 1].txg)
			ret->roots[kept++] = ret->roots[i];
	ret->count = kept;
	if (kept) {
		ret->txg_max = max_u64(ret->txg_max, ret->roots[0].txg);
		err = check_same_time(p, ret->progress, ret->roots[0].txg);
	} else {
		err = err_set(-EUCLEAN, "no valid root on any device (%u damaged)", ret->bad_count);
	}
out:
	free(list);
	return err;
}

/* Collecting dataset records: the tree is scanned one leaf at a time. */
struct load {
	struct pool *p;
	uint64_t txg;
	int error;
};

static int load_scrub(struct pool *p, const struct wfs3_key *key, const void *value, size_t len)
{
	struct scrub_item item;
	int ret;

	if (key->object || key->offset)
		return err_set(-EUCLEAN, "the pool tree holds the state of a scrub in a wrong place");
	ret = scrub_item_decode(value, len, &item);
	if (!ret)
		scrub_load(p->scrub, &item);
	return ret;
}

static int load_quota(struct pool *p, const struct wfs3_key *key, const void *value, size_t len)
{
	struct quota_item item;
	struct dataset *ds = NULL;
	int ret = quota_item_decode(key, value, len, &item);

	/* The record of its dataset came just before. */
	if (!cds_list_empty(&p->datasets))
		ds = cds_list_entry(p->datasets.prev, struct dataset, link);
	if (!ret && (!ds || ds->id != key->object))
		ret = err_set(-EUCLEAN, "a quota of dataset %" PRIu64 ", which does not exist", key->object);
	return ret ? ret : quota_load(ds, &item);
}

static bool load_item(void *ctx, const struct wfs3_key *key, const void *value, size_t len)
{
	struct load *l = ctx;
	struct dataset_item item;

	if (key->kind == WFS3_KIND_SCRUB) {
		l->error = load_scrub(l->p, key, value, len);
		return !l->error;
	}
	if (key->kind == WFS3_KIND_QUOTA) {
		l->error = load_quota(l->p, key, value, len);
		return !l->error;
	}
	if (key->kind != WFS3_KIND_DATASET || key->offset)
		l->error = err_set(-EUCLEAN, "the pool tree holds an item of unknown kind %u", key->kind);
	else
		l->error = dataset_item_decode(key->object, value, len, &item);
	if (!l->error && item.id >= l->p->next_dataset_id)
		l->error = err_set(-EUCLEAN, "dataset %" PRIu64 " has a number that was not given out yet", item.id);
	if (!l->error && item.root.birth > l->txg)
		l->error = err_set(-EUCLEAN, "dataset %" PRIu64 " has a tree of txg %" PRIu64 ", from after the root",
		                   item.id, item.root.birth);
	if (!l->error)
		l->error = dataset_add_loaded(l->p, &item);
	return !l->error;
}

static int compare_names(const void *a, const void *b)
{
	const char *const *x = a;
	const char *const *y = b;

	return strcmp(*x, *y);
}

static int check_names(struct pool *p)
{
	struct dataset *ds;
	const char **names;
	size_t count = 0, n = 0;
	int ret = 0;

	cds_list_for_each_entry (ds, &p->datasets, link)
		count += ds->state == DATASET_STATE_LIVE;
	names = calloc(count + 1, sizeof(*names));
	if (!names)
		return err_set(-ENOMEM, "no memory for %zu names", count);
	cds_list_for_each_entry (ds, &p->datasets, link)
		if (ds->state == DATASET_STATE_LIVE)
			names[n++] = ds->name;
	qsort(names, n, sizeof(*names), compare_names);
	for (size_t i = 1; i < n && !ret; i++)
		if (!strcmp(names[i - 1], names[i]))
			ret = err_set(-EUCLEAN, "two datasets have the name '%s'", names[i]);
	free(names);
	return ret;
}

static int load_datasets(struct pool *p, uint64_t txg)
{
	struct wfs3_key from = { 0 };
	struct wfs3_key to = { .object = UINT64_MAX, .kind = UINT8_MAX, .offset = UINT64_MAX };
	struct load l = { .p = p, .txg = txg };
	int ret = 1;

	while (ret == 1 && !l.error) {
		ret = tree_scan(p->tree, &from, &to, load_item, &l, &from);
		if (ret == -EAGAIN) {
			ret = tree_fetch(p->tree, &from);
			if (!ret)
				ret = 1;
		}
	}
	if (l.error)
		return l.error;
	return ret ? ret : check_names(p);
}

/* The root of every dataset's tree must be readable, so that damage there is found while an older root can still be
 * used. */
static int probe_dataset(void *ctx, struct dataset *ds)
{
	(void)ctx;
	return ds->state == DATASET_STATE_LIVE ? dataset_load(ds) : 0;
}

static void forget_root(struct pool *p)
{
	struct dataset *ds, *next;

	cds_list_for_each_entry_safe (ds, next, &p->datasets, link) {
		cds_list_del(&ds->link);
		vfs_node_unref(&ds->self.node);
	}
	tree_free(p->tree);
	p->tree = NULL;
	space_free(p->space);
	p->space = NULL;
	node_cache_free(p->node_cache);
	p->node_cache = NULL;
}

static int try_root(struct pool *p, const struct root *r)
{
	struct space_device devs[WFS3_DEVICES_MAX];
	struct space_config config = { .devices = devs,
		                       .device_count = p->device_count,
		                       .region_bytes = p->devices[0].label.region_bytes,
		                       .repair = !p->read_only };
	size_t cache_min = p->w->config.node_cache_min_bytes;
	int ret;

	memcpy(config.pool_uuid, p->uuid, 16);
	for (unsigned i = 0; i < p->device_count; i++)
		devs[i] = (struct space_device){ .dev = p->devices[i].dev, .layout = p->devices[i].label.layout };
	ret = node_cache_new(p->w->config.budget, cache_min ? cache_min : NODE_CACHE_MIN_BYTES, &p->node_cache);
	if (ret)
		return ret;
	pool_init_env(p);
	p->next_dataset_id = r->next_dataset_id;
	p->pool_root = r->pool_tree;
	ret = space_load(&config, r->txg, &r->space, &p->space);
	if (!ret)
		ret = tree_new(&p->env, POOL_TREE_DATASET, &r->pool_tree, &p->tree);
	if (!ret)
		ret = load_datasets(p, r->txg);
	if (!ret)
		ret = dataset_each(p, probe_dataset, NULL);
	return ret;
}

/* Try candidates until one works; @p notes what was passed over. */
static int choose_root(struct pool *p, const struct import_roots *c, const struct root **ret)
{
	int err = -EUCLEAN;

	if (!p->read_only && c->txg_max > WFS3_TXG_WRITABLE_MAX)
		return err_set(-EUCLEAN, "transaction groups are numbered up to %" PRIu64 ": import read-only",
		               c->txg_max);
	for (unsigned i = MUTATE(OLDER_ROOT) && c->count > 1 ? 1 : 0; i < c->count; i++) {
		char text[256], why[POOL_REASON_MAX];

		if (!p->read_only && c->roots[i].txg + 1 < c->txg_max)
			return err_add(
			        err, "older roots than %" PRIu64 " may have lost blocks: import read-only to try them",
			        c->txg_max - 1);
		err = try_root(p, &c->roots[i]);
		if (!err) {
			*ret = &c->roots[i];
			return 0;
		}
		err_text(err_get(), err, 0, text, sizeof(text));
		log_error("wfs3", "pool=%s root=%" PRIu64 " cannot be used: %s", p->name, c->roots[i].txg, text);
		snprintf(why, sizeof(why), "root %" PRIu64 " was passed over: %s", c->roots[i].txg, text);
		note_add(p, why);
		forget_root(p);
		if (err != -EUCLEAN && err != -EIO)
			return err;
	}
	return err_set(err, "no root of pool %s can be used: %s", p->name, p->note);
}

static void note_damage(struct pool *p, const struct import_roots *c, const struct root *chosen)
{
	char text[160];

	if (chosen->txg < c->txg_max && !p->note[0]) {
		snprintf(text, sizeof(text), "root %" PRIu64 " was damaged; the older root %" PRIu64 " is used",
		         c->txg_max, chosen->txg);
		note_add(p, text);
	} else if (chosen->txg < c->txg_max) {
		snprintf(text, sizeof(text), "the older root %" PRIu64 " is used", chosen->txg);
		note_add(p, text);
	} else if (c->bad_count) {
		snprintf(text, sizeof(text), "%u damaged root slots, none of them needed", c->bad_count);
		note_add(p, text);
	}
	if (p->note[0])
		log_warning("wfs3", "pool=%s: %s", p->name, p->note);
}

/* Needs everything that a pool may carry to be known to this code. */
static void check_features(struct pool *p)
{
	uint64_t unknown = p->devices[0].label.features_ro_compat & ~WFS3_FEATURES_RO_COMPAT;
	char text[96];

	p->has_inline = p->devices[0].label.features_incompat & WFS3_FEATURE_INLINE;
	p->has_collapse = p->devices[0].label.features_incompat & WFS3_FEATURE_COLLAPSE;
	if (unknown && !p->read_only) {
		snprintf(text, sizeof(text), "read-only because of unknown features %#" PRIx64, unknown);
		note_add(p, text);
		p->read_only = p->members->labels_stay = true;
	}
}

/*
 * Recover, and let the pool take changes. Its first root tells that the pool is in use, and begins the log's new epoch:
 * nothing is acknowledged by way of the log before.
 */
static int go_live(struct pool *p, const struct import_roots *c, const struct root *r)
{
	int ret = 0;

	p->recovery.clean = r->clean;
	if (!p->read_only)
		ret = recover_pool(p, r);
	/* Not before: a pool that cannot be imported is left as it is. */
	if (!ret && !p->read_only)
		import_repair(p, c, r);
	/* A crash may have left it on some devices only. All have it before there is another one: see
	 * check_same_time(). */
	if (!ret && !p->read_only)
		ret = txg_write_root(p, r);
	if (!ret && p->read_only)
		ret = filetree_finish_all(p);
	if (!ret)
		ret = txg_start(p);
	if (ret || p->read_only)
		return ret;
	ret = txg_force(p, 1);
	if (!ret)
		ret = filetree_finish_all(p);
	if (!ret)
		ret = reaper_start(p);
	if (!ret) {
		ret = members_start(p);
		if (!ret)
			ret = scrub_start(p->scrub);
		if (ret) {
			members_stop(p);
			reaper_stop(p);
		}
	}
	if (ret)
		txg_stop(p);
	return ret;
}

static int check_name_is_free(struct wfs3 *w, const struct pool *wanted)
{
	struct pool *p;
	bool taken = false;

	sync_mutex_lock(&w->lock);
	cds_list_for_each_entry (p, &w->pools, link)
		taken |= !strcmp(p->name, wanted->name);
	sync_mutex_unlock(&w->lock);
	return taken ? err_set(-EEXIST, "a pool named '%s' is already imported", wanted->name) : 0;
}

int pool_open_devices(struct wfs3 *w, struct blk_dev *const devs[], unsigned device_count, bool read_only,
                      struct pool **ret)
{
	struct import_roots c = { 0 };
	const struct root *chosen = NULL;
	struct pool *p;
	char notes[POOL_REASON_MAX];
	int err = members_assemble(w, devs, device_count, read_only, &p, notes);

	if (err)
		return err;
	if (notes[0])
		note_add(p, notes);
	check_features(p);
	err = check_name_is_free(w, p);
	if (!err)
		err = find_roots(p, &c);
	if (!err)
		err = choose_root(p, &c, &chosen);
	if (err) {
		members_disown(p);
		err_add(err, "import pool %s", p->name);
		pool_free(p);
		goto out;
	}
	note_damage(p, &c, chosen);
	txg_init(p, max_u64(chosen->txg, c.txg_max) + 1);
	members_passed_over(p, chosen->txg);
	err = go_live(p, &c, chosen);
	if (err) {
		members_disown(p);
		pool_free(p);
		goto out;
	}
	log_info("wfs3", "pool=%s imported root=%" PRIu64 " clean=%d read_only=%d", p->name, chosen->txg, chosen->clean,
	         p->read_only);
	*ret = p;
out:
	free(c.progress);
	free(c.roots);
	return err;
}
