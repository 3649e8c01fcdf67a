/* SPDX-License-Identifier: BSD-3-Clause */
/* Reading, choosing between, writing and erasing the two labels of a device. What else a device may hold: probe.c. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/bytes.h"
#include "core/base/checked.h"
#include "core/base/err.h"
#include "core/blk/blk.h"
#include "core/fs/wfs3/label_priv.h"

/* Block 0 and the header block: written together, since block 0 stays zero. */
#define FRONT_BYTES (LABEL_HEADER_OFFSET + WFS3_BLOCK_BYTES)

/* One copy as found. */
struct copy {
	int result; /* 0, -EUCLEAN, -EMEDIUMTYPE, -ENOTSUP, or an I/O error */
	struct label label;
	uint8_t *block;
	char text[160]; /* of the error */
};

static void read_copy(struct blk_dev *dev, uint64_t label_offset, struct copy *c)
{
	c->result = blk_read(dev, label_offset + LABEL_HEADER_OFFSET, c->block, WFS3_BLOCK_BYTES);
	if (!c->result)
		c->result = label_decode(c->block, &c->label);
	if (c->result)
		err_text(err_get(), c->result, 0, c->text, sizeof(c->text));
}

static bool has_label(const struct copy *c)
{
	return !c->result || c->result == -ENOTSUP;
}

/* Where the back label is: the front one knows, else it is guessed from the size. */
static uint64_t back_offset(struct blk_dev *dev, const struct copy *front)
{
	if (!front->result)
		return label_back_offset(front->label.layout.device_bytes);
	return label_back_offset(round_down_u64(blk_caps(dev)->size_bytes, WFS3_LABEL_BYTES));
}

static int choose(struct blk_dev *dev, const struct copy *front, const struct copy *back, struct label *ret, char *note)
{
	const char *name = blk_name(dev);

	if (front->result == -ENOTSUP || back->result == -ENOTSUP)
		return err_set(-ENOTSUP, "device %s: %s", name, front->result == -ENOTSUP ? front->text : back->text);
	if (front->result && back->result) {
		int rc = front->result == -EMEDIUMTYPE ? back->result : front->result;

		return err_set(rc, "device %s: front label: %s; back label: %s", name, front->text, back->text);
	}
	if (front->result) {
		snprintf(note, LABEL_NOTE_BYTES, "device %s: front label is unusable (%s), the back one is used", name,
		         front->text);
		*ret = back->label;
	} else if (back->result) {
		snprintf(note, LABEL_NOTE_BYTES, "device %s: back label is unusable (%s), the front one is used", name,
		         back->text);
		*ret = front->label;
	} else if (memcmp(front->label.pool_uuid, back->label.pool_uuid, 16) != 0) {
		snprintf(note, LABEL_NOTE_BYTES, "device %s: back label is of another pool, the front one is used",
		         name);
		*ret = front->label;
	} else if (memcmp(front->block, back->block, WFS3_BLOCK_BYTES) != 0) {
		bool use_back = back->label.generation > front->label.generation;

		snprintf(note, LABEL_NOTE_BYTES, "device %s: %s label is stale (generation %llu, other %llu)", name,
		         use_back ? "front" : "back", (unsigned long long)(use_back ? front : back)->label.generation,
		         (unsigned long long)(use_back ? back : front)->label.generation);
		*ret = use_back ? back->label : front->label;
	} else {
		*ret = front->label;
	}
	return 0;
}

int label_read(struct blk_dev *dev, struct label *ret, char *ret_note)
{
	uint64_t size = blk_caps(dev)->size_bytes;
	struct copy *copies;
	uint8_t *buf;
	int rc;

	ret_note[0] = '\0';
	if (size < 2 * WFS3_LABEL_BYTES)
		return err_set(-EMEDIUMTYPE, "device %s: %llu bytes are too few for a pool", blk_name(dev),
		               (unsigned long long)size);
	copies = calloc(2, sizeof(*copies));
	buf = aligned_alloc(4096, 2 * WFS3_BLOCK_BYTES);
	rc = copies && buf ? 0 : err_set(-ENOMEM, "device %s: label", blk_name(dev));
	if (rc)
		goto out;
	copies[0].block = buf;
	copies[1].block = buf + WFS3_BLOCK_BYTES;
	read_copy(dev, 0, &copies[0]);
	if (!copies[0].result && copies[0].label.layout.device_bytes > size) {
		rc = err_set(-EUCLEAN, "device %s has %llu bytes, its label says %llu: it shrank", blk_name(dev),
		             (unsigned long long)size, (unsigned long long)copies[0].label.layout.device_bytes);
		goto out;
	}
	read_copy(dev, back_offset(dev, &copies[0]), &copies[1]);
	if (!copies[1].result && copies[1].label.layout.device_bytes > size && !has_label(&copies[0])) {
		rc = err_set(-EUCLEAN, "device %s has %llu bytes, its back label says %llu", blk_name(dev),
		             (unsigned long long)size, (unsigned long long)copies[1].label.layout.device_bytes);
		goto out;
	}
	rc = choose(dev, &copies[0], &copies[1], ret, ret_note);
out:
	free(buf);
	free(copies);
	return rc;
}

/* Write @len bytes to the start of both labels: back, flush, front, flush. */
static int write_both(struct blk_dev *dev, uint64_t device_bytes, const void *buf, size_t len)
{
	int rc = blk_write(dev, label_back_offset(device_bytes), buf, len, 0);

	if (!rc)
		rc = blk_flush(dev);
	if (!rc)
		rc = blk_write(dev, 0, buf, len, 0);
	if (!rc)
		rc = blk_flush(dev);
	return rc ? err_add(rc, "device %s: write labels", blk_name(dev)) : 0;
}

static int write_zeros(struct blk_dev *dev, const struct label *l, size_t len)
{
	uint8_t *buf = aligned_alloc(4096, len);
	int rc;

	if (!buf)
		return err_set(-ENOMEM, "device %s: erase labels", blk_name(dev));
	memset(buf, 0, len);
	rc = write_both(dev, l->layout.device_bytes, buf, len);
	free(buf);
	return rc;
}

int label_write(struct blk_dev *dev, const struct label *l)
{
	uint8_t *buf = aligned_alloc(4096, FRONT_BYTES);
	int rc;

	if (!buf)
		return err_set(-ENOMEM, "device %s: label", blk_name(dev));
	memset(buf, 0, LABEL_HEADER_OFFSET);
	label_encode(l, buf + LABEL_HEADER_OFFSET);
	rc = write_both(dev, l->layout.device_bytes, buf, FRONT_BYTES);
	free(buf);
	return rc;
}

int label_format(struct blk_dev *dev, const struct label *l)
{
	return write_zeros(dev, l, WFS3_LABEL_BYTES);
}

int label_erase(struct blk_dev *dev, const struct label *l)
{
	return write_zeros(dev, l, FRONT_BYTES);
}
