/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The worker pool: threads for what must wait for a disk. Lanes with their own threads, so that writers waiting for
 * room, long jobs, and other machines that do not answer never keep a read from being served.
 */
#ifndef WFSD_SERVER_LOOP_WORKERS_H
#define WFSD_SERVER_LOOP_WORKERS_H

#include <stddef.h>
#include <stdint.h>

enum worker_lane {
	WORKER_LANE_READ, /* reads, extents, stat: short waits */
	WORKER_LANE_WRITE, /* writes, flushes, discards */
	WORKER_LANE_ADMIN, /* create, import, delete, ... */
	WORKER_LANE_REMOTE, /* whatever waits for another machine */
	WORKER_LANE_COUNT,
};

struct workers;
struct metrics;

/* Embedded by the owner; alive until it ran. */
struct work {
	void (*run)(struct work *w); /* on a worker thread; may block */
	struct work *next; /* private */
	uint64_t queued_ns; /* private */
};

struct workers_config {
	unsigned threads[WORKER_LANE_COUNT]; /* 1..256 each */
	void (*thread_done)(void); /* called by each thread before it ends; NULL: nothing */
};

/* 0, -ENOMEM, -EINVAL (a number of threads out of range), -EAGAIN (no more threads). */
int workers_new(const struct workers_config *config, struct workers **ret);
/* Runs everything queued, then joins. Nothing may be queued any more by others. */
void workers_free(struct workers *w);
void workers_queue(struct workers *w, enum worker_lane lane, struct work *work); /* any thread; FIFO within a lane */
int workers_register_metrics(struct workers *w, struct metrics *m); /* queue lengths, busy threads, wait times */

#endif
