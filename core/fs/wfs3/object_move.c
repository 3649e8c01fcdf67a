/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Cells of a file get other places in it, because a range before them is being taken out. It goes in steps, upwards:
 * each moves some cells, and notes in the file's orphan item how far that is, in one change of the tree and with one
 * record in the log. So whoever finds the item goes on where it stopped. Blocks stay where they are, and keep their
 * births; their owners have as many as before.
 *
 * A scrub that goes through the file at the same time may pass over cells that move behind its back; its next turn
 * finds them.
 */
#include <errno.h>
#include <inttypes.h>

#include "core/base/err.h"
#include "core/fs/wfs3/cell.h"
#include "core/fs/wfs3/filetree.h"

#define MOVE_CELLS 12u /* of one step */
#define MOVE_ITEMS_MAX (2 * MOVE_CELLS + 1)
_Static_assert(MOVE_ITEMS_MAX <= TREE_BATCH_MAX, "a step is one change of the tree");

/* One step in the making. */
struct step {
	struct object *o;
	struct collapse to; /* what the orphan item says afterwards */
	uint64_t first; /* cells [first, to.next) are moved */
	uint64_t sources[MOVE_CELLS];
	unsigned source_count, item_count;
	struct item_change items[MOVE_ITEMS_MAX];
	uint8_t values[MOVE_CELLS][CELL_BYTES_MAX];
	uint8_t state[COLLAPSE_BYTES];
};

int object_get_collapse(struct object *o, struct collapse *ret)
{
	struct wfs3_key key = filetree_orphan_key(o->number);
	uint8_t buf[COLLAPSE_BYTES];
	size_t len;
	int rc = edit_read(o->ds, &key, buf, sizeof(buf), &len);

	if (rc == -ERANGE)
		rc = err_set(-EUCLEAN, "the item of orphan %" PRIu64 " has %zu bytes", o->number, len);
	if (!rc && !len)
		return -ENOENT;
	return rc ? rc : collapse_decode(buf, len, ret);
}

/* As tree_next(), of cells [from, to]. */
static int next_cell(struct object *o, uint64_t from, uint64_t to, uint64_t *ret, uint8_t *value, size_t *ret_len,
                     struct wfs3_key *ret_missing)
{
	struct wfs3_key first = object_cell_key(o, from), last = object_cell_key(o, to), found;
	int rc = tree_next(o->ds->tree, &first, &last, &found, value, CELL_BYTES_MAX, ret_len, ret_missing);

	if (rc == -ERANGE)
		rc = err_set(-EUCLEAN, "cell %" PRIu64 " is %zu bytes long", found.offset, *ret_len);
	if (!rc)
		*ret = found.offset;
	return rc;
}

int object_next_cell(struct object *o, uint64_t from, uint64_t *ret)
{
	uint8_t value[CELL_BYTES_MAX];
	struct wfs3_key missing;
	size_t len;
	int rc;

	while ((rc = next_cell(o, from, WFS3_CELLS_MAX - 1, ret, value, &len, &missing)) == -EAGAIN) {
		rc = tree_fetch(o->ds->tree, &missing);
		if (rc)
			break;
	}
	return rc;
}

static struct item_change *add_item(struct step *s)
{
	return &s->items[s->item_count++];
}

static bool is_source(const struct step *s, uint64_t cell_index)
{
	for (unsigned i = 0; i < s->source_count; i++)
		if (s->sources[i] == cell_index)
			return true;
	return false;
}

/* The next cells below @end, and what becomes of them. -ENOENT: there are none; -EAGAIN. Under the items lock. */
static int plan(struct step *s, uint64_t end, struct wfs3_key *ret_missing)
{
	struct wfs3_key orphan = filetree_orphan_key(s->o->number);
	uint64_t at = s->first, distance = s->to.count, found;
	size_t len[MOVE_CELLS];
	int rc = next_cell(s->o, s->first - distance, s->first - 1, &found, s->values[0], len, ret_missing);

	s->source_count = s->item_count = 0;
	if (rc != -ENOENT)
		return rc ? rc : err_set(-EUCLEAN, "cell %" PRIu64 " is in the way of those behind it", found);
	while (s->source_count < MOVE_CELLS && at < end) {
		unsigned n = s->source_count;

		rc = next_cell(s->o, at, end - 1, &s->sources[n], s->values[n], &len[n], ret_missing);
		if (rc == -ENOENT)
			break;
		if (rc)
			return rc;
		at = s->sources[n] + 1;
		s->source_count++;
	}
	if (!s->source_count)
		return -ENOENT;
	s->to.next = at;
	for (unsigned i = 0; i < s->source_count; i++) {
		*add_item(s) = (struct item_change){ .op = ITEM_PUT,
			                             .key = object_cell_key(s->o, s->sources[i] - distance),
			                             .value = s->values[i],
			                             .len = len[i] };
		/* Unless another one comes to its place. */
		if (!is_source(s, s->sources[i] + distance))
			*add_item(s) =
			        (struct item_change){ .op = ITEM_DELETE, .key = object_cell_key(s->o, s->sources[i]) };
	}
	collapse_encode(&s->to, s->state);
	*add_item(s) = (struct item_change){ .op = ITEM_PUT, .key = orphan, .value = s->state, .len = COLLAPSE_BYTES };
	return 0;
}

/* Inside the gate. Returns like tree_apply(); -ENOENT: nothing is left. */
static int move_some(struct step *s, uint64_t txg, uint64_t end, struct wal_ticket *ticket,
                     struct wfs3_key *ret_missing)
{
	struct dataset *ds = s->o->ds;
	struct wal_record r = { .type = WAL_MOVE, .txg = txg, .dataset = ds->id, .object = s->o->number };
	int rc;

	sync_mutex_lock(&ds->items_lock);
	rc = plan(s, end, ret_missing);
	if (!rc)
		rc = tree_apply(ds->tree, txg, s->items, s->item_count, ret_missing);
	if (!rc) {
		r.first = s->first;
		r.count = s->to.next - s->first;
		r.distance = s->to.count;
		(void)wal_append(ds->pool->wal, ticket, &r);
		txg_changed(ds->pool, ds, txg);
	}
	sync_mutex_unlock(&ds->items_lock);
	return rc;
}

int object_move_cells(struct object *o, struct collapse *c, uint64_t end)
{
	struct pool *p = o->ds->pool;
	struct step s = { .o = o };
	struct wfs3_key missing;
	int rc = pool_check_writable(p);

	while (!rc && collapse_source(c) < end) {
		struct wal_ticket ticket;
		uint64_t txg;

		s.to = *c;
		s.first = collapse_source(c);
		wal_begin(p->wal, WAL_MOVE_BYTES, &ticket);
		txg = txg_enter(p);
		rc = move_some(&s, txg, end, &ticket, &missing);
		txg_exit(p);
		wal_end(p->wal, &ticket);
		if (!rc)
			*c = s.to;
		if (rc == -EAGAIN)
			rc = tree_fetch(o->ds->tree, &missing);
	}
	if (rc == -ENOENT)
		return 0;
	if (rc == -EUCLEAN)
		(void)pool_check_damage(p);
	return rc ? err_add(rc, "move cells of object %" PRIu64 " of dataset %" PRIu64, o->number, o->ds->id) : 0;
}

int object_move_redo(struct object *o, uint64_t first, uint64_t count, uint64_t distance)
{
	struct collapse c;
	int rc = object_get_collapse(o, &c);

	if (rc == -ENOENT || (!rc && (c.count != distance || collapse_source(&c) != first)))
		rc = err_set(-EUCLEAN, "log: cells %" PRIu64 "+%" PRIu64 " of object %" PRIu64 " are moved", first,
		             count, o->number);
	return rc ? rc : object_move_cells(o, &c, first + count);
}
