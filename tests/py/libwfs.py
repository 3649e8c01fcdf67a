# SPDX-License-Identifier: BSD-3-Clause
"""libwfs for tests: a small binding with ctypes. Errors become OSError, with the library's own text."""

import ctypes as c
import errno
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from appliance import program

FILE, DIR, SYMLINK, FIFO = 1, 2, 3, 4
READ, WRITE = 4, 2
EXCLUSIVE, TRUNCATE = 1, 2
NOREPLACE, EXCHANGE = 1, 2
UNLOCKED, SHARED, LOCKED = 0, 1, 2
TO_THE_END = 2**64 - 1


_TYPES = {
    "int": c.c_int, "unsigned": c.c_uint, "uint8_t": c.c_uint8, "uint32_t": c.c_uint32, "uint64_t": c.c_uint64, "size_t": c.c_size_t,
}  # fmt: skip


def _fields(header: str, name: str) -> list[tuple[str, type]]:
    """The members of a struct as its header has them, so that this file cannot fall behind."""
    text = (Path(__file__).parents[2] / "protocol" / "client" / header).read_text()
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.S)
    body = re.search(rf"\nstruct {name} {{(.*?)}};", text, re.S)
    assert body, f"{header} has no struct {name}"
    found: list[tuple[str, type]] = []
    for line in filter(None, map(str.strip, body[1].split(";"))):
        if match := re.fullmatch(r"(.*\*)\s*(\w+)", line, re.S):
            found.append((match[2], c.c_char_p if match[1].startswith("const char") else c.c_void_p))
            continue
        kind, names = re.fullmatch(r"(enum \w+|\w+) (.*)", line, re.S).groups()
        for one in names.split(","):
            member, count = re.fullmatch(r"\s*(\w+)(?:\[.*\])?\s*", one, re.S)[1], 64 if "[" in one else 0
            basic = _TYPES["int" if kind.startswith("enum ") else kind]
            found.append((member, basic * count if count else basic))
    return found


class Handle(c.Structure):
    _fields_ = _fields("wfs_tree.h", "wfs_fh")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Handle) and bytes(self) == bytes(other)

    __hash__ = None  # type: ignore[assignment]


class Cred(c.Structure):
    _fields_ = _fields("wfs_tree.h", "wfs_cred")


class Attr(c.Structure):
    _fields_ = _fields("wfs_tree.h", "wfs_attr")


class New(c.Structure):
    _fields_ = _fields("wfs_tree.h", "wfs_new")


class Dirent(c.Structure):
    _fields_ = _fields("wfs_tree.h", "wfs_dirent")


class Lock(c.Structure):
    _fields_ = _fields("wfs_tree.h", "wfs_lock")


class TxStatus(c.Structure):
    _fields_ = [("state", c.c_int), ("reason", c.c_int), ("fsid", c.c_uint64), ("file_id", c.c_uint64),
                ("committed_ns", c.c_uint64), ("name", c.c_char * 256)]


class Options(c.Structure):
    _fields_ = _fields("wfs.h", "wfs_options")


DirentFn = c.CFUNCTYPE(c.c_int, c.c_void_p, c.POINTER(Dirent))
BatchFn = c.CFUNCTYPE(None, c.c_void_p, c.c_void_p, c.c_int, c.c_uint)

_lib = c.CDLL(program("libwfs.so.0"))
_lib.wfs_error_text.restype = c.c_char_p
_lib.wfs_disconnect.argtypes = [c.c_void_p]
_lib.wfs_disconnect.restype = None
_lib.wfs_close.argtypes = [c.c_void_p]
_lib.wfs_close.restype = None
_lib.wfs_batch_free.argtypes = [c.c_void_p]
_lib.wfs_batch_free.restype = None


def _check(err: int) -> int:
    if err >= 0:
        return err
    text = c.create_string_buffer(512)
    _lib.wfs_error_text(text, c.c_size_t(len(text)))
    raise OSError(-err, text.value.decode(errors="replace"))


class File:
    """An open file of a tree."""

    def __init__(self, pointer: c.c_void_p) -> None:
        self._f = pointer

    def pread(self, count: int, offset: int) -> bytes:
        buf, got = c.create_string_buffer(count), c.c_size_t()
        _check(_lib.wfs_pread_some(self._f, buf, c.c_size_t(count), c.c_uint64(offset), c.byref(got)))
        return buf.raw[: got.value]

    def pwrite(self, data: bytes, offset: int) -> None:
        _check(_lib.wfs_pwrite(self._f, data, c.c_size_t(len(data)), c.c_uint64(offset), 0))

    def append(self, data: bytes) -> int:
        size = c.c_uint64()
        _check(_lib.wfs_append(self._f, data, c.c_size_t(len(data)), c.byref(size)))
        return size.value

    def flush(self) -> None:
        _check(_lib.wfs_flush(self._f))

    def close(self) -> None:
        _lib.wfs_close(self._f)

    def __enter__(self) -> "File":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Batch:
    """Operations that travel together. What they read is in `results` after run(), or when `done` was called."""

    def __init__(self, client: "Client") -> None:
        self.client = client
        self._b = c.c_void_p()
        _check(_lib.wfs_batch_new(client.pointer, c.byref(self._b)))
        self._keep: list[object] = []
        self._reads: list[tuple[c.Array[c.c_char], c.c_size_t]] = []

    def _add(self, name: str, *args: object) -> "Batch":
        _check(getattr(_lib, f"wfs_batch_{name}")(self._b, *args))
        return self

    def put(self, fh: Handle) -> "Batch":
        return self._add("put", c.byref(fh))

    def lookup(self, name: str) -> "Batch":
        return self._add("lookup", name.encode())

    def guard(self, change: int) -> "Batch":
        return self._add("guard", c.c_uint64(change))

    def unlink(self, name: str) -> "Batch":
        return self._add("unlink", name.encode(), 0)

    def put_file(self, name: str, data: bytes, flags: int = 0) -> "Batch":
        self._keep.append(data)
        return self._add("put_file", name.encode(), 0o644, flags, data, len(data), None)

    def get_file(self, count: int) -> "Batch":
        buf, got = c.create_string_buffer(count), c.c_size_t()
        self._reads.append((buf, got))
        return self._add("get_file", buf, count, c.byref(got), None, None)

    def tx_begin(self, isolation: int, ttl_ms: int = 0, atomic: bool = False) -> c.c_uint64:
        """The transaction's number, once the batch has run."""
        number = c.c_uint64()
        self._keep.append(number)
        self._add("tx_begin", c.c_uint(isolation), c.c_uint32(ttl_ms), c.c_uint(atomic), c.byref(number))
        return number

    def tx_use(self, number: int) -> "Batch":
        return self._add("tx_use", c.c_uint64(number))

    def tx_commit(self, durable: bool = False) -> "Batch":
        return self._add("tx_commit", c.c_int(durable))

    def tx_abort(self) -> "Batch":
        return self._add("tx_abort")

    def tx_status(self, number: int) -> TxStatus:
        status = TxStatus()
        self._keep.append(status)
        self._add("tx_status", c.c_uint64(number), c.byref(status))
        return status

    @property
    def results(self) -> list[bytes]:
        return [buf.raw[: got.value] for buf, got in self._reads]

    def run(self) -> "Batch":
        done = c.c_uint()
        _check(_lib.wfs_batch_run(self._b, None, c.byref(done)))
        return self

    def start(self, done: Callable[[int], None]) -> None:
        """@done gets 0 or an errno, in a thread of the library's."""

        def called(_ctx: object, _b: object, err: int, _done: int) -> None:
            done(-err)

        fn = BatchFn(called)
        self._keep.append(fn)
        _check(_lib.wfs_batch_start(self._b, None, fn, None))

    def free(self) -> None:
        _lib.wfs_batch_free(self._b)


class Client:
    """A connection to one server, and what can be done with its trees."""

    def __init__(self, address: str, timeout_s: float = 20, connections: int = 1) -> None:
        options = Options(client_name=b"tests", connections=connections, timeout_ms=int(timeout_s * 1000))
        self.pointer = c.c_void_p()
        self.cred: Cred | None = None
        _check(_lib.wfs_connect(address.encode(), c.byref(options), c.byref(self.pointer)))

    def close(self) -> None:
        _lib.wfs_disconnect(self.pointer)

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
        cred = c.byref(self.cred) if self.cred else None
        return _check(getattr(_lib, name)(self.pointer, cred, *args))

    def root(self, export: str = "") -> Handle:
        fh = Handle()
        self._call("wfs_attach", export.encode(), c.byref(fh), None)
        return fh

    def lookup(self, at: Handle, path: str) -> Handle:
        fh = Handle()
        self._call("wfs_lookup_path", c.byref(at), path.encode(), 1, c.byref(fh), None)
        return fh

    def attr(self, fh: Handle) -> Attr:
        attr = Attr()
        self._call("wfs_getattr", c.byref(fh), c.byref(attr))
        return attr

    def make(self, at: Handle, name: str, kind: int = DIR, mode: int = 0o755, target: str | None = None) -> Handle:
        fh, new = Handle(), New(kind, mode, 0, target.encode() if target else None)
        self._call("wfs_make", c.byref(at), name.encode(), c.byref(new), c.byref(fh), None)
        return fh

    def create(self, at: Handle, name: str, flags: int = 0, access: int = READ | WRITE) -> tuple[File, Handle]:
        f, fh = c.c_void_p(), Handle()
        self._call("wfs_create", c.byref(at), name.encode(), 0o644, flags, access, c.byref(f), c.byref(fh), None, None)
        return File(f), fh

    def open(self, fh: Handle, access: int = READ) -> File:
        f = c.c_void_p()
        self._call("wfs_open_fh", c.byref(fh), access, c.byref(f))
        return File(f)

    def link(self, at: Handle, name: str, target: Handle) -> None:
        self._call("wfs_link", c.byref(at), name.encode(), c.byref(target))

    def unlink(self, at: Handle, name: str, is_dir: bool = False) -> None:
        self._call("wfs_unlink", c.byref(at), name.encode(), int(is_dir))

    def rename(self, at: Handle, name: str, new_at: Handle, new_name: str, flags: int = 0) -> None:
        self._call("wfs_rename", c.byref(at), name.encode(), c.byref(new_at), new_name.encode(), flags)

    def list(self, at: Handle) -> list[str]:
        names: list[str] = []
        cookie, eof = c.c_uint64(), c.c_int()

        def one(_ctx: object, entry: "c._Pointer[Dirent]") -> int:
            e = entry.contents
            names.append(c.string_at(e.name, e.name_len).decode(errors="surrogateescape"))
            cookie.value = e.cookie
            return 1

        fn = DirentFn(one)
        while not eof.value:
            self._call("wfs_readdir", c.byref(at), cookie, 0, 0, fn, None, c.byref(eof))
        return names

    def set_xattr(self, fh: Handle, name: str, value: bytes) -> None:
        self._call("wfs_set_xattr", c.byref(fh), name.encode(), value, c.c_size_t(len(value)), 0)

    def get_xattr(self, fh: Handle, name: str) -> bytes:
        buf, got = c.create_string_buffer(65536), c.c_size_t()
        self._call("wfs_get_xattr", c.byref(fh), name.encode(), buf, c.c_size_t(len(buf)), c.byref(got))
        return buf.raw[: got.value]

    def lock(self, fh: Handle, owner: int, kind: int = LOCKED, offset: int = 0, count: int = TO_THE_END) -> bool:
        """False: somebody else has it."""
        try:
            self._call("wfs_lock", c.byref(fh), c.byref(Lock(owner, kind, offset, count)))
        except OSError as error:
            if error.errno != errno.EAGAIN:
                raise
            return False
        return True

    def collapse(self, fh: Handle, offset: int, length: int) -> None:
        """The range is gone, what is behind it moves down."""
        self._call("wfs_allocate", c.byref(fh), 2, c.c_uint64(offset), c.c_uint64(length))

    def sync(self, fh: Handle) -> None:
        self._call("wfs_sync", c.byref(fh))

    def batch(self) -> Batch:
        return Batch(self)


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
