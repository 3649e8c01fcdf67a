/* SPDX-License-Identifier: BSD-3-Clause */
/* Private to server/nbd: what a nbdkit process writes to its stderr goes to our log, line by line, at a bounded rate.
 */
#ifndef WFSD_SERVER_NBD_MESSAGES_H
#define WFSD_SERVER_NBD_MESSAGES_H

#include <stdint.h>

struct event_base;
struct nbd_messages;

/* Takes @fd (non-blocking), also when it fails. NULL when memory is short. On the loop's thread, like all of these. */
struct nbd_messages *nbd_messages_new(struct event_base *base, int fd, uint64_t connection_id);
/* Read what is there now, the unfinished last line too. */
void nbd_messages_drain(struct nbd_messages *m);
void nbd_messages_free(struct nbd_messages *m); /* NULL is fine */

#endif
