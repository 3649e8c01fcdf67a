/* SPDX-License-Identifier: BSD-3-Clause */
/* The model's bookkeeping and its comparison with a pool. */
#include "tests/sim/model.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/base/checksum.h"
#include "core/base/err.h"
#include "tests/sim/alloc.h"

static uint64_t hash_page(const uint8_t *data)
{
	return hash128(data, DISK_BLOCK_BYTES).lo;
}

void model_violation(const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "VIOLATION: ");
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, "\n");
	fflush(NULL);
	_exit(MODEL_VIOLATION);
}

bool model_may_fail(const struct model *mo)
{
	return mo->m->power.off || mo->m->power.failed || mo->damaged || alloc_failures();
}

void model_result(struct model *mo, const char *what, int result)
{
	char text[400];

	mo->ops++;
	if (!result)
		return;
	mo->errors++;
	if (!model_may_fail(mo))
		model_violation("%s failed without a reason: %s", what,
		                err_text(err_get(), result, 1, text, sizeof(text)));
}

void model_room_result(struct model *mo, const char *what, int result)
{
	if (result == -ENOSPC && mo->tight) {
		mo->ops++;
		mo->errors++;
	} else {
		model_result(mo, what, result);
	}
}

/* ---- pages ---- */

static void add_version(struct model_page *p, uint64_t hash)
{
	if (p->count == p->room) {
		p->room = p->room ? 2 * p->room : 8;
		p->hashes = exempt_realloc(p->hashes, p->room * sizeof(p->hashes[0]));
	}
	p->hashes[p->count++] = hash;
}

void model_page_begin(struct model_page *p, const uint8_t *data)
{
	memcpy(p->newest, data, DISK_BLOCK_BYTES);
	add_version(p, hash_page(data));
}

void model_page_done(struct model_page *p, bool durable)
{
	p->known = p->count - 1;
	if (durable)
		p->floor = p->known;
}

static void restart_history(struct model_page *p, const uint8_t *data)
{
	p->count = 0;
	model_page_begin(p, data);
	p->floor = p->known = 0;
}

void model_page_zero(struct model_page *p)
{
	static const uint8_t zeros[DISK_BLOCK_BYTES];

	restart_history(p, zeros);
}

/* The newest version that the data may be, or -1. */
static int find_version(const struct model_page *p, const uint8_t *data, unsigned lo)
{
	uint64_t hash = hash_page(data);

	for (unsigned i = p->count; i-- > lo;)
		if (p->hashes[i] == hash)
			return (int)i;
	return -1;
}

static _Noreturn void wrong_data(const struct model_volume *v, unsigned page, const uint8_t *data, unsigned lo)
{
	const struct model_page *p = &v->pages[page];
	int old = find_version(p, data, 0);
	unsigned zeros = 0;

	while (zeros < DISK_BLOCK_BYTES && !data[zeros])
		zeros++;
	model_violation("volume %s page %u: %s; expected version %u to %u of %u, found %d%s", v->is.name, page,
	                old >= 0 ? "what was acknowledged is lost" : "contents that nobody wrote", lo, p->count - 1,
	                p->count, old, zeros == DISK_BLOCK_BYTES ? " (zeros)" : "");
}

void model_check_read(const struct model_volume *v, unsigned page, const uint8_t *data, unsigned lo)
{
	if (find_version(&v->pages[page], data, lo) < 0)
		wrong_data(v, page, data, lo);
}

/* ---- life ---- */

struct model *model_new(struct machine *m)
{
	struct model *mo = exempt_alloc(sizeof(*mo));

	mo->m = m;
	for (unsigned i = 0; i < MODEL_VOLUMES; i++) {
		struct model_volume *v = &mo->volumes[i];

		sync_rwlock_init(&v->lock, SYNC_RANK_SERVER, "model volume");
		snprintf(v->is.name, sizeof(v->is.name), "v%u", i);
		for (unsigned p = 0; p < MODEL_PAGES_MAX; p++)
			model_page_zero(&v->pages[p]);
	}
	return mo;
}

void model_free(struct model *mo)
{
	for (unsigned i = 0; i < MODEL_VOLUMES; i++) {
		sync_rwlock_done(&mo->volumes[i].lock);
		for (unsigned p = 0; p < MODEL_PAGES_MAX; p++)
			free(mo->volumes[i].pages[p].hashes);
	}
	free(mo);
}

struct model *model_clone(const struct model *from, struct machine *m)
{
	struct model *mo = exempt_alloc(sizeof(*mo));

	*mo = *from;
	mo->m = m;
	for (unsigned i = 0; i < MODEL_VOLUMES; i++) {
		struct model_volume *v = &mo->volumes[i];

		sync_rwlock_init(&v->lock, SYNC_RANK_SERVER, "model volume");
		for (unsigned p = 0; p < MODEL_PAGES_MAX; p++) {
			struct model_page *pg = &v->pages[p];

			pg->hashes = exempt_alloc(pg->room * sizeof(pg->hashes[0]));
			memcpy(pg->hashes, from->volumes[i].pages[p].hashes, pg->count * sizeof(pg->hashes[0]));
		}
	}
	return mo;
}

void model_all_durable(struct model *mo)
{
	for (unsigned i = 0; i < MODEL_VOLUMES; i++)
		for (unsigned p = 0; p < MODEL_PAGES_MAX; p++)
			mo->volumes[i].pages[p].floor = mo->volumes[i].pages[p].known;
}

/* ---- comparison ---- */

struct listing {
	struct model *mo;
	bool seen[MODEL_VOLUMES];
};

static bool fits(const struct model_shape *s, const struct volume_info *info)
{
	return s->exists && !strcmp(s->name, info->name) &&
	       info->size_bytes == (uint64_t)s->page_count * DISK_BLOCK_BYTES;
}

static void see_volume(void *ctx, const struct volume_info *info)
{
	struct listing *l = ctx;

	for (unsigned i = 0; i < MODEL_VOLUMES; i++) {
		struct model_volume *v = &l->mo->volumes[i];
		bool is = fits(&v->is, info), may_be = v->uncertain && fits(&v->may_be, info);

		if (l->seen[i] || (!is && !may_be))
			continue;
		l->seen[i] = true;
		if (!is)
			v->is = v->may_be;
		v->uncertain = false;
		return;
	}
	if (!strcmp(info->name, MODEL_FILLER) || l->mo->stepped_back)
		return;
	model_violation("volume %s of %llu bytes should not be there", info->name,
	                (unsigned long long)info->size_bytes);
}

static void settle_absent(const struct model *mo, struct model_volume *v)
{
	if (v->is.exists && !mo->stepped_back && !(v->uncertain && !v->may_be.exists))
		model_violation("volume %s of %u pages is gone", v->is.name, v->is.page_count);
	v->is.exists = false;
	v->uncertain = false;
	for (unsigned p = 0; p < MODEL_PAGES_MAX; p++)
		model_page_zero(&v->pages[p]);
}

static void verify_page(struct model *mo, struct model_volume *v, struct vfs_handle *h, unsigned page)
{
	static const uint8_t zeros[DISK_BLOCK_BYTES];
	struct model_page *p = &v->pages[page];
	uint8_t *buf = exempt_alloc(DISK_BLOCK_BYTES);
	struct iovec iov = { buf, DISK_BLOCK_BYTES };
	int ret = 0;

	if (page < v->is.page_count) {
		ret = vfs_read(h, &iov, 1, (uint64_t)page * DISK_BLOCK_BYTES, 0);
		model_result(mo, "reading", ret);
	}
	if (!ret && page < v->is.page_count) {
		unsigned lo = mo->stepped_back ? 0 : p->floor;

		if (find_version(p, buf, lo) < 0)
			wrong_data(v, page, buf, lo);
		mo->reads_checked++;
		restart_history(p, buf);
	} else if (!ret) {
		restart_history(p, zeros);
	}
	free(buf);
}

static void verify_volume(struct model *mo, struct model_volume *v)
{
	struct vfs_handle *h;
	char path[64];
	int ret;

	snprintf(path, sizeof(path), "/" POOL_NAME "/%s", v->is.name);
	ret = vfs_open(mo->m->vfs, path, false, &h);
	model_result(mo, "opening", ret);
	if (ret)
		return;
	for (unsigned p = 0; p < MODEL_PAGES_MAX; p++)
		verify_page(mo, v, h, p);
	vfs_close(h);
}

void model_verify(struct model *mo)
{
	struct listing l = { .mo = mo };
	int ret = mo->m->admin.driver->volume_each(mo->m->admin.ctx, POOL_NAME, see_volume, &l);

	model_result(mo, "listing volumes", ret);
	if (ret)
		return;
	for (unsigned i = 0; i < MODEL_VOLUMES; i++) {
		struct model_volume *v = &mo->volumes[i];

		if (!l.seen[i])
			settle_absent(mo, v);
		else
			verify_volume(mo, v);
	}
}
