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

SECONDS = float(os.environ.get("WFSD_PEER_SECONDS", "10"))


@pytest.fixture
def judge(shared: Appliance, request: pytest.FixtureRequest) -> Path:
    kind = subprocess.run(["stat", "-f", "-c", "%T", shared.folder], capture_output=True, text=True, check=True).stdout.strip()
    if kind not in ("ext2/ext3", "xfs"):
        pytest.skip(f"tests run on {kind}, which is no judge")
    folder = shared.folder / f"judge-{request.node.name}"
    folder.mkdir()
    folder.chmod(0o777)
    return folder


def test_calls_of_several_users_do_what_they_do_on_a_disk(here: Path, judge: Path) -> None:  # noqa: F811
    seed = random.randrange(1 << 32)
    assert peer_io.run(str(here), str(judge), SECONDS, seed) > 100 / SLOW


def test_directories_without_kernel_caches_are_the_same(there: Path, judge: Path) -> None:  # noqa: F811
    seed = random.randrange(1 << 32)
    assert peer_io.run(str(there), str(judge), SECONDS / 2, seed) > 100 / SLOW
