/* SPDX-License-Identifier: BSD-3-Clause */
/* The VFS in the metrics. */
#include <stdio.h>

#include "core/vfs/vfs_priv.h"

static const char *const class_names[OP_CLASSES] = {
	[OP_READ] = "read",           [OP_WRITE] = "write",   [OP_FLUSH] = "flush",       [OP_PUNCH] = "punch",
	[OP_LOOKUP] = "lookup",       [OP_LIST] = "list",     [OP_CREATE] = "create",     [OP_LINK] = "link",
	[OP_REMOVE] = "remove",       [OP_RENAME] = "rename", [OP_SET_ATTR] = "set_attr", [OP_GET_XATTR] = "get_xattr",
	[OP_SET_XATTR] = "set_xattr", [OP_LOCK] = "lock",
};

static int add_class(struct metrics *m, const struct vfs *v, const struct op_stats *s, const char *name, bool has_bytes)
{
	char labels[64];
	int ret;

	(void)snprintf(labels, sizeof(labels), "op=\"%s\"", name);
	ret = metrics_add_counter(m, v, "wfsd_vfs_operations_total", "Operations on files and names.", labels,
	                          &s->count);
	if (!ret)
		ret = metrics_add_counter(m, v, "wfsd_vfs_errors_total", "Operations that failed.", labels, &s->errors);
	if (!ret && has_bytes)
		ret = metrics_add_counter(m, v, "wfsd_vfs_bytes_total", "Bytes read and written.", labels, &s->bytes);
	if (!ret)
		ret = metrics_add_histogram(m, v, "wfsd_vfs_operation_seconds",
		                            "Time that operations took; of reads and writes, one in 64 is timed.",
		                            labels, &s->latency);
	return ret;
}

int vfs_register_metrics(struct vfs *v, struct metrics *m)
{
	int ret = 0;

	v->metrics = m;
	for (unsigned c = 0; c < OP_CLASSES && !ret; c++)
		ret = add_class(m, v, &v->stats[c], class_names[c], c == OP_READ || c == OP_WRITE);
	return ret;
}
