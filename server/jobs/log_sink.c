/* SPDX-License-Identifier: BSD-3-Clause */
/* Log lines on stderr. */
#include "server/jobs/log_sink.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "core/base/sync.h"

#define LOG_LINE_MAX 2048

size_t log_sink_format(char *buf, size_t len, bool journal, uint64_t wall_ns, enum log_level level, const char *area,
                       const char *text)
{
	int n;

	if (journal) {
		n = snprintf(buf, len, "<%d>%s: %s\n", (int)level, area, text);
	} else {
		time_t seconds = (time_t)(wall_ns / SYNC_NS_PER_S);
		struct tm tm;
		char stamp[32] = "";

		if (gmtime_r(&seconds, &tm))
			strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%S", &tm);
		n = snprintf(buf, len, "%s.%03uZ %-7s %s: %s\n", stamp, (unsigned)(wall_ns / SYNC_NS_PER_MS % 1000),
		             log_level_name(level), area, text);
	}
	if (n < 0)
		return 0;
	if ((size_t)n < len)
		n--;
	else
		n = (int)len - 2;
	/* One event is one line, whatever was in the text. */
	for (int i = 0; i < n; i++) {
		if ((unsigned char)buf[i] < 0x20)
			buf[i] = ' ';
	}
	buf[n] = '\n';
	return (size_t)n + 1;
}

static void write_line(void *ctx, enum log_level level, const char *area, const char *text)
{
	bool journal = ctx != NULL;
	char line[LOG_LINE_MAX];
	size_t len = log_sink_format(line, sizeof(line), journal, sync_wall_ns(), level, area, text);

	/* Nobody is left to tell when this fails. */
	while (write(STDERR_FILENO, line, len) < 0 && errno == EINTR)
		;
}

static bool stderr_is_journal(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	unsigned long long device, inode;
	struct stat st;

	return stream && sscanf(stream, "%llu:%llu", &device, &inode) == 2 && fstat(STDERR_FILENO, &st) == 0 &&
	       st.st_dev == device && st.st_ino == inode;
}

void log_sink_install(void)
{
	static bool journal;

	journal = stderr_is_journal();
	log_set_sink(write_line, journal ? &journal : NULL);
}
