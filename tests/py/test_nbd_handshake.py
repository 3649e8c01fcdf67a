# SPDX-License-Identifier: BSD-3-Clause
"""A client that never gets through the handshake is cut off in time; one that has may be idle for as long as it likes."""

import os
import signal
import socket
import struct
import time

import nbd
import pytest
from appliance import Appliance, Settings, wait_for
from nbdclient import connect

LIMIT_MS = 500
FLAGS = struct.pack(">I", 3)  # fixed newstyle, no zeroes
OPTION_MAGIC = b"IHAVEOPT"
OPT_LIST, OPT_INFO = 3, 6


def option(number: int, body: bytes = b"") -> bytes:
    return OPTION_MAGIC + struct.pack(">II", number, len(body)) + body


def info_option(name: bytes) -> bytes:
    return option(OPT_INFO, struct.pack(">I", len(name)) + name + struct.pack(">H", 0))


# What a client may send before it falls silent.
SILENT = {
    "nothing": b"",
    "flags": FLAGS,
    "half an option": FLAGS + OPTION_MAGIC + b"\x00",
    "half an option's body": FLAGS + OPTION_MAGIC + struct.pack(">II", OPT_LIST, 100) + b"x" * 10,
    "list": FLAGS + option(OPT_LIST),
    "info": FLAGS + info_option(b"v"),
    "unknown option": FLAGS + option(0x7FFF),
}


@pytest.fixture
def box(make_appliance) -> Appliance:
    appliance = make_appliance(Settings(handshake_timeout_ms=LIMIT_MS, max_connections=2, nbd_tcp=True))
    appliance.add_volume("tank/v", "8M", "v")
    return appliance


def silent(box: Appliance, sent: bytes) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", box.nbd_port))
    client.settimeout(20)
    if sent:
        client.sendall(sent)
    return client


def read_to_the_end(client: socket.socket) -> None:
    try:
        while client.recv(65536):
            pass
    except ConnectionResetError:
        pass


@pytest.mark.parametrize("sent", SILENT.values(), ids=SILENT.keys())
def test_client_silent_in_the_handshake_is_cut_off_and_counted(box: Appliance, sent: bytes) -> None:
    before = time.monotonic()
    with silent(box, sent) as client:
        read_to_the_end(client)
    assert time.monotonic() - before > LIMIT_MS / 1000 * 0.9
    wait_for(lambda: not box.nbdkit_pids(), "the nbdkit to be reaped")
    assert box.wfs("status")["nbd"]["handshake_timeouts"] == 1
    assert "wfsd_nbd_handshake_timeouts_total 1\n" in box.admin("/metrics").text
    assert "no export opened in time" in box.log()


def test_silent_clients_give_their_places_back(box: Appliance) -> None:
    clients = [silent(box, b"") for _ in range(2)]
    wait_for(lambda: len(box.nbdkit_pids()) == 2, "both places to be taken")

    def admitted() -> bool:
        try:
            with connect(box.nbd_uri("v")) as handle:
                return handle.get_size() > 0
        except nbd.Error:
            return False

    wait_for(admitted, "a place to become free")
    for client in clients:
        client.close()


def test_idle_client_is_never_cut_off_after_the_handshake(box: Appliance) -> None:
    with connect(box.nbd_uri("v")) as idle:
        # A silent client that came later has been cut off: the idle one is past its own limit, too.
        with silent(box, b"") as client:
            read_to_the_end(client)
        wait_for(lambda: box.wfs("status")["nbd"]["handshake_timeouts"] == 1, "the silent client to be counted")
        idle.pwrite(b"still here", 0)
        idle.flush()
        assert bytes(idle.pread(10, 0)) == b"still here"
    wait_for(lambda: not box.nbdkit_pids(), "the nbdkit to end")
    assert box.wfs("status")["nbd"]["handshake_timeouts"] == 1


def test_nbdkit_that_hangs_is_killed_reaped_and_counted(box: Appliance) -> None:
    with connect(box.nbd_uri("v")) as other, silent(box, b""):
        connections = wait_for(lambda: len(found := box.admin("/v1/connections").json["nbd"]) == 2 and found, "both")
        [hung] = [connection["pid"] for connection in connections if connection["peer"].startswith("127.0.0.1")]
        os.kill(hung, signal.SIGSTOP)
        wait_for(lambda: box.wfs("status")["nbd"]["ended_signal"] == 1, "the hung nbdkit to be killed")
        assert not os.path.exists(f"/proc/{hung}"), "reaped"
        assert box.metrics().sum("wfsd_nbd_processes_ended_total", how="signal") == 1
        other.pwrite(b"going on", 0)
        assert bytes(other.pread(8, 0)) == b"going on"
