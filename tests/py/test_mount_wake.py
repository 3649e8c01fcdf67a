# SPDX-License-Identifier: BSD-3-Clause
"""What a mount asks of the kernel about sleeping processors. Needs root and /dev/fuse."""

import struct
from collections.abc import Callable
from pathlib import Path

import pytest

import mounts
from appliance import Appliance, Settings, wait_for
from mounts import Mount, create_tree

# Documentation/power/pm_qos_interface.rst of the kernel.
WAKE_DEVICE, NO_LIMIT_USEC = Path("/dev/cpu_dma_latency"), 2000000000

pytestmark = [
    pytest.mark.skipif(mounts.why_not() is not None, reason=str(mounts.why_not())),
    pytest.mark.skipif(not WAKE_DEVICE.exists(), reason="the kernel has no CPU latency QoS"),
]


def test_processors_are_kept_awake_only_while_a_program_asks_all_the_time(make_appliance: Callable[..., Appliance]) -> None:
    box = make_appliance(Settings())
    mount = Mount(create_tree(box), box.folder / "mnt", "wake_latency=3,entry_timeout=0,attr_timeout=0,coherent_timeout=0").start()

    def asked_usec() -> int:
        # What all who ask have asked for together.
        return struct.unpack("i", WAKE_DEVICE.read_bytes()[:4])[0]

    def asking() -> bool:
        for _ in range(200):
            (mount / "nothing").exists()
        return asked_usec() == 3

    try:
        wait_for(asking, "a limit while a program asks")
        wait_for(lambda: asked_usec() == NO_LIMIT_USEC, "no limit when nothing asks")
        wait_for(asking, "a limit again")
        assert mount.stop() == 0
        wait_for(lambda: asked_usec() == NO_LIMIT_USEC, "no limit without the mount")
    finally:
        mount.dispose()
