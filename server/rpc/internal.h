/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the files of the RPC front end share.
 *
 * Threads: everything of a connection, its operations and handles is used on its loop's thread only, except what says
 * otherwise: an operation that was handed to a worker is the worker's until it comes back through conn->done.
 */
#ifndef WFSD_SERVER_RPC_INTERNAL_H
#define WFSD_SERVER_RPC_INTERNAL_H

#include <stdbool.h>
#include <sys/uio.h>

#include "core/base/bytes.h"
#include "core/base/metrics.h"
#include "core/base/sync.h"
#include "core/base/waits.h"
#include "core/vfs/vfs.h"
#include "protocol/rpc/record.h"
#include "protocol/rpc/rpc_msg.h"
#include "protocol/tls/tls.h"
#include "protocol/wfs_compound.h"
#include "protocol/wfs_notice.h"
#include "server/export/export.h"
#include "server/loop/loop.h"
#include "server/loop/workers.h"
#include "server/rpc/rpc_server.h"
#include "server/rpc/slow.h"

#define RPC_CONNECTIONS_MAX_DEFAULT 1024u
#define RPC_STALL_MS_DEFAULT 30000u
/* A record, and an answer, has the time of a stall and so much longer as it takes at this rate: nobody holds memory for
 * ever by sending or taking a byte now and then. */
#define RPC_RATE_MIN_BYTES (16u << 10) /* per second */
#define RPC_REQUESTS_MAX 128u /* in flight on a connection */
#define RPC_PAYLOAD_HELD_MAX (8u << 20) /* bytes of payload held by a connection */
#define RPC_HANDLES_MAX 16384u /* open on a connection */
#define RPC_HANDLES_PEER_MAX (1u << 17) /* of all connections of a peer */
#define RPC_HANDLES_ALL_MAX (1u << 20)
#define RPC_EXPORTS_OPEN_MAX 1024u /* on a connection when an export is opened, or a file before HELLO */
#define RPC_REQUESTS_PER_WAKE 64u /* started before other connections get their turn */
#define RPC_BYTES_PER_WAKE (1u << 20)
#define RPC_TURN_NS (SYNC_NS_PER_MS / 4) /* nothing is started later than that in a turn */
/* Answers are sent when there are so many bytes of them, before more are made: their memory is used again while it is
 * still in the processor's cache. While the client has left so many untaken, nothing more is started for it. */
#define RPC_SEND_BYTES (128u << 10)
#define RPC_UNSENT_BYTES_MAX (512u << 10)
#define RPC_WINDOW_BYTES (64u << 10)
#define RPC_INLINE_BYTES_MAX (1u << 20) /* larger reads and writes go to workers at once */
#define RPC_PREFETCH_BYTES_MAX (32u << 20) /* of one CACHE request */
#define RPC_OP_HEAD_BYTES 768u
#define RPC_BUF_CLASSES 4
/* Shared memory of a connection: room for nbdkit's 16 threads with 256 KiB each. */
#define RPC_SHM_SLOTS 64u
#define RPC_SHM_SLOT_BYTES (64u << 10)
#define RPC_SECRET_BYTES 16u
#define RPC_PROGRAM_NAME_MAX 63u
/* All connections together may share this part of the memory budget; the next ones do without. */
#define RPC_SHM_BUDGET_PART 8u

/* By export, until the server's end; atomic. */
struct rpc_export_stats {
	struct rpc_export_stats *next;
	char name[EXPORT_NAME_MAX + 1];
	uint64_t operations, errors, read_bytes, written_bytes;
	struct histogram_small read_latency, change_latency; /* changes: and what makes them durable */
};

/* A payload's memory, aligned to 4 KiB. */
struct rpc_buf {
	void *p; /* NULL: none */
	size_t size_bytes;
	int pool; /* index of its pool, -1: by itself */
};

struct rpc_handle {
	struct vfs_handle *vfs;
	uint64_t id;
	unsigned refs; /* the table's and those of operations (atomic) */
	uint64_t fsid;
	bool read_only; /* the export is */
	bool in_tree; /* a file of a tree, not an export */
	struct rpc_export_stats *stats;
	unsigned access; /* of such a file, to its data */
	char export_name[]; /* "" in a tree */
};

/* Any thread. */
struct rpc_handles {
	struct sync_mutex lock;
	unsigned *all_count; /* atomic: of all connections */
	unsigned *peer_count SYNC_GUARDED_BY(lock); /* atomic: of all of the peer */
	bool said_hello SYNC_GUARDED_BY(lock);
	struct rpc_handle **slots SYNC_GUARDED_BY(lock);
	unsigned slot_count SYNC_GUARDED_BY(lock);
	unsigned free_from SYNC_GUARDED_BY(lock); /* no free place is before this */
	bool closed SYNC_GUARDED_BY(lock); /* the connection is gone: nothing is opened any more */
	unsigned open_count; /* including those that are being opened; written under the lock, read anywhere (atomic) */
	uint64_t next_serial SYNC_GUARDED_BY(lock);
};

/* Who is at the other end of a connection. */
struct rpc_peer {
	bool is_unix;
	/* Of a unix socket; 2^32 - 1: not known. */
	pid_t pid;
	uint32_t uid, gid;
	unsigned group_count;
	uint32_t *groups;
	bool trusted; /* may speak for others */
	uint8_t address[16]; /* otherwise; IPv4 mapped into IPv6 */
	const struct tls *tls; /* NULL: not encrypted */
};

/* compound.h */
struct compound;
struct rpc_tree;
struct rpc_session;
struct rpc_trees {
	struct sync_mutex lock;
	struct rpc_tree *first; /* guarded by the lock */
};
struct rpc_sessions_config {
	struct vfs *vfs;
	struct workers *workers; /* sessions end there */
	struct budget_consumer *charge;
	const uint8_t *secret; /* RPC_SECRET_BYTES */
	struct rpc_grace *grace; /* is told of sessions that end */
	uint32_t lease_max_s; /* 0: the default */
};
struct rpc_account;
struct rpc_sessions {
	struct rpc_sessions_config config;
	struct sync_mutex lock;
	struct sync_cond retired;
	struct rpc_session *first SYNC_GUARDED_BY(lock);
	struct rpc_account *accounts SYNC_GUARDED_BY(lock);
	unsigned count SYNC_GUARDED_BY(lock);
	unsigned away_count SYNC_GUARDED_BY(lock); /* of them: without a connection */
	unsigned retiring SYNC_GUARDED_BY(lock); /* on their way to an end, not in the list */
	size_t reply_bytes SYNC_GUARDED_BY(lock); /* kept in slots */
	unsigned place_count SYNC_GUARDED_BY(lock); /* of all sessions, those that have ended included */
	size_t answer_bytes SYNC_GUARDED_BY(lock); /* likewise, in file systems */
	uint64_t next_owner SYNC_GUARDED_BY(lock); /* never 0 */
	uint64_t next_origin SYNC_GUARDED_BY(lock); /* likewise */
	uint64_t next_account SYNC_GUARDED_BY(lock); /* likewise */
	unsigned owner_count SYNC_GUARDED_BY(lock); /* of all sessions */
	bool ending SYNC_GUARDED_BY(lock);
	/* What sessions that have ended left in file systems: left.c. */
	unsigned left_count SYNC_GUARDED_BY(lock); /* such sessions, with the one whose is being dropped */
	bool left_busy SYNC_GUARDED_BY(lock); /* left_work is queued, or runs */
	const uint8_t *left_key SYNC_GUARDED_BY(lock); /* of the session whose is being dropped; NULL: none */
	struct work left_work;
};

struct rpc_conn;

/* One request, from its decoding until its answer is sent. */
struct rpc_op {
	struct rpc_conn *conn;
	struct rpc_op *next; /* in conn->done, the send queue, or the free list */
	struct work work;
	struct rpc_op *deferred_prev, *deferred_next; /* in conn->deferred, while a worker has it */
	bool cancelled; /* atomic */
	uint64_t until_ns; /* nothing of it is begun later; 0: no limit */
	uint64_t start_ns;
	/* When a worker had it; 0: none did. */
	uint64_t begun_ns, ended_ns;
	struct waits waits; /* of the worker, for it */
	uint64_t read_bytes, written_bytes; /* COMPOUND: of data */
	uint32_t operations, failed_operations; /* COMPOUND: that it ran */
	const char *slowest; /* COMPOUND: the operation that took the worker longest, NULL: not known */
	uint32_t xid;
	uint32_t procedure;
	/* The arguments, as far as the procedure has them. */
	struct rpc_handle *handle;
	uint64_t offset;
	uint64_t len_bytes;
	uint32_t flags; /* VFS_* */
	const void *payload; /* WRITE; READ and WRITE with shm: the place in the shared memory */
	bool changes; /* COMPOUND: something */
	bool shm; /* READ_SHM and WRITE_SHM are READ and WRITE with this */
	uint32_t shm_slot;
	uint64_t shm_mask; /* the slots that it uses, set in conn->shm_busy */
	union {
		struct wfsp_hello_args hello;
		struct wfsp_open_args open;
		char after[WFSP_NAME_MAX + 1];
		struct wfsp_compound_args compound;
		struct wfsp_notices_args notices;
		uint32_t cancel_xid;
		struct wfsp_open_ok opened; /* OPEN: the result takes the arguments' place */
		struct vfs_stat st; /* STAT: the result */
	} args;
	struct compound *compound; /* COMPOUND: while it runs */
	bool has_sys; /* COMPOUND: the call carries credentials */
	struct rpc_auth_sys sys;
	bool held; /* NOTICES: it waits, or did, for something to tell */
	struct vfs_handle *opened; /* OPEN: until it is in the table */
	/* The answer: head, then payload, then padding. */
	int err;
	size_t held_bytes; /* of payload, counted in conn->held_bytes */
	struct rpc_buf buf; /* payload of a WRITE or READ, or results too long for the head */
	struct vfs_ref ref; /* payload of a READ */
	bool has_ref;
	size_t payload_len;
	size_t head_len;
	size_t total_len;
	size_t sent;
	uint8_t head[RPC_OP_HEAD_BYTES];
};

/* What a connection did so far. */
struct rpc_done {
	uint64_t requests, errors; /* errors: requests that were refused */
	uint64_t operations, failed_operations; /* those of compounds, and all other requests */
	uint64_t read_bytes, written_bytes;
	uint64_t latency_ns; /* of all requests but NOTICES */
};

struct rpc_conn {
	struct rpc_server *server;
	struct loop *loop;
	int fd;
	struct tls *tls; /* NULL: without */
	bool shaking_hands; /* of TLS: nothing else is received or sent */
	struct rpc_peer peer;
	struct event *read_event;
	struct event *write_event;
	struct event *again_event; /* requests are left in the window: go on after the other connections */
	struct event *timer;
	struct loop_task attach_task;
	struct loop_task done_task;
	struct loop_task kill_task;
	struct loop_task hello_task;

	bool closing; /* the socket is closed; freed when the last operation is back */
	bool reading; /* read_event is added */
	bool writing; /* write_event is added */
	bool again; /* again_event is added */
	bool paused; /* too much in flight: do not read */
	size_t wanted_bytes; /* payload of the request that made it so */
	bool short_window; /* large payloads arrive: keep the window short, so that they are not copied */
	unsigned op_count; /* from decoding to the answer being sent; written by the loop, read anywhere (atomic) */
	struct rpc_done done_so_far; /* likewise */
	uint64_t since_ns;
	char program[RPC_PROGRAM_NAME_MAX + 1]; /* from HELLO on; guarded by the server's lock */
	size_t held_bytes; /* of requests and answers under way; the session's notices come on top of it */
	uint64_t wake_ns; /* when the current callback began */
	uint64_t last_ns; /* when the last request ended */
	uint64_t rx_ns; /* last byte received */
	uint64_t tx_ns; /* last byte sent, or the queue became non-empty */
	uint64_t record_ns; /* since when a part of one is there, as the timer saw it; 0: it did not */
	uint64_t answer_ns; /* since when the first in the queue is that */

	struct record_rx rx;
	uint8_t *window;
	size_t join_charged;
	uint8_t *shm; /* NULL: none was granted */
	int shm_fd; /* until it is sent with the answer to HELLO */
	uint64_t shm_busy; /* slots of requests under way */
	struct rpc_op *direct; /* a WRITE whose payload is being received into its buffer */
	size_t direct_got;

	struct rpc_op *deferred; /* with workers */
	struct rpc_op *free_ops;
	struct rpc_op *send_first;
	struct rpc_op *send_last;
	size_t unsent_bytes; /* of the answers in that queue */
	struct rpc_op *done; /* atomic stack: operations that workers finished */
	struct rpc_handles handles;
	struct rpc_trees trees;
	struct rpc_account *account; /* of its peer; NULL: TLS does not say yet who that is */
	uint64_t peer_number; /* of the account */
	struct rpc_session *session; /* from HELLO on */
	uint64_t origin; /* for whom changes are made: the session; 0 before HELLO */

	/* HELLO: session and number. Guarded by the server's lock, as they are compared across loops. */
	bool has_identity;
	uint32_t client_conn;
	struct rpc_conn *successor; /* waits for this one to be gone */
	bool kill_pending; /* kill_task is posted */
	struct rpc_conn *prev;
	struct rpc_conn *next;
	struct rpc_op *hello_op; /* waits for the predecessor to be gone */
};

struct rpc_stats {
	struct counter requests[WFSP_PROCEDURES];
	struct counter errors[WFSP_PROCEDURES];
	struct histogram latency[WFSP_PROCEDURES];
	struct counter read_bytes;
	struct counter written_bytes;
	struct counter operations[WFSP_OP_CODES]; /* of compounds */
	struct counter operation_errors[WFSP_OP_CODES];
	struct counter deferred; /* handed to workers */
	struct counter shm_requests; /* READ and WRITE with their payload in shared memory */
	struct counter notices; /* told, or to be told */
	struct counter notices_lost; /* times that a watch lost something */
	struct counter accepted;
	struct counter tls_accepted;
	struct counter tls_refused; /* bad handshakes */
	struct counter refused; /* connections, as there are too many */
	struct counter bad_records;
	struct counter refused_calls; /* answered with an RPC error */
};

struct rpc_grace;

struct rpc_server {
	struct loop_set *loops;
	struct workers *workers;
	struct vfs *vfs;
	struct export_table *exports;
	struct metrics *metrics;
	struct audit *audit; /* NULL: none */
	struct budget_consumer *charge;
	struct bufpool *pools[RPC_BUF_CLASSES];
	struct budget_consumer *shm_charge;
	size_t shm_bytes_max; /* of all connections */
	bool shm_possible;
	unsigned connections_max;
	uint64_t stall_ns;
	uint64_t start_ns;
	struct wfsp_hello_ok hello; /* the answer to everybody's */
	struct rpc_stats stats;
	struct slow_list slow;
	struct sync_mutex export_stats_lock;
	struct rpc_export_stats *export_stats SYNC_GUARDED_BY(export_stats_lock);
	unsigned export_stats_count SYNC_GUARDED_BY(export_stats_lock);
	struct rpc_export_stats other_exports;
	uint8_t secret[RPC_SECRET_BYTES];
	struct rpc_sessions sessions;
	struct rpc_grace *grace;
	unsigned handle_count; /* open on all connections (atomic) */
	struct event *session_timer; /* of the first loop */
	size_t notice_bytes; /* of all sessions, not taken yet (atomic) */
	struct sync_mutex lock;
	struct sync_cond gone; /* a connection left */
	struct rpc_conn *conns SYNC_GUARDED_BY(lock);
	unsigned conn_count SYNC_GUARDED_BY(lock);
	bool stopping SYNC_GUARDED_BY(lock);
	struct tls_context *tls SYNC_GUARDED_BY(lock); /* NULL: none */
};

/* buf.c */
int rpc_bufs_init(struct rpc_server *s);
void rpc_bufs_done(struct rpc_server *s);
int rpc_buf_get(struct rpc_server *s, size_t len_bytes, struct rpc_buf *ret); /* any thread; 0 or -ENOMEM */
void rpc_buf_put(struct rpc_server *s, struct rpc_buf *b);

/* shm.c */
bool rpc_shm_possible(void); /* on this machine */
/* Give the connection shared memory if its client asks for it and there is some left. */
void rpc_shm_grant(struct rpc_conn *c, uint64_t features);
void rpc_shm_sent(struct rpc_conn *c); /* the client has the descriptor: ours is not needed any more */
void rpc_shm_drop(struct rpc_conn *c); /* no operation uses it */
/* Find and occupy the place of op's payload, until rpc_op_free(). 0; -EINVAL: outside; -EBUSY: in use. */
int rpc_shm_take(struct rpc_op *op);

/* handles.c */
void rpc_handles_init(struct rpc_handles *t, unsigned *all_count);
/* Before anything is opened: all of it counts to @count, which outlives the table's end. */
void rpc_handles_set_peer(struct rpc_handles *t, unsigned *count);
void rpc_handles_hello(struct rpc_handles *t); /* was said: more may be opened from now on */
bool rpc_handles_reserve(struct rpc_handles *t); /* a place for one that is being opened; false: no more */
void rpc_handles_unreserve(struct rpc_handles *t);
/* Enter an opened export into its reserved place; sets ok->handle. 0, -ENOMEM or -EMFILE (the place is given back, @vfs
 * stays the caller's). */
int rpc_handles_add(struct rpc_handles *t, struct vfs_handle *vfs, struct rpc_export_stats *stats,
                    struct wfsp_open_ok *ok);
/* A file of a tree. 0, -EMFILE, -ENOMEM, -ESHUTDOWN (the connection is gone); then @vfs stays the caller's. */
int rpc_handles_add_file(struct rpc_handles *t, struct vfs_handle *vfs, struct rpc_export_stats *stats, uint64_t fsid,
                         unsigned access, uint64_t *ret_id);
struct rpc_handle *rpc_handles_get(struct rpc_handles *t, uint64_t id); /* with a reference; NULL: unknown */
bool rpc_handles_remove(struct rpc_handles *t, struct export_table *exports, uint64_t id);
void rpc_handle_unref(struct export_table *exports, struct rpc_handle *h);
void rpc_handles_done(struct rpc_handles *t, struct export_table *exports);

/* server.c */
void rpc_server_conn_gone(struct rpc_server *s, struct rpc_conn *c); /* frees it, unless somebody still posts to it */
/* All connections of a session, those that are gone included. *ret_connections: that are there. */
void rpc_server_session_done(struct rpc_server *s, struct rpc_session *session, struct rpc_done *ret,
                             unsigned *ret_connections);
/* Take over the identity of a client's connection. True: answer now; false: hello_task will be run. */
bool rpc_server_identify(struct rpc_server *s, struct rpc_conn *c, const struct wfsp_hello_args *args);

/* metrics.c */
int rpc_metrics_register(struct rpc_server *s);
/* A request that ended @now; on the loop. */
void rpc_count(const struct rpc_op *op, uint64_t now);
void rpc_put_statistics(struct rpc_server *s, struct wr *w);
void rpc_put_counter(struct wr *w, const char *name, uint64_t value);

/* conn.c */
/* The connection owns @fd only when this succeeds. */
int rpc_conn_new(struct rpc_server *s, struct loop *l, int fd, struct tls_context *tls, struct rpc_conn **ret);
void rpc_conn_free(struct rpc_conn *c);
/* Its peer is known: what it holds from now on counts to that. 0, -ENOMEM. */
int rpc_conn_join_peer(struct rpc_conn *c);
/* The end of every callback: go on with what is possible now. May free @c. */
void rpc_conn_run(struct rpc_conn *c);
void rpc_conn_close(struct rpc_conn *c);
/* Note a protocol violation and close. */
void rpc_conn_bad(struct rpc_conn *c, const char *what);
struct rpc_op *rpc_op_new(struct rpc_conn *c); /* NULL when memory is short */
void rpc_op_free(struct rpc_op *op);
/* Be told, or not any more, when the socket can be written to. May close. */
void rpc_conn_watch_writable(struct rpc_conn *c, bool want);
void rpc_conn_done_push(struct rpc_op *op); /* a worker hands its operation back */

/* recv.c */
void rpc_conn_receive(struct rpc_conn *c);
/* It was paused: is there room for what it was paused for? */
bool rpc_conn_may_go_on(const struct rpc_conn *c);
/* Start the requests that the window holds, as far as the bounds allow. */
void rpc_conn_parse(struct rpc_conn *c);

/* export_stats.c */
/* Under that name, found or made; never NULL. */
struct rpc_export_stats *rpc_export_stats(struct rpc_server *s, const char *name);
/* One operation; @e NULL: of no export. @change: it changed something, or made changes durable. */
struct rpc_export_done {
	bool failed, change;
	uint64_t read_bytes, written_bytes, took_ns;
};
void rpc_export_count(struct rpc_export_stats *e, const struct rpc_export_done *done);
/* Its figures as counters: how many. */
uint32_t rpc_export_put_figures(const struct rpc_export_stats *e, struct wr *w);
int rpc_export_stats_register(struct rpc_server *s);
void rpc_export_stats_done(struct rpc_server *s) SYNC_NO_ANALYSIS;

/* slow.c: it is one of the slowest, and ended now. */
void rpc_slow_note(const struct rpc_op *op, uint64_t now);

/* audit.c */
void rpc_audit_request(const struct rpc_op *op);
/* Who it is, in a few words. */
void rpc_peer_text(const struct rpc_peer *peer, bool with_certificate, char *buf, size_t len);

/* tls.c */
/* Go on with the handshake, for as long as the socket lets it. May close the connection. */
void rpc_tls_shake_hands(struct rpc_conn *c);
/* One stretch of the stream, over TLS or not: recvmsg() and sendmsg() that do not wait. */
ssize_t rpc_stream_receive(struct rpc_conn *c, struct iovec *iov, int count);
ssize_t rpc_stream_send(struct rpc_conn *c, struct msghdr *msg);

/* send.c */
void rpc_conn_queue(struct rpc_conn *c, struct rpc_op *op);
void rpc_conn_send(struct rpc_conn *c);

/* op.c */
/* Decode the arguments behind the call's header. False: garbage. WRITE: @r then stands at the payload. */
bool rpc_op_decode(struct rpc_op *op, struct rd *r);
/* Run it here if that needs no waiting, else give it to a worker. Queues the answer, now or later. */
void rpc_op_start(struct rpc_op *op);
/* An answer without results: one of RPC's own errors. */
void rpc_op_encode_refusal(struct rpc_op *op, enum rpc_accept_stat stat);
/* On the loop: what remains to be done after a worker had it; then the answer is queued. */
void rpc_op_finish(struct rpc_op *op);
void rpc_op_answer_hello(struct rpc_op *op);
/* The shared memory that an encoded answer to HELLO grants could not be sent: grant none. */
void rpc_op_without_shm(struct rpc_op *op);

/* cancel.c */
/* On the loop: it goes to a worker, it is back. */
void rpc_deferred_add(struct rpc_op *op);
void rpc_deferred_remove(struct rpc_op *op);
int rpc_exec_cancel(const struct rpc_op *cancel); /* on the loop; 0 or -ENOENT */
/* Is nothing more of it to be begun? 0: go on; -ECANCELED; -ETIMEDOUT. Any thread. */
int rpc_op_over(const struct rpc_op *op);

/* exports.c: on workers */
int rpc_exec_open(struct rpc_op *op);
int rpc_exec_list(struct rpc_op *op);
void rpc_fill_attr(struct wfsp_attr *ret, uint64_t fsid, const struct vfs_stat *st, bool read_only);

#endif
