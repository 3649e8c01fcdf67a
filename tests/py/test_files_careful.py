# SPDX-License-Identifier: BSD-3-Clause
"""What `wfs` does not let happen to the machine that it runs on: other servers' names, terminals, copies onto themselves."""

import contextlib
import json
import os
import socket
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import mounts
from appliance import program
from mounts import Mount
from test_files import Files, files  # noqa: F401 (fixture)


def pump(source: socket.socket, sink: socket.socket, change: Callable[[bytes], bytes]) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 20):
            sink.sendall(change(data))
        sink.shutdown(socket.SHUT_RDWR)


def lying_server(path: Path, honest: Path, old: bytes, new: bytes) -> None:
    """On @path, a server that says @new where the one on @honest says @old."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen(1)

    def lie(data: bytes) -> bytes:
        return data.replace(old, new)

    def serve() -> None:
        while True:
            client = listener.accept()[0]
            server = socket.socket(socket.AF_UNIX)
            server.connect(str(honest))
            for ends in ((client, server, bytes), (server, client, lie)):
                threading.Thread(target=pump, args=ends, daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()


@pytest.mark.parametrize("name", ["../evil", "../../a", "a/b/cde"])
def test_a_server_that_names_what_lies_elsewhere_is_not_followed(files: Files, tmp_path: Path, name: str) -> None:
    (tmp_path / "d").mkdir()
    for file in ("aaa", "zzXevil", "zzz"):
        (tmp_path / "d" / file).write_bytes(b"contents")
    files.do("put", str(tmp_path / "d"), "home")
    lying_server(tmp_path / "lying.sock", files.box.rpc_socket, b"zzXevil", name.encode())
    out = tmp_path / "out"
    (out / "here" / "a" / "b").mkdir(parents=True)
    before = sorted(out.rglob("*"))
    done = files.box.run_wfs("--server", f"unix:{tmp_path}/lying.sock", "get", "home/d", str(out / "here"))
    assert done.status == 1 and "a name that is none" in done.err
    assert sorted(set(out.rglob("*")) - set(before)) == [out / "here" / "d", out / "here" / "d" / "aaa", out / "here" / "d" / "zzz"]


DATA_END, DATA_AGAIN, LAST_DATA = 0x130000, 0x470000, 0x270000


def number(value: int) -> bytes:
    return value.to_bytes(8, "big")


@pytest.fixture
def sparse(files: Files, tmp_path: Path) -> Path:
    """Data, a hole, and data, of sizes that nothing else has; here and on the server."""
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        file.write(os.urandom(DATA_END))
        file.seek(DATA_AGAIN)
        file.write(os.urandom(LAST_DATA))
    files.do("put", str(path), "home")
    return path


@pytest.mark.parametrize("at", [DATA_END, DATA_AGAIN])
def test_a_server_whose_data_do_not_go_on_is_not_asked_forever(files: Files, sparse: Path, tmp_path: Path, at: int) -> None:
    lying_server(tmp_path / "lying.sock", files.box.rpc_socket, number(at), number(0))
    done = files.box.run_wfs("--server", f"unix:{tmp_path}/lying.sock", "get", "home/sparse", str(tmp_path / "back"), timeout_s=20)
    assert done.status == 0, done
    assert (tmp_path / "back").read_bytes() == sparse.read_bytes()


@pytest.mark.usefixtures("sparse")
@pytest.mark.parametrize("copied", [0, 2**64 - DATA_AGAIN])
def test_a_server_that_copies_nothing_or_too_much_is_not_asked_forever(files: Files, tmp_path: Path, copied: int) -> None:
    lying_server(tmp_path / "lying.sock", files.box.rpc_socket, number(LAST_DATA), number(copied))
    done = files.box.run_wfs("--server", f"unix:{tmp_path}/lying.sock", "cp", "home/sparse", "home/copy", timeout_s=20)
    assert done.status == 1 and "became shorter" in done.err, done


def test_a_directory_that_neither_ends_nor_goes_on_is_refused(files: Files, tmp_path: Path) -> None:
    # READDIR, at the end, without entries.
    lying_server(tmp_path / "lying.sock", files.box.rpc_socket, number(19 << 32 | 1) + bytes(4), number(19 << 32) + bytes(4))
    done = files.box.run_wfs("--server", f"unix:{tmp_path}/lying.sock", "ls", "home", timeout_s=20)
    assert done.status == 1 and "neither ends nor goes on" in done.err, done


@pytest.mark.parametrize("name", ["../evil", "zz/evil"])
def test_a_server_that_names_what_lies_elsewhere_has_it_removed_by_nobody(files: Files, tmp_path: Path, name: str) -> None:
    (tmp_path / "d" / "zz").mkdir(parents=True)
    for file in ("d/aaa", "d/zzXevil", "d/zz/evil", "evil"):
        (tmp_path / file).touch()
    files.do("put", str(tmp_path / "d"), str(tmp_path / "evil"), "home")
    lying_server(tmp_path / "lying.sock", files.box.rpc_socket, b"zzXevil", name.encode())
    done = files.box.run_wfs("--server", f"unix:{tmp_path}/lying.sock", "rm", "--recursive", "home/d")
    assert done.status == 1 and done.err.count("\n") == 1 and f"'home/d/{name}' is left out: the server gave it a name that is none" in done.err
    assert files.do("find", "home").split() == ["d", "d/zzXevil", "evil"]


def on_a_terminal(files: Files, *args: str) -> bytes:
    ours, theirs = os.openpty()
    address = f"unix:{files.box.rpc_socket}"
    subprocess.run([program("wfs"), "--server", address, *args], stdout=theirs, stderr=theirs, check=True, timeout=60)
    os.close(theirs)
    shown = b""
    while b"\n" not in shown:
        shown += os.read(ours, 10_000)
    os.close(ours)
    return shown


def test_neither_names_nor_attributes_control_a_terminal(files: Files, tmp_path: Path) -> None:
    odd = tmp_path / os.fsdecode(b"a\xc2\x9bb\x9bc\xc3\xa4\xe2\x9b\x83")
    odd.write_bytes(b"")
    files.do("put", str(odd), "home")
    assert on_a_terminal(files, "ls", "home") == b"a?b?c\xc3\xa4\xe2\x9b\x83\r\n"
    files.do("mkdir", "home/d")
    files.do("xattr", "home/d", "user.a\033[31m=\033[32mvalue")
    assert on_a_terminal(files, "xattr", "home/d") == b"user.a?[31m=?[32mvalue\r\n"
    assert files.do("xattr", "home/d") == "user.a\033[31m=\033[32mvalue\n"


@pytest.mark.skipif(mounts.why_not() is not None, reason=str(mounts.why_not()))
def test_a_file_is_not_copied_onto_itself_through_a_mount(files: Files, tmp_path: Path) -> None:
    mount = Mount(f"unix:{files.box.rpc_socket}/home", tmp_path / "mnt").start()
    try:
        data = os.urandom(3 << 20)
        (mount / "big").write_bytes(data)
        os.sync()
        assert "the same file" in files.fails("put", str(mount / "big"), "home")
        assert "the same file" in files.fails("get", "home/big", str(mount.path))
        files.do("put", str(mount / "big"), "home/other")
        files.do("get", "home/big", str(mount / "third"))
        assert [(mount / name).read_bytes() == data for name in ("big", "other", "third")] == [True] * 3
        assert mount.stop() == 0
    finally:
        mount.dispose()


@pytest.mark.skipif(mounts.why_not() is not None, reason=str(mounts.why_not()))
@pytest.mark.parametrize("export", ["home", "/home"])
def test_an_export_without_an_address_is_on_the_server_of_the_other_commands(files: Files, tmp_path: Path, export: str) -> None:
    files.do("mkdir", "home/seen")
    (tmp_path / "mnt").mkdir()
    files.do("mount", export, str(tmp_path / "mnt"))
    try:
        assert os.listdir(tmp_path / "mnt") == ["seen"]
    finally:
        subprocess.run(["umount", str(tmp_path / "mnt")], check=False)


@pytest.mark.skipif(mounts.why_not() is not None, reason=str(mounts.why_not()))
def test_another_file_of_the_same_number_and_size_is_no_copy_of_itself(files: Files, tmp_path: Path) -> None:
    files.box.wfs("fs", "create", "tank/other")
    files.box.add_export("tank/other", "other")
    local = tmp_path / "big"
    numbers = []
    for export in ("home", "other"):
        local.write_bytes(export[:1].encode() * (1 << 20))
        os.utime(local, (1000, 1000))
        files.do("put", str(local), export)
        numbers.append(json.loads(files.do("--json", "stat", f"{export}/big"))["file_id"])
    assert numbers[0] == numbers[1]
    mount = Mount(f"unix:{files.box.rpc_socket}/home", tmp_path / "mnt").start()
    try:
        files.do("put", str(mount / "big"), "other")
        assert files.do("cat", "other/big") == "h" * (1 << 20)
        assert mount.stop() == 0
    finally:
        mount.dispose()


@pytest.mark.skipif(mounts.why_not() is not None, reason=str(mounts.why_not()))
def test_a_file_of_a_file_system_below_the_mounted_one_is_not_copied_onto_itself(files: Files, tmp_path: Path) -> None:
    files.box.add_export("/tank", "pool")
    data = {"big": os.urandom(1 << 20), "small": os.urandom(100)}
    for name, content in data.items():
        (tmp_path / name).write_bytes(content)
        files.do("put", str(tmp_path / name), "home")
    mount = Mount(f"unix:{files.box.rpc_socket}/pool", tmp_path / "mnt").start()
    try:
        home = mount / "home"
        for name, content in data.items():
            assert "the same file" in files.fails("get", f"pool/home/{name}", str(home))
            assert (home / name).read_bytes() == content
        assert "the same file" in files.fails("put", str(home / "big"), "home")
        assert (home / "big").read_bytes() == data["big"]
        assert mount.stop() == 0
    finally:
        mount.dispose()


def test_files_that_are_not_of_a_mount_are_sent_without_looking_for_themselves(files: Files, tmp_path: Path) -> None:
    def looked_up() -> float:
        return files.box.metrics().sum("wfsd_rpc_tree_operations_total", operation="lookup")

    (tmp_path / "d").mkdir()
    for i in range(5):
        (tmp_path / "d" / f"large{i}").write_bytes(bytes(100_000))
    before = looked_up()
    files.do("put", str(tmp_path / "d"), "home")
    assert looked_up() == before


def test_times_that_nobody_can_keep_become_the_last(files: Files, tmp_path: Path) -> None:
    for name, size, seconds in (("small", 1, 10**10), ("large", 100_000, 10**10), ("before", 1, -1)):
        (tmp_path / name).write_bytes(bytes(size))
        os.utime(tmp_path / name, (seconds, seconds))
        files.do("put", str(tmp_path / name), "home")
        kept = json.loads(files.do("--json", "stat", f"home/{name}"))["mtime_ns"]
        assert kept == (2**63 - 1 if seconds > 0 else -(10**9)), name
