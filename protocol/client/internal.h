/* SPDX-License-Identifier: BSD-3-Clause */
/* What the files of libwfs share: connections, calls, files. */
#ifndef WFSD_PROTOCOL_CLIENT_INTERNAL_H
#define WFSD_PROTOCOL_CLIENT_INTERNAL_H

#include <stdbool.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "core/base/bytes.h"
#include "core/base/sync.h"
#include "protocol/client/wfs.h"
#include "protocol/rpc/record.h"
#include "protocol/rpc/rpc_msg.h"
#include "protocol/tls/tls.h"
#include "protocol/wfs_compound.h"

#define CLIENT_CONNECTIONS_MAX 16u
#define WFS_HOST_MAX 255u
#define CLIENT_TIMEOUT_MS_DEFAULT 60000u
#define CLIENT_BUCKETS 64u
#define CLIENT_WINDOW_BYTES (64u << 10)
#define CALL_HEAD_BYTES 640u
#define CALL_SHM_HEAD_BYTES 96u
#define SHM_SLOTS_MAX 64u /* the bits of a word; more are not used */
/*
 * Payloads from this size go through shared memory. Measured on two cores, through nbdkit, processor time per read of
 * 4 / 8 / 16 / 256 KiB: 34, 40, 33, 151 us with it, 29, 37, 49, 167 us through the socket.
 */
#define SHM_PAYLOAD_BYTES_MIN (16u << 10)
/* And up to this, so that one request does not keep the others from it. */
#define SHM_PAYLOAD_BYTES_MAX (1u << 20)
/* Memory for long answers that a connection keeps. */
#define CLIENT_SPARES 2u
#define CLIENT_SPARE_BYTES ((size_t)256 << 10)
#define CALL_REPLY_BYTES (WFSP_SMALL_RESULT_BYTES_MAX + 64u)

/* Where a call's arguments start in its head: after the mark and a header without credentials. */
#define CALL_ARGS_AT (RECORD_MARK_BYTES + RPC_CALL_PLAIN_BYTES)

/* One request, on its caller's stack. */
struct wfs_call {
	uint8_t head[CALL_HEAD_BYTES]; /* mark, header, arguments before the payload */
	struct wr args; /* writes into head */
	uint32_t procedure;
	bool in_slot; /* it must not be done twice */
	const void *send_payload; /* WRITE */
	size_t send_len;
	void *payload; /* READ: where it goes, at most payload_len bytes */
	uint32_t payload_len;
	uint32_t payload_got; /* of them came: all, unless the file ended */
	bool payload_done; /* it came; there is no reply to decode */
	uint8_t *reply; /* anything else: the whole record; NULL: the connection lends memory when it arrives */
	size_t reply_size; /* longer ones are refused */
	size_t reply_room; /* of what is lent */
	struct wfs_conn *lender; /* NULL: none is */
	size_t reply_len;
	uint8_t small[CALL_REPLY_BYTES];
	uint32_t shm_count; /* slots that it occupies in this attempt; 0: the payload goes through the socket */
	uint32_t shm_slot; /* the first of them */
	struct wr shm_args; /* writes into shm_head */
	uint8_t shm_head[CALL_SHM_HEAD_BYTES]; /* what is sent then instead of head and payload */

	/* Guarded by the connection's lock. */
	uint32_t xid;
	bool done;
	bool waiting; /* on the waiting list */
	struct wfs_async *async; /* whom to tell instead of a waiting thread; NULL: somebody waits */
	bool sending; /* with async: it is told when all of it is sent, too, as it may be gone then */
	int err; /* 0: there is a reply; else -ENOTCONN */
	struct sync_cond cond;
	struct wfs_call *bucket_next;
	struct wfs_call *wait_prev;
	struct wfs_call *wait_next;
};

/* Memory shared with the server on one connection. */
struct wfs_shm {
	uint8_t *base; /* NULL: none. Changes only while CONNECTING and without users */
	size_t bytes; /* of the mapping */
	const uint32_t *taken_back; /* not 0: by the server (atomic) */
	uint32_t slots;
	uint32_t slot_bytes;
	uint64_t busy; /* one bit for each slot (atomic) */
};

enum conn_state {
	CONN_DOWN, /* -> CONNECTING by the first call that needs it */
	CONN_CONNECTING, /* one thread is at it -> UP, or DOWN again */
	CONN_UP, /* -> DOWN when anything fails */
};

struct wfs_conn {
	struct wfs *client;
	unsigned index;
	struct sync_mutex send_lock; /* one request at a time is written */
	struct sync_mutex lock;
	struct sync_cond changed; /* state, users */
	enum conn_state state SYNC_GUARDED_BY(lock);
	int fd; /* changes only while CONNECTING and without users */
	struct tls *tls; /* likewise; NULL: without */
	uint64_t generation SYNC_GUARDED_BY(lock); /* counts times of being UP */
	unsigned users SYNC_GUARDED_BY(lock); /* calls under way */
	unsigned big_reads SYNC_GUARDED_BY(lock); /* calls under way that wait for a large payload */
	uint64_t retry_ns SYNC_GUARDED_BY(lock); /* no attempt to connect before */
	unsigned failures SYNC_GUARDED_BY(lock); /* attempts in a row */
	int connect_err SYNC_GUARDED_BY(lock); /* why the last attempt failed */
	char connect_text[256] SYNC_GUARDED_BY(lock);
	uint32_t next_xid SYNC_GUARDED_BY(lock);
	bool leader SYNC_GUARDED_BY(lock); /* some thread receives for all */
	struct wfs_call *buckets[CLIENT_BUCKETS] SYNC_GUARDED_BY(lock);
	struct wfs_call *wait_first SYNC_GUARDED_BY(lock);
	struct wfs_call *wait_last SYNC_GUARDED_BY(lock);
	struct wfsp_hello_ok hello SYNC_GUARDED_BY(lock);
	/* Places for calls that must not be done twice: one bit for each in use. */
	uint64_t slots_busy SYNC_GUARDED_BY(lock);
	uint32_t slot_sequence[WFSP_SLOTS] SYNC_GUARDED_BY(lock);
	struct sync_cond slot_free;
	uint8_t *spares[CLIENT_SPARES] SYNC_GUARDED_BY(lock);
	unsigned spare_count SYNC_GUARDED_BY(lock);
	struct record_rx rx; /* the leader's */
	struct sync_mutex async_lock;
	struct wfs_async *async SYNC_GUARDED_BY(async_lock); /* NULL: no batch was started yet */
	uint8_t *window;
	struct wfs_shm shm;
	uint64_t silence_ns; /* a server that sends nothing for so long is gone; 0: for ever. Read when connecting */
};

/* locks.h: the locks that the client has. */
struct held_lock;
struct wfs_locks {
	struct sync_rwlock gate; /* exclusive while locks are had back; shared to change them */
	struct sync_mutex lock;
	struct held_lock *first SYNC_GUARDED_BY(lock); /* entries change with the gate, too */
	unsigned count SYNC_GUARDED_BY(lock);
	bool asked SYNC_GUARDED_BY(lock); /* for one, ever: the server may wait for this client when it is restarted */
	uint64_t boot SYNC_GUARDED_BY(lock); /* the server that was told that this client has all again; 0: none was */
};

struct wfs {
	struct wfs_locks locks;
	char *address;
	char name[WFSP_NAME_MAX + 1];
	uint8_t id[WFSP_CLIENT_ID_BYTES];
	uint64_t timeout_ns;
	unsigned conn_count;
	bool no_shm; /* the caller wants none */
	bool durable; /* the caller wants everything so */
	struct tls_context *tls; /* NULL: without */
	bool tell_who; /* over TCP the server cannot see who calls: calls for nobody else carry this */
	struct rpc_auth_sys self;
	uint32_t payload_max_bytes; /* as the server said at first */
	struct {
		bool stop; /* atomic */
		uint64_t channel, after; /* how far it came; of the thread that waits for events */
	} events;
	struct wfs_conn conns[]; /* the last one, beyond conn_count, is for events */
};

/* address.c */
/* Connect a socket (blocking mode) before @deadline_ns. Returns it or a negative errno. */
int wfs_address_connect(const char *address, uint64_t deadline_ns);
int wfs_address_check(const char *address);
bool wfs_address_is_tls(const char *address);
/* The host of a tcp: or tls: address, for its certificate; @ret of WFS_HOST_MAX + 1 bytes. */
void wfs_address_host(const char *address, char *ret);

/* stream.c: a connection's stream, over TLS or not. */
/* Shake hands on a connected socket, before @deadline_ns. *ret is NULL without TLS. Blocks. */
int wfs_stream_begin(struct wfs *w, int fd, uint64_t deadline_ns, struct tls **ret);
/* Receive into @iov, waiting unless MSG_DONTWAIT is set. @deadline_ns: when TLS gives up with EAGAIN, 0 never; without
 * TLS it is the socket that knows. -1 and errno on errors. */
ssize_t wfs_stream_receive(int fd, struct tls *tls, struct iovec *iov, int count, int flags, uint64_t deadline_ns);
/* sendmsg() that does not wait. -1 and errno on errors. */
ssize_t wfs_stream_send(int fd, struct tls *tls, struct msghdr *msg);

/* conn.c */
int wfs_conn_init(struct wfs_conn *c, struct wfs *client, unsigned index);
void wfs_conn_done(struct wfs_conn *c);
/*
 * Make the connection usable, waiting until *deadline_ns (0: set to now plus the client's timeout when it is down).
 * @once: a single attempt, its error is returned. 0 and the generation; else -ETIMEDOUT, or the attempt's error.
 */
int wfs_conn_up(struct wfs_conn *c, uint64_t *deadline_ns, bool once, uint64_t *ret_generation);
void wfs_conn_fail(struct wfs_conn *c) SYNC_REQUIRES(c->lock);
/* For how long may a call be sent again, from the loss of its connection on? One in a slot only while the server still
 * knows that it had it. */
uint64_t wfs_conn_repeat_ns(struct wfs_conn *c, bool in_slot);
/* The server behind @generation: its boot id, and did @old_boot end with everything durable? -ENOTCONN: gone. */
int wfs_conn_boot(struct wfs_conn *c, uint64_t generation, uint64_t old_boot, uint64_t *ret_boot, bool *ret_durable);

/* shm.c */
/* recv() that takes a descriptor along: the first that ever comes goes to *shm_fd (-1 before), others are closed. */
ssize_t wfs_shm_receive(int fd, void *to, size_t room, int *shm_fd);
/* Map what the server granted with its HELLO. Leaves it unmapped when it is not what it should be. @fd stays open. */
void wfs_shm_map(struct wfs_shm *m, int fd, const struct wfsp_hello_ok *hello);
void wfs_shm_unmap(struct wfs_shm *m);
/* Before a call is sent: occupy slots for it, if that pays and there are some, and fill them. By a user of the
 * connection, without locks. */
void wfs_shm_begin(struct wfs_shm *m, struct wfs_call *call);
/* After a call with slots was answered (@err 0), or the connection lost: take what was read, give them back. @err, or
 * -ENOTCONN when the server ended the connection meanwhile, so that what was read may be lost. */
int wfs_shm_end(struct wfs_shm *m, struct wfs_call *call, int err);

/* reply.c */
/* For an answer that arrives, to a call that brought no memory for it: by the leader, without locks. 0, -ENOMEM. */
int wfs_reply_lend(struct wfs_conn *c, struct wfs_call *call, size_t len);
void wfs_reply_return(struct wfs_call *call); /* if any is lent; without locks */
void wfs_replies_done(struct wfs_conn *c);

/* call.c */
void wfs_call_init(struct wfs_call *call, uint32_t procedure);
void wfs_call_done(struct wfs_call *call);
/* Send and wait. 0: answered; -ENOTCONN: the connection was lost, or is not @generation any more. */
int wfs_call_run(struct wfs_conn *c, uint64_t generation, struct wfs_call *call);
/*
 * The same in two steps, so that a thread can have several under way. What was sent (0) must be taken, before the
 * thread waits for a connection again: that would wait for the end of its own calls.
 */
int wfs_call_send(struct wfs_conn *c, uint64_t generation, struct wfs_call *call);
int wfs_call_take(struct wfs_conn *c, struct wfs_call *call);
/*
 * For a call with @async: send it, and do not wait. 0: wfs_async_done() will be called, or was; -ENOTCONN: the
 * connection is not @generation any more.
 */
int wfs_call_start(struct wfs_conn *c, uint64_t generation, struct wfs_call *call);
/* A user of the connection less. */
void wfs_conn_leave(struct wfs_conn *c) SYNC_REQUIRES(c->lock);
/* Nobody receives, and the caller will: once, and hand out what came. */
void wfs_conn_lead(struct wfs_conn *c) SYNC_REQUIRES(c->lock);
/* Wait, like those that wait for answers, until there is nobody to lead, or @call's cond is signalled. */
void wfs_conn_wait_lead(struct wfs_conn *c, struct wfs_call *call) SYNC_REQUIRES(c->lock);
/* The caller does not receive now: wake somebody who will. */
void wfs_conn_pass_lead(struct wfs_conn *c) SYNC_REQUIRES(c->lock);

/* async.c */
/* @call is answered or lost; the connection's lock is held. */
void wfs_async_done(struct wfs_call *call);
/* Nothing of it is used any more by whoever sent it: when it is done, it may be gone after this. Likewise. */
void wfs_async_sent(struct wfs_call *call);
/* Nothing is under way any more. */
void wfs_async_end(struct wfs_conn *c);

/* Decode the reply's header and status; @ret_results then stands behind them. 0 or the server's error, with its text.
 */
int wfs_call_result(struct wfs_call *call, struct rd *ret_results);
/* A status that is not WFSP_OK, as error with its text. @what: the text when there is none. */
int wfs_call_error(uint32_t status, const char *text, size_t text_len, const char *what);
/*
 * A call, sent at @sent_ns (0: it was not), was lost with its connection: may it be sent again? Until *deadline_ns,
 * which is set when there is no connection for the first time (0 before), and moves with the time that the call was
 * under way: a server that is there, and takes long, is not one that is gone.
 */
bool wfs_call_may_repeat(struct wfs_conn *c, bool in_slot, uint64_t sent_ns, uint64_t *deadline_ns);
/* Run a call that belongs to no file, reconnecting and repeating. 0: answered, at the last of *ret_attempts. */
int wfs_call_retry(struct wfs_conn *c, struct wfs_call *call, uint64_t *ret_generation, unsigned *ret_attempts);
/* The same on any connection, with its result. */
int wfs_call_any(struct wfs *w, struct wfs_call *call, struct rd *ret_results);
struct wfs_conn *wfs_pick_conn(struct wfs *w);

#endif
