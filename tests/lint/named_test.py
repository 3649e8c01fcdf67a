# SPDX-License-Identifier: BSD-3-Clause
"""The check of what documents name, against samples."""
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import named  # noqa: E402

KNOWN = {"docs", "docs/A.md", "README.md", "core/vfs", "core/vfs/walk.c", "server/ctl/fat_dir.c", "tests/bench/tx_bench.c"}
TARGETS = {"bench", "bench-nfs"}
WORDS = {"vfs_write"}


@pytest.mark.parametrize("text, missing", [
    ("`core/vfs`, `core/vfs/`, `core/vfs/walk.c`, `walk.c`, `walk.c:12`, `ctl/fat*`", []),
    ("see `A.md`, [it](A.md), [part](A.md#part), [top](README.md), [net](https://a.example/b)", []),
    ("`make bench-nfs`, `make bench SECONDS=2`, `make V=1`", []),
    ("`vfs_write()`, `application/json`, `build/sim/simulate --seeds 2`, `build/release/bench/tx_bench [FILE]`", []),
    ("`core/vfs/run.c`", ["file core/vfs/run.c"]),
    ("`run.c:12` and `alk.c`", ["file run.c:12", "file alk.c"]),
    ("`ctl/nfs*`", ["file ctl/nfs*"]),
    ("`build/release/bench/rx_bench`", ["file build/release/bench/rx_bench"]),
    ("[it](B.md)", ["file B.md"]),
    ("`make benches`", ["target make benches"]),
    ("`vfs_write()` and `vfs_scribble()`", ["function vfs_scribble()"]),
])
def test_what_is_named_is_there(text, missing):
    assert named.check_document("docs/A.md", text, KNOWN, TARGETS, WORDS) == [f"docs/A.md:1: there is no {one}" for one in missing]


def test_documents_are_found_in_every_folder_and_at_the_top(tmp_path):
    (tmp_path / "core/fs").mkdir(parents=True)
    (tmp_path / "core/fs/real.c").write_text("int real(void);\n")
    (tmp_path / "Makefile").write_text("all: x\n")
    (tmp_path / "README.md").write_text("\n`real.c`, `real()`, `make all`, `gone.c`\n")
    (tmp_path / "core/fs/FORMAT.md").write_text("`gone()`\n`make gone`\n")
    assert named.check(tmp_path, ["core", "docs"]) == [
        "README.md:2: there is no file gone.c",
        "core/fs/FORMAT.md:1: there is no function gone()",
        "core/fs/FORMAT.md:2: there is no target make gone",
    ]
