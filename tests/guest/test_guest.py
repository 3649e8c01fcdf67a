# SPDX-License-Identifier: BSD-3-Clause
"""The Linux kernel as judge: its NBD client on our export, and the daemon itself on NVMe and AHCI disks."""

import hashlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance import Appliance, Settings
from daemon import add_daemon, host_program
from guestvm import Guest
from initramfs import base
from kernel import Kernel

MIB = 1 << 20


@pytest.fixture
def appliance(tmp_path: Path) -> Iterator[Appliance]:
    box = Appliance(tmp_path / "host", Settings(nbd_tcp=True))
    try:
        box.start()
        yield box
        assert box.stop() == 0
    finally:
        box.dispose()


CLIENT = """
ip addr add 10.0.2.15/24 dev eth0
ip link set eth0 up
wait_for /usr/sbin/nbd-client -C 4 -N vm1 10.0.2.2 {port} /dev/nbd0
/usr/sbin/mke2fs -q -t ext4 /dev/nbd0
mount -t ext4 /dev/nbd0 /mnt
for i in 1 2 3 4 5 6 7 8; do
    dd if=/dev/urandom of=/mnt/file$i bs=1M count=2 2>/dev/null
done
rm /mnt/file3
mkdir /mnt/dir
cp /mnt/file1 /mnt/dir/copy
sync
sha256sum /mnt/file8 | cut -d' ' -f1 | report file8
sha256sum /mnt/dir/copy | cut -d' ' -f1 | report copy
umount /mnt
/usr/sbin/nbd-client -d /dev/nbd0
"""


def test_kernel_client_makes_a_file_system_that_e2fsck_finds_clean(
    kernel: Kernel, appliance: Appliance, tmp_path: Path
) -> None:
    appliance.create_pool("tank", "512M")
    uri = appliance.add_volume("tank/vm1", "64M", "vm1")
    archive = base(kernel, ["virtio_pci", "virtio_net", "nbd", "ext4", "crc32c_generic"], CLIENT.format(port=appliance.nbd_port))
    for name in ("nbd-client", "mke2fs"):
        archive.add_program(host_program(name), f"/usr/sbin/{name}")
    network = ["-netdev", "user,id=n0", "-device", "virtio-net-pci,netdev=n0"]
    result = Guest(kernel, archive, tmp_path, network).run()

    image = tmp_path / "image"
    subprocess.run(["nbdcopy", uri, str(image)], check=True, timeout=120)
    check = subprocess.run([host_program("e2fsck"), "-fn", str(image)], capture_output=True, text=True, timeout=120)
    assert check.returncode == 0, check.stdout
    for path, name in (("/file8", "file8"), ("/dir/copy", "copy")):
        out = tmp_path / name
        subprocess.run([host_program("debugfs"), "-R", f"dump {path} {out}", str(image)], check=True, timeout=60)
        assert hashlib.sha256(out.read_bytes()).hexdigest() == result.reports[name].strip()
    assert appliance.wfs("pool", "status", "tank")["health"] == "online"


DAEMON = """
export WFSD_ADMIN=/run/wfsd/admin.sock
mkdir -p /var/lib/wfsd /run/wfsd
chmod 755 /run/wfsd
start() {
    wfsd --config /etc/wfsd.yaml &
    daemon=$!
    wait_for wfs status
}
wait_for test -b /dev/nvme0n1
wait_for test -b /dev/sda
start
wfs pool create fast /dev/nvme0n1
wfs pool create slow /dev/sda
dd if=/dev/urandom of=/tmp/data bs=1M count=16 2>/dev/null
for pool in fast slow; do
    wfs volume create $pool/v 32M
    wfs export add $pool/v --as $pool
    nbdcopy /tmp/data "nbd+unix:///$pool?socket=/run/wfsd/nbd.sock"
done
kill -TERM $daemon
wait $daemon
start
for pool in fast slow; do
    nbdcopy "nbd+unix:///$pool?socket=/run/wfsd/nbd.sock" /tmp/back.$pool
    dd if=/tmp/back.$pool of=/tmp/head bs=1M count=16 2>/dev/null
    cmp /tmp/head /tmp/data
    rm /tmp/back.$pool
    wfs pool status $pool --json | report $pool
done
kill -TERM $daemon
wait $daemon
"""


def test_daemon_runs_on_nvme_and_ahci_disks(kernel: Kernel, tmp_path: Path) -> None:
    archive = base(kernel, ["nvme", "ahci", "sd_mod", "crc32c_generic"], DAEMON)
    add_daemon(archive)
    archive.add_program(host_program("nbdcopy").resolve(), "/usr/bin/nbdcopy")
    disks = []
    for name in ("nvme", "sata"):
        path = tmp_path / f"{name}.disk"
        with open(path, "wb") as disk:
            disk.truncate(256 * MIB)
        disks += ["-drive", f"if=none,id={name},format=raw,file={path}"]
    disks += ["-device", "nvme,serial=wfsd1,drive=nvme", "-device", "ahci,id=ahci"]
    disks += ["-device", "ide-hd,drive=sata,bus=ahci.0"]
    result = Guest(kernel, archive, tmp_path, disks).run()

    for pool, transport in (("fast", "nvme"), ("slow", "sata")):
        status = result.json(pool)
        assert status["health"] == "online"
        [device] = status["devices"]
        assert device["transport"] == transport
        assert device["queue_depth"] >= 2, "a queue, not one request at a time"
