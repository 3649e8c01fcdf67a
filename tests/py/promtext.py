# SPDX-License-Identifier: BSD-3-Clause
"""A strict reader of the Prometheus text format, version 0.0.4."""

import re

Labels = tuple[tuple[str, str], ...]

_NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
_SAMPLE = re.compile(rf"({_NAME})(?:\{{(.*)\}})? (\S+)(?: (-?\d+))?$")
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(?:,|$)')
_TYPES = {"counter", "gauge", "histogram", "summary", "untyped"}


def parse_text(text: str) -> tuple[dict[tuple[str, Labels], float], dict[str, str]]:
    """All samples and the declared types. ValueError on a malformed line, a duplicate, or a sample without a type."""
    values: dict[tuple[str, Labels], float] = {}
    types: dict[str, str] = {}
    if not text.endswith("\n"):
        raise ValueError("the last line has no end")
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            if kind not in _TYPES or name in types:
                raise ValueError(f"line {number}: {line}")
            types[name] = kind
        elif line and not line.startswith("#"):
            match = _SAMPLE.match(line)
            if not match:
                raise ValueError(f"line {number}: {line}")
            key = (match.group(1), _labels(match.group(2) or "", number))
            if key in values:
                raise ValueError(f"line {number}: {line} comes twice")
            values[key] = float(match.group(3))
            if match.group(1) not in types and _family(match.group(1)) not in types:
                raise ValueError(f"line {number}: {match.group(1)} has no type")
    _check_histograms(values, types)
    return values, types


def _family(name: str) -> str:
    return re.sub(r"_(bucket|sum|count)$", "", name)


def _labels(text: str, number: int) -> Labels:
    labels = []
    position = 0
    while position < len(text):
        match = _LABEL.match(text, position)
        if not match:
            raise ValueError(f"line {number}: labels {text}")
        labels.append((match.group(1), match.group(2)))
        position = match.end()
    return tuple(sorted(labels))


def _check_histograms(values: dict[tuple[str, Labels], float], types: dict[str, str]) -> None:
    """Buckets never fall, and the last one is the count."""
    for name in (name for name, kind in types.items() if kind == "histogram"):
        series: dict[Labels, list[tuple[float, float]]] = {}
        for (sample, labels), value in values.items():
            if sample == name + "_bucket":
                rest = tuple(label for label in labels if label[0] != "le")
                series.setdefault(rest, []).append((float(dict(labels)["le"]), value))
        for rest, buckets in series.items():
            buckets.sort()
            counts = [count for _, count in buckets]
            if counts != sorted(counts) or buckets[-1][0] != float("inf"):
                raise ValueError(f"{name} {rest}: buckets {buckets}")
            if values[(name + "_count", rest)] != counts[-1]:
                raise ValueError(f"{name} {rest}: count is not the last bucket")
