# SPDX-License-Identifier: BSD-3-Clause
"""How long an import takes after a crash, by what the log holds: the daemon is killed under load and started again."""

import statistics
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from targets import Ours  # noqa: F401  makes the test harness importable

from appliance import Appliance, Settings

POOL = "64G"  # of which the log has a 64th
VOLUME = "512M"
LOAD_S = 4
GIB = 1 << 30


@dataclass(frozen=True)
class LogKind:
    """A load that leaves a certain kind of log behind."""

    key: str
    what: str
    fio: tuple[str, ...]


KINDS = [
    LogKind("4k-flush", "4K writes, each flushed, eight writers", ("--bs=4k", "--numjobs=8")),
    LogKind("128k-flush", "128K writes, each flushed, two writers", ("--bs=128k", "--numjobs=2")),
]


@dataclass
class Recovery:
    """What one kind of log gave, medians."""

    log_bytes: float
    seconds: float

    @property
    def seconds_per_gib(self) -> float:
        return self.seconds / (self.log_bytes / GIB)


def measure_recovery(folder: Path, rounds: int, seconds: float = LOAD_S) -> dict[str, Recovery]:
    """Of each kind, in @folder."""
    found: dict[str, Recovery] = {}
    for kind in KINDS:
        runs = [_one(folder, kind, seconds) for _ in range(rounds)]
        middle = statistics.median(run.seconds_per_gib for run in runs)
        found[kind.key] = next(run for run in sorted(runs, key=lambda r: r.seconds_per_gib) if run.seconds_per_gib >= middle)
    return found


def _one(folder: Path, kind: LogKind, seconds: float) -> Recovery:
    # No commit by age: it would make the log shorter.
    settings = Settings(cache="1G", commit_age_ms=60000, writeback_age_ms=60000)
    box = Appliance(Path(tempfile.mkdtemp(prefix="recovery-", dir=folder)), settings)
    try:
        box.start()
        box.create_pool("tank", POOL)
        uri = box.add_volume("tank/v", VOLUME, "v")
        command = ["fio", "--name=job", "--ioengine=nbd", f"--uri={uri}", "--rw=randwrite", f"--size={VOLUME}", "--norandommap"]
        command += ["--time_based", f"--runtime={seconds:g}s", "--random_generator=tausworthe64", "--fsync=1", *kind.fio]
        subprocess.run(command, check=True, timeout=seconds * 4 + 60, cwd=box.folder, capture_output=True)
        box.kill9()
        box.start()
        log = box.wfs("pool", "status", "tank")["log"]
        return Recovery(log["recovered_bytes"], log["recovery_seconds"])
    finally:
        box.dispose()
