/* SPDX-License-Identifier: BSD-3-Clause */
/* Reading data blocks and verifying their checksums: many at a time, in the order of their addresses. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "core/base/err.h"
#include "core/fs/wfs3/check_priv.h"

/* 2 MiB of references for 256 MiB of data; reads of up to 512 KiB, eight at a time. */
#define REFS_MAX 65536u
#define READ_BLOCKS 128u
#define READS 8u

struct ref {
	uint64_t addr;
	uint64_t object, offset;
	uint32_t crc;
};

struct check_data {
	uint32_t count;
	struct ref refs[REFS_MAX];
	uint8_t *pages; /* READS * READ_BLOCKS */
};

int check_data_new(struct check *c)
{
	c->data = malloc(sizeof(*c->data));
	if (!c->data)
		return err_set(-ENOMEM, "no memory to read data");
	c->data->count = 0;
	c->data->pages = aligned_alloc(WFS3_BLOCK_BYTES, READS * READ_BLOCKS * WFS3_BLOCK_BYTES);
	return c->data->pages ? 0 : err_set(-ENOMEM, "no memory to read data");
}

void check_data_free(struct check *c)
{
	if (!c->data)
		return;
	free(c->data->pages);
	free(c->data);
	c->data = NULL;
}

static int compare_refs(const void *a, const void *b)
{
	const struct ref *x = a, *y = b;

	return x->addr < y->addr ? -1 : x->addr > y->addr;
}

static bool is_good(void *ctx, const void *buf)
{
	return crc32c(buf, WFS3_BLOCK_BYTES) == *(const uint32_t *)ctx;
}

static void bad_data(struct check *c, const struct check_dataset *ds, const struct ref *r, unsigned copy,
                     enum pool_finding_kind kind, const char *why)
{
	struct pool_finding *f = check_damage(c, kind, "%s", why);
	uint32_t crc = r->crc;

	check_in_object(f, ds, r->object, r->offset);
	check_at_copy(c, f, r->addr, 1, copy);
	f->repaired = check_repair(c, r->addr, 1, is_good, &crc);
}

/* The refs that @rd covers begin with @r. */
static void verify(struct check *c, const struct check_dataset *ds, const struct ref *r, unsigned copy,
                   const struct check_read *rd)
{
	for (uint32_t i = 0; i < rd->block_count; i++) {
		struct check_read single = { .addr = r[i].addr,
			                     .block_count = 1,
			                     .buf = rd->buf + (size_t)i * WFS3_BLOCK_BYTES };

		/* A long read failed: each block on its own. */
		if (rd->result)
			check_read(c, copy, &single, 1);
		if (single.result && single.result != -ENOENT)
			bad_data(c, ds, &r[i], copy, POOL_FINDING_DATA_READ, "it cannot be read");
		else if (!single.result && crc32c(single.buf, WFS3_BLOCK_BYTES) != r[i].crc)
			bad_data(c, ds, &r[i], copy, POOL_FINDING_DATA_CRC, "its checksum is wrong");
	}
}

/* Up to READS reads from ref @first on. Returns the refs that were read. */
static uint32_t read_some(struct check *c, const struct check_dataset *ds, unsigned copy, uint32_t first)
{
	struct check_data *d = c->data;
	struct check_read reads[READS];
	uint32_t at = first;
	unsigned n = 0;

	for (; n < READS && at < d->count; n++) {
		uint32_t count = 1;

		while (at + count < d->count && count < READ_BLOCKS &&
		       d->refs[at + count].addr == d->refs[at].addr + count &&
		       d->refs[at + count].addr % c->locator->region_blocks)
			count++;
		reads[n] = (struct check_read){ .addr = d->refs[at].addr,
			                        .block_count = count,
			                        .buf = d->pages + (size_t)n * READ_BLOCKS * WFS3_BLOCK_BYTES };
		at += count;
	}
	check_read(c, copy, reads, n);
	at = first;
	for (unsigned i = 0; i < n; i++) {
		if (reads[i].result != -ENOENT)
			verify(c, ds, &d->refs[at], copy, &reads[i]);
		at += reads[i].block_count;
	}
	return at - first;
}

int check_data_finish(struct check *c, const struct check_dataset *ds)
{
	struct check_data *d = c->data;
	int rc = 0;

	qsort(d->refs, d->count, sizeof(*d->refs), compare_refs);
	for (unsigned copy = 0; copy < c->copies_max; copy++)
		for (uint32_t at = 0; at < d->count && !rc;) {
			uint32_t n = read_some(c, ds, copy, at);

			at += n;
			c->report->read_block_count += copy ? 0 : n;
			rc = check_step(c, (uint64_t)n * WFS3_BLOCK_BYTES);
		}
	d->count = 0;
	return rc;
}

int check_data_add(struct check *c, const struct check_dataset *ds, uint64_t object, uint64_t offset, uint64_t addr,
                   uint32_t crc)
{
	struct check_data *d = c->data;
	int rc = d->count == REFS_MAX ? check_data_finish(c, ds) : 0;

	d->refs[d->count++] = (struct ref){ .addr = addr, .object = object, .offset = offset, .crc = crc };
	return rc;
}
