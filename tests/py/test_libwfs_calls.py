# SPDX-License-Identifier: BSD-3-Clause
"""Each call of libwfs that does not come in a batch, through the binding, on a real daemon: what it does and what it refuses."""

import errno
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import libwfs_abi as abi
from appliance import Appliance, wait_for
from libwfs import DIR, EXCLUSIVE, LOCKED, READ, SHARED, SYMLINK, TO_THE_END, UNLOCKED, WRITE, Client, File, Handle, Ledger, fails, in_threads
from libwfs_abi import NUMBERS as N
from libwfs_fixtures import top, w  # noqa: F401  pylint: disable=unused-import
from mounts import create_tree

CELL = 65536
MIB = 1 << 20


@pytest.fixture(scope="module")
def address(shared: Appliance) -> str:
    create_tree(shared, "home")
    shared.create_volume("tank/disk", "16M")
    shared.add_export("tank/disk", "disk")
    shared.add_export("tank/disk", "fixed", read_only=True)
    return f"unix:{shared.rpc_socket}"


@pytest.fixture
def other(address: str) -> Iterator[Client]:
    with Client(address) as client:
        yield client


@pytest.fixture
def disk(w: Client) -> Iterator[File]:
    with w.open_export("disk", N["WFS_OPEN_WRITE"]) as f:
        yield f


def with_data(w: Client, at: Handle, name: str, data: bytes) -> Handle:
    f, fh = w.create(at, name)
    with f:
        f.pwrite(data, 0)
    return fh


def test_every_call_of_the_headers_is_bound() -> None:
    here = Path(__file__).parent
    bound = {name for path in ("libwfs.py", "libwfs_abi.py", "libwfs_batch.py") for name in re.findall(r'"(wfs_\w+)"', (here / path).read_text())}
    assert len(abi.CALLS) > 100 and abi.CALLS.keys() - bound == set()


def test_times_are_numbers_and_back() -> None:
    assert abi.time_there_and_back(1, 5) == (10**9 + 5, 1, 5)
    assert abi.time_there_and_back(10**10, 0) == (2**63 - 1, 9_223_372_036, 854_775_807)


# Exports, and those that are files.


def test_exports_are_listed_in_order_until_it_is_enough(w: Client) -> None:
    exports = w.exports()
    assert [e.name for e in exports] == [b"disk", b"fixed", b"home"]
    assert (exports[0].size_bytes, exports[0].read_only, exports[1].read_only) == (16 * MIB, 0, 1)
    assert len(w.exports(most=2)) == 2


def test_export_that_is_a_file_is_read_and_written(w: Client, disk: File) -> None:
    info = disk.info()
    assert (info.name, info.size_bytes, info.read_only) == (b"disk", 16 * MIB, 0)
    change = disk.stat().change
    disk.pwrite(b"x" * 3 * CELL, CELL, N["WFS_FUA"])
    assert disk.stat().change > change and disk.stat().size_bytes == 16 * MIB
    disk.prefetch(0, 16 * MIB)
    assert disk.pread_all(2 * CELL, 0) == bytes(CELL) + b"x" * CELL
    disk.zero(CELL, CELL, N["WFS_NO_HOLE"])
    disk.discard(2 * CELL, CELL)
    assert disk.pread_all(4 * CELL, 0) == bytes(3 * CELL) + b"x" * CELL
    extents = disk.extents(0, 16 * MIB)
    assert sum(e.len_bytes for e in extents) == 16 * MIB
    assert [e.offset for e in extents if not e.zero] == [3 * CELL]
    assert len(disk.extents(0, 16 * MIB, N["WFS_ONE"])) == len(disk.extents(0, 16 * MIB, most=1)) == 1
    disk.flush()


def test_export_that_is_a_file_refuses_what_it_does_not_have(w: Client, disk: File) -> None:
    end = 16 * MIB
    for work, number in ((disk.pread_all, errno.EINVAL), (disk.discard, errno.EINVAL), (disk.zero, errno.ENOSPC)):
        args = (1, end) if work == disk.pread_all else (end, 1)
        fails(number, work, *args)
        fails(number, work, *((1, 2**64 - 1) if work == disk.pread_all else (2**64 - 1, 1)))
    fails(errno.ENOSPC, disk.pwrite, b"x", end)
    fails(errno.EINVAL, disk.pwrite, b"x", 0, 1 << 20)
    fails(errno.EINVAL, disk.extents, end, 1)
    fails(errno.ENOENT, w.open_export, "missing")
    fails(errno.EROFS, w.open_export, "fixed", N["WFS_OPEN_WRITE"])
    fails(errno.EISDIR, w.open_export, "home")
    fails(errno.ENOTDIR, w.root, "disk")
    with w.open_export("fixed", N["WFS_OPEN_SHARED"]) as f:
        assert f.info().read_only == 1
        fails(errno.EROFS, f.pwrite, b"x", 0)


# Figures.


def test_figures_count_what_was_done(w: Client, other: Client, top: Handle) -> None:
    scopes = (N["WFS_SCOPE_EXPORT"], N["WFS_SCOPE_DATASET"])
    before = [w.statistics_of(scope, "home") for scope in scopes]
    session, server = w.statistics_of(N["WFS_SCOPE_SESSION"]), w.statistics()
    strange = other.statistics_of(N["WFS_SCOPE_SESSION"])["written_bytes"]
    fh = with_data(w, top, "f", b"y" * 5000)
    with w.open(fh) as f:
        f.pread(3000, 0)
    fails(errno.ENOENT, w.lookup, top, "missing")
    after = [w.statistics_of(scope, "home") for scope in scopes]
    for old, new in zip(before, after):
        assert new["written_bytes"] - old["written_bytes"] == 5000 and new["read_bytes"] - old["read_bytes"] == 3000
        assert new.keys() == old.keys()
    assert after[0]["errors"] == before[0]["errors"] + 1
    now = w.statistics_of(N["WFS_SCOPE_SESSION"])
    assert now["written_bytes"] - session["written_bytes"] == 5000 and now["errors"] == session["errors"] + 1
    assert now["connections"] == 1 and now["requests"] > session["requests"]
    assert other.statistics_of(N["WFS_SCOPE_SESSION"])["written_bytes"] == strange == 0
    assert server and w.statistics().keys() == server.keys()


def test_figures_of_what_is_not_there_are_refused(w: Client) -> None:
    fails(errno.ENOENT, w.statistics_of, N["WFS_SCOPE_EXPORT"], "missing")
    fails(errno.ENOENT, w.statistics_of, N["WFS_SCOPE_DATASET"], "missing")
    fails(errno.EINVAL, w.statistics_of, N["WFS_SCOPE_EXPORT"], None)
    fails(errno.EINVAL, w.statistics_of, 0, "home")
    fails(errno.EINVAL, w.statistics_of, 4, "home")
    fails(errno.ENAMETOOLONG, w.statistics_of, N["WFS_SCOPE_EXPORT"], "n" * 5000)
    assert w.statistics_of(N["WFS_SCOPE_EXPORT"], "disk").keys() == w.statistics_of(N["WFS_SCOPE_EXPORT"], "home").keys()


# Names and attributes.


def test_links_are_read_and_followed_where_asked(w: Client, top: Handle) -> None:
    target = w.make(top, "target")
    link = w.make(top, "link", SYMLINK, target="target")
    assert w.read_link(link) == "target"
    assert w.lookup_name(top, "link") == link == w.lookup(top, "link", follow=False)
    assert w.lookup(top, "link") == target
    fails(errno.EINVAL, w.read_link, target)
    fails(errno.EINVAL, w.lookup_name, top, "link/x")
    fails(errno.ENOENT, w.lookup_name, top, "")


def test_create_tells_whether_it_made_the_file_and_how_the_directory_is(w: Client, top: Handle) -> None:
    change = w.attr(top).change
    f, created, directory = w.create_in(top, "f")
    again, created_again, same = w.create_in(top, "f")
    assert created and not created_again
    assert directory.file_id == w.attr(top).file_id and directory.change > change and same.change == directory.change
    fails(errno.EEXIST, w.create_in, top, "f", EXCLUSIVE)
    more = [w.create(top, f"f{i}")[0] for i in range(200)]
    File.close_many([f, again, *more])
    assert len(w.list(top, max_bytes=1000)) == 201
    w.make(top, "directory")
    fails(errno.EISDIR, w.create_in, top, "directory")
    fails(errno.EINVAL, w.create_in, top, ".")


def test_attributes_are_set_one_by_one(w: Client, top: Handle) -> None:
    fh = with_data(w, top, "f", b"0123456789")
    before = w.attr(fh)
    now = w.set_attr(fh, N["WFS_SET_MODE"] | N["WFS_SET_SIZE"], mode=0o600, size_bytes=4, uid=77)
    assert (now.mode, now.size_bytes, now.uid) == (0o600, 4, before.uid) and now.change > before.change
    now = w.set_attr(fh, N["WFS_SET_MTIME"], mtime_ns=10**9 + 1)
    assert now.mtime_ns == 10**9 + 1 and now.btime_ns == before.btime_ns
    w.set_attr(fh, N["WFS_SET_FLAGS"], flags=N["WFS_FLAG_IMMUTABLE"])
    fails(errno.EPERM, w.set_attr, fh, N["WFS_SET_MODE"])
    fails(errno.EPERM, w.unlink, top, "f")
    w.set_attr(fh, N["WFS_SET_FLAGS"], flags=0)
    fails(errno.EINVAL, w.set_attr, fh, 1 << 31)
    fails(errno.EISDIR, w.set_attr, top, N["WFS_SET_SIZE"], size_bytes=1)
    fails(errno.EFBIG, w.set_attr, fh, N["WFS_SET_SIZE"], size_bytes=2**63)


def test_extended_attributes_come_and_go(w: Client, top: Handle) -> None:
    w.set_xattr(top, "user.a", b"1", N["WFS_XATTR_CREATE"])
    w.set_xattr(top, "user.b", b"")
    assert sorted(w.list_xattr(top)) == ["user.a", "user.b"] and w.get_xattr(top, "user.b") == b""
    fails(errno.EEXIST, w.set_xattr, top, "user.a", b"2", N["WFS_XATTR_CREATE"])
    fails(errno.ENODATA, w.set_xattr, top, "user.c", b"2", N["WFS_XATTR_REPLACE"])
    w.set_xattr(top, "user.a", b"12", N["WFS_XATTR_REPLACE"])
    fails(errno.ERANGE, w.get_xattr, top, "user.a", 1)
    w.remove_xattr(top, "user.a")
    fails(errno.ENODATA, w.remove_xattr, top, "user.a")
    fails(errno.EOPNOTSUPP, w.set_xattr, top, "nonsense.a", b"1")
    fails(errno.E2BIG, w.set_xattr, top, "user.big", bytes(70000))
    assert w.list_xattr(top) == ["user.b"]


def test_access_and_file_system_are_told(w: Client, top: Handle) -> None:
    fh = with_data(w, top, "f", b"1")
    assert w.access(fh, READ | WRITE) == READ | WRITE
    with w.acting_as(4000, 4000):
        assert w.access(fh, READ | WRITE) == READ
    figures = w.statfs(top)
    assert figures.fsid == w.attr(top).fsid and figures.name_max == 255 and 0 < figures.available_bytes <= figures.total_bytes
    fails(errno.EBADF, w.statfs, Handle())
    fails(errno.EBADF, w.access, Handle(), READ)


# Locks, watches and leases.


def test_lock_in_the_way_is_told(w: Client, other: Client, top: Handle) -> None:
    fh = with_data(w, top, "f", b"1")
    assert w.lock(fh, 7, SHARED, 100, 50)
    assert other.lock_test(fh, 1, SHARED).type == UNLOCKED
    found = other.lock_test(fh, 1, LOCKED)
    assert (found.type, found.offset, found.len_bytes) == (SHARED, 100, 50)
    assert w.locks_keep() == 0
    fails(errno.EINVAL, other.lock_test, fh, 1, LOCKED, 0, 0)
    fails(errno.EINVAL, other.lock_test, fh, 1, 9)


def test_locks_are_kept_over_a_restart(appliance: Appliance) -> None:
    create_tree(appliance, "home")
    address = f"unix:{appliance.rpc_socket}"
    with Client(address) as w, Client(address) as other:
        f, fh = w.create(w.root("home"), "f")
        with f:
            assert w.lock(fh, 1)
            appliance.restart()
            assert w.locks_keep() == 0

            def refused() -> bool:
                try:
                    return not other.lock(fh, 1)
                except OSError as error:
                    assert error.errno == errno.ERESTART
                    return False

            wait_for(refused, "the end of the time to ask for locks")


def test_lock_that_is_waited_for_is_granted_or_cancelled(w: Client, other: Client, top: Handle) -> None:
    fh = with_data(w, top, "f", b"1")
    with w.open(fh, READ | WRITE) as mine, other.open(fh, READ | WRITE) as theirs, other.listen() as heard:
        mine.lock(1)
        fails(errno.EAGAIN, theirs.lock, 1)
        assert not theirs.lock_wait(5, 1, LOCKED, 0, 10)
        mine.lock(1, UNLOCKED)
        event = heard.next(N["WFS_EVENT_LOCK"])
        assert (event.id, event.err) == (5, 0)
        theirs.lock_granted(1, LOCKED, 0, 10)
        fails(errno.EAGAIN, mine.lock, 1)
        theirs.lock(1, UNLOCKED)
        mine.lock(1)
        assert not theirs.lock_wait(6, 1)
        other.lock_cancel(6)
        event = heard.next(N["WFS_EVENT_LOCK"])
        assert (event.id, event.err) == (6, -errno.ECANCELED)
        assert mine.lock_wait(7, 1, SHARED)


def test_changes_are_told_to_those_who_watch(w: Client, other: Client, top: Handle) -> None:
    with w.listen() as heard:
        w.watch(top, 3, N["WFS_CHANGE_CREATED"] | N["WFS_CHANGE_REMOVED"])
        fails(errno.EEXIST, w.watch, top, 3)
        other.make(top, "new")
        event = heard.next(N["WFS_EVENT_CHANGE"])
        assert (event.id, event.what, event.name) == (3, N["WFS_CHANGE_CREATED"], b"new")
        assert event.dir_id == w.attr(top).file_id and event.file_id == w.attr(w.lookup(top, "new")).file_id
        other.unlink(top, "new", is_dir=True)
        assert heard.next(N["WFS_EVENT_CHANGE"]).what == N["WFS_CHANGE_REMOVED"]
        w.unwatch(3)
        fails(errno.ENOENT, w.unwatch, 3)
        fails(errno.EINVAL, w.watch, top, 4, 0)
        fails(errno.EBADF, w.watch, Handle(), 4)


def test_lease_is_recalled_and_given_back(w: Client, other: Client, top: Handle) -> None:
    fh = with_data(w, top, "f", b"1")
    with w.open(fh) as mine, w.listen() as heard:
        mine.lease(9, N["WFS_LEASE_READ"])
        fails(errno.EEXIST, mine.lease, 9, N["WFS_LEASE_READ"])
        fails(errno.EINVAL, mine.lease, 10, 7)

        def work(i: int) -> None:
            if i:
                with other.open(fh, READ | WRITE) as theirs:
                    theirs.pwrite(b"2", 0)
            else:
                assert heard.next(N["WFS_EVENT_RECALL"]).id == 9
                assert mine.pread(1, 0) == b"1"
                w.lease_return(9)

        in_threads(2, work)
        assert mine.pread(1, 0) == b"2"
        fails(errno.ENOENT, w.lease_return, 9)


# Data.


def test_data_is_copied_and_holes_are_found(w: Client, top: Handle) -> None:
    source, to = with_data(w, top, "source", b"a" * CELL), with_data(w, top, "to", b"")
    assert w.copy(source, 0, to, 2 * CELL, 10 * CELL) == CELL
    assert w.attr(to).size_bytes == 3 * CELL
    assert w.seek(to, 0, N["WFS_SEEK_DATA"]) == 2 * CELL and w.seek(to, 2 * CELL, N["WFS_SEEK_HOLE"]) == 3 * CELL
    fails(errno.ENXIO, w.seek, to, 3 * CELL, N["WFS_SEEK_DATA"])
    fails(errno.EINVAL, w.seek, to, 0, 9)
    fails(errno.EISDIR, w.copy, top, 0, to, 0, CELL)
    fails(errno.EINVAL, w.copy, source, 2**64 - 1, to, 0, CELL)


def test_ranges_are_kept_punched_and_taken_out(w: Client, top: Handle) -> None:
    fh = with_data(w, top, "f", b"a" * CELL + b"b" * CELL + b"c" * CELL)
    f = w.open(fh, READ | WRITE)
    with f:
        with f.changed_otherwise():
            w.allocate(fh, N["WFS_ALLOCATE_PUNCH"], 0, CELL)
        assert f.pread(4 * CELL, 0) == bytes(CELL) + b"b" * CELL + b"c" * CELL
        w.collapse(fh, CELL, CELL)
        assert f.pread(4 * CELL, 0) == bytes(CELL) + b"c" * CELL
        w.allocate(fh, N["WFS_ALLOCATE_ZERO"], 2 * CELL, CELL)
        assert w.attr(fh).size_bytes == 3 * CELL
        f.flush()
    fails(errno.EINVAL, w.collapse, fh, 2 * CELL, CELL)
    fails(errno.EINVAL, w.collapse, fh, 1, CELL)
    fails(errno.EOPNOTSUPP, w.allocate, fh, 3, 0, CELL)
    fails(errno.EFBIG, w.allocate, fh, N["WFS_ALLOCATE_ZERO"], 2**63, CELL)
    fails(errno.EISDIR, w.allocate, top, N["WFS_ALLOCATE_PUNCH"], 0, CELL)
    assert w.attr(fh).size_bytes == 3 * CELL


def test_a_range_of_a_file_is_durable_after_a_crash(appliance: Appliance) -> None:
    create_tree(appliance, "home")
    with Client(f"unix:{appliance.rpc_socket}") as w:
        top = w.root("home")
        fh = with_data(w, top, "f", bytes(4 * CELL))
        w.sync(fh)
        with w.open(fh, WRITE) as f:
            f.pwrite(b"a" * 4 * CELL, 0)
            w.sync_range(fh, CELL, CELL)
            appliance.kill9()
            appliance.start()
            fails(errno.EIO, f.flush)
        with w.open(fh, READ) as f:
            data = f.pread(4 * CELL, 0)
        assert len(data) == 4 * CELL and data[CELL : 2 * CELL] == b"a" * CELL
        fails(errno.EINVAL, w.sync_range, fh, 2**64 - 1, 2)
        fails(errno.EISDIR, w.sync_range, top, 0, 0)
        w.unlink(top, "f")
        fails(errno.ESTALE, w.sync_range, fh, 0, 0)


def test_flush_answers_for_what_was_changed_otherwise_before_a_crash(appliance: Appliance) -> None:
    create_tree(appliance, "home")
    with Client(f"unix:{appliance.rpc_socket}") as w:
        f, fh = w.create(w.root("home"), "f")
        with f:
            f.pwrite(b"x" * CELL, 0)
            f.flush()
            with f.changed_otherwise():
                w.set_attr(fh, N["WFS_SET_SIZE"], size_bytes=10)
            appliance.kill9()
            appliance.start()
            fails(errno.EIO, f.flush)
            f.flush()


def test_flush_of_each_file_that_shares_tells_of_a_crash_once(appliance: Appliance) -> None:
    create_tree(appliance, "home")
    with Client(f"unix:{appliance.rpc_socket}") as w:
        ledger = Ledger()
        first, fh = w.create(w.root("home"), "f")
        first.share(ledger)
        second, stranger = w.open_shared(fh, ledger), w.open(fh, READ | WRITE)
        fails(errno.EBADF, w.open_shared, Handle(), ledger)
        first.flush()
        second.pwrite(b"x" * CELL, 0)
        before = ledger.seen()
        appliance.kill9()
        appliance.start()
        for f in (first, second):
            fails(errno.EIO, f.flush)
            f.flush()
        stranger.flush()
        assert ledger.seen() > before
        later = w.open_shared(fh, ledger)
        ledger.close()
        later.flush()
        File.close_many([first, second, stranger, later])


def test_addresses_that_lead_nowhere(tmp_path: Path) -> None:
    for address, number in (("", errno.EINVAL), ("nonsense", errno.EINVAL), (f"unix:{tmp_path}/none", errno.ENOENT), ("tcp:127.0.0.1:1", errno.ECONNREFUSED)):
        fails(number, Client, address)
