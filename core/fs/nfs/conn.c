/* SPDX-License-Identifier: BSD-3-Clause */
/* The thread of one connection: connects when there is something to do, sends what is queued, ends what has waited. */
#include "core/fs/nfs/conn.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <nfsc/libnfs-raw-nfs.h>

#include "core/base/checked.h"
#include "core/base/err.h"

#define PAGE_BYTES 4096u
#define CHECK_MS 100u /* how often deadlines are looked at */
#define LATER_MS 100u /* after "try again later" */
#define BACKOFF_MIN_MS 50u
#define BACKOFF_MAX_MS 1000u
#define STATUS_LATER 10008u /* NFS3ERR_JUKEBOX */

static unsigned read_room(void *ctx, uint32_t at, uint32_t len, struct iovec *ret, unsigned max)
{
	const struct nfs_call *c = ctx;
	uint32_t pos = c->done_bytes + at, end = pos + len;
	unsigned count = 0;

	for (; pos < end && count < max; count++) {
		uint8_t *page = c->pages[pos / PAGE_BYTES];
		uint32_t within = pos % PAGE_BYTES, part = PAGE_BYTES - within;

		if (part > end - pos)
			part = end - pos;
		ret[count] = (struct iovec){ .iov_base = page ? page + within : c->conn->staging, .iov_len = part };
		pos += part;
	}
	return count;
}

static void from_pages(const struct nfs_call *c, uint8_t *bytes)
{
	for (uint32_t at = c->done_bytes; at < c->len_bytes;) {
		uint32_t within = at % PAGE_BYTES, part = PAGE_BYTES - within;

		if (part > c->len_bytes - at)
			part = c->len_bytes - at;
		memcpy(bytes, (const uint8_t *)c->pages[at / PAGE_BYTES] + within, part);
		bytes += part;
		at += part;
	}
}

static int take_read(struct nfs_call *c, const READ3resok *r)
{
	/* Not more than was asked for: that was looked at. */
	c->done_bytes += r->count;
	c->eof = r->eof;
	nfs_count(&c->conn->net->stats.read_bytes, r->count);
	/* A server that sends nothing, and says that there is more, would be asked for ever. */
	if (!r->count && !c->eof)
		return -EBADMSG;
	return 0;
}

static int take_write(struct nfs_call *c, const WRITE3resok *r)
{
	if (!r->count || r->count > c->len_bytes - c->done_bytes)
		return -EBADMSG;
	c->done_bytes += r->count;
	nfs_count(&c->conn->net->stats.written_bytes, r->count);
	return 0;
}

/* What the server says; -EAGAIN: the call is to be sent (again) for what is left. */
static int take_result(struct nfs_call *c, const void *res)
{
	uint32_t status;
	int rc = 0;

	memcpy(&status, res, sizeof(status)); /* the first member of all of them */
	if (status == STATUS_LATER) {
		c->not_before_ns = sync_now_ns() + LATER_MS * SYNC_NS_PER_MS;
		return -EAGAIN;
	}
	rc = nfs_status_errno(status);
	if (rc == 0 && c->proc == NFS_READ)
		rc = take_read(c, &((const READ3res *)res)->READ3res_u.resok);
	if (rc == 0 && c->proc == NFS_WRITE)
		rc = take_write(c, &((const WRITE3res *)res)->WRITE3res_u.resok);
	if (rc == 0 && c->take)
		rc = c->take(c->ctx, res);
	if (rc == 0 && (c->proc == NFS_READ || c->proc == NFS_WRITE) && c->done_bytes < c->len_bytes && !c->eof)
		rc = -EAGAIN;
	return rc;
}

static void unload(struct nfs_call *c)
{
	(void)__atomic_sub_fetch(&c->conn->load, 1, __ATOMIC_RELAXED);
}

static void on_done(void *ctx, int rc, void *res)
{
	struct nfs_call *c = ctx;
	struct nfs_conn *conn = c->conn;
	struct nfs_net *net = conn->net;

	cds_list_del(&c->link);
	if (rc == 0) {
		__atomic_store_n(&net->heard_ns, sync_now_ns(), __ATOMIC_RELAXED);
		__atomic_store_n(&net->down, 0, __ATOMIC_RELEASE);
		conn->backoff_ms = 0;
		rc = take_result(c, res);
	}
	unload(c);
	if ((rc == -EAGAIN || rc == -ECONNRESET) && __atomic_load_n(&net->dead, __ATOMIC_ACQUIRE)) {
		rc = -ESTALE;
	} else if ((rc == -EAGAIN || rc == -ECONNRESET) && sync_now_ns() >= c->deadline_ns) {
		nfs_count(&net->stats.timed_out, 1);
		rc = -ETIMEDOUT;
	} else if (rc == -ECONNRESET && !c->once) {
		nfs_count(&net->stats.repeated, 1);
		rc = -EAGAIN;
	}
	if (rc == -EAGAIN)
		nfs_net_queue(net, c);
	else
		nfs_call_end(c, rc);
}

static void drop_link(struct nfs_conn *conn)
{
	struct link *l = conn->link;

	conn->link = NULL;
	__atomic_store_n(&conn->connected, false, __ATOMIC_RELAXED);
	link_free(l);
}

/* Try again after a while, which grows. */
static void back_off(struct nfs_conn *conn)
{
	drop_link(conn);
	conn->backoff_ms = conn->backoff_ms ? (unsigned)min_u64(conn->backoff_ms * 2, BACKOFF_MAX_MS) : BACKOFF_MIN_MS;
	conn->retry_ns = sync_now_ns() + conn->backoff_ms * SYNC_NS_PER_MS;
}

static void begin_connect(struct nfs_conn *conn)
{
	const struct nfs_net_config *k = &conn->net->config;
	int rc = link_new(k->uid, k->gid, &conn->link);

	if (rc == 0)
		rc = link_connect(conn->link, k->address, k->port);
	conn->connect_by_ns = sync_now_ns() + k->timeout_ms * SYNC_NS_PER_MS;
	if (rc)
		back_off(conn);
}

static int send_read(struct nfs_conn *conn, struct nfs_call *c, struct link_call *call)
{
	READ3args a = *(const READ3args *)c->args;

	a.offset = c->offset + c->done_bytes;
	a.count = c->len_bytes - c->done_bytes;
	call->args = &a;
	call->room = read_room;
	call->data_max_bytes = a.count;
	return link_send(conn->link, call);
}

static int send_write(struct nfs_conn *conn, struct nfs_call *c, struct link_call *call)
{
	WRITE3args a = *(const WRITE3args *)c->args;

	from_pages(c, conn->staging);
	a.offset = c->offset + c->done_bytes;
	a.count = c->len_bytes - c->done_bytes;
	a.data.data_len = a.count;
	a.data.data_val = (char *)conn->staging;
	call->args = &a;
	return link_send(conn->link, call);
}

static int send_one(struct nfs_conn *conn, struct nfs_call *c)
{
	struct link_call call = { .proc = c->proc, .args = c->args, .done = on_done, .ctx = c };

	nfs_count(&conn->net->stats.calls, 1);
	if (c->proc == NFS_READ)
		return send_read(conn, c, &call);
	if (c->proc == NFS_WRITE)
		return send_write(conn, c, &call);
	return link_send(conn->link, &call);
}

/* The first call in the queue whose time has come, or NULL. */
static struct nfs_call *next_call(struct nfs_conn *conn, uint64_t now)
{
	struct nfs_call *c, *found = NULL;

	sync_mutex_lock(&conn->lock);
	cds_list_for_each_entry (c, &conn->queue, link) {
		if (c->not_before_ns <= now) {
			found = c;
			cds_list_del(&c->link);
			break;
		}
	}
	sync_mutex_unlock(&conn->lock);
	return found;
}

static void send_queued(struct nfs_conn *conn)
{
	uint64_t now = sync_now_ns();

	while (link_waiting(conn->link) < CONN_IN_FLIGHT_MAX) {
		struct nfs_call *c = next_call(conn, now);
		int rc;

		if (!c)
			return;
		cds_list_add_tail(&c->link, &conn->sent);
		rc = send_one(conn, c);
		if (rc) {
			cds_list_del(&c->link);
			unload(c);
			nfs_call_end(c, rc);
		}
	}
}

static void set_down(struct nfs_net *net)
{
	if (!__atomic_exchange_n(&net->down, 1, __ATOMIC_ACQ_REL) && net->config.on_down)
		net->config.on_down(net->config.ctx);
}

/* End what has waited too long, or everything. A call that was sent takes its connection with it, since what the server
 * still sends must go nowhere. */
static void check_deadlines(struct nfs_conn *conn, bool all, int rc)
{
	uint64_t now = sync_now_ns();
	struct cds_list_head over;
	struct nfs_call *c, *next;
	bool late = false;

	CDS_INIT_LIST_HEAD(&over);
	cds_list_for_each_entry (c, &conn->sent, link)
		late |= all || c->deadline_ns <= now;
	if (late && !all &&
	    __atomic_load_n(&conn->net->heard_ns, __ATOMIC_RELAXED) + conn->net->config.timeout_ms * SYNC_NS_PER_MS <=
	            now)
		set_down(conn->net);
	if (late)
		back_off(conn);
	sync_mutex_lock(&conn->lock);
	cds_list_for_each_entry_safe (c, next, &conn->queue, link) {
		if (all || c->deadline_ns <= now)
			cds_list_move(&c->link, &over);
	}
	sync_mutex_unlock(&conn->lock);
	cds_list_for_each_entry_safe (c, next, &over, link) {
		if (!all) {
			nfs_count(&conn->net->stats.timed_out, 1);
			set_down(conn->net);
		}
		unload(c);
		nfs_call_end(c, rc);
	}
	conn->checked_ns = now;
}

static bool has_work(struct nfs_conn *conn, bool *ret_stop)
{
	bool queued;

	sync_mutex_lock(&conn->lock);
	queued = !cds_list_empty(&conn->queue);
	*ret_stop = conn->stop;
	sync_mutex_unlock(&conn->lock);
	return queued || !cds_list_empty(&conn->sent);
}

static void wait_and_step(struct nfs_conn *conn, bool work)
{
	struct pollfd p[2] = { { .fd = conn->event, .events = POLLIN }, { .fd = -1 } };
	uint64_t drained;
	int rc;

	if (conn->link)
		link_poll(conn->link, &p[1]);
	if (poll(p, 2, work ? (int)CHECK_MS / 2 : -1) < 0)
		return;
	if (p[0].revents)
		(void)!read(conn->event, &drained, sizeof(drained));
	if (!conn->link)
		return;
	rc = link_step(conn->link, p[1].revents);
	if (rc == -EBADMSG)
		nfs_count(&conn->net->stats.bad_replies, 1);
	if (rc) {
		back_off(conn);
	} else if (link_connected(conn->link) && !conn->connected) {
		nfs_count(&conn->net->stats.connects, 1);
		__atomic_store_n(&conn->connected, true, __ATOMIC_RELAXED);
	}
}

static void thread_main(void *arg)
{
	struct nfs_conn *conn = arg;
	bool stop = false;

	while (!stop) {
		bool work = has_work(conn, &stop);
		uint64_t now = sync_now_ns();

		if (__atomic_load_n(&conn->net->dead, __ATOMIC_ACQUIRE))
			check_deadlines(conn, true, -ESTALE);
		else if (work && now >= conn->checked_ns + CHECK_MS * SYNC_NS_PER_MS)
			check_deadlines(conn, false, -ETIMEDOUT);
		if (conn->link && !conn->connected && now >= conn->connect_by_ns)
			back_off(conn);
		if (work && !conn->link && now >= conn->retry_ns && !stop)
			begin_connect(conn);
		if (conn->link && conn->connected)
			send_queued(conn);
		if (conn->link && conn->connected && link_step(conn->link, 0))
			back_off(conn);
		if (!stop)
			wait_and_step(conn, work);
	}
	drop_link(conn);
}

int nfs_conn_start(struct nfs_conn *c, struct nfs_net *net)
{
	int rc = 0;

	c->net = net;
	CDS_INIT_LIST_HEAD(&c->queue);
	CDS_INIT_LIST_HEAD(&c->sent);
	c->staging = malloc(LINK_DATA_BYTES_MAX);
	c->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (!c->staging)
		rc = err_set(-ENOMEM, "no memory for a connection");
	else if (c->event < 0)
		rc = err_set(-errno, "no descriptor for a connection");
	sync_mutex_init(&c->lock, SYNC_RANK_BLK, "nfs connection");
	if (rc == 0)
		rc = sync_thread_start(&c->thread, "nfs", thread_main, c);
	if (rc == 0)
		return 0;
	sync_mutex_done(&c->lock);
	if (c->event >= 0)
		close(c->event);
	free(c->staging);
	return rc;
}

void nfs_conn_stop(struct nfs_conn *c)
{
	sync_mutex_lock(&c->lock);
	c->stop = true;
	sync_mutex_unlock(&c->lock);
	nfs_conn_wake(c);
	sync_thread_join(&c->thread);
	sync_mutex_done(&c->lock);
	close(c->event);
	free(c->staging);
}

void nfs_conn_wake(struct nfs_conn *c)
{
	uint64_t one = 1;

	(void)!write(c->event, &one, sizeof(one));
}
