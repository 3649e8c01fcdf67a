# SPDX-License-Identifier: BSD-3-Clause
"""One measurement: a fio job against one target, with the processor time and memory that its processes took."""

import json
import os
import subprocess
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path


from targets import Ours, Target  # also makes the test harness importable

import procfs

AMPLIFICATION_VOLUME = "100G"
AMPLIFICATION_BYTES = 32 << 20
# Writes between two flushes.
AMPLIFICATION_FLUSHES = (0, 32)
TICK_S = 1 / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Row:
    """A kind of load."""

    key: str
    what: str
    mode: str
    block: str
    depth: int
    end_flush: bool = False
    writers: int = 1
    each_flush: bool = False

    @property
    def is_sequential(self) -> bool:
        return self.block != "4k"

    @property
    def writes(self) -> bool:
        return "write" in self.mode


ROWS = [
    Row("randread-q32", "4K random read, queue 32", "randread", "4k", 32),
    Row("randwrite-q32", "4K random write, queue 32", "randwrite", "4k", 32),
    Row("randwrite-q32-flush", "4K random write, queue 32, time of a final flush counted", "randwrite", "4k", 32, True),
    Row("randread-q1", "4K random read, queue 1", "randread", "4k", 1),
    Row("read-256k", "256K sequential read, queue 8", "read", "256k", 8),
    Row("write-256k", "256K sequential write, queue 8", "write", "256k", 8),
    Row("write-flush-1", "4K random write, each flushed, one writer", "randwrite", "4k", 1, each_flush=True),
    Row("write-flush-8", "4K random write, each flushed, eight writers", "randwrite", "4k", 1, writers=8, each_flush=True),
]


@dataclass
class Sample:
    """What one run of one row gave."""

    ops_per_s: float
    mib_per_s: float
    cpu_us_per_op: float
    latency_us: float
    latency_p99_us: float


class MemoryWatch:
    """Keeps the peak of the resident memory of a process and its children, summed."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.peak_bytes = 0

    def __enter__(self) -> "MemoryWatch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(0.1):
            self.peak_bytes = max(self.peak_bytes, sum(procfs.status_bytes(pid, "VmRSS") for pid in self._own_memory()))

    def _own_memory(self) -> list[int]:
        """Without children that have only been forked: until they are another program, their memory is the parent's."""
        return [pid for pid in family(self._pid) if pid == self._pid or program_of(pid) != program_of(self._pid)]


def family(pid: int) -> list[int]:
    """A process and its direct children."""
    return [pid, *procfs.children(pid)]


def program_of(pid: int) -> str:
    try:
        return os.readlink(f"/proc/{pid}/exe")
    except OSError:
        return ""


def cpu_seconds(pid: int) -> float:
    """User and system time of a process, of its children and of those it has already reaped."""
    total = 0
    for index, member in enumerate(family(pid)):
        try:
            fields = Path(f"/proc/{member}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        total += int(fields[11]) + int(fields[12])
        if index == 0:
            total += int(fields[13]) + int(fields[14])
    return total * TICK_S


def run_row(target: Target, row: Row, seconds: float) -> Sample:
    """Run @row once and leave @target settled."""
    with tempfile.TemporaryDirectory() as scratch:
        command = ["fio", "--output-format=json", f"--output={scratch}/out", "--name=job", "--ioengine=nbd"]
        command += [f"--uri={target.uri}", f"--rw={row.mode}", f"--bs={row.block}", f"--iodepth={row.depth}"]
        command += [f"--size={target.size}", f"--runtime={seconds:g}s", "--time_based", "--norandommap"]
        command += ["--randrepeat=0", "--random_generator=tausworthe64"]
        command += [f"--end_fsync={int(row.end_flush)}", f"--fsync={int(row.each_flush)}"]
        command += [f"--numjobs={row.writers}", "--group_reporting"]
        before = cpu_seconds(target.pid)
        subprocess.run(command, check=True, timeout=seconds * 4 + 60, cwd=scratch, capture_output=True)
        _wait_for_children(target.pid)
        spent = cpu_seconds(target.pid) - before
        job = json.loads(_json_part(Path(scratch, "out").read_text()))["jobs"][0]
    side = job["write" if row.writes else "read"]
    # fio's own rate leaves the final flush out of the time; job_runtime has it.
    elapsed = job["job_runtime"] / 1000 if row.end_flush else side["runtime"] / 1000
    ops = side["total_ios"]
    if row.writes:
        target.settle()
    return Sample(
        ops_per_s=ops / elapsed,
        mib_per_s=side["io_bytes"] / elapsed / (1 << 20),
        cpu_us_per_op=spent / max(ops, 1) * 1e6,
        latency_us=side["clat_ns"]["mean"] / 1000,
        latency_p99_us=side["clat_ns"].get("percentile", {}).get("99.000000", 0) / 1000,
    )


def write_amplification(target: Ours, flush_every: int) -> float:
    """Bytes written to the device for each byte of 4K random writes over a large sparse volume of its own, flushed after
    every so many writes (0: never) and at the end."""
    name = f"sparse-{flush_every}"
    uri = target.appliance.add_volume(f"bench/{name}", AMPLIFICATION_VOLUME, name)
    before = device_written_bytes(target)
    with tempfile.TemporaryDirectory(prefix="wfsd-fio-") as scratch:
        command = ["fio", "--name=job", "--ioengine=nbd", f"--uri={uri}", "--rw=randwrite", "--bs=4k", "--iodepth=32"]
        command += [f"--size={AMPLIFICATION_VOLUME}", f"--io_size={AMPLIFICATION_BYTES}", "--norandommap", "--end_fsync=1"]
        command += ["--random_generator=tausworthe64", f"--fsync={flush_every}"]
        subprocess.run(command, check=True, timeout=300, cwd=scratch, capture_output=True)
    return (device_written_bytes(target) - before) / AMPLIFICATION_BYTES


def device_written_bytes(target: Ours) -> float:
    return target.appliance.metrics().sum("wfsd_device_bytes_total", op="write")


def _json_part(text: str) -> str:
    return text[text.index("{") :]


def _wait_for_children(pid: int) -> None:
    """A server that starts a process per connection has their time only when they have ended."""
    deadline = time.monotonic() + 5
    while len(family(pid)) > 1 and time.monotonic() < deadline:
        time.sleep(0.01)
