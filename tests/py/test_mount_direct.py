# SPDX-License-Identifier: BSD-3-Clause
"""O_DIRECT on a mount: any offsets and lengths, beside buffered and mapped access, also through another mount."""

import mmap
import os
import random
import subprocess
from pathlib import Path

import pytest

import mounts
from appliance import SLOW, Appliance
from mounts import here, pair, source, there  # noqa: F401  pylint: disable=unused-import

pytestmark = pytest.mark.skipif(mounts.why_not() is not None, reason=str(mounts.why_not()))

PAGE = mmap.PAGESIZE
SIZE = 64 * PAGE


def aligned(data: bytes) -> mmap.mmap:
    """A copy in memory that begins with a page."""
    buf = mmap.mmap(-1, max(len(data), 1))
    buf[: len(data)] = data
    return buf


def direct_write(fd: int, data: bytes, offset: int) -> None:
    buf = aligned(data)
    with memoryview(buf) as view:
        assert os.pwrite(fd, view[: len(data)], offset) == len(data)
    buf.close()


def direct_read(fd: int, count: int, offset: int) -> bytes:
    buf = aligned(bytes(count))
    with memoryview(buf) as view:
        got = os.preadv(fd, [view[:count]], offset)
        data = bytes(view[:got])
    buf.close()
    return data


@pytest.mark.parametrize("offset, count", [
    (0, PAGE), (PAGE, 3 * PAGE), (0, 1), (1, PAGE), (100, 5000), (PAGE - 1, 2), (SIZE - 1, 1), (512, 512),
    (SIZE - 10, 100), (3 * SIZE, 10), (0, SIZE)])
def test_what_is_written_directly_is_read_every_way(here: Path, there: Path, offset: int, count: int) -> None:  # noqa: F811
    data = random.Random(offset).randbytes(SIZE)
    wanted = bytearray(data)
    patch = random.Random(count).randbytes(count)
    (here / "f").write_bytes(data)
    # Something of it is cached, here and there.
    assert (here / "f").read_bytes() == (there / "f").read_bytes() == data
    fd = os.open(here / "f", os.O_RDWR | os.O_DIRECT)
    try:
        direct_write(fd, patch, offset)
        wanted.extend(bytes(max(0, offset - len(wanted))))
        wanted[offset : offset + count] = patch
        assert os.fstat(fd).st_size == len(wanted)
        assert direct_read(fd, len(wanted) + 100, 0) == bytes(wanted)
        assert direct_read(fd, count, offset) == patch
        assert direct_read(fd, 10, len(wanted)) == b""
        assert (here / "f").read_bytes() == bytes(wanted)
        os.fsync(fd)
        assert (there / "f").read_bytes() == bytes(wanted)
    finally:
        os.close(fd)


def test_direct_buffered_and_mapped_access_see_each_other(here: Path) -> None:  # noqa: F811
    """At random, through three descriptors of one file, against a model."""
    choose = random.Random(7)
    model = bytearray(choose.randbytes(SIZE))
    path = here / "f"
    path.write_bytes(model)
    direct = os.open(path, os.O_RDWR | os.O_DIRECT)
    buffered = os.open(path, os.O_RDWR)
    mapped = mmap.mmap(buffered, SIZE)
    try:
        for step in range(1500):
            offset = choose.randrange(SIZE)
            count = choose.randint(1, min(3 * PAGE, SIZE - offset))
            if choose.random() < 0.4:
                offset -= offset % PAGE
                count = min(SIZE - offset, (count + PAGE - 1) // PAGE * PAGE)
            data = choose.randbytes(count)
            how = choose.randrange(6)
            if how == 0:
                direct_write(direct, data, offset)
            elif how == 1:
                assert os.pwrite(buffered, data, offset) == count
            elif how == 2:
                mapped[offset : offset + count] = data
                # Whoever mixes both says when: open(2), "O_DIRECT".
                mapped.flush()
            else:
                got = (direct_read(direct, count, offset) if how == 3 else os.pread(buffered, count, offset) if how == 4
                       else mapped[offset : offset + count])
                assert got == bytes(model[offset : offset + count]), (step, how, offset, count)
                continue
            model[offset : offset + count] = data
        assert direct_read(direct, SIZE, 0) == bytes(model) == mapped[:]
    finally:
        mapped.close()
        os.close(buffered)
        os.close(direct)
    assert path.read_bytes() == bytes(model)


@pytest.mark.parametrize("bs", ["4k", "512", "4000"])
def test_fio_verifies_what_it_wrote_directly(here: Path, bs: str) -> None:  # noqa: F811
    done = subprocess.run(
        ["fio", "--name=direct", f"--directory={here}", "--size=8m", f"--bs={bs}", "--rw=randwrite", "--direct=1", "--ioengine=psync",
         "--numjobs=2", "--verify=crc32c", "--do_verify=1", "--verify_fatal=1", "--verify_state_save=0", "--io_size=4m", "--output-format=terse"],
        capture_output=True, text=True, timeout=120 * SLOW, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("flags", [0, os.O_APPEND])
def test_what_the_maker_of_a_file_writes_with_o_dsync_is_durable_each_time(shared: Appliance, here: Path, flags: int) -> None:  # noqa: F811
    def syncs() -> float:
        return shared.metrics().sum("wfsd_log_syncs_total")

    before = syncs()
    fd = os.open(here / "log", os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_DSYNC | flags, 0o644)
    for i in range(50):
        assert os.write(fd, b"line %02d\n" % i) == 8
    os.close(fd)
    assert syncs() - before >= 50
    assert (here / "log").stat().st_size == 50 * 8
