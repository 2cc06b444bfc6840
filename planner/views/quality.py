"""The quality of each configuration as text and as a table."""

from __future__ import annotations

from planner.analysis.quality import Quality, QualityResult
from planner.space.text import duration, point_text
from planner.space.types import Z90

__all__ = ["HEAD", "quality_lines", "quality_rows"]

HEAD = ("configuration", "quality", "90 % interval", "run", "took")


def quality_rows(quality: Quality) -> list[tuple[str, ...]]:
    """A row for each metric of each result, under HEAD."""
    return [(_configuration(result), f"{name} {value:.4g}", _interval(value, stderr), str(result.run),
             duration(result.seconds) if result.seconds else "")
            for result in quality.results for name, (value, stderr) in result.metrics.items()]


def quality_lines(quality: Quality | None) -> list[str]:
    """What was evaluated, a line each; none where nothing was to be."""
    if quality is None:
        return []
    head = f"quality evaluated for {len(quality.results):,} of {quality.of:,} configurations"
    return [head, *(f"  {_configuration(result)}: " + ", ".join(
        f"{name} {value:.4g}" + (f" ± {Z90 * stderr:.2g}" if stderr else "")
        for name, (value, stderr) in result.metrics.items()) for result in quality.results)]


def _configuration(result: QualityResult) -> str:
    return point_text(result.configuration) or "all points"


def _interval(value: float, stderr: float | None) -> str:
    return "" if stderr is None else f"{value - Z90 * stderr:.4g} … {value + Z90 * stderr:.4g}"
