# SPDX-License-Identifier: BSD-3-Clause
"""The Dockerfile, as far as it can be judged without building it: what it copies, installs and starts is there."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest
from appliance import ROOT, program

TEXT = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
INSTRUCTIONS = [line.split(None, 1) for line in TEXT.splitlines() if line and not line.startswith("#")]
# What every image has, and what comes along with a compiler's run time.
ALWAYS_THERE = {"libc6", "libgcc-s1", "libstdc++6", "zlib1g"}


def is_release_of_the_image() -> bool:
    release = Path("/etc/os-release").read_text()
    return "VERSION_CODENAME=bookworm" in release


def runtime_packages() -> set[str]:
    stage = TEXT.rsplit("FROM ", 1)[1]
    match = re.search(r"--no-install-recommends\s+(.*?)&&", stage)
    assert match
    return set(match.group(1).split())


def test_what_it_copies_from_here_exists() -> None:
    for instruction, rest in INSTRUCTIONS:
        words = shlex.split(rest)
        if instruction == "COPY" and not words[0].startswith("--from"):
            for source in words[:-1]:
                assert (ROOT / source).exists(), source
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert {"/build", "/var"} <= set(ignored), "what was built here must not come along"


def test_package_list_is_read_as_it_is_written() -> None:
    [command] = re.findall(r"sed -n '([^']*)'", TEXT)
    found = subprocess.run(["sed", "-n", command, ROOT / "tests" / "packages"], check=True, capture_output=True, text=True)
    assert {"gcc", "make", "liburing-dev"} <= set(found.stdout.split())


@pytest.mark.skipif(not is_release_of_the_image(), reason="packages of another release have other names")
def test_every_library_that_is_linked_is_installed() -> None:
    needed = set()
    for name in ("wfsd", "wfs", "nbdkit-wfs-plugin.so"):
        dynamic = subprocess.run(["readelf", "-d", program(name)], check=True, capture_output=True, text=True).stdout
        for library in re.findall(r"\(NEEDED\).*\[(.*)\]", dynamic):
            found = subprocess.run(["dpkg-query", "-S", f"*/{library}"], check=True, capture_output=True, text=True).stdout
            needed.add(found.split(":")[0])
    assert needed - ALWAYS_THERE <= runtime_packages()
    assert "nbdkit" in runtime_packages()


def test_what_it_starts_is_what_make_install_installs() -> None:
    [entry] = [shlex.split(rest.strip("[] ").replace(",", " ")) for instruction, rest in INSTRUCTIONS if instruction == "ENTRYPOINT"]
    assert entry == ["/usr/sbin/wfsd", "--config", "/etc/wfsd/wfsd.yaml"]
    assert "PREFIX=/usr" in TEXT
    sample = (ROOT / "config" / "wfsd.yaml").read_text()
    for key, folder in (("state_dir", "/var/lib/wfsd"), ("run_dir", "/run/wfsd")):
        assert f"{key}: {folder}\n" in sample and f"-m 75{'0' if key == 'state_dir' else '5'} {folder}" in TEXT
    users = [rest.strip() for instruction, rest in INSTRUCTIONS if instruction == "USER"]
    assert users == ["wfsd"]
