/* SPDX-License-Identifier: BSD-3-Clause */
/* A check from its beginning to its end, and how its parts tell what they find. */
#include "core/fs/wfs3/check.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/err.h"
#include "core/fs/wfs3/check_priv.h"

#define AGAIN_TRIES 8u
#define AGAIN_AFTER_NS (20 * SYNC_NS_PER_MS)

static struct pool_finding *room(struct check *c)
{
	struct pool_check_report *r = c->report;

	if (r->finding_count == c->findings_max)
		return &c->spare;
	if (!(r->finding_count & (r->finding_count - 1))) {
		size_t capacity = r->finding_count ? 2 * (size_t)r->finding_count : 1;
		struct pool_finding *p = realloc(r->findings, capacity * sizeof(*p));

		if (!p)
			return &c->spare;
		r->findings = p;
	}
	return &r->findings[r->finding_count++];
}

static struct pool_finding *add(struct check *c, enum pool_finding_kind kind, bool is_note, const char *fmt,
                                va_list args)
{
	struct pool_finding *f = room(c);

	*f = (struct pool_finding){ .kind = kind, .is_note = is_note };
	vsnprintf(f->text, sizeof(f->text), fmt, args);
	c->report->kind_counts[kind]++;
	if (is_note)
		c->report->note_count++;
	else
		c->report->damage_count++;
	return f;
}

struct pool_finding *check_damage(struct check *c, enum pool_finding_kind kind, const char *fmt, ...)
{
	struct pool_finding *f;
	va_list args;

	va_start(args, fmt);
	f = add(c, kind, false, fmt, args);
	va_end(args);
	return f;
}

struct pool_finding *check_note(struct check *c, enum pool_finding_kind kind, const char *fmt, ...)
{
	struct pool_finding *f;
	va_list args;

	va_start(args, fmt);
	f = add(c, kind, true, fmt, args);
	va_end(args);
	return f;
}

const char *check_why(int code, char buf[CHECK_WHY_BYTES])
{
	const char *damaged = strerror(EUCLEAN);
	size_t len, end;

	err_text(err_get(), code, 0, buf, CHECK_WHY_BYTES);
	/* That it is damaged is what every finding says. */
	len = strlen(buf);
	end = strlen(damaged) + 2;
	if (len > end && !strcmp(buf + len - end + 2, damaged))
		buf[len - end] = '\0';
	return buf;
}

void check_at_device(struct pool_finding *f, unsigned device, uint64_t offset)
{
	f->has_place = true;
	f->device = device;
	f->device_offset = offset;
}

static bool find_place(struct check *c, uint64_t addr, uint32_t block_count, unsigned *ret_group, uint64_t *ret_offset)
{
	struct space_place p;

	return c->locator && space_place_find(c->locator, addr, block_count, &p) &&
	       (!c->placed || c->placed[p.region]) &&
	       !space_locate(c->locator, addr, block_count, ret_group, ret_offset);
}

void check_at_copy(struct check *c, struct pool_finding *f, uint64_t addr, uint64_t block_count, unsigned copy)
{
	unsigned group;
	uint64_t offset;

	f->address = addr;
	f->block_count = block_count;
	if (find_place(c, addr, 1, &group, &offset) && copy < c->groups[group].copy_count)
		check_at_device(f, c->groups[group].copies[copy], offset);
}

void check_at_address(struct check *c, struct pool_finding *f, uint64_t addr, uint64_t block_count)
{
	check_at_copy(c, f, addr, block_count, 0);
}

int check_locate(struct check *c, uint64_t addr, uint32_t block_count, unsigned copy, struct blk_dev **ret_dev,
                 uint64_t *ret_offset)
{
	unsigned group;

	if (!find_place(c, addr, block_count, &group, ret_offset))
		return -EUCLEAN;
	if (copy >= c->groups[group].copy_count)
		return -ENOENT;
	*ret_dev = check_copy(c, group, copy);
	return 0;
}

void check_in_dataset(struct pool_finding *f, const struct check_dataset *ds)
{
	f->has_dataset = true;
	f->dataset = ds->id;
	snprintf(f->name, sizeof(f->name), "%s", ds->name);
}

void check_in_object(struct pool_finding *f, const struct check_dataset *ds, uint64_t object, uint64_t offset)
{
	check_in_dataset(f, ds);
	f->has_offset = true;
	f->object = object;
	f->offset = offset;
}

int check_step(struct check *c, uint64_t read_bytes)
{
	return c->config->step ? c->config->step(c->config->ctx, c->report, read_bytes) : 0;
}

bool check_again(const struct check *c, unsigned *tries)
{
	if (!c->live || ++*tries > AGAIN_TRIES)
		return false;
	sync_sleep_ns(AGAIN_AFTER_NS);
	return true;
}

int check_new(const struct check_config *config, struct pool_check_report *report, struct check **ret)
{
	struct check *c = calloc(1, sizeof(*c));

	*report = (struct pool_check_report){ .state = POOL_CHECK_RUNNING,
		                              .with_data = config->with_data,
		                              .started_ns = sync_wall_ns() };
	if (!c)
		return err_set(-ENOMEM, "no memory for a check");
	c->config = config;
	c->report = report;
	c->findings_max = config->findings_max ? config->findings_max : POOL_FINDINGS_KEPT;
	*ret = c;
	return 0;
}

void check_free(struct check *c)
{
	if (!c)
		return;
	check_data_free(c);
	for (unsigned i = 0; i < sizeof(c->level_pages) / sizeof(c->level_pages[0]); i++)
		free(c->level_pages[i]);
	space_free(c->owned_locator);
	space_free(c->owned_disk);
	free(c->owned_placed);
	free(c->live_ids);
	free(c->copy_pages);
	free(c->seen);
	free(c);
}

void check_count_copies(struct check *c)
{
	for (unsigned g = 0; g < c->group_count; g++)
		if (c->groups[g].copy_count > c->copies_max)
			c->copies_max = c->groups[g].copy_count;
}

int check_all(struct check *c)
{
	static int (*const parts[])(struct check *) = {
		check_label_copies, check_roots, check_space, check_datasets, check_usage, check_log,
	};
	int rc = 0;

	snprintf(c->report->pool, sizeof(c->report->pool), "%s", c->label.pool_name);
	for (unsigned i = 0; i < c->member_count && !rc && !c->live; i++) {
		const struct check_member *m = &c->members[i];

		c->report->devices[i] = strdup(m->dev ? blk_name(m->dev) : "");
		c->report->device_count = i + 1;
		if (!c->report->devices[i])
			rc = err_set(-ENOMEM, "no memory for a check");
	}
	check_count_copies(c);
	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]) && !rc; i++)
		rc = parts[i](c);
	return rc;
}

int check_finish(struct pool_check_report *r, int rc)
{
	r->ended_ns = sync_wall_ns();
	r->state = POOL_CHECK_DONE;
	if (rc < 0) {
		r->state = rc == -ECANCELED ? POOL_CHECK_STOPPED : POOL_CHECK_FAILED;
		err_text(err_get(), rc, 0, r->error, sizeof(r->error));
	}
	return rc;
}

int check_devices(struct blk_dev *const devs[], unsigned device_count, const struct check_config *config,
                  struct pool_check_report *ret)
{
	struct check *c = NULL;
	int rc = check_new(config, ret, &c);

	if (!rc)
		rc = check_labels(c, devs, device_count);
	if (!rc && c->group_count)
		rc = check_all(c);
	check_free(c);
	return check_finish(ret, rc);
}

int check_paths(const char *const paths[], unsigned count, const struct check_config *config,
                struct pool_check_report *ret)
{
	struct blk_dev *devs[WFS3_DEVICES_MAX] = { 0 };
	int rc = 0;

	*ret = (struct pool_check_report){ .started_ns = sync_wall_ns() };
	if (!count || count > WFS3_DEVICES_MAX)
		rc = err_set(-EINVAL, "a pool has 1 to %u devices, not %u", WFS3_DEVICES_MAX, count);
	for (unsigned i = 0; i < count && !rc; i++)
		rc = blk_open(paths[i], BLK_OPEN_READ_ONLY, &devs[i]);
	rc = rc ? check_finish(ret, rc) : check_devices(devs, count, config, ret);
	for (unsigned i = 0; i < WFS3_DEVICES_MAX; i++)
		blk_close(devs[i]);
	blk_thread_done();
	return rc;
}
