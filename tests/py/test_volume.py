# SPDX-License-Identifier: BSD-3-Clause
"""Volumes as administrators see them: create, show, resize, rename, delete, and the space they take."""

import pytest
from appliance import Appliance, CommandError, wait_for
from nbdclient import MIB, connect, extents, info, pattern, read_all, write_bytes


def used(box: Appliance, volume: str) -> int:
    box.wfs("pool", "sync", volume.split("/")[0])  # what a flush left in the log has no place yet
    return box.wfs("volume", "show", volume)["used_bytes"]


def test_created_volume_is_listed_with_its_size(appliance: Appliance) -> None:
    appliance.create_volume("tank/vm1", "64M")
    shown = appliance.wfs("volume", "show", "tank/vm1")
    assert (shown["pool"], shown["name"], shown["size_bytes"]) == ("tank", "vm1", 64 * MIB)
    assert shown["used_bytes"] == 0 and shown["open_count"] == 0
    assert shown["created_ns"] > 1_600_000_000 * 10**9
    assert [v["name"] for v in appliance.wfs("volume", "list")["volumes"]] == ["vm1"]
    assert appliance.wfs("pool", "status", "tank")["volume_count"] == 1


def test_volume_may_be_far_larger_than_the_pool(appliance: Appliance) -> None:
    uri = appliance.add_volume("tank/thin", "1T", "thin")
    data = pattern(MIB, 1)
    write_bytes(uri, data, (1 << 40) - MIB)
    with connect(uri) as handle:
        assert handle.get_size() == 1 << 40
        assert bytes(handle.pread(MIB, (1 << 40) - MIB)) == data
    assert extents(uri) == [(0, (1 << 40) - MIB, 3), ((1 << 40) - MIB, MIB, 0)]


def test_used_bytes_follow_writes_and_trims(appliance: Appliance) -> None:
    uri = appliance.add_volume()
    write_bytes(uri, pattern(8 * MIB, 1))
    assert used(appliance, "tank/vm1") == 8 * MIB
    write_bytes(uri, pattern(8 * MIB, 2))
    assert used(appliance, "tank/vm1") == 8 * MIB
    with connect(uri) as handle:
        handle.trim(3 * MIB, MIB)
        handle.flush()
    assert used(appliance, "tank/vm1") == 5 * MIB


def test_grown_volume_has_zeros_at_its_end(appliance: Appliance) -> None:
    uri = appliance.add_volume("tank/vm1", "8M")
    data = pattern(8 * MIB, 3)
    write_bytes(uri, data)
    appliance.wfs("volume", "resize", "tank/vm1", "20M")
    assert read_all(uri) == data + bytes(12 * MIB)


def test_shrinking_needs_to_be_asked_for_and_drops_the_end(appliance: Appliance) -> None:
    uri = appliance.add_volume("tank/vm1", "16M")
    data = pattern(16 * MIB, 4)
    write_bytes(uri, data)
    assert appliance.wfs_fails("volume", "resize", "tank/vm1", "8M")
    assert info(uri)["exports"][0]["export-size"] == 16 * MIB
    appliance.wfs("volume", "resize", "tank/vm1", "8M", "--shrink", "--yes")
    assert read_all(uri) == data[: 8 * MIB]
    appliance.wfs("volume", "resize", "tank/vm1", "16M")
    assert read_all(uri) == data[: 8 * MIB] + bytes(8 * MIB)
    wait_for(lambda: used(appliance, "tank/vm1") == 8 * MIB, "the space of the end to be free")


def test_renamed_volume_keeps_its_data(appliance: Appliance) -> None:
    uri = appliance.add_volume("tank/old", "8M", "export")
    write_bytes(uri, pattern(8 * MIB, 5))
    with pytest.raises(CommandError, match="export"):
        appliance.wfs("volume", "rename", "tank/old", "new")
    appliance.wfs("export", "remove", "export")
    appliance.wfs("volume", "rename", "tank/old", "new")
    assert [v["name"] for v in appliance.wfs("volume", "list")["volumes"]] == ["new"]
    appliance.add_export("tank/new", "export")
    assert read_all(uri) == pattern(8 * MIB, 5)


def test_deleted_volume_gives_its_space_back(appliance: Appliance) -> None:
    before = appliance.wfs("pool", "status", "tank")["available_bytes"]
    uri = appliance.add_volume("tank/vm1", "100M")
    write_bytes(uri, pattern(100 * MIB, 6))
    assert appliance.wfs("pool", "status", "tank")["available_bytes"] < before - 99 * MIB
    appliance.wfs("export", "remove", "vm1")
    appliance.wfs("volume", "delete", "tank/vm1", "--yes")
    assert appliance.wfs("volume", "list")["volumes"] == []

    def is_back() -> bool:
        appliance.wfs("pool", "sync", "tank")
        return appliance.wfs("pool", "status", "tank")["available_bytes"] > before - 4 * MIB

    wait_for(is_back, "the space to come back")


def test_name_of_a_deleted_volume_can_be_used_again(appliance: Appliance) -> None:
    for number in range(4):
        uri = appliance.add_volume("tank/again", "8M", "again")
        assert read_all(uri) == bytes(8 * MIB)
        write_bytes(uri, pattern(8 * MIB, number))
        appliance.wfs("export", "remove", "again")
        appliance.wfs("volume", "delete", "tank/again", "--yes")


def test_two_volumes_of_one_name_are_refused(appliance: Appliance) -> None:
    appliance.create_volume("tank/vm1", "8M")
    assert "exist" in appliance.wfs_fails("volume", "create", "tank/vm1", "8M").lower()


def test_pool_over_two_files_holds_data_and_survives_a_restart(make_appliance) -> None:
    box = make_appliance(pool=None)
    files = [str(box.folder / "one"), str(box.folder / "two")]
    box.wfs("pool", "create", "wide", *files, "--size", "128M")
    uri = box.add_volume("wide/v", "160M", "v")
    data = pattern(150 * MIB, 7)
    write_bytes(uri, data)
    box.restart()
    assert read_all(uri)[: len(data)] == data
    status = box.wfs("pool", "status", "wide")
    assert status["device_count"] == 2 and [d["path"] for d in status["devices"]] == files


def test_exported_pool_can_be_imported_again(appliance: Appliance) -> None:
    uri = appliance.add_volume("tank/vm1", "8M")
    write_bytes(uri, pattern(8 * MIB, 8))
    assert "vm1" in appliance.wfs_fails("pool", "export", "tank")
    appliance.wfs("export", "remove", "vm1")
    appliance.wfs("pool", "export", "tank")
    assert appliance.wfs("pool", "list")["pools"] == []
    appliance.wfs("pool", "import", str(appliance.pool_file("tank")))
    appliance.add_export("tank/vm1", "vm1")
    assert read_all(uri) == pattern(8 * MIB, 8)


def test_pool_imported_read_only_serves_reads_and_changes_nothing(appliance: Appliance) -> None:
    uri = appliance.add_volume("tank/vm1", "8M")
    write_bytes(uri, pattern(8 * MIB, 9))
    appliance.wfs("export", "remove", "vm1")
    appliance.wfs("pool", "export", "tank")
    before = appliance.pool_file("tank").read_bytes()
    appliance.wfs("pool", "import", str(appliance.pool_file("tank")), "--read-only")
    assert appliance.wfs("pool", "status", "tank")["health"] == "read-only"
    appliance.add_export("tank/vm1", "vm1", read_only=True)
    assert read_all(uri) == pattern(8 * MIB, 9)
    assert appliance.wfs_fails("volume", "create", "tank/other", "8M")
    appliance.wfs("export", "remove", "vm1")
    appliance.wfs("pool", "export", "tank")
    assert appliance.pool_file("tank").read_bytes() == before


def test_destroyed_pool_is_no_pool_any_more(appliance: Appliance) -> None:
    appliance.create_volume("tank/vm1", "8M")
    appliance.wfs("pool", "destroy", "tank", "--yes")
    assert appliance.wfs("pool", "list")["pools"] == []
    assert "not a" in appliance.wfs_fails("pool", "import", str(appliance.pool_file("tank"))).lower()


def test_pool_create_writes_its_log_area_out(appliance: Appliance) -> None:
    """A flush must not have to allocate in the host's file system: the log area (1/64 of the pool) has blocks."""
    stat = appliance.pool_file("tank").stat()
    assert stat.st_size == 512 * MIB
    assert stat.st_blocks * 512 >= 512 * MIB // 64


def test_smallest_pool_works(make_appliance) -> None:
    box = make_appliance(pool="64M")
    uri = box.add_volume("tank/v", "32M", "v")
    for seed in range(3):
        write_bytes(uri, pattern(20 * MIB, seed))
    box.restart()
    assert read_all(uri)[: 20 * MIB] == pattern(20 * MIB, 2)
