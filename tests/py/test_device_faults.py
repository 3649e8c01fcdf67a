# SPDX-License-Identifier: BSD-3-Clause
"""A device that fails a read, a write, a flush: the pool's file is a FUSE file (nbdfuse) over a disk that fails on demand."""

import errno
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from appliance import Appliance, CommandError, wait_for
from nbdclient import MIB, connect, fails_with, pattern, read_all, run, write_bytes

SOURCE = Path(__file__).with_name("faulty_disk.c")


@dataclass
class FaultyDisk:
    """A 128 MiB disk at @path. fail("read" | "write" | "flush") starts errors, heal() ends them."""

    path: Path
    triggers: Path

    def fail(self, operation: str) -> None:
        (self.triggers / operation).touch()

    def heal(self) -> None:
        for trigger in self.triggers.iterdir():
            trigger.unlink()


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("faulty") / "faulty.so"
    run("gcc", "-shared", "-fPIC", "-O1", "-o", output, SOURCE)
    return output


@pytest.fixture
def disk(plugin: Path, tmp_path: Path) -> Iterator[FaultyDisk]:
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        pytest.skip("FUSE cannot be used here: no access to /dev/fuse")
    image, mount, sock, triggers = (tmp_path / name for name in ("image", "disk", "sock", "triggers"))
    triggers.mkdir()
    mount.touch()
    with open(image, "wb") as out:
        out.truncate(128 * MIB)
    server = subprocess.Popen(
        ["nbdkit", "-f", "-U", str(sock), str(plugin), f"file={image}", f"triggers={triggers}"],
        stderr=subprocess.DEVNULL,
    )
    fuse = None
    try:
        wait_for(sock.exists, "the faulty disk's server")
        fuse = subprocess.Popen(["nbdfuse", str(mount), "--unix", str(sock)], stderr=subprocess.DEVNULL)
        wait_for(lambda: mount.stat().st_size == 128 * MIB, "the faulty disk to be mounted")
        yield FaultyDisk(mount, triggers)
    finally:
        subprocess.run(["fusermount3", "-u", "-z", str(mount)], check=False)
        if fuse:
            fuse.terminate()
            fuse.wait(20)
        server.terminate()
        server.wait(20)


@pytest.fixture
def box(disk: FaultyDisk, make_appliance) -> Iterator[Appliance]:
    appliance = make_appliance(pool=None)
    appliance.wfs("pool", "create", "tank", str(disk.path))
    appliance.add_volume("tank/v", "32M", "v")
    yield appliance
    disk.heal()
    if appliance.is_alive():
        appliance.kill9()  # what cannot be written must not hold up the tear-down


def cold_start(box: Appliance) -> None:
    box.restart()
    assert box.wfs("pool", "status", "tank")["health"] == "online"


def test_pool_works_on_it(box: Appliance) -> None:
    write_bytes(box.nbd_uri("v"), pattern(16 * MIB, 1))
    cold_start(box)
    assert read_all(box.nbd_uri("v"))[: 16 * MIB] == pattern(16 * MIB, 1)


def test_failed_read_is_eio_to_that_request_and_heals(box: Appliance, disk: FaultyDisk) -> None:
    uri = box.nbd_uri("v")
    write_bytes(uri, pattern(16 * MIB, 2))
    cold_start(box)
    with connect(uri) as handle:
        assert bytes(handle.pread(4096, 0)) == pattern(16 * MIB, 2)[:4096]
        disk.fail("read")
        with fails_with(errno.EIO):
            handle.pread(MIB, 12 * MIB)
        disk.heal()
        assert bytes(handle.pread(MIB, 12 * MIB)) == pattern(16 * MIB, 2)[12 * MIB : 13 * MIB]
    [device] = box.wfs("pool", "status", "tank")["devices"]
    assert device["read_errors"] >= 1
    assert box.metrics().sum("wfsd_pool_online") == 1


def test_failed_write_is_reported_and_the_data_stays_until_the_device_has_recovered(
    box: Appliance, disk: FaultyDisk
) -> None:
    uri = box.nbd_uri("v")
    before, after = pattern(8 * MIB, 3), pattern(MIB, 4)
    write_bytes(uri, before)
    with connect(uri) as handle:
        disk.fail("write")
        handle.pwrite(after, 0)
        for _ in range(2):
            with fails_with(errno.EIO):
                handle.flush()
        assert bytes(handle.pread(MIB, 0)) == after
        assert bytes(handle.pread(MIB, MIB)) == before[MIB : 2 * MIB]
        assert box.wfs("pool", "status", "tank")["devices"][0]["write_errors"] >= 1
        disk.heal()
        if box.wfs("pool", "status", "tank")["health"] == "online":
            handle.flush()
            after_flush = True
        else:
            with fails_with(errno.EIO):
                handle.flush()
            after_flush = False
    box.kill9()
    box.start()
    content = read_all(uri)
    assert content[MIB : 8 * MIB] == before[MIB:]
    assert content[:MIB] == after or (not after_flush and content[:MIB] == before[:MIB])
    assert box.wfs("pool", "status", "tank")["health"] == "online"


def test_failed_flush_is_latched_and_loses_nothing_flushed_before(box: Appliance, disk: FaultyDisk) -> None:
    uri = box.nbd_uri("v")
    before = pattern(8 * MIB, 3)
    write_bytes(uri, before)
    with connect(uri) as handle:
        disk.fail("flush")
        handle.pwrite(pattern(MIB, 4), 0)
        for _ in range(2):
            with fails_with(errno.EIO):
                handle.flush()
    status = box.wfs("pool", "status", "tank")
    assert status["health"] == "read-only"
    assert "flush" in status["reason"] and str(disk.path) in status["reason"]
    assert box.metrics().sum("wfsd_pool_online") == 0
    with pytest.raises(CommandError, match="read-only"):
        box.wfs("volume", "create", "tank/other", "8M")
    # What is there can be read, and nobody is told that it is durable, even when the device has recovered.
    disk.heal()
    with connect(uri) as handle:
        assert bytes(handle.pread(4 * MIB, 4 * MIB)) == before[4 * MIB :]
        with fails_with(errno.EIO):
            handle.flush()
    assert box.is_ready()
    box.kill9()
    box.start()
    after = read_all(uri)
    assert after[MIB : 8 * MIB] == before[MIB:]
    assert after[:MIB] in (before[:MIB], pattern(MIB, 4))
    assert box.wfs("pool", "status", "tank")["health"] == "online"
    write_bytes(uri, pattern(MIB, 5))


def test_daemon_ends_in_order_when_its_device_fails(box: Appliance, disk: FaultyDisk) -> None:
    write_bytes(box.nbd_uri("v"), pattern(8 * MIB, 6))
    write_bytes(box.nbd_uri("v"), pattern(8 * MIB, 7), flush=False)
    disk.fail("write")
    status = box.stop()
    assert status != 0, "data was lost and the daemon said that all was well"
    assert "tank" in box.log()
    disk.heal()
    box.start()
    assert box.wfs("pool", "status", "tank")["health"] == "online"
    assert len(read_all(box.nbd_uri("v"))) == 32 * MIB


def test_pool_is_not_created_on_a_device_that_fails(disk: FaultyDisk, make_appliance) -> None:
    box = make_appliance(pool=None)
    disk.fail("write")
    assert str(disk.path) in box.wfs_fails("pool", "create", "bad", str(disk.path))
    assert box.wfs("pool", "list")["pools"] == []
    disk.heal()
    box.wfs("pool", "create", "good", str(disk.path))


def test_fat_on_it_loses_nothing_by_writes_that_fail_for_a_while(
    disk: FaultyDisk, make_appliance, tmp_path: Path
) -> None:
    box = make_appliance(pool=None)
    run("mkfs.fat", "-F", "16", disk.path)
    box.wfs("mount", "add", "fat", str(disk.path), "/stick")
    box.add_export("/stick", "stick")
    (tmp_path / "f").write_bytes(pattern(MIB, 5))
    server = ["--server", f"unix:{box.rpc_socket}"]
    assert box.run_wfs("put", str(tmp_path / "f"), "stick", *server).status == 0
    disk.fail("write")
    wait_for(lambda: box.wfs("mount", "list")["mounts"][0]["reason"], "the mount to tell of it")
    assert "failed" in box.wfs("mount", "list")["mounts"][0]["reason"]
    disk.heal()
    box.wfs("export", "remove", "stick")
    box.wfs("mount", "remove", "/stick")
    run("fsck.fat", "-n", disk.path)
    assert subprocess.run(["mcopy", "-i", disk.path, "::f", "-"], check=True, capture_output=True).stdout == pattern(MIB, 5)
