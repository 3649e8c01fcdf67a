# SPDX-License-Identifier: BSD-3-Clause
"""`wfs pool scrub`: everything is read in the background, at a bounded rate, and it goes on after a restart."""

from collections.abc import Callable

from appliance import Appliance, Settings, wait_for
from diskformat import Device
from nbdclient import MIB, pattern, write_bytes

DATA = pattern(8 * MIB, 1)


def fill(box: Appliance) -> None:
    write_bytes(box.add_volume("tank/v", "16M", "v"), DATA, 0)
    box.wfs("pool", "sync", "tank")


def scrub(box: Appliance) -> dict:
    return box.wfs("pool", "scrub", "tank", "status")


def wait_until(box: Appliance, state: str) -> dict:
    return wait_for(lambda: (found := scrub(box))["state"] == state and found, f"the scrub to be {state}", 60)


def test_scrub_reads_everything(appliance: Appliance) -> None:
    assert scrub(appliance)["state"] == "never"
    assert appliance.wfs_fails("pool", "scrub", "tank", "pause")
    fill(appliance)
    assert appliance.run_wfs("pool", "scrub", "tank").status == 0
    done = wait_until(appliance, "finished")
    assert done["done_bytes"] == done["total_bytes"] == len(DATA)
    assert (done["damage_count"], done["repaired_count"], done["findings"]) == (0, 0, [])
    assert done["ended_ns"] >= done["started_ns"] > 0
    text = appliance.run_wfs("pool", "status", "tank").out
    assert "finished" in text
    assert "0 damaged, 0 repaired" in text
    metrics = appliance.metrics()
    assert metrics.sum("wfsd_scrub_done_bytes", pool="tank") == len(DATA)
    assert metrics.sum("wfsd_scrub_read_bytes_total", pool="tank") >= len(DATA)
    assert metrics.sum("wfsd_scrub_running", pool="tank") == 0
    appliance.restart()
    assert appliance.wfs("pool", "status", "tank")["scrub"]["state"] == "finished"


def test_damage_is_counted_listed_and_logged(appliance: Appliance) -> None:
    fill(appliance)
    path = appliance.pool_file("tank")
    at = path.read_bytes().rindex(DATA[5 * MIB : 5 * MIB + 4096])
    Device(path).write(at, b"damage")
    appliance.wfs("pool", "scrub", "tank", "start")
    done = wait_until(appliance, "finished")
    assert done["damage_count"] == 1
    [finding] = done["findings"]
    assert (finding["kind"], finding["name"], finding["offset"]) == ("data-crc", "v", 5 * MIB)
    assert (finding["device"], finding["device_offset"]) == (str(path), at)
    assert not finding["repaired"]
    said = appliance.run_wfs("pool", "scrub", "tank", "status").out
    assert "1 damaged" in said
    assert "data-crc" in said
    assert appliance.metrics().sum("wfsd_scrub_damaged", pool="tank") == 1
    assert "scrub: data-crc" in appliance.log()


def test_rate_is_kept_and_a_killed_daemon_goes_on(make_appliance: Callable[..., Appliance]) -> None:
    box = make_appliance(Settings(scrub={"rate": "1M", "interval_days": 0}, commit_age_ms=100))
    fill(box)
    box.wfs("pool", "scrub", "tank")
    wait_for(lambda: box.wfs("pool", "status", "tank")["scrub"]["done_bytes"] > 4 * MIB, "half of the scrub", 60)
    running = scrub(box)
    assert running["state"] == "running"
    assert running["rate_bytes"] <= 6 * MIB
    assert box.metrics().sum("wfsd_scrub_running", pool="tank") == 1
    assert "running" in box.run_wfs("pool", "status", "tank").out
    box.wfs("pool", "sync", "tank")
    box.kill9()
    box.settings.scrub["rate"] = "1G"
    box.write_config()
    box.start()
    done = wait_until(box, "finished")
    assert done["started_ns"] == running["started_ns"]
    assert done["done_bytes"] == len(DATA)


def test_scrub_can_be_paused_over_a_restart_and_stopped(make_appliance: Callable[..., Appliance]) -> None:
    box = make_appliance(Settings(scrub={"rate": "1M"}))
    fill(box)
    box.wfs("pool", "scrub", "tank")
    box.wfs("pool", "scrub", "tank", "pause")
    box.restart()
    assert scrub(box)["state"] == "paused"
    box.wfs("pool", "scrub", "tank")
    assert scrub(box)["state"] == "running"
    box.wfs("pool", "scrub", "tank", "stop")
    assert scrub(box)["state"] == "stopped"
    assert box.run_wfs("pool", "scrub", "tank", "faster").status == 2
    assert box.admin("/v1/pools/tank/scrub", "POST", {"verb": "faster"}).status == 400
    assert box.admin("/v1/pools/none/scrub", "POST", {}).status == 404
