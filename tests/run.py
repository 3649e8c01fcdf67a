#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Runs the tests and adds them up: "tests/run.py PART..." or "tests/run.py all".

Parts: lint, unit:BUILD (release, clang, asan, tsan, ...), sim (the simulator, two minutes), fuzz (the kept corpus and a short run), py, guest; and by itself valgrind. Every part runs even when an earlier one failed.
In the end it says what was not run, and why. The last line is "N passed, N failed"; the exit status is not 0 when anything failed or nothing ran.
"""
import collections
import concurrent.futures
import ctypes
import errno
import os
import pathlib
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree

ROOT = pathlib.Path(__file__).resolve().parent.parent
ALL = ["lint", "unit:release", "unit:clang", "unit:asan", "unit:tsan", "sim", "fuzz", "py", "guest"]
JOBS = max(2, os.cpu_count() or 1)
# Limits are for hangs, not for speed.
UNIT_LIMIT_S = {"release": 300, "clang": 300, "debug": 3600}
UNIT_LIMIT_DEFAULT_S = 900
PYTEST_LIMIT_S = {"py": 2400, "guest": 900, "lint": 120, "valgrind": 7200}
# Memcheck: whatever it finds fails the program.
MEMCHECK = ["valgrind", "-q", "--error-exitcode=9", "--leak-check=full", "--errors-for-leak-kinds=definite", "--fair-sched=yes"]
# So much slower are programs: limits grow by this, and of many like cases one of each so many is tried. A prime, so that every kind comes.
MEMCHECK_SLOW = 19
# A daemon, commands and mounts, from the start to an orderly end.
MEMCHECK_PY = [
    "tests/py/test_mount.py",
    "tests/py/test_tx_rpc.py",
    "tests/py/test_tx.py::test_all_lines_happen_and_survive_a_kill",
    "tests/py/test_files.py::test_names_attributes_and_contents_are_shown",
    "tests/py/test_files.py::test_watch_tells_what_happens_in_a_directory",
    "tests/py/test_plugin_by_hand.py::test_fio_verifies_through_it",
]
SIM_SECONDS = 110
SIM_LIMIT_S = 600
FUZZ_RUNS = 20000
FUZZ_SECONDS = 15
FUZZ_LIMIT_S = 300
TAIL_LINES = 400
LINE_CHARS_MAX = 300


class Tally:
    """What one part came to."""

    def __init__(self, name):
        self.name, self.passed, self.failed = name, 0, 0
        self.skipped = collections.Counter()  # by reason
        self.started = time.monotonic()
        self.seconds = 0.0

    def add(self, passed, failed, skipped=()):
        self.passed += passed
        self.failed += failed
        self.skipped.update(skipped)


def environment(build="release"):
    env = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "BUILD", "V")}
    env.update(
        CMOCKA_MESSAGE_OUTPUT="TAP",
        ASAN_OPTIONS="detect_leaks=1:strict_string_checks=1",
        UBSAN_OPTIONS="print_stacktrace=1",
        # Lock order is judged by the ranks of core/base/sync.h. The sanitizer's own graph knows a lock by its address, and
        # sees cycles where equals are locked by offset and their memory is used again for another offset.
        TSAN_OPTIONS="detect_deadlocks=0",
        LC_ALL="C.UTF-8",
        PYTHONDONTWRITEBYTECODE="1",
        WFSD_BUILD=build,
    )
    return env


def forbid_io_uring():
    """For the process and its children: io_uring_setup() is EPERM. By a filter of seccomp(2), in classic BPF."""
    program = b"".join(struct.pack("=HBBI", *instruction) for instruction in (
        (0x20, 0, 0, 0),  # load the number of the system call
        (0x15, 0, 1, 425),  # io_uring_setup?
        (0x06, 0, 0, 0x00050000 | errno.EPERM),  # then fail
        (0x06, 0, 0, 0x7FFF0000),  # else allow
    ))
    buffer = ctypes.create_string_buffer(program, len(program))
    head = struct.pack("@HP", len(program) // 8, ctypes.addressof(buffer))
    libc = ctypes.CDLL(None, use_errno=True)
    no_new_privileges, set_seccomp, filter_mode = 38, 22, 2
    if libc.prctl(no_new_privileges, 1, 0, 0, 0) or libc.prctl(set_seccomp, filter_mode, head):
        raise OSError(ctypes.get_errno(), "seccomp")


def run(command, limit_s, env, cwd=ROOT, before=None):
    """Run in its own process group; everything in it is gone on return. (status, output); a hang has status -1."""
    process = subprocess.Popen(
        command, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        start_new_session=True, text=True, errors="replace", preexec_fn=before,
    )
    try:
        output, _ = process.communicate(timeout=limit_s)
        status = process.returncode
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
        return -1, f"{output}\n*** stopped after {limit_s} s\n"
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    return status, output


def parse_tap(output, status):
    """(passed, failed, skipped) of a program that may hold several groups, each with its own plan."""
    planned = sum(int(n) for n in re.findall(r"^1\.\.(\d+)", output, re.M))
    results = re.findall(r"^(ok|not ok) \d+(.*)$", output, re.M)
    skipped = sum("# SKIP" in text.upper() for _, text in results)
    failed = sum(word == "not ok" and "# SKIP" not in text.upper() for word, text in results)
    passed = len(results) - skipped - failed
    missing = max(0, planned - len(results))
    if status != 0 and not failed and not missing:
        missing = 1
    if status == 0 and not results:
        missing = 1
    return passed, failed + missing, skipped


def tail(text, lines=TAIL_LINES):
    all_lines = text.splitlines()
    if len(all_lines) > lines:
        all_lines = [f"... {len(all_lines) - lines} lines before"] + all_lines[-lines:]
    return "\n".join("    " + line[:LINE_CHARS_MAX] for line in all_lines)


def say(text):
    print(text, flush=True)


def make(target, build, tally, limit_s=1800):
    """Build; a target that does not build counts as one failure. True when all of it was built."""
    command = [os.environ.get("MAKE", "make"), "-k", "--no-print-directory", f"-j{JOBS}", target, f"BUILD={build}"]
    status, output = run(command, limit_s, environment(build))
    if status != 0:
        tally.add(0, 1)
        say(f"FAILED  {tally.name}: make {target} BUILD={build}\n{tail(output)}")
    return status == 0


def fixed_addresses():
    """The thread sanitizer of clang 14 cannot live with much address randomisation."""
    command = ["setarch", os.uname().machine, "-R"]
    if shutil.which(command[0]) and subprocess.run(command + ["true"], capture_output=True).returncode == 0:
        return command
    return []


def run_program(part, program, prefix, build, before):
    limit_s = UNIT_LIMIT_S.get(build, UNIT_LIMIT_DEFAULT_S)
    started = time.monotonic()
    status, output = run(prefix + [str(program)], limit_s, environment(build), before=before)
    passed, failed, skipped = parse_tap(output, status)
    name = program.relative_to(ROOT / "build" / build / "unit")
    seconds = time.monotonic() - started
    if failed:
        say(f"FAILED  {part} {name}: {passed} passed, {failed} failed, exit status {status}\n{tail(output)}")
    else:
        say(f"ok      {part} {name}: {passed} passed{f', {skipped} skipped' if skipped else ''} ({seconds:.1f} s)")
    return passed, failed, {f"{name} cannot run all its tests here": skipped} if skipped else {}


def part_unit(tally, build, prefix=None, before=None):
    make("unit-build", build, tally)
    if build == "clang":
        make("all", build, tally)
    sources = sorted((ROOT / "tests/unit").rglob("*_test.c"))
    programs = [ROOT / "build" / build / "unit" / s.relative_to(ROOT / "tests/unit").with_suffix("") for s in sources]
    if build == "tsan":
        prefix = fixed_addresses()
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for result in pool.map(lambda p: run_program(tally.name, p, prefix or [], build, before), [p for p in programs if p.exists()]):
            tally.add(*result)
    # "make -k" told about those that were not built: each is a failure of its own.
    tally.add(0, sum(not p.exists() for p in programs))


def part_valgrind(tally):
    """The programs of the debug build under memcheck. It does not know what io_uring writes."""
    os.environ.update(WFSD_TEST_SLOW=str(MEMCHECK_SLOW), WFSD_TEST_UNDER=" ".join(MEMCHECK))
    part_unit(tally, "debug", MEMCHECK, forbid_io_uring)
    if make("all", "debug", tally):
        part_pytest(tally, MEMCHECK_PY, "debug", forbid_io_uring)


def count_junit(path):
    """(passed, failed, how many were skipped by reason) of pytest's report; None when there is none."""
    try:
        root = xml.etree.ElementTree.parse(path).getroot()
    except (OSError, xml.etree.ElementTree.ParseError):
        return None
    total = failed = 0
    skipped = collections.Counter(skip.get("message", "no reason") for skip in root.iter("skipped"))
    for suite in root.iter("testsuite"):
        total += int(suite.get("tests", 0))
        failed += int(suite.get("failures", 0)) + int(suite.get("errors", 0))
    return max(0, total - failed - skipped.total()), failed, skipped


def part_pytest(tally, places, build="release", before=None):
    """Folders, files, or single tests of files."""
    report = ROOT / "build" / f"{tally.name}.xml"
    report.parent.mkdir(exist_ok=True)
    report.unlink(missing_ok=True)
    limit_s = PYTEST_LIMIT_S[tally.name]
    command = [sys.executable, "-m", "pytest", "-q", "-rfEs", "-p", "no:cacheprovider", f"--junitxml={report}", *places]
    status, output = run(command, limit_s, environment(build), before=before)
    counts = count_junit(report)
    if counts is None:
        counts = (0, 1, {})
    elif status not in (0, 1, 5) and counts[1] == 0:
        counts = (counts[0], 1, counts[2])
    tally.add(*counts)
    skipped = sum(counts[2].values())
    word = "FAILED" if counts[1] else "ok"
    say(f"{word:7} {tally.name}: {counts[0]} passed, {counts[1]} failed, {skipped} skipped\n{tail(output)}")


def part_lint(tally):
    status, output = run([sys.executable, "tests/lint/lint.py"], 300, environment())
    tally.add(status == 0, status != 0)
    say(f"{'ok' if status == 0 else 'FAILED':7} lint\n{tail(output)}")
    part_pytest(tally, ["tests/lint"])


def run_fuzzer(source):
    """The kept corpus, then new inputs, the same ones every time as far as there is time for them."""
    program = ROOT / "build/fuzz/fuzz" / source.stem
    if not program.exists():
        return source.stem, 1, "not built", 0.0
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        command = [str(ROOT / "tests/fuzz/run.sh"), str(program), folder, "-seed=1", f"-runs={FUZZ_RUNS}",
                   f"-max_total_time={FUZZ_SECONDS}"]
        status, output = run(command, FUZZ_LIMIT_S, environment())
    return source.stem, status, output, time.monotonic() - started


def part_sim(tally):
    if not make("sim-build", "sim", tally):
        return
    status, output = run(["build/sim/simulate", "--seconds", str(SIM_SECONDS)], SIM_LIMIT_S, environment())
    tally.add(status == 0, status != 0)
    say(f"{'ok' if status == 0 else 'FAILED':7} sim\n{tail(output, 60)}")


def part_fuzz(tally):
    make("fuzz-build", "fuzz", tally)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for name, status, output, seconds in pool.map(run_fuzzer, sorted((ROOT / "tests/fuzz").glob("*_fuzz.c"))):
            tally.add(status == 0, status != 0)
            if status:
                say(f"FAILED  fuzz {name}\n{tail(output, 60)}")
            else:
                say(f"ok      fuzz {name} ({seconds:.1f} s)")


def part_py(tally):
    if make("all", "release", tally):
        part_pytest(tally, ["tests/py"])


def part_guest(tally):
    if make("all", "release", tally):
        part_pytest(tally, ["tests/guest"])


def run_part(name):
    tally = Tally(name)
    say(f"== {name}")
    kind, _, build = name.partition(":")
    try:
        if kind == "unit":
            part_unit(tally, build)
        else:
            {"lint": part_lint, "sim": part_sim, "fuzz": part_fuzz, "py": part_py, "guest": part_guest, "valgrind": part_valgrind}[kind](tally)
    except Exception as error:  # a part that breaks must not hide the others
        tally.add(0, 1)
        say(f"FAILED  {name}: {error!r}")
    if not tally.passed and not tally.failed:
        tally.add(0, 1)
        say(f"FAILED  {name}: there was nothing to run")
    tally.seconds = time.monotonic() - tally.started
    return tally


def main(arguments):
    known = re.compile(r"lint|sim|fuzz|py|guest|valgrind|unit:[a-z]+")
    parts = ALL if arguments == ["all"] else arguments
    if not parts or not all(known.fullmatch(p) for p in parts):
        print(__doc__, file=sys.stderr)
        return 2
    tallies = [run_part(p) for p in parts]
    say("")
    for t in tallies:
        say(f"{t.name:14} {t.passed:6} passed {t.failed:5} failed {t.skipped.total():5} skipped {t.seconds:7.1f} s")
    for t in tallies:
        for reason, count in t.skipped.most_common():
            say(f"not run: {count} of {t.name}: {reason}")
    passed, failed = sum(t.passed for t in tallies), sum(t.failed for t in tallies)
    say(f"{passed} passed, {failed} failed")
    return 0 if passed and not failed else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
