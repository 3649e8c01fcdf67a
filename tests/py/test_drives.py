# SPDX-License-Identifier: BSD-3-Clause
"""Drive letters of what is mounted: given, remembered, used in the paths of exports, and taken away."""

from pathlib import Path

from appliance import Appliance
from fat_images import files, make_fat


def drives(box: Appliance) -> dict[str, tuple[str, bool]]:
    return {drive["letter"]: (drive["path"], drive["mounted"]) for drive in box.wfs("drive", "list")["drives"]}


def problems(box: Appliance) -> str:
    return str(box.wfs("status")["problems"])


def test_a_path_with_a_drive_letter_is_the_same_with_slashes_of_both_kinds(appliance: Appliance, tmp_path: Path) -> None:
    appliance.wfs("fs", "create", "tank/docs")
    appliance.add_export("/tank/docs", "docs")
    files(appliance, "mkdir", "docs/letters")
    (tmp_path / "a").write_text("dear\n")
    files(appliance, "put", str(tmp_path / "a"), "docs/letters")
    assert "C:\\docs: no mount has that drive letter" in appliance.wfs_fails("export", "add", "C:\\docs")
    appliance.wfs("drive", "set", "c", "/tank")
    assert drives(appliance) == {"C": ("/tank", True)}
    for path, name in (("C:\\docs\\letters", "letters"), ("c:/docs/letters/", "slash"), ("C:/docs\\letters", "mixed")):
        appliance.wfs("export", "add", path, "--as", name)
        assert files(appliance, "cat", f"{name}/a") == "dear\n"
    paths = {export["path"] for export in appliance.wfs("export", "list")["exports"]}
    assert paths == {"/tank/docs", "/tank/docs/letters"}
    assert "'letters'" in appliance.wfs_fails("export", "add", "C:\\docs\\letters")  # its last part, which there is already


def test_letters_are_given_once_and_only_to_what_is_mounted(appliance: Appliance, tmp_path: Path) -> None:
    appliance.wfs("mount", "add", "fat", str(make_fat(tmp_path / "stick.img")), "/stick")
    appliance.wfs("drive", "set", "C:", "/tank")
    appliance.wfs("drive", "set", "C", "/tank")
    assert "drive C: is /tank" in appliance.wfs_fails("drive", "set", "C", "/stick")
    assert "/tank is drive C: already" in appliance.wfs_fails("drive", "set", "D", "/tank")
    assert "nothing is mounted at /none" in appliance.wfs_fails("drive", "set", "D", "/none")
    assert "not an absolute path" in appliance.wfs_fails("drive", "set", "D", "stick")
    for letter in ("1", "CD", "::", "Ä"):
        assert "A to Z" in appliance.wfs_fails("drive", "set", letter, "/stick")
    assert "empty" in appliance.wfs_fails("drive", "set", "", "/stick")
    assert "there is no drive" in appliance.wfs_fails("drive", "remove", "D")
    appliance.wfs("drive", "set", "D", "/stick")
    assert drives(appliance) == {"C": ("/tank", True), "D": ("/stick", True)}
    appliance.wfs("drive", "remove", "d")
    assert drives(appliance) == {"C": ("/tank", True)}
    assert "no mount has that drive letter" in appliance.wfs_fails("export", "add", "D:\\", "--as", "stick")


def test_letters_are_remembered_and_come_back_with_what_has_them(appliance: Appliance, tmp_path: Path) -> None:
    image = make_fat(tmp_path / "stick.img")
    appliance.wfs("mount", "add", "fat", str(image), "/stick")
    appliance.wfs("drive", "set", "S", "/stick")
    appliance.wfs("drive", "set", "T", "/tank")
    appliance.kill9()
    appliance.start()
    assert drives(appliance) == {"S": ("/stick", True), "T": ("/tank", True)}
    appliance.wfs("mount", "remove", "/stick")
    assert drives(appliance)["S"] == ("/stick", False)
    appliance.restart()
    assert drives(appliance) == {"S": ("/stick", False), "T": ("/tank", True)}
    assert "S:" in problems(appliance)
    appliance.wfs("mount", "add", "fat", str(image), "/stick")
    assert drives(appliance)["S"] == ("/stick", True)
    assert "S:" not in problems(appliance)
    appliance.wfs("pool", "export", "tank")
    assert drives(appliance)["T"] == ("/tank", False)
    appliance.wfs("pool", "import", str(appliance.pool_file("tank")))
    assert drives(appliance)["T"] == ("/tank", True)
    appliance.wfs("export", "add", "S:", "--as", "stick")
    assert files(appliance, "ls", "stick") == ""
