/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How deeply processors may sleep while a program waits for one answer after the other. The program and the mount take
 * turns, so each of them wakes the other for each request, mostly on a processor that has just gone idle. The kernel's
 * interface: Documentation/power/pm_qos_interface.rst, "CPU latency QoS".
 */
#include "plugins/fuse/wake.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ANY_USEC INT32_C(2000000000) /* PM_QOS_CPU_LATENCY_DEFAULT_VALUE */
/* A tenth of what an answer takes: the first states of idle processors, none that is left slowly. */
#define REAL_USEC 10

/*
 * On a virtual machine any sleep is one that the hypervisor has to end. The driver haltpoll is there to look for
 * work first, but is often set up not to; asked for no latency at all it does.
 */
static int32_t usec_of_driver(const char *driver)
{
	char name[32] = "";
	FILE *f = fopen(driver, "re");

	if (!f)
		return REAL_USEC;
	if (!fgets(name, sizeof(name), f))
		name[0] = '\0';
	(void)fclose(f);
	return strcmp(name, "haltpoll\n") == 0 ? 0 : REAL_USEC;
}

int wake_parse(const char *text, const char *driver, int32_t *ret_usec)
{
	char *end;
	long usec;

	if (!text) {
		*ret_usec = usec_of_driver(driver);
		return 0;
	}
	if (strcmp(text, "any") == 0) {
		*ret_usec = -1;
		return 0;
	}
	errno = 0;
	usec = strtol(text, &end, 10);
	if (errno || end == text || *end || usec < 0 || usec >= ANY_USEC)
		return -EINVAL;
	*ret_usec = (int32_t)usec;
	return 0;
}

void wake_init(struct wake *w, const char *device, int32_t usec)
{
	*w = (struct wake){ .fd = usec < 0 ? -1 : open(device, O_WRONLY | O_CLOEXEC), .usec = usec };
}

void wake_done(struct wake *w)
{
	if (w->fd >= 0)
		close(w->fd);
}

void wake_hold(struct wake *w, bool hold)
{
	int32_t usec = hold ? w->usec : ANY_USEC;

	if (w->fd < 0 || w->held == hold)
		return;
	if (pwrite(w->fd, &usec, sizeof(usec), 0) == (ssize_t)sizeof(usec))
		w->held = hold;
}
