# SPDX-License-Identifier: BSD-3-Clause
"""What the tests in a guest have in common: the kernel, and the modules of the end-to-end tests."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/py"))

from kernel import Kernel, fetch  # noqa: E402


@pytest.fixture(scope="session")
def kernel() -> Kernel:
    return fetch(ROOT / "build/guest")
