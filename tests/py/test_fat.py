# SPDX-License-Identifier: BSD-3-Clause
"""`wfs mkfs fat`, `wfs fsck fat`, `wfs fat ...`, judged by dosfstools and mtools. No daemon is involved."""

import random
import shutil
import subprocess
from pathlib import Path

import pytest
from appliance import BUILD

MKFS, FSCK = "/usr/sbin/mkfs.fat", "/usr/sbin/fsck.fat"
pytestmark = pytest.mark.skipif(
    not (Path(FSCK).exists() and shutil.which("mcopy")), reason="dosfstools or mtools is not installed"
)

KIB, MIB = 1 << 10, 1 << 20
NAMES = ["README.TXT", "lower.txt", "MiXed.TxT", "a long name with blanks.text", "übung ключ.dat", "archive.tar.gz", "noext"]

# Type, size, bytes of a cluster and of a sector: every type with the smallest and the largest clusters.
SHAPES = [
    (12, 1440 * KIB, 512, 512), (12, 8 * MIB, 4 * KIB, 512), (12, 64 * MIB, 64 * KIB, 512), (12, 16 * MIB, 32 * KIB, 4096),
    (16, 8 * MIB, 512, 512), (16, 32 * MIB, 2 * KIB, 2048), (16, 100 * MIB, 8 * KIB, 1024), (16, 512 * MIB, 64 * KIB, 512),
    (32, 40 * MIB, 512, 512), (32, 280 * MIB, 4 * KIB, 4096), (32, 520 * MIB, 4 * KIB, 512), (32, 4400 * MIB, 64 * KIB, 512),
]


def run(*args: object, status: int | None = 0) -> str:
    done = subprocess.run([str(a) for a in args], capture_output=True, text=True, timeout=60, check=False,
                          env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "MTOOLS_SKIP_CHECK": "1"})
    if status is not None:
        assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def wfs(*args: object, status: int = 0) -> str:
    return run(BUILD / "wfs", *args, status=status)


def judge(image: Path) -> None:
    """Both checks find nothing."""
    run(FSCK, "-n", image)
    assert "clean" in wfs("fsck", "fat", image)


def content(seed: int, size: int) -> bytes:
    return random.Random(seed).randbytes(size)


def make_with_theirs(image: Path, shape: tuple[int, int, int, int]) -> None:
    kind, size, cluster, sector = shape
    with open(image, "wb") as f:
        f.truncate(size)
    run(MKFS, "-F", kind, "-S", sector, "-s", cluster // sector, image)


def make_with_ours(image: Path, shape: tuple[int, int, int, int]) -> None:
    kind, size, cluster, sector = shape
    wfs("mkfs", "fat", image, "--size", size, "--type", kind, "--cluster", cluster, "--sector", sector, "--label", "ours")


def mcopy_in(image: Path, local: Path, name: str) -> None:
    run("mcopy", "-o", "-i", image, local, f"::{name}")


@pytest.mark.parametrize("make", [make_with_theirs, make_with_ours], ids=["mkfs.fat", "wfs"])
@pytest.mark.parametrize("shape", SHAPES, ids=lambda s: f"{s[0]}-{s[1] // KIB}K-{s[2]}-{s[3]}")
def test_every_type_and_cluster_size_both_ways(tmp_path: Path, make, shape) -> None:
    image, local, back = tmp_path / "image", tmp_path / "local", tmp_path / "back"
    make(image, shape)
    judge(image)
    wfs("fat", "mkdir", image, "/Folder One")
    files = {f"/Folder One/{name}": content(i, 100 + i * 9000) for i, name in enumerate(NAMES)}
    for path, data in files.items():
        local.write_bytes(data)
        wfs("fat", "put", image, local, path)
    judge(image)
    for path, data in files.items():
        run("mcopy", "-n", "-o", "-i", image, f"::{path}", back)
        assert back.read_bytes() == data, path
    for i, name in enumerate(NAMES):
        local.write_bytes(content(50 + i, 5000 + i * 7000))
        mcopy_in(image, local, f"/{name}")
    for i, name in enumerate(NAMES):
        wfs("fat", "get", image, f"/{name.upper()}", back)
        assert back.read_bytes() == content(50 + i, 5000 + i * 7000), name
    listing = wfs("fat", "ls", image)
    assert all(name in listing for name in NAMES)
    wfs("fat", "mv", image, "/Folder One/lower.txt", "/moved.txt")
    wfs("fat", "rm", image, "/README.TXT")
    judge(image)


def every_shape() -> list[tuple[int, int, int, int]]:
    """Each type with each size of clusters and of sectors that mkfs.fat can make, on as small a volume as has enough clusters."""
    least = {12: 300, 16: 4300, 32: 65600}
    return [
        (kind, max(count * (cluster + 8) + 128 * sector, MIB), cluster, sector)
        for kind, count in least.items()
        for sector in (512, 1024, 2048, 4096)
        for cluster in (sector << shift for shift in range(8))
        if cluster <= 64 * KIB
    ]


@pytest.mark.parametrize("kind", [12, 16, 32])
def test_their_volumes_of_every_cluster_and_sector_size(tmp_path: Path, kind: int) -> None:
    local, back = tmp_path / "local", tmp_path / "back"
    local.write_bytes(content(kind, 150000))
    shapes = [shape for shape in every_shape() if shape[0] == kind]
    assert len(shapes) == 8 + 7 + 6 + 5
    for number, shape in enumerate(shapes):
        image = tmp_path / f"image{number}"
        make_with_theirs(image, shape)
        assert f"FAT{kind}" in wfs("fsck", "fat", image), shape
        wfs("fat", "put", image, local, "/put by wfs, with a long name")
        mcopy_in(image, local, "/put by mtools, with a long name")
        wfs("fat", "get", image, "/put by mtools, with a long name", back)
        assert back.read_bytes() == local.read_bytes(), shape
        run("mcopy", "-n", "-o", "-i", image, "::/put by wfs, with a long name", back)
        assert back.read_bytes() == local.read_bytes(), shape
        judge(image)
        image.unlink()


@pytest.mark.parametrize("options", ["-F 16 -f 1", "-F 16 -a -R 3 -r 1024 -M 0xf0", "-F 32 -f 1 -R 64", "-F 32 -b 8 -n LABEL"])
def test_unusual_layouts(tmp_path: Path, options: str) -> None:
    image, local, back = tmp_path / "image", tmp_path / "local", tmp_path / "back"
    image.write_bytes(b"")
    with open(image, "r+b") as f:
        f.truncate(40 * MIB)
    run(MKFS, *options.split(), image)
    local.write_bytes(content(9, 100000))
    wfs("fat", "put", image, local, "/some long file name")
    mcopy_in(image, local, "/another long file name")
    wfs("fat", "get", image, "/another long file name", back)
    assert back.read_bytes() == local.read_bytes()
    judge(image)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "stick"
    wfs("mkfs", "fat", path, "--size", "40M", "--type", "32", "--label", "stick")
    return path


def test_what_mkfs_makes_is_what_was_asked_for(image: Path) -> None:
    assert "STICK" in run("mlabel", "-s", "-i", image, "::")
    assert "FAT32" in wfs("fsck", "fat", image)
    # Nothing is lost without asking.
    assert "say --yes" in wfs("mkfs", "fat", image, status=2)
    wfs("mkfs", "fat", image, "--yes", "--type", "16")
    assert "FAT16" in wfs("fsck", "fat", image)
    judge(image)


@pytest.mark.parametrize("options", [("--type", "20"), ("--type", "12", "--cluster", "512"), ("--cluster", "1000"),
                                     ("--sector", "100"), ("--label", "much too long for it"), ("--label", "a*b"),
                                     ("--type", "32", "--cluster", "64K")])
def test_mkfs_refuses_what_does_not_fit(tmp_path: Path, options: tuple[str, ...]) -> None:
    wfs("mkfs", "fat", tmp_path / "x", "--size", "40M", *options, status=1)
    assert not (tmp_path / "x").exists()


def test_short_names_are_those_that_mtools_sees(image: Path, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"x")
    for i in range(12):
        wfs("fat", "put", image, tmp_path / "f", f"/a long name number {i}.text")
    listing = run("mdir", "-a", "-i", image, "::")
    for i in range(1, 5):
        assert f"ALONGN~{i} TEX" in listing
    assert "ALONGN~5" not in listing
    for i in range(12):
        assert f"a long name number {i}.text" in listing
    judge(image)


def test_a_file_is_replaced_by_renaming(image: Path, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"old")
    wfs("fat", "put", image, tmp_path / "f", "/target name.txt")
    (tmp_path / "f").write_bytes(b"new content")
    wfs("fat", "put", image, tmp_path / "f", "/fresh.tmp")
    wfs("fat", "mv", image, "/fresh.tmp", "/target name.txt")
    assert wfs("fat", "get", image, "/target name.txt", "-") == "new content"
    assert "fresh" not in wfs("fat", "ls", image)
    judge(image)


def test_errors_are_told(image: Path, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"x")
    assert "No such file" in wfs("fat", "get", image, "/nothing", tmp_path / "g", status=1)
    assert "FAT" in wfs("fat", "put", image, tmp_path / "f", "/what?", status=1)
    wfs("fat", "mkdir", image, "/d")
    wfs("fat", "put", image, tmp_path / "f", "/d/f")
    assert "not empty" in wfs("fat", "rm", image, "/d", status=1)
    (tmp_path / "none").write_bytes(b"\0" * MIB)
    assert "signature" in wfs("fat", "ls", tmp_path / "none", status=1)
    wfs("fsck", "fat", tmp_path / "none", status=2)
    judge(image)


def test_damage_is_found_repaired_and_clean_for_both(image: Path, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(content(1, 300 * KIB))
    for i in range(5):
        wfs("fat", "put", image, tmp_path / "f", f"/file number {i}")
    judge(image)
    rng = random.Random(7)
    whole = image.read_bytes()
    reserved = int.from_bytes(whole[14:16], "little") * 512
    for _ in range(12):
        damaged = bytearray(whole[: 4 * MIB])
        for _ in range(6):
            entry = reserved + 4 * rng.randrange(2, 3000)
            damaged[entry : entry + 4] = rng.choice([0, 1, 5, 700, 0x0FFFFFF7, 0x0FFFFFFF, 0x0ABCDEF0]).to_bytes(4, "little")
        with open(image, "r+b") as f:
            f.write(damaged)
        wfs("fsck", "fat", image, status=1)
        assert ", 0 left" in wfs("fsck", "fat", image, "--repair")
        judge(image)
        with open(image, "r+b") as f:
            f.write(whole)


def test_lost_clusters_become_files(image: Path, tmp_path: Path) -> None:
    data = content(3, 20 * 512)
    (tmp_path / "f").write_bytes(data)
    wfs("fat", "put", image, tmp_path / "f", "/f")
    raw = bytearray(image.read_bytes())
    at = raw.index(b"F          ")
    raw[at] = 0xE5
    image.write_bytes(raw)
    report = wfs("fsck", "fat", image, "--repair")
    assert "lost-clusters: 20 clusters" in report
    assert wfs("fat", "get", image, "/FSCK0000.REC", tmp_path / "back") == ""
    assert (tmp_path / "back").read_bytes() == data
    judge(image)
