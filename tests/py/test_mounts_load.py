# SPDX-License-Identifier: BSD-3-Clause
"""File systems mounted beside the pools, under load: little memory, removal by force, kills."""

import subprocess
import threading
from pathlib import Path

import nbd
from appliance import Appliance, Settings, program, wait_for
from fat_images import check_fat, files, image_of, make_fat, mounts, read_fat, remove, server, volume_of
from nbdclient import MIB, connect, pattern, run


def test_more_than_memory_takes_through_an_image_on_a_volume(make_appliance, tmp_path: Path) -> None:
    """Write-back that waited at its own limit would stand still for ever."""
    box = make_appliance(Settings(cache="24M", dirty_max="4M"), pool="1G")
    box.create_volume("tank/stick", "256M")
    box.add_export("tank/stick", "fill")
    run("nbdcopy", "--flush", make_fat(tmp_path / "stick.img", 256, "-F", "32"), box.nbd_uri("fill"))
    box.wfs("export", "remove", "fill")
    box.wfs("mount", "add", "fat", "/tank/stick", "/stick")
    box.add_export("/stick", "stick")
    data = tmp_path / "data"
    data.write_bytes(pattern(100 * MIB, 5))
    writers = [
        subprocess.Popen([program("wfs"), "--socket", str(box.admin_socket), "put", str(data), f"stick/{i}", *server(box)])
        for i in range(2)
    ]
    for writer in writers:
        assert writer.wait(120) == 0
    for i in range(2):
        files(box, "get", f"stick/{i}", str(tmp_path / "got"))
        assert (tmp_path / "got").read_bytes() == data.read_bytes()
    box.wfs("export", "remove", "stick")
    remove(box, "/stick")
    check_fat(image_of(box, "/tank/stick", tmp_path / "back.img"))


def test_busy_mount_stays_and_goes_by_force_under_load(appliance: Appliance, tmp_path: Path) -> None:
    image = make_fat(tmp_path / "stick.img", 64)
    appliance.wfs("mount", "add", "fat", str(image), "/stick")
    appliance.add_export("/stick", "stick")
    (tmp_path / "disk").write_bytes(pattern(16 * MIB, 7))
    files(appliance, "put", str(tmp_path / "disk"), "stick")
    appliance.add_export("/stick/disk", "disk")
    ended = threading.Event()
    written = 0

    def write() -> None:
        nonlocal written
        with connect(appliance.nbd_uri("disk")) as disk:
            try:
                for i in range(1_000_000):
                    disk.pwrite(bytes([i % 256]) * 65536, i % 256 * 65536)
                    if i % 64 == 0:
                        disk.flush()
                    written += 1
            except Exception:  # whatever the client makes of it
                ended.set()

    writer = threading.Thread(target=write)
    writer.start()
    wait_for(lambda: written > 500, "the writer to be at work")
    for name in ("stick", "disk"):
        appliance.wfs("export", "remove", name)
    assert "open files" in appliance.wfs_fails("mount", "remove", "/stick")
    assert mounts(appliance)[0]["path"] == "/stick"
    appliance.wfs("mount", "remove", "/stick", "--force")
    writer.join(30)
    assert ended.is_set(), "the writer was not told"
    wait_for(lambda: mounts(appliance) == [], "the last client to let go")
    check_fat(image)
    assert len(read_fat(image, "disk")) == 16 * MIB
    appliance.wfs("mount", "add", "fat", str(image), "/stick")


def test_what_was_flushed_to_an_image_on_a_volume_survives_kills_under_load(appliance: Appliance, tmp_path: Path) -> None:
    block, count = 65536, 128
    path = volume_of(appliance, make_fat(tmp_path / "stick.img", 64))
    appliance.wfs("mount", "add", "fat", path, "/stick")
    appliance.add_export("/stick", "stick")
    (tmp_path / "disk").write_bytes(bytes(block * count))
    files(appliance, "put", str(tmp_path / "disk"), "stick")
    appliance.add_export("/stick/disk", "disk")
    uri = appliance.nbd_uri("disk")
    durable = [0] * count
    for round_ in range(4):
        newest = list(durable)
        enough = threading.Event()

        def write(first: int = 1 + round_ * 1_000_000, newest: list[int] = newest, enough=enough) -> None:
            try:
                with connect(uri) as disk:
                    for i in range(first, first + 1_000_000):
                        at = i * 37 % count
                        newest[at] = i
                        disk.pwrite(i.to_bytes(8, "big") * (block // 8), at * block)
                        if i % 8 == 0:
                            disk.flush()
                            durable[:] = newest
                        if i == first + 300:
                            enough.set()
            except nbd.Error:
                enough.set()

        writer = threading.Thread(target=write)
        writer.start()
        assert enough.wait(60)
        appliance.kill9()
        writer.join(60)
        appliance.start()
        with connect(uri) as disk:
            for at in range(count):
                got = bytes(disk.pread(block, at * block))
                first, last = (int.from_bytes(got[i : i + 8], "big") for i in (0, block - 8))
                assert durable[at] <= first <= newest[at] and durable[at] <= last <= newest[at], f"block {at}"
    for name in ("disk", "stick"):
        appliance.wfs("export", "remove", name)
    remove(appliance, "/stick")
    image = image_of(appliance, path, tmp_path / "back.img")
    run(program("wfs"), "fsck", "fat", image, "--repair")
    check_fat(image)
    assert len(read_fat(image, "disk")) == block * count


def test_pool_goes_by_force_from_under_a_busy_image(appliance: Appliance, tmp_path: Path) -> None:
    path = volume_of(appliance, make_fat(tmp_path / "stick.img", 64))
    appliance.wfs("mount", "add", "fat", path, "/stick")
    appliance.add_export("/stick", "stick")
    (tmp_path / "data").write_bytes(pattern(24 * MIB, 12))
    putting = subprocess.Popen(
        [program("wfs"), "--socket", str(appliance.admin_socket), "put", str(tmp_path / "data"), "stick", *server(appliance)],
        stderr=subprocess.DEVNULL,
    )
    wait_for(lambda: "data" in appliance.run_wfs("ls", "stick", *server(appliance)).out, "the file to be there")
    appliance.wfs("pool", "export", "tank", "--force")
    putting.wait(60)
    wait_for(lambda: mounts(appliance) == [], "the mount to be gone")
    appliance.wfs("export", "remove", "stick")
    appliance.wfs("pool", "import", str(appliance.pool_file("tank")))
    image = image_of(appliance, path, tmp_path / "back.img")
    run(program("wfs"), "fsck", "fat", image, "--repair")
    check_fat(image)
