# SPDX-License-Identifier: BSD-3-Clause
"""Programs with libwfs, against real daemons: two hundred of them, asynchronous ones, and hostile names."""

import errno
import os
import threading
import time

import pytest

from appliance import Appliance
from libwfs import DIR, EXCHANGE, EXCLUSIVE, LOCKED, NOREPLACE, READ, SHARED, SYMLINK, UNLOCKED, WRITE, Client, Handle, fails, in_threads  # fmt: skip


@pytest.fixture
def address(make_appliance) -> str:
    box: Appliance = make_appliance()
    box.wfs("fs", "create", "tank/home")
    box.add_export("tank/home", "home")
    return f"unix:{box.rpc_socket}"


def test_names_and_data(address: str) -> None:
    with Client(address) as w:
        root = w.root("home")
        sub = w.make(root, "sub")
        f, fh = w.create(sub, "file", EXCLUSIVE)
        with f:
            f.pwrite(b"hello", 0)
            assert f.append(b" world") == 11
            assert f.pread(100, 0) == b"hello world"
            assert f.pread(100, 50) == b""
            f.flush()
        assert w.attr(fh).size_bytes == 11
        fails(errno.EEXIST, w.create, sub, "file", EXCLUSIVE)
        w.link(root, "also", fh)
        assert w.attr(fh).link_count == 2
        w.make(root, "link", SYMLINK, target="sub/file")
        assert w.lookup(root, "link") == w.lookup(root, "also") == fh
        w.set_xattr(fh, "user.k", b"v" * 3000)
        assert w.get_xattr(fh, "user.k") == b"v" * 3000
        w.rename(root, "also", sub, "file", 0)  # two names of one object: nothing happens
        assert sorted(w.list(sub)) == ["file"] and sorted(w.list(root)) == ["also", "link", "sub"]
        fails(errno.EEXIST, w.rename, root, "also", root, "link", NOREPLACE)
        w.rename(root, "also", root, "link", EXCHANGE)
        fails(errno.ENOTEMPTY, w.unlink, root, "sub", True)
        fails(errno.EISDIR, w.unlink, root, "sub", False)
        w.sync(root)


def test_names_that_must_be_refused(address: str) -> None:
    with Client(address) as w:
        root = w.root("home")
        w.make(root, "dir")
        for name, number in (("", errno.ENOENT), (".", errno.EINVAL), ("..", errno.EINVAL), ("a/b", errno.EINVAL),
                             ("x" * 256, errno.ENAMETOOLONG)):
            fails(number, w.make, root, name)
        assert w.lookup(root, "../../dir/../..") == root
        fails(errno.ENAMETOOLONG, w.lookup, root, "x/" * 3000)
        fails(errno.ENOENT, w.lookup, root, "../etc/passwd")
        forged = Handle.from_buffer_copy(bytes(root))
        forged.bytes[20] ^= 1
        fails(errno.EBADF, w.attr, forged)
        assert w.list(root) == ["dir"]


def test_locks_go_with_their_client(address: str) -> None:
    first, second = Client(address), Client(address)
    root = first.root("home")
    _, fh = first.create(root, "file")
    assert first.lock(fh, 1, SHARED, 0, 10) and second.lock(fh, 1, SHARED, 5, 10)
    assert not second.lock(fh, 1, LOCKED, 0, 20) and second.lock(fh, 1, LOCKED, 10, 5)
    assert first.lock(fh, 1, UNLOCKED) and second.lock(fh, 1, LOCKED)
    assert not first.lock(fh, 2, SHARED)
    second.close()
    first.close()


def test_a_batch_stops_at_the_first_failure(address: str) -> None:
    with Client(address) as w:
        root = w.root("home")
        batch = w.batch().put(root).put_file("a", b"A" * 1000).put(root).lookup("none").put(root).put_file("b", b"B")
        fails(errno.ENOENT, batch.run)
        assert w.list(root) == ["a"]
        change = w.attr(root).change
        assert w.batch().put(root).lookup("a").get_file(2000).run().results == [b"A" * 1000]
        w.batch().put(root).guard(change).put_file("c", b"C").run()
        fails(errno.EREMCHG, w.batch().put(root).guard(change).put_file("d", b"D").run)
        assert sorted(w.list(root)) == ["a", "c"]


def test_one_thread_has_hundreds_of_batches_under_way(address: str) -> None:
    with Client(address) as w:
        root = w.root("home")
        w.batch().put(root).put_file("file", b"contents").run()
        lock, ended = threading.Lock(), threading.Event()
        left, errors = 700, []

        def done(err: int) -> None:
            nonlocal left
            with lock:
                left -= 1
                if err:
                    errors.append(err)
                if not left:
                    ended.set()

        batches = [w.batch().put(root).lookup("file").get_file(100) for _ in range(left)]
        for batch in batches:
            batch.start(done)
        assert ended.wait(30) and not errors
        assert all(batch.results == [b"contents"] for batch in batches)
        for batch in batches:
            batch.free()


def test_two_hundred_clients_at_once(address: str) -> None:
    """Each makes files of its own, all append to one, and all fight for one name."""
    with Client(address) as w:
        root = w.root("home")
        w.create(root, "log")[0].close()
    winners: list[int] = []

    def work(i: int) -> None:
        with Client(address, timeout_s=60) as w:
            root = w.root("home")
            own = w.make(root, f"dir{i}", DIR)
            for j in range(5):
                f, fh = w.create(own, f"f{j}", EXCLUSIVE)
                with f:
                    f.pwrite(bytes([i]) * 5000, 0)
            with w.open(w.lookup(root, "log"), READ | WRITE) as log:
                for j in range(5):
                    log.append(f"{i:04} {j:02}\n".encode())
            try:
                w.make(root, "winner")
                winners.append(i)
            except OSError as error:
                assert error.errno == errno.EEXIST
            for j in range(5):
                with w.open(w.lookup(own, f"f{j}")) as f:
                    assert f.pread(6000, 0) == bytes([i]) * 5000
            w.unlink(own, "f0")
            assert sorted(w.list(own)) == [f"f{j}" for j in range(1, 5)]

    in_threads(200, work)
    assert len(winners) == 1
    with Client(address) as w:
        root = w.root("home")
        assert len(w.list(root)) == 202
        with w.open(w.lookup(root, "log")) as log:
            lines = log.pread(100000, 0).decode().splitlines()
    assert sorted(lines) == sorted(f"{i:04} {j:02}" for i in range(200) for j in range(5))


def test_identities_are_kept_apart(address: str) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root may speak for others")
    with Client(address) as w:
        root = w.root("home")
        private = w.make(root, "private", DIR, 0o700)
        with w.acting_as(1000, 1000):
            fails(errno.EACCES, w.list, private)
            fails(errno.EACCES, w.make, root, "mine")
        w.make(root, "open", DIR, 0o777)
        with w.acting_as(1000, 1000):
            mine = w.make(w.lookup(root, "open"), "mine")
            assert (w.attr(mine).uid, w.attr(mine).gid) == (1000, 1000)


def test_clients_go_on_after_a_restart(make_appliance) -> None:
    box: Appliance = make_appliance()
    box.wfs("fs", "create", "tank/home")
    box.add_export("tank/home", "home")
    stop = threading.Event()
    made: dict[int, int] = {}

    def work(i: int) -> None:
        with Client(f"unix:{box.rpc_socket}", timeout_s=60) as w:
            own, count = w.make(w.root("home"), f"dir{i}"), 0
            while not stop.is_set():
                w.batch().put(own).put_file(f"{count}", b"x" * 100, EXCLUSIVE).run()
                count += 1
            made[i] = count

    def restart() -> None:
        for _ in range(3):
            time.sleep(0.3)
            box.restart()
        stop.set()

    restarter = threading.Thread(target=restart)
    restarter.start()
    try:
        in_threads(8, work)
    finally:
        stop.set()
        restarter.join()
    with Client(f"unix:{box.rpc_socket}") as w:
        root = w.root("home")
        for i, count in made.items():
            assert len(w.list(w.lookup(root, f"dir{i}"))) == count
