/* SPDX-License-Identifier: BSD-3-Clause */
/* libwfs: the operations on an open file. */
#include <errno.h>
#include <stdlib.h>

#include "core/base/err.h"
#include "protocol/client/file.h"
#include "protocol/xdr/xdr.h"

int wfs_stat(struct wfs_file *f, struct wfs_stat *ret)
{
	struct wfsp_attr attr;
	struct wfs_call call;
	struct rd r;
	int err;

	wfs_call_init(&call, WFSP_STAT);
	wr_be64(&call.args, 0);
	err = wfs_file_call(f, &call, &r, NULL);
	if (!err) {
		wfsp_get_attr(&r, &attr);
		if (r.bad)
			err = err_set(-EBADMSG, "malformed answer to STAT");
	}
	wfs_call_done(&call);
	if (err)
		return err;
	*ret = (struct wfs_stat){ .file_id = attr.fileid,
		                  .size_bytes = attr.size_bytes,
		                  .allocated_bytes = attr.allocated_bytes,
		                  .change = attr.change,
		                  .mtime_ns = attr.mtime_ns,
		                  .read_only = attr.read_only };
	return 0;
}

/* *ret_got is less than @len only at the end of the file. */
static int read_once(struct wfs_file *f, void *buf, uint32_t len, uint64_t offset, uint32_t *ret_got)
{
	struct wfsp_read_args args = { .offset = offset, .len_bytes = len };
	struct wfs_call call;
	struct rd r;
	int err;

	wfs_call_init(&call, WFSP_READ);
	wfsp_put_read_args(&call.args, &args);
	call.payload = buf;
	call.payload_len = len;
	err = wfs_file_call(f, &call, &r, NULL);
	*ret_got = call.payload_got;
	wfs_call_done(&call);
	return err;
}

int wfs_pread_some(struct wfs_file *f, void *buf, size_t len, uint64_t offset, size_t *ret_len)
{
	size_t done = 0;

	while (done < len) {
		uint32_t max = f->client->payload_max_bytes, got;
		uint32_t n = len - done < max ? (uint32_t)(len - done) : max;
		int err = read_once(f, (uint8_t *)buf + done, n, offset + done, &got);

		if (err)
			return err;
		done += got;
		if (got < n)
			break;
	}
	*ret_len = done;
	return 0;
}

int wfs_pread(struct wfs_file *f, void *buf, size_t len, uint64_t offset)
{
	size_t got;
	int err = wfs_pread_some(f, buf, len, offset, &got);

	if (!err && got < len)
		err = err_set(-EINVAL, "read of %zu bytes at %llu, beyond the end of the file", len,
		              (unsigned long long)offset);
	return err;
}

int wfs_flush(struct wfs_file *f)
{
	struct wfs_call call;
	uint64_t writes;
	bool lost;
	struct rd r;
	int err;

	sync_mutex_lock(&f->lock);
	writes = wfs_ledger_writes(f->ledger);
	sync_mutex_unlock(&f->lock);
	wfs_call_init(&call, WFSP_FLUSH);
	wr_be64(&call.args, 0);
	err = wfs_file_call(f, &call, &r, NULL);
	wfs_call_done(&call);
	if (err)
		return err;
	sync_mutex_lock(&f->lock);
	lost = wfs_ledger_flushed(f->ledger, writes, &f->seen);
	sync_mutex_unlock(&f->lock);
	if (lost)
		return err_set(-EIO, "server restarted; unflushed writes may be lost");
	return 0;
}

/* DISCARD, ZERO and CACHE, which answer nothing but success. */
static int range_call(struct wfs_file *f, uint32_t procedure, uint64_t offset, uint64_t len, uint32_t flags,
                      uint64_t *ret_boot)
{
	struct wfsp_range_args args = { .offset = offset, .len_bytes = len, .flags = flags };
	struct wfs_call call;
	struct rd r;
	int err;

	wfs_call_init(&call, procedure);
	wfsp_put_range_args(&call.args, &args);
	err = wfs_file_call(f, &call, &r, ret_boot);
	wfs_call_done(&call);
	return err;
}

static uint32_t wire_flags(unsigned flags)
{
	return (flags & WFS_FUA ? WFSP_RANGE_FUA : 0) | (flags & WFS_NO_HOLE ? WFSP_RANGE_NO_HOLE : 0) |
	       (flags & WFS_FAST ? WFSP_RANGE_FAST : 0) | (flags & WFS_ONE ? WFSP_RANGE_ONE : 0);
}

int wfs_discard(struct wfs_file *f, uint64_t offset, uint64_t len, unsigned flags)
{
	uint64_t boot;
	int err;

	if (flags & ~WFS_FUA)
		return err_set(-EINVAL, "unknown flags %#x of a discard", flags);
	if (!len)
		return 0;
	err = range_call(f, WFSP_DISCARD, offset, len, wire_flags(flags), &boot);
	if (!err && !(flags & WFS_FUA))
		wfs_file_wrote(f, boot);
	return err;
}

int wfs_zero(struct wfs_file *f, uint64_t offset, uint64_t len, unsigned flags)
{
	uint64_t boot;
	int err;

	if (flags & ~(WFS_FUA | WFS_NO_HOLE | WFS_FAST))
		return err_set(-EINVAL, "unknown flags %#x of a zero", flags);
	if (!len)
		return 0;
	err = range_call(f, WFSP_ZERO, offset, len, wire_flags(flags), &boot);
	if (!err && !(flags & WFS_FUA))
		wfs_file_wrote(f, boot);
	return err;
}

int wfs_prefetch(struct wfs_file *f, uint64_t offset, uint64_t len)
{
	if (!len)
		return 0;
	return range_call(f, WFSP_CACHE, offset, len, 0, NULL);
}

/* Extents as the server sent them, into offsets; clipped to what was asked for and to @max. */
static int get_extents(struct rd *r, uint64_t offset, uint64_t len, struct wfs_extent *ret, unsigned max,
                       unsigned *ret_count)
{
	uint32_t count = xdr_get_count(r, WFSP_EXTENTS_MAX, WFSP_EXTENT_BYTES);
	unsigned used = 0;

	for (uint32_t i = 0; i < count && used < max && len; i++) {
		struct wfsp_extent e;

		wfsp_get_extent(r, &e);
		if (r->bad || !e.len_bytes)
			break;
		if (e.len_bytes > len)
			e.len_bytes = len;
		ret[used++] = (struct wfs_extent){ .offset = offset,
			                           .len_bytes = e.len_bytes,
			                           .hole = !!(e.flags & WFSP_EXTENT_HOLE),
			                           .zero = !!(e.flags & WFSP_EXTENT_ZERO) };
		offset += e.len_bytes;
		len -= e.len_bytes;
	}
	if (r->bad || !used)
		return err_set(-EBADMSG, "malformed answer to EXTENTS");
	*ret_count = used;
	return 0;
}

int wfs_extents(struct wfs_file *f, uint64_t offset, uint64_t len, unsigned flags, struct wfs_extent *ret, unsigned max,
                unsigned *ret_count)
{
	const size_t reply_size = WFSP_EXTENTS_MAX * WFSP_EXTENT_BYTES + CALL_REPLY_BYTES;
	struct wfsp_range_args args = { .offset = offset, .len_bytes = len, .flags = wire_flags(flags) };
	struct wfs_call call;
	struct rd r;
	int err;

	if ((flags & ~WFS_ONE) || !max || !len)
		return err_set(-EINVAL, "extents: flags %#x, room for %u, %llu bytes", flags, max,
		               (unsigned long long)len);
	wfs_call_init(&call, WFSP_EXTENTS);
	wfsp_put_range_args(&call.args, &args);
	call.reply = malloc(reply_size);
	call.reply_size = reply_size;
	if (!call.reply)
		err = err_set(-ENOMEM, "no memory for extents");
	else
		err = wfs_file_call(f, &call, &r, NULL);
	if (!err)
		err = get_extents(&r, offset, len, ret, max, ret_count);
	free(call.reply);
	wfs_call_done(&call);
	return err;
}
