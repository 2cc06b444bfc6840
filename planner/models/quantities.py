"""What the surrogates learn, and how the targets follow from it.

Latency is modelled by its smooth parts, e2el(o) = first + (o − 1)·step, where first is the time until every request
has its first token and step the mean time between tokens after it; throughputs follow from e2el by definition. So a
run of 16 tokens tells about one of 1,024, and no target contradicts another. Any other target is learned as it is.

Notation: N grid points; o output_len; quantities and targets are handled on the scale on which they are learned
(transforms.py): as logarithms, unless the study says otherwise.
"""

from __future__ import annotations

import math
import operator
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import numpy as np
from scipy.stats import chi2

from planner.ledger.observations import Observations
from planner.ledger.run import beginnings
from planner.models.sampling_error import sampling_errors
from planner.models.settings import USUAL_WEIGHT
from planner.models.transforms import forward
from planner.space.types import FloatArray, IntArray, Kind, Role, Transform

__all__ = ["FIRST_TOKEN", "LATER_TOKENS", "Data", "Quantity", "Target", "data_of", "merged", "targets_of",
           "variance_of_median"]

_E2EL, _FIRST = "e2el_ms", "batch_ttft_ms"
_UNCHANGING: Final = (Kind.SHARE, Kind.OTHER)
# Numerators of vLLM's throughputs over a static batch: tokens or requests that e2el seconds bring.
_PER_BATCH: Final[Mapping[str, Callable[[FloatArray, FloatArray, FloatArray], FloatArray]]] = {
    "output_throughput": lambda batch, _, outputs: batch * outputs,
    "total_token_throughput": lambda batch, inputs, outputs: batch * (inputs + outputs),
    "request_throughput": lambda batch, *_: batch,
}


@dataclass(frozen=True, slots=True)
class Quantity:
    """Something one regressor learns. name: a metric's, or of a part of a latency one that no metric can have.

    length_independent: it does not depend on the trajectory axis. depends_on: the only axes that can change it; None:
    all.
    """

    name: str
    kind: Kind
    transform: Transform
    length_independent: bool
    depends_on: tuple[str, ...] | None = None


FIRST_TOKEN: Final = Quantity("first token of the batch", Kind.FIRST, Transform.LOG, True)
"""Time until every request of a batch has its first token."""
LATER_TOKENS: Final = Quantity("later tokens of the batch", Kind.STEP, Transform.LOG, False)
"""Mean time between tokens after it."""


@dataclass(frozen=True, slots=True)
class Data:
    """Readings of a quantity: grid rows (n,), values (n,), the run that gave each (n,), and the standard deviation that
    repeats give it (n,), 0 where no point was repeated.

    excess: what fewer repeats than the study asks for add to the mean square of that deviation. ages: of each reading,
    from 0, the newest run, to 1, the first, (n,); None for a quantity that no machine's speed changes.
    """

    rows: IntArray
    values: FloatArray
    runs: IntArray
    noise: FloatArray
    excess: float = 0.0
    ages: FloatArray | None = None

    def places(self, rows: IntArray, runs: IntArray, lines: IntArray | None) -> IntArray:
        """The place of the reading at each row in that run, (m,), -1 where there is none. lines: a reading holds for
        all rows of its line, (N,)."""
        def named(rows: IntArray, runs: IntArray) -> list[tuple[int, int]]:
            return list(zip((rows if lines is None else lines[rows]).tolist(), runs.tolist(), strict=True))

        known = {name: place for place, name in enumerate(named(self.rows, self.runs))}
        return np.array([known.get(name, -1) for name in named(rows, runs)], dtype=np.int64)

    def of_plain(self, std: FloatArray) -> FloatArray:
        """The deviation of a reading of the plain sweep from `std`, that of a reading as most runs here give it."""
        if self.excess <= 0:
            return std
        share = 1 - self.excess / float(np.mean(self.noise**2))
        plain: FloatArray = np.sqrt(np.maximum(std**2 - self.excess, share * std**2))
        return plain

    def at(self, places: IntArray) -> Data:
        """Some of the readings, by their places."""
        ages = None if self.ages is None else self.ages[places]
        return Data(self.rows[places], self.values[places], self.runs[places], self.noise[places], self.excess, ages)


@dataclass(frozen=True, eq=False)
class Target:
    """How a target follows from quantities.

    Direct: the one quantity is the target.
    Derived: log target = offset + sign · log(first + steps · step), offset and steps of shape (N,).
    """

    name: str
    quantities: tuple[Quantity, ...]
    transform: Transform = Transform.LOG
    offset: FloatArray | None = None
    sign: float = 1.0
    steps: FloatArray | None = None

    def combine(
        self, means: Mapping[str, FloatArray], stds: Mapping[str, FloatArray], noises: Mapping[str, float],
        rows: IntArray | slice = slice(None),
    ) -> tuple[FloatArray, FloatArray]:
        """Mean and standard deviation of the target from those of its quantities, to first order.

        noises: the part of each standard deviation that is measurement noise. It is taken to be shared by the parts of
        one run, a slow moment being slow for all tokens; the rest of the errors are independent.
        """
        if self.offset is None or self.steps is None:
            name = self.quantities[0].name
            return means[name], stds[name]
        first, step = (q.name for q in self.quantities)
        # An output of one token has no steps: whatever is known of them, or is not, it follows from the first.
        one = self.steps[rows] == 0
        means = {first: means[first], step: np.where(one, means[first], means[step])}
        stds = {first: stds[first], step: np.where(one, 0.0, stds[step])}
        shares = self.shares(means, rows)
        with np.errstate(invalid="ignore"):  # NaN where a part is unknown: so is the whole
            total = np.logaddexp(means[first], np.log(np.maximum(self.steps[rows], 1e-300)) + means[step])
        variance = sum((share * stds[name]) ** 2 for name, share in shares.items())
        both = 2 * shares[first] * noises[first] * shares[step] * noises[step]
        return self.offset[rows] + self.sign * total, np.sqrt(variance + both)

    def shares(self, means: Mapping[str, FloatArray], rows: IntArray | slice = slice(None)) -> dict[str, FloatArray]:
        """∂ log target / ∂ quantity, absolute: what an error of each quantity does to the target."""
        if self.steps is None:
            name = self.quantities[0].name
            return {name: np.ones_like(means[name])}
        first, step = (q.name for q in self.quantities)
        ratio = self.steps[rows] * np.exp(np.clip(means[step] - means[first], -50, 50))
        return {first: 1 / (1 + ratio), step: ratio / (1 + ratio)}


def targets_of(observations: Observations, trajectory: str | None) -> list[Target]:
    """How each target of the study follows from what has been measured."""
    return [_derived(name, observations) or _direct(name, observations, trajectory) for name in observations.targets]


def merged(targets: list[Target], observations: Observations, lines: IntArray | None) -> list[Target]:
    """The targets with one quantity in place of several that have the same readings: where a batch decodes together,
    its first token is every request's first token, and one surrogate serves for both."""
    kept: list[tuple[Quantity, Data]] = []

    def canonical(quantity: Quantity) -> Quantity:
        data = data_of(quantity, observations, lines)
        for other, known in kept:
            alike = (other.length_independent, other.depends_on) == (quantity.length_independent, quantity.depends_on)
            if alike and np.array_equal(known.rows, data.rows) and np.allclose(
                    known.values, data.values, rtol=0, atol=1e-4):
                return other
        kept.append((quantity, data))
        return quantity

    return [replace(target, quantities=tuple(map(canonical, target.quantities))) for target in targets]


def data_of(quantity: Quantity, observations: Observations, lines: IntArray | None) -> Data:
    """The readings of a quantity, transformed, by row and run; one a line and run where it is independent of the
    output's length."""
    found = sorted((where, reading) for where, reading in _readings(quantity, observations).items()
                   if math.isfinite(reading.value))
    if quantity.length_independent and lines is not None:
        of_line = {(int(lines[row]), run): ((row, run), reading) for (row, run), reading in reversed(found)}
        found = sorted(of_line.values(), key=operator.itemgetter(0))
    rows = np.array([row for (row, _), _ in found], dtype=np.int64)
    runs = np.array([run for (_, run), _ in found], dtype=np.int64)
    values = np.array([reading.value for _, reading in found])
    noise, excess = _repeat_noise([reading.repeats for _, reading in found], observations.repeats_a_run)
    said = sampling_errors(quantity.name, quantity.transform, [place for place, _ in found], values, observations)
    noise = np.where(said > 0, said, noise)
    return Data(rows, values, runs, noise, excess, _ages(quantity, observations, runs))


def _ages(quantity: Quantity, observations: Observations, runs: IntArray) -> FloatArray | None:
    if quantity.kind in _UNCHANGING or not len(runs):
        return None
    begun = beginnings(observations.runs)
    return None if begun.max() <= 0 else 1 - begun[runs] / begun.max()


def _direct(name: str, observations: Observations, trajectory: str | None) -> Target:
    metric = observations.metric(name)
    length_independent = trajectory is not None and metric.depends_on is None and _is_length_independent(
        observations.column(name), observations)
    quantity = Quantity(name, metric.kind, metric.transform, length_independent, metric.depends_on)
    return Target(name, (quantity,), metric.transform)


def _derived(name: str, observations: Observations) -> Target | None:
    grid = observations.grid
    if not {_E2EL, _FIRST} <= set(observations.metrics) or grid.by_role(Role.OUTPUT_TOKENS) is None:
        return None
    if name in observations.targets and observations.metric(name).transform is not Transform.LOG:
        return None
    outputs = grid.size_column(Role.OUTPUT_TOKENS)
    parts = (FIRST_TOKEN, LATER_TOKENS)
    if name == _E2EL:
        return Target(name, parts, Transform.LOG, np.zeros(len(grid)), 1.0, outputs - 1)
    if name not in _PER_BATCH:
        return None
    tokens = _PER_BATCH[name](grid.size_column(Role.BATCH), grid.size_column(Role.INPUT_TOKENS), outputs)
    ratio = observations.column(name) * observations.column(_E2EL) / (1000 * tokens)
    # The definition must hold on what was measured: a fixed batch that is no axis, say, breaks it.
    known = ratio[np.isfinite(ratio)]
    if not len(known) or np.abs(known - 1).max() > 0.01:
        return None
    return Target(name, parts, Transform.LOG, np.log(1000 * tokens), -1.0, outputs - 1)


def _repeat_noise(readings: Sequence[FloatArray], repeats_a_run: int) -> tuple[FloatArray, float]:
    """Standard deviation of the median of the repeats of each reading, (n,), and `Data.excess`.

    Three repeats tell little of their own spread: it is drawn towards that of all points. What differs between runs,
    and not within one, is no part of it.
    """
    squares, freedom, counts = np.zeros(len(readings)), np.zeros(len(readings)), np.ones(len(readings))
    for i, repeats in enumerate(readings):
        if len(repeats) > 1 and np.isfinite(repeats).all():
            squares[i], freedom[i], counts[i] = np.var(repeats) * len(repeats), len(repeats) - 1, len(repeats)
    if not freedom.any():
        return squares, 0.0
    # The median point's: where one run in ten stumbles, the mean would call every point as noisy as those.
    several = freedom > 0
    usual = float(np.median(squares[several] / chi2.median(freedom[several])))
    variance = (squares + USUAL_WEIGHT * usual) / (freedom + USUAL_WEIGHT)
    share = variance_of_median(counts)
    fewer = share - variance_of_median(np.maximum(counts, repeats_a_run))
    return np.sqrt(share * variance), float(np.mean(fewer * variance))


def variance_of_median(counts: FloatArray) -> FloatArray:
    """Variance of the median of so many normal readings over that of one, (n,): π/2 times that of their mean."""
    return np.where(counts > 2, np.pi / 2, 1.0) / counts


class _Reading(NamedTuple):
    """A quantity in one run at one row, transformed: the median, and each repeat."""

    value: float
    repeats: FloatArray


def _readings(quantity: Quantity, observations: Observations) -> dict[tuple[int, int], _Reading]:
    """The quantity's readings by row and run; NaN where its transform is undefined."""
    if quantity.name == LATER_TOKENS.name:
        return _later_tokens(observations)
    metric = _FIRST if quantity.name == FIRST_TOKEN.name else quantity.name
    return {where: _Reading(float(forward(quantity.transform, np.array(statistics.median(repeats)))),
                            forward(quantity.transform, np.array(repeats)))
            for where, repeats in observations.readings(metric).items()}


def _later_tokens(observations: Observations) -> dict[tuple[int, int], _Reading]:
    """Milliseconds between tokens after the first: of each repeat from its own first token, as tpot is."""
    outputs = observations.grid.size_column(Role.OUTPUT_TOKENS)
    firsts, found = observations.readings(_FIRST), {}
    for where, total in observations.readings(_E2EL).items():
        first, steps = firsts.get(where, ()), float(outputs[where[0]]) - 1
        if not first or steps <= 0:
            continue
        each = list(map(operator.sub, total, first)) if len(first) == len(total) else []
        middle = statistics.median(each) if each else statistics.median(total) - statistics.median(first)
        found[where] = _Reading(float(forward(Transform.LOG, np.array(middle / steps))),
                                forward(Transform.LOG, np.array(each) / steps))
    return found


def _is_length_independent(values: FloatArray, observations: Observations) -> bool:
    """Whether every run with several readings gave one and the same value for all of them."""
    rows = np.flatnonzero(np.isfinite(values))
    runs, counts = np.unique(observations.run_of[rows], return_counts=True)
    several = rows[np.isin(observations.run_of[rows], runs[counts > 1])]
    if not len(several):
        return False
    order = several[np.argsort(observations.run_of[several], kind="stable")]
    same_run = observations.run_of[order][1:] == observations.run_of[order][:-1]
    return bool(np.all(values[order][1:][same_run] == values[order][:-1][same_run]))
