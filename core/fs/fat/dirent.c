/* SPDX-License-Identifier: BSD-3-Clause */
/* Directory slots to and from bytes. */
#include "core/fs/fat/dirent.h"

#include <string.h>

#include "core/base/bytes.h"
#include "core/base/sync.h"

#define DAY_S 86400
#define DAYS_TO_1980 3652
#define SECONDS_1980 ((int64_t)DAYS_TO_1980 * DAY_S)
#define YEAR_MAX 127 /* 2107 */
#define NS_PER_CENTI UINT64_C(10000000)

static bool is_leap(unsigned years_from_1980)
{
	return years_from_1980 % 4 == 0 && years_from_1980 != 120; /* 2100 is none */
}

static unsigned month_days(unsigned month, unsigned year)
{
	static const uint8_t days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };

	return days[month - 1] + (month == 2 && is_leap(year));
}

/* Seconds since 1970 of a date and a time as stored. Fields out of range count as their nearest value; no date is 0. */
static int64_t to_seconds(uint16_t date, uint16_t time)
{
	unsigned year = date >> 9, month = date >> 5 & 15, day = date & 31, days = 0;
	unsigned hour = time >> 11, minute = time >> 5 & 63, second = (time & 31) * 2;

	if (!date)
		return 0;
	month = month < 1 ? 1 : month > 12 ? 12 : month;
	day = day < 1 ? 1 : day;
	for (unsigned y = 0; y < year; y++)
		days += 365 + is_leap(y);
	for (unsigned m = 1; m < month; m++)
		days += month_days(m, year);
	days += day - 1;
	return SECONDS_1980 + (int64_t)days * DAY_S + (hour < 24 ? hour : 23) * 3600 +
	       (minute < 60 ? minute : 59) * 60 + (second < 60 ? second : 58);
}

static void from_seconds(int64_t s, uint16_t *ret_date, uint16_t *ret_time)
{
	unsigned year = 0, month = 1, days, second;

	if (s < SECONDS_1980)
		s = SECONDS_1980;
	days = (unsigned)((s - SECONDS_1980) / DAY_S);
	second = (unsigned)((s - SECONDS_1980) % DAY_S);
	while (year <= YEAR_MAX && days >= 365u + is_leap(year))
		days -= 365 + is_leap(year++);
	if (year > YEAR_MAX) {
		*ret_date = YEAR_MAX << 9 | 12 << 5 | 31;
		*ret_time = 23 << 11 | 59 << 5 | 29;
		return;
	}
	while (days >= month_days(month, year))
		days -= month_days(month++, year);
	*ret_date = (uint16_t)(year << 9 | month << 5 | (days + 1));
	*ret_time = (uint16_t)(second / 3600 << 11 | second / 60 % 60 << 5 | second % 60 / 2);
}

static uint64_t to_ns(uint16_t date, uint16_t time, int offset_s)
{
	int64_t s = to_seconds(date, time);

	return s <= offset_s || s == 0 ? 0 : (uint64_t)(s - offset_s) * SYNC_NS_PER_S;
}

static void from_ns(uint64_t ns, int offset_s, uint16_t *ret_date, uint16_t *ret_time)
{
	from_seconds((int64_t)(ns / SYNC_NS_PER_S) + offset_s, ret_date, ret_time);
}

uint64_t fat_dirent_round_mtime(uint64_t ns)
{
	return ns - ns % (2 * SYNC_NS_PER_S);
}

uint64_t fat_dirent_round_ctime(uint64_t ns)
{
	return ns - ns % NS_PER_CENTI;
}

uint64_t fat_dirent_round_atime(uint64_t ns, int offset_s)
{
	int64_t s = (int64_t)(ns / SYNC_NS_PER_S) + offset_s;

	s -= s % DAY_S;
	return s <= offset_s ? 0 : (uint64_t)(s - offset_s) * SYNC_NS_PER_S;
}

void fat_dirent_decode(const uint8_t slot[SLOT_BYTES], enum fat_type type, int offset_s, struct fat_dirent *ret)
{
	uint8_t centi = slot[SLOT_CTIME_CENTI];

	memcpy(ret->short_name, slot + SLOT_NAME, SHORT_NAME_BYTES);
	ret->attr = slot[SLOT_ATTR];
	ret->case_flags = slot[SLOT_CASE];
	ret->cluster = get_le16(slot + SLOT_CLUSTER_LOW);
	if (type == FAT_TYPE_32)
		ret->cluster |= (uint32_t)get_le16(slot + SLOT_CLUSTER_HIGH) << 16;
	ret->size_bytes = get_le32(slot + SLOT_SIZE);
	ret->ctime_ns = to_ns(get_le16(slot + SLOT_CDATE), get_le16(slot + SLOT_CTIME), offset_s);
	if (ret->ctime_ns && centi < 200)
		ret->ctime_ns += centi * NS_PER_CENTI;
	ret->mtime_ns = to_ns(get_le16(slot + SLOT_MDATE), get_le16(slot + SLOT_MTIME), offset_s);
	ret->atime_ns = to_ns(get_le16(slot + SLOT_ADATE), 0, offset_s);
}

void fat_dirent_encode(const struct fat_dirent *d, enum fat_type type, int offset_s, uint8_t slot[SLOT_BYTES])
{
	uint16_t date, time;

	memcpy(slot + SLOT_NAME, d->short_name, SHORT_NAME_BYTES);
	slot[SLOT_ATTR] = d->attr;
	slot[SLOT_CASE] = d->case_flags;
	from_ns(d->ctime_ns, offset_s, &date, &time);
	slot[SLOT_CTIME_CENTI] = (uint8_t)(d->ctime_ns % (2 * SYNC_NS_PER_S) / NS_PER_CENTI);
	put_le16(slot + SLOT_CTIME, time);
	put_le16(slot + SLOT_CDATE, date);
	from_ns(d->mtime_ns, offset_s, &date, &time);
	put_le16(slot + SLOT_MTIME, time);
	put_le16(slot + SLOT_MDATE, date);
	from_ns(d->atime_ns, offset_s, &date, &time);
	put_le16(slot + SLOT_ADATE, date);
	put_le16(slot + SLOT_CLUSTER_LOW, (uint16_t)d->cluster);
	if (type == FAT_TYPE_32)
		put_le16(slot + SLOT_CLUSTER_HIGH, (uint16_t)(d->cluster >> 16));
	put_le32(slot + SLOT_SIZE, d->size_bytes);
}

static unsigned unit_offset(unsigned i)
{
	return i < 5 ? LFN_UNITS_1 + i * 2 : i < 11 ? LFN_UNITS_2 + (i - 5) * 2 : LFN_UNITS_3 + (i - 11) * 2;
}

/* The units of one part. The end, when it lies in this part, must be padded as it should. */
static bool decode_part(const uint8_t *slot, bool last, struct fat_name *n)
{
	bool ended = false;

	for (unsigned i = 0; i < LFN_SLOT_UNITS; i++) {
		uint16_t u = get_le16(slot + unit_offset(i));

		if (ended || (u == 0 && last)) {
			ended = true;
			continue;
		}
		if (u == 0 || n->count == LFN_UNITS_MAX)
			return false;
		n->units[n->count++] = u;
	}
	return true;
}

unsigned fat_lfn_decode(const uint8_t *slots, uint32_t at, struct fat_name *ret)
{
	uint8_t checksum = fat_name_short_checksum(slots + (size_t)at * SLOT_BYTES);

	ret->count = 0;
	for (unsigned i = 1; i <= LFN_SLOTS_MAX && i <= at; i++) {
		const uint8_t *slot = slots + (size_t)(at - i) * SLOT_BYTES;
		bool last = slot[LFN_ORDER] & LFN_LAST;

		if (!fat_slot_is_long(slot) || slot[LFN_ORDER] == SLOT_DELETED || (slot[LFN_ORDER] & ~LFN_LAST) != i ||
		    slot[LFN_CHECKSUM] != checksum || slot[LFN_TYPE] != 0 || !decode_part(slot, last, ret))
			return 0;
		if (last)
			return ret->count ? i : 0;
	}
	return 0;
}

unsigned fat_lfn_slot_count(const struct fat_name *n)
{
	return (n->count + LFN_SLOT_UNITS - 1) / LFN_SLOT_UNITS;
}

void fat_lfn_encode(const struct fat_name *n, const uint8_t short_name[SHORT_NAME_BYTES], uint8_t *slots)
{
	unsigned count = fat_lfn_slot_count(n);
	uint8_t checksum = fat_name_short_checksum(short_name);

	memset(slots, 0, (size_t)count * SLOT_BYTES);
	for (unsigned order = 1; order <= count; order++) {
		uint8_t *slot = slots + (size_t)(count - order) * SLOT_BYTES;

		slot[LFN_ORDER] = (uint8_t)(order | (order == count ? LFN_LAST : 0));
		slot[SLOT_ATTR] = ATTR_LONG_NAME;
		slot[LFN_CHECKSUM] = checksum;
		for (unsigned i = 0; i < LFN_SLOT_UNITS; i++) {
			unsigned at = (order - 1) * LFN_SLOT_UNITS + i;

			put_le16(slot + unit_offset(i), at < n->count ? n->units[at] : at == n->count ? 0 : 0xffff);
		}
	}
}
