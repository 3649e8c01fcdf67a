/* SPDX-License-Identifier: BSD-3-Clause */
/* Redo of a file tree's items, as recovery finds them in the log. */
#ifndef WFSD_CORE_FS_WFS3_RECOVER_ITEMS_H
#define WFSD_CORE_FS_WFS3_RECOVER_ITEMS_H

#include "core/fs/wfs3/pool.h"

/* Apply one change of an item to the tree, in the open group. Of inodes the count of blocks remains what it was.
 * -EUCLEAN: the log says what no tree can have. Blocks. */
int recover_item(struct dataset *ds, const struct item_change *c);
/* Blocks of an object from @first on become holes. Blocks. */
int recover_truncate(struct dataset *ds, uint64_t number, uint64_t first);

/* An object that only recovery knows. */
/* 0; -ENOENT: the tree has no such object. */
int recover_object_begin(struct dataset *ds, uint64_t number, struct object *ret);
void recover_object_end(struct object *o);

#endif
