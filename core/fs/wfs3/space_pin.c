/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Pins: readers that follow addresses of an older state hold back the reuse of blocks.
 *
 * A slot counts the pins taken while one txg was open; "current" is the slot that new pins use. A slot without pins is
 * given to a new txg; when all others are pinned, new pins go on using the current one, whose txg is older: that holds
 * back more, never less. Counters are striped by thread so that readers do not share a cache line.
 *
 * A reader may look at "current", stall, and count in a slot that was given to another txg meanwhile. So it looks again
 * after counting: when the slot is current now, then its txg is the open one or older, and all addresses that the
 * reader finds from here on are safe. Else it takes its count back, which at worst delayed a release.
 */
#include "core/base/assert.h"
#include "core/fs/wfs3/space_priv.h"

void space_pins_init(struct space_pins *p, uint64_t txg)
{
	for (unsigned i = 0; i < SPACE_PIN_SLOTS; i++) {
		atomic_init(&p->slots[i].txg, txg);
		for (unsigned j = 0; j < SPACE_PIN_STRIPES; j++)
			atomic_init(&p->slots[i].stripes[j].count, 0);
	}
	atomic_init(&p->current, 0);
}

void space_pin(struct space *s, struct space_pin *ret)
{
	unsigned stripe = sync_thread_slot() % SPACE_PIN_STRIPES;

	for (;;) {
		unsigned slot = atomic_load(&s->pins.current);
		_Atomic uint32_t *count = &s->pins.slots[slot].stripes[stripe].count;

		atomic_fetch_add(count, 1);
		if (atomic_load(&s->pins.current) == slot) {
			ret->txg = atomic_load(&s->pins.slots[slot].txg);
			ret->slot = slot * SPACE_PIN_STRIPES + stripe;
			return;
		}
		atomic_fetch_sub(count, 1);
	}
}

void space_unpin(struct space *s, struct space_pin pin)
{
	uint32_t before;

	always(pin.slot < SPACE_PIN_SLOTS * SPACE_PIN_STRIPES);
	before = atomic_fetch_sub(
	        &s->pins.slots[pin.slot / SPACE_PIN_STRIPES].stripes[pin.slot % SPACE_PIN_STRIPES].count, 1);
	always(before > 0);
}

static bool slot_is_pinned(const struct space_pin_slot *slot)
{
	for (unsigned j = 0; j < SPACE_PIN_STRIPES; j++)
		if (atomic_load(&slot->stripes[j].count))
			return true;
	return false;
}

void space_set_open_txg(struct space *s, uint64_t txg)
{
	unsigned current = atomic_load(&s->pins.current);

	for (unsigned i = 1; i < SPACE_PIN_SLOTS; i++) {
		unsigned slot = (current + i) % SPACE_PIN_SLOTS;

		if (!slot_is_pinned(&s->pins.slots[slot])) {
			atomic_store(&s->pins.slots[slot].txg, txg);
			atomic_store(&s->pins.current, slot);
			return;
		}
	}
}

uint64_t space_pins_oldest(const struct space_pins *p)
{
	uint64_t oldest = UINT64_MAX;

	for (unsigned i = 0; i < SPACE_PIN_SLOTS; i++) {
		uint64_t txg = atomic_load(&p->slots[i].txg);

		if (slot_is_pinned(&p->slots[i]) && txg < oldest)
			oldest = txg;
	}
	return oldest;
}
