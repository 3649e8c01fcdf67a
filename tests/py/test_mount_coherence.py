# SPDX-License-Identifier: BSD-3-Clause
"""Two mounts of one tree that cache for long, and what others do: each is told of it. Needs root and /dev/fuse."""

import fcntl
import os
import stat
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import mounts
from appliance import SLOW, Appliance, Settings, program, wait_for
from fat_images import make_fat
from mounts import Mount, create_tree, error_of

pytestmark = pytest.mark.skipif(mounts.why_not() is not None, reason=str(mounts.why_not()))

# Nothing is asked for again in the time that a test takes, except because it was told to have changed.
FOR_EVER = "coherent_timeout=86400"
# What is told is there soon; time-outs of caches would be much later.
SOON_S = 2


def watches(box: Appliance) -> float:
    return box.metrics().sum("wfsd_rpc_tree_operations_total", operation="watch")


def mount(box: Appliance, source: str, name: str, options: str = FOR_EVER) -> Mount:
    """A mount whose watch has begun."""
    before = watches(box)
    made = Mount(source, box.folder / name, options).start()
    if "coherent_timeout=0" not in options:
        wait_for(lambda: watches(box) > before, "the watch of the mount")
    return made


@pytest.fixture(scope="module")
def pair(shared: Appliance) -> Iterator[tuple[Path, Path]]:
    source = create_tree(shared, "coherent")
    made = [mount(shared, source, "one"), mount(shared, source, "two")]
    try:
        yield made[0].path, made[1].path
        for each in made:
            assert each.stop() == 0
    finally:
        for each in made:
            each.dispose()


@pytest.fixture
def here(pair: tuple[Path, Path], request: pytest.FixtureRequest) -> Path:
    folder = pair[0] / request.node.name
    folder.mkdir()
    return folder


@pytest.fixture
def there(pair: tuple[Path, Path], here: Path) -> Path:
    folder = pair[1] / here.name
    wait_for(folder.exists, "the folder on the other mount", SOON_S)
    return folder


def soon(what: Callable[[], bool], name: str) -> None:
    wait_for(what, name, SOON_S)


def test_what_is_known_is_not_asked_for_again(shared: Appliance, here: Path) -> None:
    (here / "file").write_text("x")

    def asked() -> float:
        metrics = shared.metrics()
        return sum(metrics.sum("wfsd_rpc_tree_operations_total", operation=what) for what in ("getattr", "lookup"))

    def quiet() -> bool:
        """After longer than names and attributes are believed without a watch."""
        (here / "file").stat()
        assert not (here / "missing").exists()
        before = asked()
        time.sleep(1.2)
        (here / "file").stat()
        assert not (here / "missing").exists()
        return asked() == before

    wait_for(quiet, "the mount to believe what it knows", 20)


def test_names_made_removed_and_moved_elsewhere_are_seen(here: Path, there: Path) -> None:
    assert not (here / "made").exists() and not (here / "moved").exists()
    (there / "made").write_text("1")
    soon((here / "made").exists, "a new name, known to be missing before")
    (there / "made").rename(there / "moved")
    soon(lambda: (here / "moved").exists() and not (here / "made").exists(), "a moved name")
    (there / "replacing").write_text("2")
    assert (here / "moved").stat().st_ino != (there / "replacing").stat().st_ino
    (there / "replacing").rename(there / "moved")
    soon(lambda: (here / "moved").read_text() == "2", "what a name stands for")
    (there / "moved").unlink()
    soon(lambda: not (here / "moved").exists(), "a removed name")
    assert os.listdir(here) == []


def test_directories_that_move_take_what_is_below_with_them(here: Path, there: Path) -> None:
    (here / "a" / "b").mkdir(parents=True)
    (here / "a" / "b" / "f").write_text("x")
    (here / "c").mkdir()
    soon((there / "a" / "b" / "f").exists, "a file")
    assert not (there / "c" / "b" / "f").exists()
    (here / "a" / "b").rename(here / "c" / "b")
    soon((there / "c" / "b" / "f").exists, "a file below a moved directory")
    soon(lambda: not (there / "a" / "b").exists(), "the old place to be empty")


def test_attributes_changed_elsewhere_are_seen(here: Path, there: Path) -> None:
    (here / "file").write_text("x")
    soon((there / "file").exists, "the file")
    before = (here / "file").stat()
    os.chmod(there / "file", 0o640)
    os.chown(there / "file", 5, 6)
    os.link(there / "file", there / "link")

    def seen() -> bool:
        now = (here / "file").stat()
        return stat.S_IMODE(now.st_mode) == 0o640 and (now.st_uid, now.st_gid, now.st_nlink) == (5, 6, 2)

    soon(seen, "mode, owner and links")
    assert (here / "file").stat().st_ctime_ns > before.st_ctime_ns
    os.setxattr(there / "file", "user.colour", b"red")
    soon(lambda: os.listxattr(here / "file") == ["user.colour"], "an extended attribute")


def test_data_written_elsewhere_is_read_also_through_an_open_file(here: Path, there: Path) -> None:
    (here / "file").write_bytes(b"a" * 100000)
    with open(here / "file", "rb", buffering=0) as mine:
        assert os.pread(mine.fileno(), 3, 0) == b"aaa"
        soon((there / "file").exists, "the file")
        with open(there / "file", "r+b", buffering=0) as other:
            os.pwrite(other.fileno(), b"bbb", 0)
            soon(lambda: os.pread(mine.fileno(), 3, 0) == b"bbb", "what was written over pages that are cached")
            os.pwrite(other.fileno(), b"end", 200000)
            soon(lambda: os.fstat(mine.fileno()).st_size == 200003, "a size")
            os.ftruncate(other.fileno(), 2)
            soon(lambda: os.pread(mine.fileno(), 10, 0) == b"bb", "a truncation")


def requests(box: Appliance) -> float:
    return box.metrics().sum("wfsd_rpc_requests_total", operation="compound")


def make_small_files(folder: Path, count: int) -> list[Path]:
    files = [folder / f"f{i}" for i in range(count)]
    for file in files:
        file.write_text(f"{file.name} as it was")
    os.listdir(folder)
    for file in files:
        file.stat()
    return files


def test_small_files_that_are_read_in_an_order_are_asked_for_together(shared: Appliance, here: Path) -> None:
    files = make_small_files(here, 200)

    def few() -> bool:
        """Files that were read are given back by nobody: another round reads others."""
        before = requests(shared)
        assert all(file.read_text() == f"{file.name} as it was" for file in files)
        return requests(shared) - before < len(files) / 4

    wait_for(few, "many files to be read with one request", 20)
    # What was read is still good, in any order.
    before = requests(shared)
    for file in files[::-7]:
        assert file.read_text() == f"{file.name} as it was"
    assert requests(shared) - before < 10


def test_what_was_read_ahead_is_not_shown_when_it_was_changed_elsewhere(here: Path, there: Path) -> None:
    files = make_small_files(here, 40)
    for file in files[:4]:
        assert file.read_text() == f"{file.name} as it was"
    (there / "f10").write_text("f10 as it is now")
    (there / "new").write_text("another file")
    (there / "new").rename(there / "f11")
    (there / "f12").unlink()
    with open(there / "f13", "r+b", buffering=0) as f:
        f.write(b"F13")
    os.truncate(there / "f14", 3)
    soon(lambda: (here / "f10").read_text() == "f10 as it is now", "what was written elsewhere")
    soon(lambda: (here / "f11").read_text() == "another file", "what was put in its place")
    soon(lambda: not (here / "f12").exists(), "a removed file")
    soon(lambda: (here / "f13").read_text() == "F13 as it was", "what was written in the middle")
    soon(lambda: (here / "f14").read_text() == "f14", "what is left")
    # This mount's own changes count at once.
    assert (here / "f20").read_text() == "f20 as it was"
    (here / "f21").write_text("f21 mine")
    os.truncate(here / "f22", 0)
    (here / "f23").rename(here / "f24")
    assert [(here / f"f{i}").read_text() for i in (21, 22, 24)] == ["f21 mine", "", "f23 as it was"]


def test_who_may_not_read_a_file_does_not_get_what_another_has_read(make_appliance: Callable[..., Appliance]) -> None:
    box = make_appliance(Settings())
    source = create_tree(box)
    one = mount(box, source, "one", f"allow_other,{FOR_EVER}")
    two = mount(box, source, "two", f"allow_other,{FOR_EVER}")
    try:
        os.chmod(one.path, 0o755)
        box.folder.chmod(0o755)
        files = make_small_files(one.path, 20)
        for file in files:
            file.chmod(0o640)
            os.chown(file, 0, 6000)
        os.listdir(one.path)
        for file in files:
            assert file.read_text()
        call = "open(sys.argv[1]).read()"
        assert mounts.error_as(5000, 5000, [], call, files[3]) == "EACCES"
        assert mounts.error_as(5000, 5000, [6000], call, files[4]) == ""
        os.chmod(two / "f5", 0o600)
        wait_for(lambda: mounts.error_as(5000, 5000, [6000], call, files[5]) == "EACCES", "the new mode", SOON_S * SLOW)
        assert one.stop() == 0 and two.stop() == 0
    finally:
        one.dispose()
        two.dispose()


@pytest.mark.parametrize("size", [100, 200_000])
def test_an_opened_file_is_as_long_as_another_client_made_it(shared: Appliance, there: Path, size: int) -> None:
    """Though the kernel may believe its attributes for long, and nobody tells."""
    options = "coherent_timeout=0,attr_timeout=3600,entry_timeout=3600,negative_timeout=0"
    alone = mount(shared, f"unix:{shared.rpc_socket}/coherent", f"alone{size}", options)
    try:
        file = alone / f"{there.name}/f"
        (there / "f").write_bytes(b"a" * size)
        assert file.stat().st_size == size
        with open(there / "f", "ab") as longer:
            longer.write(b"b" * 1000)
        assert file.read_bytes() == b"a" * size + b"b" * 1000
        # The pages are there, too.
        with open(there / "f", "ab") as longer:
            longer.write(b"c" * 1000)
        assert file.read_bytes() == b"a" * size + b"b" * 1000 + b"c" * 1000
        os.truncate(there / "f", 10)
        assert file.read_bytes() == b"a" * 10
        assert alone.stop() == 0
    finally:
        alone.dispose()


def test_what_is_mounted_below_is_not_believed_for_long(make_appliance: Callable[..., Appliance], tmp_path: Path) -> None:
    """Nobody tells of it."""
    box = make_appliance(Settings())
    source = create_tree(box)
    image = make_fat(tmp_path / "stick.img")
    assert box.run_wfs("mkdir", "files/place", "--server", f"unix:{box.rpc_socket}").status == 0
    box.wfs("mount", "add", "fat", str(image), "/tank/files/place")
    one = mount(box, source, "one", FOR_EVER)
    two = mount(box, source, "two", FOR_EVER)
    try:
        (one / "place/f").write_bytes(b"first")
        assert (two / "place/f").read_bytes() == b"first"
        assert (two / "place/f").stat().st_size == 5
        assert not (two / "place/g").exists()
        (one / "place/f").write_bytes(b"the second one")
        (one / "place/g").touch()
        # The usual time-outs.
        wait_for(lambda: (two / "place/f").stat().st_size == 14, "the new size", 5 * SLOW)
        wait_for((two / "place/g").exists, "the new name", 5 * SLOW)
        assert (two / "place/f").read_bytes() == b"the second one"
        assert one.stop() == 0 and two.stop() == 0
        box.wfs("mount", "remove", "/tank/files/place")
    finally:
        one.dispose()
        two.dispose()


def test_what_is_mounted_and_removed_below_is_told_at_once(make_appliance: Callable[..., Appliance], tmp_path: Path) -> None:
    box = make_appliance(Settings())
    image = make_fat(tmp_path / "stick.img")
    one = mount(box, create_tree(box), "one", FOR_EVER)
    try:
        (one / "dir/place").mkdir(parents=True)
        (one / "dir/place/covered").touch()
        (one / "dir/place/covered").stat()
        for _ in range(3):
            number = (one / "dir/place").stat().st_ino
            box.wfs("mount", "add", "fat", str(image), "/tank/files/dir/place")
            soon(lambda number=number: (one / "dir/place").stat().st_ino != number, "what was mounted")
            assert not (one / "dir/place/covered").exists()
            (one / "dir/place/f").write_bytes(b"on the stick")
            box.wfs("mount", "remove", "/tank/files/dir/place", "--force")
            soon((one / "dir/place/covered").exists, "what it lay over")
            assert (one / "dir/place").stat().st_ino == number
            assert os.listdir(one / "dir/place") == ["covered"]
        assert one.stop() == 0
    finally:
        one.dispose()


def test_an_open_small_file_outlives_its_name(here: Path, there: Path) -> None:
    files = make_small_files(here, 20)
    for file in files:
        assert file.read_text()
    soon((there / "f19").exists, "the files")
    with open(files[7]) as mine, open(files[8]) as other, open(files[9]) as replaced:
        files[7].unlink()
        (there / "f8").unlink()
        (here / "new").write_text("new")
        (here / "new").rename(files[9])
        soon(lambda: not files[8].exists(), "a removed name")
        for number, file in ((7, mine), (8, other), (9, replaced)):
            assert os.pread(file.fileno(), 100, 0).decode() == f"f{number} as it was"
        assert os.fstat(mine.fileno()).st_nlink == 0


def test_what_wfs_put_writes_is_seen(shared: Appliance, here: Path, tmp_path: Path) -> None:
    (here / "file").write_text("old")
    assert (here / "file").read_text() == "old"
    (tmp_path / "file").write_text("new and longer")
    subprocess.run(
        [program("wfs"), "--server", f"unix:{shared.rpc_socket}", "put", str(tmp_path / "file"), f"coherent/{here.name}"],
        check=True, capture_output=True)
    soon(lambda: (here / "file").read_text() == "new and longer", "what another client wrote")


def test_two_mounts_that_work_in_one_directory_agree_in_the_end(here: Path, there: Path) -> None:
    """Both change the same names at the same time, and look at them all the time."""
    names = [f"n{i}" for i in range(8)]

    def work(folder: Path, seed: int) -> None:
        for i in range(300):
            name = folder / names[(i * seed) % len(names)]
            try:
                match (i + seed) % 4:
                    case 0:
                        name.write_text(str(i) * (i % 50))
                    case 1:
                        name.unlink()
                    case 2:
                        name.rename(folder / names[i % len(names)])
                    case 3:
                        name.stat()
            except (FileNotFoundError, FileExistsError):
                pass

    threads = [threading.Thread(target=work, args=(folder, seed)) for folder, seed in ((here, 3), (there, 5))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    def state(folder: Path) -> dict[str, tuple[int, int, bytes] | None]:
        found: dict[str, tuple[int, int, bytes] | None] = {}
        for name in names:
            try:
                status = (folder / name).stat()
                found[name] = (status.st_ino, status.st_size, (folder / name).read_bytes())
            except FileNotFoundError:
                found[name] = None
        return found

    soon(lambda: state(here) == state(there), "both to see the same")
    assert sorted(os.listdir(here)) == sorted(name for name, what in state(there).items() if what)


def test_after_a_restart_of_the_daemon_changes_are_told_again(make_appliance: Callable[..., Appliance]) -> None:
    box = make_appliance(Settings())
    source = create_tree(box)
    one = mount(box, source, "one")
    two = mount(box, source, "two", "coherent_timeout=0")
    try:
        (one / "file").write_text("x")
        os.stat(two / "file")
        assert not (one / "missing").exists()
        box.wfs("pool", "sync", "tank")
        box.kill9()
        box.start()
        # Before or after the first mount is back: it hears of it, or looks at everything anew.
        os.chmod(two / "file", 0o600)
        (two / "missing").touch()
        wait_for(lambda: stat.S_IMODE((one / "file").stat().st_mode) == 0o600, "a mode", 10)
        wait_for((one / "missing").exists, "a name", 10)
        wait_for(lambda: watches(box) > 0, "the watch to be there again")
        (two / "missing").unlink()
        wait_for(lambda: not (one / "missing").exists(), "a name to be gone", 10)
        assert one.stop() == 0 and two.stop() == 0
    finally:
        one.dispose()
        two.dispose()


def test_waiting_locks_are_waited_for_over_a_restart(make_appliance: Callable[..., Appliance]) -> None:
    box = make_appliance(Settings())
    source = create_tree(box)
    one, two = mount(box, source, "one"), mount(box, source, "two")
    try:
        (one / "file").touch()
        with open(one / "file", "r+b") as holder:
            fcntl.flock(holder, fcntl.LOCK_EX)
            waits = box.metrics().sum("wfsd_rpc_tree_operations_total", operation="lock_wait")
            child = subprocess.Popen(["flock", str(two / "file"), "true"])
            wait_for(lambda: box.metrics().sum("wfsd_rpc_tree_operations_total", operation="lock_wait") > waits,
                     "the lock to be waited for")
            assert child.poll() is None
            box.restart()
            # Who has the lock has it again, and who waits for it is not forgotten either.
            wait_for(lambda: box.metrics().sum("wfsd_rpc_tree_operations_total", operation="lock_reclaim") > 0,
                     "the lock to be reclaimed")
            wait_for(lambda: box.metrics().sum("wfsd_rpc_tree_operations_total", operation="lock_wait") > 0,
                     "the lock to be waited for again")
            assert child.poll() is None
            fcntl.flock(holder, fcntl.LOCK_UN)
            assert child.wait(60 * SLOW) == 0
        assert one.stop() == 0 and two.stop() == 0
    finally:
        one.dispose()
        two.dispose()


def test_a_lock_counts_how_the_file_was_opened(here: Path, there: Path) -> None:
    (here / "file").touch()
    with open(here / "file", "rb") as reader, open(here / "file", "r+b") as writer:
        os.chmod(here / "file", 0)
        fcntl.lockf(writer, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.flock(reader, fcntl.LOCK_EX | fcntl.LOCK_NB)  # any access is enough for flock
        assert error_of(lambda: fcntl.lockf(reader, fcntl.LOCK_EX | fcntl.LOCK_NB)) in (9, 11)
    assert there.exists()
