# SPDX-License-Identifier: BSD-3-Clause
"""The mount does what the file system of this machine does: random system calls of several users on both, compared one by one."""

import errno
import os
import random
import stat
import subprocess
from pathlib import Path

import pytest

import mounts
import peer_io
from appliance import SLOW, Appliance
from mounts import error_of, here, pair, source, there  # noqa: F401 (fixtures)

pytestmark = pytest.mark.skipif(mounts.why_not() is not None, reason=str(mounts.why_not()))

# The same calls each time, or as many others as there is time for.
SECONDS = float(os.environ.get("WFSD_PEER_SECONDS", "0"))
CALLS, CALLS_S_MAX = 6000, 200


@pytest.fixture
def judge(shared: Appliance, request: pytest.FixtureRequest) -> Path:
    done = subprocess.run(["stat", "-f", "-c", "%T", shared.folder], capture_output=True, text=True, check=True)
    if done.stdout.strip() not in ("ext2/ext3", "xfs"):
        pytest.skip(f"tests run on {done.stdout.strip()}, which is no judge")
    folder = shared.folder / f"judge-{request.node.name}"
    folder.mkdir()
    folder.chmod(0o777)
    return folder


def compare(folder: Path, judge: Path, seed: int) -> None:
    if SECONDS:
        peer_io.run(str(folder), str(judge), SECONDS, random.randrange(1 << 32))
    else:
        assert peer_io.run(str(folder), str(judge), CALLS_S_MAX * SLOW, seed, CALLS) > CALLS / 10


@pytest.mark.parametrize("seed", [1, 3])
def test_calls_of_several_users_do_what_they_do_on_a_disk(here: Path, judge: Path, seed: int) -> None:  # noqa: F811
    compare(here, judge, seed)


def test_they_do_so_without_what_the_kernel_keeps(there: Path, judge: Path) -> None:  # noqa: F811
    compare(there, judge, 2)


# What such comparisons have found.


def test_a_directory_that_is_removed_while_open_is_empty(here: Path) -> None:  # noqa: F811
    for change in (0, 1):
        folder = here / "folder"
        folder.mkdir(0o751)
        fd = os.open(folder, os.O_RDONLY)
        try:
            if change:
                (folder / "name").mkdir()
                (folder / "name").rmdir()
            folder.rmdir()
            st = os.fstat(fd)
            assert (st.st_nlink, st.st_mode & 0o7777, stat.S_ISDIR(st.st_mode)) == (0, 0o751, True)
            assert os.listdir(fd) == []
            os.fsync(fd)
            os.fchmod(fd, 0o750)
            assert os.fstat(fd).st_mode & 0o7777 == 0o750
            assert error_of(lambda: os.mkdir("name", dir_fd=fd)) == errno.ENOENT
            assert error_of(lambda: os.stat(folder)) == errno.ENOENT
            folder.mkdir()
            assert os.stat(folder).st_ino != st.st_ino
            folder.rmdir()
        finally:
            os.close(fd)


def test_what_is_no_file_can_be_looked_at_when_it_is_removed_while_open(here: Path, there: Path) -> None:  # noqa: F811
    for folder in (here, there):
        for kind in (stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFCHR, stat.S_IFLNK):
            for replace in (False, True):
                name = folder / "name"
                name.symlink_to("target") if kind == stat.S_IFLNK else os.mknod(name, kind | 0o640, os.makedev(1, 3))
                old = os.lstat(name)
                fd = os.open(name, os.O_RDWR if kind == stat.S_IFIFO else os.O_PATH | os.O_NOFOLLOW)
                try:
                    if replace:
                        (folder / "other").touch()
                        (folder / "other").rename(name)
                        assert stat.S_ISREG(os.lstat(name).st_mode)
                    name.unlink()
                    st = os.fstat(fd)
                    assert st.st_nlink == 0
                    assert (st.st_mode, st.st_ino, st.st_rdev) == (old.st_mode, old.st_ino, old.st_rdev)
                    assert error_of(lambda: os.lstat(name)) == errno.ENOENT
                    if kind == stat.S_IFIFO:
                        os.fchmod(fd, 0o604)
                        os.fchown(fd, 1001, -1)
                        os.utime(fd, ns=(1, 2))
                        st = os.fstat(fd)
                        assert (st.st_mode & 0o7777, st.st_uid, st.st_gid, st.st_mtime_ns, st.st_nlink) == (0o604, 1001, 0, 2, 0)
                finally:
                    os.close(fd)


@pytest.mark.parametrize("uid", [0, 1001])
def test_what_is_allocated_counts_as_modified_whatever_was_there(here: Path, there: Path, uid: int) -> None:  # noqa: F811
    file = here / "file"
    keep, punch, zero = mounts.FALLOC_KEEP_SIZE, mounts.FALLOC_PUNCH_HOLE, mounts.FALLOC_ZERO_RANGE
    for mode in (0, keep, punch | keep, zero, zero | keep):
        for offset, length in ((0, 4096), (100, 50), (8000, 8192), (70_000, 10)):
            for data in (b"", bytes(10_000), b"x" * 10_000):
                file.write_bytes(data)
                os.truncate(file, 10_000)
                # Who has it open need not be allowed to write any more.
                for permissions in (0o6777, 0o6755):
                    fd = os.open(file, os.O_RDWR)
                    file.chmod(permissions)
                    os.utime(file, ns=(5, 5))
                    changed_ns = os.fstat(fd).st_ctime_ns
                    os.seteuid(uid)
                    try:
                        mounts.fallocate(fd, mode, offset, length)
                    finally:
                        os.seteuid(0)
                        os.close(fd)
                    for one in (file, there / "file"):
                        st = one.stat()
                        assert st.st_mtime_ns != 5 and st.st_ctime_ns > changed_ns
                        assert st.st_mode & 0o7777 == permissions & (0o7777 if uid == 0 else 0o777)
                        assert st.st_size == (10_000 if mode & keep else max(10_000, offset + length))


def test_names_that_are_too_long_are_refused_in_new_directories_too(here: Path) -> None:  # noqa: F811
    folder = here / "new"
    folder.mkdir()
    for length in (256, 1000):
        assert error_of(lambda: os.stat(folder / ("n" * length))) == errno.ENAMETOOLONG
        assert error_of(lambda: os.mkdir(folder / ("n" * length))) == errno.ENAMETOOLONG


def test_times_before_1970_are_kept(here: Path, there: Path) -> None:  # noqa: F811
    (here / "file").write_text("old")
    for time_ns in (-1, -(10**9), -1_500_000_001, -631_152_000 * 10**9 + 5, 0, 2**62):
        os.utime(here / "file", ns=(time_ns, time_ns))
        for folder in (here, there):
            st = (folder / "file").stat()
            assert (st.st_atime_ns, st.st_mtime_ns) == (time_ns, time_ns)
