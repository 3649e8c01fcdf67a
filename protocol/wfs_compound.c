/* SPDX-License-Identifier: BSD-3-Clause */
/* Encoding and decoding of the operations of a COMPOUND: which fields each has, in which order. */
#include "protocol/wfs_compound.h"

#include "protocol/xdr/xdr.h"

enum kind {
	END,
	U32,
	U64,
	BOOL,
	BYTES, /* opaque<max> */
	NAME, /* string<max> that is not empty */
	TEXT, /* string<max> */
	SETATTR,
	ATTR,
	LOCK,
	STATFS,
	DIRENTS, /* a count and the items */
	NAMES,
	COUNTERS,
};

struct field {
	enum kind kind;
	unsigned at; /* offset in the struct */
	uint32_t max; /* bytes */
};

#define FIELDS_MAX 8
struct shape {
	const char *name;
	struct field args[FIELDS_MAX];
	struct field results[FIELDS_MAX];
};

#define A(kind, member)                                                                                                \
	{                                                                                                              \
		kind, offsetof(struct wfsp_op, member), 0                                                              \
	}
#define A_MAX(kind, member, max)                                                                                       \
	{                                                                                                              \
		kind, offsetof(struct wfsp_op, member), max                                                            \
	}
#define A_NAME A_MAX(NAME, name, WFSP_NAME_MAX)
#define A_DATA A_MAX(BYTES, data, WFSP_COMPOUND_MAX)
#define R(kind, member)                                                                                                \
	{                                                                                                              \
		kind, offsetof(struct wfsp_op_res, member), 0                                                          \
	}
#define R_MAX(kind, member, max)                                                                                       \
	{                                                                                                              \
		kind, offsetof(struct wfsp_op_res, member), max                                                        \
	}
#define R_DATA R_MAX(BYTES, data, WFSP_COMPOUND_MAX)

/* In the order of wfs.x. */
static const struct shape shapes[WFSP_OP_CODES] = {
	[WFSP_OP_ROOT] = { "root", { A_MAX(TEXT, name, WFSP_NAME_MAX) }, { { 0 } } },
	[WFSP_OP_PUT] = { "put", { A_MAX(BYTES, handle, WFSP_FH_MAX) }, { { 0 } } },
	[WFSP_OP_SAVE] = { "save", { { 0 } }, { { 0 } } },
	[WFSP_OP_RESTORE] = { "restore", { { 0 } }, { { 0 } } },
	[WFSP_OP_RESULT] = { "result", { A(U32, index) }, { { 0 } } },
	[WFSP_OP_USE] = { "use", { A(U64, descriptor) }, { { 0 } } },
	[WFSP_OP_GET_HANDLE] = { "get_handle", { { 0 } }, { R_MAX(BYTES, handle, WFSP_FH_MAX) } },
	[WFSP_OP_LOOKUP] = { "lookup", { A_NAME }, { { 0 } } },
	[WFSP_OP_LOOKUP_PATH] = { "lookup_path", { A_MAX(TEXT, path, WFSP_PATH_MAX), A(U32, flags) }, { { 0 } } },
	[WFSP_OP_GETATTR] = { "getattr", { { 0 } }, { R(ATTR, attr) } },
	[WFSP_OP_SETATTR] = { "setattr", { A(SETATTR, set) }, { R(ATTR, attr) } },
	[WFSP_OP_GUARD] = { "guard", { A(U64, change) }, { { 0 } } },
	[WFSP_OP_CREATE] = { "create",
	                     { A_NAME, A(U32, type), A(U32, mode), A(U64, rdev), A_MAX(TEXT, path, WFSP_PATH_MAX),
	                       A(U32, access), A(U32, flags) },
	                     { R(BOOL, created) } },
	[WFSP_OP_CREATE_NAMELESS] = { "create_nameless", { A(U32, mode) }, { { 0 } } },
	[WFSP_OP_LINK] = { "link", { A_NAME }, { { 0 } } },
	[WFSP_OP_UNLINK] = { "unlink", { A_NAME, A(U32, flags) }, { { 0 } } },
	[WFSP_OP_RENAME] = { "rename", { A_NAME, A_MAX(NAME, new_name, WFSP_NAME_MAX), A(U32, flags) }, { { 0 } } },
	[WFSP_OP_READ_LINK] = { "read_link", { { 0 } }, { R_MAX(TEXT, path, WFSP_PATH_MAX) } },
	[WFSP_OP_READDIR] = { "readdir",
	                      { A(U64, offset), A(U32, max_bytes), A(U32, flags) },
	                      { R(BOOL, eof), R(DIRENTS, items) } },
	[WFSP_OP_READ] = { "read", { A(U64, offset), A(U32, max_bytes) }, { R(BOOL, eof), R_DATA } },
	[WFSP_OP_WRITE] = { "write", { A(U64, offset), A(U32, flags), A_DATA }, { { 0 } } },
	[WFSP_OP_COMMIT] = { "commit", { { 0 } }, { { 0 } } },
	[WFSP_OP_GET_XATTR] = { "get_xattr", { A_NAME, A(U32, max_bytes) }, { R(U32, len32_bytes), R_DATA } },
	[WFSP_OP_SET_XATTR] = { "set_xattr", { A_NAME, A(U32, flags), A_DATA }, { { 0 } } },
	[WFSP_OP_LIST_XATTR] = { "list_xattr", { A(U32, max_bytes) }, { R(NAMES, items) } },
	[WFSP_OP_REMOVE_XATTR] = { "remove_xattr", { A_NAME }, { { 0 } } },
	[WFSP_OP_STATFS] = { "statfs", { { 0 } }, { R(STATFS, statfs) } },
	[WFSP_OP_ACCESS] = { "access", { A(U32, access) }, { R(U32, access) } },
	[WFSP_OP_LOCK] = { "lock", { A(LOCK, lock) }, { { 0 } } },
	[WFSP_OP_LOCK_TEST] = { "lock_test", { A(LOCK, lock) }, { R(LOCK, lock) } },
	[WFSP_OP_UNLOCK] = { "unlock", { A(U64, lock.owner), A(U64, lock.offset), A(U64, lock.len_bytes) }, { { 0 } } },
	[WFSP_OP_ALLOCATE] = { "allocate", { A(U32, flags), A(U64, offset), A(U64, len_bytes) }, { { 0 } } },
	[WFSP_OP_SEEK] = { "seek", { A(U64, offset), A(U32, flags) }, { R(U64, offset) } },
	[WFSP_OP_COPY] = { "copy", { A(U64, offset), A(U64, new_offset), A(U64, len_bytes) }, { R(U64, len_bytes) } },
	[WFSP_OP_PUT_FILE] = { "put_file", { A_NAME, A(U32, mode), A(U32, flags), A_DATA }, { R(ATTR, attr) } },
	[WFSP_OP_GET_FILE] = { "get_file", { A(U32, max_bytes) }, { R(ATTR, attr), R(BOOL, eof), R_DATA } },
	[WFSP_OP_OPEN] = { "open", { A(U32, access), A(U32, flags) }, { R(U64, descriptor), R(ATTR, attr) } },
	[WFSP_OP_CLOSE] = { "close", { A(U64, descriptor) }, { { 0 } } },
	[WFSP_OP_WATCH] = { "watch", { A(U64, id), A(U32, what), A(U32, flags) }, { { 0 } } },
	[WFSP_OP_UNWATCH] = { "unwatch", { A(U64, id) }, { { 0 } } },
	[WFSP_OP_LOCK_WAIT] = { "lock_wait", { A(LOCK, lock), A(U64, id) }, { R(BOOL, granted) } },
	[WFSP_OP_LOCK_CANCEL] = { "lock_cancel", { A(U64, id) }, { { 0 } } },
	[WFSP_OP_LOCK_RECLAIM] = { "lock_reclaim", { A(LOCK, lock) }, { { 0 } } },
	[WFSP_OP_RECLAIMED] = { "reclaimed", { { 0 } }, { { 0 } } },
	[WFSP_OP_TX_BEGIN] = { "tx_begin", { A(U32, isolation), A(U32, ttl_ms), A(U32, flags) }, { R(U64, id) } },
	[WFSP_OP_TX_USE] = { "tx_use", { A(U64, id) }, { { 0 } } },
	[WFSP_OP_TX_COMMIT] = { "tx_commit", { A(U32, flags) }, { { 0 } } },
	[WFSP_OP_TX_ABORT] = { "tx_abort", { { 0 } }, { { 0 } } },
	[WFSP_OP_TX_STATUS] = { "tx_status",
	                        { A(U64, id) },
	                        { R(U32, tx.state), R(U32, tx.reason), R(U64, tx.fsid), R(U64, tx.fileid),
	                          R_MAX(TEXT, name, WFSP_NAME_MAX), R(U64, tx.committed_ns) } },
	[WFSP_OP_LEASE] = { "lease", { A(U32, type), A(U64, id) }, { { 0 } } },
	[WFSP_OP_LEASE_RETURN] = { "lease_return", { A(U64, id) }, { { 0 } } },
	[WFSP_OP_STATISTICS] = { "statistics",
	                         { A(U32, scope), A_MAX(TEXT, name, WFSP_NAME_MAX) },
	                         { R(COUNTERS, items) } },
	[WFSP_OP_COMMIT_RANGE] = { "commit_range", { A(U64, offset), A(U64, len_bytes) }, { { 0 } } },
};

const char *wfsp_op_name(uint32_t code)
{
	return code < WFSP_OP_CODES ? shapes[code].name : NULL;
}

size_t wfsp_op_res_bytes_min(uint32_t code)
{
	static const uint8_t bytes[] = { [U32] = 4,     [U64] = 8,     [BOOL] = 4,     [BYTES] = 4,
		                         [NAME] = 4,    [TEXT] = 4,    [SETATTR] = 48, [ATTR] = WFSP_NODE_ATTR_BYTES,
		                         [LOCK] = 28,   [STATFS] = 60, [DIRENTS] = 4,  [NAMES] = 4,
		                         [COUNTERS] = 4 };
	size_t sum = 8; /* status and code */

	for (const struct field *f = shapes[code].results; f->kind != END; f++)
		sum += bytes[f->kind];
	return sum;
}

static void get_bytes(struct rd *r, uint32_t max, struct wfsp_bytes *ret)
{
	ret->p = xdr_get_opaque(r, max, &ret->len_bytes);
}

static void get_text(struct rd *r, uint32_t max, struct wfsp_bytes *ret)
{
	get_bytes(r, max, ret);
	if (!r->bad && memchr(ret->p, '\0', ret->len_bytes))
		r->bad = true;
}

void wfsp_get_name(struct rd *r, struct wfsp_bytes *ret)
{
	get_text(r, WFSP_NAME_MAX, ret);
	if (!ret->len_bytes)
		r->bad = true;
}

static void put_bytes(struct wr *w, const struct wfsp_bytes *v)
{
	xdr_put_opaque(w, v->p, v->len_bytes);
}

void wfsp_get_node_attr(struct rd *r, struct wfsp_node_attr *ret)
{
	ret->type = rd_be32(r);
	ret->mode = rd_be32(r);
	ret->uid = rd_be32(r);
	ret->gid = rd_be32(r);
	ret->link_count = rd_be32(r);
	ret->file_flags = rd_be32(r);
	ret->node_flags = rd_be32(r);
	ret->block_preferred_bytes = rd_be32(r);
	ret->project = rd_be32(r);
	ret->fsid = rd_be64(r);
	ret->fileid = rd_be64(r);
	ret->size_bytes = rd_be64(r);
	ret->allocated_bytes = rd_be64(r);
	ret->change = rd_be64(r);
	ret->rdev = rd_be64(r);
	ret->atime_ns = rd_be64(r);
	ret->mtime_ns = rd_be64(r);
	ret->ctime_ns = rd_be64(r);
	ret->btime_ns = rd_be64(r);
}

void wfsp_put_node_attr(struct wr *w, const struct wfsp_node_attr *v)
{
	wr_be32(w, v->type);
	wr_be32(w, v->mode);
	wr_be32(w, v->uid);
	wr_be32(w, v->gid);
	wr_be32(w, v->link_count);
	wr_be32(w, v->file_flags);
	wr_be32(w, v->node_flags);
	wr_be32(w, v->block_preferred_bytes);
	wr_be32(w, v->project);
	wr_be64(w, v->fsid);
	wr_be64(w, v->fileid);
	wr_be64(w, v->size_bytes);
	wr_be64(w, v->allocated_bytes);
	wr_be64(w, v->change);
	wr_be64(w, v->rdev);
	wr_be64(w, v->atime_ns);
	wr_be64(w, v->mtime_ns);
	wr_be64(w, v->ctime_ns);
	wr_be64(w, v->btime_ns);
}

static void get_setattr(struct rd *r, struct wfsp_setattr *ret)
{
	ret->valid = rd_be32(r);
	ret->mode = rd_be32(r);
	ret->uid = rd_be32(r);
	ret->gid = rd_be32(r);
	ret->file_flags = rd_be32(r);
	ret->project = rd_be32(r);
	ret->size_bytes = rd_be64(r);
	ret->atime_ns = rd_be64(r);
	ret->mtime_ns = rd_be64(r);
}

static void put_setattr(struct wr *w, const struct wfsp_setattr *v)
{
	wr_be32(w, v->valid);
	wr_be32(w, v->mode);
	wr_be32(w, v->uid);
	wr_be32(w, v->gid);
	wr_be32(w, v->file_flags);
	wr_be32(w, v->project);
	wr_be64(w, v->size_bytes);
	wr_be64(w, v->atime_ns);
	wr_be64(w, v->mtime_ns);
}

static void get_lock(struct rd *r, struct wfsp_lock *ret)
{
	ret->owner = rd_be64(r);
	ret->type = rd_be32(r);
	ret->offset = rd_be64(r);
	ret->len_bytes = rd_be64(r);
}

static void put_lock(struct wr *w, const struct wfsp_lock *v)
{
	wr_be64(w, v->owner);
	wr_be32(w, v->type);
	wr_be64(w, v->offset);
	wr_be64(w, v->len_bytes);
}

static void get_statfs(struct rd *r, struct wfsp_statfs *ret)
{
	ret->fsid = rd_be64(r);
	ret->total_bytes = rd_be64(r);
	ret->free_bytes = rd_be64(r);
	ret->available_bytes = rd_be64(r);
	ret->objects = rd_be64(r);
	ret->objects_free = rd_be64(r);
	ret->block_bytes = rd_be32(r);
	ret->name_max = rd_be32(r);
	ret->read_only = xdr_get_bool(r);
}

static void put_statfs(struct wr *w, const struct wfsp_statfs *v)
{
	wr_be64(w, v->fsid);
	wr_be64(w, v->total_bytes);
	wr_be64(w, v->free_bytes);
	wr_be64(w, v->available_bytes);
	wr_be64(w, v->objects);
	wr_be64(w, v->objects_free);
	wr_be32(w, v->block_bytes);
	wr_be32(w, v->name_max);
	xdr_put_bool(w, v->read_only);
}

void wfsp_get_dirent(struct rd *r, struct wfsp_dirent *ret)
{
	ret->cookie = rd_be64(r);
	ret->fileid = rd_be64(r);
	ret->type = rd_be32(r);
	wfsp_get_name(r, &ret->name);
	ret->has_attr = xdr_get_bool(r);
	if (ret->has_attr)
		wfsp_get_node_attr(r, &ret->attr);
	get_bytes(r, WFSP_FH_MAX, &ret->handle);
}

void wfsp_put_dirent(struct wr *w, const struct wfsp_dirent *v)
{
	wr_be64(w, v->cookie);
	wr_be64(w, v->fileid);
	wr_be32(w, v->type);
	put_bytes(w, &v->name);
	xdr_put_bool(w, v->has_attr);
	if (v->has_attr)
		wfsp_put_node_attr(w, &v->attr);
	put_bytes(w, &v->handle);
}

#define NAME_BYTES_MIN 8u

/* Read all items once, so that whoever reads them again finds them sound. */
static void get_items(struct rd *r, enum kind kind, struct wfsp_op_res *ret)
{
	uint32_t max = kind == COUNTERS ? WFSP_COUNTERS_MAX : WFSP_COMPOUND_MAX;
	uint32_t bytes_min = kind == DIRENTS ? WFSP_DIRENT_BYTES_MIN
	                     : kind == NAMES ? NAME_BYTES_MIN
	                                     : WFSP_COUNTER_BYTES_MIN;
	struct wfsp_counter counter;
	struct wfsp_dirent entry;
	struct wfsp_bytes name;
	size_t start;

	ret->item_count = xdr_get_count(r, max, bytes_min);
	start = r->pos;
	for (uint32_t i = 0; i < ret->item_count && !r->bad; i++) {
		if (kind == DIRENTS)
			wfsp_get_dirent(r, &entry);
		else if (kind == NAMES)
			wfsp_get_name(r, &name);
		else
			wfsp_get_counter(r, &counter);
	}
	ret->items = (struct wfsp_bytes){ r->base + start, (uint32_t)(r->pos - start) };
}

static void get_field(struct rd *r, const struct field *f, void *base)
{
	void *to = (uint8_t *)base + f->at;

	switch (f->kind) {
	case END:
		break;
	case U32:
		*(uint32_t *)to = rd_be32(r);
		break;
	case U64:
		*(uint64_t *)to = rd_be64(r);
		break;
	case BOOL:
		*(bool *)to = xdr_get_bool(r);
		break;
	case BYTES:
		get_bytes(r, f->max, to);
		break;
	case NAME:
		wfsp_get_name(r, to);
		break;
	case TEXT:
		get_text(r, f->max, to);
		break;
	case SETATTR:
		get_setattr(r, to);
		break;
	case ATTR:
		wfsp_get_node_attr(r, to);
		break;
	case LOCK:
		get_lock(r, to);
		break;
	case STATFS:
		get_statfs(r, to);
		break;
	case DIRENTS:
	case NAMES:
	case COUNTERS:
		get_items(r, f->kind, base);
		break;
	}
}

static void put_field(struct wr *w, const struct field *f, const void *base)
{
	const void *from = (const uint8_t *)base + f->at;
	const struct wfsp_op_res *res = base;

	switch (f->kind) {
	case END:
		break;
	case U32:
		wr_be32(w, *(const uint32_t *)from);
		break;
	case U64:
		wr_be64(w, *(const uint64_t *)from);
		break;
	case BOOL:
		xdr_put_bool(w, *(const bool *)from);
		break;
	case BYTES:
	case NAME:
	case TEXT:
		put_bytes(w, from);
		break;
	case SETATTR:
		put_setattr(w, from);
		break;
	case ATTR:
		wfsp_put_node_attr(w, from);
		break;
	case LOCK:
		put_lock(w, from);
		break;
	case STATFS:
		put_statfs(w, from);
		break;
	case DIRENTS:
	case NAMES:
	case COUNTERS:
		wr_be32(w, res->item_count);
		wr_copy(w, res->items.p, res->items.len_bytes);
		break;
	}
}

void wfsp_get_compound_args(struct rd *r, struct wfsp_compound_args *ret)
{
	ret->slot = rd_be32(r);
	ret->sequence = rd_be32(r);
	ret->reply_max_bytes = rd_be32(r);
	ret->within_ms = rd_be32(r);
	ret->op_count = xdr_get_count(r, WFSP_OPS_MAX, XDR_UNIT);
}

void wfsp_put_compound_args(struct wr *w, const struct wfsp_compound_args *v)
{
	wr_be32(w, v->slot);
	wr_be32(w, v->sequence);
	wr_be32(w, v->reply_max_bytes);
	wr_be32(w, v->within_ms);
	wr_be32(w, v->op_count);
}

/* A code from the wire: 0 and bad when there is no such operation. */
static uint32_t get_code(struct rd *r)
{
	uint32_t code = rd_be32(r);

	if (!wfsp_op_name(code)) {
		r->bad = true;
		return 0;
	}
	return code;
}

void wfsp_get_op(struct rd *r, struct wfsp_op *ret)
{
	memset(ret, 0, sizeof(*ret));
	ret->code = get_code(r);
	for (const struct field *f = shapes[ret->code].args; f->kind != END && !r->bad; f++)
		get_field(r, f, ret);
}

void wfsp_put_op(struct wr *w, const struct wfsp_op *v)
{
	wr_be32(w, v->code);
	for (const struct field *f = shapes[v->code].args; f->kind != END; f++)
		put_field(w, f, v);
}

void wfsp_get_op_res(struct rd *r, struct wfsp_op_res *ret)
{
	memset(ret, 0, sizeof(*ret));
	ret->status = rd_be32(r);
	if (ret->status != WFSP_OK) {
		get_bytes(r, WFSP_TEXT_MAX, &ret->text);
		return;
	}
	ret->code = get_code(r);
	for (const struct field *f = shapes[ret->code].results; f->kind != END && !r->bad; f++)
		get_field(r, f, ret);
}

void wfsp_put_op_res(struct wr *w, const struct wfsp_op_res *v)
{
	wr_be32(w, v->status);
	if (v->status != WFSP_OK) {
		put_bytes(w, &v->text);
		return;
	}
	wr_be32(w, v->code);
	for (const struct field *f = shapes[v->code].results; f->kind != END; f++)
		put_field(w, f, v);
}
