"""FMwork's logs (IBM/fmwork, infer/vllm/driver) and the CSV that its process.py writes.

FMWORK SETUP s                                                 the engine's start
FMWORK REP r n t0 t1 model ii oo bb tp dt itl thp              one repeat; older: r / n : t0 t1 dt itl thp
FMWORK RES t0 t1 model ii oo bb tp mad med itl thp             their median; older: etim ii oo bb tp med itl thp
FMWORK GEN t0 t1 model ii oo bb tp mad mad inf gen ttft itl thp   less the first token; older: etim ii oo bb tp med …

Times are seconds, itl milliseconds. Repeats come from REP lines if the log has them, since RES and GEN are rounded. The
first fifth of the repeats, at least one, is FMwork's warm-up. The time of a run of one output token is batch_ttft_ms
here, and tpot_ms is (e2el − ttft) / (oo − 1); FMwork's own itl divides by oo. FMwork's README and CSV name ttft before
gen, but its code prints gen first: the one that equals bb · oo / thp is gen. A line without such a number is refused.
"""

from __future__ import annotations

import hashlib
import math
import re
import statistics
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from planner.importers.importer import Source, file_of
from planner.importers.rows import Provenance, Row, number, positive_count, read_bytes, scalar, short
from planner.importers.table import content_of
from planner.space.meaning import as_number
from planner.space.types import StudyError, Value
from planner.tables.table_file import TableFile, read_table_file

__all__ = ["Fmwork"]

_FILE: Final = "driver.log"
# The columns that identify the CSV.
_COLUMNS: Final = frozenset({"ii", "oo", "bb", "tp", "med", "ttft", "gen", "itl", "thp"})
_LINE: Final = re.compile(r"FMWORK (SETUP|REP|RES|GEN)\s+(.*)")
_MULTIPLIER: Final = re.compile(r"Batch size multiplier\s*=\s*(\d+)")
_PAST_WARMUP: Final = 0.2
_ROUNDING_S: Final = 0.0006


@dataclass(slots=True)
class _Log:
    """The part of a log read so far. first: seconds of one-token runs, by key without oo."""

    name: str
    digest: str
    rows: list[Row] = field(default_factory=list)
    repeats: list[float] = field(default_factory=list)
    first: dict[tuple[Value, ...], tuple[float, ...]] = field(default_factory=dict)
    measured: set[tuple[Value, ...]] = field(default_factory=set)
    start_s: float = 0.0
    multiplier: int = 1


@dataclass(frozen=True, slots=True)
class _Result:
    """A RES or GEN line. key: model, ii, oo, bb, tp; stamp: its time, unique in the log; figures: the other numbers."""

    key: tuple[Value, ...]
    stamp: str
    figures: tuple[float, ...]


class Fmwork:
    """A log, selected lines of logs, the folder with a driver.log, or the CSV."""

    def recognises(self, source: Source) -> bool:
        """Whether a line starts as FMwork's do, or the CSV has its columns."""
        if source.is_folder or source.is_table:
            return source.holds(_FILE) or source.header >= _COLUMNS
        return source.json is None and any("FMWORK " in line for line in source.lines())

    def read(self, path: Path, name: str, known: Mapping[str, Value], renames: Mapping[str, str]) -> list[Row]:
        """A row for each RES or GEN line, or each line of the CSV. Raises StudyError."""
        path, name = file_of(path, name, "fmwork", _FILE)
        if path.suffix.lower() == ".csv":
            return _csv_rows(read_table_file(path, name, name))
        data, digest = read_bytes(path)
        log = _Log(name, digest)
        for number_, line in enumerate(data.decode("utf-8", errors="replace").splitlines(), 1):
            if found := _MULTIPLIER.search(line):
                log.multiplier = int(found[1][:9])
            if found := _LINE.search(line):
                _take(log, found[1], found[2].split(), Provenance(name, digest, "fmwork", f"line {number_}"))
        if not log.rows:
            raise StudyError(f"{name}: has no FMWORK RES or GEN line; name a log of FMwork's driver, or its CSV")
        return log.rows


def _take(log: _Log, kind: str, words: list[str], provenance: Provenance) -> None:
    where = provenance.where
    if kind == "SETUP":
        log.start_s = _float(" ".join(words), where, "the engine's start")
    elif kind == "REP":
        log.repeats.append(_repeat(words, where))
    elif kind == "RES":
        result = _result(words, 11, 8, where)
        _result_row(log, result, provenance)
        log.repeats, log.multiplier = [], 1
    else:
        result = _result(words, 14, 10, where)
        if result.key not in log.measured:
            _generation_row(log, result, provenance)


def _repeat(words: list[str], where: str) -> float:
    """Seconds of a repeat: as printed, with nine digits; in older logs, which round them, from its two time stamps."""
    if len(words) == 12:
        seconds = _float(words[9], where, "the time of the repeat")
    elif len(words) == 9 and words[1] == "/":
        begin, end = (_float(stamp, where, "a time stamp") for stamp in words[4:6])
        seconds = end - begin
    else:
        raise _malformed("REP", where)
    if seconds <= 0:
        raise StudyError(f"{where}: the repeat took no time; correct the line or leave it out")
    return seconds


def _result(words: list[str], new: int, old: int, where: str) -> _Result:
    """The parsed line, in the present format of the driver or in that before 2025-08."""
    if len(words) == new:
        stamp, model, sizes, figures = " ".join(words[:2]), words[2], words[3:7], words[7:]
        key: tuple[Value, ...] = (model, *(_count(word, where) for word in sizes))
    elif len(words) == old:
        stamp, sizes, figures = words[0], words[1:5], words[5:]
        key = ("", *(_count(word, where) for word in sizes))
    else:
        raise _malformed("RES or GEN", where)
    return _Result(key, stamp, tuple(_float(word, where, "a figure") for word in figures))


def _result_row(log: _Log, result: _Result, provenance: Provenance) -> None:
    model, _, outputs, batch, _ = result.key
    med, itl, _ = result.figures[-3:]
    if med <= 0 and itl <= 0:
        raise StudyError(f"{provenance.where}: the run took no time; correct the line or leave it out")
    kept, warmup = _kept(log, med, provenance.where, bool(model))
    # Without repeats: for few output tokens, itl has more digits than the seconds.
    seconds = kept or (itl * int(outputs) / 1000 if model and int(outputs) < 1000 else med,)
    batch_key = (*result.key[:2], batch, result.key[4])
    if outputs == 1:
        log.first[batch_key] = seconds
    log.measured.add(result.key)
    spent = sum(kept) * log.multiplier + warmup
    _add(log, result, seconds, log.first.get(batch_key, ()), spent, provenance)


def _kept(log: _Log, med: float, where: str, is_new: bool) -> tuple[tuple[float, ...], float]:
    """Seconds of each repeat that FMwork counted, for one batch, and the total of those that it dropped."""
    if not log.repeats:
        return (), 0.0
    dropped = int(max(_PAST_WARMUP * len(log.repeats), 1)) if len(log.repeats) > 1 else 0
    kept = [seconds / log.multiplier for seconds in log.repeats[dropped:]]
    if abs(statistics.median(kept) - med) > _ROUNDING_S + 0.001 * med:
        hint = "" if is_new else " (runs of --batch_size_times are not read)"
        raise StudyError(f"{where}: says {med:g} s where the repeats before it have the median "
                         f"{statistics.median(kept):.4g} s{hint}; leave the log out, or import its RES lines alone")
    return tuple(kept), sum(log.repeats[:dropped])


def _generation_row(log: _Log, result: _Result, provenance: Provenance) -> None:
    """Add the row of a GEN line whose RES line is not in the file."""
    whole, one, other, itl, throughput = result.figures[-5:]
    first = _first_token(result.key, (one, other), itl, throughput, provenance.where)
    log.measured.add(result.key)
    _add(log, result, (whole,), (first,), 0.0, provenance)


def _first_token(key: tuple[Value, ...], pair: tuple[float, float], itl: float, throughput: float,
                 where: str) -> float:
    """Seconds of the first token, one of `pair`: the other is the time of bb · oo tokens at the line's throughput."""
    outputs, batch = int(key[2]), int(key[3])
    generation = batch * outputs / throughput if throughput > 0 else itl * outputs / 1000
    first, second = sorted(pair, key=lambda seconds: -abs(seconds - generation))
    if abs(second - generation) > 2 * _ROUNDING_S + 0.02 * generation:
        raise StudyError(f"{where}: neither {pair[0]:g} nor {pair[1]:g} s gives its throughput of {throughput:g} "
                         "tokens/s; correct the line or leave it out")
    return first


def _add(log: _Log, result: _Result, seconds: tuple[float, ...], first: tuple[float, ...], spent: float,
         provenance: Provenance) -> None:
    notes = () if spent else ("the cost of the runs is not in the lines read",)
    if log.multiplier > 1:
        notes = (*notes, f"times are those of {log.multiplier} batches in a row, divided by their number")
    identity = hashlib.sha256(f"{result.stamp} {result.key}".encode()).hexdigest()
    place = Provenance(log.name, log.digest, "fmwork", provenance.row, provenance.version, identity)
    if min(seconds) <= 0:
        raise StudyError(f"{provenance.where}: the run took no time; correct the line or leave it out")
    log.rows.append(Row(_fields(result.key), _metrics(result.key, seconds, first), spent, place,
                        start_s=log.start_s, run=identity, notes=notes))
    log.start_s = 0.0


def _fields(key: tuple[Value, ...]) -> dict[str, Value]:
    names = ("model", "input_len", "output_len", "batch_size", "tensor_parallel_size")
    return {name: value for name, value in zip(names, key, strict=True) if value != ""}


def _metrics(
    key: tuple[Value, ...], seconds: tuple[float, ...], first: tuple[float, ...]
) -> dict[str, tuple[float, ...]]:
    inputs, outputs, batch = int(key[1]), int(key[2]), int(key[3])
    metrics = {
        "e2el_ms": tuple(1000 * s for s in seconds),
        "request_throughput": tuple(batch / s for s in seconds),
        "output_throughput": tuple(batch * outputs / s for s in seconds),
        "total_token_throughput": tuple(batch * (inputs + outputs) / s for s in seconds),
    }
    if first:
        metrics["batch_ttft_ms"] = tuple(1000 * s for s in first)
        generation = statistics.median(seconds) - statistics.median(first)
        if outputs > 1 and generation > 0:
            metrics["tpot_ms"] = (1000 * generation / (outputs - 1),)
    return metrics


def _csv_rows(table: TableFile) -> list[Row]:
    missing = sorted(_COLUMNS - set(table.columns))
    if missing:
        raise StudyError(f"{table.name}: is not the CSV of FMwork's process.py (no column '{missing[0]}'); "
                         "import it with --format table and --map")
    log = _Log(table.name, table.sha256)
    nth: Counter[str] = Counter()
    for i in range(len(table.lines)):
        content, where = content_of(table, i), table.where(i)
        cells = {name: column.raw[i] for name, column in table.columns.items()}
        sizes = (positive_count(_number(cells[name]), where, name) for name in ("ii", "oo", "bb", "tp"))
        key: tuple[Value, ...] = (str(cells.get("mm") or ""), *sizes)
        med, one, other, itl, throughput = (
            number(_number(cells[name]), where, name) for name in ("med", "gen", "ttft", "itl", "thp"))
        first = _first_token(key, (one, other), itl, throughput, where)
        place = Provenance(table.name, table.sha256, "fmwork", f"{table.line_word} {table.lines[i]}",
                           str(cells.get("back") or ""))
        _add(log, _Result(key, f"{content} {nth[content]}", ()), (med,), (first,), 0.0, place)
        nth[content] += 1
        # What earlier versions of sweepwise recorded.
        former = hashlib.sha256(f"{cells.get('etim')} {table.sha256} {i} {key}".encode()).hexdigest()
        log.rows[-1] = replace(log.rows[-1], provenance=replace(log.rows[-1].provenance, formerly=former))
    return log.rows


def _number(cell: Value | None) -> Any:
    """The number that a cell writes; the cell itself if it is none."""
    number = as_number(cell)
    return cell if math.isnan(number) else number


def _count(word: str, where: str) -> int:
    return positive_count(scalar(word), where, "a size")


def _float(word: str, where: str, what: str) -> float:
    try:
        value = float(word)
    except ValueError as error:
        raise StudyError(f"{where}: {what} is {short(word)}, not a number; correct the line or leave it out") from error
    return number(value, where, what)


def _malformed(kind: str, where: str) -> StudyError:
    return StudyError(f"{where}: is not an FMWORK {kind} line in a format of FMwork; was it cut off? leave it out")
