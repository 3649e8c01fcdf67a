# SPDX-License-Identifier: BSD-3-Clause
"""libwfs for tests: clients, files and events, with ctypes. Errors become OSError, with the library's own text."""

import ctypes as c
import errno
import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import libwfs_abi as abi
from libwfs_abi import NUMBERS, Attr, Cred, EventFn, ExportFn, ExportInfo, Extent, FileInfo, Handle, Lock, New, Options, SetAttr, Stat, Statfs
from libwfs_batch import Batch

FILE, DIR, SYMLINK, FIFO = 1, 2, 3, 4
READ, WRITE = 4, 2
EXCLUSIVE, TRUNCATE = 1, 2
NOREPLACE, EXCHANGE = 1, 2
UNLOCKED, SHARED, LOCKED = 0, 1, 2
TO_THE_END = 2**64 - 1


def _members(structure: c.Structure) -> SimpleNamespace:
    """A copy that outlives what the structure points to."""
    return SimpleNamespace(**{name: getattr(structure, name) for name, _ in structure._fields_})


class Ledger:
    """What open files of one object have in common about what a crash lost."""

    def __init__(self) -> None:
        self.pointer = c.c_void_p(abi.call("wfs_ledger_new"))

    def seen(self) -> int:
        return abi.call("wfs_ledger_seen", self.pointer)

    def close(self) -> None:
        """Those who share it go on."""
        abi.call("wfs_ledger_unref", self.pointer)


class File:
    """An open file of a tree, or an export that is a file."""

    def __init__(self, pointer: c.c_void_p) -> None:
        self._f = pointer

    def _call(self, name: str, *args: object) -> int:
        return abi.call(name, self._f, *args)

    def pread(self, count: int, offset: int) -> bytes:
        buf, got = c.create_string_buffer(count), c.c_size_t()
        self._call("wfs_pread_some", buf, count, offset, got)
        return buf.raw[: got.value]

    def pread_all(self, count: int, offset: int) -> bytes:
        """EINVAL where the file does not have all of it."""
        buf = c.create_string_buffer(count)
        self._call("wfs_pread", buf, count, offset)
        return buf.raw

    def pwrite(self, data: bytes, offset: int, flags: int = 0) -> None:
        self._call("wfs_pwrite", data, len(data), offset, flags)

    def append(self, data: bytes) -> int:
        size = c.c_uint64()
        self._call("wfs_append", data, len(data), size)
        return size.value

    def flush(self) -> None:
        self._call("wfs_flush")

    def discard(self, offset: int, count: int, flags: int = 0) -> None:
        self._call("wfs_discard", offset, count, flags)

    def zero(self, offset: int, count: int, flags: int = 0) -> None:
        self._call("wfs_zero", offset, count, flags)

    def prefetch(self, offset: int, count: int) -> None:
        self._call("wfs_prefetch", offset, count)

    def extents(self, offset: int, count: int, flags: int = 0, most: int = NUMBERS["WFS_EXTENTS_AT_ONCE"]) -> list[Extent]:
        found, got = (Extent * most)(), c.c_uint()
        self._call("wfs_extents", offset, count, flags, found, most, got)
        return list(found[: got.value])

    def info(self) -> SimpleNamespace:
        info = FileInfo()
        self._call("wfs_get_info", info)
        return _members(info)

    def stat(self) -> Stat:
        stat = Stat()
        self._call("wfs_stat", stat)
        return stat

    @contextmanager
    def changed_otherwise(self) -> Iterator[None]:
        """The file is changed in the block, by calls that are not made with it: the next flush answers for that, too."""
        begin = self._call("wfs_change_begin")
        yield
        self._call("wfs_change_end", begin)

    def share(self, ledger: Ledger) -> None:
        self._call("wfs_file_share", ledger.pointer, ledger.seen())

    def lock(self, owner: int, kind: int = LOCKED, offset: int = 0, count: int = TO_THE_END) -> None:
        self._call("wfs_file_lock", Lock(owner, kind, offset, count))

    def lock_wait(self, number: int, owner: int, kind: int = LOCKED, offset: int = 0, count: int = TO_THE_END) -> bool:
        """False: it waits, and an event with @number tells how that ends."""
        try:
            self._call("wfs_file_lock_wait", Lock(owner, kind, offset, count), number)
        except OSError as error:
            if error.errno != errno.EINPROGRESS:
                raise
            return False
        return True

    def lock_granted(self, owner: int, kind: int = LOCKED, offset: int = 0, count: int = TO_THE_END) -> None:
        """An event said so."""
        self._call("wfs_file_lock_granted", Lock(owner, kind, offset, count))

    def lease(self, number: int, kind: int) -> None:
        self._call("wfs_lease", kind, number)

    def close(self) -> None:
        self._call("wfs_close")

    @staticmethod
    def close_many(files: Iterable["File"]) -> None:
        pointers = [f._f for f in files]
        abi.call("wfs_close_many", (c.c_void_p * len(pointers))(*(p.value for p in pointers)), len(pointers))

    def __enter__(self) -> "File":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Listener:
    """A thread that waits for a client's events while the block lasts."""

    def __init__(self, client: "Client") -> None:
        self.client = client
        self.events: "queue.Queue[SimpleNamespace]" = queue.Queue()
        self._fn = EventFn(lambda _ctx, event: self.events.put(_members(event.contents)))
        self._thread = threading.Thread(target=self._wait)

    def _wait(self) -> None:
        while True:
            try:
                abi.call("wfs_events", self.client.pointer, 1000, self._fn, None)
            except OSError as error:
                if error.errno == errno.ECANCELED:
                    return

    def next(self, kind: int, timeout_s: float = 20) -> SimpleNamespace:
        """The next event of that kind; those before it are dropped."""
        while True:
            event = self.events.get(timeout=timeout_s)
            if event.kind == kind:
                return event

    def __enter__(self) -> "Listener":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        abi.call("wfs_events_stop", self.client.pointer)
        self._thread.join()


class Client:
    """A connection to one server, and what can be done with its trees."""

    def __init__(self, address: str, timeout_s: float = 20, connections: int = 1) -> None:
        options = Options(client_name=b"tests", connections=connections, timeout_ms=int(timeout_s * 1000))
        self.pointer = c.c_void_p()
        self.cred: Cred | None = None
        abi.call("wfs_connect", address, options, self.pointer)

    def close(self) -> None:
        abi.call("wfs_disconnect", self.pointer)

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def acting_as(self, uid: int, gid: int) -> Iterator[None]:
        """Calls in the block are made for somebody else."""
        self.cred = Cred(uid, gid, 0, None)
        try:
            yield
        finally:
            self.cred = None

    def _call(self, name: str, *args: object) -> int:
        return abi.call(name, self.pointer, self.cred, *args)

    # Exports.

    def exports(self, most: int = 2**32) -> list[SimpleNamespace]:
        found: list[SimpleNamespace] = []

        def one(_ctx: object, info: "c._Pointer[ExportInfo]") -> int:
            found.append(_members(info.contents))
            return int(len(found) >= most)

        abi.call("wfs_list_exports", self.pointer, ExportFn(one), None)
        return found

    def open_export(self, export: str, flags: int = 0) -> File:
        f = c.c_void_p()
        abi.call("wfs_open", self.pointer, export, flags, f)
        return File(f)

    def statistics(self) -> dict[str, int]:
        """Of the server."""
        found: dict[str, int] = {}
        abi.call("wfs_statistics", self.pointer, abi.counter_fn(found), None)
        return found

    def statistics_of(self, scope: int, export: str | None = None) -> dict[str, int]:
        found: dict[str, int] = {}
        abi.call("wfs_statistics_of", self.pointer, scope, export, abi.counter_fn(found), None)
        return found

    def root(self, export: str = "") -> Handle:
        fh = Handle()
        self._call("wfs_attach", export, fh, None)
        return fh

    # Objects and their names.

    def lookup_name(self, at: Handle, name: str) -> Handle:
        """A single name; links are not followed."""
        fh = Handle()
        self._call("wfs_lookup", at, name, fh, None)
        return fh

    def lookup(self, at: Handle, path: str, follow: bool = True) -> Handle:
        fh = Handle()
        self._call("wfs_lookup_path", at, path, follow, fh, None)
        return fh

    def make(self, at: Handle, name: str, kind: int = DIR, mode: int = 0o755, target: str | None = None) -> Handle:
        fh, new = Handle(), New(kind, mode, 0, target.encode() if target else None)
        self._call("wfs_make", at, name, new, fh, None)
        return fh

    def create(self, at: Handle, name: str, flags: int = 0, access: int = READ | WRITE) -> tuple[File, Handle]:
        f, fh = c.c_void_p(), Handle()
        self._call("wfs_create", at, name, 0o644, flags, access, f, fh, None, None)
        return File(f), fh

    def create_in(self, at: Handle, name: str, flags: int = 0, access: int = READ | WRITE) -> tuple[File, bool, Attr]:
        """Also: was it made by this, and the directory's attributes after it."""
        f, fh, created, directory = c.c_void_p(), Handle(), c.c_int(), Attr()
        self._call("wfs_create_in", at, name, 0o644, flags, access, f, fh, None, created, directory)
        return File(f), bool(created.value), directory

    def open(self, fh: Handle, access: int = READ) -> File:
        f = c.c_void_p()
        self._call("wfs_open_fh", fh, access, f)
        return File(f)

    def open_shared(self, fh: Handle, ledger: Ledger, access: int = READ | WRITE) -> File:
        f = c.c_void_p()
        self._call("wfs_open_fh_shared", fh, access, ledger.pointer, ledger.seen(), f)
        return File(f)

    def link(self, at: Handle, name: str, target: Handle) -> None:
        self._call("wfs_link", at, name, target)

    def unlink(self, at: Handle, name: str, is_dir: bool = False) -> None:
        self._call("wfs_unlink", at, name, is_dir)

    def rename(self, at: Handle, name: str, new_at: Handle, new_name: str, flags: int = 0) -> None:
        self._call("wfs_rename", at, name, new_at, new_name, flags)

    def read_link(self, fh: Handle) -> str:
        target = c.create_string_buffer(NUMBERS["WFS_PATH_BYTES_MAX"] + 1)
        self._call("wfs_read_link", fh, target)
        return target.value.decode(errors="surrogateescape")

    def list(self, at: Handle, max_bytes: int = 0) -> list[str]:
        found: list[tuple[str, int]] = []
        fn, eof = abi.dirent_fn(found), c.c_int()
        while not eof.value:
            self._call("wfs_readdir", at, found[-1][1] if found else 0, 0, max_bytes, fn, None, eof)
        return [name for name, _ in found]

    # Attributes.

    def attr(self, fh: Handle) -> Attr:
        attr = Attr()
        self._call("wfs_getattr", fh, attr)
        return attr

    def set_attr(self, fh: Handle, valid: int, **values: int) -> Attr:
        """@valid: WFS_SET_*."""
        attr = Attr()
        self._call("wfs_setattr", fh, SetAttr(valid=valid, **values), attr)
        return attr

    def set_xattr(self, fh: Handle, name: str, value: bytes, flags: int = 0) -> None:
        self._call("wfs_set_xattr", fh, name, value, len(value), flags)

    def get_xattr(self, fh: Handle, name: str, count: int = 65536) -> bytes:
        buf, got = c.create_string_buffer(count), c.c_size_t()
        self._call("wfs_get_xattr", fh, name, buf, count, got)
        return buf.raw[: got.value]

    def list_xattr(self, fh: Handle) -> "list[str]":
        names: list[str] = []
        self._call("wfs_list_xattr", fh, abi.name_fn(names), None)
        return names

    def remove_xattr(self, fh: Handle, name: str) -> None:
        self._call("wfs_remove_xattr", fh, name)

    def statfs(self, fh: Handle) -> Statfs:
        figures = Statfs()
        self._call("wfs_statfs", fh, figures)
        return figures

    def access(self, fh: Handle, wanted: int) -> int:
        """Those of @wanted that are allowed."""
        allowed = c.c_uint()
        self._call("wfs_access", fh, wanted, allowed)
        return allowed.value

    # Locks, watches and leases.

    def lock(self, fh: Handle, owner: int, kind: int = LOCKED, offset: int = 0, count: int = TO_THE_END) -> bool:
        """False: somebody else has it."""
        try:
            self._call("wfs_lock", fh, Lock(owner, kind, offset, count))
        except OSError as error:
            if error.errno != errno.EAGAIN:
                raise
            return False
        return True

    def lock_test(self, fh: Handle, owner: int, kind: int = LOCKED, offset: int = 0, count: int = TO_THE_END) -> Lock:
        """One that is in the way, or UNLOCKED."""
        other = Lock()
        self._call("wfs_lock_test", fh, Lock(owner, kind, offset, count), other)
        return other

    def locks_keep(self) -> int:
        """How many were lost."""
        lost = c.c_uint()
        abi.call("wfs_locks_keep", self.pointer, lost)
        return lost.value

    def lock_cancel(self, number: int) -> None:
        abi.call("wfs_lock_cancel", self.pointer, number)

    def watch(self, fh: Handle, number: int, what: int = NUMBERS["WFS_CHANGE_ALL"], flags: int = 0) -> None:
        self._call("wfs_watch", fh, number, what, flags)

    def unwatch(self, number: int) -> None:
        abi.call("wfs_unwatch", self.pointer, number)

    def lease_return(self, number: int) -> None:
        abi.call("wfs_lease_return", self.pointer, number)

    def listen(self) -> Listener:
        return Listener(self)

    # Data, without opening a file.

    def allocate(self, fh: Handle, mode: int, offset: int, length: int) -> None:
        self._call("wfs_allocate", fh, mode, offset, length)

    def collapse(self, fh: Handle, offset: int, length: int) -> None:
        """The range is gone, what is behind it moves down."""
        self.allocate(fh, NUMBERS["WFS_ALLOCATE_COLLAPSE"], offset, length)

    def copy(self, source: Handle, offset: int, to: Handle, to_offset: int, length: int) -> int:
        copied = c.c_uint64()
        self._call("wfs_copy", source, offset, to, to_offset, length, copied)
        return copied.value

    def seek(self, fh: Handle, offset: int, what: int) -> int:
        found = c.c_uint64()
        self._call("wfs_seek", fh, offset, what, found)
        return found.value

    def sync(self, fh: Handle) -> None:
        self._call("wfs_sync", fh)

    def sync_range(self, fh: Handle, offset: int, length: int) -> None:
        self._call("wfs_sync_range", fh, offset, length)

    def batch(self) -> Batch:
        return Batch(self.pointer)


def fails(number: int, work: Callable[..., object], *args: object, **named: object) -> None:
    """@work must fail with that errno."""
    try:
        work(*args, **named)
    except OSError as error:
        assert error.errno == number, error
    else:
        raise AssertionError(f"succeeded instead of {errno.errorcode[number]}")


def in_threads(count: int, work: Callable[[int], None]) -> None:
    """Run @work in that many threads at once; the first failure is raised."""
    failures: list[BaseException] = []

    def one(i: int) -> None:
        try:
            work(i)
        except BaseException as error:  # pylint: disable=broad-except
            failures.append(error)

    threads = [threading.Thread(target=one, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
