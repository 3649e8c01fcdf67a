# SPDX-License-Identifier: BSD-3-Clause
"""The daemon is killed every few seconds below a client that reconnects by itself, as a virtual machine's disk does."""

import json
import os
import random
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from appliance import SLOW, Appliance, wait_for

KILLS = int(os.environ.get("WFSD_FIO_KILLS", "3"))
PAUSE_S = (1.5, 3.5)
RECONNECT_S = 60


@contextmanager
def reconnecting_proxy(box: Appliance, export: str, folder: Path) -> Iterator[str]:
    """QEMU's block layer between a client and the daemon: it connects again and repeats what was not answered. Every write is
    FUA, because what is only repeated cannot bring back a write that was answered and lost. The URI for clients."""
    listen = folder / "proxy.sock"
    server = f"driver=nbd,node-name=disk,server.type=unix,server.path={box.nbd_socket},export={export}"
    command = ["qemu-storage-daemon", "--blockdev", f"{server},reconnect-delay={RECONNECT_S}"]
    command += ["--nbd-server", f"addr.type=unix,addr.path={listen}"]
    command += ["--export", "type=nbd,id=out,node-name=disk,name=out,writable=on,writethrough=on"]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    try:
        wait_for(listen.exists, "the proxy")
        yield f"nbd+unix:///out?socket={listen}"
        assert process.poll() is None, "the proxy ended"
    finally:
        process.kill()
        process.wait()


def fio_result(process: subprocess.Popen[str], out: Path, timeout_s: float) -> dict:
    said, _ = process.communicate(timeout=timeout_s)
    text = out.read_text() if out.exists() else ""
    assert process.returncode == 0, f"fio: status {process.returncode}\n{said}{text[-4000:]}"
    return json.loads(text[text.index("{") :])["jobs"][0]


def test_kill_9_below_fio_verify_loses_no_acknowledged_write(appliance: Appliance, tmp_path: Path) -> None:
    appliance.add_volume("tank/v", "64M", "v")
    rng = random.Random(9)
    out = tmp_path / "fio.json"
    seconds = int((KILLS + 1) * sum(PAUSE_S) / 2 * SLOW)
    with reconnecting_proxy(appliance, "v", tmp_path) as uri:
        command = ["fio", "--name=job", "--ioengine=nbd", f"--uri={uri}", "--output-format=json", f"--output={out}"]
        command += ["--rw=randwrite", "--bs=4k", "--iodepth=16", "--size=64M", "--time_based", f"--runtime={seconds}"]
        command += ["--verify=crc32c", "--verify_fatal=1", "--verify_backlog=2048", "--randrepeat=0"]
        load = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=tmp_path)
        try:
            for _ in range(KILLS):
                time.sleep(rng.uniform(*PAUSE_S))
                assert load.poll() is None, "fio ended while the daemon was being killed"
                appliance.kill9()
                appliance.start()
                assert appliance.wfs("pool", "status", "tank")["log"]["clean_start"] is False
            job = fio_result(load, out, (seconds + 60) * SLOW)
        finally:
            load.kill()
            load.wait()
    assert job["error"] == 0, job
    assert job["write"]["total_ios"] > 100 * KILLS and job["read"]["total_ios"] > 100 * KILLS, "the load was no load"
    assert appliance.wfs("pool", "status", "tank")["health"] == "online"
