/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How long the calling thread has waited since it began, and for what: read before and after an operation, the
 * difference tells what the operation's time went to.
 */
#ifndef WFSD_CORE_BASE_WAITS_H
#define WFSD_CORE_BASE_WAITS_H

#include <stdint.h>

struct waits {
	uint64_t device_ns; /* for devices */
	uint64_t others_ns; /* for other threads: locks that were taken, and conditions */
};

extern _Thread_local struct waits waits_of_thread; /* written where threads wait; any other use is reading */

#endif
