"""Optuna's private names: each does what the one file that uses them says, and no other file uses any."""

from __future__ import annotations

import ast
import functools
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import BaseStorage, RDBStorage
from optuna.trial import TrialState

from planner.ledger import optuna_private as private
from planner.ledger.distributions import Recorded
from planner.ledger.storage import open_storage

ROOT: Final = Path(__file__).resolve().parents[2]
HOME: Final = "planner/ledger/optuna_private.py"
SPACE: Final = {"model": CategoricalDistribution(("a", "b")), "size": IntDistribution(1, 8)}

# ------------------------------------------------------------------------------------------------- nobody else's names


@functools.cache
def names_of_optuna() -> frozenset[str]:
    """Names that Optuna's own source keeps to itself, the methods of its storages (which it says users must not call),
    and the system attributes that it hides. A name that its users have too (`Study.tell`) is none of them."""
    found = {"system_attrs", "set_system_attr", "scoped_session"}
    for path in Path(optuna.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            name = node.attr if isinstance(node, ast.Attribute) else getattr(node, "name", None)
            if isinstance(name, str) and name.startswith("_") and not name.startswith("__"):
                found.add(name)
    users = {name for thing in (optuna, optuna.Study, optuna.Trial, optuna.trial.FrozenTrial) for name in dir(thing)}
    found |= {name for name in dir(BaseStorage) if not name.startswith("_") and name not in users}
    return frozenset(found - {"_"})


TEXTS: Final = frozenset({
    "fixed_params", "constraints", "trial_params", "trial_values", "trial_user_attributes", "trial_system_attributes",
    "study_user_attributes", "study_system_attributes"})
"""Keys and tables by which Optuna's record is read: none may stand in a file that reads or writes such keys."""


def private_uses(source: str) -> list[str]:
    """What a file touches of Optuna's private parts: by attribute, by import, by a name in quotes."""
    found = []
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Attribute(value=ast.Name(id="self" | "cls")):
                continue
            case ast.Attribute(attr=name) if name in names_of_optuna():
                found.append(ast.unparse(node))
            case ast.ImportFrom(module=str(module), names=names) if module.partition(".")[0] == "optuna":
                parts = [*module.split("."), *(alias.name for alias in names)]
                found += [ast.unparse(node)] * any(part.startswith("_") for part in parts)
            case ast.Import(names=names):
                found += [alias.name for alias in names if alias.name.startswith("optuna.") and "._" in alias.name]
            case ast.Call(func=ast.Name(id="getattr" | "setattr" | "hasattr"), args=[_, ast.Constant(value=name), *_]):
                found += [str(name)] * (name in names_of_optuna())
            case ast.Call(func=ast.Name(id="Trial") | ast.Attribute(attr="Trial")):
                found.append(ast.unparse(node))
            case ast.Call(func=ast.Attribute(attr="get"), args=[ast.Constant(value=text), *_]) if text in TEXTS:
                found.append(str(text))
            case ast.Subscript(slice=ast.Constant(value=text)) if text in TEXTS - {"constraints"}:
                found.append(str(text))
            case ast.Call(func=ast.Name(id="table" | "text" | "Table"), args=[ast.Constant(value=text), *_]):
                found += [str(text)] * any(table in str(text) for table in TEXTS)
            case _:
                pass
    return found


@pytest.mark.parametrize(("source", "count"), [
    ("study._storage.set_trial_user_attr(trial._trial_id, 'a', 1)", 3), ("self.study._study_id", 1),
    ("getattr(storage, '_backend', storage)", 1), ("distribution._contains(1)", 1), ("trial._suggest('a', d)", 1),
    ("from optuna.storages._rdb import models", 1), ("import optuna.storages._rdb.models", 1),
    ("from optuna.trial import _trial", 1), ("optuna.Trial(study, 3)", 1),
    ("trial.system_attrs.get('fixed_params')", 2), ("draft._storage = gathered", 1),
    ("storage.create_new_trial(1)", 1), ("table('trial_params', column('a'))", 1),
    ("self._storage = 1; cls._backend", 0), ("study.tell(1, 2.0); study.get_trials()", 0), ("os._exit(1)", 0),
    ("scheduler._preempt_request(1)", 0), ("optuna.delete_study(study_name='a', storage=b)", 0), ("_contains(1)", 0),
])
def test_private_uses_are_seen(source: str, count: int) -> None:
    assert len(private_uses(source)) == count


def test_only_one_file_touches_what_optuna_keeps_to_itself() -> None:
    uses = {str(path.relative_to(ROOT)): found for package in ("planner", "runners", "studies")
            for path in sorted((ROOT / package).rglob("*.py"))
            if (found := private_uses(path.read_text(encoding="utf-8")))}
    assert HOME in uses
    assert set(uses) == {HOME}, {path: found for path, found in uses.items() if path != HOME}


def test_every_function_is_tested_here() -> None:
    """`Trial` and its like are reached through functions of `__all__` only, and each of them is named below."""
    own = Path(__file__).read_text(encoding="utf-8")
    assert [name for name in private.__all__ if f"private.{name}" not in own] == []


# ------------------------------------------------------------------------------------------------------- each function


@pytest.fixture
def study(database: Callable[[], str]) -> Iterator[optuna.Study]:
    storage = open_storage(database())
    yield optuna.create_study(storage=storage, study_name="study")
    storage.remove_session()
    storage.engine.dispose()


def again(study: optuna.Study) -> optuna.Study:
    """The study as another process would read it."""
    backend: Any = private.identity(study)[0]
    return optuna.load_study(study_name="study", storage=backend._backend)


def template(model: str = "a", size: int = 3, space: Any = SPACE, **more: Any) -> optuna.trial.FrozenTrial:
    return optuna.trial.create_trial(
        state=TrialState.RUNNING, params={"model": model, "size": size}, distributions=space, **more)


def test_study_id_and_identity(study: optuna.Study) -> None:
    other = optuna.create_study(storage=private.identity(study)[0], study_name="other")
    assert private.study_id(study) != private.study_id(other)
    summaries = optuna.get_all_study_names(private.identity(study)[0])
    assert summaries[private.study_id(study) - 1] == "study"
    assert private.identity(study) == private.identity(study) != private.identity(other)
    assert private.identity(study) != private.identity(again(study))


@pytest.mark.parametrize(("distribution", "inside", "outside"), [
    (IntDistribution(1, 9, step=2), [1, 9, 3.0], [0, 2, 10, 3.5, "a", None]),
    (FloatDistribution(0.5, 2), [0.5, 1, 2.0], [0.4, 2.1, "a", float("nan")]),
    (CategoricalDistribution(("a", 2)), ["a", 2, 2.0], ["b", 3]),
])
def test_contains(distribution: Any, inside: list[Any], outside: list[Any]) -> None:
    assert all(private.contains(distribution, value) for value in inside)
    assert not any(private.contains(distribution, value) for value in outside)


def test_enqueued_params(study: optuna.Study) -> None:
    study.enqueue_trial({"model": "b", "size": 4})
    private.create_trial(study, template())
    waiting, running = study.get_trials()
    assert private.enqueued_params(waiting) == {"model": "b", "size": 4} and private.enqueued_params(running) == {}


def test_create_trial_and_open_trial(study: optuna.Study) -> None:
    made = private.create_trial(study, template(user_attrs={"worker": "me"}))
    (read,) = again(study).get_trials()
    assert (read.number, read.state, read.params, read.user_attrs) == (
        made.number, TrialState.RUNNING, {"model": "a", "size": 3}, {"worker": "me"})
    handle = private.open_trial(again(study), read)
    handle.set_user_attr("b", 1)
    handle.report(2.5, 1)
    study.tell(made.number, 7.0)
    (read,) = again(study).get_trials()
    assert (read.value, read.user_attrs["b"], read.intermediate_values) == (7.0, 1, {1: 2.5})
    with pytest.raises(private.ChoicesChanged):
        private.create_trial(study, template(space={**SPACE, "model": CategoricalDistribution(("a", "b", "c"))}))
    assert len(again(study).get_trials()) == 1
    private.create_trial(study, template(space={**SPACE, "size": IntDistribution(1, 99)}))  # a range may differ


def test_set_violations_and_violations_attribute(study: optuna.Study) -> None:
    first = private.create_trial(study, template(system_attrs=private.violations_attribute([0.5, -1.0])))
    second = private.create_trial(study, template())
    private.set_violations(second, [])
    assert not again(study).get_trials()[1].constraints
    private.set_violations(second, [2.0])
    for number, expected in ((first.number, [0.5, -1.0]), (second.number, [2.0])):
        trial = again(study).get_trials()[number]
        assert list(trial.constraints.values()) == expected
    assert private.violations_attribute([]) == {}


def test_claim(study: optuna.Study) -> None:
    study.enqueue_trial({"model": "b"}, user_attrs={"worker": "nobody", "why": "asked"})
    (waiting,) = study.get_trials()
    asked = {"model": "b", "size": 5}
    trial = private.claim(study, waiting, asked, SPACE, {"worker": "me", "seed": 3})
    assert trial is not None and trial.params == asked
    (read,) = again(study).get_trials()
    assert read.state is TrialState.RUNNING and read.params == asked and read.distributions == SPACE
    assert read.user_attrs == {"worker": "me", "seed": 3, "why": "asked"}
    assert read.datetime_start is not None and abs(read.datetime_start.timestamp() - time.time()) < 60
    assert private.claim(again(study), waiting, asked, SPACE, {"worker": "other"}) is None
    assert again(study).get_trials()[0].user_attrs["worker"] == "me"
    study.tell(trial, 1.0)
    study.enqueue_trial({"model": "c"})
    wider = {**SPACE, "model": CategoricalDistribution(("a", "b", "c"))}
    with pytest.raises(private.ChoicesChanged):
        private.claim(study, study.get_trials()[1], {"model": "c", "size": 1}, wider, {})
    assert again(study).get_trials()[1].state is TrialState.WAITING
    study.add_trial(optuna.trial.create_trial(state=TrialState.WAITING, params={"size": 2},
                                              distributions={"size": SPACE["size"]}))
    partly = private.claim(study, study.get_trials()[2], {"model": "a", "size": 2}, SPACE, {})
    assert partly is not None and partly.params == {"model": "a", "size": 2}


def test_recorded(study: optuna.Study) -> None:
    assert private.recorded(study) == {}
    other = {**SPACE, "size": IntDistribution(1, 99)}
    for model, size, space in (("b", 3, SPACE), ("a", 50, other), ("b", 3, SPACE)):
        private.create_trial(study, template(model, size, space))
    assert private.recorded(study) == {
        "model": Recorded((SPACE["model"],), ("b", "a")),
        "size": Recorded((SPACE["size"], other["size"]), (3, 50))}
    elsewhere = optuna.create_study(storage=private.identity(study)[0], study_name="other")
    assert private.recorded(elsewhere) == {}


def test_unify(study: optuna.Study) -> None:
    """Other trials' places, another study, and the trials that Optuna has in memory."""
    neighbour = optuna.create_study(storage=private.identity(study)[0], study_name="other")
    for one in (study, neighbour):
        for model in "ab":
            study_trial = private.create_trial(one, template(model))
            one.tell(study_trial, 1.0)
    in_memory = again(study)
    assert in_memory.get_trials()[0].distributions["model"] == SPACE["model"]
    wider = CategoricalDistribution(("c", "b", "a"))
    asked: dict[str, Recorded] = {}

    def choose(name: str, known: Recorded) -> Any:
        asked[name] = known
        return wider if name == "model" else known.distributions[0]

    private.unify(in_memory, choose)
    assert asked == private.recorded(neighbour)
    for read in (in_memory, again(study)):
        assert [t.params["model"] for t in read.get_trials()] == ["a", "b"]
        assert {t.distributions["model"] for t in read.get_trials()} == {wider}
    assert private.recorded(neighbour)["model"].distributions == (SPACE["model"],)
    private.create_trial(in_memory, template("c", space={**SPACE, "model": wider}))
    with pytest.raises(ValueError, match="not in"):
        private.unify(study, lambda *_: CategoricalDistribution(("c", "z")))
    assert private.recorded(study)["model"].distributions == (wider,)


def test_change_user_attrs(study: optuna.Study) -> None:
    study.set_user_attr("kept", {"a": 1})

    def change(recorded: dict[str, Any]) -> dict[str, Any]:
        return {"kept": {**recorded["kept"], "b": 2}, "new": [1.5, None, "x"]}

    private.change_user_attrs(study, change)
    assert again(study).user_attrs == {"kept": {"a": 1, "b": 2}, "new": [1.5, None, "x"]}

    def refuse(_: dict[str, Any]) -> dict[str, Any]:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        private.change_user_attrs(study, refuse)
    assert again(study).user_attrs == {"kept": {"a": 1, "b": 2}, "new": [1.5, None, "x"]}
    study.set_user_attr("after", 1)  # the lock is free again
    with pytest.raises(TypeError, match="not in a database"):
        private.change_user_attrs(optuna.create_study(), change)


@pytest.mark.parametrize("in_memory", [False, True])
def test_written_at_once(study: optuna.Study, in_memory: bool) -> None:
    record = optuna.create_study(study_name="study") if in_memory else study
    storage, number = private.identity(record)

    def stored() -> dict[str, Any]:
        return storage.get_study_system_attrs(number)

    before = stored()
    with private.written_at_once(record) as draft:
        inner, same = private.identity(draft)
        assert same == number
        inner.set_study_system_attr(number, "figure", [1, 2])
        assert inner.get_study_system_attrs(number)["figure"] == [1, 2]
        assert stored() == before
        draft.set_user_attr("passed on", 1)
    assert stored() == {**before, "figure": [1, 2]} and record.user_attrs == {"passed on": 1}
    with pytest.raises(RuntimeError), private.written_at_once(record) as draft:
        private.identity(draft)[0].set_study_system_attr(number, "figure", [3])
        raise RuntimeError
    assert stored() == {**before, "figure": [1, 2]}


def test_beat_and_heartbeats(study: optuna.Study) -> None:
    for model in "aba":
        private.create_trial(study, template(model))
    first, second, _ = study.get_trials()
    now, at = private.heartbeats(study)
    assert at == {} and abs((now - datetime.now(UTC).replace(tzinfo=None)).total_seconds()) < 60
    private.beat(study, [first, second])
    private.beat(study, [])
    now, at = private.heartbeats(again(study))
    assert set(at) == {0, 1} and all(timedelta(0) <= now - one < timedelta(seconds=60) for one in at.values())
    time.sleep(1.01)  # SQLite's clock counts whole seconds
    private.beat(again(study), [second])
    later = private.heartbeats(study)[1]
    assert later[0] == at[0] and later[1] > at[1]
    study.tell(0, 1.0)
    assert set(private.heartbeats(study)[1]) == {1}, "a trial that has ended has no lease"


def test_heartbeats_do_not_depend_on_a_time_zone(postgresql: Callable[[], str]) -> None:
    """Nor on summer time: two workers, or one before and after the change, may be hours apart."""
    url = postgresql()
    ahead, behind = (open_storage(f"{url}&options=-ctimezone%3D{zone}") for zone in ("Asia/Tokyo", "America/Lima"))
    study = optuna.create_study(storage=ahead, study_name="study")
    private.create_trial(study, template())
    private.beat(study, study.get_trials())
    for storage in (ahead, behind):
        now, at = private.heartbeats(optuna.load_study(study_name="study", storage=storage))
        assert timedelta(0) <= now - at[0] < timedelta(seconds=60)
    for storage in (ahead, behind):
        storage.remove_session()
        storage.engine.dispose()


def every_kind_of_trial(study: optuna.Study) -> None:
    """Waiting, running, failed, pruned and complete trials, with every kind of value."""
    study.enqueue_trial({"model": "b"}, user_attrs={"why": "é", "list": [1, None]})
    for number, values in enumerate(((float("inf"), -1.5), (float("-inf"), 0.0), (1e-300, 2.0))):
        study.add_trial(optuna.trial.create_trial(
            params={"model": "a", "size": 1 + number}, distributions=SPACE, values=values,
            user_attrs={"measurement": {"cost": 1.5}, "seed": number}, system_attrs={"constraints": [0.5]}))
    one = optuna.create_study(storage=private.identity(study)[0], study_name="one target")
    for state, steps in ((TrialState.PRUNED, {1: float("nan"), 3: float("inf"), 2: -1.0}), (TrialState.FAIL, {})):
        for target in (study, one):
            target.add_trial(optuna.trial.create_trial(
                state=state, params={"x": 0.5}, distributions={"x": FloatDistribution(0.1, 8, log=True)},
                intermediate_values=steps if target is one else {}))
    for target in (study, one):
        private.create_trial(target, optuna.trial.create_trial(state=TrialState.RUNNING))


def content(trial: optuna.trial.FrozenTrial) -> dict[str, Any]:
    """Everything in a trial; NaN is not equal to itself."""
    return {**vars(trial), "intermediate_values": repr(sorted(trial.intermediate_values.items()))}


def test_a_quick_storage_reads_what_optuna_reads(database: Callable[[], str]) -> None:
    quick = private.QuickStorage(database())
    study = optuna.create_study(storage=quick, study_name="study", directions=["minimize", "maximize"])
    every_kind_of_trial(study)
    for name in ("study", "one target"):
        number = private.study_id(optuna.load_study(study_name=name, storage=quick))
        for included, after in ((set(), -1), ({1, 2, 3}, 4), (set(range(1, 2000)), 3), ({1}, 0), (set(), 10**6)):
            own = RDBStorage._get_trials(quick, number, None, included, after)
            found = quick._get_trials(number, None, included, after)
            assert list(map(content, found)) == list(map(content, own))
    with pytest.raises(KeyError):
        quick._get_trials(99, None, set(), -1)
    quick.engine.dispose()
