# SPDX-License-Identifier: BSD-3-Clause
"""For tests of mounts beside the pools: FAT images, what mtools and fsck.fat say of them, and commands on files."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from appliance import Appliance
from mounts import Mount
from nbdclient import MIB, run


def make_fat(path: Path, size_mib: int = 32, *options: str) -> Path:
    with open(path, "wb") as image:
        image.truncate(size_mib * MIB)
    run("mkfs.fat", *(options or ("-F", "16")), path)
    return path


def check_fat(image: Path) -> None:
    run("fsck.fat", "-n", image)


def read_fat(image: Path, name: str) -> bytes:
    return subprocess.run(["mcopy", "-i", str(image), f"::{name}", "-"], check=True, capture_output=True).stdout


def server(box: Appliance) -> list[str]:
    return ["--server", f"unix:{box.rpc_socket}"]


def files(box: Appliance, *args: str) -> str:
    """A command on files that must succeed."""
    done = box.run_wfs(*args, *server(box))
    assert done.status == 0, f"wfs {' '.join(args)}: {done.err}"
    return done.out


def mounts(box: Appliance) -> list[dict]:
    return box.wfs("mount", "list")["mounts"]


def remove(box: Appliance, path: str, *options: str) -> None:
    assert box.wfs("mount", "remove", path, *options) == {"leaving": False}


@contextmanager
def mounted(source: str, folder: Path, *options: str) -> Iterator[Mount]:
    """By the kernel, on this machine."""
    mount = Mount(source, folder, *options).start()
    try:
        yield mount
        assert mount.stop() == 0
    finally:
        mount.dispose()


def volume_of(box: Appliance, image: Path, name: str = "tank/stick") -> str:
    """A volume with the contents of @image; its path in the namespace."""
    size = image.stat().st_size
    uri = box.add_volume(name, f"{size // MIB}M", "fill")
    run("nbdcopy", "--flush", image, uri)
    box.wfs("export", "remove", "fill")
    return f"/{name}"


def image_of(box: Appliance, path: str, to: Path) -> Path:
    """What a file of the namespace holds, as a file of ours."""
    box.add_export(path, "look", read_only=True)
    run("nbdcopy", box.nbd_uri("look"), to)
    box.wfs("export", "remove", "look")
    return to
