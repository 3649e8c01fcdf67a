# SPDX-License-Identifier: BSD-3-Clause
"""The audit log of a real daemon: what is in it, what is not, and that it follows a rename of its file."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from appliance import Appliance, Settings


def lines(path: Path, wanted: Callable[[list[dict[str, Any]]], bool]) -> list[dict[str, Any]]:
    """The log, as soon as it has what is wanted."""
    deadline = time.monotonic() + 20
    while True:
        found = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        if wanted(found):
            return found
        assert time.monotonic() < deadline, found
        time.sleep(0.05)


def has(found: list[dict[str, Any]], **fields: Any) -> bool:
    return any(all(event.get(key) == value for key, value in fields.items()) for event in found)


def wfs(box: Appliance, *args: str) -> int:
    return box.run_wfs("--server", f"unix:{box.rpc_socket}", *args).status


def test_changes_of_names_and_attributes_and_of_the_administrator(make_appliance, tmp_path: Path) -> None:
    log = tmp_path / "audit.jsonl"
    box = make_appliance(Settings(audit={"file": str(log)}))
    box.wfs("fs", "create", "tank/home")
    box.add_export("tank/home", "home")
    (tmp_path / "file").write_text("contents")
    assert wfs(box, "put", str(tmp_path / "file"), "home/secret") == 0
    assert wfs(box, "mv", "home/secret", "home/renamed") == 0
    assert wfs(box, "cat", "home/renamed") == 0
    assert wfs(box, "xattr", "home/renamed", "user.a=b") == 0
    assert wfs(box, "rm", "home/renamed") == 0
    found = lines(log, lambda found: has(found, operation="unlink", name="renamed"))
    assert has(found, **{"class": "admin"}, operation="/v1/filesystems", status="OK")
    assert has(found, operation="rename", name="secret", new_name="renamed", export="home", status="OK", uid=0)
    assert has(found, **{"class": "attributes"}, operation="set_xattr", name="user.a")
    assert not has(found, **{"class": "read"}) and not has(found, **{"class": "write"})
    unlink = next(event for event in found if event["operation"] == "unlink")
    assert unlink["client"]["uid"] == 0 and unlink["us"] >= 0 and unlink["object"].endswith(":1")


def test_what_is_refused_is_told_of_every_class(make_appliance, tmp_path: Path) -> None:
    log = tmp_path / "audit.jsonl"
    box = make_appliance(Settings(rpc_tcp=True, audit={"file": str(log), "classes": ["denied"]}, exports=[
        {"name": "elsewhere", "path": "/tank/home", "clients": ["192.0.2.0/24"]}, {"name": "anon", "path": "/tank/home"},
    ]))
    box.wfs("fs", "create", "tank/home")
    tcp = f"wfs://127.0.0.1:{box.rpc_port}"
    assert wfs(box, "ls", f"{tcp}/elsewhere") != 0
    assert wfs(box, "mkdir", f"{tcp}/anon/dir") != 0
    found = lines(log, lambda found: len(found) >= 2)
    assert {event["status"] for event in found} == {"EACCES"}
    assert all(event["client"] == "127.0.0.1" for event in found)
    assert box.metrics().sum("wfsd_audit_events_total") == len(found)


def test_a_reload_follows_a_rename_of_the_file(make_appliance, tmp_path: Path) -> None:
    log = tmp_path / "audit.jsonl"
    box = make_appliance(Settings(audit={"file": str(log), "classes": ["names"]}))
    box.wfs("fs", "create", "tank/home")
    box.add_export("tank/home", "home")
    assert wfs(box, "mkdir", "home/first") == 0
    lines(log, lambda found: has(found, name="first"))
    log.rename(tmp_path / "audit.jsonl.1")
    box.wfs("reload")
    assert wfs(box, "mkdir", "home/second") == 0
    found = lines(log, lambda found: has(found, name="second"))
    assert not has(found, name="first")


def test_unknown_classes_are_refused(make_appliance, tmp_path: Path) -> None:
    box = make_appliance()
    text = box.config_path.read_text()
    box.config_path.write_text(text + f"audit:\n  file: {tmp_path}/log\n  classes: [names, everything]\n")
    refused = box.run_wfs("reload")
    assert refused.status != 0 and "everything" in refused.err
