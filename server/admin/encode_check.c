/* SPDX-License-Identifier: BSD-3-Clause */
/* The report of a check as JSON. */
#include "server/admin/encode_check.h"

#include "server/admin/encode.h"

static void set_number(json_t *o, const char *key, uint64_t value)
{
	json_object_set_new(o, key, json_integer((json_int_t)value));
}

static json_t *encode_finding(const struct pool_check_report *r, const struct pool_finding *f)
{
	json_t *o =
	        json_pack("{s:s, s:s, s:o, s:b}", "kind", pool_finding_name(f->kind), "severity",
	                  f->is_note ? "note" : "damage", "text", encode_text(f->text), "repaired", (int)f->repaired);

	if (o && f->has_dataset) {
		set_number(o, "dataset", f->dataset);
		json_object_set_new(o, "name", encode_text(f->name));
	}
	if (o && f->has_offset) {
		set_number(o, "object", f->object);
		set_number(o, "offset", f->offset);
	}
	if (o && f->address) {
		set_number(o, "address", f->address);
		set_number(o, "block_count", f->block_count);
	}
	if (o && f->has_place && f->device < r->device_count) {
		json_object_set_new(o, "device", encode_text(r->devices[f->device]));
		set_number(o, "device_offset", f->device_offset);
	}
	return o;
}

static json_t *encode_counts(const struct pool_check_report *r)
{
	json_t *o = json_object();

	for (unsigned i = 0; i < POOL_FINDING_KINDS; i++)
		if (o && r->kind_counts[i])
			set_number(o, pool_finding_name(i), r->kind_counts[i]);
	return o;
}

json_t *encode_check(const struct pool_check_report *r)
{
	json_t *findings = json_array();
	json_t *o = json_pack("{s:s, s:b, s:b, s:b, s:o, s:o}", "state", pool_check_state_name(r->state), "online",
	                      (int)r->online, "with_data", (int)r->with_data, "partial", (int)r->partial, "pool",
	                      encode_text(r->pool), "error", encode_text(r->error));
	bool complete = o && findings;

	for (unsigned i = 0; i < r->finding_count && complete; i++)
		complete = !json_array_append_new(findings, encode_finding(r, &r->findings[i]));
	if (!complete) {
		json_decref(o);
		json_decref(findings);
		return NULL;
	}
	set_number(o, "txg", r->txg);
	set_number(o, "started_ns", r->started_ns);
	set_number(o, "ended_ns", r->ended_ns);
	set_number(o, "done_blocks", r->done_blocks);
	set_number(o, "total_blocks", r->total_blocks);
	set_number(o, "dataset_count", r->dataset_count);
	set_number(o, "node_count", r->node_count);
	set_number(o, "data_block_count", r->data_block_count);
	set_number(o, "read_block_count", r->read_block_count);
	set_number(o, "damage_count", r->damage_count);
	set_number(o, "note_count", r->note_count);
	json_object_set_new(o, "counts", encode_counts(r));
	json_object_set_new(o, "findings", findings);
	return o;
}
