# SPDX-License-Identifier: BSD-3-Clause
"""A client of the wfs protocol that shares no code with libwfs: it knows docs/PROTOCOL.md and reads the layouts from protocol/wfs.x."""

import os
import re
import socket
import struct
from pathlib import Path
from typing import Any

PROGRAM = 0x20574653
Type = tuple[Any, ...]


class Layouts:
    """The types and constants of a .x file (RFC 4506, section 6), as far as wfs.x goes."""

    def __init__(self, path: Path) -> None:
        text = re.sub(r"/\*.*?\*/", "", path.read_text(), flags=re.S)
        self._words = iter(re.findall(r"\w+|[{}()<>\[\];:=*]", text.split("\nprogram ")[0]))
        self._word = next(self._words, "")
        self.constants: dict[str, int] = {}
        self.types: dict[str, Type] = {}
        while self._word:
            self._definition()

    def _take(self, expected: str = "") -> str:
        word, self._word = self._word, next(self._words, "")
        assert not expected or word == expected, (word, expected)
        return word

    def _number(self) -> int:
        word = self._take()
        return self.constants[word] if word in self.constants else int(word, 0)

    def _constant(self) -> None:
        name = self._take()
        self._take("=")
        self.constants[name] = self._number()

    def _definition(self) -> None:
        kind = self._take()
        if kind == "const":
            self._constant()
        elif kind == "typedef":
            name, self.types[""] = self._declaration()
            self.types[name] = self.types.pop("")
        else:
            name = self._take()
            self.types[name] = {"enum": self._enum, "struct": self._struct, "union": self._union}[kind]()
        self._take(";")

    def _enum(self) -> Type:
        self._take("{")
        while self._word != "}":
            self._constant()
        self._take("}")
        return ("uint",)

    def _struct(self) -> Type:
        self._take("{")
        fields = []
        while self._word != "}":
            fields.append(self._declaration())
            self._take(";")
        self._take("}")
        return ("struct", fields)

    def _union(self) -> Type:
        self._take("switch")
        self._take("(")
        self._take()
        self._take()
        self._take(")")
        self._take("{")
        arms: dict[int | None, Type] = {}
        while self._word != "}":
            key = None if self._take() == "default" else self._number()
            self._take(":")
            arms[key] = self._declaration()[1]
            self._take(";")
        self._take("}")
        return ("union", arms)

    def _declaration(self) -> tuple[str, Type]:
        kind = self._take()
        if kind == "void":
            return "", ("void",)
        if kind == "unsigned":
            kind = "u" + self._take()
        if kind in ("opaque", "string"):
            name, bracket = self._take(), self._take()
            most = self._number()
            self._take()
            return name, ("fixed" if bracket == "[" else "bytes", most)
        one: Type = (kind,) if kind in ("uint", "uhyper", "bool") else ("named", kind)
        if self._word == "*":
            self._take()
            return self._take(), ("optional", one)
        name = self._take()
        if self._word != "<":
            return name, one
        self._take()
        if self._word != ">":
            self._number()
        self._take(">")
        return name, ("list", one)

    def encode(self, t: Type, value: Any) -> bytes:
        match t[0]:
            case "void":
                return b""
            case "uint" | "bool":
                return struct.pack(">I", value)
            case "uhyper":
                return struct.pack(">Q", value)
            case "fixed":
                return bytes(value)
            case "bytes":
                return struct.pack(">I", len(value)) + value + b"\0" * (-len(value) % 4)
            case "list":
                return struct.pack(">I", len(value)) + b"".join(self.encode(t[1], one) for one in value)
            case "named":
                return self.encode(self.types[t[1]], value)
            case "struct":
                return b"".join(self.encode(field, one) for (_, field), one in zip(t[1], value, strict=True))
            case _:
                arm = t[1].get(value[0], t[1].get(None, ("void",)))
                return struct.pack(">I", value[0]) + self.encode(arm, value[1])

    def decode(self, t: Type, data: bytes, at: int) -> tuple[Any, int]:
        match t[0]:
            case "void":
                return None, at
            case "uint" | "bool":
                return struct.unpack_from(">I", data, at)[0], at + 4
            case "uhyper":
                return struct.unpack_from(">Q", data, at)[0], at + 8
            case "fixed":
                return data[at : at + t[1]], at + t[1]
            case "bytes":
                (count,) = struct.unpack_from(">I", data, at)
                assert count <= t[1] and at + 4 + count <= len(data)
                return data[at + 4 : at + 4 + count], at + 4 + count + -count % 4
            case "list" | "optional":
                (count,) = struct.unpack_from(">I", data, at)
                values, at = [], at + 4
                for _ in range(count):
                    value, at = self.decode(t[1], data, at)
                    values.append(value)
                return (values if t[0] == "list" else values[0] if values else None), at
            case "named":
                return self.decode(self.types[t[1]], data, at)
            case "struct":
                fields = {}
                for name, field in t[1]:
                    fields[name], at = self.decode(field, data, at)
                return fields, at
            case _:
                (key,) = struct.unpack_from(">I", data, at)
                value, at = self.decode(t[1].get(key, t[1].get(None, ("void",))), data, at + 4)
                return (key, value), at


WFS = Layouts(Path(__file__).resolve().parents[2] / "protocol" / "wfs.x")
STATUS = {value: name.removeprefix("WFS_ERR_").removeprefix("WFS_") for name, value in WFS.constants.items()
          if name == "WFS_OK" or name.startswith("WFS_ERR_")}
PROCEDURES = {"HELLO": 1, "OPEN": 3, "READ": 5, "WRITE": 6, "DISCARD": 8, "ZERO": 9, "EXTENTS": 10, "CACHE": 11, "CLOSE": 12, "COMPOUND": 16,
              "NOTICES": 17}
ARGUMENTS = {"WRITE": "wfs_write_args", "OPEN": "wfs_open_args", "READ": "wfs_read_args", "CLOSE": "wfs_handle_args",
             "HELLO": "wfs_hello_args", "COMPOUND": "wfs_compound_args", "NOTICES": "wfs_notices_args"}
RESULTS = {"HELLO": "wfs_hello_res", "OPEN": "wfs_open_res", "READ": "wfs_read_res", "EXTENTS": "wfs_extents_res", "COMPOUND": "wfs_compound_res",
           "NOTICES": "wfs_notices_res"}
REFUSALS = {1: "PROG_UNAVAIL", 2: "PROG_MISMATCH", 3: "PROC_UNAVAIL", 4: "GARBAGE_ARGS"}
ROOT = ("ROOT", b"home")


class Refused(Exception):
    """RPC's own error, by its name."""


class RawClient:
    """One connection."""

    def __init__(self, path: Path, client_id: bytes | None = None, connection: int = 0) -> None:
        self.client_id = client_id or os.urandom(16)
        self.xid = 0
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(30)
        self.socket.connect(str(path))
        status, self.hello = self.call("HELLO", (self.client_id, connection, WFS.constants["WFS_FEATURE_TREES"], 60, b"raw"))
        assert status == "OK"

    def __enter__(self) -> "RawClient":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def _receive(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            more = self.socket.recv(count - len(data))
            if not more:
                raise ConnectionError("the server has closed the connection")
            data += more
        return data

    def exchange(self, procedure: str, arguments: bytes) -> tuple[str, Any]:
        self.xid += 1
        call = struct.pack(">IIIIIIIIII", self.xid, 0, 2, PROGRAM, 1, PROCEDURES[procedure], 0, 0, 0, 0) + arguments
        self.socket.sendall(struct.pack(">I", 0x80000000 | len(call)) + call)
        reply, last = b"", 0
        while not last:
            (mark,) = struct.unpack(">I", self._receive(4))
            last = mark >> 31
            reply += self._receive(mark & 0x7FFFFFFF)
        xid, is_reply, denied, _, verifier, accepted = struct.unpack_from(">IIIIII", reply)
        assert (xid, is_reply, denied, verifier) == (self.xid, 1, 0, 0)
        if accepted:
            raise Refused(REFUSALS[accepted])
        (status, value), end = WFS.decode(WFS.types[RESULTS.get(procedure, "wfs_void_res")], reply, 24)
        assert end == len(reply)
        return STATUS[status], value

    def call(self, procedure: str, arguments: tuple[Any, ...]) -> tuple[str, Any]:
        return self.exchange(procedure, WFS.encode(WFS.types[ARGUMENTS.get(procedure, "wfs_range_args")], arguments))

    def run(self, *ops: tuple[Any, ...], slot: int = 0, sequence: int = 0) -> list[tuple[str, Any]]:
        """A compound: what its operations answered. A status of the compound itself is the only element."""
        coded = [(WFS.constants[f"WFS_OP_{op[0]}"], op[1] if len(op) > 1 else None) for op in ops]
        status, results = self.call("COMPOUND", (slot, sequence, 65536, 0, coded))
        if status != "OK":
            return [(status, results)]
        return [("OK", result[1]) if status == 0 else (STATUS[status], result) for status, result in results]

    def last(self, *ops: tuple[Any, ...]) -> str:
        """The status with which it ended."""
        return self.run(*ops)[-1][0]


def create(name: bytes, flags: int = 1) -> tuple[Any, ...]:
    return ("CREATE", (name, 1, 0o644, 0, b"", 6, flags))
