"""Text in and out of a command: templates, output, metrics, fingerprint."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import platform
import signal
import string
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Final

from planner.space.expressions import suggestion
from planner.space.types import StudyError, Value
from runners.memory_kills import RAN_OUT

__all__ = ["OutputError", "Template", "age", "command_fingerprint", "ending", "file_digest", "fresh_text", "last_line",
           "parse_metrics", "tail"]

_READ_BYTES: Final = 16 * 2**20
_TAIL_CHARACTERS: Final = 1000
_HASH_BYTES: Final = 64 * 2**20
_KILLED: Final = (-signal.SIGKILL, 128 + signal.SIGKILL)  # as the command itself, or in a shell


class OutputError(ValueError):
    """A command exited with status 0 but its output has no usable metrics. The message becomes the run's reason."""


class Template:
    """Text with placeholders {axis}, {seed} and {devices}. Raises StudyError that starts with `key` for any other
    placeholder."""

    def __init__(self, text: str, axes: Sequence[str], key: str) -> None:
        self.text = text
        known = [*axes, "seed", "devices"]
        self._parts: list[tuple[str, str | None]] = []
        try:
            parts = list(string.Formatter().parse(text))
        except ValueError as error:
            raise StudyError(f"{key}: cannot read '{text}' ({error}); write {{{{ and }}}} for braces") from error
        for literal, name, form, conversion in parts:
            if name is not None and (name not in known or form or conversion):
                raise StudyError(f"{key}: unknown placeholder in '{text}'{suggestion(name, known)} "
                                 f"(the axes are {', '.join(axes)}; write {{{{ and }}}} for braces)")
            self._parts.append((literal, name))

    @property
    def varies(self) -> bool:
        """Whether it differs from point to point."""
        return any(name is not None for _, name in self._parts)

    def fill(self, values: Mapping[str, Value]) -> str:
        """The text with the point's values; booleans as true and false."""
        return "".join(literal + ("" if name is None else _written(values[name])) for literal, name in self._parts)


def _written(value: Value) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def last_line(stream: IO[bytes]) -> str:
    """The last line of the output that is not blank. Raises OutputError if there is none."""
    lines = [line for line in _end(stream, _READ_BYTES).splitlines() if line.strip()]
    if not lines:
        raise OutputError("printed nothing; the last line of its output must be one JSON object of metrics")
    return lines[-1]


def tail(stream: IO[bytes]) -> str:
    """The last characters of a failing command's output."""
    return _end(stream, 4 * _TAIL_CHARACTERS).strip()[-_TAIL_CHARACTERS:]


def _end(stream: IO[bytes], size: int) -> str:
    stream.seek(0, os.SEEK_END)
    stream.seek(max(0, stream.tell() - size))
    return stream.read().decode("utf-8", errors="replace").replace("\0", "")


def parse_metrics(text: str, targets: Collection[str]) -> dict[str, tuple[float, ...]]:
    """The metrics in a JSON object, as tuples of repeats.

    Raises OutputError if the text is not a JSON object, a target is not a number, any metric is NaN or infinite, or
    the object has no metric. Whether its metrics are those that the study wants is for the planner to judge.
    """
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise OutputError(f"its metrics are not JSON: {_short(text)}") from error
    if not isinstance(data, dict):
        raise OutputError(f"its metrics are not one JSON object but: {_short(text)}")
    metrics: dict[str, tuple[float, ...]] = {}
    for name, value in data.items():
        cells = value if isinstance(value, list) else [value]
        cells = [cell for cell in cells if cell is not None]
        if any(isinstance(cell, bool) or not isinstance(cell, int | float) for cell in cells):
            if name in targets:
                raise OutputError(f"'{name}' must be a number or a list of numbers, not {_short(json.dumps(value))}")
            continue
        repeats = tuple(_float(cell) for cell in cells)
        if not all(math.isfinite(repeat) for repeat in repeats):
            raise OutputError(f"'{name}' is not finite: {_short(json.dumps(value))}")
        if repeats:
            metrics[name] = repeats
    if not metrics:
        raise OutputError(f"measured none of the targets {', '.join(targets)}; it gave no metric at all")
    return metrics


def _float(cell: float) -> float:
    try:
        return float(cell)
    except OverflowError:
        return math.inf


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 120 else text[:117] + "..."


def command_fingerprint(settings: Mapping[str, Any], directory: Path) -> dict[str, str]:
    """Facts that must not change within a study: the command, digests of the files it names, Python, the machine.

    settings: those keys of the study file's `runner` section, as JSON values, that change what is measured.
    """
    facts = {
        "runner": "command",
        "settings": json.dumps(settings, sort_keys=True),
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "cpu": f"{os.cpu_count()} x {_processor()}",
    }
    for part in settings["command"]:
        for name in {part, part.partition("=")[2]} - {""}:
            digest = file_digest(directory / name)
            if digest:
                facts[f"file:{name}"] = digest
    return facts


def file_digest(path: Path) -> str:
    """SHA-256 of a file; size and time of a very large one (a fingerprint must be cheap); '' if there is none."""
    try:
        if not path.is_file():
            return ""
        state = path.stat()
        if state.st_size > _HASH_BYTES:
            return f"{state.st_size} bytes of {state.st_mtime_ns}"
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except (OSError, ValueError):
        return ""


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def age(path: Path) -> None:
    """Make a metrics file of an earlier run look old, so that it is not taken for this run's."""
    with contextlib.suppress(OSError):
        os.utime(path, (1, 1))


def fresh_text(path: Path, directory: Path) -> str:
    """What this run wrote to its metrics file. Raises OutputError."""
    name = os.path.relpath(path, directory)
    try:
        if path.stat().st_mtime == 1:
            raise OutputError(f"metrics file '{name}' was not written by this run")
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "not UTF-8 text"
        raise OutputError(f"cannot read metrics file '{name}' ({why})") from error


def ending(code: int, ran_out: bool) -> str:
    """How a command ended that failed. code: its exit status, negative for a signal. ran_out: whether the kernel has
    killed any process meanwhile because memory ran out."""
    how = f"exit status {code}" if code > 0 else f"killed by {_signal_name(-code)}"
    return f"{how} ({RAN_OUT})" if ran_out and code in _KILLED else how


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # real-time signals have numbers only
        return f"signal {number}"
