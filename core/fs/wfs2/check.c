/* SPDX-License-Identifier: BSD-3-Clause */
/* A check is what mounting does, with everything reported and mended. */
#include "core/fs/wfs2/check.h"

#include <string.h>

#include "core/fs/wfs2/volume.h"

const char *wfs2_finding_name(enum wfs2_finding_kind kind)
{
	static const char *const names[WFS2_FINDING_COUNT] = {
		[WFS2_FINDING_SUPER] = "superblock",    [WFS2_FINDING_COPY] = "copy",
		[WFS2_FINDING_MARKER] = "marker",       [WFS2_FINDING_SLOT] = "slot",
		[WFS2_FINDING_EXTENTS] = "extents",     [WFS2_FINDING_OVERLAP] = "overlap",
		[WFS2_FINDING_DUPLICATE] = "duplicate", [WFS2_FINDING_BITMAP] = "bitmap",
		[WFS2_FINDING_LOST] = "lost",           [WFS2_FINDING_RENAME] = "rename",
	};

	return (unsigned)kind < WFS2_FINDING_COUNT ? names[kind] : "?";
}

int wfs2_check(struct blk_dev *dev, const struct wfs2_check_options *options, struct wfs2_check_report *ret)
{
	struct wfs2_findings f = {
		.mend = options->repair ? (1u << WFS2_FINDING_COUNT) - 1 : 0,
		.found = options->found,
		.ctx = options->ctx,
	};
	struct wfs2_volume v;
	int rc = wfs2_volume_read(dev, &f, &v);

	if (rc)
		return rc;
	rc = wfs2_volume_scan(&v, &f);
	if (rc == 0)
		rc = wfs2_volume_write(&v);
	if (rc == 0) {
		*ret = (struct wfs2_check_report){
			.block_count = v.super.block_count,
			.used_blocks = v.used_blocks,
			.file_count = v.used_files,
			.file_max = v.super.file_count,
			.finding_count = f.count,
			.left_count = f.left,
		};
		memcpy(ret->by_kind, f.by_kind, sizeof(ret->by_kind));
	}
	wfs2_volume_done(&v);
	return rc;
}
