/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * libwfs: open files. A file is an export's name and what was learnt when it was opened; the server's handles come and
 * go with the connections.
 */
#include "protocol/client/file.h"
#include "protocol/client/locks.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/err.h"
#include "protocol/client/wfs_watch.h"
#include "protocol/xdr/xdr.h"

/* Tell the server that a handle is not needed any more; without effect when its connection is gone. */
static void close_handle(struct wfs_conn *c, uint64_t generation, uint64_t handle)
{
	struct wfs_call call;

	wfs_call_init(&call, WFSP_CLOSE);
	wr_be64(&call.args, handle);
	(void)wfs_call_run(c, generation, &call);
	wfs_call_done(&call);
}

static int open_on(struct wfs_file *f, struct wfs_conn *c, uint64_t generation, const char *name,
                   struct wfsp_open_ok *ret)
{
	struct wfsp_open_args args = { .want_write = f->flags & WFS_OPEN_WRITE };
	struct wfs_call call;
	struct rd r;
	int err;

	memcpy(args.name, name, strlen(name) + 1);
	wfs_call_init(&call, WFSP_OPEN);
	wfsp_put_open_args(&call.args, &args);
	err = wfs_call_run(c, generation, &call);
	if (!err)
		err = wfs_call_result(&call, &r);
	if (!err) {
		wfsp_get_open_ok(&r, ret);
		if (r.bad)
			err = err_set(-EBADMSG, "malformed answer to OPEN");
	}
	wfs_call_done(&call);
	return err;
}

/*
 * The file's export was opened on a connection in the life @boot, after @from: is it still the same file, and was
 * anything lost on the way? -EAGAIN: by now it lives in a third one.
 */
static int adopt(struct wfs_file *f, const struct wfsp_open_ok *ok, uint32_t flags, uint64_t from, uint64_t boot,
                 bool durable) SYNC_REQUIRES(f->lock)
{
	bool doubt = f->known && (f->flags & WFS_OPEN_SHARED) && (f->flags & WFS_OPEN_WRITE);

	if (!f->known) {
		f->known = true;
		f->info = *ok;
		f->attr_flags = flags;
	}
	if (f->info.attr.fsid != ok->attr.fsid || f->info.attr.fileid != ok->attr.fileid ||
	    (!f->in_tree && ok->attr.size_bytes < f->info.attr.size_bytes)) {
		f->stale = true;
		return err_set(-ESTALE, "export \"%s\" is another file now, or smaller", f->info.name);
	}
	if (!wfs_ledger_move(f->ledger, from, boot, durable, doubt))
		return -EAGAIN;
	f->info.attr = ok->attr;
	return 0;
}

/* Open the file on a connection, or find that it must be tried again. Called by the one thread that set slot->opening.
 */
static int open_slot(struct wfs_file *f, struct wfs_conn *c, struct file_slot *slot, uint64_t generation)
        SYNC_REQUIRES(f->lock)
{
	char name[WFSP_NAME_MAX + 1];
	struct wfsp_open_ok ok;
	uint64_t old_boot = wfs_ledger_boot(f->ledger), boot = 0;
	bool known = f->known, durable = false;
	uint32_t flags = 0;
	int err;

	if (!f->in_tree)
		memcpy(name, known ? f->info.name : f->export_name,
		       (known ? strlen(f->info.name) : strlen(f->export_name)) + 1);
	sync_mutex_unlock(&f->lock);
	err = f->in_tree ? wfs_file_open_in_tree(f, c, generation, known, &ok, &flags)
	                 : open_on(f, c, generation, name, &ok);
	if (!err)
		err = wfs_conn_boot(c, generation, old_boot, &boot, &durable);
	if (known && err == -ENOENT)
		err = f->in_tree ? err_set(-ESTALE, "the file is gone")
		                 : err_set(-ESTALE, "export \"%s\" is gone", name);
	sync_mutex_lock(&f->lock);
	if (err)
		return err;
	err = adopt(f, &ok, flags, old_boot, boot, durable);
	if (err) {
		sync_mutex_unlock(&f->lock);
		close_handle(c, generation, ok.handle);
		sync_mutex_lock(&f->lock);
		/* Then it is opened once more. */
		return err == -EAGAIN ? 0 : err;
	}
	slot->generation = generation;
	slot->handle = ok.handle;
	return 0;
}

/* The server's handle on this connection, opened when there is none. */
static int get_handle(struct wfs_file *f, struct wfs_conn *c, uint64_t generation, uint64_t *ret_handle,
                      uint64_t *ret_boot)
{
	struct file_slot *slot;
	int err = 0;

	sync_mutex_lock(&f->lock);
	slot = &f->slots[c->index];
	while (!err && slot->generation != generation) {
		if (f->stale) {
			err = err_set(-ESTALE, "export \"%s\" is another file now, or smaller", f->info.name);
		} else if (slot->opening) {
			sync_cond_wait(&f->opened, &f->lock);
		} else {
			slot->opening = true;
			err = open_slot(f, c, slot, generation);
			slot->opening = false;
			sync_cond_broadcast(&f->opened);
		}
	}
	*ret_handle = slot->handle;
	*ret_boot = wfs_ledger_boot(f->ledger);
	sync_mutex_unlock(&f->lock);
	return err;
}

int wfs_file_ready(struct wfs_file *f, struct wfs_conn *c, uint64_t *deadline_ns, uint64_t *ret_generation,
                   uint64_t *ret_handle, uint64_t *ret_boot)
{
	int err = wfs_conn_up(c, deadline_ns, false, ret_generation);

	if (err)
		return err;
	return get_handle(f, c, *ret_generation, ret_handle, ret_boot);
}

int wfs_file_call(struct wfs_file *f, struct wfs_call *call, struct rd *ret_results, uint64_t *ret_boot)
{
	struct wfs_conn *c = wfs_pick_conn(f->client);
	uint64_t deadline_ns = 0, sent_ns, generation, handle, boot = 0;
	int err;

	do {
		sent_ns = 0;
		err = wfs_file_ready(f, c, &deadline_ns, &generation, &handle, &boot);
		if (!err) {
			put_be64(call->head + CALL_ARGS_AT, handle);
			sent_ns = sync_now_ns();
			err = wfs_call_run(c, generation, call);
		}
	} while (err == -ENOTCONN && wfs_call_may_repeat(c, false, sent_ns, &deadline_ns));
	if (err == -ENOTCONN)
		return err_set(-ETIMEDOUT, "%s ended the connection during every attempt", f->client->address);
	if (err)
		return err;
	if (ret_boot)
		*ret_boot = boot;
	return wfs_call_result(call, ret_results);
}

void wfs_file_wrote(struct wfs_file *f, uint64_t boot)
{
	sync_mutex_lock(&f->lock);
	wfs_ledger_wrote(f->ledger, boot);
	sync_mutex_unlock(&f->lock);
}

typedef void add_fn(struct wfs_batch *b, void *ctx);

/* Run, once, what @add adds to a batch in which the file is current. Its descriptor is another one on each connection.
 */
static int run_used(struct wfs_file *f, add_fn *add, void *ctx, uint64_t *ret_boot)
{
	struct wfs_conn *c = wfs_pick_conn(f->client);
	uint64_t deadline_ns = 0, sent_ns, generation, handle, boot = 0;
	uint32_t slot, sequence;
	struct wfs_batch b;
	int err;

	wfs_batch_init(&b, f->client);
	wfs_slot_take(c, &slot, &sequence);
	do {
		sent_ns = 0;
		err = wfs_file_ready(f, c, &deadline_ns, &generation, &handle, &boot);
		if (err)
			continue;
		sent_ns = sync_now_ns();
		wfs_batch_clear(&b);
		(void)wfs_batch_use(&b, handle);
		add(&b, ctx);
		err = wfs_batch_run_on(&b, f->has_cred ? &f->cred : NULL, c, generation, slot, sequence);
	} while (err == -ENOTCONN && wfs_call_may_repeat(c, true, sent_ns, &deadline_ns));
	wfs_slot_give(c, slot);
	wfs_batch_done(&b);
	*ret_boot = boot;
	return err == -ENOTCONN
	               ? err_set(-ETIMEDOUT, "%s ended the connection during every attempt", f->client->address)
	               : err;
}

struct append {
	const void *buf;
	uint32_t len;
	struct wfs_attr attr;
};

static void add_append(struct wfs_batch *b, void *ctx)
{
	struct append *a = ctx;

	(void)wfs_batch_write(b, a->buf, a->len, 0, WFS_APPEND);
	(void)wfs_batch_getattr(b, &a->attr);
}

int wfs_append(struct wfs_file *f, const void *buf, size_t len, uint64_t *ret_size)
{
	/* What is longer than that is too long in any case. */
	struct append a = { .buf = buf, .len = len < UINT32_MAX ? (uint32_t)len : UINT32_MAX };
	uint64_t boot;
	int err = run_used(f, add_append, &a, &boot);

	if (err)
		return err;
	if (!f->client->durable)
		wfs_file_wrote(f, boot);
	*ret_size = a.attr.size_bytes;
	return 0;
}

struct locking {
	const struct wfs_lock *lock;
	bool wait;
	uint64_t id;
	int granted;
};

static void add_lock(struct wfs_batch *b, void *ctx)
{
	struct locking *l = ctx;

	if (l->wait)
		(void)wfs_batch_lock_wait(b, l->lock, l->id, &l->granted);
	else
		(void)wfs_batch_lock(b, l->lock);
}

static int lock_file(struct wfs_file *f, struct locking *l)
{
	struct wfs *w = f->client;
	uint64_t boot;
	int err;

	sync_rwlock_rdlock(&w->locks.gate);
	wfs_locks_ask(w, l->lock);
	err = run_used(f, add_lock, l, &boot);
	if (!err && (!l->wait || l->granted))
		wfs_locks_note(w, f->has_cred ? &f->cred : NULL, &f->fh, l->lock, boot);
	sync_rwlock_rdunlock(&w->locks.gate);
	return err;
}

int wfs_file_lock(struct wfs_file *f, const struct wfs_lock *lock)
{
	struct locking l = { .lock = lock };

	return lock_file(f, &l);
}

struct leasing {
	enum wfs_lease_type type;
	uint64_t id;
};

static void add_lease(struct wfs_batch *b, void *ctx)
{
	const struct leasing *l = ctx;

	(void)wfs_batch_add(b, &(struct wfsp_op){ .code = WFSP_OP_LEASE, .type = l->type, .id = l->id },
	                    &(struct batch_item){ 0 }, 0);
}

int wfs_lease(struct wfs_file *f, enum wfs_lease_type type, uint64_t id)
{
	struct leasing l = { type, id };
	uint64_t boot;

	return run_used(f, add_lease, &l, &boot);
}

int wfs_file_lock_wait(struct wfs_file *f, const struct wfs_lock *lock, uint64_t id)
{
	struct locking l = { .lock = lock, .wait = true, .id = id };
	int err = lock_file(f, &l);

	return !err && !l.granted ? -EINPROGRESS : err;
}

void wfs_file_lock_granted(struct wfs_file *f, const struct wfs_lock *lock)
{
	sync_rwlock_rdlock(&f->client->locks.gate);
	wfs_locks_note(f->client, f->has_cred ? &f->cred : NULL, &f->fh, lock, 0);
	sync_rwlock_rdunlock(&f->client->locks.gate);
}

uint64_t wfs_change_begin(struct wfs_file *f)
{
	uint64_t boot;

	sync_mutex_lock(&f->lock);
	boot = wfs_ledger_boot(f->ledger);
	sync_mutex_unlock(&f->lock);
	return boot;
}

void wfs_change_end(struct wfs_file *f, uint64_t begin)
{
	uint64_t deadline_ns = 0, generation, handle, boot;

	if (f->client->durable)
		return;
	/* It was answered by the server that is there now, or by the one before: the file must live in the present. */
	(void)wfs_file_ready(f, wfs_pick_conn(f->client), &deadline_ns, &generation, &handle, &boot);
	sync_mutex_lock(&f->lock);
	wfs_ledger_changed(f->ledger, begin);
	sync_mutex_unlock(&f->lock);
}

int wfs_file_new(struct wfs *w, unsigned flags, struct wfs_file **ret)
{
	struct wfs_file *f = calloc(1, sizeof(*f));

	if (!f)
		return err_set(-ENOMEM, "no memory for a file");
	f->client = w;
	f->flags = flags;
	sync_mutex_init(&f->lock, SYNC_RANK_HANDLE, "wfs file");
	sync_cond_init(&f->opened);
	wfs_ledger_init(&f->own);
	f->ledger = &f->own;
	*ret = f;
	return 0;
}

int wfs_file_open(struct wfs_file *f)
{
	uint64_t deadline_ns = 0, generation, handle, boot;
	struct wfs *w = f->client;
	struct wfs_conn *c;
	int err;

	do {
		c = wfs_pick_conn(w);
		err = wfs_file_ready(f, c, &deadline_ns, &generation, &handle, &boot);
	} while (err == -ENOTCONN && wfs_call_may_repeat(c, false, 0, &deadline_ns));
	if (!err)
		return 0;
	wfs_close(f);
	return err == -ENOTCONN ? err_set(-ETIMEDOUT, "%s ended every connection", w->address) : err;
}

void wfs_file_share(struct wfs_file *f, struct wfs_ledger *l, uint64_t seen)
{
	struct file_slot old[CLIENT_CONNECTIONS_MAX] = { 0 };
	struct wfs *w = f->client;
	uint64_t boot;

	sync_mutex_lock(&f->lock);
	boot = wfs_ledger_boot(f->ledger);
	if (f->ledger != &f->own)
		wfs_ledger_unref(f->ledger);
	f->ledger = wfs_ledger_ref(l);
	f->seen = seen;
	/* What happened between these two lives is found out when the file is opened once more. */
	if (boot && !wfs_ledger_move(l, 0, boot, false, false)) {
		memcpy(old, f->slots, w->conn_count * sizeof(old[0]));
		for (unsigned i = 0; i < w->conn_count; i++)
			f->slots[i].generation = 0;
	}
	sync_mutex_unlock(&f->lock);
	for (unsigned i = 0; i < w->conn_count; i++) {
		if (old[i].generation)
			close_handle(&w->conns[i], old[i].generation, old[i].handle);
	}
}

void wfs_file_adopt(struct wfs_file *f, const struct batch_outcome *where, uint64_t descriptor,
                    const struct wfs_attr *attr)
{
	struct wfsp_open_ok ok;
	bool durable;
	uint64_t boot;

	/* Otherwise the first request opens it. */
	if (where->repeated || wfs_conn_boot(where->conn, where->generation, 0, &boot, &durable))
		return;
	wfs_file_info_of(attr, descriptor, &ok);
	sync_mutex_lock(&f->lock);
	(void)adopt(f, &ok, attr->flags, wfs_ledger_boot(f->ledger), boot,
	            true); /* the first time: it takes everything */
	f->slots[where->conn->index] = (struct file_slot){ .generation = where->generation, .handle = descriptor };
	sync_mutex_unlock(&f->lock);
}

int wfs_open(struct wfs *w, const char *export_name, unsigned flags, struct wfs_file **ret)
{
	struct wfs_file *f;
	int err;

	if (strlen(export_name) > WFSP_NAME_MAX)
		return err_set(-ENAMETOOLONG, "export name longer than %u bytes", WFSP_NAME_MAX);
	err = wfs_file_new(w, flags, &f);
	if (err)
		return err;
	f->export_name = strdup(export_name);
	if (!f->export_name) {
		wfs_close(f);
		return err_set(-ENOMEM, "no memory for a file");
	}
	err = wfs_file_open(f);
	if (!err)
		*ret = f;
	return err;
}

SYNC_NO_ANALYSIS static void file_free(struct wfs_file *f)
{
	if (f->ledger != &f->own)
		wfs_ledger_unref(f->ledger);
	wfs_ledger_done(&f->own);
	sync_cond_done(&f->opened);
	sync_mutex_done(&f->lock);
	free(f->export_name);
	free(f);
}

SYNC_NO_ANALYSIS void wfs_close(struct wfs_file *f)
{
	if (!f)
		return;
	for (unsigned i = 0; i < f->client->conn_count; i++) {
		if (f->slots[i].generation)
			close_handle(&f->client->conns[i], f->slots[i].generation, f->slots[i].handle);
	}
	file_free(f);
}

/* Those of files from @from on that are open on the connection @index, in one request; returns where to go on. What
 * cannot be closed is not open any more. */
SYNC_NO_ANALYSIS static unsigned close_some(struct wfs_file *const files[], unsigned from, unsigned count,
                                            unsigned index, struct wfs_batch *b)
{
	struct wfs_conn *c = &files[from]->client->conns[index];
	uint64_t generation = 0;
	unsigned at = from;

	wfs_batch_clear(b);
	for (; at < count && b->count < WFS_BATCH_OPS_MAX; at++) {
		const struct file_slot *s = &files[at]->slots[index];

		if (!s->generation)
			continue;
		if (generation && s->generation != generation)
			break;
		generation = s->generation;
		(void)wfs_batch_close(b, s->handle);
	}
	if (b->count)
		(void)wfs_batch_run_on(b, NULL, c, generation, 0, 0);
	return at;
}

void wfs_close_many(struct wfs_file *const files[], unsigned count)
{
	struct wfs_batch b;

	if (!count)
		return;
	wfs_batch_init(&b, files[0]->client);
	for (unsigned i = 0; i < files[0]->client->conn_count; i++)
		for (unsigned at = 0; at < count;)
			at = close_some(files, at, count, i, &b);
	wfs_batch_done(&b);
	for (unsigned i = 0; i < count; i++)
		file_free(files[i]);
}

void wfs_get_info(struct wfs_file *f, struct wfs_file_info *ret)
{
	sync_mutex_lock(&f->lock);
	*ret = (struct wfs_file_info){
		.name = f->info.name, /* these two never change after the first open */
		.description = f->info.description,
		.size_bytes = f->info.attr.size_bytes,
		.change = f->info.attr.change,
		.read_only = f->info.attr.read_only,
		.block_min_bytes = f->info.block_min_bytes,
		.block_preferred_bytes = f->info.block_preferred_bytes,
		.block_max_bytes = f->info.block_max_bytes,
		.flags = f->attr_flags,
	};
	sync_mutex_unlock(&f->lock);
}
