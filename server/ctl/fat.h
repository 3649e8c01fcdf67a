/* SPDX-License-Identifier: BSD-3-Clause */
/* What the commands for FAT volumes share. */
#ifndef WFSD_SERVER_CTL_FAT_H
#define WFSD_SERVER_CTL_FAT_H

#include "server/ctl/command.h"

/* A line on standard error with what the thread's error says. CTL_FAILED. */
enum ctl_status fat_fail(int rc, const char *what);

#endif
