# SPDX-License-Identifier: BSD-3-Clause
"""QEMU's monitor (QMP) on a unix socket: devices are pulled out of a running guest and plugged in again."""

import json
import socket
import time
from pathlib import Path
from types import TracebackType
from typing import Any

ANSWER_TIMEOUT_S = 60


class Monitor:
    """A connection to the monitor of one QEMU."""

    def __init__(self, path: Path, timeout_s: float = 20) -> None:
        deadline = time.monotonic() + timeout_s
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(ANSWER_TIMEOUT_S)
        while True:
            try:
                self._socket.connect(str(path))
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
        self._lines = self._socket.makefile("r")
        self._events: list[dict[str, Any]] = []
        self._next_line()  # the greeting
        self.execute("qmp_capabilities")

    def __enter__(self) -> "Monitor":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._lines.close()
        self._socket.close()

    def execute(self, command: str, **arguments: Any) -> Any:
        """What QEMU returns; AssertionError when it refuses."""
        self._socket.sendall(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")
        while True:
            answer = self._next_line()
            if "event" in answer:
                self._events.append(answer)
                continue
            assert "error" not in answer, f"{command} {arguments}: {answer['error']}"
            return answer["return"]

    def pull(self, device: str) -> None:
        """Remove @device from the running guest; returns when the guest's kernel has let go of it."""
        self.execute("device_del", id=device)
        while True:
            event = self._events.pop(0) if self._events else self._next_line()
            if event.get("event") == "DEVICE_DELETED" and event["data"].get("device") == device:
                return

    def _next_line(self) -> dict[str, Any]:
        line = self._lines.readline()
        assert line, "QEMU has closed its monitor"
        return json.loads(line)
