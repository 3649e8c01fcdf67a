/* SPDX-License-Identifier: BSD-3-Clause */
/* Reports of checks: their names and their memory. */
#include "core/vfs/vfs_check.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/err.h"

const char *pool_finding_name(enum pool_finding_kind kind)
{
	static const char *const names[POOL_FINDING_KINDS] = {
		[POOL_FINDING_LABEL] = "label",
		[POOL_FINDING_ROOT] = "root",
		[POOL_FINDING_SLOT] = "slot",
		[POOL_FINDING_REGION] = "region",
		[POOL_FINDING_RING] = "ring",
		[POOL_FINDING_ALLOCATION] = "allocation",
		[POOL_FINDING_LOG] = "log",
		[POOL_FINDING_NODE_READ] = "node-read",
		[POOL_FINDING_NODE_HASH] = "node-hash",
		[POOL_FINDING_NODE_FORMAT] = "node-format",
		[POOL_FINDING_NODE_IDENTITY] = "node-identity",
		[POOL_FINDING_ADDRESS] = "address",
		[POOL_FINDING_BIRTH] = "birth",
		[POOL_FINDING_ITEM] = "item",
		[POOL_FINDING_DATASET] = "dataset",
		[POOL_FINDING_NAME] = "name",
		[POOL_FINDING_INODE] = "inode",
		[POOL_FINDING_ENTRY] = "entry",
		[POOL_FINDING_LINKS] = "links",
		[POOL_FINDING_CELL] = "cell",
		[POOL_FINDING_SIZE] = "size",
		[POOL_FINDING_COUNTER] = "counter",
		[POOL_FINDING_NOT_ALLOCATED] = "not-allocated",
		[POOL_FINDING_SHARED] = "shared",
		[POOL_FINDING_LEAK] = "leak",
		[POOL_FINDING_DATA_READ] = "data-read",
		[POOL_FINDING_DATA_CRC] = "data-crc",
	};

	return (unsigned)kind < POOL_FINDING_KINDS ? names[kind] : "unknown";
}

const char *pool_check_state_name(enum pool_check_state state)
{
	static const char *const names[] = {
		[POOL_CHECK_NEVER] = "never",     [POOL_CHECK_RUNNING] = "running", [POOL_CHECK_DONE] = "done",
		[POOL_CHECK_STOPPED] = "stopped", [POOL_CHECK_FAILED] = "failed",
	};

	return (unsigned)state < sizeof(names) / sizeof(names[0]) ? names[state] : "unknown";
}

int pool_check_report_copy(const struct pool_check_report *from, struct pool_check_report *ret)
{
	struct pool_check_report r = *from;
	size_t bytes = from->finding_count * sizeof(*from->findings);
	bool complete = true;

	r.findings = bytes ? malloc(bytes) : NULL;
	if (r.findings)
		memcpy(r.findings, from->findings, bytes);
	for (unsigned i = 0; i < from->device_count; i++) {
		r.devices[i] = strdup(from->devices[i] ? from->devices[i] : "");
		complete &= r.devices[i] != NULL;
	}
	if (!complete || (bytes && !r.findings)) {
		pool_check_report_done(&r);
		return err_set(-ENOMEM, "a report of %u findings", from->finding_count);
	}
	*ret = r;
	return 0;
}

void pool_check_report_done(struct pool_check_report *r)
{
	free(r->findings);
	for (unsigned i = 0; i < r->device_count; i++)
		free(r->devices[i]);
	*r = (struct pool_check_report){ 0 };
}
