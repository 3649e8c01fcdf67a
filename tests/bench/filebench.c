/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How fast files are over libwfs: small ones one by one and in batches, one large one from beginning to end. Prints a
 * line of JSON for each row.
 *
 * usage: filebench ADDRESS EXPORT FILES LARGE_MIB
 * Without FILES or LARGE_MIB (0) that part is left out.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/sync.h"
#include "protocol/client/wfs_tree.h"

#define SMALL_BYTES 4096u
#define BATCH_FILES 32u
#define CHUNK_BYTES (1u << 20)
#define THREADS 4u
#define WIDTH 40u /* requests of one thread under way */

static struct wfs *client;
static struct wfs_fh dir;
static uint8_t small[SMALL_BYTES];

static void must(int err, const char *what)
{
	char text[512];

	if (!err)
		return;
	fprintf(stderr, "filebench: %s: %s\n", what, wfs_error_text(text, sizeof(text)));
	exit(1);
}

static void row(const char *name, const char *unit, double amount, uint64_t ns)
{
	printf("{\"row\": \"%s\", \"unit\": \"%s\", \"value\": %.1f}\n", name, unit, amount * 1e9 / (double)ns);
	fflush(stdout);
}

static void name_of(char *to, const char *prefix, unsigned i)
{
	sprintf(to, "%.16s%07u", prefix, i);
}

enum deed { PUT, GET, UNLINK };

/* Where the contents of a batch's files go. */
struct place {
	uint8_t data[BATCH_FILES][SMALL_BYTES];
	size_t lens[BATCH_FILES];
};

static void add(struct wfs_batch *b, enum deed deed, const char *name, struct place *to, unsigned slot)
{
	switch (deed) {
	case PUT:
		wfs_batch_put(b, &dir);
		wfs_batch_put_file(b, name, 0644, WFS_CREATE_EXCLUSIVE, small, SMALL_BYTES, NULL);
		break;
	case GET:
		wfs_batch_put(b, &dir);
		wfs_batch_lookup(b, name);
		wfs_batch_get_file(b, to->data[slot], SMALL_BYTES, &to->lens[slot], NULL, NULL);
		break;
	case UNLINK:
		wfs_batch_put(b, &dir);
		wfs_batch_unlink(b, name, 0);
		break;
	}
}

/* The next batch of so many files from @from on; returns how many there are. */
static unsigned fill(struct wfs_batch *b, enum deed deed, const char *prefix, unsigned from, unsigned count,
                     unsigned at_once, struct place *to)
{
	unsigned n = count - from < at_once ? count - from : at_once;
	char name[32];

	wfs_batch_clear(b);
	for (unsigned slot = 0; slot < n; slot++) {
		name_of(name, prefix, from + slot);
		add(b, deed, name, to, slot);
	}
	return n;
}

static void run_small(const char *title, enum deed deed, const char *prefix, unsigned count, unsigned at_once)
{
	static struct place to;
	uint64_t start = sync_now_ns();
	struct wfs_batch *b;

	must(wfs_batch_new(client, &b), "a batch");
	for (unsigned i = 0; i < count;) {
		i += fill(b, deed, prefix, i, count, at_once, &to);
		must(wfs_batch_run(b, NULL, NULL), title);
	}
	row(title, "files/s", count, sync_now_ns() - start);
	wfs_batch_free(b);
}

/* Batches of one thread that are under way at the same time, in as many lanes. */
struct lanes {
	const char *title, *prefix;
	unsigned count, at_once;
	unsigned next; /* atomic: the first file that nobody has begun with */
	struct sync_mutex lock;
	struct sync_cond ended;
	unsigned running SYNC_GUARDED_BY(lock);
};

struct lane {
	struct lanes *all;
	struct wfs_batch *b;
	struct place to;
};

static void lane_ended(void *ctx, struct wfs_batch *b, int err, unsigned done);

static bool lane_go(struct lane *l)
{
	struct lanes *all = l->all;
	unsigned from = __atomic_fetch_add(&all->next, all->at_once, __ATOMIC_RELAXED);

	if (from >= all->count)
		return false;
	(void)fill(l->b, GET, all->prefix, from, all->count, all->at_once, &l->to);
	must(wfs_batch_start(l->b, NULL, lane_ended, l), all->title);
	return true;
}

static void lane_ended(void *ctx, struct wfs_batch *b, int err, unsigned done)
{
	struct lane *l = ctx;
	struct lanes *all = l->all;

	(void)b;
	(void)done;
	must(err, all->title);
	if (lane_go(l))
		return;
	sync_mutex_lock(&all->lock);
	all->running--;
	sync_cond_signal(&all->ended);
	sync_mutex_unlock(&all->lock);
}

static void run_lanes(const char *title, const char *prefix, unsigned count, unsigned at_once, unsigned width)
{
	struct lanes all = { .title = title, .prefix = prefix, .count = count, .at_once = at_once };
	struct lane *lanes = calloc(width, sizeof(*lanes));
	uint64_t start = sync_now_ns();

	must(lanes ? 0 : -ENOMEM, "lanes");
	sync_mutex_init(&all.lock, SYNC_RANK_LEAF, "lanes");
	sync_cond_init(&all.ended);
	sync_mutex_lock(&all.lock);
	for (unsigned i = 0; i < width; i++) {
		lanes[i].all = &all;
		must(wfs_batch_new(client, &lanes[i].b), "a batch");
		all.running += lane_go(&lanes[i]);
	}
	while (all.running)
		sync_cond_wait(&all.ended, &all.lock);
	sync_mutex_unlock(&all.lock);
	row(title, "files/s", count, sync_now_ns() - start);
	for (unsigned i = 0; i < width; i++)
		wfs_batch_free(lanes[i].b);
	free(lanes);
	sync_cond_done(&all.ended);
	sync_mutex_done(&all.lock);
}

struct job {
	struct sync_thread thread;
	struct wfs_file *f;
	uint64_t from, to;
	bool write;
};

static void stream(void *arg)
{
	struct job *j = arg;
	uint8_t *chunk = malloc(CHUNK_BYTES);
	size_t len;

	memset(chunk, 0x5a, CHUNK_BYTES);
	for (uint64_t at = j->from; at < j->to; at += CHUNK_BYTES) {
		if (j->write)
			must(wfs_pwrite(j->f, chunk, CHUNK_BYTES, at, 0), "write");
		else
			must(wfs_pread_some(j->f, chunk, CHUNK_BYTES, at, &len), "read");
	}
	free(chunk);
}

static void run_large(const char *title, struct wfs_file *f, bool write, uint64_t bytes, unsigned threads)
{
	uint64_t start = sync_now_ns();
	struct job jobs[THREADS];

	for (unsigned i = 0; i < threads; i++) {
		jobs[i] = (struct job){
			.f = f, .from = bytes / threads * i, .to = bytes / threads * (i + 1), .write = write
		};
		must(sync_thread_start(&jobs[i].thread, "filebench", stream, &jobs[i]), "a thread");
	}
	for (unsigned i = 0; i < threads; i++)
		sync_thread_join(&jobs[i].thread);
	row(title, "GB/s", (double)bytes / 1e9, sync_now_ns() - start);
}

static void run_all_small(unsigned count)
{
	run_small("create 4K, one by one", PUT, "one", count, 1);
	run_small("create 4K, batches", PUT, "many", count, BATCH_FILES);
	run_small("read 4K, one by one", GET, "one", count, 1);
	run_small("read 4K, batches", GET, "many", count, BATCH_FILES);
	run_lanes("read 4K, one by one, 40 under way", "one", count, 1, WIDTH);
	run_lanes("read 4K, batches, 4 under way", "many", count, BATCH_FILES, 4);
	run_small("unlink, one by one", UNLINK, "one", count, 1);
	run_small("unlink, batches", UNLINK, "many", count, BATCH_FILES);
}

static void run_all_large(uint64_t bytes)
{
	struct wfs_file *f;

	must(wfs_create(client, NULL, &dir, "large", 0644, 0, WFS_ACCESS_READ | WFS_ACCESS_WRITE, &f, NULL, NULL, NULL),
	     "create");
	run_large("write, 1 thread", f, true, bytes, 1);
	run_large("overwrite, 4 threads", f, true, bytes, THREADS);
	run_large("read, 1 thread", f, false, bytes, 1);
	run_large("read, 4 threads", f, false, bytes, THREADS);
	wfs_close(f);
	must(wfs_unlink(client, NULL, &dir, "large", 0), "unlink");
}

int main(int argc, char **argv)
{
	struct wfs_options options = { .client_name = "filebench", .connections = THREADS };
	struct wfs_new folder = { .type = WFS_TYPE_DIR, .mode = 0755 };
	unsigned count;
	uint64_t bytes;
	struct wfs_fh root;

	if (argc != 5) {
		fprintf(stderr, "usage: filebench ADDRESS EXPORT FILES LARGE_MIB\n");
		return 2;
	}
	count = (unsigned)atoi(argv[3]);
	bytes = (uint64_t)atoi(argv[4]) << 20;
	memset(small, 7, sizeof(small));
	must(wfs_connect(argv[1], &options, &client), "connect");
	must(wfs_attach(client, NULL, argv[2], &root, NULL), "attach");
	must(wfs_make(client, NULL, &root, "filebench", &folder, &dir, NULL), "mkdir");
	if (count)
		run_all_small(count);
	if (bytes)
		run_all_large(bytes);
	must(wfs_unlink(client, NULL, &root, "filebench", 1), "rmdir");
	wfs_disconnect(client);
	return 0;
}
