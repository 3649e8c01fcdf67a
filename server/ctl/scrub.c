/* SPDX-License-Identifier: BSD-3-Clause */
/* wfs pool scrub. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "server/ctl/command.h"
#include "server/ctl/size.h"
#include "server/ctl/url.h"

#define NS_PER_S UINT64_C(1000000000)
#define TIME_TEXT_MAX 32

static const char *format_time(uint64_t ns, char text[TIME_TEXT_MAX])
{
	time_t seconds = (time_t)(ns / NS_PER_S);
	struct tm tm;

	if (!localtime_r(&seconds, &tm) || !strftime(text, TIME_TEXT_MAX, "%Y-%m-%d %H:%M:%S", &tm))
		text[0] = '\0';
	return text;
}

void scrub_print(const json_t *scrub)
{
	const char *state = command_text(scrub, "state");
	uint64_t done = command_number(scrub, "done_bytes"), total = command_number(scrub, "total_bytes");
	char a[SIZE_TEXT_MAX], b[SIZE_TEXT_MAX], when[TIME_TEXT_MAX];

	if (!strcmp(state, "never"))
		command_print_pair("scrub", "never");
	if (!*state || !strcmp(state, "never"))
		return;
	if (!strcmp(state, "running") || !strcmp(state, "paused")) {
		command_print_pair("scrub", "%s since %s, %s of %s", state,
		                   format_time(command_number(scrub, "started_ns"), when), size_format(done, a),
		                   size_format(total, b));
		if (command_number(scrub, "rate_bytes"))
			command_print_pair("", "%s/s", size_format(command_number(scrub, "rate_bytes"), a));
	} else {
		command_print_pair("scrub", "%s %s, %s", state, format_time(command_number(scrub, "ended_ns"), when),
		                   size_format(done, a));
	}
	command_print_pair("", "%" PRIu64 " damaged, %" PRIu64 " repaired", command_number(scrub, "damage_count"),
	                   command_number(scrub, "repaired_count"));
	if (*command_text(scrub, "error"))
		command_print_pair("", "%s", command_text(scrub, "error"));
}

static enum ctl_status print_status(struct ctl *c, json_t *scrub)
{
	const json_t *findings = json_object_get(scrub, "findings"), *f;
	size_t i;

	if (c->args.json) {
		command_print_json(scrub);
	} else {
		scrub_print(scrub);
		json_array_foreach (findings, i, f)
			check_print_finding(f);
	}
	json_decref(scrub);
	return CTL_OK;
}

enum ctl_status cmd_pool_scrub(struct ctl *c)
{
	const char *name = c->operands[0], *verb = c->operand_count > 1 ? c->operands[1] : "start";
	json_t *scrub = NULL, *body;
	char *path = url_format("/v1/pools/%s/scrub", name);
	enum ctl_status status;

	if (!strcmp(verb, "status")) {
		status = command_get(c, path, &scrub);
		return status == CTL_OK ? print_status(c, scrub) : status;
	}
	if (strcmp(verb, "start") != 0 && strcmp(verb, "pause") != 0 && strcmp(verb, "stop") != 0) {
		free(path);
		return command_fail(CTL_USAGE, "'%s': a scrub can be asked to start, pause or stop, or for its status",
		                    verb);
	}
	body = json_pack("{s:s}", "verb", verb);
	return command_change(
	        c,
	        (struct command_request){
	                .method = "POST", .path = path, .body = body, .body_wanted = true, .doing = "scrub" },
	        "scrub of pool %s: %s", name, verb);
}
