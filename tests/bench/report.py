# SPDX-License-Identifier: BSD-3-Clause
"""The table, the ratios against the budgets, and the JSON of one benchmark run."""

from dataclasses import asdict, dataclass
from typing import Any

from measure import AMPLIFICATION_VOLUME, Row, Sample
from recovery import KINDS, Recovery
from targets import MIB, Ours, Target


@dataclass(frozen=True)
class Budget:
    """@ours must reach @factor times @peer on the row."""

    row: str
    ours: str
    peer: str
    factor: float


BUDGETS = [
    Budget("randread-q32", "ours", "nbdkit-file", 0.35),
    Budget("randwrite-q32", "ours", "nbdkit-file", 0.35),
    Budget("randread-q32", "ours", "qemu-qcow2", 1.0),
    Budget("randwrite-q32", "ours", "qemu-qcow2", 1.0),
    Budget("randwrite-q32", "ours-disk", "nbdkit-btrfs", 4.0),
    Budget("randwrite-q32-flush", "ours-disk", "nbdkit-btrfs", 4.0),
    Budget("write-flush-1", "ours-disk", "nbdkit-disk", 0.9),
    Budget("write-flush-8", "ours-disk", "nbdkit-disk", 1.0),
    Budget("read-256k", "ours", "nbdkit-file", 0.8),
    Budget("write-256k", "ours", "nbdkit-file", 0.8),
]
RECOVERY_S_PER_GIB_MAX = 1.0
MEMORY_MARGIN_BYTES = 64 * MIB


class Report:
    """Medians by target and row."""

    def __init__(
        self,
        targets: list[Target],
        rows: list[Row],
        medians: dict[tuple[str, str], Sample],
        peaks: dict[str, int],
        samples: dict[tuple[str, str], list[Sample]],
        amplification: dict[str, dict[int, float]],
    ) -> None:
        self._targets = targets
        self._rows = rows
        self._medians = medians
        self._peaks = peaks
        self._samples = samples
        self._amplification = amplification
        self.recovery: dict[str, Recovery] = {}

    def table(self) -> str:
        parts = [self._legend(), self._speed(), self._cpu(), self._memory(), self._written(), self._recovery()]
        parts.append(self._budgets())
        return "\n\n".join(part for part in parts if part) + "\n"

    def as_json(self) -> dict[str, Any]:
        return {
            "targets": {target.name: target.what for target in self._targets},
            "rows": {row.key: row.what for row in self._rows},
            "medians": self._nested({key: asdict(sample) for key, sample in self._medians.items()}),
            "samples": self._nested({key: [asdict(run) for run in runs] for key, runs in self._samples.items()}),
            "peak_bytes": self._peaks,
            "write_amplification": self._amplification,
            "recovery": {key: asdict(run) for key, run in self.recovery.items()},
            "budgets": [
                {"row": b.row, "ours": b.ours, "peer": b.peer, "factor": b.factor, "ratio": ratio, "met": ratio >= b.factor}
                for b, ratio in self._ratios()
            ],
        }

    @staticmethod
    def _nested(flat: dict[tuple[str, str], Any]) -> dict[str, dict[str, Any]]:
        tree: dict[str, dict[str, Any]] = {}
        for (target, row), value in flat.items():
            tree.setdefault(target, {})[row] = value
        return tree

    def _legend(self) -> str:
        return "\n".join(f"{target.name}: {target.what}" for target in self._targets)

    def _names(self) -> list[str]:
        return [target.name for target in self._targets]

    def _grid(self, title: str, cell) -> str:
        names = self._names()
        lines = [f"| {title} | " + " | ".join(names) + " |", "| --- " * (len(names) + 1) + "|"]
        for row in self._rows:
            samples = [self._medians.get((name, row.key)) for name in names]
            lines.append(f"| {row.what} | " + " | ".join(cell(row, sample) if sample else "–" for sample in samples) + " |")
        return "\n".join(lines)

    def _speed(self) -> str:
        def cell(row: Row, sample: Sample) -> str:
            return f"{sample.mib_per_s:.0f} MiB/s" if row.is_sequential else f"{sample.ops_per_s:,.0f}/s"

        return self._grid("operations or bytes per second, median", cell)

    def _cpu(self) -> str:
        return self._grid("server's processor time per operation, µs", lambda _, sample: f"{sample.cpu_us_per_op:.1f}")

    def _memory(self) -> str:
        lines = ["| peak resident memory of the server's processes | MiB | budget |", "| --- | --- | --- |"]
        for target in self._targets:
            peak = self._peaks.get(target.name, 0)
            budget = ""
            if isinstance(target, Ours):
                limit = target.cache_mib * MIB + MEMORY_MARGIN_BYTES
                budget = f"≤ {limit // MIB} (cache {target.cache_mib} + 64): {'met' if peak <= limit else 'MISSED'}"
            lines.append(f"| {target.name} | {peak / MIB:.0f} | {budget} |")
        return "\n".join(lines)

    def _written(self) -> str:
        if not self._amplification:
            return ""
        lines = [f"| 4K random writes over a sparse volume of {AMPLIFICATION_VOLUME} | device bytes per client byte |"]
        lines.append("| --- | --- |")
        for name, factors in self._amplification.items():
            for every, factor in factors.items():
                when = f"after every {every} writes" if every else "at the end"
                lines.append(f"| {name}, flushed {when} | {factor:.2f} |")
        return "\n".join(lines)

    def _recovery(self) -> str:
        if not self.recovery:
            return ""
        lines = ["| import after a crash, pool on tmpfs; the log holds | log | time | per GiB | budget |"]
        lines.append("| --- | --- | --- | --- | --- |")
        for kind in KINDS:
            run = self.recovery[kind.key]
            met = "met" if run.seconds_per_gib <= RECOVERY_S_PER_GIB_MAX else "MISSED"
            lines.append(
                f"| {kind.what} | {run.log_bytes / MIB:.0f} MiB | {run.seconds:.2f} s | {run.seconds_per_gib:.2f} s "
                f"| ≤ {RECOVERY_S_PER_GIB_MAX:g} s: {met} |"
            )
        return "\n".join(lines)

    def _ratios(self) -> list[tuple[Budget, float]]:
        found = []
        for budget in BUDGETS:
            ours, peer = (self._medians.get((name, budget.row)) for name in (budget.ours, budget.peer))
            if ours and peer:
                found.append((budget, ours.ops_per_s / peer.ops_per_s))
        return found

    def _budgets(self) -> str:
        ratios = self._ratios()
        if not ratios:
            return ""
        what = {row.key: row.what for row in self._rows}
        lines = ["| row | ratio | budget | |", "| --- | --- | --- | --- |"]
        for budget, ratio in ratios:
            met = "met" if ratio >= budget.factor else "MISSED"
            lines.append(f"| {what[budget.row]} | {ratio:.2f} × {budget.peer} ({budget.ours}) | ≥ {budget.factor} | {met} |")
        return "\n".join(lines)
