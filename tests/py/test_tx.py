# SPDX-License-Identifier: BSD-3-Clause
"""Transactions through `wfs tx`, against a real daemon that is killed meanwhile."""

import json
import re
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from appliance import Appliance, Settings, command, wait_for


class Home:
    """`wfs` on one file system of an appliance."""

    def __init__(self, box: Appliance, folder: Path) -> None:
        self.box = box
        self.folder = folder

    def begin(self, *options: str) -> "subprocess.Popen[str]":
        return subprocess.Popen([*command("wfs"), "--server", f"unix:{self.box.rpc_socket}", "tx", "home", *options], text=True,
                                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def wfs(self, *args: str, script: str = "") -> "subprocess.CompletedProcess[str]":
        words = [*command("wfs"), "--server", f"unix:{self.box.rpc_socket}", *args]
        return subprocess.run(words, input=script, text=True, capture_output=True, timeout=60, check=False)

    def tx(self, script: str) -> tuple[int, str]:
        done = self.begin()
        out, err = done.communicate(script, timeout=60)
        assert not out
        return done.returncode, err

    def local(self, name: str, data: bytes) -> str:
        path = self.folder / name
        path.write_bytes(data)
        return str(path)

    def read(self, path: str) -> str:
        done = self.box.run_wfs("--server", f"unix:{self.box.rpc_socket}", "cat", f"home/{path}")
        return done.out if done.status == 0 else ""

    def names(self, path: str = "") -> list[str]:
        done = self.box.run_wfs("--server", f"unix:{self.box.rpc_socket}", "ls", f"home/{path}")
        assert done.status == 0, done.err
        return done.out.splitlines()


@pytest.fixture
def home(make_appliance: Callable[..., Appliance], tmp_path: Path) -> Iterator[Home]:
    box = make_appliance(Settings())
    box.wfs("fs", "create", "tank/home")
    box.add_export("tank/home", "home")
    yield Home(box, tmp_path)


def test_all_lines_happen_and_survive_a_kill(home: Home) -> None:
    big = home.local("big", bytes(range(256)) * 5000)
    small = home.local("small one", b"hello")
    assert home.tx(f'mkdir d\nput {big} d/big\nput "{small}" "d/with blank"\n# nothing\nmkdir d/e\nrmdir d/e\n') == (0, "")
    home.box.kill9()
    home.box.start()
    assert home.names("d") == ["big", "with blank"]
    assert home.read("d/with blank") == "hello"
    out = home.folder / "back"
    done = home.box.run_wfs("--server", f"unix:{home.box.rpc_socket}", "get", "home/d/big", str(out))
    assert done.status == 0 and out.read_bytes() == bytes(range(256)) * 5000
    assert home.tx("mv d/big here\nrm \"d/with blank\"\nrmdir d\n") == (0, "")
    assert home.names() == ["here"]


def test_a_line_that_fails_leaves_nothing(home: Home) -> None:
    small = home.local("small", b"hello")
    status, err = home.tx(f"put {small} a\nmkdir b\nrm missing\nmkdir c\n")
    assert status == 1 and "line 3" in err and "nothing was changed" in err
    assert home.names() == []
    for script in ("put\n", "fly away\n", 'rm "open\n', "rm a b c\n", f"put {home.folder} x\n"):
        status, err = home.tx(f"put {small} a\n{script}")
        assert status == 1 and "line 2" in err, err
    assert home.names() == []


def test_nobody_sees_it_before_its_end_and_the_second_to_commit_is_refused(home: Home) -> None:
    small = home.local("small", b"first")
    other = home.local("other", b"second")
    slow = home.begin()
    assert slow.stdin
    slow.stdin.write(f"put {small} same\n")
    slow.stdin.flush()
    assert home.names() == []
    assert home.tx(f"put {other} same\n") == (0, "")
    _, err = slow.communicate("", timeout=60)
    assert slow.returncode == 1 and "somebody else" in err and "same" in err and "network" not in err
    assert home.read("same") == "second"


def test_too_much_is_refused_and_changes_nothing(home: Home) -> None:
    large = home.local("large", b"x" * (20 << 20))
    status, err = home.tx(f"mkdir d\nput {large} d/large\n")
    assert status == 1 and "too large" in err
    assert home.names() == []


def test_a_pair_stays_a_pair_while_the_daemon_is_killed(home: Home) -> None:
    """Two files always say the same, whenever the daemon dies; and what was answered is there."""
    answered = 0
    stop = threading.Event()

    def work() -> None:
        nonlocal answered
        for i in range(1, 100000):
            if stop.is_set():
                return
            data = home.local("data", str(i).encode() * (1 + i % 3000))
            if home.tx(f"put {data} new\nmv new left\nput {data} right\n")[0] == 0:
                answered = i

    worker = threading.Thread(target=work)
    worker.start()
    try:
        for _ in range(4):
            before = answered
            for _ in range(400):
                if answered > before + 3:
                    break
                stop.wait(0.05)
            home.box.kill9()
            home.box.start()
    finally:
        stop.set()
        worker.join()
    home.box.kill9()
    done = answered
    home.box.start()
    left, right = home.read("left"), home.read("right")
    assert left == right and left
    last = next(i for i in range(done, done + 3) if left == str(i) * (1 + i % 3000))
    assert last >= done
    assert "new" not in home.names()


def test_a_line_tells_how_it_stands_and_another_gives_it_up(home: Home) -> None:
    done = home.wfs("tx", "home", script="mkdir d\nstatus\nabort\nmkdir e\nthis is not read\n")
    assert done.returncode == 0, done.stderr
    told = re.fullmatch(r"transaction (\d+): running\n", done.stdout)
    assert told
    assert home.names() == []
    state = home.wfs("tx", "home", "--status", told[1])
    assert state.returncode == 1 or "aborted" in state.stdout


def test_a_commit_is_known_by_its_number_later_and_after_a_kill(home: Home) -> None:
    done = home.wfs("--json", "tx", "home", "--isolation", "snapshot", "--ttl", "60", script="mkdir d\n")
    assert done.returncode == 0, done.stderr
    outcome = json.loads(done.stdout)
    assert outcome["state"] == "committed"
    text = home.wfs("tx", "home", "--status", str(outcome["id"]))
    assert text.returncode == 0 and text.stdout.startswith(f"transaction {outcome['id']}: committed, 20")
    home.box.kill9()
    home.box.start()
    asked = json.loads(home.wfs("--json", "tx", "home", "--status", str(outcome["id"])).stdout)
    assert asked["id"] == outcome["id"] and asked["state"] == "committed"
    unknown = home.wfs("tx", "home", "--status", str(outcome["id"] + 12345))
    assert unknown.returncode == 1 and "is not known" in unknown.stderr


@pytest.mark.parametrize(("isolation", "minds"), [("serializable", True), ("snapshot", False)])
def test_only_a_serializable_one_minds_a_change_of_what_it_has_looked_at(home: Home, isolation: str, minds: bool) -> None:
    assert home.tx("mkdir d\nmkdir d/sub\n") == (0, "")
    slow = home.begin("--isolation", isolation)
    assert slow.stdin and slow.stdout
    # On its way to the new directory it looks up "sub", which is renamed away and back meanwhile.
    slow.stdin.write("mkdir d/sub/new\nstatus\n")
    slow.stdin.flush()
    assert "running" in slow.stdout.readline()
    assert home.tx("mv d/sub d/away\n") == (0, "")
    _, err = slow.communicate("", timeout=60)
    assert (slow.returncode == 1) is minds, err
    assert home.names("d/away") == ([] if minds else ["new"])


def test_it_is_given_up_when_its_time_is_over(home: Home) -> None:
    slow = home.begin("--ttl", "1")
    assert slow.stdin and slow.stdout
    slow.stdin.write("mkdir d\nstatus\n")
    slow.stdin.flush()
    number = slow.stdout.readline().split()[1].rstrip(":")
    wait_for(lambda: "running" not in home.wfs("tx", "home", "--status", number).stdout, "the end of its time")
    _, err = slow.communicate("mkdir e\n", timeout=60)
    assert slow.returncode == 1 and "line 3" in err and "nothing was changed" in err
    assert home.names() == []


@pytest.mark.parametrize("options", [
    ["--isolation", "none"], ["--ttl", "0"], ["--ttl", "86401"], ["--status", "x"], ["--status", "1", "--ttl", "5"],
], ids=" ".join)
def test_options_that_make_no_sense_are_refused(home: Home, options: list[str]) -> None:
    done = home.wfs("tx", "home", *options)
    assert done.returncode == 2 and f"{options[-2]}"[:4] in done.stderr
    assert home.names() == []
