"""How the quality of a model is evaluated, as a runner needs to know it. Imports nothing, as types.py asks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["EXACT_MATCH", "PERPLEXITY", "STDERR", "Evaluation"]

PERPLEXITY, EXACT_MATCH = "perplexity", "exact_match"
"""The metrics of the evaluations that are built in."""
STDERR = "_stderr"
"""A metric's name with this is its sampling error, one standard deviation, as lm_eval has it."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What to run on an engine that is up, once for each configuration.

    command: program and arguments, with placeholders; () for none. results: metric of the command → where lm_eval has
    it, '' where its own name says so. perplexity, exact_match: files of the evaluations that are built in, '' for none.
    Paths are relative to the study file.
    """

    command: tuple[str, ...] = ()
    results: Mapping[str, str] = field(default_factory=dict)
    perplexity: str = ""
    exact_match: str = ""
    timeout_s: float = 3600.0

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics that it gives, in order."""
        built_in = [name for name, file in ((PERPLEXITY, self.perplexity), (EXACT_MATCH, self.exact_match)) if file]
        return (*self.results, *built_in)

    @property
    def names(self) -> frozenset[str]:
        """The metrics and their sampling errors."""
        return frozenset(self.metrics) | {name + STDERR for name in self.metrics}
