/* SPDX-License-Identifier: BSD-3-Clause */
/* COMPOUND on the wire: what is malformed, out of bounds or out of sequence, slots, reconnects, restarts. */
#include "tests/unit/server/rpc/raw_compound.h"

static void test_operations_without_their_handle_are_invalid(void **state)
{
	int fd = raw_connect(((struct tree_fixture *)*state)->f);
	struct wfsp_op_res last;
	uint32_t count;

	for (uint32_t code = 1; code < WFSP_OP_CODES; code++) {
		struct wfsp_op op = { .code = code, .name = BYTES("x"), .new_name = BYTES("y") };

		if (code == WFSP_OP_ROOT)
			continue;
		assert_int_equal(run(fd, plain, &op, 1, &count, &last), WFSP_OK);
		assert_int_equal(count, 1);
		if (code == WFSP_OP_PUT || code == WFSP_OP_USE || code == WFSP_OP_CLOSE)
			assert_int_equal(last.status, WFSP_ERR_BADHANDLE);
		else
			assert_int_equal(last.status, WFSP_ERR_INVAL);
	}
	close(fd);
}

static void test_what_cannot_be_decoded_does_nothing(void **state)
{
	struct tree_fixture *t = *state;
	struct wfsp_compound_args a = { .reply_max_bytes = 4096, .op_count = 3 };
	struct wfsp_op make = { .code = WFSP_OP_CREATE, .type = WFSP_TYPE_DIR, .name = BYTES("d") };
	int fd = raw_connect(t->f);
	uint8_t buf[1024];
	uint32_t xid;

	for (unsigned round = 0; round < 4; round++) {
		struct wr w = raw_call(buf, sizeof(buf), 7, WFSP_COMPOUND);
		struct rd r;

		a.op_count = round == 3 ? WFSP_OPS_MAX + 1 : 3;
		wfsp_put_compound_args(&w, &a);
		wfsp_put_op(&w, &root);
		wfsp_put_op(&w, &make);
		if (round == 1)
			wr_be32(&w, 0); /* no operation */
		if (round == 2) {
			wfsp_put_op(&w, &root);
			wr_be32(&w, 0); /* one word too many */
		}
		raw_call_end(fd, &w);
		r = rd_init(buf, raw_record(fd, buf, sizeof(buf)));
		assert_int_equal(rpc_get_reply(&r, &xid), -EINVAL);
	}
	assert_int_equal(t->tree->creates, 0);
	close(fd);
}

static void test_too_little_room_for_answers_is_refused_or_ends_the_compound(void **state)
{
	struct tree_fixture *t = *state;
	int fd = raw_connect(t->f);
	struct wfsp_op ops[128] = { root };
	struct wfsp_op_res last;
	uint32_t count;

	assert_int_equal(run(fd, (struct call){ .reply_max = WFSP_REPLY_MIN - 1 }, ops, 1, &count, &last),
	                 WFSP_ERR_INVAL);
	assert_int_equal(run(fd, (struct call){ .reply_max = WFSP_COMPOUND_MAX + 1 }, ops, 1, &count, &last),
	                 WFSP_ERR_INVAL);
	for (int i = 1; i < 128; i++)
		ops[i] = (struct wfsp_op){ .code = WFSP_OP_GETATTR };
	assert_int_equal(run(fd, (struct call){ .reply_max = 2048 }, ops, 128, &count, &last), WFSP_OK);
	assert_int_equal(last.status, WFSP_ERR_MSGSIZE);
	assert_true(count > 10 && count < 20);
	/* Data that is asked for and does not fit. */
	ops[1] = (struct wfsp_op){ .code = WFSP_OP_PUT_FILE, .name = BYTES("f"), .data = BYTES("x") };
	ops[2] = (struct wfsp_op){ .code = WFSP_OP_READ, .max_bytes = 4096 };
	assert_int_equal(run(fd, (struct call){ .reply_max = 2048 }, ops, 3, &count, &last), WFSP_OK);
	assert_int_equal(last.status, WFSP_ERR_MSGSIZE);
	close(fd);
}

static void test_a_handle_of_another_server_is_unknown_and_of_a_removed_export_stale(void **state)
{
	struct tree_fixture *t = *state;
	int fd = raw_connect(t->f);
	struct wfsp_op ops[2] = { { .code = WFSP_OP_PUT }, { .code = WFSP_OP_GETATTR } };
	struct wfsp_op_res last;
	struct wfs_fh fh = t->root;
	uint32_t count;

	ops[0].handle = (struct wfsp_bytes){ fh.bytes, fh.len_bytes };
	assert_int_equal(run(fd, plain, ops, 2, &count, &last), WFSP_OK);
	assert_int_equal(last.status, WFSP_OK);
	fh.bytes[20] ^= 1;
	assert_int_equal(run(fd, plain, ops, 2, &count, &last), WFSP_OK);
	assert_int_equal(last.status, WFSP_ERR_BADHANDLE);
	assert_int_equal(count, 1);
	fh.bytes[20] ^= 1;
	assert_int_equal(export_remove(t->f->exports, "tree"), 0);
	assert_int_equal(run(fd, plain, ops, 2, &count, &last), WFSP_OK);
	assert_int_equal(last.status, WFSP_ERR_STALE);
	/* The same name for another folder is another export. */
	tree_export(t->f, "tree", "/tree/sub", false);
	assert_int_equal(run(fd, plain, ops, 2, &count, &last), WFSP_OK);
	assert_int_equal(last.status, WFSP_ERR_STALE);
	assert_int_equal(export_remove(t->f->exports, "tree"), 0);
	tree_export(t->f, "tree", "/tree", false);
	assert_int_equal(run(fd, plain, ops, 2, &count, &last), WFSP_OK);
	assert_int_equal(last.status, WFSP_OK);
	close(fd);
}

static void test_handles_of_a_tree_that_is_mounted_again_work(void **state)
{
	struct tree_fixture *t = *state;
	struct wfs_attr attr;
	struct wfs_fh root_again;

	assert_int_equal(vfs_unmount(t->f->vfs, "tree", true), 0);
	assert_int_equal(wfs_getattr(t->w, NULL, &t->root, &attr), -ESTALE);
	assert_int_equal(wfs_attach(t->w, NULL, "tree", &root_again, &attr), -ENOENT);
	assert_int_equal(vfs_mount(t->f->vfs, "tree", memtree_root(t->tree), false), 0);
	assert_int_equal(wfs_getattr(t->w, NULL, &t->root, &attr), 0);
	assert_int_equal(wfs_attach(t->w, NULL, "tree", &root_again, &attr), 0);
	assert_memory_equal(root_again.bytes, t->root.bytes, t->root.len_bytes);
}

static void test_a_new_policy_counts_at_once(void **state)
{
	struct tree_fixture *t = *state;
	struct wfs_set_attr set = { .valid = WFS_SET_MODE, .mode = 0755 };

	assert_int_equal(wfs_setattr(t->w, NULL, &t->root, &set, NULL), 0);
	assert_int_equal(export_remove(t->f->exports, "tree"), 0);
	tree_export(t->f, "tree", "/tree", true);
	assert_int_equal(wfs_setattr(t->w, NULL, &t->root, &set, NULL), -EROFS);
}

static void test_a_request_in_a_slot_is_done_once(void **state)
{
	struct tree_fixture *t = *state;
	struct wfsp_op ops[2] = { root, { .code = WFSP_OP_CREATE, .type = WFSP_TYPE_FILE, .name = BYTES("once") } };
	struct call how = { .slot = 3, .sequence = 10, .reply_max = 4096 };
	int fd = connect_as(t, 5);
	struct wfsp_op_res last;
	uint32_t count;

	assert_int_equal(run(fd, how, ops, 2, &count, &last), WFSP_OK);
	assert_true(last.status == WFSP_OK && last.created);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(run(fd, how, ops, 2, &count, &last), WFSP_OK);
		assert_true(last.status == WFSP_OK && last.created);
		/* Also on the client's next connection. */
		close(fd);
		fd = connect_as(t, 5);
	}
	assert_int_equal(t->tree->creates, 1);
	how.sequence++;
	assert_int_equal(run(fd, how, ops, 2, &count, &last), WFSP_OK);
	assert_true(last.status == WFSP_OK && !last.created);
	how.sequence = 9;
	assert_int_equal(run(fd, how, ops, 2, &count, &last), WFSP_ERR_SEQUENCE);
	how = (struct call){ .slot = WFSP_SLOTS + 1, .sequence = 1, .reply_max = 4096 };
	assert_int_equal(run(fd, how, ops, 2, &count, &last), WFSP_ERR_INVAL);
	how = (struct call){ .slot = 1, .sequence = 1, .reply_max = WFSP_SLOT_REPLY_MAX + 1 };
	assert_int_equal(run(fd, how, ops, 2, &count, &last), WFSP_ERR_INVAL);
	close(fd);
	/* Another client has slots of its own; one that never said hello has none. */
	fd = connect_as(t, 6);
	how = (struct call){ .slot = 3, .sequence = 10, .reply_max = 4096 };
	assert_int_equal(run(fd, how, ops, 2, &count, &last), WFSP_OK);
	assert_true(last.status == WFSP_OK && !last.created);
	close(fd);
	fd = raw_connect(t->f);
	assert_int_equal(run(fd, how, ops, 2, &count, &last), WFSP_ERR_INVAL);
	close(fd);
}

static void test_sessions_of_clients_that_come_and_go_do_not_pile_up(void **state)
{
	struct tree_fixture *t = *state;
	struct wfsp_hello_args a = { .client_name = "many" };
	struct wfsp_op ops[2] = { root, { .code = WFSP_OP_GETATTR } };
	struct call how = { .slot = 1, .sequence = 1, .reply_max = 4096 };
	struct wfsp_op_res last;
	size_t half = 0;
	uint64_t until;
	uint32_t count;

	for (uint32_t i = 0; i < 10000; i++) {
		int fd;

		put_be32(a.client_id, i);
		fd = connect_with(t, a);
		assert_int_equal(run(fd, how, ops, 2, &count, &last), WFSP_OK);
		close(fd);
		if (i == 5000)
			half = budget_used(t->f->budget);
	}
	/* The last connections still end. */
	until = sync_now_ns() + 20 * SYNC_NS_PER_S;
	while (budget_used(t->f->budget) >= half + half / 10) {
		assert_true(sync_now_ns() < until);
		sync_sleep_ns(SYNC_NS_PER_MS);
	}
}

static void test_large_compounds_arrive_in_pieces(void **state)
{
	struct tree_fixture *t = *state;
	const uint32_t size = 1u << 20;
	uint8_t *data = malloc(size), *back = malloc(size);
	struct wfs_batch *b;
	struct wfs_fh fh;
	size_t len;

	for (uint32_t i = 0; i < size; i++)
		data[i] = (uint8_t)(i * 13 + i / 4093);
	assert_int_equal(wfs_batch_new(t->w, &b), 0);
	wfs_batch_put(b, &t->root);
	wfs_batch_put_file(b, "big", 0644, 0, data, size, NULL);
	wfs_batch_get_fh(b, &fh);
	assert_int_equal(wfs_batch_run(b, NULL, NULL), 0);
	wfs_batch_clear(b);
	wfs_batch_put(b, &fh);
	wfs_batch_write(b, data, size, size, 0);
	wfs_batch_write(b, data, size, 2 * size, 0);
	wfs_batch_read(b, back, size, 2 * size, &len);
	assert_int_equal(wfs_batch_run(b, NULL, NULL), 0);
	assert_int_equal(len, size);
	assert_memory_equal(back, data, size);
	assert_int_equal(wfs_batch_read(b, back, size + 1, 0, &len), -E2BIG);
	wfs_batch_free(b);
	free(data);
	free(back);
}

static void test_open_files_survive_a_restart_of_the_server(void **state)
{
	struct tree_fixture *t = *state;
	uint64_t clean = 1000;
	struct wfs_file *f;
	struct wfs_fh fh;
	char buf[8];
	size_t len;

	/* Its mode would bar it: whoever had it open, and owns it, has it again. */
	assert_int_equal(
	        wfs_create(t->w, NULL, &t->root, "f", 0, 0, WFS_ACCESS_READ | WFS_ACCESS_WRITE, &f, &fh, NULL, NULL),
	        0);
	assert_int_equal(wfs_pwrite(f, "before", 6, 0, 0), 0);
	fixture_unserve(t->f);
	fixture_serve(t->f, 2000, &clean, 1);
	assert_int_equal(wfs_pread_some(f, buf, sizeof(buf), 0, &len), 0);
	assert_int_equal(len, 6);
	assert_memory_equal(buf, "before", 6);
	assert_int_equal(wfs_flush(f), 0);
	assert_int_equal(wfs_unlink(t->w, NULL, &t->root, "f", 0), 0);
	fixture_unserve(t->f);
	fixture_serve(t->f, 3000, &clean, 1);
	assert_int_equal(wfs_pread_some(f, buf, sizeof(buf), 0, &len), -ESTALE);
	wfs_close(f);
}

/* As of file systems that are elsewhere. */
static void test_an_open_file_that_is_not_found_again_is_stale(void **state)
{
	struct tree_fixture *t = *state;
	struct wfs_file *f;
	char buf[256];
	size_t len;

	assert_int_equal(wfs_create(t->w, NULL, &t->root, "f", 0644, 0, WFS_ACCESS_READ, &f, NULL, NULL, NULL), 0);
	fixture_unserve(t->f);
	t->tree->by_object_err = -ENOENT;
	fixture_serve(t->f, 2000, NULL, 0);
	assert_int_equal(wfs_pread_some(f, buf, sizeof(buf), 0, &len), -ESTALE);
	assert_non_null(strstr(wfs_error_text(buf, sizeof(buf)), "the file is gone"));
	wfs_close(f);
}

static void test_flush_after_a_crash_tells_of_appends_and_of_other_changes(void **state)
{
	struct tree_fixture *t = *state;
	struct wfs_set_attr set = { .valid = WFS_SET_SIZE, .size_bytes = 100 };
	struct wfs_attr attr;
	struct wfs_file *f;
	struct wfs_fh fh;
	uint64_t size, begin;

	assert_int_equal(wfs_create(t->w, NULL, &t->root, "f", 0644, 0, WFS_ACCESS_WRITE, &f, &fh, NULL, NULL), 0);
	assert_int_equal(wfs_append(f, "x", 1, &size), 0);
	fixture_unserve(t->f);
	fixture_serve(t->f, 2000, NULL, 0);
	assert_int_equal(wfs_flush(f), -EIO);
	assert_int_equal(wfs_flush(f), 0);
	begin = wfs_change_begin(f);
	assert_int_equal(wfs_setattr(t->w, NULL, &fh, &set, &attr), 0);
	wfs_change_end(f, begin);
	fixture_unserve(t->f);
	fixture_serve(t->f, 3000, NULL, 0);
	assert_int_equal(wfs_flush(f), -EIO);
	assert_int_equal(wfs_append(f, "x", 1, &size), 0);
	assert_int_equal(size, 101);
	assert_int_equal(wfs_flush(f), 0);
	begin = wfs_change_begin(f);
	assert_int_equal(wfs_setattr(t->w, NULL, &fh, &set, &attr), 0);
	wfs_change_end(f, begin);
	assert_int_equal(wfs_flush(f), 0);
	fixture_unserve(t->f);
	fixture_serve(t->f, 4000, NULL, 0);
	assert_int_equal(wfs_flush(f), 0);
	wfs_close(f);
}

static void test_flush_after_a_crash_tells_every_file_that_shares_a_ledger(void **state)
{
	struct tree_fixture *t = *state;
	struct wfs_ledger *l = wfs_ledger_new();
	struct wfs_file *writer, *reader, *closed, *late;
	struct wfs_fh fh;
	uint64_t clean;

	assert_int_equal(wfs_create(t->w, NULL, &t->root, "f", 0644, 0, WFS_ACCESS_WRITE, &writer, &fh, NULL, NULL), 0);
	wfs_file_share(writer, l, wfs_ledger_seen(l));
	assert_int_equal(wfs_open_fh_shared(t->w, NULL, &fh, WFS_ACCESS_READ, l, wfs_ledger_seen(l), &reader), 0);
	assert_int_equal(wfs_pwrite(writer, "x", 1, 0, 0), 0);
	fixture_unserve(t->f);
	fixture_serve(t->f, 2000, NULL, 0);
	assert_int_equal(wfs_flush(reader), -EIO);
	assert_int_equal(wfs_flush(reader), 0);
	assert_int_equal(wfs_flush(writer), -EIO);
	assert_int_equal(wfs_flush(writer), 0);
	/* What was written through a file that is closed by then, to one that is opened after the crash. */
	assert_int_equal(wfs_open_fh_shared(t->w, NULL, &fh, WFS_ACCESS_WRITE, l, wfs_ledger_seen(l), &closed), 0);
	assert_int_equal(wfs_pwrite(closed, "y", 1, 0, 0), 0);
	wfs_close(closed);
	fixture_unserve(t->f);
	fixture_serve(t->f, 3000, NULL, 0);
	assert_int_equal(wfs_open_fh_shared(t->w, NULL, &fh, WFS_ACCESS_READ, l, wfs_ledger_seen(l), &late), 0);
	assert_int_equal(wfs_flush(late), -EIO);
	assert_int_equal(wfs_flush(reader), -EIO);
	wfs_close(late);
	/* A file that comes from the present to a ledger that does not yet. */
	assert_int_equal(wfs_pwrite(writer, "z", 1, 0, 0), 0);
	fixture_unserve(t->f);
	clean = 3000;
	fixture_serve(t->f, 4000, &clean, 1);
	assert_int_equal(wfs_open_fh(t->w, NULL, &fh, WFS_ACCESS_READ, &late), 0);
	wfs_file_share(late, l, wfs_ledger_seen(l));
	assert_int_equal(wfs_flush(late), 0);
	assert_int_equal(wfs_flush(reader), 0);
	wfs_close(late);
	wfs_close(writer);
	wfs_close(reader);
	wfs_ledger_unref(l);
}

static void test_descriptors_work_in_compounds(void **state)
{
	struct tree_fixture *t = *state;
	struct wfsp_op ops[3] = { root,
		                  { .code = WFSP_OP_CREATE,
		                    .type = WFSP_TYPE_FILE,
		                    .mode = 0400,
		                    .access = WFSP_ACCESS_WRITE,
		                    .name = BYTES("f") },
		                  { .code = WFSP_OP_OPEN, .access = WFSP_ACCESS_WRITE } };
	int fd = raw_connect(t->f);
	struct wfsp_op_res last;
	uint64_t d;
	uint32_t count;

	assert_int_equal(run(fd, plain, ops, 3, &count, &last), WFSP_OK);
	assert_int_equal(last.status, WFSP_OK);
	d = last.descriptor;
	ops[0] = (struct wfsp_op){ .code = WFSP_OP_USE, .descriptor = d };
	ops[1] = (struct wfsp_op){ .code = WFSP_OP_WRITE, .data = BYTES("0123456789") };
	ops[2] = (struct wfsp_op){ .code = WFSP_OP_SETATTR, .set = { .valid = WFSP_SET_SIZE, .size_bytes = 4 } };
	assert_int_equal(run(fd, plain, ops, 3, &count, &last), WFSP_OK);
	assert_int_equal(last.status, WFSP_OK);
	assert_int_equal(last.attr.size_bytes, 4);
	ops[1] = (struct wfsp_op){ .code = WFSP_OP_READ, .max_bytes = 4 };
	assert_int_equal(run(fd, plain, ops, 2, &count, &last), WFSP_OK);
	assert_int_equal(last.status, WFSP_ERR_BADHANDLE);
	ops[1] = (struct wfsp_op){ .code = WFSP_OP_SETATTR, .set = { .valid = WFSP_SET_UID } };
	assert_int_equal(run(fd, plain, ops, 2, &count, &last), WFSP_OK);
	assert_int_equal(last.status, WFSP_ERR_INVAL);
	ops[1] = (struct wfsp_op){ .code = WFSP_OP_CLOSE, .descriptor = d };
	assert_int_equal(run(fd, plain, ops, 2, &count, &last), WFSP_OK);
	assert_int_equal(last.status, WFSP_OK);
	assert_int_equal(run(fd, plain, ops, 2, &count, &last), WFSP_OK);
	assert_int_equal(last.status, WFSP_ERR_BADHANDLE);
	close(fd);
}

static void test_a_compound_that_does_not_fit_ends_the_connection(void **state)
{
	struct tree_fixture *t = *state;
	struct wfsp_compound_args a = { .reply_max_bytes = 4096, .op_count = 1 };
	int fd = raw_connect(t->f);
	uint8_t buf[2048] = { 0 };
	struct wr w = raw_call(buf, sizeof(buf), 7, WFSP_COMPOUND);

	wfsp_put_compound_args(&w, &a);
	put_be32(buf, record_mark(WFSP_COMPOUND_MAX + 4096));
	raw_send(fd, buf, sizeof(buf));
	assert_true(raw_closed(fd));
	close(fd);
}

static void test_a_file_that_was_made_and_written_to_is_truncated(void **state)
{
	struct tree_fixture *t = *state;
	struct wfsp_op ops[4] = { root,
		                  { .code = WFSP_OP_CREATE,
		                    .type = WFSP_TYPE_FILE,
		                    .mode = 0600,
		                    .access = WFSP_ACCESS_WRITE,
		                    .name = BYTES("new") },
		                  { .code = WFSP_OP_WRITE, .data = BYTES("0123456789") },
		                  { .code = WFSP_OP_SETATTR, .set = { .valid = WFSP_SET_SIZE } } };
	int fd = raw_connect(t->f);
	struct wfsp_op_res last;
	uint32_t count;

	assert_int_equal(run(fd, plain, ops, 4, &count, &last), WFSP_OK);
	assert_true(count == 4 && last.status == WFSP_OK);
	assert_int_equal(last.attr.size_bytes, 0);
	ops[1] = (struct wfsp_op){
		.code = WFSP_OP_CREATE, .type = WFSP_TYPE_DIR, .mode = 0700, .name = BYTES("directory")
	};
	ops[2] = ops[3];
	assert_int_equal(run(fd, plain, ops, 3, &count, &last), WFSP_OK);
	assert_true(count == 3 && last.status != WFSP_OK);
	close(fd);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, tree_setup, tree_teardown)
	const struct CMUnitTest tests[] = {
		T(test_a_file_that_was_made_and_written_to_is_truncated),
		T(test_operations_without_their_handle_are_invalid),
		T(test_what_cannot_be_decoded_does_nothing),
		T(test_too_little_room_for_answers_is_refused_or_ends_the_compound),
		T(test_a_handle_of_another_server_is_unknown_and_of_a_removed_export_stale),
		T(test_handles_of_a_tree_that_is_mounted_again_work),
		T(test_a_new_policy_counts_at_once),
		T(test_a_request_in_a_slot_is_done_once),
		T(test_sessions_of_clients_that_come_and_go_do_not_pile_up),
		T(test_large_compounds_arrive_in_pieces),
		T(test_open_files_survive_a_restart_of_the_server),
		T(test_an_open_file_that_is_not_found_again_is_stale),
		T(test_flush_after_a_crash_tells_of_appends_and_of_other_changes),
		T(test_flush_after_a_crash_tells_every_file_that_shares_a_ledger),
		T(test_descriptors_work_in_compounds),
		T(test_a_compound_that_does_not_fit_ends_the_connection),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
