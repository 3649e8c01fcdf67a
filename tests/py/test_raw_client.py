# SPDX-License-Identifier: BSD-3-Clause
"""What docs/PROTOCOL.md promises, asked by a client of another make: above all, of requests that make no sense."""

import os
import struct
from collections.abc import Iterator

import pytest

from appliance import Appliance, wait_for
from rawclient import ROOT, WFS, RawClient, Refused, create

END = 2**64 - 1


@pytest.fixture(scope="module")
def box(shared: Appliance) -> Appliance:
    for name in ("home", "other"):
        shared.wfs("fs", "create", f"tank/{name}")
        shared.add_export(f"tank/{name}", name)
    shared.add_volume("tank/raw", "16M", "raw")
    return shared


@pytest.fixture
def c(box: Appliance) -> Iterator[RawClient]:
    with RawClient(box.rpc_socket) as client:
        yield client


@pytest.fixture
def name(request: pytest.FixtureRequest) -> bytes:
    """Of a file of the test's own."""
    return request.node.name.encode()[:200].replace(b"/", b"-")


def seen(c: RawClient, name: bytes) -> tuple[int, bytes]:
    """Size and contents of a file."""
    got = c.run(ROOT, ("LOOKUP", name), ("GET_FILE", 1000))[-1][1]
    return got["attr"]["size"], got["data"]


def test_what_the_document_tells_is_enough_to_work(c: RawClient, box: Appliance, name: bytes) -> None:
    assert c.last(ROOT, create(name), ("WRITE", (0, 0, b"hello")), ("COMMIT_RANGE", (1, 2)), ("COMMIT",)) == "OK"
    assert c.run(ROOT, ("LOOKUP", name), ("READ", (0, 100)))[-1] == ("OK", {"eof": 1, "data": b"hello"})
    number = c.run(ROOT, ("TX_BEGIN", (2, 0, 0)), ("PUT_FILE", (name + b"2", 0o600, 1, b"in")))[1][1]
    assert c.last(ROOT, ("LOOKUP", name + b"2")) == "NOENT"
    assert c.last(ROOT, ("TX_USE", number), ("LOOKUP", name + b"2"), ("TX_COMMIT", 1)) == "OK"
    assert seen(c, name + b"2") == (2, b"in")
    append = (ROOT, ("LOOKUP", name), ("WRITE", (0, WFS.constants["WFS_WRITE_APPEND"], b"+")))
    with RawClient(box.rpc_socket, c.client_id, 5) as second:
        first = second.run(*append, slot=3, sequence=1)
    with RawClient(box.rpc_socket, c.client_id, 5) as third:
        assert third.run(*append, slot=3, sequence=1) == first
        assert third.run(*append, slot=3, sequence=0)[0][0] == "SEQUENCE"
    assert seen(c, name) == (6, b"hello+")
    assert c.last(ROOT, ("WATCH", (7, 63, 0))) == "OK"
    assert c.last(ROOT, ("UNLINK", (name, 0))) == "OK"
    status, told = c.call("NOTICES", (0, 0, 20000))
    assert status == "OK" and (told["notices"][0]["id"], told["notices"][0]["name"]) == (7, name)
    figures = {one["name"]: one["value"] for one in c.run(("STATISTICS", (3, b"")))[0][1]["counters"]}
    assert figures[b"written_bytes"] == 5 + 2 + 1


def test_handles_that_are_no_good_are_refused(c: RawClient, name: bytes) -> None:
    handle = c.run(ROOT, create(name), ("WRITE", (0, 0, b"data")), ("GET_HANDLE",))[-1][1]
    for at in range(len(handle)):
        forged = bytearray(handle)
        forged[at] ^= 1 << at % 8
        assert c.last(("PUT", bytes(forged)), ("WRITE", (0, 0, b"x"))) == "BADHANDLE", at
    for count in (0, 1, len(handle) - 1, 64):
        assert c.last(("PUT", (handle * 2)[:count])) == "BADHANDLE", count
    with pytest.raises(Refused, match="GARBAGE_ARGS"):
        c.run(("PUT", (handle * 2)[:65]))
    assert seen(c, name) == (4, b"data")
    assert c.last(("PUT", handle), ("SAVE",), ("ROOT", b"other"), ("LINK", b"x")) == "XDEV"
    assert c.last(ROOT, ("UNLINK", (name, 0))) == "OK"
    assert c.last(("PUT", handle), ("WRITE", (0, 0, b"x"))) == "STALE"


def test_descriptors_that_are_not_open_are_refused(c: RawClient, box: Appliance, name: bytes) -> None:
    number = c.run(ROOT, create(name), ("OPEN", (6, 0)))[-1][1]["descriptor"]
    with RawClient(box.rpc_socket) as another:
        assert another.last(("USE", number), ("WRITE", (0, 0, b"x"))) == "BADHANDLE"
        assert another.call("CLOSE", (number,))[0] == "BADHANDLE"
    assert c.last(("CLOSE", number)) == "OK"
    for _ in range(2):
        assert c.last(("CLOSE", number)) == c.last(("USE", number)) == "BADHANDLE"
        assert c.call("CLOSE", (number,))[0] == c.call("WRITE", (number, 0, 0, b"x"))[0] == "BADHANDLE"
    assert c.last(("USE", number + 1)) == c.last(("USE", END)) == "BADHANDLE"
    assert seen(c, name) == (0, b"")


@pytest.mark.parametrize("offset", [2**60, 2**63 - 1, 2**63, END - 1, END])
def test_ranges_beyond_all_files_change_nothing(c: RawClient, name: bytes, offset: int) -> None:
    number = c.run(ROOT, create(name), ("WRITE", (0, 0, b"data")), ("OPEN", (6, 0)))[-1][1]["descriptor"]
    lock = (1, 2, END - 1, 4)
    for op, status in ((("WRITE", (offset, 0, b"abcd")), "FBIG"), (("READ", (offset, 4)), "OK"), (("SEEK", (offset, 0)), "NXIO"),
                       (("ALLOCATE", (0, offset, 4096)), "FBIG"), (("ALLOCATE", (1, 0, min(offset + 1, END))), "FBIG"),
                       (("SETATTR", (8, 0, 0, 0, 0, 0, min(offset + 1, END), 0, 0)), "FBIG"),
                       (("LOCK", lock), "INVAL"), (("UNLOCK", (1, END - 1, 4)), "INVAL"), (("UNLOCK", (1, 0, 0)), "INVAL")):
        assert c.last(("USE", number), op) == status, op
    for procedure, status in (("ZERO", "NOSPC"), ("DISCARD", "INVAL"), ("EXTENTS", "INVAL"), ("CACHE", "INVAL")):
        assert c.call(procedure, (number, offset, 4, 0))[0] == status, procedure
    assert c.call("WRITE", (number, offset, 0, b"abcd"))[0] == "FBIG"
    assert seen(c, name) == (4, b"data")
    raw = c.call("OPEN", (b"raw", 1))[1]["handle"]
    for start, count in ((offset, 1), (1, END), (16 << 20, 1), (0, (16 << 20) + 1)):
        for procedure, status in (("ZERO", "NOSPC"), ("DISCARD", "INVAL"), ("EXTENTS", "INVAL"), ("CACHE", "INVAL")):
            assert c.call(procedure, (raw, start, count, 0))[0] == status, (procedure, start, count)
    assert c.call("READ", (raw, offset, 1))[0] == "INVAL"


def test_counts_of_nothing_and_of_everything_are_answered(c: RawClient, name: bytes) -> None:
    most = 2**32 - 1
    assert c.run() == []
    number = c.run(ROOT, create(name), ("WRITE", (0, 0, b"data")), ("OPEN", (6, 0)))[-1][1]["descriptor"]
    assert c.run(("USE", number), ("READ", (0, 0)))[-1] == ("OK", {"eof": 0, "data": b""})
    for op, status in ((("READ", (0, most)), "MSGSIZE"), (("GET_FILE", most), "OK"), (("RESULT", most), "INVAL"),
                       (("ALLOCATE", (0, 1, 0)), "OK"), (("ALLOCATE", (2, 0, 0)), "INVAL"), (("SEEK", (0, most)), "INVAL"),
                       (("COMMIT_RANGE", (0, 0)), "OK"), (("COMMIT_RANGE", (0, END)), "OK"), (("COMMIT_RANGE", (1, END)), "INVAL"),
                       (("LOCK", (1, 2, 0, 0)), "INVAL"), (("LOCK", (1, most, 0, 1)), "INVAL"), (("WRITE", (0, most, b"x")), "INVAL")):
        assert c.last(("USE", number), op) == status, op
    for op, status in ((("READDIR", (0, 0, 0)), "MSGSIZE"), (("UNLINK", (name, most)), "INVAL"), (("TX_BEGIN", (most, 0, 0)), "INVAL"),
                       (("WATCH", (1, most, 0)), "INVAL"), (("ACCESS", most), "INVAL"), (("STATISTICS", (most, b"")), "INVAL")):
        assert c.last(ROOT, op) == status, op
    assert c.call("READ", (number, 0, most))[0] == "INVAL"
    head = struct.pack(">IIII", 0, 0, 65536, 0)
    for arguments in (head + struct.pack(">I", most), struct.pack(">QQII", number, 0, 0, most) + b"x" * 100):
        with pytest.raises(Refused, match="GARBAGE_ARGS"):
            c.exchange("COMPOUND" if arguments.startswith(head) else "WRITE", arguments)
    assert seen(c, name) == (4, b"data")


def test_compounds_that_are_too_long_or_nested_do_nothing(c: RawClient, name: bytes) -> None:
    assert len(c.run(*[ROOT] * 128)) == 128
    with pytest.raises(Refused, match="GARBAGE_ARGS"):
        c.run(ROOT, create(name), *[ROOT] * 127)
    made = WFS.encode(("list", ("named", "wfs_op")), [(1, b"home"), (13, create(name)[1])])[4:]
    nested = struct.pack(">IIIIII", 16, 0, 0, 65536, 0, 0)
    for inner in (nested, *(struct.pack(">I", code) for code in (0, 53, 2**32 - 1))):
        with pytest.raises(Refused, match="GARBAGE_ARGS"):
            c.exchange("COMPOUND", struct.pack(">IIIII", 0, 0, 65536, 0, 3) + made + inner)
    with pytest.raises(Refused, match="GARBAGE_ARGS"):
        c.exchange("COMPOUND", struct.pack(">IIIII", 0, 0, 65536, 0, 2) + made + b"more")
    assert c.last(ROOT, ("LOOKUP", name)) == "NOENT"


@pytest.mark.parametrize("odd", [b"", b".", b"..", b"a/b", b"a\0b", b"x" * 256])
def test_names_that_are_none_are_refused(c: RawClient, odd: bytes) -> None:
    before = c.run(ROOT, ("GETATTR",))[-1][1]["change"]
    for op in (create(odd), ("UNLINK", (odd, 0)), ("PUT_FILE", (odd, 0o644, 0, b"")), ("RENAME", (b"a", odd, 0)), ("LINK", odd)):
        if odd in (b".", b"..", b"a/b"):
            assert c.last(ROOT, ("SAVE",), op) == "INVAL", op
        else:
            with pytest.raises(Refused, match="GARBAGE_ARGS"):
                c.run(ROOT, ("SAVE",), op)
    assert c.run(ROOT, ("GETATTR",))[-1][1]["change"] == before
    assert c.last(ROOT, ("LOOKUP_PATH", (b"x" * 256, 0))) == "NAMETOOLONG"


def test_slots_go_round_and_not_back(c: RawClient, name: bytes) -> None:
    op = (ROOT, ("LOOKUP", b"none"))
    assert c.run(*op, slot=65, sequence=1)[0][0] == c.run(*op, slot=2**32 - 1, sequence=1)[0][0] == "INVAL"
    for sequence, status in ((2**32 - 1, "OK"), (0, "OK"), (2**32 - 1, "SEQUENCE"), (2**31 + 1, "SEQUENCE"), (7, "OK"), (6, "SEQUENCE")):
        answers = c.run(*op, slot=9, sequence=sequence)
        assert answers[0][0] == status, sequence


def test_transactions_end_once_and_belong_to_a_session(c: RawClient, box: Appliance, name: bytes) -> None:
    def begin(ttl_ms: int = 0) -> int:
        return c.run(ROOT, ("TX_BEGIN", (1, ttl_ms, 0)), create(name))[1][1]

    number = begin()
    with RawClient(box.rpc_socket) as another:
        assert another.last(ROOT, ("TX_USE", number), ("TX_COMMIT", 0)) == "NOENT"
    assert c.last(("ROOT", b"other"), ("TX_USE", number)) == "NOENT"
    assert c.last(ROOT, ("TX_COMMIT", 0)) == c.last(ROOT, ("TX_ABORT",)) == "INVAL"
    assert c.last(ROOT, ("TX_USE", number), ("TX_BEGIN", (1, 0, 0))) == c.last(ROOT, ("TX_USE", number), ("TX_USE", number)) == "INVAL"
    assert c.last(ROOT, ("TX_USE", number), ("TX_ABORT",)) == "OK"
    assert c.last(ROOT, ("TX_USE", number)) == "NOENT"
    number = begin(50)
    wait_for(lambda: c.last(ROOT, ("TX_USE", number)) == "TIMEDOUT", "the end of its time")
    assert c.last(ROOT, ("TX_USE", number), ("TX_COMMIT", 0)) == "TIMEDOUT"
    number = begin()
    written = [c.last(ROOT, ("TX_USE", number), ("LOOKUP", name), ("WRITE", (i << 20, 0, b"z" * (1 << 20))))
               for i in range(10)]
    assert written[0] == "OK" and written[-1] == "2BIG"
    assert c.last(ROOT, ("TX_USE", number), ("TX_COMMIT", 0)) == "2BIG"
    assert c.last(ROOT, ("LOOKUP", name)) == "NOENT"
    number = begin()
    assert c.last(ROOT, ("TX_USE", number), ("TX_COMMIT", 0)) == "OK"
    assert c.last(ROOT, ("TX_USE", number), ("TX_COMMIT", 0)) == "NOENT"
    assert seen(c, name) == (0, b"")


def test_ten_thousand_connections_stop_nobody(c: RawClient, box: Appliance, name: bytes) -> None:
    assert c.last(ROOT, create(name), ("WRITE", (0, 0, b"data"))) == "OK"
    for _ in range(10_000):
        with RawClient(box.rpc_socket, os.urandom(16)):
            pass
    assert seen(c, name) == (4, b"data")
