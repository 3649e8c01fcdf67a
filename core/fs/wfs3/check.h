/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Checking a pool: everything that a root reaches, against the rules of FORMAT.md and against the allocation state.
 * Nothing is written, nothing is repaired, and nothing that stands on the devices is trusted: a forged pool costs time
 * in proportion to its size and memory in proportion to its blocks (four bits for each) and datasets (32 bytes for
 * each), nothing more.
 *
 * Findings are damage, or notes: what is worth telling, but lost nothing and will be replaced in the normal course of
 * events (a bitmap slot that a crash left half written, ...).
 */
#ifndef WFSD_CORE_FS_WFS3_CHECK_H
#define WFSD_CORE_FS_WFS3_CHECK_H

#include <stdbool.h>
#include <stdint.h>

#include "core/vfs/vfs_check.h"

struct blk_dev;

struct check_config {
	bool with_data; /* read all data, too, and verify its checksums; without it only metadata is read */
	unsigned findings_max; /* that are kept; 0: POOL_FINDINGS_KEPT */
	/*
	 * Called after each batch of reads, in the thread that checks: to show progress, to slow down (@read_bytes were
	 * just read), to stop (a negative errno, which the check returns). NULL is fine.
	 */
	int (*step)(void *ctx, const struct pool_check_report *so_far, uint64_t read_bytes);
	void *ctx;
};

/*
 * Check the pool on @devs, all of its devices in any order, which nobody writes to. Only reads.
 *   ret   filled in any case; the caller frees it with pool_check_report_done(). It is DONE when 0 is returned, with
 *         findings or without; else STOPPED or FAILED with the reason in it.
 * Returns 0; -EMEDIUMTYPE no pool; -ENOTSUP a newer format; -EINVAL devices of several pools, or one twice; -ENODEV
 * one is missing; -ENOMEM; what @step returned; -EIO when a device does not read at all. Blocks.
 */
int check_devices(struct blk_dev *const devs[], unsigned device_count, const struct check_config *config,
                  struct pool_check_report *ret);

/* The same for devices and files by path, which are opened read-only. Also -EBUSY (a daemon has them; the text names
 * it), -ENOENT, -EACCES. */
int check_paths(const char *const paths[], unsigned count, const struct check_config *config,
                struct pool_check_report *ret);

#endif
