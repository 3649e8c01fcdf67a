# SPDX-License-Identifier: BSD-3-Clause
"""File systems that are mounted beside the pools: from devices, files, and files of the namespace. mtools and fsck.fat
look at what is left after the unmount."""

import json
import os
from pathlib import Path

import pytest
from appliance import Appliance, program, wait_for
from fat_images import check_fat, files, image_of, make_fat, mounted, mounts, read_fat, remove, server, volume_of
from mounts import why_not
from nbdclient import MIB, connect, pattern, run


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


def test_the_maker_of_a_file_writes_to_it_later(appliance: Appliance, tmp_path: Path) -> None:
    """Through the descriptor that made it, on a file system without extended attributes."""
    if why_not():
        pytest.skip(str(why_not()))
    image = make_fat(tmp_path / "stick.img")
    appliance.wfs("mount", "add", "fat", str(image), "/stick")
    appliance.add_export("/stick", "stick")
    options = "coherent_timeout=0,attr_timeout=0,entry_timeout=0"
    with mounted(f"unix:{appliance.rpc_socket}/stick", tmp_path / "mnt", options) as here:
        fd = os.open(here / "file", os.O_CREAT | os.O_WRONLY)
        for part in (b"one ", b"two ", b"three"):
            assert os.write(fd, part) == len(part)
        os.close(fd)
        assert (here / "file").read_bytes() == b"one two three"
    appliance.wfs("export", "remove", "stick")
    remove(appliance, "/stick")
    assert read_fat(image, "file") == b"one two three"


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


def test_clients_walk_from_a_file_tree_into_what_lies_over_a_directory(appliance: Appliance, tmp_path: Path) -> None:
    if why_not():
        pytest.skip(str(why_not()))
    image = make_fat(tmp_path / "stick.img", 64, "-F", "32")
    appliance.wfs("fs", "create", "tank/files")
    appliance.add_export("/tank/files", "files")
    files(appliance, "mkdir", "files/place")
    appliance.wfs("mount", "add", "fat", str(image), "/tank/files/place")
    with mounted(f"unix:{appliance.rpc_socket}/files", tmp_path / "mnt") as here:
        (here / "above").write_text("in the tree")
        (here / "place" / "d").mkdir()
        (here / "place" / "d" / "below").write_text("on FAT")
        numbers = {os.stat(path).st_ino for path in (here.path, here / "place", here / "place" / "d", here / "above")}
        assert len(numbers) == 4
        assert os.statvfs(here / "place").f_blocks != os.statvfs(here.path).f_blocks
        with pytest.raises(OSError):
            os.rename(here / "above", here / "place" / "above")
        with pytest.raises(OSError):
            (here / "place").rmdir()
        run("mv", here / "above", here / "place" / "above")
        run("cp", "-r", here.path, tmp_path / "copy")
    assert (tmp_path / "copy" / "place" / "d" / "below").read_text() == "on FAT"
    appliance.wfs("export", "remove", "files")
    remove(appliance, "/tank/files/place")
    check_fat(image)
    assert read_fat(image, "above") == b"in the tree"
