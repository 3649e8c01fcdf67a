/* SPDX-License-Identifier: BSD-3-Clause */
/* The daemon's state and its list of problems. */
#include "server/admin/status.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/err.h"
#include "core/base/log.h"
#include "core/base/sync.h"

#define PROBLEM_TEXT_MAX 1024

struct problem {
	struct problem *next;
	char *about;
	char *text;
};

struct daemon_status {
	int state; /* atomic */
	uint64_t started_ns;
	struct sync_mutex lock;
	struct problem *problems SYNC_GUARDED_BY(lock);
};

struct daemon_status *daemon_status_new(void)
{
	struct daemon_status *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->started_ns = sync_now_ns();
	sync_mutex_init(&s->lock, SYNC_RANK_LEAF, "problems");
	return s;
}

static void problem_free(struct problem *p)
{
	free(p->about);
	free(p->text);
	free(p);
}

void daemon_status_free(struct daemon_status *s)
{
	if (!s)
		return;
	while (s->problems) {
		struct problem *p = s->problems;

		s->problems = p->next;
		problem_free(p);
	}
	sync_mutex_done(&s->lock);
	free(s);
}

void daemon_status_set(struct daemon_status *s, enum daemon_state state)
{
	__atomic_store_n(&s->state, (int)state, __ATOMIC_RELEASE);
}

enum daemon_state daemon_status_get(const struct daemon_status *s)
{
	return (enum daemon_state)__atomic_load_n(&s->state, __ATOMIC_ACQUIRE);
}

const char *daemon_state_name(enum daemon_state state)
{
	static const char *const names[] = {
		[DAEMON_STARTING] = "starting",
		[DAEMON_RUNNING] = "running",
		[DAEMON_STOPPING] = "stopping",
	};

	return names[state];
}

uint64_t daemon_status_uptime_ns(const struct daemon_status *s)
{
	return sync_now_ns() - s->started_ns;
}

void daemon_problem_set(struct daemon_status *s, const char *about, const char *text)
{
	struct problem *p = calloc(1, sizeof(*p));

	log_error("wfsd", "problem about=%s text=\"%s\"", about, text);
	daemon_problem_clear(s, about);
	if (!p)
		return;
	p->about = strdup(about);
	p->text = strdup(text);
	if (!p->about || !p->text) {
		problem_free(p);
		return;
	}
	sync_mutex_lock(&s->lock);
	p->next = s->problems;
	s->problems = p;
	sync_mutex_unlock(&s->lock);
}

void daemon_problem_set_error(struct daemon_status *s, const char *kind, const char *name, int code)
{
	char why[PROBLEM_TEXT_MAX], text[PROBLEM_TEXT_MAX + 320];

	err_text(err_get(), code, 0, why, sizeof(why));
	snprintf(text, sizeof(text), "%s %s: %s", kind, name, why);
	daemon_problem_set(s, name, text);
}

bool daemon_problem_clear(struct daemon_status *s, const char *about)
{
	struct problem **p, *found;

	sync_mutex_lock(&s->lock);
	for (p = &s->problems; *p && strcmp((*p)->about, about) != 0; p = &(*p)->next)
		;
	found = *p;
	if (found)
		*p = found->next;
	sync_mutex_unlock(&s->lock);
	if (found)
		problem_free(found);
	return found != NULL;
}

void daemon_problem_each(struct daemon_status *s, void (*fn)(void *ctx, const char *about, const char *text), void *ctx)
{
	sync_mutex_lock(&s->lock);
	for (const struct problem *p = s->problems; p; p = p->next)
		fn(ctx, p->about, p->text);
	sync_mutex_unlock(&s->lock);
}
