# SPDX-License-Identifier: BSD-3-Clause
"""Bad names, sizes and commands are refused with a clear error; junk on the sockets ends that connection only."""

import errno
import os
import random
import socket
import struct
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import procfs
import pytest
from appliance import Appliance, Settings, wait_for
from nbdclient import MIB, connect, pattern, read_all, write_bytes

BAD_NAMES = ["", "a/b", ".", "..", "new\nline", "tab\t", "bell\x07", "del\x7f", "x" * 300]


@pytest.mark.parametrize("name", BAD_NAMES, ids=repr)
def test_bad_volume_name_is_refused(shared: Appliance, name: str) -> None:
    answer = shared.admin("/v1/volumes", "POST", {"pool": "tank", "name": name, "size_bytes": MIB})
    assert answer.status == 400, answer.text
    assert answer.json["error"]["message"]
    assert shared.wfs_fails("volume", "create", f"tank/{name}", "1M")
    assert shared.wfs("volume", "list")["volumes"] == []


@pytest.mark.parametrize("name", [*BAD_NAMES, "x" * 64], ids=repr)
def test_bad_pool_name_is_refused_and_leaves_no_file(shared: Appliance, name: str) -> None:
    path = shared.folder / "never"
    assert shared.wfs_fails("pool", "create", name, str(path), "--size", "64M")
    assert not path.exists()


@pytest.mark.parametrize("name", ["", "new\nline", "bell\x07", "x" * 256], ids=repr)
def test_bad_export_name_is_refused(appliance: Appliance, name: str) -> None:
    appliance.create_volume("tank/v", "1M")
    answer = appliance.admin("/v1/exports", "POST", {"name": name, "path": "/tank/v"})
    assert answer.status == 400, answer.text
    assert appliance.wfs("export", "list")["exports"] == []


@pytest.mark.parametrize("name", ["with blank", "ümläut", "a.b-c_d", "x" * 255, "100%", "quote\"'", "-dash"], ids=repr)
def test_unusual_names_work_everywhere(appliance: Appliance, name: str) -> None:
    answer = appliance.admin("/v1/volumes", "POST", {"pool": "tank", "name": name, "size_bytes": MIB})
    assert answer.status == 201, answer.text
    answer = appliance.admin("/v1/exports", "POST", {"name": name, "path": f"/tank/{name}"})
    assert answer.status == 201, answer.text
    write_bytes(appliance.nbd_uri(name), pattern(MIB, 1))
    appliance.metrics()
    appliance.restart()
    assert read_all(appliance.nbd_uri(name)) == pattern(MIB, 1)
    assert appliance.wfs("volume", "list")["volumes"][0]["name"] == name


def test_bytes_that_are_no_utf8_are_refused(shared: Appliance) -> None:
    answer = shared.admin("/v1/volumes", "POST", b'{"pool":"tank","name":"\xff\xfe","size_bytes":4096}')
    assert answer.status == 400


@pytest.mark.parametrize("size", [0, 1, 4095, 4097, -4096, (1 << 60) + 4096, 1 << 63, 1.5, "1M", None, True])
def test_bad_volume_size_is_refused(shared: Appliance, size: object) -> None:
    answer = shared.admin("/v1/volumes", "POST", {"pool": "tank", "name": "sized", "size_bytes": size})
    assert answer.status == 400, answer.text
    message = answer.json["error"]["message"]
    assert "size" in message or "integer" in message


@pytest.mark.parametrize("size", [0, 1, 4097, -4096, (1 << 60) + 4096, "1M", None])
def test_bad_new_size_is_refused_and_the_volume_stays(appliance: Appliance, size: object) -> None:
    appliance.create_volume("tank/v", "1M")
    answer = appliance.admin("/v1/volumes/tank/v/resize", "POST", {"size_bytes": size, "shrink": True})
    assert answer.status == 400, answer.text
    assert appliance.wfs("volume", "show", "tank/v")["size_bytes"] == MIB


@pytest.mark.parametrize("size", ["0", "1", "4097", "-1", "12X", "", "1.5.2G", "99999999999999999999", "2E"])
def test_bad_size_on_the_command_line_is_refused(shared: Appliance, size: str) -> None:
    assert shared.wfs_fails("volume", "create", "tank/sized", size)
    assert shared.wfs("volume", "list")["volumes"] == []


def test_largest_and_smallest_volume_work(appliance: Appliance) -> None:
    for name, size in (("largest", 1 << 60), ("smallest", 4096)):
        answer = appliance.admin("/v1/volumes", "POST", {"pool": "tank", "name": name, "size_bytes": size})
        assert answer.status == 201, answer.text
        appliance.add_export(f"tank/{name}", name)
        with connect(appliance.nbd_uri(name)) as handle:
            assert handle.get_size() == size
            handle.pwrite(b"end!", size - 4)
            handle.flush()
            assert bytes(handle.pread(4, size - 4)) == b"end!"


def test_unknown_pool_volume_and_export_are_named(shared: Appliance) -> None:
    assert "nopool" in shared.wfs_fails("pool", "status", "nopool")
    assert "nopool" in shared.wfs_fails("volume", "create", "nopool/v", "1M")
    assert "novol" in shared.wfs_fails("volume", "show", "tank/novol")
    assert "novol" in shared.wfs_fails("volume", "delete", "tank/novol", "--yes")
    assert "novol" in shared.wfs_fails("export", "add", "tank/novol")
    assert "noexport" in shared.wfs_fails("export", "remove", "noexport")


def tcp(port: int) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port), timeout=10)
    return sock


def unix(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(10)
    sock.connect(str(path))
    return sock


def send_and_see(sock: socket.socket, data: bytes, *, half_close: bool = True) -> bytes:
    """Send, then read until the other side ends the connection (or, having nothing to say, waits for more)."""
    received = b""
    with sock:
        try:
            sock.sendall(data)
            if half_close:
                try:
                    sock.shutdown(socket.SHUT_WR)
                except OSError as error:  # the other side has reset it already
                    if error.errno != errno.ENOTCONN:
                        raise
            while chunk := sock.recv(65536):
                received += chunk
        except (BrokenPipeError, ConnectionResetError):
            pass
    return received


CALL = struct.pack(">IIIIIIIIII", 1, 0, 2, 0x20574653, 1, 0, 0, 0, 0, 0)
RPC_JUNK = {
    "nothing": b"",
    "one byte": b"\x80",
    "empty record": struct.pack(">I", 0x80000000),
    "endless empty fragments": struct.pack(">I", 0) * 10_000,
    "record of 2 GiB": struct.pack(">I", 0xFFFFFFFF) + b"x" * 1000,
    "record of 100 MiB announced": struct.pack(">I", 0x80000000 | 100 * MIB) + b"x" * 1000,
    "truncated call": struct.pack(">I", 0x80000000 | 400) + CALL,
    "short call": struct.pack(">I", 0x80000000 | 8) + CALL[:8],
    "reply instead of call": struct.pack(">I", 0x80000000 | 24) + struct.pack(">IIIIII", 1, 1, 0, 0, 0, 0),
    "huge credentials": struct.pack(">I", 0x80000000 | 40) + CALL[:28] + struct.pack(">III", 0xFFFFFFF0, 0, 0),
    "many fragments": b"".join(struct.pack(">I", 4) + CALL[i : i + 4] for i in range(0, 40, 4)) * 200,
    "ones": b"\xff" * 200_000,
    "http": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
}


@pytest.mark.parametrize("junk", RPC_JUNK.values(), ids=RPC_JUNK.keys())
def test_junk_on_the_rpc_sockets_ends_that_connection_only(shared: Appliance, junk: bytes) -> None:
    uri = _steady_volume(shared)
    with connect(uri) as steady:
        before = procfs.status_bytes(shared.pid, "VmRSS")
        send_and_see(unix(shared.rpc_socket), junk)
        send_and_see(tcp(shared.rpc_port), junk)
        assert bytes(steady.pread(4096, 0)) == pattern(4096, 3)
        assert procfs.status_bytes(shared.pid, "VmRSS") - before < 8 * MIB


def test_wrong_program_version_or_procedure_gets_an_answer(shared: Appliance) -> None:
    for program, version, procedure, expected in ((1, 1, 0, 1), (0x20574653, 9, 0, 2), (0x20574653, 1, 999, 3)):
        call = struct.pack(">IIIIIIIIII", 7, 0, 2, program, version, procedure, 0, 0, 0, 0)
        answer = send_and_see(tcp(shared.rpc_port), struct.pack(">I", 0x80000000 | len(call)) + call)
        assert len(answer) >= 28, answer
        xid, kind, state = struct.unpack_from(">III", answer, 4)
        assert (xid, kind, state) == (7, 1, 0)
        assert struct.unpack_from(">I", answer, 24) == (expected,)


@pytest.mark.parametrize("seed", range(3))
def test_random_bytes_on_all_sockets_leave_memory_bounded(shared: Appliance, seed: int) -> None:
    rng = random.Random(seed)
    uri = _steady_volume(shared)
    call_head = struct.pack(">I", 0x80000000 | 2000) + CALL[:20]

    def attack(number: int) -> None:
        junk = rng.randbytes(rng.choice([1, 10, 100, 5000]))
        for head in (b"", struct.pack(">I", 0x80000000 | len(junk)), call_head + struct.pack(">I", number % 20)):
            send_and_see(unix(shared.rpc_socket), head + junk)
            send_and_see(tcp(shared.rpc_port), head + junk)
        send_and_see(unix(shared.admin_socket), b"POST /v1/pools HTTP/1.1\r\n" * (number % 2) + junk)

    for number in range(20):
        attack(number)
    before = procfs.status_bytes(shared.pid, "VmRSS")
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(attack, range(100)))
    assert procfs.status_bytes(shared.pid, "VmRSS") - before < 16 * MIB
    with connect(uri) as handle:
        assert bytes(handle.pread(4096, 0)) == pattern(4096, 3)
    assert shared.is_ready()


def test_many_silent_connections_hold_little_memory_and_stop_nobody(shared: Appliance) -> None:
    before = procfs.status_bytes(shared.pid, "VmRSS")
    files = procfs.open_files(shared.pid)
    idle = [unix(shared.rpc_socket) for _ in range(100)] + [tcp(shared.rpc_port) for _ in range(100)]
    for sock in idle:
        try:
            sock.sendall(struct.pack(">I", 0x80000000 | 30 * MIB) + b"x" * 100)
        except (BrokenPipeError, ConnectionResetError):
            pass
    assert shared.is_ready()
    assert procfs.status_bytes(shared.pid, "VmRSS") - before < 64 * MIB
    with connect(_steady_volume(shared)) as handle:
        assert bytes(handle.pread(4096, 0)) == pattern(4096, 3)
    for sock in idle:
        sock.close()
    wait_for(lambda: procfs.open_files(shared.pid) <= files + 10, "the connections to be closed")


ADMIN_JUNK = {
    "nothing": b"",
    "no http": b"hello\r\n\r\n",
    "endless line": b"GET /" + b"a" * 200_000,
    "endless headers": b"GET / HTTP/1.1\r\n" + b"X-Header: value\r\n" * 20_000,
    "huge body announced": b"POST /v1/pools HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n",
    "negative length": b"POST /v1/pools HTTP/1.1\r\nContent-Length: -5\r\n\r\n{}",
    "two lengths": b"POST /v1/pools HTTP/1.1\r\nContent-Length: 2\r\nContent-Length: 9\r\n\r\n{}",
    "chunks": b"POST /v1/pools HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffff\r\nx",
    "truncated body": b"POST /v1/pools HTTP/1.1\r\nContent-Length: 50\r\n\r\n{",
    "escapes": b"GET /v1/volumes/%2e%2e/%00 HTTP/1.1\r\n\r\n",
    "odd escape": b"GET /v1/pools/%zz HTTP/1.1\r\n\r\n",
    "zeros": bytes(100_000),
    "ones": b"\xff" * 100_000,
}


def test_rpc_connections_beyond_the_limit_are_closed_and_counted(make_appliance) -> None:
    box = make_appliance(Settings(max_connections=2, rpc_max_connections=4))
    refused = "wfsd_rpc_connections_refused_total"
    open_now = [unix(box.rpc_socket) for _ in range(4)]
    wait_for(lambda: box.metrics().sum("wfsd_rpc_connections") == 4, "four connections")
    assert box.metrics().sum(refused) == 0
    with unix(box.rpc_socket) as fifth:
        assert fifth.recv(1) == b""
    wait_for(lambda: box.metrics().sum(refused) == 1, "the fifth to be counted")
    for _ in range(300):
        unix(box.rpc_socket).close()
    wait_for(lambda: box.metrics().sum(refused) == 301, "all to be counted")
    # Who connects in vain all the time does not fill the log: 20 lines in ten seconds.
    assert 0 < box.log().count("connection refused") <= 60
    open_now.pop().close()
    wait_for(lambda: box.metrics().sum("wfsd_rpc_connections") == 3, "a place")
    box.wfs("fs", "create", "tank/home")
    box.add_export("tank/home", "home")
    assert box.run_wfs("--server", f"unix:{box.rpc_socket}", "ls", "home").status == 0


@pytest.mark.parametrize("junk", ADMIN_JUNK.values(), ids=ADMIN_JUNK.keys())
def test_junk_on_the_admin_socket_ends_that_connection_only(shared: Appliance, junk: bytes) -> None:
    before = procfs.status_bytes(shared.pid, "VmRSS")
    answer = send_and_see(unix(shared.admin_socket), junk)
    if answer:
        status = int(answer.split(b" ")[1])
        assert answer.startswith(b"HTTP/1.") and 400 <= status < 600, answer[:200]
    assert shared.is_ready()
    assert procfs.status_bytes(shared.pid, "VmRSS") - before < 8 * MIB


def test_slow_admin_client_stops_nobody(shared: Appliance) -> None:
    slow = [unix(shared.admin_socket) for _ in range(20)]
    for sock in slow:
        sock.sendall(b"GET /metrics HT")
    assert shared.admin("/health/live").status == 200
    for sock in slow:
        sock.close()


def test_admin_body_beyond_the_limit_is_413(shared: Appliance) -> None:
    try:
        answer = shared.admin("/v1/volumes", "POST", b" " * 70_000)
    except (BrokenPipeError, ConnectionResetError):
        return  # refused before all of it was sent
    assert answer.status == 413


DEEP = b"[" * 30_000


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'{"pool":1}', b'{"a":1}', DEEP, b'{"name":"x","name":"y"}'])
def test_bad_json_is_400_with_a_reason(shared: Appliance, body: bytes) -> None:
    answer = shared.admin("/v1/volumes", "POST", body)
    assert answer.status == 400
    assert answer.json["error"]["message"]


def test_unknown_key_is_refused_and_named(shared: Appliance) -> None:
    body = {"pool": "tank", "name": "v", "size_bytes": 4096, "colour": "red"}
    answer = shared.admin("/v1/volumes", "POST", body)
    assert answer.status == 400 and "colour" in answer.json["error"]["message"]


def _steady_volume(box: Appliance) -> str:
    if not any(e["name"] == "steady" for e in box.wfs("export", "list")["exports"]):
        box.create_pool(f"steady{os.getpid()}", "64M")
        write_bytes(box.add_volume(f"steady{os.getpid()}/v", "1M", "steady"), pattern(4096, 3))
    return box.nbd_uri("steady")
