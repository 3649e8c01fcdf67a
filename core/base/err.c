/* SPDX-License-Identifier: BSD-3-Clause */
/* The thread's error chain and its text. */
#include "core/base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static _Thread_local struct err thread_err;

/* A full chain keeps where the error was detected; the outermost caller takes the last place. */
static void add_frame(struct err *e, const char *file, int line, const char *text)
{
	int at = e->frame_count < ERR_FRAMES_MAX ? e->frame_count++ : ERR_FRAMES_MAX - 1;

	e->frames[at].file = file;
	e->frames[at].line = line;
	memcpy(e->frames[at].text, text, ERR_TEXT_MAX);
}

int err_set_at(const char *file, int line, int code, const char *fmt, ...)
{
	char text[ERR_TEXT_MAX]; /* the arguments may point into the chain that is being replaced */
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	thread_err.code = code;
	thread_err.frame_count = 0;
	add_frame(&thread_err, file, line, text);
	return code;
}

int err_add_at(const char *file, int line, int code, const char *fmt, ...)
{
	char text[ERR_TEXT_MAX];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (thread_err.code != code) {
		thread_err.code = code;
		thread_err.frame_count = 0;
	}
	add_frame(&thread_err, file, line, text);
	return code;
}

const struct err *err_get(void)
{
	return &thread_err;
}

void err_clear(void)
{
	thread_err.code = 0;
	thread_err.frame_count = 0;
}

static void copy_chain(struct err *dst, const struct err *src)
{
	dst->code = src->code;
	dst->frame_count = src->frame_count;
	memcpy(dst->frames, src->frames, (size_t)src->frame_count * sizeof(src->frames[0]));
}

void err_take(struct err *ret)
{
	copy_chain(ret, &thread_err);
	err_clear();
}

void err_restore(const struct err *e)
{
	if (e != &thread_err)
		copy_chain(&thread_err, e);
}

struct text {
	char *buf;
	size_t len;
	size_t pos;
};

static void text_add(struct text *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void text_add(struct text *t, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(t->buf + t->pos, t->len - t->pos, fmt, ap);
	va_end(ap);
	if (n > 0)
		t->pos = (size_t)n < t->len - t->pos ? t->pos + (size_t)n : t->len - 1;
}

char *err_text(const struct err *e, int code, int with_source, char *buf, size_t len)
{
	struct text t = { .buf = buf, .len = len };
	const char *reason;

	buf[0] = '\0';
	if (e && e->frame_count > 0) {
		code = e->code;
		for (int i = e->frame_count - 1; i >= 0; i--) {
			text_add(&t, "%s", e->frames[i].text);
			if (with_source)
				text_add(&t, " (%s:%d)", e->frames[i].file, e->frames[i].line);
			text_add(&t, ": ");
		}
	}
	reason = strerrordesc_np(code < 0 ? -code : code);
	if (reason)
		text_add(&t, "%s", reason);
	else
		text_add(&t, "error %d", code);
	return buf;
}
