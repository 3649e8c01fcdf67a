# SPDX-License-Identifier: BSD-3-Clause
"""A pool that is full: what was acknowledged is there, deleting works, space comes back, and nobody is turned away too early."""

import errno
import threading

import nbd
from appliance import Appliance, wait_for
from nbdclient import KIB, MIB, connect, extents, pattern

STEP = 256 * KIB


def available(box: Appliance) -> int:
    return box.wfs("pool", "status", "tank")["available_bytes"]


def fill(uri: str, seed: int) -> int:
    """Write until there is no space; how much was acknowledged."""
    with connect(uri) as handle:
        size = handle.get_size()
        for at in range(0, size, STEP):
            try:
                handle.pwrite(pattern(STEP, seed + at), at)
            except nbd.Error as error:
                assert error.errnum == errno.ENOSPC, error.string
                handle.flush()
                return at
    raise AssertionError("the pool took more than it holds")


def verify(uri: str, seed: int, length: int) -> None:
    with connect(uri) as handle:
        for at in range(0, length, STEP):
            assert bytes(handle.pread(STEP, at)) == pattern(STEP, seed + at), f"offset {at}"


def test_full_pool_keeps_what_it_took_and_goes_on_after_a_deletion(make_appliance) -> None:
    box = make_appliance(pool="128M")
    first, second = (box.add_volume(f"tank/{name}", "256M", name) for name in "ab")
    with connect(first) as handle:
        for at in range(0, 32 * MIB, STEP):
            handle.pwrite(pattern(STEP, at), at)
    took = fill(second, 7)
    assert took > 64 * MIB, "the pool is called full too early"
    verify(first, 0, 32 * MIB)
    verify(second, 7, took)
    with connect(second) as handle:  # some blocks may still fit; a lot does not
        try:
            handle.pwrite(pattern(16 * MIB, 1), took)
        except nbd.Error as error:
            assert error.errnum == errno.ENOSPC
        else:
            raise AssertionError("16 MiB more than the pool holds were taken")
    box.kill9()
    box.start()
    verify(first, 0, 32 * MIB)
    verify(second, 7, took)

    box.wfs("export", "remove", "a")
    box.wfs("volume", "delete", "tank/a", "--yes")
    wait_for(lambda: available(box) >= 28 * MIB, "the space of the deleted volume")
    with connect(second) as handle:
        for at in range(took + 16 * MIB, took + 40 * MIB, STEP):
            handle.pwrite(pattern(STEP, at), at)
        handle.trim(32 * MIB, 0)
        handle.flush()
    wait_for(lambda: available(box) >= 28 * MIB, "the space that was trimmed")
    with connect(second) as handle:
        for at in range(0, 24 * MIB, STEP):
            handle.pwrite(pattern(STEP, 5 + at), at)
        handle.flush()
    verify(second, 5, 24 * MIB)
    assert sum(length for _, length, kind in extents(second) if kind == 0) >= took
    status = box.wfs("pool", "status", "tank")
    assert status["health"] == "online" and not status["reason"], status


def rewrite(uri: str, seed: int, rounds: int, problems: list[str]) -> None:
    try:
        with connect(uri) as handle:
            for turn in range(rounds):
                for at in range(0, 4 * MIB, STEP):
                    handle.pwrite(pattern(STEP, seed + turn + at), at)
                if turn % 4 == 0:
                    handle.flush()
    except nbd.Error as error:
        problems.append(f"{uri}: {error.string}")


def test_two_clients_that_rewrite_what_they_have_near_the_limit_are_never_told_it_is_full(make_appliance) -> None:
    box = make_appliance(pool="128M")
    ballast, *clients = (box.add_volume(f"tank/{name}", "256M", name) for name in ("ballast", "a", "b"))
    took = fill(ballast, 3)
    with connect(ballast) as handle:  # as much as both clients write, and as much again for new copies of it
        handle.trim(20 * MIB, took - 20 * MIB)
        handle.flush()
    wait_for(lambda: available(box) >= 18 * MIB, "the space that was trimmed")
    problems: list[str] = []
    threads = [threading.Thread(target=rewrite, args=(uri, 100 * i, 24, problems)) for i, uri in enumerate(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert not problems, problems
    for i, uri in enumerate(clients):
        verify(uri, 100 * i + 23, 4 * MIB)
    verify(ballast, 3, took - 20 * MIB)
