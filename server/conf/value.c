/* SPDX-License-Identifier: BSD-3-Clause */
/* Parsing of single values. */
#include "server/conf/value.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/base/checked.h"
#include "core/base/log.h"
#include "server/export/export.h"

/* Digits of @base up to the first other character. */
static int parse_digits(const char *text, unsigned base, uint64_t *ret, const char **ret_end)
{
	uint64_t value = 0;
	const char *p = text;

	for (; *p >= '0' && *p < (char)('0' + base); p++) {
		if (!checked_mul(value, (uint64_t)base, &value) || !checked_add(value, (uint64_t)(*p - '0'), &value))
			return -ERANGE;
	}
	if (p == text)
		return -EINVAL;
	*ret = value;
	*ret_end = p;
	return 0;
}

int value_parse_uint(const char *text, uint64_t *ret)
{
	const char *end;
	uint64_t value;
	int rc = parse_digits(text, 10, &value, &end);

	if (rc < 0)
		return rc;
	if (*end)
		return -EINVAL;
	*ret = value;
	return 0;
}

int value_parse_octal(const char *text, uint64_t *ret)
{
	const char *end;
	uint64_t value;
	int rc;

	if (text[0] == '0' && text[1] == 'o')
		text += 2;
	rc = parse_digits(text, 8, &value, &end);
	if (rc < 0)
		return rc;
	if (*end)
		return -EINVAL;
	*ret = value;
	return 0;
}

int value_parse_size(const char *text, uint64_t *ret)
{
	static const char units[] = "KMGT";
	const char *end, *unit;
	uint64_t value;
	int rc = parse_digits(text, 10, &value, &end);

	if (rc < 0)
		return rc;
	if (*end) {
		unit = strchr(units, *end);
		if (!unit || (end[1] && strcmp(end + 1, "iB") != 0))
			return -EINVAL;
		if (!checked_mul(value, UINT64_C(1) << (10 * (unit - units + 1)), &value))
			return -ERANGE;
	}
	*ret = value;
	return 0;
}

int value_parse_bool(const char *text, bool *ret)
{
	static const char *const yes[] = { "true", "yes", "on" };
	static const char *const no[] = { "false", "no", "off" };

	for (size_t i = 0; i < sizeof(yes) / sizeof(yes[0]); i++) {
		if (strcmp(text, yes[i]) == 0 || strcmp(text, no[i]) == 0) {
			*ret = strcmp(text, yes[i]) == 0;
			return 0;
		}
	}
	return -EINVAL;
}

int value_parse_log_level(const char *text, int *ret)
{
	static const struct {
		const char *name;
		enum log_level level;
	} levels[] = {
		{ "error", LOG_LEVEL_ERROR }, { "warning", LOG_LEVEL_WARNING }, { "notice", LOG_LEVEL_NOTICE },
		{ "info", LOG_LEVEL_INFO },   { "debug", LOG_LEVEL_DEBUG },
	};

	for (size_t i = 0; i < sizeof(levels) / sizeof(levels[0]); i++) {
		if (strcmp(text, levels[i].name) == 0) {
			*ret = levels[i].level;
			return 0;
		}
	}
	return -EINVAL;
}

int value_parse_address(const char *text, char *ret_host, size_t host_len, uint16_t *ret_port)
{
	const char *colon = strrchr(text, ':');
	const char *host = text;
	size_t len;
	uint64_t port;

	if (!colon || value_parse_uint(colon + 1, &port) < 0 || port < 1 || port > 65535)
		return -EINVAL;
	len = (size_t)(colon - text);
	if (len && host[0] == '[') {
		if (len < 3 || host[len - 1] != ']')
			return -EINVAL;
		host++;
		len -= 2;
	} else if (memchr(host, ':', len)) {
		return -EINVAL; /* an IPv6 address needs its brackets */
	}
	if (len >= host_len)
		return -EINVAL;
	memcpy(ret_host, host, len);
	ret_host[len] = '\0';
	*ret_port = (uint16_t)port;
	return 0;
}

int value_parse_squash(const char *text, int *ret)
{
	static const struct {
		const char *name;
		enum export_squash squash;
	} words[] = { { "none", EXPORT_SQUASH_NONE }, { "root", EXPORT_SQUASH_ROOT }, { "all", EXPORT_SQUASH_ALL } };

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		if (strcmp(text, words[i].name) == 0) {
			*ret = (int)words[i].squash;
			return 0;
		}
	}
	return -EINVAL;
}

static bool ends_in_zeros(const uint8_t *address, unsigned prefix_bits)
{
	for (unsigned bit = prefix_bits; bit < 128; bit++) {
		if (address[bit / 8] & 0x80u >> bit % 8)
			return false;
	}
	return true;
}

int value_parse_network(const char *text, struct export_network *ret)
{
	struct export_network n = { .address = { [10] = 0xff, [11] = 0xff }, .prefix_bits = 96 };
	const char *slash = strchr(text, '/');
	size_t len = slash ? (size_t)(slash - text) : strlen(text);
	char address[INET6_ADDRSTRLEN];
	uint64_t prefix;

	if (len >= sizeof(address))
		return -EINVAL;
	memcpy(address, text, len);
	address[len] = '\0';
	if (inet_pton(AF_INET, address, n.address + 12) != 1) {
		if (inet_pton(AF_INET6, address, n.address) != 1)
			return -EINVAL;
		n.prefix_bits = 0;
	}
	prefix = 128 - n.prefix_bits;
	if (slash && (value_parse_uint(slash + 1, &prefix) < 0 || prefix > 128 - n.prefix_bits))
		return -EINVAL;
	n.prefix_bits += (unsigned)prefix;
	if (!ends_in_zeros(n.address, n.prefix_bits))
		return -EINVAL;
	*ret = n;
	return 0;
}

char *value_format_network(const struct export_network *n, char buf[VALUE_NETWORK_TEXT_MAX])
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };
	bool v4 = n->prefix_bits >= 96 && memcmp(n->address, mapped, sizeof(mapped)) == 0;
	char address[INET6_ADDRSTRLEN] = "";

	(void)inet_ntop(v4 ? AF_INET : AF_INET6, v4 ? n->address + 12 : n->address, address, sizeof(address));
	snprintf(buf, VALUE_NETWORK_TEXT_MAX, "%s/%u", address, v4 ? n->prefix_bits - 96 : n->prefix_bits);
	return buf;
}
