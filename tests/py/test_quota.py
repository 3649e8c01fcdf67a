# SPDX-License-Identifier: BSD-3-Clause
"""Quotas and projects: the commands, and what programs see of them on a mount."""

import errno
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import mounts
from appliance import Appliance, wait_for
from mounts import create_tree, error_as, error_of, run_as

needs_mount = pytest.mark.skipif(mounts.why_not() is not None, reason=str(mounts.why_not()))
USER, GROUP = 12345, 23456
KIB = 1024


def owners(box: Appliance, name: str = "tank/files") -> dict[tuple[str, int], tuple[int, int, int, int]]:
    listed = box.wfs("quota", "list", name)["quotas"]
    return {
        (q["owner"], q["id"]): (q["used_bytes"], q["limit_bytes"], q["used_objects"], q["limit_objects"]) for q in listed
    }


def export_of(box: Appliance, path: str = "") -> list[str]:
    return [f"files{path}", "--server", f"unix:{box.rpc_socket}"]


def test_limits_are_set_listed_and_taken_away(appliance: Appliance) -> None:
    create_tree(appliance)
    assert owners(appliance) == {("dataset", 0): (0, 0, 1, 0)}
    appliance.wfs("quota", "set", "tank/files", "--bytes", "1M", "--objects", "10")
    appliance.wfs("quota", "set", "tank/files", "--user", str(USER), "--bytes", "64K")
    appliance.wfs("quota", "set", "tank/files", "--project", "7", "--objects", "3")
    appliance.wfs("quota", "set", "tank/files", "--user", str(USER), "--objects", "5")
    expected = {
        ("dataset", 0): (0, 1024 * KIB, 1, 10),
        ("user", 0): (0, 0, 1, 0),
        ("user", USER): (0, 64 * KIB, 0, 5),
        ("group", 0): (0, 0, 1, 0),
        ("project", 7): (0, 0, 0, 3),
    }
    assert owners(appliance) == expected
    appliance.kill9()
    appliance.start()
    assert owners(appliance) == expected
    appliance.wfs("quota", "set", "tank/files", "--user", str(USER), "--bytes", "none", "--objects", "none")
    del expected["user", USER]
    assert owners(appliance) == expected
    table = appliance.run_wfs("quota", "list", "tank/files").out
    assert "root" in table and "1M" in table


def test_wrong_arguments_are_refused(appliance: Appliance) -> None:
    create_tree(appliance)
    appliance.create_volume("tank/vm1", "8M")
    assert "--bytes" in appliance.wfs_fails("quota", "set", "tank/files")
    assert "none" in appliance.wfs_fails("quota", "set", "tank/files", "--bytes", "lots")
    assert "no user" in appliance.wfs_fails("quota", "set", "tank/files", "--user", "nobody-of-that-name", "--bytes", "1M")
    assert "of a" in appliance.wfs_fails("quota", "set", "tank/files", "--user", "1", "--group", "2", "--bytes", "1M")
    assert "project 0" in appliance.wfs_fails("quota", "set", "tank/files", "--project", "0", "--bytes", "1M")
    assert "no owners" in appliance.wfs_fails("quota", "set", "tank/vm1", "--user", "1", "--bytes", "1M")
    assert "no 'nothing'" in appliance.wfs_fails("quota", "list", "tank/nothing")
    assert appliance.admin("/v1/quotas/tank/files", "POST", {"user": -1}).status == 400


def test_a_volume_is_limited_to_what_it_may_hold(appliance: Appliance) -> None:
    appliance.create_volume("tank/vm1", "8M")
    appliance.wfs("quota", "set", "tank/vm1", "--bytes", "64K")
    assert owners(appliance, "tank/vm1") == {("dataset", 0): (0, 64 * KIB, 0, 0)}


def test_a_project_is_set_and_shown_by_command(appliance: Appliance, tmp_path: Path) -> None:
    create_tree(appliance)
    appliance.wfs("mkdir", *export_of(appliance, "/a"))
    appliance.wfs("mkdir", *export_of(appliance, "/a/b"))
    done = appliance.wfs("project", export_of(appliance, "/a")[0], "42", *export_of(appliance)[1:], "--recursive")
    assert done == {"project": 42, "count": 2}
    assert appliance.wfs("project", *export_of(appliance, "/a/b")) == {"project": 42}
    appliance.wfs("quota", "set", "tank/files", "--project", "42", "--bytes", "40K")
    (tmp_path / "data").write_bytes(b"x" * 41 * KIB)
    assert "quota" in appliance.wfs_fails("put", str(tmp_path / "data"), *export_of(appliance, "/a/b")).lower()
    (tmp_path / "data").write_bytes(b"x" * 40 * KIB)
    appliance.wfs("put", str(tmp_path / "data"), *export_of(appliance, "/a/b/other"))
    assert owners(appliance)["project", 42][:2] == (40 * KIB, 40 * KIB)
    assert appliance.wfs("stat", *export_of(appliance, "/a/b/other"))["project"] == 42


def test_small_files_for_which_there_is_no_room_leave_nothing(appliance: Appliance, tmp_path: Path) -> None:
    create_tree(appliance)
    appliance.wfs("quota", "set", "tank/files", "--bytes", "20M")
    (tmp_path / "many").mkdir()
    for i in range(2000):
        (tmp_path / "many" / f"{i}").write_bytes(bytes([1 + i % 255]) * 10 * KIB)
    assert "quota" in appliance.wfs_fails("put", str(tmp_path / "many"), *export_of(appliance, "/many")).lower()
    there = appliance.wfs("ls", *export_of(appliance, "/many"), "--long")
    assert [entry["size"] for entry in there] == [10 * KIB] * (20 * KIB // 12)
    # What is there is not emptied for what does not fit in its place.
    name = there[0]["name"]
    kept = export_of(appliance, f"/many/{name}")
    before = appliance.wfs("stat", *kept)
    (tmp_path / "large").write_bytes(b"x" * 60 * KIB)
    assert "quota" in appliance.wfs_fails("put", str(tmp_path / "large"), *kept).lower()
    assert appliance.wfs("stat", *kept) == before
    appliance.wfs("get", *kept, str(tmp_path / "back"))
    assert (tmp_path / "back").read_bytes() == (tmp_path / "many" / name).read_bytes()


def test_labels_are_set_shown_and_taken_away(appliance: Appliance) -> None:
    create_tree(appliance)
    where = export_of(appliance, "/a")
    appliance.wfs("mkdir", *where)
    assert appliance.wfs("label", *where) == {}
    appliance.wfs("label", *where, "--color", "red", "--icon", "house")
    assert appliance.wfs("label", *where) == {"color": "red", "icon": "house"}
    appliance.wfs("label", *where, "--color", "")
    assert appliance.run_wfs("label", *where).out == "icon: house\n"


# On a mount


@needs_mount
def test_a_user_on_a_mount_gets_his_limit_and_edquot(appliance: Appliance) -> None:
    source = create_tree(appliance)
    appliance.wfs("quota", "set", "tank/files", "--user", str(USER), "--bytes", "256K", "--objects", "3")
    mount = mounts.Mount(source, appliance.folder / "mnt").start()
    try:
        mount.path.chmod(0o777)
        code = """
            fd = os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY)
            done = 0
            try:
                while True:
                    done += os.write(fd, b"x" * 4096)
                    os.fsync(fd)
            except OSError as error:
                print(errno.errorcode[error.errno], done)
        """
        assert run_as(USER, GROUP, [], code, mount / "file") == f"EDQUOT {256 * KIB}"
        open_new = "os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY)"
        assert error_as(USER, GROUP, [], open_new, mount / "b") == ""
        assert error_as(USER, GROUP, [], open_new, mount / "c") == ""
        assert error_as(USER, GROUP, [], open_new, mount / "d") == "EDQUOT"
        assert owners(appliance)["user", USER] == (256 * KIB, 256 * KIB, 3, 3)
        # Root is nobody's guest, but what he gives away has to fit.
        (mount / "big").write_bytes(b"x" * 4096)
        assert error_of(lambda: os.chown(mount / "big", USER, GROUP)) == errno.EDQUOT
        assert error_as(USER, GROUP, [], "os.unlink(sys.argv[1])", mount / "file") == ""
        wait_for(lambda: owners(appliance)["user", USER][0] == 0, "the space to be given back")
        os.chown(mount / "big", USER, GROUP)
        assert owners(appliance)["user", USER][:3] == (4096, 256 * KIB, 3)
    finally:
        mount.dispose()


@needs_mount
def test_a_project_on_a_mount_is_a_file_system_of_its_size(appliance: Appliance) -> None:
    source = create_tree(appliance)
    mount = mounts.Mount(source, appliance.folder / "mnt").start()
    try:
        (mount / "p").mkdir()
        subprocess.run(["chattr", "-p", "9", str(mount / "p")], check=True)
        listed = subprocess.run(["lsattr", "-dp", str(mount / "p")], check=True, capture_output=True, text=True).stdout
        assert listed.split()[0] == "9"
        assert appliance.wfs("project", *export_of(appliance, "/p")) == {"project": 9}
        appliance.wfs("quota", "set", "tank/files", "--project", "9", "--bytes", "2M", "--objects", "100")
        st = os.statvfs(mount / "p")
        assert st.f_blocks * st.f_frsize == 2 << 20 and st.f_files == 100 and st.f_ffree == 99
        assert os.statvfs(mount.path).f_blocks > st.f_blocks
        (mount / "p" / "inner").mkdir()
        (mount / "p" / "inner" / "f").write_bytes(b"x" * (1 << 20))
        assert owners(appliance)["project", 9][0] == 1 << 20
        (mount / "outside").write_bytes(b"x")
        assert error_of(lambda: os.rename(mount / "outside", mount / "p" / "outside")) == errno.EXDEV
        assert error_as(USER, GROUP, [], "os.chmod(sys.argv[1], 0o777)", mount / "p") == "EPERM"
    finally:
        mount.dispose()


@needs_mount
def test_writers_that_share_a_limit_get_all_of_it_after_a_kill_too(appliance: Appliance) -> None:
    source = create_tree(appliance)
    appliance.wfs("quota", "set", "tank/files", "--group", str(GROUP), "--bytes", "4M")
    mount = mounts.Mount(source, appliance.folder / "mnt").start()
    code = """
        done = 0
        with open(sys.argv[1], "wb", buffering=0) as file:
            try:
                while True:
                    done += file.write(b"x" * 8192)
            except OSError as error:
                assert error.errno == errno.EDQUOT, error
        with open(sys.argv[1], "rb+") as file:
            os.fsync(file.fileno())
        print(done)
    """
    try:
        mount.path.chmod(0o777)
        (mount / "before").write_bytes(b"x" * (1 << 20))
        os.chown(mount / "before", USER, GROUP)
        argv = [sys.executable, "-c", "import errno, os, sys\n" + textwrap.dedent(code)]
        running = [
            subprocess.Popen([*argv, str(mount / f"f{i}")], user=USER, group=GROUP, extra_groups=[], stdout=subprocess.PIPE)
            for i in range(4)
        ]
        assert sum(int(p.communicate(timeout=120)[0]) for p in running) == 3 << 20
        appliance.kill9()
        appliance.start()
        assert owners(appliance)["group", GROUP][:2] == (4 << 20, 4 << 20)
        (mount / "before").unlink()
        wait_for(lambda: owners(appliance)["group", GROUP][0] < 4 << 20, "the space to be given back")
    finally:
        mount.dispose()
