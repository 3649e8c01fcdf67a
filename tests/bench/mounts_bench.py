# SPDX-License-Identifier: BSD-3-Clause
"""Small files on mounts through FUSE, side by side: ours, zfs-fuse and fuse2fs where they are installed. Needs root.

All stand on files in one folder; each round runs them one after the other, on mounts and pools of their own.

usage: mounts_bench.py [--folder DIR] [--files N] [--rounds N] [--targets "A;B"]
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from targets import Ours  # noqa: F401  makes the test harness importable

import mounts
from appliance import Appliance, Settings, program, wait_for

SIZE = "2G"
ROWS = ("create", "readdir+stat", "read", "create+fsync", "unlink")
ZFS_POOL = f"wfsdbench{os.getpid()}"


@contextmanager
def ours(folder: Path, options: str = "allow_other,suid,dev") -> Iterator[Path]:
    box = Appliance(folder / "ours", Settings(cache="512M"))
    box.start()
    mount = None
    try:
        box.create_pool("tank", SIZE)
        mount = mounts.Mount(mounts.create_tree(box), folder / "ours" / "mnt", options).start()
        yield mount.path
        mount.stop()
    finally:
        if mount:
            mount.dispose()
        box.stop()
        box.dispose()


def ours_local_locks(folder: Path) -> AbstractContextManager[Path]:
    """As the others keep them."""
    return ours(folder, "allow_other,suid,dev,local_locks")


@contextmanager
def zfs_fuse(folder: Path) -> Iterator[Path]:
    image, top = folder / "zfs.img", folder / "zfs"
    subprocess.run(["truncate", "-s", SIZE, image], check=True)
    daemon = subprocess.Popen(["zfs-fuse", "-n"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: Path("/var/run/zfs/zfs_socket").exists() or Path("/run/zfs/zfs_socket").exists(), "zfs-fuse")
        time.sleep(1)
        create = ["zpool", "create", "-o", "cachefile=none", "-m", str(top), ZFS_POOL, str(image)]
        subprocess.run(create, check=True, capture_output=True)
        yield top
    finally:
        daemon.terminate()  # unmounts, too; nothing of the pool is kept
        daemon.wait(20)


@contextmanager
def fuse2fs(folder: Path) -> Iterator[Path]:
    image, top = folder / "ext4.img", folder / "ext4"
    top.mkdir()
    subprocess.run(["truncate", "-s", SIZE, image], check=True)
    subprocess.run(["mkfs.ext4", "-q", "-F", image], check=True)
    subprocess.run(["fuse2fs", image, top, "-o", "fakeroot"], check=True, capture_output=True)
    try:
        wait_for(lambda: os.path.ismount(top), "fuse2fs")
        yield top
    finally:
        subprocess.run(["umount", top], check=False)
        time.sleep(1)


TARGETS: dict[str, Callable] = {"ours": ours, "ours, local_locks": ours_local_locks, "zfs-fuse": zfs_fuse, "fuse2fs": fuse2fs}


def measure(target: str, folder: Path, files: int) -> dict[str, float]:
    folder.mkdir()
    try:
        with TARGETS[target](folder) as top:
            work = top / "work"
            work.mkdir()
            done = subprocess.run(
                [program("bench/mountbench"), str(work), str(files)], stdout=subprocess.PIPE, text=True, check=True
            )
            return {row["row"]: row["value"] for row in map(json.loads, done.stdout.splitlines())}
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=None, help="where everything lies (default: a temporary folder)")
    parser.add_argument("--files", type=int, default=10000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--targets", default=";".join(TARGETS), help="separated by semicolons")
    chosen = parser.parse_args()
    if mounts.why_not():
        sys.exit(f"mounts_bench: {mounts.why_not()}")
    wanted = [t for t in chosen.targets.split(";") if t.startswith("ours") or shutil.which(t)]
    runs: dict[str, list[dict[str, float]]] = {target: [] for target in wanted}
    top = Path(tempfile.mkdtemp(prefix="wfsd-bench-", dir=chosen.folder))
    top.chmod(0o755)
    try:
        for number in range(chosen.rounds):
            for target in wanted:
                runs[target].append(measure(target, top / f"{target}{number}", chosen.files))
    finally:
        shutil.rmtree(top, ignore_errors=True)
    print(f"Files of 4 KiB per second, one thread, median of {chosen.rounds}:\n")
    print(f"| target | {' | '.join(ROWS)} |\n| --- |{' ---: |' * len(ROWS)}")
    for target in wanted:
        cells = (f"{statistics.median(run[row] for run in runs[target]):,.0f}" for row in ROWS)
        print(f"| {target} | {' | '.join(cells)} |")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
