# SPDX-License-Identifier: BSD-3-Clause
"""The wfs command against a real daemon: exit statuses, JSON everywhere, text for people."""

import json
import os
import subprocess

import pytest
from appliance import Appliance, program
from nbdclient import MIB, connect, pattern, write_bytes

DONE, FAILED, USAGE, UNREACHABLE = 0, 1, 2, 3


@pytest.fixture(scope="module")
def box(shared: Appliance) -> Appliance:
    write_bytes(shared.add_volume("tank/vm1", "16M", "vm1"), pattern(MIB, 1))
    return shared


READING = [
    ("pool", "list"), ("pool", "status"), ("pool", "status", "tank"), ("volume", "list"), ("volume", "list", "tank"),
    ("volume", "show", "tank/vm1"), ("export", "list"), ("status",), ("stats",),
]  # fmt: skip


@pytest.mark.parametrize("command", READING, ids=" ".join)
def test_reading_commands_print_text_and_json(box: Appliance, command: tuple[str, ...]) -> None:
    text = box.run_wfs(*command)
    assert (text.status, text.err) == (DONE, "") and text.out.strip()
    found = box.run_wfs(*command, "--json")
    assert found.status == DONE
    json.loads(found.out)


def test_names_and_sizes_stand_in_the_text(box: Appliance) -> None:
    assert "tank" in box.run_wfs("pool", "list").out
    assert "16.0M" in box.run_wfs("volume", "list").out or "16M" in box.run_wfs("volume", "list").out
    assert "vm1" in box.run_wfs("export", "list").out
    status = box.run_wfs("pool", "status", "tank").out
    assert str(box.pool_file("tank")) in status and "online" in status


def test_every_change_prints_json_when_asked(appliance: Appliance) -> None:
    file = str(appliance.folder / "p")
    for command in (
        ("pool", "create", "p", file, "--size", "64M"),
        ("volume", "create", "p/v", "8M"),
        ("volume", "resize", "p/v", "16M"),
        ("volume", "rename", "p/v", "w"),
        ("export", "add", "p/w", "--as", "e"),
        ("export", "remove", "e"),
        ("pool", "sync", "p"),
        ("volume", "delete", "p/w", "--yes"),
        ("pool", "export", "p"),
        ("pool", "import", file),
        ("pool", "destroy", "p", "--yes"),
        ("reload",),
    ):
        done = appliance.run_wfs(*command, "--json")
        assert done.status == DONE, f"{command}: {done.err}"
        assert isinstance(done.json, dict), command


def test_relative_paths_are_those_of_the_caller(appliance: Appliance) -> None:
    command = [program("wfs"), "--socket", str(appliance.admin_socket), "pool", "create", "rel", "rel.pool"]
    subprocess.run([*command, "--size", "64M"], cwd=appliance.folder, check=True, timeout=30, capture_output=True)
    assert (appliance.folder / "rel.pool").stat().st_size == 64 * MIB


def test_failure_is_status_1_with_a_reason(box: Appliance) -> None:
    for command in (("pool", "status", "none"), ("volume", "show", "tank/none"), ("export", "remove", "none")):
        done = box.run_wfs(*command)
        assert done.status == FAILED and "none" in done.err and not done.out
        done = box.run_wfs(*command, "--json")
        assert done.status == FAILED and done.json["error"]["message"]


@pytest.mark.parametrize(
    "command",
    [
        (), ("nonsense",), ("pool",), ("pool", "nonsense"), ("volume", "create", "tank/x"), ("pool", "list", "extra", "more"),
        ("--nonsense",), ("volume", "create", "noslash", "1M"), ("volume", "create", "tank/x", "many"),
        ("export", "list", "--size", "1M"), ("volume", "delete", "tank/vm1"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_wrong_usage_is_status_2(box: Appliance, command: tuple[str, ...]) -> None:
    done = subprocess.run(
        [program("wfs"), "--socket", str(box.admin_socket), *command],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20, check=False,
    )  # fmt: skip
    assert done.returncode == USAGE, f"{done.returncode} {done.stdout}{done.stderr}"
    assert done.stderr.strip()


def test_unreachable_daemon_is_status_3(tmp_path) -> None:
    done = subprocess.run(
        [program("wfs"), "--socket", str(tmp_path / "none.sock"), "status"], capture_output=True, text=True, timeout=20
    )
    assert done.returncode == UNREACHABLE and "none.sock" in done.stderr


def test_socket_may_come_from_the_environment(box: Appliance) -> None:
    done = subprocess.run(
        [program("wfs"), "pool", "list"],
        env=os.environ | {"WFSD_ADMIN": str(box.admin_socket)}, capture_output=True, text=True, timeout=20, check=False,
    )  # fmt: skip
    assert done.returncode == DONE and "tank" in done.stdout


def test_help_and_version_work_without_a_daemon() -> None:
    for option, word in (("--help", "volume create"), ("--version", "wfs")):
        done = subprocess.run([program("wfs"), option], capture_output=True, text=True, timeout=20, check=True)
        assert word in done.stdout
    done = subprocess.run([program("wfsd"), "--help"], capture_output=True, text=True, timeout=20, check=True)
    assert "--config" in done.stdout


def test_stats_show_rates_of_what_is_going_on(box: Appliance) -> None:
    with connect(box.nbd_uri("vm1")) as handle:
        process = subprocess.Popen(
            [program("wfs"), "--socket", str(box.admin_socket), "stats", "--watch", "--count", "2"],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        while process.poll() is None:
            handle.pread(4096, 0)
        assert process.returncode == DONE
        assert process.stdout.read().strip()
