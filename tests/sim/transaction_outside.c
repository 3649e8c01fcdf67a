/* SPDX-License-Identifier: BSD-3-Clause */
/* Somebody beside transactions: a file of its own, whose blocks come and go, and nothing that they would miss. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/blk/blk.h"
#include "tests/sim/alloc.h"
#include "tests/sim/transactions.h"

#define OUTSIDE_BYTES (256u << 10)

/* The first that is there of the names that a file may have. */
static int find_file(struct tx_client *c, struct vfs_handle *top, struct vfs_handle **ret)
{
	unsigned file = (unsigned)rng_below(&c->rng, TX_FILES);
	char name[8];
	int rc = -ENOENT;

	for (unsigned version = 0; version < 2 && rc == -ENOENT; version++) {
		tx_name_of(file, version, name);
		rc = vfs_lookup(top, &vfs_cred_root, name, strlen(name), ret);
	}
	return rc;
}

/* A file of transactions: nothing that they would miss. */
static int disturb(struct tx_client *c, struct vfs_handle *top)
{
	struct vfs_set_attr attr = { .valid = VFS_SET_UID, .uid = (uint32_t)rng_below(&c->rng, TX_OWNERS) };
	struct vfs_handle *h, *data;
	int rc = find_file(c, top, &h);

	if (rc)
		return rc;
	if (c->w->quotas && rng_one_in(&c->rng, 2)) {
		rc = vfs_set_attr(h, &vfs_cred_root, &attr, NULL);
	} else {
		rc = vfs_open_handle(h, &vfs_cred_root, VFS_ACCESS_READ, &data);
		if (!rc) {
			rc = vfs_flush(data, 0);
			vfs_close(data);
		}
	}
	vfs_close(h);
	return rc;
}

/* A file of its own: blocks come and go. */
static int churn(struct tx_client *c, struct vfs_handle *data)
{
	uint64_t offset = rng_below(&c->rng, OUTSIDE_BYTES / 2), len = 1 + rng_below(&c->rng, OUTSIDE_BYTES / 2);
	uint8_t *buf = exempt_alloc(len);
	struct iovec iov = { buf, len };
	int rc;

	memset(buf, 1 + (int)(offset % 255), len);
	switch (rng_below(&c->rng, 5)) {
	case 0:
		rc = vfs_discard(data, offset, len, 0);
		break;
	case 1:
		rc = vfs_zero(data, offset, len, 0);
		break;
	case 2:
		rc = vfs_flush(data, 0);
		break;
	default:
		rc = vfs_write(data, &iov, 1, offset, 0);
		break;
	}
	free(buf);
	return rc;
}

static int open_outside(struct vfs_handle *top, struct vfs_handle **ret)
{
	static const char byte = 1;
	struct vfs_set_attr attr = { .valid = VFS_SET_SIZE, .size_bytes = OUTSIDE_BYTES };
	struct vfs_handle *h;
	int rc = tx_write_file(top, "outside", &byte, 1);

	if (!rc)
		rc = vfs_lookup(top, &vfs_cred_root, "outside", 7, &h);
	if (rc)
		return rc;
	rc = vfs_set_attr(h, &vfs_cred_root, &attr, NULL);
	if (!rc)
		rc = vfs_open_handle(h, &vfs_cred_root, VFS_ACCESS_READ | VFS_ACCESS_WRITE, ret);
	vfs_close(h);
	return rc;
}

/* The file was removed, or has another name by now; or an owner has all that it may have. */
static bool is_expected_beside(const struct tx_work *w, int rc)
{
	return rc == -ENOENT || rc == -ESTALE || tx_is_expected(w, rc);
}

int tx_beside(struct tx_client *c, struct vfs_handle *top)
{
	struct vfs_handle *data;
	int rc = open_outside(top, &data);

	if (rc)
		return is_expected_beside(c->w, rc) ? 0 : rc;
	for (unsigned i = 0; i < 3 && !rc; i++)
		rc = churn(c, data);
	vfs_close(data);
	if (!rc)
		rc = disturb(c, top);
	if (!rc && rng_one_in(&c->rng, 2))
		rc = vfs_unlink(top, &vfs_cred_root, "outside", 7, false);
	return is_expected_beside(c->w, rc) ? 0 : rc;
}

void tx_outsider_main(void *arg)
{
	struct tx_client *c = arg;
	struct tx_work *w = c->w;
	struct vfs_handle *top = NULL, *data = NULL;
	int rc = tx_open_top(w->mo->m, &top);

	if (!rc)
		rc = open_outside(top, &data);
	for (unsigned i = 0; i < w->ops && !rc && !w->mo->m->power.off; i++) {
		if (rng_one_in(&c->rng, 8))
			sync_sleep_ns(rng_below(&c->rng, 1000) * SYNC_NS_PER_MS);
		rc = rng_one_in(&c->rng, 2) ? disturb(c, top) : churn(c, data);
		w->mo->ops++;
		rc = is_expected_beside(w, rc) ? 0 : rc;
	}
	if (rc)
		model_result(w->mo, "something beside transactions", rc);
	vfs_close(data);
	vfs_close(top);
	blk_thread_done();
}
