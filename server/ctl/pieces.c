/* SPDX-License-Identifier: BSD-3-Clause */
/* A large file that is copied in pieces. */
#include "server/ctl/pieces.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/err.h"

struct piece {
	struct pieces *file;
	uint64_t at, end;
};

/* Said once of a file. */
static void fail(struct pieces *p)
{
	if (!__atomic_exchange_n(&p->failed, true, __ATOMIC_ACQ_REL))
		transfer_skip_err(p->dir->t, p->path);
}

static void copy(struct pieces *p, unsigned worker, uint64_t at, uint64_t end)
{
	if (transfer_is_gone(p->dir->t))
		__atomic_store_n(&p->failed, true, __ATOMIC_RELEASE);
	else if (!__atomic_load_n(&p->failed, __ATOMIC_ACQUIRE) && p->copy(p, worker, at, end))
		fail(p);
}

static void unref(struct pieces *p, unsigned worker)
{
	struct dir *dir = p->dir;
	char *name = p->name, *path = p->path;
	bool failed;

	if (__atomic_sub_fetch(&p->refs, 1, __ATOMIC_ACQ_REL))
		return;
	if (p->last_at < p->last_end)
		copy(p, worker, p->last_at, p->last_end);
	failed = __atomic_load_n(&p->failed, __ATOMIC_ACQUIRE);
	if (p->finish(p, failed) && !failed)
		transfer_skip_err(dir->t, path);
	free(name);
	free(path);
	transfer_add(dir->t, 1, 0);
	dir_unref(dir);
}

static void copy_piece(void *arg, unsigned worker)
{
	struct piece *piece = arg;

	copy(piece->file, worker, piece->at, piece->end);
	unref(piece->file, worker);
	free(piece);
}

int pieces_begin(struct pieces *p, struct dir *dir, const char *name, const char *path, jobs_fn *fn)
{
	p->name = strdup(name);
	p->path = strdup(path);
	if (!p->name || !p->path) {
		free(p->name);
		free(p->path);
		return err_set(-ENOMEM, "no memory for a file");
	}
	p->dir = dir;
	dir_ref(dir);
	p->last_at = p->last_end = 0;
	p->refs = 1;
	p->failed = false;
	jobs_add(&dir->t->jobs, 0, fn, p);
	return 0;
}

void pieces_add(struct pieces *p, unsigned worker, uint64_t at, uint64_t end)
{
	while (at < end && !__atomic_load_n(&p->failed, __ATOMIC_ACQUIRE)) {
		uint64_t len = end - at < TRANSFER_CHUNK_BYTES ? end - at : TRANSFER_CHUNK_BYTES;

		if (p->last_at < p->last_end) {
			struct piece *piece = malloc(sizeof(*piece));

			if (!piece) {
				err_set(-ENOMEM, "no memory for a copy");
				fail(p);
				return;
			}
			*piece = (struct piece){ .file = p, .at = p->last_at, .end = p->last_end };
			__atomic_fetch_add(&p->refs, 1, __ATOMIC_RELAXED);
			jobs_add(&p->dir->t->jobs, worker, copy_piece, piece);
		}
		p->last_at = at;
		p->last_end = at + len;
		at += len;
	}
}

void pieces_end(struct pieces *p, unsigned worker, int err)
{
	if (err)
		fail(p);
	unref(p, worker);
}
