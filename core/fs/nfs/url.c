/* SPDX-License-Identifier: BSD-3-Clause */
/* Addresses of shares. */
#include "core/fs/nfs/url.h"

#include <ctype.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "core/base/err.h"

#define SCHEME "nfs://"

static int number(const char *text, size_t len, uint64_t max, uint64_t *ret)
{
	uint64_t v = 0;

	for (size_t i = 0; i < len; i++) {
		if (text[i] < '0' || text[i] > '9')
			len = 0;
		else
			v = v * 10 + (uint64_t)(text[i] - '0');
		if (v > max)
			len = 0;
	}
	if (!len)
		return err_set(-EINVAL, "not a number from 0 to %llu: '%.40s'", (unsigned long long)max, text);
	*ret = v;
	return 0;
}

static int parse_host(const char **at, struct nfs_url *u)
{
	const char *start = *at, *end;
	uint64_t port = 0;
	size_t len;
	int rc = 0;

	if (*start == '[') {
		end = strchr(++start, ']');
		if (!end)
			return err_set(-EINVAL, "an address in brackets has no end");
		*at = end + 1;
	} else {
		end = start + strcspn(start, ":/?");
		*at = end;
	}
	len = (size_t)(end - start);
	if (!len || len > NFS_HOST_BYTES_MAX)
		return err_set(-EINVAL, "no host in the address of the share");
	memcpy(u->host, start, len);
	if (**at == ':') {
		len = strcspn(++*at, "/?");
		rc = number(*at, len, UINT16_MAX, &port);
		*at += len;
	}
	u->nfs_port = (uint16_t)port;
	return rc;
}

static int hex(char c)
{
	static const char digits[] = "0123456789abcdef";
	const char *p = c ? strchr(digits, tolower((unsigned char)c)) : NULL;

	return p ? (int)(p - digits) : -1;
}

static int parse_path(const char **at, struct nfs_url *u)
{
	size_t len = 0;

	if (**at != '/')
		return err_set(-EINVAL, "no export in the address of the share: nfs://HOST/EXPORT");
	for (; **at && **at != '?'; (*at)++) {
		char c = **at;

		if (c == '%') {
			int high = hex((*at)[1]), low = high < 0 ? -1 : hex((*at)[2]);

			if (low < 0 || (high == 0 && low == 0))
				return err_set(-EINVAL, "'%%' without two hexadecimal digits in the export's path");
			c = (char)(high * 16 + low);
			*at += 2;
		}
		if (len == NFS_EXPORT_BYTES_MAX)
			return err_set(-EINVAL, "an export's path of more than %u bytes", NFS_EXPORT_BYTES_MAX);
		u->export_path[len++] = c;
	}
	while (len > 1 && u->export_path[len - 1] == '/')
		u->export_path[--len] = 0;
	return 0;
}

static int parse_option(const char *key, size_t key_len, const char *value, size_t len, struct nfs_url *u)
{
	static const struct {
		const char *key;
		uint64_t max;
	} options[] = { { "nfsport", UINT16_MAX },
		        { "mountport", UINT16_MAX },
		        { "uid", UINT32_MAX - 1 },
		        { "gid", UINT32_MAX - 1 },
		        { "version", UINT16_MAX } };
	unsigned i = 0;
	uint64_t v = 0;
	int rc;

	while (i < 5 && (strlen(options[i].key) != key_len || memcmp(options[i].key, key, key_len) != 0))
		i++;
	if (i == 5)
		return err_set(-EINVAL, "no such option of a share: '%.*s'", (int)key_len, key);
	rc = number(value, len, options[i].max, &v);
	if (rc == 0 && i == 4 && v != 3)
		rc = err_set(-EINVAL, "only version 3 of NFS is spoken");
	if (i == 0)
		u->nfs_port = (uint16_t)v;
	else if (i == 1)
		u->mount_port = (uint16_t)v;
	else if (i == 2)
		u->uid = (uint32_t)v;
	else if (i == 3)
		u->gid = (uint32_t)v;
	u->has_uid |= i == 2;
	u->has_gid |= i == 3;
	return rc;
}

int nfs_url_parse(const char *url, struct nfs_url *ret)
{
	struct nfs_url u = { .host = "" };
	const char *at = url + strlen(SCHEME);
	int rc;

	if (strncmp(url, SCHEME, strlen(SCHEME)) != 0)
		return err_set(-EINVAL, "the address of a share is nfs://HOST/EXPORT");
	rc = parse_host(&at, &u);
	if (rc == 0)
		rc = parse_path(&at, &u);
	while (rc == 0 && *at) {
		size_t key_len = strcspn(++at, "=&"), len;
		const char *key = at;

		at += key_len;
		if (*at != '=')
			return err_set(-EINVAL, "an option of a share without a value");
		len = strcspn(++at, "&");
		rc = parse_option(key, key_len, at, len, &u);
		at += len;
	}
	if (rc == 0)
		*ret = u;
	return rc;
}
