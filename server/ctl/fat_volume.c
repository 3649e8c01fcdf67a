/* SPDX-License-Identifier: BSD-3-Clause */
/* wfs mkfs fat, wfs fsck fat: making a FAT file system on a device or in a file, and checking one. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "core/base/err.h"
#include "core/base/sync.h"
#include "core/blk/blk.h"
#include "core/fs/fat/check.h"
#include "core/fs/fat/mkfs.h"
#include "server/ctl/offline.h"
#include "server/ctl/size.h"

/* Exit status: the check itself failed. */
#define CHECK_IMPOSSIBLE CTL_USAGE

static int parse_size(const char *text, uint32_t *ret)
{
	uint64_t bytes;
	int rc = text ? size_parse(text, &bytes) : 0;

	if (rc)
		return rc;
	if (text && bytes > UINT32_MAX)
		return err_set(-EINVAL, "'%s' is too large", text);
	*ret = text ? (uint32_t)bytes : 0;
	return 0;
}

static enum ctl_status make(struct ctl *c, struct blk_dev *dev, const struct fat_mkfs_options *options)
{
	enum ctl_status status = offline_confirm_loss(c, dev, c->operands[0]);
	int rc;

	if (status != CTL_OK)
		return status;
	rc = fat_mkfs(dev, options);
	return rc ? offline_fail(rc, c->operands[0]) : CTL_OK;
}

enum ctl_status cmd_mkfs_fat(struct ctl *c)
{
	struct fat_mkfs_options options = { .type = c->args.type, .label = c->args.label };
	const char *path = c->operands[0];
	enum ctl_status status;
	struct blk_dev *dev;
	uint64_t size = 0;
	int rc;

	if (parse_size(c->args.cluster, &options.cluster_bytes) || parse_size(c->args.sector, &options.sector_bytes) ||
	    (c->args.size && size_parse(c->args.size, &size)))
		return command_usage_err();
	options.now_ns = sync_wall_ns();
	if (getrandom(&options.serial, sizeof(options.serial), 0) != sizeof(options.serial))
		options.serial = (uint32_t)options.now_ns;
	rc = c->args.size ? blk_create_file(path, size, 0) : 0;
	if (rc == 0)
		rc = blk_open(path, 0, &dev);
	if (rc)
		return offline_fail(rc, path);
	status = make(c, dev, &options);
	blk_close(dev);
	if (status != CTL_OK && c->args.size)
		unlink(path);
	return status;
}

struct findings {
	json_t *list; /* with --json */
};

static void found(void *ctx, const struct fat_finding *f)
{
	struct findings *all = ctx;

	if (all->list)
		json_array_append_new(all->list, json_pack("{s:s, s:s, s:b}", "kind", fat_finding_name(f->kind), "text",
		                                           f->text, "repaired", (int)f->repaired));
	else
		printf("%s: %s%s\n", fat_finding_name(f->kind), f->text, f->repaired ? "; repaired" : "");
}

static void print_report(const struct fat_check_report *r, struct findings *all)
{
	if (all->list) {
		json_t *json = json_pack("{s:i, s:I, s:I, s:I, s:I, s:I, s:I, s:O}", "type", (int)r->type, "clusters",
		                         (json_int_t)r->cluster_count, "used_clusters", (json_int_t)r->used_clusters,
		                         "files", (json_int_t)r->file_count, "directories", (json_int_t)r->dir_count,
		                         "finding_count", (json_int_t)r->finding_count, "left_count",
		                         (json_int_t)r->left_count, "findings", all->list);

		command_print_json(json);
		json_decref(json);
		return;
	}
	printf("FAT%u: %" PRIu64 " files, %" PRIu64 " directories, %u of %u clusters used\n", r->type, r->file_count,
	       r->dir_count, r->used_clusters, r->cluster_count);
	if (!r->finding_count)
		puts("clean");
	else
		printf("%" PRIu64 " problem%s, %" PRIu64 " left\n", r->finding_count, r->finding_count == 1 ? "" : "s",
		       r->left_count);
}

enum ctl_status cmd_fsck_fat(struct ctl *c)
{
	struct findings all = { .list = c->args.json ? json_array() : NULL };
	struct fat_check_options options = {
		.repair = c->args.given & ARGS_REPAIR,
		.found = found,
		.ctx = &all,
	};
	struct fat_check_report report;
	struct blk_dev *dev;
	int rc = blk_open(c->operands[0], options.repair ? 0 : BLK_OPEN_READ_ONLY | BLK_OPEN_SHARED, &dev);

	if (rc == 0) {
		rc = fat_check(dev, &options, &report);
		blk_close(dev);
	}
	if (rc) {
		(void)offline_fail(rc, "the check could not be done");
		json_decref(all.list);
		return CHECK_IMPOSSIBLE;
	}
	print_report(&report, &all);
	json_decref(all.list);
	return report.left_count ? CTL_FAILED : CTL_OK;
}
