/* SPDX-License-Identifier: BSD-3-Clause */
/* Private to the commit of a transaction of a file tree: what is in hand meanwhile. */
#ifndef WFSD_CORE_FS_WFS3_FILETX_COMMIT_H
#define WFSD_CORE_FS_WFS3_FILETX_COMMIT_H

#include "core/fs/wfs3/filetx.h"
#include "core/fs/wfs3/quota.h"

#define FILETX_OWNERS_MAX 10u /* whose counts change, where there are quotas */
_Static_assert(3 * FILETX_OWNERS_MAX <= QUOTA_DELTAS_MAX, "users, groups and projects");

/* Whoever has objects that come, grow, or change hands. */
struct filetx_owners {
	uint32_t uid, gid, project;
	uint64_t blocks; /* that they get at most */
	struct quota_hold hold;
};

struct filetx_commit {
	struct filetx *tx;
	struct dataset *ds;
	struct filetx_object **objects; /* that are written, by number */
	unsigned object_count;
	bool moves_dirs;
	uint32_t page_count;
	unsigned owner_count;
	struct filetx_owners owners[FILETX_OWNERS_MAX];
	struct filetx_items items;
	uint64_t unit, txg;
	int64_t now_ns;
	struct wal_ticket *ticket;
};

/* Are contents of it written? */
static inline bool filetx_has_data(const struct filetx_object *x)
{
	return x->node.type == VFS_TYPE_FILE && x->cur.link_count && (x->page_count || x->set & EDIT_SIZE);
}

/* filetx_quota.c: room in the quotas of those whom the commit concerns, without locks. Nothing is done where there are
 * none. -EDQUOT; -E2BIG, and the transaction is over: too many owners. Blocks. */
int filetx_list_owners(struct filetx_commit *c);
int filetx_take_quotas(struct filetx_commit *c);
void filetx_give_quotas_back(struct filetx_commit *c);

#endif
