"""The study file: what is read from it, and that anything else is refused in one line that names the key."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from planner.campaign.setup import open_setup
from planner.space.grid import Grid, full_grid
from planner.space.spec import AxisSpec, CostLimit, StudySpec, parse_spec, read_spec, validate_model
from planner.space.types import Role, Scale, Scope, StudyError

GOOD: dict[str, Any] = {
    "study": {"name": "small", "storage": "sqlite:///small.db"},
    "space": {
        "axes": {
            "model": {"values": ["small-1b", "large-7b"], "scope": "engine", "scale": "category"},
            "input_len": {"values": [128, 256], "scale": "log"},
            "batch_size": {"range": [1, 8], "scale": "log"},
        },
        "constraints": ["input_len * batch_size <= 1024"],
    },
    "runner": {"kind": "command", "command": ["python", "bench.py", "--batch", "{batch_size}"], "repeats": 2},
    "targets": ["ttft_ms", "output_throughput"],
    "stop": {"accuracy": 0.97, "cost": "$20", "trials": 200},
    "price": {"per_accelerator_hour": 2.5},
    "slo": ["p99_ttft_ms <= 500"],
}
TEXT = yaml.safe_dump(GOOD, sort_keys=False)
GONE = object()


def edited(changes: dict[str, Any]) -> dict[str, Any]:
    """GOOD with other values at 'a.b.c' paths; GONE takes a key away."""
    data = copy.deepcopy(GOOD)
    for path, value in changes.items():
        *parents, last = path.split(".")
        inner: Any = data
        for part in parents:
            inner = inner.setdefault(part, {})
        if value is GONE:
            del inner[last]
        else:
            inner[last] = value
    return data


def refusal(data: Any) -> str:
    with pytest.raises(StudyError) as caught:
        validate_model(StudySpec, data, "")
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    return message


# ---------------------------------------------------------------------------------------------------- what is read


def test_a_whole_study_file() -> None:
    spec = parse_spec(TEXT)
    assert spec.study.name == "small" and spec.study.storage == "sqlite:///small.db"
    assert list(spec.space.axes) == ["model", "input_len", "batch_size"]
    assert spec.runner.kind == "command"
    assert spec.runner.settings == {"command": ["python", "bench.py", "--batch", "{batch_size}"], "repeats": 2}
    assert spec.targets == ["ttft_ms", "output_throughput"]
    assert spec.stop.accuracy == 0.97 and spec.stop.trials == 200
    assert spec.stop.cost_limit == CostLimit(kind="money", amount=20)
    assert spec.price is not None and spec.price.per_accelerator_hour == 2.5


def test_what_may_be_left_out() -> None:
    spec = parse_spec("space: {axes: {a: {values: [1]}}}\nrunner: {kind: command}\ntargets: [y]\n")
    assert spec.study.name is None and spec.study.storage.startswith("sqlite:///")
    assert spec.stop.accuracy == 0.95 and spec.stop.cost is None and spec.stop.trials is None
    assert spec.space.constraints == [] and spec.slo == [] and spec.price is None
    axis = spec.space.axes["a"].resolve("a")
    assert axis.scope is Scope.WORKLOAD and axis.scale is Scale.LINEAR and axis.roles == ()


def test_axes() -> None:
    axes = parse_spec(TEXT).space.axes
    model, length, batch = (axes[name].resolve(name) for name in axes)
    assert model.values == ("small-1b", "large-7b") and model.scope is Scope.ENGINE and model.roles == (Role.MODEL,)
    assert length.values == (128, 256) and length.roles == (Role.INPUT_TOKENS,)
    assert batch.values == (1, 2, 3, 4, 5, 6, 7, 8) and batch.scale is Scale.LOG and batch.roles == (Role.BATCH,)


@pytest.mark.parametrize(("given", "values", "scale"), [
    ({"values": [8, 1, 2.5]}, (1, 2.5, 8), Scale.LINEAR),
    ({"values": ["b", "a"]}, ("b", "a"), Scale.CATEGORY),
    ({"values": [True, False]}, (True, False), Scale.CATEGORY),
    ({"values": ["auto", 4]}, ("auto", 4), Scale.CATEGORY),
    ({"values": [8, 1], "scale": "category"}, (8, 1), Scale.CATEGORY),
    ({"values": [0, 8], "scale": "log"}, (0, 8), Scale.LOG),
    ({"range": [-2, 1]}, (-2, -1, 0, 1), Scale.LINEAR),
    ({"range": [3, 3]}, (3,), Scale.LINEAR),
])
def test_values_and_scale(given: dict[str, Any], values: tuple[Any, ...], scale: Scale) -> None:
    axis = AxisSpec(**given).resolve("x")
    assert axis.values == values and [type(v) for v in axis.values] == [type(v) for v in values]
    assert axis.scale is scale


def test_the_tables_values_fill_in_only_where_none_are_given() -> None:
    assert AxisSpec().resolve("x", [4, 2]).values == (2, 4)
    assert AxisSpec(values=[8]).resolve("x", [4, 2]).values == (8,)
    with pytest.raises(StudyError, match=r"^space.axes.x: has no values; add"):
        AxisSpec().resolve("x")


def test_roles_are_given_or_known() -> None:
    assert AxisSpec(values=[1], role=Role.BATCH).resolve("x").roles == (Role.BATCH,)
    both = AxisSpec(values=[1], role=[Role.BATCH, Role.CONCURRENCY]).resolve("x")
    assert both.roles == (Role.BATCH, Role.CONCURRENCY)
    assert AxisSpec(values=[1], role=Role.RATE).resolve("batch_size").roles == (Role.RATE,)  # what is said counts
    named = {"output_len": Role.OUTPUT_TOKENS, "tensor_parallel_size": Role.ACCELERATORS, "request_rate": Role.RATE,
             "max_concurrency": Role.CONCURRENCY}
    assert all(AxisSpec(values=[1]).resolve(name).roles == (role,) for name, role in named.items())


def test_descriptors_go_with_the_values() -> None:
    given = {"params_b": {"8": 1.5, "x": 2}}
    axis = AxisSpec(values=["x", 8], descriptors=given).resolve("m")
    assert axis.descriptors == {"params_b": (2.0, 1.5)}


@pytest.mark.parametrize(("text", "kind", "amount"), [
    ("2h", "seconds", 7200), ("45m", "seconds", 2700), ("45min", "seconds", 2700), ("90s", "seconds", 90),
    ("90", "seconds", 90), ("1.5d", "seconds", 129600), (" 5 % ", "share", 0.05), ("$20", "money", 20),
    ("$ .5", "money", 0.5), ("2 h", "seconds", 7200),
])
def test_costs(text: str, kind: str, amount: float) -> None:
    limit = CostLimit.parse(text)
    assert limit.kind == kind and limit.amount == pytest.approx(amount)


@pytest.mark.parametrize("text", ["2 parsecs", "", "h", "-2h", "0", "0%", "$20h", "$5%", "2h30m", "1e3", "two hours",
                                  "$", "nan", "inf", "2hh", "2\nh x", "9" * 400])
def test_what_is_no_cost(text: str) -> None:
    with pytest.raises(ValueError, match=r"cannot read the cost; write it like|must be above 0"):
        CostLimit.parse(text)


@pytest.mark.parametrize(("cost", "amount"), [(90, 90.0), (0.5, 0.5), ("90", 90.0), (3600.0, 3600.0)])
def test_costs_may_be_bare_numbers(cost: Any, amount: float) -> None:
    spec = validate_model(StudySpec, edited({"stop.cost": cost}), "")
    assert spec.stop.cost_limit == CostLimit(kind="seconds", amount=amount)


# ------------------------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(("changes", "key", "fix"), [
    ({"target": ["y"]}, "target", "unknown key; did you mean 'targets'?"),
    ({"space.axis": {}}, "space.axis", "did you mean 'axes'?"),
    ({"space.axes.batch_size.scales": "log"}, "space.axes.batch_size.scales", "did you mean 'scale'?"),
    ({"stop.acuracy": 0.9}, "stop.acuracy", "did you mean 'accuracy'?"),
    ({"study.databse": "x"}, "study.databse", "use one of: name, storage"),
    ({"price.per_hour": 2}, "price.per_hour", "use one of: per_accelerator_hour"),
    ({"space": GONE}, "space", "is missing; add it"),
    ({"runner": GONE}, "runner", "is missing; add it"),
    ({"runner.kind": GONE}, "runner.kind", "is missing; add it"),
    ({"targets": GONE}, "targets", "is missing; add it"),
    ({"price": {}}, "price.per_accelerator_hour", "is missing; add it"),
    ({"space": []}, "space", "dictionary"), ({"space": None}, "space", "dictionary"),
    ({"space.axes": []}, "space.axes", "dictionary"), ({"space.axes": {}}, "space.axes", "at least 1"),
    ({"space.axes.batch_size": None}, "space.axes.batch_size", "dictionary"),
    ({"space.axes.batch_size": [1, 2]}, "space.axes.batch_size", "dictionary"),
    ({"space.axes.input_len.values": 128}, "space.axes.input_len.values", "list"),
    ({"space.axes.input_len.values": "128"}, "space.axes.input_len.values", "list"),
    ({"space.axes.input_len.values": []}, "space.axes.input_len", "values is empty; list at least one"),
    ({"space.axes.input_len.values": [{}]}, "space.axes.input_len.values.0", "number"),
    ({"space.axes.input_len.values": [1, [2]]}, "space.axes.input_len.values.1", "number"),
    ({"space.axes.input_len.range": [1, 2]}, "space.axes.input_len", "either values or range, not both"),
    ({"space.axes.batch_size.range": [8, 1]}, "space.axes.batch_size", "write the smaller number first"),
    ({"space.axes.batch_size.range": [1]}, "space.axes.batch_size.range.1", "is missing"),
    ({"space.axes.batch_size.range": [1, 2, 3]}, "space.axes.batch_size.range", "at most 2"),
    ({"space.axes.batch_size.range": [1, 2.5]}, "space.axes.batch_size.range.1", "integer"),
    ({"space.axes.batch_size.range": [True, 8]}, "space.axes.batch_size.range.0", "integer"),
    ({"space.axes.batch_size.range": [1, 10**6]}, "space.axes.batch_size", "narrow it"),
    ({"space.axes.batch_size.scale": "logarithmic"}, "space.axes.batch_size.scale", "'log'"),
    ({"space.axes.batch_size.scope": "motor"}, "space.axes.batch_size.scope", "'engine' or 'workload'"),
    ({"space.axes.batch_size.role": "batches"}, "space.axes.batch_size.role", "'batch'"),
    ({"space.axes.batch_size.role": ["batch", "x"]}, "space.axes.batch_size.role.1", "'batch'"),
    ({"space.axes.model.descriptors": {"b": 3}}, "space.axes.model.descriptors.b", "dictionary"),
    ({"space.axes.model.descriptors": {"b": {"x": "y"}}}, "space.axes.model.descriptors.b.x", "number"),
    ({"space.axes": {"int": {"values": [[1]]}}}, "space.axes.int.values.0", "number"),  # a key that pydantic has too
    ({"space.axes": {"a b": {"values": [1]}}}, "space.axes", "'a b' cannot name an axis"),
    ({"space.axes": {"lambda": {"values": [1]}}}, "space.axes", "'lambda' cannot name an axis"),
    ({"space.axes": {"sqrt": {"values": [1]}}}, "space.axes", "'sqrt' cannot name an axis"),
    ({"space.axes": {"a\nb": {"valus": [1]}}}, "space.axes.a b.valus", "did you mean 'values'?"),
    ({"space.axes": {3: {"values": [1]}}}, "space.axes.3", "string"),
    ({"space.constraints": "a <= 3"}, "space.constraints", "list"),
    ({"space.constraints": ["batchsize <= 4"]}, "space.constraints[0]", "did you mean 'batch_size'?"),
    ({"space.constraints": ["batch_size <= 4", "1 < 2"]}, "space.constraints[1]", "names no axis"),
    ({"space.constraints": ["batch_size + 1"]}, "space.constraints[0]", "is not a condition; compare something"),
    ({"space.constraints": ["batch_size <"]}, "space.constraints[0]", "cannot read the expression"),
    ({"space.constraints": ["batch_size.real > 1"]}, "space.constraints[0]", "is not allowed"),
    ({"space.constraints": ["(1 <\n 2)"]}, "space.constraints[0]", "'(1 < 2)' names no axis"),
    ({"space.constraints": ["min <= batch_size"]}, "space.constraints[0]", "unknown name 'min'"),
    ({"targets": []}, "targets", "at least 1"), ({"targets": "ttft_ms"}, "targets", "list"),
    ({"targets": [5]}, "targets.0", "string"), ({"targets": ["a", "b", "a"]}, "targets", "'a' stands twice"),
    ({"targets": ["ttft ms"]}, "targets", "'ttft ms' cannot name a metric"),
    ({"targets": [""]}, "targets", "cannot name"),
    ({"targets": ["ttft_ms", "batch_size"]}, "targets", "'batch_size' is an axis; name a metric"),
    ({"stop.accuracy": 1.5}, "stop.accuracy", "less than 1"), ({"stop.accuracy": 0}, "stop.accuracy", "greater than 0"),
    ({"stop.accuracy": 97}, "stop.accuracy", "less than 1"), ({"stop.accuracy": "high"}, "stop.accuracy", "number"),
    ({"stop.accuracy": math.nan}, "stop.accuracy", "(not nan)"), ({"stop.accuracy": True}, "stop.accuracy", "number"),
    ({"stop.trials": 0}, "stop.trials", "greater than or equal to 1"), ({"stop.trials": 2.5}, "stop.trials", "integer"),
    ({"stop.trials": True}, "stop.trials", "integer"), ({"stop.trials": "many"}, "stop.trials", "integer"),
    ({"stop.cost": "2 parsecs"}, "stop.cost", "write it like '2h'"), ({"stop.cost": -5}, "stop.cost", "write it like"),
    ({"stop.cost": 0}, "stop.cost", "above 0"), ({"stop.cost": True}, "stop.cost", "write it like '2h'"),
    ({"stop.cost": ["2h"]}, "stop.cost", ""), ({"price": GONE}, "stop.cost", "money needs a price; add `price:"),
    ({"price.per_accelerator_hour": 0}, "price.per_accelerator_hour", "greater than 0"),
    ({"price.per_accelerator_hour": math.inf}, "price.per_accelerator_hour", "finite"),
    ({"price.per_accelerator_hour": True}, "price.per_accelerator_hour", "number"),
    ({"slo": ["fast"]}, "slo[0]", "write it like 'p99_ttft_ms <= 500'"),
    ({"slo": ["a <= b"]}, "slo[0]", "write it like"),
    ({"slo": ["a <= 1", "a <= -"]}, "slo[1]", "write it like"), ({"slo": ["a <= 1e"]}, "slo[0]", "write it like"),
    ({"slo": ["a\n=\n1"]}, "slo[0]", "cannot read 'a = 1'"), ({"slo": "a <= 1"}, "slo", "list"),
    ({"study.name": ""}, "study.name", "at least 1"), ({"study.name": 5}, "study.name", "string"),
    ({"study.name": "a\nb"}, "study.name", "one line"),
    ({"study.storage": "sweepwise.db"}, "study.storage", "sqlite:///"),
    ({"study.storage": 3}, "study.storage", "sqlite:///"),
    ({"study.storage": "sqlite:///a\nb"}, "study.storage", "sqlite:///"), ({"study": 3}, "study", "dictionary"),
    ({"runner": "vllm"}, "runner", "dictionary"), ({"runner.kind": 3}, "runner.kind", "string"),
])
def test_wrong_input_is_named_with_its_fix(changes: dict[str, Any], key: str, fix: str) -> None:
    message = refusal(edited(changes))
    assert message.startswith(f"{key}: ")
    assert fix in message[len(key):]


@pytest.mark.parametrize(("name", "given", "says"), [
    ("x", {"values": [1, 2, 1]}, "x.values: 1 stands twice"),
    ("x", {"values": [1, 1.0]}, "x.values: 1.0 stands twice"),
    ("x", {"values": ["a", "b", "a"]}, "x.values: 'a' stands twice"),
    ("x", {"values": [1, math.nan]}, "x.values: nan is not a finite number"),
    ("x", {"values": [math.inf]}, "x.values: inf is not a finite number"),
    ("x", {"values": [1, "a"], "scale": "log"}, "x.values: 'a' is not a number; correct it or add `scale: category`"),
    ("x", {"values": [True], "scale": "linear"}, "x.values: True is not a number"),
    ("x", {"values": [-1, 1], "scale": "log"}, "x.values: -1 is negative; a log scale takes 0 and above"),
    ("x", {"values": [10**400]}, "x.values: 1000"), ("x", {"range": [10**30, 10**30 + 1]}, "x.values: 1000"),
    ("x", {"values": [1e300]}, "x.values: 1e+300 is too large"), ("x", {"values": [-(10**20)]}, "is too large"),
    ("input_len", {"values": [-128]},
     "input_len.values: -128 is invalid for the role input_tokens; use whole numbers from 1"),
    ("output_len", {"values": [0]},
     "output_len.values: 0 is invalid for the role output_tokens; use whole numbers from 1"),
    ("batch_size", {"values": [0, 1]}, "batch_size.values: 0 is invalid for the role batch; use whole numbers from 1"),
    ("batch_size", {"range": [0, 4]}, "batch_size.values: 0 is invalid for the role batch"),
    ("batch_size", {"values": [1.5]}, "batch_size.values: 1.5 is invalid for the role batch"),
    ("batch_size", {"values": [0, 4], "scale": "category"}, "batch_size.values: 0 is invalid for the role batch"),
    ("x", {"values": [0], "role": ["model", "batch"]}, "x.values: 0 is invalid for the role batch"),
    ("tensor_parallel_size", {"values": [0]}, "tensor_parallel_size.values: 0 is invalid for the role accelerators"),
    ("request_rate", {"values": [0.0]}, "request_rate.values: 0.0 is not a rate; use numbers above 0"),
    ("x", {"values": ["a"], "descriptors": {"b": {}}},
     "x.descriptors.b: has no number for 'a'; add one for every value"),
    ("x", {"values": ["a"], "descriptors": {"b": {"a": math.nan}}}, "x.descriptors.b: has no number for 'a'"),
    ("x", {"values": ["a"], "descriptors": {"b": {"a": 1e300}}}, "x.descriptors.b: has no number for 'a'"),
    ("x", {"values": [1], "descriptors": {"b": {"1": 2}}}, "x.descriptors: only a category axis takes descriptors"),
])
def test_wrong_values_are_named_with_their_fix(name: str, given: dict[str, Any], says: str) -> None:
    with pytest.raises(StudyError) as caught:
        validate_model(AxisSpec, given, "space.axes.x").resolve(name)
    message = str(caught.value)
    assert message.startswith("space.axes.") and says in message and len(message) < 300


def test_messages_show_what_was_given_shortly() -> None:
    assert refusal(edited({"stop.accuracy": 1.5})).endswith("(not 1.5)")
    assert len(refusal(edited({"targets": "y" * 5000}))) < 300
    assert "{" not in refusal(edited({"space.axes.batch_size.range": {"from": 1}}))


# --------------------------------------------------------------------------------------------------- YAML and files


@pytest.mark.parametrize(("text", "says"), [
    ("a: [1", "line 1"), ("a: 1\n b: 2", "line 2"), ("a: 'x", "line 1"), ("\tb: 1", "line 1"), ("a: *b", "line 1"),
    ("a: !thing 3", "line 1"), ("a: !!python/object/apply:os.system ['true']", "line 1"), ("? [1]\n: 2", "line 1"),
    ("a: \x07", "not YAML"), ("a: 2020-99-99", "not YAML"), ("a: !!int ''", "not YAML"), ("a: !!float x", "not YAML"),
    ("a: !!bool x", "not YAML"), ("a: !!timestamp x", "not YAML"), ("- a\n- b", "holds no keys"), ("", "holds no keys"),
    ("just text", "holds no keys"), ("# nothing", "holds no keys"), ("42", "holds no keys"), ("null", "holds no keys"),
    ("[" * 5000, "study file"), ("a: 1\n---\nb: 2", "line 2"), ("a: " + "9" * 5000, "not YAML"),
])
def test_what_is_not_yaml_or_no_mapping(text: str, says: str) -> None:
    with pytest.raises(StudyError, match=says) as caught:
        parse_spec(text)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(("text", "says"), [
    ("targets: [a]\nrunner: {}\ntargets: [b]", "line 3: the key 'targets' stands twice"),
    ("space:\n  axes:\n    a: {values: [1]}\n    a: {values: [2]}\n", "line 4: the key 'a' stands twice"),
    ("stop: {cost: 2h, trials: 3, cost: 3h}", "line 1: the key 'cost' stands twice"),
])
def test_a_key_twice_is_no_silent_loss(text: str, says: str) -> None:
    with pytest.raises(StudyError) as caught:
        parse_spec(text, "grid.yaml")
    assert str(caught.value) == f"grid.yaml {says}; correct the YAML there"


def test_anchors_and_merges_are_yaml_too() -> None:
    text = """
space:
  axes:
    a: &sizes {values: [1, 2], scale: log}
    b: {<<: *sizes, scale: linear}
    c: {<<: *sizes}
    d:
      <<: *sizes
      scope: engine
runner: {kind: command, env: {x: &inner {<<: *sizes, scale: x}}, cwd: {<<: *inner}}
targets: [y]
"""
    axes = parse_spec(text).space.axes
    assert axes["b"].scale is Scale.LINEAR and axes["b"].values == [1, 2]
    assert axes["c"].scale is Scale.LOG and axes["d"].scope is Scope.ENGINE


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "binary.yaml").write_bytes(b"\x80\x81\xff\x00")
    (tmp_path / "nul.yaml").write_bytes(b"a: \x00")
    for name, says in {"none.yaml": "no such study file; `sweepwise init", "nul.yaml": "is not YAML",
                       "binary.yaml": "cannot be read as a text file", ".": "cannot be read as a text file"}.items():
        with pytest.raises(StudyError, match=says) as caught:
            read_spec(tmp_path / name)
        assert str(caught.value).startswith(str(tmp_path)) and len(str(caught.value).splitlines()) == 1


def test_a_byte_order_mark_and_windows_lines_are_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + TEXT.replace("\n", "\r\n").encode())
    assert read_spec(path)[0] == parse_spec(TEXT)


# ---------------------------------------------------------------------------------------------------- any rubbish

words = st.sampled_from([
    "space", "axes", "values", "range", "scope", "scale", "role", "descriptors", "constraints", "runner", "kind",
    "command", "targets", "stop", "accuracy", "cost", "trials", "price", "per_accelerator_hour", "slo", "study", "name",
    "storage", "batch_size", "input_len", "model", "log", "linear", "category", "engine", "2h", "5%", "$3", "a <= 3",
    "", "<<", "{x}",
])
scalars = (st.none() | st.booleans() | st.integers(-3, 9) | st.integers() | st.floats() | words | st.text(max_size=8)
           | st.dates() | st.binary(max_size=3) | st.just(10**400))
rubbish = st.recursive(scalars, lambda part: st.lists(part, max_size=3)
                       | st.dictionaries(words | st.text(max_size=5) | st.integers(0, 3), part, max_size=4),
                       max_leaves=12)


@st.composite
def mutants(draw: st.DrawFn) -> Any:
    """GOOD with a few things replaced, taken away, added or doubled, anywhere."""
    data = copy.deepcopy(GOOD)
    for _ in range(draw(st.integers(1, 3))):
        node: Any = data
        while node:
            key = draw(st.sampled_from(list(node) if isinstance(node, dict) else range(len(node))))
            deeper = isinstance(node[key], dict | list) and node[key] and draw(st.integers(0, 4)) > 0
            if not deeper:
                break
            node = node[key]
        how = draw(st.sampled_from(["replace", "replace", "delete", "add", "double"]))
        if how == "replace":
            node[key] = draw(scalars | rubbish)
        elif how == "delete":
            del node[key]
        elif isinstance(node, dict):
            node[draw(words)] = draw(rubbish) if how == "add" else copy.deepcopy(node[key])
        else:
            node.append(draw(rubbish) if how == "add" else copy.deepcopy(node[key]))
    return data


def check_spec_or_refusal(read: Any) -> None:
    """A spec whose axes make a sound grid, or a StudyError of one line: nothing else."""
    try:
        spec = read()
        assert isinstance(spec, StudySpec)
        event("valid spec")
        axes = [given.resolve(name) for name, given in spec.space.axes.items()]
        for axis in axes:
            assert axis.values and len(set(axis.values)) == len(axis.values)
            assert all(isinstance(value, str) or math.isfinite(value) for value in axis.values)
        grid = full_grid(axes)
    except StudyError as error:
        message = str(error)
        assert message and len(message.splitlines()) == 1 and message.isprintable()
        assert ": " in message
        return
    event("valid grid")
    assert isinstance(grid, Grid) and len(grid) > 0
    if len(grid) < 10_000:
        assert all(map(math.isfinite, grid.features.numeric.ravel()))


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(rubbish | mutants())
def test_any_rubbish_is_a_spec_or_a_refusal(data: Any) -> None:
    check_spec_or_refusal(lambda: validate_model(StudySpec, data, ""))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(mutants(), st.booleans())
def test_any_mutant_written_as_yaml(data: Any, flow: bool) -> None:
    text = yaml.safe_dump(data, default_flow_style=flow, allow_unicode=True)
    check_spec_or_refusal(lambda: parse_spec(text))


punctuation = st.text(alphabet="[]{}:,&*!|>'\"%@`-? #ab1~\t", max_size=10)
LINES = TEXT.splitlines()


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_any_text_is_a_spec_or_a_refusal(data: st.DataObject) -> None:
    lines = list(LINES)
    for _ in range(data.draw(st.integers(0, 4))):
        at = data.draw(st.integers(0, len(lines) - 1))
        what = data.draw(st.sampled_from(["drop", "double", "cut", "insert", "indent"]))
        if what == "drop" and len(lines) > 1:
            del lines[at]
        elif what == "double":
            lines.insert(at, lines[at])
        elif what == "cut":
            lines[at] = lines[at][: data.draw(st.integers(0, len(lines[at])))]
        elif what == "insert":
            lines.insert(at, data.draw(st.text(max_size=10) | punctuation))
        else:
            lines[at] = " " + lines[at]
    check_spec_or_refusal(lambda: parse_spec("\n".join(lines)))


@settings(max_examples=150, deadline=None,
          suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(mutants())
def test_any_mutant_is_opened_or_refused(tmp_path: Path, data: Any) -> None:
    """The whole way: axes, grid, constraints and the runner's own settings too. Nothing is written."""
    text = yaml.safe_dump(data)
    try:
        study = open_setup(tmp_path / "study.yaml", text=text)
    except StudyError as error:
        assert len(str(error).splitlines()) == 1 and str(error).isprintable()
    else:
        event("opened")
        assert len(study.grid) > 0 and study.targets and study.limits()
    assert not list(tmp_path.iterdir())


# ------------------------------------------------------------------------------------------------------ the boundary


def test_a_boundary_is_one_tier_or_several() -> None:
    one = validate_model(StudySpec, edited({"stop": {"boundary": "ttft_ms <= 500 and output_throughput >= 10"}}), "")
    assert one.stop.parsed_boundary is not None
    assert list(map(str, one.stop.parsed_boundary.tiers)) == ["ttft_ms <= 500 and output_throughput >= 10"]
    assert one.stop.parsed_boundary.confidence == 0.95
    two = validate_model(StudySpec, edited({"stop": {
        "boundary": ["ttft_ms <= 500", "ttft_ms <= 200", "ttft_ms <= 500"], "confidence": 0.9, "trials": 9}}), "")
    assert two.stop.parsed_boundary is not None
    assert list(map(str, two.stop.parsed_boundary.tiers)) == ["ttft_ms <= 500", "ttft_ms <= 200"]
    assert two.stop.parsed_boundary.confidence == 0.9 and two.stop.trials == 9
    assert validate_model(StudySpec, GOOD, "").stop.parsed_boundary is None


@pytest.mark.parametrize(("stop", "begins", "holds"), [
    ({"boundary": "p99_ttft_ms <= 500"}, "stop.boundary: ", "add it to `targets`"),
    ({"boundary": ["ttft_ms <= 500", "fast"]}, "stop.boundary[1]: ", "write it like"),
    ({"boundary": "ttft_ms = 500"}, "stop.boundary: ", "write it like"),
    ({"boundary": []}, "stop.boundary: ", "is empty"),
    ({"boundary": 5}, "stop.boundary: ", ""),
    ({"accuracy": 0.9, "confidence": 0.9}, "stop.confidence: ", "belongs to `boundary`"),
    ({"boundary": "ttft_ms <= 500", "confidence": 0.3}, "stop.confidence: ", "0.5"),
    ({"boundary": "ttft_ms <= 500", "confidence": 1}, "stop.confidence: ", "1"),
])
def test_a_wrong_boundary_is_refused(stop: dict[str, Any], begins: str, holds: str) -> None:
    message = refusal(edited({"stop": stop}))
    assert message.startswith(begins) and holds in message


def test_a_boundary_needs_a_load(tmp_path: Path) -> None:
    """Here batch_size has one value."""
    data = edited({"space.axes": {"input_len": {"values": [1, 2]}, "batch_size": {"values": [4]}},
                   "space.constraints": [], "stop": {"boundary": "ttft_ms <= 500"}})
    data["runner"]["command"] = ["true", "{input_len}", "{batch_size}"]
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(data))
    with pytest.raises(StudyError, match=r"^stop.boundary: no axis is a load; give one `role: concurrency`"):
        open_setup(tmp_path / "study.yaml")


def test_with_a_boundary_alone_nothing_else_stops(tmp_path: Path) -> None:
    data = edited({"stop": {"boundary": "ttft_ms <= 500"}})
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(data))
    limits = open_setup(tmp_path / "study.yaml").limits()
    assert limits.boundary is not None
    assert limits.accuracy is limits.cost is limits.share is limits.trials is None
