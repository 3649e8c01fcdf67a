/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * libwfs: being told by the server. Watches on directories and files, locks that wait, leases; what they lead to comes
 * as events, which one thread of the program waits for with wfs_events().
 *
 * Watches and waits are named by numbers that the program chooses: an event has the number of what it is about, and may
 * come before the call that asked for it has returned. They belong to the client, and outlive lost connections: events
 * that were not received come on the next connection. When the server was restarted, or the client was away for longer
 * than the server remembers it, WFS_EVENT_RESET says that everything must be asked for again.
 */
#ifndef WFS_WATCH_H
#define WFS_WATCH_H

#include "protocol/client/wfs_tree.h"

#ifdef __cplusplus
extern "C" {
#endif

#define WFS_CHANGE_CREATED 1u /* there is a new name */
#define WFS_CHANGE_REMOVED 2u /* a name is gone */
#define WFS_CHANGE_MOVED_FROM 4u /* a name is gone, the object has another one */
#define WFS_CHANGE_MOVED_TO 8u /* the object has this name now; what had it before has not */
#define WFS_CHANGE_DATA 16u /* contents or size, and attributes with them */
#define WFS_CHANGE_ATTR 32u /* attributes, links, extended attributes */
#define WFS_CHANGE_ALL 63u

enum wfs_event_kind {
	WFS_EVENT_CHANGE = 1, /* a watch saw a change */
	WFS_EVENT_LOST = 2, /* a watch lost something: look anew */
	WFS_EVENT_ENDED = 3, /* a watch sees nothing any more: its file system is not mounted */
	WFS_EVENT_LOCK = 4, /* the end of a wait: granted, or not */
	WFS_EVENT_RESET = 5, /* the server knows nothing of earlier watches, waits and leases */
	WFS_EVENT_RECALL = 6, /* a lease is to be given back: somebody waits */
	WFS_EVENT_BROKEN = 7, /* a lease is gone: it was not given back in time */
};

struct wfs_event {
	enum wfs_event_kind kind;
	uint64_t id; /* of the watch, the wait, or the lease */
	unsigned what; /* CHANGE: WFS_CHANGE_*; DATA and ATTR may come together */
	int err; /* LOCK: 0, or why not */
	uint64_t fsid, file_id; /* CHANGE: the object */
	uint64_t dir_id; /* of the directory that has the name; 0: it is not about a name */
	const char *name; /* terminated; "": none, or not for this client to know */
};
typedef void wfs_event_fn(void *ctx, const struct wfs_event *e);

#define WFS_WATCH_SUBTREE 1u /* everything below, too; all data and attributes of files in the file system are told */
#define WFS_WATCH_OTHERS 2u /* not what this client does itself */
/*
 * Watch @fh, which must be readable for @cred: a directory (names in it; data and attributes of what has a name in it),
 * or a file. @what: WFS_CHANGE_*. What is mounted below @fh is not watched, but that it was mounted, or is not
 * any more, is a MOVED_TO of its name, with file_id 0. -EEXIST: @id is in use. -EMFILE: too many.
 * -EOPNOTSUPP, for both flags together: @fh is on another server, whose other clients are not heard of.
 */
WFS_PUBLIC int wfs_watch(struct wfs *w, const struct wfs_cred *cred, const struct wfs_fh *fh, uint64_t id,
                         unsigned what, unsigned flags);
WFS_PUBLIC int wfs_unwatch(struct wfs *w, uint64_t id);

/* Take a lock (not WFS_LOCK_NONE), by the file's descriptor. -EAGAIN: somebody else has it. WFS_LOCK_NONE: unlock. */
WFS_PUBLIC int wfs_file_lock(struct wfs_file *f, const struct wfs_lock *lock);
/* 0: granted. -EINPROGRESS: it waits; an event with @id tells how that ends. -EDEADLK: it would never end. */
WFS_PUBLIC int wfs_file_lock_wait(struct wfs_file *f, const struct wfs_lock *lock, uint64_t id);
/* An event said that the lock that was waited for is granted: from now on wfs_locks_keep() knows it. */
WFS_PUBLIC void wfs_file_lock_granted(struct wfs_file *f, const struct wfs_lock *lock);
/* Wait no more: the event comes, with -ECANCELED or, when it was granted before, 0. */
WFS_PUBLIC int wfs_lock_cancel(struct wfs *w, uint64_t id);

enum wfs_lease_type {
	WFS_LEASE_READ = 1, /* what was read may be kept: nobody else writes */
	WFS_LEASE_WRITE = 2, /* what is written, too: nobody else reads or writes */
};
/*
 * A lease on an open file (with the access that goes with it): before another client does what would make it wrong,
 * this one is told with WFS_EVENT_RECALL, and has some seconds to give the lease back; then it is WFS_EVENT_BROKEN.
 * Attributes other than the size are not covered. -EAGAIN: another client has one that does not go with it; it is
 * recalled. -EEXIST:
 * @id is in use. After WFS_EVENT_RESET it is gone.
 */
WFS_PUBLIC int wfs_lease(struct wfs_file *f, enum wfs_lease_type type, uint64_t id);
/* Also of one that is broken. */
WFS_PUBLIC int wfs_lease_return(struct wfs *w, uint64_t id);

/*
 * Wait until there are events, at most @timeout_ms (which may be late by some seconds), and hand them to @fn. 0: all is
 * well. -ECANCELED: wfs_events_stop(). Anything else: the server cannot be reached now, nothing is told meanwhile; call
 * again. One thread at a time, on a connection of its own. Only after the first 0 is WFS_EVENT_RESET told: whoever asks
 * for watches and waits before that may wait for nothing, and asks again after it.
 */
WFS_PUBLIC int wfs_events(struct wfs *w, unsigned timeout_ms, wfs_event_fn *fn, void *ctx);
/* From now on wfs_events() returns -ECANCELED, also when it is waiting. Any thread. */
WFS_PUBLIC void wfs_events_stop(struct wfs *w);

#ifdef __cplusplus
}
#endif

#endif
