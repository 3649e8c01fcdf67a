# SPDX-License-Identifier: BSD-3-Clause
"""NBD as clients see it: what is advertised, every command, every refusal, several connections, foreign tools."""

import errno
import json
import os
import random
import signal
import socket
import zlib
from pathlib import Path

import nbd
import procfs
import pytest
from appliance import Appliance, CommandError, Settings, wait_for
from nbdclient import FIO_VERIFY, KIB, MIB, connect, extents, fails_with, fio, info, pattern, read_all, run, write_bytes

SIZE = 16 * MIB


@pytest.fixture
def uri(shared: Appliance, request: pytest.FixtureRequest) -> str:
    """A fresh 16 MiB volume of its own."""
    name = f"n{zlib.crc32(request.node.name.encode())}"
    return shared.add_volume(f"tank/{name}", "16M", name)


def test_export_advertises_what_it_can(uri: str) -> None:
    export = info(uri)["exports"][0]
    assert export["export-size"] == SIZE
    assert export["is_read_only"] is False
    for feature in ("can_flush", "can_fua", "can_trim", "can_zero", "can_fast_zero", "can_multi_conn", "can_cache"):
        assert export[feature] is True, feature
    assert "base:allocation" in export["contexts"]
    assert export["block_size_minimum"] == 1
    assert export["block_size_preferred"] >= 4 * KIB
    assert export["block_size_maximum"] >= 32 * MIB


def test_list_names_every_export_with_its_description(make_appliance) -> None:
    box = make_appliance(Settings(nbd_tcp=True))
    box.create_volume("tank/a", "8M")
    box.create_volume("tank/b", "12M")
    box.wfs("export", "add", "tank/a", "--as", "first", "--description", "the first one")
    box.wfs("export", "add", "tank/b", "--as", "second with blank", "--read-only")
    for uri in (box.nbd_uri(), box.nbd_uri(tcp=True)):
        listed = {e["export-name"]: e for e in json.loads(run("nbdinfo", "--json", "--list", uri))["exports"]}
        assert set(listed) == {"first", "second with blank"}
        assert listed["first"]["description"] == "the first one"
        assert listed["first"]["export-size"] == 8 * MIB
        assert listed["second with blank"]["export-size"] == 12 * MIB
        assert listed["second with blank"]["is_read_only"] is True


def test_list_of_a_hundred_exports_is_complete(make_appliance) -> None:
    box = make_appliance()
    box.create_volume("tank/v", "1M")
    for number in range(100):
        answer = box.admin("/v1/exports", "POST", {"name": f"export-{number:03}", "path": "/tank/v"})
        assert answer.status == 201, answer.text
    handle = nbd.NBD()
    handle.set_opt_mode(True)
    handle.connect_uri(box.nbd_uri())
    names: list[str] = []
    handle.opt_list(lambda name, _description: names.append(name))
    handle.opt_abort()
    assert sorted(names) == [f"export-{number:03}" for number in range(100)]


def test_default_export_is_the_only_one_or_the_marked_one(make_appliance) -> None:
    box = make_appliance()
    box.create_volume("tank/a", "8M")
    box.create_volume("tank/b", "12M")
    box.add_export("tank/a", "a")
    assert info(box.nbd_uri())["exports"][0]["export-size"] == 8 * MIB
    box.wfs("export", "add", "tank/b", "--as", "b", "--default")
    assert info(box.nbd_uri())["exports"][0]["export-size"] == 12 * MIB


def test_unknown_export_is_refused_and_the_server_goes_on(shared: Appliance, uri: str) -> None:
    with pytest.raises(nbd.Error):
        with connect(shared.nbd_uri("no-such-export")):
            pass
    with connect(uri) as handle:
        assert handle.get_size() == SIZE


def test_tcp_and_unix_socket_serve_the_same_volume(shared: Appliance, uri: str) -> None:
    name = uri.split("///")[1].split("?")[0]
    data = pattern(MIB, 1)
    write_bytes(uri, data, 5 * MIB)
    with connect(shared.nbd_uri(name, tcp=True)) as handle:
        assert bytes(handle.pread(MIB, 5 * MIB)) == data


def test_fresh_volume_reads_as_zeros_and_is_one_hole(uri: str) -> None:
    assert extents(uri) == [(0, SIZE, 3)]
    assert read_all(uri) == bytes(SIZE)


def test_unaligned_writes_and_reads_match_a_model(uri: str) -> None:
    rng = random.Random(7)
    model = bytearray(2 * MIB)
    with connect(uri) as handle:
        for _ in range(400):
            length = rng.choice([1, 3, 511, 513, 4095, 4096, 4097, 65535, 65537, 100_000])
            offset = rng.randrange(len(model) - length)
            kind = rng.random()
            if kind < 0.6:
                data = rng.randbytes(length)
                handle.pwrite(data, offset, nbd.CMD_FLAG_FUA if rng.random() < 0.1 else 0)
                model[offset : offset + length] = data
            elif kind < 0.75:
                handle.zero(length, offset, rng.choice([0, nbd.CMD_FLAG_NO_HOLE]))
                model[offset : offset + length] = bytes(length)
            elif kind < 0.8:
                handle.flush()
            else:
                assert handle.pread(length, offset) == model[offset : offset + length]
        assert handle.pread(len(model), 0) == model


def test_trim_of_whole_blocks_makes_holes(uri: str) -> None:
    write_bytes(uri, pattern(4 * MIB, 2))
    with connect(uri) as handle:
        handle.trim(MIB, MIB)
        handle.flush()
        assert bytes(handle.pread(MIB, MIB)) == bytes(MIB)
    assert extents(uri) == [(0, MIB, 0), (MIB, MIB, 3), (2 * MIB, 2 * MIB, 0), (4 * MIB, SIZE - 4 * MIB, 3)]


def test_trim_leaves_bytes_outside_its_range_alone(uri: str) -> None:
    data = pattern(256 * KIB, 3)
    write_bytes(uri, data)
    with connect(uri) as handle:
        handle.trim(64 * KIB + 200, 10_000)
        end = 10_000 + 64 * KIB + 200
        assert bytes(handle.pread(10_000, 0)) == data[:10_000]
        assert bytes(handle.pread(256 * KIB - end, end)) == data[end:]


def test_zero_makes_holes_and_no_hole_keeps_the_data_zero(uri: str) -> None:
    write_bytes(uri, pattern(2 * MIB, 4))
    with connect(uri) as handle:
        handle.zero(512 * KIB, 0)
        handle.zero(512 * KIB, 512 * KIB, nbd.CMD_FLAG_NO_HOLE)
        handle.zero(512 * KIB, MIB, nbd.CMD_FLAG_FAST_ZERO)
        handle.flush()
        assert bytes(handle.pread(3 * 512 * KIB, 0)) == bytes(3 * 512 * KIB)
    found = extents(uri)
    assert found[0][0] == 0 and found[0][2] & 2


def test_written_zeros_read_back_and_need_no_space(shared: Appliance, uri: str) -> None:
    write_bytes(uri, bytes(8 * MIB))
    name = uri.split("///")[1].split("?")[0]
    assert shared.wfs("volume", "show", f"tank/{name}")["used_bytes"] == 0
    assert read_all(uri) == bytes(SIZE)


def test_cache_command_reads_ahead_and_changes_nothing(appliance: Appliance) -> None:
    uri = appliance.add_volume("tank/v", "32M", "v")
    write_bytes(uri, pattern(8 * MIB, 20))
    appliance.restart()
    before = appliance.metrics().sum("wfsd_device_bytes_total", op="read")
    with connect(uri, strict=False) as handle:
        handle.cache(8 * MIB, 0)
        wait_for(
            lambda: appliance.metrics().sum("wfsd_device_bytes_total", op="read") - before >= 8 * MIB, "the data to be read"
        )
        with fails_with(errno.EINVAL):
            handle.cache(4096, 32 * MIB)
        assert bytes(handle.pread(8 * MIB, 0)) == pattern(8 * MIB, 20)


def test_oversized_trim_and_zero_are_carried_out(uri: str) -> None:
    write_bytes(uri, pattern(SIZE, 5))
    with connect(uri) as handle:
        handle.trim(SIZE, 0)
        assert bytes(handle.pread(MIB, 3 * MIB)) == bytes(MIB)
    write_bytes(uri, pattern(SIZE, 6))
    with connect(uri) as handle:
        handle.zero(SIZE, 0)
    assert read_all(uri) == bytes(SIZE)


def test_trim_of_four_gigabytes_does_not_disconnect(shared: Appliance) -> None:
    uri = shared.add_volume("tank/big-trim", "8G", "big-trim")
    with connect(uri) as handle:
        handle.pwrite(pattern(MIB, 1), 6 << 30)
        handle.trim((1 << 32) - 4096, 0)
        handle.zero((1 << 32) - 4096, 4 << 30)
        assert bytes(handle.pread(MIB, 6 << 30)) == bytes(MIB)
    assert sum(length for _, length, _ in extents(uri)) == 8 << 30


def test_requests_of_32_mib_work(shared: Appliance) -> None:
    uri = shared.add_volume("tank/large", "96M", "large")
    data = pattern(32 * MIB, 8)
    with connect(uri) as handle:
        handle.pwrite(data, 4096)
        handle.pwrite(data[: 32 * MIB - 3], 48 * MIB + 1, nbd.CMD_FLAG_FUA)
        assert bytes(handle.pread(32 * MIB, 4096)) == data
        assert bytes(handle.pread(32 * MIB - 3, 48 * MIB + 1)) == data[: 32 * MIB - 3]


def test_requests_past_the_end_are_refused_and_the_connection_lives(uri: str) -> None:
    with connect(uri, strict=False) as handle:
        for offset, length in ((SIZE, 4096), (SIZE - 100, 4096), (1 << 62, 512)):
            with fails_with(errno.ENOSPC):
                handle.pwrite(bytes(length), offset)
            with fails_with(errno.ENOSPC):
                handle.zero(length, offset)
            with fails_with(errno.EINVAL):
                handle.pread(length, offset)
            with fails_with(errno.EINVAL):
                handle.trim(length, offset)
        handle.pwrite(b"x" * 4096, SIZE - 4096)
        assert bytes(handle.pread(4096, SIZE - 4096)) == b"x" * 4096


def test_read_only_export_refuses_every_change_with_eperm(shared: Appliance) -> None:
    shared.create_volume("tank/ro", "8M")
    shared.add_export("tank/ro", "ro-w")
    write_bytes(shared.nbd_uri("ro-w"), b"abc" * 4096)
    shared.add_export("tank/ro", "ro", read_only=True)
    with connect(shared.nbd_uri("ro"), strict=False) as handle:
        assert handle.is_read_only()
        with fails_with(errno.EPERM):
            handle.pwrite(bytes(4096), 0)
        with fails_with(errno.EPERM):
            handle.zero(4096, 0)
        with fails_with(errno.EPERM):
            handle.trim(4096, 0)
        assert bytes(handle.pread(12288, 0)) == b"abc" * 4096


def test_flush_on_one_connection_covers_writes_of_another(appliance: Appliance) -> None:
    uri = appliance.add_volume("tank/v", "32M", "v")
    data = pattern(8 * MIB, 9)
    with connect(uri) as writer, connect(uri) as flusher:
        assert writer.can_multi_conn()
        for at in range(0, len(data), MIB):
            writer.pwrite(data[at : at + MIB], at)
        flusher.flush()
        appliance.kill9()
    appliance.start()
    assert read_all(uri)[: len(data)] == data


def test_connections_see_each_others_writes_at_once(uri: str) -> None:
    with connect(uri) as one, connect(uri) as two:
        for number in range(50):
            data = pattern(3000, number)
            one.pwrite(data, number * 5000)
            assert bytes(two.pread(3000, number * 5000)) == data


def test_each_connection_has_its_own_unprivileged_nbdkit(appliance: Appliance) -> None:
    uri = appliance.add_volume()
    with connect(uri), connect(uri):
        pids = wait_for(lambda: len(appliance.nbdkit_pids()) == 2 and appliance.nbdkit_pids(), "two nbdkit processes")
        for pid in pids:
            assert procfs.user_id(pid) != 0
        assert len(appliance.admin("/v1/connections").json["nbd"]) == 2
    wait_for(lambda: not appliance.nbdkit_pids(), "nbdkit processes to end")


def test_killed_nbdkit_hurts_no_other_connection_and_is_counted(appliance: Appliance) -> None:
    uri = appliance.add_volume()
    with connect(uri) as survivor:
        [survivor_pid] = wait_for(appliance.nbdkit_pids, "the first nbdkit")
        with connect(uri):
            [victim] = wait_for(lambda: [p for p in appliance.nbdkit_pids() if p != survivor_pid], "the second nbdkit")
            os.kill(victim, signal.SIGKILL)
            wait_for(lambda: not procfs.alive(victim), "the nbdkit to be gone")
        survivor.pwrite(b"still here", 0)
        assert bytes(survivor.pread(10, 0)) == b"still here"
        wait_for(lambda: appliance.wfs("status")["nbd"]["ended_signal"] == 1, "the death to be counted")


def test_connections_beyond_the_limit_are_refused_and_come_back(make_appliance) -> None:
    box = make_appliance(Settings(max_connections=3))
    uri = box.add_volume()
    handles = []
    for _ in range(3):
        handle = nbd.NBD()
        handle.connect_uri(uri)
        handles.append(handle)
    with pytest.raises(nbd.Error):
        with connect(uri):
            pass
    assert box.wfs("status")["nbd"]["refused"] >= 1
    handles.pop().shutdown()

    def admitted() -> bool:
        try:
            with connect(uri) as handle:
                return handle.get_size() > 0
        except nbd.Error:
            return False

    wait_for(admitted, "a place to become free")
    for handle in handles:
        handle.shutdown()


def test_client_that_hangs_up_with_requests_in_flight_disturbs_nobody(appliance: Appliance) -> None:
    uri = appliance.add_volume("tank/v", "128M", "v")
    write_bytes(uri, pattern(32 * MIB, 10))
    with connect(uri) as steady:
        for number in range(12):
            rude = nbd.NBD()
            rude.connect_uri(uri)
            for slot in range(16):
                if number % 2:
                    rude.aio_pread(nbd.Buffer(MIB), slot * MIB)
                else:
                    rude.aio_pwrite(nbd.Buffer.from_bytearray(bytearray(MIB)), (64 + slot) * MIB)
            sock = socket.socket(fileno=os.dup(rude.aio_get_fd()))
            sock.shutdown(socket.SHUT_RDWR)
            sock.close()
            del rude
            data = pattern(4096, number)
            steady.pwrite(data, 40 * MIB + number * 4096)
            assert bytes(steady.pread(4096, 40 * MIB + number * 4096)) == data
        wait_for(lambda: len(appliance.nbdkit_pids()) == 1, "the nbdkits of the rude clients to be reaped")
        steady.flush()
    assert appliance.wfs("pool", "status", "tank")["health"] == "online"


@pytest.mark.parametrize(
    "junk",
    [b"", b"GET / HTTP/1.0\r\n\r\n", b"\x00\x00\x00\x03IHAVEOPT" + b"\xff" * 64, bytes(100_000)],
    ids=["nothing", "http", "options", "zeros"],
)
def test_junk_on_the_nbd_port_ends_that_connection_only(shared: Appliance, uri: str, junk: bytes) -> None:
    with socket.create_connection(("127.0.0.1", shared.nbd_port)) as sock:
        sock.settimeout(10)
        try:
            sock.sendall(junk)
        except (BrokenPipeError, ConnectionResetError):
            pass  # cut off before it was through: fine
    with connect(uri) as handle:
        assert handle.get_size() == SIZE


def test_nbdcopy_with_several_connections_round_trips(shared: Appliance, tmp_path: Path) -> None:
    uri = shared.add_volume("tank/copy", "128M", "copy")
    image, back = tmp_path / "image", tmp_path / "back"
    image.write_bytes(pattern(48 * MIB, 11) + bytes(32 * MIB) + pattern(48 * MIB, 12))
    run("nbdcopy", "--flush", "--connections=4", "--requests=32", image, uri)
    run("nbdcopy", "--connections=4", "--requests=32", uri, back)
    run("cmp", image, back)
    run("qemu-img", "compare", "-f", "raw", "-F", "raw", image, uri)


def test_qemu_img_converts_a_qcow2_image_in_and_out(shared: Appliance, tmp_path: Path) -> None:
    uri = shared.add_volume("tank/qemu", "64M", "qemu")
    raw, qcow2, back = tmp_path / "raw", tmp_path / "image.qcow2", tmp_path / "back.qcow2"
    raw.write_bytes(bytes(10 * MIB) + pattern(20 * MIB, 13) + bytes(34 * MIB))
    run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, qcow2)
    run("qemu-img", "convert", "-n", "-f", "qcow2", "-O", "raw", qcow2, uri)
    run("qemu-img", "compare", "-f", "qcow2", "-F", "raw", qcow2, uri)
    run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", uri, back)
    run("qemu-img", "compare", "-f", "raw", "-F", "qcow2", raw, back)


def test_fio_verifies_random_4k_at_queue_32_on_two_connections(shared: Appliance, tmp_path: Path) -> None:
    uri = shared.add_volume("tank/fio", "64M", "fio")
    split = ["--numjobs=2", "--size=32m", "--offset_increment=32m", "--group_reporting"]
    result = fio(uri, tmp_path, *FIO_VERIFY, *split)
    assert sum(job["write"]["total_ios"] for job in result["jobs"]) == 64 * MIB // 4096
    assert sum(job["read"]["total_ios"] for job in result["jobs"]) >= 64 * MIB // 4096


def test_mixed_sizes_verify_under_fio(shared: Appliance, tmp_path: Path) -> None:
    uri = shared.add_volume("tank/fio-mixed", "48M", "fio-mixed")
    fio(uri, tmp_path, *FIO_VERIFY[:1], "--bsrange=512-128k", "--blockalign=512", *FIO_VERIFY[2:], "--size=48m")


def test_resize_while_attached_takes_effect_for_new_connections(shared: Appliance) -> None:
    uri = shared.add_volume("tank/grow", "8M", "grow")
    write_bytes(uri, pattern(8 * MIB, 14))
    with connect(uri) as old:
        shared.wfs("volume", "resize", "tank/grow", "16M")
        assert len(old.pread(MIB, 7 * MIB)) == MIB
    assert info(uri)["exports"][0]["export-size"] == 16 * MIB
    assert read_all(uri) == pattern(8 * MIB, 14) + bytes(8 * MIB)


def test_volume_in_use_cannot_be_deleted(shared: Appliance) -> None:
    uri = shared.add_volume("tank/busy", "8M", "busy")
    with connect(uri):
        with pytest.raises(CommandError, match="busy"):
            shared.wfs("volume", "delete", "tank/busy", "--yes")
    assert info(uri)["exports"][0]["export-size"] == 8 * MIB
