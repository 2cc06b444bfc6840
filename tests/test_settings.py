"""Every constant of the rooms that decide is in their settings.py, with what it does and where its evidence lies."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

PLANNER: Final = Path(__file__).resolve().parents[1] / "planner"
ROOMS: Final = ("models", "evaluation", "acquisition", "strategies", "campaign", "analysis")
# A measurement that can be looked up, or the plain word that there is none.
EVIDENCE: Final = ("studies/", "results.md", "recorded grids", "judgement", "Numerical", "Mathematics", "definition",
                   "By calculation")


def is_number(value: ast.expr) -> bool:
    """Whether an expression is made of numbers alone: no text, no mapping, nothing derived from settings."""
    nodes = list(ast.walk(value))
    if any(isinstance(node, ast.Dict | ast.Lambda | ast.Subscript) or (isinstance(node, ast.Constant) and isinstance(
            node.value, str | bytes)) or (isinstance(node, ast.Name) and node.id == "settings") for node in nodes):
        return False
    return any(isinstance(node, ast.Constant) and isinstance(node.value, int | float | complex)
               and not isinstance(node.value, bool) for node in nodes)


def assignments(source: str) -> Iterator[tuple[list[str], ast.expr, ast.stmt | None]]:
    """Names, value and following statement of each assignment at the level of the module or a class."""
    def of(body: list[ast.stmt]) -> Iterator[tuple[list[str], ast.expr, ast.stmt | None]]:
        for statement, following in zip(body, [*body[1:], None], strict=False):
            if isinstance(statement, ast.Assign):
                yield [ast.unparse(target) for target in statement.targets], statement.value, following
            elif isinstance(statement, ast.AnnAssign) and statement.value is not None:
                yield [ast.unparse(statement.target)], statement.value, following
            elif isinstance(statement, ast.If | ast.Try | ast.With):
                yield from of(statement.body)
    return of(ast.parse(source).body)


@pytest.mark.parametrize(("source", "found"), [
    ("_A = 0.3", True), ("B: Final = -2", True), ("C, D = 1, 2", True), ("E = float(np.sqrt(2 / np.pi))", True),
    ("F = tuple(2.0**k for k in range(9))", True), ("if x:\n    G = 1e-9", True), ("H: Final[int] = 3 * 4", True),
    ("I = float(t.ppf(0.95, settings.TAIL_FREEDOM))", False), ("J = 'a'", False), ("K = {'ms': 1.0}", False),
    ("L = True", False), ("def f():\n    m = 3", False), ("N = ('a', 'b')", False),
])
def test_constants_are_seen(source: str, found: bool) -> None:
    assert any(is_number(value) for _, value, _ in assignments(source)) is found


@pytest.mark.parametrize("room", ROOMS)
def test_no_other_module_defines_a_constant(room: str) -> None:
    files = [path for path in sorted((PLANNER / room).rglob("*.py")) if path.name != "settings.py"]
    found = {f"{path.relative_to(PLANNER)}: {names}" for path in files
             for names, value, _ in assignments(path.read_text(encoding="utf-8")) if is_number(value)}
    assert len(files) > 1 and not found


@pytest.mark.parametrize("room", ROOMS)
def test_every_constant_says_what_it_does_and_where_its_evidence_lies(room: str) -> None:
    """A group of constants may share the words of its first."""
    described = ""
    for names, _, following in assignments((PLANNER / room / "settings.py").read_text(encoding="utf-8")):
        if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
            described = " ".join(str(following.value.value).split())
            assert any(word in described for word in EVIDENCE), f"{names} names no evidence"
        assert described, f"{names} is not described"


def test_one_idea_has_one_value() -> None:
    """The distance of another category, and the growth that is worth a refit, stand in one place."""
    for path in PLANNER.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert "CATEGORY_DISTANCE =" not in text or path == PLANNER / "models/settings.py"
    from planner.models.settings import REFIT_GROWTH
    from planner.strategies.settings import BATCH_SHARE

    assert BATCH_SHARE == REFIT_GROWTH
