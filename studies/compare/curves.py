"""Results of simulations as tables: accuracy at equal cost, cost of equal accuracy, estimates against the truth, stops.

Notation: a *share* is a share of the full cost. Every figure is a median over seeds with the 90 % interval of its
bootstrap over seeds (percentiles of the medians of 2,000 resamples). With several targets, "every target" is a seed's
least accurate one at each share. Undefined values (nothing measured yet, for example) count as not reached.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from planner.space.types import FloatArray, StudyError

__all__ = ["EVERY", "GOALS", "cost_to_reach", "equal_cost", "estimates", "interval", "read", "stops"]

GOALS: Final = (0.90, 0.95, 0.97)
EVERY: Final = "every target"
_BY: Final = ["study", "target", "strategy"]
_RESAMPLES: Final = 2000


def read(paths: Sequence[Path]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Every score of every run, and every stop; columns as in the JSON, with `study`, `share` and the stop's `goal`.

    Raises StudyError if a file is not a simulation, or two files hold the same run.
    """
    scores: list[dict[str, Any]] = []
    stopped: list[dict[str, Any]] = []
    for path in paths:
        held = _load(path)
        for run in held["runs"]:
            known = {"study": held.get("study", path.stem), **{key: run[key] for key in ("strategy", "seed", "target")}}
            scores += [{**known, "share": entry["cost_fraction"], **entry} for entry in run["at"]]
            goal = held.get("options", {}).get("stop_accuracy", np.nan)
            stopped.append({**known, "goal": goal, **(run["stop"] or dict.fromkeys(("cost_fraction", "accuracy")))})
    at, ends = _numbers(pd.DataFrame(scores)), _numbers(pd.DataFrame(stopped))
    twice = at.duplicated([*_BY, "seed", "share"])
    if twice.any():
        run = at[twice].iloc[0]
        raise StudyError(f"{run.study}: {run.strategy}, seed {run.seed} is in two files; give each run once")
    return at, ends


def equal_cost(at: pd.DataFrame) -> pd.DataFrame:
    """Accuracy of each strategy at each share."""
    return _table(_with_every(at), [*_BY, "share"], lambda runs: interval(runs["accuracy"].to_numpy()))


def cost_to_reach(at: pd.DataFrame, goals: Sequence[float] = GOALS) -> pd.DataFrame:
    """The first scored share from which on accuracy stays at the goal or above; infinite if it does not."""
    tables = []
    for goal in goals:
        reached = _per_seed(_with_every(at).assign(goal=goal), _stays)
        table = _table(reached, _BY, lambda runs: {**interval(runs["value"].to_numpy()),
                                                   "reached": int(np.isfinite(runs["value"]).sum())})
        table.insert(len(_BY), "goal", goal)
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def estimates(at: pd.DataFrame, ends: pd.DataFrame) -> pd.DataFrame:
    """Estimated against true accuracy at each share and at the stop: mean error, mean absolute error, how often the
    truth lies in the estimate's 90 % interval; and coverage90, the mean share of points inside their own intervals."""
    if "estimated_accuracy" not in at:
        return pd.DataFrame()
    both = [at.assign(at=[f"{share * 100:g} %" for share in at["share"]])]
    if ends["cost_fraction"].notna().any():
        both.append(ends.assign(at="stop"))
    known = pd.concat(both, ignore_index=True).dropna(subset=["estimated_accuracy", "accuracy"])
    known["error"] = known["estimated_accuracy"] - known["accuracy"]
    known["absolute_error"] = known["error"].abs()
    known["inside"] = known["accuracy"].between(known["estimated_low"], known["estimated_high"]).astype(float)
    columns = ["error", "absolute_error", "inside", "coverage90"]
    return _table(known, [*_BY, "at"], lambda runs: dict(runs[columns].mean()))


def stops(at: pd.DataFrame, ends: pd.DataFrame) -> pd.DataFrame:
    """Stops of the stopping rule: on how many seeds; on how many of these the truth met the goal; medians of the
    true accuracy, of the share, and of the share over the oracle's, the first scored share at which the goal was met
    (over the seeds that have one)."""
    at, ends = _with_every(at), _with_every(ends)
    same = [*_BY, "seed"]
    oracle = _per_seed(at.merge(ends[[*same, "goal"]], on=same), _first)
    ended = ends.merge(oracle, on=same)
    ended["over_oracle"] = ended["cost_fraction"] / ended["value"].replace(np.inf, np.nan)
    return _table(ended, _BY, lambda runs: {
        "goal": runs["goal"].iloc[0], "stopped": int(runs["cost_fraction"].notna().sum()),
        "met": int((runs["accuracy"] >= runs["goal"]).sum()), "accuracy": runs["accuracy"].median(),
        "share": runs["cost_fraction"].median(), "over_oracle": runs["over_oracle"].median(),
    })


def interval(values: FloatArray) -> dict[str, float]:
    """The median and its 90 % bootstrap interval; infinite values stand for "never", NaN makes all of it unknown."""
    values = np.asarray(values, dtype=float)
    if np.isnan(values).any():
        return dict.fromkeys(("median", "low", "high"), np.nan)
    draws = np.random.default_rng(0).integers(len(values), size=(_RESAMPLES, len(values)))
    medians = np.median(values[draws], axis=1)
    low, high = np.quantile(medians, [0.05, 0.95], method="inverted_cdf")  # the others subtract infinities
    return {"median": float(np.median(values)), "low": float(low), "high": float(high)}


def _load(path: Path) -> dict[str, Any]:
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StudyError(f"{path}: cannot be read as JSON; give what `sweepwise simulate --json` wrote") from error
    if not (isinstance(held, dict) and isinstance(held.get("runs"), list) and held["runs"]):
        raise StudyError(f"{path}: holds no runs; give what `sweepwise simulate --json` wrote")
    return held


def _numbers(table: pd.DataFrame) -> pd.DataFrame:
    """null as NaN."""
    texts = {"study", "strategy", "target", "reason"}
    return table.astype({column: float for column in table if column not in {*texts, "seed"}})


def _with_every(runs: pd.DataFrame) -> pd.DataFrame:
    """With the least accurate target of each seed, at each share (or at the stop), as one target more."""
    several = runs.groupby("study")["target"].transform("nunique") > 1
    if not several.any():
        return runs
    same = [column for column in ("study", "strategy", "seed", "share", "cost_fraction", "goal") if column in runs]
    worst = runs[several].groupby(same, sort=False, dropna=False)["accuracy"].agg(
        lambda values: values.min(skipna=False)).reset_index()
    return pd.concat([runs, worst.assign(target=EVERY)], ignore_index=True)


def _per_seed(runs: pd.DataFrame, number: Callable[[pd.DataFrame], float]) -> pd.DataFrame:
    """One number of each seed's scores in ascending order of share, as `value`."""
    keys = [*_BY, "seed"]
    return pd.DataFrame([{**dict(zip(keys, key, strict=True)), "value": number(run.sort_values("share"))}
                         for key, run in _groups(runs, keys)])


def _first(run: pd.DataFrame) -> float:
    there = run.loc[run["accuracy"] >= run["goal"], "share"]
    return float(there.iloc[0]) if len(there) else np.inf


def _stays(run: pd.DataFrame) -> float:
    met = (run["accuracy"] >= run["goal"]).to_numpy()
    from_here = np.logical_and.accumulate(met[::-1])[::-1]
    return float(run["share"].to_numpy()[np.argmax(from_here)]) if from_here.any() else np.inf


def _table(
    runs: pd.DataFrame, keys: list[str], line: Callable[[pd.DataFrame], Mapping[Any, Any]]
) -> pd.DataFrame:
    """A line for each group of runs, with how many seeds it has."""
    return pd.DataFrame([{**dict(zip(keys, key, strict=True)), **line(group), "seeds": group["seed"].nunique()}
                         for key, group in _groups(runs, keys)])


def _groups(runs: pd.DataFrame, keys: list[str]) -> list[tuple[tuple[Any, ...], pd.DataFrame]]:
    """The runs by key, each column's values in the order in which they first appear."""
    ranks = [{value: i for i, value in enumerate(dict.fromkeys(runs[key]))} for key in keys]
    groups: list[tuple[Any, pd.DataFrame]] = list(runs.groupby(keys, sort=False))
    return sorted(groups, key=lambda group: [rank[value] for rank, value in zip(ranks, group[0], strict=True)])
