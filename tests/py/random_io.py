#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Random I/O on one file, checked against a copy in memory: read, write, append, truncate, mapped memory, holes, copies
within the file, sync, reopening. Two descriptors are used, one of them appending. The seed repeats a run.

    random_io.py FILE SECONDS [SEED]
"""

import mmap
import os
import random
import sys
import time

from mounts import FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE, FALLOC_ZERO_RANGE, fallocate

SIZE_MAX = 768 * 1024
LENGTH_MAX = 64 * 1024
PAGE = mmap.PAGESIZE


class RandomIo:
    """The file and its model."""

    def __init__(self, path: str, seed: int) -> None:
        self.path = path
        self.random = random.Random(seed)
        self.model = bytearray()
        self.count = 0
        self.log: list[str] = []
        self.fd = self.appender = -1
        self.reopen()

    def reopen(self) -> None:
        for fd in (self.fd, self.appender):
            if fd >= 0:
                os.close(fd)
        self.fd = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        self.appender = os.open(self.path, os.O_WRONLY | os.O_APPEND)

    def bytes_of(self, length: int) -> bytes:
        """Not all random: that would take longer than writing them."""
        self.count += 1
        return (self.count.to_bytes(4, "little") + self.random.randbytes(28)) * (length // 32) + b"x" * (length % 32)

    def place(self, limit: int) -> tuple[int, int]:
        """A range that starts before @limit; often small, often at the edges of pages."""
        offset = self.random.randrange(limit)
        length = self.random.randrange(1, self.random.choice((16, PAGE, LENGTH_MAX)))
        if self.random.random() < 0.3:
            offset -= offset % PAGE
        return offset, length

    def put(self, offset: int, data: bytes) -> None:
        if len(self.model) < offset:
            self.model.extend(bytes(offset - len(self.model)))
        self.model[offset : offset + len(data)] = data

    def check(self, what: str, got: bytes, offset: int) -> None:
        wanted = bytes(self.model[offset : offset + len(got)])
        if got == wanted:
            return
        at = next(i for i in range(len(got)) if got[i] != wanted[i])
        raise AssertionError(
            f"{what}: byte {offset + at} (in a range of {len(got)} from {offset}, file of {len(self.model)}) is "
            f"{got[at : at + 16]!r}, not {wanted[at : at + 16]!r}; the last operations:\n" + "\n".join(self.log[-20:])
        )

    # The operations

    def op_write(self) -> str:
        offset, length = self.place(SIZE_MAX - LENGTH_MAX)
        data = self.bytes_of(length)
        assert os.pwrite(self.fd, data, offset) == length
        self.put(offset, data)
        return f"write {offset}+{length}"

    def op_read(self) -> str:
        offset, length = self.place(SIZE_MAX)
        got = os.pread(self.fd, length, offset)
        assert len(got) == max(0, min(length, len(self.model) - offset)), f"{len(got)} bytes read of {length}"
        self.check("read", got, offset)
        return f"read {offset}+{length}"

    def op_append(self) -> str:
        if len(self.model) > SIZE_MAX - LENGTH_MAX:
            return "no append"
        data = self.bytes_of(self.place(1)[1])
        assert os.write(self.appender, data) == len(data)
        self.model.extend(data)
        return f"append {len(data)}"

    def op_truncate(self) -> str:
        size = self.random.randrange(SIZE_MAX)
        os.ftruncate(self.fd, size)
        if size < len(self.model):
            del self.model[size:]
        else:
            self.model.extend(bytes(size - len(self.model)))
        return f"truncate {size}"

    def op_map_write(self) -> str:
        if not self.model:
            return "nothing to map"
        offset, length = self.place(len(self.model))
        data = self.bytes_of(min(length, len(self.model) - offset))
        with mmap.mmap(self.fd, len(self.model)) as memory:
            memory[offset : offset + len(data)] = data
            if self.random.random() < 0.3:
                memory.flush()
        self.put(offset, data)
        return f"map write {offset}+{len(data)}"

    def op_map_read(self) -> str:
        if not self.model:
            return "nothing to map"
        offset, length = self.place(len(self.model))
        with mmap.mmap(self.fd, len(self.model), prot=mmap.PROT_READ) as memory:
            self.check("map read", memory[offset : offset + length], offset)
        return f"map read {offset}+{length}"

    def op_punch(self) -> str:
        offset, length = self.place(SIZE_MAX - LENGTH_MAX)
        fallocate(self.fd, FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, offset, length)
        end = min(offset + length, len(self.model))
        if offset < end:
            self.model[offset:end] = bytes(end - offset)
        return f"punch {offset}+{length}"

    def op_zero(self) -> str:
        offset, length = self.place(SIZE_MAX - LENGTH_MAX)
        fallocate(self.fd, FALLOC_ZERO_RANGE, offset, length)
        self.put(offset, bytes(length))
        return f"zero {offset}+{length}"

    def op_copy(self) -> str:
        if not self.model:
            return "nothing to copy"
        offset, length = self.place(len(self.model))
        length = min(length, len(self.model) - offset)
        to = self.random.randrange(SIZE_MAX - LENGTH_MAX)
        if to < offset + length and offset < to + length:
            return "no copy onto itself"
        done = os.copy_file_range(self.fd, self.fd, length, offset, to)
        assert 0 < done <= length
        self.put(to, bytes(self.model[offset : offset + done]))
        return f"copy {offset}+{done} to {to}"

    def op_sync(self) -> str:
        os.fsync(self.fd)
        return "sync"

    def op_reopen(self) -> str:
        self.reopen()
        return "reopen"

    def op_size(self) -> str:
        assert os.fstat(self.fd).st_size == len(self.model)
        return "size"

    def run(self, seconds: float) -> int:
        """Returns the number of operations."""
        weights = {
            self.op_write: 20, self.op_read: 20, self.op_append: 6, self.op_truncate: 5, self.op_map_write: 15,
            self.op_map_read: 15, self.op_punch: 5, self.op_zero: 4, self.op_copy: 5, self.op_sync: 2,
            self.op_reopen: 2, self.op_size: 5,
        }  # fmt: skip
        operations, shares = list(weights), list(weights.values())
        deadline, done = time.monotonic() + seconds, 0
        while time.monotonic() < deadline:
            operation = self.random.choices(operations, shares)[0]
            try:
                self.log.append(f"{done}: {operation()}")
            except (AssertionError, OSError) as error:
                raise AssertionError(f"{operation.__name__}: {error}\n" + "\n".join(self.log[-20:])) from error
            del self.log[:-20]
            done += 1
        self.check("at the end", os.pread(self.fd, SIZE_MAX * 2, 0), 0)
        return done


def main() -> None:
    seed = int(sys.argv[3]) if len(sys.argv) > 3 else time.time_ns() & 0xFFFFFF
    print(f"seed {seed}", flush=True)
    print(f"{RandomIo(sys.argv[1], seed).run(float(sys.argv[2]))} operations")


if __name__ == "__main__":
    main()
