/* SPDX-License-Identifier: BSD-3-Clause */
/* Private to checks: what owners have in the dataset that is being checked, counted anew. */
#ifndef WFSD_CORE_FS_WFS3_CHECK_QUOTA_H
#define WFSD_CORE_FS_WFS3_CHECK_QUOTA_H

#include "core/fs/wfs3/check_priv.h"
#include "core/fs/wfs3/items.h"

struct check_quota {
	struct check_owner *slots; /* by class and number: open addressing */
	size_t slot_count, count; /* the first is a power of two, or 0 */
	bool is_counted; /* the pool says so */
};

/* Another dataset's objects come. Begins zeroed. */
void check_quota_begin(struct check_quota *q);
void check_quota_free(struct check_quota *q);
/* An object, with so many blocks mapped. -ENOMEM. */
int check_quota_add(struct check_quota *q, const struct inode *i, uint64_t blocks);
/* After all of its objects: an item of the pool tree. */
void check_quota_item(struct check *c, struct check_quota *q, struct check_dataset *ds, const struct wfs3_key *key,
                      const void *value, size_t len);
/* There are no more items of @ds: nobody may be missing. */
void check_quota_end(struct check *c, struct check_quota *q, const struct check_dataset *ds);

#endif
