# SPDX-License-Identifier: BSD-3-Clause
"""File trees and volumes over TLS: who is let in, at real daemons, with certificates that certtool makes."""

import os
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from appliance import Appliance, CommandResult, Settings, program, wait_for

MIB = 1 << 20


class Authority:
    """Signs certificates, each in a folder of its own together with the authority's."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.key = folder / "ca-key.pem"
        self.cert = folder / "ca-cert.pem"
        self._certtool("--generate-privkey", "--key-type=ecdsa", "--outfile", str(self.key))
        template = folder / "ca.cfg"
        template.write_text('cn = "an authority"\nca\ncert_signing_key\nexpiration_days = 2\n')
        self._certtool("--generate-self-signed", "--load-privkey", str(self.key), "--template", str(template),
                       "--outfile", str(self.cert))

    @staticmethod
    def _certtool(*args: str) -> None:
        subprocess.run(["certtool", *args], check=True, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def issue(self, folder: Path, role: str, lines: str) -> Path:
        folder.mkdir(exist_ok=True)
        key = folder / f"{role}-key.pem"
        template = folder / f"{role}.cfg"
        template.write_text(f"{lines}\nsigning_key\nexpiration_days = 2\n")
        self._certtool("--generate-privkey", "--key-type=ecdsa", "--outfile", str(key))
        self._certtool("--generate-certificate", "--load-privkey", str(key), "--load-ca-certificate", str(self.cert),
                       "--load-ca-privkey", str(self.key), "--template", str(template),
                       "--outfile", str(folder / f"{role}-cert.pem"))
        (folder / "ca-cert.pem").write_bytes(self.cert.read_bytes())
        return folder

    def trusting(self, folder: Path) -> Path:
        """A folder of somebody who has no certificate."""
        folder.mkdir()
        (folder / "ca-cert.pem").write_bytes(self.cert.read_bytes())
        return folder


class Store:
    """An appliance that serves trees over TLS, and its clients."""

    def __init__(self, box: Appliance, authority: Authority, folder: Path) -> None:
        self.box = box
        self.authority = authority
        self.alice = authority.issue(folder / "alice", "client", 'cn = "alice"\ndns_name = "alice.example"')
        self.bob = authority.issue(folder / "bob", "client", 'cn = "bob"')
        self.nobody = authority.trusting(folder / "nobody")

    def place(self, rest: str) -> str:
        return f"wfss://localhost:{self.box.tls_port}/{rest}"

    def run(self, who: Path, *args: str) -> CommandResult:
        return self.box.run_wfs(*args, env={**os.environ, "WFS_CERTIFICATES": str(who)})

    def ok(self, who: Path, *args: str) -> str:
        done = self.run(who, *args)
        assert done.status == 0, (args, done)
        return done.out


@pytest.fixture
def store(make_appliance: Callable[..., Appliance], tmp_path: Path) -> Store:
    authority = Authority(tmp_path / "authority")
    server = authority.issue(tmp_path / "server", "server",
                             'cn = "store"\ndns_name = "localhost"\nip_address = "127.0.0.1"')
    policy = {"auth_sys": True, "squash": "none"}
    box = make_appliance(Settings(rpc_tcp=True, rpc_tls={"certificates": str(server)}, exports=[
        {"name": "any", "path": "/tank/home", **policy},
        {"name": "safe", "path": "/tank/home", "tls": True, **policy},
        {"name": "alice", "path": "/tank/home", "certificate_names": ["alice.example"], **policy},
    ]))
    box.wfs("fs", "create", "tank/home")
    return Store(box, authority, tmp_path)


def test_files_travel_over_tls(store: Store, tmp_path: Path) -> None:
    data = os.urandom(20 * MIB + 17)
    (tmp_path / "big").write_bytes(data)
    for i in range(300):
        (tmp_path / f"small{i}").write_bytes(os.urandom(i * 11))
    store.ok(store.alice, "put", str(tmp_path / "big"), store.place("any/big"))
    for i in range(0, 300, 50):
        store.ok(store.alice, "put", str(tmp_path / f"small{i}"), store.place(f"any/small{i}"))
    store.ok(store.alice, "get", store.place("any/big"), str(tmp_path / "again"))
    assert (tmp_path / "again").read_bytes() == data
    store.ok(store.alice, "get", store.place("any/small250"), str(tmp_path / "small-again"))
    assert (tmp_path / "small-again").read_bytes() == (tmp_path / "small250").read_bytes()
    assert store.box.metrics().sum("wfsd_rpc_tls_connections_total") >= 9


def test_certificates_decide_who_comes(store: Store) -> None:
    for export in ("any", "safe", "alice"):
        store.ok(store.alice, "ls", store.place(export))
    for export in ("any", "safe"):
        store.ok(store.bob, "ls", store.place(export))
    assert store.run(store.bob, "ls", store.place("alice")).status == 1
    # Without encryption only what does not ask for it.
    plain = f"wfs://127.0.0.1:{store.box.rpc_port}"
    store.ok(store.alice, "ls", f"{plain}/any")
    for export in ("safe", "alice"):
        assert store.run(store.alice, "ls", f"{plain}/{export}").status == 1
    refused = store.run(store.nobody, "ls", store.place("any"))
    assert refused.status != 0 and "certificate" in refused.err, refused
    assert store.box.metrics().sum("wfsd_rpc_tls_refused_total") >= 1


def test_strangers_are_refused_on_both_sides(store: Store, tmp_path: Path) -> None:
    other = Authority(tmp_path / "other")
    stranger = other.issue(tmp_path / "stranger", "client", 'cn = "alice"\ndns_name = "alice.example"')
    assert store.run(stranger, "ls", store.place("any")).status != 0  # it does not trust the server
    (stranger / "ca-cert.pem").write_bytes(store.authority.cert.read_bytes())
    assert store.run(stranger, "ls", store.place("any")).status != 0  # the server does not trust it
    # The certificate is for another host.
    address = next((a[4][0] for a in socket.getaddrinfo(socket.gethostname(), None)), None)
    assert address is not None
    wrong = store.run(store.alice, "ls", f"wfss://127.0.0.2:{store.box.tls_port}/any")
    assert wrong.status != 0 and ("name" in wrong.err or "refused" in wrong.err), wrong


def test_new_certificates_are_taken_without_a_restart(store: Store, tmp_path: Path) -> None:
    other = Authority(tmp_path / "other")
    carol = other.issue(tmp_path / "carol", "client", 'cn = "carol"')
    assert store.run(carol, "ls", store.place("any")).status != 0
    other.issue(tmp_path / "server", "server", 'cn = "store"\ndns_name = "localhost"')
    store.box.wfs("reload")
    store.ok(carol, "ls", store.place("any"))
    assert store.run(store.alice, "ls", store.place("any")).status != 0
    # What cannot be used changes nothing.
    (tmp_path / "server" / "server-key.pem").write_text("nonsense")
    assert store.box.run_wfs("reload").status != 0
    store.ok(carol, "ls", store.place("any"))


def test_half_handshakes_and_garbage_cost_only_their_own_connection(store: Store) -> None:
    idle = [socket.create_connection(("127.0.0.1", store.box.tls_port)) for _ in range(50)]
    for i, s in enumerate(idle):
        s.sendall(b"\x16\x03\x01\x02\x00"[: i % 6] or b"nonsense")
    store.ok(store.alice, "ls", store.place("any"))
    for s in idle:
        s.close()
    deadline = time.monotonic() + 20
    while store.box.metrics().sum("wfsd_rpc_connections") > 0 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert store.box.metrics().sum("wfsd_rpc_connections") == 0


def test_a_restart_in_the_middle_of_a_transfer_is_survived(store: Store, tmp_path: Path) -> None:
    data = os.urandom(64 * MIB)
    (tmp_path / "big").write_bytes(data)
    env = {**os.environ, "WFS_CERTIFICATES": str(store.alice)}
    put = subprocess.Popen([program("wfs"), "put", str(tmp_path / "big"), store.place("any/big")], env=env)
    wait_for(lambda: store.box.metrics().sum("wfsd_rpc_written_bytes_total") > MIB, "the transfer to begin", interval_s=0.001)
    store.box.restart()
    assert put.wait(timeout=60) == 0
    store.ok(store.alice, "get", store.place("any/big"), str(tmp_path / "again"))
    assert (tmp_path / "again").read_bytes() == data


def test_openssl_agrees_on_the_version(store: Store) -> None:
    """Another implementation: TLS 1.3 is spoken, 1.2 is not."""
    def speak(version: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{store.box.tls_port}", version,
                               "-CAfile", str(store.authority.cert), "-cert", str(store.alice / "client-cert.pem"),
                               "-key", str(store.alice / "client-key.pem"), "-verify_return_error"],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20)
    assert "Verify return code: 0" in speak("-tls1_3").stdout
    assert speak("-tls1_2").returncode != 0
