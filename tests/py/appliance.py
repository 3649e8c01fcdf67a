# SPDX-License-Identifier: BSD-3-Clause
"""One wfsd under test: its folder, ports, configuration, process, log, and ways to talk to it."""

import http.client
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import procfs

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / os.environ.get("WFSD_BUILD_DIR", "build/" + os.environ.get("WFSD_BUILD", "release"))
COMMAND_TIMEOUT_S = 60
READY_TIMEOUT_S = 30
# A loaded or instrumented build is slower; a test's own time limits are multiplied by this.
SLOW = float(os.environ.get("WFSD_TEST_SLOW", "1"))
# A tool that programs are started under, with its options.
UNDER = os.environ.get("WFSD_TEST_UNDER", "").split()


def program(name: str) -> str:
    return str(BUILD / name)


def command(name: str) -> list[str]:
    """What starts it, before its own arguments."""
    return [*UNDER, program(name)]


_ports_given: set[int] = set()


def free_port() -> int:
    """One that nobody else is given: not a second time here, and none of those that the kernel gives to whoever connects (from 32768 on)."""
    while True:
        port = random.randrange(15000, 32000)
        if port in _ports_given:
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        _ports_given.add(port)
        return port


def wait_for(condition, what: str, timeout_s: float = 20, interval_s: float = 0.02) -> Any:
    """The first true value of @condition(), or AssertionError."""
    deadline = time.monotonic() + timeout_s * SLOW
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout_s} s for: {what}")
        time.sleep(interval_s)


class CommandError(AssertionError):
    """A `wfs` command that failed where it should not have."""


@dataclass
class CommandResult:
    """What a command printed and how it ended."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass
class Response:
    """An HTTP answer of the admin socket."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Settings:
    """What a test wants in the configuration; the rest is the appliance's own."""

    cache: str = "64M"
    dirty_max: str | None = None
    writeback_age_ms: int | None = None
    max_connections: int | None = None
    rpc_max_connections: int | None = None
    handshake_timeout_ms: int | None = None
    commit_age_ms: int | None = None
    scrub: dict[str, Any] = field(default_factory=dict)
    audit: dict[str, Any] = field(default_factory=dict)
    nbd_tcp: bool = False
    rpc_tcp: bool = False
    rpc_tls: dict[str, Any] | None = None
    metrics_tcp: bool = False
    pools: list[dict[str, Any]] = field(default_factory=list)
    exports: list[dict[str, Any]] = field(default_factory=list)
    nbd_any_address: bool = False


class UnixHTTPConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: Path, timeout_s: float = 20) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = str(path)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Appliance:
    """Owns everything under @folder. Not running until start()."""

    def __init__(self, folder: Path, settings: Settings | None = None) -> None:
        self.folder = folder
        self.settings = settings or Settings()
        self.state_dir = folder / "state"
        self.run_dir = folder / "run"
        self.config_path = folder / "wfsd.yaml"
        self.log_path = folder / "wfsd.log"
        self.admin_socket = self.run_dir / "admin.sock"
        self.rpc_socket = self.run_dir / "rpc.sock"
        self.nbd_socket = self.run_dir / "nbd.sock"
        self.nbd_port = free_port() if self.settings.nbd_tcp else 0
        self.rpc_port = free_port() if self.settings.rpc_tcp else 0
        self.tls_port = free_port() if self.settings.rpc_tls is not None else 0
        self.metrics_port = free_port() if self.settings.metrics_tcp else 0
        self.process: subprocess.Popen[bytes] | None = None
        self.pools_are_damaged = False  # by the test: they are not checked afterwards
        for path in (self.state_dir, self.run_dir):
            path.mkdir(parents=True, exist_ok=True)
        for path in (folder, self.run_dir):
            path.chmod(0o755)  # nbdkit's own user must reach the RPC socket
        self.write_config()

    # Configuration

    def config(self) -> dict[str, Any]:
        wanted = self.settings
        memory: dict[str, Any] = {"cache": wanted.cache}
        for key in ("dirty_max", "writeback_age_ms", "commit_age_ms"):
            if getattr(wanted, key) is not None:
                memory[key] = getattr(wanted, key)
        nbd: dict[str, Any] = {"socket": str(self.nbd_socket), "plugin": program("nbdkit-wfs-plugin.so")}
        if wanted.nbd_tcp:
            address = "0.0.0.0" if wanted.nbd_any_address else "127.0.0.1"
            nbd["listen"] = [f"{address}:{self.nbd_port}"]
        for key in ("max_connections", "handshake_timeout_ms"):
            if getattr(wanted, key) is not None:
                nbd[key] = getattr(wanted, key)
        rpc: dict[str, Any] = {"socket": str(self.rpc_socket)}
        if wanted.rpc_max_connections is not None:
            rpc["max_connections"] = wanted.rpc_max_connections
        if wanted.rpc_tcp:
            rpc["listen"] = [f"127.0.0.1:{self.rpc_port}"]
        if wanted.rpc_tls is not None:
            rpc["tls"] = {"listen": [f"127.0.0.1:{self.tls_port}"], **wanted.rpc_tls}
        tree: dict[str, Any] = {
            "state_dir": str(self.state_dir),
            "run_dir": str(self.run_dir),
            "log_level": "info",
            "memory": memory,
            "admin": {"socket": str(self.admin_socket)},
            "rpc": rpc,
            "nbd": nbd,
        }
        if wanted.scrub:
            tree["scrub"] = wanted.scrub
        if wanted.audit:
            tree["audit"] = wanted.audit
        if wanted.metrics_tcp:
            tree["metrics"] = {"listen": f"127.0.0.1:{self.metrics_port}"}
        if wanted.pools:
            tree["pools"] = wanted.pools
        if wanted.exports:
            tree["exports"] = wanted.exports
        return tree

    def write_config(self, text: str | None = None) -> None:
        self.config_path.write_text(text if text is not None else to_yaml(self.config()))

    # The process

    @property
    def pid(self) -> int:
        assert self.process, "the daemon does not run"
        return self.process.pid

    def spawn(self) -> subprocess.Popen[bytes]:
        """Start the process without waiting for it to be ready."""
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                [*command("wfsd"), "--config", str(self.config_path)], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        return self.process

    def start(self) -> "Appliance":
        process = self.spawn()

        def ready() -> bool:
            if process.poll() is not None:
                raise AssertionError(f"wfsd ended with {process.returncode} while starting:\n{self.log()}")
            return self.is_ready()

        wait_for(ready, "wfsd to be ready", READY_TIMEOUT_S)
        return self

    def is_ready(self) -> bool:
        try:
            return self.admin("/health/ready").status == 200
        except OSError:
            return False

    def start_expecting_failure(self) -> str:
        """Start a daemon that must refuse; its status must not be 0. Returns what it logged."""
        before = len(self.log())
        process = self.spawn()
        status = process.wait(READY_TIMEOUT_S * SLOW)
        self.process = None
        text = self.log()[before:]
        assert status > 0, f"expected a refusal, got status {status}:\n{text}"
        return text

    def stop(self, timeout_s: float = 20) -> int:
        """SIGTERM; the exit status. A daemon that has to be killed fails the test."""
        process, self.process = self.process, None
        if process is None:
            return 0
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            return process.wait(timeout_s * SLOW)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(f"wfsd did not end within {timeout_s} s of SIGTERM:\n{self.log()[-4000:]}") from None

    def kill9(self) -> None:
        process, self.process = self.process, None
        assert process
        process.kill()
        process.wait()

    def restart(self) -> None:
        status = self.stop()
        assert status == 0, f"wfsd ended with {status}:\n{self.log()[-4000:]}"
        self.start()

    def is_alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def log(self) -> str:
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def nbdkit_pids(self) -> list[int]:
        return [pid for pid in procfs.children(self.pid) if procfs.name(pid).startswith("nbdkit")]

    def dispose(self) -> None:
        """Whatever the test did: nothing runs, nothing is left."""
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.process = None
        shutil.rmtree(self.folder, ignore_errors=True)

    # Talking to it

    def run_wfs(self, *args: str, timeout_s: float = COMMAND_TIMEOUT_S,
                env: dict[str, str] | None = None) -> CommandResult:
        """Run `wfs`; whatever its status."""
        done = subprocess.run(
            [*command("wfs"), "--socket", str(self.admin_socket), *args],
            capture_output=True,
            text=True,
            timeout=timeout_s * SLOW,
            check=False,
            env=env,
        )
        return CommandResult(done.returncode, done.stdout, done.stderr)

    def wfs(self, *args: str) -> Any:
        """Run `wfs --json`, which must succeed; what it printed, parsed (None when it printed nothing)."""
        done = self.run_wfs("--json", *args)
        if done.status != 0:
            raise CommandError(f"wfs {' '.join(args)}: status {done.status}: {done.err}{done.out}")
        return done.json if done.out.strip() else None

    def wfs_fails(self, *args: str) -> str:
        """Run `wfs`, which must fail in a civil way; what it said on standard error."""
        done = self.run_wfs(*args)
        assert done.status > 0, f"wfs {' '.join(args)} should have failed (status {done.status}): {done.out}{done.err}"
        assert done.err.strip(), f"wfs {' '.join(args)} failed with status {done.status} without a word"
        return done.err

    def admin(self, path: str, method: str = "GET", body: Any = None, headers: dict[str, str] | None = None) -> Response:
        connection = UnixHTTPConnection(self.admin_socket)
        try:
            data = None if body is None else (body if isinstance(body, bytes) else json.dumps(body).encode())
            connection.request(method, path, body=data, headers=headers or {})
            answer = connection.getresponse()
            return Response(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def metrics(self) -> "Metrics":
        answer = self.admin("/metrics")
        assert answer.status == 200, answer.text
        return Metrics.parse(answer.text)

    def nbd_uri(self, export: str = "", tcp: bool = False) -> str:
        if tcp:
            return f"nbd://127.0.0.1:{self.nbd_port}/{quote(export)}"
        return f"nbd+unix:///{quote(export)}?socket={self.nbd_socket}"

    # Pools, volumes, exports

    def imported_pools(self) -> list[dict[str, Any]]:
        """As the daemon tells; none when it does not answer."""
        try:
            return self.admin("/v1/pools").json["pools"]
        except (OSError, http.client.HTTPException, ValueError, KeyError):
            return []

    def pool_file(self, name: str) -> Path:
        return self.folder / f"{name}.pool"

    def create_pool(self, name: str = "tank", size: str = "512M") -> Path:
        self.wfs("pool", "create", name, str(self.pool_file(name)), "--size", size)
        return self.pool_file(name)

    def create_volume(self, path: str, size: str) -> None:
        self.wfs("volume", "create", path, size)

    def add_export(self, path: str, name: str, *, read_only: bool = False) -> None:
        self.wfs("export", "add", path, "--as", name, *(["--read-only"] if read_only else []))

    def add_volume(self, path: str = "tank/vm1", size: str = "64M", export: str = "vm1") -> str:
        """A volume with an export; the export's URI."""
        self.create_volume(path, size)
        self.add_export(path, export)
        return self.nbd_uri(export)


@dataclass
class Metrics:
    """Prometheus text, parsed; raises on anything that Prometheus would refuse."""

    values: dict[tuple[str, tuple[tuple[str, str], ...]], float]
    types: dict[str, str]

    @classmethod
    def parse(cls, text: str) -> "Metrics":
        from promtext import parse_text

        return cls(*parse_text(text))

    def names(self) -> set[str]:
        return {name for name, _ in self.values}

    def sum(self, name: str, **labels: str) -> float:
        """Sum of the samples of @name that carry @labels; KeyError if there is none."""
        found = [
            value
            for (sample, sample_labels), value in self.values.items()
            if sample == name and labels.items() <= dict(sample_labels).items()
        ]
        if not found:
            raise KeyError(f"no sample {name} {labels}; there are {sorted(self.names())}")
        return sum(found)


def to_yaml(tree: dict[str, Any], indent: int = 0) -> str:
    """Block style for mappings, flow style for everything else."""
    lines = []
    for key, value in tree.items():
        if isinstance(value, dict):
            lines.append(f"{' ' * indent}{key}:\n{to_yaml(value, indent + 2)}")
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            lines.append(f"{' ' * indent}{key}:\n")
            for item in value:
                body = to_yaml(item, indent + 4)
                lines.append(f"{' ' * (indent + 2)}- {body.lstrip()}")
        else:
            lines.append(f"{' ' * indent}{key}: {json.dumps(value)}\n")
    return "".join(lines)
