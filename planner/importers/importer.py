"""The contract of an importer, which reads another tool's files."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Protocol, runtime_checkable

from planner.importers.rows import Row
from planner.space.types import StudyError, Value

__all__ = ["Importer", "Source", "file_of"]

_TABLES: Final = frozenset({".csv", ".parquet", ".pq"})
_HEAD: Final = 65_536
_LONGEST_HEADER: Final = 100_000


class Source:
    """A file or folder to be recognised. Content is read once and shared by all importers.

    Nothing here raises: unreadable content is empty.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def is_folder(self) -> bool:
        """Whether the source is a folder."""
        return self.path.is_dir()

    @cached_property
    def is_table(self) -> bool:
        """Whether the name ends in that of a CSV or Parquet file."""
        return self.path.suffix.lower() in _TABLES and not self.is_folder

    @cached_property
    def head(self) -> str:
        """The first 64 KiB as text."""
        try:
            with self.path.open("rb") as file:
                return file.read(_HEAD).decode("utf-8-sig", errors="replace")
        except (OSError, ValueError):
            return ""

    @cached_property
    def header(self) -> frozenset[str]:
        """The column names of a CSV file."""
        if self.path.suffix.lower() != ".csv":
            return frozenset()
        lines = self.lines()
        return frozenset(cell.strip() for cell in next(lines, "").split(","))

    @cached_property
    def json(self) -> Any:
        """The first JSON value, an object or a list; None if there is none. Reads the whole file, unless its head shows
        that it is not JSON."""
        if self.is_table or not self.head.lstrip().startswith(("{", "[")):
            return None
        try:
            text = self.path.read_bytes().decode("utf-8-sig", errors="replace")
            return json.JSONDecoder().raw_decode(text.lstrip())[0]
        except (OSError, ValueError, RecursionError):
            return None

    def lines(self) -> Iterator[str]:
        """The lines, read one by one, so that a caller can stop early."""
        try:
            with self.path.open(encoding="utf-8-sig", errors="replace") as file:
                while line := file.readline(_LONGEST_HEADER):
                    yield line
        except (OSError, ValueError):
            return

    def holds(self, name: str) -> bool:
        """Whether the source is a folder with a file of that name."""
        return self.is_folder and (self.path / name).is_file()


@runtime_checkable
class Importer(Protocol):
    """Makes rows of another tool's files. It is registered under the name that `--format` takes: ours in
    planner.importers.registry, others by the entry point group "sweepwise.importers", which names an object, or a class
    that is built without arguments.

    Contract
    --------
    - An importer keeps no state: every call stands alone. It knows no study, and changes no file.
    - `recognises` raises nothing, is cheap, and is true only for files that no other tool writes. A table of any
      columns has the format "table", which is asked last.
    - `read` returns at least one row, or raises StudyError: one line that names the file, the row, and the fix.
      It raises nothing else, whatever the file contains.
    - A row that has metrics is a measurement; one with a reason in `failure` has none. Values by
      which a tool means "undefined" (often zeros) are left out.
    - A field that makes no sense costs a note, not the file, unless no metric is left without it.
    - What the format does not know is in `others`, whatever it is: it gets no meaning.
    - `provenance.identity` is equal for the same reading wherever the file is, and differs between readings, so that
      importing a file twice adds nothing.
    """

    def recognises(self, source: Source) -> bool:
        """Whether this tool wrote the file or folder."""
        ...

    def read(self, path: Path, name: str, known: Mapping[str, Value], renames: Mapping[str, str]) -> list[Row]:
        """Rows of the file or folder `path`, which the user calls `name`.

        known: axis → value for all rows (--set), which only fills what the file does not say. renames: axis or
        metric → column (--map)."""
        ...


def file_of(path: Path, name: str, form: str, inside: str | None = None) -> tuple[Path, str]:
    """The file meant by `path` and its name in messages: `path` itself or, for a folder, the file called `inside`.

    Raises StudyError if a folder has no such file."""
    if not path.is_dir():
        return path, name
    if inside is None or not (path / inside).is_file():
        raise StudyError(f"{name}: is a folder without a file of the format {form}; name the file itself")
    return path / inside, f"{name}/{inside}"
