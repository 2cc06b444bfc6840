"""The keys of an unreliable machine, which a replay runner simulates."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from planner.space.validation import StrictModel

__all__ = ["DriftSettings", "MachineSettings", "OutlierSettings"]

_LARGEST = 10.0  # By calculation: a factor of e^10 = 22,000 is no machine's, and far larger ones are no numbers.


class OutlierSettings(StrictModel, strict=True):
    """Single repeats that are slowed."""

    share: float = Field(ge=0, le=1)
    """Share of the repeats that are slowed."""
    factor: float = Field(ge=1, allow_inf_nan=False)
    """How many times longer such a repeat takes."""


class DriftSettings(StrictModel, strict=True):
    """How all times change with the seconds that the runs have taken so far."""

    kind: Literal["walk", "step", "ramp"]
    """walk: at random, to both sides; step: at once, at a random moment within over_s; ramp: evenly over over_s."""
    size: float = Field(gt=-1, le=_LARGEST)
    """walk: standard deviation of the logarithm of the factor at over_s. step, ramp: times are 1 + size times as long
    afterwards; below 0, the machine becomes faster."""
    over_s: float = Field(gt=0, allow_inf_nan=False)
    """Seconds of runs within which the machine changes. After them it stays as it is."""

    @model_validator(mode="after")
    def _check(self) -> DriftSettings:
        if self.kind == "walk" and self.size < 0:
            raise ValueError("the size of a walk is a standard deviation; give a number from 0")
        return self


class MachineSettings(StrictModel, strict=True):
    """An unreliable machine. Without a key, that fault never happens."""

    noise: float = Field(default=0.0, ge=0, le=_LARGEST)
    """Standard deviation of the logarithm of a random factor on the times of each repeat."""
    outliers: OutlierSettings | None = None
    """Single repeats that are slowed."""
    drift: DriftSettings | None = None
    """How all times change while a study runs."""
    hang: float = Field(default=0.0, ge=0, le=1)
    """Probability that a run hangs: it fails after hang_s, and the engine must start again."""
    hang_s: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    """Seconds of a run that hangs."""
    crash: float = Field(default=0.0, ge=0, le=1)
    """Probability that a run crashes: it fails after half its time, and the engine must start again."""

    @model_validator(mode="after")
    def _check(self) -> MachineSettings:
        if self.hang and self.hang_s is None:
            raise ValueError("a run that hangs costs seconds; add hang_s")
        if self.hang + self.crash > 1:
            raise ValueError(f"hang and crash add up to {self.hang + self.crash:g}; lower them to 1 or less together")
        return self
