# SPDX-License-Identifier: BSD-3-Clause
"""Small helpers around libnbd and the NBD tools."""

import errno
import json
import random
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nbd
from appliance import COMMAND_TIMEOUT_S, SLOW

KIB = 1 << 10
MIB = 1 << 20


def run(*command: str | Path, timeout_s: float = COMMAND_TIMEOUT_S) -> str:
    """Run a tool that must succeed; its standard output."""
    done = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, timeout=timeout_s * SLOW, check=False
    )
    assert done.returncode == 0, f"{' '.join(map(str, command))}: status {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


@contextmanager
def connect(uri: str, *, strict: bool = True, contexts: bool = False) -> Iterator[nbd.NBD]:
    """A connected handle. Without @strict libnbd sends what is wrong, so that the server has to say no."""
    handle = nbd.NBD()
    if not strict:
        handle.set_strict_mode(0)
    if contexts:
        handle.add_meta_context("base:allocation")
    handle.connect_uri(uri)
    try:
        yield handle
    finally:
        try:
            handle.shutdown()
        except nbd.Error:
            pass


@contextmanager
def fails_with(number: int) -> Iterator[None]:
    """The server must answer with this errno, and go on."""
    try:
        yield
    except nbd.Error as error:
        assert error.errnum == number, f"{error.string}: {errno.errorcode.get(error.errnum)}"
    else:
        raise AssertionError(f"succeeded instead of {errno.errorcode[number]}")


def pattern(length: int, seed: int) -> bytes:
    """Random bytes, the same for the same seed."""
    return random.Random(seed).randbytes(length)


def read_all(uri: str) -> bytes:
    with connect(uri) as handle:
        size = handle.get_size()
        return b"".join(bytes(handle.pread(min(MIB, size - at), at)) for at in range(0, size, MIB))


def write_bytes(uri: str, data: bytes, offset: int = 0, *, flush: bool = True) -> None:
    with connect(uri) as handle:
        for at in range(0, len(data), MIB):
            handle.pwrite(data[at : at + MIB], offset + at)
        if flush:
            handle.flush()


def extents(uri: str) -> list[tuple[int, int, int]]:
    """(offset, length, type) of the whole export; type: 1 hole, 2 reads as zero, 3 both, 0 data."""
    found = json.loads(run("nbdinfo", "--json", "--map", uri))
    return [(entry["offset"], entry["length"], entry["type"]) for entry in found]


def info(uri: str, *options: str) -> dict[str, Any]:
    return json.loads(run("nbdinfo", "--json", *options, uri))


def fio(uri: str, folder: Path, *options: str, timeout_s: float = 120) -> dict[str, Any]:
    """Run a fio job over NBD; its result. The job must end without an error."""
    out = folder / "fio.json"
    command = ["fio", "--name=job", "--ioengine=nbd", f"--uri={uri}", "--output-format=json", f"--output={out}"]
    done = subprocess.run(
        [*command, *options], capture_output=True, text=True, timeout=timeout_s * SLOW, cwd=folder, check=False
    )
    text = out.read_text() if out.exists() else ""
    assert done.returncode == 0, f"fio: status {done.returncode}\n{done.stdout}{done.stderr}{text[-4000:]}"
    result = json.loads(text[text.index("{") :])
    assert all(job["error"] == 0 for job in result["jobs"]), text[-4000:]
    return result


FIO_VERIFY = [
    "--rw=randwrite",
    "--bs=4k",
    "--iodepth=32",
    "--verify=crc32c",
    "--verify_fatal=1",
    "--do_verify=1",
    "--randrepeat=0",
]
