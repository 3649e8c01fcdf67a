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
#define PASSES 5u /* over all files, by what is read with several under way */
#define OTHERS 2u /* further clients, one connection each */
#define OTHERS_REQUESTS 4000u

static const char *address, *export;
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

static void row_value(const char *name, const char *unit, double value)
{
	printf("{\"row\": \"%s\", \"unit\": \"%s\", \"value\": %.1f}\n", name, unit, value);
	fflush(stdout);
}

static void row(const char *name, const char *unit, double amount, uint64_t ns)
{
	row_value(name, unit, amount * 1e9 / (double)ns);
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
	enum deed deed;
	unsigned count, at_once, width;
	unsigned next; /* atomic: the first batch that nobody has begun with */
	unsigned end; /* atomic: no batch from there on; they go round the files until then */
	struct lane *lanes;
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

static unsigned batches_of(const struct lanes *all)
{
	return (all->count + all->at_once - 1) / all->at_once;
}

static bool lane_go(struct lane *l)
{
	struct lanes *all = l->all;
	unsigned batch = __atomic_fetch_add(&all->next, 1, __ATOMIC_RELAXED);
	unsigned from = batch % batches_of(all) * all->at_once;

	if (batch >= __atomic_load_n(&all->end, __ATOMIC_RELAXED))
		return false;
	(void)fill(l->b, all->deed, all->prefix, from, all->count, all->at_once, &l->to);
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

static void lanes_begin(struct lanes *all)
{
	all->lanes = calloc(all->width, sizeof(*all->lanes));
	must(all->lanes ? 0 : -ENOMEM, "lanes");
	sync_mutex_init(&all->lock, SYNC_RANK_LEAF, "lanes");
	sync_cond_init(&all->ended);
	sync_mutex_lock(&all->lock);
	for (unsigned i = 0; i < all->width; i++) {
		all->lanes[i].all = all;
		must(wfs_batch_new(client, &all->lanes[i].b), "a batch");
		all->running += lane_go(&all->lanes[i]);
	}
	sync_mutex_unlock(&all->lock);
}

static void lanes_end(struct lanes *all)
{
	sync_mutex_lock(&all->lock);
	while (all->running)
		sync_cond_wait(&all->ended, &all->lock);
	sync_mutex_unlock(&all->lock);
	for (unsigned i = 0; i < all->width; i++)
		wfs_batch_free(all->lanes[i].b);
	free(all->lanes);
	sync_cond_done(&all->ended);
	sync_mutex_done(&all->lock);
}

static void run_lanes(struct lanes all)
{
	unsigned passes = all.deed == GET ? PASSES : 1;
	uint64_t start = sync_now_ns();

	all.end = passes * batches_of(&all);
	lanes_begin(&all);
	lanes_end(&all);
	row(all.title, "files/s", (double)passes * all.count, sync_now_ns() - start);
}

static int by_time(const void *a, const void *b)
{
	uint64_t first = *(const uint64_t *)a, second = *(const uint64_t *)b;

	return (first > second) - (first < second);
}

/* How long other clients, asking for one file after the other, wait for each, beside so many lanes. They are on
 * connections that follow each other, so that every loop of the daemon has one. */
static void run_beside(struct lanes all, const char *median, const char *late)
{
	static uint64_t times[OTHERS_REQUESTS];
	struct wfs_options options = { .client_name = "filebench, another", .connections = 1 };
	struct wfs *others[OTHERS];
	struct wfs_batch *batches[OTHERS];
	static struct place to;
	struct wfs_fh root;

	for (unsigned i = 0; i < OTHERS; i++) {
		must(wfs_connect(address, &options, &others[i]), "connect");
		must(wfs_attach(others[i], NULL, export, &root, NULL), "attach");
		must(wfs_batch_new(others[i], &batches[i]), "a batch");
	}
	all.end = UINT32_MAX;
	if (all.width)
		lanes_begin(&all);
	for (unsigned i = 0; i < OTHERS_REQUESTS; i++) {
		uint64_t start = sync_now_ns();

		(void)fill(batches[i % OTHERS], GET, all.prefix, i % all.count, all.count, 1, &to);
		must(wfs_batch_run(batches[i % OTHERS], NULL, NULL), all.title);
		times[i] = sync_now_ns() - start;
	}
	__atomic_store_n(&all.end, 0, __ATOMIC_RELAXED);
	if (all.width)
		lanes_end(&all);
	qsort(times, OTHERS_REQUESTS, sizeof(times[0]), by_time);
	row_value(median, "us", (double)times[OTHERS_REQUESTS / 2] / 1e3);
	row_value(late, "us", (double)times[OTHERS_REQUESTS * 99 / 100] / 1e3);
	for (unsigned i = 0; i < OTHERS; i++) {
		wfs_batch_free(batches[i]);
		wfs_disconnect(others[i]);
	}
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

/* All of these read. */
static struct lanes lanes_of(const char *title, unsigned count, unsigned at_once, unsigned width)
{
	return (struct lanes){
		.title = title, .prefix = "many", .deed = GET, .count = count, .at_once = at_once, .width = width
	};
}

static void run_all_small(unsigned count)
{
	struct lanes creates = lanes_of("create 4K, batches, 40 under way", count, BATCH_FILES, WIDTH);

	creates.deed = PUT;
	creates.prefix = "wide";
	run_small("create 4K, one by one", PUT, "one", count, 1);
	run_small("create 4K, batches", PUT, "many", count, BATCH_FILES);
	run_lanes(creates);
	run_small("read 4K, one by one", GET, "one", count, 1);
	run_small("read 4K, batches", GET, "many", count, BATCH_FILES);
	run_lanes(lanes_of("read 4K, one by one, 40 under way", count, 1, WIDTH));
	run_lanes(lanes_of("read 4K, batches, 4 under way", count, BATCH_FILES, 4));
	run_lanes(lanes_of("read 4K, batches, 40 under way", count, BATCH_FILES, WIDTH));
	run_beside(lanes_of("read 4K, alone", count, BATCH_FILES, 0), "one by one, alone: median",
	           "one by one, alone: 99 %");
	run_beside(lanes_of("read 4K, beside 4 batches", count, BATCH_FILES, 4), "one by one beside 4 batches: median",
	           "one by one beside 4 batches: 99 %");
	run_beside(lanes_of("read 4K, beside 40 batches", count, BATCH_FILES, WIDTH),
	           "one by one beside 40 batches: median", "one by one beside 40 batches: 99 %");
	run_small("unlink, one by one", UNLINK, "one", count, 1);
	run_small("unlink, batches", UNLINK, "many", count, BATCH_FILES);
	run_small("unlink, batches again", UNLINK, "wide", count, BATCH_FILES);
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
	address = argv[1];
	export = argv[2];
	must(wfs_connect(address, &options, &client), "connect");
	must(wfs_attach(client, NULL, export, &root, NULL), "attach");
	must(wfs_make(client, NULL, &root, "filebench", &folder, &dir, NULL), "mkdir");
	if (count)
		run_all_small(count);
	if (bytes)
		run_all_large(bytes);
	must(wfs_unlink(client, NULL, &root, "filebench", 1), "rmdir");
	wfs_disconnect(client);
	return 0;
}
