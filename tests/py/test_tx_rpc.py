# SPDX-License-Identifier: BSD-3-Clause
"""Transactions over the wfs protocol: whose they are, how they end, and compounds that are all or nothing."""

import errno
import os
import time
from collections.abc import Callable, Iterator

import pytest

from appliance import SLOW, Appliance, Settings, wait_for
from libwfs import Client

SNAPSHOT, SERIALIZABLE = 1, 2
RUNNING, COMMITTED, ABORTED = 1, 2, 3


@pytest.fixture
def box(make_appliance: Callable[..., Appliance]) -> Iterator[Appliance]:
    made = make_appliance(Settings())
    made.wfs("fs", "create", "tank/home")
    made.add_export("tank/home", "home")
    yield made


@pytest.fixture
def w(box: Appliance) -> Iterator[Client]:
    with Client(f"unix:{box.rpc_socket}") as client:
        yield client


def begin(w: Client, isolation: int = SERIALIZABLE, ttl_ms: int = 0) -> int:
    b = w.batch().put(w.root("home"))
    number = b.tx_begin(isolation, ttl_ms)
    b.run()
    return number.value


def fails(code: int, w: Client, number: int, **kinds: object) -> None:
    b = w.batch().put(w.root("home")).tx_use(number)
    with pytest.raises(OSError) as caught:
        (b.tx_commit() if not kinds else b.put_file("x", b"")).run()
    assert caught.value.errno == code, caught.value
    assert os.strerror(errno.EBUSY) not in str(caught.value)


def test_atomic_compounds_are_all_or_nothing(w: Client) -> None:
    root = w.root("home")
    b = w.batch().put(root)
    number = b.tx_begin(SNAPSHOT, atomic=True)
    b.put_file("a", b"one").put(root).put_file("b", b"two").tx_commit(durable=True).run()
    assert sorted(w.list(root)) == ["a", "b"]
    status = w.batch().put(root)
    what = status.tx_status(number.value)
    status.run()
    assert what.state == COMMITTED and what.committed_ns > 0
    for ending in (lambda b: b.put(root).unlink("missing").tx_commit(), lambda b: b):
        b = w.batch().put(root)
        b.tx_begin(SNAPSHOT, atomic=True)
        b.put_file("c", b"three").put(root).unlink("a")
        try:
            ending(b).run()
        except OSError as e:
            assert e.errno == errno.ENOENT
        assert sorted(w.list(root)) == ["a", "b"]


def test_another_export_is_not_in_the_transaction(box: Appliance, w: Client) -> None:
    box.wfs("fs", "create", "tank/other")
    box.add_export("tank/other", "other")
    other = w.root("other")
    b = w.batch().put(w.root("home"))
    b.tx_begin(SNAPSHOT, atomic=True)
    b.put_file("a", b"one").put(other).put_file("b", b"two").tx_commit()
    with pytest.raises(OSError) as caught:
        b.run()
    assert caught.value.errno == errno.EXDEV
    assert w.list(other) == [] and w.list(w.root("home")) == []


def test_what_is_inside_is_seen_inside_and_by_nobody_else(box: Appliance, w: Client) -> None:
    root = w.root("home")
    number = begin(w)
    w.batch().put(root).tx_use(number).put_file("a", b"inside").run()
    inside = w.batch().put(root).tx_use(number).lookup("a").get_file(100).run()
    assert inside.results == [b"inside"] and w.list(root) == []
    with Client(f"unix:{box.rpc_socket}") as other:
        fails(errno.ENOENT, other, number)
    fails(errno.ENOENT, w, number + 1000)
    w.batch().put(root).tx_use(number).tx_commit().run()
    assert w.list(root) == ["a"]
    fails(errno.ENOENT, w, number)


def test_the_loser_of_a_conflict_is_told_about_what(w: Client) -> None:
    root = w.root("home")
    number = begin(w, SNAPSHOT)
    w.batch().put(root).tx_use(number).put_file("same", b"1").run()
    w.batch().put(root).put_file("same", b"2").run()
    fails(errno.ENOTUNIQ, w, number)
    b = w.batch().put(root)
    what = b.tx_status(number)
    b.run()
    assert (what.state, what.reason, what.name) == (ABORTED, -errno.ENOTUNIQ, b"same")
    assert what.file_id == 1  # the top directory, which has the name


def test_transactions_end_by_time_and_with_their_session(box: Appliance, w: Client) -> None:
    root = w.root("home")
    number = begin(w, ttl_ms=int(10 * SLOW))
    time.sleep(0.02 * SLOW)
    fails(errno.ETIMEDOUT, w, number, write=True)
    kept = [begin(w) for _ in range(15)]
    with pytest.raises(OSError) as caught:
        for _ in range(2):
            kept.append(begin(w))
    assert caught.value.errno == errno.EAGAIN
    w.batch().put(root).tx_use(kept[0]).tx_abort().run()
    fails(errno.ENOENT, w, kept[0])
    box.restart()
    fails(errno.ENOENT, w, kept[1])

    def forgotten() -> bool:
        b = w.batch().put(root)
        b.tx_status(kept[1])
        try:
            b.run()
        except OSError as e:
            return e.errno == errno.ENOENT
        return False

    wait_for(forgotten, "the transaction to be unknown")


def test_transactions_whose_time_is_over_take_no_places(box: Appliance, w: Client) -> None:
    """Neither of their session nor of its peer, although nobody has given them up."""
    def fill(client: Client, ttl_ms: int) -> list[int]:
        numbers = [begin(client, ttl_ms=ttl_ms) for _ in range(16)]
        with pytest.raises(OSError) as caught:
            begin(client)
        assert caught.value.errno == errno.EAGAIN
        assert "16 transactions of a client are running" in str(caught.value)
        return numbers

    def state(number: int) -> int:
        b = w.batch().put(w.root("home"))
        what = b.tx_status(number)
        b.run()
        return what.state

    short = fill(w, 2000)
    others = [Client(f"unix:{box.rpc_socket}") for _ in range(8)]
    for other in others[:7]:
        fill(other, 60000)
    with pytest.raises(OSError):  # 128 of the peer
        begin(others[7])
    wait_for(lambda: all(state(number) == ABORTED for number in short), "the end of their time")
    begin(others[7], ttl_ms=60000)
    begin(w, ttl_ms=60000)
    for other in others:
        other.close()
