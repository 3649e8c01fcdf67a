/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A client for test_exactly_once.py: threads create, rename, link, unlink, append and set attributes under guards in a
 * file tree, each request with a sync behind it, so that what is acknowledged is durable; and several of these as one,
 * in atomic batches. Every one of these fails or leaves a trace when it is done twice. Any error ends the program with
 * status 1; at the end it looks at everything.
 *
 *   once_client ADDRESS EXPORT THREADS STEPS
 *
 * It prints a line for every hundred steps.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "protocol/client/wfs_tree.h"

#define LINE_BYTES 16u

struct worker {
	pthread_t thread;
	struct wfs *w;
	unsigned number, steps;
	struct wfs_fh dir, log, tx_log;
};

static void check(int err, const char *what, unsigned step)
{
	char text[256];

	if (err >= 0)
		return;
	fprintf(stderr, "%s in step %u: %s (%s)\n", what, step, strerror(-err), wfs_error_text(text, sizeof(text)));
	_exit(1);
}

static void expect(int good, const char *what, unsigned step)
{
	if (good)
		return;
	fprintf(stderr, "step %u: %s\n", step, what);
	_exit(1);
}

/* Run it, synced; then it is empty again. */
static void run(struct wfs_batch *b, const char *what, unsigned step)
{
	wfs_batch_sync(b);
	check(wfs_batch_run(b, NULL, NULL), what, step);
	wfs_batch_clear(b);
}

/* All at once: a file comes, the one of the step before goes, a line is appended, which is read back with all others.
 */
static void one_transaction(struct worker *k, struct wfs_batch *b, unsigned i)
{
	char name[32], before[32], line[LINE_BYTES + 1];
	struct wfs_attr attr = { 0 }, log = { 0 };
	struct wfs_fh file = { 0 };
	uint64_t id = 0;

	snprintf(name, sizeof(name), "tx-%u", i);
	snprintf(before, sizeof(before), "tx-%u", i - 1);
	snprintf(line, sizeof(line), "%15u\n", i);
	wfs_batch_put(b, &k->dir);
	wfs_batch_tx_begin(b, WFS_TX_SERIALIZABLE, 0, WFS_TX_ATOMIC, &id);
	if (i)
		wfs_batch_unlink(b, before, 0);
	wfs_batch_create(b, name, 0640, WFS_CREATE_EXCLUSIVE, WFS_ACCESS_WRITE, NULL);
	wfs_batch_get_fh(b, &file);
	wfs_batch_getattr(b, &attr);
	wfs_batch_put(b, &k->tx_log);
	wfs_batch_write(b, line, LINE_BYTES, 0, WFS_APPEND);
	wfs_batch_getattr(b, &log);
	wfs_batch_tx_commit(b, 1);
	check(wfs_batch_run(b, NULL, NULL), "a transaction", i);
	wfs_batch_clear(b);
	expect(id && attr.mode == 0640, "a transaction without its results", i);
	expect(log.size_bytes == (uint64_t)(i + 1) * LINE_BYTES, "a transaction with other results", i);
	check(wfs_getattr(k->w, NULL, &file, &attr), "what a transaction made", i);
}

static void one_step(struct worker *k, struct wfs_batch *b, unsigned i)
{
	struct wfs_set_attr set = { .valid = WFS_SET_MODE, .mode = 0600 };
	char name[32], moved[32], line[LINE_BYTES + 1];
	struct wfs_attr attr;
	struct wfs_fh file;

	snprintf(name, sizeof(name), "new-%u", i);
	snprintf(moved, sizeof(moved), "moved-%u", i);
	snprintf(line, sizeof(line), "%15u\n", i);
	wfs_batch_put(b, &k->dir);
	wfs_batch_create(b, name, 0644, WFS_CREATE_EXCLUSIVE, WFS_ACCESS_WRITE, NULL);
	wfs_batch_get_fh(b, &file);
	wfs_batch_getattr(b, &attr);
	run(b, "create", i);
	wfs_batch_put(b, &file);
	wfs_batch_guard(b, attr.change);
	wfs_batch_setattr(b, &set, &attr);
	run(b, "a guarded change of attributes", i);
	wfs_batch_put(b, &file);
	wfs_batch_set_xattr(b, "user.step", line, LINE_BYTES, WFS_XATTR_CREATE);
	run(b, "a new attribute", i);
	wfs_batch_put(b, &k->dir);
	wfs_batch_save(b);
	wfs_batch_rename(b, name, moved, WFS_RENAME_NOREPLACE);
	run(b, "rename", i);
	wfs_batch_put(b, &file);
	wfs_batch_save(b);
	wfs_batch_put(b, &k->dir);
	wfs_batch_link(b, name);
	run(b, "link", i);
	wfs_batch_put(b, &k->dir);
	wfs_batch_unlink(b, moved, 0);
	run(b, "unlink", i);
	wfs_batch_put(b, &k->log);
	wfs_batch_write(b, line, LINE_BYTES, 0, WFS_APPEND);
	run(b, "append", i);
	one_transaction(k, b, i);
	if (i % 4 == 3) {
		snprintf(name, sizeof(name), "new-%u", i - 3);
		wfs_batch_put(b, &k->dir);
		wfs_batch_unlink(b, name, 0);
		run(b, "unlink of an older one", i);
	}
	if (i % 100 == 99) {
		printf("%u %u\n", k->number, i + 1);
		fflush(stdout);
	}
}

static void look_at_log(struct worker *k, const struct wfs_fh *log)
{
	char line[LINE_BYTES + 1], got[LINE_BYTES];
	struct wfs_attr attr;

	check(wfs_getattr(k->w, NULL, log, &attr), "getattr", k->number);
	expect(attr.size_bytes == (uint64_t)k->steps * LINE_BYTES, "lines are missing, or there twice", k->number);
	for (unsigned i = 0; i < k->steps; i++) {
		struct wfs_batch *b;
		size_t len;

		snprintf(line, sizeof(line), "%15u\n", i);
		check(wfs_batch_new(k->w, &b), "a batch", i);
		wfs_batch_put(b, log);
		wfs_batch_read(b, got, LINE_BYTES, (uint64_t)i * LINE_BYTES, &len);
		check(wfs_batch_run(b, NULL, NULL), "read", i);
		wfs_batch_free(b);
		expect(len == LINE_BYTES && memcmp(got, line, LINE_BYTES) == 0, "another line than was appended", i);
	}
}

static void look(struct worker *k)
{
	char name[32];
	struct wfs_attr attr;
	struct wfs_fh file;

	check(wfs_getattr(k->w, NULL, &k->dir, &attr), "getattr", k->number);
	/* And that of the last transaction. */
	expect(attr.size_bytes == k->steps - k->steps / 4 + 1, "a directory with another number of names", k->number);
	for (unsigned i = 0; i < k->steps; i++) {
		int gone = i % 4 == 0 && i + 3 < k->steps, err;

		snprintf(name, sizeof(name), "new-%u", i);
		err = wfs_lookup(k->w, NULL, &k->dir, name, &file, &attr);
		expect(gone ? err == -2 : !err, "a name that is there, or gone, and should not be", i);
		if (!gone)
			expect(attr.link_count == 1 && attr.mode == 0600, "links or mode that are not as they were set",
			       i);
	}
	look_at_log(k, &k->log);
	look_at_log(k, &k->tx_log);
}

static void *work(void *arg)
{
	struct worker *k = arg;
	struct wfs_batch *b;

	check(wfs_batch_new(k->w, &b), "a batch", 0);
	for (unsigned i = 0; i < k->steps; i++)
		one_step(k, b, i);
	wfs_batch_free(b);
	look(k);
	return NULL;
}

int main(int argc, char **argv)
{
	struct wfs_options options = { .connections = 4, .timeout_ms = 120000 };
	unsigned count = argc == 5 ? (unsigned)atoi(argv[3]) : 0, steps = argc == 5 ? (unsigned)atoi(argv[4]) : 0;
	struct worker *all = calloc(count + 1, sizeof(*all));
	struct wfs *w;
	struct wfs_fh root;

	if (!count || !steps || !all)
		return 2;
	check(wfs_connect(argv[1], &options, &w), "connect", 0);
	check(wfs_attach(w, NULL, argv[2], &root, NULL), "attach", 0);
	for (unsigned i = 0; i < count; i++) {
		struct worker *k = &all[i];
		struct wfs_batch *b;
		char name[32];

		*k = (struct worker){ .w = w, .number = i, .steps = steps };
		snprintf(name, sizeof(name), "thread-%u", i);
		check(wfs_batch_new(w, &b), "a batch", 0);
		wfs_batch_put(b, &root);
		wfs_batch_make(b, name, &(struct wfs_new){ WFS_TYPE_DIR, 0755, 0, NULL });
		wfs_batch_get_fh(b, &k->dir);
		run(b, "mkdir", 0);
		snprintf(name, sizeof(name), "log-%u", i);
		wfs_batch_put(b, &root);
		wfs_batch_create(b, name, 0644, WFS_CREATE_EXCLUSIVE, 0, NULL);
		wfs_batch_get_fh(b, &k->log);
		run(b, "create", 0);
		snprintf(name, sizeof(name), "tx-log-%u", i);
		wfs_batch_put(b, &root);
		wfs_batch_create(b, name, 0644, WFS_CREATE_EXCLUSIVE, 0, NULL);
		wfs_batch_get_fh(b, &k->tx_log);
		run(b, "create", 0);
		wfs_batch_free(b);
	}
	for (unsigned i = 0; i < count; i++)
		if (pthread_create(&all[i].thread, NULL, work, &all[i]))
			return 2;
	for (unsigned i = 0; i < count; i++)
		pthread_join(all[i].thread, NULL);
	printf("done\n");
	return 0;
}
