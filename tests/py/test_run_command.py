# SPDX-License-Identifier: BSD-3-Clause
"""`make run`, from nothing and again: a pool, a volume and an export, and how to attach it."""

import os
import re
import shlex
import signal
import subprocess
from pathlib import Path

from appliance import BUILD, ROOT, free_port, wait_for
from nbdclient import pattern, read_all, run, write_bytes

TIMEOUT_S = 30


class Running:
    """The script in the foreground, with what it printed."""

    def __init__(self, folder: Path) -> None:
        self._log = folder / "printed"
        environment = os.environ | {"POOL_SIZE": "512M", "VOLUME_SIZE": "64M", "NBD_PORT": str(free_port())}
        with open(self._log, "wb") as log:
            self._process = subprocess.Popen(
                [ROOT / "tests" / "demo" / "run.sh", BUILD, folder / "var"],
                env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                # Whoever runs the tests in the background may have had it ignored.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )  # fmt: skip

    def __enter__(self) -> str:
        wait_for(lambda: "/metrics" in self._log.read_text() or self._process.poll() is not None, "it to be ready", TIMEOUT_S)
        assert self._process.poll() is None, self._log.read_text()
        return self._log.read_text()

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGINT)
        assert self._process.wait(TIMEOUT_S) == 0, self._log.read_text()


def test_first_start_makes_a_volume_and_says_how_to_attach_it(tmp_path: Path) -> None:
    with Running(tmp_path) as printed:
        [attach] = re.findall(r"^ +(nbdinfo \S+)$", printed, re.M)
        assert "nbd-client -N vm1" in printed and "nbdcopy" in printed
        uri = shlex.split(attach)[1]
        assert run("nbdinfo", "--size", uri).strip() == str(64 << 20)
        write_bytes(uri, pattern(1 << 20, 1))
        [admin] = re.findall(r"WFSD_ADMIN=(\S+)", printed)
        [status] = re.findall(r"^ +(\S+/wfs) status$", printed, re.M)
        shown = subprocess.run([status, "status"], env=os.environ | {"WFSD_ADMIN": admin}, capture_output=True, check=True)
        assert b"tank" in shown.stdout
    with Running(tmp_path) as printed:
        assert "is created" not in printed
        [attach] = re.findall(r"^ +(nbdinfo \S+)$", printed, re.M)
        assert read_all(shlex.split(attach)[1])[: 1 << 20] == pattern(1 << 20, 1)
