"""The strategies by name: ours, its rivals and its ablations, all behind one protocol."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Final

from planner.space.expressions import suggestion
from planner.space.types import StudyError
from planner.strategies import ablations
from planner.strategies.adaptive import AdaptiveStrategy
from planner.strategies.botorch_qnipv import BotorchQnipv
from planner.strategies.fixed_designs import PowersOfTwo, full_design, lhs_design, random_design, random_forest_design
from planner.strategies.optuna_gp import OptunaGp
from planner.strategies.strategy import Strategy, StrategyContext

__all__ = ["STRATEGIES", "Kind", "check_names", "make_strategy", "uses_trajectories"]


@dataclass(frozen=True, slots=True)
class Kind:
    """A strategy to be made. needs: packages of the extra `compare`; trajectories: whether a run of it also measures
    shorter points."""

    make: Callable[[StrategyContext], Strategy]
    needs: tuple[str, ...] = ()
    trajectories: bool = True


STRATEGIES: Final[Mapping[str, Kind]] = {
    "sweepwise": Kind(AdaptiveStrategy),
    "random": Kind(random_design),
    "lhs": Kind(lhs_design),
    "powers_of_two": Kind(PowersOfTwo, trajectories=False),
    "powers_of_two_trajectories": Kind(PowersOfTwo),
    "random_forest": Kind(random_forest_design),
    "full": Kind(full_design),
    "botorch_qnipv": Kind(BotorchQnipv, needs=("torch", "botorch")),
    "optuna_gp": Kind(OptunaGp, needs=("torch",)),
    **{f"sweepwise-{name}": Kind(make) for name, make in ablations.ABLATIONS.items()},
}


def check_names(names: Iterable[str], option: str) -> None:
    """Raises StudyError, which names the option, where a name is no strategy's or its packages are not installed."""
    for name in names:
        if name not in STRATEGIES:
            raise StudyError(f"{option}: unknown strategy '{name}'{suggestion(name, STRATEGIES)}")
        missing = [package for package in STRATEGIES[name].needs if find_spec(package) is None]
        if missing:
            raise StudyError(f"{option}: {name} needs {' and '.join(missing)}; pip install 'sweepwise[compare]'")


def make_strategy(name: str, context: StrategyContext, option: str = "--strategy") -> Strategy:
    """The strategy called `name`, which `option` asked for. Raises StudyError."""
    check_names([name], option)
    return STRATEGIES[name].make(context)


def uses_trajectories(name: str) -> bool:
    """Whether the strategy lets a run measure shorter points too."""
    return name not in STRATEGIES or STRATEGIES[name].trajectories
