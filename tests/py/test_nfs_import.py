# SPDX-License-Identifier: BSD-3-Clause
"""Shares of an NFS server (nfs-ganesha) in the namespace: browsed, served as block devices, and what becomes of them
when the server is killed, stalls, or is not there."""

import json
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import mounts as mount_helper
import nbd
import pytest
from appliance import Appliance, Settings, program, wait_for
from ganesha import CannotRun, Ganesha
from nbdclient import MIB, connect, pattern, run


# Tests ask for it before the appliance, so that it is still there when that ends.
@pytest.fixture
def share(tmp_path: Path) -> Iterator[Ganesha]:
    server = None
    try:
        server = Ganesha(tmp_path / "ganesha").start()
        yield server
    except CannotRun as why:
        pytest.skip(str(why))
    finally:
        if server:
            server.dispose()


def files(box: Appliance, *args: str) -> str:
    done = box.run_wfs(*args, "--server", f"unix:{box.rpc_socket}")
    assert done.status == 0, f"wfs {' '.join(args)}: {done.err}"
    return done.out


def mounts(box: Appliance) -> list[dict]:
    return box.wfs("mount", "list")["mounts"]


def add(box: Appliance, share: Ganesha, *options: str) -> None:
    box.wfs("mount", "add", "nfs", share.url, "/nas", *options)


def remove(box: Appliance, *options: str) -> None:
    assert box.wfs("mount", "remove", "/nas", *options) == {"leaving": False}


def test_share_is_browsed_and_changed(share: Ganesha, appliance: Appliance, tmp_path: Path) -> None:
    (share.export / "sub").mkdir()
    (share.export / "sub" / "hello").write_text("hello\n")
    (share.export / "link").symlink_to("sub/hello")
    add(appliance, share)
    (mount,) = mounts(appliance)
    assert (mount["kind"], mount["path"], mount["source"]) == ("nfs", "/nas", share.url)
    assert not mount["is_read_only"] and mount["reason"] == ""
    appliance.add_export("/nas", "nas")
    assert files(appliance, "cat", "nas/sub/hello") == "hello\n"
    assert sorted(files(appliance, "ls", "nas").split()) == ["link", "sub"]
    data = pattern(3 * MIB + 17, 1)
    (tmp_path / "data").write_bytes(data)
    files(appliance, "mkdir", "nas/dir")
    files(appliance, "put", str(tmp_path / "data"), "nas/dir")
    assert (share.export / "dir" / "data").read_bytes() == data
    files(appliance, "mv", "nas/dir/data", "nas/sub/moved")
    assert (share.export / "sub" / "moved").read_bytes() == data
    files(appliance, "get", "nas/sub/moved", str(tmp_path / "back"))
    assert (tmp_path / "back").read_bytes() == data
    files(appliance, "rm", "nas/sub/moved")
    files(appliance, "rm", "-r", "nas/dir")
    assert sorted(p.name for p in share.export.rglob("*")) == ["hello", "link", "sub"]
    appliance.wfs("export", "remove", "nas")
    remove(appliance)
    assert mounts(appliance) == []


def test_attributes_are_those_of_the_server(share: Ganesha, appliance: Appliance) -> None:
    path = share.export / "file"
    path.write_bytes(b"x" * 5000)
    path.chmod(0o640)
    add(appliance, share)
    appliance.add_export("/nas", "nas")
    shown = json.loads(files(appliance, "--json", "stat", "nas/file"))
    assert (shown["size"], shown["mode"] & 0o7777) == (5000, 0o640)


@pytest.mark.skipif(mount_helper.why_not() is not None, reason=str(mount_helper.why_not()))
def test_what_clients_of_the_server_change_is_seen_by_a_mount(share: Ganesha, appliance: Appliance, tmp_path: Path) -> None:
    """They are not heard of, and so nothing is believed for long."""
    add(appliance, share)
    appliance.add_export("/nas", "nas")
    mount = mount_helper.Mount(f"unix:{appliance.rpc_socket}/nas", tmp_path / "mnt", "coherent_timeout=86400").start()
    try:
        wait_for(lambda: appliance.metrics().sum("wfsd_rpc_tree_operations_total", operation="watch"), "the attempt to watch")
        (share.export / "file").write_bytes(b"first")
        wait_for((mount / "file").exists, "the file")
        assert not (mount / "other").exists()
        assert (mount / "file").stat().st_size == 5
        (share.export / "file").write_bytes(b"the second one")
        (share.export / "other").touch()
        wait_for((mount / "other").exists, "the new name", 30)
        wait_for(lambda: (mount / "file").stat().st_size == 14, "the new size", 30)
        assert mount.stop() == 0
    finally:
        mount.dispose()


@pytest.mark.skipif(mount_helper.why_not() is not None, reason=str(mount_helper.why_not()))
def test_programs_work_on_a_mounted_share(share: Ganesha, appliance: Appliance, tmp_path: Path) -> None:
    add(appliance, share)
    appliance.add_export("/nas", "nas")
    mount = mount_helper.Mount(f"unix:{appliance.rpc_socket}/nas", tmp_path / "mnt").start()
    try:
        (mount.path / "file").write_bytes(b"contents")
        there = share.export / "file"
        os.chmod(mount.path / "file", 0o604)
        os.chown(mount.path / "file", 12345, 23456)
        os.utime(mount.path / "file", ns=(10**18 + 1, 10**18 + 2))
        shown = there.stat()
        assert (shown.st_mode & 0o7777, shown.st_uid, shown.st_gid) == (0o604, 12345, 23456)
        assert shown.st_mtime_ns == 10**18 + 2
        wait_for(lambda: there.read_bytes() == b"contents", "the data to arrive")
        os.link(mount.path / "file", mount.path / "other")
        os.symlink("other", mount.path / "link")
        assert (mount.path / "link").read_bytes() == b"contents" and there.stat().st_nlink == 2
        with open(mount.path / "file", "r+b") as file:
            os.unlink(mount.path / "file")
            os.unlink(mount.path / "other")
            file.seek(0, os.SEEK_END)
            file.write(b" of a file that is gone")
            file.seek(0)
            assert file.read() == b"contents of a file that is gone"
        wait_for(lambda: [p.name for p in share.export.iterdir()] == ["link"], "the deleted file to go")
        (mount.path / "long").write_bytes(pattern(MIB, 5))
        os.truncate(mount.path / "long", 5000)
        os.truncate(mount.path / "long", 9000)
        # A close does not wait for what it begins to write.
        expected = pattern(MIB, 5)[:5000] + bytes(4000)
        wait_for(lambda: (share.export / "long").read_bytes() == expected, "the data to arrive")
        os.statvfs(mount.path)
    finally:
        mount.stop()


def test_large_directory_is_listed_once(share: Ganesha, appliance: Appliance) -> None:
    names = [f"file-with-a-longer-name-{i:05}" for i in range(3000)]
    for name in names:
        (share.export / name).touch()
    add(appliance, share)
    appliance.add_export("/nas", "nas")
    assert sorted(files(appliance, "ls", "nas").split()) == names


def test_change_on_the_server_shows_at_the_next_open(share: Ganesha, appliance: Appliance) -> None:
    path = share.export / "file"
    path.write_text("first\n")
    add(appliance, share)
    appliance.add_export("/nas", "nas")
    assert files(appliance, "cat", "nas/file") == "first\n"
    path.write_text("second, and longer\n")
    assert files(appliance, "cat", "nas/file") == "second, and longer\n"


def test_file_of_a_share_is_a_block_device(share: Ganesha, appliance: Appliance) -> None:
    image = share.export / "disk.img"
    image.write_bytes(pattern(16 * MIB, 2))
    add(appliance, share)
    appliance.add_export("/nas/disk.img", "disk")
    uri = appliance.nbd_uri("disk")
    run("qemu-img", "compare", "-f", "raw", "-F", "raw", image, uri)
    with connect(uri) as disk:
        disk.pwrite(pattern(2 * MIB, 3), 5 * MIB)
        disk.pwrite(b"q" * 512, 16 * MIB - 512)
        disk.flush()
        # Durable there, not only here.
        whole = image.read_bytes()
        assert whole[5 * MIB : 7 * MIB] == pattern(2 * MIB, 3) and whole[-512:] == b"q" * 512
    run("qemu-img", "compare", "-f", "raw", "-F", "raw", image, uri)
    assert "export 'disk' uses" in appliance.wfs_fails("mount", "remove", "/nas")
    appliance.kill9()
    appliance.start()
    assert [m["path"] for m in mounts(appliance)] == ["/nas"]
    run("qemu-img", "compare", "-f", "raw", "-F", "raw", image, uri)


def test_killed_server_loses_nothing_under_load(share: Ganesha, appliance: Appliance) -> None:
    """What a flush confirmed is there, and nothing else fails than what takes longer than the server is away."""
    size = 16 * MIB
    image = share.export / "disk.img"
    image.write_bytes(bytes(size))
    add(appliance, share)
    appliance.add_export("/nas/disk.img", "disk")
    expected = bytearray(size)
    stop = threading.Event()
    problems: list[str] = []
    rounds = 0

    def load() -> None:
        nonlocal rounds
        try:
            with connect(appliance.nbd_uri("disk")) as disk:
                while not stop.is_set():
                    for i in range(8):
                        at = (rounds * 7919 + i * 104729) % (size // 65536) * 65536
                        block = pattern(65536, rounds * 8 + i)
                        disk.pwrite(block, at)
                        expected[at : at + 65536] = block
                    disk.flush()
                    rounds += 1
                    at = rounds * 65536 % size
                    if bytes(disk.pread(65536, at)) != bytes(expected[at : at + 65536]):
                        problems.append(f"wrong data at {at} in round {rounds}")
        except nbd.Error as error:
            problems.append(error.string)

    worker = threading.Thread(target=load)
    worker.start()
    try:
        for _ in range(3):
            before = rounds
            wait_for(lambda: rounds > before + 3 or problems, "some rounds", 60)
            share.kill9()
            share.start()
    finally:
        before = rounds
        wait_for(lambda: rounds > before or problems, "a round with the last server", 60)
        stop.set()
        worker.join()
    assert problems == []
    assert image.read_bytes() == bytes(expected)
    run("qemu-img", "compare", "-f", "raw", "-F", "raw", image, appliance.nbd_uri("disk"))


def test_server_that_stalls_costs_its_own_mount_only(share: Ganesha, appliance: Appliance) -> None:
    (share.export / "disk.img").write_bytes(pattern(8 * MIB, 4))
    volume = appliance.add_volume("tank/vm1", "16M", "vm1")
    add(appliance, share)
    appliance.add_export("/nas/disk.img", "disk")
    with connect(appliance.nbd_uri("disk")) as disk, connect(volume) as other:
        share.pause()
        try:
            start = time.monotonic()
            with pytest.raises(nbd.Error):
                disk.pread(4096, 4 * MIB)
            assert time.monotonic() - start < 60
            other.pwrite(b"x" * MIB, 0)
            other.flush()
            # From now on it fails at once.
            start = time.monotonic()
            for i in range(3):
                with pytest.raises(nbd.Error):
                    disk.pread(4096, (5 + i) * MIB)
            assert mounts(appliance)[0]["reason"] == "the server does not answer"
        finally:
            share.resume()

        def reads() -> bool:
            try:
                return bytes(disk.pread(4096, 4 * MIB)) == pattern(8 * MIB, 4)[4 * MIB : 4 * MIB + 4096]
            except nbd.Error:
                return False

        wait_for(reads, "the server to be used again", 60)
    assert mounts(appliance)[0]["reason"] == ""


def test_writers_of_a_stalled_share_hold_up_nobody_else(share: Ganesha, make_appliance) -> None:
    """What the server does not take fills neither the memory of others, nor the threads that write back."""
    box = make_appliance(Settings(cache="64M", writeback_age_ms=200))
    size = 64 * MIB
    with open(share.export / "disk.img", "wb") as image:
        image.truncate(size)
    volume = box.add_volume("tank/vm1", "64M", "vm1")
    add(box, share)
    box.add_export("/nas/disk.img", "disk")
    refused = threading.Event()

    def fill() -> None:
        try:
            with connect(box.nbd_uri("disk")) as disk:
                for at in range(0, size, MIB):
                    disk.pwrite(pattern(MIB, at), at)
        except nbd.Error:
            refused.set()

    share.pause()
    writer = threading.Thread(target=fill)
    try:
        writer.start()
        with connect(volume) as other:
            slowest = 0.0
            while not refused.is_set():
                assert writer.is_alive() or refused.is_set(), "everything was taken by a server that takes nothing"
                start = time.monotonic()
                for at in range(0, 32 * MIB, MIB):
                    other.pwrite(b"v" * MIB, at)
                other.flush()
                slowest = max(slowest, time.monotonic() - start)
            assert slowest < 10
    finally:
        share.resume()
        writer.join()


def test_readers_of_a_stalled_share_keep_no_worker_from_others(share: Ganesha, appliance: Appliance) -> None:
    (share.export / "disk.img").write_bytes(pattern(16 * MIB, 6))
    volume = appliance.add_volume("tank/vm1", "64M", "vm1")
    with connect(volume) as other:
        for at in range(0, 64 * MIB, MIB):
            other.pwrite(pattern(MIB, 7), at)
        other.flush()
    add(appliance, share)
    appliance.add_export("/nas/disk.img", "disk")
    appliance.restart()  # nothing is cached
    with ExitStack() as stack:
        disks = [stack.enter_context(connect(appliance.nbd_uri("disk"))) for _ in range(3)]
        other = stack.enter_context(connect(volume))
        share.pause()
        try:
            for i, disk in enumerate(disks):
                for k in range(12):
                    disk.aio_pread(nbd.Buffer(4096), (i * 12 + k) * 256 * 1024)
            start = time.monotonic()
            for i in range(32):
                assert bytes(other.pread(4096, i * 2 * MIB)) == pattern(MIB, 7)[:4096]
            assert time.monotonic() - start < 8
            assert all(disk.aio_in_flight() for disk in disks)
        finally:
            share.resume()


def test_share_goes_by_force_when_its_server_is_gone(share: Ganesha, appliance: Appliance) -> None:
    (share.export / "disk.img").write_bytes(bytes(MIB))
    add(appliance, share)
    appliance.add_export("/nas/disk.img", "disk")
    with connect(appliance.nbd_uri("disk")) as disk:
        disk.pwrite(b"a" * 4096, 0)
        share.kill9()
        assert "not everything could be written" in appliance.wfs_fails("mount", "remove", "/nas", "--force")
        with pytest.raises(nbd.Error):
            disk.pread(4096, 0)
            disk.pread(4096, 8192)
    wait_for(lambda: mounts(appliance) == [], "the mount to be gone", 60)
    share.start()
    add(appliance, share)


def test_server_that_is_away_at_start_is_a_problem_and_nothing_more(share: Ganesha, appliance: Appliance) -> None:
    volume = appliance.add_volume("tank/vm1", "16M", "vm1")
    (share.export / "file").write_text("there\n")
    add(appliance, share)
    share.kill9()
    appliance.restart()
    with connect(volume) as disk:
        disk.pwrite(b"x", 0)
    share.start()
    appliance.restart()
    appliance.add_export("/nas", "nas")
    assert files(appliance, "cat", "nas/file") == "there\n"


def test_what_cannot_be_mounted_is_refused(share: Ganesha, appliance: Appliance) -> None:
    def refused(source: str) -> str:
        return appliance.wfs_fails("mount", "add", "nfs", source, "/nas")

    assert "begins with nfs://" in refused("/dev/null")
    assert "export" in refused("nfs://127.0.0.1")
    assert "no such option" in refused(share.url + "&colour=blue")
    assert "version 3" in refused(share.url + "&version=4")
    refused(share.url.replace("export?", "nothing?"))
    refused(f"nfs://127.0.0.1/x?nfsport={share.nfs_port}&mountport=1")
    assert mounts(appliance) == []
    add(appliance, share)
    assert "mounted at /nas already" in appliance.wfs_fails("mount", "add", "nfs", share.url, "/again")


def test_read_only_share_is_not_written(share: Ganesha, appliance: Appliance, tmp_path: Path) -> None:
    (share.export / "file").write_text("x\n")
    add(appliance, share, "--read-only")
    appliance.add_export("/nas", "nas", read_only=True)
    (tmp_path / "new").write_text("y\n")
    assert files(appliance, "cat", "nas/file") == "x\n"
    done = appliance.run_wfs("put", str(tmp_path / "new"), "nas", "--server", f"unix:{appliance.rpc_socket}")
    assert done.status != 0
    assert [p.name for p in share.export.iterdir()] == ["file"]


def test_many_writers_and_readers_at_once(share: Ganesha, appliance: Appliance, tmp_path: Path) -> None:
    add(appliance, share)
    appliance.add_export("/nas", "nas")
    data = tmp_path / "data"
    data.write_bytes(pattern(6 * MIB, 9))
    words = ["--socket", str(appliance.admin_socket), "put", str(data)]
    writers = [
        subprocess.Popen([program("wfs"), *words, f"nas/{i}", "--server", f"unix:{appliance.rpc_socket}"])
        for i in range(4)
    ]
    for writer in writers:
        assert writer.wait(120) == 0
    for i in range(4):
        assert (share.export / str(i)).read_bytes() == data.read_bytes()
