# SPDX-License-Identifier: BSD-3-Clause
"""The daemon ends, in order or not, under every kind of client: what was flushed is there and the pool is healthy."""

import random
import subprocess
import threading
import time
from pathlib import Path

import nbd
import procfs
import pytest
from appliance import Appliance, Settings, wait_for
from nbdclient import FIO_VERIFY, KIB, MIB, connect, extents, fio, pattern, read_all, run, write_bytes

SIGTERM_LIMIT_S = 5


def assert_healthy(box: Appliance) -> None:
    status = box.wfs("pool", "status", "tank")
    assert status["health"] == "online", status
    assert all(d["checksum_errors"] == d["read_errors"] == d["write_errors"] == 0 for d in status["devices"]), status


def test_data_and_holes_survive_a_restart(appliance: Appliance) -> None:
    uri = appliance.add_volume()
    write_bytes(uri, pattern(10 * MIB, 1))
    with connect(uri) as handle:
        handle.trim(2 * MIB, 4 * MIB)
        handle.flush()
    before = extents(uri)
    appliance.restart()
    assert extents(uri) == before
    expected = bytearray(64 * MIB)
    expected[: 10 * MIB] = pattern(10 * MIB, 1)
    expected[4 * MIB : 6 * MIB] = bytes(2 * MIB)
    assert read_all(uri) == expected
    assert_healthy(appliance)


def test_unflushed_data_survives_an_orderly_end(appliance: Appliance) -> None:
    uri = appliance.add_volume()
    write_bytes(uri, pattern(20 * MIB, 2), flush=False)
    appliance.restart()
    assert read_all(uri)[: 20 * MIB] == pattern(20 * MIB, 2)


def test_what_was_never_flushed_is_committed_at_the_configured_age(make_appliance) -> None:
    box = make_appliance(Settings(writeback_age_ms=20, commit_age_ms=100))
    uri = box.add_volume("tank/v", "8M", "v")
    with connect(uri) as handle:
        handle.pwrite(pattern(MIB, 30), 0)
        wait_for(lambda: box.wfs("volume", "show", "tank/v")["used_bytes"] >= MIB, "the write-back")
        group = box.wfs("pool", "status", "tank")["txg"]
        # The group that was open then may be that of the last block.
        wait_for(lambda: box.wfs("pool", "status", "tank")["txg"] >= group + 1, "a commit", timeout_s=4)
        box.kill9()
    box.start()
    assert read_all(uri)[:MIB] == pattern(MIB, 30)


def test_pools_volumes_and_exports_made_by_command_are_there_after_a_restart(appliance: Appliance) -> None:
    appliance.create_volume("tank/a", "8M")
    appliance.create_volume("tank/b", "8M")
    appliance.add_export("tank/a", "first")
    appliance.add_export("tank/b", "second", read_only=True)
    appliance.wfs("export", "remove", "first")
    before = [appliance.wfs("export", "list"), appliance.wfs("volume", "list")]
    appliance.restart()
    assert [appliance.wfs("export", "list"), appliance.wfs("volume", "list")] == before
    assert [e["name"] for e in before[0]["exports"]] == ["second"]


def test_nbdcopy_image_compares_equal_after_a_restart(appliance: Appliance, tmp_path: Path) -> None:
    uri = appliance.add_volume("tank/v", "96M", "v")
    image = tmp_path / "image"
    image.write_bytes(pattern(40 * MIB, 3) + bytes(16 * MIB) + pattern(40 * MIB, 4))
    run("nbdcopy", "--flush", "--connections=4", image, uri)
    appliance.restart()
    run("qemu-img", "compare", "-f", "raw", "-F", "raw", image, uri)
    back = tmp_path / "back"
    run("nbdcopy", "--connections=4", uri, back)
    run("cmp", image, back)


def test_qemu_img_image_compares_equal_after_a_restart(appliance: Appliance, tmp_path: Path) -> None:
    uri = appliance.add_volume("tank/v", "64M", "v")
    raw, qcow2 = tmp_path / "raw", tmp_path / "qcow2"
    raw.write_bytes(pattern(24 * MIB, 5) + bytes(40 * MIB))
    run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, qcow2)
    run("qemu-img", "convert", "-n", "-f", "qcow2", "-O", "raw", qcow2, uri)
    appliance.restart()
    run("qemu-img", "compare", "-f", "qcow2", "-F", "raw", qcow2, uri)


def test_fio_verifies_after_a_restart(appliance: Appliance, tmp_path: Path) -> None:
    uri = appliance.add_volume("tank/v", "32M", "v")
    options = [o for o in FIO_VERIFY if not o.startswith(("--do_verify", "--randrepeat"))] + ["--size=32m", "--randseed=7"]
    fio(uri, tmp_path, *options, "--do_verify=0")
    appliance.restart()
    fio(uri, tmp_path, *options, "--verify_only")


def test_ext4_image_is_clean_after_a_restart(appliance: Appliance, tmp_path: Path) -> None:
    uri = appliance.add_volume("tank/v", "64M", "v")
    source, image, back = tmp_path / "source", tmp_path / "image", tmp_path / "back"
    source.mkdir()
    for number in range(50):
        (source / f"file{number}").write_bytes(pattern(random.Random(number).randrange(200_000), number))
    run("mke2fs", "-q", "-t", "ext4", "-d", source, image, "64M")
    run("nbdcopy", "--flush", image, uri)
    appliance.restart()
    run("nbdcopy", uri, back)
    run("e2fsck", "-fn", back)
    run("cmp", image, back)


def test_sigterm_with_clients_attached_ends_in_time_with_status_0(appliance: Appliance) -> None:
    uri = appliance.add_volume()
    idle = nbd.NBD()
    idle.connect_uri(uri)
    busy = nbd.NBD()
    busy.connect_uri(uri)
    for slot in range(16):
        busy.aio_pwrite(nbd.Buffer.from_bytearray(bytearray(pattern(MIB, slot))), slot * MIB)
    children = wait_for(lambda: len(appliance.nbdkit_pids()) == 2 and appliance.nbdkit_pids(), "two nbdkits")
    started = time.monotonic()
    assert appliance.stop() == 0
    assert time.monotonic() - started < SIGTERM_LIMIT_S
    wait_for(lambda: not any(procfs.alive(pid) for pid in children), "no nbdkit to survive")
    del idle, busy
    appliance.start()
    assert_healthy(appliance)


def test_sigterm_while_a_client_streams_writes_keeps_what_was_acknowledged(appliance: Appliance) -> None:
    uri = appliance.add_volume("tank/v", "64M", "v")
    acknowledged = _write_until_disconnected(appliance, uri, lambda: appliance.stop(), flush_every=0)
    appliance.start()
    _check_blocks(uri, acknowledged)
    assert_healthy(appliance)


@pytest.mark.parametrize("round_number", range(4))
def test_kill_9_during_writes_keeps_what_was_flushed(appliance: Appliance, round_number: int) -> None:
    uri = appliance.add_volume("tank/v", "64M", "v")
    children: list[int] = []

    def kill() -> None:
        children.extend(appliance.nbdkit_pids())
        appliance.kill9()

    flushed = _write_until_disconnected(appliance, uri, kill, flush_every=10 + 30 * round_number)
    wait_for(lambda: not any(procfs.alive(pid) for pid in children), "no nbdkit to survive its daemon")
    appliance.start()
    _check_blocks(uri, flushed)
    assert_healthy(appliance)
    write_bytes(uri, pattern(MIB, 1))
    assert read_all(uri)[:MIB] == pattern(MIB, 1)


def test_fua_write_survives_kill_9(appliance: Appliance) -> None:
    uri = appliance.add_volume()
    with connect(uri) as handle:
        for number in range(20):
            handle.pwrite(pattern(10_000, number), number * 50_000, nbd.CMD_FLAG_FUA)
        appliance.kill9()
    appliance.start()
    with connect(uri) as handle:
        for number in range(20):
            assert bytes(handle.pread(10_000, number * 50_000)) == pattern(10_000, number)


def test_repeated_kill_9_loses_nothing_flushed(appliance: Appliance) -> None:
    uri = appliance.add_volume("tank/v", "32M", "v")
    model = bytearray(32 * MIB)
    rng = random.Random(11)
    for _ in range(5):
        with connect(uri) as handle:
            for _ in range(60):
                length = rng.randrange(1, 60_000)
                offset = rng.randrange(len(model) - length)
                data = rng.randbytes(length)
                handle.pwrite(data, offset)
                model[offset : offset + length] = data
            handle.flush()
            appliance.kill9()
        appliance.start()
        assert read_all(uri) == model
    assert_healthy(appliance)


def test_kill_9_after_changes_by_command_keeps_them(appliance: Appliance) -> None:
    appliance.create_volume("tank/a", "8M")
    appliance.create_volume("tank/b", "8M")
    appliance.add_export("tank/a", "a")
    appliance.wfs("volume", "delete", "tank/b", "--yes")
    appliance.kill9()
    appliance.start()
    assert [v["name"] for v in appliance.wfs("volume", "list")["volumes"]] == ["a"]
    assert [e["name"] for e in appliance.wfs("export", "list")["exports"]] == ["a"]


def test_kill_9_while_a_big_volume_is_being_deleted_frees_it_later(appliance: Appliance) -> None:
    before = appliance.wfs("pool", "status", "tank")["available_bytes"]
    uri = appliance.add_volume("tank/v", "128M", "v")
    write_bytes(uri, pattern(128 * MIB, 1))
    appliance.wfs("export", "remove", "v")
    appliance.wfs("volume", "delete", "tank/v", "--yes")
    appliance.kill9()
    appliance.start()

    def is_back() -> bool:
        appliance.wfs("pool", "sync", "tank")
        return appliance.wfs("pool", "status", "tank")["available_bytes"] > before - 4 * MIB

    wait_for(is_back, "the space to come back")
    assert_healthy(appliance)


def test_attached_client_reaches_the_restarted_daemon_by_reconnecting(appliance: Appliance, tmp_path: Path) -> None:
    uri = appliance.add_volume("tank/v", "32M", "v")
    write_bytes(uri, pattern(32 * MIB, 12))
    command = ["nbdkit", "-f", "-U", str(tmp_path / "relay.sock"), "--filter=retry", "nbd", f"uri={uri}"]
    relay = subprocess.Popen([*command, "retries=20", "retry-delay=1", "retry-exponential=no"], cwd=tmp_path)
    try:
        wait_for((tmp_path / "relay.sock").exists, "the relay")
        with connect(f"nbd+unix:///?socket={tmp_path}/relay.sock") as handle:
            assert bytes(handle.pread(MIB, 0)) == pattern(32 * MIB, 12)[:MIB]
            appliance.restart()
            assert bytes(handle.pread(MIB, 8 * MIB)) == pattern(32 * MIB, 12)[8 * MIB : 9 * MIB]
    finally:
        relay.terminate()
        relay.wait(20)


BLOCK = 16 * KIB


def _block(index: int, generation: int) -> bytes:
    """Content that tells its place and age: a header and bytes that follow from it."""
    head = b"%08d %08d " % (index, generation)
    return head + bytes([(index * 31 + generation) % 251]) * (BLOCK - len(head))


def _write_until_disconnected(box: Appliance, uri: str, end, flush_every: int) -> dict[int, tuple[int, int]]:
    """
    Write random blocks, each with a generation, until @end() cuts the connection off after some hundred writes.
    Returns block -> (oldest generation that may be found, newest). With @flush_every 0 all acknowledged writes count.
    """
    rng = random.Random(5)
    durable: dict[int, int] = {}
    newest: dict[int, int] = {}
    progress = threading.Event()

    def writer() -> None:
        handle = nbd.NBD()
        handle.connect_uri(uri)
        try:
            for generation in range(1, 1_000_000):
                index = rng.randrange(64 * MIB // BLOCK)
                newest[index] = generation
                handle.pwrite(_block(index, generation), index * BLOCK)
                if not flush_every:
                    durable[index] = generation
                elif generation % flush_every == 0:
                    handle.flush()
                    durable.update(newest)
                if generation > 400:
                    progress.set()
        except nbd.Error:
            pass

    thread = threading.Thread(target=writer)
    thread.start()
    assert progress.wait(60), "the writer makes no progress"
    end()
    thread.join(30)
    assert not thread.is_alive(), "the writer hangs after the daemon's end"
    assert durable
    return {index: (durable.get(index, 0), generation) for index, generation in newest.items()}


def _check_blocks(uri: str, expected: dict[int, tuple[int, int]]) -> None:
    content = read_all(uri)
    for index, (oldest, newest) in expected.items():
        block = content[index * BLOCK : (index + 1) * BLOCK]
        if block == bytes(BLOCK) and oldest == 0:
            continue
        found = int(block[9:17])
        assert oldest <= found <= newest, f"block {index}: generation {found}, flushed {oldest}, newest {newest}"
        assert block == _block(index, found), f"block {index} is torn"
