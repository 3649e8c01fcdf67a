/* SPDX-License-Identifier: BSD-3-Clause */
/* Replies are walked by a table of shapes, one letter for each part. */
#include "core/fs/nfs/reply.h"

#include <errno.h>

#include "core/base/bytes.h"
#include "core/base/err.h"

#define FATTR_BYTES 84u
#define WCC_ATTR_BYTES 24u
#define VERIFIER_BYTES_MAX 400u /* RFC 5531, opaque_auth */
#define FLAVORS_MAX 32u

#define MSG_REPLY 1u
#define STAT_ACCEPTED 0u
#define STAT_DENIED 1u
#define ACCEPT_SUCCESS 0u
#define ACCEPT_MISMATCH 2u
#define ACCEPT_LAST 5u
#define REJECT_VERSION 0u
#define REJECT_AUTH 1u

/*
 * A attributes, a attributes or none, w attributes before and after or none, h handle, p handle or none, b truth value,
 * 4 and 8 so many bytes, s string, d bytes read, L list of names, F list of flavours.
 */
static const struct shape {
	const char *ok, *failed; /* behind a status; @failed NULL: there is no status */
} shapes[NFS_PROCS] = {
	[NFS_GETPORT] = { "4", NULL },      [NFS_MNT] = { "hF", "" },
	[NFS_GETATTR] = { "A", "" },        [NFS_SETATTR] = { "w", "w" },
	[NFS_LOOKUP] = { "haa", "a" },      [NFS_ACCESS] = { "a4", "a" },
	[NFS_READLINK] = { "as", "a" },     [NFS_READ] = { "a4bd", "a" },
	[NFS_WRITE] = { "w448", "w" },      [NFS_CREATE] = { "paw", "w" },
	[NFS_MKDIR] = { "paw", "w" },       [NFS_SYMLINK] = { "paw", "w" },
	[NFS_MKNOD] = { "paw", "w" },       [NFS_REMOVE] = { "w", "w" },
	[NFS_RMDIR] = { "w", "w" },         [NFS_RENAME] = { "ww", "ww" },
	[NFS_LINK] = { "aw", "aw" },        [NFS_READDIRPLUS] = { "a8L", "a" },
	[NFS_FSSTAT] = { "a8888884", "a" }, [NFS_FSINFO] = { "a4444444884", "a" },
	[NFS_COMMIT] = { "w8", "w" },
};

static bool truth(struct rd *r)
{
	uint32_t v = rd_be32(r);

	if (v > 1)
		r->bad = true;
	return v == 1;
}

static uint32_t counted(struct rd *r, uint32_t min, uint32_t max)
{
	uint32_t len = rd_be32(r);

	if (len < min || len > max)
		r->bad = true;
	/* Padded to whole words. */
	(void)rd_bytes(r, r->bad ? 0 : ((size_t)len + 3) & ~(size_t)3);
	return len;
}

static void optional(struct rd *r, size_t len)
{
	if (truth(r))
		(void)rd_bytes(r, len);
}

static void optional_handle(struct rd *r)
{
	if (truth(r))
		(void)counted(r, 1, NFS_HANDLE_BYTES_MAX);
}

static void name_list(struct rd *r)
{
	unsigned count = 0;

	while (!r->bad && truth(r)) {
		(void)rd_be64(r); /* file id */
		(void)counted(r, 0, NFS_STRING_BYTES_MAX);
		(void)rd_be64(r); /* cookie */
		optional(r, FATTR_BYTES);
		optional_handle(r);
		if (++count > NFS_LIST_ENTRIES_MAX)
			r->bad = true;
	}
	(void)truth(r); /* the end of the directory */
}

static void flavor_list(struct rd *r)
{
	uint32_t count = rd_be32(r);

	if (count > FLAVORS_MAX)
		r->bad = true;
	else
		(void)rd_bytes(r, (size_t)count * 4);
}

static void bytes_read(struct rd *r, uint32_t max, struct nfs_reply_info *info)
{
	/* Told twice: before whether that was the end, and here. */
	uint32_t count = r->pos < 8 ? 0 : get_be32(r->base + r->pos - 8);

	info->data_offset = r->pos;
	info->data_len_bytes = counted(r, 0, max);
	if (info->data_len_bytes != count)
		r->bad = true;
}

static void walk(struct rd *r, const char *shape, uint32_t data_max, struct nfs_reply_info *info)
{
	for (; *shape && !r->bad; shape++) {
		switch (*shape) {
		case 'A':
			(void)rd_bytes(r, FATTR_BYTES);
			break;
		case 'a':
			optional(r, FATTR_BYTES);
			break;
		case 'w':
			optional(r, WCC_ATTR_BYTES);
			optional(r, FATTR_BYTES);
			break;
		case 'h':
			(void)counted(r, 1, NFS_HANDLE_BYTES_MAX);
			break;
		case 'p':
			optional_handle(r);
			break;
		case 'b':
			(void)truth(r);
			break;
		case '4':
			(void)rd_be32(r);
			break;
		case '8':
			(void)rd_be64(r);
			break;
		case 's':
			(void)counted(r, 0, NFS_STRING_BYTES_MAX);
			break;
		case 'd':
			bytes_read(r, data_max, info);
			break;
		case 'L':
			name_list(r);
			break;
		default:
			flavor_list(r);
		}
	}
}

/* Up to the result. Not carried out: to the end. */
static void header(struct rd *r, struct nfs_reply_info *info)
{
	uint32_t stat;

	info->xid = rd_be32(r);
	if (rd_be32(r) != MSG_REPLY)
		r->bad = true;
	stat = rd_be32(r);
	if (stat == STAT_DENIED) {
		uint32_t why = rd_be32(r);

		if (why > REJECT_AUTH)
			r->bad = true;
		(void)rd_bytes(r, why == REJECT_VERSION ? 8 : 4);
		return;
	}
	if (stat != STAT_ACCEPTED)
		r->bad = true;
	(void)rd_be32(r); /* flavour of the verifier */
	(void)counted(r, 0, VERIFIER_BYTES_MAX);
	stat = rd_be32(r);
	if (stat > ACCEPT_LAST)
		r->bad = true;
	if (stat == ACCEPT_MISMATCH)
		(void)rd_bytes(r, 8);
	info->accepted = stat == ACCEPT_SUCCESS;
}

int nfs_reply_check(enum nfs_proc proc, const void *buf, size_t len, uint32_t data_max_bytes,
                    struct nfs_reply_info *ret)
{
	struct nfs_reply_info info = { .accepted = false };
	const struct shape *s = &shapes[proc];
	struct rd r = rd_init(buf, len);

	header(&r, &info);
	if (!r.bad && info.accepted && s->failed && rd_be32(&r) != 0)
		walk(&r, s->failed, 0, &info);
	else if (!r.bad && info.accepted)
		walk(&r, s->ok, data_max_bytes, &info);
	if (r.bad)
		return err_set(-EBADMSG, "a malformed reply of %zu bytes", len);
	*ret = info;
	return 0;
}

int nfs_reply_xid(const void *buf, size_t len, uint32_t *ret)
{
	struct rd r = rd_init(buf, len);
	uint32_t xid = rd_be32(&r);

	if (rd_be32(&r) != MSG_REPLY || r.bad)
		return err_set(-EBADMSG, "a record of %zu bytes is no reply", len);
	*ret = xid;
	return 0;
}
