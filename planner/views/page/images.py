"""The main figures as pictures for slides, by Plotly's own exporter."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

from planner.analysis.report import Report
from planner.space.types import StudyError
from planner.views.page.html import figures_of

if TYPE_CHECKING:
    import plotly.graph_objects as go

__all__ = ["SIZE", "check_exporter", "export", "write_images"]

SIZE: Final = {"width": 1280, "height": 720}


def check_exporter() -> None:
    """Raises StudyError if pictures cannot be made here."""
    if find_spec("kaleido") is None:
        raise StudyError("--format: pictures need kaleido; pip install 'sweepwise[images]', or choose html or md")
    from choreographer.browsers.chromium import Chromium

    if Chromium.find_browser(skip_local=False) is None:
        raise StudyError("--format: pictures need Chrome or Chromium; install one, run `plotly_get_chrome`, or choose "
                         "html or md")


def write_images(report: Report, output: Path, kind: str) -> list[Path]:
    """One file a figure: OUTPUT for the surface of the least accurate target, OUTPUT-NAME for the others."""
    figures = _figures(report)
    paths = [output if name == "surface" else output.with_name(f"{output.stem}-{name}{output.suffix}")
             for name in figures]
    return export(list(figures.values()), paths, kind)


def export(figures: list[go.Figure], paths: list[Path], kind: str) -> list[Path]:
    """Write each figure to its path. Raises StudyError if that cannot be done."""
    from plotly.io import write_images as write

    try:
        write(figures, list(map(str, paths)), format=kind, scale=2 if kind == "png" else 1, **SIZE)
    except OSError as error:
        raise StudyError(f"--output: cannot write {paths[0]} ({error.strerror}); give another path") from error
    return paths


def _figures(report: Report) -> dict[str, go.Figure]:
    from planner.views.figures import surface

    first = surface(report.study.name, report.surfaces[report.shown])
    # A picture has no controls: its title names the slice that it shows.
    if first.layout.sliders and first.layout.sliders[0].visible:
        slider = first.layout.sliders[0]
        first.layout.title.text += f"<br><sub>{slider.steps[slider.active].label}</sub>"
    first.layout.sliders, first.layout.updatemenus = [], []
    return {"surface": first, **{name: figure for name, figure in figures_of(report).items() if figure is not None}}
