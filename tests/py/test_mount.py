# SPDX-License-Identifier: BSD-3-Clause
"""The mount, as programs see it: names, attributes, permissions, data, locks. Needs root and /dev/fuse."""

import errno
import fcntl
import mmap
import os
import signal
import socket
import stat
import subprocess
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import mounts
from appliance import SLOW, Appliance, Settings, program, wait_for
from mounts import Mount, create_tree, error_of, fallocate, here, pair, source, there  # noqa: F401 (fixtures)

pytestmark = pytest.mark.skipif(mounts.why_not() is not None, reason=str(mounts.why_not()))

USER, GROUP = 12345, 23456


# Names


def test_files_are_made_read_renamed_and_removed(here: Path) -> None:
    file = here / "file"
    file.write_bytes(b"contents")
    assert file.read_bytes() == b"contents"
    assert error_of(lambda: os.open(file, os.O_CREAT | os.O_EXCL)) == errno.EEXIST
    file.rename(here / "other")
    assert not file.exists()
    assert os.listdir(here) == ["other"]
    (here / "other").unlink()
    assert error_of(lambda: os.stat(here / "other")) == errno.ENOENT
    assert error_of(lambda: os.unlink(here / "other")) == errno.ENOENT


def test_names_are_bytes_of_up_to_255(here: Path) -> None:
    names = [b"x" * 255, b"\xff\xfe", b"a b\n", "ü".encode(), b"..."]
    for name in names:
        os.close(os.open(os.path.join(bytes(here), name), os.O_CREAT | os.O_WRONLY))
    assert sorted(os.listdir(bytes(here))) == sorted(names)
    assert error_of(lambda: os.stat(here / ("x" * 256))) == errno.ENAMETOOLONG


def test_directories_are_made_and_removed_only_when_empty(here: Path) -> None:
    folder = here / "folder"
    folder.mkdir()
    assert folder.stat().st_nlink == 2
    assert error_of(folder.mkdir) == errno.EEXIST
    (folder / "inner").mkdir()
    assert folder.stat().st_nlink == 3
    assert error_of(folder.rmdir) == errno.ENOTEMPTY
    assert error_of(lambda: os.unlink(folder)) in (errno.EISDIR, errno.EPERM)
    (folder / "inner").rmdir()
    folder.rmdir()
    assert error_of(lambda: os.listdir(folder)) == errno.ENOENT


def test_symbolic_links_lead_and_loop(here: Path) -> None:
    (here / "target").write_text("hi")
    (here / "link").symlink_to("target")
    assert os.readlink(here / "link") == "target"
    assert (here / "link").read_text() == "hi"
    assert (here / "link").lstat().st_size == 6
    (here / "loop").symlink_to("loop")
    assert error_of((here / "loop").read_text) == errno.ELOOP
    (here / "long").symlink_to("x" * 4000)
    assert os.readlink(here / "long") == "x" * 4000


def test_hard_links_are_one_file(here: Path) -> None:
    (here / "a").write_text("one")
    os.link(here / "a", here / "b")
    assert (here / "a").stat().st_ino == (here / "b").stat().st_ino
    assert (here / "b").stat().st_nlink == 2
    (here / "b").write_text("two!")
    assert (here / "a").read_text() == "two!"
    (here / "a").unlink()
    assert (here / "b").stat().st_nlink == 1
    assert (here / "b").read_text() == "two!"
    assert error_of(lambda: os.link(here, here / "dir")) == errno.EPERM


def test_rename_replaces_what_it_may(here: Path) -> None:
    (here / "a").write_text("a")
    (here / "b").write_text("b")
    os.rename(here / "a", here / "b")
    assert (here / "b").read_text() == "a"
    (here / "dir").mkdir()
    (here / "full").mkdir()
    (here / "full" / "file").touch()
    assert error_of(lambda: os.rename(here / "b", here / "dir")) == errno.EISDIR
    assert error_of(lambda: os.rename(here / "dir", here / "b")) == errno.ENOTDIR
    assert error_of(lambda: os.rename(here / "dir", here / "full")) == errno.ENOTEMPTY
    assert error_of(lambda: os.rename(here / "full", here / "full" / "inner")) == errno.EINVAL
    os.rename(here / "full", here / "dir")
    assert sorted(os.listdir(here)) == ["b", "dir"]
    assert os.listdir(here / "dir") == ["file"]


def test_rename_flags(here: Path) -> None:
    (here / "a").write_text("a")
    (here / "d").mkdir()
    assert error_of(lambda: mounts.rename(here / "a", here / "d", 1)) == errno.EEXIST
    mounts.rename(here / "a", here / "b", 1)
    mounts.rename(here / "b", here / "d", 2)
    assert (here / "b").is_dir()
    assert (here / "d").read_text() == "a"
    assert error_of(lambda: mounts.rename(here / "b", here / "missing", 2)) == errno.ENOENT


def test_special_files(here: Path) -> None:
    os.mkfifo(here / "fifo", 0o640)
    os.mknod(here / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    with socket.socket(socket.AF_UNIX) as listener:
        directory = os.open(here, os.O_RDONLY)
        listener.bind(f"/proc/self/fd/{directory}/sock")
        os.close(directory)
    modes = {name: os.lstat(here / name) for name in os.listdir(here)}
    assert stat.S_ISFIFO(modes["fifo"].st_mode)
    assert stat.S_ISSOCK(modes["sock"].st_mode)
    assert modes["null"].st_rdev == os.makedev(1, 3)
    assert (here / "null").read_bytes() == b""


def test_a_file_stays_usable_after_its_name_is_removed(here: Path) -> None:
    with open(here / "gone", "w+b") as file:
        file.write(b"before")
        file.flush()
        (here / "gone").unlink()
        file.write(b" after")
        file.flush()
        file.seek(0)
        assert file.read() == b"before after"
        assert os.fstat(file.fileno()).st_nlink == 0
        os.ftruncate(file.fileno(), 3)
        os.fsync(file.fileno())
    assert os.listdir(here) == []


def test_a_big_directory_is_listed_while_it_changes(here: Path) -> None:
    count, stop = int(10_000 / SLOW), threading.Event()
    for i in range(count):
        os.mknod(here / f"keep{i}")

    def churn() -> None:
        i = 0
        while not stop.is_set():
            os.mknod(here / f"churn{i}")
            if i >= 20:
                os.unlink(here / f"churn{i - 20}")
            i += 1

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        for _ in range(3):
            names = os.listdir(here)
            assert len(names) == len(set(names))
            assert {n for n in names if n.startswith("keep")} == {f"keep{i}" for i in range(count)}
    finally:
        stop.set()
        thread.join()


def test_dot_and_dot_dot_are_listed_with_their_numbers(here: Path) -> None:
    (here / "inner").mkdir()
    listed = subprocess.run(["ls", "-ai", here / "inner"], capture_output=True, text=True, check=True).stdout.split()
    assert listed == [str((here / "inner").stat().st_ino), ".", str(here.stat().st_ino), ".."]


def test_a_directory_can_be_read_from_any_place(here: Path) -> None:
    names = {f"f{i}" for i in range(300)}
    for name in names:
        (here / name).touch()
    seen = []
    with os.scandir(here) as entries:
        for entry in entries:
            seen.append(entry.name)
            if len(seen) % 50 == 0:
                (here / entry.name).unlink()
    assert set(seen) == names


def test_a_listing_does_not_bring_removed_names_back(here: Path) -> None:
    names = [f"f{i}" for i in range(300)]
    for name in names:
        (here / name).touch()
    with os.scandir(here) as entries:
        next(entries)
        for name in names:
            (here / name).rename(here / f"new-{name}")
        for _ in entries:
            pass
    for name in names:
        assert not (here / name).exists()
        assert (here / f"new-{name}").exists()


# Attributes


def test_times_modes_and_owners_are_kept(here: Path) -> None:
    file = here / "file"
    file.touch(0o600)
    os.utime(file, ns=(1_234_567_890_123_456_789, 987_654_321_000_000_001))
    os.chown(file, USER, GROUP)
    os.chmod(file, 0o4751)
    st = file.stat()
    assert (st.st_atime_ns, st.st_mtime_ns) == (1_234_567_890_123_456_789, 987_654_321_000_000_001)
    assert (st.st_uid, st.st_gid, stat.S_IMODE(st.st_mode)) == (USER, GROUP, 0o4751)
    before = time.time_ns()
    file.touch()
    assert abs(file.stat().st_mtime_ns - before) < 5_000_000_000


def test_the_umask_counts(here: Path) -> None:
    old = os.umask(0o027)
    try:
        os.close(os.open(here / "file", os.O_CREAT | os.O_WRONLY, 0o666))
        (here / "dir").mkdir(0o777)
        os.mknod(here / "node", 0o666)
    finally:
        os.umask(old)
    modes = [stat.S_IMODE((here / name).stat().st_mode) for name in ("file", "dir", "node")]
    assert modes == [0o640, 0o750, 0o640]


def test_sizes_and_truncation(here: Path) -> None:
    file = here / "file"
    file.write_bytes(b"0123456789")
    os.truncate(file, 4)
    assert file.read_bytes() == b"0123"
    os.truncate(file, 8)
    assert file.read_bytes() == b"0123\0\0\0\0"
    with open(file, "wb"):
        pass
    assert file.stat().st_size == 0
    os.truncate(file, 1 << 50)
    assert file.stat().st_size == 1 << 50
    assert file.stat().st_blocks < 1000


def test_statfs_tells_of_the_pool(here: Path) -> None:
    figures = os.statvfs(here)
    assert 0 < figures.f_bavail <= figures.f_bfree < figures.f_blocks
    assert figures.f_namemax == 255
    # Without a limit of objects there may be as many more as there are blocks.
    assert 0 < figures.f_favail == figures.f_ffree <= figures.f_blocks
    (here / "one").touch()
    more = os.statvfs(here)
    assert more.f_files - more.f_ffree == figures.f_files - figures.f_ffree + 1


def test_extended_attributes(here: Path) -> None:
    file = here / "file"
    file.touch()
    os.setxattr(file, "user.a", b"value")
    os.setxattr(file, "user.empty", b"")
    os.setxattr(file, "trusted.b", b"\0" * 2000)
    assert os.getxattr(file, "user.a") == b"value"
    assert os.getxattr(file, "user.empty") == b""
    assert os.getxattr(file, "trusted.b") == b"\0" * 2000
    assert sorted(os.listxattr(file)) == ["trusted.b", "user.a", "user.empty"]
    assert error_of(lambda: os.setxattr(file, "user.a", b"", os.XATTR_CREATE)) == errno.EEXIST
    assert error_of(lambda: os.setxattr(file, "user.x", b"", os.XATTR_REPLACE)) == errno.ENODATA
    os.setxattr(file, "user.a", b"other", os.XATTR_REPLACE)
    os.removexattr(file, "user.empty")
    assert error_of(lambda: os.getxattr(file, "user.empty")) == errno.ENODATA
    os.setxattr(file, "user.big", b"v" * 60_000)
    assert len(os.getxattr(file, "user.big")) == 60_000


# Data


def test_sparse_files_have_holes(here: Path) -> None:
    with open(here / "file", "w+b") as file:
        fd = file.fileno()
        os.pwrite(fd, b"a" * 65536, 1 << 20)
        os.pwrite(fd, b"b" * 65536, 10 << 20)
        os.fsync(fd)
        assert os.lseek(fd, 0, os.SEEK_DATA) == 1 << 20
        assert os.lseek(fd, 1 << 20, os.SEEK_HOLE) == (1 << 20) + 65536
        assert os.lseek(fd, 2 << 20, os.SEEK_DATA) == 10 << 20
        assert error_of(lambda: os.lseek(fd, 20 << 20, os.SEEK_DATA)) == errno.ENXIO
        fallocate(fd, mounts.FALLOC_PUNCH_HOLE | mounts.FALLOC_KEEP_SIZE, 1 << 20, 65536)
        assert os.pread(fd, 65536, 1 << 20) == b"\0" * 65536
        assert os.lseek(fd, 0, os.SEEK_DATA) == 10 << 20
        fallocate(fd, mounts.FALLOC_ZERO_RANGE, 10 << 20, 1 << 20)
        assert os.fstat(fd).st_size == 11 << 20
        assert os.pread(fd, 65536, 10 << 20) == b"\0" * 65536
        assert error_of(lambda: fallocate(fd, 8, 0, 65536)) == errno.EOPNOTSUPP


def test_allocating_keeps_data_and_tells_of_a_full_pool(here: Path) -> None:
    with open(here / "file", "w+b") as file:
        os.write(file.fileno(), b"data")
        os.posix_fallocate(file.fileno(), 0, 1 << 20)
        assert os.fstat(file.fileno()).st_size == 1 << 20
        assert os.pread(file.fileno(), 6, 0) == b"data\0\0"
        assert error_of(lambda: fallocate(file.fileno(), 0, 0, 1 << 45)) == errno.ENOSPC


def test_ranges_are_copied_by_the_server(here: Path) -> None:
    data = os.urandom(3_000_000)
    (here / "from").write_bytes(data)
    with open(here / "from", "rb") as source_file, open(here / "to", "wb") as target:
        done = 0
        while done < len(data):
            n = os.copy_file_range(source_file.fileno(), target.fileno(), len(data) - done, done, done)
            assert n > 0
            done += n
        assert os.copy_file_range(source_file.fileno(), target.fileno(), 1000, len(data)) == 0
    assert (here / "to").read_bytes() == data


def test_what_the_maker_of_a_file_writes_is_seen_by_all_who_have_it_open(here: Path, there: Path) -> None:
    """What is written through the descriptor that made a file does not pass the kernel's cache."""
    maker = os.open(here / "file", os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND)
    try:
        os.write(maker, b"a" * 10000)
        with open(here / "file", "r+b", buffering=0) as other, mmap.mmap(other.fileno(), 10000) as mapped:
            assert mapped[:] == b"a" * 10000 == other.read()
            os.pwrite(other.fileno(), b"other", 5000)
            mapped[9000:9006] = b"mapped"
            os.ftruncate(maker, 9500)
            os.ftruncate(maker, 10000)
            os.write(maker, b"b" * 10000)
            assert os.pread(other.fileno(), 30000, 10000) == b"b" * 10000
            wanted = b"a" * 5000 + b"other" + b"a" * 3995 + b"mapped" + b"a" * 494 + bytes(500) + b"b" * 10000
            assert os.pread(other.fileno(), 30000, 0) == wanted
            assert mapped[:] == wanted[:10000]
            mapped.flush()
            assert (there / "file").read_bytes() == wanted
    finally:
        os.close(maker)


def test_locks_may_be_left_to_this_machine(make_appliance: Callable[..., Appliance]) -> None:
    """With local_locks programs see each other's locks on one mount, and not on two; closing gives them up."""
    box = make_appliance(Settings())
    where = create_tree(box)
    mounted = [Mount(where, box.folder / name, "local_locks").start() for name in ("one", "two")]
    code = """
        import fcntl
        with open(sys.argv[1], 'rb') as file:
            fcntl.lockf(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        with open(sys.argv[1], 'r+b') as file:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    """
    try:
        file = mounted[0] / "file"
        file.write_text("x" * 100)
        wait_for((mounted[1] / "file").exists, "the file")
        with open(file, "rb") as mine:
            fcntl.lockf(mine, fcntl.LOCK_SH | fcntl.LOCK_NB)
            assert mounts.error_as(0, 0, [], "exec(sys.argv[2])", file, textwrap.dedent(code)) == "EAGAIN"
            assert mounts.error_as(0, 0, [], "exec(sys.argv[2])", mounted[1] / "file", textwrap.dedent(code)) == ""
            # As POSIX has it: with any descriptor of the file that the process closes.
            with open(file, "rb"):
                pass
            assert mounts.error_as(0, 0, [], "exec(sys.argv[2])", file, textwrap.dedent(code)) == ""
        assert box.metrics().sum("wfsd_rpc_tree_operations_total", operation="lock") == 0
        assert [mount.stop() for mount in mounted] == [0, 0]
    finally:
        for mount in mounted:
            mount.dispose()


def test_mapped_memory_is_shared(here: Path, there: Path) -> None:
    (here / "file").write_bytes(b"\0" * 100_000)
    with open(here / "file", "r+b") as file, mmap.mmap(file.fileno(), 0) as memory:
        memory[50_000:50_005] = b"hello"
        assert os.pread(file.fileno(), 5, 50_000) == b"hello"
        os.pwrite(file.fileno(), b"world", 70_000)
        assert memory[70_000:70_005] == b"world"
        memory.flush()
        assert (there / "file").read_bytes()[50_000:50_005] == b"hello"


def test_direct_io(here: Path) -> None:
    buffer = mmap.mmap(-1, 1 << 20)
    buffer.write(os.urandom(1 << 20))
    fd = os.open(here / "file", os.O_CREAT | os.O_RDWR | os.O_DIRECT)
    try:
        assert os.pwritev(fd, [buffer], 0) == 1 << 20
        back = mmap.mmap(-1, 1 << 20)
        assert os.preadv(fd, [back], 0) == 1 << 20
        assert back[:] == buffer[:]
    finally:
        os.close(fd)


def test_appenders_on_two_mounts_lose_nothing(here: Path, there: Path) -> None:
    lines = 300

    def append(folder: Path, letter: str) -> None:
        with open(folder / "log", "ab", buffering=0) as file:
            for i in range(lines):
                file.write(f"{letter}{i:06}\n".encode())

    threads = [threading.Thread(target=append, args=a) for a in ((here, "a"), (there, "b"), (here, "c"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted((there / "log").read_text().split()) == sorted(f"{c}{i:06}" for c in "abc" for i in range(lines))


def test_a_small_file_open_for_reading_outlives_its_name(here: Path, there: Path) -> None:
    for folder in (here, there):
        for remove in (os.unlink, lambda path: os.rename(path.with_name("new"), path)):
            file = folder / "small"
            file.write_text("contents")
            (folder / "new").write_text("new contents")
            assert file.stat().st_size == 8  # so it is known to be small
            fd = os.open(file, os.O_RDONLY)
            remove(file)
            assert (os.fstat(fd).st_nlink, os.fstat(fd).st_size) == (0, 8)
            assert os.pread(fd, 100, 0) == b"contents"
            os.fsync(fd)
            os.close(fd)


def test_a_small_file_open_for_reading_shows_what_is_written_to_it(here: Path, there: Path) -> None:
    (here / "small").write_text("before")
    assert (there / "small").stat().st_size == 6
    mine, other = (os.open(folder / "small", os.O_RDONLY) for folder in (here, there))
    with open(here / "small", "r+") as file:
        file.write("afterwards")
    assert os.pread(mine, 100, 0) == b"afterwards"
    assert os.pread(other, 100, 0) == b"afterwards"
    os.close(mine)
    os.close(other)


# Two mounts


def test_what_one_mount_does_another_sees(here: Path, there: Path) -> None:
    (here / "file").write_text("one")
    assert (there / "file").read_text() == "one"
    (there / "file").write_text("two")
    assert (here / "file").read_text() == "two"  # opened anew: its counter has moved on
    (there / "made").touch()
    wait_for(lambda: (here / "made").exists(), "a name made through the other mount", 5)
    (there / "file").unlink()
    wait_for(lambda: not (here / "file").exists(), "a name to be gone", 5)
    os.chmod(there / "made", 0o600)
    wait_for(lambda: stat.S_IMODE((here / "made").stat().st_mode) == 0o600, "a mode to change", 5)


def test_names_that_another_mount_makes_in_a_new_folder_appear(here: Path, there: Path) -> None:
    """The mount that made the folder knows what is not in it, until it hears of others, or for half a second."""
    (here / "new").mkdir()
    (here / "new" / "mine").touch()
    (there / "new" / "first").touch()
    (here / "new" / "mine too").touch()
    assert (here / "new" / "first").exists()
    (here / "newer").mkdir()
    (there / "newer" / "second").touch()
    wait_for(lambda: (here / "newer" / "second").exists(), "what the other mount made")
    assert not (here / "newer" / "third").exists()


def test_locks_hold_between_mounts(here: Path, there: Path) -> None:
    (here / "file").touch()
    with open(here / "file", "r+b") as mine, open(there / "file", "r+b") as other:
        fcntl.lockf(mine, fcntl.LOCK_EX | fcntl.LOCK_NB, 100, 0)
        assert error_of(lambda: fcntl.lockf(other, fcntl.LOCK_EX | fcntl.LOCK_NB, 100, 50)) == errno.EAGAIN
        fcntl.lockf(other, fcntl.LOCK_EX | fcntl.LOCK_NB, 100, 100)
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the two kinds do not meet
        assert error_of(lambda: fcntl.flock(mine, fcntl.LOCK_SH | fcntl.LOCK_NB)) == errno.EAGAIN
        fcntl.flock(other, fcntl.LOCK_SH)
        fcntl.flock(mine, fcntl.LOCK_SH | fcntl.LOCK_NB)
    with open(there / "file", "r+b") as other:
        fcntl.lockf(other, fcntl.LOCK_EX | fcntl.LOCK_NB)  # closing has given everything back
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_more_waiting_locks_than_threads_are_granted_in_the_end(here: Path, there: Path) -> None:
    (here / "file").touch()
    with open(there / "file", "r+b") as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)
        waiting = [
            subprocess.Popen(["flock", here / "file", "true"], stdin=subprocess.DEVNULL) for _ in range(24)
        ]
        (here / "meanwhile").write_text("the mount still serves others")
        assert all(child.poll() is None for child in waiting)
        fcntl.flock(holder, fcntl.LOCK_UN)
        assert [child.wait(60) for child in waiting] == [0] * 24


def test_waiting_for_a_lock_can_be_interrupted(here: Path, there: Path) -> None:
    (here / "file").touch()
    with open(there / "file", "r+b") as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)
        child = subprocess.Popen(["flock", here / "file", "true"])
        wait_for(lambda: "flock" in Path(f"/proc/{child.pid}/cmdline").read_text(), "flock to run")
        child.send_signal(signal.SIGTERM)
        assert child.wait(20) != 0


# The program itself


def test_it_goes_to_the_background_and_ends_by_umount(shared: Appliance, source: str) -> None:
    folder = shared.folder / "mnt-background"
    folder.mkdir()
    done = shared.run_wfs("mount", source, str(folder), "-o", "ro,fsname=tree")
    assert done.status == 0, done.err
    try:
        line = next(line for line in Path("/proc/mounts").read_text().splitlines() if str(folder) in line).split()
        assert line[2] == "fuse.wfs" and "ro" in line[3].split(",")
        assert error_of((folder / "x").touch) == errno.EROFS
    finally:
        subprocess.run(["umount", str(folder)], check=True)
    assert not os.path.ismount(folder)


def test_options_of_fstab_are_taken(shared: Appliance, source: str) -> None:
    folder = shared.folder / "mnt-fstab"
    folder.mkdir()
    for options in ("defaults,relatime,nofail,_netdev,comment=x,x-systemd.automount,users", "noatime,dev,suid,max_read=65536"):
        done = shared.run_wfs("mount", source, str(folder), "-o", options)
        assert done.status == 0, done.err
        try:
            (folder / "of-fstab").write_bytes(b"x" * 200_000)
            assert (folder / "of-fstab").read_bytes() == b"x" * 200_000
        finally:
            subprocess.run(["umount", str(folder)], check=True)


def test_a_mount_is_of_the_server_that_the_other_commands_use(shared: Appliance, source: str) -> None:
    folder = shared.folder / "mnt-server"
    folder.mkdir()
    server, export = source.rsplit("/", 1)
    done = shared.run_wfs("--server", server, "mount", export, str(folder))
    assert done.status == 0, done.err
    subprocess.run(["umount", str(folder)], check=True)
    assert shared.run_wfs("--server", "unix:/nowhere", "mount", export, str(folder)).status == 1


def test_sigterm_unmounts(shared: Appliance, source: str) -> None:
    mount = Mount(source, shared.folder / "mnt-term").start()
    try:
        assert mount.process
        mount.process.send_signal(signal.SIGTERM)
        assert mount.process.wait(20) == 0
        assert not os.path.ismount(mount.path)
        mount.process = None
    finally:
        mount.dispose()


def test_what_is_wrong_is_told_before_it_returns(shared: Appliance, source: str) -> None:
    folder = shared.folder / "mnt-wrong"
    folder.mkdir()
    for wrong, message in (
        (source + "x", "no export"),
        (f"unix:{shared.folder}/missing.sock/files", "No such file"),
        ("127.0.0.1:1/files", "refused"),
    ):
        done = subprocess.run(
            [program("wfs-fuse"), wrong, str(folder)], capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 1 and message in done.stderr, done.stderr
    done = subprocess.run(
        [program("wfs-fuse"), source, str(folder / "missing")], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 1 and done.stderr
