# SPDX-License-Identifier: BSD-3-Clause
"""A btrfs of the kernel on a loop device whose file lies in a folder: what others are measured on. Needs root."""

import os
import shutil
import subprocess
from pathlib import Path


def why_not() -> str | None:
    """Why there can be none here, or None."""
    if os.geteuid() != 0:
        return "mounting needs root"
    if not shutil.which("mkfs.btrfs"):
        return "mkfs.btrfs is not there"
    return None


class Btrfs:
    def __init__(self, folder: Path, name: str, size: int) -> None:
        """The file, of @size bytes, and the mount are @name in @folder."""
        self.image = folder / f"{name}.backing"
        self.path = folder / f"{name}.mount"
        self.size = size
        self.loop = ""

    def start(self) -> None:
        with open(self.image, "wb") as image:
            image.truncate(self.size)
        losetup = subprocess.run(["losetup", "-f", "--show", str(self.image)], check=True, capture_output=True, text=True)
        self.loop = losetup.stdout.strip()
        subprocess.run(["mkfs.btrfs", "-q", "-f", self.loop], check=True, capture_output=True)
        self.path.mkdir()
        subprocess.run(["mount", self.loop, str(self.path)], check=True)

    def stop(self) -> None:
        """Also after a start that failed half way."""
        if os.path.ismount(self.path):
            subprocess.run(["umount", str(self.path)], check=False)
        if self.loop:
            subprocess.run(["losetup", "-d", self.loop], check=False)
            self.loop = ""
