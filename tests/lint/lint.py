#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""The project's own rules, checked from the text of the files. "make lint" runs it; it prints what is wrong, one a line.

Rules: who may include whom (include_rules.py); files of at most 600 lines and functions of at most 70, unless
tests/lint/exceptions.txt says so; an SPDX line and a comment with the purpose; clang-format; no unfinished work; no
paths of the machine it was written on; manual pages, completion and example configuration that know every call, command,
option and key (manuals.py); documents that name only what is there (named.py).
"""
import os
import pathlib
import re
import shutil
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import include_rules  # noqa: E402
import manuals  # noqa: E402
import named  # noqa: E402

FILE_LINES_MAX = 600
FUNCTION_LINES_MAX = 70
EXCEPTIONS = "tests/lint/exceptions.txt"
SPDX = "SPDX-License-Identifier: BSD-3-Clause"
# Versions differ in detail; the code is formatted by that of Debian 12.
FORMAT_VERSION = "14"
CODE = (".c", ".h")
SIZED = (".c", ".h", ".py", ".sh")
NEEDS_SPDX = SIZED + (".x", ".yaml", ".service", ".socket", ".bash")
TEXT = NEEDS_SPDX + (".md", ".conf", ".txt")
# Written in two pieces, so that this file passes its own rule.
UNFINISHED = re.compile(r"\b(" + "|".join(("TO" + "DO", "FIX" + "ME", "X" + "XX")) + r")\b")
FOLDERS = ("core", "protocol", "server", "plugins", "config", "systemd", "tests", "docs")
FUNCTION_NAME = re.compile(r"([A-Za-z_]\w*)\s*\(")


def files(root):
    """Every source file under the project's folders, as paths relative to the root."""
    found = [p for p in ("Makefile", "Dockerfile", "README.md", ".ci/run") if (root / p).is_file()]
    for folder in FOLDERS:
        for path in sorted((root / folder).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts and path.suffix in TEXT:
                found.append(path.relative_to(root).as_posix())
    return found


def functions(text):
    """(name, first line, line count) of every C function: a brace at column 0 up to its match, signature included."""
    lines = text.splitlines()
    start = None
    for i, line in enumerate(lines):
        if line.startswith("{"):
            start = i
        elif line.startswith("}") and start is not None:
            first = start
            while first > 0 and lines[first - 1].strip() and not re.match(r"[#}/]| \*|.*;\s*$", lines[first - 1]):
                first -= 1
            match = FUNCTION_NAME.search("\n".join(lines[first:start]))
            if match:
                yield match.group(1), first + 1, i - first + 1
            start = None


def header_problem(path, text):
    """The licence on the first lines, then a comment that says what the file is for."""
    lines = text.splitlines()
    if not any(SPDX in line for line in lines[:3]):
        return "no SPDX line at the top"
    if not path.endswith(CODE):
        return None
    if lines[0] != f"/* {SPDX} */":
        return "the first line is not the SPDX comment"
    if len(lines) < 2 or not lines[1].startswith("/*"):
        return "no comment with the file's purpose on line 2"
    return None


def read_exceptions(text):
    """{"core/x.c": lines, "core/x.c:name": lines}; raises ValueError on a line that is neither."""
    allowed = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        match = re.fullmatch(r"(\S+) (\d+)", line)
        if not match:
            raise ValueError(f"{EXCEPTIONS}:{number}: expected 'FILE LINES' or 'FILE:FUNCTION LINES'")
        allowed[match.group(1)] = int(match.group(2))
    return allowed


def check_sizes(sizes, allowed):
    """Sizes above their limit need an exception that says exactly how large; an exception nothing needs must go."""
    problems = []
    for key, (lines, limit) in sizes.items():
        if key in allowed:
            if lines <= limit:
                problems.append(f"{key}: has {lines} lines, its exception in {EXCEPTIONS} is no longer needed")
            elif lines < allowed[key]:
                problems.append(f"{key}: shrank to {lines} lines, write {lines} into {EXCEPTIONS}")
            elif lines > allowed[key]:
                problems.append(f"{key}: grew to {lines} lines, its exception allows {allowed[key]}")
        elif lines > limit:
            problems.append(f"{key}: {lines} lines, at most {limit}")
    problems += [f"{key}: named in {EXCEPTIONS}, but not there" for key in allowed if key not in sizes]
    return problems


def check_text(path, text, machine_paths):
    problems = []
    if path.endswith(NEEDS_SPDX) or path in ("Makefile", "Dockerfile", ".ci/run"):
        problem = header_problem(path, text)
        if problem:
            problems.append(f"{path}: {problem}")
    for number, line in enumerate(text.splitlines(), 1):
        if UNFINISHED.search(line):
            problems.append(f"{path}:{number}: unfinished work: {line.strip()}")
        if any(p in line for p in machine_paths):
            problems.append(f"{path}:{number}: a path of one machine: {line.strip()}")
        if line != line.rstrip() and not path.endswith(".md"):
            problems.append(f"{path}:{number}: blanks at the end of the line")
    if text and not text.endswith("\n"):
        problems.append(f"{path}: no newline at the end")
    return problems


def check_format(root, paths):
    """What clang-format would change."""
    tool = os.environ.get("CLANG_FORMAT", "clang-format")
    if not shutil.which(tool):
        return [f"{tool} is not installed"]
    version = subprocess.run([tool, "--version"], capture_output=True, text=True).stdout.strip()
    if f"version {FORMAT_VERSION}." not in version:
        print(f"note: {version} does not judge the formatting, version {FORMAT_VERSION} does")
        return []
    result = subprocess.run([tool, "--dry-run", "-Werror", *paths], cwd=root, capture_output=True, text=True)
    if result.returncode == 0:
        return []
    found = re.findall(r"^(\S+?):(\d+):\d+: error: ", result.stderr, re.M)
    first = {}
    for path, line in found:
        first.setdefault(path, line)
    return [f"{path}:{line}: not formatted (make format)" for path, line in first.items()] or [result.stderr.strip()]


def machine_paths(root):
    """Paths that would only be right here: this checkout, and home folders."""
    paths = ["/ro" + "ot/"]
    if len(root.parts) > 2:
        paths.append(f"{root}/")
    return paths


def lint(root, with_format=True):
    root = pathlib.Path(root).resolve()
    problems, sizes = [], {}
    all_files = files(root)
    here = machine_paths(root)
    for path in all_files:
        text = (root / path).read_text(encoding="utf-8", errors="replace")
        problems += check_text(path, text, here)
        if path.endswith(SIZED):
            sizes[path] = (len(text.splitlines()), FILE_LINES_MAX)
        if path.endswith(CODE):
            problems += include_rules.check(root, path, text)
            for name, _, lines in functions(text):
                sizes[f"{path}:{name}"] = (lines, FUNCTION_LINES_MAX)
    exceptions = root / EXCEPTIONS
    try:
        allowed = read_exceptions(exceptions.read_text()) if exceptions.exists() else {}
    except ValueError as error:
        allowed, problems = {}, problems + [str(error)]
    problems += check_sizes(sizes, allowed)
    problems += manuals.check(root)
    problems += named.check(root, FOLDERS)
    code = [p for p in all_files if p.endswith(CODE)]
    if with_format and code:
        problems += check_format(root, code)
    return problems, len(all_files)


def main():
    root = sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).resolve().parent.parent.parent
    problems, count = lint(root)
    for problem in problems:
        print(problem)
    print(f"lint: {count} files, {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
