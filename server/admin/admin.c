/* SPDX-License-Identifier: BSD-3-Clause */
/* From an HTTP request to its handler and back. */
#include "server/admin/admin.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/err.h"
#include "core/base/log.h"
#include "server/admin/body.h"
#include "server/admin/call.h"
#include "server/admin/encode.h"
#include "server/admin/status.h"
#include "server/audit/audit.h"

#define ADMIN_CONNECTIONS_MAX 64
#define ADMIN_READERS_MAX 32

#define TYPE_JSON "application/json"

/* Takes @object. */
static void reply_json(struct http_exchange *x, int status, json_t *object)
{
	char *text = object ? json_dumps(object, JSON_COMPACT) : NULL;

	json_decref(object);
	http_reply(x, status, TYPE_JSON, text, text ? strlen(text) : 0);
}

static void reply_error(struct http_exchange *x, int status, int code)
{
	reply_json(x, status, encode_error(err_get(), code));
}

/* False, and a reason in the thread's err chain, when the admin front end is stopping. */
static bool call_enter(struct admin *a)
{
	bool ok;

	sync_mutex_lock(&a->lock);
	ok = !a->stopping;
	if (ok)
		a->call_count++;
	sync_mutex_unlock(&a->lock);
	if (!ok)
		err_set(-ESHUTDOWN, "the daemon is stopping");
	return ok;
}

static void call_leave(struct admin *a)
{
	sync_mutex_lock(&a->lock);
	if (--a->call_count == 0)
		sync_cond_broadcast(&a->idle_cond);
	sync_mutex_unlock(&a->lock);
}

/* A change by the administrator, or its refusal. */
static void call_audit(const struct call *c, int err, uint64_t start_ns)
{
	struct audit *audit = c->admin->config.audit;
	struct audit_event e = { .class = AUDIT_ADMIN,
		                 .method = c->route->method == HTTP_DELETE ? "DELETE" : "POST",
		                 .operation = c->route->pattern,
		                 .err = err };
	char names[2 * AUDIT_NAME_BYTES];
	char *body;

	if (c->route->where != ROUTE_CHANGE || !audit_wants(audit, AUDIT_ADMIN, err))
		return;
	snprintf(names, sizeof(names), "%s%s%s", c->names[0] ? c->names[0] : "", c->names[1] ? "/" : "",
	         c->names[1] ? c->names[1] : "");
	audit_set_name(&e.name, names, strlen(names));
	body = json_dumps(c->body, JSON_COMPACT);
	if (body && json_object_size(c->body))
		audit_set_name(&e.detail, body, strlen(body));
	free(body);
	e.duration_ns = sync_now_ns() - start_ns;
	audit_put(audit, &e);
}

static void call_run(struct call *c)
{
	uint64_t start_ns = sync_now_ns();
	char text[512];
	int rc;

	err_clear();
	rc = c->route->handle(c);
	call_audit(c, rc < 0 ? rc : 0, start_ns);
	if (rc < 0) {
		json_decref(c->object);
		c->status = encode_http_status(rc);
		c->object = encode_error(err_get(), rc);
		if (c->route->where == ROUTE_CHANGE)
			log_warning("admin", "request refused path=%s error=\"%s\"", c->route->pattern,
			            err_text(err_get(), rc, 0, text, sizeof(text)));
	} else if (!c->object && !c->text) {
		c->object = json_object();
	}
}

/* On the loop's thread. */
static void call_finish(struct call *c)
{
	struct admin *a = c->admin;

	if (c->text)
		http_reply(c->exchange, c->status, c->text_type, c->text, c->text_len);
	else
		reply_json(c->exchange, c->status, c->object);
	json_decref(c->body);
	free(c);
	call_leave(a);
}

static void call_on_loop(struct loop_task *t)
{
	call_finish((struct call *)((char *)t - offsetof(struct call, task)));
}

static void call_on_worker(struct work *w)
{
	struct call *c = (struct call *)w;

	call_run(c);
	c->task.run = call_on_loop;
	loop_post(c->admin->config.loop, &c->task);
}

static void call_start(struct call *c)
{
	struct admin *a = c->admin;

	if (c->route->where == ROUTE_LOOP) {
		call_run(c);
		call_finish(c);
		return;
	}
	c->work.run = call_on_worker;
	workers_queue(a->config.workers, c->route->where == ROUTE_READER ? WORKER_LANE_READ : WORKER_LANE_ADMIN,
	              &c->work);
}

/* The call's route and arguments. 0 or a negative errno; *ret_status is its HTTP status. */
static int call_prepare(struct call *c, const struct http_request *request, bool reader, int *ret_status)
{
	enum daemon_state state = daemon_status_get(c->admin->config.status);
	bool other_method;
	int rc;

	c->path = request->path;
	c->route = route_find(request->method, &c->path, c->names, &other_method);
	if (c->route && reader && !c->route->metrics_too)
		c->route = NULL;
	if (!c->route && other_method && !reader) {
		*ret_status = 405;
		return err_set(-EINVAL, "this path does not take that method");
	}
	if (!c->route) {
		*ret_status = 404;
		return err_set(-ENOENT, "no such path");
	}
	if (c->path.query_key[0] && strcmp(c->path.query_key, "pool") != 0) {
		*ret_status = 400;
		return err_set(-EINVAL, "unknown key '%s' in the query", c->path.query_key);
	}
	if (c->route->where == ROUTE_CHANGE && state != DAEMON_RUNNING) {
		*ret_status = 503;
		return err_set(state == DAEMON_STARTING ? -EAGAIN : -ESHUTDOWN, "the daemon is %s",
		               daemon_state_name(state));
	}
	rc = body_parse(request->body, request->body_len, &c->body);
	*ret_status = encode_http_status(rc);
	return rc;
}

static void handle(struct admin *a, struct http_exchange *x, const struct http_request *request, bool reader)
{
	struct call *c = calloc(1, sizeof(*c));
	int status = 503;
	int rc;

	if (!c) {
		reply_error(x, 500, err_set(-ENOMEM, "out of memory"));
		return;
	}
	c->admin = a;
	c->exchange = x;
	c->status = 200;
	rc = call_prepare(c, request, reader, &status);
	if (rc == 0 && !call_enter(a)) {
		json_decref(c->body);
		rc = -ESHUTDOWN;
		status = 503;
	}
	if (rc < 0) {
		reply_error(x, status, rc);
		free(c);
		return;
	}
	call_start(c);
}

static void handle_control(void *ctx, struct http_exchange *x, const struct http_request *request)
{
	handle(ctx, x, request, false);
}

static void handle_reader(void *ctx, struct http_exchange *x, const struct http_request *request)
{
	handle(ctx, x, request, true);
}

void admin_accept(void *ctx, int fd, const char *peer)
{
	struct admin *a = ctx;

	http_server_accept(a->control, fd, peer);
}

void admin_accept_metrics(void *ctx, int fd, const char *peer)
{
	struct admin *a = ctx;

	http_server_accept(a->readers, fd, peer);
}

int admin_new(const struct admin_config *config, struct admin **ret)
{
	struct admin *a = calloc(1, sizeof(*a));

	if (!a)
		return err_set(-ENOMEM, "set up the admin front end");
	a->config = *config;
	sync_mutex_init(&a->verb_lock, SYNC_RANK_SERVER, "admin verbs");
	sync_mutex_init(&a->lock, SYNC_RANK_LEAF, "admin");
	sync_cond_init(&a->idle_cond);
	a->control = http_server_new(config->loop, ADMIN_CONNECTIONS_MAX, handle_control, a);
	a->readers = http_server_new(config->loop, ADMIN_READERS_MAX, handle_reader, a);
	if (!a->control || !a->readers) {
		admin_free(a);
		return err_set(-ENOMEM, "set up the admin front end");
	}
	*ret = a;
	return 0;
}

static void admin_stop_on_loop(void *arg)
{
	struct admin *a = arg;

	http_server_stop(a->control);
	http_server_stop(a->readers);
}

void admin_stop(struct admin *a, uint64_t timeout_ns)
{
	uint64_t deadline_ns = sync_now_ns() + timeout_ns;

	sync_mutex_lock(&a->lock);
	a->stopping = true;
	while (a->call_count && sync_cond_wait_until(&a->idle_cond, &a->lock, deadline_ns))
		;
	sync_mutex_unlock(&a->lock);
	loop_call(a->config.loop, admin_stop_on_loop, a);
}

void admin_free(struct admin *a)
{
	if (!a)
		return;
	http_server_free(a->control);
	http_server_free(a->readers);
	sync_cond_done(&a->idle_cond);
	sync_mutex_done(&a->lock);
	sync_mutex_done(&a->verb_lock);
	free(a);
}

int answer_object(struct call *c, int status, json_t *object)
{
	if (!object)
		return err_set(-ENOMEM, "build the answer");
	c->status = status;
	c->object = object;
	return 0;
}
