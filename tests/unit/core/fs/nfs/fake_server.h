/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An NFSv3 server in memory, on one port of the loopback: good enough for what the import asks, and bad when told so.
 * It keeps what was written apart from what is durable, so that it can forget. One thread; tests look at its files
 * under its lock.
 */
#ifndef WFSD_TESTS_FAKE_SERVER_H
#define WFSD_TESTS_FAKE_SERVER_H

#include <arpa/inet.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/unit/core/fs/nfs/fake_procs.h"

/* What failed has one shape or another, all of which begin with "no attributes". */
static inline void fake_put_failure(struct wr *w, unsigned proc, uint32_t status)
{
	static const uint8_t words[FAKE_PROCS] = {
		[FAKE_MNT] = 0,         [FAKE_GETATTR] = 0,  [FAKE_LOOKUP] = 1, [FAKE_ACCESS] = 1,
		[FAKE_READ] = 1,        [FAKE_READLINK] = 1, [FAKE_RENAME] = 4, [FAKE_LINK] = 3,
		[FAKE_READDIRPLUS] = 1, [FAKE_FSSTAT] = 1,   [FAKE_FSINFO] = 1
	};
	bool changes = proc == FAKE_SETATTR || (proc >= FAKE_WRITE && proc <= FAKE_RMDIR) || proc == FAKE_COMMIT;

	wr_be32(w, status);
	for (unsigned i = 0; i < (changes ? 2u : words[proc]); i++)
		wr_be32(w, 0);
}

/* One call; false: the connection is to be closed. */
static inline bool fake_answer(struct fake *s, int fd, size_t in_len)
{
	struct rd r = rd_init(s->in, in_len);
	struct wr w = wr_init(s->out + 4, sizeof(s->out) - 4);
	uint32_t xid = rd_be32(&r), program, proc, status;
	size_t len;

	(void)rd_be64(&r);
	program = rd_be32(&r);
	(void)rd_be32(&r);
	proc = program == FAKE_PROGRAM_MOUNT ? FAKE_MNT : rd_be32(&r);
	if (program == FAKE_PROGRAM_MOUNT)
		(void)rd_be32(&r);
	for (unsigned i = 0; i < 2; i++) {
		(void)rd_be32(&r);
		(void)rd_bytes(&r, rd_be32(&r));
	}
	if (proc >= FAKE_PROCS)
		return false;
	s->calls[proc]++;
	if (s->stall)
		return true;
	if (s->drop_before == proc) {
		s->drop_before = 0;
		return false;
	}
	wr_be32(&w, xid);
	wr_be32(&w, 1);
	for (unsigned i = 0; i < 4; i++)
		wr_be32(&w, 0); /* accepted, no verifier, carried out */
	status = s->later && proc != FAKE_MNT ? 10008 : fake_do(s, proc, &r, &w);
	s->later -= s->later && proc != FAKE_MNT;
	if (status)
		fake_put_failure(&w, proc, status);
	if (s->drop_after == proc) {
		s->drop_after = 0;
		return false;
	}
	len = w.pos;
	if (s->mangle)
		s->mangle(s->mangle_ctx, proc, s->out + 4, &len);
	put_be32(s->out, 0x80000000u | (uint32_t)len);
	return send(fd, s->out, len + 4, MSG_NOSIGNAL) == (ssize_t)(len + 4);
}

static inline bool fake_read_all(int fd, void *buf, size_t len)
{
	return recv(fd, buf, len, MSG_WAITALL) == (ssize_t)len;
}

static inline void fake_serve(struct fake *s, int *fd)
{
	uint8_t mark[4];
	size_t len;
	bool good = fake_read_all(*fd, mark, sizeof(mark));

	len = good ? get_be32(mark) & 0x7fffffffu : 0;
	good = good && len <= sizeof(s->in) && fake_read_all(*fd, s->in, len);
	sync_mutex_lock(&s->lock);
	good = good && fake_answer(s, *fd, len);
	sync_mutex_unlock(&s->lock);
	if (!good) {
		close(*fd);
		*fd = -1;
	}
}

static inline void fake_main(void *arg)
{
	struct fake *s = arg;
	bool stop = false;

	while (!stop) {
		struct pollfd p[FAKE_CONNECTIONS + 2] = { { .fd = s->listener, .events = POLLIN },
			                                  { .fd = s->wake[0], .events = POLLIN } };

		for (unsigned i = 0; i < FAKE_CONNECTIONS; i++)
			p[i + 2] = (struct pollfd){ .fd = s->connections[i], .events = POLLIN };
		(void)poll(p, FAKE_CONNECTIONS + 2, -1);
		for (unsigned i = 0; i < FAKE_CONNECTIONS; i++) {
			if (s->connections[i] >= 0 && p[i + 2].revents)
				fake_serve(s, &s->connections[i]);
			else if (s->connections[i] < 0 && p[0].revents) {
				s->connections[i] = accept(s->listener, NULL, NULL);
				p[0].revents = 0;
			}
		}
		sync_mutex_lock(&s->lock);
		stop = s->stop;
		sync_mutex_unlock(&s->lock);
	}
}

static inline struct fake *fake_start(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(a);
	struct fake *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	for (unsigned i = 0; i < FAKE_CONNECTIONS; i++)
		s->connections[i] = -1;
	s->files[0] = (struct fake_file){ .type = 2, .mode = 0755, .version = ++s->clock };
	s->verifier = 1;
	sync_mutex_init(&s->lock, SYNC_RANK_LEAF, "fake server");
	s->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (bind(s->listener, (struct sockaddr *)&a, sizeof(a)) || listen(s->listener, 16) ||
	    getsockname(s->listener, (struct sockaddr *)&a, &len) || pipe(s->wake))
		return NULL;
	s->port = ntohs(a.sin_port);
	return sync_thread_start(&s->thread, "fake-nfs", fake_main, s) ? NULL : s;
}

static inline void fake_stop(struct fake *s)
{
	sync_mutex_lock(&s->lock);
	s->stop = true;
	sync_mutex_unlock(&s->lock);
	(void)!write(s->wake[1], "", 1);
	sync_thread_join(&s->thread);
	for (unsigned i = 0; i < FAKE_CONNECTIONS; i++) {
		if (s->connections[i] >= 0)
			close(s->connections[i]);
	}
	for (unsigned i = 0; i < FAKE_FILES; i++)
		free(s->files[i].data);
	close(s->listener);
	close(s->wake[0]);
	close(s->wake[1]);
	sync_mutex_done(&s->lock);
	free(s);
}

#endif
