"""What a row measured, under the study's names: metrics, seconds, devices. Values that no run gives are refused.

Only what the study asks for has a meaning: of a table's columns, the targets, known metrics, and what --map names.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from planner.importers.placing.options import RESERVED, Amount, ImportOptions, amount, cell
from planner.importers.rows import Row, short
from planner.space.cells import MISSING
from planner.space.meaning import as_number
from planner.space.metrics import described, impossible, metric_named, unit_wanted
from planner.space.types import Kind, Metric, StudyError

__all__ = ["Metrics", "Price"]

@dataclass(frozen=True)
class Metrics:
    """Finds the metrics of rows. targets: of the study. sources: metric → what --map says it is computed from."""

    targets: tuple[Metric, ...]
    sources: Mapping[str, Amount]

    @classmethod
    def of(cls, targets: tuple[Metric, ...], options: ImportOptions, names: set[str], axes: Sequence[str]) -> Metrics:
        """names: those of all rows. Raises StudyError if --map names what no row has."""
        known = {metric.name: metric for metric in targets}
        return cls(targets, {
            name: amount(text, names, unit_wanted(known.get(name) or metric_named(name)), f"--map {name}")
            for name, text in options.renames.items() if name not in {*axes, *RESERVED}})

    def read(self, row: Row, aside: set[str], single_token: bool) -> tuple[Row, str]:
        """The row with the study's metrics and an empty text; or the row and why its figures cannot be used.

        aside: names that are axes. single_token: whether times between tokens are undefined at its point."""
        if row.failure:
            return row, ""
        metrics = {name: values for name, values in row.metrics.items()
                   if name not in aside and (name not in row.others or self._asked(name))}
        problem = ""
        for name, source in self.sources.items():
            values = source.of(row)
            if values is not None and all(math.isfinite(value) for value in values):
                metrics[name] = values
            else:
                metrics.pop(name, None)
                problem = problem or self._no_number(row, name, sorted(source.names))
        for target in self.targets:
            if target.name not in self.sources and target.name not in metrics:
                problem = problem or self._no_number(row, target.name, [target.name])
        notes = list(row.notes)
        for name, values in list(metrics.items()):
            metric = described(name, self.targets)
            wrong = next((text for value in values if (text := impossible(metric, value))), "")
            if not wrong or (name == "request_goodput" and min(values) == 0):
                continue
            del metrics[name]
            if single_token and metric.kind is Kind.STEP and min(values) == 0:
                continue  # a tool's word for "undefined"
            if metric in self.targets:
                problem = problem or wrong
            else:
                notes.append(f"{name} is 0 or less in some rows, which no run measures: left out there")
        return replace(row, metrics=metrics, notes=tuple(notes)), problem

    @property
    def notes(self) -> list[str]:
        """Units that were converted."""
        return [f"--map {name}: {source.text} is converted (× {source.scale:g})"
                for name, source in self.sources.items() if source.scale != 1]

    def _asked(self, name: str) -> bool:
        known = metric_named(name)
        return known.kind is not Kind.OTHER or any(name == target.name for target in self.targets)

    def _no_number(self, row: Row, name: str, columns: list[str]) -> str:
        """The text of a cell that stands where a target's number should; empty for a blank, or for no target."""
        if name not in self.sources and not any(name == target.name for target in self.targets):
            return ""
        for column in columns:
            value = cell(row, column)
            if value is not None and column not in row.metrics and not (
                    isinstance(value, str) and value.strip().lower() in MISSING):
                said = short(value) if math.isnan(as_number(value)) else str(value)
                return f"{column} is {said}, which no run measures"
        return ""


@dataclass(frozen=True)
class Price:
    """What rows cost, as --map says: seconds and start_s in seconds, accelerators; and the run that they belong to."""

    sources: Mapping[str, Amount]
    run: str | None

    @classmethod
    def of(cls, options: ImportOptions, names: set[str]) -> Price:
        """names: those of all rows. Raises StudyError."""
        units = {"seconds": "s", "start_s": "s", "accelerators": ""}
        return cls({name: amount(options.renames[name], names, unit, f"--map {name}")
                    for name, unit in units.items() if name in options.renames}, options.renames.get("run"))

    def read(self, row: Row) -> Row:
        """The row with its price. A blank costs nothing known. Raises StudyError for what is no number from 0."""
        prices = {name: self._number(row, name, source) for name, source in self.sources.items()}
        run = str(cell(row, self.run)) if self.run and cell(row, self.run) is not None else row.run
        return replace(
            row, seconds=prices.get("seconds", row.seconds), start_s=prices.get("start_s", row.start_s),
            accelerators=prices.get("accelerators") or row.accelerators, run=run)

    @property
    def notes(self) -> list[str]:
        """Units that were converted."""
        return [f"--map {name}: {source.text} is converted (× {source.scale:g})"
                for name, source in self.sources.items() if source.scale != 1]

    def _number(self, row: Row, name: str, source: Amount) -> float:
        values = source.of(row)
        if values is None:
            return 0.0
        if not math.isfinite(sum(values)) or min(values) < 0:
            said = ", ".join(f"{column} is {short(cell(row, column))}" for column in sorted(source.names))
            raise StudyError(f"{row.provenance.where}: --map {name}: {said}, which gives no number from 0; correct it, "
                             "or leave the row out by --where")
        return sum(values)
