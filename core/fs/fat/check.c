/* SPDX-License-Identifier: BSD-3-Clause */
/* Checking a volume: the order of the parts, and telling what was found. */
#include "core/fs/fat/check.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/base/checked.h"
#include "core/base/err.h"
#include "core/fs/fat/check_priv.h"

static const char *const names[FAT_FINDING_COUNT] = {
	[FAT_FINDING_BOOT] = "boot-sector",
	[FAT_FINDING_BACKUP] = "boot-backup",
	[FAT_FINDING_COPIES] = "fat-copies",
	[FAT_FINDING_MEDIA] = "media-type",
	[FAT_FINDING_CHAIN] = "broken-chain",
	[FAT_FINDING_LOOP] = "loop",
	[FAT_FINDING_CROSS_LINK] = "cross-link",
	[FAT_FINDING_EXCESS] = "excess-clusters",
	[FAT_FINDING_SIZE] = "size",
	[FAT_FINDING_DIRECTORY] = "directory",
	[FAT_FINDING_DOTS] = "dots",
	[FAT_FINDING_BEHIND_END] = "behind-end",
	[FAT_FINDING_LONG_NAME] = "long-name",
	[FAT_FINDING_NAME] = "short-name",
	[FAT_FINDING_DUPLICATE] = "duplicate-name",
	[FAT_FINDING_LABEL] = "label",
	[FAT_FINDING_LOST] = "lost-clusters",
	[FAT_FINDING_FSINFO] = "fsinfo",
	[FAT_FINDING_DIRTY] = "dirty",
};

const char *fat_finding_name(enum fat_finding_kind kind)
{
	return kind < FAT_FINDING_COUNT ? names[kind] : "unknown";
}

bool fat_check_found(struct fat_check *c, enum fat_finding_kind kind, bool repairable, const char *fmt, ...)
{
	struct fat_finding f = { .kind = kind, .repaired = repairable && c->options->repair };
	va_list args;

	va_start(args, fmt);
	vsnprintf(f.text, sizeof(f.text), fmt, args);
	va_end(args);
	c->report->finding_count++;
	c->report->left_count += !f.repaired;
	c->report->by_kind[kind]++;
	if (c->options->found)
		c->options->found(c->options->ctx, &f);
	return f.repaired;
}

static int check_media(struct fat_check *c)
{
	uint32_t entry;
	int rc = fat_table_get(&c->table, 0, &entry);

	/* FAT_END and the like is what widening makes of the usual 0xff8 and above. */
	if (rc || (entry & 0xff) == c->g.media || entry >= FAT_BAD ||
	    !fat_check_found(c, FAT_FINDING_MEDIA, true, "entry 0 of the FAT is not of media type 0x%02x", c->g.media))
		return rc;
	return fat_table_set(&c->table, 0, (FAT_END & ~0xffu) | c->g.media);
}

static int write_all(struct fat_check *c)
{
	int rc = fat_check_dir_write(c, &c->root);

	if (rc == 0)
		rc = fat_table_write(&c->table);
	if (rc == 0)
		rc = fat_check_write_copies(c);
	if (rc == 0)
		rc = fat_check_fsinfo(c, true);
	return rc ? rc : fat_medium_flush(&c->medium);
}

static int run(struct fat_check *c)
{
	int rc = fat_check_boot(c);

	if (rc)
		return rc;
	c->report->type = (unsigned)c->g.type;
	c->report->cluster_count = c->g.cluster_count;
	c->seen = calloc((c->g.cluster_count + FAT_FIRST_CLUSTER) / 64 + 1, sizeof(*c->seen));
	if (!c->seen)
		return err_set(-ENOMEM, "check: no memory");
	rc = fat_check_copies(c);
	if (rc == 0) {
		rc = fat_table_init(&c->table, &c->medium, &c->g, NULL, SIZE_MAX);
		c->table_ready = rc == 0;
	}
	if (rc == 0)
		rc = check_media(c);
	if (rc == 0)
		rc = fat_check_tree(c);
	if (rc == 0)
		rc = fat_check_lost(c);
	if (rc == 0)
		rc = fat_check_fsinfo(c, false);
	if (rc == 0 && c->options->repair)
		rc = write_all(c);
	return rc ? rc : fat_check_dirty(c);
}

int fat_check(struct blk_dev *dev, const struct fat_check_options *options, struct fat_check_report *ret)
{
	struct fat_check c = { .options = options, .report = ret };
	int rc;

	*ret = (struct fat_check_report){ 0 };
	if (options->repair && blk_caps(dev)->read_only)
		return err_set(-EROFS, "%s is read-only", blk_name(dev));
	fat_medium_init(&c.medium, dev);
	rc = run(&c);
	if (c.table_ready)
		fat_table_done(&c.table);
	fat_check_dir_done(&c.root);
	free(c.seen);
	fat_medium_done(&c.medium);
	return rc ? err_add(rc, "%s", blk_name(dev)) : 0;
}
