"""The conformance suite of planner.importers.importer.Importer.

    def test_my_importer_keeps_the_contract():
        check_importer(MyImporter(), [Path("tests/data/mytool.log")])
"""

from __future__ import annotations

import hashlib
import math
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from planner.importers.importer import Importer, Source
from planner.importers.rows import Row
from planner.space.types import StudyError, Value

__all__ = ["check_importer"]

_CUTS: Final = 24
"""Number of places at which a file is cut off, or has one byte changed."""
_RUBBISH: Final[Mapping[str, bytes]] = {
    "empty.json": b"", "empty.log": b"", "object.json": b"{}", "list.json": b"[]", "null.json": b"null",
    "deep.json": b"[" * 50_000, "text.log": b"nothing that anybody would measure\n", "bytes.log": bytes(range(256)) * 8,
    "other.txt": "\ufeffümläute, and a line without end".encode(),
}
_TABLE: Final[Mapping[str, bytes]] = {"some.csv": b"x,y\n1,2\n"}


def check_importer(
    importer: Importer, paths: Iterable[Path], known: Mapping[str, Value] | None = None,
    renames: Mapping[str, str] | None = None, any_table: bool = False,
) -> None:
    """Assert the contract of `planner.importers.importer.Importer`.

    paths: files or folders that the tool wrote, each with at least one measurement. known, renames: arguments of
    `read`. any_table: whether the format is a table of any columns, as ours called "table" is. Raises AssertionError
    that says what is broken.
    """
    assert isinstance(importer, Importer), f"{type(importer).__name__} lacks a member of the Importer protocol"
    reader = _Reader(importer, MappingProxyType(dict(known or {})), MappingProxyType(dict(renames or {})))
    tried = list(paths)
    assert tried, "name at least one file that the tool wrote"
    for path in tried:
        _check_good(reader, path)
        _check_copy(reader, path)
        _check_known(reader, path)
        _check_broken(reader, path)
    _check_rubbish(reader, any_table)


class _Reader:
    """An importer with fixed arguments, which it cannot change."""

    def __init__(self, importer: Importer, known: Mapping[str, Value], renames: Mapping[str, str]) -> None:
        self.importer, self.known, self.renames = importer, known, renames

    def recognises(self, path: Path) -> bool:
        """The answer of `recognises`, checked to be the same twice."""
        try:
            found, again = (self.importer.recognises(Source(path)) for _ in range(2))
        except Exception as error:
            raise AssertionError(f"recognises must raise nothing, and raises {error!r} for {path.name}") from error
        assert isinstance(found, bool), f"recognises must be True or False, not {found!r}"
        assert found == again, f"recognises: two answers for {path.name}"
        return found

    def read(self, path: Path, name: str | None = None) -> list[Row]:
        """The rows. Raises StudyError; anything else that is raised is an AssertionError."""
        called = str(path) if name is None else name
        try:
            return self.importer.read(path, called, self.known, self.renames)
        except StudyError as error:
            said = str(error)
            assert called in said or str(path) in said, f"a message must name the file {called}: {said}"
            assert len(said) < 1000, f"a message must be one line that can be read, not {len(said)} characters: {said}"
            raise
        except Exception as error:
            raise AssertionError(f"read must raise StudyError only, and raises {error!r} for {called}") from error

    def survives(self, path: Path) -> None:
        """Check that the file is either refused or read as valid rows."""
        self.recognises(path)
        try:
            rows = self.read(path)
        except StudyError:
            return
        _check_rows(rows, str(path))


def _check_good(reader: _Reader, path: Path) -> None:
    before = _content(path)
    assert reader.recognises(path), f"recognises: {path.name} was written by the tool"
    try:
        rows, again = reader.read(path), reader.read(path)
    except StudyError as error:
        raise AssertionError(f"read: {path.name} was written by the tool, and is refused: {error}") from error
    _check_rows(rows, str(path))
    assert any(row.metrics for row in rows), f"read: no row of {path.name} has metrics"
    assert rows == again, f"read: two answers for {path.name}"
    identities = [row.provenance.identity for row in rows]
    assert len(set(identities)) == len(rows), f"provenance.identity: two rows of {path.name} share one"
    if path.is_file():
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        assert {row.provenance.sha256 for row in rows} == {digest}, f"provenance.sha256 must be that of {path.name}"
    assert _content(path) == before, f"{path.name} was changed, or something was written beside it"


def _check_rows(rows: list[Row], name: str) -> None:
    assert isinstance(rows, list) and rows, "read must give a list of at least one row, or raise StudyError"
    assert len({row.provenance.format for row in rows}) == 1, "provenance.format: rows of one file have several"
    for row in rows:
        place = row.provenance
        assert isinstance(row, Row), f"read must give rows, not {row!r}"
        assert place.format and place.row and place.identity, f"provenance must say format, row and identity: {place}"
        assert place.file.startswith(name), f"provenance.file must be what the user calls the file: {place.file}"
        assert not (row.failure and row.metrics), f"{place.where}: a failure has no metrics: no number stands for it"
        for key, value in row.fields.items():
            # A request rate may be infinite.
            usable = isinstance(value, str | int | bool) or (isinstance(value, float) and value > -math.inf)
            assert usable, f"{place.where}: field {key} is {value!r}"
        _check_extras(row)
        for key, repeats in row.metrics.items():
            sound = isinstance(repeats, tuple) and repeats and all(type(value) is float for value in repeats)
            assert sound, f"{place.where}: {key} must be a tuple of floats, at least one, not {repeats!r}"
            assert all(map(math.isfinite, repeats)), f"{place.where}: {key} is not finite: {repeats!r}"
        prices = {"seconds": row.seconds, "start_s": row.start_s, "accelerators": row.accelerators or 0.0}
        for key, price in prices.items():
            assert math.isfinite(price) and price >= 0, f"{place.where}: {key} is {price!r}"


def _check_extras(row: Row) -> None:
    """What is not known to the format, and what the metrics are checked against."""
    plain = all(isinstance(value, str | int | float) for value in row.others.values())
    assert plain, f"{row.provenance.where}: others has {row.others}"
    if row.counts is not None:
        counts = [row.counts.duration_s, row.counts.requests, row.counts.input_tokens, row.counts.output_tokens]
        sound = all(count is None or (math.isfinite(count) and count >= 0) for count in [*counts, row.counts.cut_off])
        assert sound, f"{row.provenance.where}: counts: {row.counts}"


def _check_copy(reader: _Reader, path: Path) -> None:
    """A copy under another name has the same identities."""
    with tempfile.TemporaryDirectory() as folder:
        copy = _copied(path, Path(folder) / f"copy{path.suffix}")
        rows, copied = reader.read(path), reader.read(copy, "what the user says")
        _check_rows(copied, "what the user says")
        assert [row.provenance.identity for row in copied] == [row.provenance.identity for row in rows], (
            f"provenance.identity: another one in a copy of {path.name}: imported twice, the file would count twice")


def _check_known(reader: _Reader, path: Path) -> None:
    """--set only fills what the file does not say."""
    try:
        rows = _Reader(reader.importer, MappingProxyType({}), reader.renames).read(path)
    except StudyError:
        return
    known = MappingProxyType({name: _another(value) for row in rows for name, value in row.fields.items()})
    for row, told in zip(rows, _Reader(reader.importer, known, reader.renames).read(path), strict=True):
        for name, value in row.fields.items():
            assert told.fields.get(name) == value, f"read: `known` overrides {name}, which {path.name} says itself"


def _another(value: Value) -> Value:
    if isinstance(value, bool):
        return not value
    return f"not {value}" if isinstance(value, str) else value + 1


def _check_broken(reader: _Reader, path: Path) -> None:
    """A file that is cut off, changed or empty gives valid rows or StudyError."""
    with tempfile.TemporaryDirectory() as folder:
        copy = _copied(path, Path(folder) / path.name)
        for file in [copy] if copy.is_file() else sorted(part for part in copy.rglob("*") if part.is_file())[:2]:
            whole = file.read_bytes()
            for changed in _damaged(whole):
                file.write_bytes(changed)
                reader.survives(copy)
            file.write_bytes(whole)


def _damaged(whole: bytes) -> Iterator[bytes]:
    step = max(1, len(whole) // _CUTS)
    for place in range(0, len(whole), step):
        yield whole[:place]
        yield whole[:place] + b"\xff" + whole[place + 1:]
    places = [i for i, byte in enumerate(whole) if 48 <= byte <= 57]
    for place in places[:: max(1, len(places) // _CUTS)]:
        for instead in (b"x", b"-1", b"NaN", b"9e999", b'""'):
            yield whole[:place] + instead + whole[place + 1:]


def _check_rubbish(reader: _Reader, any_table: bool) -> None:
    """Files that no tool wrote are not recognised, and refused or read as valid rows."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        for name, data in {**_RUBBISH, **({} if any_table else _TABLE)}.items():
            (home / name).write_bytes(data)
            assert not reader.recognises(home / name), f"recognises: {name} of {data[:20]!r} is not a file of this tool"
            reader.survives(home / name)
        (home / "folder").mkdir()
        for path in (home / "folder", home / "nothing.json"):
            assert not reader.recognises(path), f"recognises: {path.name} is empty, or not there"
            try:
                reader.read(path)
            except StudyError:
                continue
            raise AssertionError(f"read: {path.name} is empty, or not there, and must be refused with StudyError")


def _copied(path: Path, to: Path) -> Path:
    return Path(shutil.copytree(path, to) if path.is_dir() else shutil.copy(path, to))


def _content(path: Path) -> dict[str, Any]:
    """Bytes and time of change of each file beside the path, or below it."""
    home = path if path.is_dir() else path.parent
    return {str(part): (part.stat().st_mtime_ns, part.read_bytes()) for part in home.rglob("*") if part.is_file()}
