# SPDX-License-Identifier: BSD-3-Clause
"""The kernel's vfat driver as judge of our FAT engine, and the engine as judge of the kernel: each reads what the other changed."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from appliance import BUILD
from daemon import host_program
from guestvm import Guest
from initramfs import base
from kernel import Kernel

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
KIB, MIB = 1 << 10, 1 << 20
ROUNDS = 2
OPERATIONS = 500


@dataclass(frozen=True)
class Shape:
    kind: int
    size: int
    cluster: int
    sector: int = 512

    @property
    def name(self) -> str:
        return f"fat{self.kind}-{self.cluster}-{self.sector}"


SHAPES = [
    Shape(12, 1440 * KIB, 512),  # soon full
    Shape(12, 64 * MIB, 64 * KIB),
    Shape(16, 32 * MIB, 2 * KIB, 2048),
    Shape(16, 16 * MIB, 1 * KIB),
    Shape(32, 40 * MIB, 512),
    Shape(32, 280 * MIB, 4 * KIB, 4096),  # on a disk with sectors of 4096 bytes
]

# For each disk: what the kernel sees, what it makes of it, and what it sees then when it mounts it anew.
SCRIPT = """
attach() { mount -t vfat -o utf8,tz=UTC,noatime,nodiratime /dev/$1 /mnt; }
one() {
    wait_for test -b /dev/$1
    attach $1
    fat_peer kernel /mnt 0 0 | report before-$1
    fat_peer kernel /mnt $2 $3 >/tmp/after
    report after-$1 </tmp/after
    umount /mnt
    attach $1
    fat_peer kernel /mnt 0 0 | cmp - /tmp/after
    umount /mnt
}
"""


@pytest.fixture(scope="module")
def peer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("peer") / "fat_peer"
    flags = subprocess.run(
        ["pkg-config", "--libs", "liburing", "libxxhash", "libisal", "liburcu", "liburcu-cds"], capture_output=True, text=True, check=True
    )
    command = ["gcc", "-O2", "-D_GNU_SOURCE", "-I", ROOT, "-o", out, *HERE.glob("fat_peer*.c"), BUILD / "libcore.a"]
    subprocess.run([*command, *flags.stdout.split(), "-lpthread"], check=True, timeout=120)
    return out


def engine(peer: Path, image: Path, seed: int, count: int) -> list[str]:
    done = subprocess.run([peer, "engine", image, str(seed), str(count)], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return sorted(done.stdout.split())


def judge(image: Path) -> None:
    done = subprocess.run([host_program("fsck.fat"), "-n", image], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def disks(images: list[Path]) -> list[str]:
    args = []
    for shape, image in zip(SHAPES, images):
        args += ["-drive", f"if=none,id={shape.name},format=raw,file={image}"]
        block = 4096 if shape.sector == 4096 else 512
        args += ["-device", f"virtio-blk-pci,drive={shape.name},logical_block_size={block},physical_block_size={block}"]
    return args


def test_kernel_and_engine_agree_on_what_either_did(kernel: Kernel, peer: Path, tmp_path: Path) -> None:
    images = [tmp_path / shape.name for shape in SHAPES]
    for shape, image in zip(SHAPES, images):
        options = ["--size", shape.size, "--type", shape.kind, "--cluster", shape.cluster, "--sector", shape.sector]
        subprocess.run([str(arg) for arg in (BUILD / "wfs", "mkfs", "fat", image, *options)], check=True, timeout=60)
    for round_number in range(ROUNDS):
        seeds = [1000 * round_number + index for index in range(1, len(SHAPES) + 1)]
        ours = [engine(peer, image, seed, OPERATIONS) for image, seed in zip(images, seeds)]
        assert all(len(lines) > 10 for lines in ours)
        for image in images:
            judge(image)

        names = [f"vd{letter}" for letter in "abcdefgh"[: len(SHAPES)]]
        script = SCRIPT + "".join(f"one {name} {seed + 500} {OPERATIONS}\n" for name, seed in zip(names, seeds))
        script += "dmesg | grep -i 'fat-fs' | report complaints || true\n"
        archive = base(kernel, ["virtio_pci", "virtio_blk", "vfat", "nls_cp437", "nls_ascii"], script)
        archive.add_program(peer, "/usr/bin/fat_peer")
        folder = tmp_path / f"round{round_number}"
        folder.mkdir()
        result = Guest(kernel, archive, folder, disks(images)).run(timeout_s=360)

        assert result.reports.get("complaints", "").strip() == ""
        for name, shape, image, lines in zip(names, SHAPES, images, ours):
            assert sorted(result.reports[f"before-{name}"].split()) == lines, shape.name
            judge(image)
            assert engine(peer, image, 0, 0) == sorted(result.reports[f"after-{name}"].split()), shape.name
