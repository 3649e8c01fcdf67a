# SPDX-License-Identifier: BSD-3-Clause
"""File trees through `wfs ls|cat|get|put|cp|mv|rm|mkdir|stat|find|watch|xattr`, against a real daemon and real pools."""

import filecmp
import json
import os
import select
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from appliance import Appliance, CommandResult, Settings, program, wait_for
from libwfs import Client
from libwfs_abi import NUMBERS as N


class Files:
    """`wfs` on the files of one appliance."""

    def __init__(self, box: Appliance) -> None:
        self.box = box

    def run(self, *args: str) -> CommandResult:
        return self.box.run_wfs("--server", f"unix:{self.box.rpc_socket}", *args)

    def do(self, *args: str) -> str:
        done = self.run(*args)
        assert done.status == 0, f"wfs {args}: {done.err}"
        return done.out

    def fails(self, *args: str) -> str:
        done = self.run(*args)
        assert done.status == 1 and done.err.startswith("wfs: "), (args, done)
        return done.err

    def names(self, place: str) -> list[str]:
        return self.do("ls", place).splitlines()


@pytest.fixture
def files(make_appliance: Callable[..., Appliance]) -> Iterator[Files]:
    box = make_appliance(Settings(rpc_tcp=True, exports=[
        {"name": "open", "path": "/tank/home", "auth_sys": True, "squash": "none"},
        {"name": "elsewhere", "path": "/tank/home", "clients": ["192.0.2.0/24"]},
        {"name": "fixed", "path": "/tank/home", "read_only": True},
        {"name": "part", "path": "/tank/home/part"},
    ]))
    box.wfs("fs", "create", "tank/home")
    box.add_export("tank/home", "home")
    yield Files(box)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A local tree with what can be in one."""
    top = tmp_path / "tree"
    (top / "deep" / "er").mkdir(parents=True)
    for i in range(150):
        (top / f"small{i:03}").write_bytes(os.urandom(i * 37))
    (top / "big").write_bytes(os.urandom(3 << 20))
    (top / "deep" / "er" / "exact").write_bytes(b"x" * 65536)
    (top / "deep" / "empty").touch()
    (top / "deep" / "link").symlink_to("../big")
    (top / "nowhere").symlink_to("does/not/exist")
    (top / "script").write_text("#!/bin/sh\n")
    (top / "script").chmod(0o751)
    with open(top / "sparse", "wb") as sparse:
        sparse.seek(20 << 20)
        sparse.write(b"in the middle")
        sparse.truncate(40 << 20)
    os.utime(top / "big", ns=(10**18, 1234567890123456789))
    return top


def assert_same(a: Path, b: Path) -> None:
    compared = filecmp.dircmp(a, b)
    assert not compared.left_only and not compared.right_only
    for name in os.listdir(a):
        one, two = a / name, b / name
        if one.is_symlink():
            assert os.readlink(one) == os.readlink(two)
        elif one.is_dir():
            assert_same(one, two)
        else:
            assert one.read_bytes() == two.read_bytes(), name
            assert one.stat().st_mode == two.stat().st_mode, name
            assert one.stat().st_mtime_ns == two.stat().st_mtime_ns, name


def test_trees_go_there_and_come_back_the_same(files: Files, tree: Path, tmp_path: Path) -> None:
    files.do("put", str(tree), "home")
    files.do("get", "home/tree", str(tmp_path / "back"))
    assert_same(tree, tmp_path / "back")
    assert (tmp_path / "back" / "sparse").stat().st_blocks * 512 < 1 << 20
    allocated = int(files.box.wfs("--server", f"unix:{files.box.rpc_socket}", "stat", "home/tree/sparse")["allocated"])
    assert allocated < 1 << 20
    # Once more over what is there, and into a folder that is there.
    files.do("put", str(tree), "home")
    (tmp_path / "into").mkdir()
    files.do("get", "home/tree", "home/tree/big", str(tmp_path / "into"))
    assert_same(tree, tmp_path / "into" / "tree")
    assert (tmp_path / "into" / "big").read_bytes() == (tree / "big").read_bytes()


def test_trees_are_the_same_after_a_kill(files: Files, tree: Path, tmp_path: Path) -> None:
    files.do("put", str(tree), "home")
    files.box.wfs("pool", "sync", "tank")
    files.box.kill9()
    files.box.start()
    files.do("get", "home/tree", str(tmp_path / "back"))
    assert_same(tree, tmp_path / "back")


def test_the_server_copies_moves_and_removes(files: Files, tree: Path, tmp_path: Path) -> None:
    files.do("put", str(tree), "home/one")
    assert "say --recursive" in files.fails("cp", "home/one", "home/two")
    files.do("cp", "--recursive", "home/one", "home/two")
    files.do("get", "home/two", str(tmp_path / "back"))
    assert_same(tree, tmp_path / "back")
    files.do("mv", "home/two/big", "home/two/deep")
    files.do("mv", "home/two/script", "home/two/renamed")
    assert "big" in files.names("home/two/deep") and "renamed" in files.names("home/two")
    assert "not empty" in files.fails("rm", "home/two")
    files.do("rm", "--recursive", "home/two")
    assert files.names("home") == ["one"]
    assert "No such file" in files.fails("rm", "home/two")


def test_a_copy_onto_itself_is_refused_and_changes_nothing(files: Files, tmp_path: Path) -> None:
    data = os.urandom(100_000)
    (tmp_path / "file").write_bytes(data)
    files.do("mkdir", "home/dir")
    files.do("put", str(tmp_path / "file"), "home/dir/one")
    with Client(f"unix:{files.box.rpc_socket}") as w:
        top = w.root("home")
        w.link(w.lookup(top, "dir"), "two", w.lookup(top, "dir/one"))
    for args in (("home/dir/one", "home/dir/one"), ("home/dir/one", "home/dir/two"), ("home/dir/one", "home/dir"),
                 ("--recursive", "home/dir", "home")):
        assert "the same" in files.fails("cp", *args), args
    (tmp_path / "back").mkdir()
    files.do("get", "home/dir/one", "home/dir/two", str(tmp_path / "back"))
    assert (tmp_path / "back" / "one").read_bytes() == (tmp_path / "back" / "two").read_bytes() == data


@pytest.mark.parametrize("into", ["home/dir/copy", "home/dir/a/b", "part/a/copy"])
def test_a_directory_is_copied_into_itself_once(files: Files, into: str) -> None:
    for path in ("home/part", "home/dir", "home/dir/a", "home/dir/a/b", "home/part/a"):
        files.do("mkdir", path)
    source = "home/part" if into.startswith("part") else "home/dir"
    before = len(files.do("find", source).splitlines())
    assert "it is the copy itself" in files.fails("cp", "--recursive", source, into)
    assert len(files.do("find", source).splitlines()) <= 2 * before + 1


def test_what_is_very_deep_is_removed(files: Files, tmp_path: Path) -> None:
    top = tmp_path / "top"
    (top / "/".join("d" * 400)).mkdir(parents=True)
    files.do("put", str(top), "home")
    files.do("put", str(top), "home/top/" + "/".join("d" * 400))
    assert "more than 500 directories" in files.fails("find", "home/top")
    files.do("rm", "--recursive", "home/top")
    assert files.names("home") == []


def put_many(files: Files, top: Path) -> None:
    """250 files, and two directories with three each."""
    for below in ("", "left", "right"):
        (top / below).mkdir(exist_ok=True)
        for i in range(3 if below else 250):
            (top / below / f"f{i}").touch()
    files.do("put", str(top), "home")


def test_many_names_go_with_few_requests(files: Files, tmp_path: Path) -> None:
    def asked() -> float:
        return files.box.metrics().sum("wfsd_rpc_requests_total")

    put_many(files, tmp_path / "top")
    before = asked()
    files.do("rm", "--recursive", "home/top")
    assert files.names("home") == []
    assert asked() - before < 50


def test_what_cannot_be_removed_is_told_and_the_others_go(files: Files, tmp_path: Path) -> None:
    put_many(files, tmp_path / "top")
    with Client(f"unix:{files.box.rpc_socket}") as w:
        kept = [w.lookup(w.root("home"), path) for path in ("top/f7", "top/f120", "top/left/f1")]
        for fh in kept:
            w.set_attr(fh, N["WFS_SET_FLAGS"], flags=N["WFS_FLAG_IMMUTABLE"])
        told = files.fails("rm", "--recursive", "home/top/")
        assert sorted(line.split("'")[1] for line in told.splitlines()) == ["home/top/f120", "home/top/f7", "home/top/left/f1"], told
        assert files.do("find", "home/top").split() == ["top/f120", "top/f7", "top/left", "top/left/f1"]
        for fh in kept:
            w.set_attr(fh, N["WFS_SET_FLAGS"], flags=0)
    files.do("rm", "--recursive", "home/top")
    assert files.names("home") == []


def test_two_may_remove_the_same(files: Files, tmp_path: Path) -> None:
    put_many(files, tmp_path / "top")
    command = [program("wfs"), "--server", f"unix:{files.box.rpc_socket}", "rm", "--recursive", "home/top"]
    both = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    told = [one.communicate(timeout=60)[1] for one in both]
    assert files.names("home") == []
    assert sorted(one.returncode for one in both)[0] == 0, told
    for one, text in zip(both, told):
        assert one.returncode == 0 or ("'home/top'" in text and text.count("\n") == 1), told


@pytest.mark.parametrize("what", ["put", "get"])
def test_a_server_that_is_gone_is_waited_for_once(files: Files, tmp_path: Path, what: str) -> None:
    many = tmp_path / "many"
    many.mkdir()
    for i in range(400):
        (many / f"f{i}").write_bytes(b"x" * 20_000)
    files.do("put", str(many), "home")
    command = subprocess.Popen([program("wfs"), "--server", f"unix:{files.box.rpc_socket}", what,
                                *([str(many), "home/two"] if what == "put" else ["home/many", str(tmp_path / "two")])],
                               stderr=subprocess.PIPE, text=True)
    wait_for(lambda: "two" in files.names("home") if what == "put" else (tmp_path / "two").exists(), "the first files", interval_s=0)
    files.box.kill9()
    _, told = command.communicate(timeout=55)
    # Unless it was faster than the signal.
    assert command.returncode == 0 or (command.returncode == 1 and told.count("is left out") == 1), told


def assert_same_directories(a: Path, b: Path) -> None:
    for one, _, _ in os.walk(a):
        there, here = os.stat(b / os.path.relpath(one, a)), os.stat(one)
        assert (there.st_mode, there.st_mtime_ns) == (here.st_mode, here.st_mtime_ns), one


@pytest.mark.parametrize("jobs", ["1", "4", "16"])
def test_trees_are_whole_whatever_the_number_of_jobs(files: Files, tree: Path, tmp_path: Path, jobs: str) -> None:
    for i in range(30):
        below = tree / f"dir{i}" / "below"
        below.mkdir(parents=True)
        for k in range(20):
            (below / f"f{k}").write_bytes(os.urandom(i * 700 + k))
        (below.parent / "middle").write_bytes(os.urandom(70_000 + i))
        below.chmod(0o2500)
        os.utime(below, ns=(10**18, 10**18 + i))
    (tree / "large").write_bytes(os.urandom((9 << 20) + 5))
    files.do("put", str(tree), "home", "--jobs", jobs)
    files.do("get", "home/tree", str(tmp_path / "back"), "-j", jobs)
    assert_same(tree, tmp_path / "back")
    for i in range(30):
        (tree / f"dir{i}" / "below").chmod(0o500)  # these bits are not fetched
    assert_same_directories(tree, tmp_path / "back")
    files.do("cp", "--recursive", "--jobs", jobs, "home/tree", "home/copy")
    files.do("get", "home/copy", str(tmp_path / "copy"), "-j", jobs)
    assert_same(tree, tmp_path / "copy")
    files.do("rm", "--recursive", "--jobs", jobs, "home/tree")
    files.do("rm", "-r", "-j", jobs, "home/copy/")
    assert files.names("home") == []
    assert files.run("put", str(tree), "home", "--jobs", "0").status == 2
    assert files.run("put", str(tree), "home", "--jobs", "33").status == 2


def test_each_file_that_is_left_out_is_told_and_the_others_go(files: Files, tmp_path: Path) -> None:
    top = tmp_path / "top"
    top.mkdir()
    for i in range(100):
        (top / f"f{i}").write_bytes(os.urandom(1000 if i % 10 else 3 << 20))
    os.mkfifo(top / "pipe")
    files.do("mkdir", "home/top")
    files.do("mkdir", "home/top/f7")
    files.do("mkdir", "home/top/f20")
    told = files.fails("put", str(top), "home")
    assert sorted(line.split("'")[1].rpartition("/")[2] for line in told.splitlines()) == ["f20", "f7", "pipe"], told

    here = tmp_path / "here" / "top"
    (here / "f13").mkdir(parents=True)
    (here / "f30").mkdir()
    told = files.fails("get", "home/top", str(here.parent))
    assert sorted(line.split("'")[1].rpartition("/")[2] for line in told.splitlines()) == ["f13", "f30"], told
    for i in set(range(100)) - {7, 20, 13, 30}:
        assert (here / f"f{i}").read_bytes() == (top / f"f{i}").read_bytes(), i


def assert_none_is_half(there: Path, full: Path) -> int:
    """A file that is not whole is shorter. How many are whole."""
    whole = 0
    for path in there.iterdir():
        want = (full / path.name).read_bytes()
        data = path.read_bytes()
        assert len(data) < len(want) or data == want, path.name
        whole += len(data) == len(want)
    return whole


def test_a_quota_that_ends_a_put_leaves_whole_files_and_shorter_ones(files: Files, tmp_path: Path) -> None:
    top = tmp_path / "top"
    top.mkdir()
    for i in range(60):
        (top / f"f{i}").write_bytes(os.urandom(5 << 20 if i % 10 == 0 else 20_000))
    files.box.wfs("quota", "set", "tank/home", "--bytes", "14M")
    told = files.fails("put", str(top), "home")
    assert all("is left out" in line and "quota" in line.lower() for line in told.splitlines()), told
    files.box.wfs("quota", "set", "tank/home", "--bytes", "none")
    files.do("get", "home/top", str(tmp_path / "back"))
    assert_none_is_half(tmp_path / "back", top)
    left_out = {line.split("'")[1].rpartition("/")[2] for line in told.splitlines()}
    assert len(left_out) == len(told.splitlines()) > 0
    for path in top.iterdir():
        back = tmp_path / "back" / path.name
        assert (back.exists() and back.stat().st_size == path.stat().st_size) == (path.name not in left_out), path.name


@pytest.mark.parametrize("what", ["put", "get"])
def test_an_interrupt_leaves_no_half_file_that_looks_whole(files: Files, tmp_path: Path, what: str) -> None:
    top = tmp_path / "top"
    top.mkdir()
    for i in range(12):
        (top / f"f{i}").write_bytes(os.urandom((12 << 20) + i))
    if what == "get":
        files.do("put", str(top), "home/there")
    there = tmp_path / "there"
    command = subprocess.Popen([program("wfs"), "--server", f"unix:{files.box.rpc_socket}", what,
                                *([str(top), "home/there"] if what == "put" else ["home/there", str(there)])])
    if what == "put":
        wait_for(lambda: "there" in files.names("home") and len(files.names("home/there")) >= 2, "the second file", interval_s=0)
    else:
        wait_for(lambda: there.exists() and len(os.listdir(there)) >= 2, "the second file", interval_s=0)
    command.send_signal(signal.SIGINT)
    # Unless it was faster than the signal.
    status = command.wait(60)
    assert status in (0, -signal.SIGINT)
    if what == "put":
        files.do("get", "home/there", str(there))
    whole = assert_none_is_half(there, top)
    assert whole == 12 or status


def test_names_do_not_control_a_terminal(files: Files, tmp_path: Path) -> None:
    (tmp_path / "odd\033[31m\n\177").write_bytes(b"")
    files.do("put", str(tmp_path / "odd\033[31m\n\177"), "home")
    assert files.do("ls", "home") == "odd\033[31m\n\177\n"
    for args in (("ls", "home"), ("ls", "--long", "home"), ("find", "home"), ("cat", "home/none\033")):
        ours, theirs = os.openpty()
        command = subprocess.Popen([program("wfs"), "--server", f"unix:{files.box.rpc_socket}", *args], stdout=theirs, stderr=theirs)
        command.wait(60)
        os.close(theirs)
        shown = b""
        while b"\n" not in shown:
            shown += os.read(ours, 10_000)
        os.close(ours)
        assert b"\033" not in shown and b"\177" not in shown and b"?" in shown, shown


def test_names_attributes_and_contents_are_shown(files: Files, tree: Path) -> None:
    files.do("mkdir", "home/docs")
    assert "exists" in files.fails("mkdir", "home/docs")
    files.do("put", str(tree / "script"), str(tree / "deep"), "home/docs")
    assert files.do("cat", "home/docs/script") == "#!/bin/sh\n"
    assert files.do("ls", "--long", "home/docs").splitlines()[1].startswith("-rwxr-x--x")
    assert files.do("find", "home", "--name", "e*").split() == ["docs/deep/empty", "docs/deep/er", "docs/deep/er/exact"]
    found = files.box.wfs("--server", f"unix:{files.box.rpc_socket}", "ls", "home/docs")
    assert [(e["name"], e["type"]) for e in found] == [("deep", "directory"), ("script", "file")]
    files.do("xattr", "home/docs/script", "user.colour=green")
    assert files.do("xattr", "home/docs/script") == "user.colour=green\n"
    assert files.do("xattr", "home/docs/script", "user.colour") == "green\n"
    files.do("xattr", "home/docs/script", "user.colour=")
    assert files.do("xattr", "home/docs/script") == ""


def test_exports_keep_to_their_part_and_policy(files: Files, tree: Path) -> None:
    files.do("put", str(tree / "script"), "home/outside")
    files.do("mkdir", "home/part")
    assert files.names("part/..") == files.names("part/../..") == []
    assert "No such file" in files.fails("cat", "part/../outside")
    assert files.names("fixed") == ["outside", "part"]
    for command in (("rm", "fixed/outside"), ("mkdir", "fixed/x"), ("put", str(tree / "big"), "fixed")):
        assert "ead-only" in files.fails(*command), command
    tcp = f"wfs://127.0.0.1:{files.box.rpc_port}"
    assert files.names(f"{tcp}/open") == ["outside", "part"]
    assert "not for this client" in files.fails("ls", f"{tcp}/elsewhere")
    assert files.names("elsewhere") == ["outside", "part"]
    files.do("mkdir", f"{tcp}/open/mine")
    mine = files.box.wfs("--server", f"unix:{files.box.rpc_socket}", "stat", "home/mine")
    assert (mine["uid"], mine["gid"]) == (os.geteuid(), os.getegid())
    # Over TCP nobody is anybody unless the export says so.
    assert "Permission denied" in files.fails("mkdir", f"{tcp}/home/y")


def test_nonsense_is_refused_with_a_word(files: Files, tmp_path: Path) -> None:
    for args in (("ls",), ("ls", ""), ("ls", "/x"), ("cat", "wfs://"), ("cp", "home/x"), ("ls", "home", "--recursive")):
        done = files.run(*args)
        assert done.status == 2 and done.err, args
    assert "no export" in files.fails("ls", "nosuch/x")
    assert files.box.run_wfs("--server", f"unix:{tmp_path}/none", "ls", "home").status == 3
    assert "cannot be looked at" in files.fails("put", str(tmp_path / "none"), "home")
    assert "export itself" in files.fails("rm", "home")


def test_many_clients_at_once_lose_nothing(files: Files, tree: Path) -> None:
    commands = [
        subprocess.Popen([program("wfs"), "--server", f"unix:{files.box.rpc_socket}", "put", str(tree), f"home/t{i}"])
        for i in range(8)
    ]
    assert [command.wait(120) for command in commands] == [0] * 8
    for i in range(8):
        assert len(files.names(f"home/t{i}")) == len(os.listdir(tree))


def test_what_is_done_is_counted_by_dataset_and_goes_with_it(files: Files, tmp_path: Path) -> None:
    def counted(what: str, **labels: str) -> float:
        return files.box.metrics().sum(f"wfsd_dataset_{what}_total", pool="tank", **labels)

    local = tmp_path / "file"
    local.write_bytes(b"x" * 100_000)
    files.box.wfs("fs", "create", "tank/other")
    files.box.add_export("tank/other", "other")
    before = {op: counted("operations", dataset="home", operation=op) for op in ("read", "write", "change")}
    assert files.box.run_wfs("--server", f"unix:{files.box.rpc_socket}", "put", str(local), "home/counted").status == 0
    assert files.box.run_wfs("--server", f"unix:{files.box.rpc_socket}", "get", "home/counted", str(tmp_path / "back")).status == 0
    assert counted("bytes", dataset="home", operation="write") >= 100_000
    assert counted("bytes", dataset="home", operation="read") >= 100_000
    for op, count in before.items():
        assert counted("operations", dataset="home", operation=op) > count, op
    # What a transaction writes counts, too, and its commit as one change.
    before = {op: counted("operations", dataset="home", operation=op) for op in ("write", "change")}
    written = counted("bytes", dataset="home", operation="write")
    with Client(f"unix:{files.box.rpc_socket}") as w:
        b = w.batch().put(w.root("home"))
        b.tx_begin(1)
        b.put_file("inside", b"y" * 5000)
        b.put(w.root("home")).put_file("also", b"z").tx_commit()
        b.run()
    assert counted("bytes", dataset="home", operation="write") == written + 5001
    assert counted("operations", dataset="home", operation="write") == before["write"] + 2
    assert counted("operations", dataset="home", operation="change") == before["change"] + 1
    assert counted("operations", dataset="other", operation="write") == 0
    files.box.wfs("export", "remove", "other")
    files.box.wfs("fs", "delete", "tank/other", "--yes")
    with pytest.raises(KeyError):
        counted("operations", dataset="other")


class Watch:
    """`wfs watch`, running: its lines, one by one."""

    def __init__(self, files: Files, *args: str) -> None:
        self.files = files
        self.process = subprocess.Popen(
            [program("wfs"), "--server", f"unix:{files.box.rpc_socket}", "watch", *args],
            stdout=subprocess.PIPE, text=True)

    def begin(self, place: str) -> None:
        """Return when it tells what happens."""
        assert self.process.stdout
        while not select.select([self.process.stdout], [], [], 0.05)[0]:
            self.files.do("mkdir", f"{place}/begin")
            self.files.do("rm", f"{place}/begin")
        self.files.do("mkdir", f"{place}/begun")
        while self.line() != ["created", f"{place.partition('/')[2]}/begun".lstrip("/")]:
            pass

    def line(self) -> list[str]:
        assert self.process.stdout
        line = self.process.stdout.readline()
        assert line, "wfs watch ended"
        return line.strip().split(maxsplit=1)

    def names(self, count: int) -> list[list[str]]:
        """The next so many lines that are about names."""
        lines: list[list[str]] = []
        while len(lines) < count:
            line = self.line()
            if line[0] not in ("data", "attributes"):
                lines.append(line)
        return lines

    def end(self) -> None:
        self.process.terminate()
        self.process.wait()
        assert self.process.stdout
        self.process.stdout.close()


def test_watch_tells_what_happens_in_a_directory(files: Files, tmp_path: Path) -> None:
    files.do("mkdir", "home/d")
    files.do("mkdir", "home/other")
    watch = Watch(files, "home/d")
    try:
        watch.begin("home/d")
        (tmp_path / "f").write_bytes(b"data")
        files.do("put", str(tmp_path / "f"), "home/other/f")
        files.do("put", str(tmp_path / "f"), "home/d/f")
        files.do("mv", "home/d/f", "home/d/g")
        files.do("mv", "home/d/g", "home/other/g")
        files.do("rm", "home/d/begun")
        told = watch.names(5)
        assert told == [["created", "d/f"], ["moved-from", "d/f"], ["moved-to", "d/g"], ["moved-from", "d/g"],
                        ["removed", "d/begun"]], told
    finally:
        watch.end()


def test_watch_tells_what_happens_below_a_directory_and_of_data(files: Files, tmp_path: Path) -> None:
    files.do("mkdir", "home/d")
    files.do("mkdir", "home/d/e")
    (tmp_path / "f").write_bytes(b"data")
    files.do("put", str(tmp_path / "f"), "home/d/e/f")
    watch = Watch(files, "home", "--recursive")
    try:
        watch.begin("home")
        files.do("mv", "home/d/e", "home/d/moved")
        assert watch.names(2) == [["moved-from", "d/e"], ["moved-to", "d/moved"]]
        files.do("put", str(tmp_path / "f"), "home/d/moved/f")
        while (line := watch.line()) != ["data", "d/moved/f"]:
            assert line[0] in ("data", "attributes"), line
    finally:
        watch.end()


def test_watch_ends_after_a_count_and_prints_json(files: Files) -> None:
    watch = Watch(files, "home", "--json", "--count", "3")
    while watch.process.poll() is None:
        files.do("mkdir", "home/begin")
        files.do("rm", "home/begin")
    assert watch.process.returncode == 0 and watch.process.stdout
    lines = [json.loads(line) for line in watch.process.stdout]
    assert len(lines) == 3 and all(line["path"] == "begin" for line in lines), lines
    watch.process.stdout.close()


def test_a_policy_is_given_with_an_export_and_kept(files: Files) -> None:
    box = files.box
    tcp = f"wfs://127.0.0.1:{box.rpc_port}"
    box.wfs("export", "add", "tank/home", "--as", "here", "--auth-sys", "--squash", "none", "--clients", "127.0.0.0/8,::1")
    box.wfs("export", "add", "tank/home", "--as", "there", "--clients", "192.0.2.7,2001:db8::/32", "--anon", "1000:100")
    box.wfs("export", "add", "tank/home", "--as", "safe", "--tls", "--certificate-names", "a.example,b.example")
    box.restart()
    policies = {e["name"]: e["policy"] for e in box.wfs("export", "list")["exports"]}
    assert policies["here"]["clients"] == ["127.0.0.0/8", "::1/128"] and policies["here"]["squash"] == "none"
    assert policies["there"] == {"auth_sys": False, "squash": "root", "anon_uid": 1000, "anon_gid": 100, "tls": False,
                                 "clients": ["192.0.2.7/32", "2001:db8::/32"]}
    assert policies["safe"]["tls"] and policies["safe"]["certificate_names"] == ["a.example", "b.example"]
    files.do("mkdir", f"{tcp}/here/made")
    for name in ("there", "safe"):
        files.fails("ls", f"{tcp}/{name}")
    for bad in (["--squash", "some"], ["--clients", "192.0.2.7/24"], ["--anon", "0:0"], ["--anon", "x"], ["--certificate-names", "x" * 200]):
        assert box.run_wfs("export", "add", "tank/home", "--as", "bad", *bad).status != 0, bad
