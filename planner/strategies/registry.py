"""The strategies by name: ours, the baselines, the ablations, and those of other packages; all with one protocol.

Another package registers an entry point of the group "sweepwise.strategies": a callable that makes a Strategy from a
StrategyContext (often a class), or an object with the attributes of `Kind`. Our own names take precedence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Final

from planner.space.expressions import suggestion
from planner.space.plugins import STRATEGIES as GROUP
from planner.space.plugins import load_plugin, plugin_names, plugin_package
from planner.space.types import StudyError
from planner.strategies import ablations
from planner.strategies.adaptive import AdaptiveStrategy
from planner.strategies.botorch_qnipv import BotorchQnipv
from planner.strategies.difference import DifferenceStrategy
from planner.strategies.fixed_designs import (
    PowersOfTwo,
    full_design,
    lhs_design,
    maxmin_matern_design,
    random_design,
    random_forest_design,
)
from planner.strategies.line_search import AiperfBoundary, Bisection
from planner.strategies.optuna_gp import OptunaGp
from planner.strategies.prior_baselines import PriorAsIs, PriorAxis, PriorScaled
from planner.strategies.strategy import Strategy, StrategyContext

__all__ = ["STRATEGIES", "Kind", "check_names", "make_strategy", "strategy_names", "uses_trajectories"]


@dataclass(frozen=True, slots=True)
class Kind:
    """How to make a strategy. needs: packages that it imports (for ours, those of the extra `compare`); trajectories:
    whether its runs also measure shorter points; for_boundary: whether it can do nothing but find a boundary;
    for_prior: whether it needs one."""

    make: Callable[[StrategyContext], Strategy]
    needs: tuple[str, ...] = ()
    trajectories: bool = True
    for_boundary: bool = False
    for_prior: bool = False


def _ours(context: StrategyContext) -> Strategy:
    """Our strategy for what the study asks for."""
    return AdaptiveStrategy(context) if context.difference is None else DifferenceStrategy(context)


STRATEGIES: Final[Mapping[str, Kind]] = {
    "sweepwise": Kind(_ours),
    "random": Kind(random_design),
    "lhs": Kind(lhs_design),
    "powers_of_two": Kind(PowersOfTwo, trajectories=False),
    "powers_of_two_trajectories": Kind(PowersOfTwo),
    "random_forest": Kind(random_forest_design),
    "maxmin_matern": Kind(maxmin_matern_design),
    "full": Kind(full_design),
    "botorch_qnipv": Kind(BotorchQnipv, needs=("torch", "botorch")),
    "optuna_gp": Kind(OptunaGp, needs=("torch",)),
    "bisection": Kind(Bisection, for_boundary=True),
    "aiperf_boundary": Kind(AiperfBoundary, for_boundary=True),
    "prior_as_is": Kind(PriorAsIs, trajectories=False, for_prior=True),
    "prior_scaled": Kind(PriorScaled, trajectories=False, for_prior=True),
    "prior_axis": Kind(PriorAxis, trajectories=False, for_prior=True),
    **{f"sweepwise-{name}": Kind(make) for name, make in ablations.ABLATIONS.items()},
}
"""Ours."""


def strategy_names() -> list[str]:
    """Every name that --strategy takes: ours, then those of other packages. Nothing is loaded."""
    return [*STRATEGIES, *(name for name in plugin_names(GROUP) if name not in STRATEGIES)]


def check_names(names: Iterable[str], option: str) -> None:
    """Raises StudyError, which names the option, if a strategy is unknown, its package is broken, or packages that it
    needs are not installed."""
    for name in names:
        missing = [package for package in _kind(name, option).needs if find_spec(package) is None]
        if missing:
            fix = "pip install 'sweepwise[compare]'" if name in STRATEGIES else f"pip install {' '.join(missing)}"
            raise StudyError(f"{option}: {name} needs {' and '.join(missing)}; {fix}")


def make_strategy(name: str, context: StrategyContext, option: str = "--strategy") -> Strategy:
    """The strategy called `name`. option: named in messages. Raises StudyError."""
    check_names([name], option)
    kind = _kind(name, option)
    if name in STRATEGIES:
        return kind.make(context)
    try:
        made: Any = kind.make(context)
    except StudyError:
        raise
    except Exception as error:
        raise _broken(name, option, f"cannot be made ({type(error).__name__}: {error})") from error
    if not isinstance(made, Strategy):
        lacking = [member for member in ("propose", "posterior", "is_due", "price") if not hasattr(made, member)]
        raise _broken(name, option, f"makes no strategy: {type(made).__name__} lacks {', '.join(lacking)}")
    return made


def uses_trajectories(name: str, option: str = "--strategy") -> bool:
    """Whether the strategy's runs also measure shorter points. Raises StudyError."""
    return _kind(name, option).trajectories


def _kind(name: str, option: str) -> Kind:
    """How the strategy is made. Raises StudyError."""
    if name in STRATEGIES:
        return STRATEGIES[name]
    loaded = load_plugin(GROUP, name, option)
    if loaded is None:
        raise StudyError(f"{option}: unknown strategy '{name}'{suggestion(name, strategy_names())}")
    make = getattr(loaded, "make", loaded)
    if not callable(make):
        raise _broken(name, option, f"is a {type(loaded).__name__}, which makes no strategy")
    return Kind(make, tuple(getattr(loaded, "needs", ())), bool(getattr(loaded, "trajectories", True)))


def _broken(name: str, option: str, what: str) -> StudyError:
    return StudyError(f"{option}: '{name}' of {plugin_package(GROUP, name)} {what}; update or uninstall that package")
