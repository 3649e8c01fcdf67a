/* SPDX-License-Identifier: BSD-3-Clause */
/* Sizes and times as people write and read them. */
#include "server/ctl/size.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/base/checked.h"
#include "core/base/err.h"

static const char suffixes[] = "KMGTPE";

/* The shift that @suffix stands for: "" 0, "K" 10, "kib" 10, ...; -1 when it is none. */
static int suffix_shift(const char *suffix)
{
	const char *found;

	if (!*suffix)
		return 0;
	found = strchr(suffixes, toupper((unsigned char)*suffix));
	if (!found || (suffix[1] && strcasecmp(suffix + 1, "ib") != 0))
		return -1;
	return 10 * ((int)(found - suffixes) + 1);
}

int size_parse(const char *text, uint64_t *ret_bytes)
{
	uint64_t value, bytes;
	char *end;
	int shift;

	if (!isdigit((unsigned char)*text))
		return err_set(-EINVAL, "'%s' is not a size: write a number, with K, M, G, T, P or E if you like",
		               text);
	errno = 0;
	value = strtoull(text, &end, 10);
	if (errno == ERANGE)
		return err_set(-ERANGE, "'%s' is too large", text);
	shift = suffix_shift(end);
	if (shift < 0)
		return err_set(-EINVAL, "'%s' is not a size: '%s' is none of K, M, G, T, P, E", text, end);
	if (!checked_mul(value, UINT64_C(1) << shift, &bytes) || bytes > INT64_MAX)
		return err_set(-ERANGE, "'%s' is too large", text);
	*ret_bytes = bytes;
	return 0;
}

char *size_format(uint64_t bytes, char buf[SIZE_TEXT_MAX])
{
	uint64_t unit = 1;
	int i = -1;

	while (suffixes[i + 1] && bytes / unit >= 1024) {
		unit <<= 10;
		i++;
	}
	if (i < 0)
		snprintf(buf, SIZE_TEXT_MAX, "%" PRIu64, bytes);
	else if (bytes % unit == 0)
		snprintf(buf, SIZE_TEXT_MAX, "%" PRIu64 "%c", bytes / unit, suffixes[i]);
	else
		snprintf(buf, SIZE_TEXT_MAX, "%.1f%c", (double)bytes / (double)unit, suffixes[i]);
	return buf;
}

char *count_format(double value, char buf[SIZE_TEXT_MAX])
{
	static const char prefixes[] = " kMGTPE";
	int i = 0;

	while (value >= 1000 && prefixes[i + 1]) {
		value /= 1000;
		i++;
	}
	if (i)
		snprintf(buf, SIZE_TEXT_MAX, "%.1f%c", value, prefixes[i]);
	else
		snprintf(buf, SIZE_TEXT_MAX, "%.0f", value);
	return buf;
}

char *latency_format(double seconds, char buf[SIZE_TEXT_MAX])
{
	if (seconds < 0)
		snprintf(buf, SIZE_TEXT_MAX, "-");
	else if (seconds < 1e-3)
		snprintf(buf, SIZE_TEXT_MAX, "%.0fus", seconds * 1e6);
	else if (seconds < 1)
		snprintf(buf, SIZE_TEXT_MAX, "%.1fms", seconds * 1e3);
	else
		snprintf(buf, SIZE_TEXT_MAX, "%.1fs", seconds);
	return buf;
}

char *duration_format(uint64_t seconds, char buf[SIZE_TEXT_MAX])
{
	uint64_t minutes = seconds / 60, hours = minutes / 60, days = hours / 24;

	if (days)
		snprintf(buf, SIZE_TEXT_MAX, "%" PRIu64 "d%02" PRIu64 "h", days, hours % 24);
	else if (hours)
		snprintf(buf, SIZE_TEXT_MAX, "%" PRIu64 "h%02" PRIu64 "m", hours, minutes % 60);
	else if (minutes)
		snprintf(buf, SIZE_TEXT_MAX, "%" PRIu64 "m%02" PRIu64 "s", minutes, seconds % 60);
	else
		snprintf(buf, SIZE_TEXT_MAX, "%" PRIu64 "s", seconds);
	return buf;
}

char *time_format(uint64_t wall_ns, char buf[SIZE_TEXT_MAX])
{
	time_t seconds = (time_t)(wall_ns / UINT64_C(1000000000));
	struct tm tm;

	if (!wall_ns || !localtime_r(&seconds, &tm) || !strftime(buf, SIZE_TEXT_MAX, "%Y-%m-%d %H:%M", &tm))
		snprintf(buf, SIZE_TEXT_MAX, "-");
	return buf;
}
