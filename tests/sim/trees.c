/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A file tree under all kinds of trouble. One client changes names, attributes and data; a model says what each change
 * makes of the tree. After a crash the tree must be as it was at some moment since the last flush (names and attributes
 * have one order), files that were flushed and not written since hold what they held, and the check finds nothing.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/err.h"
#include "core/vfs/vfs_tree.h"
#include "tests/sim/alloc.h"
#include "tests/sim/run.h"
#include "tests/sim/tree_state.h"

#define OPS_MAX 60u
#define DATA_BYTES 9000u
#define CELL_BYTES 65536u
#define SMALL_BYTES 1500u /* of every other version */
#define USERS 3u

struct tree_model {
	struct model *mo;
	struct rng rng;
	struct tree_state now, next;
	uint64_t number_max; /* seen in the tree */
	struct tree_state *history; /* OPS_MAX + 2 */
	unsigned last, floor; /* of the history */
	unsigned version[TREE_OBJECTS], flushed[TREE_OBJECTS]; /* of a file's data */
	bool limited; /* there are quotas */
	bool torn[TREE_OBJECTS]; /* what is there is not known until it is written again */
};

static void must(struct tree_model *t, int rc, const char *what)
{
	if (rc)
		model_result(t->mo, what, rc);
	if (rc)
		model_violation("%s failed after a recovery: %d", what, rc);
}

static void look(struct tree_model *t, struct vfs_handle *h, const char *path, char *out, size_t *used)
{
	struct object_state o;
	char value[16] = "0";
	struct vfs_stat st;
	size_t len;

	must(t, vfs_stat(h, &st), "stat");
	if (!vfs_get_xattr(h, &vfs_cred_root, "trusted.v", value, sizeof(value) - 1, &len))
		value[len] = 0;
	o = (struct object_state){ .type = st.type,
		                   .number = st.object,
		                   .links = st.link_count,
		                   .mode = st.mode,
		                   .uid = st.uid,
		                   .value = (unsigned)strtoul(value, NULL, 10) };
	tree_add_line(out, used, path, &o);
	t->number_max = st.object > t->number_max ? st.object : t->number_max;
	for (unsigned i = 0; i < TREE_NAMES && st.type == VFS_TYPE_DIR; i++) {
		struct vfs_handle *below;
		char name[2] = { (char)('a' + i), 0 }, below_path[256];
		int rc = vfs_lookup(h, &vfs_cred_root, name, 1, &below);

		if (rc == -ENOENT)
			continue;
		must(t, rc, "lookup");
		snprintf(below_path, sizeof(below_path), "%s/%s", path, name);
		look(t, below, below_path, out, used);
		vfs_close(below);
	}
}

/* ---- doing it ---- */

static void path_of(const struct tree_state *s, int dir, char *out, size_t len)
{
	char below[256] = "";

	while (dir != TREE_TOP) {
		int up = s->o[dir].parent;
		char longer[256];

		for (unsigned i = 0; i < TREE_NAMES; i++)
			if (s->o[up].children[i] == dir) {
				snprintf(longer, sizeof(longer), "/%c%.250s", (int)('a' + i), below);
				memcpy(below, longer, sizeof(below));
			}
		dir = up;
	}
	snprintf(out, len, "/" POOL_NAME "/fs%s", below);
}

static int open_dir(struct tree_model *t, int dir, struct vfs_handle **ret)
{
	char path[300];

	path_of(&t->now, dir, path, sizeof(path));
	return vfs_walk(t->mo->m->vfs, &vfs_cred_root, NULL, NULL, path, 0, ret);
}

static void fill(uint8_t *buf, unsigned object, unsigned version)
{
	struct rng r = rng_new(object, version);

	for (size_t i = 0; i < DATA_BYTES; i += 8) {
		uint64_t v = rng_next(&r);

		memcpy(buf + i, &v, DATA_BYTES - i < 8 ? DATA_BYTES - i : 8);
	}
}

static size_t len_of(unsigned version)
{
	return version % 2 ? DATA_BYTES : SMALL_BYTES;
}

/* @behind: the data comes to its place when what is before it is taken out. */
static int write_file(struct tree_model *t, struct vfs_handle *h, int o, bool behind)
{
	static uint8_t buf[DATA_BYTES];
	size_t len = len_of(t->version[o] + 1);
	struct iovec iov = { buf, len }, junk = { buf, 100 };
	struct vfs_set_attr cut = { .valid = VFS_SET_SIZE, .size_bytes = behind ? 0 : rng_below(&t->rng, len) };
	uint64_t at = behind ? CELL_BYTES * (1 + rng_below(&t->rng, 3)) : 0;
	struct vfs_handle *data;
	int rc = vfs_open_handle(h, &vfs_cred_root, VFS_ACCESS_WRITE, &data);

	if (rc)
		return rc;
	fill(buf, (unsigned)o, ++t->version[o]);
	t->torn[o] = true;
	if (behind || len == SMALL_BYTES || rng_one_in(&t->rng, 2))
		rc = vfs_set_attr(data, &vfs_cred_root, &cut, NULL);
	if (!rc && behind && rng_one_in(&t->rng, 2))
		rc = vfs_write(data, &junk, 1, rng_below(&t->rng, at), 0);
	if (!rc)
		rc = vfs_write(data, &iov, 1, at, 0);
	if (!rc && behind && rng_one_in(&t->rng, 3))
		rc = vfs_flush(data, 0);
	if (!rc && behind)
		rc = vfs_collapse(data, 0, at, NULL);
	t->torn[o] = rc != 0;
	vfs_close(data);
	return rc;
}

/* The contents piece by piece, which promises nothing of other changes; or the object. */
static int flush_object(struct tree_model *t, struct vfs_handle *h, int o)
{
	bool in_pieces = t->now.o[o].type == VFS_TYPE_FILE && rng_one_in(&t->rng, 2);
	uint64_t cut = 1 + rng_below(&t->rng, DATA_BYTES - 1);
	unsigned version = t->version[o];
	int rc;

	if (in_pieces) {
		rc = vfs_flush_range(h, cut, 0, 0);
		if (!rc)
			rc = vfs_flush_range(h, 0, cut, 0);
	} else {
		rc = vfs_flush(h, 0);
		if (!rc)
			t->floor = t->last;
	}
	if (!rc)
		t->flushed[o] = version;
	return rc;
}

static int sync_all(struct tree_model *t)
{
	int rc = t->mo->m->admin.driver->pool_sync(t->mo->m->admin.ctx, POOL_NAME);

	if (!rc) {
		t->floor = t->last;
		memcpy(t->flushed, t->version, sizeof(t->flushed));
	}
	return rc;
}

struct step {
	unsigned kind, name, other_name, flags, mode, value;
	int dir, other_dir, o; /* o: behind name, or -1 */
	bool want_dir;
};

static int random_dir(struct tree_model *t)
{
	int dir = TREE_TOP;

	while (!rng_one_in(&t->rng, 2)) {
		int o = tree_child(&t->now, dir, (unsigned)rng_below(&t->rng, TREE_NAMES));

		if (o < 0 || t->now.o[o].type != VFS_TYPE_DIR)
			break;
		dir = o;
	}
	return dir;
}

static struct step random_step(struct tree_model *t)
{
	static const unsigned flags[] = { 0, 0, 0, VFS_RENAME_NOREPLACE, VFS_RENAME_EXCHANGE };
	struct step s = { .kind = (unsigned)rng_below(&t->rng, 16),
		          .name = (unsigned)rng_below(&t->rng, TREE_NAMES),
		          .other_name = (unsigned)rng_below(&t->rng, TREE_NAMES),
		          .flags = flags[rng_below(&t->rng, 5)],
		          .mode = (unsigned)rng_below(&t->rng, 01000),
		          .value = 1 + (unsigned)rng_below(&t->rng, 1000),
		          .want_dir = rng_one_in(&t->rng, 2),
		          .dir = random_dir(t),
		          .other_dir = random_dir(t) };

	s.o = tree_child(&t->now, s.dir, s.name);
	return s;
}

/* Changes of names, in the model: the result that is expected. */
static int expect(struct tree_state *next, const struct step *s)
{
	static const enum vfs_type types[] = { VFS_TYPE_FILE, VFS_TYPE_FILE, VFS_TYPE_DIR, VFS_TYPE_FIFO };

	switch (s->kind) {
	case 0:
	case 1:
	case 2:
	case 3:
		return tree_create(next, s->dir, s->name, types[s->kind]);
	case 4:
	case 5:
		return tree_unlink(next, s->dir, s->name, s->want_dir);
	case 6:
	case 7:
		return tree_rename(next, s->dir, s->name, s->other_dir, s->other_name, s->flags);
	case 8:
		return s->o < 0 ? -ENOENT : tree_link(next, s->other_dir, s->other_name, s->o);
	case 9:
		if (s->o >= 0)
			next->o[s->o].mode = s->mode;
		return s->o < 0 ? -ENOENT : 0;
	case 10:
		if (s->o >= 0)
			next->o[s->o].value = s->value;
		return s->o < 0 ? -ENOENT : 0;
	case 11:
		if (s->o >= 0)
			next->o[s->o].uid = s->value % USERS;
		return s->o < 0 ? -ENOENT : 0;
	default:
		return s->o < 0 ? -ENOENT : 0;
	}
}

static int do_to_object(struct tree_model *t, const struct step *s, struct vfs_handle *dir, struct vfs_handle *other)
{
	char name[2] = { (char)('a' + s->name), 0 }, other_name[2] = { (char)('a' + s->other_name), 0 }, value[16];
	struct vfs_set_attr attr = { .valid = VFS_SET_MODE, .mode = s->mode };
	struct vfs_set_attr give = { .valid = VFS_SET_UID, .uid = s->value % USERS };
	struct vfs_handle *h;
	int rc = vfs_lookup(dir, &vfs_cred_root, name, 1, &h);

	if (rc)
		return rc;
	if (s->kind == 8) {
		rc = vfs_link(other, &vfs_cred_root, other_name, 1, h);
	} else if (s->kind == 9) {
		rc = vfs_set_attr(h, &vfs_cred_root, &attr, NULL);
	} else if (s->kind == 10) {
		rc = vfs_set_xattr(h, &vfs_cred_root, "trusted.v", value,
		                   (size_t)snprintf(value, sizeof(value), "%u", s->value), 0);
	} else if (s->kind == 11) {
		rc = vfs_set_attr(h, &vfs_cred_root, &give, NULL);
	} else if (s->kind == 12) {
		rc = flush_object(t, h, s->o);
	} else if (t->now.o[s->o].type == VFS_TYPE_FILE) {
		rc = write_file(t, h, s->o, s->kind == 15);
	}
	vfs_close(h);
	return rc;
}

static int do_step(struct tree_model *t, const struct step *s, struct vfs_handle *dir, struct vfs_handle *other)
{
	static const enum vfs_type types[] = { VFS_TYPE_FILE, VFS_TYPE_FILE, VFS_TYPE_DIR, VFS_TYPE_FIFO };
	char name[2] = { (char)('a' + s->name), 0 }, other_name[2] = { (char)('a' + s->other_name), 0 };
	struct vfs_new attr = { .type = types[s->kind % 4], .mode = 0644 };
	struct vfs_handle *h = NULL;
	struct vfs_stat st;
	int rc;

	switch (s->kind) {
	case 0:
	case 1:
	case 2:
	case 3:
		rc = vfs_create(dir, &vfs_cred_root, name, 1, &attr, 0, &h, &st);
		if (!rc)
			t->next.o[t->next.count - 1].number = st.object;
		vfs_close(h);
		return rc;
	case 4:
	case 5:
		return vfs_unlink(dir, &vfs_cred_root, name, 1, s->want_dir);
	case 6:
	case 7:
		return vfs_rename(dir, &vfs_cred_root, name, 1, other, other_name, 1, s->flags);
	default:
		return do_to_object(t, s, dir, other);
	}
}

static bool is_refusal(int rc)
{
	return rc == -ENOENT || rc == -EEXIST || rc == -EINVAL || rc == -ENOTDIR || rc == -EISDIR || rc == -ENOTEMPTY ||
	       rc == -EPERM;
}

/* False: something that is no surprise went wrong, and the last change may have been made or not. */
static bool one_step(struct tree_model *t)
{
	struct step s = random_step(t);
	struct vfs_handle *dir = NULL, *other = NULL;
	int want, rc;

	if (rng_one_in(&t->rng, 40)) {
		rc = sync_all(t);
		model_result(t->mo, "sync", rc);
		return !rc;
	}
	t->next = t->now;
	want = expect(&t->next, &s);
	rc = open_dir(t, s.dir, &dir);
	if (!rc)
		rc = open_dir(t, s.other_dir, &other);
	if (!rc)
		rc = do_step(t, &s, dir, other);
	vfs_close(dir);
	vfs_close(other);
	if (verbose)
		fprintf(stderr, "%12.6f kind %u dir %d name %u other %d name %u flags %u = %d, expected %d\n",
		        (double)sync_now_ns() / 1e9, s.kind, s.dir, s.name, s.other_dir, s.other_name, s.flags, rc,
		        want);
	t->mo->ops++;
	/* What is being given back counts still, so the model does not know how much room there is. */
	if (rc == -EDQUOT && t->limited && s.kind >= 11 && !want)
		return true;
	if (!want && t->last < OPS_MAX)
		t->history[++t->last] = t->next;
	/* Which of several reasons is told first is not the model's business. */
	if (rc == want || (is_refusal(rc) && is_refusal(want))) {
		t->now = t->history[t->last];
		return t->last < OPS_MAX && t->now.count < TREE_OBJECTS - 1;
	}
	model_result(t->mo, "a change of the tree", rc);
	if (!rc)
		model_violation("a change of the tree succeeded, but %d was expected", want);
	return false;
}

/* ---- comparing ---- */

static void check_data(struct tree_model *t, const struct tree_state *s, int dir, struct vfs_handle *h)
{
	static uint8_t want[DATA_BYTES], got[DATA_BYTES];
	struct iovec iov = { got, 0 };

	for (unsigned i = 0; i < TREE_NAMES; i++) {
		int o = tree_child(s, dir, i);
		char name[2] = { (char)('a' + i), 0 };
		struct vfs_handle *below, *data;

		if (o < 0)
			continue;
		must(t, vfs_lookup(h, &vfs_cred_root, name, 1, &below), "lookup");
		if (s->o[o].type == VFS_TYPE_DIR) {
			check_data(t, s, o, below);
		} else if (s->o[o].type == VFS_TYPE_FILE && t->version[o] && !t->torn[o] &&
		           t->flushed[o] == t->version[o]) {
			must(t, vfs_open_handle(below, &vfs_cred_root, VFS_ACCESS_READ, &data), "open");
			iov.iov_len = len_of(t->version[o]);
			must(t, vfs_read(data, &iov, 1, 0, 0), "read");
			fill(want, (unsigned)o, t->version[o]);
			if (memcmp(want, got, iov.iov_len) != 0)
				model_violation("object %d lost what was flushed", o);
			vfs_close(data);
			tally->pages_compared++;
		}
		vfs_close(below);
	}
}

struct usage {
	struct tree_model *t;
	uint64_t objects[USERS], blocks[USERS]; /* found in the tree */
	uint64_t numbers[TREE_OBJECTS];
	unsigned number_count;
	bool same;
};

static void count_below(struct usage *u, struct vfs_handle *h)
{
	struct vfs_stat st;

	must(u->t, vfs_stat(h, &st), "stat");
	for (unsigned i = 0; i < u->number_count; i++)
		if (u->numbers[i] == st.object)
			return;
	u->numbers[u->number_count++] = st.object;
	u->objects[st.uid]++;
	u->blocks[st.uid] += st.allocated_bytes / DISK_BLOCK_BYTES;
	for (unsigned i = 0; i < TREE_NAMES && st.type == VFS_TYPE_DIR; i++) {
		char name[2] = { (char)('a' + i), 0 };
		struct vfs_handle *below;

		if (vfs_lookup(h, &vfs_cred_root, name, 1, &below))
			continue;
		count_below(u, below);
		vfs_close(below);
	}
}

static void compare_owner(void *ctx, const struct quota_info *q)
{
	struct usage *u = ctx;

	if (q->owner != POOL_QUOTA_USER)
		return;
	if ((q->limit_bytes && q->used_bytes > q->limit_bytes) ||
	    (q->limit_objects && q->used_objects > q->limit_objects))
		model_violation("user %u has more than its limit", q->id);
	u->same &= q->used_objects == u->objects[q->id] && q->used_bytes / DISK_BLOCK_BYTES == u->blocks[q->id];
	u->objects[q->id] = u->blocks[q->id] = 0;
}

/* What has no name any more counts until it is given back, which comes soon. */
static void check_usage(struct tree_model *t, struct vfs_handle *top)
{
	const struct pool_admin *a = &t->mo->m->admin;

	for (unsigned i = 0; i < 1000; i++) {
		struct usage u = { .t = t, .same = true };

		count_below(&u, top);
		must(t, a->driver->quota_each(a->ctx, POOL_NAME, "fs", compare_owner, &u), "list quotas");
		for (unsigned k = 0; k < USERS; k++)
			u.same &= !u.objects[k] && !u.blocks[k];
		if (u.same)
			return;
		sync_sleep_ns(SYNC_NS_PER_MS);
	}
	model_violation("what owners have is not what is counted");
}

static void set_quotas(struct tree_model *t)
{
	const struct quota_info limits[] = {
		{ .owner = POOL_QUOTA_USER, .id = 1, .limit_bytes = 4 * DISK_BLOCK_BYTES },
		{ .owner = POOL_QUOTA_USER, .id = 2, .limit_bytes = 16 * DISK_BLOCK_BYTES, .limit_objects = 3 },
		{ .owner = POOL_QUOTA_DATASET, .limit_bytes = 40 * DISK_BLOCK_BYTES },
	};
	const struct pool_admin *a = &t->mo->m->admin;

	for (unsigned i = 0; i < 3; i++)
		must(t, a->driver->quota_set(a->ctx, POOL_NAME, "fs", &limits[i]), "set a quota");
	t->limited = true;
}

/* Which moment is it? That is where the next round begins. */
static void compare(struct tree_model *t)
{
	static char got[TREE_TEXT_BYTES], want[TREE_TEXT_BYTES];
	struct vfs_handle *top;
	size_t used = 0;
	int found = -1;

	must(t, open_dir(t, TREE_TOP, &top), "open the top");
	t->number_max = 0;
	look(t, top, "", got, &used);
	/* A creation that was under way: the newest object is its. */
	for (unsigned i = 0; i < t->history[t->last].count; i++)
		if (!t->history[t->last].o[i].number)
			t->history[t->last].o[i].number = t->number_max;
	for (unsigned i = t->floor; i <= t->last && found < 0; i++) {
		used = 0;
		tree_describe(&t->history[i], TREE_TOP, "", want, &used);
		if (!strcmp(got, want))
			found = (int)i;
	}
	if (found < 0) {
		used = 0;
		tree_describe(&t->history[t->floor], TREE_TOP, "", want, &used);
		fprintf(stderr, "found:\n%sflushed:\n%s", got, want);
		used = 0;
		tree_describe(&t->history[t->last], TREE_TOP, "", want, &used);
		fprintf(stderr, "last:\n%s", want);
		model_violation("the tree is of no moment since the last flush (%u of %u)", t->floor, t->last);
	}
	check_data(t, &t->history[found], TREE_TOP, top);
	if (t->limited)
		check_usage(t, top);
	vfs_close(top);
	t->now = t->history[0] = t->history[found];
	t->last = t->floor = 0;
	/* What of unflushed data is there is not known. */
	for (unsigned i = 0; i < TREE_OBJECTS; i++)
		t->torn[i] |= t->flushed[i] != t->version[i] || i >= t->now.count;
}

/* ---- episodes ---- */

static void plan_trouble(struct tree_model *t)
{
	struct disk_power *p = &t->mo->m->power;

	p->writes = p->requests = 0;
	p->cut_at_write = p->fail_at_request = 0;
	switch (rng_below(&t->rng, 5)) {
	case 0:
	case 1:
		p->cut_at_write = 1 + rng_below(&t->rng, 60);
		break;
	case 2:
		p->fail_at_request = 1 + rng_below(&t->rng, 80);
		p->fail_count = rng_one_in(&t->rng, 2) ? rng_below(&t->rng, 3) : UINT32_MAX;
		p->fail_error = -EIO;
		break;
	case 3:
		alloc_arm(1 + rng_below(&t->rng, 1000), rng_one_in(&t->rng, 2) ? 0 : rng_below(&t->rng, 20));
		break;
	default:
		break;
	}
}

static void round_of_work(struct tree_model *t)
{
	unsigned ops = 1 + (unsigned)rng_below(&t->rng, OPS_MAX);
	bool clean;

	plan_trouble(t);
	for (unsigned i = 0; i < ops && !t->mo->m->power.off; i++) {
		if (rng_one_in(&t->rng, 12))
			sync_sleep_ns(rng_below(&t->rng, 3000) * SYNC_NS_PER_MS);
		if (!one_step(t))
			break;
	}
	alloc_disarm();
	clean = run_end(t->mo, (enum disk_keep)rng_below(&t->rng, DISK_KEEP_MODES), rng_one_in(&t->rng, 2));
	if (clean)
		memcpy(t->flushed, t->version, sizeof(t->flushed));
	if (!run_import(t->mo))
		model_violation("the pool could not be imported");
	compare(t);
}

static void episode(void *arg)
{
	static const unsigned ages_ms[] = { 50, 1000, 5000 };
	uint64_t seed = *(const uint64_t *)arg;
	struct machine_config config = {
		.seed = seed, .disk_count = 1, .disk_bytes = 64 * MIB, .cache_bytes = 16 * MIB
	};
	struct tree_model *t = exempt_alloc(sizeof(*t));
	struct machine m;

	t->rng = rng_new(seed, 40);
	t->history = exempt_alloc((OPS_MAX + 2) * sizeof(*t->history));
	config.latency_ns_max = rng_one_in(&t->rng, 2) ? 0 : 200000;
	config.txg_age_ms = ages_ms[rng_below(&t->rng, 3)];
	config.writeback_age_ms = ages_ms[rng_below(&t->rng, 3)];
	run_make_base(&m, &t->mo, &config, 0);
	if (!run_import(t->mo) || m.admin.driver->fs_create(m.admin.ctx, POOL_NAME, "fs"))
		model_violation("a file system could not be created");
	if (rng_one_in(&t->rng, 2))
		set_quotas(t);
	t->now.count = 1;
	t->now.o[TREE_TOP] = (struct object_state){
		.type = VFS_TYPE_DIR, .number = 1, .links = 2, .mode = 0755, .children = { -1, -1, -1, -1 }
	};
	t->history[0] = t->now;
	for (unsigned i = 0; i < 4 && t->now.count < TREE_OBJECTS - OPS_MAX; i++) {
		where->step = i + 1;
		round_of_work(t);
	}
	run_end(t->mo, DISK_KEEP_NONE, false);
	tally->ops += t->mo->ops;
	model_free(t->mo);
	machine_done(&m);
	free(t->history);
	free(t);
}

void scenario_trees(uint64_t seed, uint64_t only)
{
	(void)only;
	run_scheduled(seed, episode, &seed);
}
