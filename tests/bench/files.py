# SPDX-License-Identifier: BSD-3-Clause
"""Files over libwfs on a unix socket: a daemon with a pool on a file, and filebench as its client. In the same rounds, where
that can be mounted, small files one by one on the kernel's btrfs, without any server.

usage: files.py [--folder DIR] [--files N] [--large MIB] [--rounds N]
"""

import argparse
import json
import shutil
import statistics
import subprocess
import tempfile
from pathlib import Path

import btrfs
from targets import Ours  # noqa: F401  makes the test harness importable

from appliance import Appliance, Settings, program

POOL_MIB_PER_LARGE = 4
BTRFS_BYTES = 2 << 30


def measure(folder: Path, files: int, large_mib: int) -> dict[str, tuple[float, str]]:
    """One run. Each part has a daemon of its own: what the one leaves to be written does not slow down the other."""
    rows = {**measure_part(folder / "small", files, 0), **measure_part(folder / "large", 0, large_mib)}
    return rows if btrfs.why_not() else {**rows, **measure_btrfs(folder, files)}


def measure_btrfs(folder: Path, files: int) -> dict[str, tuple[float, str]]:
    peer = btrfs.Btrfs(folder, "btrfs", BTRFS_BYTES)
    try:
        peer.start()
        command = [program("bench/mountbench"), str(peer.path), str(files)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    finally:
        peer.stop()
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    return {f"btrfs here: {row['row']}": (row["value"], "files/s") for row in rows if row["row"] in ("create", "read")}


def measure_part(folder: Path, files: int, large_mib: int) -> dict[str, tuple[float, str]]:
    """Value and unit by row."""
    folder.mkdir()
    box = Appliance(folder, Settings(cache=f"{max(512, large_mib * 2)}M"))
    box.start()
    try:
        box.create_pool("bench", size=f"{max(2048, large_mib * POOL_MIB_PER_LARGE)}M")
        box.wfs("fs", "create", "bench/fs")
        box.add_export("bench/fs", "fs")
        done = subprocess.run(
            [program("bench/filebench"), f"unix:{box.rpc_socket}", "fs", str(files), str(large_mib)],
            stdout=subprocess.PIPE, text=True, check=True,
        )
    finally:
        box.stop()
        box.dispose()
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    return {row["row"]: (row["value"], row["unit"]) for row in rows}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=None, help="where the pool lies (default: a temporary folder)")
    parser.add_argument("--files", type=int, default=10000)
    parser.add_argument("--large", type=int, default=512, help="MiB")
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    runs = []
    for _ in range(chosen.rounds):
        folder = Path(tempfile.mkdtemp(prefix="wfsd-bench-", dir=chosen.folder))
        try:
            runs.append(measure(folder, chosen.files, chosen.large))
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    print("| row | median | best | unit |\n| --- | --- | --- | --- |")
    for name, (_, unit) in runs[0].items():
        values = [run[name][0] for run in runs]
        best = min(values) if unit == "us" else max(values)
        print(f"| {name} | {statistics.median(values):,.1f} | {best:,.1f} | {unit} |")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
