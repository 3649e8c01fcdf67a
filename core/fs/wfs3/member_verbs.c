/* SPDX-License-Identifier: BSD-3-Clause */
/* Administrators' changes of a pool's devices: one more, one less, one that is back. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/bytes.h"
#include "core/base/checked.h"
#include "core/base/err.h"
#include "core/base/log.h"
#include "core/fs/wfs3/members.h"
#include "core/fs/wfs3/pool.h"

/* By path, uuid, or (in words) its number. */
static int find_device(const struct members *m, const char *device, unsigned *ret) SYNC_REQUIRES(m->lock)
{
	for (unsigned i = 0; i < m->label.device_count; i++) {
		struct mirror_copy c = members_copy(m, i);
		char uuid[MEMBER_UUID_BYTES];

		members_uuid_text(m->label.devices[i].uuid, uuid);
		if ((c.dev && !strcmp(blk_name(c.dev), device)) || !strcmp(uuid, device)) {
			*ret = i;
			return 0;
		}
	}
	return err_set(-ENOENT, "pool %s has no device '%s'", m->pool->name, device);
}

static unsigned count_members(const struct members *m, unsigned group) SYNC_REQUIRES(m->lock)
{
	unsigned n = 0;

	for (unsigned i = 0; i < m->label.device_count; i++)
		n += m->label.devices[i].group == group;
	return n;
}

/* A copy of a group's mirror that no device has. MIRROR_COPIES_MAX: there is none. */
static unsigned free_copy(const struct members *m, unsigned group)
{
	struct mirror_copy c;
	unsigned i;

	for (i = 0; i < MIRROR_COPIES_MAX; i++) {
		mirror_get(m->pool->devices[group].dev, i, &c);
		if (c.state == MIRROR_EMPTY)
			break;
	}
	return i;
}

static int check_new_device(const struct pool *p, unsigned group, struct blk_dev *dev, bool force)
{
	const struct label *l = &p->devices[group].label;
	char what[64];
	int rc;

	if (blk_caps(dev)->read_only)
		return err_set(-EROFS, "device %s is read-only", blk_name(dev));
	if (blk_caps(dev)->size_bytes < l->layout.device_bytes)
		return err_set(-ENOSPC, "device %s has %llu bytes, %llu are needed", blk_name(dev),
		               (unsigned long long)blk_caps(dev)->size_bytes,
		               (unsigned long long)l->layout.device_bytes);
	rc = force ? 0 : label_probe_other(dev, what);
	if (rc > 0)
		return err_set(-EEXIST, "device %s holds %s; --force overwrites it", blk_name(dev), what);
	return rc;
}

/* Nothing that it held before may be taken for a root. */
static int prepare(const struct pool *p, unsigned group, struct blk_dev *dev, bool force)
{
	int rc = check_new_device(p, group, dev, force);

	return rc ? rc : label_format(dev, &p->devices[group].label);
}

static void remove_entry(struct members *m, unsigned index) SYNC_REQUIRES(m->lock)
{
	unsigned last = --m->label.device_count;

	for (unsigned i = index; i < last; i++) {
		m->label.devices[i] = m->label.devices[i + 1];
		m->copy[i] = m->copy[i + 1];
	}
	m->label.devices[last] = (struct label_device){ 0 };
}

static int add_entry(struct members *m, unsigned beside, struct blk_dev *dev) SYNC_REQUIRES(m->lock)
{
	struct label_device *old = &m->label.devices[beside];
	unsigned index = m->label.device_count, group = old->group, copy = free_copy(m, group);
	int rc;

	if (index == WFS3_DEVICES_MAX || copy == MIRROR_COPIES_MAX)
		return err_set(-E2BIG, "pool %s: a mirror has at most %u devices, a pool %u", m->pool->name,
		               MIRROR_COPIES_MAX, WFS3_DEVICES_MAX);
	m->label.devices[index] =
	        (struct label_device){ .device_bytes = old->device_bytes, .group = group, .state = LABEL_FILLING };
	rc = uuid_make(m->label.devices[index].uuid);
	if (rc)
		return rc;
	m->copy[index] = (uint8_t)copy;
	m->label.device_count++;
	mirror_put(m->pool->devices[group].dev, copy, dev, MIRROR_FILLING, 0);
	return 0;
}

/* A copy that left the table: no request uses its device any more. Not under the table's lock, which a request may be
 * waiting for. */
struct left_copy {
	struct blk_dev *mirror;
	unsigned copy;
	unsigned group;
};

static struct blk_dev *take_left(const struct left_copy *l)
{
	return l->mirror ? mirror_take(l->mirror, l->copy, false) : NULL;
}

/* Take a device out of the table and the labels. */
static int drop_entry(struct members *m, unsigned index, struct left_copy *ret) SYNC_REQUIRES(m->lock)
{
	unsigned group = m->label.devices[index].group;
	struct left_copy l = { m->pool->devices[group].dev, m->copy[index], group };
	int rc = mirror_set_away(l.mirror, l.copy);

	if (rc)
		return rc;
	remove_entry(m, index);
	*ret = l;
	return members_write_labels(m);
}

/* A device that gets all writes from now on is to be filled. */
static void put_to_work(struct pool *p, struct blk_dev *dev)
{
	int rc = members_start(p);

	if (rc)
		log_error("wfs3", "pool=%s: no thread to fill a device errno=%d", p->name, -rc);
	members_kick(p->members);
	if (p->w->config.metrics)
		(void)blk_register_metrics(dev, p->w->config.metrics);
}

/* To be recorded with the next labels. */
static void forget_replacement(struct members *m) SYNC_REQUIRES(m->lock)
{
	memset(m->label.replaced_uuid, 0, 16);
	memset(m->label.replacement_uuid, 0, 16);
}

int members_attach(struct pool *p, const char *device, struct blk_dev *dev, bool force, bool replace)
{
	struct members *m = p->members;
	struct left_copy left = { 0 };
	unsigned beside, index;
	int rc;

	sync_mutex_lock(&m->lock);
	rc = find_device(m, device, &beside);
	if (!rc && replace && !bytes_are_zero(m->label.replaced_uuid, 16))
		rc = err_set(-EBUSY, "pool %s: another device is being replaced", p->name);
	if (!rc)
		rc = prepare(p, m->label.devices[beside].group, dev, force);
	if (!rc)
		rc = add_entry(m, beside, dev);
	if (rc)
		goto out;
	index = m->label.device_count - 1;
	if (replace) {
		memcpy(m->label.replaced_uuid, m->label.devices[beside].uuid, 16);
		memcpy(m->label.replacement_uuid, m->label.devices[index].uuid, 16);
	}
	rc = members_write_labels(m);
	if (rc) {
		(void)drop_entry(m, index, &left);
		forget_replacement(m);
	}
out:
	sync_mutex_unlock(&m->lock);
	(void)take_left(&left);
	if (rc)
		return err_add(rc, "attach %s to pool %s", blk_name(dev), p->name);
	log_notice("wfs3", "pool=%s device=%s attached to mirror %s", p->name, blk_name(dev), device);
	put_to_work(p, dev);
	return 0;
}

/* Its label must not pass for one of the pool. It may have failed long ago. */
static void let_go(struct pool *p, const struct left_copy *left)
{
	struct blk_dev *dev = take_left(left);

	if (!dev)
		return;
	if (label_erase(dev, &p->devices[left->group].label))
		log_warning("wfs3", "pool=%s device=%s: its label could not be erased", p->name, blk_name(dev));
	p->w->config.close(p->w->config.open_ctx, dev);
}

int members_detach(struct pool *p, const char *device)
{
	struct members *m = p->members;
	struct left_copy left = { 0 };
	unsigned index;
	int rc;

	sync_mutex_lock(&m->lock);
	rc = find_device(m, device, &index);
	if (!rc && count_members(m, m->label.devices[index].group) == 1)
		rc = err_set(-EBUSY, "%s is not part of a mirror", device);
	if (!rc)
		rc = drop_entry(m, index, &left);
	sync_mutex_unlock(&m->lock);
	let_go(p, &left);
	if (rc)
		return err_add(rc, "detach %s from pool %s", device, p->name);
	log_notice("wfs3", "pool=%s device=%s detached", p->name, device);
	return 0;
}

int members_detach_replaced(struct pool *p)
{
	struct members *m = p->members;
	char uuid[MEMBER_UUID_BYTES] = "";
	int old, new;

	sync_mutex_lock(&m->lock);
	old = label_find_device(&m->label, m->label.replaced_uuid);
	new = label_find_device(&m->label, m->label.replacement_uuid);
	if (old < 0 || new < 0) {
		forget_replacement(m);
	} else if (members_copy(m, (unsigned)new).state == MIRROR_ONLINE) {
		members_uuid_text(m->label.replaced_uuid, uuid);
		forget_replacement(m);
	}
	sync_mutex_unlock(&m->lock);
	return uuid[0] ? members_detach(p, uuid) : 0;
}

/* Is it one of ours, that stayed behind and did not go its own way? */
static int check_return(struct members *m, struct blk_dev *dev, unsigned *ret_index) SYNC_REQUIRES(m->lock)
{
	char note[LABEL_NOTE_BYTES];
	struct label l;
	int rc = label_read(dev, &l, note), at;

	if (rc)
		return rc;
	at = label_find_device(&m->label, l.devices[l.device_index].uuid);
	if (memcmp(l.pool_uuid, m->label.pool_uuid, 16) || at < 0)
		return err_set(-EINVAL, "device %s is not part of pool %s", blk_name(dev), m->pool->name);
	if (label_compare(&m->label, &l) != LABEL_FITS)
		return err_set(-EUCLEAN, "device %s was used apart from pool %s: only attaching it anew is possible",
		               blk_name(dev), m->pool->name);
	if (l.layout.device_bytes != m->label.devices[at].device_bytes)
		return err_set(-EUCLEAN, "device %s has another size in its label", blk_name(dev));
	if (members_copy(m, (unsigned)at).state != MIRROR_AWAY)
		return err_set(-EBUSY, "device %s is not away", blk_name(dev));
	/* What is written to it is newer than what it has. */
	m->label.generation = max_u64(m->label.generation, l.generation);
	*ret_index = (unsigned)at;
	return 0;
}

/* Put a device that is back in its place. */
static int put_back(struct members *m, unsigned index, struct blk_dev *dev) SYNC_REQUIRES(m->lock)
{
	struct blk_dev *mirror = m->pool->devices[m->label.devices[index].group].dev;
	int rc;

	mirror_put(mirror, m->copy[index], dev, MIRROR_FILLING, members_copy(m, index).since);
	rc = members_write_labels(m);
	if (rc)
		(void)mirror_set_away(mirror, m->copy[index]);
	return rc;
}

/* Only administrators' calls, one at a time, change what is away: so it may be looked up first and taken then. */
static struct blk_dev *take_away(struct members *m, unsigned index)
{
	struct blk_dev *mirror;
	unsigned copy;

	sync_mutex_lock(&m->lock);
	mirror = m->pool->devices[m->label.devices[index].group].dev;
	copy = m->copy[index];
	sync_mutex_unlock(&m->lock);
	return mirror_take(mirror, copy, true);
}

int members_online(struct pool *p, struct blk_dev *dev)
{
	struct members *m = p->members;
	struct blk_dev *old;
	unsigned index;
	int rc;

	sync_mutex_lock(&m->lock);
	rc = check_return(m, dev, &index);
	sync_mutex_unlock(&m->lock);
	if (rc)
		return err_add(rc, "bring %s back to pool %s", blk_name(dev), p->name);
	old = take_away(m, index);
	if (old)
		p->w->config.close(p->w->config.open_ctx, old);
	sync_mutex_lock(&m->lock);
	rc = put_back(m, index, dev);
	sync_mutex_unlock(&m->lock);
	if (rc) {
		(void)take_away(m, index);
		return err_add(rc, "bring %s back to pool %s", blk_name(dev), p->name);
	}
	log_notice("wfs3", "pool=%s device=%s is back", p->name, blk_name(dev));
	put_to_work(p, dev);
	return 0;
}

void members_close_away(struct pool *p, const char *path)
{
	struct members *m = p->members;
	struct blk_dev *dev;
	unsigned index;
	bool away;

	sync_mutex_lock(&m->lock);
	away = !find_device(m, path, &index) && members_copy(m, index).state == MIRROR_AWAY;
	sync_mutex_unlock(&m->lock);
	dev = away ? take_away(m, index) : NULL;
	if (dev)
		p->w->config.close(p->w->config.open_ctx, dev);
}
