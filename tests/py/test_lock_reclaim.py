# SPDX-License-Identifier: BSD-3-Clause
"""Locks of mounts over kills and restarts of the daemon: who had one has it still, and nobody else gets it."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from appliance import SLOW, Appliance
from mounts import Mount, create_tree, why_not

pytestmark = pytest.mark.skipif(why_not() is not None, reason=why_not() or "")

# Processes of their own: one that starts another while the daemon is away waits for it when it has files open there.
HOLD = """
import fcntl, os, sys
mine, whole = (os.open(sys.argv[1], os.O_RDWR) for _ in range(2))
fcntl.lockf(mine, fcntl.LOCK_EX, 10, 0)
fcntl.lockf(mine, fcntl.LOCK_SH, 10, 20)
fcntl.flock(whole, fcntl.LOCK_EX)
print("locked", flush=True)
sys.stdin.readline()
fcntl.lockf(mine, fcntl.LOCK_UN, 10, 0)
fcntl.flock(whole, fcntl.LOCK_UN)
print("unlocked", flush=True)
sys.stdin.readline()
"""
PROBE = """
import fcntl, os, sys
fd = os.open(sys.argv[1], os.O_RDWR)
def taken(call, *args):
    try:
        call(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, *args)
    except BlockingIOError:
        return 1
    call(fd, fcntl.LOCK_UN, *args)
    return 0
print(taken(fcntl.lockf, 10, 0), taken(fcntl.lockf, 10, 10), taken(fcntl.lockf, 10, 20), taken(fcntl.flock))
"""
# Much less than the daemon waits for those who do not come back.
SOON_S = 25


@pytest.fixture
def mounts(appliance: Appliance, tmp_path: Path) -> Iterator[tuple[Mount, Mount]]:
    source = create_tree(appliance)
    pair = (Mount(source, tmp_path / "a"), Mount(source, tmp_path / "b"))
    try:
        for mount in pair:
            mount.start()
        yield pair
    finally:
        for mount in pair:
            mount.dispose()


def probe(mount: Mount) -> str:
    """Which of the first ten bytes, the next, those behind 20, and the whole file are locked by somebody else."""
    command = [sys.executable, "-c", PROBE, str(mount / "f")]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=SOON_S * SLOW).stdout.strip()


@pytest.mark.parametrize("how", ["kill", "restart"])
def test_a_lock_is_kept_over_the_end_of_the_daemon(appliance: Appliance, mounts: tuple[Mount, Mount], how: str) -> None:
    (mounts[0] / "f").touch()
    appliance.wfs("pool", "sync", "tank")
    command = [sys.executable, "-c", HOLD, str(mounts[0] / "f")]
    holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdin and holder.stdout
        assert holder.stdout.readline() == "locked\n"
        assert probe(mounts[1]) == "1 0 1 1"
        for _ in range(2):
            if how == "kill":
                appliance.kill9()
                appliance.start()
            else:
                appliance.restart()
            # Whoever asks now waits for those who are to come back.
            assert probe(mounts[1]) == "1 0 1 1"
        holder.stdin.write("\n")
        holder.stdin.flush()
        assert holder.stdout.readline() == "unlocked\n"
        assert probe(mounts[1]) == "0 0 1 0"
    finally:
        holder.kill()
        holder.wait()
