"""A category axis that grows while others measure: whichever process is killed or comes second, no run is lost."""

from __future__ import annotations

import gc
import itertools
import os
import select
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution
from optuna.trial import TrialState

from planner.ledger.ledger import Ledger
from planner.ledger.optuna_private import recorded
from planner.ledger.storage import open_storage, widen
from planner.space.grid import full_grid
from planner.space.types import Axis, Cost, Measurement, Point, Reading, Role, Scale, Scope, Status, StudyError

TARGETS = ("latency_ms",)
TICK_S = 0.01
RUNS = 24

Say = Callable[[str], None]
Work = Callable[[Say], object]


def axes(*models: str) -> tuple[Axis, ...]:
    return (Axis("model", models, Scope.ENGINE, Scale.CATEGORY, (Role.MODEL,)),
            Axis("batch_size", tuple(range(1, 65)), scale=Scale.LOG, roles=(Role.BATCH,)))


def open_ledger(url: str, *models: str) -> Ledger:
    return Ledger.create_or_resume(url, "study", axes(*models), TARGETS, "text", {"engine": "1"})


def measured(point: Point, value: float) -> Measurement:
    return Measurement(Status.OK, Cost(1.0), (Reading(dict(point), {"latency_ms": (value,)}, 1.0),))


def run_at(ledger: Ledger, model: str, batch_size: int) -> str:
    """Make a run; who it is, in one word."""
    trial, point = ledger.begin({"model": model, "batch_size": batch_size}, 0)
    ledger.finish(trial, measured(point, batch_size + 0.5))
    return f"{model}:{batch_size}"


# ---------------------------------------------------------------------------------------------------------- processes


@pytest.fixture(scope="module", autouse=True)
def warm(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Let SQLAlchemy set up once what every process below would set up anew."""
    url = f"sqlite:///{tmp_path_factory.mktemp('warm') / 'warm.db'}"
    storage = open_storage(url)
    ledger = Ledger(optuna.create_study(storage=storage, study_name="study"), axes("x"), TARGETS)
    run_at(ledger, "x", 1)
    widen(ledger.study, axes("y"))
    storage.remove_session()
    storage.engine.dispose()


@dataclass
class Child:
    """A child process and its output."""

    pid: int
    pipe: int
    status: int | None = None
    said: str = ""

    def listen(self, seconds: float) -> None:
        """Take in what it says until it ends, or for so long."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0 and self.status is None:
            if select.select([self.pipe], [], [], left)[0] and not self._read():
                self.status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def _read(self) -> bool:
        data = os.read(self.pipe, 65536)
        self.said += data.decode()
        return bool(data)

    def kill(self) -> None:
        if self.status is None:
            os.kill(self.pid, signal.SIGKILL)
        self.listen(20)

    @property
    def done(self) -> list[str]:
        """What it had finished, each a word and a new line; what was cut short is none."""
        return self.said.split("\n")[:-1]


def start(work: Work) -> Child:
    """Run `work` in a process of its own. It says what it has done by the function that it is given."""
    out, into = os.pipe()
    pid = os.fork()
    if pid:
        os.close(into)
        return Child(pid, out)
    gc.disable()  # what the parent left behind is the parent's
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        work(lambda word: (os.write(into, f"{word}\n".encode()), None)[1])
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    os._exit(0)


def together(*works: Work) -> list[Child]:
    """Run all at once, to their end."""
    children = [start(work) for work in works]
    for child in children:
        child.listen(60)
    assert [child.status for child in children] == [0] * len(children)
    return children


def at_the_tick() -> None:
    """Wait for a moment at which others act too."""
    time.sleep(TICK_S - time.time() % TICK_S)


@contextmanager
def reading(url: str) -> Iterator[optuna.Study]:
    """The study as anybody's Optuna reads it; no connection is left open, for a fork would share it."""
    storage = open_storage(url)
    try:
        yield optuna.load_study(study_name="study", storage=storage)
    finally:
        storage.remove_session()
        storage.engine.dispose()


def filled(url: str) -> None:
    def fill(_: Say) -> None:
        ledger = open_ledger(url, "x", "y")
        for number in range(RUNS):
            point = {"model": "xy"[number % 2], "batch_size": number + 1}
            ledger.add(point, measured(point, float(number)), {"from": "elsewhere"})

    together(fill)


def check_whole(url: str, announced: list[str]) -> dict[str, Any]:
    """Everything that was said to be recorded is, once, and reads as one study. The measurements, by run."""
    with reading(url) as study:
        trials = study.get_trials()
        assert [t.number for t in trials] == list(range(len(trials)))
        for number, trial in enumerate(trials[:RUNS]):
            assert trial.params == {"model": "xy"[number % 2], "batch_size": number + 1}
            assert trial.value == float(number) and trial.user_attrs["from"] == "elsewhere"
            assert trial.user_attrs["measurement"]["readings"][0]["metrics"] == {"latency_ms": [float(number)]}
        made = {f"{t.params['model']}:{t.params['batch_size']}": t for t in trials[RUNS:]
                if t.state is TrialState.COMPLETE}
        runs = Counter(word for word in announced if ":" in word)
        assert set(runs) <= set(made) and (not runs or max(runs.values()) == 1)
        assert all(t.value == t.params["batch_size"] + 0.5 for t in made.values())
        assert len(made) == sum(t.state is TrialState.COMPLETE for t in trials[RUNS:]), "a run is there twice"
        (choices,) = {d.choices for d in recorded(study)["model"].distributions
                      if isinstance(d, CategoricalDistribution)}
        assert len(set(choices)) == len(choices) and choices[:2] == ("x", "y")
        assert {name.partition(":")[0] for name in announced} <= set(choices)
        assert optuna.get_all_study_names(url) == ["study"]
        return {name: t.user_attrs["measurement"] for name, t in made.items()}


# --------------------------------------------------------------------------------------------------------------- races


def growing(url: str, name: str, times: int) -> Work:
    """Resume the study with a value of its own on the axis, then with another and another, and measure at some."""
    def work(say: Say) -> None:
        ledger = open_ledger(url, "y", f"{name}.0", "x")
        for time_ in range(times):
            mine = axes(f"{name}.{time_}", "x")
            at_the_tick()
            widen(ledger.study, mine)
            say(f"{name}.{time_}")
            if time_ % 6 == 0:
                say(run_at(Ledger(ledger.study, mine, TARGETS), f"{name}.{time_}", time_ + 1))

    return work


def narrow(url: str, batches: range) -> Work:
    """Measure on and on with the choices that this process began with."""
    def work(say: Say) -> None:
        ledger = open_ledger(url, "x", "y")
        for batch_size in batches:
            at_the_tick()
            say(run_at(ledger, "y", batch_size))

    return work


def test_hundreds_of_growths_at_once_with_kills_in_their_midst(database: Callable[[], str]) -> None:
    """Two processes add values, a third measures what it always did; each time one of them is killed somewhere."""
    rounds, each = 6, 24
    url, rng = database(), np.random.default_rng(0)
    filled(url)
    announced: list[str] = []
    kept: dict[str, Any] = {}
    kills = growths = 0
    for round_ in range(rounds):
        first = RUNS + 1 + 3 * round_
        children = [start(growing(url, f"{round_}a", each)), start(growing(url, f"{round_}b", each)),
                    start(narrow(url, range(first, first + 3)))]
        victim = children[round_ % 3]
        victim.listen(rng.uniform(0.0, 0.3))
        victim.kill()
        for child in children:
            child.listen(60)
        assert all(child.status == 0 for child in children if child is not victim)
        assert victim.status in {0, -signal.SIGKILL}
        kills += victim.status != 0
        announced += [word for child in children for word in child.done]
        growths += sum(":" not in word for child in children[:2] for word in child.done)
        found = check_whole(url, announced)
        assert kept.items() <= found.items()
        kept = found
    assert kills >= rounds // 2 and growths >= rounds * each, (kills, growths)


def beginning(url: str, order: tuple[str, ...], first: int) -> Work:
    def work(say: Say) -> None:
        ledger = open_ledger(url, *order)
        at_the_tick()
        for batch_size in range(first, first + 3):
            say(run_at(ledger, order[0], batch_size))

    return work


def test_processes_that_begin_an_empty_study_with_other_choices(database: Callable[[], str]) -> None:
    """No record says yet in which order the choices stand: the second process takes the first one's order."""
    for _ in range(3):
        url = database()
        orders = list(itertools.permutations(("p", "q", "r")))[:4]
        children = together(*(beginning(url, order, 1 + 10 * place) for place, order in enumerate(orders)))
        with reading(url) as study:
            made = Counter(f"{t.params['model']}:{t.params['batch_size']}" for t in study.get_trials())
            assert made == Counter(word for child in children for word in child.done) and made.total() == 12
            assert len(recorded(study)["model"].distributions) == 1
            assert study.metric_names == list(TARGETS)


def joining(url: str, fingerprint: dict[str, str]) -> Work:
    """Resume or begin the study; say why if it is refused."""
    def work(say: Say) -> None:
        at_the_tick()
        try:
            Ledger.create_or_resume(url, "study", axes("x"), TARGETS, "text", fingerprint)
        except StudyError as error:
            say(str(error))

    return work


def test_models_of_several_processes_all_join_the_fingerprint(database: Callable[[], str]) -> None:
    """Whichever is last has not overwritten what the others added; one with another engine is refused."""
    for _ in range(3):
        url = database()
        together(joining(url, {"engine": "1"}))
        children = together(*(joining(url, {"engine": "1", f"model:{name}": name}) for name in "abc"),
                            joining(url, {"engine": "2", "model:d": "d"}))
        assert [bool(child.done) for child in children] == [False, False, False, True]
        with reading(url) as study:
            assert study.user_attrs["fingerprint"] == {"engine": "1", "model:a": "a", "model:b": "b", "model:c": "c"}


def test_of_two_engines_that_begin_a_study_one_is_refused(database: Callable[[], str]) -> None:
    for _ in range(3):
        url = database()
        children = together(joining(url, {"engine": "1"}), joining(url, {"engine": "2"}))
        assert sorted(len(child.done) for child in children) == [0, 1]
        winner = next(engine for engine, child in zip("12", children, strict=True) if not child.done)
        with reading(url) as study:
            assert study.user_attrs["fingerprint"] == {"engine": winner}


def test_an_enqueued_point_is_run_by_one_process_and_it_says_which(database: Callable[[], str]) -> None:
    """Taken over whole or not at all, though several reach for it at once and one is killed."""
    url = database()
    filled(url)
    waiting = 24
    with reading(url) as study:
        for number in range(waiting):
            study.enqueue_trial({"model": "x", "batch_size": 30 + number})

    def take(say: Say) -> None:
        ledger = open_ledger(url, "x", "y", "z")
        for _ in range(waiting // 2):
            at_the_tick()
            trial, point = ledger.begin({"model": "z", "batch_size": 1}, os.getpid())
            ledger.finish(trial, measured(point, 1.0))
            say(f"{trial.number}")

    children = [start(take) for _ in range(3)]
    children[0].listen(0.3)
    children[0].kill()
    for child in children[1:]:
        child.listen(60)
        assert child.status == 0
    with reading(url) as study:
        trials = study.get_trials()
        taken = trials[RUNS:RUNS + waiting]
        assert [t.params for t in taken] == [{"model": "x", "batch_size": 30 + n} for n in range(waiting)]
        for trial in taken:
            assert trial.state.is_finished() or trial.user_attrs["seed"] == children[0].pid
        said = Counter(word for child in children for word in child.done)
        assert max(said.values()) == 1, "a trial was run twice"
        owner = {word: child.pid for child in children for word in child.done}
        for trial in trials[RUNS:]:
            if str(trial.number) in owner:
                assert trial.user_attrs["seed"] == owner[str(trial.number)]
                assert trial.user_attrs["worker"].split("|")[1] == str(owner[str(trial.number)])


def test_runs_taken_back_by_two_at_once_are_all_taken_back(database: Callable[[], str]) -> None:
    url = database()
    filled(url)

    def discard(numbers: range) -> Work:
        def work(_: Say) -> None:
            ledger = Ledger.existing(url, "study", axes("x", "y"), TARGETS)
            for number in numbers:
                at_the_tick()
                ledger.discard(number, "a fan stood still")

        return work

    together(discard(range(12)), discard(range(12, 24)))
    with reading(url) as study:
        assert set(study.user_attrs["discarded"]) == {str(number) for number in range(24)}


def test_many_processes_make_the_tables_at_once(database: Callable[[], str]) -> None:
    for _ in range(2):
        url = database()
        together(*(beginning(url, ("x",), first) for first in (1, 11, 21, 31)))
        with reading(url) as study:
            assert len(study.get_trials()) == 12


def test_a_measurement_is_kept_though_another_process_took_its_owner_for_dead(
    database: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two containers may have one host name. What such a run gave is recorded as a trial of its own."""
    url = database()
    ledger = open_ledger(url, "x", "y")
    point = {"model": "x", "batch_size": 3}
    trial, _ = ledger.begin(point, 7)
    with monkeypatch.context() as patch:
        patch.setattr("planner.ledger.ledger.is_alive", lambda _: False)
        open_ledger(url, "x", "y")
    run = ledger.finish(trial, measured(point, 3.5), planner_s=0.25)
    closed, kept = ledger.study.get_trials()
    assert closed.user_attrs["measurement"]["status"] == "interrupted"
    assert (kept.number, kept.params, kept.value, kept.user_attrs["seed"]) == (run.number, point, 3.5, 7)
    observations = ledger.observations(full_grid(axes("x", "y")))
    assert (observations.finished, int(observations.measured.sum())) == (1, 1)
    assert observations.runs[-1].planner_s == 0.25
    # Told twice is recorded once: another process may have completed it from the measurement already stored.
    trial, at = ledger.begin({"model": "y", "batch_size": 4}, 7)
    trial.set_user_attr("measurement", measured(at, 4.5).to_json())
    with monkeypatch.context() as patch:
        patch.setattr("planner.ledger.ledger.is_alive", lambda _: False)
        open_ledger(url, "x", "y")
    assert ledger.finish(trial, measured(at, 4.5)).number == trial.number
    assert len(ledger.study.get_trials()) == 3
