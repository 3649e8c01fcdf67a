# SPDX-License-Identifier: BSD-3-Clause
"""One memory budget: a volume larger than the cache works, and resident memory stays within budget plus 64 MiB."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import procfs
from appliance import Settings
from nbdclient import FIO_VERIFY, MIB, fio, pattern, read_all, run

CACHE_MIB = 32
MARGIN = 64 * MIB


def assert_within_budget(pid: int) -> None:
    peak = procfs.status_bytes(pid, "VmHWM")
    assert peak <= CACHE_MIB * MIB + MARGIN, f"peak resident memory {peak // MIB} MiB, budget {CACHE_MIB} + 64 MiB"


def test_volume_larger_than_the_cache_keeps_every_byte(make_appliance, tmp_path: Path) -> None:
    box = make_appliance(Settings(cache=f"{CACHE_MIB}M"), pool="1G")
    uri = box.add_volume("tank/big", "256M", "big")
    image, back = tmp_path / "image", tmp_path / "back"
    image.write_bytes(b"".join(pattern(32 * MIB, seed) for seed in range(8)))
    run("nbdcopy", "--flush", "--connections=2", image, uri)
    run("nbdcopy", "--connections=2", uri, back)
    run("cmp", image, back)
    assert_within_budget(box.pid)
    box.restart()
    run("qemu-img", "compare", "-f", "raw", "-F", "raw", image, uri)
    assert_within_budget(box.pid)


def test_random_writes_over_a_volume_larger_than_the_cache_verify(make_appliance, tmp_path: Path) -> None:
    box = make_appliance(Settings(cache=f"{CACHE_MIB}M"), pool="1G")
    uri = box.add_volume("tank/big", "128M", "big")
    fio(uri, tmp_path, *FIO_VERIFY, "--size=128m")
    assert_within_budget(box.pid)
    used = box.wfs("status")["memory"]
    assert used["used_bytes"] <= used["limit_bytes"]


def test_many_connections_with_large_requests_stay_within_the_budget(make_appliance, tmp_path: Path) -> None:
    box = make_appliance(Settings(cache=f"{CACHE_MIB}M"), pool="1G")
    uri = box.add_volume("tank/v", "256M", "v")

    def job(number: int) -> None:
        folder = tmp_path / str(number)
        folder.mkdir()
        place = [f"--offset={number * 64}m", "--size=64m"]
        fio(uri, folder, "--rw=randrw", "--bs=4m", "--iodepth=16", "--loops=2", *place)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(job, range(4)))
    assert_within_budget(box.pid)
    assert len(read_all(uri)) == 256 * MIB


def test_memory_consumers_are_reported(make_appliance) -> None:
    box = make_appliance(Settings(cache=f"{CACHE_MIB}M"))
    memory = box.wfs("status")["memory"]
    assert memory["limit_bytes"] == CACHE_MIB * MIB
    assert memory["used_bytes"] == sum(consumer["used_bytes"] for consumer in memory["consumers"])
