/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Structured log: one event, a message and key=value fields. Where it goes is decided outside: the composition root
 * installs one sink at start, before threads; without one, lines go to stderr.
 */
#ifndef WFSD_CORE_BASE_LOG_H
#define WFSD_CORE_BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "core/base/sync.h"

enum log_level {
	LOG_LEVEL_ERROR = 3, /* the numbers are those of syslog(3) */
	LOG_LEVEL_WARNING = 4,
	LOG_LEVEL_NOTICE = 5,
	LOG_LEVEL_INFO = 6,
	LOG_LEVEL_DEBUG = 7,
};

/* "error", "warning", "notice", "info", "debug". */
const char *log_level_name(enum log_level level);

typedef void log_sink_fn(void *ctx, enum log_level level, const char *area, const char *text);

void log_set_sink(log_sink_fn *sink, void *ctx);
/* Events above this level are dropped before they are formatted. Default: LOG_LEVEL_INFO. Any thread. */
void log_set_level(enum log_level level);

/* @area: the module's name, e.g. "wfs3". The text carries fields as key=value. Never fails, never blocks on a disk. */
#define log_error(area, ...) log_event(LOG_LEVEL_ERROR, (area), __VA_ARGS__)
#define log_warning(area, ...) log_event(LOG_LEVEL_WARNING, (area), __VA_ARGS__)
#define log_notice(area, ...) log_event(LOG_LEVEL_NOTICE, (area), __VA_ARGS__)
#define log_info(area, ...) log_event(LOG_LEVEL_INFO, (area), __VA_ARGS__)
#define log_debug(area, ...) log_event(LOG_LEVEL_DEBUG, (area), __VA_ARGS__)
void log_event(enum log_level level, const char *area, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/*
 * For what others can make happen as often as they like: of one place in the source no more than LOG_LIMIT_LINES reach
 * the log in LOG_LIMIT_NS; how many were left out is said with the next that does. Any thread.
 */
#define log_limited(level, area, ...)                                                                                  \
	do {                                                                                                           \
		static struct log_limit limit_here;                                                                    \
		if (log_limit_take(&limit_here, (level), (area), sync_now_ns()))                                       \
			log_event((level), (area), __VA_ARGS__);                                                       \
	} while (0)

#define LOG_LIMIT_LINES 20u
#define LOG_LIMIT_NS (10 * SYNC_NS_PER_S)

/* All zero at first. */
struct log_limit {
	uint64_t since_ns; /* when the lines that count were begun to be counted */
	uint64_t count;
};

/* May another line be logged at that time? */
bool log_limit_take(struct log_limit *l, enum log_level level, const char *area, uint64_t now_ns);

#endif
