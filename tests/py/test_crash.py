# SPDX-License-Identifier: BSD-3-Clause
"""The daemon is killed again and again under load: every block holds what was flushed last, or something written since."""

import os
import random
import threading
import time

import nbd
from appliance import Appliance
from nbdclient import KIB, MIB, connect

CYCLES = int(os.environ.get("WFSD_CRASH_CYCLES", "8"))
BLOCK = 4 * KIB
SIZE = 32 * MIB
BLOCKS = SIZE // BLOCK


def contents(block: int, version: int) -> bytes:
    """A block of which every part tells what it is; version 0: never written."""
    if not version:
        return bytes(BLOCK)
    return block.to_bytes(8, "little") + version.to_bytes(8, "little") + (b"%08x%08x" % (block, version)) * 255


class Writer(threading.Thread):
    """One client on its own part of a volume, which knows what each block may hold after a crash."""

    def __init__(self, uri: str, first: int, count: int, seed: int) -> None:
        super().__init__()
        self.uri = uri
        self.first = first
        self.count = count
        self.rng = random.Random(seed)
        self.version = 0
        self.flushed = 0  # how many flushes were answered
        self.may_hold: dict[int, list[int]] = {}  # the first one was durable

    def run(self) -> None:
        try:
            with connect(self.uri) as handle:
                while True:
                    self._step(handle)
        except nbd.Error:
            pass  # the daemon is gone

    def _step(self, handle: nbd.NBD) -> None:
        kind = self.rng.random()
        length = 1 if kind < 0.6 else self.rng.randrange(1, 100)
        start = self.first + self.rng.randrange(self.count - length)
        fua = self.rng.random() < 0.3
        if kind < 0.05:
            self._note(start, [0] * length)
            handle.trim(length * BLOCK, start * BLOCK)
        else:
            versions = [self.version + i + 1 for i in range(length)]
            self.version += length
            self._note(start, versions)
            data = b"".join(contents(start + i, version) for i, version in enumerate(versions))
            handle.pwrite(data, start * BLOCK, nbd.CMD_FLAG_FUA if fua else 0)
            if fua:
                self._settle(range(start, start + length))
        if self.rng.random() < 0.2:
            handle.flush()
            self._settle(list(self.may_hold))
            self.flushed += 1

    def _note(self, start: int, versions: list[int]) -> None:
        for i, version in enumerate(versions):
            self.may_hold.setdefault(start + i, [0]).append(version)

    def _settle(self, blocks) -> None:
        for block in blocks:
            self.may_hold[block] = self.may_hold[block][-1:]

    def verify(self, handle: nbd.NBD) -> None:
        """What is there now is what the next crash must leave."""
        for block, versions in self.may_hold.items():
            found = bytes(handle.pread(BLOCK, block * BLOCK))
            match = [version for version in versions if contents(block, version) == found]
            assert match, f"block {block} holds none of {versions}: {found[:32]!r}"
            self.may_hold[block] = match[-1:]


def test_kill_9_under_load_loses_nothing_that_was_flushed(appliance: Appliance) -> None:
    rng = random.Random(5)
    uris = [appliance.add_volume(f"tank/v{i}", f"{SIZE // MIB}M", f"v{i}") for i in range(2)]
    history = [Writer(uri, part * BLOCKS // 2, BLOCKS // 2, part) for uri in uris for part in range(2)]
    flushes = 0
    for cycle in range(CYCLES):
        writers = []
        for number, old in enumerate(history):
            writer = Writer(old.uri, old.first, old.count, 1000 * cycle + number)
            writer.version, writer.may_hold = old.version, old.may_hold
            writers.append(writer)
            writer.start()
        time.sleep(rng.uniform(0.05, 0.6))
        appliance.kill9()
        for writer in writers:
            writer.join(20)
            assert not writer.is_alive()
            flushes += writer.flushed
        appliance.start()
        for writer in writers:
            with connect(writer.uri) as handle:
                writer.verify(handle)
        history = writers
        status = appliance.wfs("pool", "status", "tank")
        assert status["log"]["clean_start"] is False
    assert flushes > CYCLES, "the load was no load"
    status = appliance.wfs("pool", "status", "tank")
    assert status["health"] == "online" and not status["reason"], status
    appliance.stop()
    appliance.start()
    assert appliance.wfs("pool", "status", "tank")["log"]["clean_start"] is True
