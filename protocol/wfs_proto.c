/* SPDX-License-Identifier: BSD-3-Clause */
/* Encoding and decoding of the wfs protocol's arguments and results. */
#include "protocol/wfs_proto.h"

#include "protocol/xdr/xdr.h"

void wfsp_get_hello_args(struct rd *r, struct wfsp_hello_args *ret)
{
	xdr_get_fixed(r, ret->client_id, sizeof(ret->client_id));
	ret->connection = rd_be32(r);
	ret->features = rd_be64(r);
	ret->lease_s = rd_be32(r);
	xdr_get_string(r, ret->client_name, sizeof(ret->client_name));
}

void wfsp_put_hello_args(struct wr *w, const struct wfsp_hello_args *v)
{
	xdr_put_fixed(w, v->client_id, sizeof(v->client_id));
	wr_be32(w, v->connection);
	wr_be64(w, v->features);
	wr_be32(w, v->lease_s);
	xdr_put_string(w, v->client_name);
}

void wfsp_get_hello_ok(struct rd *r, struct wfsp_hello_ok *ret)
{
	ret->boot_id = rd_be64(r);
	ret->clean_boot_count = xdr_get_count(r, WFSP_CLEAN_BOOTS_MAX, sizeof(uint64_t));
	for (uint32_t i = 0; i < ret->clean_boot_count; i++)
		ret->clean_boots[i] = rd_be64(r);
	ret->features = rd_be64(r);
	ret->payload_max_bytes = rd_be32(r);
	ret->requests_max = rd_be32(r);
	ret->shm_slots = rd_be32(r);
	ret->shm_slot_bytes = rd_be32(r);
	ret->lease_s = rd_be32(r);
	xdr_get_string(r, ret->server_name, sizeof(ret->server_name));
}

void wfsp_put_hello_ok(struct wr *w, const struct wfsp_hello_ok *v)
{
	wr_be64(w, v->boot_id);
	wr_be32(w, v->clean_boot_count);
	for (uint32_t i = 0; i < v->clean_boot_count; i++)
		wr_be64(w, v->clean_boots[i]);
	wr_be64(w, v->features);
	wr_be32(w, v->payload_max_bytes);
	wr_be32(w, v->requests_max);
	wr_be32(w, v->shm_slots);
	wr_be32(w, v->shm_slot_bytes);
	wr_be32(w, v->lease_s);
	xdr_put_string(w, v->server_name);
}

void wfsp_get_export(struct rd *r, struct wfsp_export *ret)
{
	xdr_get_string(r, ret->name, sizeof(ret->name));
	xdr_get_string(r, ret->description, sizeof(ret->description));
	ret->size_bytes = rd_be64(r);
	ret->read_only = xdr_get_bool(r);
	ret->is_default = xdr_get_bool(r);
}

void wfsp_put_export(struct wr *w, const struct wfsp_export *v)
{
	xdr_put_string(w, v->name);
	xdr_put_string(w, v->description);
	wr_be64(w, v->size_bytes);
	xdr_put_bool(w, v->read_only);
	xdr_put_bool(w, v->is_default);
}

void wfsp_get_attr(struct rd *r, struct wfsp_attr *ret)
{
	ret->fsid = rd_be64(r);
	ret->fileid = rd_be64(r);
	ret->size_bytes = rd_be64(r);
	ret->allocated_bytes = rd_be64(r);
	ret->change = rd_be64(r);
	ret->mtime_ns = rd_be64(r);
	ret->read_only = xdr_get_bool(r);
}

void wfsp_put_attr(struct wr *w, const struct wfsp_attr *v)
{
	wr_be64(w, v->fsid);
	wr_be64(w, v->fileid);
	wr_be64(w, v->size_bytes);
	wr_be64(w, v->allocated_bytes);
	wr_be64(w, v->change);
	wr_be64(w, v->mtime_ns);
	xdr_put_bool(w, v->read_only);
}

void wfsp_get_open_args(struct rd *r, struct wfsp_open_args *ret)
{
	xdr_get_string(r, ret->name, sizeof(ret->name));
	ret->want_write = xdr_get_bool(r);
}

void wfsp_put_open_args(struct wr *w, const struct wfsp_open_args *v)
{
	xdr_put_string(w, v->name);
	xdr_put_bool(w, v->want_write);
}

void wfsp_get_open_ok(struct rd *r, struct wfsp_open_ok *ret)
{
	ret->handle = rd_be64(r);
	wfsp_get_attr(r, &ret->attr);
	ret->block_min_bytes = rd_be32(r);
	ret->block_preferred_bytes = rd_be32(r);
	ret->block_max_bytes = rd_be32(r);
	xdr_get_string(r, ret->name, sizeof(ret->name));
	xdr_get_string(r, ret->description, sizeof(ret->description));
}

void wfsp_put_open_ok(struct wr *w, const struct wfsp_open_ok *v)
{
	wr_be64(w, v->handle);
	wfsp_put_attr(w, &v->attr);
	wr_be32(w, v->block_min_bytes);
	wr_be32(w, v->block_preferred_bytes);
	wr_be32(w, v->block_max_bytes);
	xdr_put_string(w, v->name);
	xdr_put_string(w, v->description);
}

void wfsp_get_read_args(struct rd *r, struct wfsp_read_args *ret)
{
	ret->handle = rd_be64(r);
	ret->offset = rd_be64(r);
	ret->len_bytes = rd_be32(r);
}

void wfsp_put_read_args(struct wr *w, const struct wfsp_read_args *v)
{
	wr_be64(w, v->handle);
	wr_be64(w, v->offset);
	wr_be32(w, v->len_bytes);
}

void wfsp_get_write_args(struct rd *r, struct wfsp_write_args *ret)
{
	ret->handle = rd_be64(r);
	ret->offset = rd_be64(r);
	ret->stable = rd_be32(r);
	ret->len_bytes = rd_be32(r);
	if (ret->len_bytes > WFSP_PAYLOAD_MAX)
		r->bad = true;
}

void wfsp_put_write_args(struct wr *w, const struct wfsp_write_args *v)
{
	wr_be64(w, v->handle);
	wr_be64(w, v->offset);
	wr_be32(w, v->stable);
	wr_be32(w, v->len_bytes);
}

void wfsp_get_range_args(struct rd *r, struct wfsp_range_args *ret)
{
	ret->handle = rd_be64(r);
	ret->offset = rd_be64(r);
	ret->len_bytes = rd_be64(r);
	ret->flags = rd_be32(r);
}

void wfsp_put_range_args(struct wr *w, const struct wfsp_range_args *v)
{
	wr_be64(w, v->handle);
	wr_be64(w, v->offset);
	wr_be64(w, v->len_bytes);
	wr_be32(w, v->flags);
}

void wfsp_get_extent(struct rd *r, struct wfsp_extent *ret)
{
	ret->len_bytes = rd_be64(r);
	ret->flags = rd_be32(r);
}

void wfsp_put_extent(struct wr *w, const struct wfsp_extent *v)
{
	wr_be64(w, v->len_bytes);
	wr_be32(w, v->flags);
}

void wfsp_get_counter(struct rd *r, struct wfsp_counter *ret)
{
	xdr_get_string(r, ret->name, sizeof(ret->name));
	ret->value = rd_be64(r);
}

void wfsp_put_counter(struct wr *w, const struct wfsp_counter *v)
{
	xdr_put_string(w, v->name);
	wr_be64(w, v->value);
}

void wfsp_get_read_shm_args(struct rd *r, struct wfsp_read_shm_args *ret)
{
	ret->handle = rd_be64(r);
	ret->offset = rd_be64(r);
	ret->len_bytes = rd_be32(r);
	ret->slot = rd_be32(r);
}

void wfsp_put_read_shm_args(struct wr *w, const struct wfsp_read_shm_args *v)
{
	wr_be64(w, v->handle);
	wr_be64(w, v->offset);
	wr_be32(w, v->len_bytes);
	wr_be32(w, v->slot);
}

void wfsp_get_write_shm_args(struct rd *r, struct wfsp_write_shm_args *ret)
{
	ret->handle = rd_be64(r);
	ret->offset = rd_be64(r);
	ret->stable = rd_be32(r);
	ret->len_bytes = rd_be32(r);
	ret->slot = rd_be32(r);
}

void wfsp_put_write_shm_args(struct wr *w, const struct wfsp_write_shm_args *v)
{
	wr_be64(w, v->handle);
	wr_be64(w, v->offset);
	wr_be32(w, v->stable);
	wr_be32(w, v->len_bytes);
	wr_be32(w, v->slot);
}

void wfsp_put_status(struct wr *w, enum wfsp_status status, const char *text)
{
	wr_be32(w, status);
	if (status != WFSP_OK)
		xdr_put_string_cut(w, text, WFSP_TEXT_MAX);
}

uint32_t wfsp_get_status(struct rd *r, char *ret_text)
{
	uint32_t status = rd_be32(r);

	ret_text[0] = '\0';
	if (status != WFSP_OK)
		xdr_get_string(r, ret_text, WFSP_TEXT_MAX + 1);
	return status;
}
