# SPDX-License-Identifier: BSD-3-Clause
"""A daemon that is killed again and again under a client with many requests under way, transactions among them: each is done once, none fails."""

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from appliance import BUILD, ROOT, SLOW, Appliance
from mounts import create_tree

SOURCE = Path(__file__).with_name("once_client.c")
SANITIZERS = {"asan": ["-fsanitize=address,undefined"], "tsan": ["-fsanitize=thread"]}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("once") / "once_client"
    libs = subprocess.run(["pkg-config", "--libs", "gnutls", "libxxhash", "libisal", "liburcu"], capture_output=True, text=True, check=True)
    flags = SANITIZERS.get(BUILD.name, [])
    subprocess.run(
        ["gcc", "-O1", "-g", "-D_GNU_SOURCE", *flags, "-I", ROOT, "-o", output, SOURCE, BUILD / "libwfs.a", *libs.stdout.split(), "-lpthread"],
        check=True,
    )
    return output


@pytest.fixture
def source(appliance: Appliance) -> Iterator[str]:
    create_tree(appliance)
    yield f"unix:{appliance.rpc_socket}"


def run_over(appliance: Appliance, client: Path, source: str, threads: int, steps: int, interrupt) -> int:
    """Run the client, and interrupt the daemon until it is done. How many times it was."""
    count = 0
    process = subprocess.Popen([client, source, "files", str(threads), str(steps)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        deadline = time.monotonic() + 120 * SLOW
        while process.poll() is None and time.monotonic() < deadline:
            # Where in the client's requests that falls is left to chance.
            time.sleep(0.2 + os.urandom(1)[0] / 400)
            if process.poll() is None:
                interrupt()
                count += 1
        assert process.wait(60 * SLOW) == 0, process.stdout and process.stdout.read()
    finally:
        process.kill()
        process.wait()
    return count


def kill_and_start(appliance: Appliance) -> None:
    appliance.kill9()
    appliance.start()


def test_nothing_is_done_twice_over_kills(appliance: Appliance, client: Path, source: str) -> None:
    kills = run_over(appliance, client, source, 16, 400, lambda: kill_and_start(appliance))
    assert kills >= 3
    appliance.stop()
    appliance.start()


def test_nothing_is_done_twice_over_restarts(appliance: Appliance, client: Path, source: str) -> None:
    assert run_over(appliance, client, source, 16, 200, appliance.restart) >= 1
