/* SPDX-License-Identifier: BSD-3-Clause */
/* Private to server/audit: an event as a line of JSON. */
#ifndef WFSD_SERVER_AUDIT_LINE_H
#define WFSD_SERVER_AUDIT_LINE_H

#include "server/audit/audit.h"

/* Malloc'ed, without a newline; NULL: no memory. Names that are not UTF-8 are told in hexadecimal. */
char *audit_line(const struct audit_event *event);
/* That so many events were dropped. */
char *audit_line_dropped(uint64_t count, uint64_t wall_ns);

#endif
