# SPDX-License-Identifier: BSD-3-Clause
"""The configuration file: the sample is right, errors name file and line, SIGHUP reloads, a bad file changes nothing."""

import os
import signal
import subprocess

import nbd
import pytest
from appliance import ROOT, Appliance, program, to_yaml, wait_for
from nbdclient import MIB, connect, info, pattern, write_bytes

SAMPLE = ROOT / "config" / "wfsd.yaml"


def check(path, *, ok: bool) -> str:
    """wfsd --check; what it said."""
    done = subprocess.run(
        [program("wfsd"), "--config", str(path), "--check"], capture_output=True, text=True, timeout=20, check=False
    )
    said = done.stdout + done.stderr
    assert (done.returncode == 0) == ok, f"status {done.returncode}: {said}"
    return said


def test_sample_is_right() -> None:
    check(SAMPLE, ok=True)


def test_sample_shows_every_section() -> None:
    text = SAMPLE.read_text()
    for key in ("state_dir", "run_dir", "log_level", "memory", "admin", "metrics", "rpc", "nbd", "pools", "exports"):
        assert f"\n{key}:" in text, key


def test_sample_with_its_comments_taken_as_settings_is_right(tmp_path) -> None:
    """Every "# key: value" of the sample is a key that exists, at the place where it stands."""
    lines = []
    for line in SAMPLE.read_text().splitlines():
        bare = line.lstrip()
        indent = line[: len(line) - len(bare)]
        if bare.startswith("# ") and bare[2:].split(":")[0].replace("_", "").isalpha() and ": " in bare:
            key = bare[2:].split(":")[0]
            if key.islower() and " " not in key and indent:
                line = indent + bare[2:]
        lines.append(line)
    path = tmp_path / "all.yaml"
    path.write_text("\n".join(lines) + "\n")
    check(path, ok=True)


@pytest.mark.parametrize(
    ("text", "line", "word"),
    [
        ("state_dir: /tmp/x\ncolour: red\n", 2, "colour"),
        ("memory:\n  cache: 64M\n  speed: 5\n", 3, "speed"),
        ("memory:\n  cache: lots\n", 2, "lots"),
        ("memory:\n  cache: 1K\n", 2, "cache"),
        ("memory: 5\n", 1, "memory"),
        ("log_level: loud\n", 1, "log_level"),
        ("nbd:\n  max_connections: 0\n", 2, "max_connections"),
        ("nbd:\n  max_connections: -1\n", 2, "-1"),
        ("rpc:\n  max_connections: 0\n", 2, "between 1 and 16384"),
        ("rpc:\n  max_connections: 85\n", 2, "must be 86 at least"),
        ("nbd:\n  handshake_timeout_ms: 99\n", 2, "between 100 and 600000"),
        ("memory:\n  commit_age_ms: 0\n", 2, "between 100 and 60000"),
        ("memory:\n  commit_age_ms: 60001\n", 2, "between 100 and 60000"),
        ("scrub:\n  rate: 1K\n", 2, "between"),
        ("mirror:\n  fill_rate: 1K\n", 2, "between"),
        ("scrub:\n  interval_days: 4000\n", 2, "between 0 and 3650"),
        ("transactions:\n  max_bytes: 1K\n", 2, "between"),
        ("nbd:\n  listen: [here]\n", 2, "here"),
        ("nbd:\n  listen: ['127.0.0.1:99999']\n", 2, "99999"),
        ("admin:\n  mode: 999\n", 2, "999"),
        ("exports:\n  - name: a\n", 2, "path"),
        ("exports:\n  - name: a\n    path: relative\n", 2, "absolute"),
        ("exports:\n  - name: a\n    path: /t/v\n  - name: a\n    path: /t/w\n", 4, "a"),
        ("exports:\n  - {name: a, path: /t/v, read_only: perhaps}\n", 2, "read_only"),
        ("pools:\n  - name: 'a/b'\n    devices: [/dev/x]\n", 2, "a/b"),
        ("pools:\n  - name: p\n    devices: []\n", 3, "devices"),
        ("log_level: info\nlog_level: debug\n", 2, "log_level"),
        ("memory:\n  - cache\n", 2, "memory"),
        ("log_level: [info\n", 2, ""),
        ("\tlog_level: info\n", 1, ""),
        ("- a\n- b\n", 1, ""),
        ("", 1, "empty"),
    ],
)
def test_mistake_is_reported_with_file_and_line(tmp_path, text: str, line: int, word: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    said = check(path, ok=False)
    assert f"{path}:{line}:" in said, said
    assert word in said, said


def test_missing_file_is_named(tmp_path) -> None:
    assert "nowhere.yaml" in check(tmp_path / "nowhere.yaml", ok=False)


def test_daemon_with_a_bad_file_does_not_start(make_appliance) -> None:
    box = make_appliance(start=False)
    box.write_config(box.config_path.read_text() + "colour: red\n")
    said = box.start_expecting_failure()
    assert f"{box.config_path}:" in said and "colour" in said


def configured(make_appliance) -> Appliance:
    """A daemon whose pool and export stand in the file."""
    box = make_appliance()
    box.create_volume("tank/v", "8M")
    box.create_volume("tank/w", "8M")
    box.settings.exports = [{"name": "static", "path": "/tank/v", "description": "from the file"}]
    box.write_config()
    box.restart()
    return box


def names(box: Appliance) -> list[str]:
    return sorted(export["name"] for export in box.wfs("export", "list")["exports"])


def test_static_exports_come_from_the_file_and_cannot_be_removed(make_appliance) -> None:
    box = configured(make_appliance)
    [export] = box.wfs("export", "list")["exports"]
    assert export["is_static"] is True and export["description"] == "from the file"
    write_bytes(box.nbd_uri("static"), pattern(MIB, 1))
    assert box.wfs_fails("export", "remove", "static")
    assert names(box) == ["static"]


def test_pool_from_the_file_is_imported_at_start(make_appliance) -> None:
    box = make_appliance()
    box.create_volume("tank/v", "8M")
    box.wfs("pool", "export", "tank")
    box.settings.pools = [{"name": "tank", "devices": [str(box.pool_file("tank"))]}]
    box.write_config()
    box.restart()
    assert [pool["name"] for pool in box.wfs("pool", "list")["pools"]] == ["tank"]


def test_sighup_reads_exports_again_and_disturbs_no_client(make_appliance) -> None:
    box = configured(make_appliance)
    with connect(box.nbd_uri("static")) as handle:
        box.settings.exports.append({"name": "second", "path": "/tank/w", "read_only": True})
        box.write_config()
        box.process.send_signal(signal.SIGHUP)
        wait_for(lambda: names(box) == ["second", "static"], "the new export")
        handle.pwrite(b"going on", 0)
        handle.flush()
    assert info(box.nbd_uri("second"))["exports"][0]["is_read_only"] is True
    box.settings.exports.pop(0)
    box.write_config()
    box.wfs("reload")
    assert names(box) == ["second"]


def test_reload_keeps_exports_added_by_command(make_appliance) -> None:
    box = configured(make_appliance)
    box.add_export("tank/w", "dynamic")
    box.wfs("reload")
    assert names(box) == ["dynamic", "static"]


def test_bad_reload_keeps_the_old_configuration_and_says_why(make_appliance) -> None:
    box = configured(make_appliance)
    good = box.config_path.read_text()
    box.write_config(good.replace("from the file", "changed") + "colour: red\n")
    said = box.wfs_fails("reload")
    assert "colour" in said and f"{box.config_path}:" in said
    before = len(box.log())
    box.process.send_signal(signal.SIGHUP)
    wait_for(lambda: "colour" in box.log()[before:], "the complaint in the log")
    [export] = box.wfs("export", "list")["exports"]
    assert export["description"] == "from the file"
    write_bytes(box.nbd_uri("static"), pattern(MIB, 2))


def test_default_sockets_are_in_run_dir(make_appliance) -> None:
    box = make_appliance(start=False)
    box.write_config(f"state_dir: {box.state_dir}\nrun_dir: {box.run_dir}\n")
    box.start()
    assert box.wfs("status")["state"] == "running"


def test_relative_paths_start_at_the_file(make_appliance) -> None:
    box = make_appliance(start=False)
    box.write_config("state_dir: state\nrun_dir: run\nnbd:\n  socket: run/nbd.sock\n")
    box.start()
    box.create_pool("tank", "64M")
    assert info(box.add_volume("tank/v", "8M", "v"))["exports"][0]["export-size"] == 8 * MIB


def with_nbd(make_appliance, key: str, value: str) -> Appliance:
    box = make_appliance(start=False)
    tree = box.config()
    tree["nbd"][key] = value
    box.write_config(to_yaml(tree))
    return box


def test_missing_plugin_stops_the_start_and_is_named(make_appliance) -> None:
    assert "/nowhere/plugin.so" in with_nbd(make_appliance, "plugin", "/nowhere/plugin.so").start_expecting_failure()


def test_missing_nbdkit_costs_connections_and_is_told(make_appliance) -> None:
    box = with_nbd(make_appliance, "nbdkit", "no-such-program").start()
    box.create_pool("tank", "64M")
    uri = box.add_volume("tank/v", "8M", "v")
    with pytest.raises(nbd.Error):
        with connect(uri):
            pass
    wait_for(lambda: box.wfs("status")["nbd"]["ended_error"] == 1, "the failure to be counted")
    assert "nbdkit" in box.log() and "No such file" in box.log()


def test_unknown_user_of_nbdkit_is_told(make_appliance) -> None:
    if os.geteuid() != 0:
        pytest.skip("only a daemon that is root changes the user")
    box = with_nbd(make_appliance, "user", "no-such-user").start()
    assert "no-such-user" in box.log()
