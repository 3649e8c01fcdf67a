/* SPDX-License-Identifier: BSD-3-Clause */
/* The table of commands, and what the commands share. */
#include "server/ctl/command.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/base/err.h"
#include "server/ctl/size.h"

struct command {
	const char *noun, *verb; /* "pool", "create"; the verb is NULL for commands of one word */
	int operands_min, operands_max; /* -1: any number */
	unsigned options; /* enum args_option it takes */
	enum ctl_status (*run)(struct ctl *c);
	const char *usage; /* what follows the words */
	const char *help;
};

static const struct command commands[] = {
	{ "status", NULL, 0, 0, 0, cmd_status, "", "how the daemon is doing" },
	{ "stats", "clients", 0, 0, 0, cmd_stats_clients, "", "who is connected, and what they did so far" },
	{ "stats", "export", 1, 1, ARGS_SERVER, cmd_stats_export, "EXPORT",
	  "what was done on an export, and in its file system, so far" },
	{ "stats", "slow", 0, 0, 0, cmd_stats_slow, "",
	  "the slowest requests of the last ten minutes, and what they waited for" },
	{ "stats", NULL, 0, 0, ARGS_WATCH | ARGS_INTERVAL | ARGS_COUNT, cmd_stats,
	  "[--watch [--interval SECONDS] [--count N]]", "operations, throughput, latencies, cache, space" },
	{ "reload", NULL, 0, 0, 0, cmd_reload, "", "read the exports of the configuration file again" },
	{ "pool", "create", 2, -1, ARGS_SIZE | ARGS_FORCE, cmd_pool_create,
	  "NAME [mirror] DEVICE_OR_FILE... [mirror ...] [--size SIZE] [--force]",
	  "make a pool (--size: make the files, each this large)" },
	{ "pool", "list", 0, 0, 0, cmd_pool_list, "", "the imported pools" },
	{ "pool", "status", 0, 1, 0, cmd_pool_status, "[NAME]", "one pool, or all, with their devices" },
	{ "pool", "import", 1, -1, ARGS_READ_ONLY, cmd_pool_import, "DEVICE_OR_FILE... [--read-only]",
	  "bring in a pool that exists" },
	{ "pool", "export", 1, 1, ARGS_FORCE, cmd_pool_export, "NAME [--force]",
	  "close a pool (--force: also while in use)" },
	{ "pool", "destroy", 1, 1, ARGS_YES, cmd_pool_destroy, "NAME [--yes]",
	  "close a pool and erase its labels; everything in it is lost" },
	{ "pool", "sync", 1, 1, 0, cmd_pool_sync, "NAME", "make everything durable now" },
	{ "pool", "attach", 3, 3, ARGS_FORCE, cmd_pool_attach, "NAME DEVICE NEW_DEVICE [--force]",
	  "let a new device mirror one of the pool's" },
	{ "pool", "replace", 3, 3, ARGS_FORCE, cmd_pool_replace, "NAME DEVICE NEW_DEVICE [--force]",
	  "the same, and let the old one go when the new one is whole" },
	{ "pool", "detach", 2, 2, 0, cmd_pool_detach, "NAME DEVICE", "take a device out of its mirror" },
	{ "pool", "online", 2, 2, 0, cmd_pool_online, "NAME DEVICE", "a device that was away is back" },
	{ "pool", "check", 1, -1, ARGS_DATA, cmd_pool_check, "NAME [--data] | PATH... [--data]",
	  "verify everything in a pool, in use or (by all its devices) not (--data: contents, too)" },
	{ "pool", "scrub", 1, 2, 0, cmd_pool_scrub, "NAME [start | pause | stop | status]",
	  "read and verify everything in the background, and repair what can be" },
	{ "volume", "create", 2, 2, 0, cmd_volume_create, "POOL/NAME SIZE", "make a volume" },
	{ "volume", "list", 0, 1, 0, cmd_volume_list, "[POOL]", "the volumes" },
	{ "volume", "show", 1, 1, 0, cmd_volume_show, "POOL/NAME", "one volume" },
	{ "volume", "resize", 2, 2, ARGS_SHRINK | ARGS_YES, cmd_volume_resize, "POOL/NAME SIZE [--shrink [--yes]]",
	  "change its size (--shrink: what lies beyond the new end is lost)" },
	{ "volume", "rename", 2, 2, 0, cmd_volume_rename, "POOL/NAME NEW_NAME", "give it another name in its pool" },
	{ "volume", "delete", 1, 1, ARGS_YES, cmd_volume_delete, "POOL/NAME [--yes]", "delete it and its data" },
	{ "fs", "create", 1, 1, 0, cmd_fs_create, "POOL/NAME", "make a file system: a tree of files" },
	{ "fs", "list", 0, 1, 0, cmd_fs_list, "[POOL]", "the file systems in pools" },
	{ "fs", "rename", 2, 2, 0, cmd_fs_rename, "POOL/NAME NEW_NAME", "give it another name in its pool" },
	{ "fs", "delete", 1, 1, ARGS_YES, cmd_fs_delete, "POOL/NAME [--yes]", "delete it and all files in it" },
	{ "quota", "set", 1, 1, ARGS_OWNER | ARGS_LIMITS, cmd_quota_set,
	  "POOL/NAME [--user U | --group G | --project P] [--bytes SIZE|none] [--objects N|none]",
	  "limit what a volume or file system may hold, or an owner in it" },
	{ "quota", "list", 1, 1, 0, cmd_quota_list, "POOL/NAME", "what owners have, and their limits" },
	{ "export", "add", 1, 1, ARGS_AS | ARGS_READ_ONLY | ARGS_DEFAULT | ARGS_DESCRIPTION | ARGS_POLICY,
	  cmd_export_add,
	  "POOL/NAME_OR_/PATH [--as EXPORT] [--read-only] [--default] [--description TEXT] [--auth-sys] [--squash "
	  "none|root|all] "
	  "[--anon UID:GID] [--clients NETWORK,...] [--tls] [--certificate-names NAME,...]",
	  "let remote hosts use a volume, a directory, or any file (as NAME unless --as)" },
	{ "export", "list", 0, 0, 0, cmd_export_list, "", "the exports" },
	{ "export", "remove", 1, 1, 0, cmd_export_remove, "EXPORT", "take an export back; the volume stays" },
	{ "mount", "add", 3, 3, ARGS_READ_ONLY | ARGS_UID | ARGS_GID | ARGS_UMASK, cmd_mount_add,
	  "KIND SOURCE /PATH [--read-only] [--uid N] [--gid N] [--umask OCTAL]",
	  "mount another file system (fat, nfs, wfs2) in the daemon's namespace" },
	{ "mount", "list", 0, 0, 0, cmd_mount_list, "", "what is mounted there beside the pools" },
	{ "mount", "remove", 1, 1, ARGS_FORCE, cmd_mount_remove, "/PATH [--force]",
	  "unmount it (--force: also while in use)" },
	{ "drive", "set", 2, 2, 0, cmd_drive_set, "LETTER /PATH", "give what is mounted there a drive letter" },
	{ "drive", "list", 0, 0, 0, cmd_drive_list, "", "the drive letters" },
	{ "drive", "remove", 1, 1, 0, cmd_drive_remove, "LETTER", "take a drive letter away" },
	{ "mount", NULL, 2, 2, ARGS_OPTIONS | ARGS_FOREGROUND | ARGS_SERVER, cmd_mount,
	  "[ADDRESS]/EXPORT DIR [-o OPTIONS] [--foreground]", "mount an export that is a directory" },
	{ "mkfs", "fat", 1, 1, ARGS_TYPE | ARGS_LABEL | ARGS_BLOCKS | ARGS_SIZE | ARGS_YES, cmd_mkfs_fat,
	  "DEVICE_OR_FILE [--type 12|16|32] [--label L] [--cluster BYTES] [--sector BYTES] [--size SIZE] [--yes]",
	  "make a FAT file system (--size: make the file, too)" },
	{ "mkfs", "wfs2", 1, 1, ARGS_LABEL | ARGS_SIZE | ARGS_YES, cmd_mkfs_wfs2,
	  "DEVICE_OR_FILE [--label L] [--size SIZE] [--yes]", "make a WFS v2 volume (--size: make the file, too)" },
	{ "fsck", "fat", 1, 1, ARGS_REPAIR, cmd_fsck_fat, "DEVICE_OR_FILE [--repair]",
	  "check a FAT file system that is not in use" },
	{ "fsck", "wfs2", 1, 1, ARGS_REPAIR, cmd_fsck_wfs2, "DEVICE_OR_FILE [--repair]",
	  "check a WFS v2 volume that is not in use" },
	{ "fat", "ls", 1, 2, 0, cmd_fat_ls, "IMAGE [PATH]", "files on a FAT volume that is not mounted" },
	{ "fat", "get", 3, 3, 0, cmd_fat_get, "IMAGE PATH FILE", "copy a file out of it (-: to the output)" },
	{ "fat", "put", 3, 3, 0, cmd_fat_put, "IMAGE FILE PATH", "copy a file into it (-: from the input)" },
	{ "fat", "mkdir", 2, 2, 0, cmd_fat_mkdir, "IMAGE PATH", "make a directory in it" },
	{ "fat", "rm", 2, 2, 0, cmd_fat_rm, "IMAGE PATH", "remove a file, or an empty directory" },
	{ "fat", "mv", 3, 3, 0, cmd_fat_mv, "IMAGE OLD NEW", "rename, or replace" },
	{ "wfs2", "ls", 1, 1, 0, cmd_wfs2_ls, "IMAGE", "files on a WFS v2 volume that is not mounted" },
	{ "wfs2", "get", 3, 3, 0, cmd_wfs2_get, "IMAGE NAME FILE", "copy a file out of it (-: to the output)" },
	{ "wfs2", "put", 3, 3, 0, cmd_wfs2_put, "IMAGE FILE NAME", "copy a file into it (-: from the input)" },
	{ "wfs2", "rm", 2, 2, 0, cmd_wfs2_rm, "IMAGE NAME", "remove a file" },
	{ "wfs2", "mv", 3, 3, 0, cmd_wfs2_mv, "IMAGE OLD NEW", "rename, or replace" },
	{ "convert", "wfs2", 2, 2, ARGS_SERVER, cmd_convert_wfs2, "IMAGE EXPORT[/PATH]",
	  "copy the files of a WFS v2 volume into a file system, each verified; go on where it ended" },
	{ "ls", NULL, 1, 1, ARGS_LONG | ARGS_SERVER, cmd_ls, "EXPORT[/PATH] [--long]", "files on a server" },
	{ "cat", NULL, 1, 1, ARGS_SERVER, cmd_cat, "EXPORT/PATH", "what is in a file" },
	{ "get", NULL, 1, -1, ARGS_JOBS | ARGS_SERVER, cmd_get, "EXPORT/PATH... [HERE] [--jobs N]",
	  "fetch files and directories" },
	{ "put", NULL, 2, -1, ARGS_JOBS | ARGS_SERVER, cmd_put, "FILE... EXPORT[/PATH] [--jobs N]",
	  "send files and directories" },
	{ "cp", NULL, 2, 2, ARGS_RECURSIVE | ARGS_JOBS | ARGS_SERVER, cmd_cp,
	  "EXPORT/PATH EXPORT/PATH [--recursive [--jobs N]]", "let the server copy a file, or a directory" },
	{ "mv", NULL, 2, 2, ARGS_SERVER, cmd_mv, "EXPORT/PATH EXPORT/PATH", "rename, move, or replace" },
	{ "rm", NULL, 1, 1, ARGS_RECURSIVE | ARGS_JOBS | ARGS_SERVER, cmd_rm, "EXPORT/PATH [--recursive [--jobs N]]",
	  "remove a file, or a directory (--recursive: with all that is in it)" },
	{ "mkdir", NULL, 1, 1, ARGS_SERVER, cmd_mkdir, "EXPORT/PATH", "make a directory" },
	{ "stat", NULL, 1, 1, ARGS_SERVER, cmd_stat, "EXPORT[/PATH]", "the attributes of a file" },
	{ "find", NULL, 1, 1, ARGS_NAME | ARGS_LONG | ARGS_SERVER, cmd_find, "EXPORT[/PATH] [--name PATTERN] [--long]",
	  "everything below a directory" },
	{ "watch", NULL, 1, 1, ARGS_RECURSIVE | ARGS_COUNT | ARGS_SERVER, cmd_watch,
	  "EXPORT[/PATH] [--recursive] [--count N]", "tell of changes in a directory (--recursive: and below it)" },
	{ "xattr", NULL, 1, 2, ARGS_SERVER, cmd_xattr, "EXPORT[/PATH] [NAME[=[VALUE]]]",
	  "extended attributes: all, one, set one, remove one" },
	{ "tx", NULL, 1, 1, ARGS_TX | ARGS_SERVER, cmd_tx,
	  "EXPORT[/PATH] [--isolation snapshot | serializable] [--ttl SECONDS] | EXPORT --status ID",
	  "changes from the input (put, mv, rm, rmdir, mkdir, status, abort), one a line, all of them or none" },
	{ "project", NULL, 1, 2, ARGS_RECURSIVE | ARGS_SERVER, cmd_project, "EXPORT[/PATH] [NUMBER [--recursive]]",
	  "the project whose quota a file counts for: show it, or set it (root)" },
	{ "label", NULL, 1, 1, ARGS_MARKS | ARGS_SERVER, cmd_label, "EXPORT[/PATH] [--color C] [--icon I]",
	  "how programs may mark a file: show it, or set it (an empty value: take it away)" },
};
#define COMMAND_COUNT (sizeof(commands) / sizeof(commands[0]))

static const char *verb_of(const struct command *cmd)
{
	return cmd->verb ? cmd->verb : "";
}

void command_help(FILE *out)
{
	for (size_t i = 0; i < COMMAND_COUNT; i++) {
		const struct command *cmd = &commands[i];

		fprintf(out, "  wfs %s%s%s%s%s\n        %s\n", cmd->noun, cmd->verb ? " " : "", verb_of(cmd),
		        *cmd->usage ? " " : "", cmd->usage, cmd->help);
	}
}

/*
 * What a terminal may take for a command becomes "?": the controls of ASCII, and those of ISO 6429 from 0x80 to 0x9f,
 * as bytes of their own or in UTF-8. In place, never longer.
 */
static void make_harmless(char *text)
{
	unsigned char *to = (unsigned char *)text;
	unsigned follow = 0; /* bytes of a character that are still to come */

	for (const unsigned char *p = to; *p; p++) {
		if (follow && (*p & 0xc0) == 0x80) {
			follow--;
			*to++ = *p;
		} else if (*p == 0xc2 && p[1] >= 0x80 && p[1] < 0xa0) {
			follow = 0;
			*to++ = '?';
			p++;
		} else {
			follow = *p >= 0xf0 ? 3 : *p >= 0xe0 ? 2 : *p >= 0xc0 ? 1 : 0;
			*to++ = *p < ' ' || *p == 0x7f || (*p >= 0x80 && *p < 0xa0) ? '?' : *p;
		}
	}
	*to = '\0';
}

void command_print_text(FILE *out, const char *text)
{
	char *copy;

	if (!isatty(fileno(out))) {
		fputs(text, out);
		return;
	}
	copy = strdup(text);
	/* Without memory rather nothing than what it may be. */
	if (copy) {
		make_harmless(copy);
		fputs(copy, out);
	}
	free(copy);
}

enum ctl_status command_fail(enum ctl_status status, const char *fmt, ...)
{
	bool plain = !isatty(STDERR_FILENO);
	char *text;
	va_list args;

	va_start(args, fmt);
	if (vasprintf(&text, fmt, args) >= 0) {
		if (!plain)
			make_harmless(text);
		/* As one, so that lines of several commands do not mix. */
		fprintf(stderr, "wfs: %s\n", text);
		free(text);
	}
	va_end(args);
	return status;
}

enum ctl_status command_usage_err(void)
{
	return command_fail(CTL_USAGE, "%s", err_get()->frames[0].text);
}

/* NULL after a line on standard error. */
static const struct command *find(const struct args *a)
{
	bool noun_known = false;

	if (!a->word_count) {
		command_fail(CTL_USAGE, "no command; try wfs --help");
		return NULL;
	}
	for (size_t i = 0; i < COMMAND_COUNT; i++) {
		const struct command *cmd = &commands[i];

		if (strcmp(cmd->noun, a->words[0]) != 0)
			continue;
		noun_known = true;
		if (!cmd->verb || (a->word_count > 1 && strcmp(cmd->verb, a->words[1]) == 0))
			return cmd;
	}
	if (noun_known && a->word_count > 1)
		command_fail(CTL_USAGE, "%s has no command '%s'; try wfs --help", a->words[0], a->words[1]);
	else if (noun_known)
		command_fail(CTL_USAGE, "%s: what about it? Try wfs --help", a->words[0]);
	else
		command_fail(CTL_USAGE, "no command '%s'; try wfs --help", a->words[0]);
	return NULL;
}

enum ctl_status command_run(struct ctl *c)
{
	const struct command *cmd = find(&c->args);
	unsigned unfit;
	int words;

	if (!cmd)
		return CTL_USAGE;
	words = cmd->verb ? 2 : 1;
	c->operands = c->args.words + words;
	c->operand_count = c->args.word_count - words;
	unfit = c->args.given & ~cmd->options;
	if (unfit)
		return command_fail(CTL_USAGE, "%s%s%s does not take --%s", cmd->noun, cmd->verb ? " " : "",
		                    verb_of(cmd), args_option_name((enum args_option)(unfit & -unfit)));
	if (c->operand_count < cmd->operands_min || (cmd->operands_max >= 0 && c->operand_count > cmd->operands_max))
		return command_fail(CTL_USAGE, "usage: wfs %s%s%s %s", cmd->noun, cmd->verb ? " " : "", verb_of(cmd),
		                    cmd->usage);
	return cmd->run(c);
}

enum ctl_status command_confirm(const struct ctl *c, const char *fmt, ...)
{
	char line[16];
	va_list args;

	if (c->args.given & ARGS_YES)
		return CTL_OK;
	if (!isatty(STDIN_FILENO))
		return command_fail(CTL_USAGE, "this destroys data: say --yes");
	va_start(args, fmt);
	vfprintf(stderr, fmt, args);
	va_end(args);
	fputs(" [y/N] ", stderr);
	if (fgets(line, sizeof(line), stdin) && (line[0] == 'y' || line[0] == 'Y'))
		return CTL_OK;
	return command_fail(CTL_FAILED, "left as it was");
}

enum ctl_status command_change(struct ctl *c, struct command_request request, const char *fmt, ...)
{
	enum ctl_status status;
	json_t *answer = NULL;
	va_list args;

	if (!request.path) {
		json_decref(request.body);
		return command_fail(CTL_FAILED, "out of memory");
	}
	if (request.body_wanted && !request.body) {
		free(request.path);
		return command_fail(CTL_USAGE, "a name is not valid UTF-8");
	}
	status = admin_request(&c->admin, request.method, request.path, request.body, request.doing, &answer);
	free(request.path);
	if (status != CTL_OK)
		return status;
	if (c->args.json) {
		command_print_json(answer);
	} else {
		va_start(args, fmt);
		vprintf(fmt, args);
		va_end(args);
		putchar('\n');
	}
	json_decref(answer);
	return CTL_OK;
}

enum ctl_status command_get(struct ctl *c, char *path, json_t **ret)
{
	enum ctl_status status;

	if (!path)
		return command_fail(CTL_FAILED, "out of memory");
	status = admin_request(&c->admin, "GET", path, NULL, NULL, ret);
	free(path);
	return status;
}

const char *command_text(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "";
}

uint64_t command_number(const json_t *object, const char *key)
{
	double value = json_number_value(json_object_get(object, key));

	if (json_is_integer(json_object_get(object, key))) {
		json_int_t exact = json_integer_value(json_object_get(object, key));

		return exact < 0 ? 0 : (uint64_t)exact;
	}
	return value > 0 && value < 1e18 ? (uint64_t)value : 0;
}

bool command_flag(const json_t *object, const char *key)
{
	return json_is_true(json_object_get(object, key));
}

void command_print_json(const json_t *value)
{
	json_dumpf(value, stdout, JSON_INDENT(2) | JSON_ENCODE_ANY);
	putchar('\n');
}

void command_print_pair(const char *label, const char *fmt, ...)
{
	va_list args;

	printf("%-12s", label);
	va_start(args, fmt);
	vprintf(fmt, args);
	va_end(args);
	putchar('\n');
}

void command_print_size(const char *label, uint64_t bytes)
{
	char text[SIZE_TEXT_MAX];

	if (bytes < 1024)
		command_print_pair(label, "%" PRIu64 " bytes", bytes);
	else
		command_print_pair(label, "%s (%" PRIu64 " bytes)", size_format(bytes, text), bytes);
}

enum ctl_status command_finish_table(struct table *t)
{
	int rc = table_print(t, stdout);

	table_done(t);
	return rc ? command_fail(CTL_FAILED, "out of memory") : CTL_OK;
}
