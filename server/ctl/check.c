/* SPDX-License-Identifier: BSD-3-Clause */
/* wfs pool check: of a pool by its name, by the daemon; of devices and files, right here. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/err.h"
#include "core/base/sync.h"
#include "server/admin/encode_check.h"
#include "server/ctl/command.h"
#include "server/ctl/progress.h"
#include "server/ctl/url.h"

#define POLL_NS (100 * SYNC_NS_PER_MS)

/* Exit statuses of this command. */
#define CHECK_CLEAN CTL_OK
#define CHECK_FOUND CTL_FAILED
#define CHECK_IMPOSSIBLE CTL_USAGE

struct show {
	struct progress progress;
	char text[64];
};

static void show_init(struct show *s)
{
	snprintf(s->text, sizeof(s->text), "checking");
	progress_init(&s->progress, s->text);
}

static void show_progress(struct show *s, uint64_t done, uint64_t total)
{
	if (total)
		snprintf(s->text, sizeof(s->text), "checking, %" PRIu64 " %%",
		         done >= total ? UINT64_C(100) : (uint64_t)((double)done / (double)total * 100));
	progress_tick(&s->progress);
}

void check_print_finding(const json_t *f)
{
	const char *name = command_text(f, "name");

	printf("%s: %s: %s", command_text(f, "severity"), command_text(f, "kind"), command_text(f, "text"));
	if (json_object_get(f, "dataset")) {
		uint64_t id = command_number(f, "dataset");

		if (*name)
			printf("; volume %s", name);
		else if (id)
			printf("; dataset %" PRIu64, id);
		else
			printf("; pool tree");
	}
	if (json_object_get(f, "offset"))
		printf(", object %" PRIu64 ", offset %" PRIu64, command_number(f, "object"),
		       command_number(f, "offset"));
	if (*command_text(f, "device"))
		printf("; %s at %" PRIu64, command_text(f, "device"), command_number(f, "device_offset"));
	if (command_flag(f, "repaired"))
		printf("; repaired");
	putchar('\n');
}

static void print_report(const json_t *r)
{
	const json_t *findings = json_object_get(r, "findings"), *f;
	uint64_t damage = command_number(r, "damage_count"), notes = command_number(r, "note_count");
	size_t i;

	json_array_foreach (findings, i, f)
		check_print_finding(f);
	if (damage + notes > json_array_size(findings))
		printf("... and %" PRIu64 " more\n", damage + notes - json_array_size(findings));
	printf("pool %s, root %" PRIu64 ": %" PRIu64 " volumes, %" PRIu64 " tree nodes, %" PRIu64 " data blocks",
	       command_text(r, "pool"), command_number(r, "txg"), command_number(r, "dataset_count"),
	       command_number(r, "node_count"), command_number(r, "data_block_count"));
	if (command_flag(r, "with_data"))
		printf(", of which %" PRIu64 " were read", command_number(r, "read_block_count"));
	putchar('\n');
	if (command_flag(r, "partial"))
		puts("damage kept parts of the pool from being checked");
	if (damage)
		printf("%" PRIu64 " problem%s\n", damage, damage == 1 ? "" : "s");
	else
		puts("clean");
}

/* What the exit status is, with the report printed. Takes the reference. */
static enum ctl_status finish(struct ctl *c, json_t *report)
{
	const char *state = command_text(report, "state");
	enum ctl_status status = CHECK_IMPOSSIBLE;

	if (c->args.json)
		command_print_json(report);
	if (!strcmp(state, "done")) {
		if (!c->args.json)
			print_report(report);
		status = command_number(report, "damage_count") ? CHECK_FOUND : CHECK_CLEAN;
	} else {
		command_fail(status, "the check %s: %s", *state ? state : "failed", command_text(report, "error"));
	}
	json_decref(report);
	return status;
}

static int offline_step(void *ctx, const struct pool_check_report *so_far, uint64_t read_bytes)
{
	(void)read_bytes;
	show_progress(ctx, so_far->done_blocks, so_far->total_blocks);
	return 0;
}

static enum ctl_status check_offline(struct ctl *c)
{
	struct pool_check_report report;
	struct show show;
	json_t *json;
	int rc;

	show_init(&show);
	rc = c->check_paths(c->operands, (unsigned)c->operand_count, c->args.given & ARGS_DATA, offline_step, &show,
	                    &report);
	progress_done(&show.progress);
	json = encode_check(&report);
	pool_check_report_done(&report);
	if (!json)
		return command_fail(CHECK_IMPOSSIBLE, "out of memory");
	if (rc == -EBUSY)
		command_fail(CHECK_IMPOSSIBLE, "a pool that is in use is checked by its name");
	return finish(c, json);
}

static enum ctl_status poll_check(struct ctl *c, const char *name, json_t **ret)
{
	struct show show;
	enum ctl_status status;

	show_init(&show);
	for (;;) {
		status = command_get(c, url_format("/v1/pools/%s/check", name), ret);
		if (status != CTL_OK || strcmp(command_text(*ret, "state"), "running") != 0)
			break;
		show_progress(&show, command_number(*ret, "done_blocks"), command_number(*ret, "total_blocks"));
		json_decref(*ret);
		sync_sleep_ns(POLL_NS);
	}
	progress_done(&show.progress);
	return status;
}

static enum ctl_status check_online(struct ctl *c)
{
	const char *name = c->operands[0];
	char *path = url_format("/v1/pools/%s/check", name);
	json_t *body = json_pack("{s:b}", "with_data", (c->args.given & ARGS_DATA) != 0), *report = NULL;
	enum ctl_status status = CHECK_IMPOSSIBLE;

	if (path && body)
		status = admin_request(&c->admin, "POST", path, body, NULL, NULL);
	else
		json_decref(body);
	free(path);
	if (status == CTL_OK)
		status = poll_check(c, name, &report);
	return status == CTL_OK ? finish(c, report) : CHECK_IMPOSSIBLE;
}

enum ctl_status cmd_pool_check(struct ctl *c)
{
	/* No pool's name has a slash, and no pool has two names. */
	if (c->operand_count > 1 || strchr(c->operands[0], '/'))
		return check_offline(c);
	return check_online(c);
}
