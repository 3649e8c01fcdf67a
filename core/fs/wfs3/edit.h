/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Private to WFS v3: one change of a file tree, made of changes of several items. It is collected first, with the locks
 * of the objects held that it concerns, and then made as one: in the tree, in the log, and in the objects in memory.
 */
#ifndef WFSD_CORE_FS_WFS3_EDIT_H
#define WFSD_CORE_FS_WFS3_EDIT_H

#include "core/fs/wfs3/dirent.h"
#include "core/fs/wfs3/object.h"
#include "core/fs/wfs3/quota.h"
#include "core/fs/wfs3/tree.h"

#define EDIT_INODES_MAX 5u
#define EDIT_DIRENTS_MAX 2u
#define EDIT_ITEMS_MAX (TREE_BATCH_MAX - EDIT_INODES_MAX - EDIT_DIRENTS_MAX - 1u)

/* What of an inode is set; times of change and the counter always are. */
#define EDIT_MODE 1u
#define EDIT_UID 2u
#define EDIT_GID 4u
#define EDIT_LINKS 8u
#define EDIT_FLAGS 16u
#define EDIT_SIZE 32u
#define EDIT_ATIME 64u
#define EDIT_MTIME 128u
#define EDIT_PARENT 256u
#define EDIT_PROJECT 512u
#define EDIT_OWNERS (EDIT_UID | EDIT_GID | EDIT_PROJECT)

struct edit_inode {
	struct object *o;
	unsigned set;
	bool gone; /* the item is deleted */
	bool is_new; /* there was none */
	struct inode to;
	uint8_t value[INODE_BYTES];
};

struct edit_dirent {
	struct wfs3_key key;
	size_t len; /* 0: the item is deleted */
	uint8_t value[DIRENT_VALUE_MAX];
};

struct edit {
	struct dataset *ds;
	int64_t now_ns;
	int object_delta; /* objects that come or go */
	unsigned inode_count, dirent_count, item_count;
	bool truncates;
	struct item_change truncate;
	bool collapses;
	bool replaces;
	struct edit_inode inodes[EDIT_INODES_MAX];
	struct edit_dirent dirents[EDIT_DIRENTS_MAX];
	struct item_change items[EDIT_ITEMS_MAX];
	bool tagged;
	struct wfs3_key tag_key;
	uint8_t tag_value[RESULT_BYTES];
};

void edit_init(struct edit *e, struct dataset *ds);
/* The inode of an object whose lock is held: the caller changes fields of the result, and names them in @set. Called
 * again for the same object it gives the same inode. */
struct inode *edit_inode(struct edit *e, struct object *o, unsigned set);
/* The object comes, as it is in memory. */
void edit_inode_new(struct edit *e, struct object *o);
/* The object goes. */
void edit_inode_gone(struct edit *e, struct object *o);
/* @value stays the caller's until the end. */
void edit_put(struct edit *e, const struct wfs3_key *key, const void *value, size_t len);
void edit_delete(struct edit *e, const struct wfs3_key *key);
/* The log tells that blocks of the object from @first on are holes. */
void edit_truncate(struct edit *e, const struct object *o, uint64_t first);
/* A range of whole cells begins to be taken out of a file with it. */
void edit_collapse(struct edit *e);
/* A file whose contents were handed to the log gets the name of another one. */
void edit_replace(struct edit *e);
/* The change is made for that request (NULL: none): its result is kept with it. */
void edit_tag(struct edit *e, const struct vfs_tag *tag, uint64_t number);
/* What is at a name of a directory whose lock is held: 1, 0 nothing. -EIO, -EUCLEAN. Blocks. */
int edit_find(struct dataset *ds, uint64_t dir, const char *name, size_t name_len, uint64_t *ret_object,
              uint8_t *ret_type);
/* Put (@object not 0) or remove the entry of a name; the directory's inode is the caller's to change. Blocks. */
int edit_entry(struct edit *e, uint64_t dir, const char *name, size_t name_len, uint64_t object, uint8_t type);
/* Make the change. 0, or an error with nothing changed: -ENOSPC, -EDQUOT, -ENOMEM, -EIO, -EUCLEAN. Blocks. */
int edit_run(struct edit *e);

/* The value of an item, read from the device when it must. -ENOENT, -ERANGE, -EIO, ... Blocks. */
int edit_read(struct dataset *ds, const struct wfs3_key *key, void *buf, size_t cap, size_t *ret_len);

#endif
