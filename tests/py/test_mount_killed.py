# SPDX-License-Identifier: BSD-3-Clause
"""The mount's process is killed while it has the kernel drop pages that a request has locked, which nobody answers."""

import contextlib
import ctypes
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance import SLOW, Appliance, wait_for
from gate import Gate
from mounts import Mount, create_tree, why_not

pytestmark = pytest.mark.skipif(why_not() is not None, reason=why_not() or "")

GUARD = "wfs-fuse-guard"
SIZE = 1 << 20
END_S = 20
READER = """
import os, sys
fd = os.open(sys.argv[1], os.O_RDONLY)
print("open", flush=True)
sys.stdin.readline()
try:
    os.read(fd, 1 << 20)
except OSError as error:
    print(error.errno)
"""


def threads(process: int) -> dict[int, str]:
    """The state of each of its threads that there is still."""
    found = {}
    for thread in os.listdir(f"/proc/{process}/task"):
        with contextlib.suppress(OSError):  # it may just end
            text = Path(f"/proc/{process}/task/{thread}/stat").read_text()
            found[int(thread)] = text.rsplit(") ", 1)[1][0]
    return found


def servers(process: int) -> list[int]:
    """Its threads that serve requests: besides the first one only these have not blocked the signal that ends them."""
    found = []
    for thread in threads(process):
        status = dict(line.split(":\t", 1) for line in Path(f"/proc/{process}/task/{thread}/status").read_text().splitlines())
        if thread != process and not int(status["SigBlk"], 16) >> signal.SIGUSR1 - 1 & 1:
            found.append(thread)
    return found


def guards(process: int) -> list[int]:
    """Its guard."""
    found = []
    for entry in os.listdir("/proc"):
        try:
            text = Path("/proc", entry, "stat").read_text()
        except (OSError, ValueError):
            continue
        name, rest = text[text.index("(") + 1 :].rsplit(") ", 1) if "(" in text else ("", "? 0")
        if name == GUARD and int(rest.split()[1]) == process and rest[0] != "Z":
            found.append(int(entry))
    return found


def watches(box: Appliance) -> float:
    return box.metrics().sum("wfsd_rpc_tree_operations_total", operation="watch")


class Stuck:
    """A mount with a thread that waits for a page, in the kernel, and a program that has it locked by its read."""

    def __init__(self, box: Appliance, folder: Path) -> None:
        source = create_tree(box)
        self.gate = Gate(folder / "gate.sock", box.rpc_socket)
        self.other = Mount(source, folder / "other")
        self.mount = Mount(f"unix:{folder}/gate.sock/files", folder / "mnt", "no_shared_memory,coherent_timeout=86400")
        self.reader: subprocess.Popen[str] | None = None
        self.number = ""

    def begin(self, box: Appliance) -> None:
        self.other.start()
        (self.other / "file").write_bytes(bytes(SIZE))
        before = watches(box)
        self.mount.start()
        wait_for(lambda: watches(box) > before, "the mount to watch")
        self.number = str(os.minor(os.stat(self.mount.path).st_dev))
        self.reader = subprocess.Popen(
            [sys.executable, "-c", READER, str(self.mount / "file")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.reader.stdin and self.reader.stdout
        assert self.reader.stdout.readline() == "open\n"
        self.gate.shut(0)  # what the server tells comes by another connection
        self.reader.stdin.write("\n")
        self.reader.stdin.flush()
        reader = self.reader.pid
        wait_for(lambda: threads(reader)[reader] == "D", "the read")
        with open(self.other / "file", "r+b") as file:
            file.write(b"x")
        wait_for(self.blocked, "the kernel to wait for the page")

    @property
    def pid(self) -> int:
        assert self.mount.process
        return self.mount.process.pid

    def blocked(self) -> bool:
        return "D" in threads(self.pid).values()

    def wait_ended(self, which: signal.Signals = signal.SIGKILL) -> None:
        """The process is gone, and the program has its error."""
        assert self.mount.process and self.reader
        assert self.mount.process.wait(END_S * SLOW) == -which
        assert self.reader.communicate(timeout=END_S * SLOW)[0].strip()

    def dispose(self) -> None:
        subprocess.run(["umount", "-f", str(self.mount.path)], check=False, capture_output=True, timeout=END_S)
        if self.reader:
            self.reader.kill()
            self.reader.communicate(timeout=END_S)
        self.mount.dispose()
        self.other.dispose()
        self.gate.close()


@pytest.fixture
def stuck(appliance: Appliance, tmp_path: Path) -> Iterator[Stuck]:
    made = Stuck(appliance, tmp_path)
    try:
        made.begin(appliance)
        yield made
    finally:
        made.dispose()


@pytest.mark.parametrize("which", [signal.SIGKILL, signal.SIGABRT, signal.SIGQUIT, signal.SIGTRAP])
def test_the_guard_has_the_requests_of_a_killed_mount_given_up(stuck: Stuck, which: signal.Signals) -> None:
    (guard,) = guards(stuck.pid)
    os.kill(guard, signal.SIGTERM)
    os.kill(guard, signal.SIGRTMIN)  # only the end of the mount counts
    os.kill(guard, signal.SIGHUP)
    assert stuck.blocked() and guards(stuck.pid) == [guard]
    if which == signal.SIGABRT:
        # A fault is a signal to the thread that has made it; here one of those that serve requests.
        assert ctypes.CDLL(None).tgkill(stuck.pid, servers(stuck.pid)[0], which) == 0
    else:
        os.kill(stuck.pid, which)
    stuck.wait_ended(which)
    wait_for(lambda: not Path(f"/proc/{guard}").exists(), "the guard to end")


@pytest.mark.parametrize("which", [signal.SIGKILL, signal.SIGQUIT])
def test_the_guard_hears_of_the_end_though_the_queue_of_signals_is_full(stuck: Stuck, which: signal.Signals) -> None:
    (guard,) = guards(stuck.pid)
    resource.prlimit(guard, resource.RLIMIT_SIGPENDING, (0, 0))
    os.kill(stuck.pid, which)
    stuck.wait_ended(which)


@pytest.mark.parametrize("how", ["abort", "umount"])
def test_a_killed_mount_without_guard_has_the_ways_out_that_the_manual_names(
    stuck: Stuck, tmp_path: Path, how: str
) -> None:
    for guard in guards(stuck.pid):
        os.kill(guard, signal.SIGKILL)
    wait_for(lambda: not guards(stuck.pid), "the guard to be gone")
    os.kill(stuck.pid, signal.SIGKILL)
    wait_for(lambda: [state for state in threads(stuck.pid).values() if state != "Z"] == ["D"], "all other threads to end")
    assert stuck.mount.process and stuck.mount.process.poll() is None
    if how == "umount":
        subprocess.run(["umount", "-f", str(stuck.mount.path)], check=False, capture_output=True, timeout=END_S)
    else:
        lines = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines()]
        assert [line[2] for line in lines if line[4] == str(stuck.mount.path)] == [f"0:{stuck.number}"]
        connections = tmp_path / "connections"
        connections.mkdir()
        subprocess.run(["mount", "-t", "fusectl", "none", str(connections)], check=True, timeout=END_S)
        try:
            (connections / stuck.number / "abort").write_text("1")
        finally:
            subprocess.run(["umount", str(connections)], check=True, timeout=END_S)
    stuck.wait_ended()


@contextlib.contextmanager
def guarded(box: Appliance, folder: Path) -> Iterator[tuple[Mount, int, int]]:
    """A mount that works until it is unmounted, its process and its guard."""
    mount = Mount(create_tree(box), folder / "mnt")
    try:
        mount.start()
        assert mount.process
        process = mount.process.pid
        wait_for(lambda: guards(process), "the guard to have its name")
        (guard,) = guards(process)
        yield mount, process, guard
        assert guards(process) == [guard]
        assert mount.stop() == 0
    finally:
        mount.dispose()


def test_a_signal_that_the_mount_was_started_to_ignore_is_no_crash(appliance: Appliance, tmp_path: Path) -> None:
    before = signal.signal(signal.SIGQUIT, signal.SIG_IGN)
    try:
        with guarded(appliance, tmp_path) as (mount, process, _):
            os.kill(process, signal.SIGQUIT)
            (mount / "file").write_text("works")
    finally:
        signal.signal(signal.SIGQUIT, before)


def test_the_guard_holds_no_memory_that_the_mount_shares(appliance: Appliance, tmp_path: Path) -> None:
    def shared(one: int) -> list[str]:
        lines = Path(f"/proc/{one}/maps").read_text().splitlines()
        return [line for line in lines if line.split()[1].endswith("s")]

    with guarded(appliance, tmp_path) as (_, process, guard):
        assert any("wfsd-payloads" in line for line in shared(process))
        wait_for(lambda: not shared(guard), "the guard to let go of it")


def test_the_guard_ends_with_its_mount(appliance: Appliance, tmp_path: Path) -> None:
    with guarded(appliance, tmp_path) as (_, _, guard):
        pass
    assert not Path(f"/proc/{guard}").exists()
