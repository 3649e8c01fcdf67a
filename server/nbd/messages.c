/* SPDX-License-Identifier: BSD-3-Clause */
/* The stderr of a nbdkit process. */
#include "server/nbd/messages.h"

#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/base/log.h"
#include "core/base/sync.h"

#define MESSAGE_BYTES_MAX 512
#define MESSAGES_PER_PERIOD 20
#define MESSAGES_PERIOD_NS (10 * SYNC_NS_PER_S)
#define MESSAGES_READS_AT_ONCE 16

struct nbd_messages {
	int fd;
	uint64_t connection_id;
	struct event *readable;
	uint64_t period_start_ns;
	unsigned period_count;
	unsigned suppressed;
	size_t len;
	char line[MESSAGE_BYTES_MAX + 1];
};

static void report_suppressed(struct nbd_messages *m)
{
	if (m->suppressed)
		log_warning("nbd", "nbdkit says more connection=%llu suppressed_lines=%u",
		            (unsigned long long)m->connection_id, m->suppressed);
	m->suppressed = 0;
}

static void end_line(struct nbd_messages *m)
{
	uint64_t now_ns = sync_now_ns();

	if (m->len == 0)
		return;
	m->line[m->len] = '\0';
	m->len = 0;
	if (now_ns - m->period_start_ns >= MESSAGES_PERIOD_NS) {
		report_suppressed(m);
		m->period_start_ns = now_ns;
		m->period_count = 0;
	}
	if (m->period_count++ >= MESSAGES_PER_PERIOD) {
		m->suppressed++;
		return;
	}
	log_notice("nbd", "nbdkit says connection=%llu text=\"%s\"", (unsigned long long)m->connection_id, m->line);
}

static void add_bytes(struct nbd_messages *m, const char *bytes, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		unsigned char c = (unsigned char)bytes[i];

		if (c == '\n' || m->len == MESSAGE_BYTES_MAX)
			end_line(m);
		if (c != '\n')
			m->line[m->len++] = c < 0x20 || c == 0x7f || c == '"' ? '\'' : (char)c;
	}
}

static void read_some(struct nbd_messages *m)
{
	char bytes[1024];

	for (int i = 0; i < MESSAGES_READS_AT_ONCE; i++) {
		ssize_t n = read(m->fd, bytes, sizeof(bytes));

		if (n > 0) {
			add_bytes(m, bytes, (size_t)n);
			continue;
		}
		if (n == 0 || (errno != EAGAIN && errno != EINTR))
			event_del(m->readable);
		return;
	}
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	read_some(arg);
}

struct nbd_messages *nbd_messages_new(struct event_base *base, int fd, uint64_t connection_id)
{
	struct nbd_messages *m = calloc(1, sizeof(*m));

	if (!m) {
		close(fd);
		return NULL;
	}
	m->fd = fd;
	m->connection_id = connection_id;
	m->period_start_ns = sync_now_ns();
	m->readable = event_new(base, fd, EV_READ | EV_PERSIST, on_readable, m);
	if (!m->readable || event_add(m->readable, NULL) < 0) {
		nbd_messages_free(m);
		return NULL;
	}
	return m;
}

void nbd_messages_drain(struct nbd_messages *m)
{
	read_some(m);
	end_line(m);
	report_suppressed(m);
}

void nbd_messages_free(struct nbd_messages *m)
{
	if (!m)
		return;
	if (m->readable)
		event_free(m->readable);
	close(m->fd);
	free(m);
}
