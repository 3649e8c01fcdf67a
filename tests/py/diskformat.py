# SPDX-License-Identifier: BSD-3-Clause
"""Reads and damages what FORMAT.md describes of a WFS v3 device: labels, root slots, the pool tree's root node."""

import ctypes
import struct
from dataclasses import dataclass
from pathlib import Path

BLOCK = 4096
NODE = 16384
LABEL = 1 << 20
HEADER_OFFSET = 4096
HEADER_CHECKSUM = 4080
ROOTS_OFFSET = 512 << 10
ROOT_SLOTS = 64
LABEL_MAGIC = b"WFS3LABL"
ROOT_MAGIC = b"WFS3ROOT"


class _Hash128(ctypes.Structure):
    _fields_ = (("low", ctypes.c_uint64), ("high", ctypes.c_uint64))


_xxhash = ctypes.CDLL("libxxhash.so.0")
_xxhash.XXH3_128bits.restype = _Hash128
_xxhash.XXH3_128bits.argtypes = (ctypes.c_char_p, ctypes.c_size_t)


def hash128(data: bytes) -> bytes:
    """XXH3-128 as it stands on the device: low half, high half, little-endian."""
    found = _xxhash.XXH3_128bits(data, len(data))
    return struct.pack("<QQ", found.low, found.high)


@dataclass
class Root:
    """One valid root slot."""

    offset: int
    txg: int
    pool_tree: int


class Device:
    """A pool file (of a pool with one device), while no daemon has it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = path.stat().st_size

    def read(self, offset: int, length: int) -> bytes:
        with open(self.path, "rb") as image:
            image.seek(offset)
            return image.read(length)

    def write(self, offset: int, data: bytes) -> None:
        with open(self.path, "r+b") as image:
            image.seek(offset)
            image.write(data)

    def damage(self, offset: int, length: int = 64) -> None:
        """Turn bytes over."""
        self.write(offset, bytes(byte ^ 0xA5 for byte in self.read(offset, length)))

    def label_offsets(self) -> list[int]:
        """Front and back label."""
        return [0, self.size // LABEL * LABEL - LABEL]

    def patch_labels(self, field_offset: int, data: bytes) -> None:
        """Change a field of both label headers and make their checksums right again."""
        for label in self.label_offsets():
            block = bytearray(self.read(label + HEADER_OFFSET, BLOCK))
            assert block[:8] == LABEL_MAGIC
            block[field_offset : field_offset + len(data)] = data
            block[HEADER_CHECKSUM:] = hash128(bytes(block[:HEADER_CHECKSUM]))
            self.write(label + HEADER_OFFSET, bytes(block))

    def set_version(self, version: int) -> None:
        self.patch_labels(8, struct.pack("<I", version))

    def set_incompatible_features(self, bits: int) -> None:
        self.patch_labels(16, struct.pack("<Q", bits))

    def roots(self) -> list[Root]:
        """All valid root slots of both rings, newest first."""
        found = []
        for label in self.label_offsets():
            for slot in range(ROOT_SLOTS):
                offset = label + ROOTS_OFFSET + slot * BLOCK
                block = self.read(offset, BLOCK)
                if block[:8] == ROOT_MAGIC and block[8:24] == hash128(block[24:]):
                    txg, _time, pool_tree = struct.unpack_from("<QQQ", block, 40)
                    found.append(Root(offset, txg, pool_tree))
        return sorted(found, key=lambda root: -root.txg)

    def node_offset(self, address: int) -> int:
        """Where a virtual block address is: on one device region N of the pool is region N - 1 of the device."""
        header = self.read(HEADER_OFFSET, BLOCK)
        (region_bytes,) = struct.unpack_from("<Q", header, 136)
        (regions_offset,) = struct.unpack_from("<Q", header, 152 + 7 * 8)
        region, block = divmod(address, region_bytes // BLOCK)
        return regions_offset + (region - 1) * region_bytes + block * BLOCK

    def find(self, data: bytes) -> list[int]:
        """Offsets of a block's content."""
        content = self.path.read_bytes()
        found = []
        at = content.find(data)
        while at >= 0:
            found.append(at)
            at = content.find(data, at + 1)
        return found
