/* SPDX-License-Identifier: BSD-3-Clause */
/* wfs tx: changes of several files, read line by line, as one transaction. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/err.h"
#include "server/ctl/remote.h"

#define WORDS_MAX 3
#define PIECE_BYTES (512u << 10)

struct tx {
	struct remote *r;
	struct wfs_batch *b;
	uint64_t id;
	uint8_t *buf; /* PIECE_BYTES */
};

/* The words of a line, in place: separated by blanks, or in double quotes; '\' takes the next byte as it is. The number
 * of words; -1: too many, or a quote is open. */
static int split(char *line, char *words[WORDS_MAX])
{
	char *from = line, *to;
	int count = 0;

	for (;;) {
		bool quoted = false;

		from += strspn(from, " \t\n");
		if (!*from || *from == '#')
			return count;
		if (count == WORDS_MAX)
			return -1;
		words[count++] = to = from;
		for (; *from && (quoted || !strchr(" \t\n", *from)); from++) {
			if (*from == '"') {
				quoted = !quoted;
				continue;
			}
			if (*from == '\\' && from[1])
				from++;
			*to++ = *from;
		}
		if (quoted)
			return -1;
		if (*from)
			from++;
		*to = '\0';
	}
}

/* The batch is inside of the transaction, at the directory that holds the last name of @path; *ret_name is that. */
static int go_to(struct tx *t, const char *path, const char **ret_name)
{
	const char *slash = strrchr(path, '/');
	char *dir;
	int len = slash ? (int)(slash - path) : 0, err;

	*ret_name = slash ? slash + 1 : path;
	if (asprintf(&dir, "%s/%.*s", t->r->path, len, path) < 0)
		return err_set(-ENOMEM, "no memory for a path");
	(void)wfs_batch_put(t->b, &t->r->root);
	err = wfs_batch_lookup_path(t->b, dir, 1);
	free(dir);
	return err < 0 ? err : 0;
}

static void start(struct tx *t)
{
	wfs_batch_clear(t->b);
	(void)wfs_batch_put(t->b, &t->r->root);
	(void)wfs_batch_tx_use(t->b, t->id);
}

static int read_piece(int fd, uint8_t *buf, uint32_t *ret_len)
{
	size_t len = 0;

	while (len < PIECE_BYTES) {
		ssize_t n = read(fd, buf + len, PIECE_BYTES - len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_set(-errno, "read: %s", strerror(errno));
		if (!n)
			break;
		len += (size_t)n;
	}
	*ret_len = (uint32_t)len;
	return 0;
}

/* The first piece makes the file, or replaces what is there. */
static int put_pieces(struct tx *t, int fd, uint32_t mode, const char *path)
{
	uint64_t at = 0;
	uint32_t len;
	int err;

	do {
		const char *name;

		err = read_piece(fd, t->buf, &len);
		if (err || (at && !len))
			break;
		start(t);
		err = go_to(t, path, &name);
		if (!err && !at) {
			(void)wfs_batch_put_file(t->b, name, mode, 0, t->buf, len, NULL);
		} else if (!err) {
			(void)wfs_batch_lookup(t->b, name);
			(void)wfs_batch_write(t->b, t->buf, len, at, 0);
		}
		if (!err)
			err = wfs_batch_run(t->b, NULL, NULL);
		at += len;
	} while (!err && len == PIECE_BYTES);
	return err;
}

static int put(struct tx *t, const char *file, const char *path)
{
	int fd = open(file, O_RDONLY | O_CLOEXEC), err;
	struct stat st;

	if (fd < 0 || fstat(fd, &st))
		err = err_set(-errno, "%s: %s", file, strerror(errno));
	else if (!S_ISREG(st.st_mode))
		err = err_set(-EINVAL, "%s is not a file", file);
	else
		err = put_pieces(t, fd, st.st_mode & 0777, path);
	if (fd >= 0)
		close(fd);
	return err;
}

static int change(struct tx *t, char *words[WORDS_MAX], int count)
{
	const char *name, *new_name;
	int err;

	if (!strcmp(words[0], "put") && count == 3)
		return put(t, words[1], words[2]);
	start(t);
	if (!strcmp(words[0], "mv") && count == 3) {
		err = go_to(t, words[1], &name);
		(void)wfs_batch_save(t->b);
		if (!err)
			err = go_to(t, words[2], &new_name);
		if (!err)
			(void)wfs_batch_rename(t->b, name, new_name, 0);
	} else if (count == 2 && (!strcmp(words[0], "rm") || !strcmp(words[0], "rmdir"))) {
		err = go_to(t, words[1], &name);
		if (!err)
			(void)wfs_batch_unlink(t->b, name, words[0][2] != '\0');
	} else if (count == 2 && !strcmp(words[0], "mkdir")) {
		const struct wfs_new dir = { .type = WFS_TYPE_DIR, .mode = 0755 };

		err = go_to(t, words[1], &name);
		if (!err)
			(void)wfs_batch_make(t->b, name, &dir);
	} else {
		err = err_set(-EINVAL, "write put FILE PATH, mv PATH PATH, rm PATH, rmdir PATH or mkdir PATH");
	}
	return err ? err : wfs_batch_run(t->b, NULL, NULL);
}

static enum ctl_status say_line(unsigned line)
{
	char why[512];

	return command_fail(CTL_FAILED, "line %u: %s; nothing was changed", line, wfs_error_text(why, sizeof(why)));
}

static enum ctl_status run_lines(struct tx *t, FILE *in)
{
	enum ctl_status status = CTL_OK;
	char *text = NULL;
	size_t size = 0;

	for (unsigned line = 1; status == CTL_OK && getline(&text, &size, in) >= 0; line++) {
		char *words[WORDS_MAX];
		int count = split(text, words);

		if (count < 0)
			status = command_fail(CTL_FAILED, "line %u: more than %d words, or a quote is not closed", line,
			                      WORDS_MAX);
		else if (count && change(t, words, count))
			status = say_line(line);
	}
	free(text);
	return status;
}

/* A commit whose answer was lost may have been made. */
static enum ctl_status commit(struct tx *t)
{
	struct wfs_tx_status st;
	char why[512];
	int err;

	start(t);
	(void)wfs_batch_tx_commit(t->b, 1);
	err = wfs_batch_run(t->b, NULL, NULL);
	if (!err)
		return CTL_OK;
	(void)wfs_error_text(why, sizeof(why));
	wfs_batch_clear(t->b);
	(void)wfs_batch_put(t->b, &t->r->root);
	(void)wfs_batch_tx_status(t->b, t->id, &st);
	if (!wfs_batch_run(t->b, NULL, NULL) && st.state == WFS_TX_COMMITTED)
		return CTL_OK;
	return command_fail(CTL_FAILED, "%s: %s; nothing was changed",
	                    err == -ENOTUNIQ ? "somebody else has changed the same" : "cannot commit", why);
}

static enum ctl_status run_tx(struct tx *t)
{
	enum ctl_status status;

	(void)wfs_batch_put(t->b, &t->r->root);
	(void)wfs_batch_tx_begin(t->b, WFS_TX_SERIALIZABLE, 0, 0, &t->id);
	if (wfs_batch_run(t->b, NULL, NULL))
		return remote_fail("cannot begin a transaction on", t->r->text);
	status = run_lines(t, stdin);
	if (status == CTL_OK)
		return commit(t);
	start(t);
	(void)wfs_batch_tx_abort(t->b);
	(void)wfs_batch_run(t->b, NULL, NULL);
	return status;
}

enum ctl_status cmd_tx(struct ctl *c)
{
	struct remote r;
	struct tx t = { .r = &r, .buf = malloc(PIECE_BYTES) };
	enum ctl_status status = remote_open(c, c->operands[0], &r);

	if (status != CTL_OK) {
		free(t.buf);
		return status;
	}
	if (!t.buf || wfs_batch_new(r.w, &t.b))
		status = command_fail(CTL_FAILED, "no memory for a transaction");
	else
		status = run_tx(&t);
	wfs_batch_free(t.b);
	remote_close(&r);
	free(t.buf);
	return status;
}
