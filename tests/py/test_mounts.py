# SPDX-License-Identifier: BSD-3-Clause
"""File systems that are mounted beside the pools: from devices, files, and files of the namespace. mtools and fsck.fat
look at what is left after the unmount."""

import json
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nbd
import pytest
from appliance import Appliance, Settings, program, wait_for
from mounts import Mount, why_not
from nbdclient import MIB, connect, pattern, run


def make_fat(path: Path, size_mib: int = 32, *options: str) -> Path:
    with open(path, "wb") as image:
        image.truncate(size_mib * MIB)
    run("mkfs.fat", *(options or ("-F", "16")), path)
    return path


def check_fat(image: Path) -> None:
    run("fsck.fat", "-n", image)


def read_fat(image: Path, name: str) -> bytes:
    return subprocess.run(["mcopy", "-i", str(image), f"::{name}", "-"], check=True, capture_output=True).stdout


def server(box: Appliance) -> list[str]:
    return ["--server", f"unix:{box.rpc_socket}"]


def files(box: Appliance, *args: str) -> str:
    """A command on files that must succeed."""
    done = box.run_wfs(*args, *server(box))
    assert done.status == 0, f"wfs {' '.join(args)}: {done.err}"
    return done.out


def mounts(box: Appliance) -> list[dict]:
    return box.wfs("mount", "list")["mounts"]


def remove(box: Appliance, path: str, *options: str) -> None:
    assert box.wfs("mount", "remove", path, *options) == {"leaving": False}


@contextmanager
def mounted(source: str, folder: Path) -> Iterator[Mount]:
    """By the kernel, on this machine."""
    mount = Mount(source, folder).start()
    try:
        yield mount
        assert mount.stop() == 0
    finally:
        mount.dispose()


def volume_of(box: Appliance, image: Path, name: str = "tank/stick") -> str:
    """A volume with the contents of @image; its path in the namespace."""
    size = image.stat().st_size
    uri = box.add_volume(name, f"{size // MIB}M", "fill")
    run("nbdcopy", "--flush", image, uri)
    box.wfs("export", "remove", "fill")
    return f"/{name}"


def image_of(box: Appliance, path: str, to: Path) -> Path:
    """What a file of the namespace holds, as a file of ours."""
    box.add_export(path, "look", read_only=True)
    run("nbdcopy", box.nbd_uri("look"), to)
    box.wfs("export", "remove", "look")
    return to


def test_fat_on_a_file_is_read_and_written(appliance: Appliance, tmp_path: Path) -> None:
    image = make_fat(tmp_path / "stick.img")
    (tmp_path / "hello.txt").write_text("hello\n")
    run("mcopy", "-i", image, tmp_path / "hello.txt", "::HELLO.TXT")
    appliance.wfs("mount", "add", "fat", str(image), "/stick", "--uid", "5", "--gid", "6", "--umask", "027")
    (mount,) = mounts(appliance)
    assert mount["source"] == f"host:{image}" and mount["path"] == "/stick" and mount["kind"] == "fat"
    assert not mount["leaving"] and not mount["is_read_only"] and mount["reason"] == ""
    appliance.add_export("/stick", "stick")
    assert files(appliance, "cat", "stick/hello.txt") == "hello\n"
    shown = json.loads(files(appliance, "--json", "stat", "stick/HELLO.TXT"))
    assert (shown["uid"], shown["gid"], shown["mode"] & 0o777) == (5, 6, 0o640)
    (tmp_path / "A long name").write_bytes(pattern(300_000, 1))
    files(appliance, "mkdir", "stick/dir")
    files(appliance, "put", str(tmp_path / "A long name"), "stick/dir")
    assert "A long name" in files(appliance, "ls", "stick/dir")
    assert "export 'stick' uses" in appliance.wfs_fails("mount", "remove", "/stick")
    appliance.wfs("export", "remove", "stick")
    remove(appliance, "/stick")
    assert mounts(appliance) == []
    check_fat(image)
    assert read_fat(image, "dir/A long name") == pattern(300_000, 1)


def test_file_on_fat_on_a_volume_is_exported_and_survives_restart_and_kill(appliance: Appliance, tmp_path: Path) -> None:
    data = tmp_path / "disk.img"
    data.write_bytes(pattern(8 * MIB, 2))
    path = volume_of(appliance, make_fat(tmp_path / "stick.img"))
    appliance.wfs("mount", "add", "fat", path, "/stick")
    assert mounts(appliance)[0]["source"] == f"wfs:{path}"
    appliance.add_export("/stick", "stick")
    files(appliance, "put", str(data), "stick")
    appliance.add_export("/stick/disk.img", "disk")
    uri = appliance.nbd_uri("disk")
    run("qemu-img", "compare", "-f", "raw", "-F", "raw", data, uri)
    with open(data, "r+b") as copy, connect(uri) as disk:
        copy.seek(3 * MIB)
        copy.write(pattern(MIB, 3))
        disk.pwrite(pattern(MIB, 3), 3 * MIB)
        disk.flush()
    appliance.kill9()
    appliance.start()
    assert [m["path"] for m in mounts(appliance)] == ["/stick"]
    assert "cleanly" in mounts(appliance)[0]["reason"]
    run("qemu-img", "compare", "-f", "raw", "-F", "raw", data, uri)
    appliance.restart()
    run("qemu-img", "compare", "-f", "raw", "-F", "raw", data, uri)
    for name in ("disk", "stick"):
        appliance.wfs("export", "remove", name)
    remove(appliance, "/stick")
    image = image_of(appliance, path, tmp_path / "back.img")
    run(program("wfs"), "fsck", "fat", image, "--repair")
    check_fat(image)
    assert read_fat(image, "disk.img") == data.read_bytes()


def test_image_in_a_file_tree_and_an_image_in_that_image(appliance: Appliance, tmp_path: Path) -> None:
    inner = make_fat(tmp_path / "inner.img", 4, "-F", "12")
    (tmp_path / "deep.txt").write_text("deep down\n")
    run("mcopy", "-i", inner, tmp_path / "deep.txt", "::deep.txt")
    outer = make_fat(tmp_path / "outer.img")
    run("mcopy", "-i", outer, inner, "::inner.img")
    appliance.wfs("fs", "create", "tank/files")
    appliance.add_export("/tank/files", "files")
    files(appliance, "put", str(outer), "files")
    files(appliance, "mkdir", "files/place")
    appliance.wfs("mount", "add", "fat", "wfs:/tank/files/outer.img", "/outer")
    appliance.wfs("mount", "add", "fat", "/outer/inner.img", "/tank/files/place")
    # Through the export of the file tree that it lies over.
    assert files(appliance, "cat", "files/place/deep.txt") == "deep down\n"
    (tmp_path / "new").write_bytes(pattern(MIB, 4))
    files(appliance, "put", str(tmp_path / "new"), "files/place")
    assert "stands on" in appliance.wfs_fails("mount", "remove", "/outer")
    assert "mounted at" in appliance.wfs_fails("mount", "add", "fat", "/outer/inner.img", "/elsewhere")
    appliance.restart()
    assert [m["path"] for m in mounts(appliance)] == ["/outer", "/tank/files/place"]
    assert files(appliance, "cat", "files/place/deep.txt") == "deep down\n"
    remove(appliance, "/tank/files/place")
    assert files(appliance, "ls", "files/place") == ""
    remove(appliance, "/outer")
    files(appliance, "get", "files/outer.img", str(tmp_path / "got.img"))
    check_fat(tmp_path / "got.img")
    (tmp_path / "inner2.img").write_bytes(read_fat(tmp_path / "got.img", "inner.img"))
    check_fat(tmp_path / "inner2.img")
    assert read_fat(tmp_path / "inner2.img", "new") == pattern(MIB, 4)


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


def test_what_cannot_be_mounted_is_refused(appliance: Appliance, tmp_path: Path) -> None:
    image = make_fat(tmp_path / "stick.img")
    garbage = tmp_path / "garbage"
    garbage.write_bytes(pattern(MIB, 6))
    appliance.wfs("fs", "create", "tank/files")
    appliance.add_export("/tank/files", "files")
    files(appliance, "put", str(image), "files")
    appliance.create_volume("tank/empty", "16M")

    def refused(*args: str) -> str:
        return appliance.wfs_fails("mount", "add", *args)

    assert "no kind" in refused("ntfs", str(image), "/a")
    assert "keeps owners" in refused("nfs", "nfs://127.0.0.1/none", "/a", "--uid", "5")
    assert "neither" in refused("fat", str(tmp_path / "nothing"), "/a")
    refused("fat", "wfs:/tank/nothing", "/a")
    refused("fat", f"host:{tmp_path}", "/a")
    refused("fat", "wfs:/tank/files", "/a")
    refused("fat", str(garbage), "/a")
    refused("fat", "/tank/empty", "/a")
    refused("wfs2", str(image), "/a")
    assert "absolute" in refused("fat", str(image), "a")
    refused("fat", str(image), "/")
    refused("fat", str(image), "/a/")
    refused("fat", str(image), "/nowhere/a")
    assert "in use" in refused("fat", str(image), "/tank")
    assert "directory" in refused("fat", str(image), "/tank/empty")
    assert "over itself" in refused("fat", "/tank/files/stick.img", "/tank/files")
    assert "use" in refused("fat", str(appliance.pool_file("tank")), "/a")
    assert mounts(appliance) == []
    # Nothing of all that kept the image open.
    appliance.wfs("mount", "add", "fat", str(image), "/a")
    assert "mounted at /a already" in refused("fat", str(image), "/b")
    other = tmp_path / "link.img"
    os.link(image, other)
    assert "mounted at /a already" in refused("fat", str(other), "/b")
    assert "in use" in refused("fat", "/tank/files/stick.img", "/a")
    remove(appliance, "/a")
    assert appliance.wfs_fails("mount", "remove", "/a")
    assert "uid" in appliance.run_wfs("mount", "add", "fat", str(image), "/a", "--uid", "-1").err
    assert "octal" in appliance.run_wfs("mount", "add", "fat", str(image), "/a", "--umask", "999").err
    check_fat(image)


def test_path_on_both_sides_must_be_said_clearly(appliance: Appliance, tmp_path: Path) -> None:
    image = make_fat(tmp_path / "a.img")
    # The namespace gets a file of the very path that it has on this machine.
    top, *between, _ = image.parts[1:]
    assert top == "tmp"
    appliance.wfs("mount", "add", "fat", str(make_fat(tmp_path / "top.img")), "/tmp")
    appliance.add_export("/tmp", "top")
    path = "top"
    for part in between:
        path += f"/{part}"
        files(appliance, "mkdir", path)
    files(appliance, "put", str(make_fat(tmp_path / "small.img", 4, "-F", "12")), f"{path}/a.img")
    message = appliance.wfs_fails("mount", "add", "fat", str(image), "/x")
    assert "say host: or wfs:" in message
    appliance.wfs("mount", "add", "fat", f"wfs:{image}", "/x")
    appliance.wfs("mount", "add", "fat", f"host:{image}", "/y")
    assert {m["source"] for m in mounts(appliance)} >= {f"wfs:{image}", f"host:{image}"}


def test_read_only_mounts_and_sources(appliance: Appliance, tmp_path: Path) -> None:
    image = make_fat(tmp_path / "stick.img")
    before = image.read_bytes()
    appliance.wfs("mount", "add", "fat", str(image), "/stick", "--read-only")
    appliance.add_export("/stick", "stick")
    assert mounts(appliance)[0]["is_read_only"]
    (tmp_path / "f").write_text("x")
    assert "ead-only" in appliance.run_wfs("put", str(tmp_path / "f"), "stick", *server(appliance)).err
    appliance.wfs("export", "remove", "stick")
    remove(appliance, "/stick")
    assert image.read_bytes() == before
    # An image on what is read-only itself.
    volume = volume_of(appliance, make_fat(tmp_path / "outer.img"))
    appliance.wfs("mount", "add", "fat", volume, "/outer")
    appliance.add_export("/outer", "outer")
    files(appliance, "put", str(make_fat(tmp_path / "in.img", 4, "-F", "12")), "outer")
    appliance.wfs("export", "remove", "outer")
    remove(appliance, "/outer")
    appliance.wfs("mount", "add", "fat", volume, "/outer", "--read-only")
    assert "read-only" in appliance.wfs_fails("mount", "add", "fat", "/outer/in.img", "/in")
    appliance.wfs("mount", "add", "fat", "/outer/in.img", "/in", "--read-only")
    remove(appliance, "/in")
    remove(appliance, "/outer")


def test_missing_source_at_start_is_a_problem_and_nothing_more(appliance: Appliance, tmp_path: Path) -> None:
    image = make_fat(tmp_path / "stick.img")
    appliance.wfs("mount", "add", "fat", str(image), "/stick")
    appliance.wfs("mount", "add", "fat", str(make_fat(tmp_path / "other.img")), "/other")
    appliance.stop()
    image.rename(tmp_path / "away.img")
    appliance.start()
    assert [m["path"] for m in mounts(appliance)] == ["/other"]
    (problem,) = appliance.wfs("status")["problems"]
    assert "/stick" in problem and str(image) in problem
    (missing,) = appliance.wfs("mount", "list")["missing"]
    assert missing["path"] == "/stick" and missing["reason"] == problem
    assert "missing" in appliance.run_wfs("mount", "list").out
    # It can be tried again,
    (tmp_path / "away.img").rename(image)
    appliance.wfs("mount", "add", "fat", str(image), "/stick")
    assert appliance.wfs("status")["problems"] == [] and appliance.wfs("mount", "list")["missing"] == []
    appliance.stop()
    image.unlink()
    appliance.start()
    # or given up.
    remove(appliance, "/stick")
    assert appliance.wfs("status")["problems"] == []
    appliance.restart()
    assert appliance.wfs("status")["problems"] == []
    assert [m["path"] for m in mounts(appliance)] == ["/other"]


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


def test_pool_under_a_mount_is_kept_or_takes_it_along(appliance: Appliance, tmp_path: Path) -> None:
    path = volume_of(appliance, make_fat(tmp_path / "stick.img"))
    appliance.wfs("mount", "add", "fat", path, "/stick")
    appliance.add_export("/stick", "stick")
    (tmp_path / "f").write_bytes(pattern(MIB, 8))
    files(appliance, "put", str(tmp_path / "f"), "stick")
    for command in (
        ("pool", "export", "tank"),
        ("pool", "destroy", "tank", "--yes"),
        ("volume", "delete", "tank/stick", "--yes"),
        ("volume", "rename", "tank/stick", "other"),
        ("volume", "resize", "tank/stick", "8M", "--shrink", "--yes"),
    ):
        assert "/stick" in appliance.wfs_fails(*command), command
    assert "mounted" in appliance.wfs_fails("export", "add", path, "--as", "raw")
    appliance.wfs("pool", "export", "tank", "--force")
    wait_for(lambda: mounts(appliance) == [], "the mount to go with its pool")
    appliance.wfs("pool", "import", str(appliance.pool_file("tank")))
    appliance.wfs("mount", "add", "fat", path, "/stick")
    files(appliance, "get", "stick/f", str(tmp_path / "got"))
    assert (tmp_path / "got").read_bytes() == pattern(MIB, 8)
    appliance.wfs("export", "remove", "stick")
    remove(appliance, "/stick")
    check_fat(image_of(appliance, path, tmp_path / "back.img"))


def test_image_that_loses_its_name_or_end_hurts_only_its_mount(appliance: Appliance, tmp_path: Path) -> None:
    appliance.wfs("fs", "create", "tank/files")
    appliance.add_export("/tank/files", "files")
    files(appliance, "put", str(make_fat(tmp_path / "stick.img")), "files")
    appliance.wfs("mount", "add", "fat", "/tank/files/stick.img", "/stick")
    appliance.add_export("/stick", "stick")
    files(appliance, "rm", "files/stick.img")
    (tmp_path / "f").write_bytes(pattern(MIB, 9))
    files(appliance, "put", str(tmp_path / "f"), "stick")
    files(appliance, "get", "stick/f", str(tmp_path / "got"))
    assert (tmp_path / "got").read_bytes() == pattern(MIB, 9)
    appliance.wfs("export", "remove", "stick")
    remove(appliance, "/stick")
    assert files(appliance, "ls", "files") == ""


def test_wfs2_volumes_are_mounted_too(appliance: Appliance, tmp_path: Path) -> None:
    image = tmp_path / "old.img"
    run(program("wfs"), "mkfs", "wfs2", image, "--size", "32M")
    (tmp_path / "f").write_bytes(pattern(MIB, 10))
    run(program("wfs"), "wfs2", "put", image, tmp_path / "f", "f")
    path = volume_of(appliance, image)
    appliance.wfs("mount", "add", "wfs2", path, "/legacy")
    appliance.add_export("/legacy", "legacy")
    appliance.add_export("/legacy/f", "f")
    run("qemu-img", "compare", "-f", "raw", "-F", "raw", tmp_path / "f", appliance.nbd_uri("f"))
    files(appliance, "put", str(tmp_path / "f"), "legacy/g")
    appliance.kill9()
    appliance.start()
    assert set(files(appliance, "ls", "legacy").split()) == {"f", "g"}
    appliance.wfs("export", "remove", "legacy")
    appliance.wfs("export", "remove", "f")
    remove(appliance, "/legacy")
    back = image_of(appliance, path, tmp_path / "back.img")
    run(program("wfs"), "fsck", "wfs2", back)
    run(program("wfs"), "wfs2", "get", back, "g", tmp_path / "g")
    assert (tmp_path / "g").read_bytes() == pattern(MIB, 10)


def test_two_mounts_are_told_apart_in_the_metrics(appliance: Appliance, tmp_path: Path) -> None:
    for name in ("a", "b"):
        appliance.wfs("mount", "add", "fat", str(make_fat(tmp_path / f"{name}.img")), f"/{name}")
    metrics = appliance.metrics()
    for name in ("a", "b"):
        assert metrics.sum("wfsd_device_operations_total", device=str(tmp_path / f"{name}.img"), op="read") > 0
    assert [c["name"] for c in appliance.wfs("status")["memory"]["consumers"]].count("fat") == 1
    remove(appliance, "/a")
    with pytest.raises(KeyError):
        appliance.metrics().sum("wfsd_device_operations_total", device=str(tmp_path / "a.img"), op="read")


def test_programs_use_a_mount_through_the_kernel(appliance: Appliance, tmp_path: Path) -> None:
    if why_not():
        pytest.skip(str(why_not()))
    image = make_fat(tmp_path / "stick.img", 64, "-F", "32")
    appliance.wfs("mount", "add", "fat", str(image), "/stick")
    appliance.add_export("/stick", "stick")
    source, copy = tmp_path / "tree", tmp_path / "copy"
    for i in range(40):
        folder = source / f"Folder {i % 4}" / "inner"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"file number {i}.bin").write_bytes(pattern(i * 7001, i))
    with mounted(f"unix:{appliance.rpc_socket}/stick", tmp_path / "mnt") as here:
        run("cp", "-r", source, here / "tree")
        os.rename(here / "tree" / "Folder 0", here / "moved")
        (here / "tree" / "Folder 1" / "inner" / "file number 1.bin").unlink()
        assert (here / "MOVED" / "inner").is_dir()
        os.rename(here / "moved", here / "tree" / "Folder 0")
        run("cp", "-r", here / "tree", copy)
    (source / "Folder 1" / "inner" / "file number 1.bin").unlink()
    run("diff", "-r", source, copy)
    appliance.wfs("export", "remove", "stick")
    remove(appliance, "/stick")
    check_fat(image)
    run("mcopy", "-s", "-i", image, "::tree", tmp_path / "judge")
    run("diff", "-r", source, tmp_path / "judge")


def test_image_that_is_cut_off_makes_errors_and_can_be_let_go(appliance: Appliance, tmp_path: Path) -> None:
    if why_not():
        pytest.skip(str(why_not()))
    appliance.wfs("fs", "create", "tank/files")
    appliance.add_export("/tank/files", "files")
    files(appliance, "put", str(make_fat(tmp_path / "stick.img")), "files")
    appliance.wfs("mount", "add", "fat", "/tank/files/stick.img", "/stick")
    appliance.add_export("/stick", "stick")
    (tmp_path / "f").write_bytes(pattern(4 * MIB, 11))
    files(appliance, "put", str(tmp_path / "f"), "stick")
    appliance.restart()  # nothing of it is in memory any more
    with mounted(f"unix:{appliance.rpc_socket}/files", tmp_path / "mnt") as here:
        os.truncate(here / "stick.img", MIB)
    assert appliance.run_wfs("get", "stick/f", str(tmp_path / "got"), *server(appliance)).status == 1
    assert "failed" in mounts(appliance)[0]["reason"]
    appliance.wfs("export", "remove", "stick")
    remove(appliance, "/stick")
    assert appliance.wfs_fails("mount", "add", "fat", "/tank/files/stick.img", "/stick")
    assert mounts(appliance) == []
    assert files(appliance, "ls", "files").strip() == "stick.img"
    appliance.restart()
    assert mounts(appliance) == [] and appliance.wfs("status")["problems"] == []


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


def test_image_on_a_mount_of_the_daemon_itself_is_refused(appliance: Appliance, tmp_path: Path) -> None:
    if why_not():
        pytest.skip(str(why_not()))
    appliance.wfs("fs", "create", "tank/files")
    appliance.add_export("/tank/files", "files")
    files(appliance, "put", str(make_fat(tmp_path / "stick.img")), "files")
    with mounted(f"unix:{appliance.rpc_socket}/files", tmp_path / "mnt") as here:
        message = appliance.wfs_fails("mount", "add", "fat", str(here / "stick.img"), "/stick")
        assert "wfs:/PATH" in message
        appliance.wfs("mount", "add", "fat", "wfs:/tank/files/stick.img", "/stick")
    remove(appliance, "/stick")


def test_mounts_of_clients_go_on_after_a_restart(appliance: Appliance, tmp_path: Path) -> None:
    if why_not():
        pytest.skip(str(why_not()))
    image = make_fat(tmp_path / "stick.img", 64, "-F", "32")
    appliance.wfs("mount", "add", "fat", str(image), "/stick")
    appliance.add_export("/stick", "stick")
    with mounted(f"unix:{appliance.rpc_socket}/stick", tmp_path / "mnt") as here:
        (here / "d").mkdir()
        (here / "d" / "before").write_text("the restart")
        appliance.restart()
        assert (here / "d" / "before").read_text() == "the restart"
        (here / "d" / "after").write_text("it")
        assert set(os.listdir(here / "d")) == {"before", "after"}
    appliance.wfs("export", "remove", "stick")
    remove(appliance, "/stick")
    check_fat(image)
    assert read_fat(image, "d/after") == b"it"


def test_mount_comes_back_with_the_pool_that_it_stands_on(appliance: Appliance, tmp_path: Path) -> None:
    path = volume_of(appliance, make_fat(tmp_path / "stick.img"))
    appliance.wfs("mount", "add", "fat", path, "/stick")
    appliance.wfs("mount", "add", "fat", str(make_fat(tmp_path / "other.img")), "/other")
    appliance.stop()
    device = appliance.pool_file("tank")
    device.rename(tmp_path / "away")
    (tmp_path / "other.img").rename(tmp_path / "other.away")
    appliance.start()
    assert mounts(appliance) == [] and len(appliance.wfs("status")["problems"]) == 3
    (tmp_path / "away").rename(device)
    appliance.wfs("pool", "import", str(device))
    assert [m["path"] for m in mounts(appliance)] == ["/stick"]
    (problem,) = appliance.wfs("status")["problems"]
    assert "/other" in problem
