/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Vectors of buffers (struct iovec), as those have them who read and write. All of this is for vectors whose lengths
 * were checked: their sum does not overflow.
 */
#ifndef WFSD_CORE_BASE_IOV_H
#define WFSD_CORE_BASE_IOV_H

#include <stddef.h>
#include <sys/uio.h>

/* The sum of the lengths. */
size_t iov_len(const struct iovec *iov, int iov_count);

/* The first @len bytes of a vector that has as many, as a vector in @part, which has room for that one's elements.
 * Returns how many elements they are. */
int iov_head(const struct iovec *iov, size_t len, struct iovec *part);

/* Zeros into all that is behind the first @from bytes, if there is any. */
void iov_zero_from(const struct iovec *iov, int iov_count, size_t from);

/* A place in a vector. What is copied advances it, and is not longer than what is behind it. */
struct iov_cursor {
	const struct iovec *iov;
	size_t pos; /* in iov[0] */
};

/* From the vector. */
void iov_copy_in(struct iov_cursor *it, void *dst, size_t len);
/* Into the vector; @src NULL: zeros. */
void iov_copy_out(struct iov_cursor *it, const void *src, size_t len);

#endif
