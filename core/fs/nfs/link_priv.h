/* SPDX-License-Identifier: BSD-3-Clause */
/* Inside of a connection: its calls (link.c), and the bytes that go to and fro (relay.c). */
#ifndef WFSD_CORE_FS_NFS_LINK_PRIV_H
#define WFSD_CORE_FS_NFS_LINK_PRIV_H

#include "core/fs/nfs/link.h"

struct rpc_context;

struct link_slot {
	struct link *link;
	bool used;
	uint32_t xid;
	struct link_call call;
};

/* What came of a record: RFC 5531, section 11. */
struct relay_record {
	uint8_t mark[4];
	unsigned mark_len;
	uint32_t fragment_left;
	bool last_fragment;
	uint8_t *buf; /* RELAY_RECORD_BYTES_MAX */
	size_t len;
	bool looked_at; /* whether it is data: it is not, or: */
	struct link_slot *reading; /* whose data it is, of which data_at bytes of data_len have come */
	uint32_t data_at, data_len;
};

struct link {
	struct rpc_context *rpc;
	bool connected, refused, closing;
	int tcp; /* to the server */
	int inner; /* to libnfs */
	uint32_t sequence;
	unsigned waiting;
	struct link_slot slots[LINK_CALLS_MAX];
	uint8_t *out; /* RELAY_OUT_BYTES, of which [out_at, out_len) is still to be sent */
	size_t out_at, out_len;
	struct relay_record in;
};

int relay_init(struct link *l);
void relay_done(struct link *l);
/* libnfs is connected: put ourselves in between. */
int relay_take_over(struct link *l);
int relay_step(struct link *l, short revents);
bool relay_has_output(const struct link *l);

#endif
