# SPDX-License-Identifier: BSD-3-Clause
"""Runs one QEMU guest to its end (TCG: no KVM needed) and hands back what it reported."""

import json
import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from initramfs import Initramfs
from kernel import Kernel

BOOT_TIMEOUT_S = 180


@dataclass
class GuestResult:
    """What a guest said before it powered off."""

    reports: dict[str, str]
    console: str

    def json(self, name: str) -> Any:
        return json.loads(self.reports[name])

    @property
    def exit_status(self) -> int:
        return int(self.reports.get("exit", "-1"))


@dataclass
class Guest:
    """One virtual machine: a kernel, an initramfs and the devices in @qemu_args."""

    kernel: Kernel
    archive: Initramfs
    folder: Path
    qemu_args: list[str] = field(default_factory=list)
    memory_mib: int = 768

    def run(self, timeout_s: int = BOOT_TIMEOUT_S) -> GuestResult:
        """Boot, run the script, power off. Raises AssertionError with the console when it does not come to its end."""
        initrd, console, reports = (self.folder / name for name in ("initrd", "console.log", "reports.log"))
        self.archive.write(initrd)
        accel = os.environ.get("WFSD_GUEST_ACCEL", "tcg")
        command = ["qemu-system-x86_64", "-machine", "pc", "-accel", accel, "-cpu", "max", "-smp", "2"]
        command += ["-m", str(self.memory_mib), "-nodefaults", "-vga", "none", "-display", "none", "-no-reboot"]
        command += ["-kernel", str(self.kernel.image), "-initrd", str(initrd)]
        command += ["-append", "console=ttyS0 panic=-1 quiet mitigations=off random.trust_cpu=on"]
        command += ["-serial", f"file:{console}", "-serial", f"file:{reports}"]
        command += self.qemu_args
        try:
            done = subprocess.run(command, timeout=timeout_s, capture_output=True, text=True, check=False)
            problem = done.stderr if done.returncode else ""
        except subprocess.TimeoutExpired:
            problem = f"the guest did not end within {timeout_s} s"
        result = GuestResult(_parse(reports), _text(console))
        if problem or result.exit_status != 0:
            raise AssertionError(f"guest failed (exit {result.exit_status}) {problem}\n{result.console[-8000:]}")
        return result


def _text(path: Path) -> str:
    return path.read_bytes().decode(errors="replace").replace("\r", "") if path.exists() else ""


def _parse(path: Path) -> dict[str, str]:
    return dict(line.split(" ", 1) for line in _text(path).splitlines() if " " in line)
