"""EvalScope's stress tests (modelscope/evalscope, `evalscope perf` of 0.7 to 1.14; evalscope/perf/utils/db_util.py).

benchmark_summary.json     counts, rates and means; the unit is part of each name
benchmark_percentile.json  a row for each percentile; EvalScope 0.x writes it only for 10 requests or more
benchmark_args.json        the arguments; --parallel, --number and --rate are those of this run

A run is a folder with these files; a folder above holds several (parallel_2_number_20, rate_5_number_50). The names
changed with 0.8.1, 0.14, 0.17.1, 1.4.1, 1.7 and 1.10: seconds until 1.6, milliseconds since. Percentiles are always the
value of a request, never interpolated. A value so small that rounding may change it by more than 2 % is left out. What
EvalScope calls so is not always vLLM's:

time per output token   until 0.17.0 the test's duration, the whole latency, or the time between chunks, by the tokens
                        or chunks: not read. Since then (latency - first token) / (tokens - 1) of a request: vLLM's tpot
inter-token latency     until 1.0 the last gap is that before a chunk without text: not read before 1.4.1, the first
                        version that can be told apart
first token             without --stream it is the whole latency: not read

Settings are what was asked for: --parallel -1 with --open-loop is no limit, --rate -1 is vLLM's "inf".
performance_summary.txt and perf_report.html have the same figures, rounded; they are not read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final

from planner.importers.importer import Source
from planner.importers.rows import (
    Counts,
    Provenance,
    Row,
    content_identity,
    number,
    parse_json,
    read_bytes,
    short,
    usable,
)
from planner.importers.values import flattened, json_beside, settings_of
from planner.space.types import StudyError, Value

__all__ = ["Evalscope"]

_SUMMARY: Final = "benchmark_summary.json"
_PERCENTILES: Final = "benchmark_percentile.json"
_ARGUMENTS: Final = "benchmark_args.json"
_DURATION: Final = ("Test Duration (s)", "Time taken for tests (s)", "Time taken for tests (senconds)")
_DONE: Final = ("Success Requests", "Succeed requests")
_FAILED: Final = ("Failed Requests", "Failed requests")
_CONCURRENCY: Final = ("Concurrency", "Number of concurrency")
_RATE: Final = ("Request Rate (req/s)", "Request rate (req/s)")
_INPUT: Final = ("Avg Input Tokens", "Average input tokens per request")
_OUTPUT: Final = ("Avg Output Tokens", "Average output tokens per request")
_LATENCY: Final = ("Avg Latency (s)", "Average latency (s)")
_TPOT_S: Final = "Average time per output token (s)"
_ITL_S: Final = "Average inter-token latency (s)"
# Ours → EvalScope's names and the factor to our unit, newest first.
_MEANS: Final[Mapping[str, Mapping[str, float]]] = {
    "request_throughput": {"Req Throughput (req/s)": 1, "Request throughput (req/s)": 1, "Average QPS": 1},
    "output_throughput": {"Output Throughput (tok/s)": 1, "Output token throughput (tok/s)": 1,
                          "Throughput(average tokens/s)": 1, "Throughput(average output tokens per second)": 1},
    "total_token_throughput": {"Total Throughput (tok/s)": 1, "Total token throughput (tok/s)": 1},
    "mean_e2el_ms": dict.fromkeys(_LATENCY, 1000),
    "mean_ttft_ms": {"Avg TTFT (ms)": 1, "TTFT (ms)": 1, "Average time to first token (s)": 1000},
    "mean_tpot_ms": {"Avg TPOT (ms)": 1, "TPOT (ms)": 1, _TPOT_S: 1000},
    "mean_itl_ms": {"Avg ITL (ms)": 1, "ITL (ms)": 1, _ITL_S: 1000},
}
_COLUMNS: Final[Mapping[str, Mapping[str, float]]] = {
    "e2el": {"Latency (s)": 1000}, "ttft": {"TTFT (ms)": 1, "TTFT (s)": 1000},
    "tpot": {"TPOT (ms)": 1, "TPOT (s)": 1000}, "itl": {"ITL (ms)": 1, "ITL (s)": 1000},
}
_ROWS: Final = {"50%": ("", "median_", "p50_"), "90%": ("p90_",), "95%": ("p95_",), "99%": ("p99_",)}
_STREAMED: Final = ("ttft", "tpot", "itl")
_ALWAYS: Final = ("model", "dataset", "api", "temperature", "top_p", "top_k", "frequency_penalty", "repetition_penalty",
                  "n_choices")
# Settings by their default, with which they are not in the fields: older versions do not know all of them.
_UNLESS: Final[Mapping[str, Value]] = {"open_loop": False, "multi_turn": False, "stream": True, "prefix_length": 0}
_NO_LIMIT: Final[Mapping[str, frozenset[Value]]] = {"max_prompt_length": frozenset({131_072, 2**63 - 1}),
                                                    "min_prompt_length": frozenset({0})}
# Arguments that say nothing of the measurement, or nothing that should be kept in a record.
_ASIDE: Final = ("headers", "api_key", "wandb_api_key", "swanlab_api_key", "swanlab_host", "url", "extra_args",
                 "Result DB path")
_EXTRA: Final = "extra_args"
_TRIED: Final = 20
_ROUNDING_MS: Final = 0.11
_ROUGHEST: Final = 0.02
_LARGEST: Final = 1e300


@dataclass(frozen=True, slots=True)
class _Run:
    """The files of a run. percentiles: by label; arguments: empty if the file is not there."""

    summary: Mapping[str, Any]
    percentiles: Mapping[str, Mapping[str, Any]]
    arguments: Mapping[str, Any]


class Evalscope:
    """The summary of one run, its folder, or a folder above one or several."""

    def recognises(self, source: Source) -> bool:
        """Whether the source is a summary, or has one in it."""
        if source.is_folder:
            return any(_is_summary(json_beside(file)) for file in islice(_files(source.path), _TRIED))
        return _is_summary(source.json)

    def read(self, path: Path, name: str, known: Mapping[str, Value], renames: Mapping[str, str]) -> list[Row]:
        """A row for each run. Raises StudyError."""
        if not path.is_dir():
            return [_row(path, name)]
        files = [file for file in _files(path) if _is_summary(json_beside(file))]
        if not files:
            raise StudyError(f"{name}: holds no {_SUMMARY} of EvalScope; name its --outputs-dir")
        return [_row(file, f"{name}/{file.relative_to(path)}") for file in files]


def _files(path: Path) -> Iterator[Path]:
    yield from sorted(path.rglob(_SUMMARY))


def _is_summary(data: Any) -> bool:
    return isinstance(data, dict) and all(_first(data, names) is not None for names in (_DONE, _FAILED, _LATENCY))


def _first(data: Mapping[str, Any], names: Iterable[str]) -> Any:
    """The value of the first name that is there; else None."""
    return next((data[name] for name in names if data.get(name) is not None), None)


def _row(path: Path, name: str) -> Row:
    data, digest = read_bytes(path)
    summary = parse_json(data, name)
    if not _is_summary(summary):
        raise StudyError(f"{name}: is not a {_SUMMARY} of EvalScope; name that file")
    run, notes = _beside(path, summary), ["warm-ups and server start are not in the file"]
    provenance = Provenance(name, digest, "evalscope", "run", identity=content_identity(summary))
    where = provenance.where
    fields = _fields(run)
    others = {key: value for key, value in {**flattened(run.arguments, aside=_ASIDE),
                                            **flattened(summary, aside=_ASIDE)}.items() if key not in fields}
    done = number(_first(summary, _DONE), where, "succeeded requests")
    failed = number(_first(summary, _FAILED), where, "failed requests")
    seconds = usable(_first(summary, _DURATION), _DURATION[0], notes)
    if seconds is None:
        notes.append("the duration is not in the file; counted as 0")
    if failed or not done:
        return Row(fields, {}, seconds or 0.0, provenance, others=others, notes=tuple(dict.fromkeys(notes)),
                   failure=f"{int(failed)} of {int(failed + done)} requests failed")
    metrics = _metrics(run, notes)
    if not metrics:
        raise StudyError(f"{where}: has no usable latency or throughput; is the file whole?")
    inputs, outputs = (usable(_first(summary, names), names[0], notes) for names in (_INPUT, _OUTPUT))
    tokens = [done * mean if mean and mean < _LARGEST / done else None for mean in (inputs, outputs)]
    counts = Counts(seconds, done, tokens[0], tokens[1])
    return Row(fields, metrics, seconds or 0.0, provenance, others=others, notes=tuple(dict.fromkeys(notes)),
               counts=counts)


def _beside(path: Path, summary: Mapping[str, Any]) -> _Run:
    """The run with what stands beside its summary. A file of another name may be a copy from elsewhere."""
    rows = json_beside(path.with_name(_PERCENTILES)) if path.name == _SUMMARY else None
    arguments = json_beside(path.with_name(_ARGUMENTS)) if path.name == _SUMMARY else None
    labelled = {str(row.get("Percentiles", row.get("Percentile"))): row
                for row in (rows if isinstance(rows, list) else []) if isinstance(row, dict)}
    return _Run(summary, labelled, arguments if isinstance(arguments, dict) else {})


# ------------------------------------------------------------------------------------------------------------- fields


def _fields(run: _Run) -> dict[str, Value]:
    arguments = settings_of(flattened(run.arguments))
    fields: dict[str, Value] = {key: arguments[key] for key in _ALWAYS if key in arguments}
    fields |= {key: arguments[key] for key, default in _UNLESS.items() if arguments.get(key, default) != default}
    fields |= {key: value for key, value in arguments.items() if key.startswith(f"{_EXTRA}_")}
    limit = _first(run.summary, _CONCURRENCY)
    if _is_count(limit) and fields.get("open_loop") is not True:
        fields["max_concurrency"] = limit
    rate = _first({"rate": run.arguments.get("rate"), **run.summary}, (*_RATE, "rate"))
    if isinstance(rate, int | float) and not isinstance(rate, bool):
        fields |= settings_of({"request_rate": rate if rate > 0 else "inf"})
    return fields | _lengths(run, arguments)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**63


def _lengths(run: _Run, arguments: Mapping[str, Value]) -> dict[str, Value]:
    """Lengths where all requests asked for the same ones; else their limits, as settings of the workload. Without
    arguments: lengths that all requests had."""
    if not run.arguments:
        counted = {"input_len": _same(run, _INPUT, "Input tokens"), "output_len": _same(run, _OUTPUT, "Output tokens")}
        return {key: value for key, value in counted.items() if value is not None}
    found: dict[str, Value] = {}
    longest, shortest = (arguments.get(key) for key in _NO_LIMIT)
    if arguments.get("dataset") == "random" and longest == shortest and longest is not None:
        found["input_len"] = longest
    else:
        found |= {key: arguments[key] for key, none in _NO_LIMIT.items() if arguments.get(key) not in {None, *none}}
    asked: Any = run.arguments.get("max_tokens")
    least = arguments.get("min_tokens")
    if isinstance(asked, list):  # a range
        asked = asked[0] if len(asked) == 2 and asked[0] == asked[1] else short(asked)
    if _is_count(asked) and (least == asked or arguments.get(f"{_EXTRA}_ignore_eos") is True):
        found["output_len"] = asked
        return found
    limit: dict[str, Any] = {"max_tokens": asked, "min_tokens": least}
    found |= {key: value for key, value in limit.items() if isinstance(value, str) or _is_count(value)}
    return found


def _same(run: _Run, names: Iterable[str], column: str) -> int | None:
    """The length that all requests had, as far as mean and percentiles tell."""
    mean = usable(_first(run.summary, names), column, [])
    if mean is None or mean != int(mean):
        return None
    return int(mean) if all(row.get(column, mean) == mean for row in run.percentiles.values()) else None


# ------------------------------------------------------------------------------------------------------------ metrics


def _metrics(run: _Run, notes: list[str]) -> dict[str, tuple[float, ...]]:
    unread = _unread(run, notes)
    found: dict[str, tuple[float, ...]] = {}
    # The last digit of a rate and of seconds. Milliseconds have two digits or four.
    digit = 1e-3 if "Average QPS" in run.summary else 1e-4
    for ours, theirs in _MEANS.items():
        if not unread & set(ours.split("_")):
            _add(found, (ours,), run.summary, theirs, digit, notes)
    # EvalScope 1.7 to 1.10 and some later ones round to hundredths; those that have the least value do not.
    digit = 1e-2 if _DURATION[0] in run.summary and "min" not in run.percentiles else 1e-4
    for ours, theirs in _COLUMNS.items():
        for label, prefixes in _ROWS.items():
            if ours not in unread:
                names = [f"{prefix}{ours}_ms" for prefix in prefixes]
                _add(found, names, run.percentiles.get(label, {}), theirs, digit, notes)
    if not run.percentiles:
        notes.append(f"no {_PERCENTILES} is beside the summary: no medians, only means")
    return found


def _add(found: dict[str, tuple[float, ...]], ours: Iterable[str], data: Mapping[str, Any],
         theirs: Mapping[str, float], digit: float, notes: list[str]) -> None:
    """Add the first value that is there. digit: that to which it is rounded, unless in ms."""
    for key, factor in theirs.items():
        if data.get(key) is not None:
            value = usable(data[key], key, notes)
            if value is not None and not key.endswith("(ms)") and digit / 2 > _ROUGHEST * value:
                notes.append(f"{key} is rounded to {digit:g}, which is too rough for its value: left out")
            elif value is not None and value < _LARGEST:
                found.update(dict.fromkeys(ours, (factor * value,)))
            return


def _unread(run: _Run, notes: list[str]) -> set[str]:
    """The distributions that are not vLLM's in this file, with a note on each."""
    if not _streamed(run):
        notes.append("the answers were not streamed: no ttft, tpot or itl")
        return set(_STREAMED)
    summary, unread = run.summary, set()
    if _TPOT_S in summary and _ITL_S not in summary:
        unread |= {"tpot", "itl"}
        notes.append("time per output token before EvalScope 0.17.1 is not vLLM's tpot: left out")
    elif _ITL_S in summary and _first(summary, _RATE) is None:
        unread.add("itl")
        notes.append("inter-token latency before EvalScope 1.4.1 may count a chunk without text: left out")
    alone = summary.get("Non-Stream Requests")
    if _is_count(alone):
        notes.append(f"{alone} of the answers were not streamed: ttft, tpot and itl are those of the others")
    return unread


def _streamed(run: _Run) -> bool:
    """Whether the answers, or some of them, were streamed."""
    streams = run.summary.get("Stream Requests")
    if streams is not None:
        return _is_count(streams)
    if "stream" in run.arguments:
        return run.arguments["stream"] is True
    found: dict[str, tuple[float, ...]] = {}
    for ours in ("mean_ttft_ms", "mean_e2el_ms"):
        _add(found, (ours,), run.summary, _MEANS[ours], 0.0, [])
    first, whole = found.get("mean_ttft_ms"), found.get("mean_e2el_ms")
    return not first or not whole or abs(first[0] - whole[0]) > _ROUNDING_MS
