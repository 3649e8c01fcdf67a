/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Arguments and results of the wfs protocol (wfs.x) as C structs, with one encode/decode pair each for client and
 * server.
 *
 * wfsp_get_*() read from a bounded cursor and leave judging to rd.bad; strings are copied and terminated, nothing is
 * allocated. wfsp_put_*() write what get reads. Payloads never pass through here: they stand last in a record, after
 * a 32-bit length, and are followed by padding (xdr_pad_bytes()).
 */
#ifndef WFSD_PROTOCOL_WFS_PROTO_H
#define WFSD_PROTOCOL_WFS_PROTO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/bytes.h"

#define WFSP_PROGRAM 0x20574653u
#define WFSP_VERSION 1u
#define WFSP_PAYLOAD_MAX (32u << 20)
#define WFSP_NAME_MAX 255u
#define WFSP_TEXT_MAX 512u
#define WFSP_LIST_MAX 64u
#define WFSP_EXTENTS_MAX 1024u
#define WFSP_COUNTERS_MAX 128u
#define WFSP_COUNTER_NAME_MAX 63u
#define WFSP_CLEAN_BOOTS_MAX 16u
#define WFSP_CLIENT_ID_BYTES 16u
/* Any result without a payload fits. */
#define WFSP_RESULT_BYTES_MAX 49152u
/* A status with its text, and the small results (OPEN, HELLO, STAT). */
#define WFSP_SMALL_RESULT_BYTES_MAX 1024u

enum wfsp_procedure {
	WFSP_NULL = 0,
	WFSP_HELLO = 1,
	WFSP_LIST_EXPORTS = 2,
	WFSP_OPEN = 3,
	WFSP_STAT = 4,
	WFSP_READ = 5,
	WFSP_WRITE = 6,
	WFSP_FLUSH = 7,
	WFSP_DISCARD = 8,
	WFSP_ZERO = 9,
	WFSP_EXTENTS = 10,
	WFSP_CACHE = 11,
	WFSP_CLOSE = 12,
	WFSP_STATISTICS = 13,
	WFSP_READ_SHM = 14,
	WFSP_WRITE_SHM = 15,
	WFSP_COMPOUND = 16, /* wfs_compound.h */
	WFSP_NOTICES = 17, /* wfs_notice.h */
	WFSP_CANCEL = 18,
	WFSP_PROCEDURES = 19, /* how many there are */
};

enum wfsp_status {
	WFSP_OK = 0,
	WFSP_ERR_PERM = 1,
	WFSP_ERR_NOENT = 2,
	WFSP_ERR_IO = 3,
	WFSP_ERR_ACCES = 4,
	WFSP_ERR_EXIST = 5,
	WFSP_ERR_NOTDIR = 6,
	WFSP_ERR_ISDIR = 7,
	WFSP_ERR_INVAL = 8,
	WFSP_ERR_MFILE = 9,
	WFSP_ERR_FBIG = 10,
	WFSP_ERR_NOSPC = 11,
	WFSP_ERR_ROFS = 12,
	WFSP_ERR_NAMETOOLONG = 13,
	WFSP_ERR_NOTSUP = 14,
	WFSP_ERR_STALE = 15,
	WFSP_ERR_NOMEM = 16,
	WFSP_ERR_BUSY = 17,
	WFSP_ERR_DAMAGED = 18,
	WFSP_ERR_BADHANDLE = 19,
	WFSP_ERR_BADMSG = 20,
	WFSP_ERR_SHUTDOWN = 21,
	WFSP_ERR_NODEV = 22,
	WFSP_ERR_DQUOT = 23,
	WFSP_ERR_OVERFLOW = 24,
	WFSP_ERR_CANCELED = 25,
	WFSP_ERR_NOTEMPTY = 26,
	WFSP_ERR_XDEV = 27,
	WFSP_ERR_LOOP = 28,
	WFSP_ERR_MLINK = 29,
	WFSP_ERR_NODATA = 30,
	WFSP_ERR_RANGE = 31,
	WFSP_ERR_2BIG = 32,
	WFSP_ERR_NOLCK = 33,
	WFSP_ERR_DEADLK = 34,
	WFSP_ERR_AGAIN = 35,
	WFSP_ERR_NXIO = 36,
	WFSP_ERR_CHANGED = 37,
	WFSP_ERR_MSGSIZE = 38,
	WFSP_ERR_SEQUENCE = 39,
	WFSP_ERR_GRACE = 40,
	WFSP_ERR_CONFLICT = 41,
	WFSP_ERR_TIMEDOUT = 42,
	WFSP_ERR_DONE = 43,
	WFSP_STATUSES = 44, /* how many there are */
};

#define WFSP_FEATURE_SHM 1u
#define WFSP_FEATURE_TREES 2u
/* Behind the slots of shared memory; its first 32 bits are not 0 when the server has taken the memory back. */
#define WFSP_SHM_TAIL_BYTES 4096u

#define WFSP_RANGE_FUA 1u
#define WFSP_RANGE_NO_HOLE 2u
#define WFSP_RANGE_FAST 4u
#define WFSP_RANGE_ONE 8u

#define WFSP_EXTENT_HOLE 1u
#define WFSP_EXTENT_ZERO 2u

enum wfsp_stable {
	WFSP_UNSTABLE = 0,
	WFSP_FUA = 1,
};

struct wfsp_hello_args {
	uint8_t client_id[WFSP_CLIENT_ID_BYTES];
	uint32_t connection;
	uint64_t features;
	uint32_t lease_s;
	char client_name[WFSP_NAME_MAX + 1];
};

struct wfsp_hello_ok {
	uint64_t boot_id;
	uint32_t clean_boot_count;
	uint64_t clean_boots[WFSP_CLEAN_BOOTS_MAX];
	uint64_t features;
	uint32_t payload_max_bytes;
	uint32_t requests_max;
	uint32_t shm_slots;
	uint32_t shm_slot_bytes;
	uint32_t lease_s;
	char server_name[WFSP_NAME_MAX + 1];
};

struct wfsp_export {
	char name[WFSP_NAME_MAX + 1];
	char description[WFSP_NAME_MAX + 1];
	uint64_t size_bytes;
	bool read_only;
	bool is_default;
};

struct wfsp_attr {
	uint64_t fsid;
	uint64_t fileid;
	uint64_t size_bytes;
	uint64_t allocated_bytes;
	uint64_t change;
	uint64_t mtime_ns;
	bool read_only;
};

struct wfsp_open_args {
	char name[WFSP_NAME_MAX + 1];
	bool want_write;
};

struct wfsp_open_ok {
	uint64_t handle;
	struct wfsp_attr attr;
	uint32_t block_min_bytes;
	uint32_t block_preferred_bytes;
	uint32_t block_max_bytes;
	char name[WFSP_NAME_MAX + 1];
	char description[WFSP_NAME_MAX + 1];
};

struct wfsp_read_args {
	uint64_t handle;
	uint64_t offset;
	uint32_t len_bytes;
};

/* Everything of WRITE before the payload's bytes. */
struct wfsp_write_args {
	uint64_t handle;
	uint64_t offset;
	uint32_t stable; /* enum wfsp_stable, judged by the server */
	uint32_t len_bytes;
};

/* DISCARD, ZERO, EXTENTS, CACHE. */
struct wfsp_range_args {
	uint64_t handle;
	uint64_t offset;
	uint64_t len_bytes;
	uint32_t flags;
};

struct wfsp_extent {
	uint64_t len_bytes;
	uint32_t flags;
};

struct wfsp_counter {
	char name[WFSP_COUNTER_NAME_MAX + 1];
	uint64_t value;
};

struct wfsp_read_shm_args {
	uint64_t handle;
	uint64_t offset;
	uint32_t len_bytes;
	uint32_t slot;
};

struct wfsp_write_shm_args {
	uint64_t handle;
	uint64_t offset;
	uint32_t stable;
	uint32_t len_bytes;
	uint32_t slot;
};

/* Encoded sizes of an extent and the smallest export and counter. */
#define WFSP_EXTENT_BYTES 12u
#define WFSP_EXPORT_BYTES_MIN 24u
#define WFSP_COUNTER_BYTES_MIN 12u

void wfsp_get_hello_args(struct rd *r, struct wfsp_hello_args *ret);
void wfsp_put_hello_args(struct wr *w, const struct wfsp_hello_args *v);
void wfsp_get_hello_ok(struct rd *r, struct wfsp_hello_ok *ret);
void wfsp_put_hello_ok(struct wr *w, const struct wfsp_hello_ok *v);

/* The list itself: a count (xdr_get_count()), that many of these, then a bool "eof". */
void wfsp_get_export(struct rd *r, struct wfsp_export *ret);
void wfsp_put_export(struct wr *w, const struct wfsp_export *v);

void wfsp_get_attr(struct rd *r, struct wfsp_attr *ret);
void wfsp_put_attr(struct wr *w, const struct wfsp_attr *v);
void wfsp_get_open_args(struct rd *r, struct wfsp_open_args *ret);
void wfsp_put_open_args(struct wr *w, const struct wfsp_open_args *v);
void wfsp_get_open_ok(struct rd *r, struct wfsp_open_ok *ret);
void wfsp_put_open_ok(struct wr *w, const struct wfsp_open_ok *v);

void wfsp_get_read_args(struct rd *r, struct wfsp_read_args *ret);
void wfsp_put_read_args(struct wr *w, const struct wfsp_read_args *v);
/* A length above WFSP_PAYLOAD_MAX is bad. */
void wfsp_get_write_args(struct rd *r, struct wfsp_write_args *ret);
void wfsp_put_write_args(struct wr *w, const struct wfsp_write_args *v);
void wfsp_get_range_args(struct rd *r, struct wfsp_range_args *ret);
void wfsp_put_range_args(struct wr *w, const struct wfsp_range_args *v);

/* A count, then that many of these. */
void wfsp_get_extent(struct rd *r, struct wfsp_extent *ret);
void wfsp_put_extent(struct wr *w, const struct wfsp_extent *v);
void wfsp_get_counter(struct rd *r, struct wfsp_counter *ret);
void wfsp_put_counter(struct wr *w, const struct wfsp_counter *v);

void wfsp_get_read_shm_args(struct rd *r, struct wfsp_read_shm_args *ret);
void wfsp_put_read_shm_args(struct wr *w, const struct wfsp_read_shm_args *v);
void wfsp_get_write_shm_args(struct rd *r, struct wfsp_write_shm_args *ret);
void wfsp_put_write_shm_args(struct wr *w, const struct wfsp_write_shm_args *v);

/* The start of every result: the status and, unless it is WFSP_OK, a text (cut to WFSP_TEXT_MAX bytes). */
void wfsp_put_status(struct wr *w, enum wfsp_status status, const char *text);
/* @ret_text: WFSP_TEXT_MAX + 1 bytes; "" with WFSP_OK. Unknown numbers are returned as they are. */
uint32_t wfsp_get_status(struct rd *r, char *ret_text);

/* The table between negative errno and status. Unknown errors become WFSP_ERR_IO, unknown statuses -EIO. */
enum wfsp_status wfsp_status_from_errno(int err);
int wfsp_status_to_errno(uint32_t status);

/* "read", "list_exports", ...; NULL for an unknown number. */
const char *wfsp_procedure_name(uint32_t procedure);

#endif
