/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The answers that are kept with transactions: as if one client had asked for all of them, in one place. What is there
 * is the answer of the last one that was committed, whatever came between.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/transactions.h"

static struct vfs_tag tag_of(uint64_t number)
{
	struct vfs_tag tag = { .place = 256, .sequence = (uint32_t)number, .kind = 70, .lifetime_s = 100000 };

	memset(tag.client, 7, sizeof(tag.client));
	return tag;
}

void tx_make_answer(uint64_t number, struct tx_answer *ret)
{
	struct rng r = rng_new(99, number);
	size_t len = (size_t)rng_below(&r, rng_one_in(&r, 8) ? sizeof(ret->buf) : 200);

	for (size_t i = 0; i < len; i++)
		ret->buf[i] = (uint8_t)rng_next(&r);
	ret->tag = tag_of(number);
	ret->answer = (struct vfs_answer){ .tag = &ret->tag, .p = ret->buf, .len = len };
}

int tx_check_answer(struct vfs_handle *top, uint64_t number)
{
	struct vfs_tag next = tag_of(number + 1);
	struct vfs_result r = { .kind = 0 };
	struct tx_answer want;
	int rc;

	tx_make_answer(number, &want);
	rc = number ? vfs_recall(top, &want.tag, &r) : 0;
	if (rc == -ENOENT || rc == -EPROTO)
		model_violation("transaction %llu is there, and its answer is not: %d", (unsigned long long)number, rc);
	if (rc)
		return rc;
	if (number &&
	    (r.answer_len != want.answer.len || (r.answer_len && memcmp(r.answer, want.buf, r.answer_len) != 0)))
		model_violation("transaction %llu has another answer (%zu of %zu bytes)", (unsigned long long)number,
		                r.answer_len, want.answer.len);
	free(r.answer);
	rc = vfs_recall(top, &next, &r);
	if (!rc)
		model_violation("the answer of transaction %llu is there, and it is not",
		                (unsigned long long)number + 1);
	return rc == -ENOENT ? 0 : rc;
}
