/* SPDX-License-Identifier: BSD-3-Clause */
/* What the RPC server counts, for Prometheus and for STATISTICS. READ_SHM and WRITE_SHM count as READ and WRITE. */
#include <stdio.h>

#include "protocol/xdr/xdr.h"
#include "server/rpc/internal.h"

static double connections(void *ctx)
{
	return rpc_server_connections(ctx);
}

static int register_procedure(struct rpc_server *s, uint32_t procedure)
{
	struct rpc_stats *st = &s->stats;
	char labels[64];
	int err;

	snprintf(labels, sizeof(labels), "operation=\"%s\"", wfsp_procedure_name(procedure));
	err = metrics_add_counter(s->metrics, s, "wfsd_rpc_requests_total", "Requests answered.", labels,
	                          &st->requests[procedure]);
	if (!err)
		err = metrics_add_counter(s->metrics, s, "wfsd_rpc_errors_total", "Requests answered with an error.",
		                          labels, &st->errors[procedure]);
	if (!err)
		err = metrics_add_histogram(s->metrics, s, "wfsd_rpc_latency_seconds",
		                            "Time from a request's arrival to its answer.", labels,
		                            &st->latency[procedure]);
	return err;
}

/* An operation of compounds. */
static int register_operation(struct rpc_server *s, uint32_t code)
{
	char labels[64];
	int err;

	snprintf(labels, sizeof(labels), "operation=\"%s\"", wfsp_op_name(code));
	err = metrics_add_counter(s->metrics, s, "wfsd_rpc_tree_operations_total",
	                          "Operations on file trees, within compounds.", labels, &s->stats.operations[code]);
	if (!err)
		err = metrics_add_counter(s->metrics, s, "wfsd_rpc_tree_errors_total",
		                          "Operations on file trees that failed, and ended their compound.", labels,
		                          &s->stats.operation_errors[code]);
	return err;
}

int rpc_metrics_register(struct rpc_server *s)
{
	const struct {
		const char *name;
		const char *help;
		const struct counter *counter;
	} counters[] = {
		{ "wfsd_rpc_read_bytes_total", "Payload bytes read by clients.", &s->stats.read_bytes },
		{ "wfsd_rpc_written_bytes_total", "Payload bytes written by clients.", &s->stats.written_bytes },
		{ "wfsd_rpc_deferred_total", "Requests that had to wait and went to a worker.", &s->stats.deferred },
		{ "wfsd_rpc_shm_requests_total", "Reads and writes whose payload went through shared memory.",
		  &s->stats.shm_requests },
		{ "wfsd_rpc_connections_total", "Connections accepted without TLS.", &s->stats.accepted },
		{ "wfsd_rpc_tls_connections_total", "Connections accepted with TLS.", &s->stats.tls_accepted },
		{ "wfsd_rpc_connections_refused_total", "Connections closed at once, as there were too many.",
		  &s->stats.refused },
		{ "wfsd_rpc_tls_refused_total", "TLS handshakes that failed.", &s->stats.tls_refused },
		{ "wfsd_rpc_notices_total", "Notices to clients: changes seen by watches, locks granted.",
		  &s->stats.notices },
		{ "wfsd_rpc_notices_lost_total", "Times that a watch told its client that it lost something.",
		  &s->stats.notices_lost },
		{ "wfsd_rpc_bad_records_total", "Connections ended for what they sent, or did not take.",
		  &s->stats.bad_records },
		{ "wfsd_rpc_refused_calls_total", "Calls answered with an RPC error.", &s->stats.refused_calls },
	};
	int err = metrics_add_gauge(s->metrics, s, "wfsd_rpc_connections", "Connections open.", NULL, connections, s);

	for (size_t i = 0; i < sizeof(counters) / sizeof(counters[0]) && !err; i++)
		err = metrics_add_counter(s->metrics, s, counters[i].name, counters[i].help, NULL, counters[i].counter);
	for (uint32_t p = 0; p < WFSP_READ_SHM && !err; p++)
		err = register_procedure(s, p);
	for (uint32_t p = WFSP_COMPOUND; p < WFSP_PROCEDURES && !err; p++)
		err = register_procedure(s, p);
	for (uint32_t code = 1; code < WFSP_OP_CODES && !err; code++)
		err = register_operation(s, code);
	return err ? err : rpc_export_stats_register(s);
}

void rpc_put_counter(struct wr *w, const char *name, uint64_t value)
{
	struct wfsp_counter v = { .value = value };

	snprintf(v.name, sizeof(v.name), "%s", name);
	wfsp_put_counter(w, &v);
}

void rpc_put_statistics(struct rpc_server *s, struct wr *w)
{
	struct wr count = *w;
	uint32_t n = 6;
	char name[WFSP_COUNTER_NAME_MAX + 1];

	wr_be32(w, 0);
	rpc_put_counter(w, "uptime_ms", (sync_now_ns() - s->start_ns) / SYNC_NS_PER_MS);
	rpc_put_counter(w, "connections", rpc_server_connections(s));
	rpc_put_counter(w, "read_bytes", counter_read(&s->stats.read_bytes));
	rpc_put_counter(w, "written_bytes", counter_read(&s->stats.written_bytes));
	rpc_put_counter(w, "deferred", counter_read(&s->stats.deferred));
	rpc_put_counter(w, "shm_requests", counter_read(&s->stats.shm_requests));
	for (uint32_t p = 0; p < WFSP_PROCEDURES; p++) {
		if (p == WFSP_READ_SHM || p == WFSP_WRITE_SHM)
			continue;
		snprintf(name, sizeof(name), "%s_requests", wfsp_procedure_name(p));
		rpc_put_counter(w, name, counter_read(&s->stats.requests[p]));
		snprintf(name, sizeof(name), "%s_errors", wfsp_procedure_name(p));
		rpc_put_counter(w, name, counter_read(&s->stats.errors[p]));
		n += 2;
	}
	for (uint32_t code = 1; code < WFSP_OP_CODES; code++, n++) {
		snprintf(name, sizeof(name), "tree_%s", wfsp_op_name(code));
		rpc_put_counter(w, name, counter_read(&s->stats.operations[code]));
	}
	wr_be32(&count, n);
}

/* Written by one thread only. */
static void count(uint64_t *to, uint64_t n)
{
	__atomic_store_n(to, *to + n, __ATOMIC_RELAXED);
}

static bool changes(uint32_t procedure)
{
	return procedure == WFSP_WRITE || procedure == WFSP_FLUSH || procedure == WFSP_DISCARD ||
	       procedure == WFSP_ZERO;
}

void rpc_count(const struct rpc_op *op, uint64_t now)
{
	struct rpc_stats *st = &op->conn->server->stats;
	struct rpc_conn *c = op->conn;
	uint64_t read_bytes = op->read_bytes, written_bytes = op->written_bytes, operations = 1;

	if (!op->err && op->procedure == WFSP_READ)
		read_bytes = op->len_bytes;
	else if (!op->err && op->procedure == WFSP_WRITE)
		written_bytes = op->len_bytes;
	counter_add(&st->requests[op->procedure], 1);
	histogram_add(&st->latency[op->procedure], now - op->start_ns);
	if (op->err)
		counter_add(&st->errors[op->procedure], 1);
	if (read_bytes)
		counter_add(&st->read_bytes, read_bytes);
	if (written_bytes)
		counter_add(&st->written_bytes, written_bytes);
	if (op->shm)
		counter_add(&st->shm_requests, 1);
	if (op->handle)
		rpc_export_count(op->handle->stats, &(struct rpc_export_done){ .failed = op->err != 0,
		                                                               .change = changes(op->procedure),
		                                                               .read_bytes = read_bytes,
		                                                               .written_bytes = written_bytes,
		                                                               .took_ns = now - op->start_ns });
	if (op->procedure == WFSP_COMPOUND && !op->err)
		operations = op->operations;
	count(&c->done_so_far.operations, operations);
	count(&c->done_so_far.failed_operations, op->err ? 1 : op->failed_operations);
	/* That waits until there is something to tell. */
	count(&c->done_so_far.latency_ns, op->procedure == WFSP_NOTICES ? 0 : now - op->start_ns);
	count(&c->done_so_far.requests, 1);
	count(&c->done_so_far.errors, op->err ? 1 : 0);
	count(&c->done_so_far.read_bytes, read_bytes);
	count(&c->done_so_far.written_bytes, written_bytes);
}
