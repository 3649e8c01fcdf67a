# SPDX-License-Identifier: BSD-3-Clause
"""libwfs for tests, its lowest part: types, numbers and prototypes as the headers have them, so that nothing here can fall behind."""

import ctypes as c
import sys
from collections.abc import Callable

from appliance import ROOT, program

sys.path.insert(0, str(ROOT / "tests" / "lint"))
import public_headers  # noqa: E402  pylint: disable=wrong-import-position

_TEXT = public_headers.read(ROOT)
NUMBERS = public_headers.constants(_TEXT)

_BASIC = {
    "int": c.c_int, "unsigned": c.c_uint, "char": c.c_char, "uint8_t": c.c_uint8, "uint32_t": c.c_uint32, "uint64_t": c.c_uint64, "size_t": c.c_size_t,
}  # fmt: skip


def _type(kind: str) -> type:
    if kind.endswith("*"):
        return c.c_char_p if kind.startswith("const char ") else c.c_void_p
    return c.c_int if kind.startswith("enum ") else _BASIC[kind]


def _fields(struct: str) -> list[tuple[str, type]]:
    found = []
    for kind, name, count in public_headers.members(_TEXT, struct):
        one = _type(kind)
        found.append((name, one * eval(count, {}, NUMBERS) if count else one))  # pylint: disable=eval-used
    return found


class Handle(c.Structure):
    _fields_ = _fields("wfs_fh")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Handle) and bytes(self) == bytes(other)

    __hash__ = None  # type: ignore[assignment]


class Cred(c.Structure):
    _fields_ = _fields("wfs_cred")


class Attr(c.Structure):
    _fields_ = _fields("wfs_attr")


class SetAttr(c.Structure):
    _fields_ = _fields("wfs_set_attr")


class New(c.Structure):
    _fields_ = _fields("wfs_new")


class Dirent(c.Structure):
    _fields_ = _fields("wfs_dirent")


class Timespec(c.Structure):
    """Of <time.h>."""

    _fields_ = [("tv_sec", c.c_long), ("tv_nsec", c.c_long)]


class Statfs(c.Structure):
    _fields_ = _fields("wfs_statfs")


class Lock(c.Structure):
    _fields_ = _fields("wfs_lock")


class TxStatus(c.Structure):
    _fields_ = _fields("wfs_tx_status")


class Options(c.Structure):
    _fields_ = _fields("wfs_options")


class ExportInfo(c.Structure):
    _fields_ = _fields("wfs_export_info")


class FileInfo(c.Structure):
    _fields_ = _fields("wfs_file_info")


class Stat(c.Structure):
    _fields_ = _fields("wfs_stat")


class Extent(c.Structure):
    _fields_ = _fields("wfs_extent")


class Event(c.Structure):
    _fields_ = _fields("wfs_event")


ExportFn = c.CFUNCTYPE(c.c_int, c.c_void_p, c.POINTER(ExportInfo))
CounterFn = c.CFUNCTYPE(None, c.c_void_p, c.c_char_p, c.c_uint64)
DirentFn = c.CFUNCTYPE(c.c_int, c.c_void_p, c.POINTER(Dirent))
NameFn = c.CFUNCTYPE(None, c.c_void_p, c.c_void_p, c.c_size_t)
EventFn = c.CFUNCTYPE(None, c.c_void_p, c.POINTER(Event))
BatchFn = c.CFUNCTYPE(None, c.c_void_p, c.c_void_p, c.c_int, c.c_uint)


class _Text:
    """const char *: what is str here travels as the bytes that it stands for."""

    @staticmethod
    def from_param(value: str | bytes | None) -> c.c_char_p:
        return c.c_char_p(value.encode(errors="surrogateescape") if isinstance(value, str) else value)


class _Pointer:
    """Any other pointer: structures and numbers are given by themselves, and get their results."""

    @staticmethod
    def from_param(value: object) -> object:
        by_reference = isinstance(value, (c.Structure, c._SimpleCData)) and not isinstance(value, c.c_void_p)
        return c.c_void_p.from_param(c.byref(value) if by_reference else value)


class _NewObject:
    """A pointer to where a pointer goes."""

    @staticmethod
    def from_param(value: c.c_void_p) -> object:
        return c.c_void_p.from_param(c.byref(value))


def _parameter(text: str) -> type:
    kind, _, name = text.rpartition(" ")
    if "**" in text:
        return _NewObject
    if "*" in text:
        return _Text if kind == "const char" and name != "*buf" else _Pointer
    return _type(kind)


def _load() -> dict[str, Callable]:
    library = c.CDLL(program("libwfs.so.0"))
    found: dict[str, Callable] = {}
    for function in public_headers.functions(_TEXT):
        found[function.name] = getattr(library, function.name)
        found[function.name].argtypes = [_parameter(p) for p in function.parameters]
        found[function.name].restype = None if function.returns == "void" else _type(function.returns)
    return found


CALLS = _load()


def call(name: str, *args: object) -> int:
    """What the function returns; a negative errno becomes OSError, with the library's own text."""
    result = CALLS[name](*args)
    if result is None or result >= 0:
        return result
    text = c.create_string_buffer(512)
    CALLS["wfs_error_text"](text, len(text))
    raise OSError(-result, text.value.decode(errors="replace"))


def time_there_and_back(seconds: int, ns: int) -> tuple[int, int, int]:
    """As one number, and as what that becomes again."""
    number, back = call("wfs_time_to_ns", Timespec(seconds, ns)), Timespec()
    call("wfs_time_from_ns", number, back)
    return number, back.tv_sec, back.tv_nsec


def counter_fn(found: dict[str, int]) -> CounterFn:
    """Figures go to @found, by name."""

    def one(_ctx: object, name: bytes, value: int) -> None:
        found[name.decode()] = value

    return CounterFn(one)


def name_fn(found: list[str]) -> NameFn:
    return NameFn(lambda _ctx, name, count: found.append(c.string_at(name, count).decode()))


def dirent_fn(found: list[tuple[str, int]]) -> DirentFn:
    """Names and cookies go to @found."""

    def one(_ctx: object, entry: "c._Pointer[Dirent]") -> int:
        e = entry.contents
        found.append((c.string_at(e.name, e.name_len).decode(errors="surrogateescape"), e.cookie))
        return 1

    return DirentFn(one)
