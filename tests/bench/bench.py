# SPDX-License-Identifier: BSD-3-Clause
"""`make bench`: wfsd and its peers side by side on one machine, in interleaved rounds; a table, ratios and JSON.

All servers run at the same time, each idle while another is measured, so that a slow moment of the machine hits all.
What is compared: the same volume size, the same random bytes in it, the same fio job over one NBD connection on a unix
socket. Servers on tmpfs have their data in memory; wfsd's cache is 1.5 times the volume, so its reads are cached too.
The btrfs peer stands on a loop device whose file is on the disk's file system, the same where the pool file of
"ours-disk" is; both write to the same disk underneath, as do the
peers of the rows that flush after every write, whose files stand in that file system itself.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measure import AMPLIFICATION_FLUSHES, ROWS, MemoryWatch, Row, Sample, run_row, write_amplification
from recovery import measure_recovery
from report import Report
from targets import MIB, Folders, Ours, Target, all_targets

ROOT = Path(__file__).resolve().parents[2]


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="rounds; the median counts (default 3)")
    parser.add_argument("--seconds", type=float, default=2.0, help="time of one measurement (default 2)")
    parser.add_argument("--size", type=int, default=512, metavar="MIB", help="volume size in MiB (default 512)")
    parser.add_argument("--short", action="store_true", help="one round of one second on 128 MiB: does it work at all?")
    parser.add_argument("--targets", help="only these, comma-separated")
    parser.add_argument("--rows", help="only these, comma-separated")
    parser.add_argument("--no-amplification", dest="amplification", action="store_false", help="no write amplification")
    parser.add_argument("--no-recovery", dest="recovery", action="store_false", help="no import after a crash")
    parser.add_argument("--disk", default=str(ROOT / "build" / "bench"), help="folder on the disk's file system")
    parser.add_argument("--memory", default="/dev/shm", help="folder on tmpfs")
    parser.add_argument("--json", default=str(ROOT / "build" / "bench" / "result.json"), help="where the result goes")
    chosen = parser.parse_args()
    if chosen.short:
        chosen.rounds, chosen.seconds, chosen.size = 1, 1.0, 128
    return chosen


def start(targets: list[Target], image: Path) -> list[Target]:
    """The targets that run, filled. One that cannot exist here (no loop devices, not root) is left out, and said."""
    running = []
    for target in targets:
        try:
            target.start()
            running.append(target)
            target.fill(image)
            target.settle()
        except (OSError, RuntimeError, subprocess.CalledProcessError) as problem:
            if target.name.startswith("ours"):
                raise
            detail = getattr(problem, "stderr", b"") or problem
            print(f"bench: {target.name} left out: {detail}", file=sys.stderr)
            target.stop()
            running = [other for other in running if other is not target]
    return running


def measure(targets: list[Target], rows: list[Row], chosen: argparse.Namespace) -> Report:
    samples: dict[tuple[str, str], list[Sample]] = {}
    peaks: dict[str, int] = {}
    for round_number in range(1, chosen.rounds + 1):
        for row in rows:
            print(f"bench: round {round_number}/{chosen.rounds}: {row.what}", file=sys.stderr, flush=True)
            for target in (one for one in targets if one.takes(row.each_flush)):
                with MemoryWatch(target.pid) as memory:
                    sample = run_row(target, row, chosen.seconds)
                samples.setdefault((target.name, row.key), []).append(sample)
                peaks[target.name] = max(peaks.get(target.name, 0), memory.peak_bytes)
    medians = {
        key: Sample(*(statistics.median(column) for column in zip(*(vars(run).values() for run in runs))))
        for key, runs in samples.items()
    }
    amplification = {}
    for target in targets:
        if isinstance(target, Ours) and target.on_disk and chosen.amplification:
            print(f"bench: write amplification of {target.name}", file=sys.stderr, flush=True)
            amplification[target.name] = {every: write_amplification(target, every) for every in AMPLIFICATION_FLUSHES}
    return Report(targets, rows, medians, peaks, samples, amplification)


def machine() -> dict[str, str | int]:
    model = ""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return {"kernel": platform.release(), "processors": os.cpu_count() or 0, "model": model}


def main() -> int:
    chosen = options()
    started = time.monotonic()
    Path(chosen.disk).mkdir(parents=True, exist_ok=True)
    folders = Folders(
        Path(tempfile.mkdtemp(prefix="wfsd-bench-", dir=chosen.memory)),
        Path(tempfile.mkdtemp(prefix="run-", dir=chosen.disk)),
    )
    for folder in (folders.memory, folders.disk):
        folder.chmod(0o755)
    size = chosen.size * MIB
    targets = all_targets(folders, size)
    if chosen.targets:
        targets = [target for target in targets if target.name in chosen.targets.split(",")]
    rows = [row for row in ROWS if not chosen.rows or row.key in chosen.rows.split(",")]
    try:
        image = folders.memory / "image"
        with open(image, "wb") as out:
            for _ in range(chosen.size):
                out.write(os.urandom(MIB))
        targets = start(targets, image)
        image.unlink()
        report = measure(targets, rows, chosen)
        if chosen.recovery:
            print("bench: recovery of the log", file=sys.stderr, flush=True)
            report.recovery = measure_recovery(folders.memory, chosen.rounds, 2 * chosen.seconds)
    finally:
        for target in targets:
            target.stop()
        folders.remove()
    print(report.table())
    result = report.as_json() | {"machine": machine(), "options": vars(chosen)}
    Path(chosen.json).parent.mkdir(parents=True, exist_ok=True)
    Path(chosen.json).write_text(json.dumps(result, indent=1) + "\n")
    print(f"bench: {time.monotonic() - started:.0f} s; JSON in {chosen.json}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
