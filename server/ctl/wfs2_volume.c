/* SPDX-License-Identifier: BSD-3-Clause */
/* wfs mkfs wfs2, wfs fsck wfs2: making a WFS v2 volume on a device or in a file, and checking one. */
#include <errno.h>
#include <inttypes.h>
#include <sys/random.h>
#include <unistd.h>

#include "core/base/err.h"
#include "core/base/sync.h"
#include "core/blk/blk.h"
#include "core/fs/wfs2/check.h"
#include "core/fs/wfs2/mkfs.h"
#include "server/ctl/offline.h"
#include "server/ctl/size.h"

/* Exit status: the check itself failed. */
#define CHECK_IMPOSSIBLE CTL_USAGE

static enum ctl_status make(struct ctl *c, struct blk_dev *dev)
{
	struct wfs2_mkfs_options options = { .label = c->args.label, .now_ns = sync_wall_ns() };
	enum ctl_status status = offline_confirm_loss(c, dev, c->operands[0]);
	int rc;

	if (status != CTL_OK)
		return status;
	if (getrandom(options.id, sizeof(options.id), 0) != sizeof(options.id))
		return command_fail(CTL_FAILED, "no random numbers");
	rc = wfs2_mkfs(dev, &options);
	return rc ? offline_fail(rc, c->operands[0]) : CTL_OK;
}

enum ctl_status cmd_mkfs_wfs2(struct ctl *c)
{
	const char *path = c->operands[0];
	enum ctl_status status;
	struct blk_dev *dev;
	uint64_t size = 0;
	int rc = 0;

	if (c->args.size && size_parse(c->args.size, &size))
		return command_usage_err();
	if (c->args.size)
		rc = blk_create_file(path, size, 0);
	if (rc == 0)
		rc = blk_open(path, 0, &dev);
	if (rc)
		return offline_fail(rc, path);
	status = make(c, dev);
	blk_close(dev);
	if (status != CTL_OK && c->args.size)
		unlink(path);
	return status;
}

static void found(void *ctx, const struct wfs2_finding *f)
{
	json_t *list = ctx;

	if (list)
		json_array_append_new(list, json_pack("{s:s, s:s, s:b}", "kind", wfs2_finding_name(f->kind), "text",
		                                      f->text, "repaired", (int)f->repaired));
	else
		printf("%s: %s%s\n", wfs2_finding_name(f->kind), f->text, f->repaired ? "; repaired" : "");
}

static void print_report(const struct wfs2_check_report *r, json_t *list)
{
	if (list) {
		json_t *json =
		        json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:O}", "blocks", (json_int_t)r->block_count,
		                  "used_blocks", (json_int_t)r->used_blocks, "files", (json_int_t)r->file_count,
		                  "files_max", (json_int_t)r->file_max, "finding_count", (json_int_t)r->finding_count,
		                  "left_count", (json_int_t)r->left_count, "findings", list);

		command_print_json(json);
		json_decref(json);
		return;
	}
	printf("WFS v2: %u of %u files, %u of %u blocks used\n", r->file_count, r->file_max, r->used_blocks,
	       r->block_count);
	if (!r->finding_count)
		puts("clean");
	else
		printf("%" PRIu64 " problem%s, %" PRIu64 " left\n", r->finding_count, r->finding_count == 1 ? "" : "s",
		       r->left_count);
}

enum ctl_status cmd_fsck_wfs2(struct ctl *c)
{
	json_t *list = c->args.json ? json_array() : NULL;
	struct wfs2_check_options options = {
		.repair = c->args.given & ARGS_REPAIR,
		.found = found,
		.ctx = list,
	};
	struct wfs2_check_report report;
	struct blk_dev *dev;
	int rc = blk_open(c->operands[0], options.repair ? 0 : BLK_OPEN_READ_ONLY | BLK_OPEN_SHARED, &dev);

	if (rc == 0) {
		rc = wfs2_check(dev, &options, &report);
		blk_close(dev);
	}
	if (rc) {
		(void)offline_fail(rc, "the check could not be done");
		json_decref(list);
		return CHECK_IMPOSSIBLE;
	}
	print_report(&report, list);
	json_decref(list);
	return report.left_count ? CTL_FAILED : CTL_OK;
}
