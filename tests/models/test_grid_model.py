"""The model of a whole grid: derived targets, one-step-ahead forecasts, calibrated intervals."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import pytest

from planner.ledger.observations import Observations, Run
from planner.models.calibration import Forecasts
from planner.models.ensemble import Ensemble
from planner.models.gp import GaussianProcess
from planner.models.grid_model import GridModel
from planner.models.kernels import ALL_TERMS, HierarchicalKernel, Priors
from planner.models.quantities import FIRST_TOKEN, LATER_TOKENS, targets_of
from planner.models.transforms import expected_error
from planner.space.grid import Grid, full_grid
from planner.space.types import (
    Axis,
    Cost,
    Features,
    FloatArray,
    Measurement,
    Metric,
    Reading,
    Role,
    Scale,
    Status,
    Transform,
)

OUTPUTS = (1, 2, 4, 8, 16, 32, 64, 128)
TARGETS = ("ttft_ms", "tpot_ms", "e2el_ms", "output_throughput", "total_token_throughput", "request_throughput")


def _grid(batches: tuple[int, ...] = (1, 2, 4, 8, 16, 32)) -> Grid:
    return full_grid([
        Axis("input_len", (16, 64, 256), scale=Scale.LOG, roles=(Role.INPUT_TOKENS,)),
        Axis("output_len", OUTPUTS, scale=Scale.LOG, roles=(Role.OUTPUT_TOKENS,)),
        Axis("batch_size", batches, scale=Scale.LOG, roles=(Role.BATCH,)),
    ])


def _metrics(
    inputs: float, outputs: float, batch: float, run_effect: float = 1.0, settling: float = 0.0
) -> dict[str, tuple[float, ...]]:
    """A static batch in lockstep: every request has its tokens at the same time.

    settling: extra time of the second token over later ones, as a share of a step."""
    first = (2 + 0.01 * inputs * batch) * run_effect
    step = (1.5 + 0.05 * batch) * (1 + settling / max(outputs - 1, 1)) * run_effect
    e2el = first + (outputs - 1) * step
    metrics = {
        "ttft_ms": first, "batch_ttft_ms": first, "e2el_ms": e2el,
        "output_throughput": 1000 * batch * outputs / e2el,
        "total_token_throughput": 1000 * batch * (inputs + outputs) / e2el,
        "request_throughput": 1000 * batch / e2el,
    }
    if outputs > 1:
        metrics["tpot_ms"] = step
    return {name: (value,) for name, value in metrics.items()}


def _observations(
    grid: Grid, longest: int, seed: int = 0, noise: float = 0.0, runs: int = 14, settling: float = 0.0
) -> Observations:
    """Runs to `longest` tokens at random lines, each with all its shorter readings."""
    rng = np.random.default_rng(seed)
    observations = Observations(grid, TARGETS)
    lines = [(i, b) for i in grid.axes[0].values for b in grid.axes[2].values]
    for number, chosen in enumerate(rng.permutation(len(lines))[:runs]):
        inputs, batch = lines[chosen]
        run_effect = float(np.exp(noise * rng.standard_normal()))
        readings = tuple(
            Reading({"input_len": inputs, "output_len": o, "batch_size": batch},
                    _metrics(float(inputs), o, float(batch), run_effect, settling), 1.0)
            for o in OUTPUTS if o <= longest
        )
        point = readings[-1].point
        observations.add(Run(number, point, Measurement(Status.OK, Cost(measure_s=1.0), readings)))
    return observations


def _truth(grid: Grid, target: str, settling: float = 0.0) -> np.ndarray:
    return np.array([
        _metrics(*[float(v) for v in grid.point(row).values()], settling=settling).get(target, (np.nan,))[0]
        for row in range(len(grid))
    ])


@pytest.mark.parametrize("target", TARGETS)
def test_short_runs_tell_about_long_ones(target: str) -> None:
    """Sixteen tokens are enough for 128, since latency is built of its parts."""
    grid = _grid()
    observations = _observations(grid, longest=16)
    value = GridModel(grid, "output_len").fit(observations).predict().value[target]
    truth = _truth(grid, target)
    wanted = np.isfinite(truth) & ~observations.known
    assert np.abs(value[wanted] / truth[wanted] - 1).mean() < 0.05


@pytest.mark.parametrize("target", ["tpot_ms", "output_throughput"])
def test_a_slow_second_token_is_not_carried_on_for_ever(target: str) -> None:
    """Means over few steps fall with the output's length, and settle: a line through their logarithms would not."""
    grid = _grid()
    observations = _observations(grid, longest=16, noise=0.05, settling=0.4)
    value = GridModel(grid, "output_len").fit(observations).predict().value[target]
    far = (np.asarray(grid.column("output_len")) == 128) & ~observations.known
    assert np.abs(np.log(value[far] / _truth(grid, target, 0.4)[far]).mean()) < 0.05


def test_throughputs_agree_with_latency_exactly() -> None:
    grid = _grid()
    value = GridModel(grid, "output_len").fit(_observations(grid, 32, noise=0.1)).predict().value
    outputs, batch = (np.asarray(grid.column(n), dtype=float) for n in ("output_len", "batch_size"))
    np.testing.assert_allclose(value["output_throughput"] * value["e2el_ms"], 1000 * batch * outputs, rtol=1e-9)
    np.testing.assert_allclose(value["request_throughput"] * value["e2el_ms"], 1000 * batch, rtol=1e-9)


def test_a_throughput_that_breaks_its_definition_is_learned_as_it_is() -> None:
    grid = _grid()
    observations = _observations(grid, 32)
    honest = {t.name: len(t.quantities) for t in targets_of(observations, "output_len")}
    assert honest["output_throughput"] == 2
    twice = Observations(grid, TARGETS)
    for run in observations.runs:
        readings = tuple(
            Reading(r.point, {**r.metrics, "output_throughput": (2 * r.metrics["output_throughput"][0],)}, 1.0)
            for r in run.measurement.readings)
        twice.add(Run(run.number, run.point, Measurement(Status.OK, Cost(measure_s=1.0), readings)))
    assert {t.name: len(t.quantities) for t in targets_of(twice, "output_len")}["output_throughput"] == 1


def test_a_run_is_predicted_from_earlier_runs_only() -> None:
    """Run 11 of 14 is twice as slow as all others: the forecasts of its tokens do not know that."""
    grid = _grid()
    observations = _observations(grid, 16)
    slow = Observations(grid, TARGETS)
    for run in observations.runs:
        inputs, _, batch = (float(v) for v in run.point.values())
        readings = tuple(
            Reading(r.point, _metrics(inputs, float(r.point["output_len"]), batch, 1 + (run.number == 11)), 1.0)
            for r in run.measurement.readings)
        slow.add(Run(run.number, run.point, Measurement(Status.OK, Cost(measure_s=1.0), readings)))
    for target, readings in (("tpot_ms", 4), ("ttft_ms", 5), ("e2el_ms", 5)):  # a step: at 2, 4, 8 and 16 tokens
        forecasts = GridModel(grid, "output_len").fit(slow).forecasts_[target]
        assert set(forecasts.runs) == set(range(7, 14))  # the later half
        mine = forecasts.ape[forecasts.runs == 11]
        assert len(mine) == readings
        assert np.all(np.abs(mine - 0.5) < 0.25)


def test_runs_of_one_token_give_and_get_forecasts_without_any_step() -> None:
    """Most cheap runs have one token: forecasts of their throughput are as good as those of their ttft."""
    grid = _grid()
    observations = _observations(grid, 16, runs=4)
    for number, run in enumerate(_observations(grid, 1, seed=1, runs=18).runs, start=4):
        if not observations.known[grid.find(run.point)]:
            observations.add(Run(number, run.point, run.measurement))
    forecasts = GridModel(grid, "output_len").fit(observations).forecasts_
    first, whole = forecasts["ttft_ms"], forecasts["output_throughput"]
    assert len(first.ape) > 5 and set(whole.runs) == set(first.runs)
    assert np.allclose(whole.z, -first.z) and np.all(np.isfinite(whole.ape))


class Witness(Ensemble):
    """Keeps its arguments, and gives 2 with standard deviation 0.1 as every forecast."""

    def fit(
        self, rows: Any, y: Any, runs: Any, noise: Any = None, run_effect: bool = False, latency_model: Any = None,
        ages: Any = None,
    ) -> Self:
        self.given = (rows, y, runs, noise, run_effect)
        return super().fit(rows, y, runs, noise, run_effect, latency_model)

    def one_step_ahead(self) -> tuple[FloatArray, FloatArray]:
        forecast = np.where(self.given[2] >= 4, 2.0, np.nan)
        return forecast, np.where(np.isfinite(forecast), 0.1, np.nan)


@pytest.mark.parametrize("sign", [1.0, -1.0])  # negative: learned as it is
def test_forecast_errors_by_hand(sign: float) -> None:
    grid = full_grid([Axis("x", tuple(range(12)))])
    observations = Observations(grid, (Metric("y", transform=Transform.LOG if sign > 0 else Transform.LINEAR),))
    values = [sign * (4.0 + row) for row in range(8)]
    for number, value in enumerate(values):
        point = grid.point(11 - number)
        observations.add(Run(number, point, Measurement(Status.OK, Cost(), (Reading(point, {"y": (value,)}, 1.0),))))
    found = GridModel(grid, None, Witness).fit(observations).forecasts_["y"]
    truth = np.array(values)[found.runs]
    assert sorted(found.runs) == [4, 5, 6, 7]
    if sign > 0:
        np.testing.assert_allclose(found.ape, np.abs(np.exp(2.0) / truth - 1))
        np.testing.assert_allclose(found.expected, expected_error(Transform.LOG, np.zeros(1), np.array([0.1]))[0])
        np.testing.assert_allclose(found.z, (2 - np.log(truth)) / 0.1)
    else:
        np.testing.assert_allclose(found.ape, np.abs((2 - truth) / truth))
        np.testing.assert_allclose(found.expected, 0.1 * np.sqrt(2 / np.pi) / np.abs(truth))
        np.testing.assert_allclose(found.z, (2 - truth) / 0.1)


def test_arguments_of_each_regressor() -> None:
    """Runs in order, the noise of their repeats, and a run effect for quantities with several readings a run; the
    first token has one reading a run, for any number of lengths."""
    grid = _grid()
    observations = Observations(grid, ("e2el_ms",))
    for run in _observations(grid, 16).runs:
        readings = tuple(
            Reading(r.point, {k: (0.9 * v[0], v[0], 1.1 * v[0]) for k, v in r.metrics.items()}, 1.0)
            for r in run.measurement.readings)
        observations.add(Run(run.number + 5, run.point, Measurement(Status.OK, Cost(measure_s=1.0), readings)))
    model = GridModel(grid, "output_len", Witness).fit(observations)
    given = {name: regressor.given for name, regressor in model.regressors_.items()}  # type: ignore[attr-defined]
    assert set(given) == {FIRST_TOKEN.name, LATER_TOKENS.name}
    for name, shared, readings in ((FIRST_TOKEN.name, False, 1), (LATER_TOKENS.name, True, 4)):
        rows, y, runs, noise, run_effect = given[name]
        assert run_effect is shared
        assert sorted(runs) == sorted(np.repeat(np.arange(14), readings))  # positions, not trial numbers
        assert (runs == observations.run_of[rows]).all() and len(y) == len(rows)
        spread = np.log([0.9, 1.0, 1.1]).std(ddof=1)
        np.testing.assert_allclose(noise, spread * np.sqrt(np.pi / 2 / 3), rtol=0.5)


# --------------------------------------------------------------------------------------- calibration of the model


class Sure(Ensemble):
    """The base member with overconfident priors: fixed smoothness, and hardly any noise."""

    def __init__(self, features: Features) -> None:
        super().__init__(features, only=0)
        usual = Priors()
        self._gp_base = GaussianProcess(priors=Priors(
            lengthscale=(usual.lengthscale[0], 0.02), linear=(usual.linear[0], 0.02), matern=(usual.matern[0], 0.02),
            noise=(0.004, 0.02)))


def _of_the_prior(seed: int, noise: float) -> Observations:
    """40 runs, at random points, of a surface that the model's own prior holds likely, read with noise."""
    rng = np.random.default_rng(seed)
    grid = full_grid([Axis("x", tuple(range(20))), Axis("y", tuple(range(10)))])
    kernel = HierarchicalKernel(2, 0, (), ALL_TERMS, False)
    h = kernel.unpack(kernel.prior(Priors())[0])
    K = kernel.matrix(h, kernel.pairs(grid.features, grid.features)) + 1e-9 * np.eye(len(grid))
    values = 0.3 * np.linalg.cholesky(K) @ rng.standard_normal(len(grid))
    observations = Observations(grid, ("y_s",))
    for number, row in enumerate(rng.permutation(len(grid))[:40]):
        point, value = grid.point(int(row)), float(np.exp(values[row] + noise * rng.standard_normal()))
        observations.add(Run(number, point, Measurement(Status.OK, Cost(), (Reading(point, {"y_s": (value,)}, 1.0),))))
    return observations


def test_a_right_model_expects_its_errors_and_an_overconfident_one_is_detected() -> None:
    """Σ|error| / ΣE|error| of forecasts, over surfaces of the model's own prior with 10 % of noise: about 1 on average,
    and the intervals keep their width; a model that assumes hardly any noise has larger errors than it expects."""
    ratios: dict[str, list[float]] = {"ours": [], "sure": []}
    width: dict[str, list[float]] = {"ours": [], "sure": []}
    for seed in range(8):
        observations = _of_the_prior(seed, 0.1)
        for name, make in (("ours", Ensemble), ("sure", Sure)):
            model = GridModel(observations.grid, None, make).fit(observations)
            forecasts = model.forecasts_["y_s"]
            assert len(forecasts.runs) == 20
            ratios[name].append(float(forecasts.ape.sum() / forecasts.expected.sum()))
            width[name].append(model.calibration("y_s"))
    assert np.mean(ratios["ours"]) == pytest.approx(1.0, abs=0.15)
    assert np.mean(ratios["sure"]) > 2 and min(np.subtract(ratios["sure"], ratios["ours"])) > 0
    assert min(np.divide(width["sure"], width["ours"])) > 1.0


def test_the_ceiling_is_the_accuracy_of_a_perfect_prediction_under_noise() -> None:
    """10 % of noise, learned from 40 runs; without noise, almost any accuracy is possible."""
    for noise, abs_error in ((0.1, 0.02), (0.0, 0.01)):
        found = [GridModel(observations.grid, None).fit(observations).ceiling("y_s") for observations in (
            _of_the_prior(seed, noise) for seed in range(6))]
        assert np.mean(found) == pytest.approx(1 - expected_error(Transform.LOG, np.zeros(1), np.array([noise]))[0],
                                               abs=abs_error)


def _repeated(seed: int, counts: int) -> Observations:
    """The same surface and noise, read three times at the first four points and `counts` times at the others."""
    rng = np.random.default_rng(1000 + seed)
    once = _of_the_prior(seed, 0.0)
    observations = Observations(once.grid, ("y_s",))
    for number, run in enumerate(once.runs):
        value = once.column("y_s")[once.grid.find(run.point)]
        repeats = value * np.exp(0.1 * rng.standard_normal(3 if number < 4 else counts))
        observations.add(Run(number, run.point, Measurement(
            Status.OK, Cost(), (Reading(run.point, {"y_s": tuple(map(float, repeats))}, 1.0),))))
    return observations


def test_noise_that_the_plain_sweep_would_not_have_is_no_part_of_a_prediction() -> None:
    """Truth is the median of three, whatever the readings are: a perfect prediction would be as accurate."""
    single, median = [], []
    for seed in range(8):
        for counts, found in ((1, single), (3, median)):
            observations = _repeated(seed, counts)
            model = GridModel(observations.grid, None).fit(observations)
            found.append(model.ceiling("y_s"))
            assert (model.data_["y_s"].excess > 0) == (counts == 1)
    noise = 0.1 * np.sqrt(np.pi / 6)
    perfect = 1 - expected_error(Transform.LOG, np.zeros(1), np.array([noise]))[0]
    assert np.mean(single) == pytest.approx(perfect, abs=0.015)
    assert np.mean(median) == pytest.approx(perfect, abs=0.015)


@pytest.mark.parametrize("target", ["ttft_ms", "e2el_ms", "output_throughput"])
def test_the_ceiling_of_a_derived_target(target: str) -> None:
    """A run effect changes all parts of a run by the same share, and so the whole."""
    grid = _grid()
    model = GridModel(grid, "output_len").fit(_observations(grid, 32, noise=0.05))
    model._plain_noises = dict.fromkeys(model._plain_noises, 0.07)
    assert model.ceiling(target) == pytest.approx(1 - expected_error(Transform.LOG, np.zeros(1), np.array([0.07]))[0],
                                                  rel=1e-6)


def _forecasts(z: list[float], runs: list[int]) -> Forecasts:
    return Forecasts(np.ones(len(z)), np.ones(len(z)), np.array(z), np.array(runs))


def test_calibration_by_hand() -> None:
    model = GridModel(_grid(), "output_len")

    def factor(z: list[float], runs: list[int]) -> float:
        model.forecasts_ = {"y": _forecasts(z, runs)}
        return model.calibration("y")

    many = list(range(1000))
    assert factor([1.0] * 1000, many) == pytest.approx(1.0, abs=0.02)
    assert factor([-2.0] * 1000, many) == pytest.approx(2.0, abs=0.03)
    assert factor([0.5] * 1000, many) == pytest.approx(0.5, abs=0.02)
    # Each run counts once, however long its trajectory: of z² = 1 and 9, 5.
    assert factor([1.0] * 500 + [3.0] * 1000, many + list(range(500, 1000))) == pytest.approx(5**0.5, abs=0.03)
    assert factor([100.0, *[1.0] * 999], many) == pytest.approx(factor([4.0, *[1.0] * 999], many), rel=1e-12)
    # Few runs: nearer to what the model said, and wider for all that they cannot know.
    assert factor([3.0] * 4, [0, 1, 2, 3]) / factor([1.0] * 4, [0, 1, 2, 3]) == pytest.approx(
        ((4 * 9 + 8) / 12) ** 0.5)
    assert factor([], []) >= factor([1.0], [3]) > factor([1.0] * 9, list(range(9))) > factor([1.0] * 1000, many)


@pytest.mark.parametrize(("runs", "seeds", "widest"), [(40, 5, 1.0), (150, 3, 0.97)])
def test_intervals_of_unmeasured_points_are_honest(runs: int, seeds: int, widest: float) -> None:
    """Intervals of 90 % hold nine in ten or more; with many runs not many more."""
    covered = []
    for seed in range(seeds):
        grid, rng = _grid((1, 2, 3, 4, 6, 8, 12, 16, 20, 24, 28, 32)), np.random.default_rng(seed)
        truth = _truth(grid, "e2el_ms") * np.exp(0.08 * rng.standard_normal(len(grid)))
        observations = Observations(grid, ("e2el_ms",))
        for number, row in enumerate(rng.permutation(len(grid))[:runs]):
            point = grid.point(int(row))
            reading = Reading(point, {"e2el_ms": (float(truth[row]),)}, 1.0)
            observations.add(Run(number, point, Measurement(Status.OK, Cost(measure_s=1.0), (reading,))))
        prediction, u = GridModel(grid, None).fit(observations).predict(), ~observations.known
        low, high = prediction.low["e2el_ms"], prediction.high["e2el_ms"]
        covered.append(np.mean((low[u] <= truth[u]) & (truth[u] <= high[u])))
    assert 0.85 <= np.mean(covered) <= widest


def test_intervals_of_lines_not_run_are_honest() -> None:
    """Half of the lines are run to their end, each with its own run effect; the other half is predicted."""
    covered = []
    for seed in range(6):
        grid = _grid((1, 2, 3, 4, 6, 8, 12, 16, 20, 24, 28, 32))
        observations = _observations(grid, 128, seed=seed, noise=0.08, runs=18)
        prediction = GridModel(grid, "output_len").fit(observations).predict()
        rng = np.random.default_rng(100 + seed)
        truth = _truth(grid, "e2el_ms") * np.exp(0.08 * rng.standard_normal(len(grid)))
        u = ~observations.known
        low, high = prediction.low["e2el_ms"], prediction.high["e2el_ms"]
        covered.append(np.mean((low[u] <= truth[u]) & (truth[u] <= high[u])))
    assert np.mean(covered) >= 0.85


def test_zero_and_negative_targets_are_learned_without_logarithm() -> None:
    grid = full_grid([Axis("x", tuple(float(v) for v in range(-10, 11)), scale=Scale.LINEAR)])
    observations = Observations(grid, (Metric("delta", transform=Transform.LINEAR),))
    for number, row in enumerate(range(0, 21, 3)):
        point = grid.point(row)
        reading = Reading(point, {"delta": (3.0 * float(point["x"]),)}, 1.0)
        observations.add(Run(number, point, Measurement(Status.OK, Cost(measure_s=1.0), (reading,))))
    value = GridModel(grid, None).fit(observations).predict().value["delta"]
    np.testing.assert_allclose(value, 3.0 * np.asarray(grid.column("x")), atol=1.5)


def test_runs_of_one_token_leave_only_later_tokens_unknown() -> None:
    """Possible for random first runs: times between tokens are then unknown, which is not an error."""
    grid = _grid()
    observations = Observations(grid, ("ttft_ms", "tpot_ms", "output_throughput"))
    one = grid.single_token
    for number, row in enumerate(np.flatnonzero(one)[:6]):
        point = grid.point(int(row))
        metrics = _metrics(float(point["input_len"]), 1, float(point["batch_size"]))
        observations.add(Run(number, point, Measurement(Status.OK, Cost(measure_s=1), (Reading(point, metrics, 1.0),))))
    prediction = GridModel(grid, "output_len").fit(observations).predict()
    assert np.isfinite(prediction.value["ttft_ms"]).all() and np.isnan(prediction.value["tpot_ms"]).all()
    assert (np.isfinite(prediction.value["output_throughput"]) == one).all()
