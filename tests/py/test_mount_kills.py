# SPDX-License-Identifier: BSD-3-Clause
"""Programs on a mount while the daemon is killed and restarted: git and tar notice a pause, and nothing is lost."""

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from appliance import SLOW, Appliance
from mounts import Mount, create_tree, why_not

pytestmark = pytest.mark.skipif(why_not() is not None, reason=why_not() or "")

FILES = 150
LIMIT_S = 120
# One shell, which is started while the daemon is there, does it all.
WORK = """
set -e
cd "$1"
tar -xf "$2/tree.tar"
git init -q work
cd work
git config user.name somebody
git config user.email somebody@example.com
git config core.fsync none
for round in 1 2 3 4 5 6; do
    mkdir round-$round
    cp ../tree/file-$round* round-$round
    git add .
    git commit -q -m "round $round"
    git mv round-$round moved-$round
    git commit -q -m "moved $round"
done
git gc -q
cd ..
git clone -q --no-hardlinks work copy
git -C copy fsck --strict
diff -r work copy --exclude .git
diff -r tree "$2/tree"
tar -cf again.tar tree
rm -r tree
tar -xf again.tar
diff -r tree "$2/tree"
"""


@pytest.fixture
def mount(appliance: Appliance, tmp_path: Path) -> Iterator[Mount]:
    made = Mount(create_tree(appliance), tmp_path / "mnt", "durable,timeout=60")
    try:
        yield made.start()
    finally:
        made.dispose()


@pytest.mark.parametrize("how", ["kill", "restart"])
def test_git_and_tar_notice_only_a_pause(appliance: Appliance, mount: Mount, tmp_path: Path, how: str) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    for number in range(FILES):
        (tree / f"file-{number}").write_bytes(os.urandom(64) * (number % 40))
    subprocess.run(["tar", "-C", tmp_path, "-cf", tmp_path / "tree.tar", "tree"], check=True)
    log = tmp_path / "work.log"
    with open(log, "wb") as out:
        shell = subprocess.Popen(["bash", "-c", WORK, "work", mount.path, tmp_path], stdout=out, stderr=out, cwd="/")
    ends = 0
    try:
        deadline = time.monotonic() + LIMIT_S * SLOW
        while shell.poll() is None and time.monotonic() < deadline:
            time.sleep(0.3 + os.urandom(1)[0] / 500)
            if how == "kill":
                appliance.kill9()
                appliance.start()
            else:
                appliance.restart()
            ends += 1
        assert shell.poll() == 0, log.read_text()
    finally:
        shell.kill()
        shell.wait()
    assert ends >= 2
