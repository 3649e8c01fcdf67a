/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Names: UTF-8 outside, UTF-16 in long names, code page 437 in short ones; case folding; short names made from long
 * ones. Sources: fatgen103, "FAT Long Directory Entries" and "The Basis-Name Generation Algorithm"; Unicode 15
 * CaseFolding for the scripts that Windows folds too. Pure; any thread.
 */
#ifndef WFSD_CORE_FS_FAT_NAME_H
#define WFSD_CORE_FS_FAT_NAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/fs/fat/format.h"

#define NAME_UTF8_MAX (LFN_UNITS_MAX * 3 + 1) /* with the terminator */
#define NAME_SHORT_UNITS_MAX 12u

struct fat_name {
	unsigned count;
	uint16_t units[LFN_UNITS_MAX];
};

/* 0; -EINVAL not UTF-8; -ENAMETOOLONG more than 255 units. An empty name is one. */
int fat_name_from_utf8(const char *text, size_t len, struct fat_name *ret);
/* Terminated; *@ret_len without it. False: the units are no UTF-16. */
bool fat_name_to_utf8(const struct fat_name *n, char ret[NAME_UTF8_MAX], size_t *ret_len);
/* What cannot be created: empty, "." and "..", illegal characters, a blank or a dot at the end. 0 or -EINVAL. */
int fat_name_check(const struct fat_name *n);

uint16_t fat_name_fold(uint16_t unit);
bool fat_name_equal(const struct fat_name *a, const struct fat_name *b); /* ignoring case */
uint32_t fat_name_hash(const struct fat_name *n); /* of the folded name */

/* How a short name is shown; @case_flags: CASE_... */
void fat_name_from_short(const uint8_t short_name[SHORT_NAME_BYTES], uint8_t case_flags, struct fat_name *ret);
uint8_t fat_name_short_checksum(const uint8_t short_name[SHORT_NAME_BYTES]);
/* Could Windows have written it? */
bool fat_name_short_is_valid(const uint8_t short_name[SHORT_NAME_BYTES]);

enum fat_short_fit {
	SHORT_EXACT, /* with @case_flags it says the whole name: no long name is needed */
	SHORT_CASE, /* only the case is lost; no numeric tail is needed */
	SHORT_LOSSY, /* needs a numeric tail */
};
enum fat_short_fit fat_name_to_short(const struct fat_name *n, uint8_t ret[SHORT_NAME_BYTES], uint8_t *ret_case_flags);
/*
 * The @attempt'th short name (0..) to try for @n whose basis is @basis: "~1" to "~4", then two characters, a hash of
 * the name and "~1" to "~9", as Windows does, then "~5" to "~999999". False: there are no more.
 */
bool fat_name_numeric_tail(const struct fat_name *n, const uint8_t basis[SHORT_NAME_BYTES], unsigned attempt,
                           uint8_t ret[SHORT_NAME_BYTES]);

/* A volume label: 11 bytes, padded. 0 or -EINVAL. */
int fat_name_to_label(const char *text, uint8_t ret[SHORT_NAME_BYTES]);

#endif
