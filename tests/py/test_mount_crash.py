# SPDX-License-Identifier: BSD-3-Clause
"""What programs on a mount are told when the daemon crashed and lost what was not durable."""

import errno
import os

import pytest

import mounts
from appliance import Appliance
from mounts import Mount, error_of, fallocate

pytestmark = pytest.mark.skipif(mounts.why_not() is not None, reason=str(mounts.why_not()))


def change(files: dict[str, int]) -> None:
    """Every kind of change of files of 10,000 bytes, but plain writes."""
    os.write(files["appended"], b"y")
    os.ftruncate(files["cut"], 5_000)
    fallocate(files["allocated"], 0, 0, 20_000)
    assert os.copy_file_range(files["unchanged"], files["copied"], 5_000, 0, 10_000) == 5_000


def test_fsync_after_a_crash_tells_once_of_every_kind_of_change(appliance: Appliance) -> None:
    mount = Mount(mounts.create_tree(appliance), appliance.folder / "mnt").start()
    names = ("written", "appended", "cut", "allocated", "copied", "unchanged")
    flags = {"appended": os.O_APPEND}
    files: dict[str, int] = {}
    try:
        for name in names:
            files[name] = os.open(mount / name, os.O_RDWR | os.O_CREAT | flags.get(name, 0), 0o600)
            os.write(files[name], b"x" * 10_000)
            os.fsync(files[name])
        os.pwrite(files["written"], b"y", 5)
        # Each open file that wrote is told, once.
        files["again"] = os.open(mount / "written", os.O_RDWR)
        os.pwrite(files["again"], b"y", 6)
        change(files)
        appliance.kill9()
        appliance.start()
        for name in (*names[:-1], "again"):
            assert error_of(lambda fd=files[name]: os.fsync(fd)) == errno.EIO, name
        for fd in files.values():
            os.fsync(fd)
        os.write(files["appended"], b"z")
        os.fsync(files["appended"])
        assert os.pread(files["appended"], 20_000, 0).endswith(b"z")
    finally:
        for fd in files.values():
            os.close(fd)
        mount.dispose()


def test_fsync_after_a_crash_has_nothing_to_tell_of_a_durable_mount(appliance: Appliance) -> None:
    mount = Mount(mounts.create_tree(appliance), appliance.folder / "mnt", "durable").start()
    files: dict[str, int] = {}
    try:
        for name in ("written", "appended", "cut", "allocated", "copied", "unchanged"):
            files[name] = os.open(mount / name, os.O_RDWR | os.O_CREAT | (os.O_APPEND if name == "appended" else 0), 0o600)
            os.write(files[name], b"x" * 10_000)
        change(files)
        appliance.kill9()
        appliance.start()
        for fd in files.values():
            os.fsync(fd)
        assert [os.fstat(fd).st_size for fd in files.values()] == [10_000, 10_001, 5_000, 20_000, 15_000, 10_000]
    finally:
        for fd in files.values():
            os.close(fd)
        mount.dispose()


def test_fsync_after_a_crash_tells_every_descriptor_of_the_file_once(appliance: Appliance) -> None:
    mount = Mount(mounts.create_tree(appliance), appliance.folder / "mnt").start()
    opened: list[int] = []

    def opened_file(name: str, flags: int) -> int:
        opened.append(os.open(mount / name, flags))
        return opened[-1]

    try:
        readers = {}
        for name in ("shared", "small", "left", "kept"):
            (mount / name).write_bytes(b"x" * (200_000 if name == "shared" else 1000))
            readers[name] = opened_file(name, os.O_RDONLY)
            os.fsync(readers[name])
        writer, other = opened_file("shared", os.O_WRONLY), opened_file("shared", os.O_RDWR)
        small = opened_file("small", os.O_WRONLY)
        for fd in (writer, small):
            os.pwrite(fd, b"y", 5)
        with open(mount / "left", "r+b") as file:  # closed before the crash
            file.write(b"y")
        kept = opened_file("kept", os.O_WRONLY)
        os.pwrite(kept, b"y", 5)
        os.fsync(readers["kept"])  # that was for all of them
        appliance.kill9()
        appliance.start()
        late = opened_file("shared", os.O_RDONLY)
        for told in (late, other, readers["shared"], writer, readers["small"], small, opened_file("left", os.O_RDONLY)):
            assert error_of(lambda fd=told: os.fsync(fd)) == errno.EIO
        assert error_of(lambda: os.fsync(readers["left"])) == errno.EIO
        opened_file("shared", os.O_RDONLY)  # others were told before
        for fd in opened:
            os.fsync(fd)
    finally:
        for fd in opened:
            os.close(fd)
        mount.dispose()


def test_fsync_after_a_crash_tells_that_a_file_is_not_emptied_which_was_to_be_made(appliance: Appliance) -> None:
    source = mounts.create_tree(appliance)
    mount = Mount(source, appliance.folder / "mnt").start()
    # It does not hear of the other one's file, and so asks for a new one.
    late = Mount(source, appliance.folder / "late", "negative_timeout=600,coherent_timeout=0").start()
    opened: list[int] = []
    try:
        assert not (late / "file").exists()
        opened.append(os.open(mount / "file", os.O_CREAT | os.O_WRONLY))
        os.write(opened[0], b"x" * 10_000)
        os.fsync(opened[0])
        opened.append(os.open(late / "file", os.O_CREAT | os.O_TRUNC | os.O_WRONLY))
        assert os.fstat(opened[1]).st_size == 0
        appliance.kill9()
        appliance.start()
        assert error_of(lambda: os.fsync(opened[1])) == errno.EIO
        os.fsync(opened[1])
    finally:
        for fd in opened:
            os.close(fd)
        mount.dispose()
        late.dispose()
