# SPDX-License-Identifier: BSD-3-Clause
"""The wfs command against a pretended daemon: what it asks for, what it prints, how it ends."""
import http.server
import json
import os
import pty
import socketserver
import subprocess
import threading
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
WFS = ROOT / "build" / os.environ.get("WFSD_BUILD", "release") / "wfs"

POOL = {
    "name": "tank", "uuid": "0-0", "health": "online", "reason": "", "size_bytes": 10 << 30, "used_bytes": 3 << 29,
    "freeing_bytes": 0, "reserved_bytes": 1 << 20, "available_bytes": 8 << 30, "txg": 7, "dirty_bytes": 0,
    "volume_count": 2, "device_count": 1,
    "log": {"size_bytes": 1 << 24, "used_bytes": 4096, "clean_start": False, "recovered_bytes": 8192, "recovered_records": 5,
            "recovered_changes": 3, "recovered_pages": 2, "recovery_seconds": 0.25},
    "devices": [{"path": "/dev/nvme0n1", "transport": "nvme", "model": "Disk", "size_bytes": 10 << 30,
                 "queue_depth": 1023, "logical_block_bytes": 512, "volatile_cache": True, "fua": True, "discard": True,
                 "read_errors": 0, "write_errors": 0, "checksum_errors": 3}],
}
VOLUME = {"pool": "tank", "name": "vm 1", "id": 4, "size_bytes": 1 << 30, "used_bytes": 4096, "created_ns": 1738343100 * 10**9,
          "modified_ns": 0, "open_count": 1}
EXPORT = {"name": "vm1", "path": "/tank/vm 1", "description": "first\x1b[31m", "read_only": True, "is_default": True,
          "is_static": False, "open_count": 2}
STATUS = {"version": "0.1.0", "pid": 42, "uptime_seconds": 123.9, "state": "running", "pools": [POOL], "problems": ["disk slow"],
          "memory": {"limit_bytes": 1 << 28, "used_bytes": 1 << 20, "consumers": []},
          "nbd": {"connections": 1, "max_connections": 64, "accepted": 5, "refused": 0, "ended_ok": 3, "ended_error": 1,
                  "ended_signal": 0}, "export_count": 1}
ANSWERS = {
    "GET /v1/pools": {"pools": [POOL]}, "GET /v1/pools/tank": POOL, "GET /v1/volumes": {"volumes": [VOLUME]},
    "GET /v1/volumes?pool=tank": {"volumes": []}, "GET /v1/volumes/tank/vm%201": VOLUME,
    "GET /v1/exports": {"exports": [EXPORT]}, "GET /v1/status": STATUS, "POST /v1/pools/import": POOL,
}


class Handler(http.server.BaseHTTPRequestHandler):
    def answer(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        key = f"{self.command} {self.path}"
        daemon = self.server
        daemon.requests.append((key, json.loads(body) if body else None))
        time.sleep(daemon.delay_s)
        status, kind, data = 200, "application/json", json.dumps(ANSWERS.get(key, {}))
        if daemon.error:
            status = daemon.error[0]
            data = daemon.error[1]
        elif key == "GET /metrics":
            kind, data = "text/plain", daemon.metrics()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data.encode())))
        self.end_headers()
        self.wfile.write(data.encode())

    do_GET = do_POST = do_DELETE = answer

    def log_message(self, *_):
        pass

    def address_string(self):
        return "unix"


class Daemon(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True

    def __init__(self, path):
        super().__init__(str(path), Handler)
        self.path, self.requests, self.error, self.delay_s, self.looks = str(path), [], None, 0, 0

    def metrics(self):
        """Each look sees 100 reads of 4096 bytes more, all within 16 us."""
        self.looks += 1
        n = 100 * self.looks
        return (
            "# TYPE wfsd_rpc_seconds histogram\n"
            f'wfsd_rpc_seconds_bucket{{op="read",le="8e-06"}} 0\nwfsd_rpc_seconds_bucket{{op="read",le="1.6e-05"}} {n}\n'
            f'wfsd_rpc_seconds_bucket{{op="read",le="+Inf"}} {n}\nwfsd_rpc_seconds_count{{op="read"}} {n}\n'
            f'wfsd_rpc_bytes_total{{op="read"}} {4096 * n}\nwfsd_cache_hits_total {3 * n}\nwfsd_cache_misses_total {n}\n'
        )


@pytest.fixture
def daemon(tmp_path):
    server = Daemon(tmp_path / "admin.sock")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def wfs(daemon, *words, cwd=None):
    return subprocess.run([WFS, "--socket", daemon.path, *words], capture_output=True, text=True, timeout=30, cwd=cwd,
                          stdin=subprocess.DEVNULL, env={**os.environ, "TZ": "UTC", "http_proxy": "http://nowhere.invalid:1"})


@pytest.mark.parametrize(
    "words, request_line, body",
    [
        ("pool create tank /dev/sda /dev/sdb", "POST /v1/pools", {"name": "tank", "devices": ["/dev/sda", "/dev/sdb"]}),
        ("pool create tank /f --size 10G --force", "POST /v1/pools",
         {"name": "tank", "devices": ["/f"], "size_bytes": 10 << 30, "force": True}),
        ("pool import /dev/sda --read-only", "POST /v1/pools/import", {"devices": ["/dev/sda"], "read_only": True}),
        ("pool export tank", "POST /v1/pools/tank/export", {}),
        ("pool export tank --force", "POST /v1/pools/tank/export", {"force": True}),
        ("pool destroy ta/nk --yes", "POST /v1/pools/ta%2Fnk/destroy", {}),
        ("pool sync tank", "POST /v1/pools/tank/sync", {}),
        ("volume create tank/vm1 64K", "POST /v1/volumes", {"pool": "tank", "name": "vm1", "size_bytes": 65536}),
        ("volume resize tank/vm1 2G", "POST /v1/volumes/tank/vm1/resize", {"size_bytes": 2 << 30}),
        ("volume resize tank/vm1 1M --shrink -y", "POST /v1/volumes/tank/vm1/resize",
         {"size_bytes": 1 << 20, "shrink": True}),
        ("volume rename tank/vm1 vm2", "POST /v1/volumes/tank/vm1/rename", {"new_name": "vm2"}),
        ("volume delete tank/vm1 --yes", "DELETE /v1/volumes/tank/vm1", None),
        ("export add tank/vm1", "POST /v1/exports", {"name": "vm1", "path": "/tank/vm1"}),
        ("export add tank/vm1 --as boot --read-only --default --description x", "POST /v1/exports",
         {"name": "boot", "path": "/tank/vm1", "read_only": True, "default": True, "description": "x"}),
        ("export remove a%b", "DELETE /v1/exports/a%25b", None),
        ("reload", "POST /v1/reload", {}),
    ],
)
def test_command_sends_its_request(daemon, words, request_line, body):
    result = wfs(daemon, *words.split())
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.count("\n") == 1
    assert daemon.requests == [(request_line, body)]


def test_relative_device_paths_are_made_absolute(daemon, tmp_path):
    wfs(daemon, "pool", "create", "tank", "disk.img", cwd=tmp_path)
    assert daemon.requests[0][1]["devices"] == [f"{tmp_path}/disk.img"]


def test_lists_are_tables_for_people(daemon):
    assert wfs(daemon, "pool", "list").stdout.splitlines() == [
        "NAME  HEALTH  SIZE  USED  AVAILABLE  VOLUMES",
        "tank  online   10G  1.5G         8G        2",
    ]
    volumes = wfs(daemon, "volume", "list").stdout.splitlines()
    assert volumes[1].split() == ["tank/vm", "1", "1G", "4K", "1", "2025-01-31", "17:05"]
    exports = wfs(daemon, "export", "list").stdout.splitlines()
    assert exports[1] == "vm1 (default)  /tank/vm 1  read-only  command     2  first?[31m"
    assert wfs(daemon, "volume", "list", "tank").stdout.count("\n") == 1


def test_one_object_is_shown_in_full(daemon):
    pool = wfs(daemon, "pool", "status", "tank").stdout
    assert "size        10G (10737418240 bytes)" in pool and "/dev/nvme0n1  nvme" in pool and "1023" in pool
    assert wfs(daemon, "pool", "status").stdout == pool
    volume = wfs(daemon, "volume", "show", "tank/vm 1").stdout
    assert "used        4K (4096 bytes)" in volume and "modified    -" in volume
    status = wfs(daemon, "status").stdout
    assert "running, version 0.1.0, process 42, up 2m03s" in status and "problem     disk slow" in status


@pytest.mark.parametrize(
    "words, expected",
    [
        ("pool list", {"pools": [POOL]}), ("pool status tank", POOL), ("volume list", {"volumes": [VOLUME]}),
        ("volume show tank/vm~1", VOLUME), ("export list", {"exports": [EXPORT]}), ("status", STATUS),
        ("pool import /dev/sda", POOL), ("pool export tank", {}),
    ],
)
def test_json_is_the_daemons_own_answer(daemon, words, expected):
    result = wfs(daemon, "--json", *(w.replace("~", " ") for w in words.split()))
    assert result.returncode == 0 and json.loads(result.stdout) == expected


def test_stats_total_and_rates(daemon):
    totals = json.loads(wfs(daemon, "stats", "--json").stdout)
    assert totals["cache_hit_rate"] == 0.75 and totals["operations"][0]["count"] == 100
    assert totals["operations"][0] == {"name": "rpc read", "family": "wfsd_rpc_seconds", "labels": 'op="read"', "count": 100,
                                       "p50_seconds": 1.6e-05, "p99_seconds": 1.6e-05}
    assert totals["data"] == [{"name": "rpc read", "bytes": 409600}]
    text = wfs(daemon, "stats").stdout
    assert "rpc read" in text and "16us" in text and "75.0% hits" in text
    lines = wfs(daemon, "stats", "--watch", "--count", "2", "--json").stdout.splitlines()
    assert len(lines) == 2
    for line in map(json.loads, lines):
        assert 50 < line["operations"][0]["per_second"] <= 100


def test_refusal_is_one_line_and_status_1(daemon):
    daemon.error = (409, json.dumps({"error": {"code": "EBUSY", "errno": 16, "message": "volume tank/vm1 is open"}}))
    result = wfs(daemon, "volume", "delete", "tank/vm1", "--yes")
    assert (result.returncode, result.stdout, result.stderr) == (1, "", "wfs: volume tank/vm1 is open\n")
    result = wfs(daemon, "volume", "delete", "tank/vm1", "--yes", "--json")
    assert result.returncode == 1 and json.loads(result.stdout)["error"]["code"] == "EBUSY"


@pytest.mark.parametrize("text", ["", "not JSON", "[]", '{"error":"x"}'])
def test_strange_error_answers_are_told_with_their_http_status(daemon, text):
    daemon.error = (500, text)
    result = wfs(daemon, "pool", "list")
    assert result.returncode == 1 and "500" in result.stderr


def test_success_that_is_no_json_fails(daemon):
    daemon.error = (200, "hello")
    result = wfs(daemon, "pool", "list")
    assert result.returncode == 1 and "not JSON" in result.stderr


def test_no_daemon_is_status_3(tmp_path):
    for words in (["status"], ["stats"], ["pool", "destroy", "tank", "--yes"]):
        result = subprocess.run([WFS, *words], capture_output=True, text=True, timeout=30,
                                env={**os.environ, "WFSD_ADMIN": str(tmp_path / "none.sock")})
        assert result.returncode == 3 and result.stderr.count("\n") == 1 and "none.sock" in result.stderr


@pytest.mark.parametrize("words", ["pool destroy tank", "volume delete tank/vm1", "volume resize tank/vm1 4096 --shrink"])
def test_destroying_without_yes_asks_and_without_a_terminal_refuses(daemon, words):
    result = wfs(daemon, *words.split())
    assert result.returncode == 2 and "--yes" in result.stderr
    for answer, status in (("n\n", 1), ("y\n", 0)):
        terminal, stdin = pty.openpty()
        os.write(terminal, answer.encode())
        result = subprocess.run([WFS, "--socket", daemon.path, *words.split()], stdin=stdin, capture_output=True, timeout=30)
        os.close(terminal)
        os.close(stdin)
        assert result.returncode == status
    assert len(daemon.requests) == 1


def read_terminal(terminal):
    """What is there; "" when the other side is closed."""
    try:
        return os.read(terminal, 4096).decode()
    except OSError:
        return ""


def test_long_command_shows_progress_on_a_terminal(daemon):
    daemon.delay_s = 1.5
    terminal, stderr = pty.openpty()
    result = subprocess.run([WFS, "--socket", daemon.path, "pool", "create", "tank", "/f"], stderr=stderr,
                            stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, timeout=30)
    os.close(stderr)
    shown = "".join(iter(lambda: read_terminal(terminal), ""))
    os.close(terminal)
    assert result.returncode == 0 and "creating the pool (" in shown and shown.endswith("\r\x1b[K")


def test_full_disk_is_an_error(daemon):
    with open("/dev/full", "w") as full:
        result = subprocess.run([WFS, "--socket", daemon.path, "pool", "list"], stdout=full, stderr=subprocess.PIPE, timeout=30)
    assert result.returncode == 1 and b"output" in result.stderr
