"""What other packages bring: found by name, ours first; a broken one is an error only when it is used."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from planner.importers.registry import OURS, check_format, format_of, formats, read_rows
from planner.space.grid import full_grid
from planner.space.plugins import load_plugin, plugin_names, runner_class, runner_kinds
from planner.space.types import Axis, StudyError
from planner.strategies.adaptive import AdaptiveStrategy
from planner.strategies.registry import STRATEGIES, check_names, make_strategy, strategy_names, uses_trajectories
from planner.strategies.strategy import StrategyContext

GUEST = """
from planner.strategies.registry import STRATEGIES, Kind

make = STRATEGIES["random"].make
plain = Kind(make, trajectories=False)
demanding = Kind(make, needs=("no_such_package_anywhere",))
number = 3

def fails(context):
    raise RuntimeError("no licence")

class Nothing:
    def __init__(self, context):
        pass

class Log:
    def recognises(self, source):
        return source.head.startswith("GUEST")
    def read(self, path, name, known, renames):
        raise ZeroDivisionError("division by zero")

class Everything(Log):
    def recognises(self, source):
        return True

class Blind(Log):
    def recognises(self, source):
        raise ValueError("cannot see")

class Unmade(Log):
    def __init__(self):
        raise OSError("no")
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Put a package with these entry points on the path: group → name → object."""
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)

    def write(points: Mapping[str, Mapping[str, str]], package: str = "guest") -> None:
        module = package.replace("-", "_")
        (tmp_path / f"{module}.py").write_text(GUEST)
        info = tmp_path / f"{module}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text("".join(
            f"[sweepwise.{group}]\n" + "".join(f"{name} = {module}:{where}\n" for name, where in names.items())
            for group, names in points.items()))

    yield write
    for name in set(sys.modules) - before:
        if name.startswith("guest"):
            del sys.modules[name]


def context() -> StrategyContext:
    grid = full_grid([Axis("x", (1, 2, 3))])
    return StrategyContext(grid, ("y",), None, np.ones(len(grid)))


# --------------------------------------------------------------------------------------------------------- strategies


def test_a_strategy_is_a_callable_or_says_more(install: Callable[..., None]) -> None:
    install({"strategies": {"a-guest": "make", "a-plain-guest": "plain"}})
    assert strategy_names() == [*STRATEGIES, "a-guest", "a-plain-guest"]
    check_names(["a-guest", "a-plain-guest", "random"], "--strategies")
    for name in ("a-guest", "a-plain-guest"):
        assert type(make_strategy(name, context())) is type(make_strategy("random", context()))
    assert uses_trajectories("a-guest") and not uses_trajectories("a-plain-guest")


def test_our_names_win(install: Callable[..., None]) -> None:
    install({"strategies": {"sweepwise": "fails"}, "importers": {"table": "Everything", "fmwork": "Everything"},
             "runners": {"replay": "Nothing"}})
    assert type(make_strategy("sweepwise", context())) is AdaptiveStrategy
    assert strategy_names() == list(STRATEGIES) and formats() == list(OURS)
    assert runner_class("replay").__name__ == "ReplayRunner" and runner_kinds().count("replay") == 1


@pytest.mark.parametrize(("what", "says"), [
    ("missing", "cannot be loaded .*missing.*; update or uninstall that package"),
    ("fails", r"cannot be made \(RuntimeError: no licence\); update or uninstall"),
    ("Nothing", "Nothing lacks propose, posterior, is_due, price; update or uninstall"),
    ("number", "is a int, which makes no strategy; update"),
    ("demanding", "broken needs no_such_package_anywhere; pip install no_such_package_anywhere"),
])
def test_a_broken_strategy_is_reported_when_it_is_used(install: Callable[..., None], what: str, says: str) -> None:
    install({"strategies": {"broken": what, "good": "make"}})
    assert {"broken", "good"} <= set(strategy_names())
    make_strategy("good", context())
    make_strategy("random", context())
    with pytest.raises(StudyError, match=f"^--strategies: .*{says}") as refused:
        make_strategy("broken", context(), "--strategies")
    assert what == "demanding" or "of the package guest" in str(refused.value)
    with pytest.raises(StudyError, match=r"unknown strategy 'nobodys'.*broken.*good.*sweepwise"):
        check_names(["nobodys"], "--strategy")


def test_a_module_that_cannot_be_imported_is_reported(install: Callable[..., None], tmp_path: Path) -> None:
    install({"strategies": {"broken": "make"}, "importers": {"broken": "Log"}, "runners": {"broken": "Runner"}})
    for text, says in (("import no_such_package", "No module named 'no_such_package'.*; install what it needs"),
                       ("raise ValueError('of age')", "of age.*; update or uninstall"), ("def", "invalid syntax")):
        (tmp_path / "guest.py").write_text(text)
        with pytest.raises(StudyError, match=f"^--strategy: 'broken' of the package guest cannot be loaded.*{says}"):
            make_strategy("broken", context())
        with pytest.raises(StudyError, match=f"^--format: 'broken' of the package guest cannot be loaded.*{says}"):
            check_format("broken")
        with pytest.raises(StudyError, match=f"^runner.kind: 'broken' of the package guest cannot be loaded.*{says}"):
            runner_class("broken")


def test_of_two_packages_with_one_name_it_is_always_the_same(install: Callable[..., None]) -> None:
    for package, where in (("guest-b", "fails"), ("guest-a", "make"), ("guest-c", "fails")):
        install({"strategies": {"theirs": where}}, package)
    assert plugin_names("sweepwise.strategies") == ["theirs"]
    assert load_plugin("sweepwise.strategies", "theirs", "--strategy") is STRATEGIES["random"].make
    assert load_plugin("sweepwise.strategies", "nobodys", "--strategy") is None


# ---------------------------------------------------------------------------------------------------------- importers


def test_guests_are_asked_after_us_and_before_any_table(install: Callable[..., None], tmp_path: Path) -> None:
    install({"importers": {"auto": "Everything", "z-log": "Everything"}})
    assert formats() == [*list(OURS)[:-1], "z-log", "table"]
    data = Path(__file__).parent / "data/importers"
    assert format_of(data / "aiperf.json") == "aiperf" and format_of(data / "vllm_sweep") == "vllm-sweep"
    for name in ("some.csv", "some.parquet", "some.txt"):
        (tmp_path / name).write_text("x,y\n1,2\n")
        assert format_of(tmp_path / name) == "z-log"


def test_a_guest_that_recognises_nothing_leaves_tables_to_us(install: Callable[..., None], tmp_path: Path) -> None:
    install({"importers": {"b-blind": "Blind", "c-unmade": "Unmade", "d-missing": "missing", "e-log": "Log",
                           "f-number": "number"}})
    (tmp_path / "some.csv").write_text("x,y\n1,2\n")
    assert format_of(tmp_path / "some.csv") == "table"
    assert len(read_rows(tmp_path / "some.csv", "auto", {}, {})) == 1
    (tmp_path / "some.txt").write_text("x")
    with pytest.raises(StudyError, match=r"the format is not recognised; .* --format .*e-log.* \(.*blind.*cannot"):
        format_of(tmp_path / "some.txt")


@pytest.mark.parametrize(("what", "says"), [
    ("missing", "cannot be loaded"), ("number", "is not an importer: it lacks `recognises` or `read`"),
    ("Unmade", r"cannot be made \(OSError: no\)"), ("make", "is not an importer"),
])
def test_a_broken_importer_is_reported_when_it_is_used(install: Callable[..., None], what: str, says: str) -> None:
    install({"importers": {"broken": what}})
    check_format("table")
    with pytest.raises(StudyError, match=f"^--format: 'broken' of the package guest {says}.*; update or uninstall"):
        check_format("broken")
    with pytest.raises(StudyError, match=r"--format: unknown format 'nobodys'.*auto.*broken.*fmwork"):
        check_format("nobodys")


def test_a_guest_that_fails_at_reading_is_reported_by_name(install: Callable[..., None], tmp_path: Path) -> None:
    install({"importers": {"g-log": "Log"}})
    (tmp_path / "g.log").write_text("GUEST 1 2 3")
    with pytest.raises(StudyError) as refused:
        read_rows(tmp_path / "g.log", "auto", {}, {})
    said = str(refused.value)
    assert said.startswith(str(tmp_path / "g.log")) and "package guest" in said and "division by zero" in said


def nothing(*_: Any) -> None:
    """Stands for a lookup that must not happen."""
    raise AssertionError("a guest was loaded that nobody asked for")


def test_a_plugin_is_loaded_only_when_used(install: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    install({"strategies": {"theirs": "make"}, "importers": {"theirs-too": "Log"}})
    monkeypatch.setattr("planner.strategies.registry.load_plugin", nothing)
    monkeypatch.setattr("planner.importers.registry.load_plugin", nothing)
    check_names(STRATEGIES.keys() & {"sweepwise", "full"}, "--strategy")
    make_strategy("sweepwise", context())
    assert "theirs" in strategy_names() and "theirs-too" in formats()
    data = Path(__file__).parent / "data/importers"
    assert format_of(data / "fmwork.log") == "fmwork" and read_rows(data / "aiperf.json", "aiperf", {}, {})
