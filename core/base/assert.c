/* SPDX-License-Identifier: BSD-3-Clause */
/* What happens when an assertion on our own state fails. */
#include "core/base/assert.h"

#include <stdlib.h>

#include "core/base/log.h"

void assert_failed(const char *cond, const char *file, int line)
{
	log_error("assert", "assertion failed: %s at=%s:%d", cond, file, line);
	abort();
}
