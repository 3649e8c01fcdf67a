# SPDX-License-Identifier: BSD-3-Clause
"""Runs one QEMU guest to its end (TCG: no KVM needed) and hands back what it reported."""

import json
import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from initramfs import Initramfs
from kernel import Kernel
from monitor import Monitor

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

    def run(self, timeout_s: int = BOOT_TIMEOUT_S, meddle: Callable[["Guest", Monitor], None] | None = None) -> GuestResult:
        """Boot, run the script, power off, while @meddle plays with the machine from outside. Raises AssertionError with the
        console when it does not come to its end."""
        self.archive.write(self._initrd)
        with open(self.folder / "qemu.err", "w+") as errors:
            process = subprocess.Popen(self._command(), stdin=subprocess.DEVNULL, stdout=errors, stderr=errors)
            problem = ""
            try:
                if meddle:
                    with Monitor(self._monitor) as monitor:
                        meddle(self, monitor)
                process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                problem = f"the guest did not end within {timeout_s} s"
            except (AssertionError, OSError) as error:
                problem = str(error)
            finally:
                process.kill()
                process.wait()
            errors.seek(0)
            problem = problem or (errors.read() if process.returncode else "")
        result = GuestResult(_parse(self._reports), _text(self._console))
        if problem or result.exit_status != 0:
            raise AssertionError(f"guest failed (exit {result.exit_status}) {problem}\n{result.console[-8000:]}")
        return result

    def wait_for_report(self, name: str, timeout_s: float = 120) -> str:
        """What the running guest reported under @name."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            reports = _parse(self._reports)
            if name in reports:
                return reports[name]
            assert "exit" not in reports, f"the guest ended before it reported {name}"
            time.sleep(0.05)
        raise AssertionError(f"the guest did not report {name} within {timeout_s} s")

    @property
    def _initrd(self) -> Path:
        return self.folder / "initrd"

    @property
    def _console(self) -> Path:
        return self.folder / "console.log"

    @property
    def _reports(self) -> Path:
        return self.folder / "reports.log"

    @property
    def _monitor(self) -> Path:
        return self.folder / "monitor"

    def _command(self) -> list[str]:
        accel = os.environ.get("WFSD_GUEST_ACCEL", "tcg")
        command = ["qemu-system-x86_64", "-machine", "pc", "-accel", accel, "-cpu", "max", "-smp", "2"]
        command += ["-m", str(self.memory_mib), "-nodefaults", "-vga", "none", "-display", "none", "-no-reboot"]
        command += ["-kernel", str(self.kernel.image), "-initrd", str(self._initrd)]
        command += ["-append", "console=ttyS0 panic=-1 quiet mitigations=off random.trust_cpu=on"]
        command += ["-serial", f"file:{self._console}", "-serial", f"file:{self._reports}"]
        command += ["-qmp", f"unix:{self._monitor},server=on,wait=off"]
        return command + self.qemu_args


def _text(path: Path) -> str:
    return path.read_bytes().decode(errors="replace").replace("\r", "") if path.exists() else ""


def _parse(path: Path) -> dict[str, str]:
    """Whole lines only: the guest may be writing the next one."""
    lines = _text(path).rpartition("\n")[0].splitlines()
    return dict(line.split(" ", 1) for line in lines if " " in line)
