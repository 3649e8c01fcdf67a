/* SPDX-License-Identifier: BSD-3-Clause */
/* wfs tx: changes of several files, read line by line, as one transaction; and what became of one. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/err.h"
#include "server/ctl/remote.h"
#include "server/ctl/size.h"

#define WORDS_MAX 3
#define PIECE_BYTES (512u << 10)

struct tx {
	struct remote *r;
	struct wfs_batch *b;
	uint64_t id;
	unsigned isolation;
	uint32_t ttl_ms; /* 0: the server's choice */
	bool json;
	bool given_up; /* by a line of the input */
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
		err = err_set(-EINVAL,
		              "write put FILE PATH, mv PATH PATH, rm PATH, rmdir PATH, mkdir PATH, status or abort");
	}
	return err ? err : wfs_batch_run(t->b, NULL, NULL);
}

/* ---- how it stands ---- */

static int ask(struct tx *t, struct wfs_tx_status *ret)
{
	wfs_batch_clear(t->b);
	(void)wfs_batch_put(t->b, &t->r->root);
	(void)wfs_batch_tx_status(t->b, t->id, ret);
	return wfs_batch_run(t->b, NULL, NULL);
}

static const char *state_name(enum wfs_tx_state state)
{
	return state == WFS_TX_RUNNING ? "running" : state == WFS_TX_COMMITTED ? "committed" : "aborted";
}

static enum ctl_status print_json_status(const struct tx *t, const struct wfs_tx_status *st)
{
	json_t *o = json_pack("{s:I, s:s}", "id", (json_int_t)t->id, "state", state_name(st->state));

	if (st->state == WFS_TX_COMMITTED && st->committed_ns)
		json_object_set_new(o, "committed_ns", json_integer((json_int_t)st->committed_ns));
	if (st->state == WFS_TX_ABORTED && st->reason)
		json_object_set_new(o, "reason", json_string(strerrorname_np(-st->reason)));
	if (*st->name)
		json_object_set_new(o, "name", json_string(st->name));
	if (!o)
		return command_fail(CTL_FAILED, "out of memory");
	command_print_json(o);
	json_decref(o);
	return CTL_OK;
}

static enum ctl_status print_status(const struct tx *t, const struct wfs_tx_status *st)
{
	char when[SIZE_TEXT_MAX];

	if (t->json)
		return print_json_status(t, st);
	printf("transaction %" PRIu64 ": %s", t->id, state_name(st->state));
	if (st->state == WFS_TX_COMMITTED)
		printf(", %s", time_format(st->committed_ns, when));
	if (st->state == WFS_TX_ABORTED && st->reason)
		printf(", %s", st->reason == -ENOTUNIQ ? "somebody else has changed the same" : strerror(-st->reason));
	if (*st->name) {
		fputs(": ", stdout);
		command_print_text(stdout, st->name);
	}
	putchar('\n');
	fflush(stdout);
	return CTL_OK;
}

static enum ctl_status tell_status(struct tx *t)
{
	struct wfs_tx_status st;
	int err = ask(t, &st);

	if (err == -ENOENT)
		return command_fail(CTL_FAILED,
		                    "transaction %" PRIu64 " is not known: it was not committed, or long ago", t->id);
	return err ? remote_fail("cannot ask about a transaction on", t->r->text) : print_status(t, &st);
}

/* ---- lines ---- */

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

	for (unsigned line = 1; status == CTL_OK && !t->given_up && getline(&text, &size, in) >= 0; line++) {
		char *words[WORDS_MAX];
		int count = split(text, words);

		if (count < 0)
			status = command_fail(CTL_FAILED, "line %u: more than %d words, or a quote is not closed", line,
			                      WORDS_MAX);
		else if (count == 1 && !strcmp(words[0], "status"))
			status = tell_status(t);
		else if (count == 1 && !strcmp(words[0], "abort"))
			t->given_up = true;
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
	char why[512], *reason;
	int err, asked;

	start(t);
	(void)wfs_batch_tx_commit(t->b, 1);
	err = wfs_batch_run(t->b, NULL, NULL);
	if (!err)
		return CTL_OK;
	(void)wfs_error_text(why, sizeof(why));
	/* It ends with the text of the errno, and no errno says what a conflict is. */
	if (err == -ENOTUNIQ && (reason = strstr(why, strerror(ENOTUNIQ))) && reason - why > 2)
		reason[-2] = '\0';
	asked = ask(t, &st);
	if (!asked && st.state == WFS_TX_COMMITTED)
		return CTL_OK;
	if (asked && asked != -ENOENT)
		return command_fail(CTL_FAILED,
		                    "%s; whether transaction %" PRIu64
		                    " was committed is not known: ask with wfs tx %s --status %" PRIu64,
		                    why, t->id, t->r->text, t->id);
	return command_fail(CTL_FAILED, "%s: %s; nothing was changed",
	                    err == -ENOTUNIQ ? "somebody else has changed the same" : "cannot commit", why);
}

static enum ctl_status run_tx(struct tx *t)
{
	struct wfs_tx_status end = { .state = WFS_TX_COMMITTED };
	enum ctl_status status;

	(void)wfs_batch_put(t->b, &t->r->root);
	(void)wfs_batch_tx_begin(t->b, t->isolation, t->ttl_ms, 0, &t->id);
	if (wfs_batch_run(t->b, NULL, NULL))
		return remote_fail("cannot begin a transaction on", t->r->text);
	status = run_lines(t, stdin);
	if (status == CTL_OK && !t->given_up) {
		status = commit(t);
	} else {
		end.state = WFS_TX_ABORTED;
		start(t);
		(void)wfs_batch_tx_abort(t->b);
		(void)wfs_batch_run(t->b, NULL, NULL);
	}
	return status == CTL_OK && t->json ? print_json_status(t, &end) : status;
}

/* What the options say. */
static int take_options(const struct args *a, struct tx *t)
{
	char *end;

	t->json = a->json;
	t->ttl_ms = a->ttl_s * 1000;
	t->isolation = WFS_TX_SERIALIZABLE;
	if (a->isolation && !strcmp(a->isolation, "snapshot"))
		t->isolation = WFS_TX_SNAPSHOT;
	else if (a->isolation && strcmp(a->isolation, "serializable") != 0)
		return err_set(-EINVAL, "--isolation takes snapshot or serializable");
	if (!a->status)
		return 0;
	if (a->isolation || a->ttl_s)
		return err_set(-EINVAL, "--status begins no transaction: --isolation and --ttl do not go with it");
	errno = 0;
	t->id = strtoull(a->status, &end, 10);
	if (*a->status < '0' || *a->status > '9' || *end || errno)
		return err_set(-EINVAL, "--status takes the number of a transaction");
	return 0;
}

enum ctl_status cmd_tx(struct ctl *c)
{
	struct remote r;
	struct tx t = { .r = &r };
	enum ctl_status status;

	if (take_options(&c->args, &t))
		return command_usage_err();
	status = remote_open(c, c->operands[0], &r);
	if (status != CTL_OK)
		return status;
	t.buf = malloc(PIECE_BYTES);
	if (!t.buf || wfs_batch_new(r.w, &t.b))
		status = command_fail(CTL_FAILED, "no memory for a transaction");
	else
		status = c->args.status ? tell_status(&t) : run_tx(&t);
	wfs_batch_free(t.b);
	remote_close(&r);
	free(t.buf);
	return status;
}
