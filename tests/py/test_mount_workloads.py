# SPDX-License-Identifier: BSD-3-Clause
"""The mount under loads that others wrote: dbench, stress-ng, PostgreSQL with a daemon that is killed; and a directory with very many names. Needs
root and /dev/fuse."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import mounts
import procfs
from appliance import SLOW, Appliance, Settings, wait_for
from libwfs import Client
from mounts import Mount, create_tree

pytestmark = pytest.mark.skipif(mounts.why_not() is not None, reason=str(mounts.why_not()))

SECONDS = int(os.environ.get("WFSD_WORKLOAD_S", "5"))
NAMES = int(os.environ.get("WFSD_NAMES", "50000"))
KILLS = int(os.environ.get("WFSD_POSTGRES_KILLS", "2"))
NOBODY = 65534
BATCH = 60


@pytest.fixture
def mounted(make_appliance: Callable[..., Appliance]) -> Iterator[tuple[Appliance, Mount]]:
    box = make_appliance(Settings(cache="128M"), pool="4G")
    mount = Mount(create_tree(box), box.folder / "mnt", "allow_other,suid,dev,timeout=60")
    try:
        mount.start()
        yield box, mount
        assert mount.stop() == 0
    finally:
        mount.dispose()


def run(*command: object, timeout_s: float = 120, **how) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False,
                          timeout=timeout_s * SLOW, **how)


def test_dbench(mounted: tuple[Appliance, Mount]) -> None:
    """The requests of a file server's clients, replayed."""
    place = mounted[1].path / "dbench"
    place.mkdir()
    done = run("dbench", "-D", place, "-t", SECONDS, 4)
    assert done.returncode == 0 and "Throughput" in done.stdout, done
    assert not re.search(r"failed|expected|ERROR", done.stdout.replace("failed to create barrier semaphore", "")), done.stdout
    assert not list(place.iterdir()) or not list((place / "clients").rglob("*.*")), "dbench left files behind"


def test_stress_ng(mounted: tuple[Appliance, Mount]) -> None:
    """Every stressor of file systems, one after the other, each verifying what it does."""
    place = mounted[1].path / "stress"
    place.mkdir()
    each_s = max(1, SECONDS // 5)
    done = run("stress-ng", "--class", "filesystem", "--sequential", 1, "--verify", "--timeout", f"{each_s}s",
               "--temp-path", place, "--metrics-brief", timeout_s=120 * each_s + 120)
    assert done.returncode in (0, 3, 4), f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"  # 3, 4: one had nothing to do here
    assert not re.search(r"fail(ed|ure)?:", done.stdout + done.stderr), done.stdout + done.stderr
    assert not list(place.iterdir())


# PostgreSQL


class Postgres:
    """A server with its data below @folder. It does not run as root."""

    def __init__(self, folder: Path, scratch: Path) -> None:
        self.data, self.scratch = folder, scratch
        self.server: subprocess.Popen[bytes] | None = None
        self.bin = max(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: float(p.parent.name))
        scratch.mkdir()
        os.chown(scratch, NOBODY, NOBODY)
        folder.mkdir(mode=0o700)
        os.chown(folder, NOBODY, NOBODY)
        self.do("initdb", "-D", folder, "-U", "test", "-A", "trust", "-E", "UTF8", "--locale=C")

    def run(self, program: str, *args: object, **how) -> subprocess.CompletedProcess[str]:
        return run(self.bin / program, *args, user=NOBODY, group=NOBODY, extra_groups=[], cwd=self.scratch,
                   env={"PATH": os.environ["PATH"], "LC_ALL": "C", "PGHOST": str(self.scratch), "PGUSER": "test", "PGDATABASE": "postgres"}, **how)

    def do(self, program: str, *args: object) -> str:
        done = self.run(program, *args)
        assert done.returncode == 0, done
        return done.stdout

    def start(self) -> None:
        """As a child of ours: nobody else may reap it, and PostgreSQL takes a zombie's lock files for those of a running server."""
        with open(self.scratch / "log", "ab") as log:
            self.server = subprocess.Popen(
                [self.bin / "postgres", "-D", self.data, "-k", self.scratch, "-c", "listen_addresses=", "-c", "shared_buffers=8MB", "-c", "max_connections=20"],
                stdout=log, stderr=log, user=NOBODY, group=NOBODY, extra_groups=[], cwd=self.scratch, env={"LC_ALL": "C"})

        def ready() -> bool:
            assert self.server and self.server.poll() is None, (self.scratch / "log").read_text()
            return self.run("pg_isready").returncode == 0

        wait_for(ready, "PostgreSQL to accept connections", timeout_s=60)

    def kill(self) -> list[int]:
        """All of its processes at once; those may end only when the mount is served again."""
        assert self.server
        self.server.send_signal(signal.SIGSTOP)  # it starts no other behind the list
        processes = [self.server.pid, *procfs.children(self.server.pid)]
        for process in processes:
            with contextlib.suppress(ProcessLookupError):  # a client of pgbench or psql was about to leave
                os.kill(process, signal.SIGKILL)
        return processes

    def wait_for_the_end(self, processes: list[int]) -> None:
        assert self.server
        self.server.wait(20 * SLOW)
        self.server = None
        wait_for(lambda: not any(map(procfs.alive, processes)), "the end of its processes")

    def stop(self) -> None:
        if self.server:
            self.server.send_signal(signal.SIGQUIT)
            self.server.wait(60 * SLOW)
            self.server = None

    def sql(self, text: str) -> str:
        return self.do("psql", "-X", "-q", "-A", "-t", "-c", text).strip()


@pytest.fixture
def postgres(mounted: tuple[Appliance, Mount]) -> Iterator[Postgres]:
    server = Postgres(mounted[1].path / "pg", mounted[0].folder / "pg")
    server.start()
    try:
        yield server
    finally:
        server.stop()


def test_postgres_keeps_what_it_committed_over_kills_of_the_daemon(mounted: tuple[Appliance, Mount], postgres: Postgres) -> None:
    box = mounted[0]
    postgres.do("pgbench", "-i", "-q", "-s", "1")
    postgres.sql("create table told (n int primary key)")
    told: list[int] = []
    stop = threading.Event()

    def commit() -> None:
        while not stop.is_set():
            n = told[-1] + 1 if told else 1
            # The commit before may have been done although its answer was lost.
            if postgres.run("psql", "-X", "-q", "-c", f"insert into told values ({n}) on conflict do nothing").returncode == 0:
                told.append(n)
            else:
                time.sleep(0.2)

    for _ in range(KILLS):
        stop.clear()
        committer = threading.Thread(target=commit)
        committer.start()
        load = threading.Thread(target=lambda: postgres.run("pgbench", "-n", "-c", 4, "-T", SECONDS))
        load.start()
        time.sleep(SECONDS / 2)
        # Both at once, as when the machine goes: a program that went on would find its files as they were last synced.
        stop.set()
        box.kill9()
        processes = postgres.kill()
        box.start()
        postgres.wait_for_the_end(processes)
        load.join()
        committer.join()
        postgres.start()
        found = {int(line) for line in postgres.sql("select n from told").split()}
        assert set(told) <= found, f"lost: {sorted(set(told) - found)}"
        sums = postgres.sql("select (select sum(abalance) from pgbench_accounts), (select sum(tbalance) from pgbench_tellers), "
                            "(select sum(bbalance) from pgbench_branches), (select coalesce(sum(delta), 0) from pgbench_history)")
        assert len(set(sums.split("|"))) == 1, sums
        postgres.do("pg_amcheck", "--install-missing", "--heapallindexed", "postgres")
    assert len(told) > 10


def test_a_directory_with_very_many_names(mounted: tuple[Appliance, Mount]) -> None:
    box, mount = mounted
    with Client(f"unix:{box.rpc_socket}") as w:
        many = w.make(w.root("files"), "many")
        for first in range(0, NAMES, BATCH):
            batch = w.batch()
            for i in range(first, min(first + BATCH, NAMES)):
                batch.put(many).put_file(f"name-{i:07}", b"")
            batch.run()
            batch.free()
    place = mount.path / "many"
    found = [entry.name for entry in os.scandir(place)]
    assert len(found) == NAMES and set(found) == {f"name-{i:07}" for i in range(NAMES)}
    for i in range(0, NAMES, NAMES // 500):
        assert (place / f"name-{i:07}").stat().st_size == 0
    assert not (place / "name-x").exists()
    # Names that go while they are listed are not seen twice, and the others not lost.
    seen = []
    with os.scandir(place) as entries:
        for n, entry in enumerate(entries):
            seen.append(entry.name)
            if n % 2:
                os.unlink(entry.path)
    assert len(seen) == len(set(seen)) == NAMES
    assert len(os.listdir(place)) == NAMES - NAMES // 2
    shutil.rmtree(place)
    assert not place.exists()
