/* SPDX-License-Identifier: BSD-3-Clause */
/* Texts of the configuration that mean numbers or addresses. No context is recorded: the caller knows the line. */
#ifndef WFSD_SERVER_CONF_VALUE_H
#define WFSD_SERVER_CONF_VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct export_network;

/* Decimal digits only. 0, -EINVAL, -ERANGE (beyond 64 bits). */
int value_parse_uint(const char *text, uint64_t *ret);
/* Digits with an optional suffix K, M, G, T (powers of 1024; "KiB", "MiB", ... too). 0, -EINVAL, -ERANGE. */
int value_parse_size(const char *text, uint64_t *ret);
/* Octal digits, with or without a leading 0 or 0o. 0, -EINVAL, -ERANGE. */
int value_parse_octal(const char *text, uint64_t *ret);
/* true, false, yes, no, on, off. 0 or -EINVAL. */
int value_parse_bool(const char *text, bool *ret);
/* error, warning, notice, info, debug. 0 or -EINVAL. */
int value_parse_log_level(const char *text, int *ret);

/* "HOST:PORT", "[HOST]:PORT" or ":PORT" (all addresses). Host buffer of @host_len bytes, port 1..65535. 0 or -EINVAL.
 */
int value_parse_address(const char *text, char *ret_host, size_t host_len, uint16_t *ret_port);

/* none, root, all: enum export_squash. 0 or -EINVAL. */
int value_parse_squash(const char *text, int *ret);
/* "192.0.2.0/24", "2001:db8::/32", or one address. Bits behind the prefix must be 0. 0 or -EINVAL. */
int value_parse_network(const char *text, struct export_network *ret);
/* The same backwards. Returns @buf. */
#define VALUE_NETWORK_TEXT_MAX 64
char *value_format_network(const struct export_network *n, char buf[VALUE_NETWORK_TEXT_MAX]);

#endif
