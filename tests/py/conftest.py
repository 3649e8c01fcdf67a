# SPDX-License-Identifier: BSD-3-Clause
"""Fixtures: running appliances that are torn down whatever happens, and whose log is shown when a test fails."""

import os
import re
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from appliance import BUILD, Appliance, Settings

LOG_TAIL_CHARS = 6000
# Words that only a mistake of the daemon itself puts in its log.
BUG_MARKS = re.compile(r"AddressSanitizer|ThreadSanitizer|runtime error:|assertion failed|BUG:", re.IGNORECASE)

def check_pools(appliance: Appliance, pools: list[dict]) -> list[str]:
    """What is wrong with the pools that a daemon left behind, which has ended."""
    problems = []
    for pool in pools:
        paths = [device["path"] for device in pool["devices"]]
        if not all(paths) or not all(os.path.exists(path) for path in paths):
            continue
        done = appliance.run_wfs("pool", "check", *paths)
        if done.status == 1:
            problems.append(f"pool {pool['name']} is damaged:\n{done.out}")
    return problems


_running: dict[str, list[Appliance]] = {}


def pytest_configure(config: pytest.Config) -> None:
    missing = [name for name in ("wfsd", "wfs", "nbdkit-wfs-plugin.so") if not (BUILD / name).exists()]
    if missing:
        raise pytest.UsageError(f"not built: {', '.join(missing)} in {BUILD}; run make")
    # A shell has what runs in its background ignore these, and programs that are started here would go on doing so.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo) -> Iterator[None]:
    outcome = yield
    report = outcome.get_result()
    if report.failed:
        for scope in (item.nodeid, item.nodeid.split("::")[0]):
            for appliance in _running.get(scope, []):
                report.sections.append((f"log of {appliance.folder}", appliance.log()[-LOG_TAIL_CHARS:]))


def _factory(scope_key: str) -> Iterator[Callable[..., Appliance]]:
    """Makes appliances that live as long as the scope. make(settings, start=, pool=)."""
    made = _running.setdefault(scope_key, [])

    def make(settings: Settings | None = None, *, start: bool = True, pool: str | None = "512M") -> Appliance:
        folder = Path(tempfile.mkdtemp(prefix="wfsd-", dir=os.environ.get("WFSD_TEST_DIR")))
        appliance = Appliance(folder, settings)
        made.append(appliance)
        if start:
            appliance.start()
            if pool:
                appliance.create_pool("tank", pool)
        return appliance

    problems = []
    try:
        yield make
        for appliance in made:
            if appliance.process is None:
                continue
            pools = appliance.imported_pools()
            status = appliance.stop()
            if status != 0:
                problems.append(f"wfsd ended with status {status} at tear-down")
            elif not appliance.pools_are_damaged:
                problems += check_pools(appliance, pools)
        for appliance in made:
            found = BUG_MARKS.search(appliance.log())
            if found:
                problems.append(f"the log says: {appliance.log()[max(0, found.start() - 200) :][:2000]}")
        assert not problems, "\n".join(problems)
    finally:
        for appliance in made:
            appliance.dispose()
        _running.pop(scope_key, None)


@pytest.fixture
def make_appliance(request: pytest.FixtureRequest) -> Iterator[Callable[..., Appliance]]:
    yield from _factory(request.node.nodeid)


@pytest.fixture
def appliance(make_appliance: Callable[..., Appliance]) -> Appliance:
    """A fresh daemon with an empty pool "tank"."""
    return make_appliance()


@pytest.fixture(scope="module")
def shared(request: pytest.FixtureRequest) -> Iterator[Appliance]:
    """One daemon with pool "tank" for all tests of a file; each makes volumes of its own name."""
    generator = _factory(request.node.nodeid)
    make = next(generator)
    yield make(Settings(nbd_tcp=True, rpc_tcp=True), pool="1G")
    next(generator, None)
