# SPDX-License-Identifier: BSD-3-Clause
"""Pools that are no pools, are too new, damaged, shrunk, missing or taken: a clear error, and nothing is lost."""

import errno
import os
import shutil
from pathlib import Path

import nbd
import pytest
from appliance import Appliance, wait_for
from diskformat import BLOCK, HEADER_OFFSET, NODE, Device, Root
from nbdclient import MIB, connect, fails_with, pattern, read_all, run, write_bytes

DATA = pattern(8 * MIB, 1)


@pytest.fixture
def stopped(appliance: Appliance) -> Appliance:
    """A daemon that has ended, with a pool that holds DATA in tank/v, exported as v, after several commits."""
    uri = appliance.add_volume("tank/v", "16M", "v")
    for at in range(0, len(DATA), 2 * MIB):
        write_bytes(uri, DATA[at : at + 2 * MIB], at)
    assert appliance.stop() == 0
    return appliance


def device(box: Appliance) -> Device:
    """To be damaged."""
    box.pools_are_damaged = True
    return Device(box.pool_file("tank"))


def problem(box: Appliance) -> str:
    """Start; the daemon runs without the pool, and says why: in its status and in its log."""
    box.start()
    assert box.wfs("pool", "list")["pools"] == []
    [text, *_] = [p for p in box.wfs("status")["problems"] if "tank" in p]
    assert "tank" in box.log()
    return text


def note(box: Appliance) -> str:
    """Start; the pool works, and this is what was noticed."""
    box.start()
    status = box.wfs("pool", "status", "tank")
    assert status["health"] == "online"
    assert read_all(box.nbd_uri("v"))[: len(DATA)] == DATA
    return status["reason"]


@pytest.mark.parametrize("content", [b"", bytes(MIB), b"just some text\n" * 100_000], ids=["empty", "zeros", "text"])
def test_file_that_is_no_pool(appliance: Appliance, content: bytes) -> None:
    path = appliance.folder / "no-pool"
    path.write_bytes(content)
    said = appliance.wfs_fails("pool", "import", str(path))
    assert str(path) in said
    assert path.read_bytes() == content


def test_folder_and_missing_file_are_no_pools(appliance: Appliance) -> None:
    assert str(appliance.run_dir) in appliance.wfs_fails("pool", "import", str(appliance.run_dir))
    said = appliance.wfs_fails("pool", "import", str(appliance.folder / "nowhere"))
    assert "nowhere" in said and "No such file" in said


def test_create_over_a_foreign_file_system_needs_force(appliance: Appliance) -> None:
    path = appliance.folder / "ext4"
    run("mke2fs", "-q", "-t", "ext4", path, "128M")
    before = path.read_bytes()
    assert "ext" in appliance.wfs_fails("pool", "create", "new", str(path))
    assert path.read_bytes() == before
    appliance.wfs("pool", "create", "new", str(path), "--force")


def test_create_over_a_pool_needs_force(appliance: Appliance) -> None:
    appliance.wfs("pool", "export", "tank")
    path = str(appliance.pool_file("tank"))
    assert appliance.wfs_fails("pool", "create", "new", path)
    assert appliance.wfs_fails("pool", "create", "new", path, "--size", "64M")
    appliance.wfs("pool", "import", path)


def test_pool_too_small(appliance: Appliance) -> None:
    path = appliance.folder / "small"
    assert "small" in appliance.wfs_fails("pool", "create", "new", str(path), "--size", "1M")
    assert not path.exists()


def test_newer_format_is_refused_with_both_versions(stopped: Appliance) -> None:
    device(stopped).set_version(7)
    text = problem(stopped)
    assert "version 7" in text and "1" in text
    device(stopped).set_version(1)
    stopped.wfs("pool", "import", str(stopped.pool_file("tank")))
    assert read_all(stopped.nbd_uri("v"))[: len(DATA)] == DATA


def test_unknown_incompatible_feature_is_refused(stopped: Appliance) -> None:
    device(stopped).set_incompatible_features(1 << 40)
    assert "feature" in problem(stopped)


@pytest.mark.parametrize("which", [0, 1], ids=["front", "back"])
def test_one_damaged_label_is_noticed_and_the_other_used(stopped: Appliance, which: int) -> None:
    disk = device(stopped)
    disk.damage(disk.label_offsets()[which] + HEADER_OFFSET)
    assert "label" in note(stopped)


def test_two_damaged_labels_are_refused(stopped: Appliance) -> None:
    disk = device(stopped)
    for label in disk.label_offsets():
        disk.damage(label + HEADER_OFFSET + 100)
    text = problem(stopped)
    assert "label" in text and str(disk.path) in text


def test_damaged_newest_root_gives_way_to_the_one_before(stopped: Appliance) -> None:
    disk = device(stopped)
    roots = disk.roots()
    newest = roots[0].txg
    older = next(root.txg for root in roots if root.txg < newest)
    for root in roots:
        if root.txg == newest:
            disk.damage(root.offset + 64)
    text = note(stopped)
    assert str(older) in text and str(newest) in text, text
    assert text in stopped.log()


def test_root_damaged_in_one_ring_only_costs_nothing(stopped: Appliance) -> None:
    disk = device(stopped)
    newest = disk.roots()[0]
    disk.damage(newest.offset + 40)
    stopped.start()
    assert stopped.wfs("pool", "status", "tank")["txg"] >= newest.txg
    assert read_all(stopped.nbd_uri("v"))[: len(DATA)] == DATA


def test_all_roots_damaged_is_refused(stopped: Appliance) -> None:
    disk = device(stopped)
    for root in disk.roots():
        disk.damage(root.offset + 40)
    assert "root" in problem(stopped)


def test_damaged_node_of_the_newest_root_gives_way_to_the_root_before(stopped: Appliance) -> None:
    stopped.start()
    stopped.create_volume("tank/newer", "1M")  # a commit
    write_bytes(stopped.nbd_uri("v"), b"newer", 12 * MIB)
    stopped.kill9()
    disk = device(stopped)
    newest, older = _newest_two(disk)
    disk.damage(disk.node_offset(newest.pool_tree), NODE)
    text = note(stopped)
    assert str(older.txg) in text and str(newest.txg) in text and "hash" in text, text
    assert text in stopped.log()
    stopped.restart()
    data = read_all(stopped.nbd_uri("v"))
    assert data[: len(DATA)] == DATA
    assert data[12 * MIB : 12 * MIB + 5] == b"newer", "the log has what the damaged root had"


def test_damaged_node_that_no_older_root_can_replace_is_refused_but_can_be_read(stopped: Appliance) -> None:
    """With no change in between the last two roots hold the same tree; blocks of older ones may have been used again."""
    stopped.start()
    stopped.stop()
    disk = device(stopped)
    newest, older = _newest_two(disk)
    disk.damage(disk.node_offset(newest.pool_tree), NODE)
    assert "read-only" in problem(stopped)
    stopped.wfs("pool", "import", str(disk.path), "--read-only")
    status = stopped.wfs("pool", "status", "tank")
    assert status["health"] == "read-only" and str(older.txg) in status["reason"]


def _newest_two(disk: Device) -> tuple[Root, Root]:
    """The newest root, and the newest with another tree."""
    roots = disk.roots()
    return roots[0], next(root for root in roots if root.pool_tree != roots[0].pool_tree)


def test_damaged_nodes_of_all_roots_are_refused(stopped: Appliance) -> None:
    disk = device(stopped)
    for address in {root.pool_tree for root in disk.roots()}:
        disk.damage(disk.node_offset(address), NODE)
    problem(stopped)


def test_damaged_data_is_an_error_and_never_data(stopped: Appliance) -> None:
    disk = device(stopped)
    block = DATA[MIB : MIB + BLOCK]
    places = disk.find(block)
    assert places, "the block is nowhere in the pool's file"
    for place in places:
        disk.damage(place + 1000, 1)
    stopped.start()
    with connect(stopped.nbd_uri("v")) as handle:
        with fails_with(errno.EIO):
            handle.pread(BLOCK, MIB)
        assert bytes(handle.pread(BLOCK, MIB + BLOCK)) == DATA[MIB + BLOCK : MIB + 2 * BLOCK]
        [status] = stopped.wfs("pool", "status", "tank")["devices"]
        assert status["checksum_errors"] >= 1
        assert stopped.metrics().sum("wfsd_pool_checksum_errors_total", pool="tank") >= 1
        assert "v" in stopped.log() and str(MIB) in stopped.log()
        handle.pwrite(block, MIB)
        handle.flush()
        assert bytes(handle.pread(BLOCK, MIB)) == block


def test_device_that_shrank_is_refused_with_both_sizes_and_works_when_whole_again(stopped: Appliance) -> None:
    path = stopped.pool_file("tank")
    whole = stopped.folder / "whole"
    shutil.copy(path, whole)
    with open(path, "r+b") as image:
        image.truncate(300 * MIB)
    text = problem(stopped)
    assert str(path) in text and str(300 * MIB) in text and str(512 * MIB) in text
    shutil.copyfile(whole, path)
    stopped.wfs("pool", "import", str(path))
    assert read_all(stopped.nbd_uri("v"))[: len(DATA)] == DATA


def test_missing_device_is_named_and_the_pool_works_when_it_is_back(stopped: Appliance) -> None:
    path = stopped.pool_file("tank")
    away = path.rename(stopped.folder / "away")
    assert str(path) in problem(stopped)
    away.rename(path)
    stopped.restart()
    assert read_all(stopped.nbd_uri("v"))[: len(DATA)] == DATA


def test_missing_second_device_is_refused(make_appliance) -> None:
    box = make_appliance(pool=None)
    files = [box.folder / "one", box.folder / "two"]
    box.wfs("pool", "create", "wide", *map(str, files), "--size", "128M")
    box.wfs("pool", "export", "wide")
    for file in files:
        assert "device" in box.wfs_fails("pool", "import", str(file))
    box.wfs("pool", "import", str(files[1]), str(files[0]))


def test_pool_of_a_running_daemon_is_refused_and_the_holder_named(appliance: Appliance, make_appliance) -> None:
    other = make_appliance(pool=None)
    said = other.wfs_fails("pool", "import", str(appliance.pool_file("tank")))
    assert "in use" in said and str(appliance.pid) in said and "wfsd" in said
    said = other.wfs_fails("pool", "create", "new", str(appliance.pool_file("tank")), "--force")
    assert str(appliance.pid) in said
    uri = appliance.add_volume()
    write_bytes(uri, DATA)
    assert read_all(uri)[: len(DATA)] == DATA


def test_second_daemon_on_the_same_state_is_refused(appliance: Appliance, make_appliance) -> None:
    other = make_appliance(start=False)
    other.write_config(appliance.config_path.read_text())
    said = other.start_expecting_failure()
    assert str(appliance.state_dir) in said or str(appliance.admin_socket) in said
    assert appliance.is_ready()


def test_pool_imported_twice_is_refused(appliance: Appliance) -> None:
    appliance.wfs_fails("pool", "import", str(appliance.pool_file("tank")))
    copy = appliance.folder / "copy"
    shutil.copy(appliance.pool_file("tank"), copy)
    assert "tank" in appliance.wfs_fails("pool", "import", str(copy))
    assert [p["name"] for p in appliance.wfs("pool", "list")["pools"]] == ["tank"]


def test_full_pool_is_enospc_and_works_again_after_a_delete(make_appliance) -> None:
    box = make_appliance(pool="128M")
    uri = box.add_volume("tank/full", "1G", "full")
    small = box.add_volume("tank/small", "8M", "small")
    write_bytes(small, DATA)
    written = 0
    with connect(uri) as handle:
        with fails_with(errno.ENOSPC):
            while written < 1024 * MIB:
                handle.pwrite(pattern(MIB, written), written)
                written += MIB
                if written % (16 * MIB) == 0:
                    handle.flush()
        assert written >= 64 * MIB
        with fails_with(errno.ENOSPC):
            handle.pwrite(pattern(MIB, 0), written)
        handle.flush()
        for at in range(0, written, 8 * MIB):
            assert bytes(handle.pread(MIB, at)) == pattern(MIB, at)
    assert read_all(small) == DATA
    status = box.wfs("pool", "status", "tank")
    assert status["health"] == "online" and status["available_bytes"] < 4 * MIB
    box.restart()
    with connect(uri) as handle:
        for at in range(0, written, 8 * MIB):
            assert bytes(handle.pread(MIB, at)) == pattern(MIB, at)
        handle.trim(16 * MIB, 0)
        handle.flush()
    box.wfs("export", "remove", "full")
    box.wfs("volume", "delete", "tank/full", "--yes")

    def space_is_back() -> bool:
        box.wfs("pool", "sync", "tank")
        return box.wfs("pool", "status", "tank")["available_bytes"] > 64 * MIB

    wait_for(space_is_back, "the space to come back")
    uri = box.add_volume("tank/next", "64M", "next")
    write_bytes(uri, pattern(60 * MIB, 9))
    assert read_all(uri)[: 60 * MIB] == pattern(60 * MIB, 9)
    assert read_all(small) == DATA


def test_overwriting_in_a_full_pool_can_go_on_after_a_trim(make_appliance) -> None:
    box = make_appliance(pool="64M")
    uri = box.add_volume("tank/v", "256M", "v")
    with connect(uri) as handle:
        at = 0
        with fails_with(errno.ENOSPC):
            while True:
                handle.pwrite(pattern(MIB, at), at)
                at += MIB
        handle.trim(16 * MIB, 0)

        def writes_again() -> bool:
            try:
                handle.flush()
                handle.pwrite(pattern(MIB, 5), 0)
                return True
            except nbd.Error as error:
                assert error.errnum == errno.ENOSPC
                return False

        wait_for(writes_again, "the trimmed space to be usable")
        assert bytes(handle.pread(MIB, 0)) == pattern(MIB, 5)


def test_host_file_system_full_under_a_sparse_pool_file(make_appliance, tmp_path: Path) -> None:
    """The pool's file is sparse on a small tmpfs: the device itself says ENOSPC."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small tmpfs needs root")
    mount = tmp_path / "small"
    mount.mkdir()
    run("mount", "-t", "tmpfs", "-o", "size=48m", "none", mount)
    try:
        box = make_appliance(pool=None)
        box.wfs("pool", "create", "tank", str(mount / "pool"), "--size", "256M")
        uri = box.add_volume("tank/v", "128M", "v")
        write_bytes(uri, DATA)
        with pytest.raises(nbd.Error):
            write_bytes(uri, pattern(100 * MIB, 2), 8 * MIB)
        with connect(uri) as handle:
            assert bytes(handle.pread(MIB, 0)) == DATA[:MIB]
        box.kill9()
        run("mount", "-o", "remount,size=400m", mount)
        box.start()
        assert read_all(uri)[: len(DATA)] == DATA
        assert box.wfs("pool", "status", "tank")["health"] == "online"
        box.stop()
    finally:
        run("umount", "-l", mount)
