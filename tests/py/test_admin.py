# SPDX-License-Identifier: BSD-3-Clause
"""The admin socket: shapes of its answers, metrics that Prometheus takes, health, methods and errors."""

import json
import os
import re
import socket
import stat
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from appliance import Appliance, Metrics, Settings, wait_for
from libwfs import Client
from nbdclient import MIB, connect, pattern, read_all, run, write_bytes

POOL_KEYS = {
    "name": str, "uuid": str, "health": str, "reason": str, "size_bytes": int, "used_bytes": int, "freeing_bytes": int, "bad_bytes": int, "fs_count": int,
    "reserved_bytes": int, "available_bytes": int, "txg": int, "dirty_bytes": int, "volume_count": int, "log": dict,
    "scrub": dict, "device_count": int, "devices": list,
}  # fmt: skip
DEVICE_KEYS = {
    "state": str, "uuid": str, "mirror": int, "away_txg": int, "repairs": int,
    "path": str, "transport": str, "model": str, "size_bytes": int, "queue_depth": int, "logical_block_bytes": int,
    "volatile_cache": bool, "fua": bool, "discard": bool, "read_errors": int, "write_errors": int,
    "checksum_errors": int,
}  # fmt: skip
VOLUME_KEYS = {
    "pool": str, "name": str, "id": int, "size_bytes": int, "used_bytes": int, "created_ns": int, "modified_ns": int,
    "open_count": int,
}  # fmt: skip
EXPORT_KEYS = {
    "name": str, "path": str, "description": str, "read_only": bool, "is_default": bool, "is_static": bool, "policy": dict,
    "open_count": int,
}  # fmt: skip
STATUS_KEYS = {
    "version": str, "pid": int, "uptime_seconds": int, "state": str, "pools": list, "problems": list, "memory": dict,
    "nbd": dict, "export_count": int,
}  # fmt: skip


def check(found: dict, keys: dict[str, type]) -> None:
    """Exactly these members, of these types."""
    assert set(found) == set(keys)
    for key, kind in keys.items():
        value = found[key]
        good = isinstance(value, (int, float)) if kind is int else isinstance(value, kind)
        assert good and (kind is bool) == isinstance(value, bool), f"{key}: {value!r}"


@pytest.fixture
def busy(appliance: Appliance) -> Appliance:
    """A daemon that has done some work."""
    uri = appliance.add_volume("tank/v", "32M", "v")
    write_bytes(uri, pattern(16 * MIB, 1))
    read_all(uri)
    with connect(uri) as handle:
        handle.trim(MIB, 0)
        handle.zero(MIB, MIB)
        handle.flush()
    wait_for(lambda: not appliance.nbdkit_pids(), "the client's nbdkit to end")
    return appliance


def test_objects_have_the_documented_members(busy: Appliance) -> None:
    [pool] = busy.admin("/v1/pools").json["pools"]
    check(pool, POOL_KEYS)
    check(pool["devices"][0], DEVICE_KEYS)
    assert busy.admin("/v1/pools/tank").json.keys() == pool.keys()
    assert pool["used_bytes"] + pool["available_bytes"] <= pool["size_bytes"]
    [volume] = busy.admin("/v1/volumes?pool=tank").json["volumes"]
    check(volume, VOLUME_KEYS)
    check(busy.admin("/v1/volumes/tank/v").json, VOLUME_KEYS)
    [export] = busy.admin("/v1/exports").json["exports"]
    check(export, EXPORT_KEYS)
    assert export["path"] == "/tank/v"
    status = busy.admin("/v1/status").json
    check(status, STATUS_KEYS)
    assert status["state"] == "running" and status["pid"] == busy.pid and status["problems"] == []
    assert status["nbd"]["accepted"] == status["nbd"]["ended_ok"] == 3


def test_connection_list_shows_who_is_connected(busy: Appliance) -> None:
    with connect(busy.nbd_uri("v")):
        [connection] = busy.admin("/v1/connections").json["nbd"]
        check(connection, {"id": int, "peer": str, "pid": int, "age_seconds": int})
        assert connection["pid"] in busy.nbdkit_pids()


def test_metrics_parse_and_count_the_work(busy: Appliance) -> None:
    metrics = busy.metrics()
    for part in ("cache", "pool", "device", "txg", "nbd_processes_ended", "rpc"):
        assert any(part in name for name in metrics.names()), f"nothing about {part}: {sorted(metrics.names())}"
    histograms = [name for name, kind in metrics.types.items() if kind == "histogram"]
    assert any("rpc" in name or "op" in name for name in histograms), histograms
    assert metrics.sum("wfsd_pool_bytes", pool="tank", state="used") > 13 * MIB
    assert metrics.sum("wfsd_txg_commits_total", pool="tank") >= 2
    assert metrics.sum("wfsd_device_errors_total") == 0
    assert all(name.startswith(("wfsd_", "process_")) for name in metrics.names())


def test_counters_never_fall(busy: Appliance) -> None:
    before = busy.metrics()
    read_all(busy.nbd_uri("v"))
    after = busy.metrics()
    for key, value in before.values.items():
        if before.types.get(key[0]) == "counter":
            assert after.values[key] >= value, key


def test_operations_show_up_by_kind(busy: Appliance) -> None:
    def operations(metrics: Metrics, word: str) -> float:
        return sum(
            value
            for (name, labels), value in metrics.values.items()
            if name.endswith("_count") and any(label[1].lower() == word for label in labels)
        )

    before = busy.metrics()
    with connect(busy.nbd_uri("v")) as handle:
        for number in range(10):
            handle.pwrite(pattern(4096, number), number * 4096)
        handle.flush()
        handle.pread(4096, 0)
    after = busy.metrics()
    assert operations(after, "write") - operations(before, "write") >= 10
    assert operations(after, "flush") - operations(before, "flush") >= 1
    assert operations(after, "read") - operations(before, "read") >= 1


def test_log_has_one_event_on_a_line_with_time_level_and_part(busy: Appliance) -> None:
    line = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (error|warning|notice|info|debug) +\w+: \S.*")
    lines = busy.log().splitlines()
    assert len(lines) > 5
    assert [text for text in lines if not line.fullmatch(text)] == []


def test_health_follows_the_daemon(appliance: Appliance) -> None:
    assert appliance.admin("/health/live").json == {"status": "live"}
    assert appliance.admin("/health/ready").json == {"status": "ready"}
    appliance.stop()
    with pytest.raises(OSError):
        appliance.admin("/health/live")


def test_plain_curl_can_read_it(appliance: Appliance) -> None:
    text = run("curl", "-sSf", "--unix-socket", appliance.admin_socket, "http://wfsd/v1/status")
    assert json.loads(text)["state"] == "running"
    assert "# TYPE" in run("curl", "-sSf", "--unix-socket", appliance.admin_socket, "http://wfsd/metrics")


def test_socket_has_mode_0660(appliance: Appliance) -> None:
    assert stat.S_IMODE(os.stat(appliance.admin_socket).st_mode) == 0o660


def test_tcp_address_gives_metrics_and_health_only(make_appliance) -> None:
    box = make_appliance(Settings(metrics_tcp=True))
    base = f"http://127.0.0.1:{box.metrics_port}"
    with urllib.request.urlopen(f"{base}/metrics", timeout=10) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain")
        Metrics.parse(answer.read().decode())
    with urllib.request.urlopen(f"{base}/health/ready", timeout=10) as answer:
        assert answer.status == 200
    for path, method in (("/v1/status", "GET"), ("/v1/pools", "POST"), ("/metrics", "POST"), ("/v1/reload", "POST")):
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(urllib.request.Request(base + path, method=method), timeout=10)
        assert refused.value.code in (403, 404, 405)


def test_verbs_do_everything_that_the_command_does(appliance: Appliance) -> None:
    def ok(path: str, method: str = "POST", body: object = None, status: int = 200) -> dict:
        answer = appliance.admin(path, method, body)
        assert answer.status == status, f"{path}: {answer.status} {answer.text}"
        return answer.json

    file = str(appliance.folder / "second.pool")
    check(ok("/v1/pools", body={"name": "two", "devices": [file], "size_bytes": 64 * MIB}, status=201), POOL_KEYS)
    check(ok("/v1/volumes", body={"pool": "two", "name": "v", "size_bytes": MIB}, status=201), VOLUME_KEYS)
    assert ok("/v1/volumes/two/v/resize", body={"size_bytes": 2 * MIB})["size_bytes"] == 2 * MIB
    assert ok("/v1/volumes/two/v/rename", body={"new_name": "w"})["name"] == "w"
    export = ok("/v1/exports", body={"name": "e", "path": "/two/w", "default": True, "description": "d"}, status=201)
    check(export, EXPORT_KEYS)
    assert export["is_default"] is True and export["description"] == "d"
    assert ok("/v1/pools/two/sync")["name"] == "two"
    ok("/v1/reload")
    ok("/v1/exports/e", "DELETE")
    ok("/v1/pools/two/export")
    assert ok("/v1/pools/import", body={"devices": [file]})["name"] == "two"
    ok("/v1/volumes/two/w", "DELETE")
    ok("/v1/pools/two/destroy")


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [
        ("/nothing", "GET", 404),
        ("/v1/nothing", "GET", 404),
        ("/v1/pools/none", "GET", 404),
        ("/v1/volumes/tank/none", "GET", 404),
        ("/v1/volumes/tank/none", "DELETE", 404),
        ("/v1/exports/none", "DELETE", 404),
        ("/v1/status", "POST", 405),
        ("/v1/pools", "DELETE", 405),
        ("/metrics", "PUT", 405),
        ("/health/ready", "DELETE", 405),
    ],
)
def test_wrong_path_or_method_gets_the_right_status(shared: Appliance, path: str, method: str, status: int) -> None:
    answer = shared.admin(path, method)
    assert answer.status == status, answer.text
    assert answer.json["error"]["message"]


def test_conflicts_are_409_and_name_what_is_in_the_way(appliance: Appliance) -> None:
    appliance.create_volume("tank/v", "8M")
    again = appliance.admin("/v1/volumes", "POST", {"pool": "tank", "name": "v", "size_bytes": MIB})
    assert (again.status, again.json["error"]["code"]) == (409, "EEXIST")
    appliance.add_export("tank/v", "the-export")
    for path, method in (("/v1/volumes/tank/v", "DELETE"), ("/v1/pools/tank/export", "POST")):
        answer = appliance.admin(path, method)
        assert answer.status == 409 and "the-export" in answer.json["error"]["message"], answer.text
    again = appliance.admin("/v1/exports", "POST", {"name": "the-export", "path": "/tank/v"})
    assert again.status == 409


def test_no_room_is_507(appliance: Appliance) -> None:
    body = {"name": "p", "devices": [str(appliance.folder / "tiny")], "size_bytes": MIB}
    assert appliance.admin("/v1/pools", "POST", body).status in (400, 507)


def test_many_readers_at_once_are_all_answered(busy: Appliance) -> None:
    with ThreadPoolExecutor(16) as pool:
        paths = ["/metrics", "/v1/status", "/v1/pools", "/v1/volumes"] * 25
        assert {answer.status for answer in pool.map(busy.admin, paths)} == {200}


def test_slow_requests_are_told_with_their_stages(appliance: Appliance, tmp_path: Path) -> None:
    appliance.wfs("fs", "create", "tank/home")
    appliance.add_export("tank/home", "home")
    (tmp_path / "data").write_bytes(os.urandom(32 << 20))
    server = f"unix:{appliance.rpc_socket}"
    for i in range(20):
        assert appliance.run_wfs("--server", server, "put", str(tmp_path / "data"), f"home/{i}").status == 0
        slow = appliance.wfs("stats", "slow")["slow"]
        if any(request["queued_ns"] for request in slow):
            break
    assert slow and len(slow) <= 32
    assert [r["total_ns"] for r in slow] == sorted((r["total_ns"] for r in slow), reverse=True)
    for request in slow:
        stages = sum(request[key] for key in ("queued_ns", "device_ns", "others_ns", "busy_ns"))
        assert 10**6 <= request["total_ns"] and stages <= request["total_ns"] + 10**5, request
        assert request["client"].startswith("pid ") and request["procedure"], request


def test_figures_of_a_volume_are_told_by_its_exports_name(appliance: Appliance) -> None:
    server = ("--server", f"unix:{appliance.rpc_socket}")
    appliance.wfs("volume", "create", "tank/vm", "1M")
    appliance.add_export("tank/vm", "vm")
    assert appliance.wfs(*server, "stats", "export", "vm")["dataset"]["written_bytes"] == 0
    write_bytes(appliance.nbd_uri("vm"), b"x" * 8192)
    told = appliance.wfs(*server, "stats", "export", "vm")
    assert told["dataset"]["written_bytes"] == 8192 and told["dataset"]["writes"] >= 1
    assert set(told["export"]) >= {"operations", "errors", "reads", "changes", "changes_p99_us"}
    text = appliance.run_wfs(*server, "stats", "export", "vm").out
    assert re.search(r"^dataset +written_bytes +8K$", text, re.MULTILINE), text
    assert "none" in appliance.wfs_fails(*server, "stats", "export", "none")


def test_clients_are_told_with_what_they_did(appliance: Appliance) -> None:
    appliance.wfs("fs", "create", "tank/home")
    appliance.add_export("tank/home", "home")
    with Client(f"unix:{appliance.rpc_socket}") as w:
        root = w.root("home")
        f, _ = w.create(root, "file")
        with f:
            f.pwrite(b"x" * 100000, 0)
            w.batch().put(root).put_file("small", b"y" * 1000).put(root).lookup("small").get_file(5000).run()
            [mine] = appliance.wfs("stats", "clients")["rpc"]
    metrics = appliance.metrics()
    told = appliance.wfs("--server", f"unix:{appliance.rpc_socket}", "stats", "export", "home")
    assert told["export"]["written_bytes"] == told["dataset"]["written_bytes"] == 101000
    assert told["export"]["read_bytes"] == told["dataset"]["read_bytes"] == 1000
    assert told["export"]["changes"] == metrics.sum("wfsd_export_latency_seconds_count", export="home", operation="change") > 0
    assert told["export"]["reads"] == metrics.sum("wfsd_export_latency_seconds_count", export="home", operation="read") > 0
    assert told["export"]["reads_p99_us"] >= told["export"]["reads_p50_us"] > 0
    assert metrics.sum("wfsd_export_read_bytes_total", export="home") == 1000
    assert metrics.sum("wfsd_export_written_bytes_total", export="home") == 101000
    assert metrics.sum("wfsd_export_operations_total", export="home") > 5
    assert metrics.sum("wfsd_export_errors_total", export="home") == 0
    assert mine["program"] == "tests" and mine["client"].endswith("uid 0") and not mine["tls"] and mine["open_files"] == 1
    assert mine["written_bytes"] == 101000 and mine["read_bytes"] == 1000 and mine["requests"] >= 5 and mine["errors"] == 0


def test_stale_socket_files_do_not_stop_a_start(appliance: Appliance) -> None:
    appliance.kill9()
    assert appliance.admin_socket.exists()
    appliance.start()
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(appliance.rpc_socket))
