# SPDX-License-Identifier: BSD-3-Clause
"""Fixtures for tests of libwfs, on the file tree "home" of the daemon at `address`, which each test file says itself."""

from collections.abc import Iterator
from uuid import uuid4

import pytest

from libwfs import Client, Handle


@pytest.fixture
def w(address: str) -> Iterator[Client]:
    with Client(address) as client:
        yield client


@pytest.fixture
def top(w: Client) -> Handle:  # pylint: disable=redefined-outer-name
    """A directory of the test's own."""
    return w.make(w.root("home"), uuid4().hex)
