/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Transactions of several threads against a model. Each reads some counters and gives some of them new values, which
 * are all different; so it is known who read what from whom, and in which order the values of a counter followed.
 * Serializable transactions, those that only read among them, must have an order that explains all that (the precedence
 * graph has no cycle; Bernstein, Hadzilacos, Goodman, "Concurrency Control and Recovery in Database Systems", chapter
 * 5). Snapshots lose no update: no value has two successors.
 */
#include "tests/unit/core/fs/wfs3/filetx_fixture.h"
#include "tests/unit/core/fs/wfs3/tree_state.h"

#define THREADS 4u
#define CELLS 8u
#define READS 4u

#ifdef WFSD_DEBUG
#define ROUNDS 150u
#else
#define ROUNDS 1200u
#endif

struct access {
	unsigned cell;
	uint64_t value;
};

struct done {
	unsigned read_count, write_count;
	struct access reads[READS], writes[READS]; /* what is written was read: with the same index */
};

struct shared {
	struct tree_fixture t;
	enum vfs_tx_isolation isolation;
	struct sync_mutex lock; /* of @all */
	struct done *all;
	unsigned count;
};

struct worker {
	struct shared *s;
	uint64_t seed, number;
	unsigned conflicts;
	struct sync_thread thread;
};

static uint64_t random_number(struct worker *w)
{
	return random_next(&w->seed);
}

static int open_cell(struct vfs_node *top, unsigned cell, struct vfs_node **ret)
{
	char name[8];

	snprintf(name, sizeof(name), "f%u", cell);
	return top->ops->lookup(top, name, strlen(name), ret);
}

static int move_cell(struct vfs_node *top, struct access *a, bool write)
{
	struct iovec iov = { .iov_base = &a->value, .iov_len = 8 };
	struct vfs_node *n;
	int rc = open_cell(top, a->cell, &n);

	if (rc)
		return rc;
	rc = write ? n->ops->write(n, &iov, 1, 0, 0) : n->ops->read(n, &iov, 1, 0, 0);
	vfs_node_unref(n);
	return rc;
}

static int run_inside(struct worker *w, struct vfs_node *top, struct done *d)
{
	unsigned first = (unsigned)random_number(w), step = 1 + (unsigned)(random_number(w) % 3) * 2;
	int rc = 0;

	d->read_count = 1 + (unsigned)(random_number(w) % READS);
	d->write_count = (unsigned)(random_number(w) % 3);
	if (d->write_count > d->read_count)
		d->write_count = d->read_count;
	for (unsigned i = 0; i < d->read_count && !rc; i++) {
		d->reads[i].cell = (first + i * step) % CELLS;
		rc = move_cell(top, &d->reads[i], false);
	}
	for (unsigned i = 0; i < d->write_count && !rc; i++) {
		d->writes[i] = (struct access){ .cell = d->reads[i].cell,
			                        .value = random_number(w) << 33 ^ random_number(w) << 3 ^ w->number };
		rc = move_cell(top, &d->writes[i], true);
	}
	return rc;
}

static void one(struct worker *w)
{
	struct shared *s = w->s;
	struct vfs_tx_args args = { .isolation = s->isolation };
	struct vfs_node *top = NULL;
	struct done d = { 0 };
	struct vfs_tx *tx;
	int rc;

	assert_ok(s->t.top->ops->tx_begin(s->t.top, &args, &tx));
	rc = tx->ops->node(tx, s->t.top, &top);
	if (!rc)
		rc = run_inside(w, top, &d);
	if (!rc)
		rc = tx->ops->commit(tx, false, NULL, NULL, NULL);
	assert_true(rc == 0 || rc == -EBUSY);
	w->conflicts += rc != 0;
	vfs_node_unref(top);
	tx->ops->free(tx);
	if (rc)
		return;
	sync_mutex_lock(&s->lock);
	s->all[s->count++] = d;
	sync_mutex_unlock(&s->lock);
}

static void worker_main(void *arg)
{
	struct worker *w = arg;

	for (unsigned i = 0; i < ROUNDS; i++)
		one(w);
	blk_thread_done();
}

/* ---- the model ---- */

/* A value of a counter: who wrote it (-1: it was the first), and who replaced it (-1: it is the last). */
struct version {
	uint64_t value;
	unsigned cell;
	int writer, next_writer;
};

struct model {
	struct shared *s;
	struct version *versions;
	unsigned version_count;
	unsigned *before; /* of each transaction: how many come before it */
	unsigned *edges; /* from * count + to */
};

static struct version *find(struct model *m, unsigned cell, uint64_t value)
{
	for (unsigned i = 0; i < m->version_count; i++)
		if (m->versions[i].cell == cell && m->versions[i].value == value)
			return &m->versions[i];
	fail_msg("counter %u never had the value %llu", cell, (unsigned long long)value);
	return NULL;
}

static void list_versions(struct model *m)
{
	struct shared *s = m->s;

	for (unsigned i = 0; i < CELLS; i++)
		m->versions[m->version_count++] = (struct version){ .cell = i, .writer = -1, .next_writer = -1 };
	for (unsigned i = 0; i < s->count; i++)
		for (unsigned k = 0; k < s->all[i].write_count; k++)
			m->versions[m->version_count++] = (struct version){ .cell = s->all[i].writes[k].cell,
				                                            .value = s->all[i].writes[k].value,
				                                            .writer = (int)i,
				                                            .next_writer = -1 };
	for (unsigned i = 0; i < s->count; i++)
		for (unsigned k = 0; k < s->all[i].write_count; k++) {
			struct version *v = find(m, s->all[i].reads[k].cell, s->all[i].reads[k].value);

			/* Two that replaced the same value: one of them was lost. */
			assert_int_equal(v->next_writer, -1);
			v->next_writer = (int)i;
		}
}

static void add_edge(struct model *m, int from, int to)
{
	unsigned *e;

	if (from < 0 || to < 0 || from == to)
		return;
	e = &m->edges[(unsigned)from * m->s->count + (unsigned)to];
	m->before[to] += !*e;
	*e = 1;
}

static void check_order(struct model *m)
{
	unsigned count = m->s->count, left = count;
	bool *gone = calloc(count, sizeof(*gone)), progress = true;

	m->before = calloc(count, sizeof(*m->before));
	m->edges = calloc((size_t)count * count, sizeof(*m->edges));
	for (unsigned i = 0; i < count; i++)
		for (unsigned k = 0; k < m->s->all[i].read_count; k++) {
			struct version *v = find(m, m->s->all[i].reads[k].cell, m->s->all[i].reads[k].value);

			add_edge(m, v->writer, (int)i);
			add_edge(m, (int)i, v->next_writer);
		}
	while (progress) {
		progress = false;
		for (unsigned i = 0; i < count; i++) {
			if (gone[i] || m->before[i])
				continue;
			gone[i] = progress = true;
			left--;
			for (unsigned k = 0; k < count; k++)
				m->before[k] -= m->edges[i * count + k];
		}
	}
	free(gone);
	free(m->before);
	free(m->edges);
	assert_int_equal(left, 0);
}

/* The last values are what is there now. */
static void check_last(struct model *m)
{
	for (unsigned i = 0; i < CELLS; i++) {
		struct access a = { .cell = i };

		assert_ok(move_cell(m->s->t.top, &a, false));
		assert_int_equal(find(m, i, a.value)->next_writer, -1);
	}
}

static void run(enum vfs_tx_isolation isolation)
{
	struct shared *s = calloc(1, sizeof(*s));
	struct worker workers[THREADS];
	static const uint64_t zero;
	struct model m = { .s = s };
	unsigned conflicts = 0;

	s->isolation = isolation;
	s->all = calloc((size_t)THREADS * ROUNDS, sizeof(*s->all));
	sync_mutex_init(&s->lock, SYNC_RANK_LEAF, "test");
	tree_init(&s->t, 256u << 20);
	for (unsigned i = 0; i < CELLS; i++) {
		char name[8];
		struct vfs_node *n;

		snprintf(name, sizeof(name), "f%u", i);
		n = make_file(s->t.top, name);
		assert_ok(node_write(n, 0, &zero, 8, 0));
		vfs_node_unref(n);
	}
	for (unsigned i = 0; i < THREADS; i++) {
		workers[i] = (struct worker){ .s = s, .seed = 11 + i, .number = i };
		assert_ok(sync_thread_start(&workers[i].thread, "worker", worker_main, &workers[i]));
	}
	for (unsigned i = 0; i < THREADS; i++) {
		sync_thread_join(&workers[i].thread);
		conflicts += workers[i].conflicts;
	}
	assert_true(conflicts > 0 && s->count > THREADS * ROUNDS / 10);
	m.versions = calloc((size_t)s->count * READS + CELLS, sizeof(*m.versions));
	list_versions(&m);
	check_last(&m);
	if (isolation == VFS_TX_SERIALIZABLE)
		check_order(&m);
	free(m.versions);
	tree_restart(&s->t);
	tree_done(&s->t);
	sync_mutex_done(&s->lock);
	free(s->all);
	free(s);
}

static void test_serializable_transactions_have_an_order_that_explains_them(void **state)
{
	(void)state;
	run(VFS_TX_SERIALIZABLE);
}

static void test_snapshots_lose_no_update(void **state)
{
	(void)state;
	run(VFS_TX_SNAPSHOT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_serializable_transactions_have_an_order_that_explains_them),
		cmocka_unit_test(test_snapshots_lose_no_update),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
