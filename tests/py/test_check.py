# SPDX-License-Identifier: BSD-3-Clause
"""`wfs pool check`: of pool files without a daemon, and of imported pools, also while they are written to."""

import threading
from collections.abc import Callable

import pytest
from appliance import Appliance, wait_for
from diskformat import Device
from nbdclient import MIB, connect, pattern, write_bytes

DATA = pattern(4 * MIB, 1)


@pytest.fixture
def stopped(appliance: Appliance) -> Appliance:
    """A daemon that has ended, with a pool of two volumes, one of which holds data, and the rest of a deleted one."""
    uri = appliance.add_volume("tank/v", "16M", "v")
    write_bytes(uri, DATA, 0)
    write_bytes(uri, DATA[:MIB], MIB)
    appliance.create_volume("tank/empty", "1G")
    gone = appliance.add_volume("tank/gone", "16M", "gone")
    write_bytes(gone, DATA, 0)
    appliance.wfs("export", "remove", "gone")
    appliance.wfs("volume", "delete", "tank/gone", "--yes")
    assert appliance.stop() == 0
    return appliance


def check(box: Appliance, *args: str) -> dict:
    """The report of a check that found nothing."""
    done = box.run_wfs("--json", "pool", "check", *args)
    assert done.status == 0, done.out + done.err
    report = done.json
    assert report["state"] == "done"
    assert report["damage_count"] == 0
    return report


def test_closed_pool_is_clean(stopped: Appliance) -> None:
    report = check(stopped, str(stopped.pool_file("tank")), "--data")
    assert report["note_count"] == 0
    assert report["pool"] == "tank"
    assert not report["online"]
    assert report["dataset_count"] >= 2
    assert report["read_block_count"] == report["data_block_count"] >= len(DATA) // 4096
    assert report["done_blocks"] == report["total_blocks"]
    done = stopped.run_wfs("pool", "check", str(stopped.pool_file("tank")))
    assert done.out.endswith("clean\n")


def test_a_check_changes_nothing(stopped: Appliance) -> None:
    before = stopped.pool_file("tank").read_bytes()
    check(stopped, str(stopped.pool_file("tank")), "--data")
    assert stopped.pool_file("tank").read_bytes() == before


def test_killed_daemon_leaves_an_undamaged_pool(appliance: Appliance) -> None:
    uri = appliance.add_volume("tank/v", "16M", "v")
    write_bytes(uri, DATA, 0)
    appliance.kill9()
    check(appliance, str(appliance.pool_file("tank")), "--data")


def test_damaged_data_is_found_by_reading_it(stopped: Appliance) -> None:
    path = stopped.pool_file("tank")
    # Where the last MiB of DATA begins, which was written once.
    at = path.read_bytes().index(DATA[3 * MIB : 3 * MIB + 4096])
    Device(path).write(at + 100, b"damage")
    check(stopped, str(path))
    done = stopped.run_wfs("--json", "pool", "check", str(path), "--data")
    assert done.status == 1
    [finding] = done.json["findings"]
    assert finding["kind"] == "data-crc"
    assert finding["severity"] == "damage"
    assert finding["name"] == "v"
    assert finding["offset"] == 3 * MIB
    assert finding["device"] == str(path)
    assert finding["device_offset"] == at
    done = stopped.run_wfs("pool", "check", str(path), "--data")
    assert done.status == 1
    assert "volume v" in done.out
    assert str(at) in done.out
    assert done.out.endswith("1 problem\n")


def test_damaged_label_is_found(stopped: Appliance) -> None:
    path = stopped.pool_file("tank")
    Device(path).write(4096 + 200, b"damage")
    done = stopped.run_wfs("--json", "pool", "check", str(path))
    assert done.status == 1
    assert [f["kind"] for f in done.json["findings"]] == ["label"]


def test_what_cannot_be_checked_is_status_2(appliance: Appliance) -> None:
    junk = appliance.folder / "junk"
    junk.write_bytes(bytes(4 * MIB))
    for args in ([str(junk)], [str(appliance.folder / "missing")], ["nopool"], ["nopool", "nopool2"]):
        done = appliance.run_wfs("pool", "check", *args)
        assert done.status == 2, args
        assert done.err.strip()


def test_files_that_the_daemon_uses_are_refused(appliance: Appliance) -> None:
    done = appliance.run_wfs("pool", "check", str(appliance.pool_file("tank")))
    assert done.status == 2
    assert str(appliance.pid) in done.err
    assert "by its name" in done.err


def test_two_devices_in_any_order(make_appliance: Callable[..., Appliance]) -> None:
    box = make_appliance(pool=None)
    paths = [str(box.pool_file(name)) for name in ("a", "b")]
    box.wfs("pool", "create", "tank", *paths, "--size", "128M")
    write_bytes(box.add_volume("tank/v", "16M", "v"), DATA, 0)
    assert box.stop() == 0
    check(box, *paths)
    check(box, *reversed(paths), "--data")
    done = box.run_wfs("pool", "check", paths[1])
    assert done.status == 2
    assert "missing" in done.err


def test_pool_in_use_is_checked_by_the_daemon(appliance: Appliance) -> None:
    assert appliance.admin("/v1/pools/tank/check").json["state"] == "never"
    write_bytes(appliance.add_volume("tank/v", "16M", "v"), DATA, 0)
    report = check(appliance, "tank", "--data")
    assert report["online"]
    assert report["note_count"] == 0
    assert report["read_block_count"] == len(DATA) // 4096
    assert report["done_blocks"] == report["total_blocks"]
    again = appliance.admin("/v1/pools/tank/check").json
    assert again["state"] == "done"
    assert again["ended_ns"] == report["ended_ns"]
    done = appliance.run_wfs("pool", "check", "tank")
    assert done.status == 0
    assert done.out.endswith("clean\n")


def test_no_findings_while_the_pool_is_written_to(appliance: Appliance) -> None:
    uri = appliance.add_volume("tank/v", "64M", "v")
    stop = threading.Event()
    failures: list[Exception] = []

    def write(seed: int) -> None:
        try:
            with connect(uri) as handle:
                number = seed
                while not stop.is_set():
                    number = (number * 1103515245 + 12345) % (1 << 31)
                    at = number // 7 % 16000 * 4096
                    if number % 11 == 0:
                        handle.trim(65536, at)
                    else:
                        handle.pwrite(DATA[: 4096 * (1 + number % 16)], at)
                    if number % 5 == 0:
                        handle.flush()
        except Exception as error:
            failures.append(error)

    writers = [threading.Thread(target=write, args=(seed,)) for seed in (1, 2)]
    for writer in writers:
        writer.start()
    try:
        for round_number in range(10):
            name = f"tank/short{round_number}"
            appliance.create_volume(name, "8M")
            report = check(appliance, "tank", *(["--data"] if round_number % 2 else []))
            assert report["note_count"] == 0
            appliance.wfs("volume", "delete", name, "--yes")
    finally:
        stop.set()
        for writer in writers:
            writer.join()
    assert not failures


def test_damage_under_a_daemon_is_found(appliance: Appliance) -> None:
    write_bytes(appliance.add_volume("tank/v", "16M", "v"), DATA, 0)
    appliance.wfs("pool", "sync", "tank")
    path = appliance.pool_file("tank")
    # The last place: the log may hold the same bytes before it.
    at = path.read_bytes().rindex(DATA[:4096])
    Device(path).write(at, b"damage")
    done = appliance.run_wfs("--json", "pool", "check", "tank", "--data")
    assert done.status == 1
    [finding] = done.json["findings"]
    assert (finding["kind"], finding["name"], finding["offset"]) == ("data-crc", "v", 0)
    assert finding["device_offset"] == at
    assert "the check found 1 problems" in appliance.log()


def test_check_in_the_background_can_be_stopped_and_not_doubled(appliance: Appliance) -> None:
    assert appliance.admin("/v1/pools/none/check", "POST", {}).status == 404
    assert appliance.admin("/v1/pools/tank/check", "POST", {"data": True}).status == 400
    write_bytes(appliance.add_volume("tank/v", "64M", "v"), DATA * 16, 0)
    answers = [appliance.admin("/v1/pools/tank/check", "POST", {"with_data": True}).status for _ in range(3)]
    assert answers[0] == 202
    assert set(answers) <= {202, 409}
    assert appliance.admin("/v1/pools/tank/check", "DELETE").status == 200

    def state() -> str:
        found = appliance.admin("/v1/pools/tank/check").json["state"]
        return "" if found == "running" else found

    assert wait_for(state, "the check to end") in ("done", "stopped")
