/* SPDX-License-Identifier: BSD-3-Clause */
/* Short names: decoding them, and making them from long ones. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/base/err.h"
#include "core/fs/fat/name.h"

#define BASE_BYTES 8u
#define EXT_BYTES 3u
#define TAILS_PLAIN 4u
#define TAILS_HASHED 9u
#define TAIL_MAX 999999u

/* Code page 437, 0x80.. */
static const uint16_t cp437[128] = {
	0x00c7, 0x00fc, 0x00e9, 0x00e2, 0x00e4, 0x00e0, 0x00e5, 0x00e7, 0x00ea, 0x00eb, 0x00e8, 0x00ef, 0x00ee,
	0x00ec, 0x00c4, 0x00c5, 0x00c9, 0x00e6, 0x00c6, 0x00f4, 0x00f6, 0x00f2, 0x00fb, 0x00f9, 0x00ff, 0x00d6,
	0x00dc, 0x00a2, 0x00a3, 0x00a5, 0x20a7, 0x0192, 0x00e1, 0x00ed, 0x00f3, 0x00fa, 0x00f1, 0x00d1, 0x00aa,
	0x00ba, 0x00bf, 0x2310, 0x00ac, 0x00bd, 0x00bc, 0x00a1, 0x00ab, 0x00bb, 0x2591, 0x2592, 0x2593, 0x2502,
	0x2524, 0x2561, 0x2562, 0x2556, 0x2555, 0x2563, 0x2551, 0x2557, 0x255d, 0x255c, 0x255b, 0x2510, 0x2514,
	0x2534, 0x252c, 0x251c, 0x2500, 0x253c, 0x255e, 0x255f, 0x255a, 0x2554, 0x2569, 0x2566, 0x2560, 0x2550,
	0x256c, 0x2567, 0x2568, 0x2564, 0x2565, 0x2559, 0x2558, 0x2552, 0x2553, 0x256b, 0x256a, 0x2518, 0x250c,
	0x2588, 0x2584, 0x258c, 0x2590, 0x2580, 0x03b1, 0x00df, 0x0393, 0x03c0, 0x03a3, 0x03c3, 0x00b5, 0x03c4,
	0x03a6, 0x0398, 0x03a9, 0x03b4, 0x221e, 0x03c6, 0x03b5, 0x2229, 0x2261, 0x00b1, 0x2265, 0x2264, 0x2320,
	0x2321, 0x00f7, 0x2248, 0x00b0, 0x2219, 0x00b7, 0x221a, 0x207f, 0x00b2, 0x25a0, 0x00a0,
};

static unsigned trimmed(const uint8_t *s, unsigned len)
{
	while (len && s[len - 1] == ' ')
		len--;
	return len;
}

static void append(struct fat_name *n, const uint8_t *s, unsigned len, bool lower)
{
	for (unsigned i = 0; i < len; i++) {
		uint8_t c = s[i];

		if (lower && c >= 'A' && c <= 'Z')
			c = (uint8_t)(c + 32);
		n->units[n->count++] = c < 0x80 ? c : cp437[c - 0x80];
	}
}

void fat_name_from_short(const uint8_t short_name[SHORT_NAME_BYTES], uint8_t case_flags, struct fat_name *ret)
{
	uint8_t s[SHORT_NAME_BYTES];
	unsigned ext;

	memcpy(s, short_name, sizeof(s));
	if (s[0] == SLOT_E5)
		s[0] = SLOT_DELETED;
	ret->count = 0;
	append(ret, s, trimmed(s, BASE_BYTES), case_flags & CASE_BASE_LOWER);
	ext = trimmed(s + BASE_BYTES, EXT_BYTES);
	if (ext) {
		ret->units[ret->count++] = '.';
		append(ret, s + BASE_BYTES, ext, case_flags & CASE_EXT_LOWER);
	}
}

uint8_t fat_name_short_checksum(const uint8_t short_name[SHORT_NAME_BYTES])
{
	uint8_t sum = 0;

	for (unsigned i = 0; i < SHORT_NAME_BYTES; i++)
		sum = (uint8_t)((sum & 1 ? 0x80 : 0) + (sum >> 1) + short_name[i]);
	return sum;
}

static bool is_short_char(uint32_t c)
{
	return (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       (c > 0x20 && c < 0x80 && strchr("$%'-_@~`!(){}^#&", (int)c));
}

bool fat_name_short_is_valid(const uint8_t short_name[SHORT_NAME_BYTES])
{
	for (unsigned i = 0; i < SHORT_NAME_BYTES; i++) {
		uint8_t c = short_name[i];

		if (i == 0 && c == SLOT_E5)
			continue;
		if ((i == 0 && c == ' ') || (c != ' ' && c < 0x80 && !is_short_char(c)))
			return false;
	}
	return true;
}

/* One part of the name. */
struct part {
	bool has_lower, has_upper, lossy;
	unsigned len;
};

static void put_unit(uint8_t *dst, unsigned max, uint16_t unit, struct part *p)
{
	uint32_t c = unit;

	if (c == ' ' || c == '.') {
		p->lossy = true; /* left out */
		return;
	}
	if (c >= 'a' && c <= 'z') {
		p->has_lower = true;
		c -= 32;
	} else if (c >= 'A' && c <= 'Z') {
		p->has_upper = true;
	} else if (!is_short_char(c)) {
		c = '_';
		p->lossy = true;
	}
	if (p->len == max)
		p->lossy = true;
	else
		dst[p->len++] = (uint8_t)c;
}

enum fat_short_fit fat_name_to_short(const struct fat_name *n, uint8_t ret[SHORT_NAME_BYTES], uint8_t *ret_case_flags)
{
	struct part base = { 0 }, ext = { 0 };
	unsigned dot = n->count, start = 0;

	memset(ret, ' ', SHORT_NAME_BYTES);
	*ret_case_flags = 0;
	while (start < n->count && (n->units[start] == '.' || n->units[start] == ' ')) {
		start++;
		base.lossy = true;
	}
	for (unsigned i = start; i < n->count; i++) {
		if (n->units[i] == '.')
			dot = i;
	}
	for (unsigned i = start; i < dot; i++)
		put_unit(ret, BASE_BYTES, n->units[i], &base);
	for (unsigned i = dot + 1; i < n->count; i++)
		put_unit(ret + BASE_BYTES, EXT_BYTES, n->units[i], &ext);
	if (!base.len) {
		ret[0] = '_';
		base.lossy = true;
	}
	if (base.lossy || ext.lossy)
		return SHORT_LOSSY;
	if ((base.has_lower && base.has_upper) || (ext.has_lower && ext.has_upper))
		return SHORT_CASE;
	*ret_case_flags = (uint8_t)((base.has_lower ? CASE_BASE_LOWER : 0) | (ext.has_lower ? CASE_EXT_LOWER : 0));
	return SHORT_EXACT;
}

/* "BASE" cut so that "~N" fits behind it. */
static void put_tail(const uint8_t *basis, unsigned base_len, unsigned number, uint8_t *ret)
{
	char tail[16];
	int len = snprintf(tail, sizeof(tail), "~%u", number);
	unsigned keep = BASE_BYTES - (unsigned)len;

	if (base_len < keep)
		keep = base_len;
	memset(ret, ' ', BASE_BYTES);
	memcpy(ret, basis, keep);
	memcpy(ret + keep, tail, (size_t)len);
	memcpy(ret + BASE_BYTES, basis + BASE_BYTES, EXT_BYTES);
}

bool fat_name_numeric_tail(const struct fat_name *n, const uint8_t basis[SHORT_NAME_BYTES], unsigned attempt,
                           uint8_t ret[SHORT_NAME_BYTES])
{
	unsigned len = trimmed(basis, BASE_BYTES);
	uint8_t hashed[SHORT_NAME_BYTES];
	char hex[8];

	if (attempt < TAILS_PLAIN) {
		put_tail(basis, len, attempt + 1, ret);
		return true;
	}
	if (attempt >= TAILS_PLAIN + TAILS_HASHED) {
		attempt -= TAILS_HASHED;
		if (attempt >= TAIL_MAX)
			return false;
		put_tail(basis, len, attempt + 1, ret);
		return true;
	}
	snprintf(hex, sizeof(hex), "%04X", (unsigned)(fat_name_hash(n) & 0xffff));
	len = len < 2 ? len : 2;
	memcpy(hashed, basis, SHORT_NAME_BYTES);
	memcpy(hashed + len, hex, 4);
	put_tail(hashed, len + 4, attempt - TAILS_PLAIN + 1, ret);
	return true;
}

int fat_name_to_label(const char *text, uint8_t ret[SHORT_NAME_BYTES])
{
	size_t len = strlen(text);

	if (!len || len > SHORT_NAME_BYTES)
		return err_set(-EINVAL, "a volume label has 1 to %d characters", SHORT_NAME_BYTES);
	memset(ret, ' ', SHORT_NAME_BYTES);
	for (size_t i = 0; i < len; i++) {
		uint8_t c = (uint8_t)text[i];

		if (c >= 'a' && c <= 'z')
			c = (uint8_t)(c - 32);
		if (c != ' ' && !is_short_char(c))
			return err_set(-EINVAL, "a volume label has only letters, digits, blanks and some signs");
		ret[i] = c;
	}
	if (ret[0] == ' ')
		return err_set(-EINVAL, "a volume label does not begin with a blank");
	return 0;
}
