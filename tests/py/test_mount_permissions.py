# SPDX-License-Identifier: BSD-3-Clause
"""The mount: who may do what, by modes, groups, ACLs and flags. Needs root and /dev/fuse."""

import errno
import os
import stat
import struct
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import mounts
from appliance import Appliance, Settings
from mounts import error_as, error_of, here, pair, run_as, source, there  # noqa: F401 (fixtures)

pytestmark = pytest.mark.skipif(mounts.why_not() is not None, reason=str(mounts.why_not()))

USER, GROUP, OTHER_GROUP = 12345, 23456, 34567


def test_modes_bind_other_users(here: Path) -> None:
    file = here / "file"
    file.write_text("secret")
    os.chown(file, USER, GROUP)
    read, write = "open(sys.argv[1]).read()", "open(sys.argv[1], 'a')"
    for mode, owner, group, other in ((0o640, "rw", "r", ""), (0o604, "rw", "", "r"), (0o066, "", "rw", "rw")):
        os.chmod(file, mode)
        for uid, gid, groups, allowed in (
            (USER, GROUP, [], owner),
            (USER + 1, GROUP, [], group),
            (USER + 1, GROUP + 1, [GROUP], group),
            (USER + 1, GROUP + 1, [], other),
        ):
            for letter, call in (("r", read), ("w", write)):
                assert error_as(uid, gid, groups, call, file) == ("" if letter in allowed else "EACCES")


def test_what_lies_below_a_closed_directory_is_closed(here: Path) -> None:
    (here / "closed").mkdir(0o700)
    (here / "closed" / "file").write_text("x")
    os.chmod(here / "closed" / "file", 0o666)
    assert (here / "closed" / "file").read_text() == "x"
    assert error_as(USER, GROUP, [], "open(sys.argv[1])", here / "closed" / "file") == "EACCES"
    assert error_as(USER, GROUP, [], "os.listdir(sys.argv[1])", here / "closed") == "EACCES"


def test_new_files_belong_to_who_makes_them(here: Path) -> None:
    run_as(USER, GROUP, [OTHER_GROUP], "open(sys.argv[1], 'w').write('mine')", here / "mine")
    st = (here / "mine").stat()
    assert (st.st_uid, st.st_gid) == (USER, GROUP)
    (here / "shared").mkdir()
    os.chown(here / "shared", 0, OTHER_GROUP)
    os.chmod(here / "shared", 0o2777)
    run_as(USER, GROUP, [], "os.mkdir(sys.argv[1])", here / "shared" / "inner")
    st = (here / "shared" / "inner").stat()
    assert (st.st_gid, bool(st.st_mode & stat.S_ISGID)) == (OTHER_GROUP, True)


def test_owners_change_what_is_theirs_only(here: Path) -> None:
    file = here / "file"
    file.touch()
    os.chown(file, USER, GROUP)
    assert error_as(USER, GROUP, [OTHER_GROUP], f"os.chown(sys.argv[1], -1, {OTHER_GROUP})", file) == ""
    assert error_as(USER, GROUP, [], "os.chown(sys.argv[1], -1, 99)", file) == "EPERM"
    assert error_as(USER, GROUP, [], "os.chown(sys.argv[1], 0, -1)", file) == "EPERM"
    assert error_as(USER + 1, GROUP, [], "os.chmod(sys.argv[1], 0o777)", file) == "EPERM"
    assert error_as(USER + 1, GROUP, [], "os.utime(sys.argv[1], (1, 1))", file) == "EPERM"


def test_the_sticky_bit_protects_names(here: Path) -> None:
    os.chmod(here, 0o1777)
    run_as(USER, GROUP, [], "open(sys.argv[1], 'w')", here / "file")
    assert error_as(USER + 1, GROUP, [], "os.unlink(sys.argv[1])", here / "file") == "EPERM"
    assert error_as(USER, GROUP, [], "os.unlink(sys.argv[1])", here / "file") == ""


def test_setuid_is_cleared_by_a_write(here: Path) -> None:
    file = here / "program"
    file.write_text("x")
    os.chown(file, USER, GROUP)
    os.chmod(file, 0o6777)
    run_as(USER + 1, GROUP + 1, [], "open(sys.argv[1], 'r+').write('y')", file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o777


def test_what_made_a_file_clears_its_privileges_when_it_writes(here: Path, there: Path) -> None:
    """What is written through the descriptor that made a file does not pass the kernel's cache."""
    code = """
        import stat
        fd = os.open(sys.argv[1], os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o755)
        os.write(fd, b'a')
        for i in range(3):
            os.fchmod(fd, 0o6755)
            assert stat.S_IMODE(os.stat(sys.argv[1]).st_mode) == 0o6755
            os.write(fd, b'b')
            assert stat.S_IMODE(os.stat(sys.argv[1]).st_mode) == 0o755
    """
    run_as(USER, GROUP, [], code, here / "setuid")
    assert (there / "setuid").read_bytes() == b"abbb"
    capability = struct.pack("<5I", 0x02000001, 1 << 10, 0, 0, 0)
    fd = os.open(here / "capable", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o755)
    try:
        for _ in range(3):
            os.write(fd, b"a")
            os.setxattr(here / "capable", "security.capability", capability)
            assert os.getxattr(there / "capable", "security.capability") == capability
            os.write(fd, b"b")
            assert error_of(lambda: os.getxattr(here / "capable", "security.capability")) == errno.ENODATA
            assert error_of(lambda: os.getxattr(there / "capable", "security.capability")) == errno.ENODATA
    finally:
        os.close(fd)
    assert (here / "capable").read_bytes() == b"ab" * 3


@pytest.fixture
def squashed(make_appliance: Callable[..., Appliance]) -> Iterator[tuple[mounts.Mount, mounts.Mount]]:
    """A mount, and another one whose root is nobody to the server."""
    box = make_appliance(Settings(rpc_tcp=True))
    source = mounts.create_tree(box)
    options = "coherent_timeout=0,attr_timeout=0,entry_timeout=0"
    local = mounts.Mount(source, box.folder / "local")
    mount = mounts.Mount(f"127.0.0.1:{box.rpc_port}/files", box.folder / "squashed", options)
    try:
        local.start()
        os.chmod(local.path, 0o777)
        mount.start()
        yield local, mount
        assert local.stop() == 0 and mount.stop() == 0
    finally:
        local.dispose()
        mount.dispose()


def test_who_may_not_change_capabilities_writes_to_what_he_made(squashed: tuple[mounts.Mount, mounts.Mount]) -> None:
    local, mount = squashed
    fd = os.open(mount / "file", os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    for part in (b"one ", b"two ", b"three"):
        assert os.write(fd, part) == len(part)
    # An append-only file keeps its attributes, too.
    subprocess.run(["chattr", "+a", str(local / "file")], check=True)
    log = os.open(local / "log", os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND)
    subprocess.run(["chattr", "+a", str(local / "log")], check=True)
    assert os.write(log, b"line") == 4
    os.close(fd)
    os.close(log)
    subprocess.run(["chattr", "-a", str(local / "file"), str(local / "log")], check=True)
    assert (local / "file").read_bytes() == b"one two three"
    assert (local / "log").read_bytes() == b"line"


def test_what_cannot_be_opened_is_not_emptied(squashed: tuple[mounts.Mount, mounts.Mount]) -> None:
    local, mount = squashed
    (local / "file").write_bytes(b"data")
    os.chmod(local / "file", 0o602)
    # The kernel lets root do it; the server knows somebody who may write, and not read.
    assert error_of(lambda: os.open(mount / "file", os.O_RDWR | os.O_TRUNC)) == errno.EACCES
    assert (local / "file").read_bytes() == b"data"
    os.close(os.open(mount / "file", os.O_WRONLY | os.O_TRUNC))
    assert (local / "file").read_bytes() == b""


def test_a_program_may_be_run_without_being_readable(here: Path) -> None:
    target = here / "true"
    target.write_bytes(Path("/bin/true").read_bytes())
    os.chmod(target, 0o711)
    assert error_as(USER, GROUP, [], "open(sys.argv[1])", target) == "EACCES"
    run_as(USER, GROUP, [], "import subprocess; subprocess.run([sys.argv[1]], check=True)", target)


def test_an_open_file_outlives_its_permissions(here: Path) -> None:
    code = """
        fd = os.open(sys.argv[1], os.O_CREAT | os.O_RDWR, 0o444)
        os.write(fd, b'0123456789')
        os.chmod(sys.argv[1], 0)
        os.write(fd, b'abc')
        os.ftruncate(fd, 12)
        assert os.pread(fd, 100, 0) == b'0123456789ab', os.pread(fd, 100, 0)
        os.posix_fallocate(fd, 0, 100)
        assert os.lseek(fd, 0, os.SEEK_HOLE) <= 100
    """
    run_as(USER, GROUP, [], code, here / "file")
    assert (here / "file").stat().st_size == 100


def test_acls(here: Path) -> None:
    file = here / "file"
    file.write_text("x")
    os.chmod(file, 0o600)
    subprocess.run(["setfacl", "-m", f"u:{USER}:r", file], check=True)
    shown = subprocess.run(["getfacl", "-nc", file], capture_output=True, text=True, check=True).stdout
    assert f"user:{USER}:r--" in shown and "mask::r--" in shown
    assert error_as(USER, GROUP, [], "open(sys.argv[1])", file) == ""
    assert error_as(USER, GROUP, [], "open(sys.argv[1], 'a')", file) == "EACCES"
    assert error_as(USER + 1, GROUP, [], "open(sys.argv[1])", file) == "EACCES"
    subprocess.run(["setfacl", "-b", file], check=True)
    assert error_as(USER, GROUP, [], "open(sys.argv[1])", file) == "EACCES"


def test_default_acls_are_inherited_and_replace_the_umask(here: Path) -> None:
    (here / "dir").mkdir()
    subprocess.run(["setfacl", "-d", "-m", f"u:{USER}:rwx,g::rwx,o::---", here / "dir"], check=True)
    old = os.umask(0o077)
    try:
        (here / "dir" / "file").touch()
    finally:
        os.umask(old)
    assert stat.S_IMODE((here / "dir" / "file").stat().st_mode) == 0o660
    assert error_as(USER, GROUP, [], "open(sys.argv[1], 'a')", here / "dir" / "file") == ""


def test_immutable_and_append_only_files(here: Path) -> None:
    file = here / "file"
    file.write_text("fixed")
    subprocess.run(["chattr", "+i", file], check=True)
    try:
        assert subprocess.run(["lsattr", file], capture_output=True, text=True, check=True).stdout[4] == "i"
        assert error_of(file.unlink) == errno.EPERM
        assert error_of(lambda: os.truncate(file, 0)) == errno.EPERM
    finally:
        subprocess.run(["chattr", "-i", file], check=True)
    file.unlink()


def test_append_only_files_are_opened_for_nothing_else(here: Path, there: Path) -> None:
    file = here / "log"
    file.write_text("one")
    subprocess.run(["chattr", "+a", file], check=True)
    try:
        for one in (file, there / "log"):
            for flags in (0, os.O_CREAT):
                for refused in (os.O_WRONLY, os.O_RDWR, os.O_RDONLY | os.O_TRUNC, os.O_WRONLY | os.O_APPEND | os.O_TRUNC):
                    assert error_of(lambda: os.close(os.open(one, flags | refused))) == errno.EPERM
                fd = os.open(one, flags | os.O_WRONLY | os.O_APPEND)
                assert os.write(fd, b"x") == 1
                os.close(fd)
        assert file.read_text() == "onexxxx"
    finally:
        subprocess.run(["chattr", "-a", file], check=True)
    file.unlink()


def test_who_makes_a_file_may_truncate_it_as_he_opens_it(here: Path) -> None:
    for flags in (os.O_RDONLY, os.O_WRONLY, os.O_RDWR):
        for mode in (0, 0o400, 0o4755):
            file = here / f"{flags}-{mode:o}"
            call = f"os.close(os.open(sys.argv[1], {flags | os.O_CREAT | os.O_TRUNC}, {mode}))"
            assert error_as(USER, GROUP, [], call, file) == ""
            assert file.stat().st_mode & 0o7777 == mode  # it was not written to
            assert error_as(USER, GROUP, [], call, file) == ("" if mode & 0o200 else "EACCES")


def test_who_may_write_a_setuid_file_of_another_may_truncate_it(here: Path) -> None:
    file = here / "file"
    for call in ("os.truncate(sys.argv[1], 1)", "os.ftruncate(os.open(sys.argv[1], os.O_RDWR), 1)",
                 "os.open(sys.argv[1], os.O_WRONLY | os.O_TRUNC)"):  # fmt: skip
        file.write_text("data")
        os.chown(file, USER, GROUP)
        file.chmod(0o6777)
        assert error_as(USER + 1, GROUP + 1, [], call, file) == ""
        assert file.stat().st_size == (0 if "TRUNC" in call else 1)
        assert file.stat().st_mode & 0o7777 == 0o777
    # Also by who has it open for writing, and could not open it any more.
    file.chmod(0o666)
    change = "os.chmod(sys.argv[1], 0o6755); os.setresuid(12346, 12346, 12346); os.ftruncate(f, 2)"
    run_as(0, 0, [], f"f = os.open(sys.argv[1], os.O_RDWR); {change}", file)
    assert (file.stat().st_size, file.stat().st_mode & 0o7777) == (2, 0o755)


def test_an_immutable_file_stays_setuid_and_says_so(here: Path) -> None:
    file = here / "file"
    file.write_text("x")
    file.chmod(0o4755)
    subprocess.run(["chattr", "+i", file], check=True)
    try:
        assert error_of(lambda: file.chmod(0o755)) == errno.EPERM
        assert file.stat().st_mode & 0o7777 == 0o4755
    finally:
        subprocess.run(["chattr", "-i", file], check=True)
    file.chmod(0o755)
    assert file.stat().st_mode & 0o7777 == 0o755


def test_an_append_only_file_stays_setuid_until_its_owner_adds_to_it(here: Path) -> None:
    file = here / "file"
    file.write_text("x")
    os.chown(file, USER, GROUP)
    file.chmod(0o4755)
    subprocess.run(["chattr", "+a", file], check=True)
    try:
        assert error_as(USER, GROUP, [], "os.chmod(sys.argv[1], 0o755)", file) == "EPERM"
        assert file.stat().st_mode & 0o7777 == 0o4755
        assert error_as(USER, GROUP, [], "open(sys.argv[1], 'a').write('y')", file) == ""
        assert file.stat().st_mode & 0o7777 == 0o755
        assert file.read_text() == "xy"
    finally:
        subprocess.run(["chattr", "-a", file], check=True)


def test_who_may_write_a_file_of_another_can_with_a_write_cache(source: str, here: Path) -> None:
    mount = mounts.Mount(source, here.parent.with_name("cached"), "allow_other,writeback_cache").start()
    try:
        file = mount / "shared"
        file.write_text("before")
        file.chmod(0o666)
        os.utime(file, (0, 0))
        code = "f = os.open(sys.argv[1], os.O_RDWR); os.write(f, b'after!'); os.fsync(f); os.close(f)"
        assert error_as(USER, GROUP, [], code, file) == ""
        assert file.read_text() == "after!"
        assert file.stat().st_mtime > 0
        mount.stop()
    finally:
        mount.dispose()


def test_append_only_files_grow_with_a_write_cache(source: str, here: Path) -> None:
    mount = mounts.Mount(source, here.parent.with_name("cached"), "allow_other,writeback_cache").start()
    file = mount / here.name / "log"
    file.write_text("one\n")
    reader = os.open(file, os.O_RDONLY)
    assert os.read(reader, 100) == b"one\n"
    try:
        subprocess.run(["chattr", "+a", file], check=True)
        subprocess.run(["sh", "-c", f"echo two >> {file}"], check=True)
        assert os.read(reader, 100) == b"two\n"
        for flags in (os.O_WRONLY, os.O_RDWR, os.O_WRONLY | os.O_CREAT):
            fd = os.open(file, flags | os.O_APPEND)
            assert os.write(fd, b"more\n") == 5
            assert (here / "log").read_bytes().endswith(b"\nmore\n")  # the server has it at once
            os.fsync(fd)
            os.close(fd)
        assert file.read_text() == (here / "log").read_text() == "one\ntwo\n" + "more\n" * 3
        assert os.read(reader, 100) == b"more\n" * 3
        os.close(reader)
        subprocess.run(["chattr", "-a", file], check=True)
        assert mount.stop() == 0
    finally:
        mount.dispose()
