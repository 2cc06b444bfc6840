"""The folder of a `vllm bench sweep serve` experiment: a folder for each combination, with run=N.json and failures.

Each run file has the output of `vllm bench serve` and the parameters of its combination. The runs of a combination are
repeats of one measurement. warmup.json is not a repeat; summary.json and summary.csv repeat the same data.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from planner.importers.importer import Source
from planner.importers.rows import (
    Provenance,
    Row,
    content_identity,
    parse_json,
    read_bytes,
    scalar,
    section,
)
from planner.importers.vllm_bench import row_of
from planner.space.types import StudyError, Value
from planner.tables.table_file import one_line

__all__ = ["VllmSweep"]


class VllmSweep:
    """The folder of an experiment, or of several."""

    def recognises(self, source: Source) -> bool:
        """Whether the folder or its subfolders have results of a sweep."""
        return source.is_folder and bool(_files(source.path))

    def read(self, path: Path, name: str, known: Mapping[str, Value], renames: Mapping[str, str]) -> list[Row]:
        """A row for each run. Raises StudyError."""
        rows = []
        for file in _files(path):
            data, digest = read_bytes(file)
            inside = str(file.relative_to(path))
            provenance = Provenance(f"{name}/{inside}", digest, "vllm-sweep", "result 1")
            record = parse_json(data, provenance.file)
            failed = file.name.endswith("failure.json")
            row = _failure(record, provenance, known) if failed else row_of(record, provenance, known)
            if row is not None:
                rows.append(replace(row, run=str(file.parent), across_files=True))
        if not rows:
            raise StudyError(f"{name}: holds no run=N.json of a vllm bench sweep; name the experiment's folder")
        return rows


def _files(path: Path) -> list[Path]:
    return sorted([*path.rglob("run=*.json"), *path.rglob("SERVE-*-failure.json")])


def _failure(record: object, provenance: Provenance, known: Mapping[str, Value]) -> Row | None:
    """The row of a failed run recorded by --continue-on-error; None for a failed server start, which has no point."""
    if not isinstance(record, dict) or "error" not in record:
        raise StudyError(f"{provenance.where}: is not a failure record of vllm bench sweep; leave the file out")
    if "bench_overrides" not in record:
        return None
    given = {**section(record, "serve_overrides", provenance.where),
             **section(record, "bench_overrides", provenance.where)}
    kept = {key.replace("-", "_"): scalar(value) for key, value in given.items() if key != "_benchmark_name"}
    fields = {key: value for key, value in kept.items() if value is not None} | dict(known)
    for length in ("input_len", "output_len"):
        if f"random_{length}" in fields:
            fields.setdefault(length, fields[f"random_{length}"])
    reason = f"vllm bench serve ended with {one_line(str(record.get('error_type', 'an error')))[:60]}"
    return Row(fields, {}, 0.0, replace(provenance, identity=content_identity(record)), failure=reason,
               notes=("the cost of a failed run is not in the file",))
