"""Two members as one: who is believed and why, what was said before each run, and what is asked of one member alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from planner.space.types import Features, FloatArray, IntArray
from planner.surrogates.committee import Committee, Single
from planner.surrogates.forest import RandomForest
from planner.surrogates.gp import GaussianProcess

ROWS = np.arange(24)
RUNS = np.repeat(np.arange(12), 2)


def bent(X: Features, noise: float = 0.05) -> FloatArray:
    """What a law may know and a smooth interpolation does not: a kink."""
    values: FloatArray = np.maximum(X.numeric[:, 0], 0) * 2 + 0.5 * X.numeric[:, 1]
    return values + noise * np.random.default_rng(1).standard_normal(len(X))


def plain(X: Features, y: FloatArray, runs: IntArray | None = None) -> GaussianProcess:
    return GaussianProcess().fit(X[ROWS], y[ROWS], groups=runs)


def lawful(X: Features, y: FloatArray, law: FloatArray) -> tuple[GaussianProcess, Features]:
    wider = Features(np.column_stack([X.numeric, (law - law.mean()) / law.std()]), X.category, X.levels)
    gp = GaussianProcess(linear_only=(X.numeric.shape[1],), category_terms=("offset", "slope"))
    return gp.fit(wider[ROWS], y[ROWS]), wider


def reading(gp: GaussianProcess, X: Features) -> tuple[FloatArray, FloatArray]:
    """What it says of one more reading at each row."""
    mean, std = gp.predict(X)
    return mean, np.hypot(std, gp.noise_)


def mixed(said: list[tuple[FloatArray, FloatArray]], trust: FloatArray, i: int) -> tuple[float, float]:
    """Weights by trust over variance; where members disagree, the doubt grows."""
    means, variances = np.array([mean[i] for mean, _ in said]), np.array([std[i] ** 2 for _, std in said])
    weights = trust / variances / np.sum(trust / variances)
    mean = np.sum(weights * means)
    return mean, float(np.sum(weights * (variances + (means - mean) ** 2))) ** 0.5


@pytest.mark.parametrize("runs", [
    np.array([4, 9, 1, 1, 9, 16, 4, 25]),  # five runs: 1 and 4 are the earlier ones
    np.array([4, 9, 1, 1, 9, 16, 4, 25])[::-1],
    np.array([7, 1, 2, 3, 4, 5]),  # six: 1, 2 and 3
    np.array([3, 3, 3]),  # one: there is no earlier half
])
def test_only_the_later_half_of_the_runs_is_told(features: Callable[..., Features], runs: IntArray) -> None:
    X = features(len(runs) + 5)
    committee = Committee(X).fit(np.arange(len(runs)), bent(X)[: len(runs)], runs, law=bent(X, 0.0))
    distinct = sorted(set(runs.tolist()))
    earlier = set(distinct[: len(distinct) // 2])
    for said in committee.ahead():
        assert said.shape == runs.shape
        assert list(np.isnan(said)) == [run in earlier for run in runs]


def test_the_mixture_by_hand(features: Callable[..., Features]) -> None:
    X = features(40)
    y, law = bent(X), bent(X, 0.0)
    committee = Committee(X).fit(ROWS, y[ROWS], RUNS, law=law)
    first, (second, wider) = plain(X, y), lawful(X, y, law)
    foretold = [member.ahead(RUNS) for member in (first, second)]
    now = [reading(first, X), reading(second, wider)]
    for said, members, rows in ((committee.ahead(), foretold, range(12, 24)), (committee.predict(), now, range(40))):
        for i in rows:
            assert (said[0][i], said[1][i]) == pytest.approx(mixed(members, committee.trust_, i), rel=1e-9)


def test_trust_is_by_squared_error_ahead_and_each_run_counts_once(features: Callable[..., Features]) -> None:
    X, runs = features(40), np.repeat(np.arange(9), (1, 5, 2, 2, 2, 1, 1, 9, 1))  # the later half: 4 to 8
    y, law = bent(X), bent(X, 0.0)
    committee = Committee(X).fit(ROWS, y[ROWS], runs, law=law)
    second, _ = lawful(X, y, law)
    errors = []
    for member in (plain(X, y), second):
        squares = (y[ROWS] - member.ahead(runs)[0]) ** 2
        squares = np.minimum(squares, 9 * np.median(squares[runs >= 4]))  # a glitch is worth three usual errors
        errors.append(np.mean([squares[runs == run].mean() for run in range(4, 9)]))
    assert committee.trust_ == pytest.approx(np.array(errors[::-1]) / sum(errors), rel=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_a_law_is_believed_where_it_holds(features: Callable[..., Features], seed: int) -> None:
    """What only a law can know; then one that knows nothing of what any smooth curve foretells; then too few runs."""
    X, rng = features(60, levels=(), seed=seed), np.random.default_rng(seed)
    rough, smooth = rng.standard_normal(60), X.numeric.sum(axis=1)
    noise = 0.02 * rng.standard_normal(60)
    right = Committee(X).fit(ROWS, (rough + noise)[ROWS], RUNS, law=rough)
    wrong = Committee(X).fit(ROWS, (smooth + noise)[ROWS], RUNS, law=rough)
    assert right.trust_[1] > 0.9 and wrong.trust_[1] < 0.6
    few = Committee(X).fit(ROWS[:8], (rough + noise)[:8], RUNS[:8], law=rough)
    assert few.trust_ == pytest.approx([0.5, 0.5])


@pytest.mark.parametrize("seed", range(3))
def test_one_glitch_does_not_choose_the_member(features: Callable[..., Features], seed: int) -> None:
    """A run of the later half that nobody could foretell leaves a right law its trust."""
    X, rng = features(60, levels=(), seed=seed), np.random.default_rng(seed)
    rough = rng.standard_normal(60)
    odd = rough + 0.02 * rng.standard_normal(60)
    odd[20] += 30.0
    assert Committee(X).fit(ROWS, odd[ROWS], ROWS, law=rough).trust_[1] > 0.5


@pytest.mark.parametrize("heard", [0, -1])
def test_one_member_alone(features: Callable[..., Features], heard: int) -> None:
    X = features(40)
    y, law = bent(X), bent(X, 0.0)
    committee = Committee(X, heard).fit(ROWS, y[ROWS], RUNS, law=law)
    member, seen = (plain(X, y), X) if heard == 0 else lawful(X, y, law)
    assert committee.trust_ == [1.0]
    np.testing.assert_allclose(committee.predict(), reading(member, seen), rtol=1e-9)
    np.testing.assert_allclose(committee.covariance(ROWS, ROWS + 9), member.covariance(seen[ROWS], seen[ROWS + 9]))
    np.testing.assert_allclose(np.array(committee.ahead())[:, 12:], np.array(member.ahead(RUNS))[:, 12:], rtol=1e-9)
    assert committee.noise_ == pytest.approx(member.noise_)
    both = Committee(X).fit(ROWS, y[ROWS], RUNS, law=law)
    assert not np.allclose(both.predict()[0], committee.predict()[0])


@pytest.mark.parametrize("heard", [None, 0, -1])
@pytest.mark.parametrize("law", [None, np.full(40, 2.0)])  # none, and one that says the same everywhere
def test_without_a_law_there_is_the_plain_member(
    features: Callable[..., Features], heard: int | None, law: FloatArray | None
) -> None:
    X = features(40)
    y = bent(X)
    committee = Committee(X, heard).fit(ROWS, y[ROWS], RUNS, law=law)
    np.testing.assert_allclose(committee.predict(), reading(plain(X, y), X), rtol=1e-9)


def test_covariance_is_the_plain_members(features: Callable[..., Features]) -> None:
    X = features(40)
    y = bent(X)
    committee = Committee(X).fit(ROWS, y[ROWS], RUNS, law=bent(X, 0.0))
    np.testing.assert_allclose(
        committee.covariance(ROWS, ROWS + 9), plain(X, y).covariance(X[ROWS], X[ROWS + 9]), rtol=1e-9)


def test_luck_is_shared_and_noise_believed_by_both_members_where_told(features: Callable[..., Features]) -> None:
    X = features(40)
    y, law = bent(X), bent(X, 0.0)
    for share in (False, True):
        committee = Committee(X).fit(ROWS, y[ROWS], RUNS, share_luck=share, law=law)
        assert [gp.hyperparameters_.run_noise > 0 for gp, _ in committee.members_] == [share, share]
    odd, noise = y[ROWS].copy(), np.zeros(24)
    odd[5], noise[5] = odd[5] + 6.0, 60.0
    for heard in (0, -1):
        mean, _ = Committee(X, heard).fit(ROWS, odd, RUNS, noise, law=law).predict()
        rest = np.delete(ROWS, 5)
        without, _ = Committee(X, heard).fit(rest, y[rest], RUNS[rest], law=law).predict()
        assert np.abs(mean - without).max() < 0.15


def test_a_surrogate_by_itself_cannot_say_what_it_foretold(features: Callable[..., Features]) -> None:
    X = features(40)
    single = Single(X, RandomForest(trees=10)).fit(ROWS, bent(X)[ROWS], RUNS, np.zeros(24), True, bent(X))
    assert single.ahead() is None and single.covariance(ROWS, ROWS) is None  # type: ignore[func-returns-value]
    assert single.predict()[0].shape == (40,) and single.noise_ > 0
