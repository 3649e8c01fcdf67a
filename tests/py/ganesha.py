# SPDX-License-Identifier: BSD-3-Clause
"""An nfs-ganesha on the loopback with ports of its own, as an ordinary process, that serves one folder."""

import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path

from appliance import free_port, wait_for

PORT_MAPPER = 111
START_TIMEOUT_S = 60


class CannotRun(Exception):
    """Why there is no server here."""


def listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Ganesha:
    """start(), kill9() and start() again as often as wanted; dispose() at the end."""

    def __init__(self, folder: Path) -> None:
        missing = [name for name in ("ganesha.nfsd", "rpcbind") if not shutil.which(name)]
        if missing:
            raise CannotRun(f"not installed: {', '.join(missing)}")
        if os.geteuid() != 0:
            raise CannotRun("nfs-ganesha needs root")
        self.folder = folder
        self.export = folder / "export"
        self.export.mkdir(parents=True)
        self.nfs_port = free_port()
        self.mount_port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self.port_mapper: subprocess.Popen[bytes] | None = None
        (folder / "ganesha.conf").write_text(self.config())

    def config(self) -> str:
        return f"""
NFS_CORE_PARAM {{
	Protocols = 3;
	NFS_Port = {self.nfs_port};
	MNT_Port = {self.mount_port};
	NLM_Port = {free_port()};
	Rquota_Port = {free_port()};
	Enable_NLM = false;
	Enable_RQUOTA = false;
	Bind_addr = 127.0.0.1;
	mount_path_pseudo = false;
}}
NFSV4 {{ Graceless = true; RecoveryBackend = fs; RecoveryRoot = {self.folder}/recovery; }}
EXPORT_DEFAULTS {{ SecType = sys; Squash = No_Root_Squash; Access_Type = RW; Attr_Expiration_Time = 0; }}
EXPORT {{ Export_Id = 1; Path = {self.export}; Pseudo = /export; Protocols = 3; FSAL {{ Name = VFS; }} }}
"""

    @property
    def url(self) -> str:
        return f"nfs://127.0.0.1{self.export}?nfsport={self.nfs_port}&mountport={self.mount_port}"

    def log(self) -> str:
        path = self.folder / "ganesha.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def start_port_mapper(self) -> None:
        """It registers itself, and does not run when it cannot."""
        if listens(PORT_MAPPER):
            return
        self.port_mapper = subprocess.Popen(
            ["rpcbind", "-f"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            wait_for(lambda: listens(PORT_MAPPER), "rpcbind to listen")
        except AssertionError as error:
            raise CannotRun(str(error)) from error

    def start(self) -> "Ganesha":
        self.start_port_mapper()
        (self.folder / "recovery").mkdir(exist_ok=True)
        command = ["ganesha.nfsd", "-F", "-f", self.folder / "ganesha.conf", "-L", self.folder / "ganesha.log"]
        self.process = subprocess.Popen(
            [*command, "-p", self.folder / "ganesha.pid"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )

        def is_up() -> bool:
            if self.process.poll() is not None:
                raise CannotRun(f"nfs-ganesha ended while starting:\n{self.log()[-2000:]}")
            return listens(self.nfs_port) and listens(self.mount_port) and "NFS SERVER INITIALIZED" in self.log()

        wait_for(is_up, "nfs-ganesha to be ready", START_TIMEOUT_S)
        return self

    def kill9(self) -> None:
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None
        (self.folder / "ganesha.log").unlink(missing_ok=True)
        (self.folder / "ganesha.pid").unlink(missing_ok=True)

    def pause(self) -> None:
        """When it returns, none of its threads runs."""
        self.process.send_signal(signal.SIGSTOP)
        threads = Path(f"/proc/{self.process.pid}/task")

        def all_stopped() -> bool:
            states = (stat.read_text().rsplit(")", 1)[1].split()[0] for stat in threads.glob("*/stat"))
            return all(state == "T" for state in states)

        wait_for(all_stopped, "nfs-ganesha to stop")

    def resume(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def dispose(self) -> None:
        self.kill9()
        if self.port_mapper:
            self.port_mapper.terminate()
            self.port_mapper.wait()
