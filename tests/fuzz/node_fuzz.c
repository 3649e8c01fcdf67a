/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Any bytes as a tree node: refused, or a page that every operation works on. The input is {le16 n, n bytes for the
 * page's begin, the rest for its end}, so that small inputs make whole nodes.
 */
#include <stdlib.h>
#include <string.h>

#include "core/base/assert.h"
#include "core/fs/wfs3/node.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void use_page(uint8_t *page, uint8_t *right, uint8_t *scratch)
{
	struct wfs3_key first = node_key(page, 0), last;
	unsigned count = node_count(page), slot;
	bool leaf = node_level(page) == 0;
	size_t len;

	for (unsigned i = 0; i < count; i++) {
		struct wfs3_key key = node_key(page, i);

		always(node_search(page, &key, &slot) && slot == i && node_search_child(page, &key) == i);
		node_value(page, i, &len);
	}
	last = node_key(page, count - 1);
	node_init(right, node_level(page), node_dataset(page), node_birth(page));
	node_split(page, right, count / 2, scratch);
	if (count > 1)
		always(!node_check(page));
	always(!node_check(right));
	node_append(page, right, 0, node_count(right));
	always(!node_check(page));
	if (leaf)
		node_replace(page, count / 2, scratch, 0);
	node_remove(page, count - 1);
	always(!node_search(page, &last, &slot) && slot == count - 1);
	if (count > 1) {
		always(!node_check(page));
		node_remove(page, 0);
		always(!node_search(page, &first, &slot) && slot == 0);
	}
	node_insert(page, 0, &first, scratch, leaf ? 7 : WFS3_PTR_BYTES);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t right[WFS3_NODE_BYTES], scratch[WFS3_NODE_BYTES];
	uint8_t *page = calloc(1, WFS3_NODE_BYTES);
	size_t head, tail;

	always(page);
	if (size >= 2 && size - 2 <= WFS3_NODE_BYTES) {
		head = get_le16(data);
		if (head > size - 2)
			head = size - 2;
		tail = size - 2 - head;
		memcpy(page, data + 2, head);
		memcpy(page + WFS3_NODE_BYTES - tail, data + 2 + head, tail);
		if (!node_check(page))
			use_page(page, right, scratch);
	}
	free(page);
	return 0;
}
