/* SPDX-License-Identifier: BSD-3-Clause */
/* The procedures of the fake server (fake_server.h): its files, and what it answers when it behaves. */
#ifndef WFSD_TESTS_FAKE_PROCS_H
#define WFSD_TESTS_FAKE_PROCS_H

#include <stdio.h>
#include <stdlib.h>

#include "core/base/bytes.h"
#include "core/base/sync.h"

#define FAKE_FILES 64u
#define FAKE_CONNECTIONS 16u
#define FAKE_RECORD_BYTES ((1u << 20) + 65536u)
#define FAKE_DATA_BYTES (4u << 20)
#define FAKE_PROGRAM_MOUNT 100005u
/* Numbers of procedures (RFC 1813). */
enum {
	FAKE_GETATTR = 1,
	FAKE_SETATTR,
	FAKE_LOOKUP,
	FAKE_ACCESS,
	FAKE_READLINK,
	FAKE_READ,
	FAKE_WRITE,
	FAKE_CREATE,
	FAKE_MKDIR,
	FAKE_SYMLINK,
	FAKE_MKNOD,
	FAKE_REMOVE,
	FAKE_RMDIR,
	FAKE_RENAME,
	FAKE_LINK,
	FAKE_READDIR,
	FAKE_READDIRPLUS,
	FAKE_FSSTAT,
	FAKE_FSINFO,
	FAKE_PATHCONF,
	FAKE_COMMIT,
	FAKE_MNT, /* not a number of the protocol's */
	FAKE_PROCS,
};

struct fake_file {
	uint32_t type; /* 0: there is none; 1 file, 2 directory, 5 symbolic link */
	unsigned dir;
	char name[256];
	uint32_t mode;
	uint64_t size, durable_size, version;
	uint32_t set_time_s[2], set_time_ns[2]; /* of access, of modification */
	uint8_t *data, *durable;
};

struct fake {
	int listener, wake[2];
	uint16_t port;
	struct sync_thread thread;
	struct sync_mutex lock; /* everything below, except in the thread's own hands */
	struct fake_file files[FAKE_FILES]; /* [0] is the root */
	uint64_t verifier, clock;
	unsigned calls[FAKE_PROCS];
	bool stop;
	bool stall; /* calls are read, and not answered */
	unsigned drop_before, drop_after; /* this procedure's next call: lose the connection instead, or its answer */
	bool forget_at_commit; /* once: what is not durable is lost, and the verifier new */
	uint32_t io_max; /* of READ and WRITE: no more than that is done in one call; 0: no limit */
	bool new_verifiers; /* each WRITE has one of its own */
	unsigned later; /* so many calls are answered "try again later" */
	bool no_owners; /* nobody may give a file to somebody */
	bool endless; /* directories begin again at their end */
	/* Of an answer: the whole record, which it may change. */
	void (*mangle)(void *ctx, unsigned proc, uint8_t *record, size_t *len);
	void *mangle_ctx;
	int connections[FAKE_CONNECTIONS];
	uint8_t in[FAKE_RECORD_BYTES], out[FAKE_RECORD_BYTES];
};

static inline struct fake_file *fake_add(struct fake *s, uint32_t type, unsigned dir, const char *name)
{
	for (unsigned i = 1; i < FAKE_FILES; i++) {
		struct fake_file *f = &s->files[i];

		if (f->type)
			continue;
		*f = (struct fake_file){ .type = type, .dir = dir, .mode = 0755, .version = ++s->clock };
		f->data = calloc(2, FAKE_DATA_BYTES);
		f->durable = f->data + FAKE_DATA_BYTES;
		(void)snprintf(f->name, sizeof(f->name), "%s", name);
		return f;
	}
	return NULL;
}

static inline struct fake_file *fake_find(struct fake *s, unsigned dir, const char *name)
{
	for (unsigned i = 1; i < FAKE_FILES; i++) {
		if (s->files[i].type && s->files[i].dir == dir && strcmp(s->files[i].name, name) == 0)
			return &s->files[i];
	}
	return NULL;
}

/* As another client would. */
static inline void fake_fill(struct fake *s, struct fake_file *f, uint8_t byte, uint64_t size)
{
	memset(f->data, byte, size);
	memcpy(f->durable, f->data, size);
	f->size = f->durable_size = size;
	f->version = ++s->clock;
}

static inline void fake_forget(struct fake *s)
{
	for (unsigned i = 0; i < FAKE_FILES; i++) {
		struct fake_file *f = &s->files[i];

		if (f->type == 1) {
			memcpy(f->data, f->durable, FAKE_DATA_BYTES);
			f->size = f->durable_size;
		}
	}
	s->verifier++;
}

static inline void fake_remove(struct fake_file *f)
{
	free(f->data);
	*f = (struct fake_file){ .type = 0 };
}

static inline unsigned fake_index(const struct fake *s, const struct fake_file *f)
{
	return (unsigned)(f - s->files);
}

static inline void fake_put_string(struct wr *w, const char *text)
{
	size_t len = strlen(text);

	wr_be32(w, (uint32_t)len);
	wr_copy(w, text, len);
	wr_zero(w, (4 - len % 4) % 4);
}

static inline void fake_put_handle(const struct fake *s, struct wr *w, const struct fake_file *f)
{
	wr_be32(w, 8);
	wr_be32(w, fake_index(s, f));
	wr_be32(w, 0x46414b45);
}

static inline void fake_put_attr(const struct fake *s, struct wr *w, const struct fake_file *f)
{
	wr_be32(w, f->type);
	wr_be32(w, f->mode);
	wr_be32(w, 1);
	wr_be64(w, 0); /* owner and group */
	wr_be64(w, f->size);
	wr_be64(w, f->size);
	wr_be64(w, 0);
	wr_be64(w, 7); /* file system */
	wr_be64(w, fake_index(s, f) + 100);
	for (unsigned i = 0; i < 3; i++) {
		wr_be32(w, (uint32_t)(1000000 + f->version));
		wr_be32(w, 0);
	}
}

static inline void fake_put_some_attr(const struct fake *s, struct wr *w, const struct fake_file *f)
{
	wr_be32(w, 1);
	fake_put_attr(s, w, f);
}

static inline void fake_put_wcc(const struct fake *s, struct wr *w, const struct fake_file *f)
{
	wr_be32(w, 0);
	fake_put_some_attr(s, w, f);
}

static inline struct fake_file *fake_get_handle(struct fake *s, struct rd *r)
{
	uint32_t len = rd_be32(r), i = rd_be32(r);

	(void)rd_be32(r);
	return len == 8 && i < FAKE_FILES && s->files[i].type ? &s->files[i] : NULL;
}

static inline void fake_get_string(struct rd *r, char ret[256])
{
	uint32_t len = rd_be32(r);
	const uint8_t *p = rd_bytes(r, ((size_t)len + 3) & ~(size_t)3);

	ret[0] = 0;
	if (p && len < 256) {
		memcpy(ret, p, len);
		ret[len] = 0;
	}
}

/* false: that is not allowed. */
static inline bool fake_get_sattr(struct fake *s, struct rd *r, struct fake_file *f)
{
	bool owner = false;

	if (rd_be32(r))
		f->mode = rd_be32(r);
	for (unsigned i = 0; i < 2; i++) {
		if (rd_be32(r)) {
			(void)rd_be32(r);
			owner = true;
		}
	}
	if (rd_be32(r)) {
		uint64_t size = rd_be64(r);

		if (size > f->size)
			memset(f->data + f->size, 0, size - f->size);
		f->size = f->durable_size = size;
		memcpy(f->durable, f->data, FAKE_DATA_BYTES);
	}
	f->version = ++s->clock;
	return !owner || !s->no_owners;
}

static inline uint32_t fake_get_new(struct fake *s, unsigned proc, struct rd *r, struct wr *w)
{
	struct fake_file *d = fake_get_handle(s, r), *f;
	char name[256], target[256];

	fake_get_string(r, name);
	if (!d || fake_find(s, fake_index(s, d), name))
		return d ? 17 : 70;
	f = fake_add(s, proc == FAKE_CREATE ? 1 : proc == FAKE_MKDIR ? 2 : 5, fake_index(s, d), name);
	if (proc == FAKE_CREATE)
		(void)rd_be32(r); /* guarded */
	if (!fake_get_sattr(s, r, f)) {
		fake_remove(f);
		return 1;
	}
	if (proc == FAKE_SYMLINK) {
		(void)rd_bytes(r, 8); /* no times */
		fake_get_string(r, target);
		memcpy(f->data, target, strlen(target) + 1);
	}
	wr_be32(w, 0);
	wr_be32(w, 1);
	fake_put_handle(s, w, f);
	fake_put_some_attr(s, w, f);
	fake_put_wcc(s, w, d);
	return 0;
}

static inline uint32_t fake_do_rename(struct fake *s, struct rd *r, struct wr *w)
{
	char name[256], new_name[256];
	struct fake_file *d = fake_get_handle(s, r), *to, *f, *old;

	fake_get_string(r, name);
	to = fake_get_handle(s, r);
	fake_get_string(r, new_name);
	f = d ? fake_find(s, fake_index(s, d), name) : NULL;
	if (!f || !to)
		return 2;
	old = fake_find(s, fake_index(s, to), new_name);
	if (old && old != f)
		fake_remove(old);
	f->dir = fake_index(s, to);
	memcpy(f->name, new_name, sizeof(new_name));
	wr_be32(w, 0);
	fake_put_wcc(s, w, d);
	fake_put_wcc(s, w, to);
	return 0;
}

static inline uint32_t fake_do_list(struct fake *s, struct rd *r, struct wr *w)
{
	struct fake_file *d = fake_get_handle(s, r);
	uint64_t cookie = rd_be64(r);
	unsigned told = 0, i = (unsigned)cookie;

	if (!d || d->type != 2)
		return 20;
	wr_be32(w, 0);
	fake_put_some_attr(s, w, d);
	wr_be64(w, 5); /* verifier */
	/* A few at a time; the cookie is the file's index and one. */
	for (; i < FAKE_FILES && told < 3; i++) {
		const struct fake_file *f = &s->files[i];

		if (!i || !f->type || f->dir != fake_index(s, d))
			continue;
		wr_be32(w, 1);
		wr_be64(w, i + 100);
		fake_put_string(w, f->name);
		wr_be64(w, i + 1);
		fake_put_some_attr(s, w, f);
		wr_be32(w, 1);
		fake_put_handle(s, w, f);
		told++;
	}
	if (s->endless && i == FAKE_FILES) {
		wr_be32(w, 1);
		wr_be64(w, 199);
		fake_put_string(w, "again");
		wr_be64(w, 1);
		wr_be64(w, 0);
	}
	wr_be32(w, 0);
	wr_be32(w, i == FAKE_FILES && !s->endless);
	return 0;
}

static inline uint32_t fake_do_read(struct fake *s, struct rd *r, struct wr *w)
{
	struct fake_file *f = fake_get_handle(s, r);
	uint64_t offset = rd_be64(r), left;
	uint32_t count = rd_be32(r);

	if (!f)
		return 70;
	left = offset < f->size ? f->size - offset : 0;
	count = count < left ? count : (uint32_t)left;
	if (s->io_max && count > s->io_max)
		count = s->io_max;
	wr_be32(w, 0);
	fake_put_some_attr(s, w, f);
	wr_be32(w, count);
	wr_be32(w, offset + count >= f->size);
	wr_be32(w, count);
	wr_copy(w, f->data + offset, count);
	wr_zero(w, (4 - count % 4) % 4);
	return 0;
}

static inline uint32_t fake_do_write(struct fake *s, struct rd *r, struct wr *w)
{
	struct fake_file *f = fake_get_handle(s, r);
	uint64_t offset = rd_be64(r);
	uint32_t count = rd_be32(r), stable = rd_be32(r);

	(void)rd_be32(r);
	if (!f)
		return 70;
	if (offset > FAKE_DATA_BYTES || count > FAKE_DATA_BYTES - offset)
		return 28;
	if (s->io_max && count > s->io_max)
		count = s->io_max;
	if (s->new_verifiers)
		s->verifier++;
	rd_copy(r, f->data + offset, count);
	if (offset + count > f->size)
		f->size = offset + count;
	if (stable) {
		memcpy(f->durable, f->data, FAKE_DATA_BYTES);
		f->durable_size = f->size;
	}
	f->version = ++s->clock;
	wr_be32(w, 0);
	fake_put_wcc(s, w, f);
	wr_be32(w, count);
	wr_be32(w, stable);
	wr_be64(w, s->verifier);
	return 0;
}

static inline uint32_t fake_do_commit(struct fake *s, struct rd *r, struct wr *w)
{
	struct fake_file *f = fake_get_handle(s, r);

	if (!f)
		return 70;
	if (s->forget_at_commit) {
		s->forget_at_commit = false;
		fake_forget(s);
	}
	memcpy(f->durable, f->data, FAKE_DATA_BYTES);
	f->durable_size = f->size;
	wr_be32(w, 0);
	fake_put_wcc(s, w, f);
	wr_be64(w, s->verifier);
	return 0;
}

static inline uint32_t fake_do_lookup(struct fake *s, struct rd *r, struct wr *w)
{
	struct fake_file *d = fake_get_handle(s, r), *f;
	char name[256];

	fake_get_string(r, name);
	if (!d)
		return 70;
	f = strcmp(name, "..") == 0 ? &s->files[d->dir] : fake_find(s, fake_index(s, d), name);
	if (!f)
		return 2;
	wr_be32(w, 0);
	fake_put_handle(s, w, f);
	fake_put_some_attr(s, w, f);
	fake_put_some_attr(s, w, d);
	return 0;
}

static inline uint32_t fake_do_remove(struct fake *s, unsigned proc, struct rd *r, struct wr *w)
{
	struct fake_file *d = fake_get_handle(s, r), *f;
	char name[256];

	fake_get_string(r, name);
	f = d ? fake_find(s, fake_index(s, d), name) : NULL;
	if (!f)
		return 2;
	for (unsigned i = 1; proc == FAKE_RMDIR && i < FAKE_FILES; i++) {
		if (s->files[i].type && s->files[i].dir == fake_index(s, f))
			return 66;
	}
	fake_remove(f);
	wr_be32(w, 0);
	fake_put_wcc(s, w, d);
	return 0;
}

static inline uint32_t fake_do_about(struct fake *s, unsigned proc, struct rd *r, struct wr *w)
{
	struct fake_file *f = fake_get_handle(s, r);

	if (!f)
		return 70;
	wr_be32(w, 0);
	if (proc == FAKE_GETATTR) {
		fake_put_attr(s, w, f);
		return 0;
	}
	if (proc == FAKE_SETATTR) {
		(void)fake_get_sattr(s, r, f);
		for (unsigned i = 0; i < 2; i++) {
			if (rd_be32(r) != 2)
				continue;
			f->set_time_s[i] = rd_be32(r);
			f->set_time_ns[i] = rd_be32(r);
		}
		fake_put_wcc(s, w, f);
		return 0;
	}
	fake_put_some_attr(s, w, f);
	if (proc == FAKE_ACCESS)
		wr_be32(w, rd_be32(r));
	if (proc == FAKE_READLINK)
		fake_put_string(w, (const char *)f->data);
	for (unsigned i = 0; proc == FAKE_FSSTAT && i < 6; i++)
		wr_be64(w, 1000);
	if (proc == FAKE_FSSTAT)
		wr_be32(w, 0);
	for (unsigned i = 0; proc == FAKE_FSINFO && i < 7; i++)
		wr_be32(w, 65536);
	if (proc == FAKE_FSINFO) {
		wr_be64(w, UINT64_MAX);
		wr_be64(w, 0);
		wr_be32(w, 0x1b);
	}
	return 0;
}

static inline uint32_t fake_do(struct fake *s, unsigned proc, struct rd *r, struct wr *w)
{
	switch (proc) {
	case FAKE_MNT:
		wr_be32(w, 0);
		fake_put_handle(s, w, &s->files[0]);
		wr_be32(w, 1);
		wr_be32(w, 1);
		return 0;
	case FAKE_LOOKUP:
		return fake_do_lookup(s, r, w);
	case FAKE_READ:
		return fake_do_read(s, r, w);
	case FAKE_WRITE:
		return fake_do_write(s, r, w);
	case FAKE_COMMIT:
		return fake_do_commit(s, r, w);
	case FAKE_CREATE:
	case FAKE_MKDIR:
	case FAKE_SYMLINK:
		return fake_get_new(s, proc, r, w);
	case FAKE_REMOVE:
	case FAKE_RMDIR:
		return fake_do_remove(s, proc, r, w);
	case FAKE_RENAME:
		return fake_do_rename(s, r, w);
	case FAKE_READDIRPLUS:
		return fake_do_list(s, r, w);
	default:
		return fake_do_about(s, proc, r, w);
	}
}

#endif
