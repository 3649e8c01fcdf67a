/* SPDX-License-Identifier: BSD-3-Clause */
/* What tests of checks share: a pool to be damaged, and what a check should say about it. */
#ifndef WFSD_TESTS_UNIT_CORE_FS_WFS3_CHECK_FIXTURE_H
#define WFSD_TESTS_UNIT_CORE_FS_WFS3_CHECK_FIXTURE_H

#include "core/fs/wfs3/check.h"
#include "tests/unit/core/fs/wfs3/forge.h"

#define VOL (64 * MIB)

static inline void print_findings(const struct pool_check_report *r)
{
	for (unsigned i = 0; i < r->finding_count; i++)
		print_error("  %s%s: %s (dataset %llu object %llu offset %llu, device %u offset %llu)\n",
		            pool_finding_name(r->findings[i].kind), r->findings[i].is_note ? " (note)" : "",
		            r->findings[i].text, (unsigned long long)r->findings[i].dataset,
		            (unsigned long long)r->findings[i].object, (unsigned long long)r->findings[i].offset,
		            r->findings[i].device, (unsigned long long)r->findings[i].device_offset);
}

static inline struct pool_check_report check(struct fixture *f, unsigned device_count, bool with_data)
{
	struct check_config config = { .with_data = with_data };
	struct pool_check_report r;

	assert_ok(check_devices(f->devs, device_count, &config, &r));
	assert_int_equal(r.state, POOL_CHECK_DONE);
	return r;
}

static inline void expect_clean(struct fixture *f, unsigned device_count)
{
	struct pool_check_report r = check(f, device_count, true);

	print_findings(&r);
	assert_int_equal(r.damage_count, 0);
	assert_int_equal(r.note_count, 0);
	assert_int_equal(r.done_blocks, r.total_blocks);
	assert_int_equal(r.read_block_count, r.data_block_count);
	assert_false(r.partial);
	pool_check_report_done(&r);
}

/* Exactly one finding, of this kind. The caller frees it. */
static inline struct pool_check_report expect_one(struct fixture *f, enum pool_finding_kind kind, bool is_note)
{
	struct pool_check_report r = check(f, 1, true);

	if (r.damage_count + r.note_count != 1 || r.findings[0].kind != kind || r.findings[0].is_note != is_note)
		print_findings(&r);
	assert_int_equal(r.damage_count, !is_note);
	assert_int_equal(r.note_count, is_note);
	assert_int_equal(r.findings[0].kind, kind);
	assert_int_equal(r.findings[0].is_note, is_note);
	return r;
}

static inline void expect_damage(struct fixture *f, enum pool_finding_kind kind)
{
	struct pool_check_report r = expect_one(f, kind, false);

	pool_check_report_done(&r);
}

static inline void put(struct fixture *f, const char *path, uint64_t offset, size_t len, uint64_t seed)
{
	uint8_t *buf = malloc(len);
	struct vfs_handle *h = NULL;

	pattern(buf, len, seed);
	assert_ok(vfs_open(f->vfs, path, true, &h));
	assert_ok(write_at(h, offset, buf, len, 0));
	assert_ok(vfs_flush(h, 0));
	vfs_close(h);
	free(buf);
}

/* A closed pool on one device with a volume of some data: three cells, then single blocks far apart. */
static inline void make_pool(struct fixture *f)
{
	fixture_init(f, 1, 128 * MIB);
	assert_ok(pool_create(f, "tank", 1));
	assert_ok(volume_create(f, "vm1", VOL));
	put(f, "/tank/vm1", 0, 192 << 10, 1);
	for (unsigned i = 0; i < 20; i++)
		put(f, "/tank/vm1", (i + 2) * MIB, 4096, 10 + i);
	assert_ok(pool_export(f, "tank", false));
}

static inline void flip(struct fixture *f, uint64_t offset)
{
	uint8_t byte;

	blk_sim_peek(f->devs[0], offset, &byte, 1);
	byte ^= 0x10;
	blk_sim_poke(f->devs[0], offset, &byte, 1);
}

#endif
