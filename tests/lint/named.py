# SPDX-License-Identifier: BSD-3-Clause
"""What documents name: files, folders, links, targets of make, and functions have to be there."""
import fnmatch
import pathlib
import re

# `text` and [text](target); samples of several lines are not looked at.
QUOTED = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\]\(([^)\s]+)\)")
PATH = re.compile(r"[\w.*-]+(/[\w.*-]+)+/?|[\w*-]+\.(c|h|py|sh|x|md|mk|yaml|bash|txt)")
MEDIA_TYPE = re.compile(r"(application|text)/")
CODE = (".c", ".h", ".x")


def source_of(path):
    """Of a program that is built here the file with its name; of other paths the path."""
    built = re.fullmatch(r"build/\w+/bench/(\w+)", path)
    return f"tests/bench/{built[1]}.c" if built else path


def is_there(path, document, known):
    """From the root, from the document's folder, or as the end of a path ("ctl/main.c" where the text speaks of server)."""
    near = (pathlib.PurePosixPath(document).parent / path).as_posix()
    return any(name in (path, near) or fnmatch.fnmatchcase(name, path) or fnmatch.fnmatchcase(name, f"*/{path}") for name in known)


def check_document(document, text, known, targets, words):
    """known: every file and folder; targets: of the Makefile; words: of the sources."""
    problems = []
    for number, line in enumerate(text.splitlines(), 1):
        for quoted in QUOTED.findall(line):
            first, *rest = quoted.split()
            # What is built is not there, and a line may follow: "file.c:12".
            path = source_of(first.partition(":")[0].rstrip("/"))
            if first == "make" and rest:
                wrong = "target" if "=" not in rest[0] and rest[0] not in targets else None
            elif PATH.fullmatch(path) and not path.startswith("build/") and not MEDIA_TYPE.match(path):
                wrong = None if is_there(path, document, known) else "file"
            else:
                wrong = "function" if set(re.findall(r"\b(\w+)\(\)", quoted)) - words else None
            if wrong:
                problems.append(f"{document}:{number}: there is no {wrong} {quoted}")
        for target in LINK.findall(line):
            if "://" not in target and not is_there(target.partition("#")[0], document, known):
                problems.append(f"{document}:{number}: there is no file {target}")
    return problems


def check(root, folders):
    known, words, documents = {p.name for p in root.iterdir()}, set(), [p for p in root.glob("*.md")]
    for folder in folders:
        for path in (root / folder).rglob("*"):
            known.add(path.relative_to(root).as_posix())
            if path.suffix in CODE:
                words.update(re.findall(r"\w+", path.read_text(encoding="utf-8", errors="replace")))
            elif path.suffix == ".md":
                documents.append(path)
    makefile = root / "Makefile"
    targets = set(re.findall(r"^([a-z-]+):", makefile.read_text(), re.M)) if makefile.exists() else set()
    return [problem for path in sorted(documents)
            for problem in check_document(path.relative_to(root).as_posix(), path.read_text(encoding="utf-8"), known, targets, words)]
