# SPDX-License-Identifier: BSD-3-Clause
"""The mount does what the file system of this machine does: random system calls of several users on both, compared one by one."""

import os
import random
import subprocess
from pathlib import Path

import pytest

import mounts
import peer_io
from appliance import SLOW, Appliance
from mounts import here, pair, source, there  # noqa: F401 (fixtures)

pytestmark = pytest.mark.skipif(mounts.why_not() is not None, reason=str(mounts.why_not()))

# The same calls each time, or as many others as there is time for.
SECONDS = float(os.environ.get("WFSD_PEER_SECONDS", "0"))
CALLS, CALLS_S_MAX = 6000, 200


@pytest.fixture
def judge(shared: Appliance, request: pytest.FixtureRequest) -> Path:
    done = subprocess.run(["stat", "-f", "-c", "%T", shared.folder], capture_output=True, text=True, check=True)
    if done.stdout.strip() not in ("ext2/ext3", "xfs"):
        pytest.skip(f"tests run on {done.stdout.strip()}, which is no judge")
    folder = shared.folder / f"judge-{request.node.name}"
    folder.mkdir()
    folder.chmod(0o777)
    return folder


def compare(folder: Path, judge: Path, seed: int) -> None:
    if SECONDS:
        peer_io.run(str(folder), str(judge), SECONDS, random.randrange(1 << 32))
    else:
        assert peer_io.run(str(folder), str(judge), CALLS_S_MAX * SLOW, seed, CALLS) > CALLS / 10


@pytest.mark.parametrize("seed", [1, 3])
def test_calls_of_several_users_do_what_they_do_on_a_disk(here: Path, judge: Path, seed: int) -> None:  # noqa: F811
    compare(here, judge, seed)


def test_they_do_so_without_what_the_kernel_keeps(there: Path, judge: Path) -> None:  # noqa: F811
    compare(there, judge, 2)
