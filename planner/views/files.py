"""Tables, figures and parameters as files."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from planner.analysis.next_points import SweepPair
from planner.space.cells import as_text_cell
from planner.space.text import point_json
from planner.space.types import StudyError

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

__all__ = ["write_figure", "write_pairs", "write_table"]


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write CSV, Parquet or JSON Lines, by the ending, with all digits, so that axis values match when read again.
    Raises StudyError."""
    try:
        if path.suffix == ".parquet":
            _of_one_type(table).to_parquet(path, index=False)
        elif path.suffix == ".jsonl":
            path.write_text(_json_lines(table), encoding="utf-8")
        else:
            _without_formulas(table).to_csv(path, index=False)
    except OSError as error:
        raise StudyError(f"--output: cannot write {path} ({error.strerror}); give another path") from error


def _without_formulas(table: pd.DataFrame) -> pd.DataFrame:
    """The table with an apostrophe before text that a spreadsheet would compute: names and reasons are not ours. Our
    own reader takes it away again. Numbers stay."""
    texts = [column for column in table if any(isinstance(value, str) for value in table[column])]
    safe = table.copy()
    for column in texts:
        safe[column] = safe[column].map(as_text_cell)
    return safe.rename(columns=as_text_cell)


def _json_lines(table: pd.DataFrame) -> str:
    """One JSON object for each row, without keys of missing values."""
    records = table.to_dict(orient="records")
    return "".join(
        json.dumps(point_json({str(key): value for key, value in record.items()
                               if not (value is None or (isinstance(value, float) and math.isnan(value)))})) + "\n"
        for record in records)


def _of_one_type(table: pd.DataFrame) -> pd.DataFrame:
    """The table with columns that mix numbers and text as text: Parquet requires it."""
    mixed = [column for column in table if len({type(value) for value in table[column]}) > 1]
    return table.astype(dict.fromkeys(mixed, str))


def write_figure(figure: go.Figure, path: Path) -> None:
    """Write one HTML page with Plotly inside. Raises StudyError."""
    try:
        figure.write_html(path, include_plotlyjs=True, config={"responsive": True})
    except OSError as error:
        raise StudyError(f"--output: cannot write {path} ({error.strerror}); give another path") from error


def write_pairs(pairs: Sequence[SweepPair], folder: Path) -> list[tuple[Path, Path]]:
    """The written files serve-K.json and bench-K.json of each pair. Raises StudyError if the folder has any already."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.glob("serve-*.json")) or any(folder.glob("bench-*.json")):
            raise StudyError(f"--output: {folder} holds parameter files of an earlier export; give another folder")
        written = []
        for number, pair in enumerate(pairs, 1):
            paths = folder / f"serve-{number}.json", folder / f"bench-{number}.json"
            paths[0].write_text(json.dumps([dict(pair.serve)], indent=1) + "\n", encoding="utf-8")
            paths[1].write_text(json.dumps([dict(one) for one in pair.bench], indent=1) + "\n", encoding="utf-8")
            written.append(paths)
    except OSError as error:
        raise StudyError(f"--output: cannot write into {folder} ({error.strerror}); give another folder") from error
    return written
