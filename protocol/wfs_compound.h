/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The operations of a COMPOUND (wfs.x) as C structs: one struct for the arguments of any operation, one for its
 * results, and an encode/decode pair for each, driven by one table of fields.
 *
 * Decoded bytes and names are not copied: they point into the message, and are not terminated. Names have no NUL.
 * Nothing is allocated; get functions leave judging to rd.bad.
 */
#ifndef WFSD_PROTOCOL_WFS_COMPOUND_H
#define WFSD_PROTOCOL_WFS_COMPOUND_H

#include "protocol/wfs_proto.h"

#define WFSP_OPS_MAX 128u
#define WFSP_COMPOUND_MAX (4u << 20)
#define WFSP_FH_MAX 64u
#define WFSP_PATH_MAX 4095u
#define WFSP_XATTR_MAX 65536u
#define WFSP_SLOTS 64u
#define WFSP_SLOT_REPLY_MAX 65536u
#define WFSP_REPLY_MIN 1024u

enum wfsp_type {
	WFSP_TYPE_FILE = 1,
	WFSP_TYPE_DIR = 2,
	WFSP_TYPE_SYMLINK = 3,
	WFSP_TYPE_FIFO = 4,
	WFSP_TYPE_CHAR = 5,
	WFSP_TYPE_BLOCK = 6,
	WFSP_TYPE_SOCKET = 7,
};

enum wfsp_op_code {
	WFSP_OP_ROOT = 1,
	WFSP_OP_PUT = 2,
	WFSP_OP_SAVE = 3,
	WFSP_OP_RESTORE = 4,
	WFSP_OP_RESULT = 5,
	WFSP_OP_USE = 6,
	WFSP_OP_GET_HANDLE = 7,
	WFSP_OP_LOOKUP = 8,
	WFSP_OP_LOOKUP_PATH = 9,
	WFSP_OP_GETATTR = 10,
	WFSP_OP_SETATTR = 11,
	WFSP_OP_GUARD = 12,
	WFSP_OP_CREATE = 13,
	WFSP_OP_CREATE_NAMELESS = 14,
	WFSP_OP_LINK = 15,
	WFSP_OP_UNLINK = 16,
	WFSP_OP_RENAME = 17,
	WFSP_OP_READ_LINK = 18,
	WFSP_OP_READDIR = 19,
	WFSP_OP_READ = 20,
	WFSP_OP_WRITE = 21,
	WFSP_OP_COMMIT = 22,
	WFSP_OP_GET_XATTR = 23,
	WFSP_OP_SET_XATTR = 24,
	WFSP_OP_LIST_XATTR = 25,
	WFSP_OP_REMOVE_XATTR = 26,
	WFSP_OP_STATFS = 27,
	WFSP_OP_ACCESS = 28,
	WFSP_OP_LOCK = 29,
	WFSP_OP_LOCK_TEST = 30,
	WFSP_OP_UNLOCK = 31,
	WFSP_OP_ALLOCATE = 32,
	WFSP_OP_SEEK = 33,
	WFSP_OP_COPY = 34,
	WFSP_OP_PUT_FILE = 35,
	WFSP_OP_GET_FILE = 36,
	WFSP_OP_OPEN = 37,
	WFSP_OP_CLOSE = 38,
	WFSP_OP_WATCH = 39,
	WFSP_OP_UNWATCH = 40,
	WFSP_OP_LOCK_WAIT = 41,
	WFSP_OP_LOCK_CANCEL = 42,
	WFSP_OP_LOCK_RECLAIM = 43,
	WFSP_OP_RECLAIMED = 44,
	WFSP_OP_TX_BEGIN = 45,
	WFSP_OP_TX_USE = 46,
	WFSP_OP_TX_COMMIT = 47,
	WFSP_OP_TX_ABORT = 48,
	WFSP_OP_TX_STATUS = 49,
	WFSP_OP_LEASE = 50,
	WFSP_OP_LEASE_RETURN = 51,
	WFSP_OP_STATISTICS = 52,
	WFSP_OP_COMMIT_RANGE = 53,
	WFSP_OP_CODES = 54, /* the numbers below are used, but for 0 */
};

#define WFSP_NODE_READ_ONLY 1u
#define WFSP_NODE_GROWS 2u
#define WFSP_NODE_ACL 4u
#define WFSP_NODE_EXACT_NAMES 8u

#define WFSP_FLAG_IMMUTABLE 1u
#define WFSP_FLAG_APPEND 2u

#define WFSP_SET_MODE 1u
#define WFSP_SET_UID 2u
#define WFSP_SET_GID 4u
#define WFSP_SET_SIZE 8u
#define WFSP_SET_ATIME 16u
#define WFSP_SET_MTIME 32u
#define WFSP_SET_ATIME_NOW 64u
#define WFSP_SET_MTIME_NOW 128u
#define WFSP_SET_FLAGS 256u
#define WFSP_SET_PROJECT 1024u
#define WFSP_SET_ALL 1535u

#define WFSP_ACCESS_EXEC 1u
#define WFSP_ACCESS_WRITE 2u
#define WFSP_ACCESS_READ 4u

#define WFSP_WALK_FOLLOW 1u
#define WFSP_CREATE_EXCLUSIVE 1u
#define WFSP_UNLINK_DIR 1u
#define WFSP_RENAME_NOREPLACE 1u
#define WFSP_RENAME_EXCHANGE 2u
#define WFSP_READDIR_ATTR 1u
#define WFSP_READDIR_HANDLE 2u
#define WFSP_WRITE_FUA 1u
#define WFSP_WRITE_APPEND 2u
#define WFSP_XATTR_CREATE 1u
#define WFSP_XATTR_REPLACE 2u
#define WFSP_ALLOCATE_ZERO 0u
#define WFSP_ALLOCATE_PUNCH 1u
#define WFSP_ALLOCATE_COLLAPSE 2u
#define WFSP_SEEK_DATA 0u
#define WFSP_SEEK_HOLE 1u
#define WFSP_REOPEN_OWNER 1u

#define WFSP_TX_SNAPSHOT 1u
#define WFSP_TX_SERIALIZABLE 2u
#define WFSP_TX_ATOMIC 1u
#define WFSP_TX_DURABLE 1u
#define WFSP_TX_RUNNING 1u
#define WFSP_TX_COMMITTED 2u
#define WFSP_TX_ABORTED 3u

#define WFSP_SCOPE_EXPORT 1u
#define WFSP_SCOPE_DATASET 2u
#define WFSP_SCOPE_SESSION 3u

#define WFSP_LOCK_NONE 0u
#define WFSP_LOCK_SHARED 1u
#define WFSP_LOCK_EXCLUSIVE 2u

struct wfsp_bytes {
	const uint8_t *p;
	uint32_t len_bytes;
};

struct wfsp_node_attr {
	uint32_t type, mode, uid, gid, link_count, file_flags, node_flags, block_preferred_bytes, project;
	uint64_t fsid, fileid, size_bytes, allocated_bytes, change, rdev, atime_ns, mtime_ns, ctime_ns, btime_ns;
};
#define WFSP_NODE_ATTR_BYTES 116u

struct wfsp_setattr {
	uint32_t valid, mode, uid, gid, file_flags, project;
	uint64_t size_bytes, atime_ns, mtime_ns;
};

struct wfsp_lock {
	uint64_t owner;
	uint32_t type;
	uint64_t offset, len_bytes;
};

struct wfsp_statfs {
	uint64_t fsid, total_bytes, free_bytes, available_bytes, objects, objects_free;
	uint32_t block_bytes, name_max;
	bool read_only;
};

struct wfsp_tx_status {
	uint32_t state, reason;
	uint64_t fsid, fileid;
	uint64_t committed_ns;
};

/* The arguments of an operation: those that its code has. */
struct wfsp_op {
	uint32_t code;
	uint32_t flags; /* also the mode of ALLOCATE and what SEEK looks for */
	uint32_t mode;
	uint32_t type;
	uint32_t access;
	uint32_t index;
	uint32_t max_bytes;
	uint64_t offset; /* also READDIR's cookie */
	uint64_t new_offset;
	uint64_t len_bytes;
	uint64_t rdev;
	uint64_t change;
	uint64_t descriptor;
	uint64_t id;
	uint32_t what;
	uint32_t isolation, ttl_ms;
	uint32_t scope;
	struct wfsp_bytes name, new_name;
	struct wfsp_bytes path; /* also CREATE's target */
	struct wfsp_bytes handle;
	struct wfsp_bytes data;
	struct wfsp_setattr set;
	struct wfsp_lock lock;
};

/* Its results: a status, and with WFSP_OK those that its code has, otherwise a text. */
struct wfsp_op_res {
	uint32_t status;
	struct wfsp_bytes text;
	uint32_t code;
	bool created;
	bool granted;
	bool eof;
	uint32_t access;
	uint32_t len32_bytes; /* GET_XATTR: of the value */
	uint64_t offset;
	uint64_t len_bytes;
	uint64_t descriptor;
	struct wfsp_bytes handle;
	struct wfsp_bytes path;
	struct wfsp_bytes data;
	struct wfsp_node_attr attr;
	struct wfsp_lock lock;
	struct wfsp_statfs statfs;
	uint64_t id;
	struct wfsp_tx_status tx; /* and a name */
	struct wfsp_bytes name;
	/* READDIR's entries, LIST_XATTR's names, STATISTICS' counters: checked, encoded, to be read with
	 * wfsp_get_dirent(), _get_name() or _get_counter(). */
	uint32_t item_count;
	struct wfsp_bytes items;
};

struct wfsp_dirent {
	uint64_t cookie, fileid;
	uint32_t type;
	struct wfsp_bytes name;
	bool has_attr;
	struct wfsp_node_attr attr;
	struct wfsp_bytes handle;
};
#define WFSP_DIRENT_BYTES_MIN 36u
/* Of one whose name is that long, without attributes and handle. */
#define WFSP_DIRENT_BYTES(name_len) (32u + (((name_len) + 3u) & ~3u))

struct wfsp_compound_args {
	uint32_t slot, sequence, reply_max_bytes;
	uint32_t within_ms; /* 0: no limit */
	uint32_t op_count; /* that many operations follow */
};
#define WFSP_COMPOUND_ARGS_BYTES 20u

/* A count above WFSP_OPS_MAX is bad. */
void wfsp_get_compound_args(struct rd *r, struct wfsp_compound_args *ret);
void wfsp_put_compound_args(struct wr *w, const struct wfsp_compound_args *v);

/* A code that does not exist is bad, as its arguments are not known. */
void wfsp_get_op(struct rd *r, struct wfsp_op *ret);
void wfsp_put_op(struct wr *w, const struct wfsp_op *v);

/*
 * put: items are written as they are. get: fields that the code does not have are zero.
 */
void wfsp_get_op_res(struct rd *r, struct wfsp_op_res *ret);
void wfsp_put_op_res(struct wr *w, const struct wfsp_op_res *v);

/* Of a result with WFSP_OK: with empty data, texts and lists; exact for operations without these. */
size_t wfsp_op_res_bytes_min(uint32_t code);

void wfsp_get_dirent(struct rd *r, struct wfsp_dirent *ret);
void wfsp_put_dirent(struct wr *w, const struct wfsp_dirent *v);
/* 1..WFSP_NAME_MAX bytes without NUL. */
void wfsp_get_name(struct rd *r, struct wfsp_bytes *ret);

void wfsp_get_node_attr(struct rd *r, struct wfsp_node_attr *ret);
void wfsp_put_node_attr(struct wr *w, const struct wfsp_node_attr *v);

/* "lookup", "create", ...; NULL for an unknown number. */
const char *wfsp_op_name(uint32_t code);

#endif
