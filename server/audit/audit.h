/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The audit log: who did what to which file, one line of JSON for each operation of the classes that were asked for.
 *
 * Whoever does something hands over an event and goes on; a thread of the log's own writes it. The queue between them
 * is bounded: what does not fit is dropped and counted, in the metrics and, as soon as there is room, in the log
 * itself. So is what cannot be written, as the disk is full: a line is in the file as a whole or not at all.
 */
#ifndef WFSD_SERVER_AUDIT_AUDIT_H
#define WFSD_SERVER_AUDIT_AUDIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct audit;
struct metrics;

enum audit_class {
	AUDIT_NAMES, /* create, link, rename, remove */
	AUDIT_ATTRIBUTES, /* owner, mode, times, size, extended attributes */
	AUDIT_WRITE,
	AUDIT_READ, /* also of names and attributes */
	AUDIT_LOCKS, /* and leases */
	AUDIT_CONNECTIONS, /* clients that come */
	AUDIT_DENIED, /* whatever was refused for want of permission, of any class */
	AUDIT_ADMIN, /* changes by the administrator */
	AUDIT_CLASSES,
};
#define AUDIT_DEFAULT (1u << AUDIT_NAMES | 1u << AUDIT_ATTRIBUTES | 1u << AUDIT_DENIED | 1u << AUDIT_ADMIN)
const char *audit_class_name(enum audit_class class);
/* The class of that name, or -EINVAL. */
int audit_class_parse(const char *name);

#define AUDIT_NAME_BYTES 256u
#define AUDIT_TEXT_BYTES 256u
#define AUDIT_QUEUE_DEFAULT 1024u

struct audit_name {
	unsigned len; /* 0: none; longer ones are cut to AUDIT_NAME_BYTES */
	char bytes[AUDIT_NAME_BYTES];
};

/* All zero but for class and operation is an event, too. */
struct audit_event {
	enum audit_class class;
	const char *method; /* literal; of the admin socket, NULL otherwise */
	const char *operation; /* literal */
	bool is_unix; /* the client is on this machine: */
	pid_t client_pid;
	uint32_t client_uid;
	char client[AUDIT_TEXT_BYTES]; /* otherwise its address, perhaps with the name in its certificate; "": nobody */
	bool has_identity; /* the operation was done as: */
	uint32_t uid, gid;
	char export_name[AUDIT_TEXT_BYTES]; /* "": none */
	uint64_t fsid, object; /* 0: none */
	struct audit_name name, new_name, detail;
	uint64_t offset, len_bytes;
	int err; /* 0 or a negative errno */
	uint64_t duration_ns;
	uint64_t wall_ns; /* set by audit_put() */
};

/* @bytes may be NULL when there are none. */
static inline void audit_set_name(struct audit_name *to, const void *bytes, size_t len)
{
	to->len = (unsigned)(len < AUDIT_NAME_BYTES ? len : AUDIT_NAME_BYTES);
	if (to->len)
		__builtin_memcpy(to->bytes, bytes, to->len);
}

struct audit_config {
	const char *path; /* appended to; made with mode 0600 */
	unsigned classes; /* bits by enum audit_class */
	unsigned queue_max; /* events; 0: AUDIT_QUEUE_DEFAULT */
	struct metrics *metrics; /* NULL: none */
};

/* 0; -ENOMEM, or why the file cannot be opened. Everything in @config but the path outlives it. */
int audit_new(const struct audit_config *config, struct audit **ret);
/* Writes what is queued. NULL is fine. */
void audit_free(struct audit *a);
/* Open the file anew, by its path: after it was renamed. What is queued already may go to either. Any thread; the old
 * one stays in use when that fails. */
int audit_reopen(struct audit *a);

/* Is anything of that class, with that outcome, wanted? NULL: no. Any thread; costs nothing. */
bool audit_wants(const struct audit *a, enum audit_class class, int err);
/* Of a class that is wanted. Any thread; never waits for the disk. */
void audit_put(struct audit *a, const struct audit_event *event);

#endif
