# SPDX-License-Identifier: BSD-3-Clause
"""Two volumes at once, in one pool and in two: neither sees, slows to a halt, or loses anything of the other."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from appliance import Appliance
from nbdclient import FIO_VERIFY, MIB, connect, fio, pattern, read_all, run, write_bytes


def test_two_volumes_keep_their_data_apart(appliance: Appliance) -> None:
    uris = [appliance.add_volume(f"tank/{name}", "32M", name) for name in ("a", "b")]
    with connect(uris[0]) as a, connect(uris[1]) as b:
        for number in range(200):
            at = (number * 37 % 256) * 100_000
            a.pwrite(pattern(5000, number), at)
            b.pwrite(pattern(5000, number + 1000), at)
        a.flush()
        b.trim(MIB, 0)
        at = (199 * 37 % 256) * 100_000
        assert bytes(a.pread(5000, at)) == pattern(5000, 199)
        assert bytes(b.pread(5000, at)) == pattern(5000, 1199)
        assert bytes(a.pread(5000, 0)) == pattern(5000, 0)
        assert bytes(b.pread(5000, 0)) == bytes(5000)


def test_fio_verifies_on_two_volumes_at_once_and_again_after_a_restart(appliance: Appliance, tmp_path: Path) -> None:
    uris = [appliance.add_volume(f"tank/{name}", "32M", name) for name in ("a", "b")]
    options = [o for o in FIO_VERIFY if not o.startswith("--randrepeat")] + ["--size=32m"]

    def job(number: int, *more: str) -> None:
        folder = tmp_path / str(number)
        folder.mkdir(exist_ok=True)
        fio(uris[number], folder, *options, f"--randseed={number + 1}", *more)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(job, range(2)))
    appliance.restart()
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda number: job(number, "--verify_only"), range(2)))


def test_copies_in_both_directions_at_once(appliance: Appliance, tmp_path: Path) -> None:
    uris = [appliance.add_volume(f"tank/{name}", "64M", name) for name in ("a", "b")]
    first, second, back = tmp_path / "first", tmp_path / "second", tmp_path / "back"
    first.write_bytes(pattern(64 * MIB, 1))
    second.write_bytes(pattern(64 * MIB, 2))
    run("nbdcopy", "--flush", first, uris[0])
    with ThreadPoolExecutor(2) as pool:
        reading = pool.submit(run, "nbdcopy", uris[0], back)
        writing = pool.submit(run, "nbdcopy", "--flush", second, uris[1])
        reading.result()
        writing.result()
    run("cmp", first, back)
    assert read_all(uris[1]) == second.read_bytes()


def test_volume_of_a_second_pool_is_independent(appliance: Appliance) -> None:
    appliance.create_pool("other", "128M")
    one = appliance.add_volume("tank/v", "16M", "one")
    two = appliance.add_volume("other/v", "16M", "two")
    write_bytes(one, pattern(16 * MIB, 1))
    write_bytes(two, pattern(16 * MIB, 2))
    appliance.restart()
    assert read_all(one) == pattern(16 * MIB, 1)
    assert read_all(two) == pattern(16 * MIB, 2)
    appliance.wfs("export", "remove", "two")
    appliance.wfs("pool", "export", "other")
    assert read_all(one) == pattern(16 * MIB, 1)
