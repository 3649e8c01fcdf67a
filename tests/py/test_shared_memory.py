# SPDX-License-Identifier: BSD-3-Clause
"""Payloads in memory shared with the plugin: the same data as through the socket, also after a restart, within the budget."""

from pathlib import Path

import procfs
from appliance import Appliance, Settings
from nbdclient import FIO_VERIFY, MIB, connect, fio, pattern, read_all
from test_plugin_by_hand import nbdkit

KIB = 1024
# Around the size from which it is used, a slot, and the largest piece; unaligned ones too.
LENGTHS = [4 * KIB, 16 * KIB - 512, 16 * KIB, 64 * KIB, 64 * KIB + 512, 256 * KIB, MIB, MIB + 4 * KIB, 4 * MIB]


def shm_requests(box: Appliance) -> int:
    return int(box.metrics().sum("wfsd_rpc_shm_requests_total"))


def test_both_ways_give_the_same_data(make_appliance, tmp_path: Path) -> None:
    box = make_appliance(Settings(cache="256M"))
    box.add_volume("tank/v", "32M", "v")
    for option, writes_shared in (("shm=yes", True), ("shm=no", False)):
        before = shm_requests(box)
        with nbdkit(tmp_path, f"socket={box.rpc_socket}", option) as address:
            with connect(f"nbd+unix:///v{address}", strict=False) as handle:
                place = 512
                for seed, length in enumerate(LENGTHS):
                    data = pattern(length, seed + 100 * writes_shared)
                    handle.pwrite(data, place)
                    assert bytes(handle.pread(length, place)) == data
                    with connect(box.nbd_uri("v"), strict=False) as other:
                        assert bytes(other.pread(length, place)) == data
                    place += length
            with_this = shm_requests(box) - before
        # Its own reads and writes and, always, those of the daemon's nbdkit, use it for the sizes in between.
        in_between = sum(16 * KIB <= length <= MIB for length in LENGTHS)
        assert with_this >= in_between * (3 if writes_shared else 1)
        assert writes_shared or with_this == in_between


def test_clients_over_tcp_do_without(make_appliance, tmp_path: Path) -> None:
    box = make_appliance(Settings(rpc_tcp=True))
    box.add_volume("tank/v", "16M", "v")
    with nbdkit(tmp_path, f"server=tcp:127.0.0.1:{box.rpc_port}") as address:
        with connect(f"nbd+unix:///v{address}") as handle:
            handle.pwrite(pattern(MIB, 1), 0)
            assert bytes(handle.pread(MIB, 0)) == pattern(MIB, 1)
    assert shm_requests(box) == 0


def test_a_restarted_daemon_shares_memory_again(make_appliance, tmp_path: Path) -> None:
    box = make_appliance()
    box.add_volume("tank/v", "16M", "v")
    data = pattern(MIB, 5)
    with nbdkit(tmp_path, f"socket={box.rpc_socket}") as address:
        with connect(f"nbd+unix:///v{address}") as handle:
            handle.pwrite(data, 0)
            handle.flush()
            assert shm_requests(box) > 0
            for _ in range(2):
                box.restart()
                assert bytes(handle.pread(MIB, 0)) == data
                assert shm_requests(box) > 0
            box.kill9()
            box.start()
            assert bytes(handle.pread(MIB, 0)) == data
            assert shm_requests(box) > 0


def test_many_clients_stay_within_the_budget_and_give_the_memory_back(make_appliance, tmp_path: Path) -> None:
    cache_mib = 96
    box = make_appliance(Settings(cache=f"{cache_mib}M"), pool="1G")
    uri = box.add_volume("tank/v", "64M", "v")
    handles = [connect(uri) for _ in range(10)]
    entered = [handle.__enter__() for handle in handles]
    for number, handle in enumerate(entered):
        handle.pwrite(pattern(MIB, number), number * MIB)
        assert bytes(handle.pread(MIB, number * MIB)) == pattern(MIB, number)
    assert box.metrics().sum("wfsd_memory_used_bytes", consumer="rpc-shm") <= (cache_mib + 64) * MIB / 8
    for handle in handles:
        handle.__exit__(None, None, None)
    fio(uri, tmp_path, *FIO_VERIFY, "--bs=64k", "--size=32m")
    peak = procfs.status_bytes(box.pid, "VmHWM")
    assert peak <= (cache_mib + 64) * MIB, f"peak resident memory {peak // MIB} MiB"
    assert len(read_all(uri)) == 64 * MIB
