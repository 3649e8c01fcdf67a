/* SPDX-License-Identifier: BSD-3-Clause */
/* Vectors of buffers. */
#include "core/base/iov.h"

#include <stdint.h>
#include <string.h>

size_t iov_len(const struct iovec *iov, int iov_count)
{
	size_t len = 0;

	for (int i = 0; i < iov_count; i++)
		len += iov[i].iov_len;
	return len;
}

int iov_head(const struct iovec *iov, size_t len, struct iovec *part)
{
	int count = 0;

	for (; len; count++) {
		part[count] = iov[count];
		if (part[count].iov_len > len)
			part[count].iov_len = len;
		len -= part[count].iov_len;
	}
	return count;
}

void iov_zero_from(const struct iovec *iov, int iov_count, size_t from)
{
	for (int i = 0; i < iov_count; i++) {
		size_t kept = from < iov[i].iov_len ? from : iov[i].iov_len;

		if (kept < iov[i].iov_len)
			memset((uint8_t *)iov[i].iov_base + kept, 0, iov[i].iov_len - kept);
		from -= kept;
	}
}

/* The next piece of at most @len bytes. */
static uint8_t *next_piece(struct iov_cursor *it, size_t len, size_t *ret_len)
{
	size_t n;
	uint8_t *p;

	while (it->pos == it->iov->iov_len) {
		it->iov++;
		it->pos = 0;
	}
	n = it->iov->iov_len - it->pos;
	p = (uint8_t *)it->iov->iov_base + it->pos;
	if (n > len)
		n = len;
	it->pos += n;
	*ret_len = n;
	return p;
}

void iov_copy_in(struct iov_cursor *it, void *dst, size_t len)
{
	uint8_t *to = dst;

	while (len) {
		size_t n;
		const uint8_t *p = next_piece(it, len, &n);

		memcpy(to, p, n);
		to += n;
		len -= n;
	}
}

void iov_copy_out(struct iov_cursor *it, const void *src, size_t len)
{
	const uint8_t *from = src;

	while (len) {
		size_t n;
		uint8_t *p = next_piece(it, len, &n);

		if (from) {
			memcpy(p, from, n);
			from += n;
		} else {
			memset(p, 0, n);
		}
		len -= n;
	}
}
