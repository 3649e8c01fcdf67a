# SPDX-License-Identifier: BSD-3-Clause
"""Each operation of a batch of libwfs, through the binding, on a real daemon; batches that are cancelled, or have a time."""

import errno
import queue
from collections.abc import Callable

import pytest

from appliance import SLOW, Appliance
from libwfs import EXCHANGE, EXCLUSIVE, LOCKED, NOREPLACE, READ, SHARED, SYMLINK, UNLOCKED, WRITE, Client, Handle, fails
from libwfs_abi import NUMBERS as N
from libwfs_batch import Batch
from libwfs_fixtures import top, w  # noqa: F401  pylint: disable=unused-import
from mounts import create_tree

CELL = 65536


@pytest.fixture(scope="module")
def address(shared: Appliance) -> str:
    create_tree(shared, "home")
    return f"unix:{shared.rpc_socket}"


def test_handles_are_saved_restored_and_taken_from_results(w: Client, top: Handle) -> None:
    b = w.batch().root("home").save().put(top).make("dir").make("below")
    below = b.get_fh()
    b.restore()
    root = b.get_fh()
    b.result(3)
    directory = b.get_fh()
    b.lookup_path("below/..").lookup("below").run()
    assert root == w.root("home")
    assert directory == w.lookup(top, "dir") and below == w.lookup(top, "dir/below")
    assert b.done.value == 12
    for bad in (lambda b: b.restore(), lambda b: b.getattr(), lambda b: b.result(0)):
        bad_batch = w.batch()
        with pytest.raises(OSError) as failure:
            bad(bad_batch)
            bad_batch.run()
        assert failure.value.errno == errno.EINVAL and bad_batch.done.value == 0
    ahead = w.batch().root("home").result(2).save()
    fails(errno.EINVAL, ahead.run)
    assert ahead.done.value == 1


def test_names_are_made_moved_linked_and_removed(w: Client, top: Handle) -> None:
    b = w.batch().put(top)
    created = b.create("file", EXCLUSIVE)
    b.save().put(top).make("link", SYMLINK, target=b"file")
    target = b.read_link()
    b.put(top).save().put(top).rename("file", "moved", NOREPLACE).lookup("moved").save().put(top).link("also")
    listed = b.put(top).readdir(max_bytes=4096)
    b.run()
    assert created.value == 1 and target.value == b"file"
    assert sorted(name for name, _ in listed) == ["also", "link", "moved"]
    b = w.batch().put(top)
    created = b.create("moved")
    b.put(top).save().rename("also", "link", EXCHANGE).lookup_path("also", follow=False)
    attr = b.getattr()
    behind = b.put(top).readdir(listed[0][1], 4096)
    b.run()
    assert created.value == 0 and attr.type == SYMLINK
    assert [name for name, _ in behind] == [name for name, _ in listed[1:]]
    b = w.batch().put(top).unlink("also").unlink("link").unlink("moved").unlink("missing")
    fails(errno.ENOENT, b.run)
    assert b.done.value == 4 and w.list(top) == []
    fails(errno.EEXIST, lambda: w.batch().put(top).make("a").put(top).make("a").run())
    fails(errno.ENAMETOOLONG, lambda: w.batch().put(top).make("x" * 256).run())


def test_file_without_a_name_may_get_one(w: Client, top: Handle) -> None:
    b = w.batch().put(top).create_nameless().write(b"data").save().put(top).link("named").lookup("named").read(100)
    attr = b.getattr()
    b.run()
    assert b.results == [b"data"] and attr.link_count == 1
    w.batch().put(top).create_nameless().write(b"more").run()
    assert w.list(top) == ["named"]


def test_attributes_and_figures_come_with_a_batch(w: Client, top: Handle) -> None:
    b = w.batch().put(top).put_file("f", b"12345")
    before = b.setattr(N["WFS_SET_MODE"], mode=0o640)
    b.set_xattr("user.a", b"one").set_xattr("user.b", b"two").remove_xattr("user.b").get_xattr("user.a").run()
    assert b.results == [b"one"]
    b = w.batch().put(top).lookup("f")
    names = b.list_xattr()
    allowed = b.access(READ | WRITE)
    space = b.statfs()
    mine, tree, session = b.statistics(N["WFS_SCOPE_EXPORT"]), b.statistics(N["WFS_SCOPE_DATASET"], "home"), b.statistics(N["WFS_SCOPE_SESSION"])
    after = b.getattr()
    b.run()
    assert (before.mode, before.size_bytes) == (0o640, 5) and after.change > before.change
    assert names == ["user.a"] and allowed.value == READ | WRITE
    assert space.fsid == after.fsid and space.total_bytes >= space.available_bytes > 0
    assert mine["written_bytes"] >= 5 and tree["written_bytes"] >= 5 and session["connections"] == 1
    fails(errno.EREMCHG, lambda: w.batch().put(top).lookup("f").guard(before.change).write(b"x").run())
    fails(errno.ENODATA, lambda: w.batch().put(top).get_xattr("user.none").run())
    fails(errno.E2BIG, w.batch().put(top).set_xattr, "user.big", bytes(70000))
    for scope, export, number in ((0, "home", errno.EINVAL), (9, "home", errno.EINVAL), (N["WFS_SCOPE_EXPORT"], "missing", errno.ENOENT)):
        bad = w.batch().put(top)
        found = bad.statistics(scope, export)
        fails(number, bad.run)
        assert found == {}
    without = w.batch()
    without.statistics(N["WFS_SCOPE_EXPORT"])
    fails(errno.EINVAL, without.run)


def test_data_is_written_copied_punched_and_found(w: Client, top: Handle) -> None:
    b = w.batch().put(top)
    b.create("f")
    b.write(b"a" * 2 * CELL).allocate(N["WFS_ALLOCATE_PUNCH"], 0, CELL).sync_range(CELL, 0).sync().save()
    data = b.seek(0, N["WFS_SEEK_DATA"])
    b.put(top).create("to")
    copied = b.copy(CELL - 1, 10, 2)
    b.write(b"end", flags=N["WFS_APPEND"]).read(100).restore().allocate(N["WFS_ALLOCATE_COLLAPSE"], 0, CELL).read(1000)
    b.run()
    assert data.value == CELL and copied.value == 2
    assert b.results == [bytes(10) + b"\0aend", b"a" * 1000]
    for bad, number in (
        (lambda b: b.allocate(N["WFS_ALLOCATE_COLLAPSE"], 0, 2 * CELL), errno.EINVAL),
        (lambda b: b.allocate(N["WFS_ALLOCATE_COLLAPSE"], 1, CELL), errno.EINVAL),
        (lambda b: b.allocate(9, 0, CELL), errno.EOPNOTSUPP),
        (lambda b: b.seek(0, 9), errno.EINVAL),
        (lambda b: b.seek(10 * CELL, N["WFS_SEEK_DATA"]), errno.ENXIO),
        (lambda b: b.copy(0, 0, 1), errno.EINVAL),
        (lambda b: b.write(b"x", 2**64 - 1), errno.EFBIG),
        (lambda b: b.sync_range(2, 2**64 - 1), errno.EINVAL),
    ):
        wrong = w.batch().put(top).lookup("f")
        bad(wrong)
        fails(number, wrong.run)
    assert w.attr(w.lookup(top, "f")).size_bytes == CELL
    fails(errno.E2BIG, w.batch().put(top).lookup("f").read, (1 << 20) + 1)
    fails(errno.E2BIG, w.batch().put(top).put_file("g", b"").read, CELL)  # an answer that is kept is small


def test_collapse_and_sync_in_a_transaction_are_refused(w: Client, top: Handle) -> None:
    w.batch().put(top).put_file("f", b"a" * 2 * CELL).run()
    b = w.batch().put(top)
    b.tx_begin(N["WFS_TX_SNAPSHOT"], atomic=True)
    b.lookup("f").allocate(N["WFS_ALLOCATE_COLLAPSE"], 0, CELL).tx_commit()
    fails(errno.EOPNOTSUPP, b.run)
    b = w.batch().put(top)
    b.tx_begin(N["WFS_TX_SNAPSHOT"], atomic=True)
    b.lookup("f").sync_range(0, CELL).tx_commit()
    fails(errno.EOPNOTSUPP, b.run)
    assert w.attr(w.lookup(top, "f")).size_bytes == 2 * CELL


def test_locks_come_with_a_batch(w: Client, address: str, top: Handle) -> None:
    w.batch().put(top).put_file("f", b"").lock(1, SHARED, 0, 10).run()
    with Client(address) as other:
        b = other.batch().put(top).lookup("f").lock(1, SHARED, 0, 10)
        found = b.lock_test(1, LOCKED, 5, 100)
        b.run()
        assert (found.type, found.offset, found.len_bytes) == (SHARED, 0, 10)
        fails(errno.EAGAIN, other.batch().put(top).lookup("f").lock(1, LOCKED, 0, 10).run)
        w.batch().put(top).lookup("f").lock(1, UNLOCKED, 0, 10).run()
        other.batch().put(top).lookup("f").lock(1, LOCKED, 0, 10).run()
        fails(errno.EINVAL, other.batch().put(top).lookup("f").lock(1, LOCKED, 0, 0).run)


def test_batch_is_bounded_and_may_be_used_again(w: Client, top: Handle) -> None:
    b = w.batch().put(top)
    for _ in range(N["WFS_BATCH_OPS_MAX"] - 1):
        b.getattr()
    fails(errno.E2BIG, b.getattr)
    fails(errno.E2BIG, b.run)
    assert b.clear().put(top).make("dir").run().done.value == 2
    assert w.list(top) == ["dir"]
    b.free()


def slow_batch(w: Client, top: Handle, name: str) -> Batch:
    """Each operation waits for the devices."""
    b = w.batch().put(top)
    b.create(name)
    for i in range(40):
        b.write(b"x" * 4096, i * 4096, N["WFS_FUA"]).sync()
    return b


def test_batch_ends_with_its_time(w: Client, top: Handle) -> None:
    for i in range(50):
        b = slow_batch(w, top, f"f{i}").within(1)
        try:
            b.run()
        except OSError as error:
            assert error.errno == errno.ETIMEDOUT
            break
        assert b.done.value == 82  # it was as fast as that
    assert b.done.value < 82
    if b.done.value > 1:
        assert w.attr(w.lookup(top, f"f{i}")).size_bytes == 4096 * ((b.done.value - 1) // 2)
    b.within(0).run()
    assert b.done.value == 82
    for name in w.list(top):
        assert b.clear().put(top).unlink(name).run().done.value == 2
    b.within(2**32 - 1).clear().put(top).make("dir").run()
    assert w.list(top) == ["dir"]


def begun(b: Batch) -> "queue.Queue[int]":
    """It is started; what it ends with comes in the queue."""
    ended: "queue.Queue[int]" = queue.Queue()
    b.start(ended.put)
    return ended


def test_cancelled_batch_does_no_more(w: Client, top: Handle) -> None:
    for i in range(50):
        b = slow_batch(w, top, f"f{i}")
        ended = begun(b)
        try:
            b.cancel()
        except OSError as error:
            assert error.errno == errno.ENOENT  # it was as fast as that
        number = ended.get(timeout=60 * SLOW)
        if number:
            break
        assert b.done.value == 82
    assert number == errno.ECANCELED and b.done.value < 82
    if b.done.value > 1:
        assert w.attr(w.lookup(top, f"f{i}")).size_bytes == 4096 * ((b.done.value - 1) // 2)
    fails(errno.ENOENT, b.cancel)
    b.free()


def test_batch_that_is_not_under_way_cannot_be_cancelled(w: Client, address: str, top: Handle) -> None:
    b = w.batch().put(top).make("dir")
    fails(errno.ENOENT, b.cancel)
    ended = begun(b)
    assert ended.get(timeout=20 * SLOW) == 0
    fails(errno.ENOENT, b.cancel)
    with Client(address) as other:
        waiting = slow_batch(w, top, "f")
        ended = begun(waiting)
        waiting.client, mine = other.pointer, waiting.client
        fails(errno.ENOENT, waiting.cancel)
        waiting.client = mine
        assert ended.get(timeout=60 * SLOW) == 0 and waiting.done.value == 82


@pytest.mark.parametrize("refused, number", [
    (lambda b: b.put(Handle(65)), errno.EINVAL), (lambda b: b.lookup_path("x" * 5000), errno.ENAMETOOLONG), (lambda b: b.root("n" * 5000), errno.ENAMETOOLONG)])
def test_batch_with_something_bad_is_not_started(w: Client, top: Handle, refused: Callable[[Batch], object], number: int) -> None:
    b = w.batch().put(top).make("dir")
    fails(number, refused, b)
    fails(number, b.run)
    fails(number, b.start, lambda _number: None)
    assert w.list(top) == []
