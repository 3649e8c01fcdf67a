# SPDX-License-Identifier: BSD-3-Clause
"""The plugin in an nbdkit that a user starts, against a running daemon's RPC socket or TCP address."""

import errno
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from appliance import SLOW, UNDER, Appliance, program, wait_for
from nbdclient import FIO_VERIFY, MIB, connect, extents, fails_with, fio, info, pattern, read_all, run, write_bytes


@contextmanager
def nbdkit(folder: Path, *options: str) -> Iterator[str]:
    """An nbdkit with the plugin; the address of its socket, without an export name."""
    sock = folder / "hand.sock"
    ready = folder / "nbdkit.pid"
    command = [*UNDER, "nbdkit", "-f", "-P", str(ready), "-U", str(sock), program("nbdkit-wfs-plugin.so"), *options]
    with open(folder / "nbdkit.log", "wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        # The file of its process number is written when it listens.
        wait_for(lambda: ready.exists() or process.poll() is not None, "nbdkit to listen")
        assert ready.exists(), (folder / "nbdkit.log").read_text()
        yield f"?socket={sock}"
    finally:
        process.terminate()
        status = process.wait(20 * SLOW)
        sock.unlink(missing_ok=True)
        ready.unlink(missing_ok=True)
    assert status == 0, (folder / "nbdkit.log").read_text()


@pytest.fixture
def volume(shared: Appliance) -> str:
    """An export of 16 MiB with data in its first half."""
    if not any(e["name"] == "v" for e in shared.wfs("export", "list")["exports"]):
        shared.add_volume("tank/v", "16M", "v")
    write_bytes(shared.nbd_uri("v"), pattern(8 * MIB, 1))
    return "v"


def test_plugin_describes_itself() -> None:
    dump = run("nbdkit", program("nbdkit-wfs-plugin.so"), "--dump-plugin")
    assert "name=wfs" in dump
    text = run("nbdkit", program("nbdkit-wfs-plugin.so"), "--help")
    assert "socket=" in text


def test_serves_exports_by_name(shared: Appliance, volume: str, tmp_path: Path) -> None:
    with nbdkit(tmp_path, f"socket={shared.rpc_socket}") as address:
        uri = f"nbd+unix:///{volume}{address}"
        assert read_all(uri) == pattern(8 * MIB, 1) + bytes(8 * MIB)
        assert extents(uri)[0] == (0, 8 * MIB, 0)
        listed = [e["export-name"] for e in info(f"nbd+unix:///{address}", "--list")["exports"]]
        assert volume in listed
        write_bytes(uri, pattern(MIB, 2), 12 * MIB)
        with connect(shared.nbd_uri(volume)) as direct:
            assert bytes(direct.pread(MIB, 12 * MIB)) == pattern(MIB, 2)
            direct.trim(MIB, 12 * MIB)


def test_export_given_on_its_command_line_is_the_one_served(shared: Appliance, volume: str, tmp_path: Path) -> None:
    with nbdkit(tmp_path, f"socket={shared.rpc_socket}", f"export={volume}") as address:
        assert info(f"nbd+unix:///{address}")["exports"][0]["export-size"] == 16 * MIB


def test_read_only_nbdkit_refuses_changes(shared: Appliance, volume: str, tmp_path: Path) -> None:
    with nbdkit(tmp_path, "-r", f"socket={shared.rpc_socket}") as address:
        with connect(f"nbd+unix:///{volume}{address}", strict=False) as handle:
            assert handle.is_read_only()
            with fails_with(errno.EPERM):
                handle.pwrite(bytes(4096), 0)


def test_fio_verifies_through_it(shared: Appliance, tmp_path: Path) -> None:
    shared.add_volume("tank/fio", "32M", "fio")
    with nbdkit(tmp_path, f"socket={shared.rpc_socket}") as address:
        fio(f"nbd+unix:///fio{address}", tmp_path, *FIO_VERIFY, "--numjobs=2", f"--size={max(1, int(16 / SLOW))}m", "--offset_increment=16m")


def test_daemon_restart_under_it_is_survived(make_appliance, tmp_path: Path) -> None:
    box = make_appliance()
    box.add_volume("tank/v", "16M", "v")
    data = pattern(4 * MIB, 3)
    with nbdkit(tmp_path, f"socket={box.rpc_socket}") as address:
        with connect(f"nbd+unix:///v{address}") as handle:
            handle.pwrite(data, 0)
            handle.flush()
            box.restart()
            assert bytes(handle.pread(4 * MIB, 0)) == data
            handle.pwrite(data, 8 * MIB)
            handle.flush()
    assert read_all(box.nbd_uri("v"))[8 * MIB : 12 * MIB] == data


def test_missing_daemon_is_a_clear_error(tmp_path: Path) -> None:
    with nbdkit(tmp_path, f"socket={tmp_path}/nothing.sock") as address:
        done = subprocess.run(["nbdinfo", f"nbd+unix:///v{address}"], capture_output=True, text=True, timeout=60)
        assert done.returncode != 0
        assert "nothing.sock" in (tmp_path / "nbdkit.log").read_text()
