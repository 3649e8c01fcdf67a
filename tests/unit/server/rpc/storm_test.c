/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A storm of messages: compounds of any operations with any arguments, in any slots with any numbers, from clients that
 * take each other's ids, hang up, and stop in the middle of a record; bytes altered, other procedures. The server
 * answers each sound record, or ends the connection, and afterwards holds nothing that it did not hold before.
 *
 * WFSD_STORM_MESSAGES: how many; WFSD_STORM_SEED: which.
 */
#include "tests/unit/server/rpc/raw_compound.h"
#include "tests/unit/slow.h"

#define MESSAGES_DEFAULT 30000u
#define CLIENTS 6u
#define OPS_MAX 8u

static uint64_t random_state;

static uint32_t any(uint32_t below)
{
	random_state = random_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t)(random_state >> 33) % below;
}

static uint64_t any_number(void)
{
	switch (any(6)) {
	case 0:
		return UINT64_MAX - any(3);
	case 1:
		return (uint64_t)any(1u << 31) << any(33);
	case 2:
		return UINT64_C(1) << any(64);
	default:
		return any(5000);
	}
}

static uint32_t any_flags(void)
{
	return any(8) ? any(8) : (uint32_t)any_number();
}

static struct wfsp_bytes any_name(void)
{
	static const char *const names[] = {
		"a", "b", "c", "d", "sub", "..", ".", "user.x", "system.posix_acl_access"
	};
	const char *name = names[any(9)];

	return (struct wfsp_bytes){ (const uint8_t *)name, (uint32_t)strlen(name) };
}

static void any_op(struct wfsp_op *op)
{
	static uint8_t data[4096];

	memset(op, 0, sizeof(*op));
	op->code = 1 + any(WFSP_OP_CODES - 1);
	op->name = op->code == WFSP_OP_ROOT ? root.name : any_name();
	op->new_name = any_name();
	op->path = any_name();
	op->handle = (struct wfsp_bytes){ data, any(WFSP_FH_MAX + 1) };
	op->data = (struct wfsp_bytes){ data, any(4) ? any(64) : any(sizeof(data)) };
	op->flags = any_flags();
	op->access = any_flags();
	op->mode = any(4) ? 0644 : (uint32_t)any_number();
	op->type = any(4) ? WFSP_TYPE_FILE : any(9);
	op->index = any(OPS_MAX + 2);
	op->offset = any_number();
	op->new_offset = any_number();
	op->len_bytes = any_number();
	op->max_bytes = any(4) ? any(2000) : (uint32_t)any_number();
	op->change = any(40);
	op->id = any(8);
	op->what = any(64);
	op->descriptor = any_number();
	op->lock = (struct wfsp_lock){ any(5), any(4), any(200), any(8) ? 1 + any(200) : any_number() };
	op->set = (struct wfsp_setattr){ .valid = any(4) ? 1u << any(9) : any(1024),
		                         .mode = any(010000),
		                         .size_bytes = any(9000) };
	/* One that is held until something happens is not answered. */
	if (op->code == WFSP_OP_LOCK_WAIT && any(2))
		op->code = WFSP_OP_LOCK;
}

static void say_hello(int fd)
{
	struct wfsp_hello_args a = { .client_id = { (uint8_t)any(CLIENTS) },
		                     .connection = any(3),
		                     .lease_s = any(100) };
	static uint8_t buf[4096];
	struct wr w = raw_call(buf, sizeof(buf), 1, WFSP_HELLO);

	a.features = any(4);
	wfsp_put_hello_args(&w, &a);
	raw_call_end(fd, &w);
}

static void send_compound(int fd)
{
	struct wfsp_compound_args a = { .slot = any(3) ? 0 : any(WFSP_SLOTS + 2),
		                        .sequence = any(6),
		                        .reply_max_bytes = any(16) ? 65536 : (uint32_t)any_number(),
		                        .op_count = 1 + any(OPS_MAX) };
	static uint8_t buf[70000];
	struct wr w = raw_call(buf, sizeof(buf), 9, WFSP_COMPOUND);
	size_t head = w.pos;
	struct wfsp_op op;

	wfsp_put_compound_args(&w, &a);
	for (uint32_t i = 0; i < a.op_count; i++) {
		if (i == 0 && any(16))
			op = root;
		else
			any_op(&op);
		wfsp_put_op(&w, &op);
	}
	for (uint32_t n = any(8) ? 0 : 1 + any(3); n; n--)
		buf[head + any((uint32_t)(w.pos - head))] = (uint8_t)any(256);
	raw_call_end(fd, &w);
}

static void send_other(int fd)
{
	static uint8_t buf[1024];
	struct wr w = raw_call(buf, sizeof(buf), 5, any(WFSP_COMPOUND));

	for (uint32_t n = any(12); n; n--)
		wr_be32(&w, any(4) ? any(300) : (uint32_t)any_number());
	raw_call_end(fd, &w);
}

/* What it sends may be longer than what follows: the server waits for the rest, and goes on when it is gone. */
static void send_half(int fd)
{
	static uint8_t buf[64];

	put_be32(buf, record_mark(1000));
	raw_send(fd, buf, 4 + any(60));
}

/* True: the connection goes on. */
static bool take_answer(int fd)
{
	static uint8_t buf[WFSP_COMPOUND_MAX + 4096];

	return raw_record(fd, buf, sizeof(buf)) > 0;
}

static void test_a_storm_of_messages_leaves_nothing(void **state)
{
	const char *count_text = getenv("WFSD_STORM_MESSAGES"), *seed_text = getenv("WFSD_STORM_SEED");
	uint64_t count = count_text ? strtoull(count_text, NULL, 10) : MESSAGES_DEFAULT / test_slow();
	struct tree_fixture *t = *state;
	int fds[CLIENTS];

	random_state = seed_text ? strtoull(seed_text, NULL, 10) : 1;
	t->tree->file_max_bytes = 1u << 20;
	for (unsigned i = 0; i < CLIENTS; i++)
		fds[i] = -1;
	for (uint64_t n = 0; n < count; n++) {
		int *fd = &fds[any(CLIENTS)];
		uint32_t kind = any(100);
		bool goes_on = true;

		if (*fd < 0)
			*fd = raw_connect(t->f);
		if (kind == 0) {
			send_half(*fd);
			goes_on = false;
		} else if (kind < 5) {
			say_hello(*fd);
			goes_on = take_answer(*fd);
		} else if (kind < 20) {
			send_other(*fd);
			goes_on = take_answer(*fd);
		} else {
			send_compound(*fd);
			/* Now and then it is not there for the answer. */
			goes_on = kind > 21 && take_answer(*fd);
		}
		if (!goes_on) {
			close(*fd);
			*fd = -1;
		}
	}
	for (unsigned i = 0; i < CLIENTS; i++)
		if (fds[i] >= 0)
			close(fds[i]);
	/* It serves the next one as if nothing had been. What it still holds, the fixture's end would notice. */
	assert_int_equal(wfs_getattr(t->w, NULL, &t->root, &(struct wfs_attr){ 0 }), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test_setup_teardown(test_a_storm_of_messages_leaves_nothing,
		                                                            tree_setup, tree_teardown) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
