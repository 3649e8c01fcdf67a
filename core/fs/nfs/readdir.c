/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Listing directories: what one call brings is copied out, and told without a lock. A server that leads around in
 * circles is found by remembering one cookie, a later one each time twice as many calls have been made (R. P. Brent,
 * "An improved Monte Carlo factorization algorithm", 1980).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <nfsc/libnfs-raw-nfs.h>

#include "core/base/err.h"
#include "core/fs/nfs/nfs_priv.h"

#define LIST_BYTES 32768u /* of names in one call */
#define REPLY_BYTES 65536u

struct entry {
	uint64_t object, cookie;
	enum vfs_type type; /* 0: not told */
	uint16_t len;
	char name[VFS_NAME_MAX];
};

struct listing {
	struct nfs_node *dir;
	uint8_t verifier[NFS3_COOKIEVERFSIZE];
	uint64_t last; /* cookie */
	bool end;
	unsigned count;
	struct entry entries[NFS_LIST_ENTRIES_MAX];
};

/* Names that no directory can have here are left out. */
static bool is_listed(const char *what, size_t len)
{
	if (!len || len > VFS_NAME_MAX || memchr(what, '/', len))
		return false;
	return !(what[0] == '.' && (len == 1 || (len == 2 && what[1] == '.')));
}

static void add_entry(struct listing *l, const entryplus3 *e)
{
	size_t len = strnlen(e->name, NFS_STRING_BYTES_MAX);
	struct nfs_handle fh = { .len = 0 };
	struct nfs_told told;
	struct entry *to;

	if (!is_listed(e->name, len) || l->count == NFS_LIST_ENTRIES_MAX)
		return;
	to = &l->entries[l->count];
	*to = (struct entry){ .object = e->fileid, .cookie = e->cookie, .len = (uint16_t)len };
	memcpy(to->name, e->name, len);
	if (e->name_handle.handle_follows && nfs_handle_decode(&e->name_handle.post_op_fh3_u.handle, &fh))
		return;
	if (nfs_told_attr(&told, &e->name_attributes))
		return;
	if (told.has_attr && fh.len) {
		to->type = told.attr.type;
		to->object = nfs_object_of(l->dir->im, &told.attr, &fh);
	}
	l->count++;
}

static int take_list(void *ctx, const void *res)
{
	const READDIRPLUS3resok *r = &((const READDIRPLUS3res *)res)->READDIRPLUS3res_u.resok;
	struct listing *l = ctx;
	bool any = false;

	l->count = 0;
	l->end = r->reply.eof;
	memcpy(l->verifier, r->cookieverf, sizeof(l->verifier));
	for (const void *at = r->reply.entries; at;) {
		entryplus3 e;

		memcpy(&e, at, sizeof(e)); /* libnfs does not align them */
		at = e.nextentry;
		/* 0 is the beginning. */
		if (!e.cookie)
			return -EBADMSG;
		l->last = e.cookie;
		any = true;
		add_entry(l, &e);
	}
	return any || l->end ? 0 : -EBADMSG;
}

static int list_call(struct listing *l, uint64_t cookie)
{
	READDIRPLUS3args args = {
		.dir = nfs_handle_arg(&l->dir->fh), .cookie = cookie, .dircount = LIST_BYTES, .maxcount = REPLY_BYTES
	};
	struct nfs_call c = { .proc = NFS_READDIRPLUS, .args = &args, .take = take_list, .ctx = l };

	if (cookie)
		memcpy(args.cookieverf, l->verifier, sizeof(args.cookieverf));
	return nfs_call_run(l->dir->im->net, &c);
}

/* What the list did not tell. */
static int ask_type(struct nfs_node *dir, struct entry *e)
{
	struct vfs_node *n;
	int rc = nfs_dir_lookup(&dir->node, e->name, e->len, &n);

	if (rc)
		return rc;
	e->type = n->type;
	e->object = nfs_node_of(n)->object;
	vfs_node_unref(n);
	return 0;
}

/* 1: that was enough. */
static int tell(struct listing *l, vfs_dir_fn *fn, void *ctx)
{
	for (unsigned i = 0; i < l->count; i++) {
		struct entry *e = &l->entries[i];
		int rc = e->type ? 0 : ask_type(l->dir, e);

		if (rc == -ENOENT)
			continue; /* it was removed meanwhile */
		if (rc)
			return rc;
		if (!fn(ctx, &(struct vfs_dirent){ .name = e->name,
		                                   .name_len = e->len,
		                                   .type = e->type,
		                                   .object = e->object,
		                                   .cookie = e->cookie }))
			return 1;
	}
	return 0;
}

static int list_all(struct listing *l, uint64_t cookie, vfs_dir_fn *fn, void *ctx)
{
	uint64_t remembered = cookie;
	unsigned calls = 0, remember_at = 1;
	int rc = 0;

	l->last = cookie;
	while (rc == 0) {
		rc = list_call(l, l->last);
		if (rc)
			return rc;
		if (!l->end && l->last == remembered)
			return err_set(-EIO, "nfs: a directory without an end");
		if (++calls == remember_at) {
			remembered = l->last;
			remember_at *= 2;
		}
		rc = tell(l, fn, ctx);
		if (l->end)
			break;
	}
	return rc < 0 ? rc : 0;
}

int nfs_dir_readdir(struct vfs_node *dir, uint64_t cookie, vfs_dir_fn *fn, void *ctx)
{
	struct nfs_node *d = nfs_node_of(dir);
	struct listing *l = malloc(sizeof(*l));
	int rc = l ? nfs_check_alive(d->im) : err_set(-ENOMEM, "a directory: no memory");

	if (rc == 0) {
		l->dir = d;
		sync_mutex_lock(&d->lock);
		memcpy(l->verifier, d->cookie_verifier, sizeof(l->verifier));
		sync_mutex_unlock(&d->lock);
		rc = list_all(l, cookie, fn, ctx);
	}
	if (rc == 0) {
		sync_mutex_lock(&d->lock);
		memcpy(d->cookie_verifier, l->verifier, sizeof(l->verifier));
		sync_mutex_unlock(&d->lock);
	}
	free(l);
	return rc;
}
