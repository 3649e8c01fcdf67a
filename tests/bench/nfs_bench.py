# SPDX-License-Identifier: BSD-3-Clause
"""A large file of an NFS share, read from its beginning to its end: by the import (core/fs/nfs, the page cache above it)
and by nfs-cp of libnfs, from the same nfs-ganesha, by turns. nfs-cp cannot but write what it reads to a new file; the
import is measured with and without that. Needs root.

usage: nfs_bench.py [--folder DIR] [--mib N] [--rounds N]
"""

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from targets import Ours  # noqa: F401  makes the test harness importable

from appliance import program
from ganesha import CannotRun, Ganesha

BUDGET = 1.2
READ, COPY, PEER = "import, read", "import, read and written to a file", "nfs-cp"


def ours(share: Ganesha, to: Path | None) -> float:
    words = [program("bench/nfs_copy_bench"), share.url, "big", *([str(to)] if to else [])]
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True)
    return float(re.search(r"in ([0-9.]+) s", done.stdout).group(1))


def peer(share: Ganesha, to: Path) -> float:
    start = time.monotonic()
    url = share.url.replace("?", "/big?") + "&version=3"
    subprocess.run(["nfs-cp", url, to], stdout=subprocess.DEVNULL, check=True)
    return time.monotonic() - start


def fill(path: Path, mib: int) -> None:
    with open(path, "wb") as file:
        for _ in range(mib):
            file.write(os.urandom(1 << 20))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=None, help="of the share (default: a temporary folder)")
    parser.add_argument("--mib", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=7)
    chosen = parser.parse_args()
    if not shutil.which("nfs-cp"):
        sys.exit("nfs_bench: nfs-cp is not installed (libnfs-utils)")
    top = Path(tempfile.mkdtemp(prefix="wfsd-bench-", dir=chosen.folder))
    to = Path("/dev/shm") / f"{top.name}.copy"
    seconds: dict[str, list[float]] = {READ: [], COPY: [], PEER: []}
    share = None
    try:
        share = Ganesha(top / "ganesha").start()
        fill(share.export / "big", chosen.mib)
        for _ in range(chosen.rounds):
            seconds[READ].append(ours(share, None))
            seconds[COPY].append(ours(share, to))
            to.unlink()
            seconds[PEER].append(peer(share, to))
            to.unlink()
    except CannotRun as why:
        sys.exit(f"nfs_bench: {why}")
    finally:
        if share:
            share.dispose()
        to.unlink(missing_ok=True)
        shutil.rmtree(top, ignore_errors=True)
    print(f"{chosen.mib} MiB from nfs-ganesha, {chosen.rounds} rounds by turns:\n")
    print("| | median | best |\n| --- | ---: | ---: |")
    speed = {name: [chosen.mib / s for s in times] for name, times in seconds.items()}
    for name, values in speed.items():
        print(f"| {name} | {statistics.median(values):,.0f} MiB/s | {max(values):,.0f} MiB/s |")
    ratio = statistics.median(speed[READ]) / statistics.median(speed[PEER])
    print(f"\nread: {ratio:.2f} x nfs-cp (budget: {BUDGET}): {'met' if ratio >= BUDGET else 'missed'}")
    print(json.dumps(speed))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
