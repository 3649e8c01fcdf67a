# SPDX-License-Identifier: BSD-3-Clause
"""`wfs mkfs wfs2`, `wfs fsck wfs2`, `wfs wfs2`: WFS v2 volumes without a daemon. The layout is that of core/fs/wfs2/FORMAT.md."""
import json
import random
import struct
import subprocess
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from appliance import Appliance, CommandResult, program

MIB = 1 << 20
BLOCK = 4096


def run(*args: object, stdin: bytes = b"", status: int = 0) -> subprocess.CompletedProcess:
    done = subprocess.run([program("wfs"), *map(str, args)], input=stdin, capture_output=True, timeout=60, check=False)
    assert done.returncode == status, f"wfs {args}: status {done.returncode}: {done.stderr.decode()}{done.stdout.decode()}"
    assert status == 0 or done.stderr or b"left" in done.stdout, "failed without a word"
    return done


class Volume:
    def __init__(self, path: Path, size: str = "16M") -> None:
        self.path = path
        run("mkfs", "wfs2", path, "--size", size, "--label", "old data")

    def put(self, name: str, data: bytes, status: int = 0) -> str:
        return run("wfs2", "put", self.path, "-", name, stdin=data, status=status).stderr.decode()

    def get(self, name: str) -> bytes:
        return run("wfs2", "get", self.path, name, "-").stdout

    def names(self) -> set[str]:
        return {line.split(maxsplit=3)[3] for line in run("wfs2", "ls", self.path).stdout.decode().splitlines()}

    def fsck(self, *args: str, status: int = 0) -> dict:
        return json.loads(run("--json", "fsck", "wfs2", self.path, *args, status=status).stdout)

    def read(self, offset: int, size: int) -> bytes:
        with self.path.open("rb") as f:
            f.seek(offset)
            return f.read(size)

    def write(self, offset: int, data: bytes) -> None:
        with self.path.open("r+b") as f:
            f.seek(offset)
            f.write(data)

    def field(self, offset: int) -> int:
        return struct.unpack("<I", self.read(offset, 4))[0]

    def slot_offset(self, slot: int) -> int:
        return self.field(32) * BLOCK + slot * 512

    def edit_slot(self, slot: int, offset: int, data: bytes) -> None:
        """Change a slot of the file table, and make its checksum right."""
        at = self.slot_offset(slot)
        raw = bytearray(self.read(at, 512))
        raw[offset : offset + len(data)] = data
        raw[508:] = struct.pack("<I", zlib.crc32(raw[:508]))
        self.write(at, raw)


@pytest.fixture
def volume(tmp_path: Path) -> Volume:
    return Volume(tmp_path / "old.img")


def test_the_bytes_are_those_of_the_format(volume: Volume) -> None:
    volume.put("hello", b"x" * 5000)
    block = volume.read(0, BLOCK)
    assert block[:8] == b"WFS2SUP<" and block[4080:4088] == b">WFS2SUP"
    assert struct.unpack_from("<I", block, 4092)[0] == zlib.crc32(block[:4092])
    assert struct.unpack_from("<10I", block, 8) == (2, 4096, 4096, 1024, 2, 1, 5, 128, 134, 0)
    assert block[72:104] == b"old data".ljust(32, b"\0")
    assert volume.read(16 * MIB - BLOCK, BLOCK) == block
    for number, at in enumerate((1, 3, 4, 133), 1):
        mark = volume.read(at * BLOCK, BLOCK)
        assert mark[:32] == b"WFS2MARK" + struct.pack("<II", number, at) + block[56:72]
        assert struct.unpack_from("<I", mark, 4092)[0] == zlib.crc32(mark[:4092])
    slot = volume.read(volume.slot_offset(0), 512)
    assert slot[:4] == b"ENT<" and slot[504:508] == b">ENT"
    assert struct.unpack_from("<I", slot, 508)[0] == zlib.crc32(slot[:508])
    assert struct.unpack_from("<HHQ", slot, 4) == (1, 5, 5000)
    assert slot[56:62] == b"hello\0"
    count, first, blocks = struct.unpack_from("<H", slot, 52) + struct.unpack_from("<II", slot, 312)
    assert (count, first, blocks) == (1, 134, 2)
    bitmap = volume.read(2 * BLOCK, BLOCK)
    used = {b for b in range(4096) if bitmap[b // 8] >> b % 8 & 1}
    assert used == set(range(136)) | {4095}
    assert volume.read(134 * BLOCK, 5000) == b"x" * 5000


def test_files_go_in_and_come_out(volume: Volume) -> None:
    rng = random.Random(1)
    files = {f"file {i}": rng.randbytes(rng.choice((0, 1, 4096, 70000, MIB))) for i in range(12)}
    for name, data in files.items():
        volume.put(name, data)
    volume.put("file 3", b"shorter")
    run("wfs2", "mv", volume.path, "file 4", "file 5")
    run("wfs2", "rm", volume.path, "file 6")
    files["file 3"] = b"shorter"
    files["file 5"] = files.pop("file 4")
    del files["file 6"]
    assert volume.names() == set(files)
    for name, data in files.items():
        assert volume.get(name) == data
    report = volume.fsck()
    assert report["finding_count"] == 0 and report["files"] == len(files)
    assert run("fsck", "wfs2", volume.path).stdout.endswith(b"clean\n")


def test_mistakes_are_told(volume: Volume, tmp_path: Path) -> None:
    assert "no file" in run("wfs2", "get", volume.path, "none", "-", status=1).stderr.decode()
    assert "no free blocks" in volume.put("big", bytes(17 * MIB), status=1)
    assert "at most 32" in run("mkfs", "wfs2", volume.path, "--label", "x" * 33, "--yes", status=1).stderr.decode()
    assert "--yes" in run("mkfs", "wfs2", volume.path, status=2).stderr.decode()
    small = tmp_path / "small"
    run("mkfs", "wfs2", small, "--size", "32K", status=1)
    assert not small.exists()
    noise = tmp_path / "noise"
    noise.write_bytes(random.Random(2).randbytes(MIB))
    assert "no WFS v2 superblock" in run("fsck", "wfs2", noise, status=2).stderr.decode()
    run("wfs2", "ls", noise, status=1)


def test_wrong_checksum_is_found_and_mended(volume: Volume) -> None:
    volume.put("a", b"a" * 9000)
    volume.put("b", b"b")
    volume.write(volume.slot_offset(0) + 24, b"\xff")
    found = volume.fsck(status=1)["findings"]
    assert [f["kind"] for f in found] == ["slot"] and "wrong checksum" in found[0]["text"]
    told = volume.put("c", b"", status=1)
    assert "read-only" in told and "wrong checksum" in told
    assert volume.names() == {"b"}
    assert volume.fsck("--repair")["left_count"] == 0
    assert volume.get("a") == b"a" * 9000
    assert volume.fsck()["finding_count"] == 0


def test_damage_is_refused_or_read_only_and_repaired(volume: Volume) -> None:
    volume.put("a", b"a" * 9000)
    volume.put("b", b"b" * 9000)
    whole = volume.path.read_bytes()
    first_a = struct.unpack("<I", volume.read(volume.slot_offset(0) + 312, 4))[0]
    damages = {
        "superblock": lambda: volume.write(100, b"x"),
        "copy": lambda: volume.write(16 * MIB - 1, b"x"),
        "marker": lambda: volume.write(3 * BLOCK, b"x"),
        "duplicate": lambda: volume.edit_slot(1, 56, b"a"),
        "overlap": lambda: volume.edit_slot(1, 312, struct.pack("<I", first_a)),
        "extents": lambda: volume.edit_slot(1, 312, struct.pack("<I", 1 << 31)),
        "bitmap": lambda: volume.write(2 * BLOCK + first_a // 8, b"\0"),
    }
    for kind, damage in damages.items():
        volume.path.write_bytes(whole)
        damage()
        kinds = [f["kind"] for f in volume.fsck(status=1)["findings"]]
        assert kind in kinds, kind
        assert "read-only" in volume.put("c", b"", status=1), kind
        assert volume.get("a") == b"a" * 9000, kind
        assert volume.fsck("--repair")["left_count"] == 0, kind
        assert volume.fsck()["finding_count"] == 0, kind
        assert volume.get("a") == b"a" * 9000, kind
        volume.put("c", b"ccc")
        assert volume.get("c") == b"ccc", kind


class Conversion:
    """A volume, and a file system on a daemon for what is in it."""

    def __init__(self, box: Appliance, volume: Volume) -> None:
        self.box = box
        self.volume = volume
        box.wfs("fs", "create", "tank/new")
        box.add_export("tank/new", "new")

    def wfs(self, *args: object) -> CommandResult:
        return self.box.run_wfs("--server", f"unix:{self.box.rpc_socket}", *map(str, args))

    def convert(self, target: str = "new") -> str:
        done = self.wfs("convert", "wfs2", self.volume.path, target)
        assert done.status == 0, done.err
        return done.out

    def files(self, folder: Path) -> dict[str, bytes]:
        target = folder / "out"
        target.mkdir()
        done = self.wfs("get", *(f"new/{name}" for name in self.wfs("ls", "new").out.splitlines()), target)
        assert done.status == 0, done.err
        found = {p.name: p.read_bytes() for p in target.iterdir()}
        for p in target.iterdir():
            p.unlink()
        target.rmdir()
        return found


@pytest.fixture
def conversion(make_appliance: Callable[..., Appliance], volume: Volume) -> Conversion:
    return Conversion(make_appliance(), volume)


def test_volume_is_converted_and_converted_again_only_where_it_changed(conversion: Conversion, tmp_path: Path) -> None:
    rng = random.Random(5)
    files = {f"file {i}": rng.randbytes(size) for i, size in enumerate((0, 1, 4095, 4096, 100000, MIB, 3 * MIB + 17))}
    for name, data in files.items():
        conversion.volume.put(name, data)
    before = conversion.volume.path.read_bytes()
    assert conversion.convert() == "7 files converted and verified, 0 were already\n"
    assert conversion.files(tmp_path) == files
    assert conversion.volume.path.read_bytes() == before
    assert conversion.convert() == "0 files converted and verified, 7 were already\n"
    files["file 2"] = b"other"
    conversion.volume.put("file 2", files["file 2"])
    assert conversion.wfs("rm", "new/file 3").status == 0
    assert conversion.convert() == "2 files converted and verified, 5 were already\n"
    assert conversion.files(tmp_path) == files


def test_conversion_that_was_killed_goes_on(conversion: Conversion, tmp_path: Path) -> None:
    rng = random.Random(6)
    files = {f"f{i}": rng.randbytes(400000) for i in range(30)}
    for name, data in files.items():
        conversion.volume.put(name, data)
    with subprocess.Popen([program("wfs"), "--server", f"unix:{conversion.box.rpc_socket}", "convert", "wfs2",
                           str(conversion.volume.path), "new"], stdout=subprocess.DEVNULL) as running:
        while "f3" not in conversion.wfs("ls", "new").out.splitlines() and running.poll() is None:
            pass
        running.kill()
    done, kept = (int(word) for word in conversion.convert().split() if word.isdigit())
    assert done + kept == 30 and kept >= 3
    assert conversion.files(tmp_path) == files


def test_damaged_volume_is_not_converted(conversion: Conversion) -> None:
    conversion.volume.put("a", b"a" * 9000)
    conversion.volume.write(conversion.volume.slot_offset(0) + 24, b"\xff")
    done = conversion.wfs("convert", "wfs2", conversion.volume.path, "new")
    assert done.status == 1 and "fsck" in done.err
    assert conversion.wfs("ls", "new").out == ""
    conversion.volume.fsck("--repair")
    assert conversion.convert().startswith("1 files")
    assert "no directory" in conversion.wfs("convert", "wfs2", conversion.volume.path, "new/a").err
