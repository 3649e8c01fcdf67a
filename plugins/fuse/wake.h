/* SPDX-License-Identifier: BSD-3-Clause */
/* How deeply processors may sleep while a program waits for one answer after the other. */
#ifndef WFSD_PLUGINS_FUSE_WAKE_H
#define WFSD_PLUGINS_FUSE_WAKE_H

#include <stdbool.h>
#include <stdint.h>

/* One thread at a time. */
struct wake {
	int fd; /* of the kernel's device; -1: nothing can be asked for */
	int32_t usec;
	bool held;
};

#define WAKE_DEVICE "/dev/cpu_dma_latency"
#define WAKE_DRIVER "/sys/devices/system/cpu/cpuidle/current_driver"

/*
 * "any": -1, nothing is asked for; a number of microseconds; NULL: what suits the driver of idle processors that the
 * file @driver names. 0, -EINVAL.
 */
int wake_parse(const char *text, const char *driver, int32_t *ret_usec);
/* @usec: from wake_parse(). Where the process may not ask (@device), it works without. wake_done() ends it. */
void wake_init(struct wake *w, const char *device, int32_t usec);
void wake_done(struct wake *w);
/*
 * From now on no processor of the machine goes into a sleep that takes longer than @usec to leave; or any again. Takes
 * a few microseconds when it changes something. The kernel forgets it when the process ends.
 */
void wake_hold(struct wake *w, bool hold);

#endif
