/* SPDX-License-Identifier: BSD-3-Clause */
/* Formats log events and hands them to the sink, or to stderr. */
#include "core/base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define LOG_TEXT_MAX 2048

/* The sink is set once, before threads exist; the level may change at any time. */
static log_sink_fn *log_sink;
static void *log_sink_ctx;
static int log_level_max = LOG_LEVEL_INFO;

void log_set_sink(log_sink_fn *sink, void *ctx)
{
	log_sink = sink;
	log_sink_ctx = ctx;
}

void log_set_level(enum log_level level)
{
	__atomic_store_n(&log_level_max, (int)level, __ATOMIC_RELAXED);
}

const char *log_level_name(enum log_level level)
{
	switch (level) {
	case LOG_LEVEL_ERROR:
		return "error";
	case LOG_LEVEL_WARNING:
		return "warning";
	case LOG_LEVEL_NOTICE:
		return "notice";
	case LOG_LEVEL_INFO:
		return "info";
	case LOG_LEVEL_DEBUG:
		break;
	}
	return "debug";
}

/* One write(2) per line, so that lines of several threads do not mix. */
static void to_stderr(enum log_level level, const char *area, const char *text)
{
	char line[LOG_TEXT_MAX + 128];
	int n = snprintf(line, sizeof(line), "%s %s: %s\n", log_level_name(level), area, text);

	if (n < 0)
		return;
	if ((size_t)n >= sizeof(line)) {
		n = sizeof(line) - 1;
		line[n - 1] = '\n';
	}
	if (write(STDERR_FILENO, line, (size_t)n) < 0)
		return; /* nowhere left to tell */
}

void log_event(enum log_level level, const char *area, const char *fmt, ...)
{
	char text[LOG_TEXT_MAX];
	va_list ap;

	if ((int)level > __atomic_load_n(&log_level_max, __ATOMIC_RELAXED))
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (log_sink)
		log_sink(log_sink_ctx, level, area, text);
	else
		to_stderr(level, area, text);
}

bool log_limit_take(struct log_limit *l, enum log_level level, const char *area, uint64_t now_ns)
{
	uint64_t since_ns = __atomic_load_n(&l->since_ns, __ATOMIC_RELAXED), count;

	/* Who moves the time on tells what was left out, and has the first line. Somebody else may have moved it to
	 * behind this one's. */
	if ((!since_ns || now_ns >= since_ns + LOG_LIMIT_NS) &&
	    __atomic_compare_exchange_n(&l->since_ns, &since_ns, now_ns, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
		count = __atomic_exchange_n(&l->count, 1, __ATOMIC_RELAXED);
		if (count > LOG_LIMIT_LINES)
			log_event(level, area, "lines like the next were left out count=%llu",
			          (unsigned long long)(count - LOG_LIMIT_LINES));
		return true;
	}
	return __atomic_add_fetch(&l->count, 1, __ATOMIC_RELAXED) <= LOG_LIMIT_LINES;
}
