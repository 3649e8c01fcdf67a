/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * libwfs: use the exports of a wfsd from another process or host.
 *
 * A client (struct wfs) holds one or more connections to one server; any number of threads use it and its files at the
 * same time, and their requests travel side by side. All calls block until they are answered.
 *
 * Lost connections. When a connection breaks, or the server restarts, calls wait, reconnect with back-off, reopen their
 * file by its export's name and repeat the request; after options.timeout_ms without a server they fail with -ETIMEDOUT
 * (and the next call tries again). A file answers -ESTALE when its export is gone, or now is another file, or shrank.
 * Every request may be repeated safely: the server finishes or drops what it had received on the old connection before
 * it serves the new one.
 *
 * Durability. What was written is durable when a later wfs_flush() of the same file returned 0, or the write carried
 * WFS_FUA. If the server restarted without having made everything durable (a crash) after it had acknowledged writes
 * through this file that were not flushed yet, the next wfs_flush() fails once with -EIO; later ones are judged afresh.
 *
 * Errors are negative errno. wfs_error_text() explains the calling thread's last one.
 */
#ifndef WFS_H
#define WFS_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define WFS_PUBLIC __attribute__((visibility("default")))

struct wfs;
struct wfs_file;

struct wfs_options {
	const char *client_name; /* shown by the server; NULL: "libwfs" */
	unsigned connections; /* 1..16; 0: 1 */
	unsigned timeout_ms; /* longest wait for a lost server; 0: 60,000 */
	unsigned connect_timeout_ms; /* as timeout_ms, for wfs_connect() itself; 0: a single attempt */
	int no_shared_memory; /* payloads only through the socket, also where the server offers shared memory */
	/* For "tls:" addresses: a folder with ca-cert.pem (else the system's authorities count) and, where the server
	 * wants them, client-cert.pem and client-key.pem. NULL: $WFS_CERTIFICATES, or without that none. */
	const char *certificates;
	int durable; /* changes in file trees, and writes, are durable when they return */
};

/*
 * Connect to "unix:/path", "tcp:host:port", "tcp:[address]:port", or with "tls:" instead of "tcp:" over TLS 1.3, where
 * the server's certificate must be good and name the host. @options may be NULL. 0, or -EINVAL (address), or
 * why connecting failed (-ECONNREFUSED, -ENOENT, -EACCES, -EPROTONOSUPPORT: no wfsd, ...).
 */
WFS_PUBLIC int wfs_connect(const char *address, const struct wfs_options *options, struct wfs **ret);
/* Every file is closed and no call is running. NULL is fine. */
WFS_PUBLIC void wfs_disconnect(struct wfs *w);

struct wfs_export_info {
	const char *name;
	const char *description;
	uint64_t size_bytes;
	int read_only;
	int is_default;
};
/* Call @fn for each export, in byte order of the names, until it returns non-zero. */
typedef int wfs_export_fn(void *ctx, const struct wfs_export_info *info);
WFS_PUBLIC int wfs_list_exports(struct wfs *w, wfs_export_fn *fn, void *ctx);

/* Flags of wfs_open(). */
#define WFS_OPEN_WRITE 1u
/*
 * Other processes have the same export open, and a flush here answers for what they wrote, too: after a crash of the
 * server the next flush fails once with -EIO even when this file has nothing unflushed itself.
 */
#define WFS_OPEN_SHARED 2u

/* "" is the default export. -EROFS: WFS_OPEN_WRITE on a read-only export. -ENOENT, -EMFILE, ... */
WFS_PUBLIC int wfs_open(struct wfs *w, const char *export_name, unsigned flags, struct wfs_file **ret);
WFS_PUBLIC void wfs_close(struct wfs_file *f); /* not a flush; no call on @f is running; NULL is fine */

struct wfs_file_info {
	const char *name; /* of the export; the file's, like description */
	const char *description;
	uint64_t size_bytes;
	uint64_t change; /* increases with every change of the file */
	int read_only; /* the export is */
	uint32_t block_min_bytes; /* hints for the size and alignment of requests */
	uint32_t block_preferred_bytes;
	uint32_t block_max_bytes;
	uint32_t flags; /* of a file of a tree (wfs_tree.h): WFS_FLAG_*, when it was opened first */
};
/* What was known when the file was opened (or last reopened). No request is sent. */
WFS_PUBLIC void wfs_get_info(struct wfs_file *f, struct wfs_file_info *ret);

struct wfs_stat {
	uint64_t file_id;
	uint64_t size_bytes;
	uint64_t allocated_bytes;
	uint64_t change; /* increases with every change */
	uint64_t mtime_ns; /* since 1970; before, as int64_t */
	int read_only;
};
WFS_PUBLIC int wfs_stat(struct wfs_file *f, struct wfs_stat *ret);

#define WFS_FUA 1u /* durable when the call returns */
#define WFS_NO_HOLE 2u /* zero: keep the range allocated */
#define WFS_FAST 4u /* zero: -EOPNOTSUPP, with nothing changed, unless it is faster than writing zeros */
#define WFS_ONE 8u /* extents: exactly one */

/*
 * Any offset, length and alignment within the file; long ones are cut into several requests, of which an error leaves
 * some done: of a read the first ones, of a write any. Past the end: -EINVAL for reads and discards, -ENOSPC for
 * writes and zeroes. -EROFS, -ENOSPC, -EIO, -ESTALE, -ETIMEDOUT, ...
 */
WFS_PUBLIC int wfs_pread(struct wfs_file *f, void *buf, size_t len, uint64_t offset);
WFS_PUBLIC int wfs_pwrite(struct wfs_file *f, const void *buf, size_t len, uint64_t offset, unsigned flags);
WFS_PUBLIC int wfs_flush(struct wfs_file *f);
/* Flags: WFS_FUA; zero also WFS_NO_HOLE, WFS_FAST. */
WFS_PUBLIC int wfs_discard(struct wfs_file *f, uint64_t offset, uint64_t len, unsigned flags);
WFS_PUBLIC int wfs_zero(struct wfs_file *f, uint64_t offset, uint64_t len, unsigned flags);
/* Ask the server to bring the range into its memory. */
WFS_PUBLIC int wfs_prefetch(struct wfs_file *f, uint64_t offset, uint64_t len);

struct wfs_extent {
	uint64_t offset;
	uint64_t len_bytes;
	int hole; /* not allocated */
	int zero; /* reads as zeros */
};
#define WFS_EXTENTS_AT_ONCE 1024u /* the most that one call returns */
/* Describe the range from its start: 1..@max extents, clipped to it, perhaps not reaching its end. Flags: WFS_ONE. */
WFS_PUBLIC int wfs_extents(struct wfs_file *f, uint64_t offset, uint64_t len, unsigned flags, struct wfs_extent *ret,
                           unsigned max, unsigned *ret_count);

/* Call @fn with each counter of the server. */
typedef void wfs_counter_fn(void *ctx, const char *name, uint64_t value);
WFS_PUBLIC int wfs_statistics(struct wfs *w, wfs_counter_fn *fn, void *ctx);

/* One line on the calling thread's last error, into @buf (terminated; @len >= 1). Returns @buf. */
WFS_PUBLIC char *wfs_error_text(char *buf, size_t len);

#ifdef __cplusplus
}
#endif

#endif
