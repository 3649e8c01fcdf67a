# SPDX-License-Identifier: BSD-3-Clause
"""File systems that are mounted beside the pools: from devices, files, and files of the namespace."""

import subprocess
from pathlib import Path

from appliance import Appliance


def make_fat(path: Path, size: str = "16M") -> Path:
    with open(path, "wb") as image:
        image.truncate(int(size[:-1]) << 20)
    subprocess.run(["mkfs.fat", "-F", "16", str(path)], check=True, capture_output=True)
    return path


def test_fat_on_a_file_is_read_and_written(appliance: Appliance, tmp_path: Path) -> None:
    image = make_fat(tmp_path / "stick.img")
    (tmp_path / "hello.txt").write_text("hello\n")
    subprocess.run(["mcopy", "-i", str(image), str(tmp_path / "hello.txt"), "::HELLO.TXT"], check=True)
    appliance.wfs("mount", "add", "fat", str(image), "/stick")
    (mount,) = appliance.wfs("mount", "list")["mounts"]
    assert mount["source"] == f"host:{image}" and mount["path"] == "/stick" and not mount["leaving"]
    appliance.wfs("export", "add", "/stick", "--as", "stick")
    env = ["--server", f"unix:{appliance.rpc_socket}"]
    assert appliance.run_wfs("cat", "stick/HELLO.TXT", *env).out == "hello\n"
    (tmp_path / "new").write_bytes(b"x" * 100000)
    appliance.run_wfs("put", str(tmp_path / "new"), "stick", *env)
    assert "export" in appliance.wfs_fails("mount", "remove", "/stick")
    appliance.wfs("export", "remove", "stick")
    appliance.wfs("mount", "remove", "/stick")
    assert appliance.wfs("mount", "list")["mounts"] == []
    subprocess.run(["fsck.fat", "-n", str(image)], check=True, capture_output=True)
    got = subprocess.run(["mcopy", "-i", str(image), "::new", "-"], check=True, capture_output=True).stdout
    assert got == b"x" * 100000
