/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * POSIX ACLs (IEEE 1003.1e draft 17, section 23.1) in the form in which the Linux kernel hands them to file systems as
 * extended attributes: a version (le32, 2), then entries of tag (le16), permissions (le16) and id (le32), in the order
 * owner, named users, owning group, named groups, mask, others.
 */
#include <errno.h>
#include <string.h>

#include "core/base/bytes.h"
#include "core/base/err.h"
#include "core/vfs/vfs_priv.h"

#define ACL_VERSION 2u
#define ACL_HEADER_BYTES 4u
#define ACL_ENTRY_BYTES 8u

enum acl_tag {
	ACL_USER_OBJ = 0x01,
	ACL_USER = 0x02,
	ACL_GROUP_OBJ = 0x04,
	ACL_GROUP = 0x08,
	ACL_MASK = 0x10,
	ACL_OTHER = 0x20,
};

struct entry {
	unsigned tag, perm;
	uint32_t id;
};

static size_t entry_count(size_t len)
{
	return (len - ACL_HEADER_BYTES) / ACL_ENTRY_BYTES;
}

static struct entry entry_get(const void *acl, size_t i)
{
	const uint8_t *p = (const uint8_t *)acl + ACL_HEADER_BYTES + i * ACL_ENTRY_BYTES;

	return (struct entry){ .tag = get_le16(p), .perm = get_le16(p + 2), .id = get_le32(p + 4) };
}

static void entry_set_perm(void *acl, size_t i, uint32_t perm)
{
	put_le16((uint8_t *)acl + ACL_HEADER_BYTES + i * ACL_ENTRY_BYTES + 2, (uint16_t)(perm & 7));
}

int acl_validate(const void *acl, size_t len, uint32_t *ret_mode, bool *ret_minimal)
{
	unsigned seen = 0, highest = 0;
	uint32_t mode = 0;

	if (len < ACL_HEADER_BYTES || len > ACL_BYTES_MAX || (len - ACL_HEADER_BYTES) % ACL_ENTRY_BYTES ||
	    get_le32(acl) != ACL_VERSION)
		return err_set(-EINVAL, "an ACL of %zu bytes is not one of version %u", len, ACL_VERSION);
	for (size_t i = 0; i < entry_count(len); i++) {
		struct entry e = entry_get(acl, i);
		bool named = e.tag == ACL_USER || e.tag == ACL_GROUP;

		if (!e.tag || e.tag & (e.tag - 1) || e.tag > ACL_OTHER || e.perm > 7)
			return err_set(-EINVAL, "ACL entry %zu has tag %#x and permissions %#x", i, e.tag, e.perm);
		if (e.tag < highest || (e.tag == highest && !named))
			return err_set(-EINVAL, "ACL entry %zu is out of order", i);
		highest = e.tag;
		seen |= e.tag;
		if (e.tag == ACL_USER_OBJ)
			mode |= e.perm << 6;
		else if (e.tag == ACL_GROUP_OBJ || e.tag == ACL_MASK)
			mode = (mode & ~UINT32_C(070)) | e.perm << 3;
		else if (e.tag == ACL_OTHER)
			mode |= e.perm;
	}
	if ((seen & (ACL_USER_OBJ | ACL_GROUP_OBJ | ACL_OTHER)) != (ACL_USER_OBJ | ACL_GROUP_OBJ | ACL_OTHER))
		return err_set(-EINVAL, "an ACL lacks the owner, the owning group or the others");
	if (seen & (ACL_USER | ACL_GROUP) && !(seen & ACL_MASK))
		return err_set(-EINVAL, "an ACL with named users or groups lacks a mask");
	*ret_mode = mode;
	*ret_minimal = !(seen & ~(unsigned)(ACL_USER_OBJ | ACL_GROUP_OBJ | ACL_OTHER));
	return 0;
}

static int verdict(unsigned perm, unsigned access)
{
	return (perm & access) == access ? 0 : -EACCES;
}

/* Entries before the mask are limited by it, but for the owner's. */
static unsigned find_mask(const void *acl, size_t len)
{
	for (size_t i = 0; i < entry_count(len); i++) {
		struct entry e = entry_get(acl, i);

		if (e.tag == ACL_MASK)
			return e.perm;
	}
	return 7;
}

static bool has_mask(const void *acl, size_t len)
{
	for (size_t i = 0; i < entry_count(len); i++)
		if (entry_get(acl, i).tag == ACL_MASK)
			return true;
	return false;
}

void acl_set_mode(void *acl, size_t len, uint32_t mode)
{
	unsigned group_tag = has_mask(acl, len) ? ACL_MASK : ACL_GROUP_OBJ;

	for (size_t i = 0; i < entry_count(len); i++) {
		struct entry e = entry_get(acl, i);

		if (e.tag == ACL_USER_OBJ)
			entry_set_perm(acl, i, mode >> 6);
		else if (e.tag == group_tag)
			entry_set_perm(acl, i, mode >> 3);
		else if (e.tag == ACL_OTHER)
			entry_set_perm(acl, i, mode);
	}
}

/* Section 23.1.5: the first class that applies decides; among the groups, one entry must allow all that is asked for.
 */
int acl_check(void *acl, size_t len, const struct vfs_stat *st, const struct vfs_cred *cred, unsigned access)
{
	bool in_group = false, minimal;
	unsigned mask, other = 0;
	uint32_t mode;
	int ret = acl_validate(acl, len, &mode, &minimal);

	if (ret)
		return ret;
	acl_set_mode(acl, len, st->mode);
	mask = find_mask(acl, len);
	for (size_t i = 0; i < entry_count(len); i++) {
		struct entry e = entry_get(acl, i);

		if (e.tag == ACL_USER_OBJ && cred->uid == st->uid)
			return verdict(e.perm, access);
		if (e.tag == ACL_USER && cred->uid == e.id)
			return verdict(e.perm & mask, access);
		if ((e.tag == ACL_GROUP_OBJ && access_in_group(cred, st->gid)) ||
		    (e.tag == ACL_GROUP && access_in_group(cred, e.id))) {
			if (!verdict(e.perm & mask, access))
				return 0;
			in_group = true;
		}
		if (e.tag == ACL_OTHER)
			other = e.perm;
	}
	return in_group ? -EACCES : verdict(other, access);
}

uint32_t acl_inherit(void *acl, size_t len, uint32_t mode)
{
	uint32_t acl_mode;
	bool minimal;

	if (acl_validate(acl, len, &acl_mode, &minimal))
		return mode;
	mode &= ~UINT32_C(0777) | acl_mode;
	acl_set_mode(acl, len, mode);
	return mode;
}
