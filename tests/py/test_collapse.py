# SPDX-License-Identifier: BSD-3-Clause
"""Ranges that are taken out of files: through libwfs, over a kill, and as a mount sees it."""

import errno
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import libwfs
import mounts
from appliance import Appliance, Settings, wait_for
from libwfs import READ, Client

CELL = 65536
CELLS = 100


@pytest.fixture
def box(make_appliance: Callable[..., Appliance]) -> Iterator[Appliance]:
    box = make_appliance(Settings())
    box.wfs("fs", "create", "tank/home")
    box.add_export("tank/home", "home")
    yield box


def client(box: Appliance) -> Client:
    return Client(f"unix:{box.rpc_socket}")


def contents(cells: int, seed: int = 1) -> bytes:
    return b"".join((cell * 7 + seed).to_bytes(8, "little") * (CELL // 8) for cell in range(cells))


def without(data: bytes, offset: int, length: int) -> bytes:
    return data[:offset] + data[offset + length:]


def read(w: Client, fh: libwfs.Handle) -> bytes:
    with w.open(fh, READ) as f:
        return f.pread(w.attr(fh).size_bytes + 1, 0)


def test_range_is_gone_once_and_survives_a_kill(box: Appliance) -> None:
    data = contents(CELLS) + b"the end"
    with client(box) as w:
        top = w.root("home")
        f, fh = w.create(top, "f")
        f.pwrite(data, 0)
        w.collapse(fh, 3 * CELL, 2 * CELL)
        data = without(data, 3 * CELL, 2 * CELL)
        assert read(w, fh) == data
        w.collapse(fh, 0, 70 * CELL)
        data = without(data, 0, 70 * CELL)
        f.flush()
        f.close()
        box.kill9()
        box.start()
        assert read(w, fh) == data
    assert box.wfs("pool", "check", "tank") is not None


@pytest.mark.parametrize("offset, length, code", [
    (0, 0, errno.EINVAL), (1, CELL, errno.EINVAL), (0, 4096, errno.EINVAL), (0, 2 * CELL, errno.EINVAL),
    (CELL, CELL, errno.EINVAL), (0, 2**64 - CELL, errno.EINVAL), (2**64 - CELL, CELL, errno.EINVAL)])
def test_what_is_refused_changes_nothing(box: Appliance, offset: int, length: int, code: int) -> None:
    data = contents(2)
    with client(box) as w:
        f, fh = w.create(w.root("home"), "f")
        f.pwrite(data, 0)
        with pytest.raises(OSError) as e:
            w.collapse(fh, offset, length)
        assert e.value.errno == code
        assert read(w, fh) == data
        f.close()


def test_kill_at_any_time_leaves_all_of_a_range_or_nothing(box: Appliance) -> None:
    """What is found is the file after some number of calls, none of which was made twice."""
    data = contents(CELLS)
    with client(box) as w:
        f, fh = w.create(w.root("home"), "f")
        f.pwrite(data, 0)
        f.flush()
        for _ in range(3):
            done: list[int] = []

            def work(done: list[int] = done) -> None:
                for _ in range(10):
                    w.collapse(fh, CELL, CELL)
                    done.append(1)

            worker = threading.Thread(target=work)
            worker.start()
            wait_for(lambda: len(done) >= 3, "some calls")
            box.kill9()
            box.start()
            worker.join(60)
            assert not worker.is_alive() and len(done) == 10
            w.sync(fh)
            got = read(w, fh)
            # What was answered and not durable may be undone by the kill, as a whole.
            gone = (len(data) - len(got)) // CELL
            assert gone <= 10 and got == without(data, CELL, gone * CELL)
            data = got
        f.close()


@pytest.mark.skipif(mounts.why_not() is not None, reason=str(mounts.why_not()))
def test_mount_sees_what_a_client_took_out_and_refuses_to_do_it_itself(box: Appliance) -> None:
    data = contents(20)
    made = mounts.Mount(f"unix:{box.rpc_socket}/home", box.folder / "mnt").start()
    try:
        path = made / "f"
        path.write_bytes(data)
        assert path.read_bytes() == data
        with client(box) as w:
            fh = w.lookup(w.root("home"), "f")
            w.collapse(fh, 5 * CELL, CELL)
        data = without(data, 5 * CELL, CELL)
        wait_for(lambda: path.stat().st_size == len(data), "the new size")
        wait_for(lambda: path.read_bytes() == data, "the new contents")
        fd = os.open(path, os.O_RDWR)
        with pytest.raises(OSError) as e:
            mounts.fallocate(fd, 8, 0, CELL)
        assert e.value.errno == errno.EOPNOTSUPP
        os.close(fd)
        assert path.read_bytes() == data
        assert made.stop() == 0
    finally:
        made.dispose()
