# SPDX-License-Identifier: BSD-3-Clause
"""File systems in pools as administrators see them: create, list, rename, delete."""

from appliance import Appliance, wait_for


def names(box: Appliance) -> list[str]:
    return [f"{fs['pool']}/{fs['name']}" for fs in box.wfs("fs", "list")["filesystems"]]


def test_created_file_system_is_listed_and_survives_a_kill(appliance: Appliance) -> None:
    appliance.wfs("fs", "create", "tank/home")
    assert names(appliance) == ["tank/home"]
    shown = appliance.admin("/v1/filesystems/tank/home").json
    assert shown["object_count"] == 1 and shown["used_bytes"] == 0
    assert appliance.wfs("pool", "status", "tank")["fs_count"] == 1
    appliance.kill9()
    appliance.start()
    assert names(appliance) == ["tank/home"]


def test_names_are_shared_with_volumes(appliance: Appliance) -> None:
    appliance.create_volume("tank/vm1", "64M")
    assert "already" in appliance.wfs_fails("fs", "create", "tank/vm1")
    appliance.wfs("fs", "create", "tank/home")
    assert "already" in appliance.wfs_fails("volume", "create", "tank/home", "8M")
    assert "file tree" in appliance.wfs_fails("volume", "delete", "tank/home", "--yes")
    assert "volume" in appliance.wfs_fails("fs", "delete", "tank/vm1", "--yes")
    assert [v["name"] for v in appliance.wfs("volume", "list")["volumes"]] == ["vm1"]


def test_renamed_and_deleted_file_systems(appliance: Appliance) -> None:
    appliance.wfs("fs", "create", "tank/a")
    appliance.wfs("fs", "create", "tank/b")
    assert "already" in appliance.wfs_fails("fs", "rename", "tank/a", "b")
    appliance.wfs("fs", "rename", "tank/a", "c")
    appliance.wfs("fs", "delete", "tank/b", "--yes")
    wait_for(lambda: names(appliance) == ["tank/c"], "the file system to be gone")
    assert "no 'b'" in appliance.wfs_fails("fs", "delete", "tank/b", "--yes")
