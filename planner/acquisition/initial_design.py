"""The first runs, before anything is known: spread out, and cheap ones first.

Each next point maximises the distance to those chosen × (cost proxy)^−0.38. Plain max-min distance spends 2 % of a
grid's whole cost on its far, expensive corner at once. Proxy: √(input · output · batch · parameters) · √accelerators,
from the axes' roles; without roles every point counts as equally expensive.
"""

from __future__ import annotations

import numpy as np

from planner.acquisition.settings import COST_EXPONENT, DESIGN_CANDIDATES, RUNS_A_SIZE
from planner.models.settings import CATEGORY_DISTANCE
from planner.space.grid import Grid
from planner.space.types import BoolArray, Features, FloatArray, IntArray, Role, Scale

__all__ = ["by_engine", "cost_proxy", "initial_design", "initial_size", "spread_further", "spread_out"]


def initial_size(grid: Grid, trajectory: str | None) -> int:
    """Number of runs of the initial design: three for each size that is swept, to see it bend, and one for each value
    of a category, to see its level. A trajectory sweeps its own axis in every run. The number of grid points does not
    matter: what else there is to learn, the posterior after these runs finds better than more spreading would."""
    return min(_wanted(grid, trajectory), len(_candidates(grid, trajectory)))


def initial_design(
    grid: Grid, trajectory: str | None, seed: int, prices: FloatArray | None = None, most: int | None = None
) -> IntArray:
    """Rows of the initial design, points of one engine together so that each starts once; on a served grid in the order
    in which they spread, since a study may end before the design does.

    prices: accelerator-seconds of a run of each point as the runner estimates them, (N,); the proxy where it does not.
    most: rows of a shorter design, where more than that is known already.
    """
    rng = np.random.default_rng(seed)
    rows = _candidates(grid, trajectory)
    if len(rows) > DESIGN_CANDIDATES:
        rows = np.sort(rng.choice(rows, DESIGN_CANDIDATES, replace=False))
    cheapness = (cost_proxy(grid) if prices is None else prices)[rows] ** -COST_EXPONENT
    features = grid.features[rows]
    # The very first run tells little wherever it is: an expensive one would be wasted.
    cheap = cheapness ** (1 / COST_EXPONENT)
    chosen = [int(rng.choice(len(rows), p=cheap / cheap.sum()))]
    distance = _distance(features, chosen[0])
    size = min(initial_size(grid, trajectory), most or len(rows))
    while len(chosen) < size:
        allowed = _unseen(features.category, chosen, size - len(chosen))
        chosen.append(int(np.argmax(np.where(allowed, distance * cheapness, -1.0))))
        distance = np.minimum(distance, _distance(features, chosen[-1]))
    picked = rows[chosen]
    if grid.is_served:
        return picked
    return np.array(by_engine(picked, grid.engine[picked]), dtype=np.int64)


def spread_further(
    grid: Grid, trajectory: str | None, taken: IntArray, rows: IntArray, prices: FloatArray | None = None
) -> int:
    """One more point of the initial design, of `rows`: as far from the points `taken`, (k,) of one at least, as the
    design's are, cheap ones first. prices: as for the design."""
    some = rows[np.isin(rows, _candidates(grid, trajectory))]
    rows = some if len(some) else rows
    if len(rows) > DESIGN_CANDIDATES:
        rows = rows[:: len(rows) // DESIGN_CANDIDATES + 1]
    features = grid.features
    squares = np.full(len(rows), np.inf)
    for row in taken:
        squares = np.minimum(squares, _squares(features, rows, int(row)))
    cheapness = (cost_proxy(grid) if prices is None else prices)[rows] ** -COST_EXPONENT
    return int(rows[np.argmax(np.sqrt(squares) * cheapness)])


def by_engine(rows: IntArray, engines: IntArray, running: int | None = None) -> list[int]:
    """Rows in an order that starts each engine at most once: the running one's first, the others as they first appear,
    each engine's rows in the order given. engines: (n,) the engine configuration of each row."""
    order = {int(engine): i for i, engine in reversed(list(enumerate(engines)))}
    if running is not None and running in order:
        order[running] = -1
    return [int(row) for _, row in sorted(zip(engines, rows, strict=True), key=lambda pair: order[int(pair[0])])]


def _wanted(grid: Grid, trajectory: str | None) -> int:
    runs = sum(
        len(axis.values) if axis.scale is Scale.CATEGORY else RUNS_A_SIZE
        for axis in grid.axes if len(axis.values) > 1 and axis.name != trajectory
    )
    return max(runs, 1)


def _candidates(grid: Grid, trajectory: str | None) -> IntArray:
    """Rows that the design may choose from. With trajectories, those at a quarter of their axis: long enough to show
    how latency grows with each token, for little more than the price of the first token. All rows where a grid with
    gaps has too few of these; and all rows of a category that has none of these."""
    if trajectory is None:
        return np.arange(len(grid))
    codes = grid.codes[:, grid.position(trajectory)]
    # The shortest output may have one token, which does not show the time between tokens.
    quarter = codes == min(max(len(grid.axis(trajectory).values) // 4, 1), codes.max())
    if quarter.sum() < _wanted(grid, trajectory):
        return np.arange(len(grid))
    elsewhere = [~np.isin(column, column[quarter]) for column in grid.features.category.T]
    return np.flatnonzero(np.any([quarter, *elsewhere], axis=0))


def _unseen(category: IntArray, chosen: list[int], left: int) -> BoolArray:
    """Which rows may come next, (n,): all of them, until the runs `left` are just enough for the values of a category
    that have no run; then only rows with such a value, on as many axes as possible. Otherwise distance alone would
    prefer far corners."""
    helps = np.zeros(len(category), dtype=np.int64)
    for column in category.T:
        unseen = ~np.isin(column, column[chosen])
        if len(np.unique(column[unseen])) >= left:
            helps += unseen
    allowed: BoolArray = helps == helps.max()
    return allowed


def spread_out(features: Features, first: int, size: int) -> IntArray:
    """`size` rows from `first` on, (size,), each as far as can be from those before (max-min), whatever they cost."""
    chosen, distance = [first], _distance(features, first)
    while len(chosen) < min(size, len(features)):
        distance[chosen[-1]] = -1.0
        chosen.append(int(np.argmax(distance)))
        distance = np.minimum(distance, _distance(features, chosen[-1]))
    return np.array(chosen, dtype=np.int64)


def cost_proxy(grid: Grid) -> FloatArray:
    """Relative price of each point before the first run, (N,), in no particular unit."""
    product = np.ones(len(grid))
    for role in (Role.INPUT_TOKENS, Role.OUTPUT_TOKENS, Role.BATCH, Role.CONCURRENCY, Role.ACCELERATORS):
        product *= grid.size_column(role)
    model = grid.by_role(Role.MODEL)
    if model is not None and model.scale is Scale.CATEGORY and "params_b" in model.descriptors:
        product *= np.array(model.descriptors["params_b"])[grid.codes[:, grid.position(model.name)]]
    proxy: FloatArray = np.sqrt(np.maximum(product, 1e-12))
    return proxy


def _distance(features: Features, i: int) -> FloatArray:
    """Distance of each point from point i, (n,): Euclidean in the standardised sizes; another category is as far as
    `CATEGORY_DISTANCE`."""
    distance: FloatArray = np.sqrt(_squares(features, slice(None), i))
    return distance


def _squares(features: Features, rows: IntArray | slice, i: int) -> FloatArray:
    squares: FloatArray = ((features.numeric[rows] - features.numeric[i]) ** 2).sum(axis=1)
    squares += CATEGORY_DISTANCE**2 * (features.category[rows] != features.category[i]).sum(axis=1)
    return squares
