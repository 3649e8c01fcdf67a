# SPDX-License-Identifier: BSD-3-Clause
"""The daemon under systemd, without systemd: what it reports, and sockets that are handed to it."""

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from appliance import ROOT, Appliance, program, wait_for
from nbdclient import connect

FIRST_PASSED_FD = 3
TIMEOUT_S = 30


class Manager:
    """The notification socket, with what came over it."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.settimeout(TIMEOUT_S)
        self._socket.bind(str(path))
        self.path = path

    def wait_for(self, line: str) -> None:
        while line not in self._socket.recv(4096).decode().splitlines():
            pass

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    made = Manager(tmp_path / "notify.sock")
    yield made
    made.close()


@contextmanager
def daemon(box: Appliance, environment: dict[str, str], passed: socket.socket | None = None) -> Iterator[subprocess.Popen]:
    """Started as a service manager does it: a socket is descriptor 3, and LISTEN_PID its own number."""

    def pass_socket() -> None:
        if passed:
            os.dup2(passed.fileno(), FIRST_PASSED_FD)

    with open(box.log_path, "ab") as log:
        process = subprocess.Popen(
            ["sh", "-c", 'LISTEN_PID=$$ exec "$0" --config "$1"', program("wfsd"), str(box.config_path)],
            env=os.environ | environment, stderr=log, preexec_fn=pass_socket,
            pass_fds=(FIRST_PASSED_FD,) if passed else (),
        )  # fmt: skip
    try:
        yield process
        process.send_signal(signal.SIGTERM)
        assert process.wait(TIMEOUT_S) == 0
    finally:
        process.kill()
        process.wait()


def test_service_manager_is_told_every_state(appliance: Appliance, manager: Manager) -> None:
    appliance.stop()
    with daemon(appliance, {"NOTIFY_SOCKET": str(manager.path)}) as process:
        manager.wait_for("READY=1")
        assert appliance.is_ready()
        process.send_signal(signal.SIGHUP)
        manager.wait_for("RELOADING=1")
        manager.wait_for("READY=1")
    manager.wait_for("STOPPING=1")


def test_watchdog_is_fed(appliance: Appliance, manager: Manager) -> None:
    appliance.stop()
    with daemon(appliance, {"NOTIFY_SOCKET": str(manager.path), "WATCHDOG_USEC": "600000"}):
        for _ in range(3):
            manager.wait_for("WATCHDOG=1")


def test_socket_from_the_service_manager_is_served_and_outlives_the_daemon(appliance: Appliance) -> None:
    appliance.add_volume("tank/v", "8M", "v")
    appliance.stop()
    with socket.create_server(("127.0.0.1", 0)) as passed:
        uri = f"nbd://127.0.0.1:{passed.getsockname()[1]}/v"
        for round_number in range(2):
            with daemon(appliance, {"LISTEN_FDS": "1", "LISTEN_FDNAMES": "nbd"}, passed):
                wait_for(appliance.is_ready, "the daemon to be ready")
                assert not appliance.nbd_socket.exists(), "it replaces the addresses of the configuration"
                with connect(uri) as handle:
                    assert handle.pread(1, 0) == bytes([round_number])
                    handle.pwrite(bytes([round_number + 1]), 0)
        waiting = subprocess.Popen(["nbdinfo", "--size", uri], stdout=subprocess.PIPE, text=True)
        with daemon(appliance, {"LISTEN_FDS": "1", "LISTEN_FDNAMES": "nbd"}, passed):
            assert waiting.communicate(timeout=TIMEOUT_S)[0].strip() == str(8 << 20)


def test_sigterm_ends_in_time_though_an_nbdkit_hangs(appliance: Appliance) -> None:
    uri = appliance.add_volume()
    with connect(uri):
        [hung] = wait_for(appliance.nbdkit_pids, "the nbdkit")
        os.kill(hung, signal.SIGSTOP)
        with connect(uri) as other:
            other.pwrite(b"going on", 0)
            other.flush()
        assert appliance.stop(timeout_s=5) == 0
    assert not Path(f"/proc/{hung}").exists()


# What is installed


def install(*variables: str) -> None:
    """What is built already, without building anything."""
    command = ["make", "-o", "all", "install", f"O={Path(program('wfsd')).parent.relative_to(ROOT)}", *variables]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of "make install", which is given a place for each kind of file."""
    folder = tmp_path_factory.mktemp("install")
    install(f"PREFIX={folder}/usr", f"SYSCONFDIR={folder}/etc", f"PLUGINDIR={folder}/plugins")
    return folder


def test_install_puts_everything_in_its_place(installed: Path) -> None:
    for path, mode in {
        "usr/sbin/wfsd": 0o755,
        "usr/bin/wfs": 0o755,
        "plugins/nbdkit-wfs-plugin.so": 0o644,
        "etc/wfsd/wfsd.yaml": 0o644,
        "usr/include/wfs.h": 0o644,
        "usr/lib/libwfs.a": 0o644,
        "usr/lib/systemd/system/wfsd.service": 0o644,
        "usr/lib/systemd/system/wfsd.socket": 0o644,
        "usr/lib/sysusers.d/wfsd.conf": 0o644,
        "usr/lib/tmpfiles.d/wfsd.conf": 0o644,
        "usr/share/man/man1/wfs.1": 0o644,
        "usr/share/man/man1/nbdkit-wfs-plugin.1": 0o644,
        "usr/share/man/man5/wfsd.yaml.5": 0o644,
        "usr/share/man/man8/wfsd.8": 0o644,
        "usr/share/bash-completion/completions/wfs": 0o644,
    }.items():
        assert (installed / path).stat().st_mode & 0o777 == mode, path
    check = [installed / "usr/sbin/wfsd", "--config", installed / "etc/wfsd/wfsd.yaml", "--check"]
    subprocess.run(check, check=True, capture_output=True, timeout=TIMEOUT_S)


def test_installing_again_keeps_the_configuration(installed: Path) -> None:
    changed = installed / "etc/wfsd/wfsd.yaml"
    text = changed.read_text()
    changed.write_text(text + "# mine\n")
    install(f"DESTDIR={installed}", "PREFIX=/usr", "SYSCONFDIR=/etc", "PLUGINDIR=/plugins")
    assert changed.read_text() == text + "# mine\n"
    # Unit files name the place it will have, not DESTDIR.
    unit = (installed / "usr/lib/systemd/system/wfsd.service").read_text()
    assert "ExecStart=/usr/sbin/wfsd" in unit and str(installed) not in unit


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd-analyze here")
def test_systemd_finds_nothing_wrong_with_the_units(installed: Path, tmp_path: Path) -> None:
    for unit in (ROOT / "systemd").glob("wfsd.s*"):
        text = unit.read_text().replace("/usr/sbin/wfsd", str(installed / "usr/sbin/wfsd"))
        (tmp_path / unit.name).write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", tmp_path / "wfsd.service", tmp_path / "wfsd.socket"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    ours = [line for line in done.stderr.splitlines() if "wfsd" in line and "/kill is not executable" not in line]
    assert (done.returncode, ours) == (0, []), done.stderr
