/* SPDX-License-Identifier: BSD-3-Clause */
/* Metrics of the process as a whole (memory, descriptors, CPU time) and of the memory budget. */
#ifndef WFSD_SERVER_JOBS_PROCESS_METRICS_H
#define WFSD_SERVER_JOBS_PROCESS_METRICS_H

struct budget;
struct metrics;

/* Registered with @b as owner; undone by process_metrics_unregister(). 0, -ENOMEM, -EEXIST. */
int process_metrics_register(struct metrics *m, struct budget *b);
void process_metrics_unregister(struct metrics *m, struct budget *b);

#endif
