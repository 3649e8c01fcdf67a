# SPDX-License-Identifier: BSD-3-Clause
"""Builds the guest's initramfs: busybox, kernel modules, the host's programs with their libraries. Needs no root."""

import re
import stat
import subprocess
from pathlib import Path

from kernel import Kernel, read_module

INIT = """#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/shm /tmp /run /mnt /var/lib /root
mount -t tmpfs tmpfs /tmp
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /var/lib
stty -F /dev/ttyS1 raw
exec 3>/dev/ttyS1
while read -r module; do
    insmod "/modules/$module" || echo "insmod $module failed"
done </modules/order
ip link set lo up
# report NAME: one line for the host, NAME and standard input with its line ends made blanks
report() { { printf '%s ' "$1"; tr '\\n' ' '; echo; } >&3; }
wait_for() { n=0; until "$@" >/dev/null 2>&1; do n=$((n + 1)); [ $n -lt 600 ] || { echo "gave up: $*"; return 1; }; usleep 100000; done; }
echo "guest: up after $(cut -d' ' -f1 /proc/uptime) s"
( set -e; . /guest.sh )
echo $? | report exit
poweroff -f
"""

PASSWD = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"
MKE2FS_CONF = "[defaults]\n\tblocksize = 4096\n\tinode_size = 256\n[fs_types]\n\text4 = {\n\t\tfeatures = has_journal,extent,metadata_csum,64bit\n\t}\n"
GROUP = "root:x:0:\nnogroup:x:65534:\n"


class Initramfs:
    """A cpio archive ("newc") in the making."""

    def __init__(self) -> None:
        self._chunks: list[bytes] = []
        self._size = 0
        self._inode = 0
        self._paths: set[str] = set()

    def add_dir(self, path: str) -> None:
        parent = str(Path(path).parent)
        if path in ("/", ".") or path in self._paths:
            return
        self.add_dir(parent)
        self._add(path, stat.S_IFDIR | 0o755, b"")

    def add_bytes(self, path: str, data: bytes, mode: int = 0o644) -> None:
        self.add_dir(str(Path(path).parent))
        self._add(path, stat.S_IFREG | mode, data)

    def add_link(self, path: str, target: str) -> None:
        self.add_dir(str(Path(path).parent))
        self._add(path, stat.S_IFLNK | 0o777, target.encode())

    def add_program(self, host_path: Path, guest_path: str | None = None) -> None:
        """A program or shared object of the host and the libraries it needs, each at its own path."""
        self._add_once(guest_path or str(host_path), host_path)
        for library in _libraries(host_path):
            self._add_once(str(library), library)

    def add_modules(self, kernel: Kernel, names: list[str]) -> None:
        order = []
        for path in kernel.modules(names):
            name = path.name.removesuffix(".xz")
            self.add_bytes(f"/modules/{name}", read_module(path))
            order.append(name)
        self.add_bytes("/modules/order", ("\n".join(order) + "\n").encode())

    def write(self, path: Path) -> None:
        self._add("TRAILER!!!", 0, b"")
        path.write_bytes(b"".join(self._chunks))

    def _add_once(self, guest_path: str, host_path: Path) -> None:
        if guest_path not in self._paths:
            self.add_bytes(guest_path, host_path.read_bytes(), 0o755)

    def _add(self, path: str, mode: int, data: bytes, device: tuple[int, int] = (0, 0)) -> None:
        if path in self._paths:
            return
        self._paths.add(path)
        self._inode += 1
        name = path.lstrip("/").encode() + b"\0"
        fields = (self._inode, mode, 0, 0, 1, 0, len(data), 0, 0, device[0], device[1], len(name), 0)
        self._append(b"070701" + b"".join(b"%08x" % field for field in fields) + name)
        self._append(data)

    def _append(self, data: bytes) -> None:
        padding = -(self._size + len(data)) % 4
        self._chunks.append(data + bytes(padding))
        self._size += len(data) + padding


def base(kernel: Kernel, modules: list[str], script: str) -> Initramfs:
    """busybox, /init, @modules, and @script as what the guest does."""
    archive = Initramfs()
    busybox = Path("/bin/busybox")
    archive.add_program(busybox.resolve(), "/bin/busybox")
    for folder in ("/dev", "/proc", "/sys", "/tmp", "/run", "/mnt", "/root", "/var/lib", "/usr/bin", "/sbin"):
        archive.add_dir(folder)
    archive._add("/dev/console", stat.S_IFCHR | 0o600, b"", (5, 1))
    archive.add_bytes("/init", INIT.encode(), 0o755)
    archive.add_bytes("/guest.sh", script.encode(), 0o755)
    archive.add_bytes("/etc/passwd", PASSWD.encode())
    archive.add_bytes("/etc/group", GROUP.encode())
    archive.add_bytes("/etc/mke2fs.conf", MKE2FS_CONF.encode())
    archive.add_modules(kernel, modules)
    return archive


def _libraries(path: Path) -> list[Path]:
    done = subprocess.run(["ldd", str(path)], capture_output=True, text=True, timeout=30)
    if done.returncode != 0:  # statically linked
        return []
    if "not found" in done.stdout:
        raise RuntimeError(f"{path} lacks libraries:\n{done.stdout}")
    return [Path(found) for found in re.findall(r"(?:=> |^\s+)(/\S+) \(0x", done.stdout, re.MULTILINE)]
