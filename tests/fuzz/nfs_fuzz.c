/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An NFS server's replies, to a real connection of the import over the loopback, and through it to libnfs. The input is
 * a list of answers: which call, how it is sent, how long it is, its bytes. What is accepted is used as the import uses
 * it.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <nfsc/libnfs-raw-mount.h>
#include <nfsc/libnfs-raw-nfs.h>

#include "core/base/assert.h"
#include "core/base/bytes.h"
#include "core/base/sync.h"
#include "core/fs/nfs/link.h"
#include "core/fs/nfs/nfs_priv.h"

#define CALLS_MAX 8u
#define READ_MAX 20000u
#define STEPS_MAX 64u
#define CALL_BYTES 8192u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct answer {
	bool done;
	enum nfs_proc proc;
	uint8_t memory[READ_MAX];
};

static unsigned room(void *ctx, uint32_t at, uint32_t len, struct iovec *ret, unsigned max)
{
	struct answer *a = ctx;

	always(max && len && at < READ_MAX && len <= READ_MAX - at);
	/* Uneven pieces. */
	*ret = (struct iovec){ .iov_base = a->memory + at, .iov_len = len > 1000 ? 1000 : len };
	return 1;
}

static void use_list(const READDIRPLUS3resok *r)
{
	for (const void *at = r->reply.entries; at;) {
		struct nfs_handle fh;
		struct nfs_told told;
		entryplus3 e;

		memcpy(&e, at, sizeof(e));
		at = e.nextentry;
		always(strlen(e.name) <= NFS_STRING_BYTES_MAX);
		(void)nfs_told_attr(&told, &e.name_attributes);
		if (e.name_handle.handle_follows)
			always(nfs_handle_decode(&e.name_handle.post_op_fh3_u.handle, &fh) == 0);
	}
}

static void use(const struct answer *a, const void *res)
{
	struct nfs_handle fh;
	struct nfs_told told;
	struct nfs_attr attr;
	uint32_t status;

	memcpy(&status, res, sizeof(status));
	if (a->proc == NFS_GETPORT || nfs_status_errno(status))
		return;
	if (a->proc == NFS_GETATTR)
		(void)nfs_attr_decode(&((const GETATTR3res *)res)->GETATTR3res_u.resok.obj_attributes, &attr);
	if (a->proc == NFS_LOOKUP) {
		const LOOKUP3resok *r = &((const LOOKUP3res *)res)->LOOKUP3res_u.resok;

		always(nfs_handle_decode(&r->object, &fh) == 0);
		(void)nfs_told_attr(&told, &r->obj_attributes);
	}
	if (a->proc == NFS_READLINK)
		always(strlen(((const READLINK3res *)res)->READLINK3res_u.resok.data) <= NFS_STRING_BYTES_MAX);
	if (a->proc == NFS_READ)
		always(((const READ3res *)res)->READ3res_u.resok.count <= READ_MAX);
	if (a->proc == NFS_READDIRPLUS)
		use_list(&((const READDIRPLUS3res *)res)->READDIRPLUS3res_u.resok);
	if (a->proc == NFS_MNT)
		always(((const mountres3 *)res)->mountres3_u.mountinfo.fhandle.fhandle3_len <= NFS_HANDLE_BYTES_MAX);
}

static void on_done(void *ctx, int rc, void *res)
{
	struct answer *a = ctx;

	a->done = true;
	if (rc == 0)
		use(a, res);
}

static uint16_t listen_once(int *ret)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(at);

	*ret = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	always(*ret >= 0 && bind(*ret, (struct sockaddr *)&at, sizeof(at)) == 0 && listen(*ret, 16) == 0);
	always(getsockname(*ret, (struct sockaddr *)&at, &len) == 0);
	return ntohs(at.sin_port);
}

static struct link *connect_link(int listener, uint16_t port, int *ret_peer)
{
	struct linger at_once = { .l_onoff = 1 };
	struct link *l;

	always(link_new(0, 0, &l) == 0 && link_connect(l, "127.0.0.1", port) == 0);
	always(link_run(l, NULL, sync_now_ns() + 10 * SYNC_NS_PER_S) == 0);
	*ret_peer = accept(listener, NULL, NULL);
	always(*ret_peer >= 0);
	/* No port waits for its last bytes to be forgotten. */
	(void)setsockopt(*ret_peer, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
	return l;
}

static int send_call(struct link *l, struct answer *a)
{
	static char path[] = "/export", what[] = "name";
	static int program = 100003;
	nfs_fh3 fh = { .data = { .data_len = 4, .data_val = path } };
	diropargs3 entry = { .dir = fh, .name = what };
	union {
		READ3args read;
		WRITE3args write;
		CREATE3args create;
		RENAME3args rename;
		READDIRPLUS3args list;
		SYMLINK3args symlink;
		MKNOD3args mknod;
		LINK3args link;
		SETATTR3args setattr;
		ACCESS3args access;
	} args;
	struct link_call c = { .proc = a->proc, .args = &args, .room = room, .done = on_done, .ctx = a };

	memset(&args, 0, sizeof(args));
	/* Most begin with a handle, and a name. */
	args.create.where = entry;
	if (a->proc == NFS_RENAME)
		args.rename = (RENAME3args){ .from = entry, .to = entry };
	else if (a->proc == NFS_LINK)
		args.link = (LINK3args){ .file = fh, .link = entry };
	else if (a->proc == NFS_SYMLINK)
		args.symlink.symlink.symlink_data = what;
	else if (a->proc == NFS_MKNOD)
		args.mknod.what.type = NF3FIFO;
	else if (a->proc != NFS_CREATE && a->proc != NFS_MKDIR && a->proc != NFS_REMOVE && a->proc != NFS_RMDIR &&
	         a->proc != NFS_LOOKUP)
		memset((char *)&args + sizeof(fh), 0, sizeof(args) - sizeof(fh));
	if (a->proc == NFS_MNT)
		c.args = path;
	if (a->proc == NFS_GETPORT)
		c.args = &program;
	c.data_max_bytes = READ_MAX;
	a->done = false;
	return link_send(l, &c);
}

/* What is answered: a right header before the bytes, or not; in one part, or in two. */
static void answer_call(int peer, uint32_t xid, uint8_t how, const uint8_t *bytes, size_t len)
{
	uint8_t out[4 + 24 + 4 + UINT16_MAX];
	struct wr w = wr_init(out, sizeof(out));
	size_t first;

	wr_be32(&w, 0);
	wr_be32(&w, xid);
	wr_be32(&w, 1);
	if (how & 1)
		wr_zero(&w, 16);
	wr_copy(&w, bytes, len);
	if (how & 2)
		wr_zero(&w, READ_MAX);
	first = w.pos - 4;
	if ((how & 4) && first > 40) {
		/* The second part's mark goes where its first bytes were. */
		put_be32(out, 32);
		put_be32(out + 36, 0x80000000u | (uint32_t)(first - 36));
	} else {
		put_be32(out, 0x80000000u | (uint32_t)first);
	}
	(void)!send(peer, out, w.pos, MSG_NOSIGNAL);
}

static int one_answer(struct link *l, int peer, struct answer *a, uint8_t how, const uint8_t *bytes, size_t len)
{
	uint8_t call[CALL_BYTES];
	int rc;

	if (send_call(l, a))
		return 0;
	rc = link_step(l, 0);
	always(rc == 0 && recv(peer, call, sizeof(call), 0) > 8);
	answer_call(peer, get_be32(call + 4), how, bytes, len);
	for (unsigned i = 0; i < STEPS_MAX && rc == 0 && !a->done; i++)
		rc = link_step(l, POLLIN);
	return a->done ? rc : -1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct answer a;
	static int listener;
	static uint16_t port;
	struct rd r = rd_init(data, size);
	struct link *l;
	int peer, rc = 0;

	if (!port)
		port = listen_once(&listener);
	l = connect_link(listener, port, &peer);
	for (unsigned i = 0; i < CALLS_MAX && rc == 0 && rd_left(&r) > 4; i++) {
		uint8_t how;
		size_t len;

		a.proc = rd_u8(&r) % NFS_PROCS;
		how = rd_u8(&r);
		len = rd_be16(&r);
		if (len > rd_left(&r))
			len = rd_left(&r);
		rc = one_answer(l, peer, &a, how, rd_bytes(&r, len), len);
	}
	/* First, so that the port is not kept. */
	close(peer);
	link_free(l);
	return 0;
}
