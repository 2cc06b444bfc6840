"""A small, safe expression language for constraints, filters and prices. Python's grammar, never `eval`.

Allowed: names, numbers, strings, true and false, + - * / // % **, comparisons (chained too), and / or / not, and the
functions min, max, log2, sqrt. Everything is evaluated with numpy over whole columns at once. A name that is no Python
name stands in backticks, as in pandas: `TTFT (ms)` / 1000; without them it is found where nothing else is meant.

A column of a file (`Cells`) is compared cell by cell, by what is meant: valid == true, version == '1.10', error == ''
(a blank). Of a cell that is no number, < and > are false.
"""

from __future__ import annotations

import ast
import difflib
import operator
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any, Final, cast

import numpy as np

from planner.space.cells import Cells
from planner.space.meaning import same
from planner.space.types import StudyError, Value

__all__ = ["FUNCTIONS", "Expression", "parse", "quoted", "suggestion"]

_MAX_LENGTH: Final = 1000
_SHOWN: Final = 120  # characters of an expression that a message quotes: it is to be one line
_MAX_DEPTH: Final = 100  # evaluation recurses
_TRUTH: Final = {"true": True, "false": False}
_QUOTED: Final = r"'[^']*'|\"[^\"]*\"|`([^`]+)`"
_BINARY: Final[Mapping[type[ast.operator], Callable[[Any, Any], Any]]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod, ast.Pow: operator.pow,
}
_COMPARE: Final[Mapping[type[ast.cmpop], Callable[[Any, Any], Any]]] = {
    ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge,
    ast.Eq: operator.eq, ast.NotEq: operator.ne,
}
FUNCTIONS: Final[Mapping[str, tuple[int, Callable[..., Any]]]] = {
    "min": (2, np.minimum), "max": (2, np.maximum), "log2": (1, np.log2), "sqrt": (1, np.sqrt),
}
"""Function name → number of arguments, and the numpy function."""


@dataclass(frozen=True, slots=True)
class Expression:
    """A parsed expression. Called with columns (name → array), it returns an array."""

    text: str
    key: str
    names: frozenset[str]
    is_condition: bool
    _tree: ast.expr

    def __call__(self, columns: Mapping[str, Any]) -> Any:
        """The value in each row of `columns`, arrays of one length. Raises StudyError if types do not match."""
        try:
            with np.errstate(all="ignore"):
                return _evaluate(self._tree, columns)
        except (TypeError, ValueError, OverflowError, np.exceptions.DTypePromotionError) as error:
            message = f"{self.key}: '{_shortly(self.text)}' does not fit the values it names; compare like with like"
            raise StudyError(message) from error


def parse(text: str, known: Collection[str], key: str) -> Expression:
    """The expression in `text`; its names must be in `known`. Raises StudyError that starts with `key`."""
    if len(text) > _MAX_LENGTH:
        raise StudyError(f"{key}: the expression is longer than {_MAX_LENGTH} characters; split it")
    odd = sorted((name for name in known if not name.isidentifier()), key=len, reverse=True)
    problem: StudyError | None = None
    # Names that are no Python names are looked for only where the text means nothing without them.
    for literal in ([], odd) if odd else ([],):
        try:
            tree = _tree(text, literal, known, key)
        except StudyError as error:
            problem = problem or error
            continue
        called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
        names = frozenset(node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and id(node) not in called)
        if not (unknown := sorted(names - set(known))):
            return Expression(text, key, names, _is_condition(tree), tree)
        problem = problem or StudyError(f"{key}: unknown name '{unknown[0]}'{suggestion(unknown[0], known)}")
    assert problem is not None
    raise problem


def _shortly(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN - 3]}..."


def _tree(text: str, literal: Collection[str], known: Collection[str], key: str) -> ast.expr:
    """The syntax tree, checked. Names in backticks, and those of `literal` where they stand, are names in it."""
    names: dict[str, str] = {}

    def named(found: re.Match[str]) -> str:
        name = found[1] or found[0]
        if found[0][0] in "'\"" and name not in literal:
            return found[0]
        return names.setdefault(name, f"_name_{len(names)}_")

    pattern = "|".join([_QUOTED, *(re.escape(name) for name in literal)])
    try:
        tree = ast.parse(re.sub(pattern, named, text.strip()), mode="eval").body
        _check(tree, key)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        if isinstance(error, StudyError):
            raise
        problem = f"{key}: cannot read the expression {_shortly(text)!r}; write it like 'a + b <= 4096'"
        raise StudyError(problem) from error
    back = {short: name for name, short in names.items()}
    tree = cast("ast.expr", _Constants(known).visit(tree))
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            node.id = back.get(node.id, node.id)
    return tree


class _Constants(ast.NodeTransformer):
    """Turns the names true and false into constants, unless a column is called so."""

    def __init__(self, known: Collection[str]) -> None:
        self.known = known

    def visit_Name(self, node: ast.Name) -> ast.expr:
        """The node, or its constant."""
        if node.id in _TRUTH and node.id not in self.known:
            return ast.copy_location(ast.Constant(_TRUTH[node.id]), node)
        return node


def quoted(name: str) -> str:
    """The name as an expression writes it: in backticks, unless it is a Python name."""
    return name if name.isidentifier() else f"`{name}`"


def suggestion(name: str, known: Iterable[str]) -> str:
    """The end of an error message: the nearest known name, or all of them."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean '{close[0]}'?" if close else f"; use one of: {', '.join(known)}"


def _is_condition(tree: ast.expr) -> bool:
    negated = isinstance(tree, ast.UnaryOp) and isinstance(tree.op, ast.Not)
    return negated or isinstance(tree, ast.Compare | ast.BoolOp)


def _check(node: ast.expr, key: str, depth: int = 0) -> None:
    if depth > _MAX_DEPTH:
        raise StudyError(f"{key}: the expression is nested more than {_MAX_DEPTH} deep; split it")
    match node:
        case ast.Constant(value=bool() | int() | float() | str()) | ast.Name():
            children: list[ast.expr] = []
        case ast.UnaryOp(op=ast.USub() | ast.UAdd() | ast.Not()):
            children = [node.operand]
        case ast.BinOp(op=op) if type(op) in _BINARY:
            children = [node.left, node.right]
        case ast.BoolOp():
            children = node.values
        case ast.Compare() if all(type(op) in _COMPARE for op in node.ops):
            children = [node.left, *node.comparators]
        case ast.Call(func=ast.Name(id=name), keywords=[]) if (
            name in FUNCTIONS and len(node.args) == FUNCTIONS[name][0]
        ):
            children = node.args
        case _:
            what = ast.unparse(node)
            raise StudyError(f"{key}: '{what}' is not allowed; use names, numbers, + - * / // % **, "
                             "comparisons, and, or, not, min(a, b), max(a, b), log2(a), sqrt(a)")
    for child in children:
        _check(child, key, depth + 1)


def _evaluate(node: ast.expr, columns: Mapping[str, Any]) -> Any:
    match node:
        case ast.Constant(value=bool() | int() | float() | str() as value):
            # Floats, so that 9**9**9 is infinite at once and not a number with millions of digits.
            return value if isinstance(value, str | bool) else np.float64(value)
        case ast.Name(id=name):
            return columns[name]
        case ast.UnaryOp(op=op, operand=operand):
            if isinstance(op, ast.Not):
                return np.logical_not(_truth(operand, columns))
            amount = _evaluate(operand, columns)
            amount = amount.numbers if isinstance(amount, Cells) else amount
            return -amount if isinstance(op, ast.USub) else +amount
        case ast.BinOp(left=left, op=op, right=right):
            return _BINARY[type(op)](_number(left, columns), _number(right, columns))
        case ast.BoolOp(op=op, values=values):
            join = np.logical_and if isinstance(op, ast.And) else np.logical_or
            return reduce(join, [_truth(value, columns) for value in values])
        case ast.Compare(left=left, ops=ops, comparators=comparators):
            sides = [_evaluate(side, columns) for side in (left, *comparators)]
            pairs = zip(ops, sides[:-1], sides[1:], strict=True)
            return reduce(np.logical_and, [_compare(type(op), a, b) for op, a, b in pairs])
        case ast.Call(func=ast.Name(id=name), args=arguments):
            return FUNCTIONS[name][1](*[_number(argument, columns) for argument in arguments])
    raise TypeError(ast.dump(node))


def _number(node: ast.expr, columns: Mapping[str, Any]) -> Any:
    return np.asarray(_evaluate(node, columns), dtype=float)


def _truth(node: ast.expr, columns: Mapping[str, Any]) -> Any:
    value = _evaluate(node, columns)
    return value.truth if isinstance(value, Cells) else value


def _compare(op: type[ast.cmpop], left: Any, right: Any) -> Any:
    if not isinstance(left, Cells) and not isinstance(right, Cells):
        return _COMPARE[op](left, right)
    if op in (ast.Eq, ast.NotEq):
        equal = _equal(left, right)
        return equal if op is ast.Eq else ~equal
    sides = [side.numbers if isinstance(side, Cells) else side for side in (left, right)]
    if any(np.isnan(side).all() for side in sides if isinstance(side, np.ndarray) and side.size):
        raise TypeError("a column without numbers has no order")
    return _COMPARE[op](*sides)


def _equal(left: Any, right: Any) -> Any:
    if not isinstance(left, Cells):
        left, right = right, left
    if isinstance(right, Cells):
        return np.array([same(a, b) if a is not None else b is None for a, b in zip(left, right, strict=True)],
                        dtype=bool)
    if isinstance(right, np.ndarray) and right.ndim:
        return left.numbers == right
    return left.equals(cast("Value", right.item() if hasattr(right, "item") else right))
