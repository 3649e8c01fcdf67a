# SPDX-License-Identifier: BSD-3-Clause
"""libwfs for tests: batches. Operations that travel together, by the names that the library has for them."""

import ctypes as c
from collections.abc import Callable

import libwfs_abi as abi
from libwfs_abi import Attr, BatchFn, Handle, Lock, New, SetAttr, Statfs, TxStatus


class Batch:
    """
    An operation without a result answers the batch, for the next one. What an operation answers otherwise is filled by
    run(), or when `done` was called; what files and attributes hold is in `results`, in the order it was asked for.
    """

    def __init__(self, client: c.c_void_p) -> None:
        self.client = client
        self.done = c.c_uint()
        self._b = c.c_void_p()
        abi.call("wfs_batch_new", client, self._b)
        self._keep: list[object] = []
        self._reads: list[tuple[c.Array[c.c_char], c.c_size_t]] = []

    def _add(self, name: str, *args: object) -> "Batch":
        self._keep.append(args)
        abi.call(name, self._b, *args)
        return self

    def _data(self, count: int) -> tuple["c.Array[c.c_char]", c.c_size_t]:
        self._reads.append((c.create_string_buffer(count), c.c_size_t()))
        return self._reads[-1]

    # Handles: the current one and the saved one.

    def root(self, export: str = "") -> "Batch":
        return self._add("wfs_batch_root", export)

    def put(self, fh: Handle) -> "Batch":
        return self._add("wfs_batch_put", fh)

    def save(self) -> "Batch":
        return self._add("wfs_batch_save")

    def restore(self) -> "Batch":
        return self._add("wfs_batch_restore")

    def result(self, index: int) -> "Batch":
        return self._add("wfs_batch_result", index)

    def get_fh(self) -> Handle:
        fh = Handle()
        self._add("wfs_batch_get_fh", fh)
        return fh

    def lookup(self, name: str) -> "Batch":
        return self._add("wfs_batch_lookup", name)

    def lookup_path(self, path: str, follow: bool = True) -> "Batch":
        return self._add("wfs_batch_lookup_path", path, follow)

    # Names.

    def create(self, name: str, flags: int = 0, access: int = 6, mode: int = 0o644) -> c.c_int:
        """Was it made by this?"""
        created = c.c_int()
        self._add("wfs_batch_create", name, mode, flags, access, created)
        return created

    def make(self, name: str, kind: int = 2, mode: int = 0o755, target: bytes | None = None) -> "Batch":
        return self._add("wfs_batch_make", name, New(kind, mode, 0, target))

    def create_nameless(self, mode: int = 0o644) -> "Batch":
        return self._add("wfs_batch_create_nameless", mode)

    def link(self, name: str) -> "Batch":
        return self._add("wfs_batch_link", name)

    def unlink(self, name: str, is_dir: bool = False) -> "Batch":
        return self._add("wfs_batch_unlink", name, is_dir)

    def rename(self, name: str, new_name: str, flags: int = 0) -> "Batch":
        return self._add("wfs_batch_rename", name, new_name, flags)

    def read_link(self) -> "c.Array[c.c_char]":
        target = c.create_string_buffer(abi.NUMBERS["WFS_PATH_BYTES_MAX"] + 1)
        self._add("wfs_batch_read_link", target)
        return target

    def readdir(self, cookie: int = 0, max_bytes: int = 0) -> list[tuple[str, int]]:
        """Names, and the cookie behind each."""
        found: list[tuple[str, int]] = []
        self._add("wfs_batch_readdir", cookie, 0, max_bytes, abi.dirent_fn(found), None, c.c_int())
        return found

    # Attributes and figures.

    def guard(self, change: int) -> "Batch":
        return self._add("wfs_batch_guard", change)

    def getattr(self) -> Attr:
        attr = Attr()
        self._add("wfs_batch_getattr", attr)
        return attr

    def setattr(self, valid: int, **values: int) -> Attr:
        attr = Attr()
        self._add("wfs_batch_setattr", SetAttr(valid=valid, **values), attr)
        return attr

    def get_xattr(self, name: str, count: int = 4096) -> "Batch":
        buf, got = self._data(count)
        return self._add("wfs_batch_get_xattr", name, buf, count, got)

    def set_xattr(self, name: str, value: bytes, flags: int = 0) -> "Batch":
        return self._add("wfs_batch_set_xattr", name, value, len(value), flags)

    def list_xattr(self) -> list[str]:
        names: list[str] = []
        self._add("wfs_batch_list_xattr", abi.name_fn(names), None)
        return names

    def remove_xattr(self, name: str) -> "Batch":
        return self._add("wfs_batch_remove_xattr", name)

    def statfs(self) -> Statfs:
        figures = Statfs()
        self._add("wfs_batch_statfs", figures)
        return figures

    def statistics(self, scope: int, export: str | None = None) -> dict[str, int]:
        found: dict[str, int] = {}
        self._add("wfs_batch_statistics", scope, export, abi.counter_fn(found), None)
        return found

    def access(self, wanted: int) -> c.c_uint:
        allowed = c.c_uint()
        self._add("wfs_batch_access", wanted, allowed)
        return allowed

    # Data.

    def put_file(self, name: str, data: bytes, flags: int = 0) -> "Batch":
        return self._add("wfs_batch_put_file", name, 0o644, flags, data, len(data), None)

    def get_file(self, count: int) -> "Batch":
        buf, got = self._data(count)
        return self._add("wfs_batch_get_file", buf, count, got, None, None)

    def read(self, count: int, offset: int = 0) -> "Batch":
        buf, got = self._data(count)
        return self._add("wfs_batch_read", buf, count, offset, got)

    def write(self, data: bytes, offset: int = 0, flags: int = 0) -> "Batch":
        return self._add("wfs_batch_write", data, len(data), offset, flags)

    def sync(self) -> "Batch":
        return self._add("wfs_batch_sync")

    def sync_range(self, offset: int, count: int) -> "Batch":
        return self._add("wfs_batch_sync_range", offset, count)

    def allocate(self, mode: int, offset: int, count: int) -> "Batch":
        return self._add("wfs_batch_allocate", mode, offset, count)

    def seek(self, offset: int, what: int) -> c.c_uint64:
        found = c.c_uint64()
        self._add("wfs_batch_seek", offset, what, found)
        return found

    def copy(self, from_offset: int, to_offset: int, count: int) -> c.c_uint64:
        """From the saved file to the current one. How much was copied."""
        copied = c.c_uint64()
        self._add("wfs_batch_copy", from_offset, to_offset, count, copied)
        return copied

    # Locks.

    def lock(self, owner: int, kind: int, offset: int, count: int) -> "Batch":
        return self._add("wfs_batch_lock", Lock(owner, kind, offset, count))

    def lock_test(self, owner: int, kind: int, offset: int, count: int) -> Lock:
        other = Lock()
        self._add("wfs_batch_lock_test", Lock(owner, kind, offset, count), other)
        return other

    # Transactions.

    def tx_begin(self, isolation: int, ttl_ms: int = 0, atomic: bool = False) -> c.c_uint64:
        """The transaction's number, once the batch has run."""
        number = c.c_uint64()
        self._add("wfs_batch_tx_begin", isolation, ttl_ms, atomic, number)
        return number

    def tx_use(self, number: int) -> "Batch":
        return self._add("wfs_batch_tx_use", number)

    def tx_commit(self, durable: bool = False) -> "Batch":
        return self._add("wfs_batch_tx_commit", durable)

    def tx_abort(self) -> "Batch":
        return self._add("wfs_batch_tx_abort")

    def tx_status(self, number: int) -> TxStatus:
        status = TxStatus()
        self._add("wfs_batch_tx_status", number, status)
        return status

    # The batch as a whole.

    @property
    def results(self) -> list[bytes]:
        return [buf.raw[: got.value] for buf, got in self._reads]

    def within(self, within_ms: int) -> "Batch":
        """What has not begun by then is not done."""
        abi.call("wfs_batch_within", self._b, within_ms)
        return self

    def run(self) -> "Batch":
        """`done` is how many operations were, also when it fails."""
        abi.call("wfs_batch_run", self._b, None, self.done)
        return self

    def start(self, done: Callable[[int], None]) -> None:
        """@done gets 0 or an errno, in a thread of the library's."""

        def called(_ctx: object, _b: object, err: int, count: int) -> None:
            self.done.value = count
            done(-err)

        fn = BatchFn(called)
        self._keep.append(fn)
        abi.call("wfs_batch_start", self._b, None, fn, None)

    def cancel(self) -> None:
        """What has not begun of a batch that was started is not done."""
        abi.call("wfs_batch_cancel", self.client, self._b)

    def clear(self) -> "Batch":
        """For the next operations."""
        abi.call("wfs_batch_clear", self._b)
        self._keep.clear()
        self._reads.clear()
        return self

    def free(self) -> None:
        abi.call("wfs_batch_free", self._b)
