/* SPDX-License-Identifier: BSD-3-Clause */
/* UTF-8, UTF-16, and comparing names without regard to case. Short names are in short_name.c. */
#include "core/fs/fat/name.h"

#include <errno.h>
#include <string.h>

#include "core/base/err.h"

/* One character of strict UTF-8. Returns its length, 0 when it is malformed. */
static size_t decode_utf8(const uint8_t *s, size_t left, uint32_t *ret)
{
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	size_t n = s[0] < 0x80 ? 1 : s[0] >> 5 == 6 ? 2 : s[0] >> 4 == 14 ? 3 : s[0] >> 3 == 30 ? 4 : 0;
	uint32_t c;

	if (!n || n > left)
		return 0;
	c = n == 1 ? s[0] : s[0] & (0x7fu >> n);
	for (size_t i = 1; i < n; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (s[i] & 0x3f);
	}
	if (c < least[n] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
		return 0;
	*ret = c;
	return n;
}

int fat_name_from_utf8(const char *text, size_t len, struct fat_name *ret)
{
	const uint8_t *s = (const uint8_t *)text;
	size_t at = 0;

	ret->count = 0;
	while (at < len) {
		uint32_t c;
		size_t n = decode_utf8(s + at, len - at, &c);

		if (!n)
			return err_set(-EINVAL, "a name is not valid UTF-8");
		if (ret->count + (c > 0xffff) >= LFN_UNITS_MAX)
			return err_set(-ENAMETOOLONG, "a name has more than %u characters", LFN_UNITS_MAX);
		if (c > 0xffff) {
			ret->units[ret->count++] = (uint16_t)(0xd800 + ((c - 0x10000) >> 10));
			c = 0xdc00 + ((c - 0x10000) & 0x3ff);
		}
		ret->units[ret->count++] = (uint16_t)c;
		at += n;
	}
	return 0;
}

static size_t encode_utf8(uint32_t c, char *s)
{
	if (c < 0x80) {
		s[0] = (char)c;
		return 1;
	}
	if (c < 0x800) {
		s[0] = (char)(0xc0 | c >> 6);
		s[1] = (char)(0x80 | (c & 0x3f));
		return 2;
	}
	if (c < 0x10000) {
		s[0] = (char)(0xe0 | c >> 12);
		s[1] = (char)(0x80 | (c >> 6 & 0x3f));
		s[2] = (char)(0x80 | (c & 0x3f));
		return 3;
	}
	s[0] = (char)(0xf0 | c >> 18);
	s[1] = (char)(0x80 | (c >> 12 & 0x3f));
	s[2] = (char)(0x80 | (c >> 6 & 0x3f));
	s[3] = (char)(0x80 | (c & 0x3f));
	return 4;
}

bool fat_name_to_utf8(const struct fat_name *n, char ret[NAME_UTF8_MAX], size_t *ret_len)
{
	size_t len = 0;

	for (unsigned i = 0; i < n->count; i++) {
		uint32_t c = n->units[i];

		if (c >= 0xdc00 && c < 0xe000)
			return false;
		if (c >= 0xd800 && c < 0xdc00) {
			if (i + 1 == n->count || n->units[i + 1] < 0xdc00 || n->units[i + 1] >= 0xe000)
				return false;
			c = 0x10000 + ((c - 0xd800) << 10) + (n->units[++i] - 0xdc00u);
		}
		len += encode_utf8(c, ret + len);
	}
	ret[len] = '\0';
	*ret_len = len;
	return true;
}

int fat_name_check(const struct fat_name *n)
{
	uint16_t last;

	if (!n->count)
		return err_set(-EINVAL, "a name is empty");
	for (unsigned i = 0; i < n->count; i++) {
		uint16_t u = n->units[i];

		if (u < 0x20 || (u < 0x80 && strchr("\"*/:<>?\\|", u)))
			return err_set(-EINVAL,
			               "a name on FAT has none of \" * / : < > ? \\ | and no control characters");
	}
	last = n->units[n->count - 1];
	if (last == '.' || last == ' ')
		return err_set(-EINVAL, "a name on FAT does not end in a dot or a blank");
	return 0;
}

struct fold_range {
	uint16_t first, last;
	int16_t delta; /* 0: upper and lower case alternate, upper first is even (odd for FOLD_ODD) */
	uint16_t odd;
};

/* Lower case to upper case, by ranges in ascending order. */
static const struct fold_range folds[] = {
	{ 'a', 'z', -32, 0 },
	{ 0x00e0, 0x00f6, -32, 0 },
	{ 0x00f8, 0x00fe, -32, 0 },
	{ 0x00ff, 0x00ff, 0x0178 - 0x00ff, 0 },
	{ 0x0100, 0x012f, 0, 0 },
	{ 0x0132, 0x0137, 0, 0 },
	{ 0x0139, 0x0148, 0, 1 },
	{ 0x014a, 0x0177, 0, 0 },
	{ 0x0179, 0x017e, 0, 1 },
	{ 0x03ac, 0x03ac, 0x0386 - 0x03ac, 0 },
	{ 0x03ad, 0x03af, 0x0388 - 0x03ad, 0 },
	{ 0x03b1, 0x03c1, -32, 0 },
	{ 0x03c3, 0x03cb, -32, 0 },
	{ 0x03cc, 0x03cc, 0x038c - 0x03cc, 0 },
	{ 0x03cd, 0x03ce, 0x038e - 0x03cd, 0 },
	{ 0x0430, 0x044f, -32, 0 },
	{ 0x0450, 0x045f, -80, 0 },
	{ 0x0460, 0x0481, 0, 0 },
	{ 0x048a, 0x04bf, 0, 0 },
	{ 0x04c1, 0x04ce, 0, 1 },
	{ 0x04d0, 0x052f, 0, 0 },
	{ 0x0561, 0x0586, -48, 0 },
	{ 0x1e00, 0x1e95, 0, 0 },
	{ 0x1ea0, 0x1eff, 0, 0 },
	{ 0x2170, 0x217f, -16, 0 },
	{ 0x24d0, 0x24e9, -26, 0 },
	{ 0xff41, 0xff5a, -32, 0 },
};

uint16_t fat_name_fold(uint16_t unit)
{
	if (unit < 0x80)
		return unit >= 'a' && unit <= 'z' ? (uint16_t)(unit - 32) : unit;
	for (size_t i = 1; i < sizeof(folds) / sizeof(folds[0]) && unit >= folds[i].first; i++) {
		const struct fold_range *r = &folds[i];

		if (unit > r->last)
			continue;
		if (r->delta)
			return (uint16_t)(unit + r->delta);
		return (unit & 1) != r->odd ? (uint16_t)(unit - 1) : unit;
	}
	return unit;
}

bool fat_name_equal(const struct fat_name *a, const struct fat_name *b)
{
	if (a->count != b->count)
		return false;
	for (unsigned i = 0; i < a->count; i++) {
		if (a->units[i] != b->units[i] && fat_name_fold(a->units[i]) != fat_name_fold(b->units[i]))
			return false;
	}
	return true;
}

uint32_t fat_name_hash(const struct fat_name *n)
{
	uint32_t h = 2166136261u; /* FNV-1a */

	for (unsigned i = 0; i < n->count; i++) {
		uint16_t u = fat_name_fold(n->units[i]);

		h = (h ^ (u & 0xff)) * 16777619u;
		h = (h ^ u >> 8) * 16777619u;
	}
	return h ^ h >> 15;
}
