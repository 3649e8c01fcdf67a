/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the files that serve file trees share: exports' trees, file handles, identities, sessions, and a COMPOUND while
 * it runs.
 *
 * A compound is checked on its connection's loop, and runs there as long as all it needs is in memory. From the first
 * operation on that would have to wait it runs on one worker, which owns it until it comes back.
 * Trees and sessions are used from all threads, under their locks.
 */
#ifndef WFSD_SERVER_RPC_COMPOUND_H
#define WFSD_SERVER_RPC_COMPOUND_H

#include "core/vfs/vfs_tx.h"
#include "protocol/wfs_compound.h"
#include "server/rpc/internal.h"

#define RPC_TREES_MAX 64u /* exports in use on a connection */
#define RPC_FH_BYTES 44u

/* An export's file tree, in use on a connection from its first handle to the connection's end. */
struct rpc_tree {
	struct rpc_tree *next;
	uint64_t key; /* of the export, in file handles */
	uint64_t generation; /* of the table of exports, when this was looked up */
	bool gone; /* of this export no more handles are taken */
	bool read_only; /* atomic: rpc_tree_read_only() */
	struct export_policy policy; /* changes under the lock of the trees: rpc_tree_policy() */
	struct rpc_export_stats *stats;
	struct vfs_handle *root;
	struct vfs_fid root_fid;
	char name[EXPORT_NAME_MAX + 1];
};

/* trees.c: by its name, or by what its handles say. May the client use it at all? -ENOENT, -ESTALE, -ENOTDIR, -EACCES,
 * -EMFILE. Valid as long as the connection. */
int rpc_tree_by_name(struct rpc_conn *c, const char *name, struct rpc_tree **ret);
int rpc_tree_by_key(struct rpc_conn *c, uint64_t key, struct rpc_tree **ret);
/* Is the file system of the tree not the one that is mounted there now? Then it is not used any more: look it up anew.
 */
bool rpc_tree_is_stale(struct rpc_conn *c, struct rpc_tree *tree);
/* As the export says now. Any thread. */
void rpc_tree_policy(struct rpc_conn *c, const struct rpc_tree *tree, struct export_policy *ret);
static inline bool rpc_tree_read_only(const struct rpc_tree *tree)
{
	return __atomic_load_n(&tree->read_only, __ATOMIC_RELAXED);
}
void rpc_trees_init(struct rpc_trees *t);
void rpc_trees_done(struct rpc_trees *t, struct export_table *exports);

/* fh.c: file handles: what they name, and proof that this server made them. */
void rpc_fh_make(const uint8_t *secret, uint64_t export_key, const struct vfs_fid *fid, uint8_t ret[RPC_FH_BYTES]);
/* 0; -EBADF: none of ours. */
int rpc_fh_open(const uint8_t *secret, const struct wfsp_bytes *fh, uint64_t *ret_export_key, struct vfs_fid *ret_fid);

/* identity.c */
/* Whoever is at the other end, as far as the system vouches for it. */
void rpc_peer_init(struct rpc_peer *p, int fd, bool is_unix);
void rpc_peer_done(struct rpc_peer *p);
bool rpc_policy_admits(const struct export_policy *policy, const struct rpc_peer *peer);
/*
 * For whom is a call made? @sys: the credentials that it carries, NULL without. @groups: RPC_GIDS_MAX of them, for
 * *ret to point at; otherwise it points into @peer. -EACCES: it claims to be somebody else, and may not.
 */
int rpc_identity(const struct rpc_peer *peer, const struct rpc_auth_sys *sys, const struct export_policy *policy,
                 uint32_t *groups, struct vfs_cred *ret);

/* account.c */
/* What all connections and sessions of a peer hold together; found or made, and there until it is left. Any thread.
 * NULL: no memory. */
struct rpc_account *rpc_account_join(struct rpc_sessions *t, const struct rpc_peer *peer);
void rpc_account_leave(struct rpc_sessions *t, struct rpc_account *a);
uint64_t rpc_account_number(const struct rpc_account *a); /* never 0, never used again */
unsigned *rpc_account_handle_count(struct rpc_account *a); /* files that all its connections have open; atomic */
/* So much of an address says which host, or whose network, it is. */
size_t rpc_peer_host_bytes(const struct rpc_peer *peer);

/* session.c */
#define RPC_LEASE_S_DEFAULT 90u
#define RPC_LEASE_MAX_S_DEFAULT 900u
/* The session of that client at that peer, new or as it was left, for so long behind its last connection (0: the
 * default); any thread. NULL: no memory. */
struct rpc_session *rpc_session_get(struct rpc_sessions *t, const uint8_t *client_id, const struct rpc_peer *peer,
                                    uint32_t wanted_s);
void rpc_session_put(struct rpc_session *s);
/* What is granted to whoever wants that. */
uint32_t rpc_lease_s(const struct rpc_sessions *t, uint32_t wanted_s);
/* Forget those whose client has been away for longer than the lease. */
void rpc_sessions_expire(struct rpc_sessions *t);
void rpc_sessions_init(struct rpc_sessions *t, const struct rpc_sessions_config *config);
/* All go, with what they have open; no connection is left. By workers, for whom it waits. */
void rpc_sessions_end(struct rpc_sessions *t);
/* After rpc_sessions_end(), or when there never was one. */
void rpc_sessions_done(struct rpc_sessions *t);

/* slots.c */
enum rpc_slot_state {
	RPC_SLOT_NEW, /* run it, then rpc_slot_keep(); or rpc_slot_undo() */
	RPC_SLOT_UNKNOWN, /* likewise, but an earlier life of the session may have done it */
	RPC_SLOT_FORGOTTEN, /* likewise, but it was done, and its answer could not be kept */
	RPC_SLOT_AGAIN, /* the answer is there */
};
struct rpc_slot_use {
	enum rpc_slot_state state;
	bool durable; /* file systems may keep the results of its changes */
	bool unkept; /* FORGOTTEN: they did not when it was done */
	void *reply; /* AGAIN: to be freed */
	size_t reply_len;
};
/* -EINVAL (no such slot), -EBUSY (it is running), -EPROTO (out of sequence), -ENOMEM. */
int rpc_slot_begin(struct rpc_session *s, uint32_t connection, const struct wfsp_compound_args *a,
                   struct rpc_slot_use *ret);
/* Its answer, to be kept. */
void rpc_slot_keep(struct rpc_session *s, uint32_t connection, uint32_t slot, const void *reply, size_t len);
/* It did nothing, and may be tried again. @use: of rpc_slot_begin(). */
void rpc_slot_undo(struct rpc_session *s, uint32_t connection, uint32_t slot, const struct rpc_slot_use *use);
/* How file systems know the operation at @index of the request; the kind is the caller's to set. */
void rpc_slot_tag(const struct rpc_session *s, uint32_t connection, const struct wfsp_compound_args *a, uint32_t index,
                  struct vfs_tag *ret);

/* The same for the first transaction of the request; others go by the operation that enters them. */
void rpc_slot_tx_tag(const struct rpc_session *s, uint32_t connection, const struct wfsp_compound_args *a,
                     struct vfs_tag *ret);
/* May that much of its answer be kept in a file system, in the place of its first transaction? */
bool rpc_slot_take_answer(struct rpc_session *s, uint32_t connection, uint32_t slot, size_t len);

/* What it is known by after a restart. */
const uint8_t *rpc_session_key(const struct rpc_session *s);
/* Who makes its changes (vfs_set_origin()). */
uint64_t rpc_session_origin(const struct rpc_session *s);
/* What its client is to be told (notice.h), from the first time that somebody wants it with @make; NULL: not yet, or no
 * memory. */
struct rpc_notices *rpc_session_notices(struct rpc_server *server, struct rpc_session *s, bool make);
/* The number by which the VFS knows a client's lock owner. One that never took a lock gets a number with @make, and is
 * 0, which nobody has, without. -ENOLCK: too many. */
int rpc_session_owner(struct rpc_sessions *t, struct rpc_session *s, uint64_t owner, bool make, uint64_t *ret);

/* What its connections did that are gone; under the server's lock. */
struct rpc_done *rpc_session_done(struct rpc_session *s);
/* What the locks of all sessions of its peer count to. */
struct vfs_lock_share *rpc_session_lock_share(struct rpc_session *s);

/*
 * transactions.c: those of a session (NULL: there is none), found by their number in their tree's file system. They end
 * with the session. All of them by any thread.
 */
#define RPC_TRANSACTIONS_MAX 16u /* of a session */
#define RPC_TRANSACTIONS_PEER_MAX 128u /* of all sessions of a peer: half of what a pool takes */
struct rpc_tx {
	struct rpc_tx *next;
	uint64_t export_key, id;
	unsigned refs; /* one of the session, one for each compound that uses it. Under the lock of the sessions */
	struct vfs_tx *tx;
	struct vfs_handle *root; /* the export's, inside */
};
/* Begun by that compound, referenced; with @listed the session knows it. -EAGAIN: too many, ... */
int rpc_tx_begin(struct rpc_session *s, struct rpc_tree *tree, const struct vfs_tx_args *args, bool listed,
                 struct rpc_tx **ret);
/* Referenced; -ENOENT: the session has none of that number. */
int rpc_tx_get(struct rpc_session *s, const struct rpc_tree *tree, uint64_t id, struct rpc_tx **ret);
/* It is over: the session forgets it. */
void rpc_tx_forget(struct rpc_session *s, struct rpc_tx *t);
void rpc_tx_put(struct rpc_session *s, struct rpc_tx *t); /* NULL is fine */
void rpc_txs_end(struct rpc_session *s);

/* What an operation left as the current handle. */
struct node {
	struct rpc_tree *tree;
	struct vfs_handle *h;
	unsigned access; /* that h has to data */
	struct rpc_handle *descriptor; /* h belongs to it; otherwise it is closed with the compound */
	struct vfs_handle *io; /* the same object, opened for data by this compound */
	unsigned io_access;
};

struct compound {
	struct rpc_op *op;
	struct rpc_conn *conn;
	struct rd args; /* at the next operation */
	struct rpc_buf reply; /* of results, until the answer takes it */
	struct wr w; /* writes into that */
	size_t limit; /* of w, but for an error's text */
	uint32_t index; /* of the running operation */
	uint32_t done; /* operations with results */
	uint64_t slowest_ns; /* of the operations on a worker */
	uint64_t begun_ns; /* when the running operation was */
	uint64_t loop_until_ns; /* on the loop: when a worker is to go on */
	bool created; /* by the running PUT_FILE, which has made its file already */
	bool made_file; /* the last operation was the CREATE of a file, which has made it */
	struct vfs_room room; /* for the data of that one */
	struct node *current, *saved;
	struct node *after[WFSP_OPS_MAX]; /* what was current behind each */
	struct node nodes[WFSP_OPS_MAX]; /* an operation makes at most one */
	enum rpc_slot_state slot_state; /* NEW without a slot */
	bool slot_durable, slot_unkept;
	bool tagged; /* the running operation's result is to be kept: */
	struct vfs_tag tag;
	struct rpc_tx *tx; /* that operations are done in, or NULL */
	bool tx_atomic; /* it was begun here, and ends here */
	uint32_t tx_count; /* transactions that were entered */
	uint32_t tx_index; /* of the operation that entered the last one */
	size_t tx_pos; /* of its result in w */
	bool tx_again; /* it was committed before: only the result of TX_COMMIT is missing */
	uint64_t copied_bytes; /* by COPY: bounded, as it keeps a worker */
	const struct rpc_tree *cred_tree; /* the tree that cred is for */
	struct export_policy policy; /* of that tree, as it was then */
	struct vfs_cred cred;
	uint32_t groups[RPC_GIDS_MAX];
	uint8_t fh[RPC_FH_BYTES]; /* a result until it is encoded, like the path */
	char path[VFS_PATH_MAX];
};

/* 0 or a negative errno. Those that are tried on the loop honour nowait_here(): called again after -EAGAIN they do what
 * is left. */
typedef int compound_op_fn(struct compound *c, const struct wfsp_op *op, struct wfsp_op_res *res);

/* compound.c */
/* Decode everything once, on the loop: false: garbage. *ret_changes: it wants to change something. */
bool rpc_compound_check(struct rpc_op *op, bool *ret_changes);
/* Run it, or what is left of it. 0: the answer is in op->buf; -EAGAIN (@nowait only): to be called again on a worker;
 * otherwise why nothing was done. */
int rpc_compound_exec(struct rpc_op *op, bool nowait);

/* For operations: */
/* The identity for the current object; -EACCES. */
int compound_cred(struct compound *c, const struct vfs_cred **ret);
/* @h becomes current, and is closed with the compound. */
void compound_enter(struct compound *c, struct rpc_tree *tree, struct vfs_handle *h, unsigned access);
/* The top of an export: inside of the compound's transaction, if that is one of its tree. */
struct vfs_handle *compound_root(const struct compound *c, const struct rpc_tree *tree);
/* What the compound leaves of its transaction. */
void compound_end_tx(struct compound *c);
/* The object's handle for data, opened when needed. */
int compound_io(struct compound *c, struct node *n, unsigned access, struct vfs_handle **ret);
/* Room for @want bytes of data behind @head bytes of result; *ret_len: how much there is. */
uint8_t *compound_room(struct compound *c, size_t head, size_t want, size_t *ret_len);
/* compound_more.c: a lock on the current object, as the VFS has it, and the handle to take it by. */
int compound_lock(struct compound *c, const struct wfsp_lock *l, bool reclaim, struct vfs_lock *ret,
                  struct vfs_handle **ret_h);
void compound_attr(const struct rpc_tree *tree, const struct vfs_stat *st, struct wfsp_node_attr *ret);

/* compound_again.c */
/* Before an operation that changes something. 1: do it; 0: it was done before, and *res says what came of it; or an
 * error. */
int compound_begin_change(struct compound *c, const struct wfsp_op *op, struct wfsp_op_res *res);
/* Of the running operation; NULL: its result is not kept. */
const struct vfs_tag *compound_tag(const struct compound *c);
/*
 * Before an operation that enters a transaction. 1: enter it; 0: it was committed before, and the results up to its
 * TX_COMMIT, which is next, have been written; or an error.
 */
int compound_begin_tx(struct compound *c, const struct wfsp_op *op);
/* When it is committed: what is kept with it, in *ret, which refers to @tag. NULL: nothing. */
const struct vfs_answer *compound_tx_answer(struct compound *c, struct vfs_tag *tag, struct vfs_answer *ret);
/* The object with that number, in the current one's file system, becomes current, open for @access as whoever created
 * it has it. If it is gone, nothing is current. */
int compound_enter_created(struct compound *c, uint64_t number, unsigned access);
/* Was what follows the running GUARD done before, so that it had passed? */
bool compound_guard_passed(struct compound *c);

/* audit.c */
/* @subject: what was current before. */
void rpc_audit_operation(struct compound *c, const struct wfsp_op *op, const struct node *subject, int err,
                         uint64_t start_ns);

/* The operations: compound_names.c, compound_data.c, compound_put.c, compound_more.c, compound_notice.c,
 * compound_stats.c, compound_tx.c. */
compound_op_fn op_root, op_put, op_use, op_get_handle, op_lookup, op_lookup_path, op_getattr, op_setattr, op_guard,
        op_create, op_create_nameless, op_link, op_unlink, op_rename, op_read_link, op_readdir;
compound_op_fn op_read, op_write, op_commit, op_commit_range, op_allocate, op_seek, op_copy, op_put_file, op_get_file,
        op_open, op_close;
compound_op_fn op_get_xattr, op_set_xattr, op_list_xattr, op_remove_xattr, op_statfs, op_access, op_lock, op_lock_test,
        op_unlock;
compound_op_fn op_lock_reclaim, op_reclaimed;
compound_op_fn op_statistics;
compound_op_fn op_tx_begin, op_tx_use, op_tx_commit, op_tx_abort, op_tx_status;
compound_op_fn op_watch, op_unwatch, op_lock_wait, op_lock_cancel, op_lease, op_lease_return;

#endif
