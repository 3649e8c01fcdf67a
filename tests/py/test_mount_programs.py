# SPDX-License-Identifier: BSD-3-Clause
"""The mount under programs: random I/O against a model, sqlite, git, tar, rsync; and a daemon that is restarted or killed
under them. Needs root and /dev/fuse."""

import os
import random
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import mounts
from appliance import SLOW, Appliance, Settings
from mounts import Mount, create_tree, here, pair, source, there  # noqa: F401 (fixtures)

pytestmark = pytest.mark.skipif(mounts.why_not() is not None, reason=str(mounts.why_not()))

RANDOM_IO_S = float(os.environ.get("WFSD_RANDOM_IO_S", "60"))
RANDOM_IO = Path(__file__).with_name("random_io.py")


def run(*command: object, cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
    """What a command printed; it must succeed."""
    done = subprocess.run(
        [str(word) for word in command],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        timeout=120 * SLOW,
        env={**os.environ, "LC_ALL": "C", **(env or {})},
    )
    assert done.returncode == 0, f"{command}: status {done.returncode}:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return done.stdout


def python(function: str, *args: object) -> list[str]:
    """The command that runs a function of this file."""
    code = f"import sys; sys.path.insert(0, sys.argv[1]); import test_mount_programs as t; t.{function}(*{args!r})"
    return [sys.executable, "-c", code, str(Path(__file__).parent)]


@pytest.fixture
def mounted(make_appliance: Callable[..., Appliance]) -> Iterator[tuple[Appliance, Mount]]:
    """A daemon and a mount of its own, to be restarted."""
    appliance = make_appliance(Settings(commit_age_ms=500))
    mount = Mount(create_tree(appliance), appliance.folder / "mnt", "timeout=60")
    try:
        mount.start()
        yield appliance, mount
        assert mount.stop() == 0
    finally:
        mount.dispose()


# Programs


def test_random_io_on_both_mounts(here: Path, there: Path) -> None:
    children = [
        subprocess.Popen(
            [sys.executable, RANDOM_IO, folder / name, str(RANDOM_IO_S)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for folder, name in ((here, "one"), (there, "two"))
    ]
    for child in children:
        output = child.communicate(timeout=RANDOM_IO_S + 120 * SLOW)[0]
        assert child.returncode == 0, output[-4000:]
        assert int(output.split()[-2]) > 100, output


def fill(path: Path, journal: str, process: int, rows: int) -> None:
    """Add rows to a table, each in a transaction."""
    db = sqlite3.connect(path, timeout=60, isolation_level=None)
    db.execute(f"pragma journal_mode = {journal}")
    for i in range(rows):
        db.execute("insert into t values (?, ?, ?)", (process, i, "x" * (i % 3000)))
    db.close()


@pytest.mark.parametrize("journal", ["wal", "delete"])
def test_sqlite_from_two_processes(here: Path, journal: str) -> None:
    path = here / "db"
    db = sqlite3.connect(path)
    db.execute(f"pragma journal_mode = {journal}")
    db.execute("create table t (process int, i int, filler text)")
    db.commit()
    children = [subprocess.Popen(python("fill", str(path), journal, process, 60)) for process in range(2)]
    assert [child.wait(100 * SLOW) for child in children] == [0, 0]
    assert db.execute("select process, count(*) from t group by process").fetchall() == [(0, 60), (1, 60)]
    assert db.execute("pragma integrity_check").fetchall() == [("ok",)]
    db.close()


def test_git_clones_and_finds_nothing_wrong(here: Path, tmp_path: Path) -> None:
    who = {f"GIT_{role}_{what}": "tester@example.org" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    origin = tmp_path / "origin"
    run("git", "init", "-q", "-b", "main", origin)
    for commit in range(3):
        for i in range(100):
            folder = origin / f"d{i % 7}"
            folder.mkdir(exist_ok=True)
            (folder / f"f{i}").write_text(f"{commit} {i}\n" * (i * 20))
        run("git", "add", "-A", cwd=origin)
        run("git", "commit", "-q", "-m", f"commit {commit}", cwd=origin, env=who)
    clone = here / "clone"
    run("git", "clone", "-q", "--no-local", origin, clone)
    (clone / "d0" / "f0").write_text("changed\n")
    run("git", "commit", "-q", "-a", "-m", "more", cwd=clone, env=who)
    run("git", "gc", "-q", cwd=clone)
    run("git", "checkout", "-q", "HEAD~2", cwd=clone)
    run("git", "fsck", "--full", "--strict", cwd=clone)
    assert run("git", "status", "--porcelain", cwd=clone) == ""
    assert run("git", "log", "--oneline", "main", cwd=clone).count("\n") == 4


def make_rich_tree(top: Path) -> None:
    """Files of many kinds: attributes, ACLs, links, holes, odd times and modes."""
    top.mkdir()
    rng = random.Random(5)
    for i in range(60):
        folder = top / f"d{i % 5}" / f"e{i % 3}"
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / f"f{i}"
        file.write_bytes(rng.randbytes(rng.randrange(40_000)))
        os.chown(file, i, i + 1)
        file.chmod(rng.choice((0o644, 0o600, 0o4755, 0o2711, 0o400)))
        os.setxattr(file, "user.number", str(i).encode())
        os.utime(file, ns=(i * 10**9 + i, i * 10**9 + 7))
        if i % 4 == 0:
            os.link(file, top / f"link{i}")
        if i % 6 == 0:
            run("setfacl", "-m", f"u:{i + 100}:rwx", file)
    run("setfacl", "-d", "-m", "u:77:rx", top / "d1")
    with open(top / "sparse", "wb") as file:
        os.pwrite(file.fileno(), b"middle", 5 << 20)
        os.ftruncate(file.fileno(), 9 << 20)
    (top / "symlink").symlink_to("../nowhere")
    os.mkfifo(top / "fifo", 0o640)
    os.mknod(top / "device", stat.S_IFCHR | 0o600, os.makedev(4, 300))
    os.setxattr(top / "d2", "trusted.folder", b"\0\1")
    # rsync takes times of one second for the same, but for files.
    for i, path in enumerate([*top.rglob("*"), top]):
        if not stat.S_ISREG(path.lstat().st_mode):
            os.utime(path, ns=(10**18 + i, 10**18 + i * 10**9), follow_symlinks=False)


def description(top: Path) -> dict[str, object]:
    """What must be the same after a round trip; names of one file are told by the first of them."""
    found: dict[str, object] = {}
    first: dict[int, str] = {}
    for path in sorted([top, *top.rglob("*")]):
        st, name = path.lstat(), str(path.relative_to(top))
        regular, link = stat.S_ISREG(st.st_mode), stat.S_ISLNK(st.st_mode)
        found[name] = (
            stat.filemode(st.st_mode), st.st_uid, st.st_gid, st.st_rdev,
            st.st_mtime_ns if not link else 0, st.st_nlink,
            first.setdefault(st.st_ino, name), path.read_bytes() if regular else None,
            os.readlink(path) if link else None,
            {key: os.getxattr(path, key, follow_symlinks=False) for key in os.listxattr(path, follow_symlinks=False)},
        )  # fmt: skip
    return found


def test_tar_round_trip(here: Path) -> None:
    make_rich_tree(here / "tree")
    run("tar", "--xattrs", "--xattrs-include=*", "--acls", "--sparse", "--format=posix", "-cf", here / "a.tar", "-C", here, "tree")
    (here / "back").mkdir()
    run("tar", "--xattrs", "--xattrs-include=*", "--acls", "--same-owner", "-xpf", here / "a.tar", "-C", here / "back")
    assert description(here / "back" / "tree") == description(here / "tree")
    assert (here / "back" / "tree" / "sparse").stat().st_blocks * 512 < 1 << 20


def test_rsync_round_trip(here: Path) -> None:
    make_rich_tree(here / "tree")
    run("rsync", "-aHAXS", "--devices", "--specials", f"{here}/tree/", f"{here}/back/")
    assert description(here / "back") == description(here / "tree")
    assert run("rsync", "-aHAXSni", "--checksum", "--delete", f"{here}/tree/", f"{here}/back/") == ""


# Restarts


class Writer(threading.Thread):
    """Appends numbered records and syncs now and then, until told to stop. An error ends it."""

    def __init__(self, path: Path, sync: bool) -> None:
        super().__init__()
        self.path = path
        self.sync = sync
        self.count = 0
        self.error: Exception | None = None
        self.done = threading.Event()

    def run(self) -> None:
        try:
            with open(self.path, "wb", buffering=0) as file:
                while not self.done.is_set():
                    file.write(b"%011d\n" % self.count)
                    self.count += 1
                    if self.sync:
                        os.fsync(file.fileno())
                    if self.count % 50 == 0:
                        (self.path.parent / f"{self.path.name}.{self.count}").touch(exist_ok=False)
        except Exception as error:  # pylint: disable=broad-except
            self.error = error

    def moves_on(self) -> None:
        before, deadline = self.count, time.monotonic() + 60 * SLOW
        while self.count < before + 20 and not self.error:
            assert time.monotonic() < deadline, f"{self.path}: stuck at {self.count}"
            time.sleep(0.01)
        assert not self.error, repr(self.error)


def test_a_restart_is_only_a_pause(mounted: tuple[Appliance, Mount]) -> None:
    appliance, mount = mounted
    writers = [Writer(mount / "plain", False), Writer(mount / "synced", True)]
    held = os.open(mount / "held", os.O_CREAT | os.O_RDWR)
    os.write(held, b"kept")
    for writer in writers:
        writer.start()
    try:
        for _ in range(3):
            for writer in writers:
                writer.moves_on()
            appliance.restart()
        for writer in writers:
            writer.moves_on()
    finally:
        for writer in writers:
            writer.done.set()
            writer.join()
    for writer in writers:
        assert not writer.error, repr(writer.error)
        assert writer.path.read_bytes() == b"".join(b"%011d\n" % i for i in range(writer.count))
        names = {p.name for p in mount.path.iterdir() if p.name.startswith(writer.path.name + ".")}
        assert names == {f"{writer.path.name}.{i}" for i in range(50, writer.count + 1, 50)}
    assert os.pread(held, 10, 0) == b"kept"
    os.close(held)


def insert_for_ever(path: str, journal: str) -> None:
    """Print the number of each row that is committed. A failed commit may have happened or not: the next number is tried
    on a new connection."""
    i = 0
    while True:
        try:
            connection = sqlite3.connect(path, timeout=60, isolation_level=None)
            connection.execute(f"pragma journal_mode = {journal}")
            connection.execute("pragma synchronous = extra")  # full leaves the last removal of a journal open
            while True:
                i += 1
                connection.execute("insert into t values (?, ?)", (i, "x" * (i % 2000)))
                print(i, flush=True)
        except sqlite3.Error:
            time.sleep(0.05)
        finally:
            connection.close()


@pytest.mark.parametrize("journal", ["wal", "delete"])
def test_sqlite_keeps_what_it_committed_over_kills(mounted: tuple[Appliance, Mount], journal: str) -> None:
    appliance, mount = mounted
    path = mount / "db"
    db = sqlite3.connect(path)
    db.execute("create table t (i int primary key, filler text)")
    db.commit()
    db.close()
    committed: list[int] = []
    # A process of its own: one that is forked while the daemon is away waits for it, closing inherited files.
    child = subprocess.Popen(python("insert_for_ever", str(path), journal), stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout
        for kill in range(3):
            for _ in range(20):
                committed.append(int(child.stdout.readline()))
            if kill < 2:
                appliance.kill9()
                appliance.start()
        child.kill()
        committed += [int(line) for line in child.stdout.read().split("\n")[:-1]]
    finally:
        child.kill()
        child.wait()
    db = sqlite3.connect(path)
    assert db.execute("pragma integrity_check").fetchall() == [("ok",)]
    kept = {row[0] for row in db.execute("select i from t")}
    db.close()
    assert set(committed) <= kept, f"lost: {sorted(set(committed) - kept)[:10]}"
