/* SPDX-License-Identifier: BSD-3-Clause */
/* Walking through a caller's vector of buffers. */
#include "core/cache/cache_priv.h"

#include <string.h>

size_t iov_len(const struct iovec *iov, int iov_count)
{
	size_t len = 0;

	for (int i = 0; i < iov_count; i++)
		len += iov[i].iov_len;
	return len;
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
