/* SPDX-License-Identifier: BSD-3-Clause */
/* What the commands of wfs share: their context, the table's entries, and printing. One thread. */
#ifndef WFSD_SERVER_CTL_COMMAND_H
#define WFSD_SERVER_CTL_COMMAND_H

#include <jansson.h>
#include <stdint.h>

#include "core/vfs/vfs_check.h"
#include "server/ctl/admin.h"
#include "server/ctl/args.h"
#include "server/ctl/table.h"

struct ctl {
	struct args args;
	struct admin admin;
	char **operands; /* what follows the command's words */
	int operand_count;
	/* Checks a pool that no daemon uses, from its devices; main() knows how. @ret: pool_check_report_done(). */
	int (*check_paths)(char *const paths[], unsigned count, bool with_data,
	                   int (*step)(void *ctx, const struct pool_check_report *so_far, uint64_t read_bytes),
	                   void *ctx, struct pool_check_report *ret);
};

/* Find the command in @c->args.words, check its operands and options, run it. */
enum ctl_status command_run(struct ctl *c);
/* The list of commands, for --help. */
void command_help(FILE *out);

enum ctl_status cmd_pool_create(struct ctl *c);
enum ctl_status cmd_pool_list(struct ctl *c);
enum ctl_status cmd_pool_status(struct ctl *c);
enum ctl_status cmd_pool_import(struct ctl *c);
enum ctl_status cmd_pool_export(struct ctl *c);
enum ctl_status cmd_pool_destroy(struct ctl *c);
enum ctl_status cmd_pool_sync(struct ctl *c);
enum ctl_status cmd_pool_attach(struct ctl *c);
enum ctl_status cmd_pool_replace(struct ctl *c);
enum ctl_status cmd_pool_detach(struct ctl *c);
enum ctl_status cmd_pool_online(struct ctl *c);
enum ctl_status cmd_pool_check(struct ctl *c);
enum ctl_status cmd_pool_scrub(struct ctl *c);
/* The lines of a scrub in a pool's status. */
void scrub_print(const json_t *scrub);
/* One line for a finding of a check or a scrub. */
void check_print_finding(const json_t *finding);
enum ctl_status cmd_project(struct ctl *c);
enum ctl_status cmd_label(struct ctl *c);
enum ctl_status cmd_quota_set(struct ctl *c);
enum ctl_status cmd_quota_list(struct ctl *c);
enum ctl_status cmd_fs_create(struct ctl *c);
enum ctl_status cmd_fs_list(struct ctl *c);
enum ctl_status cmd_fs_rename(struct ctl *c);
enum ctl_status cmd_fs_delete(struct ctl *c);
enum ctl_status cmd_volume_create(struct ctl *c);
enum ctl_status cmd_volume_list(struct ctl *c);
enum ctl_status cmd_volume_show(struct ctl *c);
enum ctl_status cmd_volume_resize(struct ctl *c);
enum ctl_status cmd_volume_rename(struct ctl *c);
enum ctl_status cmd_volume_delete(struct ctl *c);
enum ctl_status cmd_export_add(struct ctl *c);
enum ctl_status cmd_export_list(struct ctl *c);
enum ctl_status cmd_export_remove(struct ctl *c);
enum ctl_status cmd_mkfs_fat(struct ctl *c);
enum ctl_status cmd_fsck_fat(struct ctl *c);
enum ctl_status cmd_mkfs_wfs2(struct ctl *c);
enum ctl_status cmd_fsck_wfs2(struct ctl *c);
enum ctl_status cmd_fat_ls(struct ctl *c);
enum ctl_status cmd_fat_get(struct ctl *c);
enum ctl_status cmd_fat_put(struct ctl *c);
enum ctl_status cmd_fat_mkdir(struct ctl *c);
enum ctl_status cmd_fat_rm(struct ctl *c);
enum ctl_status cmd_fat_mv(struct ctl *c);
enum ctl_status cmd_wfs2_ls(struct ctl *c);
enum ctl_status cmd_wfs2_get(struct ctl *c);
enum ctl_status cmd_wfs2_put(struct ctl *c);
enum ctl_status cmd_wfs2_rm(struct ctl *c);
enum ctl_status cmd_wfs2_mv(struct ctl *c);
enum ctl_status cmd_convert_wfs2(struct ctl *c);
enum ctl_status cmd_mount(struct ctl *c);
enum ctl_status cmd_mount_add(struct ctl *c);
enum ctl_status cmd_mount_list(struct ctl *c);
enum ctl_status cmd_mount_remove(struct ctl *c);
enum ctl_status cmd_drive_set(struct ctl *c);
enum ctl_status cmd_drive_list(struct ctl *c);
enum ctl_status cmd_drive_remove(struct ctl *c);
enum ctl_status cmd_ls(struct ctl *c);
enum ctl_status cmd_stat(struct ctl *c);
enum ctl_status cmd_find(struct ctl *c);
enum ctl_status cmd_watch(struct ctl *c);
enum ctl_status cmd_mkdir(struct ctl *c);
enum ctl_status cmd_rm(struct ctl *c);
enum ctl_status cmd_mv(struct ctl *c);
enum ctl_status cmd_xattr(struct ctl *c);
enum ctl_status cmd_tx(struct ctl *c);
enum ctl_status cmd_cat(struct ctl *c);
enum ctl_status cmd_cp(struct ctl *c);
enum ctl_status cmd_put(struct ctl *c);
enum ctl_status cmd_get(struct ctl *c);
enum ctl_status cmd_stats(struct ctl *c);
enum ctl_status cmd_stats_slow(struct ctl *c);
enum ctl_status cmd_stats_clients(struct ctl *c);
enum ctl_status cmd_stats_export(struct ctl *c);
enum ctl_status cmd_status(struct ctl *c);
enum ctl_status cmd_reload(struct ctl *c);

/* Names are bytes that others choose: on a terminal what would control it is shown as "?". */
void command_print_text(FILE *out, const char *text);
/* One line on standard error, for a terminal likewise: "wfs: ...". Returns @status. */
enum ctl_status command_fail(enum ctl_status status, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The same with what err_set() was told last in this thread; CTL_USAGE. */
enum ctl_status command_usage_err(void);
/*
 * Ask on the terminal whether to go on; --yes answers it. CTL_OK to go on; CTL_USAGE when there is nobody to ask,
 * CTL_FAILED when the answer is no.
 */
enum ctl_status command_confirm(const struct ctl *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/*
 * Send a request and print its outcome: the answer itself with --json, else the formatted line. With @body_wanted a
 * NULL @body means that it could not be built: CTL_USAGE. Takes the reference to @body and frees @path (NULL: memory
 * ran out).
 */
struct command_request {
	const char *method;
	char *path;
	json_t *body;
	bool body_wanted;
	const char *doing; /* as admin_request(); NULL for what is quick */
};
enum ctl_status command_change(struct ctl *c, struct command_request request, const char *fmt, ...)
        __attribute__((format(printf, 3, 4)));
/* GET @path, which is freed. *ret is the caller's reference. */
enum ctl_status command_get(struct ctl *c, char *path, json_t **ret);

/* Members of an object; "" or 0 or false when missing or of another type. Numbers are cut to an integer. */
const char *command_text(const json_t *object, const char *key);
uint64_t command_number(const json_t *object, const char *key);
bool command_flag(const json_t *object, const char *key);

void command_print_json(const json_t *value);
/* "label:     text" */
void command_print_pair(const char *label, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* "1.5G (1610612736 bytes)" */
void command_print_size(const char *label, uint64_t bytes);
/* Print, free; CTL_FAILED when memory ran out. */
enum ctl_status command_finish_table(struct table *t);

/* One of the arrays in an answer, and how an element of it becomes cells of a table. */
struct command_rows {
	const char *key; /* NULL: the end of the array of these */
	void (*add)(struct table *t, const json_t *row);
};
/* list.c: print them one behind the other under the titles (as table_init() has them). CTL_FAILED: no memory. */
enum ctl_status command_print_rows(const json_t *root, const char *const *titles, const struct command_rows *rows);
/* GET @path, which is freed, and print that; with --json the answer as it is. */
enum ctl_status command_list(struct ctl *c, char *path, const char *const *titles, const struct command_rows *rows);
/* A cell with a size, or a number, that the object has under @key. */
void command_add_size(struct table *t, const json_t *object, const char *key);
void command_add_number(struct table *t, const json_t *object, const char *key);

#endif
