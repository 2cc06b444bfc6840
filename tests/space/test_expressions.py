"""The expression language: it means what Python means, allows nothing else, and refuses in one line."""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, event, example, given, settings
from hypothesis import strategies as st

from planner.space.expressions import parse, suggestion
from planner.space.types import StudyError

KNOWN = ("a", "b", "c", "model")
COLUMNS: dict[str, Any] = {
    "a": np.array([1.0, 2.0, 3.0, 64.0]), "b": np.array([4.0, 2.0, 0.0, 7.0]), "c": np.array([0.5, 1.5, 8.0, 2.0]),
    "model": np.array(["small", "large", "small", "x b"], dtype=object),
}


def value(text: str, **columns: Any) -> Any:
    return parse(text, KNOWN, "key")({**COLUMNS, **columns})


def refusal(text: str, known: Any = KNOWN) -> str:
    with pytest.raises(StudyError) as caught:
        parse(text, known, "key")
    message = str(caught.value)
    assert message.startswith("key: ") and len(message.splitlines()) == 1
    return message


@pytest.mark.parametrize(("text", "expected"), [
    ("a + b <= 5", [True, True, True, False]),
    ("a + b * c == 3", [True, False, True, False]),
    ("1 < a < 64", [False, True, True, False]),
    ("1 < a <= b", [False, True, False, False]),
    ("not a == 2", [True, False, True, True]),
    ("a == 1 or b == 0 and c > 5", [True, False, True, False]),
    ("(a == 1 or b == 0) and c > 5", [False, False, True, False]),
    ("model == 'small'", [True, False, True, False]),
    ("model != 'small' and a < 5", [False, True, False, False]),
    ("a % 2 == 0", [False, True, False, True]),
    ("a // 2 >= 1", [False, True, True, True]),
    ("log2(a) == 6", [False, False, False, True]),
    ("sqrt(a) == 8", [False, False, False, True]),
    ("min(a, b) == 2", [False, True, False, False]),
    ("max(a, min(b, c)) < 2", [True, False, False, False]),
    ("-a < -2", [False, False, True, True]),
    ("2 ** a <= 8", [True, True, True, False]),
    ("a / b > 1", [False, False, True, True]),  # 3 / 0 is infinite, not an error
    ("True", True),
])
def test_conditions(text: str, expected: Any) -> None:
    assert np.array_equal(np.broadcast_to(np.asarray(value(text), dtype=bool), np.shape(expected)), expected)


def test_names_conditions_and_text_are_told() -> None:
    expression = parse("min(a, b) + log2(c) <= 4", KNOWN, "key")
    assert expression.names == {"a", "b", "c"}
    assert expression.is_condition and expression.text == "min(a, b) + log2(c) <= 4" and expression.key == "key"
    conditions = {"a + 1": False, "a": False, "-a": False, "min(a, b)": False, "a < 1": True, "not a": True,
                  "a and b": True, "1 < 2": True, "'x'": False}
    assert {text: parse(text, KNOWN, "key").is_condition for text in conditions} == conditions
    assert not parse("1 < 2", KNOWN, "key").names


def test_a_function_is_no_name_and_a_name_may_be_called_like_one() -> None:
    assert "unknown name 'min'" in refusal("min <= 3")
    assert "unknown name 'log2'" in refusal("a < log2")
    column = np.array([1.0, 5.0])
    assert parse("min > 3", ["min"], "key")({"min": column}).tolist() == [False, True]
    both = parse("max(min, 3) == 5", ["min"], "key")
    assert both.names == {"min"} and both({"min": column}).tolist() == [False, True]


def test_expressions_of_several_lines() -> None:
    """A YAML block may break lines: they mean what they say, and stay out of messages."""
    text = "(a\n  <= 2)\n"
    assert np.array_equal(value(text), [True, True, False, False])
    with pytest.raises(StudyError) as caught:
        value("(model\n < 3)")
    assert len(str(caught.value).splitlines()) == 1
    refusal("(a <\n  d)")
    refusal("f'''\n{a}'''")


@pytest.mark.parametrize("text", [
    "__import__('os').system('true')", "a.real", "a[0]", "(lambda: 1)()", "[a]", "(a, b)", "{a}", "{a: b}",
    "[x for x in a]", "a if b else c", "f'{a}'", "f'{a.__class__}'", "(a := 3)", "min(*a)", "min(a, b=1)", "min(a)",
    "min(a, b, c)", "log2()", "abs(a)", "open('x')", "eval('1')", "print(a)", "a.min(b, c)", "min(a, b)(c)",
    "a is b", "a in b", "a not in b", "a << 2", "a >> 1", "a & b", "a | b", "a ^ b", "~a", "a @ b", "1j", "...",
    "None", "b'x'", "yield", "await a", "*a", "a.__class__.__mro__", "().__class__",
])
def test_everything_else_is_refused(text: str) -> None:
    message = refusal(text, [*KNOWN, "x"])
    assert "is not allowed" in message or "cannot read the expression" in message


@pytest.mark.parametrize("text", ["", " ", "a <=", "a b", "a <= 1; b", "a = 1", "1 +", "((a)", "'", "a\0", "import os",
                                  "\udc80", "a <= 1\nb <= 2", "def f(): pass", "0777", "1_", "€", "a ≤ 4"])
def test_what_is_no_expression_is_refused(text: str) -> None:
    assert "cannot read the expression" in refusal(text)


def test_unknown_names_come_with_a_suggestion() -> None:
    assert refusal("bach_size <= 4", ["batch_size"]) == "key: unknown name 'bach_size'; did you mean 'batch_size'?"
    assert refusal("zzz <= 4", ["tp", "model"]).endswith("use one of: model, tp")
    assert suggestion("inptu_len", ["input_len", "output_len"]) == "; did you mean 'input_len'?"


@pytest.mark.parametrize("text", ["model < 3", "model + 1 <= 2", "log2(model) < 3", "min(model, a) < 3", "-model < 2",
                                  "'x' < a", "a + 'x' == 2", "model * 2 == 4", "-(a < b) == 1"])
def test_kinds_that_do_not_fit_are_told(text: str) -> None:
    with pytest.raises(StudyError, match=r"^key: .*compare like with like") as caught:
        value(text)
    assert len(str(caught.value).splitlines()) == 1


def test_text_and_numbers_are_never_equal() -> None:
    assert not np.any(value("a == 'small'"))
    assert np.all(value("a != 'small'"))
    assert not np.any(value("model == 3"))


@pytest.mark.parametrize("text", [
    "9 ** 9 ** 9 ** 9 > a", "a < 2 ** 99999999999", "1e999 > a", "9" * 900 + " > a", "a ** a ** a ** a > 1",
])
def test_huge_numbers_take_no_time(text: str) -> None:
    begin = time.process_time()
    try:
        result = value(text)
    except StudyError as error:
        assert len(str(error).splitlines()) == 1
    else:
        assert np.shape(result) == (4,)
    assert time.process_time() - begin < 0.05  # 0.0002 s


@pytest.mark.parametrize("text", [
    "(" * 150 + "a" + ")" * 150 + " < 1", "-" * 900 + "a < 1", "not " * 240 + "a < 1", "+".join("a" * 490) + " < 1",
    "**".join("a" * 300) + " < 1", "min(a, " * 120 + "a" + ")" * 120 + " < 1", "a" + " < a" * 240, "(" * 900,
    "a and " * 160 + "a", "[" * 900, "a" + "[a" * 400, "-" * 100 + "a.b",
])
def test_deep_nesting_is_refused_or_works(text: str) -> None:
    """Never a RecursionError, neither at reading nor at evaluation."""
    try:
        expression = parse(text, KNOWN, "key")
    except StudyError as error:
        assert len(str(error).splitlines()) == 1
    else:
        assert np.shape(expression(COLUMNS)) == (4,)


def test_ordinary_sums_are_not_deep() -> None:
    assert np.array_equal(value("+".join("a" * 40)), 40 * COLUMNS["a"])


def test_length_is_limited() -> None:
    assert "longer than 1000 characters" in refusal("a < 1 " + " " * 1000 + "or b < 1")


# --------------------------------------------------------------------------------------- the same as Python, by chance

whole = st.integers(0, 20).map(str)
number = whole.map("{}.0".format) | st.sampled_from(["0.5", "1.25", "1e2"])  # floats: 20 ** 20 ** 20 never ends
name = st.sampled_from(["a", "b", "c"])


def arithmetic(part: st.SearchStrategy[str], operators: str) -> st.SearchStrategy[str]:
    """Formulas in brackets or not, so that precedence is tried too."""
    joined = st.builds("{} {} {}".format, part, st.sampled_from(operators.split()), part)
    two = st.builds("{}({}, {})".format, st.sampled_from(["min", "max"]), part, part)
    return joined | joined.map("({})".format) | two | part.map("-{}".format) | part.map("+{}".format)


# These round alike in numpy and in Python, so that comparisons and jumps cannot differ.
exact = st.recursive(whole | name, lambda part: arithmetic(part, "+ - * / // %"), max_leaves=8)
inexact = st.recursive(
    number | name,
    lambda part: arithmetic(part, "+ - * / **") | st.builds("{}({})".format, st.sampled_from(["log2", "sqrt"]), part),
    max_leaves=8)
comparison = st.builds("{} {} {}".format, exact, st.sampled_from(["<", "<=", ">", ">=", "==", "!="]), exact)
chain = st.builds("{} {} {}".format, comparison, st.sampled_from(["<", "<=", ">", ">=", "==", "!="]), exact)
condition = st.recursive(
    comparison | chain,
    lambda part: st.builds("{} {} {}".format, part, st.sampled_from(["and", "or"]), part)
    | part.map("({})".format) | part.map("not {}".format) | part.map("not ({})".format),
    max_leaves=5)
row = st.tuples(st.integers(0, 64), st.integers(1, 9), st.integers(-5, 300))


def python_says(text: str, point: tuple[float, ...], error: float = 0.0) -> Any:
    """Python's own value, with a relative error in what it is made of; None where Python has none (a division by zero,
    an overflow, a complex number)."""
    names = {
        "__builtins__": {}, "min": min, "max": max, "log2": lambda x: math.log2(x) * (1 + error),
        "sqrt": lambda x: math.sqrt(x) * (1 + error),
    }
    try:
        result = eval(text, names, {name: float(value) * (1 + error) for name, value in zip("abc", point, strict=True)})
    except (ArithmeticError, ValueError, TypeError):
        return None
    return None if isinstance(result, complex) or not abs(result) < 1e15 else result


@settings(max_examples=400, deadline=None)
@given(condition, st.lists(row, min_size=1, max_size=5))
@example("not a < b and b < a or a == b", [(1, 2, 3)])
def test_conditions_agree_with_python(text: str, points: list[tuple[int, int, int]]) -> None:
    assume(len(text) < 900)
    columns = {key: np.array(column, dtype=float) for key, column in zip("abc", zip(*points, strict=True), strict=True)}
    expression = parse(text, "abc", "key")
    assert expression.is_condition
    mine = np.broadcast_to(expression(columns), len(points))
    for said, point in zip(mine.tolist(), points, strict=True):
        expected = python_says(text, point)
        if expected is not None:
            event("compared")
            assert type(said) is bool and said == bool(expected), (text, point)


@settings(max_examples=400, deadline=None)
@given(inexact, st.lists(row, min_size=1, max_size=5))
def test_formulas_agree_with_python(text: str, points: list[tuple[int, int, int]]) -> None:
    assume(len(text) < 900)
    columns = {key: np.array(column, dtype=float) for key, column in zip("abc", zip(*points, strict=True), strict=True)}
    mine = np.broadcast_to(parse(text, "abc", "key")(columns), len(points))
    for said, point in zip(mine.tolist(), points, strict=True):
        expected = python_says(text, point)
        if expected is not None and well_conditioned(text, point, float(expected)):
            event("compared")
            assert said == pytest.approx(expected, rel=1e-6, abs=1e-9), (text, point)


def well_conditioned(text: str, point: tuple[int, int, int], expected: float) -> bool:
    """Whether no rounding of an intermediate result decides, as it does where differences cancel."""
    for error in (-1e-12, 1e-12):
        nearby = python_says(text, point, error)
        if nearby is None or not math.isclose(nearby, expected, rel_tol=1e-7, abs_tol=1e-10):
            return False
    return True


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=40)
       | st.text(alphabet="abc()[]{}<>=!+-*/%.,:;'\"0123456789 \nandortxlg2_jf@&|~", max_size=60)
       | st.lists(st.sampled_from(["a", "b", "model", "(", ")", "<=", "and", "not", "min(", ",", "1", "'x'", "**", "-",
                                   "if", "else", "lambda", "[", "]", ".", "log2(", "==", "\n", "%"]), max_size=14)
       .map(" ".join))
def test_any_text_is_an_expression_or_a_refusal(text: str) -> None:
    try:
        expression = parse(text, KNOWN, "key")
    except StudyError as error:
        assert str(error).startswith("key: ") and len(str(error).splitlines()) == 1
        return
    event("parsed")
    assert expression.names <= set(KNOWN)
    try:
        result = expression(COLUMNS)
    except StudyError as error:
        assert str(error).startswith("key: ") and len(str(error).splitlines()) == 1
        return
    event("evaluated")
    assert np.shape(result) in {(), (4,)}


@pytest.mark.parametrize("text", ["'" + "\udcc1" * 900, "batch + " * 110, "batch < " + "'x' + " * 120 + "'y'"])
def test_a_long_expression_is_quoted_in_part(text: str) -> None:
    """Found by a coverage-guided fuzzer: each character of one may be six in its quotation."""
    with pytest.raises(StudyError) as refused:
        parse(text, ("batch",), "key")({"batch": np.ones(2)})
    assert len(str(refused.value)) < 1000 and "\n" not in str(refused.value)
