"""What separates two candidates is told by the joint distribution of their errors, as the choice between them is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from scipy.stats import t

from planner.evaluation import settings
from planner.evaluation.apart import difference_of, ratio_of
from planner.evaluation.choice import Choice, ChoiceQuestion, Named, choice_of
from planner.evaluation.joint import JointMetric
from planner.evaluation.metric_posterior import TAIL_SCALE, MetricPosterior, metric_posterior
from planner.evaluation.mix import Candidates, Mix, candidates_of, mixes
from planner.ledger.observations import Observations, Run
from planner.models.grid_model import Prediction
from planner.space.grid import full_grid
from planner.space.question import Question
from planner.space.types import Z90, Axis, Cost, Measurement, Reading, Scale, Status
from tests.evaluation.test_choice import SAME, Alike

QUANTILE = float(t.ppf(0.95, settings.TAIL_FREEDOM)) / TAIL_SCALE
METRIC = "output_throughput"


class Scene:
    """Candidates with predicted throughputs, some of them measured, of which the first is chosen."""

    def __init__(
        self, values: Sequence[float], std: float = 0.1, *, measured: dict[int, tuple[float, ...]] | None = None,
        again: int = 1, errors: Alike | None = None, beside: tuple[int, ...] = (1,),
    ) -> None:
        grid = full_grid([Axis("batch_size", tuple(range(1, len(values) + 1)), scale=Scale.LOG)])
        seen = Observations(grid, (METRIC,))
        for row, repeats in (measured or {}).items():
            for _ in range(again):
                reading = Reading(grid.point(row), {METRIC: repeats}, 1.0)
                seen.add(Run(len(seen.runs), grid.point(row), Measurement(Status.OK, Cost(measure_s=1.0), (reading,))))
        x = np.array(values, dtype=float)
        prediction = Prediction({METRIC: x}, {METRIC: x * np.exp(-Z90 * std)}, {METRIC: x * np.exp(Z90 * std)},
                                {METRIC: np.full(len(x), std)})
        known = metric_posterior(METRIC, prediction, seen)
        (mix,) = mixes(grid, None)
        self.candidates: Candidates = candidates_of(
            mix, {METRIC: known}, {METRIC: seen.metric(METRIC)}, np.ones(len(x)), np.ones(len(x)))
        asked = ChoiceQuestion(Question(METRIC, True), (mix,), np.ones(len(x)), 0.95)
        self.choice: Choice = choice_of(asked, prediction, np.ones(len(x)), errors, seen,  # type: ignore[arg-type]
                                        [Named(self.candidates, 0, beside)])

    def ratio(self, row: int = 1, drawn: bool = True) -> tuple[float, float, float]:
        found = ratio_of(self.candidates, METRIC, row, 0, self.choice.draws if drawn else None)
        assert found is not None
        return found

    def width(self, row: int = 1) -> float:
        """Half of the interval of the ratio's logarithm."""
        _, low, high = self.ratio(row)
        return float(np.log(high / low) / 2)


def test_two_that_err_alike_are_told_apart_by_what_they_do_not_share() -> None:
    for correlation in (0.0, 0.5, 0.95):
        own = 0.1 * settings.UNMEASURED_WIDENING * np.sqrt(2 * (1 - correlation)) * QUANTILE
        scene = Scene([100, 92], errors=Alike(correlation, noise=0.0))
        assert scene.width() == pytest.approx(own, rel=0.12)
        middle, low, high = scene.ratio()
        assert middle == pytest.approx(0.92) and low < middle < high


def test_a_model_without_covariances_errs_independently() -> None:
    alone = Scene([100, 92])
    assert alone.width() == pytest.approx(Scene([100, 92], errors=Alike(0.0, noise=0.0)).width())
    assert alone.width() > 2 * Scene([100, 92], errors=Alike(0.9, noise=0.0)).width()


def test_what_was_measured_again_narrows_it() -> None:
    readings = {0: (95.0, 100.0, 105.0), 1: (88.0, 92.0, 96.0)}
    widths = [Scene([100, 92], measured=readings, again=again).width() for again in (1, 4)]
    assert widths[1] == pytest.approx(widths[0] / 2, rel=0.15)
    one = Scene([100, 92], measured={0: readings[0]}, errors=Alike(0.95))
    assert widths[0] < one.width()


def test_a_measured_one_is_not_compared_as_if_both_had_been_selected_from_many() -> None:
    exact = {0: (99.99, 100.0, 100.01)}
    one = Scene([100, 92], 0.1, measured=exact)
    assert one.width() == pytest.approx(0.1 * QUANTILE, rel=0.1)
    (case,) = one.choice.cases
    assert case.ahead[2] > one.ratio()[2] - 1, "the probability of the choice is"


def test_it_says_what_the_probability_of_the_choice_says() -> None:
    """Of two that surely run, the other one is better by more than the tolerance where the choice is wrong."""
    for other in (85, 92, 97, 99):
        scene = Scene([100, other], errors=Alike(0.9))
        assert scene.choice.draws is not None
        drawn = [scene.choice.draws.of(METRIC, scene.candidates.mix, row, widened=True) for row in (0, 1)]
        assert drawn[0] is not None and drawn[1] is not None
        (case,) = scene.choice.cases
        assert np.mean(drawn[1] * SAME <= drawn[0]) == pytest.approx(case.probability, abs=1e-9)
        _, low, high = scene.ratio()
        assert (case.ahead[1], case.ahead[2]) == (pytest.approx(low - 1), pytest.approx(high - 1))
        assert (high <= 1 / SAME) == (case.probability >= 0.95)


def test_what_an_answer_shows_besides_changes_no_other_number() -> None:
    """A baseline far behind is no contender, and is drawn all the same."""
    one, more = (Scene([100, 95, 10, 5], 0.05, errors=Alike(0.6), beside=beside) for beside in ((1,), (1, 2, 3)))
    assert one.ratio() == more.ratio() and one.choice.cases[0].probability == more.choice.cases[0].probability
    assert more.choice.draws is not None and one.choice.draws is not None
    assert one.choice.draws.of(METRIC, one.candidates.mix, 3, widened=True) is None
    assert more.width(3) < more.width(2) * 1.5 and more.ratio(3)[0] == pytest.approx(0.05)
    assert more.width(3) < np.log(one.ratio(3)[2] / one.ratio(3)[1]) / 2, "without draws errors count as independent"


def test_a_covariance_that_rounding_has_spoilt_is_drawn_all_the_same() -> None:
    rng = np.random.default_rng(0)
    z = rng.standard_normal((12, 3))
    spoilt = z @ z.T - 1e-6 * np.eye(12)
    assert np.linalg.eigvalsh(spoilt).min() < 0
    joint = JointMetric(Observations(full_grid([Axis("batch_size", (1, 2))]), (METRIC,)).metric(METRIC), np.arange(12),
                        np.zeros(12), spoilt, np.ones(12), np.zeros(12, dtype=bool), np.ones(12, dtype=np.int64))
    drawn = joint.errors(20_000, rng)
    scale = np.sqrt(np.diagonal(spoilt))
    assert np.allclose(np.corrcoef(drawn.T), spoilt / np.outer(scale, scale), atol=0.06)


def test_without_draws_errors_are_independent() -> None:
    scene = Scene([100, 92], 0.1, errors=Alike(0.95))
    middle, low, high = scene.ratio(drawn=False)
    assert np.log(high / middle) == pytest.approx(Z90 * 0.1 * np.sqrt(2)) == np.log(middle / low)
    assert scene.ratio(0, drawn=False) == scene.ratio(0) == (1.0, 1.0, 1.0)


def test_a_metric_without_a_ratio_differs_by_an_amount() -> None:
    scene = Scene([100, 92], 0.02, errors=Alike(0.8))
    more, low, high = difference_of(scene.candidates, METRIC, 1, 0, scene.choice.draws)
    assert more == pytest.approx(-8) and (low, high) == (
        pytest.approx(100 * (scene.ratio()[1] - 1), rel=0.1), pytest.approx(100 * (scene.ratio()[2] - 1), rel=0.1))
    alone = difference_of(scene.candidates, METRIC, 1, 0, None)
    assert alone[1] < low and alone[2] > high


def test_a_mix_is_told_apart_by_all_of_its_parts() -> None:
    """Two parts that err alike in both candidates: their harmonic means are apart by nothing."""
    grid = full_grid([Axis("input_len", (1, 2), scale=Scale.LOG), Axis("batch_size", (1, 2), scale=Scale.LOG)])
    seen = Observations(grid, (METRIC,))
    x = np.where(grid.numbers("batch_size") == 1, 100.0, 80.0)
    prediction = Prediction({METRIC: x}, {METRIC: x * 0.8}, {METRIC: x * 1.25}, {METRIC: np.full(4, 0.1)})
    known: MetricPosterior = metric_posterior(METRIC, prediction, seen)
    chosen = full_grid([Axis("batch_size", (1, 2), scale=Scale.LOG)])
    rows = np.array([np.flatnonzero(grid.numbers("batch_size") == batch) for batch in (1, 2)])
    mix = Mix(chosen, rows, np.array([0.5, 0.5]))
    candidates = candidates_of(mix, {METRIC: known}, {METRIC: seen.metric(METRIC)}, np.ones(4), np.ones(4))
    asked = ChoiceQuestion(Question(METRIC, True), (mix,), np.ones(4), 0.95)
    draws = choice_of(asked, prediction, np.ones(4), Alike(1.0, noise=0.0), seen,  # type: ignore[arg-type]
                      [Named(candidates, 0, (1,))]).draws
    found = ratio_of(candidates, METRIC, 1, 0, draws)
    assert found == pytest.approx((0.8, 0.8, 0.8), rel=1e-3)
