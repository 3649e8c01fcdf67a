/* SPDX-License-Identifier: BSD-3-Clause */
/* Directories: every entry, and what it leads to. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/bytes.h"
#include "core/base/checked.h"
#include "core/base/checksum.h"
#include "core/base/err.h"
#include "core/fs/fat/check_priv.h"

#define SLOTS_MAX (DIR_BYTES_MAX / SLOT_BYTES)

/* Short names of one directory, by hash, to find doubles. */
struct names {
	uint32_t *slots; /* slot + 1; 0: empty */
	uint32_t mask;
};

void fat_check_dir_done(struct fat_check_dir *d)
{
	free(d->clusters);
	free(d->raw);
	*d = (struct fat_check_dir){ 0 };
}

static uint64_t piece_offset(const struct fat_check *c, const struct fat_check_dir *d, uint32_t i)
{
	return d->first_cluster ? fat_cluster_offset(&c->g, d->clusters[i]) : c->g.root_offset;
}

static int transfer(struct fat_check *c, struct fat_check_dir *d, enum blk_op op)
{
	uint32_t count = d->first_cluster ? d->cluster_count : 1;
	size_t bytes = d->first_cluster ? c->g.cluster_bytes : (size_t)c->g.root_bytes;
	struct fat_medium_batch b;

	fat_medium_batch_init(&b, &c->medium, op);
	for (uint32_t i = 0; i < count; i++)
		fat_medium_batch_add(&b, piece_offset(c, d, i), d->raw + i * bytes, bytes);
	return fat_medium_batch_run(&b);
}

int fat_check_dir_write(struct fat_check *c, struct fat_check_dir *d)
{
	if (!d->changed)
		return 0;
	d->changed = false;
	return transfer(c, d, BLK_WRITE);
}

static int read_dir(struct fat_check *c, struct fat_check_dir *d)
{
	size_t bytes = d->first_cluster ? (size_t)d->cluster_count * c->g.cluster_bytes : (size_t)c->g.root_bytes;

	d->slot_count = (uint32_t)(bytes / SLOT_BYTES);
	d->raw = malloc(bytes);
	if (!d->raw)
		return err_set(-ENOMEM, "check: no memory");
	return transfer(c, d, BLK_READ);
}

static void path_of(const struct fat_check *c, const struct fat_check_dir *d, const uint8_t *slots, uint32_t at,
                    char *path, size_t len)
{
	char text[NAME_UTF8_MAX];
	struct fat_name name;
	size_t text_len;

	if (!fat_lfn_decode(slots, at, &name) || !fat_name_to_utf8(&name, text, &text_len))
		fat_name_from_short(slots + (size_t)at * SLOT_BYTES, 0, &name);
	if (!fat_name_to_utf8(&name, text, &text_len))
		snprintf(text, sizeof(text), "?");
	for (char *p = text; *p; p++) {
		if ((uint8_t)*p < 0x20 || *p == 0x7f)
			*p = '?';
	}
	/* Of a very long path only the beginning is told. */
	if (snprintf(path, len, "%s/%s", d == &c->root ? "" : d->path, text) >= (int)len)
		memcpy(path + len - 4, "...", 4);
}

static void remove_slots(struct fat_check_dir *d, uint32_t first, uint32_t last)
{
	for (uint32_t i = first; i <= last; i++)
		d->raw[(size_t)i * SLOT_BYTES] = SLOT_DELETED;
	d->changed = true;
}

static void set_cluster(struct fat_check *c, struct fat_check_dir *d, uint8_t *slot, uint32_t cluster)
{
	put_le16(slot + SLOT_CLUSTER_LOW, (uint16_t)cluster);
	if (c->g.type == FAT_TYPE_32)
		put_le16(slot + SLOT_CLUSTER_HIGH, (uint16_t)(cluster >> 16));
	d->changed = true;
}

/* Own the chain of a directory. */
static int claim_dir(struct fat_check *c, struct fat_check_dir *d)
{
	uint32_t most = (uint32_t)max_u64(DIR_BYTES_MAX / c->g.cluster_bytes, 1), value;
	int rc = fat_check_claim(c, d->path, d->first_cluster, most, &d->cluster_count, &d->clusters);

	if (rc || d->cluster_count < most)
		return rc;
	rc = fat_table_get(&c->table, d->clusters[most - 1], &value);
	if (rc == 0 && value < FAT_END_MIN &&
	    fat_check_found(c, FAT_FINDING_DIRECTORY, true, "%s: a directory of more than %u entries", d->path,
	                    SLOTS_MAX))
		rc = fat_table_set(&c->table, d->clusters[most - 1], FAT_END);
	return rc;
}

/* An entry of a directory, which is read later. *@ret_gone: its slots are to go. */
static int check_subdir(struct fat_check *c, struct fat_check_dir *d, const char *path, uint8_t *slot,
                        const struct fat_dirent *e, bool *ret_gone)
{
	struct fat_check_queued *q = calloc(1, sizeof(*q));
	int rc = 0;

	if (!q)
		return err_set(-ENOMEM, "check: no memory");
	if (e->size_bytes && fat_check_found(c, FAT_FINDING_SIZE, true, "%s: a directory with a size", path)) {
		put_le32(slot + SLOT_SIZE, 0);
		d->changed = true;
	}
	q->dir.first_cluster = e->cluster;
	q->dir.parent_cluster = d == &c->root ? 0 : d->first_cluster;
	snprintf(q->dir.path, sizeof(q->dir.path), "%s", path);
	if (e->cluster)
		rc = claim_dir(c, &q->dir);
	if (rc == 0 && q->dir.cluster_count) {
		q->next = c->queue;
		c->queue = q;
		return 0;
	}
	free(q);
	if (rc == 0)
		*ret_gone = fat_check_found(c, FAT_FINDING_DIRECTORY, true,
		                            "%s: a directory without clusters of its own", path);
	return rc;
}

static int check_file(struct fat_check *c, struct fat_check_dir *d, const char *path, uint8_t *slot,
                      const struct fat_dirent *e)
{
	uint32_t need = (uint32_t)div_round_up_u64(e->size_bytes, c->g.cluster_bytes), count = 0;
	int rc = 0;

	c->report->file_count++;
	if (e->cluster)
		rc = fat_check_claim(c, path, e->cluster, UINT32_MAX, &count, NULL);
	if (rc)
		return rc;
	if (e->cluster && !count && c->options->repair)
		set_cluster(c, d, slot, 0);
	if (count < need && fat_check_found(c, FAT_FINDING_SIZE, true, "%s: %u bytes, but only %u clusters", path,
	                                    e->size_bytes, count)) {
		put_le32(slot + SLOT_SIZE, (uint32_t)((uint64_t)count * c->g.cluster_bytes));
		d->changed = true;
	}
	if (count > need &&
	    fat_check_found(c, FAT_FINDING_EXCESS, true, "%s: %u bytes, but %u clusters", path, e->size_bytes, count)) {
		rc = fat_check_cut(c, e->cluster, need);
		if (!need)
			set_cluster(c, d, slot, 0);
	}
	return rc;
}

static bool is_taken(const struct fat_check_dir *d, struct names *n, const uint8_t *name, uint32_t slot)
{
	uint32_t h = 2166136261u;

	for (unsigned i = 0; i < SHORT_NAME_BYTES; i++)
		h = (h ^ name[i]) * 16777619u;
	for (h ^= h >> 15;; h++) {
		uint32_t other = n->slots[h & n->mask];

		if (!other) {
			n->slots[h & n->mask] = slot + 1;
			return false;
		}
		if (memcmp(d->raw + (size_t)(other - 1) * SLOT_BYTES, name, SHORT_NAME_BYTES) == 0)
			return true;
	}
}

/* Another short name; the parts of the long one go on belonging to it. */
static void rename_slot(struct fat_check *c, struct fat_check_dir *d, struct names *n, uint32_t first, uint32_t at)
{
	uint8_t *slot = d->raw + (size_t)at * SLOT_BYTES;
	char name[32];

	do {
		snprintf(name, sizeof(name), "FSCK%04uREN", c->renamed++ % 10000);
		memcpy(slot, name, SHORT_NAME_BYTES);
	} while (is_taken(d, n, slot, at) && c->renamed < 100000);
	for (uint32_t i = first; i < at; i++)
		d->raw[(size_t)i * SLOT_BYTES + LFN_CHECKSUM] = fat_name_short_checksum(slot);
	d->changed = true;
}

/* A label has no clusters, and there is one, in the root directory. */
static bool label_is_misplaced(struct fat_check *c, const struct fat_check_dir *d)
{
	if (d != &c->root)
		return fat_check_found(c, FAT_FINDING_LABEL, true, "%s: a volume label", d->path);
	if (c->label_seen)
		return fat_check_found(c, FAT_FINDING_LABEL, true, "a second volume label");
	c->label_seen = true;
	return false;
}

static int check_entry(struct fat_check *c, struct fat_check_dir *d, struct names *n, uint32_t first, uint32_t at)
{
	uint8_t *slot = d->raw + (size_t)at * SLOT_BYTES;
	struct fat_dirent e;
	char path[300];
	bool gone = false;
	int rc;

	path_of(c, d, d->raw, at, path, sizeof(path));
	if (!fat_name_short_is_valid(slot)) {
		if (fat_check_found(c, FAT_FINDING_NAME, true, "%s: an impossible short name", path))
			rename_slot(c, d, n, first, at);
	} else if (is_taken(d, n, slot, at) &&
	           fat_check_found(c, FAT_FINDING_DUPLICATE, true, "%s: another entry has this name", path)) {
		rename_slot(c, d, n, first, at);
	}
	fat_dirent_decode(slot, c->g.type, 0, &e);
	if (e.attr & FAT_ATTR_DIR)
		rc = check_subdir(c, d, path, slot, &e, &gone);
	else
		rc = check_file(c, d, path, slot, &e);
	if (gone)
		remove_slots(d, first, at);
	return rc;
}

static void check_dots(struct fat_check *c, struct fat_check_dir *d)
{
	static const char *const names[] = { ".          ", "..         " };
	const uint32_t clusters[] = { d->first_cluster, d->parent_cluster };

	for (uint32_t i = 0; i < 2; i++) {
		uint8_t *slot = d->raw + (size_t)i * SLOT_BYTES;
		struct fat_dirent e;
		bool there = memcmp(slot, names[i], SHORT_NAME_BYTES) == 0 &&
		             (slot[SLOT_ATTR] & (FAT_ATTR_DIR | FAT_ATTR_VOLUME)) == FAT_ATTR_DIR;

		fat_dirent_decode(slot, c->g.type, 0, &e);
		if (there && e.cluster == clusters[i])
			continue;
		if (!fat_check_found(c, FAT_FINDING_DOTS, true, "%s: '%.2s' is missing or wrong", d->path,
		                     i ? ".." : "."))
			continue;
		if (!there && slot[0] == SLOT_END)
			slot[SLOT_BYTES] = SLOT_END;
		if (!there)
			memset(slot, 0, SLOT_BYTES);
		memcpy(slot, names[i], SHORT_NAME_BYTES);
		slot[SLOT_ATTR] = FAT_ATTR_DIR;
		set_cluster(c, d, slot, clusters[i]);
	}
}

/* Parts of a long name in [first, at) that belong to nothing. */
static void orphans(struct fat_check *c, struct fat_check_dir *d, uint32_t first, uint32_t at)
{
	if (first < at && fat_check_found(c, FAT_FINDING_LONG_NAME, true,
	                                  "%s: %u parts of a long name belong to no file", d->path, at - first))
		remove_slots(d, first, at - 1);
}

static void behind_end(struct fat_check *c, struct fat_check_dir *d, uint32_t end)
{
	uint8_t *rest = d->raw + (size_t)end * SLOT_BYTES;
	size_t len = (size_t)(d->slot_count - end) * SLOT_BYTES;

	if (bytes_are_zero(rest, len) ||
	    !fat_check_found(c, FAT_FINDING_BEHIND_END, true, "%s: there is something behind the end", d->path))
		return;
	memset(rest, 0, len);
	d->changed = true;
}

static int check_slots(struct fat_check *c, struct fat_check_dir *d, struct names *n)
{
	uint32_t first = 0; /* parts of a long name since */
	int rc = 0;

	if (d != &c->root)
		check_dots(c, d);
	for (uint32_t i = 0; rc == 0 && i < d->slot_count; i++) {
		uint8_t *slot = d->raw + (size_t)i * SLOT_BYTES;
		struct fat_name name;
		uint32_t parts;

		if (slot[0] == SLOT_END || slot[0] == SLOT_DELETED) {
			orphans(c, d, first, i);
			first = i + 1;
			if (slot[0] == SLOT_END) {
				behind_end(c, d, i);
				return 0;
			}
			continue;
		}
		if (fat_slot_is_long(slot))
			continue;
		parts = slot[SLOT_ATTR] & FAT_ATTR_VOLUME ? 0 : fat_lfn_decode(d->raw, i, &name);
		orphans(c, d, first, i - parts);
		first = i + 1;
		if (slot[SLOT_ATTR] & FAT_ATTR_VOLUME) {
			if (label_is_misplaced(c, d))
				remove_slots(d, i, i);
		} else if (d == &c->root || i >= 2 || slot[0] != '.') {
			rc = check_entry(c, d, n, i - parts, i);
		}
	}
	if (rc == 0)
		orphans(c, d, first, d->slot_count);
	return rc;
}

/* Everything in a directory whose clusters are known. */
static int check_dir(struct fat_check *c, struct fat_check_dir *d)
{
	struct names n = { .mask = 15 };
	int rc = read_dir(c, d);

	if (rc)
		return rc;
	c->report->dir_count++;
	while (n.mask + 1 < 4 * d->slot_count)
		n.mask = n.mask * 2 + 1;
	n.slots = calloc((size_t)n.mask + 1, sizeof(*n.slots));
	if (!n.slots)
		return err_set(-ENOMEM, "check: no memory");
	rc = check_slots(c, d, &n);
	free(n.slots);
	return rc;
}

static int check_queue(struct fat_check *c)
{
	int rc = 0;

	while (c->queue) {
		struct fat_check_queued *q = c->queue;

		c->queue = q->next;
		if (rc == 0)
			rc = check_dir(c, &q->dir);
		if (rc == 0)
			rc = fat_check_dir_write(c, &q->dir);
		fat_check_dir_done(&q->dir);
		free(q);
	}
	return rc;
}

/* Without its first cluster there would be nothing: it is taken, whatever the FAT says. */
static int claim_root(struct fat_check *c)
{
	int rc = claim_dir(c, &c->root);

	if (rc == 0 && !c->root.cluster_count && c->options->repair) {
		rc = fat_table_set(&c->table, c->root.first_cluster, FAT_END);
		if (rc == 0)
			rc = claim_dir(c, &c->root);
	}
	if (rc == 0 && !c->root.cluster_count)
		rc = err_set(-EUCLEAN, "the root directory has no clusters");
	return rc;
}

int fat_check_tree(struct fat_check *c)
{
	int rc = 0, queue_rc;

	snprintf(c->root.path, sizeof(c->root.path), "/");
	if (c->g.type == FAT_TYPE_32) {
		c->root.first_cluster = c->g.root_cluster;
		rc = claim_root(c);
	}
	if (rc == 0)
		rc = check_dir(c, &c->root);
	queue_rc = check_queue(c);
	return rc ? rc : queue_rc;
}
