/* SPDX-License-Identifier: BSD-3-Clause */
/* Codecs of directory entries and extended attributes. */
#include "core/fs/wfs3/dirent.h"

#include <errno.h>
#include <string.h>

#include "core/base/assert.h"
#include "core/base/bytes.h"
#include "core/base/checked.h"
#include "core/base/err.h"
#include "core/vfs/vfs.h"

#define ENTRY_HEAD_BYTES 10u /* object, type, length of the name */
#define XATTR_HEAD_BYTES 8u

_Static_assert(DIRENT_NAME_MAX == VFS_NAME_MAX, "one limit for names");

uint64_t dirent_hash(const uint8_t key[SIPHASH_KEY_BYTES], const char *name, size_t name_len)
{
	uint64_t h = siphash(key, name, name_len) >> 1;

	return h < 2 ? 2 : h;
}

struct wfs3_key dirent_key(uint64_t dir, uint64_t hash)
{
	return (struct wfs3_key){ .object = dir, .kind = WFS3_KIND_DIRENT, .offset = hash };
}

static bool name_is_good(const char *name, size_t len)
{
	if (!len || memchr(name, '/', len) || memchr(name, 0, len))
		return false;
	return !(name[0] == '.' && (len == 1 || (len == 2 && name[1] == '.')));
}

int dirent_next(const void *value, size_t len, size_t *pos, struct dirent *ret)
{
	struct rd r = rd_init(value, len);

	r.pos = *pos;
	if (!rd_left(&r))
		return 0;
	ret->object = rd_le64(&r);
	ret->type = rd_u8(&r);
	ret->name_len = rd_u8(&r);
	ret->name = (const char *)rd_bytes(&r, ret->name_len);
	if (r.bad || !ret->object || !ret->type || ret->type > DIRENT_TYPE_MAX ||
	    !name_is_good(ret->name, ret->name_len))
		return err_set(-EUCLEAN, "directory entry that makes no sense at byte %zu of its item", *pos);
	*pos = r.pos;
	return 1;
}

static bool same_name(const struct dirent *e, const char *name, size_t name_len)
{
	return e->name_len == name_len && !memcmp(e->name, name, name_len);
}

int dirent_find(const void *value, size_t len, const char *name, size_t name_len, struct dirent *ret,
                unsigned *ret_count)
{
	struct dirent e;
	unsigned count = 0;
	size_t pos = 0;
	int found = 0, rc;

	while ((rc = dirent_next(value, len, &pos, &e)) > 0) {
		count++;
		if (same_name(&e, name, name_len)) {
			*ret = e;
			found = 1;
		}
	}
	if (ret_count)
		*ret_count = count;
	return rc ? rc : found;
}

static void put_entry(struct wr *w, const struct dirent *e)
{
	wr_le64(w, e->object);
	wr_u8(w, e->type);
	wr_u8(w, e->name_len);
	wr_copy(w, e->name, e->name_len);
}

int dirent_edit(const void *value, size_t len, const char *name, size_t name_len, const struct dirent *add, void *ret)
{
	struct wr w = wr_init(ret, DIRENT_VALUE_MAX);
	struct dirent e;
	size_t pos = 0;
	int rc;

	while ((rc = dirent_next(value, len, &pos, &e)) > 0)
		if (!same_name(&e, name, name_len))
			put_entry(&w, &e);
	if (rc)
		return rc;
	if (add)
		put_entry(&w, add);
	if (w.bad)
		return err_set(-ENOSPC, "too many names with the same hash");
	return (int)w.pos;
}

uint64_t xattr_hash(const uint8_t key[SIPHASH_KEY_BYTES], const char *name, size_t name_len)
{
	return siphash(key, name, name_len) / XATTR_SLOTS * XATTR_SLOTS;
}

struct wfs3_key xattr_key(uint64_t object, uint64_t hash, unsigned part)
{
	return (struct wfs3_key){ .object = object, .kind = WFS3_KIND_XATTR, .offset = hash + part };
}

uint32_t xattr_head_len(size_t name_len, size_t value_len)
{
	return (uint32_t)min_u64(value_len, XATTR_PART_BYTES - XATTR_HEAD_BYTES - name_len);
}

unsigned xattr_parts(size_t name_len, size_t value_len)
{
	size_t rest = value_len - xattr_head_len(name_len, value_len);

	return 1 + (unsigned)((rest + XATTR_PART_BYTES - 1) / XATTR_PART_BYTES);
}

size_t xattr_head_encode(const char *name, size_t name_len, const void *value, size_t value_len, void *buf)
{
	struct wr w = wr_init(buf, XATTR_PART_BYTES);

	wr_le32(&w, (uint32_t)value_len);
	wr_u8(&w, (uint8_t)name_len);
	wr_zero(&w, 3);
	wr_copy(&w, name, name_len);
	wr_copy(&w, value, xattr_head_len(name_len, value_len));
	always(!w.bad);
	return w.pos;
}

int xattr_head_decode(const void *value, size_t len, struct xattr_head *ret)
{
	struct rd r = rd_init(value, len);
	const uint8_t *reserved;

	ret->value_len = rd_le32(&r);
	ret->name_len = rd_u8(&r);
	reserved = rd_bytes(&r, 3);
	ret->name = (const char *)rd_bytes(&r, ret->name_len);
	ret->head_len = (uint32_t)rd_left(&r);
	ret->value = rd_bytes(&r, ret->head_len);
	if (r.bad || !ret->name_len || memchr(ret->name, 0, ret->name_len) || ret->value_len > XATTR_VALUE_MAX ||
	    !bytes_are_zero(reserved, 3) || ret->head_len != xattr_head_len(ret->name_len, ret->value_len))
		return err_set(-EUCLEAN, "extended attribute that makes no sense");
	return 0;
}
