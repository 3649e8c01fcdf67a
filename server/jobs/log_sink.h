/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Where the daemon's log goes: one line per event on stderr. When stderr is the journal, with the priority prefix it
 * understands; else with time and level.
 */
#ifndef WFSD_SERVER_JOBS_LOG_SINK_H
#define WFSD_SERVER_JOBS_LOG_SINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/log.h"

/* Before threads are started. */
void log_sink_install(void);

/* The line, with its newline, in @buf (cut when it is too long). Returns its length. */
size_t log_sink_format(char *buf, size_t len, bool journal, uint64_t wall_ns, enum log_level level, const char *area,
                       const char *text);

#endif
