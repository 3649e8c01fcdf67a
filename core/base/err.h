/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Error context: what went wrong, told once, where it was detected.
 *
 * Functions return 0 (or a count) or a negative errno. Whoever detects an error calls err_set(), which starts a
 * new chain of frames for the calling thread; callers on the way up may err_add() what they were doing. Whoever
 * handles the error logs it or sends it to a client, once. The chain lives in the thread (fixed size, no memory
 * is allocated); err_take() moves it out when the error is handed to another thread.
 *
 * Project-wide meanings: -EUCLEAN damaged media, -EBADMSG a malformed message, -EAGAIN "would have to wait"
 * (only from calls that were told not to wait).
 */
#ifndef WFSD_CORE_BASE_ERR_H
#define WFSD_CORE_BASE_ERR_H

#include <stddef.h>

#define ERR_FRAMES_MAX 6
#define ERR_TEXT_MAX 224

struct err_frame {
	const char *file; /* static string */
	int line;
	char text[ERR_TEXT_MAX];
};

struct err {
	int code; /* negative errno, 0 when empty */
	int frame_count;
	struct err_frame frames[ERR_FRAMES_MAX]; /* [0] is where it was detected, later ones are callers */
};

/* Start a new chain with one frame. Returns @code, so that "return err_set(-EIO, ...)" reads well. */
#define err_set(code, ...) ERR_KEEP((code), err_set_at, __VA_ARGS__)
/* Add a caller's frame to the thread's chain (starts one when it is empty or holds another code). Returns @code. */
#define err_add(code, ...) ERR_KEEP((code), err_add_at, __VA_ARGS__)

/* The value is @code itself, so that the compiler sees that an error is not 0. */
#define ERR_KEEP(code, fn, ...)                                                                                        \
	__extension__({                                                                                                \
		int err_code_ = (code);                                                                                \
		(void)fn(__FILE__, __LINE__, err_code_, __VA_ARGS__);                                                  \
		err_code_;                                                                                             \
	})

int err_set_at(const char *file, int line, int code, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
int err_add_at(const char *file, int line, int code, const char *fmt, ...) __attribute__((format(printf, 4, 5)));

/* The calling thread's chain; valid until its next err_* call. Never NULL. */
const struct err *err_get(void);
void err_clear(void);
/* Copy the thread's chain to @ret and clear it; err_restore() is the way back, in any thread. */
void err_take(struct err *ret);
void err_restore(const struct err *e);

/*
 * One line of text, outermost caller first: "export tank: read volume vm1: device 0 offset 4096: Input/output error".
 * With @with_source the file:line of each frame is included. Falls back to strerror for an empty chain, using @code.
 * Always terminates @buf (len >= 1). Returns @buf.
 */
char *err_text(const struct err *e, int code, int with_source, char *buf, size_t len);

#endif
