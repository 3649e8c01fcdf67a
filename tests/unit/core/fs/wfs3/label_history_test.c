/* SPDX-License-Identifier: BSD-3-Clause */
/* Which label tells how the pool is: the histories of devices a, b, c that mirror each other, as label writes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/fs/wfs3/label.h"

enum { A, B, C, NONE };

struct history {
	struct label now; /* as its writer has it */
	struct label on[3]; /* as the devices have it */
};

static void start(struct history *h, unsigned device_count)
{
	memset(h, 0, sizeof(*h));
	h->now.generation = 1;
	h->now.device_count = device_count;
	memcpy(h->now.pool_name, "tank", 5);
	for (unsigned i = 0; i < device_count; i++)
		h->now.devices[i].uuid[0] = (uint8_t)(1 + i);
	for (unsigned i = 0; i < 3; i++) {
		h->on[i] = h->now;
		h->on[i].device_index = i;
	}
}

/* Write labels to devices that are not away, up to the one that fails, or at which the power goes: @until. */
static void write_until(struct history *h, const char *states, unsigned until)
{
	h->now.generation++;
	for (unsigned i = 0; i < h->now.device_count; i++) {
		struct label_device *d = &h->now.devices[i];
		enum label_state before = d->state;

		d->state = states[i] == 'o' ? LABEL_ONLINE : states[i] == 'f' ? LABEL_FILLING : LABEL_AWAY;
		d->since_txg = d->state == LABEL_ONLINE ? 0 : h->now.generation;
		if (d->state == LABEL_ONLINE && before != LABEL_ONLINE)
			d->generation = h->now.generation;
		if (d->state == LABEL_AWAY && before != LABEL_AWAY)
			d->generation = h->now.generation - 1;
	}
	for (unsigned i = 0; i < h->now.device_count && i != until; i++) {
		if (states[i] == 'a')
			continue;
		h->on[i] = h->now;
		h->on[i].device_index = i;
	}
}

static void write_all(struct history *h, const char *states)
{
	write_until(h, states, NONE);
}

/* Another import, which finds this device's label. */
static void import_from(struct history *h, unsigned device)
{
	h->now = h->on[device];
}

static enum label_relation choose(const struct history *h, unsigned *ret)
{
	const struct label *labels[3] = { &h->on[0], &h->on[1], &h->on[2] };
	unsigned other;

	return label_choose(labels, h->now.device_count, ret, &other);
}

static void expect(const struct history *h, unsigned device)
{
	unsigned got;

	assert_int_equal(choose(h, &got), LABEL_FITS);
	assert_int_equal(got, device);
}

static void expect_apart(const struct history *h)
{
	unsigned unused;

	assert_int_not_equal(choose(h, &unused), LABEL_FITS);
}

static void test_device_that_failed_is_old(void **state)
{
	struct history h;

	(void)state;
	start(&h, 2);
	write_all(&h, "ao");
	expect(&h, B);
	assert_int_equal(label_compare(&h.on[B], &h.on[A]), LABEL_FITS);
	assert_int_equal(label_compare(&h.on[A], &h.on[B]), LABEL_NEWER);
}

/* b still says that a is away when it fails: but a has come back since, and knows that b had that label. */
static void test_device_that_fails_while_labels_say_that_the_other_is_back_is_old(void **state)
{
	struct history h;

	(void)state;
	start(&h, 2);
	write_all(&h, "ao");
	write_until(&h, "fo", B);
	write_until(&h, "oo", B);
	write_all(&h, "oa");
	expect(&h, A);
	/* Also when it is filled then, and the label that says so does not reach it. */
	write_until(&h, "of", B);
	expect(&h, A);
	import_from(&h, A);
	write_until(&h, "oa", B);
	expect(&h, A);
}

static void test_crash_between_the_labels_of_two_devices_that_are_whole(void **state)
{
	struct history h;

	(void)state;
	start(&h, 2);
	write_all(&h, "ao");
	write_all(&h, "fo");
	write_until(&h, "oo", B);
	expect(&h, A);
}

static void test_halves_that_were_used_apart(void **state)
{
	struct history h;

	(void)state;
	start(&h, 2);
	write_all(&h, "ao");
	import_from(&h, A);
	write_all(&h, "oa");
	expect_apart(&h);
	write_all(&h, "oa");
	write_all(&h, "oa");
	expect_apart(&h);
	import_from(&h, B);
	for (unsigned i = 0; i < 5; i++)
		write_all(&h, "ao");
	expect_apart(&h);
}

/* Both devices of one side went away and came back, each filled from the other. */
static void test_used_apart_is_not_forgotten_when_devices_come_back(void **state)
{
	struct history h;

	(void)state;
	start(&h, 3);
	write_all(&h, "aoa");
	import_from(&h, A);
	write_all(&h, "oao");
	write_all(&h, "oaa");
	write_all(&h, "oaf");
	write_all(&h, "oao");
	write_all(&h, "aao");
	write_all(&h, "fao");
	write_all(&h, "oao");
	expect_apart(&h);
}

/* Two crashes in the middle of writing labels give b a high number; then a goes on without it. */
static void test_higher_number_of_a_crash_does_not_outweigh_what_came_after(void **state)
{
	struct history h;

	(void)state;
	start(&h, 2);
	for (unsigned i = 0; i < 3; i++) {
		write_until(&h, "oo", A);
		h.on[B] = h.now;
		h.on[B].device_index = B;
	}
	import_from(&h, A);
	write_all(&h, "oa");
	assert_true(h.on[B].generation > h.on[A].generation);
	expect(&h, A);
}

static void test_device_that_was_detached_does_not_count(void **state)
{
	struct history h;

	(void)state;
	start(&h, 2);
	write_all(&h, "oa");
	h.on[A].device_count = 1;
	memset(&h.on[A].devices[1], 0, sizeof(h.on[A].devices[1]));
	expect(&h, A);
	/* It was used on its own since: is it the pool, or what was detached? */
	import_from(&h, B);
	write_all(&h, "ao");
	write_all(&h, "ao");
	expect_apart(&h);
}

static void test_attached_device_does_not_make_older_labels_deny_it(void **state)
{
	struct history h;

	(void)state;
	start(&h, 3);
	for (unsigned i = 0; i < 2; i++) {
		h.on[i].device_count = 2;
		memset(&h.on[i].devices[2], 0, sizeof(h.on[i].devices[2]));
	}
	write_until(&h, "oof", B);
	write_until(&h, "ooo", B);
	h.on[C] = h.now;
	h.on[C].device_index = C;
	expect(&h, A);
}

static void test_different_labels_of_one_number_contradict_each_other(void **state)
{
	struct history h;
	unsigned unused;

	(void)state;
	start(&h, 2);
	h.on[B].devices[0].device_bytes = 1;
	assert_int_equal(choose(&h, &unused), LABEL_CONTRADICTS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_device_that_failed_is_old),
		cmocka_unit_test(test_device_that_fails_while_labels_say_that_the_other_is_back_is_old),
		cmocka_unit_test(test_crash_between_the_labels_of_two_devices_that_are_whole),
		cmocka_unit_test(test_halves_that_were_used_apart),
		cmocka_unit_test(test_used_apart_is_not_forgotten_when_devices_come_back),
		cmocka_unit_test(test_higher_number_of_a_crash_does_not_outweigh_what_came_after),
		cmocka_unit_test(test_device_that_was_detached_does_not_count),
		cmocka_unit_test(test_attached_device_does_not_make_older_labels_deny_it),
		cmocka_unit_test(test_different_labels_of_one_number_contradict_each_other),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
