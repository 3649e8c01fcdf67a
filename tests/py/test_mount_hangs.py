# SPDX-License-Identifier: BSD-3-Clause
"""No request to a mount stays without an answer while the daemon is killed under it, and the mount can be unmounted."""

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from appliance import SLOW, Appliance
from mounts import UNMOUNT_S, Mount, create_tree, why_not

pytestmark = pytest.mark.skipif(why_not() is not None, reason=why_not() or "")

TIMEOUT_S = 30  # of the mount
KILLS = 8
FILES = 24
VICTIMS = 6
# What each process does over and over, until the file @stop is there. Files may be as they were before a crash, and
# writes may be lost, which fsync tells; but nothing may take longer than the mount waits for its server.
WORKER = """
import errno, fcntl, json, mmap, os, sys, time
kind, top, stop = sys.argv[1:4]
longest, count, errors = 0.0, 0, {}

def do(call, *args):
    global longest, count
    begin = time.monotonic()
    try:
        return call(*args)
    except OSError as error:
        name = errno.errorcode[error.errno]
        errors[name] = errors.get(name, 0) + 1
    finally:
        longest = max(longest, time.monotonic() - begin)
        count += 1

def mapped(i):
    with open(f"{top}/mapped", "r+b") as file, mmap.mmap(file.fileno(), 1 << 20) as area:
        for at in range(0, 1 << 20, 64 << 10):
            area[at] = i & 255
            area[at + 5000] = area[at] ^ 1
        area.flush()

def locked(i):
    with open(f"{top}/locked", "r+b") as file:
        (fcntl.lockf if i % 2 else fcntl.flock)(file, fcntl.LOCK_EX)
        time.sleep(0.002)

def renamed(i):
    names = [f"{top}/dir/{kind}{i % 3}", f"{top}/dir/{kind}{(i + 1) % 3}"]
    open(names[0], "wb").close()
    os.rename(*names)
    os.listdir(f"{top}/dir")
    if i % 7 == 0:
        os.unlink(names[1])

def opened(i):
    for name in os.listdir(f"{top}/files"):
        with open(f"{top}/files/{name}", "rb") as file:
            file.read()
        os.stat(f"{top}/files/{name}")

def written(i):
    with open(f"{top}/{kind}", "ab") as file:
        file.write(b"x" * 20000)
        file.flush()
        os.fsync(file.fileno())
        if file.tell() > 4 << 20:
            os.ftruncate(file.fileno(), 0)

while not os.path.exists(stop):
    do(globals()[kind.rstrip("0123456789")], count)
print(json.dumps([longest, count, errors]))
"""
KINDS = ["mapped", "locked1", "locked2", "locked3", "renamed1", "renamed2", "opened1", "opened2", "written1", "written2"]


@pytest.fixture
def mount(appliance: Appliance, tmp_path: Path) -> Iterator[Mount]:
    made = Mount(create_tree(appliance), tmp_path / "mnt", f"timeout={TIMEOUT_S}")
    try:
        yield made.start()
    finally:
        made.dispose()


def prepare(appliance: Appliance, top: Path) -> None:
    """What is there is there after each crash, too."""
    (top / "mapped").write_bytes(bytes(1 << 20))
    (top / "locked").touch()
    (top / "dir").mkdir()
    (top / "files").mkdir()
    for i in range(FILES):
        (top / "files" / str(i)).write_bytes(os.urandom(100 * i * i))
    appliance.wfs("pool", "sync", "tank")


def work(kind: str, top: Path, stop: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", WORKER, kind, str(top), str(stop)], stdout=subprocess.PIPE, text=True, cwd="/"
    )


def kill_some(victims: "list[subprocess.Popen[str]]", top: Path, stop: Path) -> None:
    """They die in the middle of what they do, most of them in a request that nobody answers now."""
    for i, victim in enumerate(victims):
        victim.kill()
        victims[i] = work(KINDS[i % len(KINDS)], top, stop)


def test_requests_end_and_the_mount_can_be_unmounted_however_often_the_daemon_is_killed(
    appliance: Appliance, mount: Mount, tmp_path: Path
) -> None:
    seed = int.from_bytes(os.urandom(4), "big")
    print("seed", seed)
    chance = random.Random(seed)
    stop = tmp_path / "stop"
    prepare(appliance, mount.path)
    workers = {kind: work(kind, mount.path, stop) for kind in KINDS}
    victims = [work(KINDS[i % len(KINDS)], mount.path, stop) for i in range(VICTIMS)]
    dead: list[subprocess.Popen[str]] = []
    try:
        for _ in range(KILLS):
            time.sleep(chance.uniform(0.2, 1.5))
            appliance.kill9()
            time.sleep(chance.uniform(0, 0.3))
            dead += victims
            kill_some(victims, mount.path, stop)
            time.sleep(chance.uniform(0, 0.3))
            appliance.start()
        stop.touch()
        limit = time.monotonic() + TIMEOUT_S * SLOW
        for process in dead + victims:
            process.wait(max(1.0, limit - time.monotonic()))
        results = {kind: workers[kind].communicate(timeout=max(1.0, limit - time.monotonic()))[0] for kind in KINDS}
        for kind, text in results.items():
            assert workers[kind].returncode == 0, kind
            longest, count, errors = json.loads(text)
            print(kind, f"{longest:.2f} s", count, errors)
            assert longest < TIMEOUT_S * SLOW and count > 0, kind
            # Each outage was much shorter than the time for which requests wait.
            assert "ETIMEDOUT" not in errors and "ENOTCONN" not in errors, (kind, errors)
        assert mount.stop() == 0
    finally:
        stop.touch()
        for process in [*workers.values(), *victims, *dead]:
            process.kill()


# The mapped file has 32 pages that are written, four at a time, each of which waits so long.
SHORT_TIMEOUT_S = 1


@pytest.mark.parametrize("how", ["umount", "terminate"])
def test_a_mount_whose_daemon_is_gone_for_good_can_be_given_up(appliance: Appliance, tmp_path: Path, how: str) -> None:
    """While programs are in requests, more of them than there are threads that serve them, and some of them killed."""
    mount = Mount(create_tree(appliance), tmp_path / "mnt", f"timeout={SHORT_TIMEOUT_S},threads=4")
    stop = tmp_path / "stop"
    processes: list[subprocess.Popen[str]] = []
    try:
        mount.start()
        prepare(appliance, mount.path)
        processes = [work(kind, mount.path, stop) for kind in KINDS + KINDS]
        time.sleep(2)
        appliance.kill9()
        time.sleep(0.5)
        for process in processes[: len(KINDS)]:
            process.kill()
        stop.touch()
        assert mount.process
        if how == "terminate":
            mount.process.terminate()
            assert mount.process.wait(UNMOUNT_S * SLOW) == 0
            mount.process = None
        # Each had at most a few requests left to make, which wait for one another.
        for process in processes:
            process.wait(UNMOUNT_S * SLOW)
        if how == "umount":
            assert mount.stop() == 0
        assert not os.path.ismount(mount.path)
    finally:
        for process in processes:
            process.kill()
        mount.dispose()
