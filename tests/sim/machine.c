/* SPDX-License-Identifier: BSD-3-Clause */
/* Starting, stopping and crashing the production core on simulated disks. */
#include "tests/sim/machine.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/budget.h"
#include "core/base/err.h"
#include "core/fs/wfs3/check.h"
#include "tests/sim/alloc.h"

static const char *const names[MACHINE_DISKS] = { "sim0", "sim1", "sim2", "sim3" };

static struct disk_config disk_config(struct machine *m, unsigned i)
{
	return (struct disk_config){ .name = names[i],
		                     .size_bytes = m->config.disk_bytes,
		                     .seed = m->config.seed + i,
		                     .latency_ns_max = m->config.latency_ns_max,
		                     .hang_one_in = m->config.hang_one_in,
		                     .power = &m->power };
}

void machine_init(struct machine *m, const struct machine_config *config)
{
	*m = (struct machine){ .config = *config };
	for (unsigned i = 0; i < config->disk_count; i++) {
		struct disk_config c = disk_config(m, i);

		if (disk_new(&c, &m->disks[i]))
			abort();
	}
}

void machine_clone(struct machine *m, const struct machine *from, uint64_t seed)
{
	*m = (struct machine){ .config = from->config };
	m->config.seed = seed;
	for (unsigned i = 0; i < from->config.disk_count; i++) {
		struct disk_config c = disk_config(m, i);

		if (disk_copy(from->disks[i], &c, &m->disks[i]))
			abort();
	}
}

void machine_done(struct machine *m)
{
	machine_stop(m);
	for (unsigned i = 0; i < m->config.disk_count; i++)
		disk_free(m->disks[i]);
}

static int open_disk(void *ctx, const char *path, unsigned flags, struct blk_dev **ret)
{
	struct machine *m = ctx;

	(void)flags;
	for (unsigned i = 0; i < m->config.disk_count; i++) {
		if (strcmp(names[i], path) != 0)
			continue;
		if (m->opened[i])
			return err_set(-EBUSY, "%s is open", path);
		m->opened[i] = true;
		*ret = disk_dev(m->disks[i]);
		return 0;
	}
	return err_set(-ENOENT, "no device %s", path);
}

static void close_disk(void *ctx, struct blk_dev *dev)
{
	struct machine *m = ctx;

	for (unsigned i = 0; i < m->config.disk_count; i++)
		if (disk_dev(m->disks[i]) == dev)
			m->opened[i] = false;
}

int machine_start(struct machine *m)
{
	struct cache_config cache = { .min_bytes = MIB,
		                      .dirty_max_bytes = m->config.cache_bytes / 2,
		                      .dirty_background_bytes = m->config.cache_bytes / 4,
		                      .writeback_age_ms = m->config.writeback_age_ms,
		                      .writeback_threads = 1,
		                      .readahead_max_bytes = 256 << 10 };
	struct wfs3_config config = { .txg_age_ms = m->config.txg_age_ms,
		                      .open = open_disk,
		                      .close = close_disk,
		                      .open_ctx = m,
		                      .node_cache_min_bytes = MIB };
	int ret = -ENOMEM;

	m->running = true;
	m->budget = budget_new(m->config.cache_bytes);
	cache.budget = m->budget;
	if (m->budget)
		ret = cache_new(&cache, &m->cache);
	m->vfs = ret ? NULL : vfs_new();
	config.vfs = m->vfs;
	config.cache = m->cache;
	config.budget = m->budget;
	if (m->vfs)
		ret = wfs3_new(&config, &m->w);
	else
		ret = -ENOMEM;
	if (ret)
		machine_stop(m);
	else
		m->admin = wfs3_pool_admin(m->w);
	return ret;
}

void machine_stop(struct machine *m)
{
	if (!m->running)
		return;
	wfs3_free(m->w);
	if (m->vfs)
		vfs_free(m->vfs);
	if (m->cache)
		cache_free(m->cache);
	if (m->budget)
		budget_free(m->budget);
	m->w = NULL;
	m->vfs = NULL;
	m->cache = NULL;
	m->budget = NULL;
	m->running = false;
}

void machine_power_on(struct machine *m, enum disk_keep keep)
{
	for (unsigned i = 0; i < m->config.disk_count; i++) {
		disk_unplug(m->disks[i], false);
		disk_settle(m->disks[i], keep);
	}
	m->power.off = false;
	m->power.cut_at_write = m->power.writes = 0;
	m->power.fail_at_request = m->power.requests = 0;
}

int machine_create_pool(struct machine *m)
{
	static const unsigned one_group[MACHINE_DISKS];
	struct pool_create_args args = { .name = POOL_NAME,
		                         .devices = names,
		                         .device_count = m->config.disk_count - m->config.spare_count,
		                         .groups = m->config.mirror ? one_group : NULL };

	return m->admin.driver->pool_create(m->admin.ctx, &args);
}

int machine_import(struct machine *m, bool read_only)
{
	char *name = NULL;
	int ret = m->admin.driver->pool_import(m->admin.ctx, names, m->config.disk_count, read_only, &name);

	free(name);
	return ret;
}

int machine_export(struct machine *m)
{
	return m->admin.driver->pool_export(m->admin.ctx, POOL_NAME, false);
}

/* What comes of devices and crashes, and not of the core. */
static bool is_explained(const struct machine *m, const struct pool_finding *f)
{
	/* Another thread's flush failed while a root was written, and took one of its copies along. */
	return f->kind == POOL_FINDING_ROOT && m->power.lost;
}

int machine_check(struct machine *m, bool print)
{
	struct check_config config = { .with_data = true, .findings_max = 16 };
	struct pool_check_report *report = exempt_alloc(sizeof(*report));
	struct blk_dev *devs[MACHINE_DISKS];
	int ret;

	for (unsigned i = 0; i < m->config.disk_count; i++)
		devs[i] = disk_dev(m->disks[i]);
	ret = check_devices(devs, m->config.disk_count - m->config.spare_count, &config, report);
	for (unsigned i = 0; i < report->finding_count; i++) {
		const struct pool_finding *f = &report->findings[i];

		if (!f->is_note && is_explained(m, f))
			report->damage_count--;
		else if (!f->is_note && print)
			fprintf(stderr, "check: %s: %s\n", pool_finding_name(f->kind), f->text);
	}
	if (ret && print)
		fprintf(stderr, "check: could not be finished: %s\n", report->error);
	if (!ret)
		ret = report->damage_count > 1000 ? 1000 : (int)report->damage_count;
	pool_check_report_done(report);
	free(report);
	return ret;
}
