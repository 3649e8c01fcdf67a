# SPDX-License-Identifier: BSD-3-Clause
"""The servers that are measured side by side: wfsd and its peers, each with one prefilled volume on a unix socket."""

import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import nbd

from btrfs import Btrfs

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "py"))
from appliance import Appliance, Settings  # noqa: E402

MIB = 1 << 20
THREADS = 16  # nbdkit's default; ours runs the same nbdkit


@dataclass
class Target:
    """One server with its volume. start() returns when it answers; stop() leaves nothing behind."""

    name: str
    what: str
    folder: Path
    size: int
    on_disk: bool = False
    flush_rows_only: bool = False  # a peer for what a flush costs, and for nothing else
    process: subprocess.Popen | None = field(default=None, init=False)

    @property
    def socket(self) -> Path:
        return self.folder / f"{self.name}.sock"

    @property
    def uri(self) -> str:
        return f"nbd+unix:///?socket={self.socket}"

    def takes(self, row_flushes: bool) -> bool:
        """Is a row measured on it? In memory a flush costs nothing, so only servers on the disk are asked for many."""
        return self.on_disk if row_flushes else not self.flush_rows_only

    @property
    def pid(self) -> int:
        assert self.process
        return self.process.pid

    def start(self) -> None:
        self.prepare()
        log = open(self.folder / f"{self.name}.log", "wb")
        self.process = subprocess.Popen(self.command(), stdout=log, stderr=log)
        deadline = time.monotonic() + 20
        while not self.socket.exists():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{self.name}: {Path(log.name).read_text()}")
            time.sleep(0.02)

    def prepare(self) -> None:
        """Make the volume before the server starts."""

    def command(self) -> list[str]:
        raise NotImplementedError

    def stop(self) -> None:
        if self.process:
            self.process.terminate()
            self.process.wait(20)

    def fill(self, image: Path) -> None:
        subprocess.run(["nbdcopy", "--flush", str(image), self.uri], check=True, timeout=180)

    def settle(self) -> None:
        """Make what was written durable, so that its write-back does not fall into another target's time."""
        handle = nbd.NBD()
        handle.connect_uri(self.uri)
        handle.flush()
        handle.shutdown()


class NbdkitFile(Target):
    """nbdkit's file plugin on a plain file."""

    def prepare(self) -> None:
        with open(self.folder / f"{self.name}.img", "wb") as image:
            image.truncate(self.size)

    def command(self) -> list[str]:
        image = self.folder / f"{self.name}.img"
        return ["nbdkit", "-f", "-t", str(THREADS), "-U", str(self.socket), "file", str(image)]


class QemuNbd(Target):
    """qemu-nbd on an image file in the given format."""

    image_format = "raw"

    def prepare(self) -> None:
        image = self.folder / f"{self.name}.img"
        create = ["qemu-img", "create", "-q", "-f", self.image_format, str(image), str(self.size)]
        subprocess.run(create, check=True, timeout=60)

    def command(self) -> list[str]:
        image = self.folder / f"{self.name}.img"
        options = ["-t", "-e", "8", "--aio=threads", "--cache=writeback", "--discard=unmap"]
        return ["qemu-nbd", *options, "-f", self.image_format, "-k", str(self.socket), str(image)]


class QemuNbdQcow2(QemuNbd):
    image_format = "qcow2"


class NbdkitBtrfs(NbdkitFile):
    """nbdkit's file plugin on a file on btrfs on a loop device, whose backing file is in @folder."""

    def start(self) -> None:
        self.outer = self.folder
        self.btrfs = Btrfs(self.folder, self.name, max(self.size * 4, 1 << 30))
        self.btrfs.start()
        self.folder = self.btrfs.path
        super().start()

    @property
    def socket(self) -> Path:
        return self.outer / f"{self.name}.sock"

    def settle(self) -> None:
        super().settle()
        subprocess.run(["sync", "-f", str(self.folder)], check=True)

    def stop(self) -> None:
        super().stop()
        if hasattr(self, "btrfs"):
            self.btrfs.stop()


class Ours(Target):
    """wfsd: a pool on a file in @folder, one volume, served by nbdkit with the plugin as it always is."""

    cache_mib = 0

    def start(self) -> None:
        self.cache_mib = max(64, self.size // MIB + self.size // MIB // 2)
        settings = Settings(cache=f"{self.cache_mib}M")
        self.appliance = Appliance(self.folder / self.name, settings)
        self.appliance.start()
        pool_mib = max(1024, self.size // MIB * 4)
        self.appliance.create_pool("bench", size=f"{pool_mib}M")
        self.appliance.create_volume("bench/v", f"{self.size // MIB}M")
        self.appliance.add_export("bench/v", "v")

    @property
    def uri(self) -> str:
        return self.appliance.nbd_uri("v")

    @property
    def pid(self) -> int:
        return self.appliance.pid

    def stop(self) -> None:
        if hasattr(self, "appliance"):
            self.appliance.stop()


@dataclass
class Folders:
    """Where the volumes live: one folder in memory, one on a disk."""

    memory: Path
    disk: Path

    def remove(self) -> None:
        shutil.rmtree(self.memory, ignore_errors=True)
        shutil.rmtree(self.disk, ignore_errors=True)


def all_targets(folders: Folders, size: int) -> list[Target]:
    return [
        Ours("ours", "wfsd, pool file on tmpfs", folders.memory, size),
        NbdkitFile("nbdkit-file", "nbdkit file plugin, file on tmpfs", folders.memory, size),
        QemuNbd("qemu-raw", "qemu-nbd, raw file on tmpfs", folders.memory, size),
        QemuNbdQcow2("qemu-qcow2", "qemu-nbd, qcow2 file on tmpfs", folders.memory, size),
        Ours("ours-disk", "wfsd, pool file on the disk's file system", folders.disk, size, on_disk=True),
        NbdkitBtrfs(
            "nbdkit-btrfs", "nbdkit file plugin, file on btrfs on a loop device on that file system", folders.disk, size, True
        ),
        NbdkitFile("nbdkit-disk", "nbdkit file plugin, plain file on that file system", folders.disk, size, True, True),
        QemuNbdQcow2("qemu-qcow2-disk", "qemu-nbd, qcow2 file on that file system", folders.disk, size, True, True),
    ]
