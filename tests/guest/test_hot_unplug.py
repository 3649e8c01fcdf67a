# SPDX-License-Identifier: BSD-3-Clause
"""A mirror on two disks of a guest; each in turn is pulled out of the running machine while a client writes and reads."""

import subprocess
from pathlib import Path

from appliance import program
from daemon import add_daemon
from guestvm import Guest
from initramfs import base
from kernel import Kernel
from monitor import Monitor

SOURCE = Path(__file__).with_name("nbd_load.c")
# (id in QEMU, device in QEMU, what its name begins with in the guest)
DISKS = [("nvme", "nvme,serial=wfsd1", "nvme"), ("virtio", "virtio-blk-pci,serial=wfsd2", "vd")]

SCRIPT = """
export WFSD_ADMIN=/run/wfsd/admin.sock
mkdir -p /var/lib/wfsd /run/wfsd /tmp/load
chmod 755 /run/wfsd
wfsd --config /etc/wfsd.yaml &
daemon=$!
wait_for wfs status
wait_for test -b /dev/nvme0n1
wait_for test -b /dev/vda
wfs pool create tank mirror /dev/nvme0n1 /dev/vda
wfs volume create tank/v 24M
wfs export add tank/v --as v
nbd_load 'nbd+unix:///v?socket=/run/wfsd/nbd.sock' /tmp/load >/tmp/load/out &
load=$!
health_is() { wfs pool status tank --json | grep -q "\\"health\\": *\\"$1\\""; }
# The load does so many operations more.
has_done() { [ "$(cat /tmp/load/count)" -gt $1 ]; }
goes_on() {
    wait_for has_done $(($(cat /tmp/load/count) + $1))
    kill -0 $load
}
disk() { ls /sys/block | grep "^$1"; }
no_disk() { ! disk $1; }
# turn PREFIX: the disk of this name goes, and the load does not notice; it comes back under whatever name, and is filled again.
turn() {
    goes_on 300
    echo now | report pull-$1
    wait_for no_disk $1
    wait_for health_is degraded
    goes_on 300
    wfs pool status tank --json | report degraded-$1
    echo now | report plug-$1
    wait_for disk $1
    wait_for test -b /dev/$(disk $1)
    wfs pool online tank /dev/$(disk $1)
    wait_for health_is online
    wfs pool status tank --json | report online-$1
}
wait_for test -e /tmp/load/count
turn nvme
turn vd
goes_on 300
touch /tmp/load/stop
wait $load
report load </tmp/load/out
kill -TERM $daemon
wait $daemon
"""


def test_mirror_whose_disks_are_pulled_under_load_serves_on_and_is_whole_again(kernel: Kernel, tmp_path: Path) -> None:
    load = tmp_path / "nbd_load"
    subprocess.run(["gcc", "-O1", "-o", load, SOURCE, "-lnbd"], check=True, timeout=120)
    archive = base(kernel, ["nvme", "virtio_pci", "virtio_blk", "crc32c_generic"], SCRIPT)
    add_daemon(archive)
    archive.add_program(load, "/usr/bin/nbd_load")
    qemu = []
    for name, device, _ in DISKS:
        with open(tmp_path / f"{name}.disk", "wb") as disk:
            disk.truncate(128 << 20)
        qemu += ["-blockdev", f"driver=file,node-name={name}-file,filename={disk.name}"]
        qemu += ["-device", f"{device},id={name},drive={name}-file"]

    def meddle(guest: Guest, monitor: Monitor) -> None:
        for name, device, prefix in DISKS:
            guest.wait_for_report(f"pull-{prefix}")
            monitor.pull(name)
            guest.wait_for_report(f"plug-{prefix}")
            driver, serial = device.split(",serial=")
            monitor.execute("device_add", driver=driver, serial=serial, id=name, drive=f"{name}-file")

    result = Guest(kernel, archive, tmp_path, qemu).run(meddle=meddle)

    for away, (_, _, prefix) in enumerate(DISKS):
        assert [disk["state"] == "away" for disk in result.json(f"degraded-{prefix}")["devices"]] == [
            index == away for index in range(2)
        ]
        assert [disk["state"] for disk in result.json(f"online-{prefix}")["devices"]] == ["online", "online"]
    assert int(result.reports["load"].split()[0]) > 1500
    disks = [str(tmp_path / f"{name}.disk") for name, _, _ in DISKS]
    check = subprocess.run([program("wfs"), "pool", "check", *disks], capture_output=True, text=True, timeout=120)
    assert check.returncode == 0, check.stdout + check.stderr
