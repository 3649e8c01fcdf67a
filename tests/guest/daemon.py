# SPDX-License-Identifier: BSD-3-Clause
"""The daemon inside a guest: what it needs in the initramfs."""

import shutil
from pathlib import Path

from appliance import program
from initramfs import Initramfs

CONFIG = """
state_dir: /var/lib/wfsd
run_dir: /run/wfsd
memory: {cache: 64M}
admin: {socket: /run/wfsd/admin.sock}
rpc: {socket: /run/wfsd/rpc.sock}
nbd: {socket: /run/wfsd/nbd.sock, plugin: /lib/nbdkit-wfs-plugin.so}
"""


def host_program(name: str) -> Path:
    found = shutil.which(name, path="/usr/sbin:/usr/bin:/sbin:/bin")
    assert found, f"{name} is not installed"
    return Path(found)


def add_daemon(archive: Initramfs) -> None:
    archive.add_bytes("/etc/wfsd.yaml", CONFIG.encode())
    archive.add_program(Path(program("wfsd")), "/usr/bin/wfsd")
    archive.add_program(Path(program("wfs")), "/usr/bin/wfs")
    archive.add_program(Path(program("nbdkit-wfs-plugin.so")), "/lib/nbdkit-wfs-plugin.so")
    archive.add_program(host_program("nbdkit").resolve(), "/usr/bin/nbdkit")
