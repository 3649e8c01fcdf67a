# SPDX-License-Identifier: BSD-3-Clause
"""Debian's stock kernel for the guest: downloaded and unpacked without being installed, and its modules in load order."""

import lzma
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Kernel:
    """One unpacked kernel package."""

    version: str
    image: Path
    modules_dir: Path

    def modules(self, names: list[str]) -> list[Path]:
        """The module files for @names and everything they depend on, in an order in which insmod takes them."""
        depends = self._depends()
        builtin = {_module_name(line) for line in (self.modules_dir / "modules.builtin").read_text().split()}
        order: list[str] = []

        def visit(name: str) -> None:
            if name in builtin or name in order:
                return
            if name not in depends:
                raise LookupError(f"kernel {self.version} has no module {name}")
            for other in depends[name][1]:
                visit(other)
            order.append(name)

        for name in names:
            visit(name.replace("-", "_"))
        return [depends[name][0] for name in order]

    def _depends(self) -> dict[str, tuple[Path, list[str]]]:
        """name -> (file, names it depends on), from modules.dep (made by depmod, which needs no root for a folder)."""
        dep_file = self.modules_dir / "modules.dep"
        if not dep_file.exists():
            base = self.modules_dir.parents[2]
            subprocess.run([_sbin("depmod"), "-b", str(base), self.version], check=True, timeout=120)
        table: dict[str, tuple[Path, list[str]]] = {}
        for line in dep_file.read_text().splitlines():
            path, _, others = line.partition(":")
            table[_module_name(path)] = (self.modules_dir / path, [_module_name(other) for other in others.split()])
        return table


def read_module(path: Path) -> bytes:
    """A module's bytes, uncompressed (Debian 13 compresses them)."""
    data = path.read_bytes()
    return lzma.decompress(data) if path.suffix == ".xz" else data


def fetch(cache: Path) -> Kernel:
    """The kernel that linux-image-amd64 stands for, from @cache or from the Debian mirror. Needs no root."""
    found = _unpacked(cache)
    if found:
        return found
    cache.mkdir(parents=True, exist_ok=True)
    package = _versioned_package()
    subprocess.run(["apt-get", "download", "-q", package], cwd=cache, check=True, timeout=300, stderr=subprocess.DEVNULL)
    [deb] = cache.glob(f"{package}_*.deb")
    subprocess.run(["dpkg-deb", "-x", str(deb), str(cache / "tree")], check=True, timeout=300)
    deb.unlink()
    found = _unpacked(cache)
    if not found:
        raise RuntimeError(f"{package} holds no kernel image with modules")
    return found


def _versioned_package() -> str:
    """The package with the kernel itself, of which linux-image-amd64 is the newest version's alias."""
    text = subprocess.run(
        ["apt-cache", "depends", "linux-image-amd64"], check=True, capture_output=True, text=True, timeout=60
    ).stdout
    match = re.search(r"Depends: (linux-image-\S+)", text)
    if not match:
        raise RuntimeError("apt knows no linux-image-amd64: run apt-get update")
    return match.group(1)


def _unpacked(cache: Path) -> Kernel | None:
    tree = cache / "tree"
    if (tree / "usr/lib/modules").exists() and not (tree / "lib").exists():
        (tree / "lib").symlink_to("usr/lib")  # Debian 13; depmod looks below lib
    for image in sorted(tree.glob("boot/vmlinuz-*")):
        version = image.name.removeprefix("vmlinuz-")
        modules_dir = tree / "lib/modules" / version
        if (modules_dir / "modules.builtin").exists():
            return Kernel(version, image, modules_dir)
    return None


def _module_name(path: str) -> str:
    return Path(path).name.split(".ko")[0].replace("-", "_")


def _sbin(name: str) -> str:
    for folder in ("/usr/sbin", "/sbin", *os.environ["PATH"].split(":")):
        if os.access(f"{folder}/{name}", os.X_OK):
            return f"{folder}/{name}"
    raise FileNotFoundError(f"{name} is not installed")
