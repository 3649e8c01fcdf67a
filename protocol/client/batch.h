/* SPDX-License-Identifier: BSD-3-Clause */
/* libwfs: a COMPOUND while it is put together, and where its results go. */
#ifndef WFSD_PROTOCOL_CLIENT_BATCH_H
#define WFSD_PROTOCOL_CLIENT_BATCH_H

#include "protocol/client/internal.h"
#include "protocol/client/wfs_tree.h"
#include "protocol/wfs_compound.h"

#define BATCH_SMALL_BYTES 1024u
/* Data in one operation. */
#define BATCH_DATA_MAX (1u << 20)

/* Where the results of one operation go; each may be NULL. */
struct batch_item {
	uint32_t code;
	struct wfs_attr *attr;
	void *data; /* also a target's path, a value, a lock, figures, a handle */
	size_t cap; /* of data, bytes */
	size_t *len;
	uint64_t *number;
	unsigned *access;
	int *flag;
	wfs_dirent_fn *dirent_fn;
	wfs_name_fn *name_fn;
	wfs_counter_fn *counter_fn;
	void *ctx;
};

struct wfs_batch {
	struct wfs *client;
	struct wr ops; /* writes into small, or into memory of its own */
	size_t reply_bytes; /* room for every result, the first error's text included */
	unsigned count;
	bool once; /* it has something that must not be done twice */
	bool changes; /* something that is to be durable, if the client wants that of everything */
	unsigned within_ms; /* 0: no limit */
	int err; /* why an operation could not be added */
	struct batch_item items[WFS_BATCH_OPS_MAX];
	uint8_t small[BATCH_SMALL_BYTES];
};

/* On which connection a batch was answered, and was it sent more than once? */
struct batch_outcome {
	struct wfs_conn *conn;
	uint64_t generation;
	bool repeated;
};

/* On the caller's stack, instead of wfs_batch_new(). */
void wfs_batch_init(struct wfs_batch *b, struct wfs *w);
void wfs_batch_done(struct wfs_batch *b);

/* Add an operation whose results take at most @result_bytes behind status and code. Its index, or a negative errno. */
int wfs_batch_add(struct wfs_batch *b, const struct wfsp_op *op, const struct batch_item *item, size_t result_bytes);
/* USE: the file open by that descriptor, on the connection that the batch is run on, is current. */
int wfs_batch_use(struct wfs_batch *b, uint64_t descriptor);
/* LOCK_WAIT: *ret_granted is 0 when an event will tell. */
int wfs_batch_lock_wait(struct wfs_batch *b, const struct wfs_lock *lock, uint64_t id, int *ret_granted);
int wfs_batch_close(struct wfs_batch *b, uint64_t descriptor);
/* OPEN: the descriptor goes to @ret. @reopen: it had been open before. */
int wfs_batch_open(struct wfs_batch *b, unsigned access, bool reopen, uint64_t *ret, struct wfs_attr *ret_attr);

/* wfs_batch_run(), with reconnecting. */
int wfs_batch_run_any(struct wfs_batch *b, const struct wfs_cred *cred, unsigned *ret_done,
                      struct batch_outcome *ret_outcome);
/*
 * One attempt on this connection; -ENOTCONN as from wfs_call_run(). @slot, @sequence: of wfs_slot_take() on it, the
 * same for each attempt; 0: it may be done twice.
 */
int wfs_batch_run_on(struct wfs_batch *b, const struct wfs_cred *cred, struct wfs_conn *c, uint64_t generation,
                     uint32_t slot, uint32_t sequence);

/* A batch's call, with room for a short answer; it stays where it is. */
#define BATCH_SMALL_REPLY_BYTES 4096u
struct batch_call {
	struct wfs_call call;
	uint8_t small[BATCH_SMALL_REPLY_BYTES];
};
int wfs_batch_call_init(struct batch_call *bc, struct wfs_batch *b);
void wfs_batch_call_done(struct batch_call *bc);
/* Everything before the operations. */
void wfs_batch_put_head(struct wfs_batch *b, const struct wfs_cred *cred, struct wfs_call *call, uint32_t slot,
                        uint32_t sequence);
/* Of an answer: put the results where they belong. *ret_done: operations that have them. */
int wfs_batch_take_results(struct wfs_batch *b, struct wfs_call *call, unsigned *ret_done);

/* slots.c: a place in the connection's session, for a call that must not be done twice. Waits for one. */
void wfs_slot_take(struct wfs_conn *c, uint32_t *ret_slot, uint32_t *ret_sequence);
/* Without waiting; false: there is none. */
bool wfs_slot_try(struct wfs_conn *c, uint32_t *ret_slot, uint32_t *ret_sequence);
void wfs_slot_give(struct wfs_conn *c, uint32_t slot);

#endif
