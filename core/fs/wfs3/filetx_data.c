/* SPDX-License-Identifier: BSD-3-Clause */
/* Contents of files in a transaction: whole pages over what is outside. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/checked.h"
#include "core/base/err.h"
#include "core/base/iov.h"
#include "core/fs/wfs3/filetx.h"

#define PAGE WFS3_BLOCK_BYTES

/* ---- pages ---- */

/* The first page that is not before @index. */
static unsigned page_slot(const struct filetx_object *x, uint64_t index)
{
	unsigned low = 0, high = x->page_count;

	while (low < high) {
		unsigned mid = low + (high - low) / 2;

		if (x->pages[mid].index < index)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static struct filetx_page *find_page(const struct filetx_object *x, uint64_t index)
{
	unsigned slot = page_slot(x, index);

	return slot < x->page_count && x->pages[slot].index == index ? &x->pages[slot] : NULL;
}

/* A new page, with undefined contents; or of zeros, without memory for them. */
static int add_page(struct filetx_object *x, uint64_t index, bool zero, struct filetx_page **ret)
{
	unsigned slot = page_slot(x, index);
	int rc = filetx_charge(x->tx, sizeof(*x->pages) + (zero ? 0 : PAGE));
	uint8_t *data;

	if (rc)
		return rc;
	if (x->page_count == x->page_capacity) {
		unsigned capacity = x->page_capacity ? 2 * x->page_capacity : 4;
		struct filetx_page *pages = realloc(x->pages, capacity * sizeof(*pages));

		if (!pages)
			return err_set(-ENOMEM, "no memory for the pages of a transaction");
		x->pages = pages;
		x->page_capacity = capacity;
	}
	data = zero ? NULL : malloc(PAGE);
	if (!zero && !data)
		return err_set(-ENOMEM, "no memory for the pages of a transaction");
	memmove(&x->pages[slot + 1], &x->pages[slot], (x->page_count - slot) * sizeof(*x->pages));
	x->pages[slot] = (struct filetx_page){ .index = index, .data = data };
	x->page_count++;
	*ret = &x->pages[slot];
	return 0;
}

/* Where what is outside ends, for the transaction. */
static uint64_t outside_end(const struct filetx_object *x)
{
	return x->o ? min_u64(x->base.size_bytes, x->hidden_from) : 0;
}

/* Contents outside, as they were seen. Within outside_end(). */
static int read_outside(struct filetx_object *x, const struct iovec *iov, int iov_count, uint64_t offset)
{
	struct cache_file *file;
	int rc = dataset_enter(x->tx->ds, 0);

	if (rc)
		return rc;
	/* Who began to write before this is done, and who begins later has left another stamp. */
	filetx_drain(x->o);
	if (__atomic_load_n(&x->o->shifting, __ATOMIC_ACQUIRE))
		rc = filetree_settle(x->o);
	if (!rc)
		rc = object_open_file(x->o, &file);
	if (!rc)
		rc = cache_read(file, offset, iov, iov_count, 0);
	dataset_exit(x->tx->ds);
	/* Also an error may come from a file that is shorter by now. */
	return __atomic_load_n(&x->o->stamp, __ATOMIC_SEQ_CST) == x->stamp ? rc : filetx_check_seen(x);
}

/* What the page is without being in the overlay. */
static int fill_page(struct filetx_object *x, uint64_t index, uint8_t *data)
{
	uint64_t at = index * PAGE, end = outside_end(x);
	size_t len = at < end ? (size_t)min_u64(PAGE, end - at) : 0;
	struct iovec iov = { .iov_base = data, .iov_len = len };

	memset(data + len, 0, PAGE - len);
	return len ? read_outside(x, &iov, 1, at) : 0;
}

/* The page in the overlay, to be changed. @whole: all of it is going to be written. */
static int own_page(struct filetx_object *x, uint64_t index, bool whole, uint8_t **ret)
{
	struct filetx_page *pg = find_page(x, index);
	uint8_t *data;
	int rc = 0;

	if (pg && pg->data) {
		*ret = pg->data;
		return 0;
	}
	data = malloc(PAGE);
	if (!data)
		return err_set(-ENOMEM, "no memory for the pages of a transaction");
	if (pg)
		memset(data, 0, PAGE);
	else if (!whole)
		rc = fill_page(x, index, data);
	if (!rc)
		rc = filetx_charge(x->tx, PAGE);
	if (!rc && !pg)
		rc = add_page(x, index, true, &pg);
	if (rc) {
		free(data);
		return rc;
	}
	pg->data = data;
	*ret = data;
	return 0;
}

/* ---- reading and writing ---- */

static int read_pages(struct filetx_object *x, struct iov_cursor *c, uint64_t offset, uint64_t len)
{
	uint8_t *buf = malloc(PAGE);
	int rc = buf ? 0 : err_set(-ENOMEM, "no memory to read in a transaction");

	for (uint64_t at = offset, end = offset + len, next; at < end && !rc; at = next) {
		const struct filetx_page *pg = find_page(x, at / PAGE);
		size_t in = (size_t)(at % PAGE);
		const uint8_t *from = pg ? pg->data : buf;

		next = min_u64(end, (at / PAGE + 1) * PAGE);
		if (!pg)
			rc = fill_page(x, at / PAGE, buf);
		if (!rc)
			iov_copy_out(c, from ? from + in : NULL, (size_t)(next - at));
	}
	free(buf);
	return rc;
}

static int check_file(const struct filetx_object *x)
{
	if (x->node.type == VFS_TYPE_FILE)
		return 0;
	return err_set(x->node.type == VFS_TYPE_DIR ? -EISDIR : -ENXIO, "object %" PRIu64 " has no data", x->number);
}

int filetx_read(struct vfs_node *n, const struct iovec *iov, int iov_count, uint64_t offset, unsigned flags)
{
	struct filetx_object *x = filetx_object(n);
	struct iov_cursor c = { .iov = iov };
	uint64_t len = iov_len(iov, iov_count);
	int rc = check_file(x);

	if (flags & VFS_NOWAIT)
		return -EAGAIN;
	if (!rc)
		rc = filetx_enter(x->tx);
	if (rc)
		return rc;
	while (!c.iov->iov_len)
		c.iov++;
	if (!range_within(offset, len, x->cur.size_bytes))
		rc = err_set(-EINVAL, "%" PRIu64 "+%" PRIu64 " is not within the file", offset, len);
	/* Nothing of it was changed: as one. */
	else if (offset + len <= outside_end(x) &&
	         page_slot(x, offset / PAGE) == page_slot(x, (offset + len - 1) / PAGE + 1))
		rc = read_outside(x, iov, iov_count, offset);
	else
		rc = read_pages(x, &c, offset, len);
	dataset_note(x->tx->ds, DATASET_READ, rc, len);
	filetx_leave(x->tx);
	return rc;
}

static int write_pages(struct filetx_object *x, struct iov_cursor *c, uint64_t offset, uint64_t len)
{
	int rc = 0;

	for (uint64_t at = offset, end = offset + len, next; at < end && !rc; at = next) {
		uint64_t index = at / PAGE;
		uint8_t *data;

		next = min_u64(end, (index + 1) * PAGE);
		rc = own_page(x, index, next - at == PAGE, &data);
		if (!rc)
			iov_copy_in(c, data + at % PAGE, (size_t)(next - at));
	}
	return rc;
}

static int write_checked(struct filetx_object *x, const struct iovec *iov, uint64_t offset, uint64_t len,
                         unsigned flags)
{
	struct iov_cursor c = { .iov = iov };
	int64_t now_ns = (int64_t)sync_wall_ns();
	int rc;

	if (flags & VFS_APPEND)
		offset = x->cur.size_bytes;
	if (!range_within(offset, len, VFS_FILE_BYTES_MAX))
		return err_set(-EFBIG, "a file does not reach %" PRIu64 "+%" PRIu64, offset, len);
	while (!c.iov->iov_len)
		c.iov++;
	rc = write_pages(x, &c, offset, len);
	if (rc)
		/* A half of it must not be committed. */
		return x->tx->state == VFS_TX_RUNNING ? filetx_fail(x->tx, rc) : rc;
	if (offset + len > x->cur.size_bytes) {
		x->cur.size_bytes = offset + len;
		x->set |= EDIT_SIZE;
	}
	x->cur.mtime_ns = x->cur.ctime_ns = now_ns;
	x->set |= EDIT_MTIME;
	x->changed = true;
	return 0;
}

int filetx_write(struct vfs_node *n, const struct iovec *iov, int iov_count, uint64_t offset, unsigned flags)
{
	struct filetx_object *x = filetx_object(n);
	uint64_t len = iov_len(iov, iov_count);
	int rc = check_file(x);

	if (flags & VFS_NOWAIT)
		return -EAGAIN;
	if (!rc && flags & VFS_FUA)
		rc = err_set(-EOPNOTSUPP, "what is done in a transaction becomes durable with it");
	if (!rc)
		rc = filetx_enter(x->tx);
	if (rc)
		return rc;
	if (len)
		rc = write_checked(x, iov, offset, len, flags);
	dataset_note(x->tx->ds, DATASET_WRITE, rc, len);
	filetx_leave(x->tx);
	return rc;
}

/* ---- sizes ---- */

int filetx_resize(struct filetx_object *x, uint64_t size_bytes)
{
	uint64_t first = div_round_up_u64(size_bytes, PAGE);
	struct filetx_page *pg;

	if (size_bytes > VFS_FILE_BYTES_MAX)
		return err_set(-EFBIG, "a file does not have %" PRIu64 " bytes", size_bytes);
	x->hidden_from = min_u64(x->hidden_from, size_bytes);
	while (x->page_count && x->pages[x->page_count - 1].index >= first)
		free(x->pages[--x->page_count].data);
	pg = size_bytes % PAGE ? find_page(x, size_bytes / PAGE) : NULL;
	if (pg && pg->data)
		memset(pg->data + size_bytes % PAGE, 0, PAGE - size_bytes % PAGE);
	x->cur.size_bytes = size_bytes;
	x->set |= EDIT_SIZE;
	return 0;
}

int filetx_complete_pages(struct filetx_object *x)
{
	uint64_t end = min_u64(x->base.size_bytes, x->cur.size_bytes);
	int rc = 0;

	/* What was cut off and is behind the new end is dropped after the commit. */
	if (!x->o || x->hidden_from >= x->base.size_bytes)
		return 0;
	for (uint64_t at = x->hidden_from / PAGE * PAGE; at < end && !rc; at += PAGE) {
		struct filetx_page *pg;
		uint8_t *data;

		if (find_page(x, at / PAGE))
			continue;
		rc = at < x->hidden_from ? own_page(x, at / PAGE, false, &data) : add_page(x, at / PAGE, true, &pg);
	}
	return rc;
}
