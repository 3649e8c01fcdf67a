/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the daemon must know again at the next start: pools it imported, file systems it mounted and exports that were
 * added by command, and which of its runs ended cleanly. Kept in STATE_DIR/state.json, which is replaced as a whole
 * (written beside, synced, renamed, folder synced).
 *
 * All functions: any thread; those that change something block, and the change is durable when they return 0. After an
 * error nothing has changed.
 */
#ifndef WFSD_SERVER_CONF_STATE_H
#define WFSD_SERVER_CONF_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "server/export/export.h"
#include "server/mount/mount.h"

struct state;

struct state_pool {
	const char *name;
	const char *const *devices;
	unsigned device_count;
	bool read_only;
};

/*
 * Create @dir when it is not there, lock it, read the file. -EBUSY: another daemon uses the folder. -EBADMSG: the file
 * is not ours or damaged (the text says where). Else errors of the file system, -ENOMEM.
 */
int state_open(const char *dir, struct state **ret);
void state_close(struct state *s); /* NULL is fine */

/* @fn must not call back. */
void state_each_pool(struct state *s, void (*fn)(void *ctx, const struct state_pool *pool), void *ctx);
void state_each_mount(struct state *s, void (*fn)(void *ctx, const struct mount_spec *spec), void *ctx);
void state_each_drive(struct state *s, void (*fn)(void *ctx, char letter, const char *path), void *ctx);
void state_each_export(struct state *s, void (*fn)(void *ctx, const struct export_info *info), void *ctx);

/* Replaces one of the same name, or at the same path. */
int state_put_pool(struct state *s, const struct state_pool *pool);
int state_put_mount(struct state *s, const struct mount_spec *spec);
int state_put_drive(struct state *s, char letter, const char *path);
int state_put_export(struct state *s, const struct export_info *info);
/* 0 also when there is none. */
int state_drop_pool(struct state *s, const char *name);
int state_drop_mount(struct state *s, const char *path);
int state_drop_drive(struct state *s, char letter);
int state_drop_export(struct state *s, const char *name);

/*
 * Ids of starts of the daemon that ended with everything they had acknowledged durable, newest first; the newest
 * STATE_BOOTS_MAX are kept. Returns how many of at most @max were copied.
 */
#define STATE_BOOTS_MAX 16
size_t state_get_clean_boots(struct state *s, uint64_t *ret, size_t max);
int state_put_clean_boot(struct state *s, uint64_t boot_id);

/* Clients' sessions that have locks, which they may have again after a restart. @fn must not call back. put: these and
 * no others. */
#define STATE_LOCK_HOLDER_BYTES 16
void state_each_lock_holder(struct state *s, void (*fn)(void *ctx, const uint8_t *key), void *ctx);
int state_put_lock_holders(struct state *s, const uint8_t *keys, unsigned count);

/*
 * The secret of this daemon, in STATE_DIR/secret: random, made when it is not there, the same at every start. Errors of
 * the file system; -EBADMSG: the file has another length.
 */
#define STATE_SECRET_BYTES 16u
int state_get_secret(struct state *s, uint8_t ret[STATE_SECRET_BYTES]);

#endif
