/* SPDX-License-Identifier: BSD-3-Clause */
/* The audit log: a bounded queue, and the thread that writes. */
#include "server/audit/audit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/base/err.h"
#include "core/base/log.h"
#include "core/base/metrics.h"
#include "core/base/sync.h"
#include "server/audit/line.h"

struct audit {
	char *path;
	unsigned classes;
	struct metrics *metrics;
	struct sync_thread thread;
	bool running;
	struct counter written, dropped, failures;
	int fd; /* the writer's */
	bool torn; /* likewise: the file ends in a part of a line that could not be taken away */
	struct sync_mutex lock;
	struct sync_cond wake;
	bool stopping SYNC_GUARDED_BY(lock);
	int next_fd SYNC_GUARDED_BY(lock); /* to be written to from now on; -1: the same as before */
	/* A ring. */
	struct audit_event *events SYNC_GUARDED_BY(lock);
	unsigned capacity;
	unsigned first SYNC_GUARDED_BY(lock), count SYNC_GUARDED_BY(lock);
	uint64_t untold SYNC_GUARDED_BY(lock); /* dropped, and the log does not say so yet */
};

static const char *const class_names[AUDIT_CLASSES] = {
	[AUDIT_NAMES] = "names",   [AUDIT_ATTRIBUTES] = "attributes", [AUDIT_WRITE] = "write",
	[AUDIT_READ] = "read",     [AUDIT_LOCKS] = "locks",           [AUDIT_CONNECTIONS] = "connections",
	[AUDIT_DENIED] = "denied", [AUDIT_ADMIN] = "admin",
};

const char *audit_class_name(enum audit_class class)
{
	return class_names[class];
}

int audit_class_parse(const char *name)
{
	for (int i = 0; i < AUDIT_CLASSES; i++) {
		if (strcmp(class_names[i], name) == 0)
			return i;
	}
	return -EINVAL;
}

static bool was_denied(int err)
{
	return err == -EACCES || err == -EPERM || err == -EROFS;
}

bool audit_wants(const struct audit *a, enum audit_class class, int err)
{
	if (!a)
		return false;
	return (a->classes & 1u << class) || (was_denied(err) && (a->classes & 1u << AUDIT_DENIED));
}

static int open_file(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY, 0600);

	return fd < 0 ? err_set(-errno, "%s: %s", path, strerror(errno)) : fd;
}

static bool write_all(struct audit *a, const char *text, size_t len, size_t *ret_done)
{
	*ret_done = 0;
	while (*ret_done < len) {
		ssize_t n = write(a->fd, text + *ret_done, len - *ret_done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		*ret_done += (size_t)n;
	}
	return true;
}

/* The disk was full in the middle of a line. A file that only grows, or a pipe, keeps the part. */
static void take_back(struct audit *a, size_t len_bytes)
{
	off_t end = lseek(a->fd, 0, SEEK_CUR);

	if (len_bytes && (end < (off_t)len_bytes || ftruncate(a->fd, end - (off_t)len_bytes)))
		a->torn = true;
}

/* One line, whole, or nothing of it. False: it is lost; the first time, that is told. Frees @line. */
static bool write_line(struct audit *a, char *line)
{
	size_t len = line ? strlen(line) : 0, done;
	bool ok = line != NULL;
	int err = ENOMEM;

	if (ok && a->torn) {
		ok = write_all(a, "\n", 1, &done);
		err = errno;
		a->torn = !ok;
	}
	if (ok) {
		line[len++] = '\n'; /* in the place of the terminator */
		ok = write_all(a, line, len, &done);
		err = errno;
		if (!ok)
			take_back(a, done);
	}
	if (!ok && !counter_read(&a->failures))
		log_error("audit", "lines are lost: file=%s error=\"%s\"", a->path, strerror(err));
	free(line);
	return ok;
}

/* What was lost before, and the event. The number of those that the log does not tell of yet. */
static uint64_t write_event(struct audit *a, const struct audit_event *e, uint64_t untold)
{
	if (untold && write_line(a, audit_line_dropped(untold, e->wall_ns)))
		untold = 0;
	if (!untold && write_line(a, audit_line(e))) {
		counter_add(&a->written, 1);
		return 0;
	}
	counter_add(&a->failures, 1);
	return untold + 1;
}

static void use_file(struct audit *a, int fd)
{
	close(a->fd);
	a->fd = fd;
	a->torn = false;
}

static void writer(void *arg)
{
	struct audit *a = arg;
	struct audit_event e;
	uint64_t untold;

	sync_mutex_lock(&a->lock);
	while (a->count || !a->stopping) {
		if (a->next_fd >= 0)
			use_file(a, a->next_fd);
		a->next_fd = -1;
		if (!a->count) {
			sync_cond_wait(&a->wake, &a->lock);
			continue;
		}
		e = a->events[a->first];
		a->first = (a->first + 1) % a->capacity;
		a->count--;
		untold = a->untold;
		a->untold = 0;
		sync_mutex_unlock(&a->lock);
		untold = write_event(a, &e, untold);
		sync_mutex_lock(&a->lock);
		a->untold += untold;
	}
	sync_mutex_unlock(&a->lock);
}

void audit_put(struct audit *a, const struct audit_event *event)
{
	uint64_t now = sync_wall_ns();
	struct audit_event *to;

	sync_mutex_lock(&a->lock);
	if (a->count == a->capacity) {
		a->untold++;
		counter_add(&a->dropped, 1);
	} else {
		to = &a->events[(a->first + a->count++) % a->capacity];
		*to = *event;
		to->wall_ns = now;
		if (a->count == 1)
			sync_cond_signal(&a->wake);
	}
	sync_mutex_unlock(&a->lock);
}

int audit_reopen(struct audit *a)
{
	int fd = open_file(a->path), old;

	if (fd < 0)
		return fd;
	sync_mutex_lock(&a->lock);
	old = a->next_fd;
	a->next_fd = fd;
	sync_cond_signal(&a->wake);
	sync_mutex_unlock(&a->lock);
	if (old >= 0)
		close(old);
	return 0;
}

static int register_metrics(struct audit *a)
{
	int err = metrics_add_counter(a->metrics, a, "wfsd_audit_events_total", "Events in the audit log.", NULL,
	                              &a->written);

	if (!err)
		err = metrics_add_counter(a->metrics, a, "wfsd_audit_dropped_total",
		                          "Events that the queue of the audit log had no room for.", NULL, &a->dropped);
	if (!err)
		err = metrics_add_counter(a->metrics, a, "wfsd_audit_failures_total",
		                          "Events that could not be written to the audit log.", NULL, &a->failures);
	return err;
}

int audit_new(const struct audit_config *config, struct audit **ret)
{
	struct audit *a = calloc(1, sizeof(*a));
	int err = 0;

	if (!a)
		return err_set(-ENOMEM, "no memory for the audit log");
	sync_mutex_init(&a->lock, SYNC_RANK_LEAF, "audit log");
	sync_cond_init(&a->wake);
	a->fd = a->next_fd = -1;
	a->classes = config->classes;
	a->capacity = config->queue_max ? config->queue_max : AUDIT_QUEUE_DEFAULT;
	a->path = strdup(config->path);
	a->events = calloc(a->capacity, sizeof(a->events[0]));
	if (!a->path || !a->events)
		err = err_set(-ENOMEM, "no memory for the audit log");
	if (!err)
		err = a->fd = open_file(a->path);
	if (err >= 0 && config->metrics) {
		a->metrics = config->metrics;
		err = register_metrics(a);
	}
	if (err >= 0)
		err = sync_thread_start(&a->thread, "audit", writer, a);
	if (err < 0) {
		audit_free(a);
		return err;
	}
	a->running = true;
	*ret = a;
	return 0;
}

void audit_free(struct audit *a)
{
	if (!a)
		return;
	if (a->running) {
		sync_mutex_lock(&a->lock);
		a->stopping = true;
		sync_cond_signal(&a->wake);
		sync_mutex_unlock(&a->lock);
		sync_thread_join(&a->thread);
	}
	if (a->metrics)
		metrics_unregister(a->metrics, a);
	if (a->fd >= 0)
		close(a->fd);
	if (a->next_fd >= 0)
		close(a->next_fd);
	sync_cond_done(&a->wake);
	sync_mutex_done(&a->lock);
	free(a->events);
	free(a->path);
	free(a);
}
