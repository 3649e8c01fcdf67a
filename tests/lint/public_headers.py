# SPDX-License-Identifier: BSD-3-Clause
"""What libwfs offers to programs, read from its headers: for the manual page's check and for the binding of the tests."""
import pathlib
import re
from dataclasses import dataclass

HEADERS = ("wfs.h", "wfs_tree.h", "wfs_watch.h")


@dataclass(frozen=True)
class Function:
    """A prototype: "int", "wfs_stat", ("struct wfs_file *f", "struct wfs_stat *ret"); () for "void"."""

    returns: str
    name: str
    parameters: tuple[str, ...]


def plain(text: str) -> str:
    """Without comments, and with one blank where there were several or a line's end."""
    return re.sub(r"[ \t\n]+", " ", re.sub(r"/\*.*?\*/", " ", text, flags=re.S))


def functions(text: str) -> list[Function]:
    found = []
    for returns, name, parameters in re.findall(r"WFS_PUBLIC ([^;()]*?)(wfs_\w+)\(([^;]*?)\);", plain(text)):
        found.append(Function(returns.strip(), name, tuple(p.strip() for p in parameters.split(",") if p.strip() != "void")))
    return found


def constants(text: str) -> dict[str, int]:
    """Macros that are plain numbers, and members of enumerations."""
    return {name: int(value) for name, value in re.findall(r"(?:#define |[{,] )(WFS_\w+) (?:= )?(\d+)u?\b", plain(text))}


def members(text: str, struct: str) -> list[tuple[str, str, str]]:
    """(type, name, number of elements, "" for one that is no array) of each member of a struct."""
    body = re.search(rf"\bstruct {struct} {{(.*?)}};", plain(text))
    if not body:
        raise ValueError(f"there is no struct {struct}")
    found = []
    for line in filter(None, map(str.strip, body[1].split(";"))):
        kind, names = re.fullmatch(r"((?:const )?(?:struct |enum )?\w+) (.*)", line).groups()
        for one in names.split(","):
            stars, name, count = re.fullmatch(r"\s*(\**)(\w+)(?:\[(.*)\])?\s*", one).groups()
            found.append((f"{kind} {stars}".strip(), name, count or ""))
    return found


def read(root: pathlib.Path) -> str:
    """The text of all headers."""
    return "".join((root / "protocol" / "client" / name).read_text() for name in HEADERS)
