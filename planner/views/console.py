"""The console for answers. What a study names can neither style it nor move its cursor."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.console import Console, RenderableType
from rich.segment import Segment

from planner.space.text import printable

__all__ = ["SafeConsole"]


class SafeConsole(Console):
    """Rich's console without terminal codes in text: names, reasons and logs come from users' files and programs.

    Rich's own codes are styles and control segments, never text.
    """

    def __init__(self, quiet: bool = False, **options: Any) -> None:
        """No markup: a benchmark's message may hold brackets."""
        super().__init__(quiet=quiet, highlight=False, markup=False, emoji=False, **options)

    def render(self, renderable: RenderableType, options: Any = None) -> Iterable[Segment]:
        """The segments of `renderable`, each without control characters."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(printable(segment.text), segment.style)
