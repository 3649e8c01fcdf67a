# SPDX-License-Identifier: BSD-3-Clause
"""Mounts of file trees by wfs-fuse, for tests: made, waited for, and taken away whatever happens."""

import ctypes
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance import SLOW, Appliance, command, wait_for

UNMOUNT_S = 20
FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE, FALLOC_ZERO_RANGE = 1, 2, 16

_libc = ctypes.CDLL(None, use_errno=True)
_libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
_libc.renameat2.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint]


def why_not() -> str | None:
    """Why nothing can be mounted here, or None."""
    if os.geteuid() != 0:
        return "mounting needs root"
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        return "there is no /dev/fuse"
    return None


def _checked(result: int) -> None:
    if result != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


def fallocate(fd: int, mode: int, offset: int, length: int) -> None:
    _checked(_libc.fallocate(fd, mode, offset, length))


def rename(old: Path, new: Path, flags: int) -> None:
    """renameat2(2). Flags: 1 is RENAME_NOREPLACE, 2 is RENAME_EXCHANGE."""
    _checked(_libc.renameat2(-100, bytes(old), -100, bytes(new), flags))


def create_tree(appliance: Appliance, name: str = "files") -> str:
    """A file tree in the pool, exported; the mount's source."""
    appliance.wfs("fs", "create", f"tank/{name}")
    appliance.add_export(f"tank/{name}", name)
    return f"unix:{appliance.rpc_socket}/{name}"


class Mount:
    """One process of wfs-fuse in the foreground, and where it has mounted @source."""

    def __init__(self, source: str, folder: Path, options: str = "allow_other,suid,dev") -> None:
        self.source = source
        self.path = folder
        self.options = options
        self.log_path = folder.with_suffix(".log")
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> "Mount":
        self.path.mkdir(exist_ok=True)
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                [*command("wfs-fuse"), self.source, str(self.path), "-f", "-o", self.options], stdout=log, stderr=log
            )

        def mounted() -> bool:
            assert self.process and self.process.poll() is None, f"wfs-fuse ended: {self.log_path.read_text()}"
            return os.path.ismount(self.path)

        wait_for(mounted, "the mount")
        return self

    def stop(self) -> int:
        """Unmount; the status that the process ends with."""
        process, self.process = self.process, None
        assert process
        subprocess.run(["umount", str(self.path)], check=True, timeout=UNMOUNT_S * SLOW)
        return process.wait(UNMOUNT_S * SLOW)

    def dispose(self) -> None:
        if self.process:
            subprocess.run(["umount", "-l", str(self.path)], check=False, capture_output=True)
            self.process.kill()
            self.process.wait()
            self.process = None

    def __truediv__(self, name: str) -> Path:
        return self.path / name


def run_as(uid: int, gid: int, groups: list[int], code: str, *args: object) -> str:
    """Run Python @code (with sys.argv[1:] as @args) as another user; what it printed. It must not fail."""
    done = subprocess.run(
        [sys.executable, "-c", "import errno, os, sys\n" + textwrap.dedent(code), *map(str, args)],
        user=uid,
        group=gid,
        extra_groups=groups,
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
        timeout=60 * SLOW,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def error_as(uid: int, gid: int, groups: list[int], call: str, *args: object) -> str:
    """The name of the error of one call as another user: "" if there is none."""
    code = f"""
        try:
            {call}
        except OSError as error:
            print(errno.errorcode[error.errno])
    """
    return run_as(uid, gid, groups, code, *args)


def error_of(call) -> int:
    """The errno of a call that must fail."""
    with pytest.raises(OSError) as caught:
        call()
    assert caught.value.errno
    return caught.value.errno


# Fixtures, for the files that import them: one daemon for each file.


@pytest.fixture(scope="module")
def source(shared: Appliance) -> str:
    return create_tree(shared)


@pytest.fixture(scope="module")
def pair(shared: Appliance, source: str) -> Iterator[tuple[Mount, Mount]]:
    """Two mounts of the same tree; the second asks the server for everything."""
    options = "allow_other,suid,dev,entry_timeout=0,attr_timeout=0,negative_timeout=0,coherent_timeout=0"
    made = (Mount(source, shared.folder / "mnt1"), Mount(source, shared.folder / "mnt2", options))
    try:
        for mount in made:
            mount.start()
        yield made
        for mount in made:
            assert mount.stop() == 0
    finally:
        for mount in made:
            mount.dispose()


@pytest.fixture
def here(pair: tuple[Mount, Mount], request: pytest.FixtureRequest) -> Path:
    """A fresh folder on the first mount."""
    folder = pair[0].path / request.node.name.replace("/", "_")
    folder.mkdir()
    folder.chmod(0o777)
    return folder


@pytest.fixture
def there(pair: tuple[Mount, Mount], here: Path) -> Path:
    """The same folder on the second mount."""
    return pair[1].path / here.name
