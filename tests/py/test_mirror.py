# SPDX-License-Identifier: BSD-3-Clause
"""A pool on a mirror, by the command line: made, one half lost, brought back, replaced."""

from appliance import wait_for
from nbdclient import MIB


def pool(box) -> dict:
    return box.wfs("pool", "status", "tank", "--json")


def test_mirror_survives_the_loss_of_a_half(make_appliance, tmp_path):
    box = make_appliance(pool=None)
    a, b, c = (str(tmp_path / name) for name in "abc")
    box.wfs("pool", "create", "tank", "mirror", a, b, "--size", "64M")
    assert [d["mirror"] for d in pool(box)["devices"]] == [0, 0]
    box.stop()
    (tmp_path / "b").rename(tmp_path / "gone")
    box.start()
    assert pool(box)["health"] == "degraded"
    assert pool(box)["devices"][1]["state"] == "away"
    text = box.admin("/metrics").text
    box.metrics()
    assert 'wfsd_pool_degraded{pool="tank"} 1' in text
    assert f'state="away"}} 1' in text and "wfsd_pool_resilver_total_bytes" in text
    (tmp_path / "gone").rename(tmp_path / "b")
    box.wfs("pool", "online", "tank", b)
    wait_for(lambda: pool(box)["health"] == "online", "the device to be whole")
    box.wfs("pool", "detach", "tank", b)
    assert [d["path"] for d in pool(box)["devices"]] == [a]
    with open(c, "wb") as out:
        out.truncate(64 * MIB)
    box.wfs("pool", "replace", "tank", a, c)
    wait_for(lambda: [d["path"] for d in pool(box)["devices"]] == [c], "the old device to leave")
    assert pool(box)["health"] == "online"
